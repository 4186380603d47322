//! One layer of one device alone, on made-up numbers.

use crate::model::Op;
use anyhow::{Result, ensure};
use gpu::{
    cpu::{Buffer, Cpu},
    device::{Device as _, DeviceError, Input, Sums},
    ops::{
        Dtype,
        conv::{Algorithm, Pass},
        linear::Linear,
        sgd::Sgd,
    },
};
use pipeline::random::Draws;

/// Images of the check.
const CHECKED: usize = 2;
/// How far a pass may lie from plain sums, relative to the largest: the bounds of the ops' own tests.
fn apart_max(op: &Op, pass: Pass) -> f64 {
    match op {
        Op::Conv(op) => match op.algorithm(pass) {
            Algorithm::Im2col => 2e-6,
            Algorithm::Winograd => 4e-5,
            Algorithm::Bf16 => 8e-3,
        },
        Op::Linear(op) => match op.dtype {
            Dtype::F32 => 2e-6,
            Dtype::Bf16 => 4e-3,
        },
    }
}

/// Its operands.
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) op: Op,
    /// Whether there is a gradient of the input: nobody needs that of the pictures.
    pub(super) hidden: bool,
    n: usize,
    x: Buffer,
    y: Buffer,
    w: Buffer,
    b: Buffer,
    dw: Buffer,
}

/// Floats of an image's input and output, of the weights and of the biases.
fn lens(op: &Op) -> [usize; 4] {
    match op {
        Op::Conv(op) => [op.x_len(), op.y_len(), op.w_len(), op.kernels],
        Op::Linear(op) => [op.inputs, op.outputs, op.outputs * op.weight_inputs, op.outputs],
    }
}

impl Layer {
    pub(super) fn new(
        cpu: &Cpu, name: &str, op: Op, hidden: bool, n: usize,
    ) -> Result<Self, DeviceError> {
        let noise = |purpose: u32, len: usize| {
            let mut draws = Draws::new(1, purpose, 0, 0);
            let mut buffer = cpu.zeros(len)?;
            buffer.iter_mut().for_each(|x| *x = 2.0 * draws.unit() as f32 - 1.0);
            Ok(buffer)
        };
        let [x, y, w, b] = lens(&op);
        Ok(Self {
            name: name.into(),
            op,
            hidden,
            n,
            x: noise(1, n * x)?,
            y: noise(2, n * y)?,
            w: noise(3, w)?,
            b: noise(4, b)?,
            dw: noise(5, w)?,
        })
    }

    /// The passes that training needs.
    pub(super) fn passes(&self) -> impl Iterator<Item = Pass> + use<> {
        let hidden = self.hidden;
        Pass::ALL.into_iter().filter(move |pass| hidden || *pass != Pass::BackwardData)
    }

    /// Operations of a pass over the batch by the direct algorithm, padding counted.
    pub(super) fn flop(&self) -> f64 {
        let terms = match &self.op {
            Op::Conv(op) => op.y_len() * op.channels / op.groups * op.window * op.window,
            Op::Linear(op) => op.inputs * op.outputs,
        };
        2.0 * (terms * self.n) as f64
    }

    /// What computes a pass.
    pub(super) fn algorithm(&self, pass: Pass) -> String {
        match &self.op {
            Op::Conv(op) => op.algorithm(pass).name().into(),
            Op::Linear(op) => format!("product of {}", op.dtype.name()),
        }
    }

    /// Computes a pass. A linear layer's gradient of the weights comes with the optimiser's step.
    pub(super) fn run(&mut self, cpu: &mut Cpu, pass: Pass) {
        let Self { op, n, x, y, w, b, dw, .. } = self;
        let n = *n;
        match (&*op, pass) {
            (Op::Conv(op), Pass::Forward) => {
                cpu.conv_forward(op, n, Input::Buffer(x), w, Sums::with(b), y);
            }
            (Op::Conv(op), Pass::BackwardData) => cpu.conv_backward_data(op, n, y, w, x),
            (Op::Conv(op), Pass::BackwardWeight) => {
                cpu.conv_backward_weight(op, n, Input::Buffer(x), y, dw);
            }
            (Op::Linear(op), Pass::Forward) => {
                cpu.linear_forward(op, n, x, w, Sums::with(b), y);
            }
            (Op::Linear(op), Pass::BackwardData) => cpu.linear_backward_data(op, n, y, w, x),
            (Op::Linear(op), Pass::BackwardWeight) => {
                cpu.linear_update(op, n, x, y, &Sgd::GRADIENT, dw, w);
            }
        }
    }

