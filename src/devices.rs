//! Which devices carry the towers, as the flags say.

use crate::{cli::DeviceKind, render::Hint};
use anyhow::{Result, ensure};
use gpu::cpu::Cpu;
use std::thread::available_parallelism;

/// Cores that this process may use.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// The CPU devices of a run: `towers` of them, which share `threads` threads.
///
/// # Errors
/// If there are fewer threads than towers, or GPUs are asked for: this version has none.
pub fn cpus(
    gpus: Option<&str>, threads: Option<usize>, towers: Option<usize>, net_towers: usize,
) -> Result<Vec<Cpu>> {
    if let Some(gpus) = gpus {
        return Err(Hint::new(
            format!("--gpus {gpus}: this version has no CUDA towers"),
            "pass --device cpu: the same towers run there",
        )
        .into());
    }
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
    let devices = (0..towers).map(|i| {
        // The first towers take what does not divide.
        let share = threads / towers + usize::from(i < threads % towers);
        Ok(Cpu::new(&format!("tower-{i}"), share)?)
    });
    devices.collect()
}

/// One line on what carries the net.
pub fn describe(kind: DeviceKind, threads: Option<usize>, towers: usize) -> String {
    let threads = threads.unwrap_or_else(cores);
    let auto = if kind == DeviceKind::Auto { "; this version has no CUDA towers" } else { "" };
    format!("device: CPU, {threads} threads, {towers} tower actors{auto}")
}
