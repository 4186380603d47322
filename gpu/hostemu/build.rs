//! Builds the kernels as C++, three times, and what runs them. Without a C++ compiler, or on a CPU that the
//! fibers are not written for, the crate is empty and says so.

use std::{env, fs, path::Path, thread};

/// More than these takes three times as long, and gains less than that in the tests.
const FAST: [&str; 3] = ["-O1", "-ftree-vectorize", "-march=native"];
/// Unrolled loops are other places of the code, and so other accesses of a warp.
const CHECKED: [&str; 4] = ["-O1", "-march=native", "-fsanitize=thread", "-fno-unroll-loops"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(emulated)");
    println!("cargo::rerun-if-changed=src");
    watch(Path::new("../src"));
    let variable = |name| env::var(name).unwrap_or_default();
    let (arch, system) = (variable("CARGO_CFG_TARGET_ARCH"), variable("CARGO_CFG_TARGET_OS"));
    if arch != "x86_64" || system != "linux" || base().try_get_compiler().is_err() {
        println!("cargo::warning=no C++ compiler for x86-64 Linux: kernels are not emulated");
        return;
    }
    thread::scope(|scope| {
        scope.spawn(|| kernels("fast", &FAST));
        scope.spawn(|| kernels("checked", &CHECKED));
        scope.spawn(|| kernels("old", &[&FAST[..], &["-DEMU_OLD"]].concat()));
    });
    base().opt_level(2).file("src/emu.cpp").compile("emu");
    println!("cargo::rustc-cfg=emulated");
}

/// Builds again if a kernel changes. New files are named by one that changes.
fn watch(folder: &Path) {
    for entry in fs::read_dir(folder).expect("the folder of the kernels") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            watch(&path);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "cu" || extension == "cuh")
        {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

fn base() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").include("src").warnings(true).extra_warnings(true);
    build.flag("-Wno-unused-function").flag("-Wno-unused-parameter").debug(false);
    build
}

/// One build of all kernels. Sums are rounded as written: what a device fuses, `fmaf` says.
fn kernels(name: &str, flags: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/cuda");
    let mut build = base();
    flags.iter().for_each(|flag| {
        build.flag(flag);
    });
    build
        .include(&folder)
        .flag("-ffp-contract=off")
        .define("HOST_EMU", None)
        .define("EMU_BUILD", &*format!("emu_kernels_{name}"))
        .define("EMU_KERNELS", "\"kernels.cu\"")
        .file("src/kernels.cpp")
        .cargo_metadata(true)
        .compile(&format!("kernels_{name}"));
}
