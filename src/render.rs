//! What the user sees of an error: what failed, because of what, and what to try.

use crate::{
    checkpoint::CheckpointError, config::ConfigError, diverged::Diverged, log,
    rundir::RunDirError, supervisor::EXIT_INTERRUPTED, tower::TowerError,
};
use anyhow::Result;
use gpu::{cuda::probe::Unusable, device::DeviceError};
use pipeline::{
    dataset::DatasetError,
    feed::FeedError,
    pack::PackError,
    shard::ShardError,
    source::{OpenError, SampleError},
};
use std::{fmt::Write as _, io::Write as _, process::ExitCode};

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All of it.
    All,
    /// Interrupted after a checkpoint.
    Interrupted,
}

/// `1 thread`, `2 threads`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Bad usage that only shows when the net is known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// What clap leaves with.
const EXIT_USAGE: u8 = 2;

/// Prints the error, if there is one, and chooses the exit code: 0 done, 1 failed, 2 bad usage, 130
/// interrupted after a checkpoint.
pub fn exit(done: Result<Done>) -> ExitCode {
    match done {
        Ok(Done::All) => ExitCode::SUCCESS,
        Ok(Done::Interrupted) => ExitCode::from(EXIT_INTERRUPTED as u8),
        Err(error) => {
            let text = if log::is_text() { render(&error) } else { render_json(&error) };
            let _ = write!(std::io::stderr(), "{text}"); // nowhere left to complain to
            if error.is::<Usage>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// One error as text.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    for cause in causes(error) {
        let _ = writeln!(text, "  because: {cause}"); // writing to a String cannot fail
    }
    if let Some(hint) = error.chain().find_map(hint) {
        let _ = writeln!(text, "  hint: {hint}");
    }
    text
}

/// The same as a line of JSON.
fn render_json(error: &anyhow::Error) -> String {
    let line = serde_json::json!({
        "level": "ERROR",
        "message": error.to_string(),
        "because": causes(error),
        "hint": error.chain().find_map(hint),
    });
    format!("{line}\n")
}

/// What stands behind an error; some errors say their cause themselves.
fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut last = error.to_string();
    let mut causes = vec![];
    for cause in error.chain().skip(1) {
        let says = cause.to_string();
        if !last.ends_with(&says) {
            causes.push(says.clone());
        }
        last = says;
    }
    causes
}

