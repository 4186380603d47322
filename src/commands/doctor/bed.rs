//! One op of the net on a device, with made-up operands: alike on every device.

use gpu::{
    device::{Demand, Device, DeviceError, Input, Pictures, RowLayout, Step, Sums},
    ops::{
        conv::{Conv, Pass},
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
}

/// The rate of the optimiser's step: a gradient is then as visible as the weights.
const STEP: Step = Step { rate: 0.5, step: 7 };

/// A device, an op and its operands.
pub(super) struct Bed<'a, D: Device> {
    pub(super) device: &'a mut D,
    task: Task,
    n: usize,
    pictures: Pictures,
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
            Self::Sgd { len } => (RowLayout { blocks: 1, channels: 1, pixels: 1 }, *len),
        }
    }

    /// Operations over the batch, a multiply-add being two; of the others, none are counted.
    pub(super) fn flop(&self, n: usize) -> f64 {
        let terms = match self {
            Self::Conv { op, .. } => {
                op.y_len() * op.channels / op.groups * op.window * op.window
            }
            Self::Linear { op, .. } => op.inputs * op.outputs,
            Self::Finish { .. } | Self::Sgd { .. } => 0,
        };
        2.0 * (terms * n) as f64
    }

    /// Bytes of all operands, each read or written once.
    pub(super) fn bytes(&self, n: usize) -> f64 {
        let [x, y] = self.shapes().map(|(channels, pixels)| channels * pixels);
        let (layout, rows) = self.weights();
        let weights = match self {
            Self::Conv { .. } => rows * layout.len(),
            // Only this source's columns; the update reads and writes weights and velocity.
            Self::Linear { op, pass: Pass::BackwardWeight, .. } => 4 * rows * op.inputs,
            Self::Linear { op, .. } => rows * op.inputs,
            Self::Finish { op, forward } => {
                return (n * size_of::<f32>()) as f64
                    * (if *forward { y + op.out_len() } else { x + 2 * y }) as f64;
            }
            Self::Sgd { len } => 5 * len,
        };
        (size_of::<f32>() * (n * (x + y) + weights)) as f64
    }
}

impl<'a, D: Device> Bed<'a, D> {
    pub(super) fn new(device: &'a mut D, task: Task, n: usize) -> Result<Self, DeviceError> {
        let mut demand = Demand { batch: n, classes: 1, ..Demand::default() };
        let mut pixels = vec![];
        match task {
            Task::Conv { op, first, .. } => {
                demand.convs.push(op);
                if first {
                    pixels = noise(1, n * op.x_len());
                }
            }
            Task::Linear { op, .. } => demand.linears.push(op),
            Task::Finish { op, .. } => demand.finishes.push(op),
            Task::Sgd { .. } => {}
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
            let mut buffer = device.activations(len)?;
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
        device.begin(&pictures, &[], STEP);
        Ok(Self { device, task, n, pictures, x, y, w, v, b })
    }

    /// Asks for the op once.
    pub(super) fn run(&mut self) {
        let Self { device, task, n, pictures, x, y, w, v, b } = self;
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
        }
    }

    /// What the op has made.
    pub(super) fn result(&mut self) -> Vec<f32> {
        let Self { device, task, n, x, y, w, v, .. } = self;
        let [x_shape, y_shape] = task.shapes();
        let mut channels = |(channels, area): (usize, usize), buffer: &D::Buffer| {
            let mut values = vec![0.0; *n * channels * area];
            device.download_channels(channels, area, buffer, &mut values);
            values
        };
        let written = match task {
            Task::Conv { pass, .. } | Task::Linear { pass, .. } => *pass,
            Task::Finish { op, forward: true } if !op.in_place() => Pass::BackwardData,
            Task::Finish { .. } => Pass::Forward,
            Task::Sgd { .. } => Pass::BackwardWeight,
        };
        match written {
            Pass::Forward => channels(y_shape, y),
            Pass::BackwardData => channels(x_shape, x),
            Pass::BackwardWeight => {
                let (layout, rows) = task.weights();
                let mut values = vec![0.0; rows * layout.len()];
                let linear = matches!(task, Task::Linear { .. } | Task::Sgd { .. });
                device.download_rows(layout, if linear { w } else { v }, &mut values);
                values
            }
        }
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
