//! JPEG files to the pixels of one region, as fast as their entropy coding allows.
//!
//! ```text
//! header      markers -> sizes, tables, where the data begin
//! plan        region -> MCUs and blocks that it needs
//! scan        walks over the MCUs by way of `clean` (takes out the stuffing),
//! entropy     which decodes blocks of coefficients, or passes over them,
//! idct        which become samples in the `strip` of each component,
//! upsample    which become rows of one sample for each pixel,
//! colour      which become RGB
//! ```
//!
//! What a region does not need costs its entropy decoding and nothing more; less where restart
//! markers allow to jump; nothing at all below its last row. A row of MCUs goes all the way before
//! the next, so that its data stay in the caches.
//!
//! Taken: 8-bit Huffman-coded files of 1, 3 or 4 components, sequential or progressive; where they
//! have several scans, all coefficients are `stored` first. The pixels are those of libjpeg-turbo
//! as it is by default ("slow integer" transform, "fancy" upsampling), bit for bit; of CMYK and YCCK
//! files, those that Pillow makes of libjpeg's inks. Other files are
//! [unsupported](JpegError::Unsupported). Where a file is broken in what the region needs, that is
//! an error: nothing is filled with grey.

mod error;
mod header;
mod huffman;
mod plan;
mod clean;
mod entropy;
mod stream;
mod scan;
mod idct;
mod strip;
mod upsample;
mod colour;
mod rows;
mod sequential;
mod stored;
mod transcode;

use crate::level::{self, Level};

pub use error::{JpegError, Reason};
pub use header::Header;

use clean::Clean;
use entropy::Mcu;
use header::{COMPONENTS_MAX, Headers};
use huffman::TableCache;
use plan::{GROUP_BLOCKS, Plan, steps};
use rows::Rows;
use stored::Store;
use stream::Stream;

/// A rectangle of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Region {
    /// All of a picture.
    pub fn whole(header: &Header) -> Self {
        Self { x: 0, y: 0, width: header.width, height: header.height }
    }
}

/// Decodes one file at a time. It keeps its buffers, so that nothing is allocated once they fit.
#[derive(Debug)]
pub struct Decoder {
    level: Level,
    headers: Headers,
    tables: TableCache,
    clean: Clean,
    rows: Rows,
    blocks: Vec<[i16; 64]>,
    store: Store,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder for the instruction sets of this CPU.
    pub fn new() -> Self {
        Self::with_level(Level::widest())
    }

    fn with_level(level: Level) -> Self {
        Self {
            level,
            headers: Headers::default(),
            tables: TableCache::default(),
            clean: Clean::new(),
            rows: Rows::new(level),
            blocks: Vec::new(),
            store: Store::default(),
        }
    }

    /// Reads a file's header.
    ///
    /// # Errors
    /// If it is broken, or no decoder here is for it.
    pub fn header(&mut self, bytes: &[u8]) -> Result<Header, JpegError> {
        self.headers.read(bytes)?;
        Ok(self.headers.header())
    }

    /// Decodes a whole picture to RGB rows.
    ///
    /// # Errors
    /// If the file is broken, or [unsupported](JpegError::Unsupported).
    pub fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Header, JpegError> {
        let header = self.header(bytes)?;
        self.pixels(bytes, Region::whole(&header), out)?;
        Ok(header)
    }

    /// Decodes a region to RGB rows: the bytes that it has in the whole picture.
    ///
    /// # Errors
    /// If the file is broken as far as the region needs it, or
    /// [unsupported](JpegError::Unsupported), or the region is empty or not in the picture.
    pub fn decode_region(
        &mut self, bytes: &[u8], region: Region, out: &mut Vec<u8>,
    ) -> Result<Header, JpegError> {
        let header = self.header(bytes)?;
        self.pixels(bytes, region, out)?;
        Ok(header)
    }

    /// Decodes every coefficient and makes no pixels of them: what bounds all decoding.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_coefficients(&mut self, bytes: &[u8]) -> Result<Header, JpegError> {
        let header = self.header(bytes)?;
        let plan = self.plan(Region::whole(&header))?;
        if self.has_one_scan() {
            let tables = self.select_tables(false)?;
            let Self { level, headers, tables: cache, clean, blocks, .. } = self;
            let stream = Stream::new(bytes, headers.data, clean, headers.restart_interval);
            let mcu = mcu(&plan, cache, tables);
            sequential::coefficients(*level, stream, mcu, &plan, blocks)?;
        } else {
            self.fill_store(bytes, &plan)?;
        }
        Ok(header)
    }

    fn pixels(
        &mut self, bytes: &[u8], region: Region, out: &mut Vec<u8>,
    ) -> Result<(), JpegError> {
        let plan = self.plan(region)?;
        if !self.has_one_scan() {
            self.fill_store(bytes, &plan)?;
            self.rows.begin(&plan, self.headers.colour);
            self.store.pixels(self.level, &plan, &mut self.rows, out);
            out.truncate(3 * region.width * region.height);
            return Ok(());
        }
        let (before, after) = plan.passed_over();
        let tables = self.select_tables(before + after + plan.rows.start > 0)?;
        let Self { level, headers, tables: cache, clean, rows, blocks, .. } = self;
        let mut all_steps = [[0; 64]; COMPONENTS_MAX];
        for (component, of_one) in all_steps.iter_mut().enumerate().take(plan.components) {
            *of_one = steps(*level, headers, component)?;
        }
        let stream = Stream::new(bytes, headers.data, clean, headers.restart_interval);
        let mcu = mcu(&plan, cache, tables);
        rows.begin(&plan, headers.colour);
        sequential::pixels(*level, stream, mcu, &plan, &all_steps, blocks, rows, out)?;
        out.truncate(3 * region.width * region.height);
        Ok(())
    }

    fn plan(&mut self, region: Region) -> Result<Plan, JpegError> {
        self.blocks.resize(GROUP_BLOCKS, [0; 64]);
        self.blocks.fill([0; 64]); // an error may have left some
        Plan::new(&self.headers, region)
    }

    fn has_one_scan(&self) -> bool {
        let Headers { components, scan, progressive, .. } = &self.headers;
        !progressive && scan.components.len() == components.len()
    }

    fn fill_store(&mut self, bytes: &[u8], plan: &Plan) -> Result<(), JpegError> {
        let Self { level, headers, tables, clean, store, .. } = self;
        store.fill(*level, headers, bytes, clean, tables, plan)
    }

    /// Indices of each component's Huffman tables.
    fn select_tables(&mut self, skip: bool) -> Result<[usize; COMPONENTS_MAX], JpegError> {
        self.tables.begin();
        let mut selected = [0; COMPONENTS_MAX];
        for (component, selected) in self.headers.components.iter().zip(&mut selected) {
            let [dc, ac] = component.tables;
            let (dc, ac) = (self.headers.spec(0, dc)?, self.headers.spec(1, ac)?);
            *selected = self.tables.select(&dc, &ac, skip);
        }
        Ok(selected)
    }
}

fn mcu<'a>(plan: &'a Plan, cache: &'a TableCache, tables: [usize; COMPONENTS_MAX]) -> Mcu<'a> {
    let slots = &plan.slots[..plan.mcu_blocks];
    Mcu { slots, tables: tables.map(|index| cache.get(index)) }
}

#[cfg(test)]
mod tests;
