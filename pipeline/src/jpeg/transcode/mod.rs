//! A file to one of the same pixels that is faster to decode, and mostly smaller: one sequential
//! scan, Huffman tables made for it (T.81, annex K.2), and a restart marker after each row of MCUs, by
//! which rows that a region does not need are passed over undecoded. Segments other than those that
//! say how the data are coded stay as they are; what follows the picture is dropped.

mod coder;
mod lengths;

use super::{
    Decoder, Region,
    entropy::Order,
    error::JpegError,
    header::{Headers, next_marker},
    huffman::Spec,
    plan::{Plan, steps},
};
use coder::{Bits, Counts, Sink, block};
use lengths::spec;

/// Tables of each class: the first component's, and those of the others.
const TABLES: usize = 2;

impl Decoder {
    /// Rewrites a file, in the place of what `out` holds.
    ///
    /// # Errors
    /// If it is broken anywhere, or [unsupported](JpegError::Unsupported): what cannot be decoded,
    /// and the few that can but that no sequential file could hold.
    pub fn transcode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), JpegError> {
        let header = self.header(bytes)?;
        let plan = self.plan(Region::whole(&header))?;
        self.fill_store(bytes, &plan)?;
        self.store.complete(&plan);
        self.headers.read(bytes)?; // of the first scan again
        for component in 0..plan.components {
            let first = steps(self.level, &self.headers, component)?;
            if self.store.steps(component) != Some(&first) {
                return Err(JpegError::Unsupported("quantisation tables between scans"));
            }
        }
        let mut counts = Counts::default();
        self.code(&plan, &mut counts)?;
        out.clear();
        head(bytes, &self.headers, &plan, out)?;
        let specs = counts.0.map(|classes| classes.map(|counts| spec(&counts)));
        for (number, classes) in specs.iter().enumerate().take(plan.components.min(TABLES)) {
            for (class, spec) in classes.iter().enumerate() {
                table(class, number, spec, out);
            }
        }
        scan(&self.headers, out);
        let mut bits = Bits::new(&specs, out);
        self.code(&plan, &mut bits)?;
        out.extend([0xFF, 0xD9]);
        Ok(())
    }

    /// Gives every symbol of the picture to `sink`, in the order of the scan.
    fn code(&self, plan: &Plan, sink: &mut impl Sink) -> Result<(), JpegError> {
        let order = Order::of(self.level);
        for row in 0..plan.rows.end {
            let mut prediction = [0; super::COMPONENTS_MAX];
            for column in 0..plan.mcus_across {
                for (i, part) in plan.parts[..plan.components].iter().enumerate() {
                    for y in row * part.v..(row + 1) * part.v {
                        for x in column * part.h..(column + 1) * part.h {
                            let coded = self.store.block(i, x, y);
                            block(order, i.min(TABLES - 1), coded, &mut prediction[i], sink)?;
                        }
                    }
                }
            }
            sink.end_row(row, row + 1 == plan.rows.end);
        }
        Ok(())
    }
}

/// The segments before the scan, less its tables.
fn head(
    bytes: &[u8], headers: &Headers, plan: &Plan, out: &mut Vec<u8>,
) -> Result<(), JpegError> {
    let wide = headers.quantisation.iter().flatten().flatten().any(|step| *step > 255);
    out.extend([0xFF, 0xD8]);
    let mut at = 2;
    loop {
        let (marker, start) = next_marker(bytes, at)?;
        let len = usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]]));
        let segment = &bytes[start..start + len]; // they have been read before
        at = start + len;
        let marker = match marker {
            0xDA => break,
            0xC4 | 0xDD => continue,
            0xC0..=0xC2 if wide => 0xC1,
            0xC0..=0xC2 => 0xC0,
            other => other,
        };
        out.extend([0xFF, marker]);
        out.extend_from_slice(segment);
    }
    out.extend([0xFF, 0xDD, 0, 4]);
    out.extend((plan.mcus_across as u16).to_be_bytes()); // at most DIMENSION_MAX / 8
    Ok(())
}

fn table(class: usize, number: usize, spec: &Spec, out: &mut Vec<u8>) {
    let (counts, symbols) = spec.parts();
    out.extend([0xFF, 0xC4]);
    out.extend((2 + 1 + 16 + symbols.len() as u16).to_be_bytes());
    out.push((class << 4 | number) as u8);
    out.extend(counts);
    out.extend(symbols);
}

fn scan(headers: &Headers, out: &mut Vec<u8>) {
    let components = &headers.components;
    out.extend([0xFF, 0xDA]);
    out.extend((6 + 2 * components.len() as u16).to_be_bytes());
    out.push(components.len() as u8);
    for (i, component) in components.iter().enumerate() {
        out.extend([component.id, 0x11 * i.min(TABLES - 1) as u8]);
    }
    out.extend([0, 63, 0]);
}

#[cfg(test)]
mod tests;
