//! Which devices carry the towers, as the flags say.

use crate::{
    cli::{ComputeArgs, DeviceKind},
    config::Dtype,
    log::warn,
    render::{Usage, counted},
};
use anyhow::{Context as _, Result};
use gpu::{
    cpu::{Cores, Cpu, Level},
    cuda::{
        Cuda, Setup,
        libraries::{self, Timed, Tuning},
        numbers::TF32_FROM,
        probe::{Found, Gpu, Unusable, probe},
    },
};
use serde::{Deserialize, Serialize};
use std::{path::Path, thread::available_parallelism};

/// Cores that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Cores of the CPU.
    #[default]
    Cpu,
    /// GPUs.
    Cuda,
}

impl Kind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }

    /// Holds that such devices train in `dtype`.
    ///
    /// # Errors
    /// Of the CPU, and f16 or tf32.
    pub fn trains_in(self, dtype: Dtype) -> Result<()> {
        let take = match dtype {
            Dtype::F16 => "the CPU does not train in f16: take --dtype bf16 or f32",
            Dtype::Tf32 => "the CPU does not train in tf32: take --dtype f32",
            Dtype::F32 | Dtype::Bf16 => return Ok(()),
        };
        match self {
            Self::Cpu => Err(Usage(format!("{take}, or GPUs with --gpus")).into()),
            Self::Cuda => Ok(()),
        }
    }
}

/// How a net is carried. Sums are rounded in an order that depends on it: the same share gives the
/// same bits, others agree to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Devices, which share the net's towers.
    pub towers: usize,
    /// Threads of all devices together; none of GPUs.
    pub threads: usize,
    /// What the devices are.
    #[serde(default, skip_serializing_if = "Kind::is_cpu")]
    pub device: Kind,
}

impl Share {
    /// What the flags say of the CPU, for a net of `net_towers`; where they do not, all cores, and a
    /// device per tower if there are threads enough.
    ///
    /// # Errors
    /// If there are fewer threads than towers.
    pub fn new(
        threads: Option<usize>, towers: Option<usize>, net_towers: usize,
    ) -> Result<Self> {
        let threads = threads.unwrap_or_else(cores);
        let towers = towers.unwrap_or(if threads >= net_towers { net_towers } else { 1 });
        check_towers(towers, net_towers)?;
        if threads < towers {
            return Err(Usage(format!(
                "--threads {threads}: {towers} towers need one each; pass --towers 1 to carry the net on one \
                 device, or more --threads"
            ))
            .into());
        }
        Ok(Self { towers, threads, device: Kind::Cpu })
    }

    /// The CPU devices. Where they take all cores, each worker stays on one of its own, those of a tower
    /// side by side; where they do not, the system knows better which ones are idle.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn cpus(self) -> Result<Vec<Cpu>> {
        if self.threads > cores() {
            warn(&format!(
                "{} threads on {} cores take turns, which is slower than a thread a core",
                self.threads,
                cores()
            ));
        }
        let mut cores = Cores::allowed().filter(|cores| cores.count() == self.threads);
        let devices = (0..self.towers).map(|i| {
            // The first towers take what does not divide.
            let threads =
                self.threads / self.towers + usize::from(i < self.threads % self.towers);
            let name = format!("tower-{i}");
            Ok(match &mut cores {
                Some(cores) => Cpu::on(&name, &cores.take(threads))?,
                None => Cpu::new(&name, threads)?,
            })
        });
        devices.collect()
    }
}

/// What carries a net, before it is opened.
#[derive(Debug, Clone)]
pub enum Choice {
    /// Cores.
    Cpu {
        /// How many, for how many towers.
        share: Share,
        /// Why there are no GPUs, where they would have been taken.
        instead: Option<String>,
    },
    /// GPUs.
    Cuda {
        /// What the driver finds.
        found: Found,
        /// The GPU of each part of the net.
        gpus: Vec<usize>,
    },
}

/// What carries a net.
#[derive(Debug)]
pub enum Devices {
    /// Cores.
    Cpu(Vec<Cpu>),
    /// GPUs.
    Cuda(Vec<Cuda>),
}

