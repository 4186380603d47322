//! What CI runs after the tests.

use crate::{kernels, licences, step};
use anyhow::{Context as _, Result, ensure};

/// The tests that build changed kernels, on all cores.
pub(crate) const SEEDED: &str = "cuda::seeded";

/// Formatting, lints, documentation, the tests that take a minute each, bugs put into the kernels, the GPUs' model on paper,
/// the kernels' images, licences. A machine that cannot have
/// Python or NVIDIA's compilers says so and goes on, unless it is told by `CI` that it must.
///
/// # Errors
/// The first that fails.
pub(crate) fn run() -> Result<()> {
    step::run("format", step::cargo().args(["fmt", "--all", "--check"]))?;
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    step::run("lints", step::cargo().args(lints))?;
    let mut docs = step::cargo();
    docs.args(["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"]);
    step::run("documentation", docs.env("RUSTDOCFLAGS", "-D warnings"))?;
    // Of the profile and features of the tests before, so that nothing is built twice.
    let long =
        ["test", "--workspace", "--tests", "--locked", "--", "--ignored", "--skip", SEEDED];
    step::run("tests that take a minute each", step::cargo().args(long))?;
    let seeded = ["test", "--workspace", "--lib", "--locked", SEEDED, "--"];
    let mut seeded_bugs = step::cargo();
    step::run("seeded bugs", seeded_bugs.args(seeded).args(["--ignored", "--nocapture"]))?;
    let required = std::env::var_os("CI").is_some();
    roofline(required)?;
    kernels::check(required)?;
    licences::check()
}

/// Fails where docs/gpu-roofline.md is not what its script prints. Without Python nothing is looked at, unless `required`.
fn roofline(required: bool) -> Result<()> {
    let (script, page) = ("docs/gpu-roofline.py", "docs/gpu-roofline.md");
    if !required && step::command("python3").arg("--version").output().is_err() {
        step::tell(&format!("SKIP: {page} is not compared: there is no python3"));
        return Ok(());
    }
    let (made, _) = step::output("roofline", step::command("python3").arg(script))?;
    let kept = std::fs::read(step::root().join(page)).context(page)?;
    ensure!(kept == made.stdout, "{page} differs: run `python3 {script} > {page}`");
    Ok(())
}
