//! The layers of the network and the part of them that one device carries.
//!
//! A *part* carries one or more whole towers. A layer that looks across reads one *source* per part:
//! its own activations and, through the exchange, every other part's.

use crate::{
    algorithms::By,
    config::{Config, Init},
};
use gpu::{
    device::Activation,
    ops::{
        Dtype,
        conv::{Algorithm, Conv},
        finish::Finish,
        linear::Linear,
        lrn::Lrn,
        pool::MaxPool,
    },
};
use pipeline::random::Draws;

/// Side and step of the overlapping pooling (section 3.4).
const POOL: (usize, usize) = (3, 2);
/// Sets weight draws apart from the pipeline's (`Draws::new`'s purpose).
const PURPOSE_WEIGHTS: u32 = 0x5745_4947;

/// Towers `first..first + count` of `of`, carried by one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first tower.
    pub first: usize,
    /// Towers carried.
    pub count: usize,
    /// Towers in all.
    pub of: usize,
}

impl Part {
    /// The part of device `index` when `devices` devices share `towers` towers evenly.
    pub fn of_device(index: usize, devices: usize, towers: usize) -> Self {
        assert!(devices > 0 && towers.is_multiple_of(devices), "{towers} over {devices}");
        let count = towers / devices;
        Self { first: index * count, count, of: towers }
    }

    /// This part's share of `total` channels that are split over the towers.
    pub fn share(&self, total: usize) -> usize {
        total / self.of * self.count
    }

    /// Index of this part's first channel.
    pub fn offset(&self, total: usize) -> usize {
        total / self.of * self.first
    }
}

/// What a layer multiplies with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// A convolution, as seen by one source.
    Conv(Conv),
    /// A fully-connected layer, as seen by one source.
    Linear(Linear),
}

/// One layer of the whole net.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the layer table")]
pub struct Layer {
    /// `conv1` ... `fc8`.
    pub name: String,
    /// Shape of the weights in PyTorch's order.
    pub shape: Vec<usize>,
    /// Height and width of the input and, before pooling, of the output; 1 for fc layers.
    pub side_in: usize,
    /// Side of the output before pooling.
    pub side_out: usize,
    /// Channels that the layer before hands over, all towers together.
    pub channels_in: usize,
    /// Output channels or units, all towers together.
    pub kernels: usize,
    /// Step and padding, of convolutions.
    pub conv: Option<(usize, usize, usize)>,
    /// The first layer, which reads the whole image on every tower.
    pub reads_image: bool,
    /// Reads every tower.
    pub across: bool,
    /// Lives whole on the first tower: fc8.
    pub head: bool,
    /// What follows.
    pub activation: Activation,
    /// LRN after the activation.
    pub lrn: bool,
    /// Pooling after that.
    pub pool: bool,
    /// Dropout at the end.
    pub dropout: f32,
    /// Standard deviation of the first weights.
    pub sigma: f32,
    /// First bias.
    pub bias: f32,
    /// How it is computed.
    pub by: By,
}

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
    /// the layer reads of one other tower.
    pub fn crossing(&self) -> Vec<(String, usize)> {
        let crosses = |l: &&Layer| l.across && self.towers > 1;
        let floats = |l: &Layer| l.channels_in * l.side_in * l.side_in / self.towers;
        self.layers.iter().filter(crosses).map(|l| (l.name.clone(), floats(l))).collect()
    }
}

impl Layer {
    /// Kernels that `part` holds; none of the head but on the first tower.
    pub fn local_kernels(&self, part: Part) -> usize {
        match (self.head, part.first) {
            (true, 0) => self.kernels,
            (true, _) => 0,
            (false, _) => part.share(self.kernels),
        }
    }

    /// Rows of the whole weight tensor that `part` holds: first row and count.
    pub fn rows(&self, part: Part) -> (usize, usize) {
        let first = if self.head { 0 } else { part.offset(self.kernels) };
        (first, self.local_kernels(part))
    }

