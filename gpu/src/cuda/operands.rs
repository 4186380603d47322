//! What the buffers of a call are to kernels: addresses, an epilogue, and what goes with them.

use super::{board::Cuda, buffer::Buffer, launch::Ptr, numbers::Numbers, tile::Epilogue};
use crate::{
    device::{Activation, Input, Sums},
    ops::{activation, conv, sgd},
};

impl Cuda {
    /// What a convolution reads: activations, or the pictures of the batch, packed.
    pub(super) fn conv_input(&mut self, x: Input<'_, Buffer>, op: u64) -> conv::cuda::Input {
        match x {
            Input::Buffer(x) => conv::cuda::Input::Activations(self.factor(x, op)),
            Input::Pictures(_) => conv::cuda::Input::Packed(self.packed()),
        }
    }

    /// Where a product's sums go, and what becomes of them on the way.
    pub(super) fn epilogue(&mut self, y: &Buffer, to: &Sums<'_, Buffer>, op: u64) -> Epilogue {
        let bias = to.bias.map(|b| b.read_by(op));
        let relu = to.activation == Activation::Relu;
        let wide = y.numbers() == Numbers::F32;
        Epilogue { out: self.write(y, op), bias, accumulate: to.accumulate, relu, wide }
    }

    /// What the product's epilogue has not applied.
    pub(super) fn activate(&mut self, activation: Activation, len: usize, y: &Buffer) {
        if activation != Activation::Relu {
            let numbers = y.numbers();
            activation::cuda::forward(numbers, activation, len, y.ptr(), &mut |l| {
                self.launch(&l);
            });
        }
    }

    /// The address of the gradient that op `op` makes of activations.
    pub(super) fn gradient(&mut self, dx: &Buffer, op: u64) -> Ptr {
        assert_eq!(
            dx.numbers(),
            self.numbers.in_memory(),
            "gradients of activations are kept as these"
        );
        self.write(dx, op)
    }

    /// Of gradients that may overflow, has the updates that follow left out if any of these did.
    pub(super) fn find_overflow(&mut self, numbers: Numbers, len: usize, g: Ptr) {
        if self.numbers == Numbers::F16 {
            let params = self.params();
            sgd::cuda::find_overflow(numbers, len, g, params, &mut |l| self.launch(&l));
        }
    }

    /// The addresses of velocities and weights that op `op` writes, and of the copy of these.
    pub(super) fn weights(&mut self, v: &Buffer, w: &Buffer, op: u64) -> [Ptr; 3] {
        let (v, copy) = (self.write(v, op), Ptr::or_null(w.copy()));
        [v, self.write_with_copy(w, op), copy]
    }
}
