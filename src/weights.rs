//! Whole tensors and the rows of them that each part holds.

use crate::{
    model::{Net, Part},
    tower::Rows,
};

/// One whole tensor with its velocity, in PyTorch's name and layout, towers concatenated on the
/// output channel.
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

/// Joins the rows of all parts, which stand in the order of the devices.
///
/// # Panics
/// If the parts are not those of `net`.
pub fn join(net: &Net, parts: Vec<Vec<Rows>>) -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = net
        .shapes()
        .into_iter()
        .map(|(name, shape)| Tensor { name, shape, values: vec![], velocity: vec![] })
        .collect();
    for rows in parts {
        for (tensor, rows) in tensors.iter_mut().zip(rows) {
            assert_eq!(tensor.name, rows.name, "parts list the tensors in the net's order");
            tensor.values.extend(rows.values);
            tensor.velocity.extend(rows.velocity);
        }
    }
    tensors
}

/// The rows that `part` holds of `tensors`, which [`join`] made or a checkpoint of the same net.
pub fn split(net: &Net, part: Part, tensors: &[Tensor]) -> Vec<Rows> {
    let rows = |(i, tensor): (usize, &Tensor)| {
        let (first, count) = net.layers[i / 2].rows(part); // a weight and a bias per layer
        let row_len: usize = tensor.shape[1..].iter().product();
        let range = first * row_len..(first + count) * row_len;
        let range = if count == 0 { 0..0 } else { range };
        Rows {
            name: tensor.name.clone(),
            values: tensor.values[range.clone()].to_vec(),
            velocity: tensor.velocity[range].to_vec(),
        }
    };
    tensors.iter().enumerate().map(rows).collect()
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
