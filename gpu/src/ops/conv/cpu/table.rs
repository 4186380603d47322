//! Which algorithm each pass of a convolution takes: the one place where this is said.
//!
//! The choice depends on the shape, the number format and, for bf16, on whether the CPU has a matrix unit for it.

use super::{super::Conv, direct, winograd};
use crate::{cpu::Level, ops::Dtype};

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// `y` from `x` and `w`.
    Forward,
    /// `dx` from `dy` and `w`.
    BackwardData,
    /// `dw` from `x` and `dy`.
    BackwardWeight,
}

impl Pass {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Forward, Self::BackwardData, Self::BackwardWeight];
}

/// How it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Windows laid out as columns, and a matrix product: any shape.
    Im2col,
    /// Winograd's minimal filtering with eight points a side: step 1, 2 or 4, windows of 3 or 5 steps, rounded up.
    Winograd,
    /// Sums over the windows where they lie, in bf16: padding narrower than the window; for the gradient of the
    /// input, step 1.
    Bf16,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Im2col, Self::Winograd, Self::Bf16];

    /// Its name in the records of a run.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Im2col => "im2col",
            Self::Winograd => "winograd",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether it can do pass `pass` of `op`.
    pub fn fits(self, op: &Conv, pass: Pass) -> bool {
        match (self, pass) {
            (Self::Im2col, _) => true,
            (Self::Winograd, Pass::BackwardData) => winograd::fits_backward(op),
            (Self::Winograd, _) => winograd::fits(op),
            (Self::Bf16, Pass::BackwardData) => direct::fits_backward(op),
            (Self::Bf16, _) => direct::fits(op),
        }
    }
}

/// Channels or kernels of a group from which on Winograd's products are worth its transforms.
const CHANNELS_MIN: usize = 8;

/// The algorithm of pass `pass` of `op` on a CPU with the instructions of `level`.
pub fn algorithm(op: &Conv, pass: Pass, dtype: Dtype, level: Level) -> Algorithm {
    let bf16 = dtype == Dtype::Bf16 && Algorithm::Bf16.fits(op, pass);
    let phases = op.stride * op.stride;
    let wide = op.channels / op.groups * phases >= CHANNELS_MIN
        && op.kernels / op.groups >= CHANNELS_MIN;
    if bf16 && level.has_matrix_unit() {
        Algorithm::Bf16
    } else if wide && Algorithm::Winograd.fits(op, pass) {
        // Also where bf16 may be used: it does more than the registers' peak in bf16 would.
        Algorithm::Winograd
    } else if bf16 {
        Algorithm::Bf16
    } else {
        Algorithm::Im2col
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_2012_net_is_winograds_but_for_the_gradient_of_the_pictures() {
        let conv2 = Conv {
            channels: 48,
            height: 27,
            width: 27,
            kernels: 128,
            window: 5,
            stride: 1,
            pad_before: 2,
            pad_after: 2,
            groups: 1,
            weight_channels: 48,
            weight_offset: 0,
            by: None,
        };
        let conv1 = Conv {
            channels: 3,
            height: 224,
            width: 224,
            kernels: 48,
            window: 11,
            stride: 4,
            pad_before: 0,
            pad_after: 3,
            weight_channels: 3,
            ..conv2
        };
        let of = |op: &Conv| Pass::ALL.map(|pass| op.algorithm(pass));
        assert_eq!(of(&conv2), [Algorithm::Winograd; 3]);
        let [forward, data, weight] = of(&conv1);
        assert_eq!([forward, weight], [Algorithm::Winograd; 2]);
        assert_eq!(data, Algorithm::Im2col);
        let narrow = Conv { channels: 4, weight_channels: 4, ..conv2 };
        assert_eq!(of(&narrow), [Algorithm::Im2col; 3]);
        let in_bf16 =
            |op: &Conv| Pass::ALL.map(|pass| algorithm(op, pass, Dtype::Bf16, Level::BASELINE));
        assert_eq!((in_bf16(&conv2), in_bf16(&narrow)), (of(&conv2), [Algorithm::Bf16; 3]));
        let Some(amx) = Level::all_for_bf16().into_iter().find(|level| level.has_matrix_unit())
        else {
            return; // which a test of the levels says
        };
        let by_amx = |op: &Conv, dtype| Pass::ALL.map(|pass| algorithm(op, pass, dtype, amx));
        assert_eq!(by_amx(&conv2, Dtype::Bf16), [Algorithm::Bf16; 3]);
        let conv1_by = [Algorithm::Bf16, Algorithm::Im2col, Algorithm::Bf16];
        assert_eq!(by_amx(&conv1, Dtype::Bf16), conv1_by);
        assert_eq!(by_amx(&conv2, Dtype::F32), of(&conv2));
    }
}
