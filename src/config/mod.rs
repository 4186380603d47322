//! The recipe of a run: preset < the user's TOML < flags, checked once, all problems at once.

use pipeline::{augment::Lighting, feed::DecodeMode, order::Shuffle};
use serde::{Deserialize, Serialize};
use std::path::Path;

mod check;
mod dtype;

pub use dtype::Dtype;

/// The embedded presets: name and TOML.
pub const PRESETS: [(&str, &str); 2] = [
    ("two-tower-2012", include_str!("../presets/two-tower-2012.toml")),
    ("demo", include_str!("../presets/demo.toml")),
];

/// The version of recipes.
pub const VERSION: u32 = 1;

/// Of recipes that do not say.
const fn first_version() -> u32 {
    1
}

/// Where a layer's first weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// The sigmas and biases of the preset: for `two-tower-2012`, the 2012 source's.
    Source,
    /// Sigma 0.01 everywhere (section 5), the preset's biases.
    Paper,
    /// Caffe's bvlc_alexnet: conv and fc8 0.01, fc6 and fc7 0.005, biases 0.1 in place of 1.
    Caffe,
}

/// A whole recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// [`VERSION`].
    #[serde(default = "first_version")]
    pub version: u32,
    /// The preset's name.
    pub name: String,
    /// Towers that the kernels are split over.
    pub towers: usize,
    /// Pictures.
    pub data: Data,
    /// The optimiser and its schedule.
    pub train: Train,
    /// Local response normalisation.
    pub lrn: Lrn,
    /// Convolutional layers, in order.
    pub conv: Vec<ConvLayer>,
    /// Hidden fully-connected layers, in order; each looks across.
    pub fc: Vec<FcLayer>,
    /// The classifier.
    pub head: Head,
}

/// Sizes in pixels and the lighting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Side of a stored picture.
    pub stored: usize,
    /// Side of a crop.
    pub crop: usize,
    /// PCA lighting (section 4.1).
    pub lighting: Lighting,
    /// How training samples are ordered.
    #[serde(default)]
    pub order: Shuffle,
    /// How much of a training picture is decoded.
    #[serde(default)]
    pub decode: DecodeMode,
}

/// Section 5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Images a step, over all towers.
    pub batch: usize,
    /// Passes over the training set.
    pub epochs: u64,
    /// Steps, in place of `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// The source of all chance: weights, order, augmentation, dropout.
    pub seed: u64,
    /// First learning rate.
    pub rate: f64,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, on weights only.
    pub decay: f32,
    /// The rate is divided by this at a drop.
    pub drop: f64,
    /// Epochs without a better validation error before a drop.
    pub patience: u64,
    /// Drops by the plateau rule at most.
    pub drops_max: u32,
    /// Epochs after which the rate drops; not empty: in place of the plateau rule.
    pub drop_epochs: Vec<u64>,
    /// Probability of dropping a unit of a hidden fully-connected layer.
    pub dropout: f32,
    /// First weights.
    pub init: Init,
    /// What is multiplied.
    #[serde(default)]
    pub dtype: Dtype,
    /// Steps after which a loss still within 0.01 of ln(classes) is called flat.
    pub flat_after: u64,
}

/// Section 3.3, `alpha` never divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lrn {
    /// Channels in the window.
    pub size: usize,
    /// Effective coefficient.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Added to the sum.
    pub k: f32,
}

/// One convolutional layer, followed by a ReLU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvLayer {
    /// `conv1` ...
    pub name: String,
    /// Kernels over all towers.
    pub kernels: usize,
    /// Side of the window.
    pub window: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros above and left.
    pub pad_before: usize,
    /// Zeros below and right.
    pub pad_after: usize,
    /// Reads every tower.
    #[serde(default)]
    pub across: bool,
    /// Followed by LRN.
    #[serde(default)]
    pub lrn: bool,
    /// Followed by overlapping max-pooling, 3 by 3 at step 2.
    #[serde(default)]
    pub pool: bool,
    /// Standard deviation of the first weights.
    pub sigma: f32,
    /// First bias.
    pub bias: f32,
}

/// One hidden fully-connected layer, followed by ReLU and dropout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FcLayer {
    /// `fc6` ...
    pub name: String,
    /// Units over all towers.
    pub units: usize,
    /// Standard deviation of the first weights.
    pub sigma: f32,
    /// First bias.
    pub bias: f32,
}

