//! What the cores can do at most: multiply-adds in registers, the bound of every direct algorithm.

use super::{
    Level,
    vector::{Kernel, Simd},
};
use crate::ops::Dtype;
use std::{hint::black_box, thread, time::Instant};

/// Enough sums to hide an instruction's latency, few enough to stay in the 16 registers of AVX2.
const SUMS: usize = 12;
/// Rounds of a measurement: some milliseconds.
const ROUNDS: usize = 1 << 20;
const MEASUREMENTS: usize = 5;

/// Billions of operations a second on numbers of `dtype` that `threads` threads reach together, a
/// multiply-add being two; the best of five measurements.
pub fn gflops(level: Level, threads: usize, dtype: Dtype) -> f64 {
    (0..MEASUREMENTS).map(|_| gflops_once(level, threads, dtype)).fold(0.0, f64::max)
}

/// One measurement of [`gflops`], to be made between those of what it is compared with.
pub fn gflops_once(level: Level, threads: usize, dtype: Dtype) -> f64 {
    let run = || match dtype {
        Dtype::F32 => level.run(MultiplyAdd::<false>),
        Dtype::Bf16 => level.run_pairs(MultiplyAdd::<true>),
    };
    let began = Instant::now();
    let operations: usize = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        own + others.into_iter().map(|other| other.join().expect("no panic")).sum::<usize>()
    });
    operations as f64 / began.elapsed().as_secs_f64() / 1e9
}

/// Returns the operations that it did; on pairs of bf16, two a lane.
struct MultiplyAdd<const PAIRS: bool>;

impl<const PAIRS: bool> Kernel for MultiplyAdd<PAIRS> {
    type Out = usize;

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = s.amx().filter(|_| PAIRS) {
            return amx.multiply_add(ROUNDS);
        }
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let [ones, small] = [0.5, 0.001].map(|x| s.splat(black_box(x)));
        let (ones, small) = (s.pair(ones, ones), s.pair(small, small));
        let mut sums = [s.splat(black_box(1.0)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = if PAIRS { s.dot(ones, small, *sum) } else { s.fma(*sum, a, b) };
            }
        }
        for sum in sums {
            let mut out = [0.0; L];
            s.store(sum, &mut out);
            black_box(out);
        }
        (if PAIRS { 4 } else { 2 }) * ROUNDS * SUMS * L
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_does_more_than_a_tenth_of_a_billion_a_second_at_every_level() {
        for level in Level::all() {
            for dtype in Dtype::ALL {
                let gflops = gflops_once(level, 1, dtype);
                assert!(gflops > 0.1 && gflops < 1e4, "{level:?}, {dtype:?}: {gflops}");
            }
        }
    }
}
