//! Memory that an op needs only while it runs.

use super::LINE;

/// Scratch memory of one device: grows to the longest that an op has asked for, and stays, so that
/// nothing is allocated once every op has run.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Vec<f32>);

impl Scratch {
    /// `len` floats, from the start of a cache line, with whatever the last op left in them.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len + LINE {
            self.0.resize(len + LINE, 0.0);
        }
        let first = self.0.as_ptr().align_offset(LINE * size_of::<f32>());
        &mut self.0[first..][..len]
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
        let grown = scratch.0.as_ptr();
        scratch.take(1 << 20);
        assert_eq!(scratch.0.as_ptr(), grown);
    }
}
