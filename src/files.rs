//! Files that are whole or as they were.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Writes `path` so that it is whole or as it was before: beside, synced, renamed, folder synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("partial");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        let _ = fs::remove_file(&beside); // the first error is the one to tell
    }
    moved?;
    sync_folder(path)
}

/// Makes a rename in `path`'s folder last.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
