//! By how much the loss is scaled whose gradients are kept in f16: what is smaller than 2^-24 is none there, and
//! what is larger than 65504 infinite.
//!
//! As Micikevicius et al., "Mixed Precision Training" (2018), as large as it can be: a step whose gradients overflow
//! halves it, and many in a row that do not double it. Steps are asked for before the ones before are answered for.
//! So that a run is the same whatever comes when, and wherever it is interrupted, the scale of a step depends on the
//! answers of those that are [`DELAY`] and more before it, and on no other.

use crate::tower::BATCHES_IN_FLIGHT;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The first scale.
const FIRST: f32 = 65_536.0;
/// The largest: some gradient would overflow anyway.
const MOST: f32 = 16_777_216.0;
/// The least: gradients as they are. Beyond it nothing helps.
pub const LEAST: f32 = 1.0;
/// Steps in a row without an overflow that double it.
const GOOD_STEPS: u32 = 2000;
/// A step's answer counts for the one that is asked for so many steps later: by then it is there.
const DELAY: usize = BATCHES_IN_FLIGHT;

/// The scale, and what it depends on: of powers of two, so that nothing is rounded by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    scale: f32,
    /// Steps in a row without an overflow, at this scale.
    good_steps: u32,
    /// Steps of the run that overflowed.
    overflows: u64,
    /// Answers that do not count yet, oldest first.
    answers: VecDeque<Answer>,
    /// The scales of steps that are under way, oldest first.
    #[serde(skip)]
    under_way: VecDeque<f32>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    scale: f32,
    overflowed: bool,
}

impl Default for LossScale {
    fn default() -> Self {
        Self::at(FIRST)
    }
}

impl LossScale {
    /// One that begins at `scale`.
    pub fn at(scale: f32) -> Self {
        let (answers, under_way) =
            (VecDeque::with_capacity(DELAY), VecDeque::with_capacity(DELAY));
        Self { scale, good_steps: 0, overflows: 0, answers, under_way }
    }

    /// Steps that overflowed.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// The scale of the next step.
    ///
    /// # Panics
    /// If the step [`DELAY`] before it is not answered for.
    pub fn ask(&mut self) -> f32 {
        while self.answers.len() + self.under_way.len() >= DELAY {
            let answer = self.answers.pop_front().expect("no more steps under way than these");
            self.count(answer);
        }
        self.under_way.push_back(self.scale);
        self.scale
    }

    /// Takes what became of the oldest step that is under way; returns its scale.
    ///
    /// # Panics
    /// If there is none.
    pub fn answer(&mut self, overflowed: bool) -> f32 {
        let scale = self.under_way.pop_front().expect("a step under way");
        self.answers.push_back(Answer { scale, overflowed });
        self.overflows += u64::from(overflowed);
        scale
    }

    fn count(&mut self, Answer { scale, overflowed }: Answer) {
        if scale != self.scale {
            return; // asked for before the last change: it says nothing of this scale
        }
        if overflowed {
            (self.scale, self.good_steps) = ((scale / 2.0).max(LEAST), 0);
            return;
        }
        self.good_steps += 1;
        if self.good_steps == GOOD_STEPS {
            (self.scale, self.good_steps) = ((scale * 2.0).min(MOST), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scales of `steps` steps, two under way at a time; those beyond `limit` overflow.
    fn scales(of: &mut LossScale, steps: usize, limit: f32) -> Vec<f32> {
        let mut scales = vec![];
        for _ in 0..steps {
            scales.push(of.ask());
            if of.under_way.len() == DELAY {
                let scale = of.under_way[0];
                of.answer(scale > limit);
            }
        }
        while let Some(scale) = of.under_way.front().copied() {
            of.answer(scale > limit);
        }
        scales
    }

    #[test]
    fn an_overflow_halves_it_once_though_two_steps_were_under_way() {
        let mut scale = LossScale::default();
        let found = scales(&mut scale, 8, FIRST / 4.0);
        let [whole, half, quarter] = [FIRST, FIRST / 2.0, FIRST / 4.0];
        assert_eq!(found, [whole, whole, half, half, quarter, quarter, quarter, quarter]);
        assert_eq!(scale.overflows(), 4);
    }

    #[test]
    fn many_good_steps_double_it_and_it_stays_within_its_bounds() {
        let mut scale = LossScale::default();
        let found = scales(&mut scale, 2 * GOOD_STEPS as usize + 9, f32::INFINITY);
        let first = |wanted: f32| found.iter().position(|scale| *scale == wanted);
        let doubled = GOOD_STEPS as usize + DELAY - 1;
        assert_eq!(first(2.0 * FIRST), Some(doubled));
        // Steps that were asked for at the old scale do not count.
        assert_eq!(first(4.0 * FIRST), Some(2 * doubled));
        let steps = 10 * GOOD_STEPS as usize;
        assert_eq!(scales(&mut LossScale::at(MOST), steps, MOST).last(), Some(&MOST));
        assert_eq!(scales(&mut scale, 100, 0.0).last(), Some(&LEAST));
        // An overflow begins the count anew.
        let mut scale = LossScale::at(FIRST);
        scales(&mut scale, GOOD_STEPS as usize - 1, FIRST);
        scales(&mut scale, 1, 0.0);
        assert!(scales(&mut scale, GOOD_STEPS as usize, FIRST).iter().all(|s| *s <= FIRST));
    }

    #[test]
    fn it_does_not_depend_on_when_answers_come_nor_on_where_a_run_is_interrupted() {
        let overflows = |step: usize| step % 7 == 3 || step % 31 > 28;
        let mut straight = LossScale::default();
        let mut wanted = vec![];
        for step in 0..200 {
            wanted.push(straight.ask());
            if step > 0 {
                straight.answer(overflows(step - 1));
            }
        }
        straight.answer(overflows(199));
        for every in [1, 2, 3, 50] {
            let mut scale = LossScale::default();
            let (mut found, mut answered) = (vec![], 0);
            for step in 0..200 {
                found.push(scale.ask());
                if (step + 1) % every > 0 && step == answered {
                    continue;
                }
                scale.answer(overflows(answered));
                answered += 1;
                if (step + 1) % every == 0 {
                    while answered <= step {
                        scale.answer(overflows(answered));
                        answered += 1;
                    }
                    let text = serde_json::to_string(&scale).expect("JSON");
                    scale = serde_json::from_str(&text).expect("its own");
                }
            }
            assert_eq!(found, wanted, "interrupted every {every} steps");
        }
        assert_eq!(
            straight.overflows(),
            (0..200).filter(|step| overflows(*step)).count() as u64
        );
    }
}
