//! Softmax, cross-entropy and the top-1 and top-5 counts.
//!
//! `p[k] = exp(x[k]) / sum_j exp(x[j])`, loss `-ln p[label]`, `dx[k] = (p[k] - (k == label)) / m`, where
//! `m` of the batch's rows count: loss and gradient are means over these. A row beyond the labels, or with
//! a label that is no class, does not count: no loss, no gradient.

pub(crate) mod cpu;
pub mod cuda;

/// What a batch scored.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Sum over the images of `-ln p[label]`.
    pub loss_sum: f64,
    /// Images whose label has the highest probability (ties count against).
    pub top1: usize,
    /// Images whose label is among the five highest.
    pub top5: usize,
    /// Images scored.
    pub images: usize,
}

#[cfg(test)]
mod tests {
    use crate::{
        device::Device as _,
        testing::{self, close, noise, wide},
    };

    const CLASSES: usize = 7;

    fn loss(logits: &[f64], labels: &[u32]) -> f64 {
        let rows = logits.chunks_exact(CLASSES).zip(labels);
        rows.map(|(x, label)| {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            sum.ln() - x[*label as usize]
        })
        .sum()
    }

    #[test]
    fn loss_and_gradient_agree_with_the_formula() {
        testing::on_every_cpu(|cpu| {
            let (logits, labels) = (noise(1, 5 * CLASSES), [0, 6, 3, 2, 2]);
            let wide: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
            let mut p = testing::buffer(cpu, &logits);
            let score = cpu.softmax(5, CLASSES, &labels, &mut p);
            assert!((score.loss_sum / loss(&wide, &labels) - 1.0).abs() < 1e-6);
            assert_eq!(score.images, 5);
            cpu.softmax_backward(5, CLASSES, &labels, &mut p);
            testing::gradient(&logits, &p, |x| loss(x, &labels) / 5.0, |_| false);
        });
    }

    #[test]
    fn large_logits_overflow_nothing_and_ranks_count_ties_against() {
        testing::on_every_cpu(|cpu| {
            let rows = [
                [900.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
                [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
            ];
            let mut p = testing::buffer(cpu, rows.as_flattened());
            let score = cpu.softmax(4, CLASSES, &[0, 0, 4, 5], &mut p);
            assert_eq!((score.top1, score.top5), (1, 3));
            assert!(score.loss_sum.is_finite());
        });
    }

    #[test]
    fn rows_without_a_class_or_beyond_the_labels_do_not_count() {
        testing::on_every_cpu(|cpu| {
            let (logits, labels) = (noise(3, 4 * CLASSES), [1, u32::MAX, 2]);
            let mut p = testing::buffer(cpu, &logits);
            assert_eq!(cpu.softmax(4, CLASSES, &labels, &mut p).images, 2);
            cpu.softmax_backward(4, CLASSES, &labels, &mut p);
            // As if the others were not there: the mean is over two.
            let two = [&logits[..CLASSES], &logits[2 * CLASSES..3 * CLASSES]].concat();
            let mut alone = testing::buffer(cpu, &two);
            cpu.softmax(2, CLASSES, &[1, 2], &mut alone);
            cpu.softmax_backward(2, CLASSES, &[1, 2], &mut alone);
            let mut wanted = wide(&alone);
            wanted.splice(CLASSES..CLASSES, [0.0; CLASSES]);
            wanted.extend([0.0; CLASSES]);
            close(&p, &wanted, 0.0);
            cpu.softmax(4, CLASSES, &[u32::MAX], &mut p);
            cpu.softmax_backward(4, CLASSES, &[u32::MAX], &mut p);
            close(&p, &[0.0; 4 * CLASSES], 0.0);
        });
    }

    #[test]
    fn what_is_not_a_number_shows_in_the_loss() {
        testing::on_every_cpu(|cpu| {
            let mut p = testing::buffer(cpu, &[f32::NAN; CLASSES]);
            let score = cpu.softmax(1, CLASSES, &[1], &mut p);
            assert!(score.loss_sum.is_nan() && score.top1 == 0);
        });
    }
}
