//! A worker's share of `y = w * x`; of `dx`, too, which is the same with turned weights.

use super::{LINE, Task, VECTORS, image::Pairs};
use crate::{
    cpu::{
        pairs::Product,
        tile::Strides,
        vector::{Kernel, Simd},
    },
    ops::conv::cpu::winograd::Kernels,
};

/// Vectors of panel `panel` of `outputs` channels: fewer in the last.
fn vectors(outputs: usize, panel: usize, lanes: usize) -> usize {
    (outputs.div_ceil(lanes) - panel * VECTORS).min(VECTORS)
}

/// A panel of the weights, `[step, vector, lane]`.
pub(super) struct PackWeights<'a> {
    pub(super) block: Kernels,
    pub(super) pairs: Pairs,
    pub(super) panel: usize,
    pub(super) w: &'a [f32],
    pub(super) packed: &'a mut [f32],
}

impl Kernel for PackWeights<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { block, pairs, panel, w, packed } = self;
        let vectors = vectors(block.outputs, panel, L);
        let steps = pairs.steps();
        let packed = packed.as_chunks_mut::<L>().0.iter_mut();
        for (i, to) in packed.take(steps * vectors).enumerate() {
            let first = (panel * VECTORS + i % vectors) * L;
            let valid = (block.outputs - first).min(L);
            let both = pairs.terms(i / vectors).map(|[input, row, col]| {
                let mut lanes = [0.0; L];
                let place = (input < block.inputs).then(|| block.place(input, row, col));
                if let Some(place) = place.flatten() {
                    for (lane, to) in lanes[..valid].iter_mut().enumerate() {
                        *to = w[place + (first + lane) * block.output];
                    }
                }
                lanes
            });
            s.store(s.pair(s.load(&both[0]), s.load(&both[1])), to);
        }
    }
}

pub(super) struct Forward<'a> {
    pub(super) task: &'a Task,
    pub(super) pairs: Pairs,
    pub(super) group: usize,
    pub(super) x: &'a [f32],
    pub(super) packed: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) add: bool,
    pub(super) y: &'a mut [f32],
    pub(super) room: &'a mut [f32],
}

impl Forward<'_> {
    fn lens(task: &Task, pairs: &Pairs, lanes: usize) -> [usize; 3] {
        let band = task.area() * VECTORS * lanes;
        // A row, before it is rounded and then.
        let row = 2 * pairs.row_len();
        [pairs.len(), band, row].map(|len| len.next_multiple_of(LINE))
    }

    pub(super) fn room_len(task: &Task, pairs: &Pairs, lanes: usize) -> usize {
        Self::lens(task, pairs, lanes).iter().sum()
    }
}

impl Kernel for Forward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { task, pairs, group, x, packed, bias, add, y, room } = self;
        let [image_len, band_len, row_len] = Self::lens(task, &pairs, L);
        let (image, room) = room.split_at_mut(image_len);
        let (band, row) = room.split_at_mut(band_len);
        let row = &mut row[..row_len];
        image.fill(0.0);
        let (width, area) = (VECTORS * L, task.area());
        let panel_len = pairs.steps() * width;
        let sides = [task.height, task.width];
        let (rows, runs, steps) = pairs.windows(sides);
        let panels = task.outputs.div_ceil(width);
        // The worker's own.
        let pictures = x.chunks(task.input.len).take(y.len() / task.y_len);
        let next_pictures = pictures.clone().skip(1).chain([&[][..]]);
        let outputs = y.chunks_exact_mut(task.y_len);
        for ((x, next_x), y) in pictures.zip(next_pictures).zip(outputs) {
            pairs.read(s, &task.input, x, group, row, image);
            let y = &mut y[group * task.outputs * area..][..task.outputs * area];
            for (panel, packed) in packed.chunks_exact(panel_len).enumerate() {
                let vectors = vectors(task.outputs, panel, L);
                // Both come from memory: the planes that this panel is written to, and a part of the next picture.
                let written = &y[panel * width * area..];
                let written = &written[..written.len().min(width * area)];
                let [from, to] =
                    [panel, panel + 1].map(|part| part * next_x.len() / task.groups / panels);
                let picture = &next_x[group * next_x.len() / task.groups..][from..to];
                Product {
                    rows,
                    runs,
                    pairs: steps,
                    a: bytemuck::cast_slice(image),
                    vectors,
                    b: packed,
                    c: &mut *band,
                    c_at: Strides { row: width, col: L },
                    add: false,
                    next: [written, picture],
                }
                .run(s);
                let first = panel * width;
                for vector in 0..vectors {
                    let first = first + vector * L;
                    let bias = bias.map(|b| &b[group * task.outputs + first..]);
                    let planes = &mut y[first * area..];
                    write(s, &band[vector * L..], area, planes, (bias, add));
                }
            }
        }
    }
}

/// From pixels of a vector of channels each, [`VECTORS`] vectors apart, to the planes that are left.
#[inline(always)]
fn write<S: Simd<L>, const L: usize>(
    s: S, band: &[f32], area: usize, planes: &mut [f32], (bias, add): (Option<&[f32]>, bool),
) {
    let valid = (planes.len() / area).min(L);
    for from in (0..area).step_by(L) {
        let here = L.min(area - from);
        let mut pixels = [s.zero(); L];
        for i in 0..L {
            if i < here {
                let pixel = &band[(from + i) * VECTORS * L..];
                pixels[i] = s.load(pixel.first_chunk().expect("a pixel's vector"));
            }
        }
        let rows = s.transpose(pixels);
        for lane in 0..L {
            if lane < valid {
                let to = &mut planes[lane * area + from..][..here];
                let v = s.add(rows[lane], s.splat(bias.map_or(0.0, |b| b[lane])));
                let v = if add { s.add(v, s.load_next(to)) } else { v };
                s.store_next(v, to);
            }
        }
    }
}
