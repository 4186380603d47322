//! A run's folder: `config.toml`, `metrics.jsonl`, `checkpoints/`, and a lock while it is in use.

use crate::{
    checkpoint::{Checkpoint, CheckpointError},
    config::Config,
    files::{name_again, sync_folder, write_whole},
};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

const SUFFIX: &str = ".safetensors";
const BEST: &str = "best.safetensors";

/// A run's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunDirError {
    /// The file system refused.
    #[error("cannot use {} as a run's folder", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a run in it.
    #[error("{} holds a run already", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// Another process trains in it.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A checkpoint that may be whole cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No checkpoint in it is whole.
    #[error("none of the {} checkpoints in {} is whole; the newest: {newest}", count, path.display())]
    AllDamaged {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        newest: CheckpointError,
    },
}

/// A locked run's folder. The lock goes with the process, however it ends. Dropped before a recipe
/// was stored in it, it leaves nothing behind but what others put there.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !occupied(&self.path) {
            let _ = fs::remove_file(self.path.join("lock"));
            let _ = fs::remove_dir(self.path.join("checkpoints")); // refused if there is something in it
            let _ = fs::remove_dir(&self.path); // so here
        }
    }
}

/// The step that a checkpoint's file name says; `None` of files that no run wrote.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?.strip_suffix(SUFFIX)?;
    let written = digits.len() >= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| written)
}

/// Renames files that are neither to be used nor to be lost.
fn set_aside(paths: &[PathBuf]) -> io::Result<()> {
    paths.iter().try_for_each(|path| {
        let name = |i: u32| {
            path.with_extension(if i == 1 { "damaged".into() } else { format!("damaged-{i}") })
        };
        let free = (1..u32::MAX).map(name).find(|path| !path.exists());
        fs::rename(path, free.expect("files are finite"))
    })
}

