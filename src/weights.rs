//! Whole tensors and what of them each part holds.

use crate::{
    model::{Net, Part},
    tower::Rows,
};
use std::ops::Range;

/// One whole tensor with its velocity, in PyTorch's name and layout, towers concatenated on the
/// output channel, or of fc8 on what is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// `conv1.weight`, ...
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Values, row major.
    pub values: Vec<f32>,
    /// The optimiser's velocity, same layout.
    pub velocity: Vec<f32>,
}

/// Joins what all parts hold, which stand in the order of the devices.
///
/// # Panics
/// If the parts are not those of `net`.
pub fn join(net: &Net, parts: Vec<Vec<Rows>>) -> Vec<Tensor> {
    let zeroed = |(name, shape): (String, Vec<usize>)| {
        let len = shape.iter().product();
        Tensor { name, shape, values: vec![0.0; len], velocity: vec![0.0; len] }
    };
    let mut tensors: Vec<Tensor> = net.shapes().into_iter().map(zeroed).collect();
    let devices = parts.len();
    for (device, held) in parts.into_iter().enumerate() {
        let part = Part::of_device(device, devices, net.towers);
        for (i, (tensor, held)) in tensors.iter_mut().zip(held).enumerate() {
            assert_eq!(tensor.name, held.name, "parts list the tensors in the net's order");
            let runs = Runs::of(net, i, part);
            assert_eq!(held.values.len(), runs.count * runs.len, "{}", held.name);
            for run in 0..runs.count {
                let (there, here) = (runs.of_tensor(run), runs.of_part(run));
                tensor.values[there.clone()].copy_from_slice(&held.values[here.clone()]);
                tensor.velocity[there].copy_from_slice(&held.velocity[here]);
            }
        }
    }
    tensors
}

/// What `part` holds of `tensors`, which [`join`] made or a checkpoint of the same net.
pub fn split(net: &Net, part: Part, tensors: &[Tensor]) -> Vec<Rows> {
    let held = |(i, tensor): (usize, &Tensor)| {
        let runs = Runs::of(net, i, part);
        let gather = |all: &[f32]| {
            let mut held = Vec::with_capacity(runs.count * runs.len);
            (0..runs.count).for_each(|run| held.extend_from_slice(&all[runs.of_tensor(run)]));
            held
        };
        let (values, velocity) = (gather(&tensor.values), gather(&tensor.velocity));
        Rows { name: tensor.name.clone(), values, velocity }
    };
    tensors.iter().enumerate().map(held).collect()
}

/// What a part holds of a tensor, in runs of floats at a regular distance.
struct Runs {
    first: usize,
    count: usize,
    len: usize,
    distance: usize,
}

impl Runs {
    /// Those of tensor `i`: a layer has a weight and a bias.
    fn of(net: &Net, i: usize, part: Part) -> Self {
        let layer = &net.layers[i / 2];
        let bias = !i.is_multiple_of(2);
        let (row, rows) = if bias { layer.biases(part) } else { layer.rows(part) };
        let (row_len, (column, columns)) =
            if bias { (1, (0, 1)) } else { (layer.row_len(), layer.columns(part)) };
        let first = row * row_len + column;
        if columns == row_len {
            Self { first, count: 1, len: rows * row_len, distance: 0 }
        } else {
            Self { first, count: rows, len: columns, distance: row_len }
        }
    }

    fn of_tensor(&self, run: usize) -> Range<usize> {
        let at = self.first + run * self.distance;
        at..at + self.len
    }

    fn of_part(&self, run: usize) -> Range<usize> {
        run * self.len..(run + 1) * self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn split_tensors_join_to_themselves() {
        let net = Net::new(&Config::load("demo", None).expect("a preset"), 10);
        let tensors: Vec<_> = (net.shapes().into_iter())
            .map(|(name, shape)| {
                let len: usize = shape.iter().product();
                let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
                let velocity = values.iter().map(|v| -v).collect();
                Tensor { name, shape, values, velocity }
            })
            .collect();
        for devices in [1, 2] {
            let part = |device| split(&net, Part::of_device(device, devices, 2), &tensors);
            assert_eq!(join(&net, (0..devices).map(part).collect()), tensors);
        }
    }
}
