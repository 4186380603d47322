//! The archives of ILSVRC against the MD5 sums that image-net.org gives with them: a download of
//! 138 GB that stopped or was bent on its way is found before anything is packed.

use super::OpenError;
use crate::pack::Progress;
use md5::{Digest as _, Md5};
use std::{fmt::Write as _, fs::File, io::Read as _, path::Path};

/// Read at a time; each piece is told to the progress.
const PIECE_BYTES: usize = 1 << 20;

/// Names and MD5 sums, as published. The test pictures have two: those of 2012, and those with the
/// correction of October 2019.
const PUBLISHED: [(&str, &[&str]); 6] = [
    ("ILSVRC2012_img_train.tar", &["1d675b47d978889d74fa0da5fadfb00e"]),
    ("ILSVRC2012_img_val.tar", &["29b22e2961454d5413ddabcf34fc5622"]),
    ("ILSVRC2012_img_test.tar", &[TEST_2012, TEST_2019]),
    ("ILSVRC2012_img_test_v10102019.tar", &[TEST_2019]),
    ("ILSVRC2012_devkit_t12.tar.gz", &["fa75699e90414af021442c21a62c3abf"]),
    ("ILSVRC2012_img_train_t3.tar", &["ccaf1013018ac1037801578038d370da"]),
];
const TEST_2012: &str = "fe64ceb247e473635708aed23ab6d839";
const TEST_2019: &str = "e1b8681fff3d63731c599df9b4b6fc02";

/// One archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its MD5 sum.
    pub md5: String,
    /// The published one; where there are two, the one that it has, else the first.
    pub expected: &'static str,
}

impl Checked {
    /// Whether the sums agree.
    pub fn is_sound(&self) -> bool {
        self.md5 == self.expected
    }
}

/// Reads every archive in `dir` whose MD5 sum is published; `progress` hears of bytes.
///
/// # Errors
/// If an archive cannot be read, or there is none of a published sum.
pub fn verify_source(
    dir: &Path, progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Checked>, OpenError> {
    verify_against(dir, &PUBLISHED, progress)
}

fn verify_against(
    dir: &Path, published: &[(&str, &[&'static str])], progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Checked>, OpenError> {
    if !dir.is_dir() {
        return Err(OpenError::Missing { path: dir.into() });
    }
    let mut there = Vec::new();
    for (file, sums) in published.iter().filter(|(file, _)| dir.join(file).is_file()) {
        let path = dir.join(file);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((bytes, open)) => there.push((*file, *sums, path, bytes, open)),
            Err(source) => return Err(OpenError::List { path, source }),
        }
    }
    if there.is_empty() {
        return Err(OpenError::NoSums { path: dir.into() });
    }
    let total = there.iter().map(|(.., bytes, _)| bytes).sum();
    let (mut done, mut piece, mut all) = (0, vec![0; PIECE_BYTES], vec![]);
    for (file, sums, path, bytes, mut open) in there {
        let mut digest = Md5::new();
        loop {
            let read = open.read(&mut piece);
            let read = read.map_err(|source| OpenError::List { path: path.clone(), source })?;
            if read == 0 {
                break;
            }
            digest.update(&piece[..read]);
            done += read as u64;
            progress(Progress { done, total });
        }
        let md5 = hex(&digest.finalize());
        let expected = sums.iter().find(|sum| **sum == md5).unwrap_or(&sums[0]);
        all.push(Checked { file: file.to_owned(), bytes, md5, expected });
    }
    Ok(all)
}

/// A digest in the usual letters.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn sums_are_those_of_md5_and_told_apart_from_published_ones() {
        let dir = tempfile::tempdir().expect("a folder");
        let abc = "900150983cd24fb0d6963f7d28e17f72"; // RFC 1321
        let zeros = "b6d81b360a5672d80c27430f39153e2c"; // a mebibyte of zeros, by md5sum
        let published: [(&str, &[&str]); 3] =
            [("a", &["no", abc]), ("b", &[abc]), ("gone", &[abc])];
        fs::write(dir.path().join("a"), "abc").expect("room");
        fs::write(dir.path().join("b"), vec![0; PIECE_BYTES]).expect("room");
        let (tell, told) = crossbeam_channel::bounded(2);
        let tell = move |progress| tell.send(progress).expect("there is room");
        let found = verify_against(dir.path(), &published, &tell).expect("readable");
        let [a, b] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((a.md5.as_str(), a.bytes, a.is_sound()), (abc, 3, true));
        assert_eq!((b.md5.as_str(), b.expected, b.is_sound()), (zeros, abc, false));
        let total = 3 + PIECE_BYTES as u64;
        drop(tell);
        assert_eq!(
            told.iter().collect::<Vec<_>>(),
            [Progress { done: 3, total }, Progress { done: total, total }]
        );
    }

    #[test]
    fn a_folder_without_archives_of_a_published_sum_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("x.tar"), "").expect("room");
        let error = verify_source(dir.path(), &|_| ()).expect_err("none").to_string();
        assert!(error.contains("none of the archives whose MD5"), "{error}");
        fs::write(dir.path().join("ILSVRC2012_img_val.tar"), "cut").expect("room");
        let found = verify_source(dir.path(), &|_| ()).expect("readable");
        assert!(found.len() == 1 && !found[0].is_sound());
    }
}
