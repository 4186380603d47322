//! The recipe of a run: preset < the user's TOML < flags, checked once, all problems at once.

use gpu::ops::lrn::SIZE_MAX;
use pipeline::{augment::Lighting, order::Shuffle};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The embedded presets: name and TOML.
pub const PRESETS: [(&str, &str); 2] = [
    ("two-tower-2012", include_str!("presets/two-tower-2012.toml")),
    ("demo", include_str!("presets/demo.toml")),
];

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

/// The classifier: one unit a class, on the first tower.
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
        let mut origin = format!("preset {preset}");
        if let Some(path) = file {
            origin = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: origin.clone(), source })?;
            overlay(&mut table, parse(&origin, &text)?);
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

    /// # Errors
    /// All that does not hold together, at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, says: String| {
            if !holds {
                problems.push(says);
            }
        };
        let t = &self.train;
        must(self.towers >= 1 && self.towers <= 8, format!("towers = {}: 1 to 8", self.towers));
        must(
            self.data.crop >= 8 && self.data.crop <= self.data.stored,
            format!("crop = {}: 8 to stored = {}", self.data.crop, self.data.stored),
        );
        must(self.data.stored <= 4096, format!("stored = {}: at most 4096", self.data.stored));
        must(t.batch >= 1 && t.batch <= 65_536, format!("batch = {}: 1 to 65536", t.batch));
        must(t.epochs >= 1 || t.steps.is_some(), "epochs = 0: at least 1".into());
        must(t.steps != Some(0), "steps = 0: at least 1".into());
        must(i64::try_from(t.seed).is_ok(), format!("seed = {}: at most 2^63 - 1", t.seed));
        must(t.rate.is_finite() && t.rate >= 0.0, format!("rate = {}: 0 or more", t.rate));
        must((0.0..1.0).contains(&t.momentum), format!("momentum = {}: 0 to 1", t.momentum));
        must(t.decay >= 0.0 && t.decay.is_finite(), format!("decay = {}: 0 or more", t.decay));
        must(t.drop > 1.0, format!("drop = {}: more than 1", t.drop));
        must((0.0..1.0).contains(&t.dropout), format!("dropout = {}: 0 to 1", t.dropout));
        must(
            self.lrn.size % 2 == 1 && self.lrn.size <= SIZE_MAX,
            format!("lrn.size = {}: an odd number up to {SIZE_MAX}", self.lrn.size),
        );
        must(self.lrn.k > 0.0 && self.lrn.alpha >= 0.0, "lrn: k > 0 and alpha >= 0".into());
        must(!self.conv.is_empty(), "there is no [[conv]] layer".into());
        let towers = self.towers.max(1);
        let mut side = self.data.crop;
        for (i, conv) in self.conv.iter().enumerate() {
            let name = &conv.name;
            must(
                conv.kernels > 0 && conv.kernels % towers == 0,
                format!(
                    "{name}: {} kernels cannot be split over {towers} towers",
                    conv.kernels
                ),
            );
            must(i > 0 || !conv.across, format!("{name} reads the image: `across` has no use"));
            let padded = side + conv.pad_before + conv.pad_after;
            if conv.window == 0 || conv.stride == 0 || conv.window > padded {
                must(false, format!("{name}: no {0}x{0} window fits {padded} px", conv.window));
                break;
            }
            side = (padded - conv.window) / conv.stride + 1;
            if conv.pool {
                if side < 3 {
                    must(false, format!("{name}: {side} px are too few to pool"));
                    break;
                }
                side = (side - 3) / 2 + 1;
            }
        }
        for fc in &self.fc {
            must(
                fc.units > 0 && fc.units % towers == 0,
                format!("{}: {} units cannot be split over {towers} towers", fc.name, fc.units),
            );
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems }) }
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
        let text = config.check().expect_err("two problems").to_string();
        assert!(text.contains("batch = 0") && text.contains("63 kernels"), "{text}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("mine.toml");
        std::fs::write(&path, "[train]\nbatchsize = 3\n").expect("a file");
        let text = Config::load("demo", Some(&path)).expect_err("no such key").to_string();
        assert!(text.contains("batchsize") && text.contains("mine.toml"), "{text}");
    }
}
