//! What `alexnet doctor` found, as tables and as JSON.

use super::{bed::Task, speeds::Speeds};
use crate::commands::pinned::PinnedLine;
use gpu::cuda::{Numbers, images::OLDEST, libraries::Library, probe::Gpu};
use serde::{Serialize, Serializer};
use std::fmt;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// The CUDA version of the driver.
    pub(super) driver: Option<String>,
    /// Why there is nothing to compute on.
    pub(super) missing: Option<String>,
    pub(super) gpus: Vec<GpuLine>,
    #[serde(serialize_with = "libraries")]
    pub(super) libraries: Vec<Library>,
    /// What may be pinned.
    pub(super) pinned: Option<PinnedLine>,
    pub(super) layers: Vec<LayerLine>,
    /// Of the first GPU.
    pub(super) speeds: Option<Speeds>,
    pub(super) copies: Vec<CopyLine>,
    pub(super) towers: Option<TowersLine>,
    /// What the GPUs had to say.
    pub(super) remarks: Vec<String>,
    /// What there was no time for.
    pub(super) skipped: Vec<String>,
    /// All of it took so long.
    pub(super) seconds: f64,
}

fn libraries<S: Serializer>(all: &[Library], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(all.iter().map(|Library { name, found, .. }| {
        // Its version, or nothing.
        (*name, found.as_ref().ok())
    }))
}

/// A GPU.
#[derive(Debug, Serialize)]
pub(super) struct GpuLine {
    index: usize,
    name: String,
    capability: (u32, u32),
    usable: bool,
    memory_mib: usize,
    peak_gflops: f64,
    peak_gbps: f64,
}

impl GpuLine {
    pub(super) fn new(gpu: &Gpu) -> Self {
        Self {
            index: gpu.index,
            name: gpu.name.clone(),
            capability: gpu.capability,
            usable: gpu.capability >= OLDEST,
            memory_mib: gpu.memory_bytes >> 20,
            peak_gflops: gpu.peak_gflops(),
            peak_gbps: gpu.peak_gbps(),
        }
    }
}

/// An op on a GPU.
#[derive(Debug, Serialize)]
pub(super) struct LayerLine {
    /// Of which layer, if it is a part of every step.
    pub(super) layer: Option<String>,
    op: String,
    /// By which kernels, or by libraries.
    pub(super) by: String,
    /// From the CPU's result, relative.
    apart: f64,
    apart_max: f64,
    pub(super) ms: f64,
    gflops: f64,
    gbps: f64,
    /// What the GPU's multiply-adds or its memory allow, whichever takes longer.
    pub(super) bound_ms: f64,
    share_of_bound: f64,
}

impl LayerLine {
    pub(super) fn new(
        (layer, op): (Option<String>, String), by: String, (apart, apart_max): (f64, f64),
        seconds: f64, (task, numbers, batch): (&Task, Numbers, usize),
        (peak_gflops, peak_gbps): (f64, f64),
    ) -> Self {
        let (flop, bytes) = (task.flop(batch) * 1e-9, task.bytes(numbers, batch) * 1e-9);
        let bound = (flop / peak_gflops).max(bytes / peak_gbps);
        Self {
            layer,
            op,
            by,
            apart,
            apart_max,
            ms: seconds * 1e3,
            gflops: flop / seconds,
            gbps: bytes / seconds,
            bound_ms: bound * 1e3,
            share_of_bound: bound / seconds,
        }
    }

    /// What it is, for the one who reads what is wrong.
    fn name(&self) -> String {
        format!("{} by {}", self.op, self.by)
    }

    fn agrees(&self) -> bool {
        self.apart <= self.apart_max
    }
}

/// A copy.
#[derive(Debug, Serialize)]
pub(super) struct CopyLine {
    way: String,
    gbps: f64,
}

impl CopyLine {
    pub(super) fn new(way: String, bytes: usize, seconds: f64) -> Self {
        Self { way, gbps: bytes as f64 / seconds * 1e-9 }
    }
}

/// Whole training steps.
#[derive(Debug, Serialize)]
pub(super) struct TowersLine {
    pub(super) batch: usize,
    pub(super) losses_cpu: Vec<f64>,
    pub(super) losses_one: Vec<f64>,
    pub(super) losses_all: Option<Vec<f64>>,
    pub(super) apart_max: f64,
    /// From the CPU's losses, relative to them or to 1 where they are less.
    pub(super) apart_one: f64,
    pub(super) apart_all: Option<f64>,
    pub(super) images_per_s_one: f64,
    pub(super) images_per_s_all: Option<f64>,
}

