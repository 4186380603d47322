//! One file per command.

pub(crate) mod build;
pub(crate) mod merge;
pub(crate) mod synth;
pub(crate) mod verify;
pub(crate) mod inspect;

use std::io::Write as _;

/// Results go to stdout; a closed pipe ends the talk, not the work.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// `1 shard`, `2 shards`.
fn count(n: u64, of: &str) -> String {
    format!("{n} {of}{}", if n == 1 { "" } else { "s" })
}
