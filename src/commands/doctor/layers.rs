//! Every op of every layer at full size, on a GPU and on the CPU, by each way that the GPU has.

use super::{
    bed::{Bed, STEP, Task},
    budget::Budget,
    report::{LayerLine, Report},
};
use crate::{
    devices::cores,
    model::{Net, Op, Part},
};
use anyhow::Result;
use gpu::{
    cpu::Cpu,
    cuda::{
        Cuda, Numbers, Setup,
        images::{Kind, pick},
        probe::{Found, Unusable},
        tile::Tile,
    },
    device::{Device as _, DeviceError},
    ops::{
        conv::{self, Algorithm, Pass},
        dropout::Dropout,
        linear,
    },
};
use std::collections::BTreeSet;

/// How far results may lie apart, relative to their norm: sums of up to 400,000 terms in single precision,
/// in another order.
const APART_MAX: f64 = 1e-4;
/// The same of products of tf32: factors are off by 2^-11 at most, or 2^-10 where a library cuts them.
const APART_MAX_TF32: f64 = 2e-3;
/// The same of what is kept in bf16, and in f16: each is rounded by 2^-9 at most, and by 2^-12; by libraries twice, where a
/// bias follows.
const APART_MAX_BF16: f64 = 4e-3;
const APART_MAX_F16: f64 = 5e-4;
/// The same of what follows a product: near-ties of the pooling go the other way, for a few windows in a
/// million.
const APART_MAX_FINISH: f64 = 5e-3;
/// Times that an op is timed with the others.
const TIMES: usize = 5;
/// Share of the time that is left to what comes after the ops.
const LEFT: f64 = 0.4;

/// A way to compute, and a device that does.
struct Way {
    by: String,
    of: Of,
    gpu: Cuda,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The kernels as a run takes them, by all tiles.
    Run,
    /// The same by the tile that a run takes, on a further GPU.
    Further,
    /// As PTX.
    Ptx,
    Libraries,
}

/// An op, of which layer it is if it is a part of every step, and what it is called.
struct Tried {
    layer: Option<String>,
    name: String,
    task: Task,
}

/// Tries each op that the first of as many devices as towers is asked for, of products of `numbers`: by every way on
/// the first of the GPUs `indices`, and on the others as they run it.
pub(super) fn check(
    (found, indices): (&Found, &[usize]), numbers: Numbers, net: &Net, batch: usize,
    budget: &Budget, report: &mut Report,
) -> Result<()> {
    let mut ways = ways(found, indices[0], numbers, budget, report)?;
    for index in further(indices) {
        let setup = Setup { libraries: false, ..setup(budget) };
        let gpu = Cuda::open_with(found, index, setup)?.keeping(numbers);
        let by = format!("gpu {index}, {}", gpu.image());
        ways.push(Way { by, of: Of::Further, gpu });
    }
    let mut cpu = Cpu::new("doctor", cores())?;
    for tried in tasks(net) {
        if !budget.has(LEFT) {
            report.skipped.push(format!("{}: {}", numbers.name(), tried.name));
            continue;
        }
        let wanted = {
            let mut bed = Bed::new(&mut cpu, plainest(tried.task), numbers, batch)?;
            bed.run();
            bed.result()
        };
        for way in &mut ways {
            for tile in way.tiles(&tried.task, numbers, batch) {
                if tile.is_some() && !budget.has(LEFT) {
                    let (numbers, name) = (numbers.name(), &tried.name);
                    report.skipped.push(format!("{numbers}: {name} by other tiles"));
                    break;
                }
                way.gpu.tile_by(tile);
                let line = way.try_one(&tried, tile, (numbers, batch), &wanted, report)?;
                report.layers.extend(line);
            }
            way.gpu.tile_by(None);
        }
    }
    Ok(())
}

/// The GPUs beside the first, each once.
fn further(indices: &[usize]) -> BTreeSet<usize> {
    indices.iter().copied().filter(|index| *index != indices[0]).collect()
}

/// As the environment says; a GPU that says nothing is given up when there is no time left.
fn setup(budget: &Budget) -> Setup {
    let environment = Setup::of_environment();
    Setup { patience: environment.patience.min(budget.left()), ..environment }
}

