//! The markers before a scan (ITU-T T.81, annex B) to a frame, its tables and the place where the
//! entropy-coded data begin.

mod segment;

use super::{
    error::{JpegError, Reason},
    huffman::{Spec, standard},
};
use crate::decode::{DIMENSION_MAX, PIXELS_MAX};
use segment::{Segment, broken, segment};

pub(super) use segment::next_marker;

/// What a file says of itself before its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 for grey, 3 for colours, 4 for inks.
    pub components: usize,
    /// Coded in several passes over the picture.
    pub progressive: bool,
    /// MCUs between restart markers; 0 if there are none.
    pub restart_interval: usize,
}

/// What the components of a picture stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Colour {
    #[default]
    Grey,
    YCbCr,
    Rgb,
    /// Inks, as those who write such files store them: 255 is none.
    Cmyk,
    /// The same, the first three as luminance and chrominance.
    Ycck,
}

/// Components of a frame at most.
pub(super) const COMPONENTS_MAX: usize = 4;

/// One component of the frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Samples in a row for each `h_max` of the picture.
    pub(super) h: usize,
    /// Samples in a column for each `v_max` of the picture.
    pub(super) v: usize,
    /// Which quantisation table.
    pub(super) quantisation: usize,
    /// Which DC and AC tables, by the scan's header.
    pub(super) tables: [usize; 2],
}

/// What a scan codes.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Of which components, as indices in the frame.
    pub(super) components: Vec<usize>,
    /// The first and the last coefficient of the zigzag; of progressive pictures.
    pub(super) band: [usize; 2],
    /// The lowest bit that earlier scans have coded, 0 for none, and that this one codes; of
    /// progressive pictures.
    pub(super) bits: [u32; 2],
}

/// Everything before the entropy-coded data.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) colour: Colour,
    /// In zigzag order.
    pub(super) quantisation: [Option<[u16; 64]>; 4],
    /// DC, AC.
    pub(super) huffman: [[Option<Spec>; 4]; 2],
    pub(super) restart_interval: usize,
    /// The scan that comes next.
    pub(super) scan: Scan,
    /// Where its data begin.
    pub(super) data: usize,
    jfif: bool,
    adobe: Option<u8>,
}

impl Scan {
    /// Whether the parameters are those of a progressive picture's scan (T.81, annex G.1.1.1).
    fn is_progressive(&self) -> bool {
        let ([first, last], [high, low]) = (self.band, self.bits);
        let band = if first == 0 {
            last == 0
        } else {
            (first..64).contains(&last) && self.components.len() == 1
        };
        band && low <= 13 && (high == 0 || high == low + 1)
    }
}

