//! On a CUDA device: a product of matrices each, whose terms are split where there are few tiles. Those of
//! halves are made on tensor cores where there are any, and those of tf32 there only. What is multiplied, the device's [`Numbers`] say, and not
//! the op.

use super::Linear;
use crate::{
    cuda::{
        launch::{Args, Launch, Ptr, Sink, int},
        numbers::{Numbers, kernels},
        tile::{self, Epilogue, Kernels, Tile, Tiled, products},
    },
    ops::{conv::Pass, sgd::Sgd},
};
use bytemuck::{Pod, Zeroable};

/// Columns and rows that a block of `column_sums` adds up at a time.
const BIAS_BLOCK: [u32; 3] = [32, 8, 1];
/// Rows that are worth a part of their own.
const BIAS_ROWS_MIN: usize = 256;
/// Parts at most.
const BIAS_PARTS_MAX: usize = 128;

/// The twin of `LinearShape` in `linear.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Shape {
    images: i32,
    inputs: i32,
    outputs: i32,
    weight_inputs: i32,
    offset: i32,
    unused: i32,
}

impl Shape {
    fn new(op: &Linear, n: usize) -> Self {
        let _ = (int(n * op.inputs), int(n * op.outputs), int(op.outputs * op.weight_inputs));
        Self {
            images: int(n),
            inputs: int(op.inputs),
            outputs: int(op.outputs),
            weight_inputs: int(op.weight_inputs),
            offset: int(op.weight_offset),
            unused: 0,
        }
    }
}

/// The tile that a pass takes by itself.
pub const fn tile(numbers: Numbers, pass: Pass) -> Tile {
    match (numbers, pass) {
        (Numbers::F32, Pass::Forward | Pass::BackwardData) => Tile::Small,
        _ => Tile::Tall,
    }
}

/// Parts of a product of `n` by `columns` sums of `terms` terms, whichever tile makes it.
fn parts(numbers: Numbers, n: usize, columns: usize, terms: usize) -> usize {
    let tiles = tile(numbers, Pass::Forward).count(n, columns);
    tile::parts(tiles.iter().product(), terms)
}

/// Bytes of the workspace that forward and backward data need, one after the other.
pub fn workspace_bytes(numbers: Numbers, op: &Linear, n: usize) -> usize {
    let bytes =
        |columns, terms| tile::room_bytes(n, columns, 1, parts(numbers, n, columns, terms));
    bytes(op.outputs, op.inputs).max(bytes(op.inputs, op.outputs))
}

/// `y[n, k] (+)= x[n, c] w[k, offset + c]^T (+ b)`, as `to` says.
pub fn forward(
    by: Tiled, op: &Linear, n: usize, x: Ptr, w: Ptr, to: Epilogue, workspace: Ptr,
    sink: Sink<'_>,
) {
    let size = (n, op.outputs, op.inputs);
    let kernels = products!("linear_forward");
    multiply(by, kernels, size, [x, w], to, Shape::new(op, n), workspace, sink);
}

/// `dx[n, c] = dy[n, k] w[k, offset + c]`, overwritten.
pub fn backward_data(
    by: Tiled, op: &Linear, n: usize, dy: Ptr, w: Ptr, dx: Ptr, workspace: Ptr, sink: Sink<'_>,
) {
    let (size, to) = ((n, op.inputs, op.outputs), Epilogue::plain(dx));
    let kernels = products!("linear_backward_data");
    multiply(by, kernels, size, [dy, w], to, Shape::new(op, n), workspace, sink);
}

fn multiply(
    by: Tiled, kernels: Kernels, (n, columns, terms): (usize, usize, usize),
    [left, w]: [Ptr; 2], to: Epilogue, shape: Shape, workspace: Ptr, sink: Sink<'_>,
) {
    let parts = parts(by.numbers, n, columns, terms);
    let rooms = if parts > 1 { workspace } else { Ptr::NULL };
    let finished = to.of(n, columns, 1, rooms);
    let tile = by.tile.unwrap_or(tile(by.numbers, Pass::Forward));
    let [down, across] = tile.count(n, columns);
    let args = Args::new().with(left).with(w).with(finished).with(shape).with(int(parts));
    let kernel = tile::kernel(kernels, by.numbers, tile);
    sink(Launch::new(kernel, [across, down, parts], tile::THREADS, args));
    if parts > 1 {
        tile::join(by.numbers, finished, 1, parts, sink);
    }
}

