//! Pictures that are copies of others, byte for byte. A pure function of the source, found before
//! anything is packed, so that every part of a build drops the same ones.
//!
//! Of pictures of the same length, those with the same last 4 KiB are read whole; a digest of all
//! bytes decides. The end tells pictures apart where the beginning does not: headers and colour
//! profiles are alike, compressed pixels are not.
//!
//! Which is the copy: val and test are what results are compared on, so they stay whole, and a
//! training picture that is in them is the copy, wherever it stands. Otherwise the first stays.

use crate::{
    dataset::Split,
    source::{Listing, SampleError},
    thread,
};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Bytes at the end of a picture that are compared first.
const TAIL_BYTES: u64 = 4096;

/// What to do about copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dedupe {
    /// Do not look for them.
    #[default]
    Keep,
    /// Look for them and list them.
    Report,
    /// Leave out those among the training pictures. Copies within val and test stay.
    Drop,
}

/// A picture by split and place.
type Sample = (Split, u64);

/// The copies, and of what each is one. A picture that cannot be read is nobody's copy.
pub(super) fn copies(listing: &Listing, jobs: usize) -> BTreeMap<Sample, Sample> {
    // In the order in which the first of a group is the one that stays: train last.
    let samples: Vec<Sample> = [Split::Val, Split::Test, Split::Train]
        .into_iter()
        .flat_map(|split| (0..listing.len(split)).map(move |index| (split, index)))
        .collect();
    let groups =
        split_by(vec![samples], jobs, |(split, index)| listing.bytes(split, index).ok());
    let digest = |(split, index): Sample, len_max: u64| -> Result<[u8; 32], SampleError> {
        let mut bytes = Vec::new();
        listing.read_tail(split, index, len_max, &mut bytes)?;
        Ok(Sha256::digest(&bytes).into())
    };
    let groups = split_by(groups, jobs, |sample| digest(sample, TAIL_BYTES).ok());
    let groups = split_by(groups, jobs, |sample| digest(sample, u64::MAX).ok());
    let of_first = |group: Vec<Sample>| {
        group[1..].iter().map(|copy| (*copy, group[0])).collect::<Vec<_>>()
    };
    groups.into_iter().flat_map(of_first).collect()
}

/// Splits each group into those of the same key, in their order; groups of one are left out.
fn split_by<K: Ord + Send>(
    groups: Vec<Vec<Sample>>, jobs: usize, key: impl Fn(Sample) -> Option<K> + Sync,
) -> Vec<Vec<Sample>> {
    let all: Vec<(usize, Sample)> = (groups.into_iter().enumerate())
        .flat_map(|(group, samples)| samples.into_iter().map(move |sample| (group, sample)))
        .collect();
    let keys = thread::map(jobs, all.len(), |i| key(all[i].1));
    let mut split = BTreeMap::<(usize, K), Vec<Sample>>::new();
    for ((group, sample), key) in all.into_iter().zip(keys) {
        if let Some(key) = key {
            split.entry((group, key)).or_default().push(sample);
        }
    }
    split.into_values().filter(|samples| samples.len() > 1).collect()
}
