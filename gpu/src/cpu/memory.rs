//! Memory of the CPU device: pages of its own, large ones where the system has any.

use memmap2::MmapMut;
use std::{
    io,
    ops::{Deref, DerefMut},
};

/// Some bytes, all zeros at first, from the start of a page, so that vectors straddle no lines of the caches.
///
/// Pages are large ones where the system grants them, of what is as long as one: rows of weights and planes of images lie
/// further apart than 4 KiB, and to find a small page takes a walk through tables (docs/evidence/speed.md has the times).
#[derive(Debug)]
pub(super) struct Memory(MmapMut);

impl Memory {
    /// `bytes` bytes, which are there from now on and not while they are first used.
    ///
    /// # Errors
    /// If the system has no room for them.
    pub(super) fn zeros(bytes: usize) -> io::Result<Self> {
        let mut memory = MmapMut::map_anon(bytes)?;
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage); // an error means that there are none
        memory.fill(0);
        Ok(Self(memory))
    }

    pub(super) fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    pub(super) fn floats_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl Deref for Memory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_with_a_line_and_is_as_long_as_it_is_asked_for() {
        for bytes in [0, 4, 64, 400, 3 * 224 * 224 * 4, (4 << 20) + 4] {
            let mut memory = Memory::zeros(bytes).expect("memory");
            assert_eq!((memory.len(), memory.as_ptr().addr() % 64), (bytes, 0));
            assert!(memory.iter().all(|byte| *byte == 0));
            memory.iter_mut().for_each(|byte| *byte = 1);
            assert_eq!(memory.floats_mut().len(), memory.floats().len());
            assert_eq!(memory.floats().len(), bytes / 4);
        }
    }
}
