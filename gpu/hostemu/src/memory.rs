//! Memory of an emulated device: buffers that begin as what is not a number, between guards.

use crate::{Counts, Dim, Failure, How, Range, run};
use std::{collections::BTreeMap, ffi::c_void};

/// As `cuMemAlloc` aligns.
const ALIGNMENT: usize = 256;
/// Bytes before and after each buffer that nobody may write.
const GUARD: usize = 1024;
/// Of an unwritten byte: four of them are a float that is not a number, and no small integer.
const UNWRITTEN: u8 = 0xff;

/// One buffer, somewhere inside its bytes.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    first: usize,
    len: usize,
}

impl Buffer {
    fn new(len: usize) -> Self {
        let bytes = vec![UNWRITTEN; 2 * GUARD + ALIGNMENT + len];
        let inside = (bytes.as_ptr().addr() + GUARD).next_multiple_of(ALIGNMENT);
        Self { first: inside - bytes.as_ptr().addr(), bytes, len }
    }

    fn address(&self) -> u64 {
        (self.bytes.as_ptr().expose_provenance() + self.first) as u64
    }

    fn guards_hold(&self) -> bool {
        let (before, rest) = self.bytes.split_at(self.first);
        before.iter().chain(&rest[self.len..]).all(|byte| *byte == UNWRITTEN)
    }
}

/// The memory of a device, and how kernels are run on it.
#[derive(Debug)]
pub struct Memory {
    how: How,
    buffers: Vec<Buffer>,
    counts: BTreeMap<String, Counts>,
}

impl Memory {
    /// None yet.
    pub fn new(how: How) -> Self {
        Self { how, buffers: Vec::new(), counts: BTreeMap::new() }
    }

    /// The address of a new buffer of `bytes` bytes, all unwritten.
    pub fn allocate(&mut self, bytes: usize) -> u64 {
        let buffer = Buffer::new(bytes);
        self.buffers.push(buffer);
        self.buffers[self.buffers.len() - 1].address()
    }

    /// The bytes of the buffer that begins at `address`.
    ///
    /// # Panics
    /// If none does.
    pub fn bytes(&mut self, address: u64) -> &mut [u8] {
        let found = self.buffers.iter_mut().find(|buffer| buffer.address() == address);
        let buffer = found.expect("an address that was allocated");
        // The kernels write through addresses, not through this vector.
        let _ = std::hint::black_box(buffer.bytes.as_mut_ptr());
        &mut buffer.bytes[buffer.first..][..buffer.len]
    }

    /// Runs one launch, its arguments as bytes.
    ///
    /// # Errors
    /// As [`run`]; also if the arguments are not those of the kernel, or if it wrote beyond a buffer.
    ///
    /// # Safety
    /// Addresses among the arguments are those of buffers, as long as the kernel takes them to be. A kernel
    /// that is wrong about that is found out, unless it goes further astray than the guards.
    pub unsafe fn launch<'a>(
        &mut self, kernel: &str, grid: Dim, threads: Dim, shared_bytes: u32,
        arguments: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Failure> {
        let failed = |what: String| Failure { kernel: kernel.to_owned(), what };
        let wanted =
            crate::parameter_sizes(kernel).ok_or_else(|| failed("none such".into()))?;
        let arguments: Vec<&[u8]> = arguments.collect();
        let given: Vec<usize> = arguments.iter().map(|argument| argument.len()).collect();
        if given != wanted {
            return Err(failed(format!(
                "arguments of {given:?} bytes, parameters of {wanted:?}"
            )));
        }
        let addresses: Vec<*mut c_void> =
            arguments.iter().map(|argument| argument.as_ptr().cast_mut().cast()).collect();
        let ranges: Vec<Range> = self
            .buffers
            .iter()
            .map(|buffer| Range { first: buffer.address() as usize, bytes: buffer.len })
            .collect();
        // SAFETY: as many arguments as parameters, each of its size, was checked above; the caller vouches
        // for the addresses among them.
        let counts = unsafe {
            run(kernel, grid, threads, shared_bytes, addresses.as_ptr(), self.how, &ranges)
        }?;
        *self.counts.entry(kernel.to_owned()).or_default() += counts;
        if self.buffers.iter().all(Buffer::guards_hold) {
            return Ok(());
        }
        Err(failed("wrote before or after a buffer".into()))
    }

    /// What the launches of each kernel cost, if they are followed.
    pub const fn counts(&self) -> &BTreeMap<String, Counts> {
        &self.counts
    }
}
