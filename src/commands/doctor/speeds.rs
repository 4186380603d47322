//! Images a second by layer and in all, beside what the GPU's multiply-adds and its memory allow.

use super::report::LayerLine;
use crate::render::counted;
use gpu::cuda::{Numbers, probe::Gpu};
use serde::Serialize;
use std::fmt;

/// A layer's share of a training step on one of the GPUs.
#[derive(Debug, Serialize)]
pub(super) struct SpeedLine {
    layer: String,
    /// By our own kernels, each by the tile that it takes by itself: a run without libraries takes the fastest one.
    ms: f64,
    /// The same where libraries make what they can.
    ms_libraries: Option<f64>,
    bound_ms: f64,
}

/// All layers of a tower.
#[derive(Debug, Serialize)]
pub(super) struct Speeds {
    /// What products multiply.
    dtype: &'static str,
    batch: usize,
    devices: usize,
    /// Where the bounds' peaks are from.
    peaks: &'static str,
    lines: Vec<SpeedLine>,
}

impl Speeds {
    /// Those of `lines` that tell of this GPU and these numbers, of which the first way is our kernels.
    pub(super) fn of(
        gpu: &Gpu, numbers: Numbers, lines: &[LayerLine], batch: usize, devices: usize,
    ) -> Option<Self> {
        let dtype = numbers.name();
        let lines = lines.iter().filter(|line| line.gpu == gpu.index && line.dtype == dtype);
        let own = &lines.clone().next()?.by;
        let mut speeds: Vec<SpeedLine> = vec![];
        let mut own_ms = 0.0;
        for line in lines {
            let Some(layer) = &line.layer else { continue };
            if speeds.last().is_none_or(|speed| speed.layer != *layer) {
                let layer = layer.clone();
                speeds.push(SpeedLine { layer, ms: 0.0, ms_libraries: None, bound_ms: 0.0 });
            }
            let speed = speeds.last_mut().expect("one was pushed");
            if line.by == *own {
                own_ms = line.ms;
                speed.ms += line.ms;
                speed.bound_ms += line.bound_ms;
                speed.ms_libraries = speed.ms_libraries.map(|ms| ms + line.ms);
            } else if line.by == "libraries" {
                // In the place of our kernel, which stands before it.
                let so_far = speed.ms_libraries.unwrap_or(speed.ms);
                speed.ms_libraries = Some(so_far - own_ms + line.ms);
            }
        }
        let peaks = if gpu.data_sheet().is_some() { "data sheet" } else { "its clocks" };
        Some(Self { dtype, batch, devices, peaks, lines: speeds })
    }
}

impl fmt::Display for Speeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, devices, peaks, lines } = self;
        let rate = |ms: f64| *batch as f64 / ms * 1e3;
        writeln!(
            f,
            "{dtype}: a step on one of {}, without the exchange, images/s{:>14} {:>12} {:>12}",
            counted(*devices, "device"),
            "own kernels",
            "libraries",
            "bound"
        )?;
        let (mut all, mut by_libraries, mut bound) = (0.0, 0.0, 0.0);
        let mut write = |name: &str, own: f64, libraries: f64, bound: f64| {
            writeln!(
                f,
                "  {name:<54} {:14.0} {:12.0} {:12.0}",
                rate(own),
                rate(libraries),
                rate(bound)
            )
        };
        for SpeedLine { layer, ms, ms_libraries, bound_ms } in lines {
            let libraries = ms_libraries.unwrap_or(*ms);
            write(layer, *ms, libraries, *bound_ms)?;
            (all, by_libraries, bound) = (all + ms, by_libraries + libraries, bound + bound_ms);
        }
        write("all", all, by_libraries, bound)?;
        write!(f, "  bounds by peaks of {peaks}, as in docs/gpu-roofline.md")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::task::Task, *};
    use gpu::cuda::probe::DATA_SHEETS;
    use std::path::Path;

    #[test]
    fn a_library_stands_in_the_place_of_the_kernel_before_it() {
        let gpu = Gpu {
            index: 0,
            name: "Some GPU".into(),
            capability: (8, 0),
            memory_bytes: 1,
            multiprocessors: 1,
            clock_khz: 1000,
            memory_clock_khz: 1000,
            memory_bits: 8,
        };
        let task = Task::Sgd { len: 4 };
        let line = |layer: Option<&str>, by: &str, seconds| {
            let op = (layer.map(str::to_owned), String::new());
            let made = (&task, Numbers::F32, 1);
            LayerLine::new(op, (0, by.into()), (0.0, 0.0), seconds, made, (1.0, 1.0))
        };
        let lines = [
            line(Some("conv1"), "sm_80", 0.004),
            line(Some("conv1"), "ptx", 0.009),
            line(Some("conv1"), "libraries", 0.001),
            line(Some("conv1"), "sm_80", 0.002),
            line(Some("fc6"), "sm_80", 0.003),
            line(None, "sm_80", 0.5),
        ];
        let speeds = Speeds::of(&gpu, Numbers::F32, &lines, 12, 2).expect("lines").lines;
        let found: Vec<_> = speeds
            .iter()
            .map(|line| {
                let us = |ms: f64| (ms * 1e3).round();
                (line.layer.as_str(), us(line.ms), line.ms_libraries.map(us))
            })
            .collect();
        assert_eq!(found, [("conv1", 6000.0, Some(3000.0)), ("fc6", 3000.0, None)]);
    }

    #[test]
    fn peaks_are_those_of_the_model_on_paper() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gpu-roofline.py");
        let text = std::fs::read_to_string(script).expect("the script");
        // `"A100 40 GB": (19.5, 312.0, 1555, {..`
        let rows = text.lines().filter_map(|line| {
            let numbers = line.trim().strip_prefix('"')?.split_once("\": (")?.1;
            let mut numbers = numbers.split(", ");
            let mut next = || numbers.next()?.parse::<f64>().ok();
            Some([next()?, next()?, next()?])
        });
        let ours = DATA_SHEETS.iter();
        let ours = ours.map(|sheet| [sheet.f32_tflops, sheet.halves_tflops, sheet.gbps]);
        assert_eq!(rows.collect::<Vec<_>>(), ours.collect::<Vec<_>>());
    }
}
