//! Memory of a GPU, and of the host where a GPU's copy engines reach it.

use super::context::Context;
use super::launch::Ptr;
use crate::device::{DeviceError, FreeAndGiven};
use cudarc::driver::{
    DriverError, result,
    sys::{self, CUresult},
};
use memmap2::MmapMut;
use std::{
    ops::{Deref, DerefMut},
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Memory of a GPU, with whatever was in it.
#[derive(Debug)]
pub(super) struct Memory {
    context: Arc<Context>,
    start: sys::CUdeviceptr,
    bytes: usize,
}

impl Memory {
    /// `bytes` of it; none at all is no memory.
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        let context = Arc::clone(context);
        if bytes == 0 {
            return Ok(Self { context, start: 0, bytes });
        }
        context.bind()?;
        // SAFETY: a size above 0, and `drop` frees it.
        let start = match unsafe { result::malloc_sync(bytes) } {
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                return Err(DeviceError::OutOfMemory {
                    device: context.name().into(),
                    wanted_bytes: bytes,
                    counted: context.memory().ok().map(|(free_bytes, _)| FreeAndGiven {
                        free_bytes,
                        given_bytes: context.given_bytes().load(Relaxed),
                    }),
                });
            }
            made => context.check("allocating memory", made)?,
        };
        context.given_bytes().fetch_add(bytes, Relaxed);
        Ok(Self { context, start, bytes })
    }

    /// The same, filled with a byte, whatever stream reads it next.
    pub(super) fn filled(
        context: &Arc<Context>, bytes: usize, byte: u8,
    ) -> Result<Self, DeviceError> {
        let memory = Self::new(context, bytes)?;
        if bytes > 0 {
            // SAFETY: the memory is ours and `bytes` long.
            let filled = unsafe { result::memset_d8_sync(memory.start, byte, bytes) };
            // For all its name it returns before it is done, and our streams do not wait for the driver's own.
            context
                .check("filling memory", filled.and_then(|()| context.wait_for_its_own()))?;
        }
        Ok(memory)
    }

    pub(super) fn ptr(&self) -> Ptr {
        Ptr(self.start)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let start = self.start;
        if self.bytes > 0 {
            self.context.given_bytes().fetch_sub(self.bytes, Relaxed);
            // SAFETY: allocated in `new` and freed once; the driver waits for what uses it.
            self.context.free(|| unsafe { result::free_sync(start) });
        }
    }
}

/// What a process may pin of the host's memory, `ulimit -l`; none where nothing limits it, or nobody knows.
pub fn pin_limit_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    #[cfg(not(target_os = "linux"))]
    None
}

/// Whether any batch of this process lies in pageable memory: then the driver may block whoever asks for its copy.
pub(super) fn some_lie_pageable() -> bool {
    PAGEABLE.load(Relaxed) // it orders nothing else
}

/// Whether [`Pinned::or_pageable`] was refused.
static PAGEABLE: AtomicBool = AtomicBool::new(false);

/// What the user should know of batches of `bytes` that could not be pinned.
pub(super) fn pageable(refused: &DeviceError, bytes: usize) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let limit = pin_limit_bytes()
        .map_or("sets no limit".into(), |limit| format!("allows {} MiB", mib(limit)));
    format!(
        "batches lie in pageable memory, which is copied more slowly: {refused}; each needs {} MiB, and `ulimit -l` \
         {limit}",
        mib(bytes as u64)
    )
}

/// Memory of the host that the GPU's copy engines read and write while the CPU does something else, or
/// that they cannot, where the system refuses to pin any.
#[derive(Debug)]
pub struct Pinned(Kind);

#[derive(Debug)]
enum Kind {
    Pinned { context: Arc<Context>, start: *mut u8, bytes: usize },
    Pageable(MmapMut),
}

// SAFETY: plain memory, which `self` owns.
unsafe impl Send for Pinned {}
// SAFETY: as above; shared, it can only be read.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// `bytes` of zeroed memory, pinned for every GPU.
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, DeviceError> {
        context.bind()?;
        // Not write-combined: prepared batches are also read, by `alexnet batch` and tests.
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE;
        // SAFETY: a size above 0, and `drop` frees it.
        let made = unsafe { result::malloc_host(bytes.max(1), flags) };
        let start = made.map_err(|error| context.not_pinned(bytes, error))?.cast::<u8>();
        // SAFETY: the memory is ours and `bytes` long.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self(Kind::Pinned { context: Arc::clone(context), start, bytes }))
    }

    /// The same where the system refuses.
    pub(super) fn or_pageable(
        context: &Arc<Context>, bytes: usize,
    ) -> Result<(Self, Option<DeviceError>), DeviceError> {
        match Self::new(context, bytes) {
            Ok(pinned) => Ok((pinned, None)),
            Err(refused) => {
                let no_room = |_| DeviceError::OutOfMemory {
                    device: context.name().into(),
                    wanted_bytes: bytes,
                    counted: None,
                };
                let memory = MmapMut::map_anon(bytes.max(1)).map_err(no_room)?;
                PAGEABLE.store(true, Relaxed);
                Ok((Self(Kind::Pageable(memory)), Some(refused)))
            }
        }
    }
}

impl Deref for Pinned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: `bytes` bytes that are ours and initialised.
            Kind::Pinned { start, bytes, .. } => unsafe {
                slice::from_raw_parts(*start, *bytes)
            },
            Kind::Pageable(memory) => memory,
        }
    }
}

impl DerefMut for Pinned {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            // SAFETY: as above, and borrowed mutably.
            Kind::Pinned { start, bytes, .. } => unsafe {
                slice::from_raw_parts_mut(*start, *bytes)
            },
            Kind::Pageable(memory) => memory,
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Kind::Pinned { context, start, .. } = &self.0 {
            // SAFETY: allocated in `new` and freed once.
            context.free(|| unsafe { result::free_host(start.cast()) });
        }
    }
}
