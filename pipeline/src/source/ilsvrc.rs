//! The archives of ILSVRC as downloaded: `ILSVRC2012_img_train.tar` holds one `<wnid>.tar` per
//! class, `ILSVRC2012_img_val.tar` the pictures themselves, flat; `ILSVRC2010_images_*.tar` alike.

use super::{
    OpenError,
    archive::Member,
    lister::{ByClass, Found, Kind, Lister, os_str},
};
use crate::dataset::Split;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// The archives of one year's contest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Year {
    pub(super) number: u16,
    pub(super) train: Option<PathBuf>,
    val: Option<PathBuf>,
    test: Option<PathBuf>,
}

impl Year {
    /// The archives in a folder: `ILSVRC<year>_<anything>_<split>[_v<version>].tar`, which leaves
    /// out `_train_t3`, the dogs of task 3. Nothing if there is none.
    pub(super) fn of(
        dir: &Path, entries: &[(OsString, Kind)],
    ) -> Result<Option<Self>, OpenError> {
        let mut found: Option<Self> = None;
        for (name, kind) in entries {
            let Some((year, split)) =
                name.to_str().filter(|_| *kind == Kind::File).and_then(told)
            else {
                continue;
            };
            let archives =
                found.get_or_insert(Self { number: year, train: None, val: None, test: None });
            let place = match split {
                Split::Train => &mut archives.train,
                Split::Val => &mut archives.val,
                Split::Test => &mut archives.test,
            };
            if archives.number != year || place.is_some() {
                let other =
                    place.clone().unwrap_or_else(|| format!("{}", archives.number).into());
                return Err(OpenError::Ambiguous {
                    path: dir.join(name),
                    other: other.display().to_string(),
                });
            }
            *place = Some(name.into());
        }
        Ok(found)
    }

    pub(super) fn archive(&self, split: Split) -> Option<&Path> {
        match split {
            Split::Train => self.train.as_deref(),
            Split::Val => self.val.as_deref(),
            Split::Test => self.test.as_deref(),
        }
    }
}

/// Year and split from an archive's name.
fn told(name: &str) -> Option<(u16, Split)> {
    let (year, rest) = name.strip_prefix("ILSVRC")?.split_once('_')?;
    let rest = rest.strip_suffix(".tar")?;
    let rest = match rest.rsplit_once("_v") {
        Some((rest, version)) if version.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => rest,
    };
    let (_, split) = rest.rsplit_once('_')?;
    let split = Split::ALL.into_iter().find(|known| known.name() == split)?;
    Some((year.parse().ok()?, split))
}

/// The pictures of an archive of archives, or of an archive of folders.
pub(super) fn by_class(lister: &mut Lister<'_>, below: &Path) -> Result<ByClass, OpenError> {
    let (outer, members) = lister.archives(&[below.to_path_buf()])?.remove(0);
    let (inner, loose): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| member.name.ends_with(b".tar"));
    let mut classes = ByClass::new();
    for (archive, members) in inner.iter().zip(lister.inner(below, &inner)?) {
        let path = below.join(os_str(&archive.name));
        let class = class_of(lister, &path, path.file_stem())?;
        if classes.contains_key(&class) {
            return Err(OpenError::Twice { path: lister.dir.join(path), class });
        }
        let found = lister.members(path, outer, &members)?;
        classes.insert(class, found);
    }
    let mut folders = BTreeMap::<PathBuf, Vec<Member>>::new();
    for member in loose {
        let path = below.join(os_str(&member.name));
        let folder = path.parent().unwrap_or(below);
        if folder != below {
            folders.entry(folder.to_path_buf()).or_default().push(member);
        }
    }
    for (folder, members) in folders {
        let class = class_of(lister, &folder, folder.file_name())?;
        if classes.contains_key(&class) {
            return Err(OpenError::Twice { path: lister.dir.join(folder), class });
        }
        let found = lister.members(folder, outer, &members)?;
        classes.insert(class, found);
    }
    Ok(classes)
}

fn class_of(
    lister: &Lister<'_>, path: &Path, name: Option<&OsStr>,
) -> Result<String, OpenError> {
    let name = name.and_then(OsStr::to_str).map(ToOwned::to_owned);
    name.ok_or_else(|| OpenError::ClassName { path: lister.dir.join(path) })
}

/// The pictures of an archive, in the order of their names. Other files are left out: a line of
/// ground truth goes with each picture.
pub(super) fn flat(lister: &mut Lister<'_>, below: &Path) -> Result<Vec<Found>, OpenError> {
    let (archive, members) = lister.archives(&[below.to_path_buf()])?.remove(0);
    let mut found = lister.members(below.to_path_buf(), archive, &members)?;
    found.retain(|found| is_image(&found.leaf));
    found.sort_by(|a, b| a.leaf.cmp(&b.leaf));
    Ok(found)
}

/// Whether a file is meant to be a picture of ILSVRC: all are named so, PNGs too.
pub(super) fn is_image(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|end| {
        ["jpeg", "jpg", "png"].iter().any(|known| end.eq_ignore_ascii_case(known))
    })
}
