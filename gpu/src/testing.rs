//! What the tests of the ops share: made-up numbers, comparisons, and gradients taken by
//! differences in double precision.

use crate::{
    cpu::{Buffer, Cpu, Level},
    device::Device as _,
    random::philox,
};

/// Runs a test on the CPU device with 1 and with 3 threads and with every instruction set that this
/// machine has.
pub(crate) fn on_every_cpu(test: impl FnMut(&mut Cpu)) {
    on_cpus(Level::all(), test);
}

/// The same, also without the instructions for bf16 that it may have.
pub(crate) fn on_every_cpu_for_bf16(test: impl FnMut(&mut Cpu)) {
    on_cpus(Level::all_for_bf16(), test);
}

fn on_cpus(levels: Vec<Level>, mut test: impl FnMut(&mut Cpu)) {
    for level in levels {
        for threads in [1, 3] {
            test(&mut Cpu::with_level("test", threads, level).expect("threads"));
        }
    }
}

/// `len` numbers between -1 and 1, of stream `seed`.
pub(crate) fn noise(seed: u32, len: usize) -> Vec<f32> {
    let word = |i: usize| philox([seed, 2012], [(i / 4) as u32, 0, 0, 0])[i % 4];
    (0..len).map(|i| (f64::from(word(i)) / 2_147_483_648.0 - 1.0) as f32).collect()
}

pub(crate) fn buffer(cpu: &mut Cpu, values: &[f32]) -> Buffer {
    let mut buffer = cpu.zeros(values.len()).expect("memory");
    cpu.upload(&mut buffer, values);
    buffer
}

pub(crate) fn floats(buffer: &Buffer) -> &[f32] {
    buffer
}

/// The double-precision twin of some numbers.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Each within `tolerance` of the reference's largest magnitude: sums of products of numbers around
/// 1 err relative to their terms, not to what is left of them.
pub(crate) fn close(found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "lengths");
    let scale = wanted.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= tolerance * scale, "at {i}: {found}, expected {wanted} ({error:e})");
    }
}

/// Each the sum of its `terms`, within `tolerance` of what their magnitudes add up to: the terms may
/// cancel, and what is left of them may be as small as it likes.
pub(crate) fn close_sums<Terms: Iterator<Item = f64>>(
    found: &[f32], terms: impl Fn(usize) -> Terms, tolerance: f64,
) {
    for (k, found) in found.iter().enumerate() {
        let (wanted, of_all) =
            terms(k).fold((0.0, 0.0), |(sum, all): (f64, f64), x| (sum + x, all + x.abs()));
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= tolerance * of_all, "sum {k}: {found}, expected {wanted} ({error:e})");
    }
}

/// Whether `x` is so near to a kink at `at` that a difference would straddle it.
pub(crate) fn kinked(x: f32, at: f32) -> bool {
    (x - at).abs() < 1e-3
}

/// Holds `dx` against central differences of `loss` at up to 40 places that are not near a kink.
pub(crate) fn gradient(
    x: &[f32], dx: &[f32], loss: impl Fn(&[f64]) -> f64, near_kink: impl Fn(usize) -> bool,
) {
    let mut x = wide(x);
    let scale = dx.iter().fold(1e-6, |max: f64, d| max.max(f64::from(d.abs())));
    let step = 1e-4;
    for i in (0..x.len()).step_by(x.len().div_ceil(40)).filter(|i| !near_kink(*i)) {
        let at = x[i];
        x[i] = at + step;
        let above = loss(&x);
        x[i] = at - step;
        let below = loss(&x);
        x[i] = at;
        let wanted = (above - below) / (2.0 * step);
        let error = (f64::from(dx[i]) - wanted).abs();
        // Differences err by step^2, single precision by 1e-7 of the terms.
        assert!(error <= 1e-4 * scale, "at {i}: {}, by differences {wanted}", dx[i]);
    }
}