/// A run's checkpoints by step, oldest first.
fn steps(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut steps = Vec::new();
    for entry in fs::read_dir(path.join("checkpoints"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if step_of(name).is_some() {
            steps.push(path);
        }
    }
    steps.sort();
    Ok(steps)
}

/// The step of the newest checkpoint in a run's folder.
pub fn newest_step(path: &Path) -> Option<u64> {
    step_of(steps(path).ok()?.last()?.file_name()?.to_str()?)
}

/// Whether a run has begun in a folder.
pub fn occupied(path: &Path) -> bool {
    let checkpoints = fs::read_dir(path.join("checkpoints"));
    path.join("config.toml").exists()
        || path.join("metrics.jsonl").exists()
        || checkpoints.is_ok_and(|mut entries| entries.next().is_some())
}

/// What `--resume` found.
#[derive(Debug)]
pub struct Found {
    /// The newest whole checkpoint and its file, if there is one.
    pub checkpoint: Option<(Checkpoint, PathBuf)>,
    /// Newer ones that are damaged.
    pub damaged: Vec<CheckpointError>,
}

impl RunDir {
    /// Creates or opens `path` and locks it. Without `resume` it must be new or empty.
    ///
    /// # Errors
    /// If it holds a run, is in use, or cannot be written.
    pub fn open(path: &Path, resume: bool) -> Result<Self, RunDirError> {
        let io = |source| RunDirError::Io { path: path.into(), source };
        if occupied(path) && !resume {
            return Err(RunDirError::Occupied { path: path.into() });
        }
        fs::create_dir_all(path.join("checkpoints")).map_err(io)?;
        let lock = File::create(path.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RunDirError::Locked { path: path.into() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metrics file.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The recipe that the run was started with, if it was.
    pub fn config(&self) -> Option<PathBuf> {
        Some(self.path.join("config.toml")).filter(|path| path.exists())
    }

    /// Keeps the recipe beside the checkpoints.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn store_config(&self, config: &Config) -> Result<(), RunDirError> {
        let path = self.path.join("config.toml");
        write_whole(&path, config.to_toml().as_bytes())
            .map_err(|source| RunDirError::Io { path, source })
    }

    /// Writes the checkpoint of its step, keeps it as the best if it is, and removes all but the
    /// newest `keep`.
    ///
    /// # Errors
    /// If it cannot be written; the earlier ones are then untouched.
    pub fn store(
        &self, checkpoint: &Checkpoint, best: bool, keep: usize,
    ) -> Result<PathBuf, CheckpointError> {
        let folder = self.path.join("checkpoints");
        let path = folder.join(format!("step-{:09}{SUFFIX}", checkpoint.meta.step));
        let cannot = |source| CheckpointError::Write { path: path.clone(), source };
        if best {
            // The best one first: a run that is killed in between goes on from the step before, and comes here
            // again.
            let best = folder.join(BEST);
            checkpoint.store(&best)?;
            name_again(&best, &path).map_err(cannot)?;
        } else {
            checkpoint.store(&path)?;
        }
        let housekeeping = || -> io::Result<()> {
            let mut steps = steps(&self.path)?;
            steps.truncate(steps.len().saturating_sub(keep.max(1)));
            steps.iter().try_for_each(fs::remove_file)?;
            sync_folder(&path)
        };
        housekeeping().map_err(cannot)?;
        Ok(path)
    }

    /// The checkpoint of the best validation error so far.
    pub fn best(&self) -> Option<PathBuf> {
        Some(self.path.join("checkpoints").join(BEST)).filter(|path| path.exists())
    }

    /// The newest whole checkpoint; damaged newer ones are told and renamed to `*.damaged`.
    ///
    /// # Errors
    /// If there are some and none is whole, or one cannot be read or is of a later version.
    pub fn newest(&self) -> Result<Found, RunDirError> {
        let cannot = |source| RunDirError::Io { path: self.path.clone(), source };
        let (mut damaged, mut newer) = (Vec::new(), Vec::new());
        let steps = steps(&self.path).map_err(cannot)?;
        for path in steps.iter().rev().chain(&self.best()) {
            match Checkpoint::load(path) {
                Ok(checkpoint) => {
                    set_aside(&newer).map_err(cannot)?;
                    return Ok(Found { checkpoint: Some((checkpoint, path.clone())), damaged });
                }
                Err(error @ CheckpointError::Damaged { .. }) => {
                    damaged.push(error);
                    newer.push(path.clone());
                }
                Err(error) => return Err(error.into()), // it may be whole
            }
        }
        let count = damaged.len();
        match damaged.into_iter().next() {
            None => Ok(Found { checkpoint: None, damaged: vec![] }),
            Some(newest) => {
                Err(RunDirError::AllDamaged { path: self.path.clone(), count, newest })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_or_with_a_run_in_it_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = RunDir::open(dir.path(), false).expect("an empty folder");
        let error = RunDir::open(dir.path(), true).expect_err("it is locked");
        assert!(matches!(error, RunDirError::Locked { .. }), "{error}");
        first.store_config(&Config::load("demo", None).expect("a preset")).expect("room");
        drop(first);
        let error = RunDir::open(dir.path(), false).expect_err("it holds a run");
        assert!(matches!(error, RunDirError::Occupied { .. }), "{error}");
        RunDir::open(dir.path(), true).expect("resumed");
    }

    #[test]
    fn files_that_no_run_wrote_are_no_checkpoints_and_none_is_set_aside_over_another() {
        let names =
            ["step-000000004.safetensors", "step-4-mine.safetensors", "step-4.safetensors"];
        assert_eq!(names.map(step_of), [Some(4), None, None]);
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("step-000000004.safetensors");
        for content in ["first", "second"] {
            fs::write(&path, content).expect("room");
            set_aside(std::slice::from_ref(&path)).expect("room");
        }
        for (end, content) in [("damaged", "first"), ("damaged-2", "second")] {
            let found = fs::read_to_string(path.with_extension(end)).expect("kept");
            assert_eq!(found, content);
        }
    }

    #[test]
    fn a_run_that_did_not_begin_leaves_only_what_others_put_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let [new, used] = ["new", "used"].map(|name| dir.path().join(name));
        drop(RunDir::open(&new, false).expect("made"));
        assert!(!new.exists());
        let data = used.join("data");
        fs::create_dir_all(&data).expect("a folder");
        drop(RunDir::open(&used, false).expect("no run is in it"));
        let left: Vec<_> =
            fs::read_dir(&used).expect("kept").map(|e| e.expect("one").path()).collect();
        assert_eq!(left, [data]);
    }
}
