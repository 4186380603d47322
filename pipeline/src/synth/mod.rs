//! Writes a procedural tree of JPEGs in ILSVRC's layout: `train/<class>/*.jpg` and
//! `val/<class>/*.jpg`, for the demo and for tests without real data.
//!
//! A class is a shape with a texture ([`class_name`]); colour, position, size, rotation,
//! background, JPEG quality and the picture's own size are random and carry no information
//! about it. Every picture is a pure function of (seed, split, class, index), so that any number
//! of jobs writes the same bytes.

mod draw;
mod picture;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use jpeg_encoder::{ColorType, Encoder};

pub use picture::CLASSES_MAX;

use crate::{
    pack::{
        Progress,
        staging::{Staging, StagingError},
    },
    random::Draws,
};
use picture::{Kind, Picture};

/// The purpose of the draws here, apart from those of augmentation: "SYNT" in ASCII.
const PURPOSE: u32 = 0x5359_4e54;

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynthConfig {
    /// Classes, at most [`CLASSES_MAX`].
    pub classes: usize,
    /// Training pictures per class.
    pub per_class: usize,
    /// Validation pictures per class.
    pub val_per_class: usize,
    /// Another seed gives another set of the same classes.
    pub seed: u64,
    /// Threads.
    pub jobs: usize,
    /// The pictures' shorter side in pixels; `None`: sizes as in ILSVRC, mostly 500 x 375.
    pub shorter_side: Option<usize>,
}

/// A tree that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SynthError {
    #[error(
        "{classes} classes: there are {CLASSES_MAX} pairs of shape and texture, at least 1"
    )]
    Classes { classes: usize },
    #[error("a shorter side of {found} pixels, expected {SIDE_MIN} to {SIDE_MAX}")]
    Side { found: usize },
    #[error("{per_class} pictures per class, expected at most {PER_CLASS_MAX}")]
    PerClass { per_class: usize },
    #[error("cannot encode {}", path.display())]
    Encode { path: PathBuf, source: jpeg_encoder::EncodingError },
    #[error(transparent)]
    Staging(#[from] StagingError),
}

/// Smallest shorter side, pixels: below it a texture cannot be told from another.
pub const SIDE_MIN: usize = 16;
/// Largest shorter side, pixels: keeps the longer one well under JPEG's 65535.
pub const SIDE_MAX: usize = 8192;
/// Pictures of a class in a split: file names have six digits.
pub const PER_CLASS_MAX: usize = 999_999;

/// One picture to write.
#[derive(Debug, Clone, Copy)]
struct Job {
    split: &'static str,
    class: usize,
    index: usize,
}

/// The folder of a class: a made-up WNID (the real ones end well below `n9`), then its shape
/// and texture.
///
/// ```
/// assert_eq!(pipeline::synth::class_name(1), "n90000001_square_stripes");
/// ```
#[must_use]
pub fn class_name(class: usize) -> String {
    let kind = Kind::of_class(class);
    format!("n9{class:07}_{}_{}", kind.shape.name(), kind.texture.name())
}

/// Writes the tree beside `out` and renames it when it is whole; `progress` hears of every
/// picture.
///
/// # Errors
/// If the configuration is out of range, `out` exists already, or a file cannot be written.
pub fn synth(
    config: &SynthConfig, out: &Path, progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), SynthError> {
    check(config)?;
    let staging = Staging::create(out)?;
    for split in ["train", "val"] {
        for class in 0..config.classes {
            let folder = staging.path().join(split).join(class_name(class));
            fs::create_dir_all(&folder).map_err(StagingError::write(&folder))?;
        }
    }
    let total = (config.classes * (config.per_class + config.val_per_class)) as u64;
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let work = || -> Result<(), SynthError> {
        let mut artist = Artist::default();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= total {
                break;
            }
            let result = artist.make(config, job(config, index as usize), staging.path());
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
                return result;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total });
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..config.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("drawing a picture does not panic"))
            .collect::<Result<Vec<()>, _>>()
    })?;
    staging.commit()?;
    Ok(())
}

/// Refuses what cannot be drawn.
fn check(config: &SynthConfig) -> Result<(), SynthError> {
    if !(1..=CLASSES_MAX).contains(&config.classes) {
        return Err(SynthError::Classes { classes: config.classes });
    }
    for per_class in [config.per_class, config.val_per_class] {
        if per_class > PER_CLASS_MAX {
            return Err(SynthError::PerClass { per_class });
        }
    }
    match config.shorter_side {
        Some(found) if !(SIDE_MIN..=SIDE_MAX).contains(&found) => {
            Err(SynthError::Side { found })
        }
        _ => Ok(()),
    }
}

