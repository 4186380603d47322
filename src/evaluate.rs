//! A pass over a split without learning: centre crop, no lighting, dropout scaled.

use crate::tower::{BATCHES_IN_FLIGHT, Pass, TowerError, Towers};
use gpu::ops::softmax::Score;
use pipeline::{
    dataset::Split,
    feed::{Feed, FeedConfig, FeedError, slot_bytes},
    ring::Memory,
    source::Source,
};
use std::sync::Arc;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// A tower failed.
    #[error(transparent)]
    Tower(#[from] TowerError),
    /// The pipeline failed.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

/// Scores every image of `split` once. `go_on` is asked before each batch, with the images scored
/// so far; `None` if it said no.
///
/// # Errors
/// If an image cannot be read, or a tower fails.
pub fn evaluate<M: Memory>(
    towers: &mut Towers<M>, source: &Arc<dyn Source>, config: &FeedConfig, split: Split,
    go_on: impl FnMut(usize) -> bool,
) -> Result<Option<Score>, EvaluateError> {
    let bytes = slot_bytes(config.batch, config.crop, config.element);
    let slots = towers.slots(Feed::<M>::slots(BATCHES_IN_FLIGHT), bytes)?;
    let mut feed = Feed::evaluate(Arc::clone(source), config, split, slots)?;
    let scored = score_all(towers, &mut feed, go_on);
    if scored.is_err() {
        towers.outlive(feed);
    }
    scored
}

fn score_all<M: Memory>(
    towers: &mut Towers<M>, feed: &mut Feed<M>, mut go_on: impl FnMut(usize) -> bool,
) -> Result<Option<Score>, EvaluateError> {
    let (mut score, mut in_flight, mut more) = (Score::default(), 0, true);
    loop {
        while more && in_flight < BATCHES_IN_FLIGHT {
            if !go_on(score.images) {
                drain(towers, in_flight)?;
                return Ok(None);
            }
            match feed.next() {
                Some(Ok(batch)) => {
                    towers.submit(batch, Pass::Test, false)?;
                    in_flight += 1;
                }
                Some(Err(error)) => {
                    drain(towers, in_flight)?;
                    return Err(error.into());
                }
                None => more = false,
            }
        }
        if in_flight == 0 {
            return Ok(Some(score));
        }
        let (outcome, _) = towers.outcome()?;
        in_flight -= 1;
        score.loss_sum += outcome.score.loss_sum;
        score.top1 += outcome.score.top1;
        score.top5 += outcome.score.top5;
        score.images += outcome.score.images;
    }
}

/// Waits for batches whose outcome is of no use: towers do nothing else before.
fn drain<M: Memory>(towers: &mut Towers<M>, in_flight: usize) -> Result<(), TowerError> {
    (0..in_flight).try_for_each(|_| towers.outcome().map(drop))
}
