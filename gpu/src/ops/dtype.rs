//! What products are computed in.

/// The numbers that a product multiplies on the CPU. Sums, weights, activations and gradients are `f32` in memory
/// whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtype {
    /// `f32` as it is.
    #[default]
    F32,
    /// Rounded to bf16, seven bits after the leading one, and summed in `f32`.
    Bf16,
}

impl Dtype {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// Its name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}
