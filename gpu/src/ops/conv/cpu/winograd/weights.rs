//! The kernels at the points, and the gradient of the kernels from its values at the points.

use super::transform::{N, POINTS, outputs, taps};
use crate::cpu::vector::{Kernel, Simd};

/// A block of the weights as one group and source uses it. Outputs are vectors, inputs stand one
/// after another.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Kernels {
    /// Where the block begins.
    pub(in super::super) start: usize,
    /// From an output channel to the next.
    pub(in super::super) output: usize,
    /// From an input channel to the next.
    pub(in super::super) input: usize,
    /// Output channels.
    pub(in super::super) outputs: usize,
    /// Input channels, phases counted.
    pub(in super::super) inputs: usize,
    /// Side of the window.
    pub(in super::super) window: usize,
    /// Step of the window, see [`super::planes::Planes`].
    pub(in super::super) step: usize,
    /// Turned by half a circle: for the gradient of the input.
    pub(in super::super) turned: bool,
}

impl Kernels {
    /// Where the weight is, less `output` times the output channel, that phase input channel `input`
    /// has at `row`, `col` of its window; phases at the edge have none.
    #[inline(always)]
    pub(in super::super) fn place(
        &self, input: usize, row: usize, col: usize,
    ) -> Option<usize> {
        let (plane, phase) = (input / (self.step * self.step), input % (self.step * self.step));
        let row = row * self.step + phase / self.step;
        let col = col * self.step + phase % self.step;
        if row >= self.window || col >= self.window {
            return None;
        }
        let tap = row * self.window + col;
        let tap = if self.turned { self.window * self.window - 1 - tap } else { tap };
        Some(self.start + plane * self.input + tap)
    }
}

/// `u[point, input, lane]` of one vector of outputs.
pub(super) struct Evaluate<'a, const R: usize> {
    pub(super) block: Kernels,
    pub(super) vector: usize,
    pub(super) w: &'a [f32],
    pub(super) u: &'a mut [f32],
}

impl<const R: usize> Kernel for Evaluate<'_, R> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let block = self.block;
        let first = self.vector * L;
        let valid = (block.outputs - first).min(L);
        let u = self.u.as_chunks_mut::<L>().0;
        for input in 0..block.inputs {
            let mut columns = [[s.zero(); POINTS]; R];
            for col in 0..R {
                let mut column = [s.zero(); R];
                for row in 0..R {
                    let mut lanes = [0.0; L];
                    if let Some(place) = block.place(input, row, col) {
                        let w = &self.w[place + first * block.output..];
                        for lane in 0..valid {
                            lanes[lane] = w[lane * block.output];
                        }
                    }
                    column[row] = s.load(&lanes);
                }
                columns[col] = taps(s, column);
            }
            for i in 0..POINTS {
                let mut row = [s.zero(); R];
                for col in 0..R {
                    row[col] = columns[col][i];
                }
                let values = taps(s, row);
                for j in 0..POINTS {
                    let value = s.mul(values[j], s.splat(1.0 / (N[i] * N[j])));
                    s.store(value, &mut u[(i * POINTS + j) * block.inputs + input]);
                }
            }
        }
    }
}

/// `dw` of one vector of outputs, from `sums[point, input, output]` in rows of `width` floats.
/// `dw` begins with the first of these outputs.
pub(super) struct Interpolate<'a, const R: usize> {
    pub(super) block: Kernels,
    pub(super) vector: usize,
    pub(super) sums: &'a [f32],
    pub(super) width: usize,
    pub(super) dw: &'a mut [f32],
}

impl<const R: usize> Kernel for Interpolate<'_, R> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let block = self.block;
        let valid = (block.outputs - self.vector * L).min(L);
        let sums = self.sums.as_chunks::<L>().0;
        for input in 0..block.inputs {
            let mut columns = [[s.zero(); R]; POINTS];
            for j in 0..POINTS {
                let mut column = [s.zero(); POINTS];
                for i in 0..POINTS {
                    let at = ((i * POINTS + j) * block.inputs + input) * self.width / L;
                    let scale = s.splat(1.0 / (N[i] * N[j]));
                    column[i] = s.mul(scale, s.load(&sums[at + self.vector]));
                }
                columns[j] = outputs(s, column);
            }
            for i in 0..R {
                let mut row = [s.zero(); POINTS];
                for j in 0..POINTS {
                    row[j] = columns[j][i];
                }
                let taps: [S::V; R] = outputs(s, row);
                for j in 0..R {
                    let mut lanes = [0.0; L];
                    s.store(taps[j], &mut lanes);
                    if let Some(place) = block.place(input, i, j) {
                        for (lane, value) in lanes[..valid].iter().enumerate() {
                            self.dw[place + lane * block.output] = *value;
                        }
                    }
                }
            }
        }
    }
}