/// One step of the optimiser by the gradient `dy^T x` of this source's columns of `w`, unless one was
/// [found](crate::ops::sgd::cuda::find_overflow) not to be finite. Learning rate and the gradient's scale are those of
/// the [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `sgd`'s. Of halves, `copy` is
/// what products read of the weights, and written too.
pub fn update(
    by: Tiled, op: &Linear, n: usize, [x, dy]: [Ptr; 2], sgd: &Sgd, [v, w, copy]: [Ptr; 3],
    params: Ptr, sink: Sink<'_>,
) {
    let args = Args::new().with(x).with(dy).with(v).with(w).with(copy);
    let args = args.with(Shape::new(op, n));
    let args = args.with(sgd.momentum).with(sgd.decay).with(params);
    let tile = by.tile.unwrap_or(tile(by.numbers, Pass::BackwardWeight));
    let [down, across] = tile.count(op.outputs, op.inputs);
    let kernel = tile::kernel(products!("linear_update"), by.numbers, tile);
    sink(Launch::new(kernel, [across, down, 1], tile::THREADS, args));
}

fn bias_parts(rows: usize) -> usize {
    (rows / BIAS_ROWS_MIN).clamp(1, BIAS_PARTS_MAX)
}

/// Bytes of the workspace that [`bias_backward`] needs.
pub fn bias_workspace_bytes(n: usize, k: usize, area: usize) -> usize {
    bias_parts(n * area) * k * size_of::<f32>()
}

