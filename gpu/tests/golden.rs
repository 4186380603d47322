//! Every op on the CPU device against PyTorch: the values of `tests/golden/ops.txt`, which `make.py`
//! beside it made from the same inputs in double precision.
//!
//! All of the file is read, or the test fails: the two cannot drift apart.

use gpu::{
    cpu::{Buffer, Cpu, Level},
    device::{Activation, Device as _, Input, Sums},
    ops::{
        Dtype, conv::Conv, dropout::Dropout, finish::Finish, linear::Linear, lrn::Lrn,
        pool::MaxPool, sgd::Sgd,
    },
    random::philox,
};
use std::collections::{BTreeMap, BTreeSet};

const FILE: &str = include_str!("../../tests/golden/ops.txt");
/// Second word of every key in make.py.
const YEAR: u32 = 2012;

/// Of sums of up to 72 products of numbers around 1, relative to the largest sum: roundings of 6e-8
/// of their terms.
const SUMS: f64 = 1e-6;
/// Of values that a few operations make, relative to the largest: some roundings of 6e-8 each.
const VALUES: f64 = 4e-7;
/// Of values that are passed on or left out: their eight printed digits.
const COPIES: f64 = 5e-8;

/// The entries of the file, and what was found wrong with them.
struct Golden<'a> {
    entries: BTreeMap<&'a str, (Vec<usize>, Vec<f64>)>,
    unread: BTreeSet<&'a str>,
    problems: Vec<String>,
}

impl<'a> Golden<'a> {
    fn new(file: &'a str) -> Self {
        let mut entries = BTreeMap::new();
        for line in file.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let name = words.next().expect("a name");
            let shape = words.next().expect("a shape").split(',');
            let shape: Vec<usize> = shape.map(|side| side.parse().expect("a side")).collect();
            let values: Vec<f64> = words.map(|word| word.parse().expect("a value")).collect();
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
            assert!(entries.insert(name, (shape, values)).is_none(), "{name} comes twice");
        }
        Self { unread: entries.keys().copied().collect(), entries, problems: vec![] }
    }

    /// Notes where `found` is further than `tolerance` of the largest magnitude from entry `name`.
    fn hold(&mut self, name: &str, shape: &[usize], found: &[f32], tolerance: f64) {
        self.unread.remove(name);
        let Some((wanted_shape, wanted)) = self.entries.get(name) else {
            return self.problems.push(format!("{name} is not in the file"));
        };
        if wanted_shape != shape || wanted.len() != found.len() {
            return self
                .problems
                .push(format!("{name} is {shape:?}, in the file {wanted_shape:?}"));
        }
        let largest = wanted.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
        let far = |(found, wanted): (&f32, &f64)| {
            let near = (f64::from(*found) - wanted).abs() <= tolerance * largest; // false for NaN
            !near
        };
        if let Some(at) = found.iter().zip(wanted).position(far) {
            let (found, wanted) = (found[at], wanted[at]);
            self.problems.push(format!("{name} at {at} is {found}, in the file {wanted}"));
        }
    }

    /// Everything that is wrong, unread entries too.
    fn problems(self) -> Vec<String> {
        let unread = self.unread.iter().map(|name| format!("no test reads {name}"));
        self.problems.into_iter().chain(unread).collect()
    }
}

/// `scale (2 u - 1)`, `u` = word / 2^32, of stream `key`, as make.py draws them.
fn uniform(key: u32, scale: f64, len: usize) -> Vec<f32> {
    let word = |i: usize| philox([key, YEAR], [(i / 4) as u32, 0, 0, 0])[i % 4];
    let value = |i| (scale * (2.0 * (f64::from(word(i)) / 4_294_967_296.0) - 1.0)) as f32;
    (0..len).map(value).collect()
}

fn buffer(cpu: &mut Cpu, values: &[f32]) -> Buffer {
    let mut buffer = cpu.zeros(values.len()).expect("memory");
    cpu.upload(&mut buffer, values);
    buffer
}

