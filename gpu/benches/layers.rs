//! What share of the peak each layer of the 2012 network reaches, by pass:
//! `cargo bench -p gpu --bench layers -- [--towers 1|2] [--threads N] [--batch N] [--rounds N] [LAYER..]`.
//!
//! The weight pass of linear layers includes the optimiser's step, which reads and writes the weights.
//!
//! The peak is measured in the same run, between the layers, and counts as the direct algorithm does:
//! an algorithm with fewer multiplications can exceed it. With two towers, one of them is measured.

use gpu::{
    cpu::{Buffer, Cpu, Level, peak},
    device::{Device as _, Input},
    ops::{conv::Conv, linear::Linear, sgd::Sgd},
    random::philox,
};
use std::time::Instant;

/// Sums checked per layer and pass.
const SAMPLES: usize = 60;

#[derive(Clone, Copy)]
enum Op {
    Conv(Conv),
    Linear(Linear),
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Forward,
    BackwardData,
    BackwardWeight,
}

const PASSES: [Pass; 3] = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];

struct Layer {
    name: &'static str,
    op: Op,
    n: usize,
    x: Buffer,
    y: Buffer,
    w: Buffer,
    b: Buffer,
    dw: Buffer,
    /// The best time of each pass, in seconds.
    best: [f64; 3],
}

fn conv(channels: usize, side: usize, kernels: usize, window: usize) -> Conv {
    Conv {
        channels,
        height: side,
        width: side,
        kernels,
        window,
        stride: 1,
        pad_before: window / 2,
        pad_after: window / 2,
        groups: 1,
        weight_channels: channels,
        weight_offset: 0,
    }
}

/// The layers as one of `towers` devices sees them; of several alike sources, the first.
fn layers(towers: usize) -> Vec<(&'static str, Op)> {
    let groups = 2 / towers;
    let first =
        Conv { stride: 4, pad_before: 0, pad_after: 3, ..conv(3, 224, 48 * groups, 11) };
    let grouped = |conv: Conv| Conv {
        channels: conv.channels * groups,
        kernels: conv.kernels * groups,
        groups,
        ..conv
    };
    let linear = |inputs: usize, outputs: usize| {
        Op::Linear(Linear {
            inputs: inputs / towers,
            outputs,
            weight_inputs: inputs,
            weight_offset: 0,
        })
    };
    vec![
        ("conv1", Op::Conv(first)),
        ("conv2", Op::Conv(grouped(conv(48, 27, 128, 5)))),
        (
            "conv3",
            Op::Conv(Conv { weight_channels: 256, ..conv(256 / towers, 13, 192 * groups, 3) }),
        ),
        ("conv4", Op::Conv(grouped(conv(192, 13, 192, 3)))),
        ("conv5", Op::Conv(grouped(conv(192, 13, 128, 3)))),
        ("fc6", linear(9216, 4096 / towers)),
        ("fc7", linear(4096, 4096 / towers)),
        ("fc8", linear(4096, 1000)),
    ]
}

impl Op {
    /// Floats of an input, of an output and of the weights.
    fn lens(&self) -> [usize; 3] {
        match self {
            Self::Conv(op) => [op.x_len(), op.y_len(), op.w_len()],
            Self::Linear(op) => [op.inputs, op.outputs, op.outputs * op.weight_inputs],
        }
    }

    fn kernels(&self) -> usize {
        match self {
            Self::Conv(op) => op.kernels,
            Self::Linear(op) => op.outputs,
        }
    }

    /// Multiplications and additions per image of the direct algorithm, padding counted.
    fn flops(&self) -> f64 {
        let terms = match self {
            Self::Conv(op) => op.y_len() * op.channels / op.groups * op.window * op.window,
            Self::Linear(op) => op.inputs * op.outputs,
        };
        2.0 * terms as f64
    }

