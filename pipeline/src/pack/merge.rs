//! Parts of a data set, packed by several machines, to the whole: the same bytes as one build.

use super::{
    PackError, PackReport, Part,
    build::finish,
    manifest::{Manifest, Packed},
    staging::Staging,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Puts the parts together in `out`. Shards are linked where the file system can, else copied; all
/// their records are checked, with `jobs` threads.
///
/// # Errors
/// If a part is missing, unfinished, damaged or of another source or settings, or a file cannot be
/// written.
pub fn merge(parts: &[PathBuf], out: &Path, jobs: usize) -> Result<PackReport, PackError> {
    let mut found = Vec::new();
    for dir in parts {
        let manifest = Manifest::load(dir)?;
        if !manifest.is_whole() {
            return wrong(format!("{} is not finished", dir.display()));
        }
        found.push((manifest, dir));
    }
    found.sort_by_key(|(manifest, _)| manifest.part);
    check(&found)?;
    let staging = Staging::create(out)?;
    for (manifest, dir) in &found {
        for packed in &manifest.shards {
            place(packed, dir, staging.path())?;
        }
    }
    let (mut whole, _) = found.remove(0);
    for (manifest, _) in found {
        whole.shards.extend(manifest.shards);
        whole.sums.merge(&manifest.sums);
    }
    whole.part = Part::WHOLE;
    whole.verify(staging.path(), jobs)?;
    finish(staging, &whole, Path::new(""))
}

fn wrong<T>(reason: String) -> Result<T, PackError> {
    Err(PackError::Parts { reason })
}

/// Whether sorted parts are all of one data set, each once.
fn check(found: &[(Manifest, &PathBuf)]) -> Result<(), PackError> {
    let Some((first, first_dir)) = found.first() else {
        return wrong("there are none".into());
    };
    for (i, (manifest, dir)) in found.iter().enumerate() {
        let dir = dir.display();
        if manifest.fingerprint != first.fingerprint || manifest.part.of != first.part.of {
            let first_dir = first_dir.display();
            return wrong(format!("{dir} and {first_dir} are of different builds"));
        }
        let expected = Part { index: i as u32 + 1, of: first.part.of };
        if manifest.part < expected {
            return wrong(format!("{dir} is part {}, which is there already", manifest.part));
        }
        if manifest.part > expected {
            return wrong(format!("part {expected} is missing"));
        }
    }
    if found.len() as u32 != first.part.of {
        let expected = Part { index: found.len() as u32 + 1, of: first.part.of };
        return wrong(format!("part {expected} is missing"));
    }
    Ok(())
}

/// Links or copies a shard.
fn place(packed: &Packed, from: &Path, to: &Path) -> Result<(), PackError> {
    let (from, to) = (from.join(&packed.shard.file), to.join(&packed.shard.file));
    let read = |source| PackError::Read { path: from.clone(), source };
    if fs::hard_link(&from, &to).is_ok() {
        return Ok(());
    }
    let mut source = File::open(&from).map_err(read)?;
    File::create_new(&to)
        .and_then(|mut file| {
            std::io::copy(&mut source, &mut file)?;
            file.sync_all()
        })
        .map_err(|source| PackError::Write { path: to.clone(), source })
}
