//! Products as they are planned and timed: each pass of each layer's sources, once.

use crate::{
    cuda::{Numbers, tile::Tile},
    device::Demand,
    ops::{
        conv::{self, Conv, Pass},
        linear::{self, Linear},
    },
};

/// A pass of a layer, of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cuda) enum Product {
    /// Of a convolution whose weights lie by themselves.
    Conv(Conv, Pass),
    /// Of a linear layer, from the source's first column on; backward to the weights is the optimiser's step.
    Linear(Linear, Pass),
}

/// The same convolution with this source's weights by themselves.
pub(super) const fn bare(op: &Conv) -> Conv {
    Conv { weight_channels: op.channels / op.groups, weight_offset: 0, by: None, ..*op }
}

/// The same from its first column on.
const fn from_first_column(op: &Linear) -> Linear {
    Linear { weight_offset: 0, ..*op }
}

impl Product {
    /// A pass of a convolution, of pictures or of activations.
    pub(in crate::cuda) const fn of_conv(op: &Conv, pass: Pass, pictures: bool) -> Self {
        Self::Conv(if pictures { bare(&op.packed()) } else { bare(op) }, pass)
    }

    /// A pass of a linear layer.
    pub(in crate::cuda) const fn of_linear(op: &Linear, pass: Pass) -> Self {
        Self::Linear(from_first_column(op), pass)
    }

    /// Who could make it beside us, for the log.
    pub(super) const fn library(&self) -> &'static str {
        match self {
            Self::Conv(..) => "cuDNN",
            Self::Linear(..) => "cuBLAS",
        }
    }

    pub(super) const fn pass(&self) -> Pass {
        match self {
            Self::Conv(_, pass) | Self::Linear(_, pass) => *pass,
        }
    }

    /// Whether it is an optimiser's step, whose gradient is never whole.
    pub(super) const fn is_step(&self) -> bool {
        matches!(self, Self::Linear(_, Pass::BackwardWeight))
    }

    /// Whether a library's call could describe it. Of halves, the gradient of a convolution's weights would be halves.
    pub(super) fn fits_libraries(&self, numbers: Numbers) -> bool {
        match self {
            Self::Conv(_, Pass::BackwardWeight) if numbers.copies_weights() => false,
            Self::Conv(op, _) => op.pad_before == op.pad_after,
            Self::Linear(..) => !self.is_step(),
        }
    }

    /// Whether the sums are `f32`, whatever is multiplied: both where it depends on the layer.
    pub(super) const fn widths(&self, numbers: Numbers) -> &'static [bool] {
        match self {
            Self::Linear(_, Pass::Forward) if numbers.copies_weights() => &[false, true],
            _ => &[false],
        }
    }

    /// Numbers of `x`, `w` and `y` over `n` images.
    pub(super) fn lens(&self, n: usize) -> [usize; 3] {
        match self {
            Self::Conv(op, _) => [n * op.x_len(), op.w_len(), n * op.y_len()],
            Self::Linear(op, _) => {
                [n * op.inputs, op.outputs * op.weight_inputs, n * op.outputs]
            }
        }
    }

    /// The tile that our own kernel takes by itself.
    pub(super) fn tile(&self, numbers: Numbers, n: usize) -> Tile {
        match self {
            Self::Conv(op, pass) => conv::cuda::tile(numbers, op, n, *pass),
            Self::Linear(_, pass) => linear::cuda::tile(numbers, *pass),
        }
    }

    /// What is made of `n` images, for the file of the fastest ways.
    pub(super) fn describe(&self, n: usize) -> String {
        match self {
            Self::Conv(op, pass) => format!(
                "conv {n}x{}x{}x{} {}x{}x{} step {} pad {} groups {} {pass:?}",
                op.height,
                op.width,
                op.channels,
                op.kernels,
                op.window,
                op.window,
                op.stride,
                op.pad_before,
                op.groups,
            ),
            Self::Linear(op, pass) => format!(
                "linear {n}x{} {} of {} {pass:?}",
                op.inputs, op.outputs, op.weight_inputs
            ),
        }
    }
}

/// A product, and of which layers it is a pass.
#[derive(Debug)]
pub(super) struct Named {
    layers: Vec<String>,
    pub(super) product: Product,
}

impl Named {
    /// For the log.
    pub(super) fn name(&self) -> String {
        let way = match self.product.pass() {
            Pass::Forward => "forward",
            Pass::BackwardData => "backward to data",
            Pass::BackwardWeight => "backward to weights",
        };
        format!("{} {way}", self.layers.join(" and "))
    }
}

/// All products of `demand`, each once.
pub(super) fn products(demand: &Demand) -> Vec<Named> {
    let mut all: Vec<Named> = vec![];
    let mut add = |at: usize, product: Product| {
        let layer = demand.names.get(at).map_or("a layer", String::as_str).to_owned();
        match all.iter_mut().find(|known| known.product == product) {
            Some(known) if known.layers.contains(&layer) => {} // another source of it
            Some(known) => known.layers.push(layer),
            None => all.push(Named { layers: vec![layer], product }),
        }
    };
    for (i, op) in demand.convs.iter().enumerate() {
        for pass in Pass::ALL {
            // The first reads packed pictures, whose gradient nobody needs.
            if i > 0 || pass != Pass::BackwardData {
                add(i, Product::of_conv(op, pass, i == 0));
            }
        }
    }
    for (i, op) in demand.linears.iter().enumerate() {
        for pass in Pass::ALL {
            add(demand.convs.len() + i, Product::of_linear(op, pass));
        }
    }
    all
}
