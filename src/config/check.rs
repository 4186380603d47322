//! Whether a recipe holds together: all problems at once.

use super::{Config, ConfigError};
use gpu::ops::lrn::SIZE_MAX;

/// Towers that the kernels are split over at most.
const TOWERS_MAX: usize = 8;
/// Sides of a stored picture, pixels.
const STORED_MAX: usize = 4096;
/// Smallest crop, pixels.
const CROP_MIN: usize = 8;
/// Kernels or units of a layer, the stride of a window, and zeros on a side of its plane.
const EXTENT_MAX: usize = 65_536;
/// Images a step.
const BATCH_MAX: usize = 65_536;
/// More passes than any schedule has.
const EPOCHS_MAX: u64 = 1_000_000;
/// Counted exactly by a double, as in JSON.
const STEPS_MAX: u64 = 1 << 53;

/// What is wrong so far.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn must(&mut self, holds: bool, says: impl FnOnce() -> String) {
        if !holds {
            self.0.push(says());
        }
    }
}

impl Config {
    /// # Errors
    /// All that does not hold together, at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.check_sizes(&mut problems);
        self.check_train(&mut problems);
        self.check_lrn(&mut problems);
        self.check_first_weights(&mut problems);
        self.check_names(&mut problems);
        self.check_layers(&mut problems);
        let Problems(problems) = problems;
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems }) }
    }

    fn check_sizes(&self, problems: &mut Problems) {
        let (towers, data) = (self.towers, &self.data);
        problems.must((1..=TOWERS_MAX).contains(&towers), || {
            format!("towers = {towers}: 1 to {TOWERS_MAX}")
        });
        problems.must((CROP_MIN..=data.stored).contains(&data.crop), || {
            format!("crop = {}: {CROP_MIN} to stored = {}", data.crop, data.stored)
        });
        problems.must(data.stored <= STORED_MAX, || {
            format!("stored = {}: at most {STORED_MAX}", data.stored)
        });
    }

    fn check_train(&self, problems: &mut Problems) {
        let t = &self.train;
        let mut must = |holds, says| problems.must(holds, || says);
        must(
            (1..=BATCH_MAX).contains(&t.batch),
            format!("batch = {}: 1 to {BATCH_MAX}", t.batch),
        );
        must(
            (1..=EPOCHS_MAX).contains(&t.epochs) || t.steps.is_some(),
            format!("epochs = {}: 1 to {EPOCHS_MAX}", t.epochs),
        );
        let steps = t.steps.unwrap_or(1);
        must((1..=STEPS_MAX).contains(&steps), format!("steps = {steps}: 1 to {STEPS_MAX}"));
        must(i64::try_from(t.seed).is_ok(), format!("seed = {}: at most 2^63 - 1", t.seed));
        must(t.rate.is_finite() && t.rate >= 0.0, format!("rate = {}: 0 or more", t.rate));
        must((0.0..1.0).contains(&t.momentum), format!("momentum = {}: 0 to 1", t.momentum));
        must(t.decay >= 0.0 && t.decay.is_finite(), format!("decay = {}: 0 or more", t.decay));
        must(t.patience >= 1, "patience = 0: at least 1".into());
        must(
            t.drop_epochs.is_sorted_by(|a, b| a < b) && t.drop_epochs.first() != Some(&0),
            format!(
                "drop_epochs = {:?}: from 1 on, each later than the one before",
                t.drop_epochs
            ),
        );
        must(t.drop > 1.0 && t.drop.is_finite(), format!("drop = {}: more than 1", t.drop));
        must((0.0..1.0).contains(&t.dropout), format!("dropout = {}: 0 to 1", t.dropout));
    }

    fn check_lrn(&self, problems: &mut Problems) {
        let lrn = &self.lrn;
        problems.must(lrn.size % 2 == 1 && lrn.size <= SIZE_MAX, || {
            format!("lrn.size = {}: an odd number up to {SIZE_MAX}", lrn.size)
        });
        let finite = [lrn.k, lrn.alpha, lrn.beta].iter().all(|x| x.is_finite());
        problems.must(finite && lrn.k >= f32::MIN_POSITIVE && lrn.alpha >= 0.0, || {
            "lrn: k >= 1.2e-38, alpha >= 0, and all finite".into()
        });
    }

    fn check_first_weights(&self, problems: &mut Problems) {
        let conv = self.conv.iter().map(|layer| (&layer.name, layer.sigma, layer.bias));
        let fc = self.fc.iter().map(|layer| (&layer.name, layer.sigma, layer.bias));
        let head = [(&self.head.name, self.head.sigma, self.head.bias)];
        for (name, sigma, bias) in conv.chain(fc).chain(head) {
            problems.must(sigma.is_finite() && sigma >= 0.0 && bias.is_finite(), || {
                format!("{name}: sigma = {sigma}, bias = {bias}: finite, and sigma 0 or more")
            });
        }
    }

    /// Names become those of folders and tensors.
    fn check_names(&self, problems: &mut Problems) {
        let layers = self.conv.iter().map(|layer| &layer.name);
        let layers =
            layers.chain(self.fc.iter().map(|layer| &layer.name)).chain([&self.head.name]);
        let layers: Vec<_> = layers.collect();
        for (i, name) in layers.iter().enumerate() {
            problems
                .must(!layers[..i].contains(name), || format!("two layers are called {name}"));
        }
        for name in layers.into_iter().chain([&self.name]) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            problems.must(!name.is_empty() && name.chars().all(plain), || {
                format!("name = {name:?}: letters, digits, - and _")
            });
        }
    }

    fn check_layers(&self, problems: &mut Problems) {
        problems.must(!self.conv.is_empty(), || "there is no [[conv]] layer".into());
        let towers = self.towers.max(1);
        for layer in &self.conv {
            let extents = [layer.kernels, layer.stride, layer.pad_before, layer.pad_after];
            problems.must(extents.iter().all(|x| *x <= EXTENT_MAX) && layer.stride > 0, || {
                format!(
                    "{}: kernels, stride and pads of at most {EXTENT_MAX}, and a stride of at least 1",
                    layer.name
                )
            });
            problems.must(layer.kernels > 0 && layer.kernels.is_multiple_of(towers), || {
                let (name, kernels) = (&layer.name, layer.kernels);
                format!("{name}: {kernels} kernels cannot be split over {towers} towers")
            });
        }
        for layer in &self.fc {
            problems.must(layer.units <= EXTENT_MAX, || {
                format!("{}: {} units, and at most {EXTENT_MAX}", layer.name, layer.units)
            });
            problems.must(layer.units > 0 && layer.units.is_multiple_of(towers), || {
                format!(
                    "{}: {} units cannot be split over {towers} towers",
                    layer.name, layer.units
                )
            });
        }
        if let Some(first) = self.conv.first() {
            problems.must(!first.across, || {
                format!("{} reads the image: `across` has no use", first.name)
            });
        }
        if let Err(says) = self.check_planes() {
            problems.0.push(says);
        }
    }

    /// Whether every window fits the plane that it slides over.
    fn check_planes(&self) -> Result<(), String> {
        let mut side = self.data.crop;
        for layer in &self.conv {
            let (name, window) = (&layer.name, layer.window);
            let padded = side.saturating_add(layer.pad_before).saturating_add(layer.pad_after);
            if layer.stride == 0 {
                return Ok(()); // told already
            }
            if window == 0 || window > padded {
                return Err(format!("{name}: no {window}x{window} window fits {padded} px"));
            }
            side = (padded - window) / layer.stride + 1;
            if layer.pool {
                if side < 3 {
                    return Err(format!("{name}: {side} px are too few to pool"));
                }
                side = (side - 3) / 2 + 1;
            }
        }
        Ok(())
    }
}
