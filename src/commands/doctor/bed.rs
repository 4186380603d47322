//! One op of the net on a device, with made-up operands.

use super::{
    operands::{NO_PICTURES, Operands},
    task::{End, Operand, Task},
};
use gpu::{
    device::{Demand, Device, DeviceError, Input, RowLayout, Step, Sums},
    ops::{conv::Pass, finish::Finish, sgd::Sgd},
};

/// The rate of the optimiser's step: a gradient is then as visible as the weights.
pub(super) const STEP: Step = Step { rate: 0.5, step: 7, scale: 1.0 };

/// A device, an op and its operands there.
pub(super) struct Bed<'a, D: Device> {
    pub(super) device: &'a mut D,
    task: Task,
    n: usize,
    operands: &'a Operands,
    /// In the order of [`Operand::ALL`].
    buffers: [D::Buffer; 5],
}

/// How an operand lies.
enum Lies {
    /// As activations: channels, and pixels of each.
    Channels(usize, usize),
    /// As rows of weights.
    Rows(RowLayout),
}

impl<'a, D: Device> Bed<'a, D> {
    /// With the device reserved for the op, over `n` images.
    pub(super) fn new(
        device: &'a mut D, task: Task, operands: &'a Operands, n: usize,
    ) -> Result<Self, DeviceError> {
        let classes = if let Task::Softmax { classes, .. } = task { classes } else { 1 };
        let mut demand = Demand { batch: n, classes, ..Demand::default() };
        if !matches!(task, Task::Conv { first: true, .. }) {
            demand.convs.push(NO_PICTURES);
        }
        match task {
            Task::Conv { op, .. } => demand.convs.push(op),
            Task::Linear { op, .. } => demand.linears.push(op),
            Task::Finish { op, .. } => demand.finishes.push(op),
            Task::Bias { rows, area } => demand.finishes.push(Finish::nothing(rows, area)),
            _ => {}
        }
        device.reserve(&demand)?;
        let len = |operand| operands.of(operand).len();
        let y = len(Operand::Y);
        let buffers = [
            device.activations(len(Operand::X))?,
            if task.is_softmax() { device.factors(y)? } else { device.activations(y)? },
            device.factors(len(Operand::W))?,
            device.zeros(len(Operand::V))?,
            device.zeros(len(Operand::B))?,
        ];
        let mut bed = Self { device, task, n, operands, buffers };
        Operand::ALL.into_iter().for_each(|operand| bed.lay(operand));
        bed.device.begin(&operands.pictures, &operands.labels, STEP);
        Ok(bed)
    }

    /// What the op makes is noise again: no way may find the result of another.
    pub(super) fn clear(&mut self) {
        self.task.results().iter().for_each(|operand| self.lay(*operand));
    }

    fn lies(&self, operand: Operand) -> Lies {
        let [x, y] = self.task.shapes();
        match operand {
            Operand::X => Lies::Channels(x.0, x.1),
            Operand::Y => Lies::Channels(y.0, y.1),
            Operand::W | Operand::V => Lies::Rows(self.task.weights().0),
            Operand::B => Lies::Rows(RowLayout { blocks: 1, channels: 1, pixels: 1 }),
        }
    }

    fn lay(&mut self, operand: Operand) {
        let (lies, values) = (self.lies(operand), self.operands.of(operand));
        if values.is_empty() {
            return;
        }
        let Self { device, buffers, .. } = self;
        let buffer = &mut buffers[operand as usize];
        match lies {
            Lies::Channels(channels, area) => {
                device.upload_channels(channels, area, buffer, values);
            }
            Lies::Rows(layout) => device.upload_rows(layout, buffer, values),
        }
    }

    /// Asks for the op once.
    pub(super) fn run(&mut self) {
        let Self { device, task, n, operands, buffers: [x, y, w, v, b] } = self;
        let (n, labels) = (*n, &operands.labels);
        let sgd = Sgd { rate: STEP.rate, momentum: 0.5, decay: 0.01 };
        match task {
            Task::Conv { op, pass, first, end } => {
                let pixels = operands.pictures.pixels();
                let input = if *first { Input::Pictures(pixels) } else { Input::Buffer(&*x) };
                match pass {
                    Pass::Forward => device.conv_forward(op, n, input, w, end.sums(b), y),
                    Pass::BackwardData => device.conv_backward_data(op, n, y, w, x),
                    Pass::BackwardWeight => device.conv_backward_weight(op, n, input, y, v),
                }
            }
            Task::Linear { op, pass, end, .. } => match pass {
                Pass::Forward => device.linear_forward(op, n, x, w, end.sums(b), y),
                Pass::BackwardData => device.linear_backward_data(op, n, y, w, x),
                Pass::BackwardWeight => device.linear_update(op, n, x, y, &sgd, v, w),
            },
            Task::Finish { op, forward: true } => device.finish_forward(op, n, y, Some(x)),
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
    pub(super) fn results(&mut self) -> Vec<Vec<f32>> {
        let results = self.task.results().iter();
        results.map(|operand| self.fetch(*operand)).collect()
    }

    fn fetch(&mut self, operand: Operand) -> Vec<f32> {
        let lies = self.lies(operand);
        let mut values = vec![0.0; self.operands.of(operand).len()];
        let Self { device, buffers, .. } = self;
        let buffer = &mut buffers[operand as usize];
        match lies {
            Lies::Channels(channels, area) => {
                device.download_channels(channels, area, buffer, &mut values);
            }
            Lies::Rows(layout) => device.download_rows(layout, buffer, &mut values),
        }
        values
    }
}

impl End {
    fn sums<B>(self, bias: &B) -> Sums<'_, B> {
        Sums {
            bias: self.bias.then_some(bias),
            accumulate: self.accumulate,
            activation: self.activation,
        }
    }
}
