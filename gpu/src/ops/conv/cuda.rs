//! On a CUDA device: each pass one product of matrices, whose terms are split where there are few tiles.
//!
//! Products are direct ones of the device's [`Numbers`], whatever the op says of the CPU; those of halves are
//! made on tensor cores where there are any, and those of tf32 there only.

use super::{Conv, Pass};
use crate::cuda::{
    launch::{Args, Launch, Ptr, Sink, int},
    numbers::{Numbers, kernels},
    tile::{self, Epilogue, Kernels, Tile, Tiled, products},
};
use bytemuck::{Pod, Zeroable};

/// Tall tiles from so many on: they do more with what they read, but there must be enough of them.
const TALL_TILES_MIN: usize = 256;

/// What a convolution reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Activations, `[n, h, w, c]`.
    Activations(Ptr),
    /// What [`space_to_depth`] made of pictures.
    Packed(Ptr),
}

impl Input {
    /// Whether it is pictures.
    pub(crate) const fn is_packed(self) -> bool {
        matches!(self, Self::Packed(_))
    }
}

impl Conv {
    /// The same convolution over pictures after [`space_to_depth`]: a stride of 1, over squares.
    #[must_use]
    pub const fn packed(&self) -> Self {
        let window = self.window.div_ceil(self.stride);
        let channels = self.channels * self.stride * self.stride;
        Self {
            channels,
            height: self.out_height() + window - 1,
            width: self.out_width() + window - 1,
            window,
            stride: 1,
            pad_before: 0,
            pad_after: 0,
            weight_channels: channels,
            ..*self
        }
    }
}

/// The twin of `ConvShape` in `conv.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Shape {
    images: i32,
    height: i32,
    width: i32,
    channels: i32,
    kernels: i32,
    window: i32,
    stride: i32,
    pad: i32,
    out_height: i32,
    out_width: i32,
    groups: i32,
    row_channels: i32,
    offset: i32,
}

impl Shape {
    fn new(op: &Conv, n: usize) -> Self {
        let _ = (int(n * op.x_len()), int(n * op.y_len()), int(op.w_len()));
        Self {
            images: int(n),
            height: int(op.height),
            width: int(op.width),
            channels: int(op.channels / op.groups),
            kernels: int(op.kernels / op.groups),
            window: int(op.window),
            stride: int(op.stride),
            pad: int(op.pad_before),
            out_height: int(op.out_height()),
            out_width: int(op.out_width()),
            groups: int(op.groups),
            row_channels: int(op.weight_channels),
            offset: int(op.weight_offset),
        }
    }
}

/// The twin of `Packing` in `depth.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Packing {
    images: i32,
    channels: i32,
    height: i32,
    width: i32,
    stride: i32,
    pad: i32,
    packed_height: i32,
    packed_width: i32,
    kernels: i32,
    window: i32,
    packed_window: i32,
    unused: i32,
}

impl Packing {
    /// # Panics
    /// If the weights have more than one source: pictures are read whole.
    fn new(op: &Conv, n: usize) -> Self {
        assert_eq!((op.groups, op.weight_channels, op.weight_offset), (1, op.channels, 0));
        let packed = op.packed();
        let _ = (int(n * op.x_len()), int(n * packed.x_len()));
        Self {
            images: int(n),
            channels: int(op.channels),
            height: int(op.height),
            width: int(op.width),
            stride: int(op.stride),
            pad: int(op.pad_before),
            packed_height: int(packed.height),
            packed_width: int(packed.width),
            kernels: int(op.kernels),
            window: int(op.window),
            packed_window: int(packed.window),
            unused: 0,
        }
    }
}

/// `m` by `n` sums of `terms` terms per group, how they are tiled and into how many parts split.
#[derive(Debug, Clone, Copy)]
struct Plan {
    m: usize,
    n: usize,
    groups: usize,
    numbers: Numbers,
    tile: Tile,
    parts: usize,
}

