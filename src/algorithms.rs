//! How each pass of each layer is computed, as a run records it: a resumed run computes as it began,
//! whatever a later version would choose.

use crate::model::{Layer, Net, Op, Part};
use gpu::{
    cpu::Level,
    ops::{
        Dtype,
        conv::{self, Algorithm, Conv, Pass},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How one layer is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A convolution: forward, backward to the input, backward to the weights.
    Conv([Algorithm; 3]),
    /// A linear layer: products of these.
    Linear(Dtype),
}

impl By {
    /// What the table says about `layer` in numbers of `dtype`, by the shape that one tower sees: the
    /// same however many devices carry the net.
    pub(crate) fn table(layer: &Layer, towers: usize, dtype: Dtype) -> Self {
        let part = Part::of_device(0, towers, towers);
        match layer.op(part, part) {
            Op::Conv(op) => {
                let level = Level::widest();
                Self::Conv(Pass::ALL.map(|pass| conv::algorithm(&op, pass, dtype, level)))
            }
            Op::Linear(_) => Self::Linear(dtype),
        }
    }
}

/// The algorithms of a net, by the layers' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Algorithms(BTreeMap<String, Record>);

/// The names of one layer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Record {
    Conv([String; 3]),
    Linear(String),
}

/// A record that this version cannot compute by.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{layer} was computed by {recorded}, which this version does not know for it")]
pub struct AlgorithmsError {
    /// The layer.
    pub layer: String,
    /// What is recorded.
    pub recorded: String,
}

impl Algorithms {
    /// Those of `net`.
    pub fn of(net: &Net) -> Self {
        let record = |layer: &Layer| match layer.by {
            By::Conv(by) => Record::Conv(by.map(|by| by.name().to_owned())),
            By::Linear(dtype) => Record::Linear(dtype.name().to_owned()),
        };
        Self(net.layers.iter().map(|layer| (layer.name.clone(), record(layer))).collect())
    }

    /// Has `net` computed by these; layers without a record, as it was.
    ///
    /// # Errors
    /// If a layer's are not known, or cannot compute it.
    pub fn apply(&self, net: &mut Net) -> Result<(), AlgorithmsError> {
        let part = Part::of_device(0, net.towers, net.towers);
        for layer in &mut net.layers {
            let Some(record) = self.0.get(&layer.name) else { continue };
            let by = match (record, layer.op(part, part)) {
                (Record::Conv(names), Op::Conv(op)) => passes(names, &op),
                (Record::Linear(name), Op::Linear(_)) => {
                    let known = Dtype::ALL.into_iter().find(|dtype| dtype.name() == *name);
                    known.map(By::Linear)
                }
                _ => None,
            };
            layer.by = by.ok_or_else(|| AlgorithmsError {
                layer: layer.name.clone(),
                recorded: match record {
                    Record::Conv(names) => names.join(", "),
                    Record::Linear(name) => name.clone(),
                },
            })?;
        }
        Ok(())
    }
}

fn passes(names: &[String; 3], op: &Conv) -> Option<By> {
    let mut by = [Algorithm::Im2col; 3];
    for (pass, name) in Pass::ALL.into_iter().zip(names) {
        let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == *name);
        by[pass as usize] = known.filter(|algorithm| algorithm.fits(op, pass))?;
    }
    Some(By::Conv(by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    fn net(dtype: config::Dtype) -> Net {
        let mut config = Config::load("two-tower-2012", None).expect("a preset");
        config.train.dtype = dtype;
        Net::new(&config, 10)
    }

    #[test]
    fn a_record_makes_another_net_compute_alike() {
        let recorded = Algorithms::of(&net(config::Dtype::Bf16));
        let text = serde_json::to_string(&recorded).expect("JSON");
        assert!(text.contains(r#""fc6":"bf16""#), "{text}");
        let read: Algorithms = serde_json::from_str(&text).expect("its own JSON");
        let mut other = net(config::Dtype::F32);
        assert_ne!(Algorithms::of(&other), recorded);
        read.apply(&mut other).expect("known algorithms");
        assert_eq!(Algorithms::of(&other), recorded);
        // A checkpoint of before there were records.
        let before = Algorithms::of(&other);
        Algorithms::default().apply(&mut other).expect("nothing to do");
        assert_eq!(Algorithms::of(&other), before);
    }

    #[test]
    fn what_this_version_does_not_know_is_told() {
        let conv1 = |names: &str| {
            let read: Algorithms = serde_json::from_str(names).expect("JSON");
            read.apply(&mut net(config::Dtype::F32)).expect_err("unknown").to_string()
        };
        let text = conv1(r#"{"conv1": ["fft", "im2col", "winograd"]}"#);
        assert!(text.starts_with("conv1 was computed by fft, im2col, winograd"), "{text}");
        conv1(r#"{"conv1": "f32"}"#);
        conv1(r#"{"conv1": ["im2col", "winograd", "im2col"]}"#); // a step of 4 has none back
        conv1(r#"{"fc6": "f8"}"#);
    }

    #[test]
    fn the_table_is_the_same_however_many_devices_carry_the_net() {
        let net = net(config::Dtype::F32);
        for layer in &net.layers {
            let by = |devices| match layer
                .op(Part::of_device(0, devices, 2), Part::of_device(0, devices, 2))
            {
                Op::Conv(op) => By::Conv(Pass::ALL.map(|pass| op.algorithm(pass))),
                Op::Linear(op) => By::Linear(op.dtype),
            };
            assert_eq!((by(1), by(2)), (layer.by, layer.by), "{}", layer.name);
        }
    }
}
