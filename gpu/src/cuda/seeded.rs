//! Bugs that are put into the kernels one at a time: the tests of the kernels must find each of them.
//!
//! A changed copy of the sources is built as a library, and this very test program runs the op's tests
//! on it (`hostemu::OTHER_KERNELS`). Run by `cargo xtask ci`.

use super::testing::{SCHEDULES, emulation};
use rayon::iter::{
    IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _,
};
use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A bug: in a file below `gpu/src`, the one place where `from` stands becomes `to`.
struct Bug {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The tests that must find it: a part of their names.
    tests: &'static str,
    /// Whether products by their own tiles do not show it.
    by_all_tiles: bool,
}

impl Bug {
    const fn by_all_tiles(self) -> Self {
        Self { by_all_tiles: true, ..self }
    }
}

const fn bug(
    what: &'static str, file: &'static str, from: &'static str, to: &'static str,
    tests: &'static str,
) -> Bug {
    Bug { what, file, from, to, tests, by_all_tiles: false }
}

/// What tells of them.
const EVIDENCE: &str = include_str!("../../../docs/evidence/gpu.md");

/// Bugs that are tried at a time: each takes up to 2 GiB of the compiler's memory.
const JOBS_MAX: usize = 8;

/// The compiler's flag of a build whose accesses are followed.
const FOLLOWED: &str = "-fsanitize=thread";

