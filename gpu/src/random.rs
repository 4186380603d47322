//! Philox4x32-10 (Salmon et al., 2011): the dropout masks are a pure function of a key and a counter,
//! the same on every device.

use std::array::from_fn;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// Four random words of (`key`, `counter`).
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    rounds(key, counter.map(|word| [word])).map(|[word]| word)
}

/// The words of `L` counters that begin with `first`, `first + 1`, ... and end alike: `[word][counter]`.
#[inline(always)]
pub(crate) fn philox_lanes<const L: usize>(
    key: [u32; 2], first: u32, [b, c, d]: [u32; 3],
) -> [[u32; L]; 4] {
    let first = from_fn(|lane| first.wrapping_add(lane as u32));
    rounds(key, [first, [b; L], [c; L], [d; L]])
}

/// Lanes of vectors, where it is compiled for such.
#[inline(always)]
fn rounds<const L: usize>(key: [u32; 2], counters: [[u32; L]; 4]) -> [[u32; L]; 4] {
    let (mut k, mut c) = (key, counters);
    for _ in 0..ROUNDS {
        let a = c[0].map(|word| u64::from(word) * u64::from(MULTIPLIERS[0]));
        let b = c[2].map(|word| u64::from(word) * u64::from(MULTIPLIERS[1]));
        c = [
            from_fn(|i| (b[i] >> 32) as u32 ^ c[1][i] ^ k[0]),
            b.map(|b| b as u32),
            from_fn(|i| (a[i] >> 32) as u32 ^ c[3][i] ^ k[1]),
            a.map(|a| a as u32),
        ];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_have_the_words_of_their_counters() {
        let lanes = philox_lanes::<5>([3, 4], u32::MAX - 1, [7, 8, 9]);
        for lane in 0..5_u32 {
            let words = philox([3, 4], [(u32::MAX - 1).wrapping_add(lane), 7, 8, 9]);
            assert_eq!(lanes.map(|word| word[lane as usize]), words);
        }
    }

    #[test]
    fn philox_gives_the_known_answers() {
        // Random123's kat_vectors, philox4x32 10.
        assert_eq!(philox([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }
}
