//! `alexnet doctor`: what there is to compute on, whether it computes what the CPU does, and how fast.

mod bed;
mod layers;
mod towers;
mod copies;
mod report;

use self::report::{GpuLine, Report};
use super::{batch_recipe, bench::CLASSES, say};
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

/// Tells what there is, and tries it.
///
/// # Errors
/// If there is no GPU to compute on, or one that computes something else than the CPU.
pub fn run(args: &DoctorArgs) -> Result<Done> {
    let config = batch_recipe(&args.recipe, "two-tower-2012")?;
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
    let examined = found.map_err(anyhow::Error::from).and_then(|_| {
        let compute = ComputeArgs {
            device: DeviceKind::Cuda,
            gpus: args.gpus.clone(),
            towers: None,
            threads: None,
            workers: None,
        };
        let choice = Choice::new(&compute, config.towers)?;
        let Devices::Cuda(mut gpus) = choice.open(config.train.dtype)? else {
            unreachable!("GPUs were asked for");
        };
        let net = Net::new(&config, CLASSES);
        remark(&format!("{}, batch {}: layers", config.name, config.train.batch));
        report.layers = layers::check(&mut gpus[0], &net, config.train.batch)?;
        remark("copies");
        report.copies = copies::measure(&mut gpus)?;
        drop(gpus);
        remark("towers");
        report.towers = Some(towers::compare(&choice, &config, args.steps)?);
        Ok(())
    });
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
