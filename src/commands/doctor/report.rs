//! What `alexnet doctor` found, as JSON has it.

use super::{speeds::Speeds, task::Task, towers::COMPARED};
use crate::commands::pinned::PinnedLine;
use gpu::cuda::{Numbers, images::OLDEST, libraries::Library, probe::Gpu};
use serde::{Serialize, Serializer};

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
    pub(super) speeds: Vec<Speeds>,
    pub(super) copies: Vec<CopyLine>,
    pub(super) towers: Vec<TowersLine>,
    /// What the GPUs had to say.
    pub(super) remarks: Vec<String>,
    /// What there was no time for.
    pub(super) skipped: Vec<String>,
    /// What ended it early.
    pub(super) failed: Option<String>,
    /// All of it took so long.
    pub(super) seconds: f64,
    /// What it comes to.
    pub(super) verdict: Verdict,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// There was nothing to try, or it failed.
    #[default]
    Failed,
    /// Something else than the CPU computes.
    Wrong,
    /// What was tried is as the CPU computes it, and there was no time for the rest.
    Incomplete,
    /// All was tried, and is as the CPU computes it.
    Sound,
}

fn libraries<S: Serializer>(all: &[Library], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(all.iter().map(|Library { name, found, .. }| {
        // Its version, or nothing.
        (*name, found.as_ref().ok())
    }))
}

impl Verdict {
    /// As JSON has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Wrong => "wrong",
            Self::Incomplete => "incomplete",
            Self::Sound => "sound",
        }
    }
}

/// A GPU.
#[derive(Debug, Serialize)]
pub(super) struct GpuLine {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) capability: (u32, u32),
    pub(super) usable: bool,
    pub(super) memory_mib: usize,
    pub(super) peak_gflops: f64,
    pub(super) peak_gbps: f64,
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
    /// Of which GPU.
    pub(super) gpu: usize,
    /// What products multiply.
    pub(super) dtype: &'static str,
    /// Of which layer, if it is a part of every step.
    pub(super) layer: Option<String>,
    pub(super) op: String,
    /// By which kernels, or by libraries.
    pub(super) by: String,
    /// From the CPU's result, relative.
    pub(super) apart: f64,
    pub(super) apart_max: f64,
    pub(super) ms: f64,
    pub(super) gflops: f64,
    pub(super) gbps: f64,
    /// What the GPU's multiply-adds or its memory allow, whichever takes longer.
    pub(super) bound_ms: f64,
    pub(super) share_of_bound: f64,
}

impl LayerLine {
    pub(super) fn new(
        (layer, op): (Option<String>, String), (gpu, by): (usize, String),
        (apart, apart_max): (f64, f64), seconds: f64,
        (task, numbers, batch): (&Task, Numbers, usize), (peak_gflops, peak_gbps): (f64, f64),
    ) -> Self {
        let (flop, bytes) = (task.flop(batch) * 1e-9, task.bytes(numbers, batch) * 1e-9);
        let bound = (flop / peak_gflops).max(bytes / peak_gbps);
        Self {
            gpu,
            dtype: numbers.name(),
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
        format!("{} by {} in {}", self.op, self.by, self.dtype)
    }

    pub(super) fn agrees(&self) -> bool {
        self.apart <= self.apart_max
    }
}

/// A copy.
#[derive(Debug, Serialize)]
pub(super) struct CopyLine {
    pub(super) way: String,
    pub(super) gbps: f64,
}

impl CopyLine {
    pub(super) fn new(way: String, bytes: usize, seconds: f64) -> Self {
        Self { way, gbps: bytes as f64 / seconds * 1e-9 }
    }
}

/// Whole training steps.
#[derive(Debug, Serialize)]
pub(super) struct TowersLine {
    /// What products multiply on GPUs.
    pub(super) dtype: &'static str,
    pub(super) batch: usize,
    /// In `f32`.
    pub(super) losses_cpu: Vec<f64>,
    pub(super) losses_one: Vec<f64>,
    pub(super) losses_all: Option<Vec<f64>>,
    pub(super) apart_max: f64,
    /// From the CPU's losses, relative to them or to 1 where they are less.
    pub(super) apart_one: f64,
    pub(super) apart_all: Option<f64>,
    /// Of the first step, on one GPU from the CPU's.
    pub(super) gradients_one: Gradients,
    /// On all of them.
    pub(super) gradients_all: Option<Gradients>,
    /// On all of them, from those of one.
    pub(super) gradients_all_from_one: Option<Gradients>,
    pub(super) images_per_s_one: f64,
    pub(super) images_per_s_all: Option<f64>,
}

/// Gradients of all tensors beside others.
#[derive(Debug, Serialize)]
pub(super) struct Gradients {
    /// The one that lies furthest apart.
    pub(super) tensor: String,
    /// How far, relative to its norm.
    pub(super) apart: f64,
    pub(super) apart_max: f64,
}

impl Gradients {
    pub(super) fn agree(&self) -> bool {
        self.apart <= self.apart_max
    }
}

impl TowersLine {
    /// Whether losses lie so near the CPU's; what is no number agrees with nothing.
    pub(super) fn agrees(&self, apart: f64) -> bool {
        apart <= self.apart_max
    }

