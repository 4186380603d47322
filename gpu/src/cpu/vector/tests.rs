use super::*;
use crate::testing::noise;

/// Runs every method once and holds it against the same on plain floats.
struct Methods;

impl Kernel for Methods {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let floats = |seed| -> [f32; L] { noise(seed, L).try_into().expect("L floats") };
        let (a, b, c) = (floats(1), floats(2), floats(3));
        let [va, vb, vc] = [s.load(&a), s.load(&b), s.load(&c)];
        let out = |v| {
            let mut out = [0.0; L];
            s.store(v, &mut out);
            out
        };
        assert_eq!(out(s.splat(7.0)), [7.0; L]);
        assert_eq!(out(s.add(va, vb)), std::array::from_fn(|i| a[i] + b[i]));
        assert_eq!(out(s.sub(va, vb)), std::array::from_fn(|i| a[i] - b[i]));
        assert_eq!(out(s.mul(va, vb)), std::array::from_fn(|i| a[i] * b[i]));
        for (i, sum) in out(s.fma(va, vb, vc)).into_iter().enumerate() {
            let (once, twice) = (a[i].mul_add(b[i], c[i]), a[i] * b[i] + c[i]);
            assert!(sum == once || sum == twice, "{sum}, not {once}");
        }
        let positive: [f32; L] = b.map(|x| x.abs() + 0.1);
        assert_eq!(
            out(s.div(va, s.load(&positive))),
            std::array::from_fn(|i| a[i] / positive[i])
        );
        for scale in [1.2e-38, 1.0, 3e7, 2e37] {
            let scaled = positive.map(|x| scale * x.max(1.0));
            for (found, x) in out(s.inverse_fourth_root(s.load(&scaled))).iter().zip(scaled) {
                let error = found * x.powf(0.25) - 1.0;
                assert!(error.abs() < 0.033, "{x}^(-1/4) is not {found}");
            }
        }
        let mut same = a;
        same[L / 2] = b[L / 2];
        let (vsame, same_at) = (s.load(&same), |i: usize| i != L / 2);
        assert_eq!(
            out(s.if_equal(va, vsame, vc)),
            std::array::from_fn(|i| if same_at(i) { c[i] } else { 0.0 })
        );
        assert_eq!(
            out(s.if_positive(va, vc)),
            std::array::from_fn(|i| if a[i] > 0.0 { c[i] } else { 0.0 })
        );
        assert_eq!(out(s.max(va, vb)), std::array::from_fn(|i| a[i].max(b[i])));
        let nan = s.splat(f32::NAN);
        assert_eq!(out(s.max(nan, vb)), b);
        assert!(out(s.max(vb, nan)).iter().all(|x| x.is_nan()));
        assert_eq!(out(s.if_equal(nan, nan, vc)), [0.0; L]);
        let both: Vec<f32> = a.iter().chain(&b).copied().collect();
        let [even, odd] = s.split(va, vb);
        assert_eq!(out(even), std::array::from_fn(|i| both[2 * i]));
        assert_eq!(out(odd), std::array::from_fn(|i| both[2 * i + 1]));
        assert_eq!(s.merge(even, odd).map(out), [a, b]);
        assert_eq!(out(s.shift(va, vb)), std::array::from_fn(|i| both[L - 1 + i]));
        assert_eq!(s.sum(va), a.iter().sum::<f32>());
        for len in 0..L {
            let part = out(s.load_part(&a[..len]));
            assert_eq!(part, std::array::from_fn(|i| if i < len { a[i] } else { 0.0 }));
            let mut kept = [9.0; L];
            s.store_part(va, &mut kept[..len]);
            assert_eq!(kept, std::array::from_fn(|i| if i < len { a[i] } else { 9.0 }));
            assert_eq!(out(s.load_next(&a[..len])), part);
            let mut next = [9.0; L];
            s.store_next(va, &mut next[..len]);
            assert_eq!(next, kept);
        }
        let rows: [[f32; L]; L] =
            std::array::from_fn(|i| std::array::from_fn(|j| (100 * i + j) as f32));
        let mut vectors = [s.zero(); L];
        for (v, row) in vectors.iter_mut().zip(&rows) {
            *v = s.load(row);
        }
        for (j, column) in s.transpose(vectors).into_iter().enumerate() {
            assert_eq!(out(column), std::array::from_fn(|i| rows[i][j]));
        }
    }
}

/// Pairs of bf16, against sums in double precision.
struct PairMethods;

impl Kernel for PairMethods {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let out = |v| {
            let mut out = [0.0; L];
            s.store(v, &mut out);
            out
        };
        // Ties go to the even neighbour, what overflows to infinity; what is no number stays none.
        let cases = [
            (1.0, 0x3F80),
            (-0.0, 0x8000),
            (f32::from_bits(0x3F80_8000), 0x3F80),
            (f32::from_bits(0x3F81_8000), 0x3F82),
            (f32::from_bits(0x3F80_8001), 0x3F81),
            (f32::MAX, 0x7F80),
            (f32::NEG_INFINITY, 0xFF80),
        ];
        for (x, bits) in cases {
            let pairs = out(s.pair(s.splat(x), s.splat(-1.0)));
            assert_eq!(pairs.map(f32::to_bits), [0xBF80_0000 | bits; L], "{x}");
            let pairs = out(s.pair(s.splat(-1.0), s.splat(x)));
            assert_eq!(pairs.map(f32::to_bits), [bits << 16 | 0xBF80; L], "{x}");
        }
        for bits in [0x7F80_0001, 0x7FFF_FFFF, 0xFFFF_FFFF] {
            let pairs = out(s.pair(s.splat(f32::from_bits(bits)), s.zero()));
            assert!(pairs.iter().all(|x| f32::from_bits(x.to_bits() << 16).is_nan()));
        }
        let floats = noise(1, 4 * L);
        let halves =
            |x: f32| [x.to_bits() << 16, x.to_bits() & 0xFFFF_0000].map(f32::from_bits);
        let [a, b] = [0, 2 * L].map(|i| neighbours(s, &floats[i..][..2 * L]));
        for (i, x) in out(a).into_iter().flat_map(halves).enumerate() {
            assert!((x / floats[i] - 1.0).abs() <= 1.0 / 256.0, "{x} is {}", floats[i]);
        }
        let c: [f32; L] = noise(2, L).try_into().expect("L floats");
        let found = out(s.dot(a, b, s.load(&c)));
        for i in 0..L {
            let (a, b) = (halves(out(a)[i]), halves(out(b)[i]));
            let wanted = f64::from(c[i])
                + f64::from(a[0]) * f64::from(b[0])
                + f64::from(a[1]) * f64::from(b[1]);
            assert!((f64::from(found[i]) - wanted).abs() < 3e-7, "{}, not {wanted}", found[i]);
        }
        for len in 0..2 * L {
            let padded: Vec<f32> =
                (0..2 * L).map(|i| if i < len { floats[i] } else { 0.0 }).collect();
            assert_eq!(out(neighbours(s, &floats[..len])), out(neighbours(s, &padded)));
        }
    }
}

#[test]
fn every_level_rounds_and_multiplies_pairs_alike() {
    for level in Level::all_for_bf16() {
        level.run_pairs(PairMethods);
    }
}

#[test]
fn every_level_does_what_the_formulas_say() {
    for level in Level::all() {
        level.run(Methods);
    }
}
