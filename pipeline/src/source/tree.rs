//! A tree of image files: `train/<class>/*`, `val/<class>/*`, in sorted order of their paths.

use super::{Encoded, OpenError, SampleError, Source};
use crate::{
    dataset::{Class, Encoding, Split, Statistics},
    resize::Stored,
    statistics::Accumulator,
};
use std::{
    fs::{self, File, FileType},
    io::{self, Read as _},
    path::{Path, PathBuf},
    thread,
};

/// Training images that the statistics of a tree are taken over, evenly spread; a packed set counts
/// all. The mean of 4096 pictures is within a grey level of that of 1.28 million.
pub const STATISTICS_MAX: u64 = 4096;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its class.
    pub label: u32,
}

/// Classes and files of a tree, splits in order.
pub type Listing = (Vec<Class>, [Vec<TreeFile>; 2]);

/// Lists a tree. Classes are the folders of `train` in sorted order; hidden files are left out, and
/// so is what is neither a file nor a link to one. Links are followed.
///
/// # Errors
/// If a folder cannot be read or has no UTF-8 name, `train` is empty, has one class only, or lacks a
/// class of `val`.
pub fn list(dir: &Path) -> Result<Listing, OpenError> {
    if !dir.is_dir() {
        return Err(OpenError::Missing { path: dir.into() });
    }
    if let Err(error) = fs::metadata(dir.join(Split::Train.name()))
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(OpenError::NotATree { path: dir.into() });
    }
    let names = folders(&dir.join(Split::Train.name()))?.into_iter().map(|(wnid, _)| wnid);
    let classes: Vec<Class> = names.map(|wnid| Class { name: wnid.clone(), wnid }).collect();
    if let [only] = classes.as_slice() {
        return Err(OpenError::OneClass { path: dir.into(), class: only.wnid.clone() });
    }
    let mut files = [vec![], vec![]];
    for split in Split::ALL {
        let folder = dir.join(split.name());
        if split == Split::Val && !folder.is_dir() {
            continue; // a set may have none
        }
        for (wnid, class) in folders(&folder)? {
            let label = classes.binary_search_by(|class| class.wnid.cmp(&wnid));
            let Ok(label) = label else {
                return Err(OpenError::UnknownClass { path: class, class: wnid });
            };
            let list = &mut files[split as usize];
            let before = list.len();
            // What cannot be looked at is kept: reading it tells why.
            let within = sorted(&class)?.into_iter();
            let within =
                within.filter(|(_, kind)| kind.as_ref().map_or(true, FileType::is_file));
            list.extend(within.map(|(path, _)| TreeFile { path, label: label as u32 }));
            if split == Split::Train && list.len() == before {
                tracing::warn!(path = %class.display(), "a class without training images");
            }
        }
    }
    if files[0].is_empty() {
        return Err(OpenError::Empty { path: dir.into(), split: Split::Train });
    }
    Ok((classes, files))
}

/// The folders in a folder and their names, sorted.
fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, OpenError> {
    let mut folders = Vec::new();
    for (path, kind) in sorted(folder)? {
        match kind {
            Ok(kind) if kind.is_dir() => {}
            Ok(_) => continue,
            Err(source) => return Err(OpenError::List { path, source }),
        }
        match path.file_name().unwrap_or_default().to_str() {
            Some(name) => folders.push((name.to_owned(), path)),
            None => return Err(OpenError::ClassName { path }),
        }
    }
    Ok(folders)
}

/// What is in a folder, hidden files aside, with what the links lead to, sorted.
fn sorted(folder: &Path) -> Result<Vec<(PathBuf, io::Result<FileType>)>, OpenError> {
    let entry = |entry: fs::DirEntry| {
        let kind = match entry.file_type() {
            Ok(kind) if kind.is_symlink() => {
                fs::metadata(entry.path()).map(|target| target.file_type())
            }
            kind => kind,
        };
        (entry.path(), kind)
    };
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|found| found.map(entry)).collect::<io::Result<Vec<_>>>()
    });
    let mut entries =
        entries.map_err(|source| OpenError::List { path: folder.into(), source })?;
    entries.retain(|(path, _)| {
        !path.file_name().unwrap_or_default().as_encoded_bytes().starts_with(b".")
    });
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Largest file that is read as a picture: an archive among the pictures must not fill the memory.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Reads a whole file into `bytes`, whose memory is used again.
pub(crate) fn read_into(path: &Path, bytes: &mut Vec<u8>) -> Result<(), SampleError> {
    bytes.clear();
    let mut read = || -> io::Result<()> {
        let file = File::open(path)?;
        if file.metadata()?.len() > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file.take(FILE_BYTES_MAX).read_to_end(bytes).map(drop)
    };
    read().map_err(|source| SampleError::Read { path: path.into(), source })
}

