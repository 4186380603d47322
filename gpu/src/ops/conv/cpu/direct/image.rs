//! Images as the products of bf16 read them: padded, and rounded once for all windows.

use super::LINE;
use crate::cpu::{
    pairs::Repeat,
    vector::{Simd, neighbours},
};

/// Fewer channels than this are read as pairs of columns: a window has more of these than a vector
/// of channels would leave empty.
const CHANNELS_MIN: usize = 8;

/// Channels of a group in an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    /// The group's channels.
    pub(super) channels: usize,
    /// Height and width.
    pub(super) sides: [usize; 2],
    /// Zeros above and left.
    pub(super) pad: usize,
    /// Height and width that windows reach, padding counted.
    pub(super) padded: [usize; 2],
    /// Floats of an image, all groups.
    pub(super) len: usize,
}

impl Image {
    /// Rows and columns of the image that windows reach.
    fn reached(&self) -> [usize; 2] {
        [0, 1].map(|i| self.sides[i].min(self.padded[i].saturating_sub(self.pad)))
    }

    pub(super) fn plane<'a>(&self, x: &'a [f32], group: usize, channel: usize) -> &'a [f32] {
        let area = self.sides[0] * self.sides[1];
        &x[(group * self.channels + channel) * area..][..area]
    }
}

/// Which two terms are one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Two {
    Channels,
    Columns,
}

/// How a rounded image lies in memory, in pairs.
///
/// Two channels: `[row, column, pair]`, a whole number of vectors a pixel. Two columns: `[channel, row,
/// pair]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs {
    two: Two,
    /// Channels, or pairs of them.
    pub(super) channels: usize,
    /// Pairs from a pixel to the next, or from a row to the next.
    pitch: usize,
    /// Rows and columns, padding counted.
    padded: [usize; 2],
    /// Pairs in a row of the window.
    columns: usize,
}

impl Pairs {
    pub(super) fn of(image: &Image, window: usize, lanes: usize) -> Self {
        if image.channels >= CHANNELS_MIN {
            let channels = image.channels.div_ceil(2);
            let pitch = channels.next_multiple_of(lanes);
            Self { two: Two::Channels, channels, pitch, padded: image.padded, columns: window }
        } else {
            let columns = window.div_ceil(2);
            // The last pair of the last window may hang over by one.
            let pitch = (image.padded[1] + 1).div_ceil(2);
            let channels = image.channels;
            Self { two: Two::Columns, channels, pitch, padded: image.padded, columns }
        }
    }

    /// Pairs of a rounded image.
    pub(super) fn len(&self) -> usize {
        let [height, width] = self.padded;
        let len = match self.two {
            Two::Channels => height * width * self.pitch,
            Two::Columns => self.channels * height * self.pitch,
        };
        len.next_multiple_of(LINE)
    }

    /// Steps of a window.
    pub(super) fn steps(&self, window: usize) -> usize {
        self.channels * window * self.columns
    }

    /// The two terms of step `step`, `[channel, row, column]` each.
    pub(super) fn terms(&self, step: usize, window: usize) -> [[usize; 3]; 2] {
        match self.two {
            Two::Channels => {
                let (tap, c) = (step / self.channels, step % self.channels);
                [2 * c, 2 * c + 1].map(|c| [c, tap / window, tap % window])
            }
            Two::Columns => {
                let (row, v) = (step / self.columns, step % self.columns);
                [2 * v, 2 * v + 1].map(|v| [row / window, row % window, v])
            }
        }
    }

    /// How the windows of outputs lie: rows of them, and those of a row; runs of terms and the steps of a run; in
    /// bf16s.
    pub(super) fn windows(
        &self, [height, width]: [usize; 2], stride: usize, window: usize,
    ) -> ([Repeat; 2], [Repeat; 2], Repeat) {
        let repeat = |count, stride| Repeat { count, stride };
        let line = match self.two {
            Two::Channels => 2 * self.padded[1] * self.pitch,
            Two::Columns => 2 * self.pitch,
        };
        let (next, runs, pairs) = match self.two {
            Two::Channels => (
                stride * 2 * self.pitch,
                [repeat(window, line), repeat(window, 2 * self.pitch)],
                repeat(self.channels, 2),
            ),
            Two::Columns => (
                stride,
                [repeat(self.channels, self.padded[0] * line), repeat(window, line)],
                repeat(self.columns, 2),
            ),
        };
        ([repeat(height, stride * line), repeat(width, next)], runs, pairs)
    }

    /// Rounds one image, all of it inside of the padding, which stays as it is.
    #[inline(always)]
    pub(super) fn read<S: Simd<L>, const L: usize>(
        &self, s: S, image: &Image, x: &[f32], group: usize, row: &mut [f32], to: &mut [f32],
    ) {
        match self.two {
            Two::Channels => self.read_channels(s, image, x, group, to),
            Two::Columns => {
                let lines =
                    to.chunks_exact_mut(self.pitch).take(self.channels * self.padded[0]);
                for (i, to) in lines.enumerate() {
                    let at = [i / self.padded[0], i % self.padded[0]];
                    pad_row(image, x, group, at, row);
                    narrow(s, &row[..2 * self.pitch], to);
                }
            }
        }
    }

    #[inline(always)]
    fn read_channels<S: Simd<L>, const L: usize>(
        &self, s: S, image: &Image, x: &[f32], group: usize, to: &mut [f32],
    ) {
        let ([height, width], [_, cols]) = (image.reached(), self.padded);
        let to = to.as_chunks_mut::<L>().0;
        let (pixel, whole) = (self.pitch / L, image.sides[1]);
        let len = (height * whole).saturating_sub(whole - width);
        for vector in 0..pixel {
            let (mut row, mut col) = (0, 0);
            for from in (0..len).step_by(L) {
                let here = (len - from).min(L);
                let mut lanes = [s.zero(); L];
                for lane in 0..L {
                    let channel = 2 * (vector * L + lane);
                    let load = |channel| {
                        if channel < image.channels {
                            s.load_next(&image.plane(x, group, channel)[from..][..here])
                        } else {
                            s.zero()
                        }
                    };
                    lanes[lane] = s.pair(load(channel), load(channel + 1));
                }
                let pixels = s.transpose(lanes);
                for i in 0..L {
                    if i < here {
                        if col < width {
                            let at = (row + image.pad) * cols + col + image.pad;
                            s.store(pixels[i], &mut to[at * pixel + vector]);
                        }
                        col += 1;
                        if col == whole {
                            (row, col) = (row + 1, 0);
                        }
                    }
                }
            }
        }
    }
}

/// Row `row` of channel `channel`, padding counted, as windows reach it; zeros beyond.
#[inline(always)]
pub(super) fn pad_row(
    image: &Image, x: &[f32], group: usize, [channel, row]: [usize; 2], to: &mut [f32],
) {
    let [height, width] = image.reached();
    let row = row.wrapping_sub(image.pad); // above the plane: past every row
    if row >= height {
        to.fill(0.0);
        return;
    }
    let from = &image.plane(x, group, channel)[row * image.sides[1]..][..width];
    to[..image.pad].fill(0.0);
    to[image.pad..image.pad + width].copy_from_slice(from);
    to[image.pad + width..].fill(0.0);
}

/// Neighbours of `from` rounded to the pairs of `to`, half as many.
#[inline(always)]
pub(super) fn narrow<S: Simd<L>, const L: usize>(s: S, from: &[f32], to: &mut [f32]) {
    for (i, to) in to.chunks_mut(L).enumerate() {
        s.store_next(neighbours(s, &from[2 * L * i..]), to);
    }
}
