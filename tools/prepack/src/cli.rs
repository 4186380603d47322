//! The command line.

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use pipeline::{dataset, pack, source::ListConfig, synth};
use std::{num::NonZeroUsize, path::PathBuf, thread};

/// Packs trees of pictures into shard files for training, and looks after them.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pack pictures, in any layout that ILSVRC comes in, into shards and dataset.json.
    Build(BuildArgs),
    /// Put the parts of a data set together that `build --part` packed.
    Merge(MergeArgs),
    /// Make a tree of procedural JPEGs, to try things on.
    Synth(SynthArgs),
    /// Read everything and hold it against its checksums.
    Verify(VerifyArgs),
    /// Tell what is in a packed set.
    Inspect(InspectArgs),
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// Pixels, ready to crop: fastest to read, 200 kB each at 256 px.
    Raw,
    /// The rescaled picture as a JPEG.
    Jpeg,
    /// The file as it is; rescaled when read.
    Original,
}

impl From<Encoding> for dataset::Encoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Raw => Self::Raw,
            Encoding::Jpeg => Self::Jpeg,
            Encoding::Original => Self::Original,
        }
    }
}

/// What to do about a file that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnCorrupt {
    /// Leave it out and list it.
    Skip,
    /// Give up.
    Fail,
}

impl From<OnCorrupt> for pack::PackPolicy {
    fn from(policy: OnCorrupt) -> Self {
        match policy {
            OnCorrupt::Skip => Self::Skip,
            OnCorrupt::Fail => Self::Fail,
        }
    }
}

/// What to do about copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dedupe {
    /// List them.
    Report,
    /// Leave out those among the training pictures.
    Drop,
}

impl From<Dedupe> for pack::Dedupe {
    fn from(dedupe: Dedupe) -> Self {
        match dedupe {
            Dedupe::Report => Self::Report,
            Dedupe::Drop => Self::Drop,
        }
    }
}

/// How a source without splits is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SplitBy {
    /// Half of each class to train on, half to validate on.
    Half,
}

/// `prepack build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// DIR/train/CLASS/*.JPEG and DIR/val likewise; the archives of ILSVRC-2012 or 2010 with their
    /// devkit; Kaggle's ILSVRC/Data/CLS-LOC; or a tar for each synset. Nothing is unpacked.
    #[arg(long, value_name = "DIR")]
    pub(crate) source: PathBuf,
    /// Where to write: a folder that is not there yet, or is empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Side of a stored picture, pixels.
    #[arg(long, default_value_t = 256,
        value_parser = clap::value_parser!(u16).range(1..=dataset::SIZE_MAX as i64))]
    pub(crate) size: u16,
    /// Threads [default: one a core].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// What a record holds.
    #[arg(long, value_enum, default_value_t = Encoding::Raw)]
    pub(crate) encoding: Encoding,
    /// JPEG quality, with --encoding jpeg [default: 90].
    #[arg(long, value_name = "Q", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
    /// With --encoding original, rewrite JPEGs without loss, with a marker after each row of blocks: the
    /// crops of `alexnet run --decode region` are decoded 11 % faster, and packing takes longer.
    #[arg(long)]
    pub(crate) row_markers: bool,
    /// Turn JPEGs by their EXIF orientation, which is ignored otherwise, as ImageNet's users do; not
    /// with --encoding original.
    #[arg(long)]
    pub(crate) exif_orientation: bool,
    /// What to do about a file that cannot be decoded.
    #[arg(long, value_enum, default_value_t = OnCorrupt::Skip)]
    pub(crate) on_corrupt: OnCorrupt,
    /// Pictures of the source for a shard; it has fewer if some are left out.
    #[arg(long, value_name = "N", default_value_t = pack::SHARD_RECORDS,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) shard_records: u32,
    /// Look for copies, byte for byte, also across train and val.
    #[arg(long, value_enum)]
    pub(crate) dedupe: Option<Dedupe>,
    /// Make half of each class the validation split, as the paper did for Fall 2009: for one tar a
    /// synset.
    #[arg(long, value_enum, requires = "seed")]
    split: Option<SplitBy>,
    /// Which half, with --split.
    #[arg(long, requires = "split")]
    seed: Option<u64>,
    /// Pack part I of N only, on one of N machines; then `prepack merge`.
    #[arg(long, value_name = "I/N")]
    pub(crate) part: Option<pack::Part>,
    /// First hold the archives against their published MD5 sums.
    #[arg(long)]
    pub(crate) verify_source: bool,
}

/// `prepack merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Where to write: a folder that is not there yet, or is empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Threads [default: one a core].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// The folders that `build --part` wrote, all of them.
    #[arg(required = true, value_name = "PART")]
    pub(crate) parts: Vec<PathBuf>,
}

/// `prepack synth`.
#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// Classes.
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=synth::CLASSES_MAX as i64))]
    pub(crate) classes: u32,
    /// Training pictures of each class.
    #[arg(long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=synth::PER_CLASS_MAX as i64))]
    pub(crate) per_class: u32,
    /// Validation pictures of each class.
    #[arg(long, value_name = "N", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(..=synth::PER_CLASS_MAX as i64))]
    pub(crate) val_per_class: u32,
    /// Another seed, other pictures of the same classes.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to write: a folder that is not there yet, or is empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Threads [default: one a core].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// The pictures' shorter side, pixels [default: as in ILSVRC, mostly 500 x 375].
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32)
        .range(synth::SIDE_MIN as i64..=synth::SIDE_MAX as i64))]
    pub(crate) side: Option<u32>,
}

/// `prepack verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A folder that `prepack build` wrote, or one shard of it.
    #[arg(value_name = "DIR|SHARD")]
    pub(crate) path: PathBuf,
}

/// `prepack inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A folder that `prepack build` wrote.
    #[arg(value_name = "DIR")]
    pub(crate) path: PathBuf,
    /// Write a few training pictures of each class to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
}

impl BuildArgs {
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(cores, NonZeroUsize::get)
    }

    /// Flags that have no use beside others.
    fn conflict(&self) -> Option<&'static str> {
        if self.quality.is_some() && self.encoding != Encoding::Jpeg {
            return Some("--quality needs --encoding jpeg");
        }
        let stays = self.encoding == Encoding::Original;
        if self.row_markers && !stays {
            return Some("--row-markers needs --encoding original");
        }
        (self.exif_orientation && stays).then_some(
            "--exif-orientation needs --encoding raw or jpeg: original files stay as they are",
        )
    }

    pub(crate) fn list(&self) -> ListConfig {
        ListConfig { halves: self.split.and(self.seed) }
    }
}

impl MergeArgs {
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(cores, NonZeroUsize::get)
    }
}

impl SynthArgs {
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.map_or_else(cores, NonZeroUsize::get)
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Cli {
    /// Parses the command line; ends the process with code 2 if it makes no sense.
    pub(crate) fn parse_checked() -> Self {
        let cli = Self::parse();
        if let Command::Build(args) = &cli.command
            && let Some(says) = args.conflict()
        {
            let mut command = Self::command();
            command.build();
            let build = command.find_subcommand_mut("build").expect("it was parsed");
            build.error(ErrorKind::ArgumentConflict, says).exit();
        }
        cli
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_defaults_are_the_library_s() {
        let help =
            BuildArgs::augment_args(clap::Command::new("build")).render_help().to_string();
        assert!(help.contains(&format!("[default: {}]", pack::QUALITY)), "{help}");
    }
}
