//! The shortest codes for symbols that come so often each, of up to 16 bits (T.81, annex K.2).

use crate::jpeg::huffman::Spec;

/// Longest code before the limit: a longer one would need a Fibonacci number of symbols above 2^32.
const LENGTH_MAX: usize = 48;
const LIMIT: usize = 16;
/// A symbol that never comes, so that no code is all ones.
const RESERVED: usize = 256;

/// The table for counts that are not all zero.
pub(super) fn spec(counts: &[u32; 256]) -> Spec {
    let lengths = lengths(counts);
    let mut of_length = [0_usize; LENGTH_MAX + 1];
    lengths.iter().filter(|length| **length > 0).for_each(|length| of_length[*length] += 1);
    shorten(&mut of_length);
    if let Some(longest) = of_length.iter_mut().rev().find(|count| **count > 0) {
        *longest -= 1; // the reserved one
    }
    // The rarer a symbol, the longer its code, whatever the limit made of the lengths.
    let mut symbols: Vec<u8> =
        (0..=255).filter(|symbol| counts[usize::from(*symbol)] > 0).collect();
    symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
    let counts: Vec<u8> = of_length[1..=LIMIT].iter().map(|count| *count as u8).collect();
    Spec::new(&counts, &symbols, false).expect("lengths that make a code")
}

/// The length of each symbol's code, the reserved one's last; 0 for those that never come.
fn lengths(counts: &[u32; 256]) -> [usize; 257] {
    let mut weights = [0_u64; 257];
    for (weight, count) in weights.iter_mut().zip(counts) {
        *weight = u64::from(*count);
    }
    weights[RESERVED] = 1;
    let mut lengths = [0; 257];
    // Symbols of the same tree are a chain: the next of each.
    let mut next = [None; 257];
    loop {
        // The two lightest trees; of equals the last, so that the reserved symbol is of the longest.
        let lightest = |but: Option<usize>| {
            (0..257)
                .rev()
                .filter(|i| weights[*i] > 0 && Some(*i) != but)
                .min_by_key(|i| weights[*i])
        };
        let Some(first) = lightest(None) else { return lengths };
        let Some(second) = lightest(Some(first)) else { return lengths };
        weights[first] += weights[second];
        weights[second] = 0;
        let mut at = first;
        lengths[at] += 1;
        while let Some(after) = next[at] {
            at = after;
            lengths[at] += 1;
        }
        next[at] = Some(second);
        let mut at = Some(second);
        while let Some(symbol) = at {
            lengths[symbol] += 1;
            at = next[symbol];
        }
    }
}

/// Makes codes of more than 16 bits shorter, and others longer in their place (figure K.3).
fn shorten(of_length: &mut [usize; LENGTH_MAX + 1]) {
    for long in (LIMIT + 1..=LENGTH_MAX).rev() {
        while of_length[long] > 0 {
            let short = (1..long - 1).rev().find(|length| of_length[*length] > 0);
            let short = short.expect("not all codes are of one length");
            of_length[long] -= 2;
            of_length[long - 1] += 1;
            of_length[short + 1] += 2;
            of_length[short] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draws;

    /// Bits of all symbols together.
    fn cost(counts: &[u32; 256], spec: &Spec) -> u64 {
        let of = |(_, len, symbol): (u32, u32, u8)| {
            u64::from(len) * u64::from(counts[usize::from(symbol)])
        };
        spec.codes().map(of).sum()
    }

    #[test]
    fn every_symbol_has_a_code_and_frequent_ones_are_short() {
        let mut draws = Draws::new(4, 0, 0, 0);
        for round in 0..200 {
            let mut counts = [0; 256];
            for _ in 0..=draws.below(250) {
                counts[draws.below(256) as usize] = 1 + draws.below(1 << (1 + round % 20));
            }
            let spec = spec(&counts);
            let codes: Vec<_> = spec.codes().collect();
            assert_eq!(codes.len(), counts.iter().filter(|count| **count > 0).count());
            let all: u32 = codes.iter().map(|(_, len, _)| 1 << (16 - len)).sum();
            assert!(all < 1 << 16, "a code is all ones");
            assert!(codes.iter().all(|(code, len, _)| *code < (1 << len) - 1));
            for pair in codes.windows(2) {
                let [a, b] = [pair[0], pair[1]].map(|(_, len, symbol)| (len, symbol));
                let (more, less) = (counts[usize::from(a.1)], counts[usize::from(b.1)]);
                assert!(a.0 == b.0 || more >= less, "{a:?} {more}, {b:?} {less}");
            }
            // Within a bit a symbol of the entropy, and a little for the reserved code.
            let total: f64 = counts.iter().map(|count| f64::from(*count)).sum();
            let entropy = counts
                .iter()
                .filter(|count| **count > 0)
                .map(|count| f64::from(*count) * (total / f64::from(*count)).log2());
            let entropy: f64 = entropy.sum();
            let cost = cost(&counts, &spec) as f64;
            assert!(
                cost >= entropy && cost <= entropy + 1.1 * total + 16.0,
                "{cost} {entropy}"
            );
        }
    }

    #[test]
    fn codes_keep_to_the_limit_where_the_best_ones_would_not() {
        let mut counts = [0; 256];
        let (mut a, mut b) = (1, 1);
        for count in &mut counts[..40] {
            (*count, a, b) = (a, b, a + b);
        }
        let codes: Vec<_> = spec(&counts).codes().map(|(_, len, _)| len).collect();
        assert_eq!((codes.len(), codes.iter().max()), (40, Some(&16)));
    }

    #[test]
    fn one_symbol_has_a_code_of_one_bit() {
        let mut counts = [0; 256];
        counts[7] = 5;
        assert_eq!(spec(&counts).codes().collect::<Vec<_>>(), [(0, 1, 7)]);
        let none = lengths(&[0; 256]);
        assert!(none.iter().all(|length| *length == 0));
    }
}
