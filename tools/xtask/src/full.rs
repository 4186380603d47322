//! What takes minutes: everything in release mode, and a whole run that must learn. The result is
//! written to docs/evidence/ci-full.md.

use crate::{ci::SEEDED, step};
use anyhow::{Context as _, Result, ensure};
use std::{fmt::Write as _, fs};

/// Validation accuracy of the demo, percent.
const DEMO_TOP1_MIN: f64 = 90.0;
const REPORT: &str = "docs/evidence/ci-full.md";

/// Builds, tests and trains.
///
/// # Errors
/// The first that fails, or stays below what is promised.
pub(crate) fn run() -> Result<()> {
    let mut report = String::from("# cargo xtask ci --full\n\n| what | result |\n|---|---|\n");
    let mut row = |what: &str, result: &str| {
        step::tell(&format!("{what}: {result}"));
        let _ = writeln!(report, "| {what} | {result} |"); // writing to a String cannot fail
    };
    let scratch = tempfile::tempdir().context("a scratch folder")?;
    let target = scratch.path().join("target");
    let mut build = step::cargo();
    build.args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
    let (_, seconds) = step::output("cold release build", &mut build)?;
    row("cold release build", &format!("{seconds:.0} s"));

    let tests = ["test", "--workspace", "--tests", "--release", "--locked", "--"];
    let which = ["--include-ignored", "--skip", SEEDED];
    // The emulated kernels at 2012's sizes under all schedules.
    let all = ("ALEXNET_SCHEDULES", "all");
    step::run(
        "tests in release mode",
        step::cargo().args(tests).args(which).env(all.0, all.1),
    )?;
    row("tests in release mode, 2012's layers under all schedules", "passed");

    let out = scratch.path().join("demo");
    let program = target.join("release/alexnet").display().to_string();
    let mut demo = step::command(&program);
    let (output, seconds) = step::output("demo", demo.args(["run", "--out"]).arg(&out))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let top1 =
        top1(&said).with_context(|| format!("the demo did not tell its top-1: {said}"))?;
    row("`alexnet run`, no data given", &format!("top-1 {top1:.1} % after {seconds:.0} s"));
    ensure!(top1 >= DEMO_TOP1_MIN, "the demo reached {top1} % only");

    let path = step::root().join(REPORT);
    fs::create_dir_all(path.parent().expect("a file in a folder"))?;
    fs::write(&path, report).with_context(|| format!("cannot write {REPORT}"))
}

/// The number after `top-1 ` in the line of the validation.
fn top1(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("validation:"))?;
    line.split("top-1 ").nth(1)?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_1_of_a_run_is_found() {
        let said =
            "checkpoint: a\nvalidation: top-1 91.2 %, top-5 99.0 %, loss 0.3 on 500 images\n";
        assert_eq!(top1(said), Some(91.2));
        assert_eq!(top1("nothing"), None);
    }
}