/// What a seeded bug's kernels begin with: products by the tiles that they take by themselves, as long as they are small.
const OWN_TILES: &str = r#"#include "tile_cores.cuh"
#undef FOR_TILES
#define FOR_TILES(K, name, T, WIDTH, product) \
    K(name##_128x64, T, WIDTH, 128, 64, product) FOR_SMALL_##name(K)
#define FOR_SMALL_f32(K) K(f32_64x64, float, 4, 64, 64, multiply)
#define FOR_SMALL_bf16(K)
#define FOR_SMALL_f16(K)
#define FOR_SMALL_tf32(K)
"#;

const TILE: &str = "cuda/tile_f32.cuh";
const CORES: &str = "cuda/tile_cores.cuh";
const SUMS: &str = "cuda/sums.cuh";
const LINEAR: &str = "ops/linear/linear.cu";
const CONV: &str = "ops/conv/conv.cu";
const DEPTH: &str = "ops/conv/depth.cu";
const NUMBERS: &str = "cuda/numbers.cuh";
const SGD: &str = "ops/sgd/sgd.cu";
const FINISH: &str = "ops/finish/finish.cu";
const SOFTMAX: &str = "ops/softmax/softmax.cu";
const DROPOUT: &str = "ops/dropout/dropout.cu";

#[rustfmt::skip]
const BUGS: [Bug; 56] = [
    // Barriers and the order of accesses.
    bug("a tile's barrier is missing", TILE, "        __syncthreads();\n", "", "conv::cuda"),
    bug("the two rooms of a tile do not take turns", TILE, "turn ^= 1", "turn ^= 0", "conv::cuda"),
    bug("LRN's channels are read before they are there", FINISH, "a[c] = read_activation(s, widen(mine[c]));\n    __syncthreads();", "a[c] = read_activation(s, widen(mine[c]));", "finish::cuda"),
    bug("LRN's shares are read before they are there", FINISH, "        kept[c] = q;\n    }\n    __syncthreads();", "        kept[c] = q;\n    }", "finish::cuda"),
    bug("the label's logit is read while it changes", SOFTMAX, "    __syncthreads();  // before", "    // before", "softmax::cuda"),
    bug("a row's joined value is overwritten while others read it", SOFTMAX, "    const T joined = all[0];\n    __syncthreads();\n", "    const T joined = all[0];\n", "softmax::cuda"),
    bug("a joining step does not wait for the one before", SOFTMAX, "half; half /= 2) {\n        __syncthreads();", "half; half /= 2) {", "softmax::cuda"),
    bug("the rows' sums are read before they are there", "ops/linear/bias.cu", "    __syncthreads();\n", "", "linear::cuda"),
    bug("only some threads reach a barrier", FINISH, "    float *const a = rooms + threadIdx.y", "    if (!there) return;\n    if (threadIdx.x == 31) __syncwarp(1u);\n    float *const a = rooms + threadIdx.y", "finish::cuda"),
    bug("the barrier of a tile of halves is missing", CORES, "        __syncthreads();\n", "", "linear::cuda"),
    bug("nobody waits for a stage's copies", CORES, "        copy_async_wait<STAGES - 2>();\n", "", "linear::cuda"),
    bug("copies are waited for a stage too late", CORES, "copy_async_wait<STAGES - 2>", "copy_async_wait<STAGES - 1>", "linear::cuda"),
    bug("a stage is written while it is read", CORES, "ask(stage ? stage - 1 : STAGES - 1)", "ask(stage)", "linear::cuda"),
    bug("a stage is asked for before the barrier", CORES, "        copy_async_wait<STAGES - 2>();\n        __syncthreads();\n        ask(stage ? stage - 1 : STAGES - 1);", "        copy_async_wait<STAGES - 2>();\n        ask(stage ? stage - 1 : STAGES - 1);\n        __syncthreads();", "linear::cuda"),
    bug("the stages take turns in another order", CORES, "stage + 1 < STAGES ? stage + 1 : 0", "stage ? stage - 1 : STAGES - 1", "linear::cuda"),
    bug("the last step of halves is not asked for", CORES, "if (asked < k1) {", "if (asked + Left::STEP_TERMS < k1) {", "linear::cuda"),
    bug("where there is nothing, something is copied", CORES, "chunk ? chunk : from.p, chunk)", "chunk ? chunk : from.p, true)", "linear::cuda"),
    // Fragments.
    bug("the left fragment's quarters are swapped", CORES, "(m + odd * 8 + low) * PITCH + k + high * WIDTH", "(m + high * 8 + low) * PITCH + k + odd * WIDTH", "linear::cuda"),
    bug("the right fragment is not turned", CORES, "load_matrix_x4_trans(r, room + (k + odd * WIDTH", "load_matrix_x4(r, room + (k + odd * WIDTH", "linear::cuda"),
    bug("the left fragment of floats takes rows for terms", CORES, "PITCH + m + (lane >> 2), 8, 4 * PITCH", "PITCH + m + (lane >> 2), 4 * PITCH, 8", "linear::cuda"),
    bug("the right fragment of floats is read as the left one", CORES, "PITCH + n + (lane >> 2), 4 * PITCH, 8", "PITCH + n + (lane >> 2), 8, 4 * PITCH", "linear::cuda"),
    bug("a deep fragment of floats is half a step further on", CORES, "(n + high * 8 + low) * PITCH + k + odd * WIDTH", "(n + high * 8 + low) * PITCH + k + high * WIDTH", "linear::cuda"),
    bug("factors are cut to tf32, and not rounded", CORES, "r[i] = to_tf32(__uint_as_float(r[i]));", ";", "linear::cuda"),
    bug("of floats, the second half of a step's terms is left out", CORES, "at < Left::STEP_TERMS; at += Left::DEPTH", "at < (Left::HALVES ? 4 : 2) * Left::WIDTH; at += Left::DEPTH", "linear::cuda"),
    bug("a warp's columns are those of the tall tile", CORES, "warp % (N / COLUMNS) * COLUMNS;", "warp % (N / COLUMNS) * 32;", "linear::cuda").by_all_tiles(),
    // Bounds and tails.
    bug("the last step of a product is lost", TILE, "k + STEP < k1", "k + 2 * STEP < k1", "conv::cuda"),
    bug("a part ends beyond the last term", SUMS, "min((part + 1) * each * STEP, terms)", "(part + 1) * each * STEP", "conv::cuda"),
    bug("a window may hang over by a row", CONV, "        if ((u32)i >= (u32)height || (u32)j >= (u32)width) return nullptr;\n        return row.image", "        if ((u32)i > (u32)height || (u32)j >= (u32)width) return nullptr;\n        return row.image", "conv::cuda"),
    bug("quads are taken where channels are no multiple", CONV, "whole = depth % WIDTH == 0 && aligned<WIDTH>(p);", "whole = true;", "conv::cuda"),
    bug("the last part of a sum is forgotten", SUMS, "for (int part = 0; part < parts; part++)", "for (int part = 0; part < parts - 1; part++)", "conv::cuda"),
    bug("a store beyond the last column", SUMS, "            if (j + e < n)\n", "            if (j + e <= n)\n", "linear::cuda"),
    bug("one row too many in the bias' gradient", "ops/linear/bias.cu", "row < end", "row <= end", "linear::cuda"),
    bug("one number too many", "ops/activation/activation.cu", "if (i < len) y[i] = narrow<T>(activate", "if (i <= len) y[i] = narrow<T>(activate", "activation::cuda"),
    bug("another tower's units are dropped", DROPOUT, "m.first_unit + i % m.units", "i % m.units", "dropout::cuda"),
    bug("a step of the optimiser beyond the source's columns", LINEAR, "if (j + e < n) {\n                sgd_step", "if (j + e <= n) {\n                sgd_step", "linear::cuda"),
    // Indices and formulas.
    bug("the turned kernel's rows and columns are swapped", CONV, "(tap.c * window + tap.u) * window + tap.v", "(tap.c * window + tap.v) * window + tap.u", "conv::cuda"),
    bug("the window is turned the wrong way", CONV, "BACK ? row.i - tap.u : row.i + tap.u", "row.i + tap.u", "conv::cuda"),
    bug("another source's block of the gradient", CONV, "s.row_channels + s.offset + tap % s.channels", "s.row_channels + tap % s.channels", "conv::cuda"),
    bug("squares begin where the picture does", DEPTH, "i * p.stride + a - p.pad", "i * p.stride + a", "conv::cuda"),
    bug("weights beyond the window come back", DEPTH, "u < p.window && ", "", "conv::cuda"),
    bug("of equal maxima the last one", FINISH, "found > most", "found >= most", "finish::cuda"),
    bug("a window of LRN crosses between towers", FINISH, "c / s.lrn_group * s.lrn_group", "0", "finish::cuda"),
    bug("pooling forgets the last window", FINISH, "min(at / s.stride + 1, count)", "min(at / s.stride, count)", "finish::cuda"),
    bug("ReLU hides what is not a number", "ops/activation/activation.cuh", "x <= 0.f ? 0.f : x", "x > 0.f ? x : 0.f", "finish::cuda"),
    bug("what is not a number ranks below the label", SOFTMAX, "!(p[k] < of_label)", "p[k] >= of_label", "softmax::cuda"),
    bug("nine rounds of Philox", DROPOUT, "round < 10", "round < 9", "dropout::cuda"),
    bug("the weight moves by the old velocity", "ops/sgd/sgd.cuh", "    v = __fsub_rn(kept, __fmul_rn(rates.rate, g));\n    w = __fadd_rn(w, v);", "    w = __fadd_rn(w, v);\n    v = __fsub_rn(kept, __fmul_rn(rates.rate, g));", "sgd::cuda"),
    bug("products read the weights of the step before", SGD, "copy[i] = narrow<T>(w[i])", "copy[i] = narrow<T>(w[i] - v[i])", "sgd::cuda"),
    bug("a linear layer's copy is not written", LINEAR, "if (copied(copy)) store4(of_copy, ws);", "", "linear::cuda"),
    bug("what is added to is taken from the wrong halves", NUMBERS, "v.x << 16), __uint_as_float(v.x & 0xffff0000u)", "v.x & 0xffff0000u), __uint_as_float(v.x << 16)", "conv::cuda"),
    bug("what is added to is taken from the wrong f16", NUMBERS, "from_f16((u16)v.x), from_f16((u16)(v.x >> 16))", "from_f16((u16)(v.x >> 16)), from_f16((u16)v.x)", "conv::cuda"),
    bug("two f16 are stored the wrong way round", NUMBERS, "to_f16x2(low, high)", "to_f16x2(high, low)", "conv::cuda"),
    // The gradient's scale, and what overflows.
    bug("the weights move by gradients as they are scaled", "ops/sgd/sgd.cuh", "__fmul_rn(params->rate, params->unscale)", "params->rate", "sgd::cuda"),
    bug("what is not a number does not overflow", SGD, "!(fabsf(widen(g[i])) < __uint_as_float(0x7f800000))", "fabsf(widen(g[i])) >= __uint_as_float(0x7f800000)", "sgd::cuda"),
    bug("weights move after an overflow", SGD, "i >= len || params->overflowed", "i >= len", "sgd::cuda"),
    bug("a linear layer's weights move after an overflow", LINEAR, "if (params->overflowed) return;", "", "linear::cuda"),
];

/// Copies the kernels below `from`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("sources") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_some_and(|end| end == "cu" || end == "cuh") {
            fs::copy(&path, target).expect("a copy");
        }
    }
}

