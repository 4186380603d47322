//! Which samples make up a batch: a permutation per epoch, computed and not stored.
//!
//! A Feistel network permutes the numbers below a power of four that holds the set; walking its
//! cycle until the number lies in the set makes that a permutation of the set itself. Any
//! position of any epoch is found in O(1) time and memory, so nothing is replayed on resume.

use crate::random::philox;

/// Sets the order's draws apart from others of the same seed.
const PURPOSE: u32 = 0x4F52_4452; // "ORDR"
/// Rounds of the network; four make a good shuffle of numbers (Luby and Rackoff, 1988).
const ROUNDS: u32 = 4;

/// A permutation of `len` samples per epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    seed: u64,
    len: u64,
    half_bits: u32,
}

impl Order {
    /// The order of `len` samples, at most 2^62.
    pub fn new(seed: u64, len: u64) -> Self {
        assert!(len <= 1 << 62, "{len} samples are more than an order holds");
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { seed, len, half_bits: bits.div_ceil(2).max(1) }
    }

    /// The sample at `position` of `epoch`.
    ///
    /// # Panics
    /// If `position` is not below `len`.
    pub fn at(&self, epoch: u64, position: u64) -> u64 {
        assert!(position < self.len, "position {position} of {} samples", self.len);
        let mut at = position;
        loop {
            at = self.shuffle(epoch, at);
            if at < self.len {
                return at; // at most 4 turns on average: the power of four is under 4 len
            }
        }
    }

    fn shuffle(&self, epoch: u64, at: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (at >> self.half_bits, at & mask);
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        for round in 0..ROUNDS {
            let purpose = PURPOSE.wrapping_add(round) ^ (epoch >> 32) as u32;
            let words =
                philox(key, [right as u32, (right >> 32) as u32, epoch as u32, purpose]);
            (left, right) = (right, left ^ (u64::from(words[0]) & mask));
        }
        left << self.half_bits | right
    }
}

/// Whole batches in an epoch; the rest of the permutation waits for another epoch's.
pub fn steps_per_epoch(len: u64, batch: usize) -> u64 {
    len / batch as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_epoch_holds_every_sample_once(seed: u64, epoch in 0..1u64 << 40, len in 1u64..600) {
            let order = Order::new(seed, len);
            let mut all: Vec<_> = (0..len).map(|position| order.at(epoch, position)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_neighbours_part() {
        let take = |seed, epoch| -> Vec<u64> {
            let order = Order::new(seed, 1_281_167);
            (0..1000).map(|position| order.at(epoch, position)).collect()
        };
        let first = take(1, 0);
        assert_ne!(first, take(1, 1));
        assert_ne!(first, take(2, 0));
        let neighbours =
            first.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 100).count();
        assert!(neighbours < 10, "{neighbours} of 1000 neighbours stayed together");
        let upper = first.iter().filter(|sample| **sample > 640_583).count();
        assert!((430..570).contains(&upper), "{upper} of 1000 are of the upper half");
    }
}
