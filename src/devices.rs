//! Which devices carry the towers, as the flags say.

use crate::{cli::DeviceKind, render::Hint};
use anyhow::{Result, ensure};
use gpu::cpu::{Cores, Cpu};
use serde::{Deserialize, Serialize};
use std::thread::available_parallelism;

/// Cores that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// How a net is carried. Sums are rounded in an order that depends on it: the same share gives the
/// same bits, others agree to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Devices, which share the net's towers.
    pub towers: usize,
    /// Threads of all devices together.
    pub threads: usize,
}

impl Share {
    /// What the flags say, for a net of `net_towers`; where they do not, all cores, and a device per
    /// tower if there are threads enough.
    ///
    /// # Errors
    /// If there are fewer threads than towers.
    pub fn new(
        threads: Option<usize>, towers: Option<usize>, net_towers: usize,
    ) -> Result<Self> {
        let threads = threads.unwrap_or_else(cores);
        let towers = towers.unwrap_or(if threads >= net_towers { net_towers } else { 1 });
        ensure!(
            towers >= 1 && net_towers.is_multiple_of(towers),
            Hint::new(
                format!(
                    "--towers {towers}: the net's {net_towers} cannot be carried by {towers} devices"
                ),
                format!("pass --towers 1 or --towers {net_towers}"),
            )
        );
        ensure!(
            threads >= towers,
            Hint::new(
                format!("--threads {threads}: {towers} towers need one each"),
                "pass --towers 1 to carry the net on one device, or more --threads",
            )
        );
        Ok(Self { towers, threads })
    }

    /// The CPU devices. Where they take all cores, each worker stays on one of its own, those of a tower
    /// side by side; where they do not, the system knows better which ones are idle.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn cpus(self) -> Result<Vec<Cpu>> {
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

    /// One line on what carries the net.
    pub fn describe(self, kind: DeviceKind) -> String {
        let auto =
            if kind == DeviceKind::Auto { "; this version has no CUDA towers" } else { "" };
        format!("device: CPU, {} threads, {} tower actors{auto}", self.threads, self.towers)
    }
}

/// This version has no CUDA towers.
///
/// # Errors
/// If GPUs are asked for.
pub fn no_gpus(gpus: Option<&str>) -> Result<()> {
    ensure!(
        gpus.is_none(),
        Hint::new(
            format!("--gpus {}: this version has no CUDA towers", gpus.unwrap_or_default()),
            "pass --device cpu: the same towers run there",
        )
    );
    Ok(())
}
