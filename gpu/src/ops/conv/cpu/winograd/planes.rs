//! Between planes, `[n, c, h, w]`, and bands of a sheet, in which every pixel is a vector of `L`
//! channels.

use super::sheet::{Run, Sheets, Sides, TileRow};
use crate::cpu::vector::{Simd, prefetch_far};

/// Channels of a group in a batch of images.
///
/// A step `s` turns into `s^2` times the channels, the phases: channel `(c, a, b)` of pixel `(i, j)`
/// is pixel `(s i + a - pad, s j + b - pad)` of plane `c`. A convolution with step `s` has step 1 in
/// them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes {
    /// Floats of an image.
    pub(super) image: usize,
    /// The group's first plane.
    pub(super) first: usize,
    /// The group's planes.
    pub(super) count: usize,
    /// Height and width of a plane.
    pub(super) sides: Sides,
    /// The step.
    pub(super) step: usize,
    /// Zeros above and left, where the step is not 1; where it is, the sheet has them.
    pub(super) pad: usize,
}

impl Planes {
    /// Channels, phases counted.
    pub(super) fn channels(&self) -> usize {
        self.count * self.step * self.step
    }

    fn area(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Where plane `plane` of the group begins in `image`.
    fn start(&self, image: usize, plane: usize) -> usize {
        image * self.image + (self.first + plane) * self.area()
    }

    /// Reads `count` rows of a sheet from `top` into `band`, rows of `cols` pixels that begin `pad` pixels left of
    /// the sheet: vector `vector` of the channels, zeros where no image is.
    ///
    /// The gaps between images of a row must be zero already: they are never written.
    #[inline(always)]
    pub(super) fn read<S: Simd<L>, const L: usize>(
        &self, s: S, sheets: &Sheets, row: TileRow, x: &[f32], (top, pad): (isize, usize),
        vector: usize, (band, count, cols): (&mut [[f32; L]], usize, usize),
    ) {
        let [height, width] = self.pixels(sheets);
        for run in sheets.runs(top, count, height) {
            let band = &mut band[run.at * cols..][..run.count * cols];
            if run.rows.is_empty() {
                band.fill([0.0; L]);
                continue;
            }
            for across in 0..sheets.images[1] {
                let band = &mut band[across * sheets.period[1] + pad..];
                let image = run.image + across;
                if image >= row.images {
                    for band in band.chunks_mut(cols) {
                        band[..width].fill([0.0; L]);
                    }
                } else if self.step == 1 {
                    self.read_run(
                        s,
                        row.image + image,
                        x,
                        &run,
                        vector,
                        band,
                        cols,
                        sheets.tile,
                    );
                } else {
                    let (image, band) = (row.image + image, (band, cols));
                    match self.step {
                        2 => self.read_phases::<L, 2>(image, x, &run, vector, band, width),
                        4 => self.read_phases::<L, 4>(image, x, &run, vector, band, width),
                        step => unreachable!("phases of {step} steps"),
                    }
                }
            }
        }
    }

    /// Height and width in pixels of `step` by `step` phases.
    fn pixels(&self, sheets: &Sheets) -> Sides {
        if self.step == 1 { self.sides } else { sheets.input }
    }

    #[inline(always)]
    fn read_run<S: Simd<L>, const L: usize>(
        &self, s: S, image: usize, x: &[f32], run: &Run, vector: usize, band: &mut [[f32; L]],
        cols: usize, rows_ahead: usize,
    ) {
        let (width, area) = (self.sides[1], self.area());
        // What is read next: the next vector of channels or, after the last, the next row of tiles.
        let ahead = if (vector + 1) * L < self.count {
            L * area
        } else {
            (rows_ahead * width).wrapping_sub(vector * L * area)
        };
        let planes = &x[self.start(image, vector * L) + run.rows.start * width..];
        let valid = (self.count - vector * L).min(L);
        let len = run.count * width;
        let (mut at, mut col) = (0, 0);
        for from in (0..len).step_by(L) {
            let mut rows = [s.zero(); L];
            let here = (len - from).min(L);
            for lane in 0..L {
                if lane < valid {
                    let plane = &planes[lane * area + from..][..here];
                    prefetch_far(plane.as_ptr().wrapping_add(ahead));
                    rows[lane] = match plane.first_chunk() {
                        Some(plane) => s.load(plane),
                        None => s.load_part(plane),
                    };
                }
            }
            let pixels = s.transpose(rows);
            for i in 0..L {
                if i < here {
                    s.store(pixels[i], &mut band[at]);
                    (at, col) = (at + 1, col + 1);
                    if col == width {
                        (at, col) = (at + cols - width, 0);
                    }
                }
            }
        }
    }

    /// Phases of a row of `STEP` lie side by side in the plane, too, and `L` is a multiple of `STEP`.
    #[inline(always)]
    fn read_phases<const L: usize, const STEP: usize>(
        &self, image: usize, x: &[f32], run: &Run, vector: usize,
        (band, cols): (&mut [[f32; L]], usize), width: usize,
    ) {
        let pad = self.pad;
        // Pixels whose phases all lie inside of the plane.
        let first = pad.div_ceil(STEP).min(width);
        let whole = first..((self.sides[1] + pad) / STEP).clamp(first, width);
        for (i, q) in run.rows.clone().enumerate() {
            for lane in (0..L).step_by(STEP) {
                let channel = vector * L + lane;
                let (plane, phase) = (channel / (STEP * STEP), channel / STEP % STEP);
                let row = (STEP * q + phase).wrapping_sub(pad); // above the plane: past every row
                let pixels = &mut band[i * cols..][..width];
                if plane >= self.count || row >= self.sides[0] {
                    pixels.iter_mut().for_each(|pixel| pixel[lane..][..STEP].fill(0.0));
                    continue;
                }
                let from =
                    &x[self.start(image, plane) + row * self.sides[1]..][..self.sides[1]];
                for j in (0..whole.start).chain(whole.end..width) {
                    for b in 0..STEP {
                        let col = (STEP * j + b).wrapping_sub(pad);
                        pixels[j][lane + b] = from.get(col).copied().unwrap_or(0.0);
                    }
                }
                if whole.is_empty() {
                    continue;
                }
                let from = from[STEP * whole.start - pad..].as_chunks::<STEP>().0;
                for (pixel, from) in pixels[whole.clone()].iter_mut().zip(from) {
                    let to = pixel[lane..].first_chunk_mut::<STEP>().expect("L is a multiple");
                    *to = *from;
                }
            }
        }
    }

    /// Writes rows `row.top..` of a sheet from `band`, rows of `cols` pixels, to their planes: vector
    /// `vector` of the channels, plus a bias each, added to what is there if `add`.
    #[inline(always)]
    pub(super) fn write<S: Simd<L>, const L: usize>(
        &self, s: S, sheets: &Sheets, row: TileRow, y: &mut [f32], vector: usize,
        (bias, add): (Option<&[f32]>, bool), (band, cols): (&[[f32; L]], usize),
    ) {
        let runs = sheets.runs(row.top as isize, sheets.tile, self.sides[0]);
        for run in runs.filter(|run| !run.rows.is_empty()) {
            let images = run.image..row.images.min(run.image + sheets.images[1]);
            for (across, image) in images.enumerate() {
                let band = &band[run.at * cols + across * sheets.period[1]..];
                let start = self.start(row.image + image, vector * L);
                let y = &mut y[start + run.rows.start * self.sides[1]..];
                self.write_run(s, run.count, y, vector, (bias, add), band, cols);
            }
        }
    }

    #[inline(always)]
    fn write_run<S: Simd<L>, const L: usize>(
        &self, s: S, rows: usize, planes: &mut [f32], vector: usize,
        (bias, add): (Option<&[f32]>, bool), band: &[[f32; L]], cols: usize,
    ) {
        let (width, area) = (self.sides[1], self.area());
        let valid = (self.count - vector * L).min(L);
        let len = rows * width;
        let (mut at, mut col) = (0, 0);
        for to in (0..len).step_by(L) {
            let mut pixels = [s.zero(); L];
            let here = (len - to).min(L);
            for i in 0..L {
                if i < here {
                    pixels[i] = s.load(&band[at]);
                    (at, col) = (at + 1, col + 1);
                    if col == width {
                        (at, col) = (at + cols - width, 0);
                    }
                }
            }
            let rows = s.transpose(pixels);
            for lane in 0..L {
                if lane < valid {
                    let plane = &mut planes[lane * area + to..][..here];
                    let bias = bias.map_or(0.0, |b| b[self.first + vector * L + lane]);
                    let v = s.add(rows[lane], s.splat(bias));
                    if let Some(to) = plane.first_chunk_mut() {
                        s.store(if add { s.add(v, s.load(to)) } else { v }, to);
                    } else {
                        let v = if add { s.add(v, s.load_part(plane)) } else { v };
                        s.store_part(v, plane);
                    }
                }
            }
        }
    }
}
