//! `alexnet doctor`: what there is to compute on, whether it computes what the CPU does, and how fast.

mod budget;
mod bed;
mod layers;
mod speeds;
mod towers;
mod copies;
mod report;

use self::{
    budget::Budget,
    report::{GpuLine, Report},
    speeds::Speeds,
};
use super::{batch_recipe, bench::CLASSES, pinned::PinnedLine, say};
use crate::{
    cli::{ComputeArgs, DeviceKind, DoctorArgs},
    devices::{Choice, Devices},
    log::remark,
    model::Net,
    render::{Done, Hint},
};
use anyhow::Result;
use gpu::cuda::{
    libraries,
    probe::{probe, version},
};

/// Shares of the time that copies, and then towers, begin with at least.
const COPIES: f64 = 0.2;
const TOWERS: f64 = 0.15;

/// Tells what there is, and tries it.
///
/// # Errors
/// If there is no GPU to compute on, or one that computes something else than the CPU.
pub fn run(args: &DoctorArgs) -> Result<Done> {
    let mut config = batch_recipe(&args.recipe, "two-tower-2012")?;
    config.train.dtype = args.dtype.unwrap_or(config.train.dtype);
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
    let examined = found.map_err(anyhow::Error::from).and_then(|found| {
        let compute = ComputeArgs {
            device: DeviceKind::Cuda,
            gpus: args.gpus.clone(),
            towers: None,
            threads: None,
            workers: None,
        };
        let choice = Choice::new(&compute, config.towers)?;
        choice.trains_in(config.train.dtype)?;
        let Choice::Cuda { gpus: indices, .. } = &choice else {
            unreachable!("GPUs were asked for");
        };
        report.pinned = Some(PinnedLine::of(&config));
        let (net, batch) = (Net::new(&config, CLASSES), config.train.batch);
        remark(&format!("{}, batch {batch}: layers", config.name));
        layers::check(
            (&found, indices[0]),
            config.train.dtype.into(),
            &net,
            batch,
            &budget,
            &mut report,
        )?;
        report.speeds =
            Speeds::of(&found.gpus[indices[0]], &report.layers, batch, config.towers);
        if budget.has(COPIES) {
            remark("copies");
            let Devices::Cuda(mut gpus) = choice.open(config.train.dtype)? else {
                unreachable!("GPUs were asked for");
            };
            report.copies = copies::measure(&mut gpus)?;
        } else {
            report.skipped.push("copies".into());
        }
        if budget.has(TOWERS) {
            remark("towers");
            let towers = towers::compare(&choice, &config, args.steps, &budget)?;
            report.towers = Some(towers);
        } else {
            report.skipped.push("towers".into());
        }
        Ok(())
    });
    report.seconds = budget.spent().as_secs_f64();
    say(&if args.json { serde_json::to_string(&report)? } else { report.to_string() })?;
    examined?;
    let wrong = report.wrong();
    if wrong.is_empty() {
        return Ok(Done::All);
    }
    Err(Hint::new(
        format!("the GPU computes something else than the CPU: {}", wrong.join(", ")),
        "report it with the output of `alexnet doctor --json`, and train with --device cpu",
    )
    .into())
}
