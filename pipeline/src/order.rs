//! Which samples make up a batch: a permutation per epoch, computed and not stored.
//!
//! A Feistel network permutes the numbers below a power of four that holds the set; walking its
//! cycle until the number lies in the set makes that a permutation of the set itself. Any
//! position of any epoch is found in O(1) time and memory, so nothing is replayed on resume.

use crate::random::philox;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Sets the order's draws apart from others of the same seed.
const PURPOSE: u32 = 0x4F52_4452; // "ORDR"
/// Rounds of the network; four make a good shuffle of numbers (Luby and Rackoff, 1988).
const ROUNDS: u32 = 4;
/// Blocks that are mixed at a time: what storage must keep at hand.
pub const WINDOW_BLOCKS: u64 = 16;
/// Samples of a block at most.
const BLOCK_MAX: u64 = 1 << 32;

/// How the samples of an epoch are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shuffle {
    /// All samples are mixed: a permutation of the whole set.
    #[default]
    Global,
    /// Blocks of this many neighbours are permuted, and the samples of [`WINDOW_BLOCKS`] blocks at a
    /// time are mixed: for storage that reads neighbours faster.
    Block(u64),
    /// As packed, every epoch alike.
    Packed,
}

impl fmt::Display for Shuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Block(samples) => write!(f, "block:{samples}"),
            Self::Packed => f.write_str("packed"),
        }
    }
}

/// A text that names no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no order is called {0:?}: global, block:N with N from 1 to {BLOCK_MAX}, or packed")]
pub struct UnknownShuffle(String);

impl FromStr for Shuffle {
    type Err = UnknownShuffle;

    fn from_str(text: &str) -> Result<Self, UnknownShuffle> {
        let unknown = || UnknownShuffle(text.into());
        match text {
            "global" => Ok(Self::Global),
            "packed" => Ok(Self::Packed),
            _ => {
                let samples = text.strip_prefix("block:").and_then(|n| n.parse().ok());
                let samples = samples.filter(|n| (1..=BLOCK_MAX).contains(n));
                samples.map(Self::Block).ok_or_else(unknown)
            }
        }
    }
}

impl TryFrom<String> for Shuffle {
    type Error = UnknownShuffle;

    fn try_from(text: String) -> Result<Self, UnknownShuffle> {
        text.parse()
    }
}

impl From<Shuffle> for String {
    fn from(shuffle: Shuffle) -> Self {
        shuffle.to_string()
    }
}

/// A permutation of `len` samples per epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    shuffle: Shuffle,
    seed: u64,
    len: u64,
}

impl Order {
    /// The order of `len` samples, at most 2^62.
    pub fn new(shuffle: Shuffle, seed: u64, len: u64) -> Self {
        assert!(len <= 1 << 62, "{len} samples are more than an order holds");
        Self { shuffle, seed, len }
    }

    /// The sample at `position` of `epoch`.
    ///
    /// # Panics
    /// If `position` is not below `len`.
    pub fn at(&self, epoch: u64, position: u64) -> u64 {
        assert!(position < self.len, "position {position} of {} samples", self.len);
        match self.shuffle {
            Shuffle::Global => Permutation::new(self.seed, self.len).at(epoch, 0, position),
            Shuffle::Block(samples) => self.in_blocks(samples, epoch, position),
            Shuffle::Packed => position,
        }
    }

    /// Whole blocks are permuted and taken [`WINDOW_BLOCKS`] at a time; what does not fill a window
    /// or a block joins the last window.
    fn in_blocks(&self, samples: u64, epoch: u64, position: u64) -> u64 {
        let blocks = self.len / samples;
        let windows = (blocks / WINDOW_BLOCKS).max(1);
        let window_len = WINDOW_BLOCKS * samples;
        let window = (position / window_len).min(windows - 1);
        let first = window * window_len;
        let end = if window == windows - 1 { self.len } else { first + window_len };
        let mixed = Permutation::new(self.seed, end - first);
        // Window 0 of the mixing is the permutation of the blocks.
        let at = first + mixed.at(epoch, window + 1, position - first);
        let block = at / samples;
        if block >= blocks {
            return at; // of the last, short block, which stays where it is
        }
        let moved = Permutation::new(self.seed, blocks).at(epoch, 0, block);
        moved * samples + at % samples
    }
}

