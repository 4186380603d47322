//! Finds out how a folder is laid out. The parts are looked for one by one, so that mixtures work:
//! training pictures from an archive or a folder, validation pictures by class or flat, ground
//! truth from the devkit or from Kaggle's table.

use super::{
    Layout, OpenError,
    devkit::Devkit,
    ilsvrc::{self, Year},
    kaggle,
    lister::{About, ByClass, ByClassOrder, Found, Kind, Lister, Parts},
    listing::Sample,
    synsets, tree,
    truth::Truth,
};
use crate::dataset::Split;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

/// The pictures of a split as they were found.
enum Pictures {
    ByClass(ByClass),
    Flat(Vec<Found>),
}

/// Tells the layout and gathers its parts.
pub(super) fn find(lister: &mut Lister<'_>) -> Result<Parts, OpenError> {
    let top = lister.entries(Path::new(""))?;
    let year = Year::of(lister.dir, &top)?;
    let kaggle = kaggle::base(lister.dir);
    let base = kaggle.clone().unwrap_or_default();
    let train_folder = base.join(Split::Train.name());
    let layout = match &year {
        Some(year) if year.train.is_some() => Layout::Archives(year.number),
        _ if kaggle.is_some() => Layout::Kaggle,
        _ if lister.dir.join(&train_folder).is_dir() => Layout::Tree,
        _ if synsets::are_in(&top) => return synsets::list(lister, &top),
        _ => return Err(OpenError::NotListed { path: lister.dir.into() }),
    };
    if lister.config.halves.is_some() {
        return Err(OpenError::NoHalves { path: lister.dir.into(), layout });
    }
    let archive = |split| year.as_ref().and_then(|year: &Year| year.archive(split));
    let train = match archive(Split::Train) {
        Some(archive) => ilsvrc::by_class(lister, archive)?,
        None => tree::by_class(lister, &train_folder)?,
    };
    let mut evaluated = Vec::new();
    for split in [Split::Val, Split::Test] {
        let pictures = match archive(split) {
            Some(archive) => Pictures::Flat(ilsvrc::flat(lister, archive)?),
            None => folder(lister, &base.join(split.name()))?,
        };
        evaluated.push((split, pictures));
    }
    let devkit = Devkit::find(lister.dir, &top, year.as_ref().map(|year| year.number))?;
    let about = match (&devkit, kaggle::mapping(lister.dir)?) {
        (Some(devkit), _) => devkit.about(),
        (None, mapping) => mapping.unwrap_or_default(),
    };
    let mut splits = <[ByClassOrder; Split::COUNT]>::default();
    splits[Split::Train as usize] = train.into_iter().collect();
    for (split, pictures) in evaluated {
        splits[split as usize] = match pictures {
            Pictures::ByClass(by_class) => {
                let folder = lister.dir.join(&base).join(split.name());
                known(lister, split, by_class, &folder, &splits[Split::Train as usize])?
            }
            Pictures::Flat(found) => label(lister, split, found, devkit.as_ref())?,
        };
    }
    check_names(lister, &splits[0], &about)?;
    let other = ["validation", "valid"].map(|name| base.join(name));
    for other in other.iter().filter(|other| lister.dir.join(other).is_dir()) {
        let (other, val) = (other.display(), base.join(Split::Val.name()));
        lister.notes.push(format!("{other} is not read: name it {}", val.display()));
    }
    Ok(Parts { layout, splits, about })
}

/// The pictures of `val` or `test`: by class if it has folders, else flat, if it is there at all.
fn folder(lister: &mut Lister<'_>, below: &Path) -> Result<Pictures, OpenError> {
    if !lister.dir.join(below).is_dir() {
        return Ok(Pictures::ByClass(ByClass::new())); // a set may have none
    }
    if lister.entries(below)?.iter().any(|(_, kind)| *kind == Kind::Folder) {
        return tree::by_class(lister, below).map(Pictures::ByClass);
    }
    let mut found = lister.files(below)?;
    found.retain(|found| ilsvrc::is_image(&found.leaf));
    Ok(Pictures::Flat(found))
}

