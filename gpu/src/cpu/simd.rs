//! Stamps a loop out for the instruction sets that a CPU may have; which is used is known when the
//! program runs.

/// An instruction set that this CPU has. Only [`Level::all`] and [`Level::widest`] make one, so
/// holding it is the proof that its instructions may be executed.
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
}

impl Level {
    /// Those of this CPU, the widest last.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self(Set::Baseline)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self(Set::Avx2));
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                all.push(Self(Set::Avx512));
            }
        }
        all
    }

    /// The widest of this CPU.
    pub fn widest() -> Self {
        *Self::all().last().expect("every CPU has the baseline")
    }

    pub(crate) fn set(self) -> Set {
        self.0
    }
}

/// Defines `fn name(level, args) { body }`, compiled for every [`Level`]. Nothing is contracted or
/// reordered, so all give the same bits.
macro_rules! stamped {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        fn $name(level: $crate::cpu::Level, $($arg: $type),*) {
            #[inline(always)]
            fn body($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl")]
            fn avx512($($arg: $type),*) {
                body($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) {
                body($($arg),*);
            }
            match level.set() {
                $crate::cpu::simd::Set::Baseline => body($($arg),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a level exists only where the CPU was found to have its features.
                $crate::cpu::simd::Set::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::cpu::simd::Set::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use stamped;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    stamped! {
        fn multiply_add(x: &[f32], y: &mut [f32]) {
            y.iter_mut().zip(x).for_each(|(y, x)| *y += x * x);
        }
    }

    stamped! {
        fn sum(x: &[f32], y: &mut [f32]) {
            y[0] = x.iter().sum();
        }
    }

    #[test]
    fn no_level_contracts_or_reorders() {
        let (x, y) = (noise(1, 101), noise(2, 101)); // whole vectors and a rest
        let plain = |(x, y): (&f32, &f32)| y + std::hint::black_box(x * x);
        let wanted: Vec<f32> = x.iter().zip(&y).map(plain).collect();
        let fused: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x.mul_add(*x, *y)).collect();
        assert_ne!(wanted, fused, "numbers that a fused multiply-add would give away");
        let in_order = x.iter().fold(-0.0, |sum, x| std::hint::black_box(sum + x));
        let by_lanes = (0..4).map(|lane| x.iter().skip(lane).step_by(4).sum::<f32>());
        assert_ne!(in_order, by_lanes.sum(), "numbers that another order would give away");
        for level in Level::all() {
            let mut found = y.clone();
            multiply_add(level, &x, &mut found);
            assert_eq!(found, wanted, "{level:?}");
            sum(level, &x, &mut found);
            assert_eq!(found[0], in_order, "{level:?}");
        }
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a level that cannot be tested here says so")]
    fn all_levels_of_this_cpu_are_found_and_the_widest_is_the_last() {
        let all = Level::all();
        assert_eq!(all[0].set(), Set::Baseline);
        assert_eq!(all.last(), Some(&Level::widest()));
        if all.len() < 3 {
            eprintln!("SKIP: this CPU lacks AVX-512 or AVX2; only {all:?} are tested here");
        }
    }
}
