//! Memory that an op needs only while it runs.

use super::memory::Memory;

/// Scratch memory of one device: grows to the longest that an op has asked for, and stays, so that
/// nothing is allocated once every op has run.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Option<Memory>);

impl Scratch {
    /// `len` floats, from the start of a cache line, with whatever the last op left in them.
    ///
    /// # Panics
    /// If the system refuses more, which those that hand out pages before they have them do not.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        let short = |memory: &Memory| memory.floats().len() < len;
        if self.0.as_ref().is_none_or(short) {
            self.0 = None; // first: not both at once
            let bytes = len * size_of::<f32>();
            let refused = "no memory for an op to work in; a smaller batch needs less";
            let grown = Memory::zeros(bytes).unwrap_or_else(|e| panic!("{refused}: {e}"));
            self.0 = Some(grown);
        }
        let memory = self.0.as_mut().expect("it has grown");
        &mut memory.floats_mut()[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_never_straddle_lines_and_memory_stays() {
        let mut scratch = Scratch::default();
        for len in [100, 1 << 20, 5] {
            let floats = scratch.take(len);
            assert_eq!((floats.len(), floats.as_ptr().addr() % 64), (len, 0));
        }
        let grown = scratch.take(5).as_ptr();
        assert_eq!(scratch.take(1 << 20).as_ptr(), grown);
    }
}
