//! The kernels' images: `.cu` -> PTX by NVRTC -> cubin by ptxas, with the tools from their PyPI wheels.
//!
//! `cargo xtask kernels` writes `gpu/kernels/`: a compressed cubin per architecture, one PTX for what is
//! newer, `table.txt` (registers, shared memory, instructions of each kernel) and `source.txt` (hashes
//! of the sources and the images, and the tools). `--check` makes all of it again and fails where hash or table
//! differ.

mod table;
mod tools;

use crate::step;
use anyhow::{Context as _, Result, bail, ensure};
use lzma_rust2::{LzmaOptions, LzmaReader, LzmaWriter};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, available_parallelism},
};
use table::Rows;
use tools::Tools;

/// What is made: a cubin each for Volta, Turing, A100, consumer Ampere, Ada, Hopper, and two of Blackwell, which
/// runs on its own and on later minor versions; and PTX, which drivers compile for what is newer than these.
const OUTPUTS: [Output; 9] = [
    Output::Cubin(70),
    Output::Cubin(75),
    Output::Cubin(80),
    Output::Cubin(86),
    Output::Cubin(89),
    Output::Cubin(90),
    Output::Cubin(100),
    Output::Cubin(120),
    Output::Ptx(80),
];
/// What NVRTC compiles, which takes longer than to assemble it: the kernels are two in kind, without tensor cores
/// and with them. An old NVRTC's PTX is understood by older drivers, too.
const SOURCES: [Source; 3] = [
    Source { architecture: 70, old: false },
    Source { architecture: WITH_TENSOR_CORES, old: false },
    Source { architecture: WITH_TENSOR_CORES, old: true },
];
/// The first architecture whose tensor cores the kernels use.
const WITH_TENSOR_CORES: u32 = 80;
/// The disassembler of the wheels knows Volta no more.
const DISASSEMBLED_FROM: u32 = 75;
/// Times that the kernels are made before a table that differs is an error.
const TRIES: u32 = 3;
/// Memory that unpacking an image may take.
const READER_KIB_MAX: u32 = 256 << 10;
/// All images together, compressed.
const IMAGE_BYTES_MAX: usize = 8 << 20;

fn folder() -> PathBuf {
    step::root().join("gpu/kernels")
}

/// An image, for an architecture.
#[derive(Debug, Clone, Copy)]
enum Output {
    Cubin(u32),
    Ptx(u32),
}

impl Output {
    fn name(self) -> String {
        match self {
            Self::Cubin(architecture) => format!("sm_{architecture}.cubin"),
            Self::Ptx(architecture) => format!("compute_{architecture}.ptx"),
        }
    }

    const fn architecture(self) -> u32 {
        match self {
            Self::Cubin(architecture) | Self::Ptx(architecture) => architecture,
        }
    }

    /// The PTX that it is made of, or that it is.
    const fn source(self) -> Source {
        let architecture = if self.architecture() < WITH_TENSOR_CORES {
            SOURCES[0].architecture
        } else {
            WITH_TENSOR_CORES
        };
        Source { architecture, old: matches!(self, Self::Ptx(_)) }
    }
}

/// PTX, for an architecture and all newer ones, by this or the old NVRTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    architecture: u32,
    old: bool,
}

impl Source {
    fn compile(self, tools: &Tools, scratch: &Path) -> Result<PathBuf> {
        let Self { architecture, old } = self;
        let (nvrtc, by) = if old { (&tools.old_nvrtc, "old") } else { (&tools.nvrtc, "new") };
        let ptx = scratch.join(format!("compute_{architecture}_{by}.ptx"));
        tools.compile(nvrtc, architecture, &ptx).map(|()| ptx)
    }
}

/// What is made: images by file name, what the kernels of each architecture take, and what it was made of.
struct Made {
    images: Vec<(String, Vec<u8>)>,
    columns: Vec<(u32, Rows)>,
    source: String,
}

/// Makes the images and writes them.
///
/// # Errors
/// If the tools cannot be had, a kernel does not compile or spills, or all are too large.
pub(crate) fn write() -> Result<()> {
    let made = make(&Tools::install()?)?;
    for (name, image) in &made.images {
        // Kernels are much alike, and lie further apart than a smaller dictionary reaches.
        let (options, len) = (LzmaOptions::with_preset(9), image.len() as u64);
        let mut packed = LzmaWriter::new_use_header(Vec::new(), &options, Some(len))?;
        packed.write_all(image)?;
        fs::write(folder().join(format!("{name}.lzma")), packed.finish()?)?;
    }
    fs::write(folder().join("table.txt"), table::text(&made.columns)?)?;
    fs::write(folder().join("source.txt"), made.source + &image_hashes()?)?;
    let (count, bytes) = (made.images.len(), image_bytes()?);
    step::tell(&format!("--- kernels: {count} images, {} KiB in all", bytes >> 10));
    Ok(())
}

/// All of the folder together.
///
/// # Errors
/// If it is too much.
fn image_bytes() -> Result<usize> {
    let sizes = fs::read_dir(folder())?
        .map(|entry| Ok(entry?.metadata()?.len() as usize))
        .collect::<Result<Vec<_>>>()?;
    let bytes = sizes.iter().sum();
    ensure!(
        bytes <= IMAGE_BYTES_MAX,
        "images of {bytes} bytes, and {IMAGE_BYTES_MAX} are allowed"
    );
    Ok(bytes)
}

