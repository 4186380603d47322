//! Runs the CUDA kernels of `gpu` on the CPU, for tests.
//!
//! The same `.cu` files are compiled as C++: each CUDA thread is a fiber (`emu.h`), memory that nothing
//! has written holds what is not a number, and warps run in the order that a missing barrier or wait
//! survives least. A second build follows every access to memory (`check.h`): it finds accesses outside
//! of all buffers and races, and counts bank conflicts and memory that is fetched for nothing.
//!
//! What it cannot see: the memory model beyond barriers, the rounding inside of tensor cores, registers,
//! speed, and whether the inline assembly of `prim.cuh` does what its C++ half does.

mod memory;
mod program;

pub use memory::Memory;
pub use program::{OTHER_KERNELS, SHARED_FLAGS};

use std::{
    ffi::{CStr, CString, c_int, c_void},
    fmt,
};

/// The schedule of a launch, and whether it is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct How {
    /// Every access to memory is followed: some 50 times slower.
    pub checked: bool,
    /// Blocks, warps and lanes run from the last to the first.
    pub reversed: bool,
    /// Asynchronous copies complete at once, and not as late as they may.
    pub eager: bool,
    /// The kernels of devices without tensor cores for bf16 and asynchronous copies, before sm_80.
    pub old: bool,
}

impl How {
    /// The four schedules, not followed.
    pub const SCHEDULES: [Self; 4] = {
        let plain = Self { checked: false, reversed: false, eager: false, old: false };
        let reversed = Self { reversed: true, ..plain };
        [plain, reversed, Self { eager: true, ..plain }, Self { eager: true, ..reversed }]
    };
    /// The first schedule, followed.
    pub const CHECKED: Self = Self { checked: true, ..Self::SCHEDULES[0] };
    /// The first schedule, on an older device.
    pub const OLD: Self = Self { old: true, ..Self::SCHEDULES[0] };
}

/// What the accesses of a followed launch cost, warp by warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Counts {
    /// Loads and stores of global memory.
    pub global_requests: u64,
    /// Sectors of 32 bytes that they touch.
    pub global_sectors: u64,
    /// What these would be, were every byte of a sector used.
    pub global_sectors_min: u64,
    /// Loads and stores of shared memory.
    pub shared_requests: u64,
    /// Cycles that they take.
    pub shared_cycles: u64,
    /// What these would be without bank conflicts.
    pub shared_cycles_min: u64,
}

impl Counts {
    /// Sectors per needed sector.
    pub fn sector_ratio(&self) -> f64 {
        self.global_sectors as f64 / self.global_sectors_min.max(1) as f64
    }

    /// Cycles of shared memory per needed cycle.
    pub fn bank_ratio(&self) -> f64 {
        self.shared_cycles as f64 / self.shared_cycles_min.max(1) as f64
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.global_requests += other.global_requests;
        self.global_sectors += other.global_sectors;
        self.global_sectors_min += other.global_sectors_min;
        self.shared_requests += other.shared_requests;
        self.shared_cycles += other.shared_cycles;
        self.shared_cycles_min += other.shared_cycles_min;
    }
}

/// A launch that CUDA would refuse, or that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kernel.
    pub kernel: String,
    /// What went wrong, and where.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kernel, self.what)
    }
}

impl std::error::Error for Failure {}

/// Memory that a followed launch may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// Its first address.
    pub first: usize,
    /// Its length.
    pub bytes: usize,
}

/// Blocks or threads along x, y and z.
pub type Dim = [u32; 3];

/// Whether kernels can be run here: there was a C++ compiler, and the CPU is an x86-64 under Linux.
pub const AVAILABLE: bool = cfg!(emulated);

/// The names of all kernels, in order.
pub fn kernels() -> Vec<&'static str> {
    let Some(program) = program::program() else { return Vec::new() };
    // SAFETY: any index may be asked for; names are string literals of the kernels' build, which stays.
    let name = |index| unsafe {
        let name = (program.name)(index);
        (!name.is_null()).then(|| CStr::from_ptr(name))
    };
    let names = (0..).map_while(name);
    names.map(|name| name.to_str().expect("kernels' names are ASCII")).collect()
}

/// The sizes of a kernel's parameters in bytes, if there is such a kernel.
pub fn parameter_sizes(kernel: &str) -> Option<Vec<usize>> {
    const MOST: usize = 64;
    let (name, mut sizes) = (CString::new(kernel).ok()?, [0; MOST]);
    let sizes_of = program::program()?.sizes;
    // SAFETY: the name ends with a zero; at most as many sizes are written as there is room for.
    let count = unsafe { sizes_of(name.as_ptr(), sizes.as_mut_ptr(), MOST as c_int) };
    usize::try_from(count).ok().map(|count| sizes[..count].to_vec())
}

/// Runs one launch to its end. `buffers` is what it may touch, if it is followed.
///
/// # Errors
/// If CUDA would refuse it, if its threads wait for one another for ever, or if they do what `how`
/// looks for.
///
/// # Safety
/// `arguments` are the addresses of as many arguments as the kernel has parameters, each of its size; what
/// they point at is as long as the kernel takes it to be, and nobody else uses it meanwhile.
pub unsafe fn run(
    kernel: &str, grid: Dim, threads: Dim, shared_bytes: u32, arguments: *const *mut c_void,
    how: How, buffers: &[Range],
) -> Result<Counts, Failure> {
    let failed = |what: &str| Failure { kernel: kernel.to_owned(), what: what.to_owned() };
    let program = program::program().ok_or_else(|| failed("kernels are not emulated here"))?;
    let name = CString::new(kernel).map_err(|_| failed("no such kernel"))?;
    let how = program::How {
        checked: how.checked.into(),
        reversed: how.reversed.into(),
        eager: how.eager.into(),
        old: how.old.into(),
        ranges: buffers.as_ptr(),
        range_count: buffers.len(),
    };
    let mut counts = Counts::default();
    // SAFETY: pointers to locals that outlive the call; the caller vouches for the arguments.
    let error = unsafe {
        (program.run)(
            name.as_ptr(),
            grid.as_ptr(),
            threads.as_ptr(),
            shared_bytes,
            arguments,
            &raw const how,
            &raw mut counts,
        )
    };
    if error.is_null() {
        return Ok(counts);
    }
    // SAFETY: a string that ends with a zero and holds until this thread's next call.
    let what = unsafe { CStr::from_ptr(error) };
    Err(failed(&what.to_string_lossy()))
}