    /// Calls `term(x, w, y)` for all products of image `n`'s `place`-th place, by index.
    fn terms(&self, n: usize, mut term: impl FnMut(usize, usize, usize)) {
        let [x_len, y_len, _] = self.lens();
        match self {
            Self::Linear(op) => {
                for (k, c) in (0..op.outputs).flat_map(|k| (0..op.inputs).map(move |c| (k, c)))
                {
                    term(
                        n * x_len + c,
                        k * op.weight_inputs + op.weight_offset + c,
                        n * y_len + k,
                    );
                }
            }
            Self::Conv(op) => {
                let (channels, area) =
                    (op.channels / op.groups, op.out_height() * op.out_width());
                let square = op.window * op.window;
                for y in 0..y_len {
                    let (k, i, j) = (y / area, y % area / op.out_width(), y % op.out_width());
                    for tap in 0..channels * square {
                        let (c, u, v) =
                            (tap / square, tap / op.window % op.window, tap % op.window);
                        let row = (op.stride * i + u).wrapping_sub(op.pad_before);
                        let col = (op.stride * j + v).wrapping_sub(op.pad_before);
                        if row < op.height && col < op.width {
                            let plane = k / (op.kernels / op.groups) * channels + c;
                            let x = (plane * op.height + row) * op.width + col;
                            let w = k * op.weight_channels * square
                                + op.weight_offset * square
                                + tap;
                            term(n * x_len + x, w, n * y_len + y);
                        }
                    }
                }
            }
        }
    }
}

fn noise(seed: u32, len: usize) -> Vec<f32> {
    let word = |i: usize| philox([seed, 2012], [(i / 4) as u32, 0, 0, 0])[i % 4];
    (0..len).map(|i| (f64::from(word(i)) / 2_147_483_648.0 - 1.0) as f32).collect()
}

fn buffer(cpu: &mut Cpu, values: &[f32]) -> Buffer {
    let mut buffer = cpu.zeros(values.len()).expect("memory");
    cpu.upload(&mut buffer, values);
    buffer
}

impl Layer {
    fn new(cpu: &mut Cpu, name: &'static str, op: Op, n: usize) -> Self {
        let [x_len, y_len, w_len] = op.lens();
        let mut noise = |seed, len| buffer(cpu, &noise(seed, len));
        let (x, y, w) = (noise(1, n * x_len), noise(2, n * y_len), noise(3, w_len));
        let (b, dw) = (noise(4, op.kernels()), noise(5, w_len));
        Self { name, op, n, x, y, w, b, dw, best: [f64::INFINITY; 3] }
    }

    fn run(&mut self, cpu: &mut Cpu, pass: Pass) {
        let Self { n, x, y, w, b, dw, .. } = self;
        match (self.op, pass) {
            (Op::Conv(op), Pass::Forward) => {
                cpu.conv_forward(&op, *n, Input::Buffer(x), w, Some(b), false, y);
            }
            (Op::Conv(op), Pass::BackwardData) => cpu.conv_backward_data(&op, *n, y, w, x),
            (Op::Conv(op), Pass::BackwardWeight) => {
                cpu.conv_backward_weight(&op, *n, Input::Buffer(x), y, dw);
            }
            (Op::Linear(op), Pass::Forward) => {
                cpu.linear_forward(&op, *n, x, w, Some(b), false, y);
            }
            (Op::Linear(op), Pass::BackwardData) => cpu.linear_backward_data(&op, *n, y, w, x),
            (Op::Linear(op), Pass::BackwardWeight) => {
                cpu.linear_update(&op, *n, x, y, &Sgd::GRADIENT, dw, w);
            }
        }
    }

    /// Nobody needs the gradient of the pictures.
    fn has(&self, pass: Pass) -> bool {
        self.name != "conv1" || pass != Pass::BackwardData
    }

