//! On the CPU: a batch of logits is small, one thread does.

use super::Score;

/// `logits[n, classes]` become probabilities; the rows that `labels` names are scored.
pub(crate) fn forward(n: usize, classes: usize, labels: &[u32], logits: &mut [f32]) -> Score {
    let mut score = Score::default();
    for (row, p) in logits[..n * classes].chunks_exact_mut(classes).enumerate() {
        let label = labels.get(row).map_or(classes, |label| *label as usize);
        let max = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let logit = p.get(label).copied();
        let mut sum = 0.0;
        for p in p.iter_mut() {
            *p = (*p - max).exp();
            sum += f64::from(*p);
        }
        if let Some(logit) = logit {
            score.loss_sum += sum.ln() - f64::from(logit - max);
            let better = p.iter().enumerate().filter(|(k, other)| {
                *k != label
                    && (**other).partial_cmp(&p[label]) != Some(std::cmp::Ordering::Less)
            });
            let rank = better.count();
            score.top1 += usize::from(rank == 0);
            score.top5 += usize::from(rank < 5);
            score.images += 1;
        }
        let scale = (1.0 / sum) as f32;
        p.iter_mut().for_each(|p| *p *= scale);
    }
    score
}

/// The gradient of the mean loss over the rows that count, in place over the probabilities.
pub(crate) fn backward(n: usize, classes: usize, labels: &[u32], p: &mut [f32]) {
    let counts = |label: &&u32| (**label as usize) < classes;
    // Where none counts, nothing is divided.
    let share = 1.0 / labels.iter().take(n).filter(counts).count().max(1) as f32;
    for (row, d) in p[..n * classes].chunks_exact_mut(classes).enumerate() {
        match labels.get(row).map(|label| *label as usize).filter(|label| *label < classes) {
            Some(label) => {
                d[label] -= 1.0;
                d.iter_mut().for_each(|d| *d *= share);
            }
            None => d.fill(0.0),
        }
    }
}
