//! The command line.

mod bench;
mod tune;

pub use bench::{
    BenchCommand, BenchLayersArgs, BenchPipelineArgs, BenchStageArgs, BenchStepArgs,
    StepRecipeArgs,
};
pub use tune::Tune;

use crate::{
    config::{Dtype, Init},
    log::LogFormat,
};
use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{RangedU64ValueParser, TypedValueParser},
};
use pipeline::order::Shuffle;
use std::path::PathBuf;

/// Passes that `alexnet batch` looks ahead at most.
const EPOCH_MAX: u64 = 1_000_000;
/// Threads of a kind: as many as the largest machines have cores.
pub(super) const THREADS_MAX: u64 = 1024;

/// Trains the two-tower network of Krizhevsky, Sutskever and Hinton (2012) from JPEGs.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How progress, remarks and errors read on stderr.
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train; without --data, on procedural images that it makes itself.
    Run(Box<RunArgs>),
    /// Score a checkpoint on a data set.
    Eval(EvalArgs),
    /// Name what is in pictures.
    Predict(PredictArgs),
    /// Write a training batch as the towers would get it.
    Batch(BatchArgs),
    /// Print a preset, or the recipe that flags make of it.
    Config(ConfigArgs),
    /// Say what there is to compute on, and prove and measure GPUs.
    Doctor(Box<DoctorArgs>),
    /// Measure one part of the program beside what bounds it.
    Bench {
        /// Which part.
        #[command(subcommand)]
        command: BenchCommand,
    },
}

/// Which devices carry the towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// GPUs where there are any, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// GPUs: one per tower if there are as many, else the first.
    Cuda,
}

/// What to do about a training image that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnCorrupt {
    /// The next image of its class takes its place.
    Substitute,
    /// Its place in the batch stays empty.
    Skip,
    /// End the run.
    Fail,
}

impl From<OnCorrupt> for pipeline::feed::OnCorrupt {
    fn from(policy: OnCorrupt) -> Self {
        match policy {
            OnCorrupt::Substitute => Self::Substitute,
            OnCorrupt::Skip => Self::Skip,
            OnCorrupt::Fail => Self::Fail,
        }
    }
}

/// PCA lighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lighting {
    /// The 2012 source: standard deviations, then divided by 1.1.
    Stddev,
    /// Torch: eigenvalues of pixels scaled to 0..1.
    Eigenvalue01,
    /// None.
    Off,
}

impl From<Lighting> for pipeline::augment::Lighting {
    fn from(lighting: Lighting) -> Self {
        match lighting {
            Lighting::Stddev => Self::Stddev,
            Lighting::Eigenvalue01 => Self::Eigenvalue01,
            Lighting::Off => Self::Off,
        }
    }
}

/// How much of a training picture is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decode {
    /// All of it, so that damage anywhere in it is seen.
    Exact,
    /// What its crop is made of: faster, and pixels within 2 levels of the exact ones.
    Region,
}

impl From<Decode> for pipeline::feed::DecodeMode {
    fn from(decode: Decode) -> Self {
        match decode {
            Decode::Exact => Self::Exact,
            Decode::Region => Self::Region,
        }
    }
}

/// What makes the batches of a recipe: preset, then file, then flags.
#[derive(Debug, Args, Default)]
pub struct BatchRecipeArgs {
    /// two-tower-2012, the default, or demo, that of a run without --data.
    #[arg(long)]
    pub preset: Option<String>,
    /// TOML that overlays the preset, table by table; a list of layers replaces the preset's. See
    /// `alexnet config`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Images a step.
    #[arg(long, allow_negative_numbers = true)]
    pub batch: Option<usize>,
    /// Source of all chance.
    #[arg(long, allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// PCA lighting.
    #[arg(long)]
    pub lighting: Option<Lighting>,
    /// Order of the training images: global, block:N for storage that reads N neighbours faster,
    /// or packed.
    #[arg(long)]
    pub order: Option<Shuffle>,
    /// How much of a training picture is decoded; validation decodes all.
    #[arg(long)]
    pub decode: Option<Decode>,
}

/// What makes a recipe.
#[derive(Debug, Args, Default)]
pub struct RecipeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub batches: BatchRecipeArgs,
    /// Passes over the training set.
    #[arg(long, conflicts_with = "steps", allow_negative_numbers = true)]
    pub epochs: Option<u64>,
    /// Training steps, in place of epochs.
    #[arg(long, allow_negative_numbers = true)]
    pub steps: Option<u64>,
    /// First learning rate.
    #[arg(long, allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// First weights.
    #[arg(long)]
    pub init: Option<Init>,
    /// What layers multiply; sums, weights and velocities are f32.
    #[arg(long)]
    pub dtype: Option<Dtype>,
}

