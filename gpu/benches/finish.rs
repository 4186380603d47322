//! At what rate activation, LRN, pooling and dropout go through the memory, beside an addition of as many floats:
//! `cargo bench -p gpu --bench finish -- [--towers 1|2] [--threads N] [--batch N] [--rounds N]`.
//!
//! Bytes are those that must move: forward the product in and what is handed on out; backward the
//! gradient in, the product in and its gradient out, which gives the bias's gradient, too. Dropout reads and
//! writes what it masks, once, forward. With two towers, one of them is measured.

use gpu::{
    cpu::{Buffer, Cpu},
    device::{Activation, Device as _},
    ops::{dropout::Dropout, finish::Finish, lrn::Lrn, pool::MaxPool},
    random::philox,
};
use std::time::Instant;

/// The layers as one of `towers` devices sees them.
fn layers(towers: usize) -> [(&'static str, Finish); 5] {
    let groups = 2 / towers;
    let finish = |channels: usize, side: usize, lrn: bool, pool: bool| {
        let (channels, area) = (channels * groups, side * side);
        Finish {
            channels,
            area,
            activation: Activation::Relu,
            lrn: lrn.then_some(Lrn {
                channels,
                groups,
                area,
                size: 5,
                alpha: 2e-5,
                beta: 0.75,
                k: 2.0,
            }),
            pool: pool.then_some(MaxPool {
                channels,
                height: side,
                width: side,
                window: 3,
                stride: 2,
            }),
        }
    };
    [
        ("conv1", finish(48, 55, true, true)),
        ("conv2", finish(128, 27, true, true)),
        ("conv3", finish(192, 13, false, false)),
        ("conv5", finish(128, 13, false, true)),
        ("fc6", finish(2048, 1, false, false)),
    ]
}

fn noise(cpu: &mut Cpu, seed: u32, len: usize) -> Buffer {
    let word = |i: usize| philox([seed, 2012], [(i / 4) as u32, 0, 0, 0])[i % 4];
    let values: Vec<f32> =
        (0..len).map(|i| (f64::from(word(i)) / 2_147_483_648.0 - 1.0) as f32).collect();
    let mut buffer = cpu.zeros(len).expect("memory");
    cpu.upload(&mut buffer, &values);
    buffer
}

/// One window by hand: the largest of nine, through ReLU and a window of LRN that is all zeros but it.
fn check(cpu: &mut Cpu) {
    let (_, op) = layers(2)[0];
    let mut y = cpu.zeros(op.y_len()).expect("memory");
    y[7 * op.area + 57] = 3.0; // row 1, column 2 of channel 7
    let mut out = cpu.zeros(op.out_len()).expect("memory");
    cpu.finish_forward(&op, 1, &mut y, Some(&mut out));
    let wanted = 3.0 / (2.0_f32 + 2e-5 * 9.0).powf(0.75);
    let found = out[7 * op.out_len() / op.channels + 1];
    assert!((found - wanted).abs() < 1e-6, "{found}, not {wanted}");
}

/// The shortest of `rounds` runs of `body`, in seconds.
fn best(rounds: usize, mut body: impl FnMut()) -> f64 {
    let mut time = || {
        let start = Instant::now();
        body();
        start.elapsed().as_secs_f64()
    };
    (0..rounds).map(|_| time()).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (towers, threads) = (option("--towers", 2).clamp(1, 2), option("--threads", 1));
    let (n, rounds) = (option("--batch", 128), option("--rounds", 10));
    let mut cpu = Cpu::new("bench", threads).expect("threads");
    check(&mut cpu);
    println!("1 of {towers} towers, {threads} threads, batch {n}");
    println!("| after | forward ms | GB/s | backward ms | GB/s | sum ms | GB/s |");
    println!("|---|---|---|---|---|---|---|");
    for (name, op) in layers(towers) {
        let mut y = noise(&mut cpu, 1, n * op.y_len());
        let d = noise(&mut cpu, 2, n * op.out_len());
        let mut out = noise(&mut cpu, 3, n * op.out_len());
        let mut db = noise(&mut cpu, 4, op.channels);
        let mut other = noise(&mut cpu, 5, n * op.y_len());
        let times = [
            best(rounds, || {
                let out = (!op.in_place()).then_some(&mut out);
                cpu.finish_forward(&op, n, &mut y, out);
            }),
            best(rounds, || cpu.finish_backward(&op, n, &d, &mut y, &mut db)),
            best(rounds, || cpu.add(n * op.y_len(), &y, &mut other)),
        ];
        let floats = [op.y_len() + op.out_len(), 2 * op.y_len() + op.out_len(), 3 * op.y_len()];
        let cells = times.into_iter().zip(floats).map(|(seconds, floats)| {
            let gigabytes = (4 * n * floats) as f64 / 1e9;
            format!(" {:.2} | {:.1} |", 1e3 * seconds, gigabytes / seconds)
        });
        println!("| {name} |{}", cells.collect::<String>());
    }
    let units = 4096 / towers;
    let op = Dropout { rate: 0.5, units, first_unit: 0, seed: 2012, layer: 5, step: 7 };
    let (mut y, mut other) = (noise(&mut cpu, 1, n * units), noise(&mut cpu, 2, n * units));
    let masked = best(rounds, || cpu.dropout(&op, n, &mut y));
    let sum = best(rounds, || cpu.add(n * units, &y, &mut other));
    let rate = |floats: usize, seconds: f64| (4 * floats * n * units) as f64 / 1e9 / seconds;
    println!(
        "| dropout of fc6 | {:.2} | {:.1} | | | {:.2} | {:.1} |",
        1e3 * masked,
        rate(2, masked),
        1e3 * sum,
        rate(3, sum)
    );
}
