//! Which blocks follow which in a scan (T.81, annex A.2).

use crate::jpeg::{header::Scan, plan::Plan};

/// The MCUs of a scan, down to the region's last row.
pub(super) struct Sequence<'a> {
    components: &'a [usize],
    across: usize,
    down: usize,
    column: usize,
    row: usize,
}

impl<'a> Sequence<'a> {
    pub(super) fn new(scan: &'a Scan, plan: &Plan) -> Self {
        let (across, down) = match scan.components[..] {
            // One component's MCUs are its blocks, without those that only fill up the picture's.
            [only] => {
                let part = &plan.parts[only];
                let down = part.height.div_ceil(8).min(plan.rows.end * part.v);
                (part.width.div_ceil(8), down)
            }
            _ => (plan.mcus_across, plan.rows.end),
        };
        Self { components: &scan.components, across, down, column: 0, row: 0 }
    }
}

impl<'a> Iterator for Sequence<'a> {
    type Item = ScanMcu<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { components, column, row, .. } = *self;
        if row == self.down {
            return None;
        }
        self.column += 1;
        if self.column == self.across {
            (self.column, self.row) = (0, row + 1);
        }
        Some(ScanMcu { components, column, row })
    }
}

/// One MCU of a scan.
pub(super) struct ScanMcu<'a> {
    components: &'a [usize],
    column: usize,
    row: usize,
}

impl ScanMcu<'_> {
    /// Component, column and row of its blocks.
    pub(super) fn blocks(
        &self, plan: &Plan,
    ) -> impl ExactSizeIterator<Item = (usize, usize, usize)> {
        let Self { components, column, row } = *self;
        let mut blocks = [(0, 0, 0); 10];
        let mut count = 0;
        for component in components {
            let part = &plan.parts[*component];
            let (h, v) = if components.len() == 1 { (1, 1) } else { (part.h, part.v) };
            for i in 0..h * v {
                blocks[count] = (*component, column * h + i % h, row * v + i / h);
                count += 1;
            }
        }
        blocks.into_iter().take(count)
    }
}
