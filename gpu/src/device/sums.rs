//! What becomes of a product.

use super::Activation;

/// What becomes of a product's sums on their way to `y`, in this order.
#[derive(Debug)]
pub struct Sums<'a, B> {
    /// Added to each row, if given.
    pub bias: Option<&'a B>,
    /// Whether they are added to what is there, or overwrite it.
    pub accumulate: bool,
    /// Applied at the end: by the last source's product of a layer that nothing else follows. A device
    /// may do so before the sums come to memory.
    pub activation: Activation,
}

impl<'a, B> Sums<'a, B> {
    /// Of a layer's first source, with the bias.
    pub const fn with(bias: &'a B) -> Self {
        Self { bias: Some(bias), accumulate: false, activation: Activation::None }
    }

    /// Of its other sources.
    pub const fn more() -> Self {
        Self { bias: None, accumulate: true, activation: Activation::None }
    }

    /// With `activation` at the end.
    #[must_use]
    pub const fn then(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }
}
