//! Files that are whole or as they were.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// Writes `path` so that it is whole or as it was before: beside, synced, renamed, folder synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    appear(path, |beside| {
        let mut file = File::create_new(beside)?;
        file.write_all(bytes)?;
        file.sync_all()
    })
}

/// The same for a file that a user names: a link is followed, and what is no file, as `/dev/stdout`, written to.
pub(crate) fn write_out(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => fs::write(path, bytes),
        Ok(_) => write_whole(&fs::canonicalize(path)?, bytes),
        Err(_) => write_whole(path, bytes),
    }
}

/// Gives what `path` holds the name `other`, too; a copy of it, where the file system has no links.
pub(crate) fn name_again(path: &Path, other: &Path) -> io::Result<()> {
    appear(other, |beside| {
        if fs::hard_link(path, beside).is_err() {
            fs::copy(path, beside)?;
            File::open(beside)?.sync_all()?;
        }
        Ok(())
    })
}

fn appear(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_extension("partial");
    // What a killed process left here may be a second name of a file that is to stay.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let moved = make(&beside).and_then(|()| fs::rename(&beside, path));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_killed_process_left_is_not_written_through() {
        let dir = tempfile::tempdir().expect("a folder");
        let [best, step] = ["best.x", "step.x"].map(|name| dir.path().join(name));
        write_whole(&best, b"1").expect("room");
        fs::hard_link(&best, dir.path().join("step.partial")).expect("a link");
        write_whole(&step, b"2").expect("room");
        let read = |path: &Path| fs::read_to_string(path).expect("there");
        assert_eq!((read(&best), read(&step)), ("1".into(), "2".into()));
        fs::hard_link(&best, dir.path().join("step.partial")).expect("a link");
        name_again(&best, &step).expect("room");
        assert_eq!((read(&best), read(&step)), ("1".into(), "1".into()));
        // Two names that part again.
        write_whole(&best, b"3").expect("room");
        assert_eq!((read(&best), read(&step)), ("3".into(), "1".into()));
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_a_device_stays_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let [file, link, null] = ["file", "link", "null"].map(|name| dir.path().join(name));
        write_out(&file, b"1").expect("room");
        for (link, to) in [(&link, &*file), (&null, Path::new("/dev/null"))] {
            std::os::unix::fs::symlink(to, link).expect("a link");
            write_out(link, b"2").expect("room");
            assert!(link.is_symlink());
        }
        assert_eq!(fs::read(&file).expect("there"), b"2");
        assert!(!fs::metadata(&null).expect("there").is_file());
        write_out(dir.path(), b"3").expect_err("a folder");
    }
}
