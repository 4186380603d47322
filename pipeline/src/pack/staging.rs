//! A folder that is written beside its final name and renamed when it is whole: whoever finds
//! `OUT` finds all of it, and a run that dies leaves only `OUT.partial`.

use crate::dataset::{self, Split};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// Stands in `OUT.partial` from its making on, so that a folder of that name that is somebody else's is
/// never taken for what a run that died has left.
const MARKER: &str = ".unfinished";

/// A folder that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StagingError {
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    #[error("another process is writing {}", path.display())]
    Busy { path: PathBuf },
    #[error("{} would be written over, and no build left {name} there", path.display())]
    Foreign { path: PathBuf, name: String },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot rename {} to {}", from.display(), to.display())]
    Rename { from: PathBuf, to: PathBuf, source: io::Error },
}

impl StagingError {
    /// For `map_err`: `path` could not be written.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source }
    }
}

/// The folder `OUT.partial`, removed on drop unless it was [committed](Self::commit) or is to be
/// [kept](Self::keep), and locked: a second run to the same place would mix its files with ours.
#[derive(Debug)]
pub(crate) struct Staging {
    partial: PathBuf,
    out: PathBuf,
    stays: bool,
    _lock: File, // goes with the process, however it ends
}

impl Staging {
    /// Creates `out.partial`, after clearing what an earlier run that died has left there.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub(crate) fn create(out: &Path) -> Result<Self, StagingError> {
        let staging = Self::resume(out)?;
        staging.clear(|_| false)?;
        Ok(staging)
    }

    /// Opens `out.partial` with what an earlier run may have left there. An empty folder `out` is
    /// removed now: one that cannot be, such as a mount point, could not be replaced at the end
    /// either.
    ///
    /// # Errors
    /// If `out` holds anything already, another run writes there, `out.partial` holds what none has
    /// left there, or their parent folder cannot be written.
    pub(crate) fn resume(out: &Path) -> Result<Self, StagingError> {
        // The rename would meet a link itself, not the folder that it leads to.
        let target = if out.is_symlink() { fs::canonicalize(out) } else { Ok(out.into()) };
        let out = target.map_err(|_| StagingError::Exists { path: out.into() })?;
        match fs::read_dir(&out) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(StagingError::Exists { path: out });
                }
                fs::remove_dir(&out).map_err(StagingError::write(&out))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) if out.is_file() => return Err(StagingError::Exists { path: out }),
            Err(error) => return Err(StagingError::write(&out)(error)),
        }
        let name = out.file_name().ok_or_else(|| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "a folder without a name");
            StagingError::write(&out)(error)
        })?;
        let mut name = name.to_os_string();
        name.push(".partial");
        let partial = out.with_file_name(name);
        fs::create_dir_all(&partial).map_err(StagingError::write(&partial))?;
        let lock = File::open(&partial).map_err(StagingError::write(&partial))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(StagingError::Busy { path: out }),
            // Some network file systems have no locks; there the user has to take care.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let marker = partial.join(MARKER);
        let marked = marker.exists();
        for entry in fs::read_dir(&partial).map_err(StagingError::write(&partial))? {
            let name = entry.map_err(StagingError::write(&partial))?.file_name();
            let name = name.to_string_lossy().into_owned();
            if !marked || !is_ours(&name) {
                return Err(StagingError::Foreign { path: partial, name });
            }
        }
        fs::write(&marker, "prepack writes here\n").map_err(StagingError::write(&marker))?;
        Ok(Self { partial, out, stays: false, _lock: lock })
    }

    /// Removes what is in the folder, but for the names that are to be kept.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(crate) fn clear(&self, is_kept: impl Fn(&str) -> bool) -> Result<(), StagingError> {
        clear(&self.partial, is_kept).map_err(StagingError::write(&self.partial))
    }

    /// From here on, what was written stays if the run fails, for the next one to go on.
    pub(crate) fn keep(&mut self) {
        self.stays = true;
    }

    /// What was written is of no use after all.
    pub(crate) fn discard(&mut self) {
        self.stays = false;
    }

    /// Where to write meanwhile.
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the folder its name. The caller has synced the files in it; the names are synced
    /// here. Returns where it is: a link was followed.
    ///
    /// # Errors
    /// If the rename or the sync fails.
    pub(crate) fn commit(mut self) -> Result<PathBuf, StagingError> {
        sync_folder(&self.partial)?;
        fs::rename(&self.partial, &self.out).map_err(|source| StagingError::Rename {
            from: self.partial.clone(),
            to: self.out.clone(),
            source,
        })?;
        self.stays = true;
        let _ = fs::remove_file(self.out.join(MARKER)); // it says nothing here
        match self.out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent)?,
            _ => sync_folder(Path::new("."))?,
        }
        Ok(std::mem::take(&mut self.out))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.stays {
            // Best effort: the next run clears what stays.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Whether packing, merging or synthesis writes something of this name.
fn is_ours(name: &str) -> bool {
    let ours =
        [MARKER, dataset::FILE, "dataset.partial", dataset::MANIFEST, "manifest.partial"];
    let split = Split::ALL.iter().any(|split| name == split.to_string());
    split
        || ours.contains(&name)
        || Path::new(name).extension().is_some_and(|end| end == "shard")
}

fn clear(folder: &Path, is_kept: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name == MARKER || is_kept(name)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> Result<(), StagingError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(StagingError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommitted_folder_leaves_nothing() -> Result<(), StagingError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        let staging = Staging::create(&out)?;
        fs::write(staging.path().join("a"), "b").map_err(StagingError::write(&out))?;
        drop(staging);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
        Ok(())
    }

    #[test]
    fn a_committed_folder_has_its_name_and_is_never_overwritten() -> Result<(), StagingError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        let staging = Staging::create(&out)?;
        fs::write(staging.path().join("a"), "b").map_err(StagingError::write(&out))?;
        staging.commit()?;
        assert_eq!(fs::read(out.join("a")).expect("readable"), b"b");
        assert!(!dir.path().join("out.partial").exists());
        let error = Staging::create(&out).expect_err("the folder is full");
        assert!(matches!(error, StagingError::Exists { .. }), "{error}");
        Ok(())
    }

    #[test]
    fn what_no_run_left_is_not_touched() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (out, first) in [("a", "mine"), ("b", "train"), ("c", "train-00000.shard")] {
            let mine = dir.path().join(format!("{out}.partial/{first}/x"));
            fs::create_dir_all(mine.parent().expect("one")).expect("writable");
            fs::write(&mine, "precious").expect("writable");
            let error = Staging::create(&dir.path().join(out)).expect_err("it is not ours");
            assert!(
                matches!(&error, StagingError::Foreign { name, .. } if name == first),
                "{error}"
            );
            assert!(mine.exists());
        }
    }

    #[test]
    fn what_a_dead_run_left_is_cleared() -> Result<(), StagingError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        let left = dir.path().join("out.partial");
        fs::create_dir_all(left.join("train")).expect("writable");
        fs::write(left.join(MARKER), "").expect("writable");
        let staging = Staging::create(&out)?;
        let names = |folder: &Path| -> Vec<_> {
            let entries = fs::read_dir(folder).expect("readable");
            entries.map(|entry| entry.expect("readable").file_name()).collect()
        };
        assert_eq!(names(staging.path()), [MARKER]);
        assert!(names(&staging.commit()?).is_empty());
        Ok(())
    }

    #[test]
    fn what_is_to_be_kept_stays_for_the_next_run() -> Result<(), StagingError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        let mut staging = Staging::create(&out)?;
        for name in ["a.shard", "b.shard"] {
            fs::write(staging.path().join(name), name).map_err(StagingError::write(&out))?;
        }
        staging.keep();
        drop(staging);
        let staging = Staging::resume(&out)?;
        staging.clear(|name| name == "b.shard")?;
        staging.commit()?;
        assert_eq!(fs::read_dir(&out).expect("readable").count(), 1);
        assert_eq!(fs::read(out.join("b.shard")).expect("readable"), b"b.shard");
        Ok(())
    }

    #[test]
    fn two_runs_to_the_same_place_are_kept_apart() -> Result<(), StagingError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        let staging = Staging::create(&out)?;
        fs::write(staging.path().join("a"), "b").map_err(StagingError::write(&out))?;
        let error = Staging::create(&out).expect_err("the first one is at work");
        assert!(matches!(error, StagingError::Busy { .. }), "{error}");
        staging.commit()?;
        assert_eq!(fs::read(out.join("a")).expect("readable"), b"b");
        Ok(())
    }

    #[test]
    fn an_empty_folder_is_replaced() -> Result<(), StagingError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let out = dir.path().join("out");
        fs::create_dir(&out).map_err(StagingError::write(&out))?;
        let staging = Staging::create(&out)?;
        fs::write(staging.path().join("a"), "b").map_err(StagingError::write(&out))?;
        staging.commit()?;
        assert!(out.join("a").exists());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_one_that_leads_nowhere_refused() -> Result<(), StagingError> {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        symlink(&target, &link).map_err(StagingError::write(&link))?;
        let error = Staging::create(&link).expect_err("it leads nowhere");
        assert!(matches!(error, StagingError::Exists { .. }), "{error}");
        fs::create_dir(&target).map_err(StagingError::write(&target))?;
        let staging = Staging::create(&link)?;
        fs::write(staging.path().join("a"), "b").map_err(StagingError::write(&link))?;
        staging.commit()?;
        assert!(link.is_symlink() && target.join("a").exists() && link.join("a").exists());
        Ok(())
    }
}
