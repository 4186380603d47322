//! Every op of every layer at full size, on GPUs and on the CPU, by each way that a GPU has.

use super::{
    apart::apart,
    bed::Bed,
    budget::Budget,
    operands::Operands,
    report::{LayerLine, Report},
    task::Task,
    tried::{Tried, ops},
};
use crate::{devices::cores, model::Net};
use anyhow::Result;
use gpu::{
    cpu::{Cpu, Level, Pool},
    cuda::{
        Cuda, Numbers, Setup,
        images::{Kind, pick},
        probe::{Found, Unusable},
        tile::Tile,
    },
    device::{Device as _, DeviceError},
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
    /// Our own kernels, products by all tiles.
    Tiles,
    /// Our own kernels, by the tile that each takes by itself.
    Plain,
    Libraries,
}

/// What an op is tried with: it, its operands, and what the CPU makes of them.
struct Trial<'a> {
    tried: &'a Tried,
    numbers: Numbers,
    batch: usize,
    operands: Operands,
    wanted: Vec<Vec<f32>>,
}

/// Tries each op that the first of the devices is asked for, of products of `numbers`: by every way on
/// the first of the GPUs `indices`, and on the others by our own kernels and by libraries.
pub(super) fn check(
    (found, indices): (&Found, &[usize]), numbers: Numbers, net: &Net, batch: usize,
    budget: &Budget, report: &mut Report,
) -> Result<()> {
    let mut ways = ways(found, indices, numbers, budget, report)?;
    let mut cpu = Cpu::new("doctor", cores())?;
    let pool = Pool::new("operands", cores(), Level::widest())?;
    for tried in &ops(net, indices.len()) {
        if !budget.has(LEFT) {
            report.skipped.push(format!("{}: {}", numbers.name(), tried.name));
            continue;
        }
        // One op's at a time: those of the largest take some hundred MB.
        let operands = Operands::new(&tried.task, numbers, batch, &pool);
        let wanted = {
            let mut bed = Bed::new(&mut cpu, tried.task.plainest(), &operands, batch)?;
            bed.run();
            bed.results()
        };
        let trial = Trial { tried, numbers, batch, operands, wanted };
        for way in &mut ways {
            let tried = way.try_op(&trial, budget, report);
            way.gpu.tile_by(None);
            tried?;
        }
    }
    Ok(())
}

/// The GPUs beside the first, each once.
fn further(indices: &[usize]) -> BTreeSet<usize> {
    indices.iter().copied().filter(|index| *index != indices[0]).collect()
}

/// On the first GPU our own kernels, those that are PTX, and libraries; on further ones the first and the last.
fn ways(
    found: &Found, indices: &[usize], numbers: Numbers, budget: &Budget, report: &mut Report,
) -> Result<Vec<Way>> {
    let environment = budget.setup();
    let own = Setup { libraries: false, ..environment };
    let open =
        |index, setup| Cuda::open_with(found, index, setup).map(|gpu| gpu.keeping(numbers));
    let first = indices[0];
    let gpu = open(first, own)?;
    let image = gpu.image();
    let capability = gpu.gpu().capability;
    let mut ways = vec![Way { by: image.into(), of: Of::Tiles, gpu }];
    if let Some(other) = pick(capability, Kind::Ptx).filter(|other| other.name != image) {
        match open(first, Setup { kernels: Kind::Ptx, ..own }) {
            Ok(gpu) => ways.push(Way { by: other.name.into(), of: Of::Plain, gpu }),
            // Nothing that this GPU runs needs it.
            Err(DeviceError::Unusable(why @ Unusable::OldDriverForPtx { .. })) => {
                report.remark(format!("{} was not tried: {why}", other.name));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if environment.libraries {
        let gpu = open(first, environment)?;
        ways.push(Way { by: "libraries".into(), of: Of::Libraries, gpu });
    }
    for index in further(indices) {
        let gpu = open(index, own)?;
        let by = format!("gpu {index}, {}", gpu.image());
        ways.push(Way { by, of: Of::Plain, gpu });
        if environment.libraries {
            let gpu = open(index, environment)?;
            ways.push(Way { by: format!("gpu {index}, libraries"), of: Of::Libraries, gpu });
        }
    }
    Ok(ways)
}

impl Way {
    /// Tries an op, if this way has it, and tells `report`.
    fn try_op(
        &mut self, trial: &Trial<'_>, budget: &Budget, report: &mut Report,
    ) -> Result<()> {
        let Trial { tried, numbers, batch, operands, wanted } = trial;
        let task = tried.task;
        let own = task.tile(*numbers, *batch);
        if self.of == Of::Libraries && own.is_none() {
            return Ok(());
        }
        let mut bed = Bed::new(&mut self.gpu, task, operands, *batch)?;
        bed.device.remarks().into_iter().for_each(|remark| report.remark(remark));
        if self.of == Of::Libraries && !task.by_library(bed.device, *batch) {
            return Ok(());
        }
        // First by the tile that the kernel takes by itself.
        let others = Tile::ALL
            .into_iter()
            .filter(|tile| self.of == Of::Tiles && own.is_some_and(|own| own != *tile));
        for tile in [None].into_iter().chain(others.map(Some)) {
            if tile.is_some() && !budget.has(LEFT) {
                let (numbers, name) = (numbers.name(), &tried.name);
                report.skipped.push(format!("{numbers}: {name} by other tiles"));
                break;
            }
            if tile.is_some() {
                bed.clear();
            }
            bed.device.tile_by(tile);
            bed.run();
            let pairs = bed.results().into_iter().zip(wanted);
            let apart = pairs.map(|(found, wanted)| apart(&found, wanted)).fold(0.0, f64::max);
            let gpu = bed.device.gpu();
            let peak = if own.is_some() {
                gpu.product_peak_gflops(*numbers)
            } else {
                gpu.peak_gflops()
            };
            let (index, peaks) = (gpu.index, (peak, gpu.peak_gbps()));
            let by = match tile {
                Some(tile) => format!("{} {}", self.by, tile.name()),
                None => self.by.clone(),
            };
            report.layers.push(LayerLine::new(
                (tried.layer.clone(), tried.name.clone()),
                (index, by),
                (apart, apart_max(&task, *numbers, own.is_some())),
                seconds(&mut bed)?,
                (&task, *numbers, *batch),
                peaks,
            ));
        }
        bed.device.remarks().into_iter().for_each(|remark| report.remark(remark));
        Ok(())
    }
}

/// How far results of `task` may lie apart.
fn apart_max(task: &Task, numbers: Numbers, is_product: bool) -> f64 {
    match (task, task.result_numbers(numbers)) {
        (Task::Finish { .. }, _) => APART_MAX_FINISH,
        (_, Numbers::Bf16) => APART_MAX_BF16,
        (_, Numbers::F16) => APART_MAX_F16,
        _ if is_product && numbers == Numbers::Tf32 => APART_MAX_TF32,
        _ => APART_MAX,
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
