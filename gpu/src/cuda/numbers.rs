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
    /// Half precision of IEEE 754: ten bits after the leading one, but no number beyond 65504, and fewer bits below
    /// 2^-14. So gradients are scaled on their way ([`Step::scale`](crate::device::Step::scale)), and what overflows
    /// updates nothing.
    F16,
    /// `f32`, which products round to tf32, ten bits after the leading one, ties away from zero, as they read it:
    /// on tensor cores, from [`TF32_FROM`] on.
    Tf32,
}

/// The first devices whose tensor cores multiply tf32.
pub const TF32_FROM: Capability = (8, 0);

/// The kernels that are there for all numbers, by their common name.
macro_rules! kernels {
    ($name:literal) => {
        [concat!($name, "_f32"), concat!($name, "_bf16"), concat!($name, "_f16")]
    };
}
pub(crate) use kernels;

impl Numbers {
    /// All that products multiply.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::F16, Self::Tf32];
    /// All that memory holds.
    pub const IN_MEMORY: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// What memory holds of them.
    #[must_use]
    pub const fn in_memory(self) -> Self {
        match self {
            Self::F32 | Self::Tf32 => Self::F32,
            halves @ (Self::Bf16 | Self::F16) => halves,
        }
    }

    /// Whether products read a copy of the weights, which are `f32`.
    pub const fn copies_weights(self) -> bool {
        matches!(self, Self::Bf16 | Self::F16)
    }

    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::Tf32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Tf32 => "tf32",
        }
    }

    /// Of `kernels!`, the one for these.
    pub(crate) const fn of(
        self, kernels: [&'static str; Self::IN_MEMORY.len()],
    ) -> &'static str {
        kernels[self.in_memory() as usize]
    }

    /// Rounds to what memory keeps.
    pub fn round(self, values: &mut [f32]) {
        let bytes = self.narrow(values);
        self.widen(&bytes, values);
    }

    /// `values` as memory holds them.
    pub(crate) fn narrow(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 | Self::Tf32 => bytemuck::cast_slice(values).to_vec(),
            Self::Bf16 => values.iter().flat_map(|x| to_bf16(*x).to_ne_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|x| to_f16(*x).to_ne_bytes()).collect(),
        }
    }

    /// The way back.
    pub(crate) fn widen(self, bytes: &[u8], values: &mut [f32]) {
        let mut halves = |widen: fn(u16) -> f32| {
            for (value, half) in values.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = widen(u16::from_ne_bytes([half[0], half[1]]));
            }
        };
        match self {
            Self::F32 | Self::Tf32 => bytemuck::cast_slice_mut(values).copy_from_slice(bytes),
            Self::Bf16 => halves(|half| f32::from_bits(u32::from(half) << 16)),
            Self::F16 => halves(from_f16),
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

/// The same; 65520, half way to the number that would follow the largest, and what lies beyond it is infinite.
const fn to_f16(x: f32) -> u16 {
    let (sign, size) = ((x.to_bits() >> 16 & 0x8000) as u16, x.to_bits() & 0x7fff_ffff);
    if x.is_nan() {
        return 0x7fff;
    }
    sign | if size >= 65520_f32.to_bits() {
        0x7c00
    } else if size < F16_NORMAL.to_bits() {
        // Floats from 0.5 on are multiples of 2^-24, the smallest of these.
        ((f32::from_bits(size) + 0.5).to_bits() - 0.5_f32.to_bits()) as u16
    } else {
        ((size - (112 << 23) + 0xfff + (size >> 13 & 1)) >> 13) as u16
    }
}

/// The smallest that has all bits, 2^-14.
const F16_NORMAL: f32 = 1.0 / 16384.0;

/// Exactly. The exponents of `f32` begin 112 earlier.
const fn from_f16(half: u16) -> f32 {
    let (sign, size) = ((half as u32 & 0x8000) << 16, (half as u32 & 0x7fff) << 13);
    let size = if half & 0x7c00 == 0x7c00 {
        size + (224 << 23)
    } else {
        (f32::from_bits(size) * f32::from_bits((127 + 112) << 23)).to_bits()
    };
    f32::from_bits(sign | size)
}

/// `halves` = `len` floats at `floats`, as products read them.
pub(super) fn narrow(numbers: Numbers, len: usize, floats: Ptr, halves: Ptr, sink: Sink<'_>) {
    let kernel = match numbers {
        Numbers::F32 | Numbers::Tf32 => return,
        Numbers::Bf16 => "narrow_bf16",
        Numbers::F16 => "narrow_f16",
    };
    let args = Args::new().with(floats).with(halves).with(len as u64);
    sink(Launch::each(kernel, len, 256, args));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cuda::testing::{on_every_schedule, once},
        ops::activation,
        testing::noise,
    };

    /// Halves of `values` as memory holds them, which the kernel rounds to, too; and those as floats.
    fn halves(numbers: Numbers, values: &[f32]) -> (Vec<u16>, Vec<f32>) {
        let bytes = numbers.narrow(values);
        let pairs = bytes.chunks_exact(2);
        let halves: Vec<u16> =
            pairs.map(|half| u16::from_ne_bytes([half[0], half[1]])).collect();
        let mut back = vec![0.0; values.len()];
        numbers.widen(&bytes, &mut back);
        on_every_schedule(|device| {
            let (from, to) = (device.put(values), device.put(&vec![0_u16; values.len()]));
            device.run(|sink| narrow(numbers, values.len(), from, to, sink));
            assert_eq!(device.get::<u16>(to), halves);
        });
        (halves, back)
    }

    #[test]
    fn numbers_of_f16_are_the_nearest_ties_the_even_ones() {
        // All that are not negative, in order; the next would be 65536.
        let all: Vec<f32> = (0..0x7c00).map(from_f16).collect();
        assert_eq!((all[1], all[0x400], all[0x7bff]), (2_f32.powi(-24), F16_NORMAL, 65504.0));
        assert!(
            all.is_sorted()
                && (from_f16(0x7c00), from_f16(0xfc00)) == (f32::INFINITY, f32::NEG_INFINITY)
        );
        let (mut values, mut wanted) = (vec![], vec![]);
        for (i, low) in all.iter().enumerate() {
            let high = all.get(i + 1).copied().unwrap_or(65536.0);
            let (tie, i) = (low.midpoint(high), i as u16);
            values.extend([*low, tie.next_down(), tie, tie.next_up()]);
            wanted.extend([i, i, i + i % 2, i + 1]);
        }
        values.extend([f32::INFINITY, 65536.0, 1e30, 1e-30, f32::from_bits(1)]);
        wanted.extend([0x7c00, 0x7c00, 0x7c00, 0, 0]);
        values.extend(values.clone().iter().map(|x| -x));
        wanted.extend(wanted.clone().iter().map(|half| half | 0x8000));
        values.push(f32::NAN);
        wanted.push(0x7fff);
        let (found, back) = halves(Numbers::F16, &values);
        assert_eq!(found, wanted);
        let exact = values.iter().zip(&back).filter(|(x, half)| x == half).count();
        assert!(exact >= 2 * 0x7c00 && back[back.len() - 1].is_nan());
    }

    #[test]
    fn kernels_widen_f16_as_the_host_does() {
        // Every half there is, to which a negative zero is added.
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let zeros = vec![0x8000_u16; all.len()];
        once(|device| {
            let (x, y) = (device.put(&zeros), device.put(&all));
            device.run(|sink| activation::cuda::add(Numbers::F16, all.len(), x, y, sink));
            for (half, found) in all.iter().zip(device.get::<u16>(y)) {
                let wanted = if from_f16(*half).is_nan() { 0x7fff } else { *half };
                assert_eq!(found, wanted);
            }
        });
    }

    #[test]
    fn numbers_of_bf16_are_rounded_to_nearest_even() {
        let mut values = noise(1, 1007);
        // Ties to even, both ways; just beyond; the largest and the smallest; none.
        let bits = [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 1, 0x8000_0000];
        values.extend(bits.map(f32::from_bits));
        values.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        let (halves, back) = halves(Numbers::Bf16, &values);
        let special = &halves[1007..];
        assert_eq!(special[..6], [0x3f80, 0x3f82, 0x3f81, 0x7f80, 0, 0x8000]);
        assert_eq!(special[6..8], [0x7f80, 0xff80]);
        for (x, half) in values.iter().zip(&back).take(1007) {
            assert!((x - half).abs() <= x.abs() / 256.0, "{x} became {half}");
        }
        assert!(back[back.len() - 1].is_nan());
    }
}
