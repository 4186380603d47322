//! Which instruction sets this CPU has.

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
use crate::ops::Dtype;
use std::sync::OnceLock;

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

/// An environment variable: the instruction set that all sums are made by.
const NAMED_BY: &str = "ALEXNET_ISA";

/// An instruction set that this CPU does not have, or that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{NAMED_BY}={name}: this CPU has {there}")]
pub struct NoSuchLevel {
    /// What was asked for.
    pub name: String,
    /// What there is.
    pub there: String,
}

impl Level {
    /// Of CPUs with a matrix unit, see [`Self::has_matrix_unit`].
    pub(crate) const NEAR_BYTES: usize = 2 << 20;

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

    /// Whether products of bf16 are made by a matrix unit, which makes many more than vectors do. CPUs that have one have a
    /// second-level cache of [`Self::NEAR_BYTES`], too, and a third-level one that is slow for their speed.
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
            Set::Amx(_) => "amx", // `f32`, too: convolutions add up in other blocks there
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Bf16 => "avx512",
        }
    }

    /// The widest that may be used: of this CPU, or what [`Level::of_environment`] says.
    pub fn widest() -> Self {
        static WIDEST: OnceLock<Level> = OnceLock::new();
        let all = || *Self::all().last().expect("every CPU has the baseline");
        *WIDEST.get_or_init(|| Self::of_environment().ok().flatten().unwrap_or_else(all))
    }

    /// What `ALEXNET_ISA` names, if it is set: CPUs that are kept to the same instructions round sums alike.
    ///
    /// # Errors
    /// If this CPU has nothing of that name.
    pub fn of_environment() -> Result<Option<Self>, NoSuchLevel> {
        match std::env::var(NAMED_BY) {
            Ok(name) => Self::named(&name).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// That of this name, as [`Level::name`] has it of products of bf16.
    fn named(name: &str) -> Result<Self, NoSuchLevel> {
        let all = Self::all_for_bf16();
        let named = |level: &&Self| level.name(Dtype::Bf16) == name;
        all.iter().find(named).copied().ok_or_else(|| {
            let there: Vec<_> = all.iter().map(|level| level.name(Dtype::Bf16)).collect();
            NoSuchLevel { name: name.to_owned(), there: there.join(", ") }
        })
    }

    pub(crate) fn set(self) -> Set {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_name_of_its_own_and_others_are_refused() {
        for level in Level::all_for_bf16() {
            assert_eq!(Level::named(level.name(Dtype::Bf16)), Ok(level));
        }
        let error = Level::named("sse9").expect_err("no such thing").to_string();
        assert!(error.starts_with("ALEXNET_ISA=sse9: this CPU has baseline"), "{error}");
    }

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