/// What an op must overwrite.
fn dirty(cpu: &mut Cpu, len: usize) -> Buffer {
    buffer(cpu, &vec![9.0; len])
}

/// One or two sources, of keys 1 and 5, each with its own share of the weights.
fn conv(cpu: &mut Cpu, golden: &mut Golden, name: &str, n: usize, sources: &[Conv]) {
    let all = sources[0];
    let (k, area) = (all.kernels, all.out_height() * all.out_width());
    let w = buffer(cpu, &uniform(2, 1.0, all.w_len()));
    let b = buffer(cpu, &uniform(3, 1.0, k));
    let dy = buffer(cpu, &uniform(4, 1.0, n * all.y_len()));
    let [mut y, mut dw, mut db] = [n * all.y_len(), all.w_len(), k].map(|len| dirty(cpu, len));
    for (i, op) in sources.iter().enumerate() {
        let x = buffer(cpu, &uniform([1, 5][i], 1.0, n * op.x_len()));
        let to = if i == 0 { Sums::with(&b) } else { Sums::more() };
        cpu.conv_forward(op, n, Input::Buffer(&x), &w, to, &mut y);
        cpu.conv_backward_weight(op, n, Input::Buffer(&x), &dy, &mut dw);
        let mut dx = dirty(cpu, n * op.x_len());
        cpu.conv_backward_data(op, n, &dy, &w, &mut dx);
        let what = if sources.len() == 1 { "dx".into() } else { format!("dx{i}") };
        let shape = [n, op.channels, op.height, op.width];
        golden.hold(&format!("{name}.{what}"), &shape, &dx, SUMS);
    }
    let shape = [n, k, all.out_height(), all.out_width()];
    golden.hold(&format!("{name}.y"), &shape, &y, SUMS);
    let shape = [k, all.weight_channels, all.window, all.window];
    golden.hold(&format!("{name}.dw"), &shape, &dw, SUMS);
    if sources.len() == 1 {
        cpu.bias_backward(n, k, area, &dy, &mut db);
        golden.hold(&format!("{name}.db"), &[k], &db, SUMS);
    }
}

fn convolutions(cpu: &mut Cpu, golden: &mut Golden) {
    let hang = Conv {
        channels: 2,
        height: 9,
        width: 9,
        kernels: 3,
        window: 5,
        stride: 4,
        pad_before: 0,
        pad_after: 3,
        groups: 1,
        weight_channels: 2,
        weight_offset: 0,
        by: None,
    };
    conv(cpu, golden, "conv_hang", 2, &[hang]);
    let sides = |height, width, window, stride, (pad_before, pad_after)| Conv {
        height,
        width,
        window,
        stride,
        pad_before,
        pad_after,
        ..hang
    };
    let groups = Conv { channels: 4, kernels: 6, groups: 2, ..sides(6, 4, 3, 1, (1, 1)) };
    conv(cpu, golden, "conv_groups", 2, &[groups]);
    conv(cpu, golden, "conv_pads", 1, &[Conv { kernels: 2, ..sides(5, 7, 5, 2, (2, 1)) }]);
    let left = Conv { weight_channels: 5, ..sides(4, 4, 3, 1, (1, 1)) };
    let right = Conv { channels: 3, weight_offset: 2, ..left };
    conv(cpu, golden, "conv_sources", 2, &[left, right]);
}

