//! Every dependency, on every platform, may be used under one of the licences listed here, and comes
//! from crates.io or from this workspace.

use crate::step;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Licences that allow what MIT OR Apache-2.0 allows, notices kept. MPL-2.0 and the GPLs are not among
/// them: a dependency under one of these needs a decision, not a line here.
const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "IJG", // jpeg-encoder's DCT, after the Independent JPEG Group's
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Holds all of `cargo metadata` against the list.
///
/// # Errors
/// All that does not comply, at once.
pub(crate) fn check() -> Result<()> {
    let mut metadata = step::cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked"]);
    let (output, _) = step::output("licences", &mut metadata)?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    let problems: Vec<String> = packages.iter().filter_map(problem).collect();
    if !problems.is_empty() {
        bail!("licences:\n  {}", problems.join("\n  "));
    }
    step::tell(&format!("{} packages comply", packages.len()));
    Ok(())
}

/// What is wrong with a package, if anything is.
fn problem(package: &Value) -> Option<String> {
    let text = |key: &str| package[key].as_str().unwrap_or("").to_owned();
    let name = format!("{} {}", text("name"), text("version"));
    if !package["source"].is_null() && text("source") != REGISTRY {
        return Some(format!("{name} comes from {}", text("source")));
    }
    let licence = text("license");
    match spdx::Expression::parse_mode(&licence, spdx::ParseMode::LAX) {
        Err(error) => Some(format!("{name}: licence {licence:?}: {}", error.reason)),
        Ok(expression) if complies(&expression) => None,
        Ok(_) => Some(format!("{name}: licence {licence} is not on the list")),
    }
}

fn complies(expression: &spdx::Expression) -> bool {
    // An exception (`WITH`) only adds to what its licence allows.
    expression
        .evaluate(|wanted| wanted.license.id().is_some_and(|id| ALLOWED.contains(&id.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn says(licence: &str, source: &str) -> Option<String> {
        problem(&json!({ "name": "a", "version": "1", "license": licence, "source": source }))
    }

    #[test]
    fn a_licence_complies_if_one_of_its_choices_is_on_the_list() {
        for licence in ["MIT", "MIT/Apache-2.0", "MIT OR LGPL-2.1-or-later", "(MIT) AND IJG"] {
            assert_eq!(says(licence, REGISTRY), None, "{licence}");
        }
        for licence in ["GPL-3.0-only", "MIT AND MPL-2.0", "", "my own"] {
            assert!(says(licence, REGISTRY).is_some(), "{licence}");
        }
    }

    #[test]
    fn a_source_other_than_the_registry_is_named() {
        let text = says("MIT", "git+https://example.invalid/a").expect("a problem");
        assert!(text.contains("a 1 comes from git+https"), "{text}");
    }
}
