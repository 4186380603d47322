//! A picture of one sequential scan, from its MCUs to the pixels of a region: group by group to
//! samples, row of MCUs by row of MCUs to pixels.

use super::{
    entropy::Mcu,
    error::JpegError,
    header::COMPONENTS_MAX,
    idct,
    level::Level,
    plan::{Part, Plan},
    rows::Rows,
    scan::Walk,
    stream::Stream,
    strip::Strip,
};

/// Decodes the region that `plan` is for into `out`, which may be longer afterwards. `blocks` are
/// zero, and as many as a group has.
pub(super) fn pixels(
    level: Level, stream: Stream<'_>, mcu: Mcu<'_>, plan: &Plan,
    steps: &[[i16; 64]; COMPONENTS_MAX], blocks: &mut [[i16; 64]], rows: &mut Rows,
    out: &mut Vec<u8>,
) -> Result<(), JpegError> {
    let mut walk = Walk::new(level, stream, mcu);
    let (before, after) = plan.passed_over();
    walk.skip(plan.rows.start * plan.mcus_across + before)?;
    for row in plan.rows.clone() {
        let mut column = plan.columns.start;
        while column < plan.columns.end {
            let most = (plan.columns.end - column).min(plan.group);
            let count = walk.decode(most, blocks)?;
            for (i, part) in plan.parts[..plan.components].iter().enumerate() {
                let group = Group { blocks, plan, part, row, column, count };
                group.transform(level, &steps[i], rows.strip_mut(i));
            }
            blocks[..plan.blocks].as_flattened_mut().fill(0);
            column += count;
        }
        rows.finish(plan, row, out);
        if row + 1 < plan.rows.end {
            walk.skip(before + after)?;
        }
    }
    Ok(())
}

/// Decodes every coefficient and forgets it.
pub(super) fn coefficients(
    level: Level, stream: Stream<'_>, mcu: Mcu<'_>, plan: &Plan, blocks: &mut [[i16; 64]],
) -> Result<(), JpegError> {
    let mut walk = Walk::new(level, stream, mcu);
    let mut left = plan.mcus_across * plan.rows.end;
    while left > 0 {
        left -= walk.decode(left.min(plan.group), blocks)?;
        std::hint::black_box(&mut *blocks).as_flattened_mut().fill(0);
    }
    Ok(())
}

/// Some MCUs' blocks of one component.
struct Group<'a> {
    blocks: &'a [[i16; 64]],
    plan: &'a Plan,
    part: &'a Part,
    /// The row of MCUs.
    row: usize,
    /// The first MCU.
    column: usize,
    /// MCUs.
    count: usize,
}

impl Group<'_> {
    /// Makes samples of those blocks that the region needs.
    fn transform(&self, level: Level, steps: &[i16; 64], strip: &mut Strip) {
        let Part { h, v, first, ref columns, ref rows, .. } = *self.part;
        let start = (self.column * h).max(columns.start);
        let end = ((self.column + self.count) * h).min(columns.end);
        if start >= end {
            return;
        }
        for y in 0..v {
            if rows.contains(&(self.row * v + y)) {
                let at = first + y * h * self.plan.group + start - self.column * h;
                let blocks = &self.blocks[at..at + end - start];
                let (out, stride) = strip.block_mut(start, y);
                idct::blocks(level, blocks, steps, out, stride);
            }
        }
    }
}