/// `db[k] = sum over n and area of dy[n, area, k]` of these numbers, overwritten. Linear layers have area 1.
pub fn bias_backward(
    numbers: Numbers, n: usize, k: usize, area: usize, dy: Ptr, db: Ptr, workspace: Ptr,
    sink: Sink<'_>,
) {
    let (rows, parts) = (n * area, bias_parts(n * area));
    let args = Args::new().with(dy).with(workspace).with(rows as u64).with(int(k));
    let grid = [k.div_ceil(BIAS_BLOCK[0] as usize), parts, 1];
    sink(Launch::new(numbers.of(kernels!("column_sums")), grid, BIAS_BLOCK, args));
    tile::join(Numbers::F32, Epilogue::plain(db).of(1, k, 1, workspace), 1, parts, sink);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cuda::{
            launch::StepParams,
            testing::{
                Emulated, at_full_size, bound, in_full, noise_as, on_every_device,
                on_every_schedule, once, rounded, same_bits,
            },
        },
        ops::Dtype,
        testing::{close, close_sums, noise, wide},
    };

    /// `y`, `dx` and `dw` of this source by the formulas.
    fn reference(
        op: &Linear, n: usize, [x, w, dy]: [&[f64]; 3],
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (mut y, mut dx) = (vec![0.0; n * op.outputs], vec![0.0; n * op.inputs]);
        let mut dw = vec![0.0; w.len()];
        for iy in 0..n * op.outputs {
            let row = iy % op.outputs * op.weight_inputs + op.weight_offset;
            for c in 0..op.inputs {
                let ix = iy / op.outputs * op.inputs + c;
                y[iy] += x[ix] * w[row + c];
                dx[ix] += dy[iy] * w[row + c];
                dw[row + c] += dy[iy] * x[ix];
            }
        }
        (y, dx, dw)
    }

    /// The formulas' factors are rounded as products round them, which are then exact; `y` is in `f32`, `dx` in
    /// `numbers`.
    fn agrees(op: &Linear, n: usize, every_schedule: bool) {
        for numbers in Numbers::ALL {
            product_agrees(numbers, op, n, every_schedule);
        }
    }

    fn product_agrees(numbers: Numbers, op: &Linear, n: usize, every_schedule: bool) {
        const BOUND: f64 = 2e-6;
        const SCALE: f32 = 4.0; // as if the gradients were as much larger as they ought to be
        let (x, w) = (noise(1, n * op.inputs), noise(2, op.outputs * op.weight_inputs));
        let (dy, b, v) = (noise(3, n * op.outputs), noise(4, op.outputs), noise(5, w.len()));
        let factors = [&x, &w, &dy].map(|values| wide(&rounded(numbers, values)));
        let (y, dx, dw) = reference(op, n, factors.each_ref().map(Vec::as_slice));
        let twice: Vec<f64> =
            y.iter().enumerate().map(|(i, y)| 2.0 * y + f64::from(b[i % op.outputs])).collect();
        let clipped: Vec<f64> = twice.iter().map(|y| y.max(0.0)).collect();
        let sgd = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
        let stepped: Vec<f64> = (0..w.len())
            .map(|i| {
                let columns = op.weight_offset..op.weight_offset + op.inputs;
                let (w, v) = (f64::from(w[i]), f64::from(v[i]));
                let mine = columns.contains(&(i % op.weight_inputs));
                if mine { 0.9 * v - 0.01 * 0.1 * w - 0.1 * dw[i] / f64::from(SCALE) } else { v }
            })
            .collect();
        let passes = |device: &mut Emulated, tile: Option<Tile>| {
            let by = Tiled { numbers, tile };
            let [x, dy, copy] = [&x, &dy, &w].map(|values| device.put_as(numbers, values));
            let [b, on_w, on_v] = [&b, &w, &v].map(|values| device.put(values));
            let (on_y, on_dx) =
                (device.unwritten(y.len()), device.unwritten_as(numbers, dx.len()));
            let workspace = device.workspace(workspace_bytes(numbers, op, n));
            let params = device.params(StepParams::new(0.1, 0, n).scaled(SCALE));
            let plain = Epilogue { wide: true, ..Epilogue::plain(on_y) };
            let first = Epilogue { bias: Some(b), ..plain };
            let second = Epilogue { accumulate: true, relu: true, ..plain };
            device.run(|sink| {
                forward(by, op, n, x, copy, first, workspace, sink);
                forward(by, op, n, x, copy, second, workspace, sink);
                backward_data(by, op, n, dy, copy, on_dx, workspace, sink);
                update(by, op, n, [x, dy], &sgd, [on_v, on_w, copy], params, sink);
            });
            let copy = device.get_as(numbers, copy);
            let [y, v, w] = [on_y, on_v, on_w].map(|at| device.get(at));
            [y, device.get_as(numbers, on_dx), v, w, copy]
        };
        let test = |device: &mut Emulated| {
            let found = passes(device, None);
            close(&found[0], &clipped, BOUND);
            close(&found[1], &dx, bound(numbers, BOUND));
            close(&found[2], &stepped, BOUND);
            let moved = (0..w.len()).map(|i| {
                let still = f64::from(v[i]) == stepped[i];
                f64::from(w[i]) + if still { 0.0 } else { stepped[i] }
            });
            close(&found[3], &moved.collect::<Vec<_>>(), BOUND);
            if numbers.copies_weights() {
                assert_eq!(found[4], rounded(numbers, &found[3]));
            }
            let tiles = if every_schedule { device.other_tiles(numbers) } else { Vec::new() };
            for tile in tiles {
                let by_tile = passes(device, Some(tile));
                assert!(same_bits(&by_tile, &found), "{numbers:?} by {tile:?} of {op:?}");
            }
        };
        if every_schedule { on_every_device(numbers, test) } else { at_full_size(test) }
    }

    fn linear(inputs: usize, outputs: usize, before: usize, after: usize) -> Linear {
        let weight_inputs = before + inputs + after;
        let dtype = Dtype::F32;
        Linear { inputs, outputs, weight_inputs, weight_offset: before, dtype }
    }

    #[test]
    #[ignore = "takes a minute: run by cargo xtask ci"]
    fn sources_edges_and_split_terms_agree_with_the_formulas_by_every_tile() {
        agrees(&linear(1, 1, 0, 0), 1, true);
        agrees(&linear(7, 9, 4, 3), 5, true);
        // Quads at both ends, terms in several parts; eights; more than a tile of everything.
        agrees(&linear(300, 68, 8, 4), 3, true);
        agrees(&linear(296, 72, 8, 16), 24, true);
        agrees(&linear(67, 133, 1, 0), 66, true);
    }

    #[test]
    fn tf32_errs_by_half_a_bit_of_eleven_in_each_factor() {
        let (op, n, numbers) = (linear(64, 24, 0, 0), 9, Numbers::Tf32);
        let (x, w) = (noise(1, n * op.inputs), noise(2, op.outputs * op.inputs));
        let dot = |at: usize, of: fn(f64) -> f64| -> f64 {
            let terms =
                x[at / op.outputs * op.inputs..].iter().zip(&w[at % op.outputs * op.inputs..]);
            terms.take(op.inputs).map(|(x, w)| of(f64::from(*x) * f64::from(*w))).sum()
        };
        once(|device| {
            let [x, w] = [&x, &w].map(|values| device.put(values));
            let y = device.unwritten(n * op.outputs);
            let workspace = device.workspace(workspace_bytes(numbers, &op, n));
            let to = Epilogue::plain(y);
            device.run(|sink| forward(numbers.into(), &op, n, x, w, to, workspace, sink));
            let found: Vec<f32> = device.get(y);
            let mut worst = 0.0_f64;
            for (at, found) in found.into_iter().enumerate() {
                let terms = dot(at, f64::abs);
                worst = worst.max((f64::from(found) - dot(at, |term| term)).abs() / terms);
            }
            // Each is off by 2^-11 at most; and if none were rounded, all would be far nearer.
            assert!((1e-6..2.0 * 2.0_f64.powi(-11)).contains(&worst), "{worst:e}");
        });
    }

    #[test]
    fn after_an_overflow_no_weight_moves() {
        let (op, n) = (linear(20, 9, 4, 4), 3);
        let len = op.outputs * op.weight_inputs;
        let sgd = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
        on_every_device(Numbers::F16, |device| {
            for numbers in Numbers::IN_MEMORY {
                let operands = [n * op.inputs, n * op.outputs, len];
                let [x, dy, copy] =
                    operands.map(|len| device.put_as(numbers, &noise_as(numbers, 1, len)));
                let before = [noise(2, len), noise(3, len), device.get_as(numbers, copy)];
                let [v, w] = [0, 1].map(|i| device.put(&before[i]));
                let params = StepParams { overflowed: 1, ..StepParams::new(0.1, 0, n) };
                let params = device.params(params);
                device.run(|sink| {
                    update(numbers.into(), &op, n, [x, dy], &sgd, [v, w, copy], params, sink);
                });
                let after = [device.get(v), device.get(w), device.get_as(numbers, copy)];
                assert_eq!(after, before, "{numbers:?}");
            }
        });
    }

    /// The second source of one of two towers.
    #[test]
    #[ignore = "takes a minute: run by cargo xtask ci"]
    fn fc6_to_fc8_of_2012_agree_with_the_formulas() {
        let layers = [
            (linear(4608, 2048, 4608, 0), 1),
            (linear(2048, 2048, 2048, 0), 1),
            (linear(2048, 1000, 2048, 0), 2),
        ];
        // One after the other: numbers are multiplied alike at all sizes.
        for ((op, n), one) in layers.iter().zip(Numbers::ALL) {
            for numbers in Numbers::ALL {
                if in_full() || numbers == one {
                    product_agrees(numbers, op, *n, false);
                }
            }
        }
    }

    #[test]
    fn the_biases_gradient_is_the_sum_over_rows() {
        for (n, k, area) in [(1, 1, 1), (5, 33, 1), (3, 40, 171), (2, 5, 300)] {
            on_every_schedule(|device| {
                for numbers in Numbers::IN_MEMORY {
                    let dy = noise_as(numbers, 1, n * k * area);
                    let column =
                        |unit| dy.iter().skip(unit).step_by(k).map(|dy| f64::from(*dy));
                    let (on_dy, db) = (device.put_as(numbers, &dy), device.unwritten(k));
                    let workspace = device.workspace(bias_workspace_bytes(n, k, area));
                    device.run(|sink| {
                        bias_backward(numbers, n, k, area, on_dy, db, workspace, sink);
                    });
                    close_sums(&device.get(db), column, 1e-6);
                }
            });
        }
    }
}