/// Where and with what to compute.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Which devices carry the towers.
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceKind,
    /// These GPUs, as in 0,1: one, or as many as the net has towers; 0,0 puts both on one.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "device")]
    pub gpus: Vec<usize>,
    /// Devices that share the net, 1 or as many as it has towers; the numbers are the same to
    /// rounding [default: one per tower if there are threads enough].
    #[arg(long, allow_negative_numbers = true)]
    pub towers: Option<usize>,
    /// Compute threads, all towers together [default: all cores].
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Data workers [default: all cores].
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub workers: Option<usize>,
}

/// A number of threads that an operating system may grant.
fn count() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::new().range(1..=THREADS_MAX)
}

impl ComputeArgs {
    /// Data workers.
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or_else(crate::devices::cores)
    }
}

/// `alexnet run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Shards that `prepack build` wrote, or train/CLASS/* and val/CLASS/*.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The run's folder [default: runs/PRESET, numbered if there is one].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the newest whole checkpoint in --out.
    #[arg(long)]
    pub resume: bool,
    /// Time on the GPUs, before the first step, what makes each product fastest, and keep that in the run's folder and
    /// for other runs [env: ALEXNET_TUNING names the file]. By itself, --tune means all.
    #[arg(long, value_enum, default_value_t = Tune::Tiles, default_missing_value = "all")]
    #[arg(num_args = 0..=1, require_equals = true, value_name = "WHAT")]
    pub tune: Tune,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub compute: ComputeArgs,
    /// Steps between checkpoints; each epoch ends with one in any case.
    #[arg(long, value_name = "STEPS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// Newest checkpoints kept, beside the best.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub keep: usize,
    /// What to do about a training image that cannot be used.
    #[arg(long, value_enum, default_value = "substitute")]
    pub on_corrupt: OnCorrupt,
    /// Such images after which the run ends.
    #[arg(long, default_value_t = 100)]
    pub corrupt_max: u64,
    /// End with exit code 1 if the loss stays that of guessing.
    #[arg(long)]
    pub stop_if_flat: bool,
    /// End the run when a tower has waited so long in a step for another, or for its GPU [default: 600 on the CPU,
    /// 60 on GPUs].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub patience: Option<u64>,
    /// Record a timeline of actors, slots and queues here, for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
}

/// `alexnet eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The checkpoint.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// The data set.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub compute: ComputeArgs,
    /// Score pictures that were rescaled in another way than those of the training, too.
    #[arg(long)]
    pub any_filter: bool,
    /// Images scored at a time [default: the checkpoint's batch].
    #[arg(long)]
    pub batch: Option<usize>,
}

/// `alexnet predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// Pictures.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Compute threads [default: all cores].
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub threads: Option<usize>,
}

/// `alexnet batch`.
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// The data set.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Pass over the training set, from 0.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=EPOCH_MAX))]
    pub epoch: u64,
    /// Step within the epoch, from 0.
    #[arg(long, default_value_t = 0)]
    pub step: u64,
    /// Data workers: the bytes do not depend on them.
    #[arg(long, value_parser = count(), allow_negative_numbers = true)]
    pub workers: Option<usize>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: BatchRecipeArgs,
    /// Write pixels, labels and ids here.
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: Option<PathBuf>,
    /// Write a sheet of pictures here, the mean added back.
    #[arg(long, value_name = "FILE.png")]
    pub png: Option<PathBuf>,
}

/// `alexnet doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// These GPUs, as in 0,1: one, or as many as the net has towers [default: as `run` takes them].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub gpus: Vec<usize>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: BatchRecipeArgs,
    /// What layers multiply, and what GPUs keep of activations, as in f32,bf16 [default: all that the GPUs have].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub dtype: Vec<Dtype>,
    /// Training steps that are timed. An emulated pair wants `--preset demo --batch 4 --steps 1`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub steps: u32,
    /// When it is to end: what there is no time for is left out, and said.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// JSON in place of the tables.
    #[arg(long)]
    pub json: bool,
}

/// `alexnet config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have theirs")]
    pub recipe: RecipeArgs,
    /// Print the preset as it is written, with its comments.
    #[arg(long)]
    pub annotated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
