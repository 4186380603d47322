//! `alexnet doctor`: what there is to compute on, whether it computes what the CPU does, and how fast.

mod budget;
mod apart;
mod task;
mod tried;
mod operands;
mod bed;
mod layers;
mod speeds;
mod towers;
mod copies;
mod report;
mod tables;

use self::{
    budget::Budget,
    report::{GpuLine, Report, Verdict},
    speeds::Speeds,
};
use super::{batch_recipe, bench::CLASSES, pinned::PinnedLine, say};
use crate::{
    cli::{ComputeArgs, DeviceKind, DoctorArgs},
    config::{Config, Dtype},
    devices::{Choice, Devices, check_count},
    log::remark,
    model::Net,
    render::{Done, Hint},
};
use anyhow::Result;
use gpu::cuda::{
    Numbers, libraries,
    probe::{Found, probe, version},
};

/// Shares of the time that copies, and then towers, begin with at least.
const COPIES: f64 = 0.2;
const TOWERS: f64 = 0.15;

/// Tells what there is, and tries it.
///
/// # Errors
/// If there is no GPU to compute on, one that computes something else than the CPU, or no time to try everything.
pub fn run(args: &DoctorArgs) -> Result<Done> {
    let config = batch_recipe(&args.recipe, "two-tower-2012")?;
    if !args.gpus.is_empty() {
        check_count(&args.gpus, None, config.towers)?; // with no driver, too
    }
    let budget = Budget::of_seconds(args.seconds);
    let mut report = Report::default();
    let found = probe();
    // Of cuBLAS, there is one for each major version of drivers.
    report.libraries =
        libraries::look(found.as_ref().map_or(i32::MAX, |found| found.driver)).into();
    match &found {
        Ok(found) => {
            report.driver = Some(version(found.driver));
            report.gpus = found.gpus.iter().map(GpuLine::new).collect();
        }
        Err(error) => report.missing = Some(error.to_string()),
    }
    let tried = found
        .map_err(anyhow::Error::from)
        .and_then(|found| examine(args, &config, &found, &budget, &mut report));
    report.seconds = budget.spent().as_secs_f64();
    let wrong = report.wrong();
    report.failed = tried.as_ref().err().map(|error| format!("{error:#}"));
    report.verdict = match &tried {
        _ if !wrong.is_empty() => Verdict::Wrong,
        Err(_) => Verdict::Failed,
        Ok(()) if !report.skipped.is_empty() => Verdict::Incomplete,
        Ok(()) => Verdict::Sound,
    };
    say(&if args.json { serde_json::to_string(&report)? } else { report.to_string() })?;
    let (what, then) = match report.verdict {
        Verdict::Wrong => (
            format!("the GPU computes something else than the CPU: {}", wrong.join(", ")),
            "report it with the output of `alexnet doctor --json`, and train with --device cpu",
        ),
        Verdict::Incomplete => (
            format!(
                "what was tried is sound, but {} checks were left out for lack of time",
                report.skipped.len()
            ),
            "pass more --seconds, or one --dtype at a time",
        ),
        Verdict::Sound | Verdict::Failed => return tried.map(|()| Done::All),
    };
    Err(Hint::new(what, then).into())
}

/// Tries the GPUs that are asked for, and tells `report`.
fn examine(
    args: &DoctorArgs, config: &Config, found: &Found, budget: &Budget, report: &mut Report,
) -> Result<()> {
    let compute = ComputeArgs {
        device: DeviceKind::Cuda,
        gpus: args.gpus.clone(),
        towers: None,
        threads: None,
        workers: None,
    };
    let choice = Choice::new(&compute, config.towers)?;
    let dtypes = dtypes(args, &choice)?;
    let Choice::Cuda { gpus: indices, .. } = &choice else {
        unreachable!("GPUs were asked for");
    };
    report.pinned = Some(PinnedLine::of(config));
    let (net, batch) = (Net::new(config, CLASSES), config.train.batch);
    for dtype in &dtypes {
        let numbers = Numbers::from(*dtype);
        remark(&format!("{}, batch {batch}, {}: layers", config.name, numbers.name()));
        layers::check((found, indices), numbers, &net, batch, budget, report)?;
        let gpu = &found.gpus[indices[0]];
        report.speeds.extend(Speeds::of(gpu, numbers, &report.layers, batch, indices.len()));
    }
    if budget.has(COPIES) {
        remark("copies");
        let Devices::Cuda(mut gpus) = choice.open_with(Dtype::F32, budget.setup())? else {
            unreachable!("GPUs were asked for");
        };
        report.copies = copies::measure(&mut gpus)?;
    } else {
        report.skipped.push("copies".into());
    }
    let mut cpu = None;
    for dtype in &dtypes {
        let name = Numbers::from(*dtype).name();
        if !budget.has(TOWERS) {
            report.skipped.push(format!("{name}: towers"));
            continue;
        }
        remark(&format!("towers, {name}"));
        let cpu = match &cpu {
            Some(run) => run,
            None => cpu.insert(towers::of_cpu(config, budget)?),
        };
        let mut config = config.clone();
        config.train.dtype = *dtype;
        let line = towers::compare(&choice, &config, cpu, args.steps, budget)?;
        if !line.complete() {
            report.skipped.push(format!("{name}: some steps of the towers"));
        }
        report.towers.push(line);
    }
    Ok(())
}

/// What is asked for, or all that the GPUs have.
fn dtypes(args: &DoctorArgs, choice: &Choice) -> Result<Vec<Dtype>> {
    if args.dtype.is_empty() {
        let all = Dtype::ALL.into_iter();
        return Ok(all.filter(|dtype| choice.trains_in(*dtype).is_ok()).collect());
    }
    args.dtype.iter().try_for_each(|dtype| choice.trains_in(*dtype))?;
    Ok(Dtype::ALL.into_iter().filter(|dtype| args.dtype.contains(dtype)).collect())
}
