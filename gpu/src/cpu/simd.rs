//! Which instruction sets this CPU has.

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
use crate::ops::Dtype;

/// An instruction set that this CPU has. Only [`Level::all`] and its kin make one, so holding it is the
/// proof that its instructions may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// What every CPU of the architecture has.
    Baseline,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Those and AVX-512 BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// Those and AMX for bf16.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
}

impl Level {
    /// What every CPU of the architecture has.
    pub const BASELINE: Self = Self(Set::Baseline);

    /// Those of this CPU, the widest last.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::BASELINE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self(Set::Avx2));
            }
            if let Some(widest) = Self::all_avx512().pop() {
                all.push(widest);
            }
        }
        all
    }

    /// As [`Level::all`], and the widest without all or some of its instructions for bf16, if it has any.
    pub fn all_for_bf16() -> Vec<Self> {
        let mut all = Self::all();
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = Self::all_avx512();
            all.retain(|level| !avx512.contains(level));
            all.extend(avx512);
        }
        all
    }

    /// Those of sixteen floats a vector, each with more instructions for bf16 than the one before.
    #[cfg(target_arch = "x86_64")]
    fn all_avx512() -> Vec<Self> {
        if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512vl") {
            return vec![];
        }
        let mut all = vec![Self(Set::Avx512)];
        if is_x86_feature_detected!("avx512bf16") {
            all.push(Self(Set::Avx512Bf16));
            all.extend(Amx::of_this_process().map(|amx| Self(Set::Amx(amx))));
        }
        all
    }

    /// Whether products of bf16 are made by a matrix unit, which makes many more than vectors do.
    pub(crate) fn has_matrix_unit(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Set::Amx(_) = self.0 {
            return true;
        }
        false
    }

    /// The name of what products of `dtype` are computed by, which decides how their sums are rounded.
    pub fn name(self, dtype: Dtype) -> &'static str {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = dtype;
        match self.0 {
            Set::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16 if dtype == Dtype::Bf16 => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Set::Amx(_) if dtype == Dtype::Bf16 => "amx",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Bf16 | Set::Amx(_) => "avx512",
        }
    }

    /// The widest of this CPU.
    pub fn widest() -> Self {
        *Self::all().last().expect("every CPU has the baseline")
    }

    pub(crate) fn set(self) -> Set {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a level that cannot be tested here says so")]
    fn all_levels_of_this_cpu_are_found_and_the_widest_is_the_last() {
        let all = Level::all();
        assert_eq!(all[0].set(), Set::Baseline);
        assert_eq!(all.last(), Some(&Level::widest()));
        if Level::all_for_bf16().len() < 5 {
            let all = Level::all_for_bf16();
            eprintln!(
                "SKIP: this CPU lacks AVX2, AVX-512 or AMX; only {all:?} are tested here"
            );
        }
    }
}
