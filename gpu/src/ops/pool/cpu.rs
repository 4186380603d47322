//! On the CPU: planes side by side; rows of a window first, then its columns.

use super::MaxPool;
use crate::cpu::Pool;

pub(crate) fn forward(pool: &Pool, op: &MaxPool, n: usize, x: &[f32], y: &mut [f32]) {
    let (x_area, y_width) = (op.height * op.width, op.out_width());
    let y_area = op.out_height() * y_width;
    let planes = n * op.channels;
    let share = pool.share(planes);
    pool.chunks(&mut y[..planes * y_area], share * y_area, |part, y| {
        let mut tallest = vec![0.0; op.width];
        let x = x[part * share * x_area..].chunks_exact(x_area);
        for (x, y) in x.zip(y.chunks_exact_mut(y_area)) {
            for (i, y) in y.chunks_exact_mut(y_width).enumerate() {
                let rows = &x[i * op.stride * op.width..][..op.window * op.width];
                tallest.copy_from_slice(&rows[..op.width]);
                for row in rows.chunks_exact(op.width).skip(1) {
                    let pairs = tallest.iter_mut().zip(row);
                    pairs.for_each(|(max, x)| *max = if *x > *max { *x } else { *max });
                }
                for (y, window) in
                    y.iter_mut().zip(tallest.windows(op.window).step_by(op.stride))
                {
                    *y = window[1..]
                        .iter()
                        .fold(window[0], |max, x| if *x > max { *x } else { max });
                }
            }
        }
    });
}

pub(crate) fn backward(
    pool: &Pool, op: &MaxPool, n: usize, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32],
) {
    let (x_area, y_width) = (op.height * op.width, op.out_width());
    let y_area = op.out_height() * y_width;
    pool.chunks(&mut dx[..n * op.channels * x_area], x_area, |plane, dx| {
        let x = &x[plane * x_area..][..x_area];
        let (y, dy) = (&y[plane * y_area..][..y_area], &dy[plane * y_area..][..y_area]);
        dx.fill(0.0);
        for (at, (y, dy)) in y.iter().zip(dy).enumerate() {
            let corner = at / y_width * op.stride * op.width + at % y_width * op.stride;
            let row = |u: usize| &x[corner + u * op.width..][..op.window];
            let first = (0..op.window).find_map(|u| {
                row(u).iter().position(|x| x == y).map(|v| corner + u * op.width + v)
            });
            if let Some(first) = first {
                dx[first] += dy; // none only where y is not a number
            }
        }
    });
}
