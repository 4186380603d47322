//! Images as the products of bf16 read them: padded, and rounded once for all windows.

use super::LINE;
use crate::cpu::{
    Level,
    pairs::Repeat,
    vector::{Simd, neighbours},
};

/// Fewer channels than this are not read as pairs of them, which would leave much of a vector empty.
const CHANNELS_MIN: usize = 8;
/// Strides whose phases are pairs, one or two in a row of a square.
const PHASES: [usize; 2] = [2, 4];

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
    /// Channels of a pixel.
    Channels,
    /// Columns of the window.
    Columns,
    /// Columns of a square of pixels, as large as the stride.
    Phases,
}

/// How a rounded image lies in memory, in pairs.
///
/// Two channels: `[row, column, pair]`. Two phases: the same of squares, which are as pixels with the channels and pixels of a
/// square. Two columns: `[channel, row, pair]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pairs {
    two: Two,
    /// Pairs of a pixel or square; of two columns, channels.
    channels: usize,
    /// From a pixel or square to the next, which lies behind it; of two columns, from a row to the next. In pairs.
    pitch: usize,
    /// Rows and columns of pixels or squares, padding counted.
    padded: [usize; 2],
    /// Rows and columns of the window: of pixels, of squares, or of pixels and pairs.
    window: [usize; 2],
    /// From a window to the next, in pixels or squares.
    stride: usize,
    /// A square's side.
    side: usize,
}

impl Pairs {
    pub(super) fn of(image: &Image, window: usize, stride: usize, level: Level) -> Self {
        let (padded, side) = (image.padded, 1);
        if image.channels >= CHANNELS_MIN {
            let channels = image.channels.div_ceil(2);
            let (two, pitch, window) = (Two::Channels, channels, [window; 2]);
            Self { two, channels, pitch, padded, window, stride, side }
        } else if level.has_matrix_unit() && PHASES.contains(&stride) {
            // More pairs than below, and steps that are full.
            let channels = image.channels * stride * stride / 2;
            let (two, pitch) = (Two::Phases, channels);
            let squares = |pixels: usize| pixels.div_ceil(stride);
            let (padded, window) = (padded.map(squares), [squares(window); 2]);
            Self { two, channels, pitch, padded, window, stride: 1, side: stride }
        } else {
            // The last pair of the last window may hang over by one.
            let (channels, pitch) = (image.channels, (padded[1] + 1).div_ceil(2));
            let (two, window) = (Two::Columns, [window, window.div_ceil(2)]);
            Self { two, channels, pitch, padded, window, stride, side }
        }
    }

    /// Pairs of a rounded image.
    pub(super) fn len(&self) -> usize {
        let [height, width] = self.padded;
        let len = match self.two {
            Two::Channels | Two::Phases => height * width * self.pitch,
            Two::Columns => self.channels * height * self.pitch,
        };
        len.next_multiple_of(LINE)
    }

    /// Floats of a row before it is rounded, and what the last pair hangs over.
    pub(super) fn row_len(&self) -> usize {
        self.side * self.padded[1] + 2
    }

    /// Steps of a window.
    pub(super) fn steps(&self) -> usize {
        self.channels * self.window[0] * self.window[1]
    }

    /// The two terms of step `step`, `[channel, row, column]` each; some lie beyond the window.
    pub(super) fn terms(&self, step: usize) -> [[usize; 3]; 2] {
        let [rows, columns] = self.window;
        let (tap, pair) = (step / self.channels, step % self.channels);
        match self.two {
            Two::Channels => {
                [2 * pair, 2 * pair + 1].map(|c| [c, tap / columns, tap % columns])
            }
            Two::Phases => {
                let half = self.side / 2;
                let (c, i, j) = (pair / half / self.side, pair / half % self.side, pair % half);
                let [row, col] =
                    [tap / columns * self.side + i, tap % columns * self.side + 2 * j];
                [[c, row, col], [c, row, col + 1]]
            }
            Two::Columns => {
                let (row, v) = (step / columns, step % columns);
                [2 * v, 2 * v + 1].map(|v| [row / rows, row % rows, v])
            }
        }
    }