    /// Multiply-adds of a forward pass per image, all towers together, zeros of the padding included.
    pub fn multiply_adds(&self) -> usize {
        self.kernels * self.row_len() * self.side_out * self.side_out
    }

    /// Floats in one row of the weights.
    pub fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Floats per image that this layer reads of what `source` hands on: of the image, all.
    pub fn reads(&self, source: Part) -> usize {
        let channels =
            if self.reads_image { self.channels_in } else { source.share(self.channels_in) };
        channels * self.side_in * self.side_in
    }

    /// What `part` computes of this layer from the activations of `source`.
    pub fn op(&self, part: Part, source: Part) -> Op {
        let kernels = self.local_kernels(part);
        let Some((stride, pad_before, pad_after)) = self.conv else {
            return Op::Linear(Linear {
                inputs: source.share(self.channels_in),
                outputs: kernels,
                weight_inputs: self.channels_in,
                weight_offset: source.offset(self.channels_in),
                dtype: if let By::Linear(dtype) = self.by { dtype } else { Dtype::F32 },
            });
        };
        let channels =
            if self.reads_image { self.channels_in } else { source.share(self.channels_in) };
        Op::Conv(Conv {
            channels,
            height: self.side_in,
            width: self.side_in,
            kernels,
            window: self.shape[2],
            stride,
            pad_before,
            pad_after,
            groups: if self.reads_image || self.across { 1 } else { part.count },
            weight_channels: self.shape[1],
            weight_offset: if self.across { source.offset(self.channels_in) } else { 0 },
            by: if let By::Conv(by) = self.by { Some(by) } else { None },
        })
    }

    /// What follows the layer's product on `part`.
    pub fn finish(&self, part: Part, lrn: &crate::config::Lrn) -> Finish {
        let (channels, area) = (self.local_kernels(part), self.side_out * self.side_out);
        Finish {
            channels,
            area,
            activation: self.activation,
            lrn: self.lrn.then_some(Lrn {
                channels,
                groups: part.count,
                area,
                size: lrn.size,
                alpha: lrn.alpha,
                beta: lrn.beta,
                k: lrn.k,
            }),
            pool: self.pool.then_some(MaxPool {
                channels,
                height: self.side_out,
                width: self.side_out,
                window: POOL.0,
                stride: POOL.1,
            }),
        }
    }

    /// Side of what the layer hands on.
    pub fn side_handed_on(&self) -> usize {
        if self.pool { (self.side_out - POOL.0) / POOL.1 + 1 } else { self.side_out }
    }

    /// The first weights and biases of the rows that `part` holds: normal draws keyed by (seed, layer,
    /// row), so that every way of carrying the net starts from the same numbers.
    pub fn first_weights(&self, part: Part, index: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let (first, rows) = self.rows(part);
        let row_len = self.row_len();
        let mut weights = Vec::with_capacity(rows * row_len);
        for row in first..first + rows {
            let mut draws = Draws::new(seed, PURPOSE_WEIGHTS, index as u64, row as u64);
            let draw = || (f64::from(self.sigma) * draws.normal()) as f32;
            weights.extend(std::iter::repeat_with(draw).take(row_len));
        }
        (weights, vec![self.bias; rows])
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
        let want = [("conv3", 21_632), ("fc6", 4_608), ("fc7", 2_048), ("fc8", 2_048)];
        assert_eq!(net.crossing(), want.map(|(name, floats)| (name.to_owned(), floats)));
    }

    #[test]
    fn parts_share_the_rows_without_gap() {
        let net = Net::new(&preset("demo"), 10);
        for layer in &net.layers {
            let parts = [0, 1].map(|i| Part::of_device(i, 2, 2));
            let rows = parts.map(|part| layer.rows(part));
            assert_eq!(rows[0].1 + rows[1].1, layer.kernels, "{}", layer.name);
            assert!(layer.head || rows[1].0 == rows[0].1, "{}", layer.name);
        }
    }
}
