//! Ground truth of a flat split: a line for each picture in the order of their names, as the devkit
//! has it, or a row for each name, as Kaggle has it.

use super::{
    OpenError,
    devkit::Devkit,
    lister::{ByClassOrder, Found},
};
use crate::dataset::Split;
use std::{collections::BTreeMap, path::Path};

/// Which picture is of which class.
#[derive(Debug)]
pub(super) enum Truth {
    /// The classes of the pictures in the order of their names.
    Lines { place: String, classes: Vec<String> },
    /// By file name less extension: the line of the table, and the class.
    Named { place: String, rows: BTreeMap<String, (u64, String)> },
}

impl Truth {
    /// From the devkit's ids, if it has any for the split.
    pub(super) fn of_devkit(devkit: &Devkit, split: Split) -> Result<Option<Self>, OpenError> {
        let Some((place, text)) = devkit.ground_truth(split) else { return Ok(None) };
        let mut classes = Vec::new();
        for (line, text) in (1..).zip(text.trim_end().lines()) {
            let unsound = |reason| OpenError::Line { path: place.clone(), line, reason };
            let id = text.trim();
            let id: u32 = id.parse().map_err(|_| unsound(format!("{id:?} is no class id")))?;
            let class = devkit.class(id).ok_or_else(|| {
                let ids = devkit.ids();
                unsound(format!("class id {id}, expected {} to {}", ids.start(), ids.end()))
            })?;
            classes.push(class.to_owned());
        }
        Ok(Some(Self::Lines { place: place.clone(), classes }))
    }

    /// Gives each picture, in the order of their names, its class.
    pub(super) fn label(self, found: Vec<Found>) -> Result<ByClassOrder, OpenError> {
        let images = found.len();
        match self {
            Self::Lines { place, classes } => {
                if classes.len() != images {
                    let lines = classes.len();
                    return Err(OpenError::Counts { path: place, lines, images });
                }
                for (line, image) in (1..).zip(&found) {
                    if let Some(number) = number(image).filter(|number| *number != line) {
                        let leaf = image.leaf.display();
                        let reason = format!(
                            "{leaf} is in place {line} by its name, and its number is {number}"
                        );
                        return Err(OpenError::Line { path: place, line, reason });
                    }
                }
                let labelled = classes.into_iter().zip(found);
                Ok(labelled.map(|(class, found)| (class, vec![found])).collect())
            }
            Self::Named { place, mut rows } => {
                let mut labelled = Vec::new();
                for image in found {
                    let stem =
                        Path::new(&image.leaf).file_stem().and_then(|stem| stem.to_str());
                    let Some((_, class)) = stem.and_then(|stem| rows.remove(stem)) else {
                        let image = image.leaf.display().to_string();
                        return Err(OpenError::NoRow { path: place, image });
                    };
                    labelled.push((class, vec![image]));
                }
                if let Some((image, (line, _))) = rows.pop_first() {
                    let reason = format!("there is no image {image}");
                    return Err(OpenError::Line { path: place, line, reason });
                }
                Ok(labelled)
            }
        }
    }
}

/// The number at the end of an ILSVRC name, as in `ILSVRC2012_val_00000293.JPEG`.
fn number(image: &Found) -> Option<u64> {
    let stem = Path::new(&image.leaf).file_stem()?.to_str()?;
    let (prefix, number) = stem.rsplit_once('_')?;
    if prefix.starts_with("ILSVRC") { number.parse().ok() } else { None }
}
