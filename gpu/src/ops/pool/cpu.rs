//! On the CPU: a plane at a time. The windows of the paper, 3x3 two apart, are taken a vector at a time,
//! from even and odd columns; others one by one.

use super::MaxPool;
use crate::cpu::vector::Simd;

/// Floats that must follow a plane: vectors are read past the ends of its rows.
pub(crate) const PAD: usize = 64;

/// The paper's windows.
fn is_three_by_two(op: &MaxPool) -> bool {
    (op.window, op.stride) == (3, 2)
}

/// `y` of one plane, which [`PAD`] floats follow.
#[inline(always)]
pub(crate) fn forward<S: Simd<L>, const L: usize>(
    s: S, op: &MaxPool, x: &[f32], y: &mut [f32],
) {
    if !is_three_by_two(op) {
        return forward_any(op, x, y);
    }
    let width = op.out_width();
    for (i, y) in y.chunks_exact_mut(width).enumerate() {
        for first in (0..width).step_by(L) {
            let mut tallest = [s.zero(); 4];
            for (k, offset) in [0, L, 2, 2 + L].into_iter().enumerate() {
                let at = |u: usize| (2 * i + u) * op.width + 2 * first + offset;
                tallest[k] = s.load_next(&x[at(0)..]);
                tallest[k] = s.max(s.load_next(&x[at(1)..]), tallest[k]);
                tallest[k] = s.max(s.load_next(&x[at(2)..]), tallest[k]);
            }
            let [even, odd] = s.split(tallest[0], tallest[1]);
            let [next, _] = s.split(tallest[2], tallest[3]);
            s.store_next(s.max(next, s.max(odd, even)), &mut y[first..]);
        }
    }
}

fn forward_any(op: &MaxPool, x: &[f32], y: &mut [f32]) {
    let width = op.out_width();
    for (at, y) in y.iter_mut().enumerate() {
        let corner = at / width * op.stride * op.width + at % width * op.stride;
        let rows = (0..op.window).map(|u| &x[corner + u * op.width..][..op.window]);
        *y = rows.flatten().fold(x[corner], |max, x| if *x > max { *x } else { max });
    }
}

/// Floats of half a row: its even columns, or its odd ones, and a vector to spare.
fn half_len(op: &MaxPool) -> usize {
    op.width / 2 + PAD
}

/// Floats of scratch memory that [`backward`] needs.
pub(crate) fn room_len(op: &MaxPool) -> usize {
    2 * half_len(op)
}

/// `dx` of one plane from `dy`, each window's gradient to its first maximum in row order. [`PAD`]
/// floats follow `x` and `dx`; `room` is [`room_len`] long.
#[inline(always)]
pub(crate) fn backward<S: Simd<L>, const L: usize>(
    s: S, op: &MaxPool, x: &[f32], dy: &[f32], room: &mut [f32], dx: &mut [f32],
) {
    if !is_three_by_two(op) {
        return backward_any(op, x, dy, dx);
    }
    let (width, halves) = (op.out_width(), op.width.div_ceil(2));
    // What the windows above gave to their third row, which is the first one's of those below.
    room.fill(0.0);
    let (even, odd) = room.split_at_mut(half_len(op));
    for (i, dy) in dy.chunks_exact(width).enumerate() {
        let mut before = [s.zero(); 3];
        for col in (0..halves).step_by(L) {
            let mut taps = [[s.zero(); 3]; 3];
            for (u, taps) in taps.iter_mut().enumerate() {
                let x = &x[(2 * i + u) * op.width + 2 * col..];
                let [even, odd] = s.split(s.load_next(x), s.load_next(&x[L..]));
                let [next, _] = s.split(s.load_next(&x[2..]), s.load_next(&x[2 + L..]));
                *taps = [even, odd, next];
            }
            let mut max = taps[0][0];
            for [even, odd, next] in taps {
                max = s.max(next, s.max(odd, s.max(even, max)));
            }
            let mut left = s.load_next(&dy[col.min(width)..]); // until the first maximum takes it
            let mut rows = [[s.zero(); 2]; 3];
            for u in 0..3 {
                let mut given = taps[u];
                for given in &mut given {
                    *given = s.if_equal(*given, max, left);
                    left = s.sub(left, *given);
                }
                // The third column is the next window's first.
                rows[u] = [s.add(given[0], s.shift(before[u], given[2])), given[1]];
                before[u] = given[2];
            }
            let above = [s.load_next(&even[col..]), s.load_next(&odd[col..])];
            s.store_next(rows[2][0], &mut even[col..]);
            s.store_next(rows[2][1], &mut odd[col..]);
            rows[0] = [s.add(above[0], rows[0][0]), s.add(above[1], rows[0][1])];
            for u in 0..2 {
                store_row(s, rows[u], &mut dx[(2 * i + u) * op.width..][..op.width], 2 * col);
            }
        }
    }
    let last = 2 * op.out_height() * op.width;
    for col in (0..halves).step_by(L) {
        let row = [s.load_next(&even[col..]), s.load_next(&odd[col..])];
        store_row(s, row, &mut dx[last..][..op.width], 2 * col);
    }
    dx[last + op.width..].fill(0.0);
}

/// Even and odd columns side by side, from column `col` to the end of the row.
#[inline(always)]
fn store_row<S: Simd<L>, const L: usize>(
    s: S, [even, odd]: [S::V; 2], row: &mut [f32], col: usize,
) {
    let row = &mut row[col..];
    let (left, right) = row.split_at_mut(L.min(row.len()));
    let [low, high] = s.merge(even, odd);
    s.store_next(low, left);
    s.store_next(high, right);
}

fn backward_any(op: &MaxPool, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let width = op.out_width();
    dx[..op.height * op.width].fill(0.0);
    for (at, dy) in dy.iter().enumerate() {
        let corner = at / width * op.stride * op.width + at % width * op.stride;
        let place = |tap: usize| corner + tap / op.window * op.width + tap % op.window;
        let mut first = 0;
        for tap in 1..op.window * op.window {
            if x[place(tap)] > x[place(first)] {
                first = tap;
            }
        }
        dx[place(first)] += dy;
    }
}
