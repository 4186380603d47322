//! One op of the net on a device, with made-up operands: alike on every device.

use gpu::{
    cuda::Numbers,
    device::{Demand, Device, DeviceError, Input, Pictures, RowLayout, Step, Sums},
    ops::{
        conv::{Conv, Pass},
        dropout::Dropout,
        finish::Finish,
        linear::Linear,
        sgd::Sgd,
    },
    random::philox,
};

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// A pass of a convolution; of the first layer, over pictures.
    Conv { op: Conv, pass: Pass, first: bool },
    /// A pass of a linear layer that reads `pixels` a channel.
    Linear { op: Linear, pass: Pass, pixels: usize },
    /// What follows a product, forward or backward.
    Finish { op: Finish, forward: bool },
    /// The optimiser over so many floats.
    Sgd { len: usize },
    /// The mask of training.
    Dropout { op: Dropout },
    /// What stands in its place in testing, over so many units.
    Scale { units: usize },
    /// What peers send, added up.
    Add { units: usize },
    /// The gradient of a bias of so many rows, over an area.
    Bias { rows: usize, area: usize },
    /// Probabilities of classes, or their gradient.
    Softmax { classes: usize, forward: bool },
}

/// What an op writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    X,
    Y,
    W,
    V,
    B,
}

/// The rate of the optimiser's step: a gradient is then as visible as the weights.
pub(super) const STEP: Step = Step { rate: 0.5, step: 7, scale: 1.0 };

/// A device, an op and its operands.
pub(super) struct Bed<'a, D: Device> {
    pub(super) device: &'a mut D,
    task: Task,
    n: usize,
    pictures: Pictures,
    labels: Vec<u32>,
    x: D::Buffer,
    y: D::Buffer,
    w: D::Buffer,
    v: D::Buffer,
    b: D::Buffer,
}

/// `len` numbers between -1 and 1 of stream `seed`.
fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    for (i, values) in values.chunks_mut(4).enumerate() {
        let words = philox([seed, 2012], [i as u32, 0, 0, 0]);
        for (value, word) in values.iter_mut().zip(words) {
            *value = (f64::from(word) / 2_147_483_648.0 - 1.0) as f32;
        }
    }
    values
}

impl Task {
    /// Channels and pixels a channel, of what is read and of what is written.
    fn shapes(&self) -> [(usize, usize); 2] {
        match self {
            Self::Conv { op, .. } => [
                (op.channels, op.height * op.width),
                (op.kernels, op.out_height() * op.out_width()),
            ],
            Self::Linear { op, pixels, .. } => [(op.inputs / pixels, *pixels), (op.outputs, 1)],
            Self::Finish { op, .. } => [(op.channels, op.out_area()), (op.channels, op.area)],
            Self::Sgd { .. } => [(0, 0); 2],
            Self::Dropout { op } => [(0, 0), (op.units, 1)],
            Self::Scale { units } | Self::Softmax { classes: units, .. } => {
                [(0, 0), (*units, 1)]
            }
            Self::Add { units } => [(*units, 1); 2],
            Self::Bias { rows, area } => [(0, 0), (*rows, *area)],
        }
    }

    const fn written(&self) -> Written {
        match self {
            Self::Conv { pass, .. } | Self::Linear { pass, .. } => match pass {
                Pass::Forward => Written::Y,
                Pass::BackwardData => Written::X,
                Pass::BackwardWeight if matches!(self, Self::Linear { .. }) => Written::W,
                Pass::BackwardWeight => Written::V,
            },
            Self::Finish { op, forward: true } if !op.in_place() => Written::X,
            Self::Sgd { .. } => Written::W,
            Self::Bias { .. } => Written::B,
            _ => Written::Y,
        }
    }

    /// How weights lie, and how many rows there are.
    fn weights(&self) -> (RowLayout, usize) {
        match self {
            Self::Conv { op, .. } => {
                let pixels = op.window * op.window;
                (RowLayout { blocks: 1, channels: op.weight_channels, pixels }, op.kernels)
            }
            Self::Linear { op, pixels, .. } => {
                let blocks = op.weight_inputs / op.inputs;
                let channels = op.inputs / pixels;
                (RowLayout { blocks, channels, pixels: *pixels }, op.outputs)
            }
            Self::Finish { op, .. } => {
                (RowLayout { blocks: 1, channels: 1, pixels: 1 }, op.channels)
            }
            Self::Sgd { len: rows } | Self::Bias { rows, .. } => {
                (RowLayout { blocks: 1, channels: 1, pixels: 1 }, *rows)
            }
            _ => (RowLayout { blocks: 1, channels: 1, pixels: 1 }, 0),
        }
    }

