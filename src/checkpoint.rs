//! Weights, velocity and position in one file, written so that it is whole or absent.
//!
//! A safetensors file in PyTorch's names and layouts (`conv1.weight` [96, 3, 11, 11]); velocities
//! are `velocity.NAME`, the mean image is `data.mean`. The one metadata key `alexnet` holds the
//! rest as JSON. The same run gives the same bytes: there is no time, path or host name in it.

use crate::{config::Config, schedule::Schedule, weights::Tensor};
use pipeline::dataset::Class;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Version of what stands in the metadata and how tensors are named.
pub const FORMAT: u32 = 1;

const KEY: &str = "alexnet";
const MEAN: &str = "data.mean";
const VELOCITY: &str = "velocity.";

/// Everything that a run needs to go on, and a prediction to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Everything but the tensors.
    pub meta: Meta,
    /// The mean image, `[3, stored, stored]`, grey levels.
    pub mean: Vec<f32>,
    /// Weights and velocities.
    pub tensors: Vec<Tensor>,
}

/// What stands in the metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// [`FORMAT`].
    pub format: u32,
    /// The recipe, seed included.
    pub config: Config,
    /// Class names in the order of the labels.
    pub classes: Vec<Class>,
    /// Training steps done.
    pub step: u64,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
    /// The learning rate's state.
    pub schedule: Schedule,
    /// CRC-32 of all tensor data, in the order of the names.
    pub crc32: u32,
}

/// A checkpoint that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Truncated, overwritten, or no checkpoint at all.
    #[error("{}: no whole checkpoint: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a later version.
    #[error("{}: format {found}, and this version reads up to {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl Checkpoint {
    /// Writes beside `path`, syncs, renames, syncs the folder.
    ///
    /// # Errors
    /// If the file system refuses; `path` is then as it was.
    pub fn store(&self, path: &Path) -> Result<(), CheckpointError> {
        let cannot = |source| CheckpointError::Write { path: path.into(), source };
        let bytes = self.to_bytes();
        write_whole(path, &bytes).map_err(cannot)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it is missing, damaged or newer than this version.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path)
            .map_err(|source| CheckpointError::Read { path: path.into(), source })?;
        Self::from_bytes(path, &bytes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let side = self.meta.config.data.stored;
        let mut named = vec![(MEAN.to_owned(), vec![3, side, side], &self.mean)];
        for tensor in &self.tensors {
            let velocity = format!("{VELOCITY}{}", tensor.name);
            named.push((tensor.name.clone(), tensor.shape.clone(), &tensor.values));
            named.push((velocity, tensor.shape.clone(), &tensor.velocity));
        }
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let mut crc = crc32fast::Hasher::new();
        named.iter().for_each(|(_, _, values)| crc.update(bytemuck::cast_slice(values)));
        let meta = Meta { crc32: crc.finalize(), ..self.meta.clone() };
        let meta = serde_json::to_string(&meta).expect("every field has a JSON form");
        let views = named.iter().map(|(name, shape, values)| {
            let bytes = bytemuck::cast_slice(values);
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.expect("a tensor is as long as its shape says"))
        });
        // One key: a map of several would be written in a random order.
        let metadata = HashMap::from([(KEY.to_owned(), meta)]);
        safetensors::serialize(views, Some(metadata)).expect("sound tensors")
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let damaged = |reason: String| CheckpointError::Damaged { path: path.into(), reason };
        let (_, head) =
            SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
        let text = head.metadata().as_ref().and_then(|map| map.get(KEY)).ok_or_else(|| {
            damaged(format!("the metadata lacks the key `{KEY}`: not written by this program"))
        })?;
        let version = serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .and_then(|meta| meta.get("format")?.as_u64())
            .ok_or_else(|| damaged("the metadata holds no format".into()))?;
        if version > u64::from(FORMAT) {
            return Err(CheckpointError::Newer { path: path.into(), found: version as u32 });
        }
        let meta: Meta = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let mut names = file.names();
        names.sort_unstable();
        let mut crc = crc32fast::Hasher::new();
        for name in &names {
            crc.update(file.tensor(name).map_err(|e| damaged(e.to_string()))?.data());
        }
        let found = crc.finalize();
        if found != meta.crc32 {
            let wanted = meta.crc32;
            return Err(damaged(format!("checksum {found:08x}, and {wanted:08x} was written")));
        }
        let floats = |name: &str| -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
            let view = file.tensor(name).map_err(|e| damaged(e.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(damaged(format!("{name} is {:?}, not F32", view.dtype())));
            }
            Ok((view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data())))
        };
        let mut tensors = Vec::new();
        let net = crate::model::Net::new(&meta.config, meta.classes.len());
        for (name, wanted) in net.shapes() {
            let (shape, values) = floats(&name)?;
            let (same, velocity) = floats(&format!("{VELOCITY}{name}"))?;
            if shape != wanted || same != wanted {
                return Err(damaged(format!("{name} is {shape:?}, and {wanted:?} was due")));
            }
            tensors.push(Tensor { name, shape, values, velocity });
        }
        Ok(Self { mean: floats(MEAN)?.1, meta, tensors })
    }
}

