//! What the user sees of an error: what failed, because of what, and what to try.

use anyhow::Result;
use pipeline::{
    dataset::DatasetError,
    pack::{PackError, StagingError},
    shard::ShardError,
    source::{OpenError, SampleError},
    synth::SynthError,
};
use std::{error::Error, fmt, fmt::Write as _, io::Write as _, process::ExitCode};

/// Prints the error, if there is one, and chooses the exit code: 0 done, 1 failed. Bad usage is
/// clap's 2.
pub(crate) fn exit(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(std::io::stderr(), "{}", render(&error)); // nowhere left to complain to
            ExitCode::FAILURE
        }
    }
}

/// One error as text. A cause that the line before it ends with already is not repeated.
fn render(error: &anyhow::Error) -> String {
    let mut last = error.to_string();
    let mut text = format!("error: {last}\n");
    for cause in error.chain().skip(1) {
        let says = cause.to_string();
        if !last.ends_with(&says) {
            let _ = writeln!(text, "  because: {says}"); // writing to a String cannot fail
        }
        last = says;
    }
    if let Some(hint) = error.chain().find_map(hint) {
        let _ = writeln!(text, "  hint: {hint}");
    }
    text
}

/// What to try next, in the imperative.
fn hint(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(hint) = cause.downcast_ref::<Hint>() {
        return Some(hint.hint.clone());
    }
    if let Some(error) = cause.downcast_ref::<PackError>() {
        return pack_hint(error);
    }
    if let Some(SynthError::Staging(error)) = cause.downcast_ref() {
        return Some(staging_hint(error));
    }
    if let Some(error) = cause.downcast_ref::<OpenError>() {
        return open_hint(error);
    }
    if let Some(SampleError::Shard(_)) = cause.downcast_ref() {
        return Some("see what else is damaged with `prepack verify`, then pack again".into());
    }
    None
}

const ROOM: &str = "make room, or pass an --out that can be written";
const UPDATE: &str = "update this program, or pack the images again with it";

fn pack_hint(error: &PackError) -> Option<String> {
    match error {
        PackError::Corrupt(_) => {
            Some("mend or remove the file, or leave it out with --on-corrupt skip".into())
        }
        PackError::NothingLeft { .. } => {
            Some("expected JPEG, PNG, GIF, WebP or BMP files in each class folder".into())
        }
        PackError::Source(OpenError::UnknownClass { .. }) => {
            Some("give `val` the same class folders as `train`".into())
        }
        PackError::Source(OpenError::ClassName { .. }) => Some("rename the folder".into()),
        PackError::Source(OpenError::Archive { source, .. }) if source.is_cut() => {
            Some("the archive was not downloaded whole: hold it against its MD5".into())
        }
        PackError::Source(
            OpenError::Missing { .. }
            | OpenError::NotListed { .. }
            | OpenError::Empty { .. }
            | OpenError::OneClass { .. },
        ) => Some(
            "pass --source DIR with DIR/train/CLASS/*.JPEG in it, two classes or more, or with \
             the archives of ILSVRC"
                .into(),
        ),
        PackError::Source(OpenError::NoTruth { .. }) => {
            Some("put the devkit's archive, or Kaggle's LOC_val_solution.csv, beside".into())
        }
        PackError::OtherBuild { path, .. } => Some(format!(
            "pass the settings of that build to go on with it, or remove {}",
            path.display()
        )),
        PackError::DamagedBuild { path, .. } => {
            Some(format!("remove {} to begin again", path.display()))
        }
        PackError::Manifest { path, .. } => {
            Some(format!("remove {}", path.parent().unwrap_or(path).display()))
        }
        PackError::Thread(_) => Some("pass fewer --jobs".into()),
        PackError::Shard(ShardError::Write { .. })
        | PackError::Dataset(DatasetError::Write { .. })
        | PackError::Write { .. }
        | PackError::NoRoom { .. } => Some(ROOM.into()),
        PackError::Staging(error) => Some(staging_hint(error)),
        _ => None,
    }
}

fn staging_hint(error: &StagingError) -> String {
    match error {
        StagingError::Exists { path } => {
            format!("pass another --out, or remove {} first", path.display())
        }
        StagingError::Foreign { path, .. } => {
            format!("move it out of {}, or pass another --out", path.display())
        }
        StagingError::Busy { .. } => {
            "wait for the other process to end, or pass another --out".into()
        }
        _ => ROOM.into(),
    }
}

fn open_hint(error: &OpenError) -> Option<String> {
    match error {
        OpenError::Missing { .. }
        | OpenError::Dataset(DatasetError::Read { .. })
        | OpenError::Shard(ShardError::Open { .. }) => {
            Some("pass a folder that `prepack build` wrote".into())
        }
        OpenError::NoSums { .. } => Some(
            "leave --verify-source out: only ILSVRC's own archives have published sums".into(),
        ),
        OpenError::Part { .. } => Some("put all parts together: `prepack merge`".into()),
        OpenError::NoHalves { .. } => Some("leave --split and --seed out".into()),
        OpenError::NotAFolder { .. } => Some("pass the folder that it is in".into()),
        OpenError::Dataset(DatasetError::Newer { .. })
        | OpenError::Shard(ShardError::Newer { .. }) => Some(UPDATE.into()),
        OpenError::Dataset(DatasetError::Invalid { .. }) => {
            Some("pack the images again with `prepack build`".into())
        }
        OpenError::Shard(_) | OpenError::Label { .. } | OpenError::Mismatch { .. } => {
            Some("see what else is damaged with `prepack verify`, then pack again".into())
        }
        _ => None,
    }
}

/// An error with a hint of its own.
#[derive(Debug)]
pub(crate) struct Hint {
    says: String,
    hint: String,
}

impl Hint {
    /// An error that says what to do.
    pub(crate) fn new(says: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { says: says.into(), hint: hint.into() }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)
    }
}

impl Error for Hint {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_full_disk_reads_well() {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        let error = ShardError::Write { path: "a.partial/train-00000.shard".into(), source };
        let error = anyhow::Error::from(PackError::from(error)).context("cannot pack tree");
        let expected = "\
error: cannot pack tree
  because: cannot write a.partial/train-00000.shard
  because: no storage space
  hint: make room, or pass an --out that can be written
";
        assert_eq!(render(&error), expected);
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = pipeline::decode::DecodeError::Empty;
        let error = SampleError::Decode { place: "tree/train/n1/a.JPEG".into(), source };
        let text = render(&PackError::Corrupt(error).into());
        let expected = "\
error: tree/train/n1/a.JPEG: an empty file
  hint: mend or remove the file, or leave it out with --on-corrupt skip
";
        assert_eq!(text, expected);
    }
}
