//! The development kit of ILSVRC, as the archive `ILSVRC2012_devkit_t12.tar.gz` or unpacked:
//! `data/meta.mat` says which class has which id, `data/ILSVRC2012_validation_ground_truth.txt`
//! has the id of each validation picture. The test pictures' ground truth
//! (`ILSVRC2010_test_ground_truth.txt`) is a file of its own.

use super::{
    OpenError, archive,
    kaggle::read_text,
    lister::{About, Kind, os_str},
    mat::{self, Cell},
};
use crate::dataset::Split;
use flate2::read::MultiGzDecoder;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::Read as _,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// Longest devkit, unpacked; those of 2010 and 2012 have under 10 MB.
const DEVKIT_BYTES_MAX: u64 = 64 << 20;

/// A class of the devkit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Synset {
    id: u32,
    wnid: String,
    words: String,
    train_images: Option<u64>,
}

/// What is read of the devkit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Devkit {
    /// The classes, those without children, in the order of their ids.
    synsets: Vec<Synset>,
    /// By split: where, and the text.
    truths: BTreeMap<Split, (String, String)>,
}

/// The files of a devkit: where each stands, and its bytes.
type Files = Vec<(String, Vec<u8>)>;

impl Devkit {
    /// Looks for one in a folder: unpacked, as an archive, or its files alone.
    pub(super) fn find(
        dir: &Path, entries: &[(OsString, Kind)], year: Option<u16>,
    ) -> Result<Option<Self>, OpenError> {
        let mut files = Files::new();
        for (name, kind) in entries {
            let Some(name) = name.to_str() else { continue };
            let path = dir.join(name);
            match kind {
                Kind::Folder if is_devkit(name, year) => {
                    folder(&path.join("data"), &mut files)?;
                }
                Kind::File if is_devkit(name, year) => unpack(&path, &mut files)?,
                Kind::File if is_wanted(name, year) => {
                    files.push((path.display().to_string(), read_text(&path)?));
                }
                _ => {}
            }
        }
        if files.is_empty() {
            folder(&dir.join("data"), &mut files)?;
        }
        let Some((place, meta)) = files.iter().find(|(place, _)| place.ends_with("meta.mat"))
        else {
            return Ok(None);
        };
        let synsets =
            synsets(meta).map_err(|source| OpenError::Meta { path: place.clone(), source })?;
        let mut truths = BTreeMap::new();
        for (place, text) in files {
            if let Some(split) = split_of(&place) {
                let text = String::from_utf8_lossy(&text).into_owned();
                truths.insert(split, (place, text));
            }
        }
        Ok(Some(Self { synsets, truths }))
    }

    /// What it says of each class.
    pub(super) fn about(&self) -> BTreeMap<String, About> {
        let about = |synset: &Synset| About {
            name: synset.words.clone(),
            ilsvrc_id: Some(synset.id),
            train_images: synset.train_images,
        };
        self.synsets.iter().map(|synset| (synset.wnid.clone(), about(synset))).collect()
    }

    /// The WNID of a class id.
    pub(super) fn class(&self, id: u32) -> Option<&str> {
        let at = self.synsets.binary_search_by_key(&id, |synset| synset.id).ok()?;
        Some(&self.synsets[at].wnid)
    }

    /// First and last class id.
    pub(super) fn ids(&self) -> RangeInclusive<u32> {
        let ids = || self.synsets.iter().map(|synset| synset.id);
        ids().min().unwrap_or(0)..=ids().max().unwrap_or(0)
    }

    /// Where the ground truth of a split stands, and its text.
    pub(super) fn ground_truth(&self, split: Split) -> Option<&(String, String)> {
        self.truths.get(&split)
    }
}

/// `ILSVRC2012_devkit_t12.tar.gz` and its folder; ILSVRC-2010's folder is `devkit-1.0`.
fn is_devkit(name: &str, year: Option<u16>) -> bool {
    let of_year = |name: &str, known| year.is_none_or(|year| year == known) && !name.is_empty();
    if name.starts_with("devkit-1.0") {
        return of_year(name, 2010);
    }
    let Some((found, rest)) = name.strip_prefix("ILSVRC").and_then(|n| n.split_once('_'))
    else {
        return false;
    };
    // `_t3` is that of the dogs of task 3: its classes are others.
    let rest = rest.split('.').next().unwrap_or_default();
    rest.starts_with("devkit")
        && !rest.ends_with("_t3")
        && found.parse().is_ok_and(|found| of_year(name, found))
}

