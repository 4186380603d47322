//! Vectors of `L` floats on each instruction set: 16 with AVX-512, 8 with AVX2, 4 with none of them.
//!
//! A loop over vectors is written once, as a [`Kernel`] generic over [`Simd`], and compiled for every
//! [`Level`]. The token that implements `Simd` is the proof that its instructions exist, so that
//! kernels themselves are safe code.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod baseline;

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
use super::simd::{Level, Set};

/// The bits of a number from which a quarter of another's are taken for the inverse of its fourth root: 5/4 of those of 1,
/// less what makes the error after two steps of Newton's method the least, 1.5e-5.
const FOURTH_ROOT: i32 = 0x4F58_4770;

/// The vector instructions of one level, `L` floats each.
///
/// Every method is inlined into the kernel that [`Level::run`] or [`Simd::call`] compiles with the
/// level's features.
pub(crate) trait Simd<const L: usize>: Copy + Send + Sync {
    /// `L` floats in a register.
    type V: Copy;
    /// How many rows a tile of a matrix product has at most, by the vectors in a row: its sums, a row
    /// of `b` and one element of `a` fill the registers.
    const ROWS_MAX: [usize; 4];
    /// Whether products of bf16 have a matrix unit, which reads pairs that are neighbours.
    const MATRIX_UNIT: bool = false;

    /// Compiles `kernel` as a function of its own with this level's features, and calls it.
    fn call<K: Kernel>(self, kernel: K) -> K::Out;
    /// All `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Reads a vector.
    fn load(self, from: &[f32; L]) -> Self::V;
    /// Reads fewer than `L` floats; the rest are zeros.
    fn load_part(self, from: &[f32]) -> Self::V;
    /// Writes a vector.
    fn store(self, v: Self::V, to: &mut [f32; L]);
    /// Writes the first floats of a vector, fewer than `L`.
    fn store_part(self, v: Self::V, to: &mut [f32]);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`, rounded once where the level can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// A guess of `a^(-1/4)`, 3.2 % off at most, of positive normal numbers: a quarter of their bits, taken as a
    /// logarithm, from [`FOURTH_ROOT`].
    fn inverse_fourth_root(self, a: Self::V) -> Self::V;
    /// `a` where `a > b`, else `b`, also where one of them is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `x` where `a == b`, else zero.
    fn if_equal(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V;
    /// `x` where `a > 0`, else zero.
    fn if_positive(self, a: Self::V, x: Self::V) -> Self::V;
    /// Of the elements of `a`, then `b`: those at even places, and those at odd ones.
    fn split(self, a: Self::V, b: Self::V) -> [Self::V; 2];
    /// The inverse of `split`.
    fn merge(self, even: Self::V, odd: Self::V) -> [Self::V; 2];
    /// The last element of `before`, then all but the last of `v`.
    fn shift(self, before: Self::V, v: Self::V) -> Self::V;
    /// `c` plus, in each lane, the products of the two bf16s of `a` with those of `b`. The order of the sums,
    /// and how often they are rounded, are the level's.
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Rounds to bf16, ties to even: `low` to the low halves of the lanes, `high` to the high ones. AVX-512's own instruction
    /// takes subnormal numbers for zeros.
    fn pair(self, low: Self::V, high: Self::V) -> Self::V;
    /// Rows to columns.
    fn transpose(self, rows: [Self::V; L]) -> [Self::V; L];

    /// The matrix unit for bf16, if this level has one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn amx(self) -> Option<Amx> {
        None
    }

    /// All zeros.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// Reads the next `L` floats of `from`, or what is left of it and zeros.
    #[inline(always)]
    fn load_next(self, from: &[f32]) -> Self::V {
        match from.first_chunk() {
            Some(from) => self.load(from),
            None => self.load_part(from),
        }
    }

    /// Writes the next `L` floats of `to`, or what is left of it.
    #[inline(always)]
    fn store_next(self, v: Self::V, to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(to) => self.store(v, to),
            None => self.store_part(v, to),
        }
    }

    /// The sum of all elements, from the first to the last.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut all = [0.0; L];
        self.store(v, &mut all);
        all.iter().sum()
    }
}

/// A loop over vectors. `run` must be `#[inline(always)]`, and what it calls too, so that it is
/// compiled with the features of the level it runs on.
pub(crate) trait Kernel {
    /// What it returns.
    type Out;
    /// Does the work with vectors of `L` floats.
    fn run<S: Simd<L>, const L: usize>(self, simd: S) -> Self::Out;
}

/// The next `2 L` floats of `from`, or what is left of it and zeros, neighbours rounded to a pair of bf16.
#[inline(always)]
pub(crate) fn neighbours<S: Simd<L>, const L: usize>(s: S, from: &[f32]) -> S::V {
    let [even, odd] = s.split(s.load_next(from), s.load_next(&from[L.min(from.len())..]));
    s.pair(even, odd)
}

/// `x` rounded to bf16, ties to even, by its bits.
#[inline(always)]
fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    // A number would overflow into the sign; what is no number keeps one bit that says so.
    if x.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 }
}

/// Fetches the cache line at `from` ahead of its use; any address will do, it is never read.
#[inline(always)]
pub(crate) fn prefetch(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from; // others fetch ahead by themselves
}

/// As [`prefetch`], for what is used later than the next few accesses: not into the nearest cache.
#[inline(always)]
pub(crate) fn prefetch_far(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction, and it faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from; // others fetch ahead by themselves
}

/// A function that the compiler cannot see through, so that it stays one of its own: `inline(never)`
/// is dropped where there are target features (rustc 1.95), and tiles of a product that share one
/// function share its registers badly: sums are spilled, at half the speed.
#[inline(always)]
fn apart<F>(function: F) -> F {
    std::hint::black_box(function)
}

impl Level {
    /// Runs `kernel` with the instructions of this level.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self.set() {
            Set::Baseline => kernel.run(baseline::Baseline),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a level exists only where the CPU was found to have its features.
            Set::Avx2 => unsafe { avx2::Avx2::new() }.call(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Bf16 | Set::Amx(_) => {
                // SAFETY: as above.
                unsafe { avx512::Avx512::new() }.call(kernel)
            }
        }
    }

    /// As [`Level::run`], with instructions for [`Simd::dot`] and [`Simd::pair`] if this level has them.
    pub(crate) fn run_pairs<K: Kernel>(self, kernel: K) -> K::Out {
        match self.set() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a level exists only where the CPU was found to have its features.
            Set::Avx512Bf16 => unsafe { avx512::Avx512Bf16::new() }.call(kernel),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Amx(_) => unsafe { avx512::Avx512Amx::new() }.call(kernel),
            _ => self.run(kernel),
        }
    }

    /// Floats in a vector of this level.
    pub(crate) fn lanes(self) -> usize {
        struct Lanes;
        impl Kernel for Lanes {
            type Out = usize;
            #[inline(always)]
            fn run<S: Simd<L>, const L: usize>(self, _: S) -> usize {
                L
            }
        }
        self.run(Lanes)
    }
}

#[cfg(test)]
mod tests;
