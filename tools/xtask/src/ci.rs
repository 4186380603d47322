//! What CI runs after the tests.

use crate::{kernels, licences, step};
use anyhow::Result;

/// Formatting, lints, documentation, the kernels' images, licences. A machine that cannot have NVIDIA's
/// compilers says so and goes on, unless it is told by `CI` that it must.
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
    // As the tests were built.
    let seeded = ["test", "--workspace", "--lib", "--locked", "cuda::seeded", "--"];
    let mut seeded_bugs = step::cargo();
    step::run("seeded bugs", seeded_bugs.args(seeded).args(["--ignored", "--nocapture"]))?;
    kernels::check(std::env::var_os("CI").is_some())?;
    licences::check()
}