/// `meta.mat` and the ground truths.
fn is_wanted(name: &str, year: Option<u16>) -> bool {
    let of_year = || year.is_none_or(|year| name.starts_with(&format!("ILSVRC{year}_")));
    name == "meta.mat" || (split_of(name).is_some() && of_year())
}

fn split_of(name: &str) -> Option<Split> {
    let leaf = name.rsplit('/').next()?;
    let of = leaf.strip_prefix("ILSVRC")?.strip_suffix("_ground_truth.txt")?;
    match of.rsplit('_').next()? {
        "validation" | "val" => Some(Split::Val),
        "test" => Some(Split::Test),
        _ => None,
    }
}

fn folder(data: &Path, files: &mut Files) -> Result<(), OpenError> {
    let Ok(entries) = data.read_dir() else { return Ok(()) };
    let mut names: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    names.sort();
    for path in names {
        let wanted = path.file_name().and_then(|name| name.to_str());
        if wanted.is_some_and(|name| is_wanted(name, None)) && path.is_file() {
            files.push((path.display().to_string(), read_text(&path)?));
        }
    }
    Ok(())
}

/// The wanted files of the archive, compressed or not: browsers tend to decompress it.
fn unpack(path: &Path, files: &mut Files) -> Result<(), OpenError> {
    let mut bytes = read_text(path)?;
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let packed = std::mem::take(&mut bytes);
        MultiGzDecoder::new(&packed[..])
            .take(DEVKIT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| OpenError::List { path: path.into(), source })?;
        if bytes.len() as u64 > DEVKIT_BYTES_MAX {
            return Err(OpenError::Oversize { path: path.into(), bytes: bytes.len() as u64 });
        }
    }
    let index = archive::index(&bytes[..], 0..bytes.len() as u64)
        .map_err(|source| OpenError::Archive { path: path.into(), source })?;
    for member in index.members {
        let name = os_str(&member.name);
        let leaf = Path::new(&name).file_name().and_then(|leaf| leaf.to_str());
        if leaf.is_some_and(|leaf| is_wanted(leaf, None) && !leaf.starts_with('.')) {
            let place = path.join(&name).display().to_string();
            let (offset, len) = (member.offset as usize, member.len as usize);
            files.push((place, bytes[offset..offset + len].to_vec()));
        }
    }
    Ok(())
}

/// The classes of `meta.mat`: the entries of `synsets` that have no children.
fn synsets(meta: &[u8]) -> Result<Vec<Synset>, mat::MatError> {
    let table = mat::read_struct(meta, "synsets")?;
    let column = |wanted: &dyn Fn(&str) -> bool| table.fields.iter().position(|f| wanted(f));
    let required = |name: &'static str, at: Option<usize>| {
        at.ok_or(mat::MatError::NoField { variable: "synsets", field: name })
    };
    let id =
        required("ILSVRC2012_ID", column(&|f| f.starts_with("ILSVRC") && f.ends_with("_ID")))?;
    let wnid = required("WNID", column(&|f| f == "WNID"))?;
    let (words, children) = (column(&|f| f == "words"), column(&|f| f == "num_children"));
    let images = column(&|f| f == "num_train_images");
    let mut all = BTreeMap::new();
    for (row, cells) in table.rows().enumerate() {
        let number = |at: Option<usize>| match at.map(|at| &cells[at]) {
            Some(Cell::Number(number)) if number.fract() == 0.0 && *number >= 0.0 => {
                Some(*number)
            }
            _ => None,
        };
        if number(children).is_some_and(|children| children > 0.0) {
            continue;
        }
        let (Some(id), Cell::Text(wnid)) = (number(Some(id)), &cells[wnid]) else {
            return Err(mat::MatError::Row { row, reason: "no id or no WNID" });
        };
        let words = match words.map(|at| &cells[at]) {
            Some(Cell::Text(words)) => words.clone(),
            _ => String::new(),
        };
        let train_images = number(images).map(|images| images as u64);
        let synset = Synset { id: id as u32, wnid: wnid.clone(), words, train_images };
        if all.insert(synset.id, synset).is_some() {
            return Err(mat::MatError::Row { row, reason: "an id once more" });
        }
    }
    Ok(all.into_values().collect())
}