fn linear(cpu: &mut Cpu, golden: &mut Golden) {
    let (n, k, inputs) = (3, 5, 4 + 3);
    let source = |inputs, weight_offset| Linear {
        inputs,
        outputs: k,
        weight_inputs: 4 + 3,
        weight_offset,
        dtype: Dtype::F32,
    };
    let w = buffer(cpu, &uniform(2, 1.0, k * inputs));
    let b = buffer(cpu, &uniform(3, 1.0, k));
    let dy = buffer(cpu, &uniform(4, 1.0, n * k));
    let [mut y, mut dw, mut db] = [n * k, k * inputs, k].map(|len| dirty(cpu, len));
    for (i, op) in [source(4, 0), source(3, 4)].iter().enumerate() {
        let x = buffer(cpu, &uniform([1, 5][i], 1.0, n * op.inputs));
        let to = if i == 0 { Sums::with(&b) } else { Sums::more() };
        cpu.linear_forward(op, n, &x, &w, to, &mut y);
        let mut updated = dirty(cpu, k * inputs);
        cpu.linear_update(op, n, &x, &dy, &Sgd::GRADIENT, &mut dw, &mut updated);
        let mut dx = dirty(cpu, n * op.inputs);
        cpu.linear_backward_data(op, n, &dy, &w, &mut dx);
        golden.hold(&format!("linear.dx{i}"), &[n, op.inputs], &dx, SUMS);
    }
    cpu.bias_backward(n, k, 1, &dy, &mut db);
    golden.hold("linear.y", &[n, k], &y, SUMS);
    golden.hold("linear.dw", &[k, inputs], &dw, SUMS);
    golden.hold("linear.db", &[k], &db, SUMS);
}

fn activations(cpu: &mut Cpu, golden: &mut Golden) {
    let len = 24;
    for (name, activation, tolerance) in
        [("relu", Activation::Relu, COPIES), ("tanh", Activation::Tanh, VALUES)]
    {
        let op = Finish { activation, ..Finish::nothing(len, 1) };
        let mut y = buffer(cpu, &uniform(1, 3.0, len));
        cpu.finish_forward(&op, 1, &mut y, None);
        golden.hold(&format!("{name}.y"), &[len], &y, tolerance);
        let (d, mut db) = (buffer(cpu, &uniform(4, 1.0, len)), dirty(cpu, len));
        cpu.finish_backward(&op, 1, &d, &mut y, &mut db);
        golden.hold(&format!("{name}.dx"), &[len], &y, tolerance);
    }
}

fn lrn(cpu: &mut Cpu, golden: &mut Golden) {
    let (n, channels, area) = (2, 14, 2 * 3);
    let op = Lrn { channels, groups: 2, area, size: 5, alpha: 1e-4, beta: 0.75, k: 2.0 };
    let (len, shape) = (n * channels * area, [n, channels, 2, 3]);
    let finish = Finish { lrn: Some(op), ..Finish::nothing(channels, area) };
    let (mut x, d) = (buffer(cpu, &uniform(1, 120.0, len)), buffer(cpu, &uniform(4, 1.0, len)));
    let [mut y, mut db] = [len, channels].map(|len| dirty(cpu, len));
    cpu.finish_forward(&finish, n, &mut x, Some(&mut y));
    golden.hold("lrn.y", &shape, &y, VALUES);
    cpu.finish_backward(&finish, n, &d, &mut x, &mut db);
    golden.hold("lrn.dx", &shape, &x, VALUES);
}

fn pool(cpu: &mut Cpu, golden: &mut Golden) {
    let (n, channels, height, width) = (2, 2, 7, 5);
    let op = MaxPool { channels, height, width, window: 3, stride: 2 };
    let len = n * channels * height * width;
    // Of whole numbers several in a window are the largest.
    let ties: Vec<f32> = uniform(1, 1.5, len).iter().map(|x| (x + 1.5).floor()).collect();
    for (name, x) in [("pool", uniform(1, 1.0, len)), ("pool_ties", ties)] {
        let shape = [n, channels, op.out_height(), op.out_width()];
        let y_len = shape.iter().product();
        let finish = Finish { pool: Some(op), ..Finish::nothing(channels, height * width) };
        let (mut x, d) = (buffer(cpu, &x), buffer(cpu, &uniform(4, 1.0, y_len)));
        let (mut y, mut db) = (dirty(cpu, y_len), dirty(cpu, channels));
        cpu.finish_forward(&finish, n, &mut x, Some(&mut y));
        golden.hold(&format!("{name}.y"), &shape, &y, COPIES);
        cpu.finish_backward(&finish, n, &d, &mut x, &mut db);
        // Where windows overlap, up to four gradients add up.
        golden.hold(&format!("{name}.dx"), &[n, channels, height, width], &x, VALUES);
    }
}

