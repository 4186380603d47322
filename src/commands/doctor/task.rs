//! An op of the net as a run asks for it: its shapes, what it reads and makes, and what that costs at least.

use gpu::{
    cuda::{Cuda, Numbers, tile::Tile},
    device::{Activation, RowLayout},
    ops::{
        conv::{self, Algorithm, Conv, Pass},
        dropout::Dropout,
        finish::Finish,
        linear::{self, Linear},
    },
};

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// A pass of a convolution; of the first layer, over pictures. The way there ends so.
    Conv { op: Conv, pass: Pass, first: bool, end: End },
    /// A pass of a linear layer that reads `pixels` a channel.
    Linear { op: Linear, pass: Pass, pixels: usize, end: End },
    /// What follows a product, forward or backward.
    Finish { op: Finish, forward: bool },
    /// The optimiser over so many floats.
    Sgd { len: usize },
    /// The mask of training.
    Dropout { op: Dropout },
    /// What stands in its place in testing, over so many units.
    Scale { units: usize },
    /// What peers send, added up.
    Add { units: usize },
    /// The gradient of a bias of so many rows, over an area.
    Bias { rows: usize, area: usize },
    /// Probabilities of classes, or their gradient.
    Softmax { classes: usize, forward: bool },
}

/// What becomes of a product's sums, as [`Sums`](gpu::device::Sums) say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) bias: bool,
    pub(super) accumulate: bool,
    pub(super) activation: Activation,
}

/// What an op reads or makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    /// What is read on the way there, and its gradient.
    X,
    /// The product, and its gradient.
    Y,
    /// Weights.
    W,
    /// Their velocity, or the gradient of a convolution's.
    V,
    /// A bias, its gradient, or one that the optimiser takes.
    B,
}

impl Operand {
    pub(super) const ALL: [Self; 5] = [Self::X, Self::Y, Self::W, Self::V, Self::B];
}

impl Task {
    /// Channels and pixels a channel, of what is read and of what is written.
    pub(super) fn shapes(&self) -> [(usize, usize); 2] {
        match self {
            Self::Conv { op, .. } => [
                (op.channels, op.height * op.width),
                (op.kernels, op.out_height() * op.out_width()),
            ],
            Self::Linear { op, pixels, .. } => [(op.inputs / pixels, *pixels), (op.outputs, 1)],
            Self::Finish { op, .. } => [(op.channels, op.out_area()), (op.channels, op.area)],
            Self::Sgd { .. } => [(0, 0); 2],
            Self::Dropout { op } => [(0, 0), (op.units, 1)],
            Self::Scale { units } | Self::Softmax { classes: units, .. } => {
                [(0, 0), (*units, 1)]
            }
            Self::Add { units } => [(*units, 1); 2],
            Self::Bias { rows, area } => [(0, 0), (*rows, *area)],
        }
    }

    /// How weights lie, and how many rows there are.
    pub(super) fn weights(&self) -> (RowLayout, usize) {
        let single = RowLayout { blocks: 1, channels: 1, pixels: 1 };
        match self {
            Self::Conv { op, .. } => {
                let pixels = op.window * op.window;
                (RowLayout { blocks: 1, channels: op.weight_channels, pixels }, op.kernels)
            }
            Self::Linear { op, pixels, .. } => {
                let blocks = op.weight_inputs / op.inputs;
                let channels = op.inputs / pixels;
                (RowLayout { blocks, channels, pixels: *pixels }, op.outputs)
            }
            Self::Finish { op, .. } => (single, op.channels),
            Self::Sgd { len: rows } | Self::Bias { rows, .. } => (single, *rows),
            _ => (single, 0),
        }
    }

    /// Whether the op reads or makes this.
    fn has(&self, operand: Operand) -> bool {
        use Operand::{B, V, W, X, Y};
        match self {
            Self::Conv { pass, first, end, .. } => match operand {
                X => !first,
                Y => true,
                W => *pass != Pass::BackwardWeight,
                V => *pass == Pass::BackwardWeight,
                B => *pass == Pass::Forward && end.bias,
            },
            Self::Linear { pass, end, .. } => match operand {
                X | Y | W => true,
                V => *pass == Pass::BackwardWeight,
                B => *pass == Pass::Forward && end.bias,
            },
            Self::Finish { forward, .. } => {
                matches!(operand, X | Y) || operand == B && !forward
            }
            Self::Sgd { .. } => matches!(operand, W | V | B),
            Self::Bias { .. } => matches!(operand, Y | B),
            Self::Add { .. } => matches!(operand, X | Y),
            Self::Dropout { .. } | Self::Scale { .. } | Self::Softmax { .. } => operand == Y,
        }
    }

    /// Floats of an operand over `n` images; none of one that the op does not have.
    pub(super) fn len(&self, operand: Operand, n: usize) -> usize {
        let [x, y] = self.shapes().map(|(channels, area)| n * channels * area);
        let (layout, rows) = self.weights();
        match operand {
            _ if !self.has(operand) => 0,
            Operand::X => x,
            Operand::Y => y,
            Operand::W | Operand::V => rows * layout.len(),
            Operand::B => rows,
        }
    }

