//! What of a picture must be decoded for a region: which MCUs, and of these which blocks.

use super::{
    Region,
    entropy::{Order, Slot},
    error::{JpegError, Reason},
    header::{COMPONENTS_MAX, Headers},
    level::Level,
};
use std::ops::Range;

/// Blocks that an MCU may have (T.81, annex B.2.3).
const MCU_BLOCKS_MAX: usize = 10;
/// Blocks that are decoded before their inverse transform: 6 KB, which stay in the first-level
/// cache beside the Huffman tables.
pub(super) const GROUP_BLOCKS: usize = 48;

/// How a component's samples become pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Upsampling {
    /// Each is repeated: `h` times in its row, in `v` rows.
    #[default]
    Repeat,
    /// A triangle over two samples of the row.
    Columns,
    /// A triangle over two rows.
    Rows,
    /// A triangle over two rows, then over two samples.
    Both,
}

/// One component's part of the work.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// Blocks of an MCU, across and down.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Pixels of the picture for each sample, across and down.
    pub(super) pixels_h: usize,
    pub(super) pixels_v: usize,
    /// Samples of the picture.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) upsampling: Upsampling,
    /// Blocks whose samples are needed.
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Its first block among a group's.
    pub(super) first: usize,
}

/// The work for a region.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) region: Region,
    /// MCUs in a row of the picture.
    pub(super) mcus_across: usize,
    /// Pixel rows of an MCU.
    pub(super) mcu_height: usize,
    /// MCUs that are decoded, not only passed over.
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    /// MCUs that are decoded before their inverse transform.
    pub(super) group: usize,
    /// Blocks of a group.
    pub(super) blocks: usize,
    /// In the order of the frame.
    pub(super) parts: [Part; COMPONENTS_MAX],
    pub(super) components: usize,
    /// The blocks of an MCU, in the order of the scan.
    pub(super) slots: [Slot; MCU_BLOCKS_MAX],
    pub(super) mcu_blocks: usize,
    /// Whether the last row of an MCU's pixels must wait for the next MCU row.
    pub(super) waits: bool,
}

impl Plan {
    /// # Errors
    /// If the region is not in the picture, or its sampling factors are not for this decoder.
    pub(super) fn new(headers: &Headers, region: Region) -> Result<Self, JpegError> {
        let (width, height) = (headers.width, headers.height);
        let inside = |start: usize, len: usize, end: usize| {
            len > 0 && start.checked_add(len).is_some_and(|sum| sum <= end)
        };
        if !inside(region.x, region.width, width) || !inside(region.y, region.height, height) {
            return Err(JpegError::Region { region, width, height });
        }
        let components = &headers.components;
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        let mcu_blocks = components.iter().map(|c| c.h * c.v).sum::<usize>();
        if mcu_blocks > MCU_BLOCKS_MAX {
            return Err(JpegError::Unsupported("an MCU of more than 10 blocks"));
        }
        let mut plan = Self {
            region,
            mcus_across: width.div_ceil(8 * h_max),
            mcu_height: 8 * v_max,
            columns: Range { start: usize::MAX, end: 0 }, // the parts' are joined to them
            rows: Range { start: usize::MAX, end: 0 },
            group: GROUP_BLOCKS / mcu_blocks,
            components: components.len(),
            mcu_blocks,
            ..Self::default()
        };
        for (i, component) in components.iter().enumerate() {
            if h_max % component.h != 0 || v_max % component.v != 0 {
                return Err(JpegError::Unsupported("sampling factors of a broken ratio"));
            }
            let part = Part {
                h: component.h,
                v: component.v,
                pixels_h: h_max / component.h,
                pixels_v: v_max / component.v,
                width: (width * component.h).div_ceil(h_max),
                height: (height * component.v).div_ceil(v_max),
                first: plan.blocks,
                ..Part::default()
            };
            plan.blocks += component.h * component.v * plan.group;
            plan.parts[i] = part.for_region(region);
            let part = &plan.parts[i];
            plan.columns.start = plan.columns.start.min(part.columns.start / part.h);
            plan.columns.end = plan.columns.end.max(part.columns.end.div_ceil(part.h));
            plan.rows.start = plan.rows.start.min(part.rows.start / part.v);
            plan.rows.end = plan.rows.end.max(part.rows.end.div_ceil(part.v));
            plan.waits |= matches!(part.upsampling, Upsampling::Rows | Upsampling::Both);
        }
        plan.place_slots(&headers.scan.components);
        Ok(plan)
    }

    /// MCUs of a row that are passed over: before those that are decoded, and after.
    pub(super) fn passed_over(&self) -> (usize, usize) {
        (self.columns.start, self.mcus_across - self.columns.end)
    }

    /// A group's blocks stand by component, then row by row, as the inverse transform takes them.
    fn place_slots(&mut self, scan: &[usize]) {
        let mut at = 0;
        for component in scan {
            let part = &self.parts[*component];
            for i in 0..part.h * part.v {
                let row = part.first + i / part.h * part.h * self.group;
                self.slots[at] =
                    Slot { component: *component, first: row + i % part.h, step: part.h };
                at += 1;
            }
        }
    }
}

impl Part {
    fn for_region(mut self, region: Region) -> Self {
        // libjpeg smooths no component of fewer than three columns.
        self.upsampling = match (self.pixels_h, self.pixels_v) {
            (2, 1) if self.width > 2 => Upsampling::Columns,
            (2, 2) if self.width > 2 => Upsampling::Both,
            (1, 2) => Upsampling::Rows,
            _ => Upsampling::Repeat,
        };
        let across = matches!(self.upsampling, Upsampling::Columns | Upsampling::Both);
        let down = matches!(self.upsampling, Upsampling::Rows | Upsampling::Both);
        let columns = samples(region.x, region.width, self.pixels_h, across, self.width);
        let rows = samples(region.y, region.height, self.pixels_v, down, self.height);
        self.columns = columns.start / 8..columns.end.div_ceil(8);
        self.rows = rows.start / 8..rows.end.div_ceil(8);
        self
    }
}

/// The quantisation steps of a component, in the order of its blocks.
pub(super) fn steps(
    level: Level, headers: &Headers, component: usize,
) -> Result<[i16; 64], JpegError> {
    let table = headers.quantisation[headers.components[component].quantisation];
    let (offset, reason) = (headers.data, Reason::NoQuantisation);
    let table = table.ok_or(JpegError::Broken { offset, reason })?;
    let mut steps = [0; 64];
    for (k, step) in table.into_iter().enumerate() {
        steps[Order::of(level).place(k)] = step as i16; // wraps, as libjpeg-turbo's does
    }
    Ok(steps)
}

/// The samples that `len` pixels from `start` on are made of. A triangle over two samples takes
/// the one before for a sample's first pixel and the one after for its second.
fn samples(
    start: usize, len: usize, pixels: usize, triangle: bool, size: usize,
) -> Range<usize> {
    let last = start + len - 1;
    if triangle {
        let first = start.div_ceil(2).saturating_sub(1);
        first..(last.div_ceil(2) + 1).min(size)
    } else {
        start / pixels..last / pixels + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_takes_the_neighbour_on_the_pixels_side() {
        assert_eq!(samples(4, 2, 2, true, 10), 1..4);
        assert_eq!(samples(5, 2, 2, true, 10), 2..4);
        assert_eq!(samples(5, 1, 2, true, 10), 2..4);
        assert_eq!(samples(0, 20, 2, true, 10), 0..10);
        assert_eq!(samples(4, 5, 4, false, 10), 1..3);
    }
}