/// A split that came by class, of classes that `train` has. A folder `test` with none of them is one
/// without labels.
fn known(
    lister: &mut Lister<'_>, split: Split, by_class: ByClass, folder: &Path,
    train: &ByClassOrder,
) -> Result<ByClassOrder, OpenError> {
    let is_known = |class: &String| {
        train.binary_search_by(|(known, _)| known.cmp(class)).is_ok() // sorted, as a map was
    };
    if split == Split::Test && !by_class.is_empty() && !by_class.keys().any(is_known) {
        lister.notes.push("test was left out: its folders are no classes of train".into());
        return Ok(vec![]);
    }
    if let Some(class) = by_class.keys().find(|class| !is_known(class)).cloned() {
        return Err(OpenError::UnknownClass { path: folder.join(&class), class });
    }
    Ok(by_class.into_iter().collect())
}

/// Labels a flat split by whatever ground truth there is. Without one, `val` is an error and
/// `test`, whose labels ILSVRC-2012 keeps, is left out.
fn label(
    lister: &mut Lister<'_>, split: Split, found: Vec<Found>, devkit: Option<&Devkit>,
) -> Result<ByClassOrder, OpenError> {
    if found.is_empty() {
        return Ok(vec![]);
    }
    let truth = match kaggle::solution(lister.dir, split)? {
        Some(truth) => Some(truth),
        None => devkit.map(|devkit| Truth::of_devkit(devkit, split)).transpose()?.flatten(),
    };
    match truth {
        Some(truth) => truth.label(found),
        None if split == Split::Test => {
            let count = found.len();
            lister.notes.push(format!("{count} test images were left out: no ground truth"));
            Ok(vec![])
        }
        None => Err(OpenError::NoTruth { path: lister.dir.into(), split, images: found.len() }),
    }
}

/// A table of class names that lacks some of the classes is of another data set.
fn check_names(
    lister: &mut Lister<'_>, train: &ByClassOrder, about: &BTreeMap<String, About>,
) -> Result<(), OpenError> {
    if about.is_empty() {
        return Ok(());
    }
    let unknown: Vec<_> = train
        .iter()
        .map(|(class, _)| class)
        .filter(|class| !about.contains_key(*class))
        .collect();
    match unknown.as_slice() {
        [] => {}
        all if all.len() == train.len() => {
            lister.notes.push("the table of class names has none of the classes".into());
        }
        [first, ..] => {
            let (path, class) = (lister.dir.join(Split::Train.name()), (*first).clone());
            return Err(OpenError::Unnamed { path, class });
        }
    }
    Ok(())
}

/// Puts the pictures of `patch_images.tar`, where it is there, in the places of those of the same
/// name: ILSVRC-2010 has it for pictures that are blank in its archives.
pub(super) fn patch(
    lister: &mut Lister<'_>, splits: &mut [Vec<Sample>; Split::COUNT],
) -> Result<(), OpenError> {
    let below = PathBuf::from("patch_images.tar");
    if !lister.dir.join(&below).is_file() {
        return Ok(());
    }
    let (archive, members) = lister.archives(std::slice::from_ref(&below))?.remove(0);
    let images = lister.members(below.clone(), archive, &members)?;
    let images = images.into_iter().filter(|found| ilsvrc::is_image(&found.leaf));
    let mut images: HashMap<_, _> =
        images.map(|Found { folder, leaf, place }| (leaf, (folder, place))).collect();
    let all = images.len();
    for sample in splits.iter_mut().flatten() {
        if let Some((folder, place)) = images.remove(&sample.leaf) {
            (sample.folder, sample.place) = (folder, place);
        }
    }
    let patched = all - images.len();
    lister.notes.push(format!("{patched} images were replaced by those of patch_images.tar"));
    if let Some(unused) = images.keys().next() {
        let (count, unused) = (images.len(), unused.display());
        lister
            .notes
            .push(format!("patch_images.tar: {count} are of no split, such as {unused}"));
    }
    Ok(())
}