    /// What the op makes.
    pub(super) fn results(&self) -> &'static [Operand] {
        use Operand::{B, V, W, X, Y};
        match self {
            Self::Conv { pass, .. } | Self::Linear { pass, .. } => match pass {
                Pass::Forward => &[Y],
                Pass::BackwardData => &[X],
                Pass::BackwardWeight if matches!(self, Self::Linear { .. }) => &[W, V],
                Pass::BackwardWeight => &[V],
            },
            Self::Finish { forward: true, .. } => &[X],
            Self::Finish { forward: false, .. } => &[Y, B],
            Self::Sgd { .. } => &[W, V],
            Self::Bias { .. } => &[B],
            _ => &[Y],
        }
    }

    /// Terms of a product's sum on the way there.
    const fn terms(&self) -> usize {
        match self {
            Self::Conv { op, .. } => op.channels / op.groups * op.window * op.window,
            Self::Linear { op, .. } => op.inputs,
            _ => 0,
        }
    }

    /// A power of two by which weights make sums of noise about as large as what is added to them: beside a bias or a
    /// source before, neither is lost.
    pub(super) fn weight_scale(&self) -> f32 {
        (self.terms().max(1) as f32).log2().mul_add(-0.5, 1.0).round().exp2()
    }

    /// Operations over the batch, a multiply-add being two; of the others, none are counted.
    pub(super) fn flop(&self, n: usize) -> f64 {
        let sums = match self {
            Self::Conv { op, .. } => op.y_len(),
            Self::Linear { op, .. } => op.outputs,
            _ => 0,
        };
        2.0 * (self.terms() * sums * n) as f64
    }

    /// What memory holds of the result, where activations are `numbers`.
    pub(super) fn result_numbers(&self, numbers: Numbers) -> Numbers {
        match self.results() {
            [Operand::X | Operand::Y, ..] if !self.is_softmax() => numbers.in_memory(),
            _ => Numbers::F32,
        }
    }

    pub(super) const fn is_softmax(&self) -> bool {
        matches!(self, Self::Softmax { .. })
    }

    /// Bytes of all operands, each read or written once, where activations are `numbers`.
    pub(super) fn bytes(&self, numbers: Numbers, n: usize) -> f64 {
        let (whole, each) = (size_of::<f32>(), numbers.bytes());
        // The optimiser reads and writes weights and velocity, and writes what products read.
        let step = 4 * whole + if numbers.copies_weights() { each } else { 0 };
        let [x, y] = self.shapes().map(|(channels, pixels)| channels * pixels);
        let (layout, rows) = self.weights();
        // What a source before has left.
        let before = match self {
            Self::Conv { pass: Pass::Forward, end, .. }
            | Self::Linear { pass: Pass::Forward, end, .. }
                if end.accumulate =>
            {
                y
            }
            _ => 0,
        };
        let (activations, weights) = match self {
            Self::Conv { pass: Pass::BackwardWeight, .. } => {
                (n * (x + y), whole * rows * layout.len())
            }
            Self::Conv { .. } => (n * (x + y + before), each * rows * layout.len()),
            // Only this source's columns.
            Self::Linear { op, pass: Pass::BackwardWeight, .. } => {
                (n * (x + y), step * rows * op.inputs)
            }
            Self::Linear { op, .. } => (n * (x + y + before), each * rows * op.inputs),
            Self::Finish { op, forward: true } => (n * (y + op.out_len()), 0),
            Self::Finish { forward: false, .. } => (n * (x + 2 * y), 0),
            Self::Sgd { len } => (0, (step + whole) * len),
            Self::Bias { rows, .. } => (n * y, whole * rows),
            Self::Add { .. } => (3 * n * y, 0),
            Self::Softmax { .. } => (0, 2 * whole * n * y),
            // In place: read and written.
            Self::Dropout { .. } | Self::Scale { .. } => (2 * n * y, 0),
        };
        (each * activations + weights) as f64
    }

    /// The tile that our kernel takes by itself, if it is a product.
    pub(super) fn tile(&self, numbers: Numbers, n: usize) -> Option<Tile> {
        match self {
            Self::Conv { op, pass, first: true, .. } => {
                Some(conv::cuda::tile(numbers, &op.packed(), n, *pass))
            }
            Self::Conv { op, pass, first: false, .. } => {
                Some(conv::cuda::tile(numbers, op, n, *pass))
            }
            Self::Linear { pass, .. } => Some(linear::cuda::tile(numbers, *pass)),
            _ => None,
        }
    }

    /// Whether a library makes it on a GPU that was reserved for it.
    pub(super) fn by_library(&self, gpu: &Cuda, n: usize) -> bool {
        match self {
            Self::Conv { op, pass, first, .. } => gpu.library_makes_conv(op, n, *pass, *first),
            Self::Linear { op, pass, .. } => gpu.library_makes_linear(op, n, *pass),
            _ => false,
        }
    }

    /// By direct sums on the CPU.
    pub(super) fn plainest(self) -> Self {
        match self {
            Self::Conv { op, pass, first, end } => {
                let by = Some([Algorithm::Im2col; 3]);
                Self::Conv { op: Conv { by, ..op }, pass, first, end }
            }
            other => other,
        }
    }
}