/// What to try next, in the imperative.
fn hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(hint) = cause.downcast_ref::<Hint>() {
        return Some(hint.hint.clone());
    }
    if let Some(error) = cause.downcast_ref::<OpenError>() {
        return open_hint(error);
    }
    if let Some(error) = cause.downcast_ref::<ShardError>() {
        return shard_hint(error);
    }
    if cause.is::<Diverged>() {
        return Some("train again at a lower --rate; nothing that diverged was stored".into());
    }
    if let Some(PackError::OtherBuild { path, .. }) = cause.downcast_ref() {
        return Some(format!("remove {}: a build with other settings left it", path.display()));
    }
    if let Some(PackError::NoRoom { .. }) = cause.downcast_ref() {
        return Some("make room, or pass an --out where there is some".into());
    }
    if let Some(error) = cause.downcast_ref::<DatasetError>() {
        return dataset_hint(error);
    }
    if let Some(SampleError::Shard(error)) = cause.downcast_ref() {
        return shard_hint(error);
    }
    if let Some(error) = cause.downcast_ref::<FeedError>() {
        return match error {
            FeedError::Crop { .. } => Some("choose a preset for pictures of this size".into()),
            FeedError::TooFew { .. } => Some("pass a smaller --batch".into()),
            FeedError::TooManyCorrupt { .. } => {
                Some("look at the data with `prepack verify`, or pass --corrupt-max".into())
            }
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<RunDirError>() {
        return match error {
            RunDirError::Occupied { path } => {
                let path = path.display();
                Some(format!("pass --resume to go on with it, or another --out than {path}"))
            }
            RunDirError::Locked { .. } => {
                Some("wait for the other run to end, or pass another --out".into())
            }
            RunDirError::AllDamaged { .. } => {
                Some("restore one from a backup, or start again with another --out".into())
            }
            RunDirError::Io { .. } => Some("pass an --out that can be written".into()),
            RunDirError::Checkpoint(error) => Some(checkpoint_hint(error).into()),
        };
    }
    if let Some(error) = cause.downcast_ref::<CheckpointError>() {
        return Some(checkpoint_hint(error).into());
    }
    if let Some(ConfigError::Newer { .. }) = cause.downcast_ref() {
        return Some("update this program".into());
    }
    if let Some(ConfigError::NoPreset { .. }) = cause.downcast_ref() {
        return Some("pass one of these to --preset; --config FILE overlays it".into());
    }
    if let Some(error) = cause.downcast_ref::<Unusable>() {
        return Some(gpu_hint(error).into());
    }
    if let Some(error) = cause.downcast_ref::<DeviceError>() {
        return match error {
            DeviceError::OutOfMemory { .. } => Some("pass a smaller --batch".into()),
            DeviceError::Threads { .. } => Some("pass fewer --threads".into()),
            DeviceError::TooWide { .. } => {
                Some("take fewer kernels, or pass --device cpu".into())
            }
            DeviceError::TooLong { most, .. } => Some(format!("pass --batch {most} or less")),
            DeviceError::Silent { .. } | DeviceError::Failed { .. } => {
                Some("see what `nvidia-smi` says of the GPU".into())
            }
            DeviceError::NotPinned { .. } => {
                Some("raise `ulimit -l`, or carry all towers on one GPU".into())
            }
            DeviceError::Unusable(error) => Some(gpu_hint(error).into()),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<TowerError>() {
        return match error {
            TowerError::Device(error) => hint(error),
            TowerError::NoRoom { fitting, .. } | TowerError::Full { fitting, .. } => {
                Some(fitting.map_or_else(
                    || "carry the net on more GPUs, or pass --device cpu".into(),
                    |batch| {
                        format!("pass --batch {batch} or less, or carry the net on more GPUs")
                    },
                ))
            }
            _ => None,
        };
    }
    None
}

fn gpu_hint(error: &Unusable) -> &'static str {
    match error {
        Unusable::NoDriver => {
            "install the NVIDIA driver, nothing else is needed; or pass --device cpu"
        }
        Unusable::NoDevice { .. } => {
            "see whether `nvidia-smi` lists a GPU and CUDA_VISIBLE_DEVICES names it; or pass --device cpu"
        }
        Unusable::OldDriver { .. } => "install driver 525 or newer, or pass --device cpu",
        Unusable::OldDriverForPtx { .. } => {
            "install driver 550 or newer, and unset ALEXNET_KERNELS if it is set; or pass --device cpu"
        }
        Unusable::OldDevice { .. } => "name a newer one with --gpus, or pass --device cpu",
        Unusable::NoSuch { .. } => "`alexnet doctor` lists those that there are",
        _ => "see what `nvidia-smi` says, or pass --device cpu",
    }
}

fn open_hint(error: &OpenError) -> Option<String> {
    match error {
        OpenError::Missing { .. }
        | OpenError::NotAFolder { .. }
        | OpenError::NotData { .. } => Some(
            "pass --data DIR, where `prepack build` wrote or where train/CLASS/*.JPEG are"
                .into(),
        ),
        OpenError::Empty { .. } => Some("expected train/CLASS/*.JPEG".into()),
        OpenError::UnknownClass { .. } => {
            Some("give `val` the same class folders as `train`".into())
        }
        OpenError::Label { .. } | OpenError::Mismatch { .. } => {
            Some("pack the images again: `prepack build`".into())
        }
        OpenError::Shard(error) => shard_hint(error),
        OpenError::Dataset(error) => dataset_hint(error),
        OpenError::NoTruth { .. } => {
            Some("put the devkit's archive, or Kaggle's LOC_val_solution.csv, beside".into())
        }
        OpenError::Archive { source, .. } if source.is_cut() => {
            Some("it was not downloaded whole: `prepack build --verify-source`".into())
        }
        OpenError::Part { .. } => Some("put all parts together: `prepack merge`".into()),
        _ => None,
    }
}

fn checkpoint_hint(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::Write { .. } => {
            "make room, then go on with --resume: what was written before is whole"
        }
        CheckpointError::Newer { .. } => "update this program",
        CheckpointError::Damaged { .. } => "use another checkpoint",
        CheckpointError::Read { .. } => "pass a file, such as RUN/checkpoints/best.safetensors",
    }
}

fn dataset_hint(error: &DatasetError) -> Option<String> {
    match error {
        DatasetError::Newer { .. } => {
            Some("update this program, or pack the images again with it".into())
        }
        DatasetError::Invalid { .. } => Some("pack the images again: `prepack build`".into()),
        _ => None,
    }
}

fn shard_hint(error: &ShardError) -> Option<String> {
    match error {
        ShardError::Newer { .. } => Some("update this program".into()),
        ShardError::Truncated { path, .. }
        | ShardError::Damaged { path, .. }
        | ShardError::NotAShard { path }
        | ShardError::Record { path, .. } => Some(format!(
            "see what else is damaged with `prepack verify {}`, then pack again",
            path.parent().unwrap_or(path).display()
        )),
        ShardError::Open { .. } => Some("copy the data set again, or pack it again".into()),
        _ => None,
    }
}

/// An error with a hint of its own.
#[derive(Debug, thiserror::Error)]
#[error("{says}")]
pub struct Hint {
    says: String,
    hint: String,
}

impl Hint {
    /// An error that says what to do.
    pub fn new(says: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { says: says.into(), hint: hint.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_occupied_folder_reads_well() {
        let error = RunDirError::Occupied { path: "runs/a".into() };
        let error = anyhow::Error::from(error).context("cannot start the run");
        let expected = "\
error: cannot start the run
  because: runs/a holds a run already
  hint: pass --resume to go on with it, or another --out than runs/a
";
        assert_eq!(render(&error), expected);
    }

    #[test]
    fn a_damaged_record_names_shard_record_offset_and_reason() {
        let error = ShardError::Record {
            path: "data/train-00000.shard".into(),
            record: 7,
            offset: 1234,
            found: 1,
            expected: 2,
        };
        let text = render(&FeedError::Sample(error.into()).into());
        assert!(text.contains("train-00000.shard: record 7 at byte 1234: checksum"), "{text}");
        assert!(
            text.contains("hint: see what else is damaged with `prepack verify data`"),
            "{text}"
        );
    }
}
