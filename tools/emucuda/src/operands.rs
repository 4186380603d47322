//! What a library's call reads and writes: held to be memory of its GPU, each by itself.

use crate::{
    context::Context,
    kind::Kind,
    memory::{Place, place},
};
use std::{ptr, slice};

/// Memory that a call names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) first: usize,
    pub(crate) bytes: usize,
    kind: Kind,
}

/// Where cuDNN reads several numbers at once. cuBLAS takes whatever a number may lie at: its documentation, "Tensor
/// Core Usage".
pub(crate) const ALIGNMENT: usize = 16;

impl Operand {
    /// `len` numbers of a kind, from address `first` on.
    pub(crate) const fn of(kind: Kind, first: usize, len: usize) -> Self {
        Self { first, bytes: len * kind.bytes(), kind }
    }

    /// Floats.
    #[cfg(test)]
    pub(crate) const fn floats(first: usize, len: usize) -> Self {
        Self::of(Kind::Float, first, len)
    }

    /// A workspace, of which nobody reads numbers.
    pub(crate) const fn room(first: usize, bytes: usize) -> Self {
        Self { first, bytes, kind: Kind::Float }
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.first < other.first + other.bytes && other.first < self.first + self.bytes
    }

    /// The numbers of an operand that was held to be memory of a GPU.
    pub(crate) fn read(&self) -> Vec<f32> {
        let first = ptr::with_exposed_provenance::<u8>(self.first);
        // SAFETY: memory of a GPU, as `apart` found, which stays until its free, which waits for all streams;
        // that nobody else uses it meanwhile is what the tests are about.
        let bytes = unsafe { slice::from_raw_parts(first, self.bytes) };
        bytes.chunks_exact(self.kind.bytes()).map(|number| self.widen(number)).collect()
    }

    fn widen(&self, number: &[u8]) -> f32 {
        let mut bits = [0; 4];
        bits[..number.len()].copy_from_slice(number);
        self.kind.widen(u32::from_le_bytes(bits))
    }

    /// Fills it with what is not a number.
    pub(crate) fn spoil(&self) {
        let first = ptr::with_exposed_provenance_mut::<u8>(self.first);
        // SAFETY: as above.
        unsafe { first.write_bytes(0xff, self.bytes) };
    }

    /// Writes the number at `i`, made from what is there, and rounded.
    pub(crate) fn change(&self, i: usize, change: impl FnOnce(f32) -> f64) {
        let bytes = self.kind.bytes();
        assert!((i + 1) * bytes <= self.bytes, "number {i} of {self:?}");
        let at = ptr::with_exposed_provenance_mut::<u8>(self.first).wrapping_add(i * bytes);
        // SAFETY: as above, and within it.
        let number = unsafe { slice::from_raw_parts_mut(at, bytes) };
        let bits = self.kind.round(change(self.widen(number)));
        number.copy_from_slice(&bits.to_le_bytes()[..bytes]);
    }
}

/// Writes `factor` times the sums, added to `beta` times what is there; without, that is not read.
pub(crate) fn put(to: &Operand, sums: &[f64], factor: f64, beta: f32) {
    for (i, sum) in sums.iter().enumerate() {
        to.change(i, |before| {
            let before = if beta == 0.0 { 0.0 } else { f64::from(beta * before) };
            factor * sum + before
        });
    }
}

/// Whether all are memory of `context`'s GPU and none is a part of another.
pub(crate) fn apart(
    context: &Context, all: &[Operand], alignment: usize,
) -> Result<(), String> {
    for (i, operand) in all.iter().enumerate().filter(|(_, operand)| operand.bytes > 0) {
        let found = place(operand.first, operand.bytes);
        if found != Some(Place::Device(context.device)) {
            return Err(format!("operand {i}, {operand:x?}, is not the GPU's: {found:?}"));
        }
        if operand.first % alignment != 0 {
            return Err(format!("operand {i}, {operand:x?}, lies askew"));
        }
        if all[..i].iter().any(|other| operand.overlaps(other)) {
            return Err(format!("operand {i}, {operand:x?}, is a part of another"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{context::contexts, memory::allocate};

    #[test]
    fn operands_are_the_gpus_own_and_apart() {
        let context = &contexts()[1];
        let first = allocate(400, Place::Device(1)).expect("memory");
        let foreign = allocate(400, Place::Device(0)).expect("memory");
        let [a, b] = [Operand::floats(first, 40), Operand::floats(first + 160, 60)];
        assert_eq!(apart(context, &[a, b], ALIGNMENT), Ok(()));
        for wrong in [
            Operand::floats(first + 144, 10),
            Operand::floats(first + 160, 61),
            Operand::floats(first + 164, 10),
            Operand::floats(foreign, 10),
            Operand::of(Kind::Half, first + 144, 10),
        ] {
            assert!(apart(context, &[a, wrong], ALIGNMENT).is_err(), "{wrong:x?}");
        }
        let half = Operand::of(Kind::Half, first + 160, 3);
        assert_eq!(apart(context, &[a, half], ALIGNMENT), Ok(()));
        put(&half, &[1.0 + 1.0 / 2048.0, 1e6], 1.0, 0.0);
        assert_eq!(half.read()[..2], [1.0, f32::INFINITY]);
        assert!(half.read()[2].is_nan());
        put(&a, &[1.0, 2.0], 2.0, 0.0);
        put(&a, &[1.0, 2.0], 1.0, 1.0);
        assert_eq!(a.read()[..2], [3.0, 6.0]);
        assert!(a.read()[2].is_nan());
    }
}
