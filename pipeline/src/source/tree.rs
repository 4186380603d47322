//! A tree of image files: `train/<class>/*`, `val/<class>/*`, in sorted order of their paths. Where
//! a class is an archive `<class>.tar` still, the archive is read.

use super::{
    OpenError,
    lister::{ByClass, Kind, Lister},
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The pictures of a folder of classes.
pub(super) fn by_class(lister: &mut Lister<'_>, below: &Path) -> Result<ByClass, OpenError> {
    let mut classes = ByClass::new();
    let (mut names, mut archives) = (vec![], vec![]);
    let mut loose = 0;
    for (name, kind) in lister.entries(below)? {
        let path = below.join(&name);
        if kind == Kind::Broken {
            let (path, source) = (lister.dir.join(&path), io::ErrorKind::NotFound.into());
            return Err(OpenError::List { path, source });
        }
        let class =
            if kind == Kind::Folder { Some(name.as_os_str()) } else { path.file_stem() };
        let archive = kind == Kind::File && path.extension().is_some_and(|end| end == "tar");
        if kind == Kind::File && !archive {
            loose += u64::from(!name.as_encoded_bytes().starts_with(b"."));
            continue;
        }
        let Some(class) = class.and_then(|class| class.to_str()) else {
            return Err(OpenError::ClassName { path: lister.dir.join(path) });
        };
        if archive {
            names.push(class.to_owned());
            archives.push(path);
        } else {
            let found = lister.files(&path)?;
            classes.insert(class.to_owned(), found);
        }
    }
    of_archives(lister, names, archives, &mut classes)?;
    if loose > 0 {
        let below = below.display();
        lister.notes.push(format!("{below}: {loose} files in no class's folder were left out"));
    }
    Ok(classes)
}

/// Adds the pictures of one archive for each class.
pub(super) fn of_archives(
    lister: &mut Lister<'_>, names: Vec<String>, archives: Vec<PathBuf>, classes: &mut ByClass,
) -> Result<(), OpenError> {
    let indices = lister.archives(&archives)?;
    for ((class, path), (archive, members)) in names.into_iter().zip(archives).zip(indices) {
        if classes.contains_key(&class) {
            return Err(OpenError::Twice { path: lister.dir.join(path), class });
        }
        let found = lister.members(path, archive, &members)?;
        classes.insert(class, found);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{
        dataset::Split,
        source::{FILE_BYTES_MAX, ListConfig, Listing, SampleError, open, testing},
    };
    use std::{fs, path::Path};

    #[test]
    fn files_are_in_sorted_order_and_statistics_the_same_for_any_jobs() {
        let dir = tempfile::tempdir().expect("a folder");
        testing::tree(dir.path(), &["n2", "n1", "n3"]);
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
        let error = Listing::open(dir.path(), &ListConfig::default()).expect_err("no layout");
        assert!(error.to_string().contains("no folder `train` is in it"), "{error}");
        fs::create_dir(dir.path().join("train")).expect("a folder");
        assert!(fails(dir.path()).contains("no train images"));
        testing::tree(dir.path(), &["n1"]);
        assert!(fails(dir.path()).contains("one class only (n1)"));
        testing::tree(dir.path(), &["n1", "n2"]);
        open(dir.path(), 8, 1).expect("two classes");
        fs::create_dir(dir.path().join("val/n9")).expect("a folder");
        assert!(fails(dir.path()).contains("class n9 is not in `train`"));
    }

    #[test]
    fn folders_within_a_class_are_told() {
        let dir = tempfile::tempdir().expect("a folder");
        testing::tree(dir.path(), &["n1", "n2"]);
        fs::create_dir(dir.path().join("train/n1/more")).expect("room");
        let found = Listing::open(dir.path(), &ListConfig::default()).expect("a tree");
        assert_eq!(found.notes(), ["train/n1/more: folders within a class are not read"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_none_that_leads_nowhere_is_lost() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        testing::tree(dir.path(), &["n1", "n2"]);
        let (train, elsewhere) = (dir.path().join("train"), dir.path().join("elsewhere"));
        fs::rename(train.join("n2"), &elsewhere).expect("the same file system");
        symlink(&elsewhere, train.join("n2")).expect("room");
        symlink(elsewhere.join("0.JPEG"), train.join("n1/linked.JPEG")).expect("room");
        symlink(elsewhere.join("gone"), train.join("n1/nowhere.JPEG")).expect("room");
        let list = || Listing::open(dir.path(), &ListConfig::default());
        let found = list().expect("a tree");
        assert_eq!((found.classes().len(), found.len(Split::Train)), (2, 5 + 3));
        let error = found.read(Split::Train, 4, &mut vec![]).expect_err("gone");
        let SampleError::Read { source, place } = error else { panic!("{error}") };
        assert!(place.ends_with("nowhere.JPEG"), "{place}");
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        symlink(elsewhere.join("gone"), train.join("n3")).expect("room");
        let error = list().expect_err("a class that leads nowhere").to_string();
        assert!(error.contains("cannot read") && error.contains("train/n3"), "{error}");
    }

    #[test]
    fn a_file_too_large_for_a_picture_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        testing::tree(dir.path(), &["n1", "n2"]);
        let file = fs::File::create(dir.path().join("train/n1/0.JPEG")).expect("room");
        file.set_len(FILE_BYTES_MAX + 1).expect("a sparse file takes no room");
        let found = Listing::open(dir.path(), &ListConfig::default()).expect("a tree");
        let mut bytes = vec![];
        let error = found.read(Split::Train, 0, &mut bytes).expect_err("too large");
        let SampleError::Read { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::FileTooLarge);
        assert_eq!(bytes.capacity(), 0);
    }
}
