//! The kernels' images: `.cu` -> PTX by NVRTC -> cubin by ptxas, with the tools from their PyPI wheels.
//!
//! `cargo xtask kernels` writes `gpu/kernels/`: a compressed cubin per architecture, one PTX for what is
//! newer, `table.txt` (registers, shared memory, instructions of each kernel) and `source.txt` (the hash
//! of the sources, and the tools). `--check` makes all of it again and fails where hash or table differ.

mod table;
mod tools;

use crate::step;
use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};
use tools::Tools;

/// Architectures with a cubin each: Volta, Turing, A100, consumer Ampere, Ada, Hopper, and two of
/// Blackwell. A cubin runs on its own and on later minor versions.
const ARCHITECTURES: [u32; 8] = [70, 75, 80, 86, 89, 90, 100, 120];
/// Of the PTX: what drivers compile for architectures that are newer than these.
const PTX_ARCHITECTURE: u32 = 80;
/// The disassembler of the wheels knows Volta no more.
const DISASSEMBLED_FROM: u32 = 75;
/// Times that the kernels are made before a table that differs is an error.
const TRIES: u32 = 3;
/// All images together, compressed.
const IMAGE_BYTES_MAX: usize = 8 << 20;

fn folder() -> PathBuf {
    step::root().join("gpu/kernels")
}

/// What is made: images by file name, and two texts.
struct Made {
    images: Vec<(String, Vec<u8>)>,
    table: String,
    source: String,
}

/// Makes the images and writes them.
///
/// # Errors
/// If the tools cannot be had, a kernel does not compile or spills, or all are too large.
pub(crate) fn write() -> Result<()> {
    let made = make(&Tools::install()?)?;
    for (name, image) in &made.images {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(image)?;
        fs::write(folder().join(format!("{name}.gz")), packed.finish()?)?;
    }
    fs::write(folder().join("table.txt"), made.table)?;
    fs::write(folder().join("source.txt"), made.source)?;
    let sizes = fs::read_dir(folder())?
        .map(|entry| Ok(entry?.metadata()?.len() as usize))
        .collect::<Result<Vec<_>>>()?;
    let bytes: usize = sizes.iter().sum();
    step::tell(&format!(
        "--- kernels: {} images, {} KiB in all",
        made.images.len(),
        bytes >> 10
    ));
    ensure!(bytes <= IMAGE_BYTES_MAX, "images of {bytes} bytes");
    Ok(())
}

/// Fails where the images are not of these sources, where a kernel spills, or where the table differs. If
/// the tools cannot be had, only the hash is looked at, unless `required`.
///
/// # Errors
/// The first of these.
pub(crate) fn check(required: bool) -> Result<()> {
    let again = "run `cargo xtask kernels`, look at `git diff gpu/kernels/table.txt`";
    let read = |name: &str| {
        fs::read_to_string(folder().join(name)).with_context(|| format!("{name}: {again}"))
    };
    let (hash, kept) = (source_hash()?, read("source.txt")?);
    ensure!(kept.contains(&hash), "gpu/kernels is not of these sources ({hash}): {again}");
    let tools = match Tools::install() {
        Ok(tools) => tools,
        Err(error) if !required => {
            step::tell(&format!("SKIP: kernels are not compiled: {error:#}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let table = read("table.txt")?;
    for turn in 1.. {
        let made = make(&tools)?;
        ensure!(kept == made.source, "gpu/kernels/source.txt: other tools: {again}");
        let Some(line) = table::first_difference(&table, &made.table) else {
            let count = made.images.len();
            step::tell(&format!("--- kernels: {count} images as they should be"));
            break;
        };
        ensure!(turn < TRIES, "gpu/kernels/table.txt: {line}: {again}");
        step::tell(&format!("--- kernels: once more, NVRTC differs from time to time: {line}"));
    }
    Ok(())
}

/// Compiles, assembles and counts.
fn make(tools: &Tools) -> Result<Made> {
    let scratch = tempfile::tempdir().context("a scratch folder")?;
    let mut images = Vec::new();
    let mut columns = Vec::new();
    for architecture in ARCHITECTURES {
        let ptx = scratch.path().join(format!("compute_{architecture}.ptx"));
        tools.compile(&tools.nvrtc, architecture, &ptx)?;
        let cubin = scratch.path().join(format!("sm_{architecture}.cubin"));
        let told = tools.assemble(architecture, &ptx, &cubin)?;
        let known = architecture >= DISASSEMBLED_FROM;
        let disassembly = if known { tools.disassemble(&cubin)? } else { String::new() };
        columns.push((architecture, table::rows(&told, &disassembly)?));
        images.push((format!("sm_{architecture}.cubin"), fs::read(&cubin)?));
    }
    // An old NVRTC's PTX is understood by older drivers, too.
    let name = format!("compute_{PTX_ARCHITECTURE}.ptx");
    let ptx = scratch.path().join(&name);
    tools.compile(&tools.old_nvrtc, PTX_ARCHITECTURE, &ptx)?;
    tools.assemble(PTX_ARCHITECTURE, &ptx, &scratch.path().join("of_ptx.cubin"))?;
    images.push((name, fs::read(&ptx)?));
    let mut source = String::new();
    writeln!(source, "sha256 of the .cu and .cuh files: {}", source_hash()?)?;
    for package in tools::PACKAGES {
        writeln!(source, "{}: {}", package.purpose, package.name)?;
    }
    Ok(Made { images, table: table::text(&columns)?, source })
}

/// Of every kernel source: its path below gpu/src, and its text.
fn source_hash() -> Result<String> {
    let root = step::root().join("gpu/src");
    let mut hash = Sha256::new();
    for path in sources(&root)? {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy();
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        hash.update(format!("{name}\n{}\n", text.len()));
        hash.update(text);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Every `.cu` and `.cuh` file, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|end| end == "cu" || end == "cuh") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a tool to its end and returns what it says on stdout and stderr.
fn told(command: &mut Command) -> Result<(String, String)> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    ensure!(output.status.success(), "{command:?}: {}: {said}{complained}", output.status);
    Ok((said, complained))
}