impl Plan {
    /// The parts are those of the tile that is taken by itself, so that no other one changes the sums.
    fn new(by: Tiled, op: &Conv, pass: Pass, m: usize, n: usize, terms: usize) -> Self {
        let (Tiled { numbers, tile }, groups) = (by, op.groups);
        let tiles = |tile: Tile| tile.count(m, n).iter().product::<usize>() * groups;
        let own = if numbers != Numbers::F32
            || pass != Pass::BackwardWeight && tiles(Tile::Tall) >= TALL_TILES_MIN
        {
            Tile::Tall
        } else {
            Tile::Small
        };
        let parts = tile::parts(tiles(own), terms);
        Self { m, n, groups, numbers, tile: tile.unwrap_or(own), parts }
    }

    fn of(by: Tiled, op: &Conv, n: usize, pass: Pass) -> Self {
        let [kernels, channels] = [op.kernels, op.channels].map(|all| all / op.groups);
        let window = op.window * op.window;
        let places = n * op.out_height() * op.out_width();
        let (m, n, terms) = match pass {
            Pass::Forward => (places, kernels, window * channels),
            Pass::BackwardData => (n * op.height * op.width, channels, window * kernels),
            Pass::BackwardWeight => (kernels, window * channels, places),
        };
        Self::new(by, op, pass, m, n, terms)
    }

    const fn room_bytes(&self) -> usize {
        tile::room_bytes(self.m, self.n, self.groups, self.parts)
    }

    /// One launch, with rows along `x`; then the parts are added up.
    fn multiply(
        &self, kernels: Kernels, [left, right]: [Ptr; 2], to: Epilogue, shape: Shape,
        rooms: Ptr, sink: Sink<'_>,
    ) {
        let rooms = if self.parts > 1 { rooms } else { Ptr::NULL };
        let finished = to.of(self.m, self.n, self.groups, rooms);
        let [rows, columns] = self.tile.count(self.m, self.n);
        let grid = [rows, columns, self.groups * self.parts];
        let args = Args::new().with(left).with(right).with(finished).with(shape);
        let kernel = tile::kernel(kernels, self.numbers, self.tile);
        sink(Launch::new(kernel, grid, tile::THREADS, args.with(int(self.parts))));
        if self.parts > 1 {
            tile::join(self.numbers, finished, self.groups, self.parts, sink);
        }
    }
}

/// The tile that a pass over `n` images takes by itself.
pub fn tile(numbers: Numbers, op: &Conv, n: usize, pass: Pass) -> Tile {
    Plan::of(numbers.into(), op, n, pass).tile
}

/// Bytes of the packed weights or of their gradient, in whole lines.
pub(crate) const fn packed_w_bytes(op: &Conv) -> usize {
    (op.packed().w_len() * size_of::<f32>()).next_multiple_of(256)
}

/// Numbers of packed pictures, each.
pub const fn packed_x_len(op: &Conv) -> usize {
    op.packed().x_len()
}

/// Bytes of the workspace that the passes need, one after the other.
pub fn workspace_bytes(numbers: Numbers, op: &Conv, n: usize) -> usize {
    let of = |op: &Conv, pass| Plan::of(numbers.into(), op, n, pass);
    let weight = |op: &Conv| {
        let plan = of(op, Pass::BackwardWeight);
        tile::room_bytes(plan.m, plan.n, plan.groups, plan.parts.max(2))
    };
    let packed = op.packed();
    let rooms = of(&packed, Pass::Forward).room_bytes().max(weight(&packed));
    let squares = packed_w_bytes(op) + rooms;
    let plans = [Pass::Forward, Pass::BackwardData].map(|pass| of(op, pass).room_bytes());
    plans[0].max(plans[1]).max(weight(op)).max(squares)
}

/// `packed` = the pictures `x`, `[n, c, h, w]` in `f32`, by squares as large as the stride.
pub fn space_to_depth(
    numbers: Numbers, op: &Conv, n: usize, x: Ptr, packed: Ptr, sink: Sink<'_>,
) {
    let args = Args::new().with(x).with(packed).with(Packing::new(op, n));
    let kernel = numbers.of(kernels!("space_to_depth"));
    sink(Launch::each(kernel, n * packed_x_len(op), 256, args));
}

