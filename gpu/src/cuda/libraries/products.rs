//! The device's products, by a library where one was planned for them.

use super::{
    Call,
    product::{Product, bare},
};
use crate::{
    cuda::{
        Numbers,
        board::Cuda,
        launch::Ptr,
        tile::{self, Epilogue},
    },
    ops::{
        conv::{
            self, Conv, Pass,
            cuda::Input::{self, Activations, Packed},
        },
        linear::Linear,
    },
};

/// Where the weights lie that a library reads, or makes the gradient of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weights {
    /// By themselves.
    Alone,
    /// Of pictures: in another order.
    Squares,
    /// One source's, in rows of several.
    Rows,
}

impl Cuda {
    /// See [`conv::cuda::forward`]; whether a library has it made.
    pub(in crate::cuda) fn conv_forward_by_library(
        &mut self, op: &Conv, n: usize, x: Input, w: Ptr, to: Epilogue,
    ) -> bool {
        if to.wide && self.numbers.copies_weights() {
            return false; // cuDNN makes halves of halves
        }
        let (alone, weights, x) = by_itself(op, x);
        let product = Product::Conv(alone, Pass::Forward);
        let Some(plan) = self.libraries.find(&product, n) else { return false };
        let w = self.weights_alone(op, n, weights, w);
        self.multiply(plan, product.library(), [x, w, to.out], to);
        self.add_bias(n * op.out_height() * op.out_width(), op.kernels, to);
        true
    }

    /// See [`conv::cuda::backward_data`].
    pub(in crate::cuda) fn conv_backward_data_by_library(
        &mut self, op: &Conv, n: usize, dy: Ptr, w: Ptr, dx: Ptr,
    ) -> bool {
        let (alone, weights, dx) = by_itself(op, Activations(dx));
        let product = Product::Conv(alone, Pass::BackwardData);
        let Some(plan) = self.libraries.find(&product, n) else { return false };
        let w = self.weights_alone(op, n, weights, w);
        self.multiply(plan, product.library(), [w, dy, dx], Epilogue::plain(dx));
        true
    }

    /// See [`conv::cuda::backward_weight`].
    pub(in crate::cuda) fn conv_backward_weight_by_library(
        &mut self, op: &Conv, n: usize, x: Input, dy: Ptr, dw: Ptr,
    ) -> bool {
        let (alone, weights, x) = by_itself(op, x);
        let product = Product::Conv(alone, Pass::BackwardWeight);
        let Some(plan) = self.libraries.find(&product, n) else { return false };
        let room = self.libraries.room.as_ref().map_or(Ptr::NULL, super::Room::weights);
        let to = if weights == Weights::Alone { dw } else { room };
        self.multiply(plan, product.library(), [x, dy, to], Epilogue::plain(to));
        match weights {
            Weights::Alone => {}
            Weights::Squares => {
                conv::cuda::unpack_weights(op, n, room, dw, &mut |launch| self.launch(&launch));
            }
            Weights::Rows => {
                let [whole, part] = rows(self.numbers, op, dw, room);
                self.call(copy_rows(op, part, whole));
            }
        }
        true
    }

    /// See [`crate::ops::linear::cuda::forward`].
    pub(in crate::cuda) fn linear_forward_by_library(
        &mut self, op: &Linear, n: usize, x: Ptr, w: Ptr, to: Epilogue,
    ) -> bool {
        let product = Product::of_linear(op, Pass::Forward);
        let Some(plan) = self.libraries.find(&product, n) else { return false };
        let w = self.of_source(op, w);
        self.multiply(plan, product.library(), [x, w, to.out], to);
        self.add_bias(n, op.outputs, to);
        true
    }

    /// See [`crate::ops::linear::cuda::backward_data`].
    pub(in crate::cuda) fn linear_backward_data_by_library(
        &mut self, op: &Linear, n: usize, dy: Ptr, w: Ptr, dx: Ptr,
    ) -> bool {
        let product = Product::of_linear(op, Pass::BackwardData);
        let Some(plan) = self.libraries.find(&product, n) else { return false };
        let w = self.of_source(op, w);
        self.multiply(plan, product.library(), [w, dy, dx], Epilogue::plain(dx));
        true
    }

    /// Whether a library makes this pass of a convolution that was reserved for, of pictures or not.
    pub fn library_makes_conv(&self, op: &Conv, n: usize, pass: Pass, pictures: bool) -> bool {
        self.libraries.find(&Product::of_conv(op, pass, pictures), n).is_some()
    }

    /// Whether a library makes this pass of a linear layer that was reserved for.
    pub fn library_makes_linear(&self, op: &Linear, n: usize, pass: Pass) -> bool {
        self.libraries.find(&Product::of_linear(op, pass), n).is_some()
    }

    fn multiply(
        &mut self, plan: usize, library: &'static str, operands: [Ptr; 3], to: Epilogue,
    ) {
        let Epilogue { accumulate, wide, .. } = to;
        self.call(Call::Product { library, plan, operands, accumulate, wide });
    }

    /// What our kernels do with their sums on the way, to sums that lie where they belong: they are added to what
    /// no part has left. Of halves, these have been rounded by then.
    fn add_bias(&mut self, rows: usize, columns: usize, to: Epilogue) {
        if to.bias.is_some() || to.relu {
            let finished = Epilogue { accumulate: true, ..to }.of(rows, columns, 1, Ptr::NULL);
            tile::join(self.numbers, finished, 1, 0, &mut |launch| self.launch(&launch));
        }
    }

    /// The weights of a linear layer from its source's first column on.
    fn of_source(&self, op: &Linear, w: Ptr) -> Ptr {
        w.offset::<u8>(op.weight_offset * self.numbers.bytes())
    }

    /// The weights as the library reads them.
    fn weights_alone(&mut self, op: &Conv, n: usize, weights: Weights, w: Ptr) -> Ptr {
        let room = self.libraries.room.as_ref().map_or(Ptr::NULL, super::Room::weights);
        match weights {
            Weights::Alone => return w,
            Weights::Squares => {
                conv::cuda::pack_weights(self.numbers, op, n, w, room, &mut |launch| {
                    self.launch(&launch);
                });
            }
            Weights::Rows => {
                let [whole, part] = rows(self.numbers, op, w, room);
                self.call(copy_rows(op, whole, part));
            }
        }
        room
    }
}

/// A convolution as a library makes it, where its weights lie, and what it reads.
fn by_itself(op: &Conv, x: Input) -> (Conv, Weights, Ptr) {
    match x {
        Packed(x) => (bare(&op.packed()), Weights::Squares, x),
        Activations(x) if op.weight_channels == op.channels / op.groups => {
            (bare(op), Weights::Alone, x)
        }
        Activations(x) => (bare(op), Weights::Rows, x),
    }
}

/// This source's weights in the rows of all, and by themselves in `room`: where, and bytes from row to row.
fn rows(numbers: Numbers, op: &Conv, w: Ptr, room: Ptr) -> [(Ptr, usize); 2] {
    let bytes = |channels: usize| channels * numbers.bytes();
    let whole = (w.offset::<u8>(bytes(op.weight_offset)), bytes(op.weight_channels));
    [whole, (room, bytes(op.channels / op.groups))]
}

/// A copy of rows, of which one side has nothing but these.
fn copy_rows(op: &Conv, from: (Ptr, usize), to: (Ptr, usize)) -> Call {
    let bytes = from.1.min(to.1);
    Call::Rows { from, to, bytes, rows: op.kernels * op.window * op.window }
}
