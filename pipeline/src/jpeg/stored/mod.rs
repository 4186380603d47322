//! A picture of several scans: all coefficients are decoded and stored before the first becomes a
//! sample. Progressive pictures are such, and sequential ones whose components are coded apart.
//!
//! Takes two bytes for each sample of the picture, down to the region's last row.

mod passes;
mod sequence;

use super::{
    clean::Clean,
    entropy::{self, Mcu, Order, Slot},
    error::{JpegError, Reason},
    header::{COMPONENTS_MAX, Headers},
    huffman::TableCache,
    idct,
    level::Level,
    plan::{Plan, steps},
    rows::Rows,
    stream::Stream,
};
use passes::Pass;
use sequence::Sequence;

/// Scans of a picture: a progressive one has ten or so, and its author's patience bounds no file.
const SCANS_MAX: usize = 128;

/// The coefficients of one component.
#[derive(Debug, Default)]
struct Plane {
    blocks: Vec<[i16; 64]>,
    /// Blocks in a row.
    across: usize,
    /// The quantisation steps, taken when the component is first coded.
    steps: Option<[i16; 64]>,
    /// The coefficients that have been coded to their last bit, as bits.
    whole: u64,
}

/// The coefficients of a picture. Keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Store {
    planes: [Plane; COMPONENTS_MAX],
}

impl Plane {
    /// Makes room up to a row: the index of one of its blocks.
    fn grow(&mut self, column: usize, row: usize) -> usize {
        let end = (row + 1) * self.across;
        if self.blocks.len() < end {
            self.blocks.resize(end, [0; 64]);
        }
        row * self.across + column
    }
}

impl Store {
    /// Decodes all scans, of which `headers` has read the first one's header.
    ///
    /// # Errors
    /// If the file is broken or ends before its end-of-image marker, or a component is missing.
    pub(super) fn fill(
        &mut self, level: Level, headers: &mut Headers, file: &[u8], clean: &mut Clean,
        cache: &mut TableCache, plan: &Plan,
    ) -> Result<(), JpegError> {
        for (plane, part) in self.planes.iter_mut().zip(&plan.parts[..plan.components]) {
            plane.across = plan.mcus_across * part.h;
            (plane.steps, plane.whole) = (None, 0);
            plane.blocks.clear(); // it grows as far as the data go
        }
        for _ in 0..SCANS_MAX {
            for component in &headers.scan.components {
                let plane = &mut self.planes[*component];
                if plane.steps.is_none() {
                    plane.steps = Some(steps(level, headers, *component)?);
                }
                plane.whole |= headers.whole();
            }
            let stream = Stream::new(file, headers.data, clean, headers.restart_interval);
            let end = if headers.progressive {
                let pass = Pass::new(Order::of(level), headers)?;
                self.progressive(stream, headers, plan, pass)?
            } else {
                self.sequential(level, stream, headers, plan, cache)?
            };
            if !headers.next_scan(file, end)? {
                // libjpeg would smooth what is missing; it is as good as truncated.
                let whole = |plane: &Plane| plane.whole == u64::MAX;
                if self.planes[..plan.components].iter().all(whole) {
                    return Ok(());
                }
                return Err(JpegError::Broken { offset: end, reason: Reason::Incomplete });
            }
        }
        Err(JpegError::Broken { offset: headers.data, reason: Reason::Scans(SCANS_MAX) })
    }

    /// Decodes a progressive scan: where its data end.
    fn progressive(
        &mut self, mut stream: Stream<'_>, headers: &Headers, plan: &Plan, mut pass: Pass,
    ) -> Result<usize, JpegError> {
        for mcu in Sequence::new(&headers.scan, plan) {
            let blocks = mcu.blocks(plan);
            let need = blocks.len() * passes::BLOCK_BYTES_MAX;
            let entered = stream.enter(1, need)?;
            if entered.fresh {
                pass.restart();
            }
            let mut outcome = Ok(());
            for (component, column, row) in blocks {
                let plane = &mut self.planes[component];
                let block = plane.grow(column, row);
                let block = &mut plane.blocks[block];
                outcome = pass.block(entered.reader, entered.bytes, component, block);
                if outcome.is_err() {
                    break;
                }
            }
            stream.leave(1, outcome)?;
        }
        Ok(stream.end())
    }

    /// Decodes a sequential scan: where its data end.
    fn sequential(
        &mut self, level: Level, mut stream: Stream<'_>, headers: &Headers, plan: &Plan,
        cache: &mut TableCache,
    ) -> Result<usize, JpegError> {
        cache.begin();
        let mut tables = [0; COMPONENTS_MAX];
        for component in &headers.scan.components {
            let [dc, ac] = headers.components[*component].tables;
            let (dc, ac) = (headers.spec(0, dc)?, headers.spec(1, ac)?);
            tables[*component] = cache.select(&dc, &ac, false);
        }
        let tables = tables.map(|index| cache.get(index));
        let mut prediction = [0; COMPONENTS_MAX];
        for mcu in Sequence::new(&headers.scan, plan) {
            let blocks = mcu.blocks(plan);
            let need = blocks.len() * passes::BLOCK_BYTES_MAX;
            let entered = stream.enter(1, need)?;
            if entered.fresh {
                prediction = [0; COMPONENTS_MAX];
            }
            let mut outcome = Ok(());
            for (component, column, row) in blocks {
                let plane = &mut self.planes[component];
                let first = plane.grow(column, row);
                plane.blocks[first] = [0; 64];
                let slots = [Slot { component, first, step: 0 }];
                let one = Mcu { slots: &slots, tables };
                outcome = entropy::decode(
                    level,
                    entered.reader,
                    entered.bytes,
                    one,
                    1,
                    &mut prediction,
                    &mut plane.blocks,
                );
                if outcome.is_err() {
                    break;
                }
            }
            stream.leave(1, outcome)?;
        }
        Ok(stream.end())
    }

    /// Makes room for the blocks that fill up the picture's last MCUs, where no scan has them.
    pub(super) fn complete(&mut self, plan: &Plan) {
        for (plane, part) in self.planes.iter_mut().zip(&plan.parts[..plan.components]) {
            plane.grow(0, plan.rows.end * part.v - 1); // a lone component's scan ends before
        }
    }

    /// A block of a component, in the order of its level.
    pub(super) fn block(&self, component: usize, column: usize, row: usize) -> &[i16; 64] {
        let plane = &self.planes[component];
        &plane.blocks[row * plane.across + column]
    }

    /// The quantisation steps of a component.
    pub(super) fn steps(&self, component: usize) -> Option<&[i16; 64]> {
        self.planes[component].steps.as_ref()
    }

    /// Makes pixels of the region that `plan` is for.
    pub(super) fn pixels(
        &mut self, level: Level, plan: &Plan, rows: &mut Rows, out: &mut Vec<u8>,
    ) {
        self.complete(plan);
        for row in plan.rows.clone() {
            for (i, part) in plan.parts[..plan.components].iter().enumerate() {
                let Plane { blocks, across, steps, .. } = &self.planes[i];
                let Some(steps) = steps else { continue };
                for y in 0..part.v {
                    let of_picture = row * part.v + y;
                    if part.rows.contains(&of_picture) {
                        let at = of_picture * across;
                        let blocks = &blocks[at + part.columns.start..at + part.columns.end];
                        let (out, stride) = rows.strip_mut(i).block_mut(part.columns.start, y);
                        idct::blocks(level, blocks, steps, out, stride);
                    }
                }
            }
            rows.finish(plan, row, out);
        }
    }
}