/// A permutation of the numbers below `len`, one for each (epoch, stream).
#[derive(Debug, Clone, Copy)]
struct Permutation {
    seed: u64,
    len: u64,
    half_bits: u32,
}

impl Permutation {
    fn new(seed: u64, len: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Self { seed, len, half_bits: bits.div_ceil(2).max(1) }
    }

    fn at(&self, epoch: u64, stream: u64, position: u64) -> u64 {
        // Streams change the key, so that they share no draws.
        let [k0, k1, ..] = philox(
            [self.seed as u32, (self.seed >> 32) as u32],
            [PURPOSE, stream as u32, (stream >> 32) as u32, 0],
        );
        let mut at = position;
        loop {
            at = self.shuffle([k0, k1], epoch, at);
            if at < self.len {
                return at; // at most 4 turns on average: the power of four is under 4 len
            }
        }
    }

    fn shuffle(&self, key: [u32; 2], epoch: u64, at: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (at >> self.half_bits, at & mask);
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

    fn shuffles() -> impl Strategy<Value = Shuffle> {
        prop_oneof![
            Just(Shuffle::Global),
            (1..40_u64).prop_map(Shuffle::Block),
            Just(Shuffle::Packed)
        ]
    }

    proptest! {
        #[test]
        fn every_epoch_holds_every_sample_once(
            shuffle in shuffles(), seed: u64, epoch in 0..1u64 << 40, len in 1u64..900,
        ) {
            let order = Order::new(shuffle, seed, len);
            let mut all: Vec<_> = (0..len).map(|position| order.at(epoch, position)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn an_order_is_read_as_it_is_told(shuffle in shuffles()) {
            prop_assert_eq!(shuffle.to_string().parse(), Ok(shuffle));
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_neighbours_part() {
        for shuffle in [Shuffle::Global, Shuffle::Block(1024)] {
            let take = |seed, epoch| -> Vec<u64> {
                let order = Order::new(shuffle, seed, 1_281_167);
                (0..1000).map(|position| order.at(epoch, position)).collect()
            };
            let first = take(1, 0);
            assert_ne!(first, take(1, 1));
            assert_ne!(first, take(2, 0));
            let near = |pair: &&[u64]| pair[0].abs_diff(pair[1]) < 10;
            let neighbours = first.windows(2).filter(near).count();
            assert!(neighbours < 10, "{neighbours} of 1000 neighbours stayed together");
        }
    }

    #[test]
    fn the_whole_set_is_mixed_by_default() {
        let order = Order::new(Shuffle::default(), 1, 1_281_167);
        let upper = (0..1000).filter(|position| order.at(0, *position) > 640_583).count();
        assert!((430..570).contains(&upper), "{upper} of 1000 are of the upper half");
    }

    #[test]
    fn blocks_are_read_a_window_at_a_time() {
        let (samples, len) = (100, 100 * 77 + 31);
        let order = Order::new(Shuffle::Block(samples), 9, len);
        let window = WINDOW_BLOCKS * samples;
        for epoch in 0..3 {
            let blocks = |first: u64| -> std::collections::BTreeSet<u64> {
                (first..first + window).map(|at| order.at(epoch, at) / samples).collect()
            };
            assert_eq!(blocks(0).len() as u64, WINDOW_BLOCKS);
            assert_eq!(blocks(window).len() as u64, WINDOW_BLOCKS);
            assert!(blocks(0).is_disjoint(&blocks(window)));
            assert!(blocks(0).iter().max() > Some(&40), "blocks of the whole set");
        }
    }

    #[test]
    fn what_is_no_order_is_refused_with_those_there_are() {
        for text in ["", "block", "block:0", "block:-1", "random", "Global"] {
            let error = text.parse::<Shuffle>().expect_err(text).to_string();
            assert!(error.contains("global, block:N") && error.contains(text), "{error}");
        }
    }
}
