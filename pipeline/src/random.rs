//! Philox4x32-10, the only source of chance: a pure function of a key and a counter (Salmon et
//! al., "Parallel random numbers: as easy as 1, 2, 3", 2011), so that a draw depends on what it
//! is for and never on who draws first.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// Four random words of (`key`, `counter`).
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let (mut k, mut c) = (key, counter);
    for _ in 0..ROUNDS {
        let a = u64::from(c[0]) * u64::from(MULTIPLIERS[0]);
        let b = u64::from(c[2]) * u64::from(MULTIPLIERS[1]);
        c = [
            (b >> 32) as u32 ^ c[1] ^ k[0],
            b as u32,
            (a >> 32) as u32 ^ c[3] ^ k[1],
            a as u32,
        ];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// Draws in order from the stream of (seed, purpose, a, b), such as (run, lighting, epoch, sample).
///
/// The seed and the purpose make the key; `a`, `b` and the position in the stream the counter:
/// `a` below 2^32, `b` below 2^40 and 2^26 words a stream are told apart.
#[derive(Debug, Clone)]
pub struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Draws {
    /// The beginning of a stream.
    pub fn new(seed: u64, purpose: u32, a: u64, b: u64) -> Self {
        // One philox call mixes all 64 bits of the seed and the purpose into the key.
        let [k0, k1, ..] = philox([seed as u32, (seed >> 32) as u32], [purpose, 0, 0, 0]);
        let counter = [0, a as u32, b as u32, (b >> 32) as u32 ^ (a >> 32) as u32];
        Self { key: [k0, k1], counter, words: [0; 4], used: 4 }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox(self.key, self.counter);
            self.counter[0] += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A whole number below `n`, all equally likely (Lemire, 2019).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "there is no number below 0");
        let unfair = n.wrapping_neg() % n; // words that would make some numbers likelier
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= unfair {
                return (product >> 32) as u32;
            }
        }
    }

    /// At least 0, below 1, in steps of 2^-32.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.next_u32()) / 4_294_967_296.0
    }

    /// A normal draw of mean 0 and deviation 1 (Box and Muller, 1958; the second of the pair is
    /// not kept, so that a stream's position tells its draws).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt(); // 1 - unit is never 0
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers() {
        // Random123's kat_vectors, philox4x32 10.
        assert_eq!(philox([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |seed, purpose, a, b| Draws::new(seed, purpose, a, b).next_u32();
        let all = [
            first(1, 2, 3, 4),
            first(2, 2, 3, 4),
            first(1 << 32 | 1, 2, 3, 4),
            first(1, 3, 3, 4),
            first(1, 2, 4, 4),
            first(1, 2, 3, 5),
            first(1, 2, 3, 4 + (1 << 33)),
        ];
        for (i, word) in all.iter().enumerate() {
            assert!(!all[..i].contains(word), "stream {i} repeats another");
        }
    }

    #[test]
    fn normal_draws_have_mean_0_and_deviation_1() {
        let mut draws = Draws::new(7, 0, 0, 0);
        let n = 100_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let z = draws.normal();
            sum += z;
            squares += z * z;
        }
        let (mean, variance) = (sum / f64::from(n), squares / f64::from(n));
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn below_reaches_every_number_and_no_other() {
        let mut draws = Draws::new(3, 0, 0, 0);
        let mut seen = [0; 33];
        for _ in 0..33_000 {
            seen[draws.below(33) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
    }
}