impl Report {
    /// Keeps a remark, once.
    pub(super) fn remark(&mut self, text: String) {
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// What differs from the CPU.
    pub(super) fn wrong(&self) -> Vec<String> {
        let layers = self.layers.iter().filter(|line| !line.agrees());
        let mut wrong: Vec<String> = layers.map(LayerLine::name).collect();
        if let Some(towers) = &self.towers {
            let all = [
                ("losses on one GPU", Some(towers.apart_one)),
                ("losses on all GPUs", towers.apart_all),
            ];
            for (what, apart) in all {
                if apart.is_some_and(|apart| apart > towers.apart_max) {
                    wrong.push(what.into());
                }
            }
        }
        wrong
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.driver, &self.missing) {
            (Some(driver), _) => writeln!(f, "driver    CUDA {driver}")?,
            (None, Some(why)) => writeln!(f, "driver    {why}")?,
            (None, None) => writeln!(f, "driver    unknown")?,
        }
        if self.gpus.is_empty() {
            writeln!(f, "GPUs      none")?;
        }
        for gpu in &self.gpus {
            let GpuLine { index, name, capability: (major, minor), memory_mib, .. } = gpu;
            let use_of = if gpu.usable { "" } else { ", too old for the kernels" };
            writeln!(
                f,
                "gpu {index}     {name}, sm_{major}{minor}, {memory_mib} MiB, {:.0} GFLOP/s, {:.0} GB/s{use_of}",
                gpu.peak_gflops, gpu.peak_gbps
            )?;
        }
        let (major, minor) = OLDEST;
        writeln!(
            f,
            "kernels   in this program, for compute capability {major}.{minor} and newer"
        )?;
        for Library { name, file, found } in &self.libraries {
            match found {
                Ok(version) => writeln!(f, "{name:<9} {version} ({file})")?,
                Err(why) => writeln!(f, "{name:<9} {why}; nothing needs it")?,
            }
        }
        if let Some(pinned) = &self.pinned {
            writeln!(f, "pinned    {pinned}")?;
        }
        self.write_layers(f)?;
        if let Some(speeds) = &self.speeds {
            writeln!(f, "\n{speeds}")?;
        }
        if !self.copies.is_empty() {
            writeln!(f, "\ncopies")?;
        }
        for CopyLine { way, gbps } in &self.copies {
            writeln!(f, "  {gbps:8.2} GB/s  {way}")?;
        }
        self.write_towers(f)?;
        for remark in &self.remarks {
            writeln!(f, "\n{remark}")?;
        }
        if !self.skipped.is_empty() {
            writeln!(f, "\nno time for: {}", self.skipped.join("; "))?;
        }
        Ok(())
    }
}

impl Report {
    fn write_layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.layers.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<36} {:<23} {:>9} {:>9} {:>9} {:>8} {:>9} {:>6}",
            "op", "by", "apart", "ms", "GFLOP/s", "GB/s", "bound ms", "of it"
        )?;
        for line in &self.layers {
            let LayerLine { op, by, apart, ms, gflops, gbps, bound_ms, .. } = line;
            let wrong = if line.agrees() { "" } else { "  WRONG" };
            let share = line.share_of_bound * 100.0;
            writeln!(
                f,
                "{op:<36} {by:<23} {apart:9.1e} {ms:9.3} {gflops:9.1} {gbps:8.1} {bound_ms:9.3} {share:4.0} %{wrong}"
            )?;
        }
        Ok(())
    }

    fn write_towers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(towers) = &self.towers else { return Ok(()) };
        writeln!(f, "\nsteps of batch {}: losses", towers.batch)?;
        let losses = |losses: &[f64]| {
            let all: Vec<String> = losses.iter().map(|loss| format!("{loss:.6}")).collect();
            all.join(" ")
        };
        writeln!(f, "  CPU      {}", losses(&towers.losses_cpu))?;
        writeln!(
            f,
            "  one GPU  {}  apart {:.1e}, {:.1} images/s",
            losses(&towers.losses_one),
            towers.apart_one,
            towers.images_per_s_one
        )?;
        if let (Some(all), Some(apart), Some(images_per_s)) =
            (&towers.losses_all, towers.apart_all, towers.images_per_s_all)
        {
            writeln!(
                f,
                "  towers   {}  apart {apart:.1e}, {images_per_s:.1} images/s",
                losses(all)
            )?;
        }
        Ok(())
    }
}