    /// Holds some sums of every pass over two images against the formula in double precision.
    fn check(&self, cpu: &mut Cpu) {
        let mut small = Self::new(cpu, self.name, self.op, 2);
        let (op, lens) = (small.op, small.op.lens());
        let (x, y, w) = (small.x.to_vec(), small.y.to_vec(), small.w.to_vec());
        for (pass, len) in PASSES.into_iter().zip([2 * lens[1], 2 * lens[0], lens[2]]) {
            if !self.has(pass) {
                continue;
            }
            let mut sums = vec![0.0_f64; len];
            for n in 0..2 {
                op.terms(n, |ix, iw, iy| match pass {
                    Pass::Forward => sums[iy] += f64::from(x[ix]) * f64::from(w[iw]),
                    Pass::BackwardData => sums[ix] += f64::from(y[iy]) * f64::from(w[iw]),
                    Pass::BackwardWeight => sums[iw] += f64::from(x[ix]) * f64::from(y[iy]),
                });
            }
            small.run(cpu, pass);
            let found = match pass {
                Pass::Forward => std::mem::replace(&mut small.y, buffer(cpu, &y)),
                Pass::BackwardData => std::mem::replace(&mut small.x, buffer(cpu, &x)),
                Pass::BackwardWeight => std::mem::replace(&mut small.dw, buffer(cpu, &w)),
            };
            let scale = sums.iter().fold(0.0_f64, |max, sum| max.max(sum.abs()));
            for i in (0..len).step_by(len.div_ceil(SAMPLES) | 1).filter(|i| sums[*i] != 0.0) {
                let bias = if pass == Pass::Forward {
                    f64::from(small.b[i / (lens[1] / op.kernels()) % op.kernels()])
                } else {
                    0.0
                };
                let error = (f64::from(found[i]) - sums[i] - bias).abs() / scale;
                assert!(
                    error < 1e-5,
                    "{} at {i}: {}, not {}",
                    self.name,
                    found[i],
                    sums[i] + bias
                );
            }
        }
    }
}

fn main() {
    let mut args: Vec<String> =
        std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let mut option = |name: &str, default: usize| {
        let at = args.iter().position(|arg| arg == name)?;
        let value = args.get(at + 1).and_then(|value| value.parse().ok());
        args.drain(at..(at + 2).min(args.len()));
        Some(value.unwrap_or(default))
    };
    let towers = option("--towers", 2).unwrap_or(2).clamp(1, 2);
    let threads = option("--threads", 1).unwrap_or(1);
    let batch = option("--batch", 128).unwrap_or(128);
    let rounds = option("--rounds", 5).unwrap_or(5);
    let skip_check = option("--unchecked", 1).is_some();
    let level = option("--level", 9).map_or(Level::widest(), |i| Level::all()[i]);
    let mut cpu = Cpu::with_level("bench", threads, level).expect("threads");
    let wanted = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    let mut layers: Vec<Layer> = layers(towers)
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, op)| Layer::new(&mut cpu, name, op, batch))
        .collect();
    if !skip_check {
        layers.iter().for_each(|layer| layer.check(&mut cpu));
    }
    let mut peak: f64 = 0.0;
    for _ in 0..rounds {
        for layer in &mut layers {
            for (i, pass) in PASSES.into_iter().enumerate() {
                if !layer.has(pass) {
                    continue;
                }
                peak = peak.max(1e9 * peak::gflops_once(level, threads));
                let start = Instant::now();
                layer.run(&mut cpu, pass);
                layer.best[i] = layer.best[i].min(start.elapsed().as_secs_f64());
            }
        }
    }
    report(
        &layers,
        peak,
        &format!("{level:?}, 1 of {towers} towers, {threads} threads, batch {batch}"),
    );
}

#[expect(clippy::print_stdout, reason = "the result")]
fn report(layers: &[Layer], peak: f64, what: &str) {
    println!("{what}: peak {:.1} GFLOP/s", peak / 1e9);
    println!("| layer | forward ms | share of peak | data ms | share | weight ms | share |");
    println!("|---|---|---|---|---|---|---|");
    for layer in layers {
        let flops = layer.op.flops() * layer.n as f64;
        let cell = |seconds: f64| {
            if seconds.is_finite() {
                format!("{:.1} | {:.0} %", 1e3 * seconds, 100.0 * flops / seconds / peak)
            } else {
                " | ".into()
            }
        };
        let [forward, data, weight] = layer.best.map(cell);
        println!("| {} | {forward} | {data} | {weight} |", layer.name);
    }
}