/// The classifier: one unit a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// `fc8`.
    pub name: String,
    /// Standard deviation of the first weights.
    pub sigma: f32,
    /// First bias.
    pub bias: f32,
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such preset.
    #[error("there is no preset {name}; there are {}", PRESETS.map(|p| p.0).join(", "))]
    NoPreset {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist.
    #[error("{origin} is no recipe: {reason}")]
    Parse {
        /// Preset or file.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// Written by a later version.
    #[error("{origin}: recipe of version {found}, and this program reads up to {VERSION}")]
    Newer {
        /// Preset or file.
        origin: String,
        /// Its version.
        found: i64,
    },
    /// Values that do not fit each other.
    #[error("the recipe does not hold together: {}", problems.join("; "))]
    Invalid {
        /// Everything that is wrong.
        problems: Vec<String>,
    },
}

impl Config {
    /// The preset, overlaid with `file` where given. Flags are set by the caller, who then calls
    /// [`Config::check`].
    ///
    /// # Errors
    /// If there is no such preset or the file is no recipe.
    pub fn load(preset: &str, file: Option<&Path>) -> Result<Self, ConfigError> {
        let (_, text) = PRESETS
            .into_iter()
            .find(|(name, _)| *name == preset)
            .ok_or_else(|| ConfigError::NoPreset { name: preset.into() })?;
        let parse = |origin: &str, text: &str| {
            text.parse::<toml::Table>().map_err(|e| ConfigError::Parse {
                origin: origin.into(),
                reason: e.to_string().trim_end().into(),
            })
        };
        let mut table = parse(preset, text)?;
        table.insert("version".into(), VERSION.into());
        let mut origin = format!("preset {preset}");
        if let Some(path) = file {
            origin = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: origin.clone(), source })?;
            overlay(&mut table, parse(&origin, &text)?);
        }
        Self::of_table(table, origin)
    }

    /// The recipe that a run stored.
    ///
    /// # Errors
    /// If it cannot be read, is of a later version, or is no recipe.
    pub fn stored(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: origin.clone(), source })?;
        match text.parse() {
            Ok(table) => Self::of_table(table, origin),
            Err(e) => {
                Err(ConfigError::Parse { origin, reason: e.to_string().trim_end().into() })
            }
        }
    }

    fn of_table(table: toml::Table, origin: String) -> Result<Self, ConfigError> {
        if let Some(found) = table.get("version").and_then(toml::Value::as_integer)
            && found > i64::from(VERSION)
        {
            return Err(ConfigError::Newer { origin, found });
        }
        toml::Value::Table(table).try_into().map_err(|e: toml::de::Error| ConfigError::Parse {
            origin,
            reason: e.to_string().trim_end().into(),
        })
    }

    /// The recipe as TOML.
    ///
    /// # Panics
    /// Never: every field has a TOML form.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field has a TOML form")
    }
}

/// Tables merge key by key; everything else, layer lists too, is replaced.
fn overlay(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => overlay(base, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_holds_together_and_survives_a_round_trip() {
        for (name, _) in PRESETS {
            let config = Config::load(name, None).expect("a preset");
            config.check().expect("a sound preset");
            assert_eq!(config.name, name);
            let again: Config = toml::from_str(&config.to_toml()).expect("its own TOML");
            assert_eq!(again, config);
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut config = Config::load("demo", None).expect("a preset");
        config.train.batch = 0;
        config.conv[1].kernels = 63;
        config.head.bias = f32::NAN;
        config.conv[2].stride = 0;
        config.conv[3].pad_before = usize::MAX;
        config.fc[1].name = "fc6".into();
        config.fc[0].units = 1 << 40;
        config.name = "../up".into();
        config.train.drop_epochs = vec![5, 3];
        let text = config.check().expect_err("many problems").to_string();
        for says in [
            "batch = 0",
            "63 kernels",
            "fc8: sigma = ",
            "bias = NaN",
            "conv3: kernels, stride",
            "conv4: kernels, stride",
            "two layers are called fc6",
            "fc6: 1099511627776 units",
            "name = \"../up\"",
            "drop_epochs = [5, 3]",
        ] {
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, "[train]\nbatchsize = 3\n").expect("a file");
        let text = Config::load("demo", Some(&path)).expect_err("no such key").to_string();
        assert!(text.contains("batchsize") && text.contains("mine.toml"), "{text}");
        std::fs::write(&path, "version = 2\nlater = 3\n").expect("a file");
        for found in [Config::load("demo", Some(&path)), Config::stored(&path)] {
            let text = found.expect_err("newer").to_string();
            assert!(
                text.ends_with("recipe of version 2, and this program reads up to 1"),
                "{text}"
            );
        }
    }
}
