//! A tree of image files: `train/<class>/*`, `val/<class>/*`, in sorted order of their paths.

use super::{Encoded, OpenError, SampleError, Source};
use crate::{
    dataset::{Class, Encoding, Split, Statistics},
    resize::Stored,
    statistics::Accumulator,
};
use std::{
    fs::{self, File},
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

/// Lists a tree. Classes are the folders of `train` in sorted order; hidden files are left out.
///
/// # Errors
/// If a folder cannot be read, `train` is empty, has one class only, or lacks a class of `val`.
pub fn list(dir: &Path) -> Result<Listing, OpenError> {
    let train = dir.join(Split::Train.name());
    let names =
        sorted(&train)?.into_iter().filter(|path| path.is_dir()).map(|path| name(&path));
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
        for class in sorted(&folder)?.into_iter().filter(|path| path.is_dir()) {
            let wnid = name(&class);
            let label = classes.binary_search_by(|class| class.wnid.cmp(&wnid));
            let label = label.map_err(|_| OpenError::UnknownClass {
                path: class.clone(),
                class: wnid.clone(),
            })?;
            let list = &mut files[split as usize];
            let within = sorted(&class)?.into_iter().filter(|path| path.is_file());
            list.extend(within.map(|path| TreeFile { path, label: label as u32 }));
        }
    }
    if files[0].is_empty() {
        return Err(OpenError::Empty { path: dir.into(), split: Split::Train });
    }
    Ok((classes, files))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    let mut paths =
        entries.map_err(|source| OpenError::List { path: folder.into(), source })?;
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// Reads a whole file into `bytes`, whose memory is used again.
pub(crate) fn read_into(path: &Path, bytes: &mut Vec<u8>) -> Result<(), SampleError> {
    bytes.clear();
    File::open(path)
        .and_then(|mut file| file.read_to_end(bytes))
        .map(drop)
        .map_err(|source| SampleError::Read { path: path.into(), source })
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
        fs::create_dir(dir.path().join("train")).expect("a folder");
        assert!(fails(dir.path()).contains("no train images"));
        tree(dir.path(), &["n1"]);
        assert!(fails(dir.path()).contains("one class only (n1)"));
        tree(dir.path(), &["n1", "n2"]);
        open(dir.path(), 8, 1).expect("two classes");
        fs::create_dir(dir.path().join("val/n9")).expect("a folder");
        assert!(fails(dir.path()).contains("class n9 is not in `train`"));
    }
}