    /// Operations over the batch, a multiply-add being two; of the others, none are counted.
    pub(super) fn flop(&self, n: usize) -> f64 {
        let terms = match self {
            Self::Conv { op, .. } => {
                op.y_len() * op.channels / op.groups * op.window * op.window
            }
            Self::Linear { op, .. } => op.inputs * op.outputs,
            _ => 0,
        };
        2.0 * (terms * n) as f64
    }

    /// What memory holds of the result, where activations are `numbers`.
    pub(super) fn result_numbers(&self, numbers: Numbers) -> Numbers {
        match self.written() {
            Written::X | Written::Y if !self.is_softmax() => numbers.in_memory(),
            _ => Numbers::F32,
        }
    }

    const fn is_softmax(&self) -> bool {
        matches!(self, Self::Softmax { .. })
    }

    /// Bytes of all operands, each read or written once, where activations are `numbers`.
    pub(super) fn bytes(&self, numbers: Numbers, n: usize) -> f64 {
        let (whole, each) = (size_of::<f32>(), numbers.bytes());
        // The optimiser reads and writes weights and velocity, and writes what products read.
        let step = 4 * whole + if numbers.copies_weights() { each } else { 0 };
        let [x, y] = self.shapes().map(|(channels, pixels)| channels * pixels);
        let (layout, rows) = self.weights();
        let (activations, weights) = match self {
            Self::Conv { pass: Pass::BackwardWeight, .. } => {
                (n * (x + y), whole * rows * layout.len())
            }
            Self::Conv { .. } => (n * (x + y), each * rows * layout.len()),
            // Only this source's columns.
            Self::Linear { op, pass: Pass::BackwardWeight, .. } => {
                (n * (x + y), step * rows * op.inputs)
            }
            Self::Linear { op, .. } => (n * (x + y), each * rows * op.inputs),
            Self::Finish { op, forward: true } => (n * (y + op.out_len()), 0),
            Self::Finish { forward: false, .. } => (n * (x + 2 * y), 0),
            Self::Sgd { len } => (0, (step + whole) * len),
            Self::Bias { rows, .. } => (n * y, whole * rows),
            Self::Add { .. } => (3 * n * y, 0),
            Self::Softmax { .. } => (0, 2 * whole * n * y),
            // In place: read and written.
            Self::Dropout { .. } | Self::Scale { .. } => (2 * n * y, 0),
        };
        (each * activations + weights) as f64
    }
}

impl<'a, D: Device> Bed<'a, D> {
    /// With operands that memory keeps as they are where it holds `numbers`.
    pub(super) fn new(
        device: &'a mut D, task: Task, numbers: Numbers, n: usize,
    ) -> Result<Self, DeviceError> {
        let noise = |seed, len| {
            let mut values = noise(seed, len);
            numbers.round(&mut values);
            values
        };
        let classes = if let Task::Softmax { classes, .. } = task { classes } else { 1 };
        let mut demand = Demand { batch: n, classes, ..Demand::default() };
        let (mut pixels, mut labels) = (vec![], vec![]);
        match task {
            Task::Conv { op, first, .. } => {
                demand.convs.push(op);
                if first {
                    pixels = noise(1, n * op.x_len());
                }
            }
            Task::Linear { op, .. } => demand.linears.push(op),
            Task::Finish { op, .. } => demand.finishes.push(op),
            Task::Bias { rows, area } => demand.finishes.push(Finish::nothing(rows, area)),
            Task::Softmax { .. } => labels.extend((0..n).map(|i| (i % classes) as u32)),
            _ => {}
        }
        if pixels.is_empty() {
            // The first convolution reads pictures, and this one does not.
            demand.convs.insert(0, NO_PICTURES);
            pixels = vec![0.0; n * NO_PICTURES.x_len()];
        }
        device.reserve(&demand)?;
        let [x, y] = task.shapes();
        let (layout, rows) = task.weights();
        let mut channels = |seed, (channels, area): (usize, usize)| {
            let len = n * channels * area;
            let logits = task.is_softmax();
            let mut buffer =
                if logits { device.factors(len)? } else { device.activations(len)? };
            if len > 0 {
                device.upload_channels(channels, area, &mut buffer, &noise(seed, len));
            }
            Ok::<_, DeviceError>(buffer)
        };
        let (x, y) = (channels(1, x)?, channels(2, y)?);
        let mut weights = |seed, factors: bool| {
            let len = rows * layout.len();
            let mut buffer = if factors { device.factors(len)? } else { device.zeros(len)? };
            device.upload_rows(layout, &mut buffer, &noise(seed, len));
            Ok::<_, DeviceError>(buffer)
        };
        let (w, v) = (weights(3, true)?, weights(4, false)?);
        let mut b = device.zeros(rows)?;
        device.upload(&mut b, &noise(5, rows));
        let pictures = Pictures::from(pixels);
        device.begin(&pictures, &labels, STEP);
        Ok(Self { device, task, n, pictures, labels, x, y, w, v, b })
    }