/// Has `kernels.cu` below `sources` name no kernels but those that the tests of a bug, of one op, launch: the others need
/// not be compiled.
fn only_of(bug: &Bug, sources: &Path) {
    let op = bug.tests.strip_suffix("::cuda").expect("tests of an op");
    let folder = sources.join("ops").join(op);
    let files = fs::read_dir(folder).expect("an op's room").map(|entry| {
        let name = entry.expect("readable").file_name();
        format!("#include \"../ops/{op}/{}\"\n", name.to_string_lossy())
    });
    let mut text = String::from(if bug.by_all_tiles { "" } else { OWN_TILES });
    text.extend(files.filter(|line| line.ends_with(".cu\"\n")));
    if op == "finish" {
        // It makes the bias's gradient, too.
        text += "#include \"sums.cuh\"\n#include \"../ops/linear/bias.cu\"\n";
    }
    fs::write(sources.join("cuda/kernels.cu"), text).expect("room");
}

/// Runs the compiler.
fn compile(arguments: &[&str]) {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let done = Command::new(compiler).args(arguments).output().expect("a C++ compiler");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A build of the sources below `folder`: its object.
fn object(folder: &Path, name: &str, flags: &[&str]) -> String {
    let emulation = concat!(env!("CARGO_MANIFEST_DIR"), "/hostemu/src");
    let path = |name: &str| folder.join(name).display().to_string();
    let (include, cuda) = (format!("-I{emulation}"), format!("-I{}", path("cuda")));
    let build = format!("-DEMU_BUILD=emu_kernels_{name}");
    let kernels = "-DEMU_KERNELS=\"kernels.cu\"";
    let (from, to) = (format!("{emulation}/kernels.cpp"), path(&format!("{name}.o")));
    let rest = [&*include, &cuda, &build, kernels, "-c", &from, "-o", &to];
    compile(&[&hostemu::SHARED_FLAGS[..], flags, &rest].concat());
    to
}

/// The library `name` of these objects in `folder` and the emulation's, which lies above.
fn link(folder: &Path, name: &str, objects: &[&str]) -> PathBuf {
    let (library, emulation) = (folder.join(name), folder.join("../emu.o"));
    let [to, with] = [&library, &emulation].map(|path| path.display().to_string());
    compile(&[&["-shared", "-o", &to, &with][..], objects].concat());
    library
}

#[test]
fn every_seeded_bug_has_its_place() {
    for bug in &BUGS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(bug.file);
        let text = fs::read_to_string(file).expect("a kernel's source");
        let places = text.matches(bug.from).count();
        assert_eq!(places, 1, "{}: {:?} in {}", bug.what, bug.from, bug.file);
        let row = format!("| {} | `{}` | `{}` |", bug.what, bug.file, bug.tests);
        assert!(EVIDENCE.contains(&row), "docs/evidence/gpu.md has no row {row}");
    }
}

