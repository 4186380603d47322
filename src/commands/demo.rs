//! The data of a run without --data: a procedural tree, made and packed beside the run.

use crate::log::remark;
use anyhow::{Context as _, Result};
use pipeline::{
    dataset,
    pack::{self, PackConfig, PackPolicy},
    synth::{SynthConfig, synth},
};
use std::path::{Path, PathBuf};

/// Enough to be learnt from, few enough to be made in seconds.
const CLASSES: usize = 10;
const TRAIN_PER_CLASS: usize = 200;
const VAL_PER_CLASS: usize = 50;
/// Larger than what is stored, so that resizing has something to do.
const SHORTER_SIDE: usize = 96;

/// Makes and packs the procedural set under `dir` unless it is there; returns the shards' folder.
///
/// # Errors
/// If it cannot be written.
pub fn data(dir: &Path, stored: usize, seed: u64, jobs: usize) -> Result<PathBuf> {
    let (tree, shards) = (dir.join("images"), dir.join("shards"));
    if shards.join(dataset::FILE).exists() {
        return Ok(shards);
    }
    if !tree.exists() {
        remark(&format!(
            "no --data: making {} procedural images of {CLASSES} classes in {}",
            CLASSES * (TRAIN_PER_CLASS + VAL_PER_CLASS),
            tree.display()
        ));
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot create {}", dir.display()))?;
        let config = SynthConfig {
            classes: CLASSES,
            per_class: TRAIN_PER_CLASS,
            val_per_class: VAL_PER_CLASS,
            seed,
            jobs,
            shorter_side: Some(SHORTER_SIDE),
        };
        synth(&config, &tree, &|_| ()).context("cannot make the procedural images")?;
    }
    remark(&format!("packing them into {}", shards.display()));
    let config = PackConfig {
        size: stored,
        jobs,
        on_corrupt: PackPolicy::Fail,
        ..PackConfig::new(tree, &shards)
    };
    pack::build(&config, &|_| ()).context("cannot pack the procedural images")?;
    Ok(shards)
}
