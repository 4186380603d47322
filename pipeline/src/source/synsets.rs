//! ImageNet's releases (Fall 2009, Fall 2011): one archive per synset, `<wnid>.tar`, in a folder or
//! in one archive `fall11_whole.tar`. They have no validation pictures: the paper's protocol for
//! Fall 2009, half for training and half for testing, is [`halves`].

use super::{
    Layout, OpenError, ilsvrc,
    kaggle::names,
    lister::{ByClass, Found, Kind, Lister, Parts},
    tree,
};
use crate::dataset::Split;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Whether a folder's entries have such archives among them.
pub(super) fn are_in(entries: &[(OsString, Kind)]) -> bool {
    files(entries).any(|name| is_synset(name) || is_whole(name))
}

fn files(entries: &[(OsString, Kind)]) -> impl Iterator<Item = &str> {
    entries.iter().filter(|(_, kind)| *kind == Kind::File).filter_map(|(name, _)| name.to_str())
}

/// `n00007846.tar`
fn is_synset(name: &str) -> bool {
    let digits = name.strip_prefix('n').and_then(|name| name.strip_suffix(".tar"));
    digits.is_some_and(|n| n.len() == 8 && n.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `fall11_whole.tar`
fn is_whole(name: &str) -> bool {
    name.ends_with("_whole.tar")
}

/// Lists them, in halves if the configuration says so.
pub(super) fn list(
    lister: &mut Lister<'_>, entries: &[(OsString, Kind)],
) -> Result<Parts, OpenError> {
    let mut classes = ByClass::new();
    for name in files(entries).filter(|name| is_whole(name)) {
        for (class, found) in ilsvrc::by_class(lister, Path::new(name))? {
            if classes.insert(class.clone(), found).is_some() {
                return Err(OpenError::Twice { path: lister.dir.join(name), class });
            }
        }
    }
    let (names_of, archives) = files(entries)
        .filter(|name| is_synset(name))
        .map(|name| (name.trim_end_matches(".tar").to_owned(), PathBuf::from(name)))
        .unzip();
    tree::of_archives(lister, names_of, archives, &mut classes)?;
    let all = classes.len();
    classes.retain(|_, found| !found.is_empty());
    if classes.len() < all {
        let empty = all - classes.len();
        lister.notes.push(format!("{empty} synsets without images were left out"));
    }
    let words = lister.dir.join("words.txt");
    let about = if words.is_file() { names(&words, '\t')? } else { BTreeMap::new() };
    let (mut train, mut val) = (vec![], vec![]);
    for (class, found) in classes {
        match lister.config.halves {
            Some(seed) => {
                let (first, second) = halves(seed, &class, found);
                train.push((class.clone(), first));
                val.push((class, second));
            }
            None => train.push((class, found)),
        }
    }
    let mut splits = [train, val, vec![]];
    splits[Split::Val as usize].retain(|(_, found)| !found.is_empty());
    Ok(Parts { layout: Layout::Synsets, splits, about })
}

/// Two halves of a class, the first the larger by one if the count is odd: the pictures in the order
/// of a digest of (seed, class, name), cut in the middle. One picture more or less moves at most
/// one other, and a machine that lists them otherwise cuts them alike.
fn halves(seed: u64, class: &str, found: Vec<Found>) -> (Vec<Found>, Vec<Found>) {
    let digest = |found: &Found| -> [u8; 32] {
        let name = found.leaf.as_encoded_bytes();
        Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(class)
            .chain_update([0])
            .chain_update(name)
            .finalize()
            .into()
    };
    let mut keyed: Vec<_> = found.into_iter().map(|found| (digest(&found), found)).collect();
    keyed.sort_by(|a, b| (&a.0, &a.1.leaf).cmp(&(&b.0, &b.1.leaf)));
    let second = keyed.split_off(keyed.len().div_ceil(2));
    let by_name = |half: Vec<([u8; 32], Found)>| {
        let mut half: Vec<_> = half.into_iter().map(|(_, found)| found).collect();
        half.sort_by(|a, b| a.leaf.cmp(&b.leaf));
        half
    };
    (by_name(keyed), by_name(second))
}
