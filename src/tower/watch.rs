//! Which batches a device was asked for, and what of its peers these need: for whoever waits for it in vain.

use super::step::StepError;
use crate::exchange::{Tag, Turn};
use std::{collections::VecDeque, time::Duration};

/// What a part was asked for and has not scored.
#[derive(Debug)]
pub(super) struct Watch {
    /// Batches begun.
    begun: u64,
    /// Of which these have not been scored, the newest last.
    turns: VecDeque<Turn>,
    /// What these unpack: how many were unpacked before it, of whom, and what.
    awaited: VecDeque<(u64, usize, Tag)>,
    unpacked: u64,
}

impl Watch {
    /// For so many batches at a time, which unpack so many parcels each: then nothing more is allocated.
    pub(super) fn new(batches: usize, parcels: usize) -> Self {
        Self {
            begun: 0,
            turns: VecDeque::with_capacity(batches),
            awaited: VecDeque::with_capacity(batches * parcels),
            unpacked: 0,
        }
    }

    /// A batch begins, which is `step` of the training.
    pub(super) fn begin(&mut self, step: Option<u64>) {
        self.turns.push_back(Turn { number: self.begun, step });
        self.begun += 1;
    }

    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    /// The newest batch.
    pub(super) fn turn(&self) -> Turn {
        *self.turns.back().expect("a batch has begun")
    }

    /// The newest batch unpacks what `peer` sent.
    pub(super) fn unpacks(&mut self, peer: usize, tag: Tag) {
        self.awaited.push_back((self.unpacked, peer, tag));
        self.unpacked += 1;
    }

    /// The oldest batch is scored.
    pub(super) fn score(&mut self) {
        let scored = self.turns.pop_front().expect("a batch was begun").number;
        while self.awaited.front().is_some_and(|(_, _, tag)| tag.turn.number <= scored) {
            self.awaited.pop_front();
        }
    }

    /// The error of a device that has unpacked so many parcels and not finished its oldest batch.
    pub(super) fn stuck(&self, tower: usize, unpacked: u64, waited: Duration) -> StepError {
        let missing = self.awaited.iter().find(|(before, ..)| *before >= unpacked);
        let at = missing.map_or_else(
            || "its own work: all that it needs of others has come".into(),
            |(_, peer, tag)| format!("{tag} of tower {peer}"),
        );
        let turn = *self.turns.front().expect("a batch that is not done");
        StepError::Stuck { tower, turn, seconds: waited.as_secs(), at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_batch_and_what_it_lacks_are_named() {
        let mut watch = Watch::new(2, 2);
        let mut ask = |step, layer| {
            watch.begin(step);
            let tag = Tag { turn: watch.turn(), layer, backward: layer > 2 };
            watch.unpacks(1, tag);
        };
        ask(Some(6), 2);
        ask(None, 5);
        let says = |watch: &Watch, unpacked| {
            watch.stuck(0, unpacked, Duration::from_secs(9)).to_string()
        };
        let text = says(&watch, 0);
        assert!(text.contains("tower 0 waited 9 s in step 7"), "{text}");
        assert!(text.contains("the activations at layer 3 in step 7 of tower 1"), "{text}");
        assert!(says(&watch, 1).contains("the gradients at layer 6 in testing of tower 1"));
        assert!(says(&watch, 2).contains("its own work"));
        watch.score();
        assert!(says(&watch, 2).contains("waited 9 s in testing"));
        assert_eq!((watch.awaited.len(), watch.begun()), (1, 2));
    }
}