    /// How the windows of outputs lie: rows of them, and those of a row; runs of terms and the steps of a run; in
    /// bf16s.
    pub(super) fn windows(
        &self, [height, width]: [usize; 2],
    ) -> ([Repeat; 2], [Repeat; 2], Repeat) {
        let repeat = |count, stride| Repeat { count, stride };
        let ([rows, columns], stride) = (self.window, self.stride);
        let (line, next, runs, pairs) = match self.two {
            // Pixels of a row lie side by side.
            Two::Channels | Two::Phases => {
                let line = 2 * self.padded[1] * self.pitch;
                let runs = [repeat(rows, line), Repeat::ONCE];
                (line, stride * 2 * self.pitch, runs, columns * self.pitch)
            }
            Two::Columns => {
                let line = 2 * self.pitch;
                let planes = repeat(self.channels, self.padded[0] * line);
                (line, stride, [planes, repeat(rows, line)], columns)
            }
        };
        ([repeat(height, stride * line), repeat(width, next)], runs, repeat(pairs, 2))
    }

    /// Rounds one image, all of it inside of the padding, which stays as it is.
    #[inline(always)]
    pub(super) fn read<S: Simd<L>, const L: usize>(
        &self, s: S, image: &Image, x: &[f32], group: usize, row: &mut [f32], to: &mut [f32],
    ) {
        match self.two {
            Two::Channels => self.read_channels(s, image, x, group, to),
            Two::Phases => self.read_phases(s, image, x, group, row, to),
            Two::Columns => {
                let lines =
                    to.chunks_exact_mut(self.pitch).take(self.channels * self.padded[0]);
                for (i, to) in lines.enumerate() {
                    let at = [i / self.padded[0], i % self.padded[0]];
                    pad_row(image, x, group, at, &mut row[..self.row_len()]);
                    narrow(s, &row[..2 * self.pitch], to);
                }
            }
        }
    }

    #[inline(always)]
    fn read_phases<S: Simd<L>, const L: usize>(
        &self, s: S, image: &Image, x: &[f32], group: usize, row: &mut [f32], to: &mut [f32],
    ) {
        let (side, half) = (self.side, self.side / 2);
        let squares = to.chunks_exact_mut(self.padded[1] * self.pitch).take(self.padded[0]);
        for (i, to) in squares.enumerate() {
            for (j, first) in (0..self.pitch).step_by(half).enumerate() {
                let at = [j / side, i * side + j % side];
                let (row, pairs) = row.split_at_mut(self.row_len());
                pad_row(image, x, group, at, row);
                let pairs = &mut pairs[..self.padded[1] * half];
                narrow(s, &row[..2 * pairs.len()], pairs);
                let to = to[first..].chunks_mut(self.pitch);
                if half == 1 { hand_out::<1>(pairs, to) } else { hand_out::<2>(pairs, to) }
            }
        }
    }

    #[inline(always)]
    fn read_channels<S: Simd<L>, const L: usize>(
        &self, s: S, image: &Image, x: &[f32], group: usize, to: &mut [f32],
    ) {
        let ([height, width], [_, cols]) = (image.reached(), self.padded);
        let (pitch, whole) = (self.pitch, image.sides[1]);
        let len = (height * whole).saturating_sub(whole - width);
        for vector in 0..pitch.div_ceil(L) {
            let pairs = L.min(pitch - vector * L);
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
                            s.store_next(
                                pixels[i],
                                &mut to[at * pitch + vector * L..][..pairs],
                            );
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

/// So many pairs to the beginning of each.
#[inline(always)]
fn hand_out<'a, const N: usize>(pairs: &[f32], to: impl Iterator<Item = &'a mut [f32]>) {
    for (pairs, to) in pairs.as_chunks::<N>().0.iter().zip(to) {
        *to.first_chunk_mut().expect("a square's pairs") = *pairs;
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
