//! Whether there is room for what is about to be packed.

use super::{PackError, plan::Plan};
use crate::{dataset::Encoding, source::FILE_BYTES_MAX, thread};
use std::{ops::Range, path::Path};

/// Header and index of a shard, bytes: one header, an entry for each record.
const HEADER_BYTES: u64 = 64;
const ENTRY_BYTES: u64 = 24;
/// A JPEG of quality 90 has half a byte a pixel or so; this is what even a dull set takes, so that
/// only what cannot fit is refused. Of lower qualities a tenth of that.
const JPEG_BITS_PER_PIXEL: u64 = 2;

/// Bytes that the shards of `chunks` will have: of raw pictures exactly, of original ones at most,
/// of JPEGs at least.
pub(super) fn needed(plan: &Plan<'_>, chunks: Range<usize>) -> u64 {
    let records = plan.pictures(chunks.clone());
    let chunks = &plan.chunks[chunks];
    let pixels = (plan.config.size * plan.config.size) as u64;
    let bytes = match plan.config.encoding {
        Encoding::Raw => records * pixels * 3,
        Encoding::Jpeg if plan.quality >= 90 => records * pixels * JPEG_BITS_PER_PIXEL / 8,
        Encoding::Jpeg => records * pixels * JPEG_BITS_PER_PIXEL / 80,
        Encoding::Original => {
            let of_chunk = |i: usize| -> u64 {
                let chunk = &chunks[i];
                let lens = chunk.samples.clone().map(|index| {
                    let len = plan.listing.bytes(chunk.split, index).unwrap_or(0);
                    // A progressive file grows by a tenth or so.
                    let len = if plan.config.row_markers { len + len / 8 } else { len };
                    if len > FILE_BYTES_MAX { 0 } else { len } // those are left out
                });
                lens.sum()
            };
            thread::map(plan.config.jobs, chunks.len(), of_chunk).iter().sum()
        }
    };
    bytes + records * ENTRY_BYTES + chunks.len() as u64 * HEADER_BYTES
}

/// Refuses a build that cannot fit.
///
/// # Errors
/// If the file system of `dir` has less room than the shards take.
pub(super) fn check(
    plan: &Plan<'_>, chunks: Range<usize>, dir: &Path,
) -> Result<(), PackError> {
    let free = fs4::available_space(dir)
        .map_err(|source| PackError::Read { path: dir.into(), source })?;
    fits(dir, needed(plan, chunks), free)
}

fn fits(dir: &Path, needed: u64, free: u64) -> Result<(), PackError> {
    if needed > free {
        return Err(PackError::NoRoom { path: dir.into(), needed, free });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pack::{PackConfig, build},
        source::testing,
    };

    #[test]
    fn what_is_needed_is_exact_but_for_jpegs() {
        let dir = tempfile::tempdir().expect("a folder");
        testing::kaggle(dir.path());
        for encoding in Encoding::ALL {
            let out = dir.path().join(encoding.name());
            let config = PackConfig {
                encoding,
                size: 24,
                shard_records: 3,
                ..PackConfig::new(dir.path(), &out)
            };
            let plan = Plan::new(&config).expect("sound");
            let needed = needed(&plan, 0..plan.chunks.len());
            let dataset = build(&config, &|_| ()).expect("sound").dataset;
            let shards = dataset.splits.iter().flat_map(|split| &split.shards);
            let bytes: u64 = shards.map(|shard| shard.bytes).sum();
            match encoding {
                Encoding::Jpeg => assert!(needed <= bytes, "{needed} of {bytes}"),
                _ => assert_eq!(needed, bytes),
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        fits(Path::new("out"), 5, 5).expect("just fits");
        let error = fits(Path::new("out"), 6, 5).expect_err("one byte too many").to_string();
        assert_eq!(error, "out: 6 bytes are needed, and 5 are free");
    }
}
