//! Memory of the emulated GPUs and pinned memory of the host: filled with what is not a number, each
//! allocation before a page that nobody may touch.

use crate::{
    settings::settings,
    status::{Done, INVALID_VALUE, OUT_OF_MEMORY, Status},
};
use std::{
    collections::BTreeMap,
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a GPU.
    Device(usize),
    /// Pinned, on the host.
    Pinned,
}

#[derive(Debug)]
struct Allocation {
    bytes: usize,
    place: Place,
    map: usize,
    map_bytes: usize,
}

const PAGE: usize = 4096;
/// The driver promises 256; less leaves less room behind what was asked for.
const ALIGNMENT: usize = 16;

/// By first address.
static ALLOCATIONS: Mutex<BTreeMap<usize, Allocation>> = Mutex::new(BTreeMap::new());

fn allocations() -> MutexGuard<'static, BTreeMap<usize, Allocation>> {
    ALLOCATIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that are allocated on a GPU.
pub(crate) fn used(device: usize) -> usize {
    let place = Place::Device(device);
    allocations().values().filter(|a| a.place == place).map(|a| a.bytes).sum()
}

/// `bytes` of memory, and its address.
pub(crate) fn allocate(bytes: usize, place: Place) -> Result<usize, Status> {
    if bytes == 0 {
        return Err(INVALID_VALUE);
    }
    if let Place::Device(device) = place
        && used(device) + bytes > settings().memory_bytes
    {
        return Err(OUT_OF_MEMORY);
    }
    let body = bytes.next_multiple_of(PAGE);
    let map_bytes = body + PAGE;
    // SAFETY: a new mapping, nobody's yet.
    let map = unsafe {
        libc::mmap(
            ptr::null_mut(),
            map_bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if map == libc::MAP_FAILED {
        return Err(OUT_OF_MEMORY);
    }
    // SAFETY: the mapping is ours, `body` bytes and a page long; all ones are no number.
    unsafe {
        libc::memset(map, 0xff, body);
        libc::mprotect(map.byte_add(body), PAGE, libc::PROT_NONE);
    }
    let first = map.addr() + body - bytes.next_multiple_of(ALIGNMENT);
    let allocation = Allocation { bytes, place, map: map.addr(), map_bytes };
    allocations().insert(first, allocation);
    Ok(first)
}

/// Gives an allocation back, by its address.
pub(crate) fn free(first: usize) -> Done {
    let allocation = allocations().remove(&first).ok_or(INVALID_VALUE)?;
    let map = ptr::with_exposed_provenance_mut(allocation.map);
    // SAFETY: the mapping of this allocation, of which nobody knows any more.
    unsafe { libc::munmap(map, allocation.map_bytes) };
    Ok(())
}

/// In whose allocation all of `bytes` from `first` on lie, if in any.
pub(crate) fn place(first: usize, bytes: usize) -> Option<Place> {
    let allocations = allocations();
    let (start, allocation) = allocations.range(..=first).next_back()?;
    (first + bytes <= start + allocation.bytes).then_some(allocation.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_no_number_and_knows_its_place() {
        let first = allocate(100, Place::Pinned).expect("memory");
        let floats: *const f32 = ptr::with_exposed_provenance(first);
        // SAFETY: the memory is 100 bytes long.
        assert!((0..25).all(|i| unsafe { floats.add(i).read() }.is_nan()));
        assert_eq!(place(first, 100), Some(Place::Pinned));
        assert_eq!((place(first, 101), place(first + 99, 1)), (None, Some(Place::Pinned)));
        assert_eq!((free(first), free(first)), (Ok(()), Err(INVALID_VALUE)));
    }

    #[test]
    fn a_gpu_has_so_much_and_no_more() {
        let device = Place::Device(7);
        let all = settings().memory_bytes;
        let first = allocate(all - 10, device).expect("memory");
        assert_eq!(allocate(11, device), Err(OUT_OF_MEMORY));
        assert_eq!(used(7), all - 10);
        free(first).expect("ours");
    }
}
