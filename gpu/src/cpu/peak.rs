//! What the cores can do at most: multiply-adds in registers, the bound of every direct algorithm.

use super::{
    Level,
    vector::{Kernel, Simd},
};
use std::{hint::black_box, thread, time::Instant};

/// Enough sums to hide an instruction's latency, few enough to stay in the 16 registers of AVX2.
const SUMS: usize = 12;
/// Rounds of a measurement: some milliseconds.
const ROUNDS: usize = 1 << 20;
const MEASUREMENTS: usize = 5;

/// Billions of operations a second that `threads` threads reach together, a multiply-add being two;
/// the best of five measurements.
pub fn gflops(level: Level, threads: usize) -> f64 {
    (0..MEASUREMENTS).map(|_| gflops_once(level, threads)).fold(0.0, f64::max)
}

/// One measurement of [`gflops`], to be made between those of what it is compared with.
pub fn gflops_once(level: Level, threads: usize) -> f64 {
    let began = Instant::now();
    let operations: usize = thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).map(|_| scope.spawn(move || level.run(MultiplyAdd))).collect();
        let own = level.run(MultiplyAdd);
        own + others.into_iter().map(|other| other.join().expect("no panic")).sum::<usize>()
    });
    operations as f64 / began.elapsed().as_secs_f64() / 1e9
}

/// Returns the operations that it did.
struct MultiplyAdd;

impl Kernel for MultiplyAdd {
    type Out = usize;

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) -> usize {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
        let mut sums = [s.splat(black_box(1.0)); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        for sum in sums {
            let mut out = [0.0; L];
            s.store(sum, &mut out);
            black_box(out);
        }
        2 * ROUNDS * SUMS * L
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_does_more_than_a_tenth_of_a_billion_a_second_at_every_level() {
        for level in Level::all() {
            let gflops = gflops_once(level, 1);
            assert!(gflops > 0.1 && gflops < 1e4, "{level:?}: {gflops}");
        }
    }
}