impl Headers {
    /// Reads up to the first scan's data. Keeps its buffers.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), JpegError> {
        self.clear();
        if !bytes.starts_with(&[0xFF, 0xD8]) {
            return Err(broken(0, Reason::NoStart));
        }
        if self.next_scan(bytes, 2)? {
            return Ok(());
        }
        Err(broken(bytes.len(), Reason::HeaderEnds))
    }

    /// Reads from the byte `at` up to the next scan's data; false if the picture ends before.
    pub(super) fn next_scan(&mut self, bytes: &[u8], mut at: usize) -> Result<bool, JpegError> {
        loop {
            let (marker, start) = next_marker(bytes, at)?;
            match marker {
                0xD9 => return Ok(false),
                0x01 | 0xD0..=0xD8 => return Err(broken(start - 1, Reason::Marker(marker))),
                _ => {}
            }
            let segment = segment(bytes, start)?;
            at = segment.end();
            match marker {
                0xC0..=0xC2 => self.frame(segment, marker)?,
                0xC4 => self.huffman(segment)?,
                0xC9..=0xCF => return Err(JpegError::Unsupported("arithmetic coding")),
                0xC3 | 0xC5..=0xC8 => {
                    return Err(JpegError::Unsupported("a lossless or hierarchical picture"));
                }
                0xDA => {
                    self.scan(segment)?;
                    self.data = at;
                    return Ok(true);
                }
                0xDB => self.quantisation(segment)?,
                0xDD => self.restart_interval = segment.u16(0)?,
                0xE0 => self.jfif |= segment.bytes.starts_with(b"JFIF\0"),
                0xEE if segment.bytes.starts_with(b"Adobe") => {
                    self.adobe = segment.bytes.get(11).copied();
                }
                _ => {}
            }
        }
    }

    fn clear(&mut self) {
        let mut components = std::mem::take(&mut self.components);
        let mut scan = std::mem::take(&mut self.scan);
        components.clear();
        scan.components.clear();
        *self = Self { components, scan, ..Self::default() };
    }

    /// For the user.
    pub(super) fn header(&self) -> Header {
        Header {
            width: self.width,
            height: self.height,
            components: self.components.len(),
            progressive: self.progressive,
            restart_interval: self.restart_interval,
        }
    }

    /// The coefficients that the scan codes to their last bit, as bits.
    pub(super) fn whole(&self) -> u64 {
        let ([first, last], [_, low]) = (self.scan.band, self.scan.bits);
        match (self.progressive, low) {
            (false, _) => u64::MAX,
            (true, 0) => u64::MAX >> (63 - last) & u64::MAX << first,
            (true, _) => 0,
        }
    }

    fn frame(&mut self, segment: Segment<'_>, marker: u8) -> Result<(), JpegError> {
        if !self.components.is_empty() {
            return Err(segment.broken(Reason::Marker(marker))); // a second frame
        }
        let progressive = marker == 0xC2;
        if segment.u8(0)? != 8 {
            return Err(JpegError::Unsupported("samples of more than 8 bits"));
        }
        let (width, height) = (segment.u16(3)?, segment.u16(1)?);
        if width == 0 || height == 0 {
            return Err(segment.broken(Reason::NoPixels));
        }
        if width > DIMENSION_MAX || height > DIMENSION_MAX || width * height > PIXELS_MAX {
            return Err(JpegError::TooLarge { width, height });
        }
        (self.width, self.height, self.progressive) = (width, height, progressive);
        let count = usize::from(segment.u8(5)?);
        for i in 0..count {
            let at = 6 + 3 * i;
            let (id, factors) = (segment.u8(at)?, segment.u8(at + 1)?);
            let (h, v) = (usize::from(factors >> 4), usize::from(factors & 15));
            let quantisation = usize::from(segment.u8(at + 2)?);
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err(segment.broken(Reason::Sampling));
            }
            if quantisation > 3 {
                return Err(segment.broken(Reason::TableNumber));
            }
            self.components.push(Component { id, h, v, quantisation, tables: [0; 2] });
        }
        match count {
            1 => {
                // A scan of one component has MCUs of one block, whatever the factors say.
                (self.components[0].h, self.components[0].v) = (1, 1);
                Ok(())
            }
            3 | 4 => Ok(()),
            _ => Err(JpegError::Unsupported("other than 1, 3 or 4 components")),
        }
    }

    fn quantisation(&mut self, segment: Segment<'_>) -> Result<(), JpegError> {
        let mut at = 0;
        while at < segment.bytes.len() {
            let kind = segment.u8(at)?;
            let (wide, number) = (kind >> 4 != 0, usize::from(kind & 15));
            let slot = self
                .quantisation
                .get_mut(number)
                .ok_or_else(|| segment.broken(Reason::TableNumber))?;
            let mut table = [0; 64];
            for (k, value) in table.iter_mut().enumerate() {
                *value = if wide {
                    segment.u16(at + 1 + 2 * k)? as u16
                } else {
                    u16::from(segment.u8(at + 1 + k)?)
                };
            }
            *slot = Some(table);
            at += if wide { 129 } else { 65 };
        }
        Ok(())
    }

    fn huffman(&mut self, segment: Segment<'_>) -> Result<(), JpegError> {
        let mut at = 0;
        while at < segment.bytes.len() {
            let kind = segment.u8(at)?;
            let (class, number) = (usize::from(kind >> 4), usize::from(kind & 15));
            let lengths = segment.slice(at + 1, 16)?;
            let count = lengths.iter().map(|n| usize::from(*n)).sum();
            let symbols = segment.slice(at + 17, count)?;
            let spec = Spec::new(lengths, symbols, class == 0)
                .map_err(|reason| segment.broken(reason))?;
            let slot = self.huffman.get_mut(class).and_then(|tables| tables.get_mut(number));
            *slot.ok_or_else(|| segment.broken(Reason::TableNumber))? = Some(spec);
            at += 17 + count;
        }
        Ok(())
    }

    fn scan(&mut self, segment: Segment<'_>) -> Result<(), JpegError> {
        if self.components.is_empty() {
            return Err(segment.broken(Reason::NoFrame));
        }
        let count = usize::from(segment.u8(0)?);
        if count == 0 || count > self.components.len() {
            return Err(segment.broken(Reason::ScanComponents));
        }
        self.scan.components.clear();
        for i in 0..count {
            let (id, tables) = (segment.u8(1 + 2 * i)?, segment.u8(2 + 2 * i)?);
            let index = self.components.iter().position(|component| component.id == id);
            let index = index.ok_or_else(|| segment.broken(Reason::ScanComponents))?;
            if self.scan.components.contains(&index) {
                return Err(segment.broken(Reason::ScanComponents));
            }
            let tables = [usize::from(tables >> 4), usize::from(tables & 15)];
            if tables.iter().any(|number| *number > 3) {
                return Err(segment.broken(Reason::TableNumber));
            }
            self.components[index].tables = tables;
            self.scan.components.push(index);
        }
        let [first, last, bits] = [
            segment.u8(1 + 2 * count)?,
            segment.u8(2 + 2 * count)?,
            segment.u8(3 + 2 * count)?,
        ];
        self.scan.band = [usize::from(first), usize::from(last)];
        self.scan.bits = [u32::from(bits >> 4), u32::from(bits & 15)];
        if self.progressive && !self.scan.is_progressive() {
            return Err(segment.broken(Reason::ScanParameters));
        }
        self.colour = self.guess_colour();
        Ok(())
    }

    /// A Huffman table of class 0 for DC or 1 for AC: the file's own or, as in libjpeg-turbo, the
    /// standard's.
    pub(super) fn spec(&self, class: usize, number: usize) -> Result<Spec, JpegError> {
        let spec = self.huffman[class][number].or_else(|| standard(class, number));
        spec.ok_or_else(|| broken(self.data, Reason::NoHuffman))
    }

    /// As libjpeg guesses: JFIF is YCbCr, Adobe says it, the identifiers may spell RGB.
    fn guess_colour(&self) -> Colour {
        let [first, second, third] = self.components[..] else {
            return match (self.components.len(), self.adobe) {
                (1, _) => Colour::Grey,
                (_, None | Some(0)) => Colour::Cmyk,
                (_, Some(_)) => Colour::Ycck,
            };
        };
        match (self.jfif, self.adobe) {
            (false, Some(0)) => Colour::Rgb,
            (false, None) if [first.id, second.id, third.id] == *b"RGB" => Colour::Rgb,
            _ => Colour::YCbCr,
        }
    }
}
