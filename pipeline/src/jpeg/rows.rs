//! Rows of samples to rows of pixels, as soon as a row of MCUs is whole.

use super::{
    colour,
    header::{COMPONENTS_MAX, Colour},
    level::Level,
    plan::{Part, Plan, Upsampling},
    strip::Strip,
    upsample::{self, Kind},
};
use std::ops::Range;

/// The strips of all components, and what becomes of them. Keeps its buffers.
#[derive(Debug)]
pub(super) struct Rows {
    level: Level,
    strips: [Strip; COMPONENTS_MAX],
    /// One row of each component, with a sample for each pixel.
    full: [Vec<u8>; COMPONENTS_MAX],
    colour: Colour,
    /// The next row of pixels.
    next: usize,
}

impl Rows {
    pub(super) fn new(level: Level) -> Self {
        Self {
            level,
            strips: Default::default(),
            full: Default::default(),
            colour: Colour::Grey,
            next: 0,
        }
    }

    pub(super) fn begin(&mut self, plan: &Plan, colour: Colour) {
        (self.colour, self.next) = (colour, plan.region.y);
        for (strip, part) in self.strips.iter_mut().zip(&plan.parts[..plan.components]) {
            strip.begin(part);
        }
    }

    pub(super) fn strip_mut(&mut self, component: usize) -> &mut Strip {
        &mut self.strips[component]
    }

    /// Writes what pixels `row` of MCUs makes possible to `out`, which grows as far as they go: a
    /// file takes no more memory than it has pixels for.
    pub(super) fn finish(&mut self, plan: &Plan, row: usize, out: &mut Vec<u8>) {
        let parts = &plan.parts[..plan.components];
        for (strip, part) in self.strips.iter_mut().zip(parts) {
            if part.upsampling != Upsampling::Repeat {
                strip.extend_edges(part);
            }
        }
        let region_end = plan.region.y + plan.region.height;
        let mut end = (row + 1) * plan.mcu_height;
        if plan.waits && row + 1 < plan.rows.end {
            end -= 1;
        }
        let end = end.min(region_end);
        let bytes = 3 * plan.region.width;
        let reached = end.saturating_sub(plan.region.y) * bytes;
        if out.len() < reached {
            out.resize(reached, 0);
        }
        for y in self.next..end {
            let out = &mut out[(y - plan.region.y) * bytes..][..bytes];
            self.pixels(plan, row, y, out);
        }
        self.next = self.next.max(end);
        for strip in &mut self.strips[..plan.components] {
            strip.roll();
        }
    }

    fn pixels(&mut self, plan: &Plan, row: usize, y: usize, out: &mut [u8]) {
        let Self { level, strips, full, colour, .. } = self;
        let mut components: [&[u8]; COMPONENTS_MAX] = [&[]; COMPONENTS_MAX];
        for (i, full) in full.iter_mut().enumerate().take(plan.components) {
            let source = Source { part: &plan.parts[i], strip: &strips[i], row };
            components[i] = source.row(*level, plan.region.x, plan.region.width, y, full);
        }
        let [first, second, third, black] = components;
        let three = [first, second, third];
        match colour {
            Colour::YCbCr => colour::ycbcr(*level, three, out),
            Colour::Rgb => colour::rgb(three, out),
            Colour::Grey => colour::grey(first, out),
            Colour::Cmyk => {
                colour::cmy(three, out);
                colour::print(black, out);
            }
            Colour::Ycck => {
                colour::ycbcr(*level, three, out);
                colour::print(black, out);
            }
        }
    }
}

/// Where a component's rows are taken from.
struct Source<'a> {
    part: &'a Part,
    strip: &'a Strip,
    /// The row of MCUs in the strip.
    row: usize,
}

impl<'a> Source<'a> {
    /// A sample for each of the `len` pixels from `x` on in row `y`; made in `full` if they are
    /// not there already.
    fn row(
        &self, level: Level, x: usize, len: usize, y: usize, full: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        let Part { pixels_h, pixels_v, height, upsampling, .. } = *self.part;
        let samples: Range<usize> = x / pixels_h..(x + len - 1) / pixels_h + 1;
        let near = y / pixels_v;
        if (pixels_h, upsampling) == (1, Upsampling::Repeat) {
            return &self.samples(near, &samples)[1..];
        }
        // The other row of a triangle is on the pixel's side.
        let upper = y.is_multiple_of(2);
        let far = if upper { near.saturating_sub(1) } else { (near + 1).min(height - 1) };
        let kind = match upsampling {
            Upsampling::Repeat => Kind::Repeat(pixels_h),
            Upsampling::Columns => Kind::Columns,
            Upsampling::Rows => {
                Kind::Rows { far: self.samples(far, &samples), bias: if upper { 1 } else { 2 } }
            }
            Upsampling::Both => Kind::Both { far: self.samples(far, &samples) },
        };
        upsample::row(level, kind, self.samples(near, &samples), full);
        &full[x - samples.start * pixels_h..]
    }

    /// Samples of a row of the picture, one before and one after.
    fn samples(&self, row: usize, columns: &Range<usize>) -> &'a [u8] {
        let row = row + 1 - self.row * 8 * self.part.v;
        self.strip.row(row, columns.start, columns.len())
    }
}