    /// Those of the first step, and where.
    pub(super) fn gradients(&self) -> impl Iterator<Item = (&'static str, &Gradients)> {
        let all = [
            ("on one GPU", Some(&self.gradients_one)),
            ("on all GPUs", self.gradients_all.as_ref()),
            ("on all GPUs beside one", self.gradients_all_from_one.as_ref()),
        ];
        all.into_iter().filter_map(|(on, gradients)| Some((on, gradients?)))
    }

    /// Whether there was time for all steps.
    pub(super) fn complete(&self) -> bool {
        let len = |losses: &Vec<f64>| losses.len() == COMPARED as usize;
        len(&self.losses_cpu)
            && len(&self.losses_one)
            && self.losses_all.as_ref().is_none_or(len)
    }
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
        for towers in &self.towers {
            let all = [
                ("losses on one GPU", Some(towers.apart_one)),
                ("losses on all GPUs", towers.apart_all),
            ];
            for (what, apart) in all {
                if !apart.is_none_or(|apart| towers.agrees(apart)) {
                    wrong.push(format!("{what} in {}", towers.dtype));
                }
            }
            for (on, gradients) in towers.gradients() {
                if !gradients.agree() {
                    let (tensor, dtype) = (&gradients.tensor, towers.dtype);
                    wrong.push(format!("the gradient of {tensor} {on} in {dtype}"));
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::task::End;
    use gpu::{device::Activation, ops::linear::Linear};

    fn line(apart: f64) -> LayerLine {
        let op = Linear {
            inputs: 4,
            outputs: 2,
            weight_inputs: 4,
            weight_offset: 0,
            dtype: gpu::ops::Dtype::F32,
        };
        let end = End { bias: true, accumulate: false, activation: Activation::None };
        let task = Task::Linear { op, pass: gpu::ops::conv::Pass::Forward, pixels: 1, end };
        let op = (Some("fc6".into()), "fc6 forward".into());
        let bounds = (apart, 1e-4);
        LayerLine::new(
            op,
            (0, "sm_80.cubin".into()),
            bounds,
            1.0,
            (&task, Numbers::Bf16, 1),
            (1.0, 1.0),
        )
    }

    fn towers(apart_one: f64, apart_all: Option<f64>) -> TowersLine {
        TowersLine {
            dtype: "f16",
            batch: 1,
            losses_cpu: vec![1.0; 3],
            losses_one: vec![1.0; 3],
            losses_all: None,
            apart_max: 5e-3,
            apart_one,
            apart_all,
            gradients_one: gradients(0.0),
            gradients_all: None,
            gradients_all_from_one: None,
            images_per_s_one: 1.0,
            images_per_s_all: None,
        }
    }

    fn gradients(apart: f64) -> Gradients {
        Gradients { tensor: "conv2.weight".into(), apart, apart_max: 0.1 }
    }

    #[test]
    fn what_differs_from_the_cpu_is_named_and_so_is_what_is_no_number() {
        let sound = || Report {
            layers: vec![line(1e-5)],
            towers: vec![towers(1e-3, Some(0.0)), towers(0.0, None)],
            ..Report::default()
        };
        assert!(sound().wrong().is_empty());
        for bad in [2e-4, f64::INFINITY, f64::NAN] {
            let mut report = sound();
            report.layers.push(line(bad));
            assert_eq!(report.wrong(), ["fc6 forward by sm_80.cubin in bf16"]);
            assert!(report.to_string().contains("WRONG"));
            assert!(!sound().to_string().contains("WRONG"));
        }
        for bad in [6e-3, f64::INFINITY, f64::NAN] {
            let mut report = sound();
            report.towers.push(towers(bad, Some(bad)));
            let wrong = ["losses on one GPU in f16", "losses on all GPUs in f16"];
            assert_eq!(report.wrong(), wrong);
        }
        for bad in [0.2, f64::INFINITY, f64::NAN] {
            let mut report = sound();
            let [one, all] = [bad, 0.0].map(|apart| Some(gradients(apart)));
            let beside = TowersLine {
                gradients_all: all,
                gradients_all_from_one: one,
                ..towers(0.0, None)
            };
            report.towers.push(beside);
            let wrong = "the gradient of conv2.weight on all GPUs beside one in f16";
            assert_eq!(report.wrong(), [wrong]);
            assert!(report.to_string().contains("WRONG"));
        }
    }

    #[test]
    fn towers_that_stop_early_are_not_complete() {
        assert!(towers(0.0, None).complete());
        let short = TowersLine { losses_one: vec![1.0; 2], ..towers(0.0, None) };
        assert!(!short.complete());
        let short = TowersLine { losses_all: Some(vec![]), ..towers(0.0, None) };
        assert!(!short.complete());
    }
}
