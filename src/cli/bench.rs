//! The command line of `alexnet bench`.

use super::{BatchRecipeArgs, RecipeArgs, THREADS_MAX, count};
use crate::config::Dtype;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What `alexnet bench` measures.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Whole training steps on a made-up batch: no pipeline.
    Train(Box<BenchStepArgs>),
    /// The same forward only, as at validation.
    Infer(Box<BenchStepArgs>),
    /// Each pass of each layer.
    Layers(Box<BenchLayersArgs>),
    /// Records as they are stored, read in a training order.
    Storage(BenchStageArgs),
    /// Files to pixels, whole pictures and regions of crops.
    Decode(BenchStageArgs),
    /// Pixels to the stored square, and to crops of it.
    Resize(BenchStageArgs),
    /// Stored squares to the elements of a slot.
    Augment(BenchStageArgs),
    /// All of it: the feed of a run, whose batches nobody uses.
    Pipeline(Box<BenchPipelineArgs>),
}

/// What the speed of a step depends on.
#[derive(Debug, Args)]
pub struct StepRecipeArgs {
    /// two-tower-2012, the default, or demo.
    #[arg(long)]
    pub preset: Option<String>,
    /// TOML that overlays the preset, as that of `alexnet run`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Images a step.
    #[arg(long, allow_negative_numbers = true)]
    pub batch: Option<usize>,
    /// What layers multiply; sums, weights and velocities are f32.
    #[arg(long)]
    pub dtype: Option<Dtype>,
}

impl StepRecipeArgs {
    /// The same among all flags of a recipe.
    pub fn recipe(&self) -> RecipeArgs {
        let (preset, config) = (self.preset.clone(), self.config.clone());
        let batches =
            BatchRecipeArgs { preset, config, batch: self.batch, ..BatchRecipeArgs::default() };
        RecipeArgs { batches, dtype: self.dtype, ..RecipeArgs::default() }
    }
}

/// `alexnet bench train` and `alexnet bench infer`.
#[derive(Debug, Args)]
pub struct BenchStepArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: StepRecipeArgs,
    /// Steps that are timed, after one that is not.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// Devices that share the net, 1 or as many as it has towers [default: one per tower if there are threads
    /// enough].
    #[arg(long, allow_negative_numbers = true)]
    pub towers: Option<usize>,
    /// Compute threads, all towers together [default: all cores].
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// One line of JSON in place of the table.
    #[arg(long)]
    pub json: bool,
}

/// `alexnet bench layers`.
#[derive(Debug, Args)]
pub struct BenchLayersArgs {
    /// Only these, as `conv2`.
    pub layers: Vec<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: StepRecipeArgs,
    /// Devices that share the net; one of them is measured, with one source of a layer that has several.
    #[arg(long, allow_negative_numbers = true)]
    pub towers: Option<usize>,
    /// Threads of that device.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX as i64))]
    pub threads: u16,
    /// Times that each is measured; the best counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// One line of JSON in place of the table.
    #[arg(long)]
    pub json: bool,
}

/// `alexnet bench` of one stage of the pipeline.
#[derive(Debug, Args)]
pub struct BenchStageArgs {
    /// Shards that `prepack build` wrote, or train/CLASS/* and val/CLASS/*.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The first so many training images.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub images: u32,
    /// Threads [default: all cores].
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Measure each thing, and its bound by turns with it, for so long.
    #[arg(long, default_value_t = 3.0, allow_negative_numbers = true)]
    pub seconds: f64,
    /// One line of JSON in place of the table.
    #[arg(long)]
    pub json: bool,
}

/// `alexnet bench pipeline`.
#[derive(Debug, Args)]
pub struct BenchPipelineArgs {
    /// Shards that `prepack build` wrote, or train/CLASS/* and val/CLASS/*.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: BatchRecipeArgs,
    /// Data workers [default: all cores].
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub workers: Option<usize>,
    /// What slots are made of.
    #[arg(long, value_enum, default_value = "f32")]
    pub element: Element,
    /// Measure for so long, after as long a warm-up as an epoch, or this.
    #[arg(long, default_value_t = 10.0, allow_negative_numbers = true)]
    pub seconds: f64,
    /// Record a timeline of actors, slots and queues here, for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
    /// One line of JSON in place of the table.
    #[arg(long)]
    pub json: bool,
}

/// What a value of a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Element {
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
}

impl From<Element> for pipeline::augment::Element {
    fn from(element: Element) -> Self {
        match element {
            Element::F32 => Self::F32,
            Element::F16 => Self::F16,
            Element::Bf16 => Self::Bf16,
        }
    }
}
