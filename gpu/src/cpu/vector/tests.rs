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
        for len in 0..L {
            let part = out(s.load_part(&a[..len]));
            assert_eq!(part, std::array::from_fn(|i| if i < len { a[i] } else { 0.0 }));
            let mut kept = [9.0; L];
            s.store_part(va, &mut kept[..len]);
            assert_eq!(kept, std::array::from_fn(|i| if i < len { a[i] } else { 9.0 }));
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