/// A line for each image: its hash, as it lies in the folder, packed. They are other ones every time that they are
/// made, so they cannot be held to what is made again.
fn image_hashes() -> Result<String> {
    let mut lines = String::new();
    for of in OUTPUTS {
        let name = format!("{}.lzma", of.name());
        let image = fs::read(folder().join(&name)).with_context(|| name.clone())?;
        writeln!(lines, "sha256 of {name}: {}", hex(Sha256::digest(image)))?;
    }
    Ok(lines)
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
    let hashes = image_hashes()?;
    ensure!(
        kept.ends_with(&hashes),
        "gpu/kernels: its images are not those of source.txt: {again}"
    );
    image_bytes()?;
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
        ensure!(
            kept == made.source.clone() + &hashes,
            "gpu/kernels/source.txt: other tools: {again}"
        );
        let Some(line) = table::first_difference(&table, &table::text(&made.columns)?) else {
            let kept = table::text(&of_kept_images(&tools, made.columns)?)?;
            if let Some(line) = table::first_difference(&table, &kept) {
                bail!("gpu/kernels: an image is not what table.txt says: {line}: {again}");
            }
            let count = made.images.len();
            step::tell(&format!("--- kernels: {count} images as they should be"));
            break;
        };
        ensure!(turn < TRIES, "gpu/kernels/table.txt: {line}: {again}");
        step::tell(&format!("--- kernels: once more, NVRTC differs from time to time: {line}"));
    }
    Ok(())
}

/// The same with the instructions of the images that lie in the folder.
fn of_kept_images(tools: &Tools, mut columns: Vec<(u32, Rows)>) -> Result<Vec<(u32, Rows)>> {
    let scratch = tempfile::tempdir().context("a scratch folder")?;
    for (architecture, rows) in columns.iter_mut().filter(|of| of.0 >= DISASSEMBLED_FROM) {
        let name = Output::Cubin(*architecture).name();
        let packed = fs::File::open(folder().join(format!("{name}.lzma")))?;
        let mut reader = LzmaReader::new_mem_limit(packed, READER_KIB_MAX, None)?;
        let cubin = scratch.path().join(&name);
        io::copy(&mut reader, &mut fs::File::create(&cubin)?).with_context(|| name.clone())?;
        table::count(&tools.disassemble(&cubin)?, rows).with_context(|| name.clone())?;
    }
    Ok(columns)
}

/// Compiles, assembles and counts.
fn make(tools: &Tools) -> Result<Made> {
    let scratch = tempfile::tempdir().context("a scratch folder")?;
    let sources = side_by_side(&SOURCES, |source| source.compile(tools, scratch.path()))?;
    let made = side_by_side(&OUTPUTS, |of| {
        let at = SOURCES.iter().position(|source| *source == of.source());
        let ptx = &sources[at.expect("one of them")];
        make_one(tools, *of, ptx, scratch.path()).with_context(|| of.name())
    })?;
    let (mut images, mut columns) = (Vec::new(), Vec::new());
    for (of, (image, rows)) in OUTPUTS.into_iter().zip(made) {
        images.push((of.name(), image));
        if let Output::Cubin(architecture) = of {
            columns.push((architecture, rows));
        }
    }
    let mut source = String::new();
    writeln!(source, "sha256 of the .cu and .cuh files, script and flags: {}", source_hash()?)?;
    for package in tools::PACKAGES {
        writeln!(source, "{}: {}", package.purpose, package.name)?;
    }
    Ok(Made { images, columns, source })
}

/// Does as many of these at a time as there are cores; their results, in order. After a failure, none is begun.
fn side_by_side<T: Sync, R: Send>(
    all: &[T], work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return Ok(done) };
            let result = work(one);
            done.push((at, result.inspect_err(|_| next.store(all.len(), Ordering::Relaxed))?));
        }
    };
    let cores = available_parallelism().map_or(1, usize::from);
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let joined = workers.into_iter().map(|worker| worker.join().expect("no panic"));
        joined.collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// One image, and what its kernels take.
fn make_one(tools: &Tools, of: Output, ptx: &Path, scratch: &Path) -> Result<(Vec<u8>, Rows)> {
    let cubin = scratch.join(format!("of_{}.cubin", of.name()));
    let told = tools.assemble(of.architecture(), ptx, &cubin)?;
    match of {
        Output::Cubin(architecture) => {
            let known = architecture >= DISASSEMBLED_FROM;
            let disassembly = if known { tools.disassemble(&cubin)? } else { String::new() };
            Ok((fs::read(&cubin)?, table::rows(&told, &disassembly)?))
        }
        Output::Ptx(_) => Ok((fs::read(ptx)?, Rows::new())),
    }
}

/// Of every kernel source, its path below gpu/src and its text; of the script that compiles them, and the assembler's
/// flags.
fn source_hash() -> Result<String> {
    let root = step::root().join("gpu/src");
    let mut hash = Sha256::new();
    hash.update(fs::read(folder().join("nvrtc.py"))?);
    hash.update(tools::ASSEMBLER_FLAGS.join(" "));
    for path in sources(&root)? {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy();
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        hash.update(format!("{name}\n{}\n", text.len()));
        hash.update(text);
    }
    Ok(hex(hash.finalize()))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
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
