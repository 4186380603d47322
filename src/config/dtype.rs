//! The numbers of a recipe, and what each device makes of them.

use serde::{Deserialize, Serialize};

/// What the products of all layers multiply; sums, weights and velocities are `f32`. GPUs keep activations
/// and their gradients in it, too.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Single precision.
    #[default]
    F32,
    /// bf16: on GPUs, everywhere; on the CPU where that is faster: in linear layers, and in convolutions that Winograd does
    /// not fit, or all where there is AMX.
    Bf16,
    /// Half precision of IEEE 754, with a scaled loss: on GPUs only.
    F16,
    /// Single precision in memory, tf32 in products: on GPUs from compute capability 8.0 on only.
    Tf32,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Tf32, Self::Bf16, Self::F16];
}

/// As GPUs compute it.
impl From<Dtype> for gpu::cuda::Numbers {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
            Dtype::F16 => Self::F16,
            Dtype::Tf32 => Self::Tf32,
        }
    }
}

/// As the CPU computes it.
impl From<Dtype> for gpu::ops::Dtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            // What was trained in f16 or tf32 by GPUs, the CPU scores in single precision.
            Dtype::F32 | Dtype::F16 | Dtype::Tf32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}
