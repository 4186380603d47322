//! The kinds of numbers that libraries read and write.

/// Floats, and halves of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    /// Half precision of IEEE 754.
    Half,
    /// The upper half of a float.
    Bfloat,
}

/// The smallest half that has all bits.
const HALF_NORMAL: f64 = 1.0 / 16_384.0;

impl Kind {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Half | Self::Bfloat => 2,
        }
    }

    /// The nearest number of this kind, ties the even one, of what is none, none; its bits.
    pub(crate) fn round(self, x: f64) -> u32 {
        match self {
            Self::Float => (x as f32).to_bits(),
            Self::Bfloat => {
                if x.is_nan() {
                    return 0x7fff;
                }
                // Of what a float cannot hold, one bit stands for the rest.
                let float = x as f32;
                let (bits, exact) = (float.to_bits(), f64::from(float) == x);
                let away = if !exact && (f64::from(float).abs() > x.abs()) { bits - 1 } else { bits };
                let sticky = away | u32::from(!exact);
                (sticky + 0x7fff + (sticky >> 16 & 1)) >> 16
            }
            Self::Half => {
                if x.is_nan() {
                    return 0x7fff;
                }
                let (sign, size) = (if x.is_sign_negative() { 0x8000 } else { 0 }, x.abs());
                if size >= 65_520.0 {
                    return sign | 0x7c00; // half way to the number that would follow the largest
                }
                let unit = if size < HALF_NORMAL {
                    HALF_NORMAL / 1024.0
                } else {
                    // Eleven bits from the leading one on.
                    f64::from_bits(size.to_bits() & 0x7ff << 52) / 1024.0
                };
                let rounded = (size / unit).round_ties_even() * unit;
                sign | half_bits(rounded)
            }
        }
    }

    /// The number whose bits these are.
    pub(crate) fn widen(self, bits: u32) -> f32 {
        match self {
            Self::Float => f32::from_bits(bits),
            Self::Bfloat => f32::from_bits(bits << 16),
            Self::Half => {
                let (exponent, fraction) = (bits >> 10 & 31, f64::from(bits & 1023));
                let size = match exponent {
                    0 => fraction / 1024.0 * HALF_NORMAL,
                    31 if fraction == 0.0 => f64::INFINITY,
                    31 => f64::NAN,
                    _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent as i32 - 15),
                };
                (if bits & 0x8000 == 0 { size } else { -size }) as f32
            }
        }
    }
}

/// Of a number that a half can hold.
fn half_bits(size: f64) -> u32 {
    if size < HALF_NORMAL {
        (size / HALF_NORMAL * 1024.0) as u32
    } else {
        let exponent = (size.to_bits() >> 52) as u32 - 1023 + 15;
        exponent << 10 | (size.to_bits() >> 42) as u32 & 1023
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
    fn halves_are_rounded_to_nearest_ties_to_the_even_one() {
        for kind in [Kind::Half, Kind::Bfloat] {
            for bits in 0..0x7c00 {
                let [low, high] = [bits, bits + 1].map(|bits| f64::from(kind.widen(bits)));
                assert_eq!(kind.round(low), bits, "{kind:?}");
                if high.is_finite() {
                    let tie = f64::midpoint(low, high);
                    assert_eq!(kind.round(tie), bits + bits % 2, "{kind:?}");
                    assert_eq!(kind.round(-tie.next_up()), 0x8000 | (bits + 1), "{kind:?}");
                    assert_eq!(kind.round(tie.next_down()), bits, "{kind:?}");
                }
            }
        }
        assert_eq!([65_519.9, 65_520.0, -1e9].map(|x| Kind::Half.round(x)), [0x7bff, 0x7c00, 0xfc00]);
        for kind in [Kind::Float, Kind::Half, Kind::Bfloat] {
            assert!(kind.widen(kind.round(f64::NAN)).is_nan());
            assert_eq!(kind.widen(kind.round(-1.5)), -1.5);
        }
        assert_eq!(cut_to_tf32(-1.000_999_9), -1.0);
    }
}