/// What the tests say of a bug, whose kernels are made in `sources`; nothing if they find nothing.
fn found(bug: &Bug, sources: &Path) -> Option<String> {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), sources);
    let file = sources.join(bug.file);
    let text = fs::read_to_string(&file).expect("a kernel's source");
    fs::write(&file, text.replace(bug.from, bug.to)).expect("a changed source");
    only_of(bug, sources);
    let fast = object(sources, "fast", &[]);
    let library = link(sources, "fast.so", &[&fast]);
    // Most are found where nothing is followed, which takes far less to build.
    let reason = complaint(bug.tests, &library, &[(SCHEDULES, "unfollowed")]).or_else(|| {
        let checked = object(sources, "checked", &[FOLLOWED]);
        complaint(bug.tests, &link(sources, "both.so", &[&fast, &checked]), &[])
    });
    let missing = reason.as_ref().is_some_and(|reason| reason.contains("no such kernel"));
    assert!(!missing, "{}: {reason:?}", bug.what);
    fs::remove_dir_all(sources).expect("what was made");
    reason
}

/// What the tests named `tests` first say of the kernels of `library`, and then end; nothing if they pass.
fn complaint(tests: &str, library: &Path, settings: &[(&str, &str)]) -> Option<String> {
    let mut tests = Command::new(env::current_exe().expect("this program"))
        .args([tests, "--include-ignored", "--test-threads=1", "--nocapture"])
        .args(["2012", "small_", "large_"].iter().flat_map(|slow| ["--skip", slow]))
        .env(hostemu::OTHER_KERNELS, library)
        .env("RUST_BACKTRACE", "0")
        .env("PROPTEST_FAILURE_PERSISTENCE", "off")
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .envs(settings.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests");
    let said = BufReader::new(tests.stderr.take().expect("piped"));
    let mut lines = said.lines().map_while(Result::ok);
    if lines.any(|line| line.contains("panicked at")) {
        let reason = lines.next().unwrap_or_default();
        tests.kill().expect("a program of ours");
        tests.wait().expect("a program of ours");
        return Some(reason.chars().take(90).collect());
    }
    let status = tests.wait().expect("a program of ours");
    (!status.success()).then(|| status.to_string())
}

/// A folder with the emulation's object, for as long as `body` needs it.
fn with_emulation(name: &str, body: impl FnOnce(&Path)) {
    if !emulation() {
        return;
    }
    let folder = env::temp_dir().join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let emulation = concat!(env!("CARGO_MANIFEST_DIR"), "/hostemu/src/emu.cpp");
    let object = folder.join("emu.o").display().to_string();
    compile(&[&hostemu::SHARED_FLAGS[..], &["-c", emulation, "-o", &object]].concat());
    body(&folder);
    fs::remove_dir_all(&folder).expect("what was made");
}

#[test]
#[ignore = "takes minutes: run by cargo xtask ci"]
fn nothing_is_undefined_in_cpp() {
    with_emulation("undefined", |folder| {
        let sources = folder.join("src");
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &sources);
        let kernels = sources.join("cuda/kernels.cu");
        let all = fs::read_to_string(&kernels).expect("a source");
        fs::write(&kernels, [OWN_TILES, &*all].concat()).expect("room");
        // Overflow, shifts, alignment, bounds of arrays: the first one ends the program. Whichever the schedule.
        let flags = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"];
        let fast = object(&sources, "fast", &flags);
        let checked = object(&sources, "checked", &[&flags[..], &[FOLLOWED]].concat());
        let library = link(&sources, "both.so", &[&fast, &checked]);
        let found = complaint("::cuda::tests", &library, &[(SCHEDULES, "one")]);
        assert_eq!(found, None);
        // As the bugs are looked for first: what is found there is not found without them.
        let library = link(&sources, "fast.so", &[&fast]);
        let found = complaint("::cuda::tests", &library, &[(SCHEDULES, "unfollowed")]);
        assert_eq!(found, None);
    });
}

#[test]
#[ignore = "takes minutes: run by cargo xtask ci"]
#[expect(clippy::print_stderr, reason = "the list is the result")]
fn every_seeded_bug_is_found() {
    with_emulation("seeded", |folder| {
        let missed = || -> Vec<&str> {
            let missed = BUGS.par_iter().enumerate().filter_map(|(number, bug)| {
                if let Some(reason) = found(bug, &folder.join(format!("bug-{number}"))) {
                    eprintln!("found: {} | {} | {reason}", bug.what, bug.file);
                    return None;
                }
                eprintln!("MISSED: {} | {}", bug.what, bug.file);
                Some(bug.what)
            });
            missed.collect()
        };
        let jobs = std::thread::available_parallelism().map_or(1, usize::from).min(JOBS_MAX);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().expect("threads");
        let missed = pool.install(missed);
        assert!(missed.is_empty(), "not found: {missed:?}");
    });
}
