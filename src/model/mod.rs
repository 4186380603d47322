//! The layers of the network and the part of them that one device carries.
//!
//! A *part* carries one or more whole towers. A layer that looks across reads one *source* per part:
//! its own activations and, through the exchange, every other part's. At the head each part multiplies
//! its own, and the first adds the logits up.

mod layer;
mod part;

pub use layer::{Layer, Op};
pub use part::Part;

use crate::{
    algorithms::By,
    config::{Config, Init},
};
use gpu::{
    device::Activation,
    ops::{Dtype, conv::Algorithm},
};

/// Side and step of the overlapping pooling (section 3.4).
const POOL: (usize, usize) = (3, 2);

/// The whole net.
#[derive(Debug, Clone, PartialEq)]
pub struct Net {
    /// Towers.
    pub towers: usize,
    /// Side of the crop.
    pub crop: usize,
    /// Classes.
    pub classes: usize,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// Constants of LRN.
    pub lrn: crate::config::Lrn,
}

impl Net {
    /// Lays the layers out.
    pub fn new(config: &Config, classes: usize) -> Self {
        let (towers, mut side, mut channels) = (config.towers, config.data.crop, 3);
        let init = config.train.init;
        let mut layers = Vec::new();
        for (i, c) in config.conv.iter().enumerate() {
            let side_in = side;
            let side_out = (side + c.pad_before + c.pad_after - c.window) / c.stride + 1;
            let across = c.across && towers > 1;
            let seen = if i == 0 || across { channels } else { channels / towers };
            layers.push(Layer {
                name: c.name.clone(),
                shape: vec![c.kernels, seen, c.window, c.window],
                side_in,
                side_out,
                channels_in: channels,
                kernels: c.kernels,
                conv: Some((c.stride, c.pad_before, c.pad_after)),
                reads_image: i == 0,
                across,
                head: false,
                activation: Activation::Relu,
                lrn: c.lrn,
                pool: c.pool,
                dropout: 0.0,
                sigma: if init == Init::Source { c.sigma } else { 0.01 },
                bias: if init == Init::Caffe { c.bias.min(0.1) } else { c.bias },
                by: By::Conv([Algorithm::Im2col; 3]), // until the table is asked
            });
            side = if c.pool { (side_out - POOL.0) / POOL.1 + 1 } else { side_out };
            channels = c.kernels;
        }
        let mut inputs = channels * side * side;
        let linear = |name: &str, units, inputs, sigma, bias| Layer {
            name: name.into(),
            shape: vec![units, inputs],
            side_in: 1,
            side_out: 1,
            channels_in: inputs,
            kernels: units,
            conv: None,
            reads_image: false,
            across: true,
            head: false,
            activation: Activation::Relu,
            lrn: false,
            pool: false,
            dropout: config.train.dropout,
            sigma,
            bias,
            by: By::Linear(Dtype::F32),
        };
        for f in &config.fc {
            let sigma = match init {
                Init::Source => f.sigma,
                Init::Paper => 0.01,
                Init::Caffe => 0.005,
            };
            let bias = if init == Init::Caffe { f.bias.min(0.1) } else { f.bias };
            layers.push(linear(&f.name, f.units, inputs, sigma, bias));
            inputs = f.units;
        }
        let sigma = if init == Init::Source { config.head.sigma } else { 0.01 };
        layers.push(Layer {
            head: true,
            activation: Activation::None,
            dropout: 0.0,
            ..linear(&config.head.name, classes, inputs, sigma, config.head.bias)
        });
        let dtype = config.train.dtype.into();
        layers.iter_mut().for_each(|layer| layer.by = By::table(layer, towers, dtype));
        Self { towers, crop: config.data.crop, classes, layers, lrn: config.lrn.clone() }
    }

    /// Weights and biases of the whole net.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.shape.iter().product::<usize>() + l.kernels).sum()
    }

    /// Operations of a training step per image by direct convolution, a multiply-add being two:
    /// forward, to the weights and, but for the first layer, to the data.
    pub fn flop_per_image(&self) -> usize {
        let passes = |i: usize| if i == 0 { 2 } else { 3 };
        let layers = self.layers.iter().enumerate();
        layers.map(|(i, l)| passes(i) * 2 * l.multiply_adds()).sum()
    }

    /// Names and shapes of the weights and biases, in PyTorch's terms and order.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let both = |l: &Layer| {
            let weight = (format!("{}.weight", l.name), l.shape.clone());
            [weight, (format!("{}.bias", l.name), vec![l.kernels])]
        };
        self.layers.iter().flat_map(both).collect()
    }

    /// Floats that cross between towers in a forward pass, per image and direction, by layer: what
    /// the layer reads of one other tower or, of fc8, the logits.
    pub fn crossing(&self) -> Vec<(String, usize)> {
        let crosses = |l: &&Layer| l.across && self.towers > 1;
        let tower = Part::of_device(0, self.towers, self.towers);
        let floats = |l: &Layer| (l.name.clone(), l.crosses(tower));
        self.layers.iter().filter(crosses).map(floats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> Config {
        Config::load(name, None).expect("a preset")
    }

    #[test]
    fn the_2012_net_has_60_965_224_parameters() {
        let net = Net::new(&preset("two-tower-2012"), 1000);
        assert_eq!(net.parameters(), 60_965_224);
        let forward: usize = net.layers.iter().map(Layer::multiply_adds).sum();
        assert_eq!((forward, net.flop_per_image()), (724_406_816, 4_135_610_496));
        let sides: Vec<_> = net.layers.iter().map(Layer::side_handed_on).collect();
        assert_eq!(sides, [27, 13, 13, 13, 6, 1, 1, 1]);
        assert_eq!(net.layers[0].side_out, 55);
    }

    #[test]
    fn conv3_fc6_fc7_and_fc8_look_across_and_nothing_else() {
        let net = Net::new(&preset("two-tower-2012"), 1000);
        let want = [("conv3", 21_632), ("fc6", 4_608), ("fc7", 2_048), ("fc8", 1_000)];
        assert_eq!(net.crossing(), want.map(|(name, floats)| (name.to_owned(), floats)));
    }

    #[test]
    fn parts_share_each_tensor_without_gap() {
        let net = Net::new(&preset("demo"), 10);
        for layer in &net.layers {
            let parts = [0, 1].map(|i| Part::of_device(i, 2, 2));
            let rows = parts.map(|part| layer.rows(part));
            let columns = parts.map(|part| layer.columns(part));
            let shared =
                if layer.head { (columns, layer.row_len()) } else { (rows, layer.kernels) };
            let ([(first, count), (next, rest)], all) = shared;
            assert_eq!((first, next, count + rest), (0, count, all), "{}", layer.name);
        }
    }
}
