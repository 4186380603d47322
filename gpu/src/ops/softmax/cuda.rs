//! On a CUDA device: a block per row; each row's loss and rank are added up by the host, in order.

use super::Score;
use crate::cuda::launch::{Args, Launch, Ptr, Sink};
use bytemuck::{Pod, Zeroable};

/// Threads of a row: `SOFTMAX_THREADS` of `softmax.cu`.
const THREADS: u32 = 256;

/// What a row scored: the twin of `RowScore` in `softmax.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct RowScore {
    /// `-ln p[label]`.
    pub loss: f64,
    /// Classes that are at least as probable as the label.
    pub rank: u32,
    /// 1, or 0 if the row's label is no class.
    pub counted: u32,
}

impl FromIterator<RowScore> for Score {
    fn from_iter<I: IntoIterator<Item = RowScore>>(rows: I) -> Self {
        let mut score = Self::default();
        for row in rows.into_iter().filter(|row| row.counted != 0) {
            score.loss_sum += row.loss;
            score.top1 += usize::from(row.rank == 0);
            score.top5 += usize::from(row.rank < 5);
            score.images += 1;
        }
        score
    }
}

/// `logits[n, classes]` become probabilities; `scores` takes a [`RowScore`] for each of the `n` labels,
/// which are `u32`s; those that are no class do not count.
pub fn forward(
    n: usize, classes: usize, labels: Ptr, logits: Ptr, scores: Ptr, sink: Sink<'_>,
) {
    let args = Args::new().with(logits).with(labels).with(scores).with(classes as i32);
    sink(Launch::new("softmax_f32", [n, 1, 1], [THREADS, 1, 1], args));
}

/// The gradient of the mean loss over the rows that count, in place over the probabilities. Their share is
/// that of the [`StepParams`](crate::cuda::launch::StepParams) at `params`.
pub fn backward(n: usize, classes: usize, labels: Ptr, p: Ptr, params: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(p).with(labels).with(n as u64).with(classes as i32);
    sink(Launch::each("softmax_backward_f32", n * classes, 256, args.with(params)));
}
