//! What the cores can do at most: multiply-adds in registers, the bound of every direct algorithm.

use super::{Level, simd::stamped};
use std::{hint::black_box, thread, time::Instant};

/// Lanes and accumulators: wide enough for the widest registers, enough of them to hide an
/// instruction's latency, few enough to stay in the 16 registers of AVX2.
const LANES: usize = 8;
const ACCUMULATORS: usize = 12;
/// Rounds of a measurement: some milliseconds.
const ROUNDS: u64 = 1_000_000;
const MEASUREMENTS: usize = 5;

/// Billions of operations a second that `threads` threads reach together, a multiply-add being two;
/// the best of five measurements.
pub fn gflops(level: Level, threads: usize) -> f64 {
    let operations = (ROUNDS * (2 * LANES * ACCUMULATORS * threads) as u64) as f64;
    let measure = || {
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut sums = [[1.0; LANES]; ACCUMULATORS];
                    multiply_add(
                        level,
                        black_box(ROUNDS),
                        black_box([0.999, 0.001]),
                        &mut sums,
                    );
                    black_box(sums);
                });
            }
        });
        operations / began.elapsed().as_secs_f64() / 1e9
    };
    (0..MEASUREMENTS).map(|_| measure()).fold(0.0, f64::max)
}

stamped! {
    fn multiply_add(rounds: u64, factors: [f32; 2], sums: &mut [[f32; LANES]; ACCUMULATORS]) {
        let mut local = *sums;
        for _ in 0..rounds {
            for sum in &mut local {
                for lane in sum {
                    *lane = lane.mul_add(factors[0], factors[1]);
                }
            }
        }
        *sums = local;
    }
}
