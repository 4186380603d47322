//! One layer of one device alone, on made-up numbers.

use crate::model::Op;
use anyhow::{Result, ensure};
use gpu::{
    cpu::{Buffer, Cpu},
    device::{Device as _, DeviceError, Input, Sums},
    ops::{
        Dtype,
        conv::{Algorithm, Pass},
        sgd::Sgd,
    },
};
use pipeline::random::Draws;

/// Images of the check.
const CHECKED: usize = 2;
/// How far two algorithms may lie apart, relative to the largest: bf16 rounds by 2^-9.
const APART_MAX: f32 = 0.02;

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
        cpu: &mut Cpu, name: &str, op: Op, hidden: bool, n: usize,
    ) -> Result<Self, DeviceError> {
        let mut noise = |purpose: u32, len: usize| {
            let mut draws = Draws::new(1, purpose, 0, 0);
            let floats: Vec<f32> = (0..len).map(|_| 2.0 * draws.unit() as f32 - 1.0).collect();
            let mut buffer = cpu.zeros(len)?;
            cpu.upload(&mut buffer, &floats);
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

    /// Holds every pass over two images against the plainest algorithm.
    ///
    /// # Errors
    /// If they lie apart.
    pub(super) fn check(&self, cpu: &mut Cpu) -> Result<()> {
        let mut plain = self.op;
        match &mut plain {
            Op::Conv(op) => op.by = Some([Algorithm::Im2col; 3]),
            Op::Linear(op) => op.dtype = Dtype::F32,
        }
        for pass in self.passes() {
            let mut found = [&self.op, &plain].map(|op| {
                let mut layer = Self::new(cpu, &self.name, *op, self.hidden, CHECKED)?;
                layer.run(cpu, pass);
                Ok::<_, DeviceError>(match pass {
                    Pass::Forward => layer.y,
                    Pass::BackwardData => layer.x,
                    Pass::BackwardWeight => layer.dw,
                })
            });
            let [found, wanted] = found.each_mut().map(|found| found.as_ref());
            let (found, wanted) = (found.expect("memory"), wanted.expect("memory"));
            let largest = wanted.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            let apart = |(a, b): (&f32, &f32)| (a - b).abs();
            let apart = found.iter().zip(wanted.iter()).map(apart).fold(0.0, f32::max);
            let how = self.algorithm(pass);
            ensure!(
                apart <= APART_MAX * largest,
                "{}, {pass:?} by {how}: off by {apart} of {largest}",
                self.name
            );
        }
        Ok(())
    }
}