/// The kernels as a run takes them, those that are PTX, and libraries.
fn ways(
    found: &Found, index: usize, numbers: Numbers, budget: &Budget, report: &mut Report,
) -> Result<Vec<Way>> {
    let environment = setup(budget);
    let own = Setup { libraries: false, ..environment };
    let open = |setup| Cuda::open_with(found, index, setup).map(|gpu| gpu.keeping(numbers));
    let gpu = open(own)?;
    let image = gpu.image();
    let capability = gpu.gpu().capability;
    let mut ways = vec![Way { by: image.into(), of: Of::Run, gpu }];
    if let Some(other) = pick(capability, Kind::Ptx).filter(|other| other.name != image) {
        match open(Setup { kernels: Kind::Ptx, ..own }) {
            Ok(gpu) => ways.push(Way { by: other.name.into(), of: Of::Ptx, gpu }),
            // Nothing that this GPU runs needs it.
            Err(DeviceError::Unusable(why @ Unusable::OldDriverForPtx { .. })) => {
                report.remark(format!("{} was not tried: {why}", other.name));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if environment.libraries {
        ways.push(Way { by: "libraries".into(), of: Of::Libraries, gpu: open(environment)? });
    }
    Ok(ways)
}

impl Way {
    /// By which tiles an op is tried: first by the one that it takes by itself; not at all if this way has it not.
    fn tiles(&self, task: &Task, numbers: Numbers, n: usize) -> Vec<Option<Tile>> {
        let own = task.tile(numbers, n);
        match self.of {
            Of::Libraries if own.is_none() => vec![],
            Of::Further | Of::Ptx | Of::Libraries => vec![None],
            Of::Run => {
                let others =
                    Tile::ALL.into_iter().filter(|tile| own.is_some_and(|own| own != *tile));
                [None].into_iter().chain(others.map(Some)).collect()
            }
        }
    }

    /// Tries an op; nothing if this way has it not.
    fn try_one(
        &mut self, tried: &Tried, tile: Option<Tile>, (numbers, batch): (Numbers, usize),
        wanted: &[f32], report: &mut Report,
    ) -> Result<Option<LayerLine>> {
        let task = tried.task;
        let mut bed = Bed::new(&mut self.gpu, task, numbers, batch)?;
        for remark in bed.device.remarks() {
            report.remark(remark);
        }
        if self.of == Of::Libraries && !task.by_library(bed.device, batch) {
            return Ok(None);
        }
        bed.run();
        let apart = apart(&bed.result(), wanted);
        let is_product = task.tile(numbers, batch).is_some();
        let limit = match (task, task.result_numbers(numbers)) {
            (Task::Finish { .. }, _) => APART_MAX_FINISH,
            (_, Numbers::Bf16) => APART_MAX_BF16,
            (_, Numbers::F16) => APART_MAX_F16,
            _ if is_product && numbers == Numbers::Tf32 => APART_MAX_TF32,
            _ => APART_MAX,
        };
        let gpu = bed.device.gpu();
        let index = gpu.index;
        let peak =
            if is_product { gpu.product_peak_gflops(numbers) } else { gpu.peak_gflops() };
        let peaks = (peak, gpu.peak_gbps());
        let seconds = seconds(&mut bed)?;
        let by = match tile {
            Some(tile) => format!("{} {}", self.by, tile.name()),
            None => self.by.clone(),
        };
        let op = (tried.layer.clone(), tried.name.clone());
        Ok(Some(LayerLine::new(
            op,
            (index, by),
            (apart, limit),
            seconds,
            (&task, numbers, batch),
            peaks,
        )))
    }
}

impl Task {
    /// The tile that our kernel takes by itself, if it is a product.
    fn tile(&self, numbers: Numbers, n: usize) -> Option<Tile> {
        match self {
            Self::Conv { op, pass, first: true } => {
                Some(conv::cuda::tile(numbers, &op.packed(), n, *pass))
            }
            Self::Conv { op, pass, first: false } => {
                Some(conv::cuda::tile(numbers, op, n, *pass))
            }
            Self::Linear { pass, .. } => Some(linear::cuda::tile(numbers, *pass)),
            _ => None,
        }
    }

    fn by_library(&self, gpu: &Cuda, n: usize) -> bool {
        match self {
            Self::Conv { op, pass, first } => gpu.library_makes_conv(op, n, *pass, *first),
            Self::Linear { op, pass, .. } => gpu.library_makes_linear(op, n, *pass),
            _ => false,
        }
    }
}

/// By direct sums on the CPU.
fn plainest(task: Task) -> Task {
    match task {
        Task::Conv { op, pass, first } => {
            let by = Some([Algorithm::Im2col; 3]);
            Task::Conv { op: conv::Conv { by, ..op }, pass, first }
        }
        other => other,
    }
}

fn seconds(bed: &mut Bed<'_, Cuda>) -> Result<f64, DeviceError> {
    // The clock is the device's, so the bed lends it out op by op.
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let start = bed.device.clock_start()?;
        bed.run();
        best = best.min(bed.device.clock_stop(&start)?);
    }
    Ok(best)
}

/// The norm of the difference, relative to that of what is wanted; infinite where it is no number.
fn apart(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |sum: f64, x: f64| sum + x * x;
    let pairs = found.iter().zip(wanted);
    let difference = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).fold(0.0, square).sqrt();
    let norm = wanted.iter().map(|b| f64::from(*b)).fold(0.0, square).sqrt();
    let apart = difference / norm;
    if apart.is_finite() { apart } else { f64::INFINITY }
}

fn tasks(net: &Net) -> Vec<Tried> {
    let part = |i| Part::of_device(i, net.towers, net.towers);
    let mut tasks = vec![];
    let (mut pixels, mut largest, mut widest, mut units) = (1, 0, 0, 0);
    for (number, layer) in net.layers.iter().enumerate() {
        let mut add = |name: String, task: Task| {
            tasks.push(Tried { layer: Some(layer.name.clone()), name, task });
        };
        let peers = if layer.reads_peers() { net.towers } else { 1 };
        for source in 0..peers {
            for pass in Pass::ALL {
                if layer.reads_image && pass == Pass::BackwardData {
                    continue; // nobody needs that of the pictures
                }
                let of = if source > 0 { format!(" of tower {source}") } else { String::new() };
                let task = match layer.op(part(0), part(source)) {
                    Op::Conv(op) => Task::Conv { op, pass, first: layer.reads_image },
                    Op::Linear(op) => Task::Linear { op, pass, pixels },
                };
                let pass = match pass {
                    Pass::Forward => "forward",
                    Pass::BackwardData => "backward, data",
                    Pass::BackwardWeight => "backward, weights",
                };
                add(format!("{} {pass}{of}", layer.name), task);
            }
        }
        let op = layer.finish(part(0), &net.lrn);
        widest = widest.max(op.out_len());
        if layer.head {
            for (forward, way) in [(true, "softmax"), (false, "softmax backward")] {
                let task = Task::Softmax { classes: net.classes, forward };
                add(format!("{} {way}", layer.name), task);
            }
        } else {
            for (forward, way) in [(true, "forward"), (false, "backward")] {
                add(format!("{} finish {way}", layer.name), Task::Finish { op, forward });
            }
        }
        if layer.dropout > 0.0 {
            units = op.channels;
            let (rate, layer_number) = (layer.dropout, number as u32);
            let (units, seed, step) = (op.channels, 2012, STEP.step);
            let op =
                Dropout { rate, units, first_unit: units, seed, layer: layer_number, step };
            add(format!("{} dropout", layer.name), Task::Dropout { op });
        }
        if layer.conv.is_some() {
            largest = largest.max(layer.local_kernels(part(0)) * layer.row_len());
        }
        pixels = layer.side_handed_on() * layer.side_handed_on();
    }
    let mut add = |name: &str, task: Task| {
        tasks.push(Tried { layer: None, name: name.into(), task });
    };
    add("optimiser", Task::Sgd { len: largest });
    add("adding up", Task::Add { units: widest });
    add("a bias's gradient", Task::Bias { rows: net.classes, area: 1 });
    if units > 0 {
        add("dropout in testing", Task::Scale { units });
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_difference_that_is_no_number_is_none_at_all() {
        assert_eq!(apart(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(apart(&[f32::NAN, 2.0], &[1.0, 2.0]), f64::INFINITY);
        assert!((apart(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn every_layer_is_tried_in_every_pass() {
        let net = Net::new(&Config::load("two-tower-2012", None).expect("a preset"), 1000);
        let tasks = tasks(&net);
        // Three passes of each source, less the pictures' gradient.
        let products = 3 * net.layers.len() - 1
            + 3 * net.layers.iter().filter(|layer| layer.reads_peers()).count();
        // What follows or the softmax, both ways; dropout twice; the optimiser, sums of two kinds, testing.
        assert_eq!(tasks.len(), products + 8 * 2 + 2 + 4);
    }
}