    /// Asks for the op once.
    pub(super) fn run(&mut self) {
        let Self { device, task, n, pictures, labels, x, y, w, v, b } = self;
        let n = *n;
        let sgd = Sgd { rate: STEP.rate, momentum: 0.5, decay: 0.01 };
        match task {
            Task::Conv { op, pass, first } => {
                let pixels = pictures.pixels();
                let input = if *first { Input::Pictures(pixels) } else { Input::Buffer(&*x) };
                match pass {
                    Pass::Forward => device.conv_forward(op, n, input, w, Sums::with(b), y),
                    Pass::BackwardData => device.conv_backward_data(op, n, y, w, x),
                    Pass::BackwardWeight => device.conv_backward_weight(op, n, input, y, v),
                }
            }
            Task::Linear { op, pass, .. } => match pass {
                Pass::Forward => device.linear_forward(op, n, x, w, Sums::with(b), y),
                Pass::BackwardData => device.linear_backward_data(op, n, y, w, x),
                Pass::BackwardWeight => device.linear_update(op, n, x, y, &sgd, v, w),
            },
            Task::Finish { op, forward: true } => {
                device.finish_forward(op, n, y, (!op.in_place()).then_some(x));
            }
            Task::Finish { op, forward: false } => device.finish_backward(op, n, x, y, b),
            Task::Sgd { len } => device.sgd(&sgd, *len, b, v, w),
            Task::Dropout { op } => device.dropout(op, n, y),
            Task::Scale { units } => device.scale(0.5, n * *units, y),
            Task::Add { units } => device.add(n * *units, x, y),
            Task::Bias { rows, area } => device.bias_backward(n, *rows, *area, y, b),
            Task::Softmax { classes, forward: true } => device.softmax(n, *classes, labels, y),
            Task::Softmax { classes, forward: false } => {
                device.softmax_backward(n, *classes, labels, y);
            }
        }
    }

    /// What the op has made.
    pub(super) fn result(&mut self) -> Vec<f32> {
        let Self { device, task, n, x, y, w, v, b, .. } = self;
        let [x_shape, y_shape] = task.shapes();
        let (layout, rows) = task.weights();
        let buffer = match task.written() {
            Written::X | Written::Y => {
                let is_x = matches!(task.written(), Written::X);
                let ((channels, area), buffer) = if is_x { (x_shape, x) } else { (y_shape, y) };
                let mut values = vec![0.0; *n * channels * area];
                device.download_channels(channels, area, buffer, &mut values);
                return values;
            }
            Written::B => {
                let mut values = vec![0.0; rows];
                device.download(b, &mut values);
                return values;
            }
            Written::W => w,
            Written::V => v,
        };
        let mut values = vec![0.0; rows * layout.len()];
        device.download_rows(layout, buffer, &mut values);
        values
    }
}

/// What stands in the place of the first layer where it is not tried.
const NO_PICTURES: Conv = Conv {
    channels: 1,
    height: 1,
    width: 1,
    kernels: 1,
    window: 1,
    stride: 1,
    pad_before: 0,
    pad_after: 0,
    groups: 1,
    weight_channels: 1,
    weight_offset: 0,
    by: None,
};