/// Writes `path` so that it is whole or as it was before: beside, synced, renamed, folder synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("partial");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        let _ = fs::remove_file(&beside); // the first error is the one to tell
    }
    moved?;
    sync_folder(path)
}

/// Makes a rename in `path`'s folder last.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut config = Config::load("demo", None).expect("a preset");
        config.data.stored = 16;
        config.conv.truncate(1);
        config.conv[0].kernels = 2;
        config.fc.clear();
        let class = |i| Class { wnid: format!("n{i}"), name: format!("thing {i}") };
        let classes: Vec<_> = (0..3).map(class).collect();
        let tensors = crate::model::Net::new(&config, classes.len()).shapes().into_iter();
        let tensors = tensors.map(|(name, shape)| {
            let len: usize = shape.iter().product();
            let values: Vec<f32> = (0..len).map(|i| i as f32 * 0.1).collect();
            Tensor { name, shape, velocity: values.iter().map(|v| -v).collect(), values }
        });
        Checkpoint {
            tensors: tensors.collect(),
            mean: vec![7.0; 3 * 16 * 16],
            meta: Meta {
                format: FORMAT,
                config,
                classes,
                step: 12,
                steps_per_epoch: 5,
                schedule: Schedule { best_error: Some(0.1 + 0.2), ..Schedule::default() },
                crc32: 0,
            },
        }
    }

    #[test]
    fn a_stored_checkpoint_loads_as_it_was_and_stores_to_the_same_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.safetensors");
        let written = checkpoint();
        written.store(&path).expect("room");
        let mut read = Checkpoint::load(&path).expect("a whole file");
        let first = fs::read(&path).expect("the file");
        read.store(&path).expect("room");
        assert_eq!(fs::read(&path).expect("the file"), first);
        read.meta.crc32 = 0;
        assert_eq!(read, written);
    }

    #[test]
    fn every_truncation_and_any_flipped_byte_of_the_data_is_noticed() {
        let path = Path::new("c.safetensors");
        let bytes = checkpoint().to_bytes();
        for len in (0..bytes.len()).step_by(97) {
            let error = Checkpoint::from_bytes(path, &bytes[..len]).expect_err("cut");
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        }
        for at in (bytes.len() / 2..bytes.len()).step_by(101) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let error = Checkpoint::from_bytes(path, &bytes).expect_err("flipped").to_string();
            assert!(error.contains("c.safetensors") && error.contains("checksum"), "{error}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut newer = checkpoint();
        newer.meta.format = FORMAT + 1;
        let error =
            Checkpoint::from_bytes(Path::new("c"), &newer.to_bytes()).expect_err("newer");
        assert!(matches!(error, CheckpointError::Newer { found: 2, .. }), "{error}");
    }
}
