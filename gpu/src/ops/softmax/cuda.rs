//! On a CUDA device: a block per row; each row's loss and rank are added up by the host, in order.

use super::Score;
use crate::cuda::launch::{Args, Launch, Ptr, Sink, int};
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
    let args = Args::new().with(logits).with(labels).with(scores).with(int(classes));
    sink(Launch::new("softmax_f32", [n, 1, 1], [THREADS, 1, 1], args));
}

/// The gradient of the mean loss over the rows that count, in place over the probabilities. Their share, and by how
/// much it is scaled, is that of the [`StepParams`](crate::cuda::launch::StepParams) at `params`.
pub fn backward(n: usize, classes: usize, labels: Ptr, p: Ptr, params: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(p).with(labels).with(int(n * classes)).with(int(classes));
    sink(Launch::each("softmax_backward_f32", n * classes, 256, args.with(params)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        cuda::{launch::StepParams, testing::on_every_schedule},
        device::Device as _,
        testing::{self, close, noise, wide},
    };

    /// Of gradients.
    const SCALE: f32 = 4096.0;

    /// Probabilities, score and gradient are those of the CPU device, which `mod.rs` holds against the formulas.
    fn agrees(logits: &[f32], classes: usize, labels: &[u32]) {
        let n = logits.len() / classes;
        let mut cpu = Cpu::new("test", 1).expect("threads");
        let mut wanted = testing::buffer(&mut cpu, logits);
        cpu.softmax(n, classes, labels, &mut wanted);
        let score = cpu.score();
        let probabilities = wide(&wanted);
        cpu.softmax_backward(n, classes, labels, &mut wanted);
        let mut padded = labels.to_vec();
        padded.resize(n, u32::MAX);
        on_every_schedule(|device| {
            let (p, labels) = (device.put(logits), device.put(&padded));
            let scores = device.put(&vec![RowScore::default(); n]);
            let params = StepParams::new(0.1, 0, score.images).scaled(SCALE);
            let params = device.params(params);
            device.run(|sink| forward(n, classes, labels, p, scores, sink));
            close(&device.get(p), &probabilities, 1e-6);
            let found: Score = device.get::<RowScore>(scores).into_iter().collect();
            assert!((found.loss_sum - score.loss_sum).abs() <= 1e-6 * score.loss_sum.abs());
            assert_eq!(
                (found.top1, found.top5, found.images),
                (score.top1, score.top5, score.images)
            );
            device.run(|sink| backward(n, classes, labels, p, params, sink));
            let scaled: Vec<f64> = wide(&wanted).iter().map(|d| d * f64::from(SCALE)).collect();
            close(&device.get(p), &scaled, 1e-6);
        });
    }

    #[test]
    fn probabilities_scores_and_gradients_are_those_of_the_cpu_device() {
        agrees(&noise(1, 5 * 7), 7, &[0, 6, 3, 2, 2]);
        agrees(&noise(2, 3 * 1000), 1000, &[999, 0, 500]);
        agrees(&noise(3, 2 * 257), 257, &[256, 255]);
        agrees(&[3.0, 3.0], 1, &[0, 0]);
        // Ties count against; rows without a class, or beyond the labels, do not count.
        agrees(&[1.0, 1.0, 0.0, 6.0, 5.0, 4.0], 3, &[0, 2]);
        agrees(&noise(4, 4 * 7), 7, &[1, u32::MAX, 2]);
        agrees(&noise(5, 2 * 7), 7, &[u32::MAX]);
        // Large ones overflow nothing.
        agrees(&[900.0, 0.0, -900.0, 0.0], 4, &[0]);
    }

    #[test]
    fn what_is_not_a_number_shows_in_the_loss() {
        on_every_schedule(|device| {
            let (p, labels) = (device.put(&[f32::NAN; 7]), device.put(&[1_u32]));
            let scores = device.put(&[RowScore::default()]);
            device.run(|sink| forward(1, 7, labels, p, scores, sink));
            let score: Score = device.get::<RowScore>(scores).into_iter().collect();
            assert!(score.loss_sum.is_nan() && score.top1 == 0);
        });
    }
}
