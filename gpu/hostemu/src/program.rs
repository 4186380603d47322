//! The emulation's C interface: that of the kernels which are linked in, or of others from a file.

use crate::{Counts, Range};
use std::ffi::{c_char, c_int, c_uint, c_void};

/// An environment variable: the path of a shared library whose kernels are run in place of the own ones. So
/// the tests of the kernels can be asked what they make of changed ones.
pub const OTHER_KERNELS: &str = "HOSTEMU_KERNELS";

/// How the compiler makes such a library of `src/emu.cpp` and the builds `fast` and, where launches are followed,
/// `checked` of `src/kernels.cpp`.
pub const SHARED_FLAGS: [&str; 9] = [
    "-std=c++17",
    "-O1",
    "-w",
    "-fPIC",
    "-march=native",
    "-ffp-contract=off",
    "-fno-unroll-loops",
    "-DHOST_EMU",
    "-DEMU_CHANGED",
];

/// The twin of `EmuHow` in `emu.cpp`.
#[repr(C)]
pub(crate) struct How {
    pub(crate) checked: c_int,
    pub(crate) reversed: c_int,
    pub(crate) eager: c_int,
    pub(crate) old: c_int,
    pub(crate) ranges: *const Range,
    pub(crate) range_count: usize,
}

type Name = unsafe extern "C" fn(usize) -> *const c_char;
type Sizes = unsafe extern "C" fn(*const c_char, *mut usize, c_int) -> c_int;
type Run = unsafe extern "C" fn(
    *const c_char,
    *const c_uint,
    *const c_uint,
    c_uint,
    *const *mut c_void,
    *const How,
    *mut Counts,
) -> *const c_char;

/// Three functions of `emu.cpp`.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: Name,
    pub(crate) sizes: Sizes,
    pub(crate) run: Run,
}

#[cfg(not(emulated))]
pub(crate) fn program() -> Option<&'static Program> {
    None
}

#[cfg(emulated)]
#[expect(clippy::unnecessary_wraps, reason = "without a compiler there is none")]
pub(crate) fn program() -> Option<&'static Program> {
    use std::sync::OnceLock;
    static PROGRAM: OnceLock<Program> = OnceLock::new();

    unsafe extern "C" {
        fn emu_name(index: usize) -> *const c_char;
        fn emu_sizes(name: *const c_char, sizes: *mut usize, capacity: c_int) -> c_int;
        fn emu_run(
            name: *const c_char, grid: *const c_uint, threads: *const c_uint, shared: c_uint,
            arguments: *const *mut c_void, how: *const How, counts: *mut Counts,
        ) -> *const c_char;
    }
    let own = || Program { name: emu_name, sizes: emu_sizes, run: emu_run };
    Some(PROGRAM.get_or_init(|| std::env::var_os(OTHER_KERNELS).map_or_else(own, load)))
}

#[cfg(emulated)]
fn load(path: std::ffi::OsString) -> Program {
    // SAFETY: a library made of the same emu.cpp: loading it registers kernels and does nothing else, and
    // its functions are of these types. It is never unloaded.
    unsafe {
        let library = libloading::Library::new(path).expect("a library of kernels");
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        let missing = "a library made of emu.cpp";
        Program {
            name: *library.get::<Name>(b"emu_name").expect(missing),
            sizes: *library.get::<Sizes>(b"emu_sizes").expect(missing),
            run: *library.get::<Run>(b"emu_run").expect(missing),
        }
    }
}