/// Units 6..15 of a layer, with a seed and a step beyond 32 bits; masked, but not scaled.
fn dropout(cpu: &mut Cpu, golden: &mut Golden) {
    let (n, units) = (3, 9);
    let (seed, step) = ((1 << 32) + 2012, (1 << 32) + 7);
    let op = Dropout { rate: 0.5, units, first_unit: 6, seed, layer: 5, step };
    let mut y = buffer(cpu, &uniform(1, 1.0, n * units));
    cpu.dropout(&op, n, &mut y);
    golden.hold("dropout.train", &[n, units], &y, COPIES);
    let mut y = buffer(cpu, &uniform(1, 1.0, n * units));
    cpu.scale(1.0 - op.rate, n * units, &mut y);
    golden.hold("dropout.test", &[n, units], &y, COPIES);
}

fn softmax(cpu: &mut Cpu, golden: &mut Golden) {
    let (n, classes, labels) = (4, 7, [3, 0, 6, 2]);
    let shift = [0.0, 1000.0, -1000.0, 0.0];
    let logits = uniform(1, 3.0, n * classes).into_iter().enumerate();
    let logits: Vec<f32> =
        logits.map(|(i, x)| (f64::from(x) + shift[i / classes]) as f32).collect();
    let mut p = buffer(cpu, &logits);
    cpu.softmax(n, classes, &labels, &mut p);
    let score = cpu.score();
    golden.hold("softmax.p", &[n, classes], &p, VALUES);
    golden.hold("softmax.loss_sum", &[1], &[score.loss_sum as f32], VALUES);
    let hits = [score.top1 as f32, score.top5 as f32];
    golden.hold("softmax.top1_top5", &[2], &hits, 0.0);
    cpu.softmax_backward(n, classes, &labels, &mut p);
    golden.hold("softmax.dx", &[n, classes], &p, VALUES);
}

/// The rate falls before the third step: it is inside the velocity.
fn sgd(cpu: &mut Cpu, golden: &mut Golden) {
    let len = 9;
    let mut w = buffer(cpu, &uniform(2, 1.0, len));
    let mut v = buffer(cpu, &vec![0.0; len]);
    for (key, rate) in [(10, 0.01), (11, 0.01), (12, 0.001)] {
        let g = buffer(cpu, &uniform(key, 1.0, len));
        cpu.sgd(&Sgd { rate, momentum: 0.9, decay: 0.0005 }, len, &g, &mut v, &mut w);
    }
    golden.hold("sgd.w", &[len], &w, VALUES);
    golden.hold("sgd.v", &[len], &v, VALUES);
}

/// What is wrong with `file` on a CPU device.
fn problems(file: &str, threads: usize, level: Level) -> Vec<String> {
    let cpu = &mut Cpu::with_level("test", threads, level).expect("threads");
    let mut golden = Golden::new(file);
    for op in [convolutions, linear, activations, lrn, pool, dropout, softmax, sgd] {
        op(cpu, &mut golden);
    }
    golden.problems()
}

#[test]
fn every_op_agrees_with_pytorch_and_every_entry_is_read() {
    for level in Level::all() {
        for threads in [1, 3] {
            let problems = problems(FILE, threads, level);
            assert!(problems.is_empty(), "{level:?}, {threads} threads: {problems:#?}");
        }
    }
}

#[test]
fn a_changed_a_missing_and_an_unread_entry_are_told() {
    let file = FILE
        .replace("relu.y 24 2.5209417", "relu.y 24 2.5209427")
        .replace("linear.db 5", "linear.gone 5");
    assert_ne!(file, FILE);
    let problems = problems(&file, 1, Level::widest());
    let told = |text: &str| problems.iter().any(|problem| problem.contains(text));
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(told("relu.y at 0 is 2.52094"), "{problems:?}");
    assert!(told("linear.db is not in the file"), "{problems:?}");
    assert!(told("no test reads linear.gone"), "{problems:?}");
}