/// `packed` = the weights `w` of a convolution that reads packed pictures, by the same squares.
pub(crate) fn pack_weights(
    numbers: Numbers, op: &Conv, n: usize, w: Ptr, packed: Ptr, sink: Sink<'_>,
) {
    let args = Args::new().with(w).with(packed).with(Packing::new(op, n));
    sink(Launch::each(numbers.of(kernels!("pack_weights")), op.packed().w_len(), 256, args));
}

/// The way back, of the gradient.
pub(crate) fn unpack_weights(op: &Conv, n: usize, packed: Ptr, dw: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(packed).with(dw).with(Packing::new(op, n));
    sink(Launch::each("unpack_weights", op.packed().w_len(), 256, args));
}

/// `y (+)= w * x (+ b)`, as `to` says.
pub fn forward(
    by: Tiled, op: &Conv, n: usize, x: Input, w: Ptr, to: Epilogue, workspace: Ptr,
    sink: Sink<'_>,
) {
    let kernels = products!("conv_forward");
    match x {
        Input::Activations(x) => {
            let plan = Plan::of(by, op, n, Pass::Forward);
            plan.multiply(kernels, [x, w], to, Shape::new(op, n), workspace, sink);
        }
        Input::Packed(x) => {
            let packed = op.packed();
            pack_weights(by.numbers, op, n, w, workspace, sink);
            let rooms = workspace.offset::<u8>(packed_w_bytes(op));
            let plan = Plan::of(by, &packed, n, Pass::Forward);
            plan.multiply(kernels, [x, workspace], to, Shape::new(&packed, n), rooms, sink);
        }
    }
}

/// `dx = w^T * dy`, overwritten.
pub fn backward_data(
    by: Tiled, op: &Conv, n: usize, dy: Ptr, w: Ptr, dx: Ptr, workspace: Ptr, sink: Sink<'_>,
) {
    let plan = Plan::of(by, op, n, Pass::BackwardData);
    let (kernels, to) = (products!("conv_backward_data"), Epilogue::plain(dx));
    plan.multiply(kernels, [dy, w], to, Shape::new(op, n), workspace, sink);
}

/// The block of `dw` that this source's channels own, overwritten, summed over the batch.
pub fn backward_weight(
    by: Tiled, op: &Conv, n: usize, x: Input, dy: Ptr, dw: Ptr, workspace: Ptr, sink: Sink<'_>,
) {
    match x {
        Input::Activations(x) => weight_of(by, op, n, [x, dy, dw, workspace], sink),
        Input::Packed(x) => {
            let (packed, rooms) = (op.packed(), workspace.offset::<u8>(packed_w_bytes(op)));
            weight_of(by, &packed, n, [x, dy, workspace, rooms], sink);
            unpack_weights(op, n, workspace, dw, sink);
        }
    }
}

fn weight_of(by: Tiled, op: &Conv, n: usize, [x, dy, dw, rooms]: [Ptr; 4], sink: Sink<'_>) {
    let plan = Plan::of(by, op, n, Pass::BackwardWeight);
    let finished = Epilogue::plain(Ptr::NULL).of(plan.m, plan.n, plan.groups, rooms);
    let [rows, columns] = plan.tile.count(plan.m, plan.n);
    let grid = [columns, rows, plan.groups * plan.parts];
    let (shape, parts) = (Shape::new(op, n), int(plan.parts));
    let args = Args::new().with(x).with(dy).with(finished).with(shape).with(parts);
    let kernel = tile::kernel(products!("conv_backward_weight"), by.numbers, plan.tile);
    sink(Launch::new(kernel, grid, tile::THREADS, args));
    let args = Args::new().with(rooms).with(dw).with(shape).with(parts);
    sink(Launch::each("conv_join_weight", plan.groups * plan.m * plan.n, 256, args));
}

#[cfg(test)]
mod tests;