    /// Holds every pass over two images against plain sums.
    ///
    /// # Errors
    /// If they lie apart.
    pub(super) fn check(&self, cpu: &mut Cpu) -> Result<()> {
        for pass in self.passes() {
            let made = |op: Op| Self::new(cpu, &self.name, op, self.hidden, CHECKED);
            let (mut layer, mut plain) = (made(self.op)?, made(self.op)?);
            layer.run(cpu, pass);
            plain.run_plainly(cpu, pass);
            let [found, wanted] = [&layer, &plain].map(|layer| layer.result(pass));
            let largest = wanted.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            let apart = |(a, b): (&f32, &f32)| (a - b).abs();
            let apart = found.iter().zip(wanted.iter()).map(apart).fold(0.0, f32::max);
            let how = self.algorithm(pass);
            ensure!(
                f64::from(apart) <= apart_max(&self.op, pass) * f64::from(largest),
                "{}, {pass:?} by {how}: off by {apart} of {largest}",
                self.name
            );
        }
        Ok(())
    }

    /// What a pass writes.
    fn result(&self, pass: Pass) -> &Buffer {
        match pass {
            Pass::Forward => &self.y,
            Pass::BackwardData => &self.x,
            Pass::BackwardWeight => &self.dw,
        }
    }

    /// Computes a pass by windows laid out as columns, or by sums in double precision.
    fn run_plainly(&mut self, cpu: &mut Cpu, pass: Pass) {
        match &mut self.op {
            Op::Conv(op) => {
                op.by = Some([Algorithm::Im2col; 3]);
                self.run(cpu, pass);
            }
            Op::Linear(op) => {
                let op = *op;
                let sums = self.linear_sums(&op, pass);
                let to = match pass {
                    Pass::Forward => &mut self.y,
                    Pass::BackwardData => &mut self.x,
                    Pass::BackwardWeight => &mut self.dw,
                };
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
            }
        }
    }

    fn linear_sums(&self, op: &Linear, pass: Pass) -> Vec<f64> {
        let Self { n, x, y, w, b, dw, .. } = self;
        let wide = |values: &Buffer| values.iter().map(|x| f64::from(*x)).collect();
        let mut sums: Vec<f64> = match pass {
            Pass::Forward => {
                (0..n * op.outputs).map(|i| f64::from(b[i % op.outputs])).collect()
            }
            Pass::BackwardData => vec![0.0; n * op.inputs],
            // Other sources' columns stay as they are.
            Pass::BackwardWeight => wide(dw),
        };
        for (i, k, c) in places(*n, op) {
            let (at_x, at_y) = (i * op.inputs + c, i * op.outputs + k);
            let at_w = k * op.weight_inputs + op.weight_offset + c;
            let [x, y, w] = [x[at_x], y[at_y], w[at_w]].map(f64::from);
            match pass {
                Pass::Forward => sums[at_y] += x * w,
                Pass::BackwardData => sums[at_x] += y * w,
                Pass::BackwardWeight if i == 0 => sums[at_w] = x * y,
                Pass::BackwardWeight => sums[at_w] += x * y,
            }
        }
        sums
    }
}

/// Every image, output and input.
fn places(n: usize, op: &Linear) -> impl Iterator<Item = (usize, usize, usize)> {
    let (outputs, inputs) = (op.outputs, op.inputs);
    let rows = (0..n).flat_map(move |i| (0..outputs).map(move |k| (i, k)));
    rows.flat_map(move |(i, k)| (0..inputs).map(move |c| (i, k, c)))
}
