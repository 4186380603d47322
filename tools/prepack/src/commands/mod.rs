//! One file per command.

pub(crate) mod build;
pub(crate) mod merge;
pub(crate) mod synth;
pub(crate) mod verify;
pub(crate) mod inspect;

use anyhow::{Context as _, Result};
use std::io::{ErrorKind, Write as _};

/// Results go to stdout; a closed pipe ends the talk, not the work.
///
/// # Errors
/// If stdout takes them not, as on a full disk.
fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}

/// `1 shard`, `2 shards`.
fn count(n: u64, of: &str) -> String {
    format!("{n} {of}{}", if n == 1 { "" } else { "s" })
}
