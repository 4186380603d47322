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
        assert_eq!(out(s.sqrt(s.load(&positive))), positive.map(f32::sqrt));
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

#[test]
fn every_level_does_what_the_formulas_say() {
    for level in Level::all() {
        level.run(Methods);
    }
}
