use super::{Level, blocks};
use crate::{
    jpeg::entropy::{Order, ZIGZAG},
    random::Draws,
};

/// In the order of a level.
fn ordered(natural: &[i16; 64], level: Level) -> [i16; 64] {
    match Order::of(level) {
        Order::Natural => *natural,
        Order::Zigzag => std::array::from_fn(|k| natural[usize::from(ZIGZAG[k])]),
    }
}

fn transform(level: Level, natural: &[[i16; 64]], steps: &[i16; 64]) -> Vec<u8> {
    let stride = 8 * natural.len().next_multiple_of(2) + 5;
    let mut out = vec![0; 8 * stride];
    let input: Vec<_> = natural.iter().map(|block| ordered(block, level)).collect();
    blocks(level, &input, &ordered(steps, level), &mut out, stride);
    let rows = out.chunks_exact(stride);
    rows.flat_map(|row| row[..8 * natural.len()].iter().copied()).collect()
}

/// Section A.3.3 of T.81, in double precision.
fn exact(block: &[i16; 64], steps: &[i16; 64]) -> [f64; 64] {
    let cosine = |x: usize, u: usize| {
        let scale = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
        scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos() / 2.0
    };
    std::array::from_fn(|i| {
        let (x, y) = (i % 8, i / 8);
        let terms = (0..64).map(|j| {
            let value = f64::from(block[j]) * f64::from(steps[j]);
            value * cosine(x, j % 8) * cosine(y, j / 8)
        });
        terms.sum::<f64>() + 128.0
    })
}

/// Coefficients of a photograph: smaller and rarer the higher their frequency.
fn block(draws: &mut Draws) -> [i16; 64] {
    let density = 1 + draws.below(12);
    std::array::from_fn(|i| {
        let frequency = (i % 8 + i / 8) as u32;
        let reach = 1 + 400 / (1 + 3 * frequency * frequency);
        let some = draws.below(12) < density && (frequency < 8 || density > 6);
        if some { (draws.below(2 * reach) as i32 - reach as i32) as i16 } else { 0 }
    })
}

#[test]
fn samples_are_within_one_level_of_the_formula() {
    let mut draws = Draws::new(1, 0, 0, 0);
    for _ in 0..300 {
        let natural = [block(&mut draws), block(&mut draws)];
        let steps = std::array::from_fn(|i| 1 + (i / 9) as i16);
        let found = transform(Level::all()[0], &natural, &steps);
        for (b, natural) in natural.iter().enumerate() {
            for (i, wanted) in exact(natural, &steps).into_iter().enumerate() {
                let found = f64::from(found[i / 8 * 16 + 8 * b + i % 8]);
                assert!((found - wanted.clamp(0.0, 255.0)).abs() < 1.0, "{found}, {wanted}");
            }
        }
    }
}

#[test]
fn all_versions_agree_even_on_what_no_encoder_writes() {
    let mut draws = Draws::new(2, 0, 0, 0);
    for round in 0..2000 {
        let count = 1 + draws.below(9) as usize;
        let any = |draws: &mut Draws| draws.below(1 << 16) as u16 as i16;
        let natural: Vec<[i16; 64]> = (0..count)
            .map(|_| match round % 4 {
                0 => std::array::from_fn(|_| any(&mut draws)),
                1 => std::array::from_fn(|i| if i == 0 { any(&mut draws) } else { 0 }),
                _ => block(&mut draws),
            })
            .collect();
        let steps = std::array::from_fn(|i| match round % 3 {
            0 => any(&mut draws),
            _ => 1 + (i as i16 >> (round % 5)),
        });
        let wanted = transform(Level::all()[0], &natural, &steps);
        for level in Level::all() {
            assert_eq!(transform(level, &natural, &steps), wanted, "{level:?}, round {round}");
        }
    }
}
