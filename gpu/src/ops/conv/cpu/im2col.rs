//! Each worker takes a share of the images; each image's windows are laid out as columns
//! (im2col) and multiplied by the kernels.

use super::Conv;
use crate::cpu::{
    Pool, Scratch,
    gemm::{Matrix, multiply, room_len},
};

/// Sizes of one group's product: `w[kernels, taps] columns[taps, area]`.
struct Sizes {
    /// Kernels of a group.
    kernels: usize,
    /// Channels of a group, of this source.
    channels: usize,
    /// Weights that a kernel has for this source.
    taps: usize,
    /// Pixels of an output plane.
    area: usize,
    /// Floats in a row of the weights.
    w_row: usize,
    /// Where the source's block begins in a row.
    w_start: usize,
}

impl Sizes {
    fn of(op: &Conv) -> Self {
        let square = op.window * op.window;
        let channels = op.channels / op.groups;
        Self {
            kernels: op.kernels / op.groups,
            channels,
            taps: channels * square,
            area: op.out_height() * op.out_width(),
            w_row: op.weight_channels * square,
            w_start: op.weight_offset * square,
        }
    }

    /// Group `group`'s block of the weights, `[kernels, taps]`.
    fn weights<'a>(&self, group: usize, w: &'a [f32]) -> Matrix<'a> {
        Matrix::rows(&w[group * self.kernels * self.w_row + self.w_start..], self.w_row)
    }

    fn x_len(&self, op: &Conv) -> usize {
        self.channels * op.height * op.width
    }

    fn y_len(&self) -> usize {
        self.kernels * self.area
    }

    /// Floats of a worker's columns.
    fn columns_len(&self) -> usize {
        self.taps * self.area
    }
}

pub(super) fn forward(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32], w: &[f32],
    b: Option<&[f32]>, accumulate: bool, y: &mut [f32],
) {
    let sizes = Sizes::of(op);
    let (level, share) = (pool.level(), pool.share(n));
    let size = (sizes.kernels, sizes.area, sizes.taps);
    let room = room_len(level, 1, size) + sizes.columns_len();
    let y = (&mut y[..n * op.y_len()], share * op.y_len());
    pool.zip_chunks(y, (scratch.take(pool.threads() * room), room), |part, y, room| {
        let (columns, room) = room.split_at_mut(sizes.columns_len());
        let x = x[part * share * op.x_len()..].chunks_exact(op.x_len());
        for (x, y) in x.zip(y.chunks_exact_mut(op.y_len())) {
            if let Some(b) = b {
                for (y, b) in y.chunks_exact_mut(sizes.area).zip(b) {
                    if accumulate {
                        y.iter_mut().for_each(|y| *y += b);
                    } else {
                        y.fill(*b);
                    }
                }
            }
            let groups = x.chunks_exact(sizes.x_len(op)).zip(y.chunks_exact_mut(sizes.y_len()));
            for (group, (x, y)) in groups.enumerate() {
                im2col(op, x, columns);
                let columns = Matrix::rows(columns, sizes.area);
                let add = accumulate || b.is_some();
                let w = sizes.weights(group, w);
                multiply(level, room, size, w, columns, add, (y, sizes.area));
            }
        }
    });
}

pub(super) fn backward_data(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, dy: &[f32], w: &[f32],
    dx: &mut [f32],
) {
    let sizes = Sizes::of(op);
    let (level, share) = (pool.level(), pool.share(n));
    let size = (sizes.taps, sizes.area, sizes.kernels);
    let room = room_len(level, 1, size) + sizes.columns_len();
    let dx = (&mut dx[..n * op.x_len()], share * op.x_len());
    pool.zip_chunks(dx, (scratch.take(pool.threads() * room), room), |part, dx, room| {
        let (columns, room) = room.split_at_mut(sizes.columns_len());
        let dy = dy[part * share * op.y_len()..].chunks_exact(op.y_len());
        for (dy, dx) in dy.zip(dx.chunks_exact_mut(op.x_len())) {
            let groups =
                dy.chunks_exact(sizes.y_len()).zip(dx.chunks_exact_mut(sizes.x_len(op)));
            for (group, (dy, dx)) in groups.enumerate() {
                let w = sizes.weights(group, w).transposed();
                let dy = Matrix::rows(dy, sizes.area);
                multiply(level, room, size, w, dy, false, (columns, sizes.area));
                dx.fill(0.0);
                col2im(op, columns, dx);
            }
        }
    });
}

