//! The numbers that a GPU keeps activations in, and multiplies.

use super::{
    images::Capability,
    launch::{Args, Launch, Ptr, Sink},
};

/// What activations and their gradients are in a GPU's memory and on their way between GPUs, and what products
/// multiply.
/// Sums, weights, velocities, biases, logits and the gradients of weights are `f32` whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// `f32`.
    #[default]
    F32,
    /// bf16, seven bits after the leading one, rounded to nearest even: half the bytes. Products read a copy
    /// of the weights that is rounded so, once a step.
    Bf16,
    /// `f32`, which products round to tf32, ten bits after the leading one, ties away from zero, as they read it:
    /// on tensor cores, from [`TF32_FROM`] on.
    Tf32,
}

/// The first devices whose tensor cores multiply tf32.
pub const TF32_FROM: Capability = (8, 0);

/// The kernels that are there for all numbers, by their common name.
macro_rules! kernels {
    ($name:literal) => {
        [concat!($name, "_f32"), concat!($name, "_bf16")]
    };
}
pub(crate) use kernels;

impl Numbers {
    /// All that products multiply.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Tf32];
    /// All that memory holds.
    pub const IN_MEMORY: [Self; 2] = [Self::F32, Self::Bf16];

    /// What memory holds of them.
    #[must_use]
    pub const fn in_memory(self) -> Self {
        match self {
            Self::F32 | Self::Tf32 => Self::F32,
            Self::Bf16 => Self::Bf16,
        }
    }

    /// Whether products read a copy of the weights, which are `f32`.
    pub const fn copies_weights(self) -> bool {
        matches!(self, Self::Bf16)
    }

    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::Tf32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Tf32 => "tf32",
        }
    }

    /// Of `kernels!`, the one for these.
    pub(crate) const fn of(self, kernels: [&'static str; 2]) -> &'static str {
        kernels[self.in_memory() as usize]
    }

    /// `values` as memory holds them.
    pub(crate) fn narrow(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 | Self::Tf32 => bytemuck::cast_slice(values).to_vec(),
            Self::Bf16 => values.iter().flat_map(|x| to_bf16(*x).to_ne_bytes()).collect(),
        }
    }

    /// The way back.
    pub(crate) fn widen(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 | Self::Tf32 => bytemuck::cast_slice_mut(values).copy_from_slice(bytes),
            Self::Bf16 => {
                for (value, half) in values.iter_mut().zip(bytes.chunks_exact(2)) {
                    let bits = u16::from_ne_bytes([half[0], half[1]]);
                    *value = f32::from_bits(u32::from(bits) << 16);
                }
            }
        }
    }
}

/// Rounded to nearest even; what is not a number stays none.
const fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fff;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// `halves` = `len` floats at `floats`, as products read them.
pub(super) fn narrow(numbers: Numbers, len: usize, floats: Ptr, halves: Ptr, sink: Sink<'_>) {
    if numbers.copies_weights() {
        let args = Args::new().with(floats).with(halves).with(len as u64);
        sink(Launch::each("narrow_bf16", len, 256, args));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cuda::testing::on_every_schedule, testing::noise};

    #[test]
    fn halves_are_rounded_to_nearest_even_here_and_there_alike() {
        let mut values = noise(1, 1007);
        // Ties to even, both ways; just beyond; the largest and the smallest; none.
        let bits = [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 1, 0x8000_0000];
        values.extend(bits.map(f32::from_bits));
        values.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        let bytes = Numbers::Bf16.narrow(&values);
        let halves: Vec<u16> =
            bytes.chunks_exact(2).map(|half| u16::from_ne_bytes([half[0], half[1]])).collect();
        let special = &halves[1007..];
        assert_eq!(special[..6], [0x3f80, 0x3f82, 0x3f81, 0x7f80, 0, 0x8000]);
        assert_eq!(special[6..8], [0x7f80, 0xff80]);
        let mut back = vec![0.0; values.len()];
        Numbers::Bf16.widen(&bytes, &mut back);
        for (x, half) in values.iter().zip(&back).take(1007) {
            assert!((x - half).abs() <= x.abs() / 256.0, "{x} became {half}");
        }
        assert!(back[back.len() - 1].is_nan());
        on_every_schedule(|device| {
            let (from, to) = (device.put(&values), device.put(&vec![0_u16; values.len()]));
            device.run(|sink| narrow(Numbers::Bf16, values.len(), from, to, sink));
            assert_eq!(device.get::<u16>(to), halves);
        });
    }
}
