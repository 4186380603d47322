//! Weights, velocity and position in one file, written so that it is whole or absent.
//!
//! A safetensors file in PyTorch's names and layouts (`conv1.weight` [96, 3, 11, 11]); velocities
//! are `velocity.NAME`, the mean image is `data.mean`. The one metadata key `alexnet` holds the
//! rest as JSON. The same run gives the same bytes: there is no time, path or host name in it.

use crate::{
    algorithms::Algorithms, config::Config, devices::Share, files::write_whole,
    loss_scale::LossScale, schedule::Schedule, weights::Tensor,
};
use pipeline::{
    dataset::{Class, Split},
    source::Source,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

/// Version of what stands in the metadata and how tensors are named.
pub const FORMAT: u32 = 1;

const KEY: &str = "alexnet";
const MEAN: &str = "data.mean";
const VELOCITY: &str = "velocity.";
/// Before the eight digits of the file's checksum, which are taken as zeros: the first key of the
/// JSON text that is a string in the header's JSON.
const SEAL: &str = r#"{\"crc32\":\""#;
const UNSEALED: &str = "00000000";

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
    /// What carried the net.
    pub share: Share,
    /// How the training pictures were rescaled.
    pub filter: String,
    /// CRC-32 of the data set's labels, see [`labels_crc32`].
    pub labels_crc32: u32,
    /// How the layers are computed; empty before there were records.
    #[serde(default)]
    pub algorithms: Algorithms,
    /// What the rounding of sums depends on: the CPU's instruction set, or the libraries by which GPUs multiply;
    /// not told before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Of gradients that are kept in f16; else absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

/// Of the number of samples of each split and all their labels, little endian: whether two data sets
/// have the same classes in the same order.
pub fn labels_crc32(source: &dyn Source) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for split in Split::ALL {
        crc.update(&source.len(split).to_le_bytes());
        for index in 0..source.len(split) {
            crc.update(&source.label(split, index).to_le_bytes());
        }
    }
    crc.finalize()
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
        found: u64,
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
        let meta = serde_json::to_string(&self.meta).expect("every field has a JSON form");
        let meta = format!(r#"{{"crc32":"{UNSEALED}",{}"#, &meta[1..]);
        let views = named.iter().map(|(name, shape, values)| {
            let bytes = bytemuck::cast_slice(values);
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.expect("a tensor is as long as its shape says"))
        });
        // One key: a map of several would be written in a random order.
        let metadata = HashMap::from([(KEY.to_owned(), meta)]);
        let mut bytes = safetensors::serialize(views, Some(metadata)).expect("sound tensors");
        let digits = seal(&bytes).expect("just written");
        let crc32 = format!("{:08x}", crc32fast::hash(&bytes));
        bytes[digits].copy_from_slice(crc32.as_bytes());
        bytes
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let damaged = |reason: String| CheckpointError::Damaged { path: path.into(), reason };
        let (_, head) =
            SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
        let text = head.metadata().as_ref().and_then(|map| map.get(KEY)).ok_or_else(|| {
            damaged(format!("the metadata lacks the key `{KEY}`: not written by this program"))
        })?;
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        if let Some(found) = object.get("format").and_then(serde_json::Value::as_u64)
            && found > u64::from(FORMAT)
        {
            return Err(CheckpointError::Newer { path: path.into(), found });
        }
        let digits =
            seal(bytes).ok_or_else(|| damaged("the metadata holds no checksum".into()))?;
        let mut crc = crc32fast::Hasher::new();
        for part in [&bytes[..digits.start], UNSEALED.as_bytes(), &bytes[digits.end..]] {
            crc.update(part);
        }
        let (found, wanted) = (crc.finalize(), String::from_utf8_lossy(&bytes[digits]));
        if format!("{found:08x}") != wanted {
            return Err(damaged(format!("checksum {found:08x}, and {wanted} was written")));
        }
        object.remove("crc32");
        let meta: Meta =
            serde_json::from_value(object.into()).map_err(|e| damaged(e.to_string()))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
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

/// Where the digits of a file's checksum are.
fn seal(bytes: &[u8]) -> Option<Range<usize>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let start = header.windows(SEAL.len()).position(|window| window == SEAL.as_bytes())?;
    let start = length.len() + start + SEAL.len();
    Some(start..start + UNSEALED.len()).filter(|digits| digits.end <= bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Kind;

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
                classes,
                step: 12,
                steps_per_epoch: 5,
                schedule: Schedule { best_error: Some(0.1 + 0.2), ..Schedule::default() },
                share: Share { towers: 2, threads: 5, device: Kind::Cuda },
                filter: "bilinear".into(),
                labels_crc32: 5,
                algorithms: Algorithms::of(&crate::model::Net::new(&config, 3)),
                instructions: Some("avx2".into()),
                loss_scale: Some(LossScale::default()),
                config,
            },
        }
    }

    #[test]
    fn a_stored_checkpoint_loads_as_it_was_and_stores_to_the_same_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.safetensors");
        let written = checkpoint();
        written.store(&path).expect("room");
        let read = Checkpoint::load(&path).expect("a whole file");
        let first = fs::read(&path).expect("the file");
        read.store(&path).expect("room");
        assert_eq!(fs::read(&path).expect("the file"), first);
        assert_eq!(read, written);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let path = Path::new("c.safetensors");
        let bytes = checkpoint().to_bytes();
        for len in 0..bytes.len() {
            let error = Checkpoint::from_bytes(path, &bytes[..len]).expect_err("cut");
            assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        }
        let mut flipped = bytes.clone();
        for at in 0..bytes.len() {
            flipped[at] ^= 0x10;
            Checkpoint::from_bytes(path, &flipped).expect_err("flipped");
            flipped[at] = bytes[at];
        }
        *flipped.last_mut().expect("bytes") ^= 1;
        let error = Checkpoint::from_bytes(path, &flipped).expect_err("flipped").to_string();
        assert!(error.contains("c.safetensors") && error.contains("checksum"), "{error}");
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
