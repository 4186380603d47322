//! Which instruction sets this CPU has; known when the program runs.

/// An instruction set that this CPU has. Only [`Level::all`] makes one, so holding it is the proof
/// that its instructions may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// What every CPU of the architecture has.
    Baseline,
    /// AVX2, BMI 1 and 2 and conversions to half precision: Haswell, Zen and later.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with VBMI and VNNI: Ice Lake, Zen 4 and later.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// Those of this CPU, the widest last.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self(Set::Baseline)];
        #[cfg(target_arch = "x86_64")]
        {
            macro_rules! has {
                ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
            }
            if has!("avx2", "bmi1", "bmi2", "lzcnt", "movbe", "f16c") {
                all.push(Self(Set::Avx2));
                if has!("avx512f", "avx512bw", "avx512vl", "avx512vbmi", "avx512vnni") {
                    all.push(Self(Set::Avx512));
                }
            }
        }
        all
    }

    /// The widest of this CPU.
    pub(crate) fn widest() -> Self {
        *Self::all().last().expect("every CPU has the baseline")
    }

    /// One word for messages.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Set::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    pub(crate) fn set(self) -> Set {
        self.0
    }
}