/// A tree as a data set, with no packing.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    size: usize,
    classes: Vec<Class>,
    files: [Vec<TreeFile>; 2],
    statistics: Statistics,
}

impl Tree {
    /// Lists the tree and takes its statistics with `jobs` threads.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub fn open(dir: &Path, size: usize, jobs: usize) -> Result<Self, OpenError> {
        let (classes, files) = list(dir)?;
        let statistics = statistics(&files[0], size, jobs);
        if statistics.images == 0 {
            return Err(OpenError::Empty { path: dir.into(), split: Split::Train });
        }
        Ok(Self { dir: dir.into(), size, classes, files, statistics })
    }
}

/// Over at most [`STATISTICS_MAX`] files; those that cannot be decoded are left out.
fn statistics(files: &[TreeFile], size: usize, jobs: usize) -> Statistics {
    let len = files.len() as u64;
    let count = len.min(STATISTICS_MAX);
    let chosen: Vec<&Path> =
        (0..count).map(|i| files[(i * len / count) as usize].path.as_path()).collect();
    let part = |paths: &[&Path]| {
        let (mut sums, mut stored) = (Accumulator::new(size), Stored::new());
        let (mut bytes, mut square) = (vec![], vec![]);
        for path in paths {
            let added = read_into(path, &mut bytes).and_then(|()| {
                let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
                stored.square(encoded, size, &mut square).map_err(|source| {
                    SampleError::Decode { place: path.display().to_string(), source }
                })
            });
            match added {
                Ok(()) => sums.add(&square),
                Err(error) => tracing::warn!(%error, "left out of the statistics"),
            }
        }
        sums
    };
    thread::scope(|scope| {
        let chunk = chosen.len().div_ceil(jobs.max(1)).max(1);
        let part = &part;
        let threads: Vec<_> =
            chosen.chunks(chunk).map(|paths| scope.spawn(move || part(paths))).collect();
        let mut all = Accumulator::new(size);
        for thread in threads {
            all.merge(&thread.join().expect("decoding does not panic"));
        }
        all.finish()
    })
}

impl Source for Tree {
    fn size(&self) -> usize {
        self.size
    }

    fn classes(&self) -> &[Class] {
        &self.classes
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn len(&self, split: Split) -> u64 {
        self.files[split as usize].len() as u64
    }

    fn label(&self, split: Split, index: u64) -> u32 {
        self.files[split as usize][index as usize].label
    }

    fn read<'a>(
        &'a self, split: Split, index: u64, scratch: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, SampleError> {
        read_into(&self.files[split as usize][index as usize].path, scratch)?;
        Ok(Encoded { encoding: Encoding::Original, bytes: scratch })
    }

    fn place(&self, split: Split, index: u64) -> String {
        self.files[split as usize][index as usize].path.display().to_string()
    }

