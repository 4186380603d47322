//! The Kaggle competition's layout (`imagenet-object-localization-challenge`):
//! `ILSVRC/Data/CLS-LOC/{train/<wnid>/*,val/*,test/*}` with `LOC_synset_mapping.txt` and
//! `LOC_val_solution.csv` beside `ILSVRC`. The folder that holds `ILSVRC` is taken, `ILSVRC`
//! itself, or `CLS-LOC`.

use super::{OpenError, lister::About, truth::Truth};
use crate::dataset::Split;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Longest table, bytes; the training solution, which is not read, has 50 MB.
const TABLE_BYTES_MAX: u64 = 64 << 20;

/// Where `train` is below `dir`, if it is laid out so.
pub(super) fn base(dir: &Path) -> Option<PathBuf> {
    let bases = ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC"].map(PathBuf::from);
    bases.into_iter().find(|base| dir.join(base).join(Split::Train.name()).is_dir())
}

/// A table that stands in the folder, beside `ILSVRC`, or where the folder is within.
fn table(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut above: Vec<PathBuf> = vec![dir.into(), dir.join("ILSVRC")];
    if dir.ends_with("ILSVRC") || dir.join("Data/CLS-LOC").is_dir() {
        above.push(dir.join(".."));
    }
    if dir.ends_with("Data/CLS-LOC") {
        above.extend([dir.join("../.."), dir.join("../../..")]);
    }
    above.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Reads a whole text, at most [`TABLE_BYTES_MAX`].
pub(super) fn read_text(path: &Path) -> Result<Vec<u8>, OpenError> {
    let mut text = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(TABLE_BYTES_MAX + 1).read_to_end(&mut text))
        .and_then(|bytes| match bytes as u64 {
            0..=TABLE_BYTES_MAX => Ok(text),
            _ => Err(io::Error::other(format!("more than {TABLE_BYTES_MAX} bytes"))),
        });
    read.map_err(|source| OpenError::List { path: path.into(), source })
}

/// The names of the classes, if there is a table.
pub(super) fn mapping(dir: &Path) -> Result<Option<BTreeMap<String, About>>, OpenError> {
    table(dir, "LOC_synset_mapping.txt").map(|path| names(&path, ' ')).transpose()
}

/// Names by WNID from lines of both, with `between` in between.
pub(super) fn names(path: &Path, between: char) -> Result<BTreeMap<String, About>, OpenError> {
    let text = read_text(path)?;
    let mut all = BTreeMap::new();
    for (line, text) in (1..).zip(String::from_utf8_lossy(&text).lines()) {
        let path = path.display().to_string();
        let Some((wnid, name)) = text.trim_end().split_once(between) else {
            let reason = "expected a WNID and a name".into();
            return Err(OpenError::Line { path, line, reason });
        };
        let about = About { name: name.trim().to_owned(), ..About::default() };
        if all.insert(wnid.to_owned(), about).is_some() {
            return Err(OpenError::Line { path, line, reason: format!("{wnid} once more") });
        }
    }
    Ok(all)
}

/// The classes of a flat split, if there is a table: `ImageId,PredictionString`, the class being
/// the first word of the latter.
pub(super) fn solution(dir: &Path, split: Split) -> Result<Option<Truth>, OpenError> {
    let Some(path) = table(dir, &format!("LOC_{split}_solution.csv")) else { return Ok(None) };
    let text = read_text(&path)?;
    let place = path.display().to_string();
    let rows = rows(&text).map_err(|(line, reason)| OpenError::Line {
        path: place.clone(),
        line,
        reason,
    })?;
    Ok(Some(Truth::Named { place, rows }))
}

/// The rows of a solution; or the line that is unsound, and why.
fn rows(text: &[u8]) -> Result<BTreeMap<String, (u64, String)>, (u64, String)> {
    let mut reader = csv::Reader::from_reader(text);
    let line_of = |error: &csv::Error| error.position().map_or(1, csv::Position::line);
    let heads = reader.headers().map_err(|error| (line_of(&error), error.to_string()))?;
    if !heads.iter().eq(["ImageId", "PredictionString"]) {
        return Err((1, "expected ImageId,PredictionString".into()));
    }
    let (mut all, mut row) = (BTreeMap::new(), csv::StringRecord::new());
    while reader.read_record(&mut row).map_err(|error| (line_of(&error), error.to_string()))? {
        let line = row.position().map_or(0, csv::Position::line);
        let class = row.get(1).and_then(|boxes| boxes.split_whitespace().next());
        let (Some(image), Some(class)) = (row.get(0), class) else {
            return Err((line, "expected an image and a class".into()));
        };
        if all.insert(image.to_owned(), (line, class.to_owned())).is_some() {
            return Err((line, format!("{image} once more")));
        }
    }
    Ok(all)
}
