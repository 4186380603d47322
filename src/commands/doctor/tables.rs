//! What `alexnet doctor` found, as tables.

use super::report::{CopyLine, GpuLine, Gradients, LayerLine, Report, TowersLine};
use gpu::cuda::{images::OLDEST, libraries::Library};
use std::fmt;

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
        for speeds in &self.speeds {
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
            writeln!(f, "\nno time for:")?;
        }
        for skipped in &self.skipped {
            writeln!(f, "  {skipped}")?;
        }
        write!(f, "\nverdict   {}", self.verdict.name())?;
        Ok(())
    }
}

impl Report {
    fn write_layers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dtype = "";
        for line in &self.layers {
            if dtype != line.dtype {
                dtype = line.dtype;
                writeln!(
                    f,
                    "\n{:<36} {:<23} {:>9} {:>9} {:>9} {:>8} {:>9} {:>6}",
                    format!("op, {dtype}"),
                    "by",
                    "apart",
                    "ms",
                    "GFLOP/s",
                    "GB/s",
                    "bound ms",
                    "of it"
                )?;
            }
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
        self.towers.iter().try_for_each(|towers| towers.write(f))
    }
}

impl TowersLine {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}, steps of batch {}: losses", self.dtype, self.batch)?;
        let losses = |losses: &[f64]| {
            let all: Vec<String> = losses.iter().map(|loss| format!("{loss:.6}")).collect();
            all.join(" ")
        };
        let verdict = |apart| if self.agrees(apart) { "" } else { "  WRONG" };
        writeln!(f, "  CPU      {}", losses(&self.losses_cpu))?;
        writeln!(
            f,
            "  one GPU  {}  apart {:.1e}, {:.1} images/s{}",
            losses(&self.losses_one),
            self.apart_one,
            self.images_per_s_one,
            verdict(self.apart_one)
        )?;
        if let (Some(all), Some(apart), Some(images_per_s)) =
            (&self.losses_all, self.apart_all, self.images_per_s_all)
        {
            writeln!(
                f,
                "  towers   {}  apart {apart:.1e}, {images_per_s:.1} images/s{}",
                losses(all),
                verdict(apart)
            )?;
        }
        self.gradients().try_for_each(|(on, gradients)| {
            let Gradients { tensor, apart, .. } = gradients;
            let wrong = if gradients.agree() { "" } else { "  WRONG" };
            writeln!(f, "  gradients {on}: at most {apart:.1e} apart, {tensor}{wrong}")
        })
    }
}