/// The `index`th picture of all: training first, class by class.
fn job(config: &SynthConfig, index: usize) -> Job {
    let train = config.classes * config.per_class;
    let (split, index, per_class) = if index < train {
        ("train", index, config.per_class)
    } else {
        ("val", index - train, config.val_per_class)
    };
    Job { split, class: index / per_class, index: index % per_class }
}

/// One thread's buffers.
#[derive(Debug, Default)]
struct Artist {
    rgb: Vec<u8>,
    jpeg: Vec<u8>,
}

impl Artist {
    /// Draws, encodes and writes one picture under `root`.
    fn make(&mut self, config: &SynthConfig, job: Job, root: &Path) -> Result<(), SynthError> {
        let Job { split, class, index } = job;
        let name = format!("{split}/{}/{index:06}.jpg", class_name(class));
        let path = root.join(name);
        let split_class = u64::from(split == "val") << 32 | class as u64;
        let mut draws = Draws::new(config.seed, PURPOSE, split_class, index as u64);
        let picture = Picture::random(Kind::of_class(class), config.shorter_side, &mut draws);
        picture.draw(&mut draws, &mut self.rgb);
        self.jpeg.clear();
        Encoder::new(&mut self.jpeg, picture.quality)
            .encode(
                &self.rgb,
                picture.width as u16, // at most 3/2 of SIDE_MAX
                picture.height as u16,
                ColorType::Rgb,
            )
            .map_err(|source| SynthError::Encode { path: path.clone(), source })?;
        fs::write(&path, &self.jpeg).map_err(StagingError::write(&path))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(jobs: usize) -> SynthConfig {
        SynthConfig {
            classes: 3,
            per_class: 4,
            val_per_class: 2,
            seed: 7,
            jobs,
            shorter_side: Some(48),
        }
    }

    /// All files below `root` with their bytes, by path.
    fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = fs::read(&path).expect("readable");
                    found.push((path.strip_prefix(root).expect("below").into(), bytes));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn any_number_of_jobs_writes_the_same_bytes() -> Result<(), SynthError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (one, three) = (dir.path().join("one"), dir.path().join("three"));
        synth(&config(1), &one, &|_| ())?;
        synth(&config(3), &three, &|_| ())?;
        let (one, three) = (files(&one), files(&three));
        assert_eq!(one.len(), 3 * (4 + 2));
        assert!(one == three);
        Ok(())
    }

    #[test]
    fn another_seed_gives_other_pictures() -> Result<(), SynthError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        synth(&config(2), &one, &|_| ())?;
        synth(&SynthConfig { seed: 8, ..config(2) }, &two, &|_| ())?;
        let (one, two) = (files(&one), files(&two));
        assert!(one.iter().zip(&two).all(|(a, b)| a.0 == b.0 && a.1 != b.1));
        Ok(())
    }

    #[test]
    fn the_pictures_are_jpegs_of_the_size_asked_for() -> Result<(), SynthError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        synth(&config(2), &out, &|_| ())?;
        for (path, bytes) in files(&out) {
            let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(&bytes));
            decoder.decode_headers().expect("a JPEG");
            let (width, height) = decoder.dimensions().expect("decoded");
            assert_eq!(width.min(height), 48, "{}", path.display());
        }
        Ok(())
    }

    #[test]
    fn progress_counts_to_the_total() -> Result<(), SynthError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let most = AtomicU64::new(0);
        synth(&config(2), &dir.path().join("out"), &|progress| {
            assert_eq!(progress.total, 18);
            most.fetch_max(progress.done, Ordering::Relaxed);
        })?;
        assert_eq!(most.into_inner(), 18);
        Ok(())
    }

    #[test]
    fn what_is_out_of_range_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        let wrong = [
            SynthConfig { classes: 0, ..config(1) },
            SynthConfig { classes: CLASSES_MAX + 1, ..config(1) },
            SynthConfig { shorter_side: Some(3), ..config(1) },
            SynthConfig { per_class: 1_000_000, ..config(1) },
        ];
        for config in wrong {
            assert!(synth(&config, &out, &|_| ()).is_err(), "{config:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn an_out_folder_that_holds_something_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("precious"), "").expect("writable");
        let error = synth(&config(1), dir.path(), &|_| ()).expect_err("it exists");
        assert!(error.to_string().ends_with("exists already"), "{error}");
    }
}
