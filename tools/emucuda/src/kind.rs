//! The kinds of numbers that libraries read and write.

use half::{bf16, f16};

/// Floats, and halves of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    /// Half precision of IEEE 754.
    Half,
    /// The upper half of a float.
    Bfloat,
}

impl Kind {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Half | Self::Bfloat => 2,
        }
    }

    /// The bits of the nearest number of this kind, of ties the even one.
    pub(crate) fn round(self, x: f64) -> u32 {
        match self {
            Self::Float => (x as f32).to_bits(),
            Self::Half => f16::from_f64(x).to_bits().into(),
            Self::Bfloat => bf16::from_f64(x).to_bits().into(),
        }
    }

    /// The number whose bits these are.
    pub(crate) fn widen(self, bits: u32) -> f32 {
        match self {
            Self::Float => f32::from_bits(bits),
            Self::Half => f16::from_bits(bits as u16).to_f32(),
            Self::Bfloat => bf16::from_bits(bits as u16).to_f32(),
        }
    }
}

/// As tensor cores read a float that nobody has rounded to tf32: ten bits after the leading one.
pub(crate) const fn cut_to_tf32(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0xffff_e000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_their_kind_and_come_back() {
        let back = |kind: Kind, x: f64| kind.widen(kind.round(x));
        assert_eq!(back(Kind::Half, 1.0 + 1.0 / 2048.0), 1.0);
        assert_eq!(back(Kind::Half, 65_520.0), f32::INFINITY);
        assert_eq!(back(Kind::Bfloat, 1.0 + 3.0 / 256.0), 1.0 + 1.0 / 64.0);
        for kind in [Kind::Float, Kind::Half, Kind::Bfloat] {
            assert!(back(kind, f64::NAN).is_nan());
            assert_eq!(back(kind, -1.5), -1.5);
        }
        assert_eq!(cut_to_tf32(-1.000_976), -1.0);
    }
}