pub(super) fn backward_weight(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32], dy: &[f32],
    dw: &mut [f32],
) {
    let sizes = Sizes::of(op);
    let (level, share) = (pool.level(), pool.share(n));
    let size = (sizes.kernels, sizes.taps, sizes.area);
    let room = room_len(level, 1, size) + sizes.columns_len();
    // Each worker sums over its own images; the sums are added in the workers' order.
    let sum_len = op.kernels * sizes.taps;
    let parts = n.div_ceil(share);
    let scratch = scratch.take(pool.threads() * (room + sum_len));
    let (rooms, sums) = scratch.split_at_mut(pool.threads() * room);
    let sums = &mut sums[..parts * sum_len];
    pool.zip_chunks((sums, sum_len), (rooms, room), |part, sum, room| {
        let (columns, room) = room.split_at_mut(sizes.columns_len());
        let images = part * share..n.min((part + 1) * share);
        for (i, image) in images.enumerate() {
            let (x, dy) = (&x[image * op.x_len()..], &dy[image * op.y_len()..]);
            for (group, sum) in sum.chunks_exact_mut(sizes.kernels * sizes.taps).enumerate() {
                im2col(op, &x[group * sizes.x_len(op)..][..sizes.x_len(op)], columns);
                let dy =
                    Matrix::rows(&dy[group * sizes.y_len()..][..sizes.y_len()], sizes.area);
                let columns = Matrix::rows(columns, sizes.area).transposed();
                multiply(level, room, size, dy, columns, i > 0, (sum, sizes.taps));
            }
        }
    });
    pool.chunks(&mut dw[..op.kernels * sizes.w_row], sizes.w_row, |kernel, dw| {
        let dw = &mut dw[sizes.w_start..][..sizes.taps];
        dw.copy_from_slice(&sums[kernel * sizes.taps..][..sizes.taps]);
        for sum in sums.chunks_exact(sum_len).skip(1) {
            let sum = &sum[kernel * sizes.taps..][..sizes.taps];
            dw.iter_mut().zip(sum).for_each(|(dw, sum)| *dw += sum);
        }
    });
}

/// Output positions `0..out` whose window, shifted by `tap`, meets the image `0..side`; the rest
/// reads zeros.
fn inside(
    tap: usize, pad: usize, stride: usize, side: usize, out: usize,
) -> std::ops::Range<usize> {
    let first = pad.saturating_sub(tap).div_ceil(stride).min(out);
    let end = if side + pad > tap { (side + pad - tap).div_ceil(stride).min(out) } else { 0 };
    first..end.max(first)
}

/// `columns[(c, u, v), (i, j)] = x[c, s i + u - p, s j + v - p]`, zero outside.
fn im2col(op: &Conv, x: &[f32], columns: &mut [f32]) {
    let (width, s, p) = (op.out_width(), op.stride, op.pad_before);
    let area = op.out_height() * width;
    for (tap, column) in columns.chunks_exact_mut(area).enumerate() {
        let (c, u, v) =
            (tap / op.window / op.window, tap / op.window % op.window, tap % op.window);
        let plane = &x[c * op.height * op.width..][..op.height * op.width];
        let rows = inside(u, p, s, op.height, op.out_height());
        let cols = inside(v, p, s, op.width, width);
        column[..rows.start * width].fill(0.0);
        column[rows.end * width..].fill(0.0);
        for i in rows {
            let out = &mut column[i * width..][..width];
            out[..cols.start].fill(0.0);
            out[cols.end..].fill(0.0);
            if cols.is_empty() {
                continue;
            }
            let from = &plane[(s * i + u - p) * op.width + (s * cols.start + v - p)..];
            let out = &mut out[cols.clone()];
            if s == 1 {
                out.copy_from_slice(&from[..out.len()]);
            } else {
                out.iter_mut().zip(from.iter().step_by(s)).for_each(|(out, x)| *out = *x);
            }
        }
    }
}

/// Adds the columns back to the pixels they were read from.
fn col2im(op: &Conv, columns: &[f32], dx: &mut [f32]) {
    let (width, s, p) = (op.out_width(), op.stride, op.pad_before);
    let area = op.out_height() * width;
    for (tap, column) in columns.chunks_exact(area).enumerate() {
        let (c, u, v) =
            (tap / op.window / op.window, tap / op.window % op.window, tap % op.window);
        let plane = &mut dx[c * op.height * op.width..][..op.height * op.width];
        let cols = inside(v, p, s, op.width, width);
        if cols.is_empty() {
            continue;
        }
        for i in inside(u, p, s, op.height, op.out_height()) {
            let from = &column[i * width..][cols.clone()];
            let to = &mut plane[(s * i + u - p) * op.width + (s * cols.start + v - p)..];
            if s == 1 {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            } else {
                to.iter_mut().step_by(s).zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }
}