impl Choice {
    /// What the flags say, for a net of `net_towers`.
    ///
    /// # Errors
    /// If they name another number of devices than the net can be carried by, or devices that there are
    /// not.
    pub fn new(flags: &ComputeArgs, net_towers: usize) -> Result<Self> {
        let cpu = |instead| -> Result<Self> {
            let share = Share::new(flags.threads, flags.towers, net_towers)?;
            Ok(Self::Cpu { share, instead })
        };
        if !flags.gpus.is_empty() {
            let gpus = flags.gpus.clone();
            check_count(&gpus, flags.towers, net_towers)?;
            return Self::cuda(probe()?, gpus);
        }
        match flags.device {
            DeviceKind::Cpu => cpu(None),
            DeviceKind::Cuda => Self::any_cuda(probe()?, flags.towers, net_towers),
            DeviceKind::Auto => match probe().and_then(first_usable) {
                Ok(found) => Self::any_cuda(found, flags.towers, net_towers),
                Err(Unusable::NoDriver | Unusable::NoDevice { .. }) => cpu(None),
                Err(error) => cpu(Some(error.to_string())),
            },
        }
    }

    /// One GPU per tower if there are as many, else the first.
    fn any_cuda(found: Found, towers: Option<usize>, net_towers: usize) -> Result<Self> {
        let usable = |i: &usize| found.usable(*i).is_ok();
        let all: Vec<usize> = (0..found.gpus.len()).filter(usable).collect();
        let count = towers.unwrap_or(if all.len() >= net_towers { net_towers } else { 1 });
        let gpus: Vec<usize> = match all.first() {
            // Where there are fewer, they share the first, as `--gpus 0,0` says.
            Some(first) if all.len() < count => vec![*first; count],
            Some(_) => all[..count].to_vec(),
            None => vec![0],
        };
        check_count(&gpus, towers, net_towers)?;
        Self::cuda(found, gpus)
    }

    fn cuda(found: Found, gpus: Vec<usize>) -> Result<Self> {
        gpus.iter().try_for_each(|gpu| found.usable(*gpu).map(drop))?;
        Ok(Self::Cuda { found, gpus })
    }

    /// How a run is carried by it, as checkpoints have it.
    pub fn share(&self) -> Share {
        match self {
            Self::Cpu { share, .. } => *share,
            Self::Cuda { gpus, .. } => {
                Share { towers: gpus.len(), threads: 0, device: Kind::Cuda }
            }
        }
    }

    /// What products of `dtype` are computed by: the instruction set of a CPU; of GPUs, the libraries that they
    /// take, or that it is the program's own kernels.
    pub fn instructions(&self, dtype: Dtype) -> Option<String> {
        match self {
            Self::Cpu { .. } => Some(Level::widest().name(dtype.into()).to_owned()),
            Self::Cuda { found, .. } => {
                let wanted = Setup::of_environment().libraries;
                let all = wanted.then(|| libraries::look(found.driver)).into_iter().flatten();
                let all: Vec<String> = all.filter_map(|library| library.found.ok()).collect();
                Some(if all.is_empty() { "our own kernels".into() } else { all.join(", ") })
            }
        }
    }

    /// Holds that they train in `dtype`.
    ///
    /// # Errors
    /// Of f16 and tf32, which not all devices have.
    pub fn trains_in(&self, dtype: Dtype) -> Result<()> {
        self.share().device.trains_in(dtype)?;
        self.has(dtype)
    }

    /// Holds that no GPU is too old for `dtype`.
    fn has(&self, dtype: Dtype) -> Result<()> {
        let Self::Cuda { found, gpus } = self else { return Ok(()) };
        let too_old = |gpu: &&Gpu| dtype == Dtype::Tf32 && gpu.capability < TF32_FROM;
        let Some(old) = gpus.iter().filter_map(|gpu| found.gpus.get(*gpu)).find(too_old) else {
            return Ok(());
        };
        let (major, minor) = TF32_FROM;
        Err(Usage(format!(
            "GPU {}, {}, does not multiply tf32, which begins with compute capability {major}.{minor}: take \
             --dtype f32",
            old.index, old.name
        ))
        .into())
    }

    /// What they score in that was trained in `dtype`: where a GPU is too old for tf32, `f32`, which memory holds anyway.
    pub fn scores_in(&self, dtype: Dtype) -> Dtype {
        if self.has(dtype).is_ok() { dtype } else { Dtype::F32 }
    }

    /// Opens the devices, which are to compute in `dtype`.
    ///
    /// # Errors
    /// If one cannot be opened, or is too old for `dtype`.
    pub fn open(&self, dtype: Dtype) -> Result<Devices> {
        self.open_with(dtype, Setup::of_environment())
    }

