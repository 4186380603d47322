//! The project's own chores: `cargo xtask ci` before every push, `cargo xtask ci --full` before a
//! release, `cargo xtask golden` when an op's formula changes, `cargo xtask kernels` when a kernel does.

mod ci;
mod full;
mod kernels;
mod licences;
mod step;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Formatting, lints, documentation, the tests that take a minute each, bugs put into the kernels, the kernels'
    /// images, licences: what CI runs after the tests.
    Ci {
        /// Also what takes minutes: the release build, its tests, and a whole `alexnet run` that must
        /// learn; writes docs/evidence/ci-full.md.
        #[arg(long)]
        full: bool,
    },
    /// Remake the golden files with PyTorch and Pillow, from the `python3` in PATH.
    Golden,
    /// Remake the kernels' images under gpu/kernels, with NVIDIA's tools from PyPI.
    Kernels {
        /// Write nothing; fail where they are not as they should be.
        #[arg(long)]
        check: bool,
    },
    /// Licences and sources of all dependencies.
    Licences,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Ci { full } => ci::run().and_then(|()| if full { full::run() } else { Ok(()) }),
        Chore::Golden => golden(),
        Chore::Kernels { check: true } => kernels::check(true),
        Chore::Kernels { check: false } => kernels::write(),
        Chore::Licences => licences::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            step::tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs every script under tests/golden; what differs shows in `git diff`.
fn golden() -> Result<()> {
    let folder = step::root().join("tests/golden");
    let mut scripts = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "py"));
    scripts.sort();
    scripts.iter().try_for_each(|script| {
        let name = script.display().to_string();
        step::run(&name, step::command("python3").arg(script))
    })
}