    fn describe(&self) -> String {
        format!(
            "{}: a tree of image files, {} classes, {} train and {} val images; statistics over {}",
            self.dir.display(),
            self.classes.len(),
            self.len(Split::Train),
            self.len(Split::Val),
            self.statistics.images
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::open;

    fn tree(dir: &Path, classes: &[&str]) {
        for (split, count) in [("train", 3), ("val", 1)] {
            for (label, class) in classes.iter().enumerate() {
                let folder = dir.join(split).join(class);
                fs::create_dir_all(&folder).expect("a folder");
                for i in 0..count {
                    let level = [(label * 60 + i) as u8; 3];
                    image::RgbImage::from_pixel(12, 9, image::Rgb(level))
                        .save_with_format(
                            folder.join(format!("{i}.JPEG")),
                            image::ImageFormat::Png,
                        )
                        .expect("room");
                }
            }
        }
    }

    #[test]
    fn files_are_in_sorted_order_and_statistics_the_same_for_any_jobs() {
        let dir = tempfile::tempdir().expect("a folder");
        tree(dir.path(), &["n2", "n1", "n3"]);
        let one = open(dir.path(), 8, 1).expect("a tree");
        let three = open(dir.path(), 8, 3).expect("a tree");
        assert_eq!(one.statistics(), three.statistics());
        let labels: Vec<_> = (0..9).map(|i| one.label(Split::Train, i)).collect();
        assert_eq!(labels, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(one.classes()[0].wnid, "n1");
        assert_eq!(one.next_of_class(Split::Train, 5), Some(3));
        assert_eq!(one.next_of_class(Split::Val, 1), None);
    }

    #[test]
    fn what_is_no_data_set_is_told_with_the_reason() {
        let dir = tempfile::tempdir().expect("a folder");
        let fails = |path: &Path| open(path, 8, 1).expect_err("no data").to_string();
        assert!(fails(&dir.path().join("nowhere")).contains("no such folder"));
        assert!(fails(dir.path()).contains("neither dataset.json nor a folder `train`"));
        let error = list(dir.path()).expect_err("no tree").to_string();
        assert!(error.contains("no folder `train` is in it"), "{error}");
        fs::create_dir(dir.path().join("train")).expect("a folder");
        assert!(fails(dir.path()).contains("no train images"));
        tree(dir.path(), &["n1"]);
        assert!(fails(dir.path()).contains("one class only (n1)"));
        tree(dir.path(), &["n1", "n2"]);
        open(dir.path(), 8, 1).expect("two classes");
        fs::create_dir(dir.path().join("val/n9")).expect("a folder");
        assert!(fails(dir.path()).contains("class n9 is not in `train`"));
    }
    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_none_that_leads_nowhere_is_lost() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        tree(dir.path(), &["n1", "n2"]);
        let (train, elsewhere) = (dir.path().join("train"), dir.path().join("elsewhere"));
        fs::rename(train.join("n2"), &elsewhere).expect("the same file system");
        symlink(&elsewhere, train.join("n2")).expect("room");
        symlink(elsewhere.join("0.JPEG"), train.join("n1/linked.JPEG")).expect("room");
        symlink(elsewhere.join("gone"), train.join("n1/nowhere.JPEG")).expect("room");
        fs::create_dir(train.join("n1/a_folder")).expect("room");
        fs::write(train.join("n1/.hidden"), "").expect("room");
        let (classes, [files, _]) = list(dir.path()).expect("a tree");
        assert_eq!((classes.len(), files.len()), (2, 5 + 3));
        let error = read_into(&train.join("n1/nowhere.JPEG"), &mut vec![]).expect_err("gone");
        let SampleError::Read { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
        symlink(elsewhere.join("gone"), train.join("n3")).expect("room");
        let error = list(dir.path()).expect_err("a class that leads nowhere").to_string();
        assert!(error.contains("cannot list") && error.contains("train/n3"), "{error}");
    }

    #[cfg(target_os = "linux")] // others know UTF-8 names only
    #[test]
    fn a_class_whose_name_is_no_text_is_refused() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let dir = tempfile::tempdir().expect("a folder");
        tree(dir.path(), &["n1", "n2"]);
        let name = OsStr::from_bytes(b"caf\xe9");
        fs::create_dir(dir.path().join("train").join(name)).expect("room");
        let error = list(dir.path()).expect_err("no text").to_string();
        assert!(error.contains("not UTF-8"), "{error}");
    }

    #[test]
    fn a_file_too_large_for_a_picture_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("archive.tar");
        let file = File::create(&path).expect("room");
        file.set_len(FILE_BYTES_MAX + 1).expect("a sparse file takes no room");
        let (mut bytes, error) = (vec![], io::ErrorKind::FileTooLarge);
        let found = read_into(&path, &mut bytes).expect_err("too large");
        let SampleError::Read { source, .. } = found else { panic!("{found}") };
        assert_eq!((source.kind(), bytes.capacity()), (error, 0));
    }
}