    /// The same; GPUs with what `setup` says.
    ///
    /// # Errors
    /// As [`Choice::open`].
    pub fn open_with(&self, dtype: Dtype, setup: Setup) -> Result<Devices> {
        self.has(dtype)?;
        match self {
            Self::Cpu { share, .. } => Ok(Devices::Cpu(share.cpus()?)),
            Self::Cuda { found, gpus } => {
                let opened = gpus.iter().map(|gpu| Cuda::open_with(found, *gpu, setup));
                let opened = opened.map(|gpu| Ok(gpu?.keeping(dtype.into())));
                let opened = opened.collect::<Result<_>>().context("cannot use the GPU")?;
                Ok(Devices::Cuda(opened))
            }
        }
    }
}

impl Devices {
    /// GPUs of the run in folder `out` take the ways that were the fastest when these were timed; what `time` says is
    /// timed now, if the run has not been.
    #[must_use]
    pub fn tuned(self, out: &Path, time: Timed) -> Self {
        let record = out.join("tuning.txt");
        match self {
            // A run that goes on computes as it began.
            Self::Cuda(gpus) if time != Timed::Nothing || record.exists() => {
                let asks = time != Timed::Nothing;
                let cache = asks.then(Tuning::default_cache).flatten();
                let tuning = Tuning { record, cache, time };
                Self::Cuda(gpus.into_iter().map(|gpu| gpu.tuned(tuning.clone())).collect())
            }
            other => other,
        }
    }

    /// One line on what carries the net.
    pub fn describe(&self, choice: &Choice) -> String {
        match (self, choice) {
            (Self::Cuda(gpus), _) => {
                let all: Vec<_> = gpus.iter().map(gpu::device::Device::describe).collect();
                format!("device: {}", all.join("; "))
            }
            (Self::Cpu(_), Choice::Cpu { share, instead }) => {
                let instead = instead.as_ref().map_or(String::new(), |why| format!("; {why}"));
                let Share { towers, threads, .. } = share;
                let by = Level::widest().name(gpu::ops::Dtype::Bf16);
                let threads = counted(*threads, "thread");
                let towers = counted(*towers, "tower actor");
                format!("device: CPU ({by}), {threads}, {towers}{instead}")
            }
            (Self::Cpu(cpus), _) => format!("device: {} CPUs", cpus.len()),
        }
    }
}

/// Those that are found, if any of them is of use.
fn first_usable(found: Found) -> Result<Found, Unusable> {
    let usable = (0..found.gpus.len()).map(|i| found.usable(i).map(drop));
    match usable.reduce(Result::or) {
        Some(Err(error)) => Err(error),
        _ => Ok(found),
    }
}

/// A net's towers are shared out evenly.
///
/// # Errors
/// If `towers` devices cannot carry `net_towers` so.
pub fn check_towers(towers: usize, net_towers: usize) -> Result<(), Usage> {
    if towers >= 1 && net_towers.is_multiple_of(towers) {
        return Ok(());
    }
    Err(Usage(format!(
        "--towers {towers}: the net's {net_towers} cannot be carried by {towers} devices; pass --towers 1 or \
         --towers {net_towers}"
    )))
}

/// A net is carried by one device, or by one per tower.
///
/// # Errors
/// If it is neither one nor one per tower.
pub fn check_count(gpus: &[usize], towers: Option<usize>, net_towers: usize) -> Result<()> {
    let count = gpus.len();
    if count != 1 && count != net_towers {
        let more = if net_towers > 1 { format!(", or {net_towers}") } else { String::new() };
        return Err(Usage(format!(
            "--gpus names {count} devices, and the net has {net_towers} towers: name 1 device{more}"
        ))
        .into());
    }
    if let Some(towers) = towers.filter(|towers| *towers != count) {
        return Err(
            Usage(format!("--towers {towers} on {count} GPUs: leave --towers out")).into()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_trained_in_tf32_is_scored_in_f32_where_there_is_no_tf32() {
        let choice = |capability| {
            let gpu = Gpu {
                index: 0,
                name: "Some GPU".into(),
                capability,
                memory_bytes: 1,
                multiprocessors: 1,
                clock_khz: 1,
                memory_clock_khz: 1,
                memory_bits: 1,
            };
            Choice::Cuda { found: Found { driver: 12_090, gpus: vec![gpu] }, gpus: vec![0] }
        };
        assert_eq!(choice((7, 5)).scores_in(Dtype::Tf32), Dtype::F32);
        assert_eq!(choice((8, 0)).scores_in(Dtype::Tf32), Dtype::Tf32);
        assert_eq!(choice((7, 5)).scores_in(Dtype::Bf16), Dtype::Bf16);
        assert!(choice((7, 5)).trains_in(Dtype::Tf32).is_err());
    }
}
