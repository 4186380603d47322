//! One command of a chore: its name and time are told, its failure ends the chore.

use anyhow::{Context as _, Result, ensure};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};

/// The workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tools/xtask lies two folders deep").to_path_buf()
}

/// A command that runs in the workspace.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
}

/// Runs to the end; prints what it prints.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<()> {
    tell(&format!("--- {name}"));
    let began = Instant::now();
    let status =
        command.status().with_context(|| format!("{name}: cannot start {command:?}"))?;
    ensure!(status.success(), "{name}: {status}");
    tell(&format!("--- {name}: {:.0} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs to the end and returns what it printed, and the seconds it took.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) fn output(name: &str, command: &mut Command) -> Result<(Output, f64)> {
    tell(&format!("--- {name}"));
    let began = Instant::now();
    let output =
        command.output().with_context(|| format!("{name}: cannot start {command:?}"))?;
    let seconds = began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {said}", output.status);
    tell(&format!("--- {name}: {seconds:.0} s"));
    Ok((output, seconds))
}

/// One line on stderr; a closed stderr is no reason to stop.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
