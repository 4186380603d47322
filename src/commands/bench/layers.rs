//! `alexnet bench layers`: each pass of each layer alone, beside the bound that the CPU's multiply-adds
//! set.

use super::{CLASSES, layer::Layer};
use crate::{
    cli::BenchLayersArgs,
    commands::{recipe, say},
    devices::{Kind, check_towers},
    model::{Net, Part},
    render::{Done, Hint, counted},
};
use anyhow::Result;
use gpu::{
    cpu::{Cpu, Level, peak},
    ops::{Dtype, conv::Pass},
};
use serde::Serialize;
use std::time::Instant;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    preset: String,
    dtype: &'static str,
    batch: usize,
    towers: usize,
    threads: usize,
    rounds: usize,
    /// Multiply-adds of `dtype` in registers, two operations each, all threads together; best of the run.
    peak_gflops: f64,
    passes: Vec<Measured>,
}

/// One pass of one layer.
#[derive(Debug, Serialize)]
struct Measured {
    layer: String,
    pass: &'static str,
    algorithm: String,
    /// Of the best round.
    ms: f64,
    /// As if by direct convolution, padding counted.
    gflops: f64,
    share_of_peak: f64,
}

/// Measures one device's part of the net.
///
/// # Errors
/// If the recipe cannot be used, there is no such layer, or a pass is computed wrongly.
pub(super) fn run(args: &BenchLayersArgs) -> Result<Done> {
    let config = recipe(&args.recipe.recipe(), "two-tower-2012")?;
    let towers = args.towers.unwrap_or(config.towers);
    check_towers(towers, config.towers)?;
    Kind::Cpu.trains_in(config.train.dtype)?;
    let net = Net::new(&config, CLASSES);
    let threads = usize::from(args.threads);
    let mut cpu = Cpu::new("bench", threads)?;
    let mut layers = layers(&mut cpu, &net, towers, config.train.batch, &args.layers)?;
    for layer in &layers {
        layer.check(&mut cpu)?;
    }
    let dtype: Dtype = config.train.dtype.into();
    let (peak_gflops, best) = measure(&mut cpu, &mut layers, usize::from(args.rounds), || {
        peak::gflops_once(Level::widest(), threads, dtype)
    });
    let passes = layers.iter().zip(best).flat_map(|(layer, best)| {
        let measured = move |pass: Pass| {
            let seconds = best[pass as usize];
            let gflops = layer.flop() / seconds / 1e9;
            Measured {
                layer: layer.name.clone(),
                pass: name(pass),
                algorithm: layer.algorithm(pass),
                ms: 1e3 * seconds,
                gflops,
                share_of_peak: gflops / peak_gflops,
            }
        };
        layer.passes().map(measured)
    });
    let report = Report {
        preset: config.name.clone(),
        dtype: dtype.name(),
        batch: config.train.batch,
        towers,
        threads,
        rounds: args.rounds.into(),
        peak_gflops,
        passes: passes.collect(),
    };
    say(&if args.json { serde_json::to_string(&report)? } else { table(&report) })?;
    Ok(Done::All)
}

fn name(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::BackwardData => "backward data",
        Pass::BackwardWeight => "backward weight",
    }
}

/// The layers that are wanted, all if none are named, as one of `towers` devices sees them; of several
/// sources, its own.
fn layers(
    cpu: &mut Cpu, net: &Net, towers: usize, batch: usize, wanted: &[String],
) -> Result<Vec<Layer>> {
    let names: Vec<&str> = net.layers.iter().map(|layer| layer.name.as_str()).collect();
    let unknown = wanted.iter().find(|name| !names.contains(&name.as_str()));
    if let Some(unknown) = unknown {
        let hint = format!("there are {}", names.join(", "));
        return Err(Hint::new(format!("there is no layer {unknown}"), hint).into());
    }
    let part = Part::of_device(0, towers, net.towers);
    let mut layers = vec![];
    for layer in &net.layers {
        if wanted.is_empty() || wanted.contains(&layer.name) {
            let op = layer.op(part, part);
            layers.push(Layer::new(cpu, &layer.name, op, !layer.reads_image, batch)?);
        }
    }
    Ok(layers)
}

/// The best peak, and the best seconds of each layer's passes. Peaks are measured in between, since
/// the machine may be faster at one time than at another.
fn measure(
    cpu: &mut Cpu, layers: &mut [Layer], rounds: usize, peak_once: impl Fn() -> f64,
) -> (f64, Vec<[f64; 3]>) {
    let (mut peak, mut best) = (0.0_f64, vec![[f64::INFINITY; 3]; layers.len()]);
    for _ in 0..rounds {
        for (layer, best) in layers.iter_mut().zip(&mut best) {
            for pass in layer.passes() {
                peak = peak.max(peak_once());
                let began = Instant::now();
                layer.run(cpu, pass);
                let best = &mut best[pass as usize];
                *best = best.min(began.elapsed().as_secs_f64());
            }
        }
    }
    (peak, best)
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "{}, {}: batch {}, one of {} on {}, best of {}; peak {:.0} GFLOP/s\n\
         {:<6} {:<16} {:<16} {:>8} {:>8} {:>8}",
        report.preset,
        report.dtype,
        report.batch,
        counted(report.towers, "device"),
        counted(report.threads, "thread"),
        report.rounds,
        report.peak_gflops,
        "layer",
        "pass",
        "algorithm",
        "ms",
        "GFLOP/s",
        "of peak",
    );
    for row in &report.passes {
        text += &format!(
            "\n{:<6} {:<16} {:<16} {:8.2} {:8.0} {:6.0} %",
            row.layer,
            row.pass,
            row.algorithm,
            row.ms,
            row.gflops,
            row.share_of_peak * 100.0
        );
    }
    text
}
