//! A listing as a data set, with no packing: pictures are read where they are.

use super::{Encoded, ListConfig, Listing, OpenError, SampleError, Source};
use crate::{
    dataset::{Class, Encoding, Split, Statistics},
    resize::Stored,
    statistics::Accumulator,
};
use std::{path::Path, thread};

/// Training images that the statistics are taken over, evenly spread; a packed set counts all. The
/// mean of 4096 pictures is within a grey level of that of 1.28 million.
pub const STATISTICS_MAX: u64 = 4096;

/// Pictures in their files and archives.
#[derive(Debug)]
pub struct Listed {
    listing: Listing,
    size: usize,
    statistics: Statistics,
    /// Per split and class, its samples in order.
    by_class: [Vec<Vec<u32>>; Split::COUNT],
}

impl Listed {
    /// Lists a folder and takes its statistics with `jobs` threads.
    ///
    /// # Errors
    /// If it cannot be listed, or no training picture can be decoded.
    pub fn open(
        dir: &Path, size: usize, jobs: usize, config: &ListConfig,
    ) -> Result<Self, OpenError> {
        let listing = Listing::open(dir, config)?;
        for note in listing.notes() {
            tracing::warn!("{}: {note}", dir.display());
        }
        let statistics = statistics(&listing, size, jobs);
        if statistics.images == 0 {
            return Err(OpenError::Empty { path: dir.into(), split: Split::Train });
        }
        let by_class = Split::ALL.map(|split| {
            let mut by_class = vec![vec![]; listing.classes().len()];
            for index in 0..listing.len(split) {
                by_class[listing.label(split, index) as usize].push(index as u32);
            }
            by_class
        });
        Ok(Self { listing, size, statistics, by_class })
    }

    /// The pictures, with what else is known of them.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }
}

/// Over at most [`STATISTICS_MAX`] training pictures; those that cannot be decoded are left out.
fn statistics(listing: &Listing, size: usize, jobs: usize) -> Statistics {
    let len = listing.len(Split::Train);
    let count = len.min(STATISTICS_MAX);
    let chosen: Vec<u64> = (0..count).map(|i| i * len / count).collect();
    let part = |indices: &[u64]| {
        let (mut sums, mut stored) = (Accumulator::new(size), Stored::new());
        let (mut bytes, mut square) = (vec![], vec![]);
        for index in indices {
            let added = listing.read(Split::Train, *index, &mut bytes).and_then(|()| {
                let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
                stored.square(encoded, size, &mut square).map_err(|source| {
                    SampleError::Decode { place: listing.place(Split::Train, *index), source }
                })
            });
            match added {
                Ok(()) => sums.add(&square),
                Err(error) => tracing::warn!("left out of the statistics: {error}"),
            }
        }
        sums
    };
    thread::scope(|scope| {
        let chunk = chosen.len().div_ceil(jobs.max(1)).max(1);
        let part = &part;
        let threads: Vec<_> =
            chosen.chunks(chunk).map(|indices| scope.spawn(move || part(indices))).collect();
        let mut all = Accumulator::new(size);
        for thread in threads {
            all.merge(&thread.join().expect("decoding does not panic"));
        }
        all.finish()
    })
}

impl Source for Listed {
    fn size(&self) -> usize {
        self.size
    }

    fn classes(&self) -> &[Class] {
        self.listing.classes()
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn len(&self, split: Split) -> u64 {
        self.listing.len(split)
    }

    fn label(&self, split: Split, index: u64) -> u32 {
        self.listing.label(split, index)
    }

    fn read<'a>(
        &'a self, split: Split, index: u64, scratch: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, SampleError> {
        self.listing.read(split, index, scratch)?;
        Ok(Encoded { encoding: Encoding::Original, bytes: scratch })
    }

    fn next_of_class(&self, split: Split, index: u64) -> Option<u64> {
        let label = self.label(split, index) as usize;
        super::next_in(&self.by_class[split as usize][label], index)
    }

    fn place(&self, split: Split, index: u64) -> String {
        self.listing.place(split, index)
    }

    fn describe(&self) -> String {
        format!("{}; statistics over {}", self.listing.describe(), self.statistics.images)
    }
}
