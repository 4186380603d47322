use super::*;
use proptest::prelude::*;

const ELEMENTS: [Element; 3] = [Element::F32, Element::F16, Element::Bf16];

fn statistics(stored: usize) -> Statistics {
    Statistics {
        images: 1,
        mean: (0..3 * stored * stored).map(|i| 100.0 + (i % 97) as f32 / 3.0).collect(),
        covariance: [[0.0; 3]; 3],
        eigenvalues: [14_000.0, 1_300.0, 300.0],
        eigenvectors: [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]],
    }
}

/// Pixels tell their own place.
fn image(stored: usize) -> Vec<u8> {
    (0..stored * stored * 3).map(|i| (i * 31 % 251) as u8).collect()
}

/// `len` bytes that begin `offset` bytes after a multiple of 64.
fn place(memory: &mut Vec<u8>, offset: usize, len: usize) -> &mut [u8] {
    memory.clear();
    memory.resize(len + 128, 0xA5);
    let aligned = memory.as_ptr().align_offset(64);
    &mut memory[aligned + offset..][..len]
}

fn place_of(memory: &[u8], offset: usize, len: usize) -> &[u8] {
    let aligned = memory.as_ptr().align_offset(64);
    &memory[aligned + offset..][..len]
}

fn values(element: Element, bytes: &[u8]) -> Vec<f32> {
    let half = |bytes: &[u8]| [bytes[0], bytes[1]];
    match element {
        Element::F32 => bytes.as_chunks().0.iter().map(|x| f32::from_ne_bytes(*x)).collect(),
        Element::F16 => {
            bytes.chunks(2).map(|x| half::f16::from_ne_bytes(half(x)).to_f32()).collect()
        }
        Element::Bf16 => {
            bytes.chunks(2).map(|x| half::bf16::from_ne_bytes(half(x)).to_f32()).collect()
        }
    }
}

#[test]
fn every_value_is_as_the_formula_says_in_double_precision_at_every_level() {
    let (stored, crop) = (300, 270); // longer than a piece, and not of whole groups
    let (statistics, image) = (statistics(stored), image(stored));
    for element in ELEMENTS {
        let augment = Augment::new(stored, crop, element, Lighting::Stddev, &statistics);
        for (level, augment) in augment.at_every_level() {
            let mut mirrored = [false; 2];
            for sample in 0..6 {
                let draw = augment.draw(3, 1, sample);
                mirrored[usize::from(draw.mirror)] = true;
                let mut memory = Vec::new();
                let out = place(&mut memory, 0, augment.sample_bytes());
                augment.crop(out, &image, &draw);
                let out = values(element, out);
                for i in (0..3 * crop * crop).step_by(137) {
                    let (c, v, u) = (i / crop / crop, i / crop % crop, i % crop);
                    let column = if draw.mirror { crop - 1 - u } else { u };
                    let pixel = image[3 * ((draw.y + v) * stored + draw.x + column) + c];
                    let mean = statistics.mean[(c * stored + 15 + v) * stored + 15 + u];
                    let wanted = (f64::from(pixel) - f64::from(mean)
                        + f64::from(draw.lighting[c]))
                        / 1.1;
                    let tolerance = match element {
                        Element::F32 => 1e-6,
                        Element::F16 => 6e-4,
                        Element::Bf16 => 5e-3,
                    };
                    // A grey level's rounding on top: 100 - 100 has no relative precision.
                    let error = (f64::from(out[i]) - wanted).abs();
                    let bound = tolerance * wanted.abs() + 1e-4;
                    assert!(error <= bound, "{} for {wanted} at {level}", out[i]);
                }
            }
            assert_eq!(mirrored, [true; 2]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_papers_crops_go_past_the_caches_where_they_begin_with_a_line() {
    for element in ELEMENTS {
        let augment = Augment::new(256, 224, element, Lighting::Off, &statistics(256));
        let image = image(256);
        let work = augment.work(&image, 256, 3, 5, &augment.centre());
        let mut memory = Vec::new();
        let streams = |out: &mut [u8]| work.streams(element, out);
        assert!(streams(place(&mut memory, 0, augment.sample_bytes())));
        assert!(!streams(place(&mut memory, 16, augment.sample_bytes())));
    }
}

/// Bits of any number, most of them of the size of pixels.
fn number() -> impl Strategy<Value = f32> {
    let bits = prop_oneof![any::<u32>(), 0x3800_0000..0x4780_0000_u32, Just(0)];
    bits.prop_map(f32::from_bits).prop_filter("a number", |x| !x.is_nan())
}

proptest! {
    /// All levels write the same bits to every place, and nothing beside it. The means are any
    /// numbers, so the values to be rounded to halves are, too.
    #[test]
    fn every_level_writes_the_same_bytes_wherever_a_place_begins(
        (crop, edge, x, y, offset) in (1..140_usize, 0..9_usize, 0..9_usize, 0..9_usize, 0..64_usize),
        (mirror, element) in (any::<bool>(), prop::sample::select(ELEMENTS.to_vec())),
        mean in prop::collection::vec(number(), 97),
        lighting in prop::array::uniform3(-30.0..30.0_f32),
        scale in prop_oneof![Just(1.0), Just(1.0 / 1.1_f32), Just(1e-7), Just(300.0)],
    ) {
        // Every other one may be streamed.
        let (crop, offset) =
            if x % 2 == 0 { (crop.next_multiple_of(32), 0) } else { (crop, offset) };
        let lighting = if y % 2 == 0 { [0.0; 3] } else { lighting };
        let stored = crop + edge;
        let mut statistics = statistics(stored);
        statistics.mean.iter_mut().zip(mean.iter().cycle()).for_each(|(to, x)| *to = *x);
        let image = image(stored);
        let draw = Draw { x: x.min(edge), y: y.min(edge), mirror, lighting, scale };
        let augment = Augment::new(stored, crop, element, Lighting::Stddev, &statistics);
        let levels = augment.at_every_level();
        let mut memory = Vec::new();
        let len = augment.sample_bytes();
        levels[0].1.crop(place(&mut memory, offset, len), &image, &draw);
        let wanted = place_of(&memory, offset, len).to_vec();
        for (level, augment) in levels {
            augment.crop(place(&mut memory, offset, len), &image, &draw);
            prop_assert!(place_of(&memory, offset, len) == wanted, "{level}");
            let at = place_of(&memory, offset, len).as_ptr().addr() - memory.as_ptr().addr();
            let mut beside = memory[..at].iter().chain(&memory[at + len..]);
            prop_assert!(beside.all(|byte| *byte == 0xA5), "{level} wrote beside the place");
            let cut: Vec<u8> = (0..crop)
                .flat_map(|v| &image[3 * ((draw.y + v) * stored + draw.x)..][..3 * crop])
                .copied()
                .collect();
            augment.cropped(place(&mut memory, offset, len), &cut, &draw);
            prop_assert!(place_of(&memory, offset, len) == wanted, "{level}, of a crop");
        }
    }
}

#[test]
fn lighting_moves_colours_by_standard_deviations_along_the_eigenvectors() {
    let (statistics, n) = (statistics(16), 20_000);
    let variance = |lighting: Lighting| {
        let augment = Augment::new(16, 8, Element::F32, lighting, &statistics);
        let squares = (0..n).map(|i| {
            let light = augment.draw(1, 0, i).lighting.map(f64::from);
            let along = |p: [f64; 3]| p.iter().zip(light).map(|(p, x)| p * x).sum::<f64>();
            statistics.eigenvectors.map(|p| along(p).powi(2))
        });
        let sum =
            squares.fold([0.0; 3], |sum, square| std::array::from_fn(|i| sum[i] + square[i]));
        sum.map(|sum: f64| sum / n as f64)
    };
    for (found, wanted) in variance(Lighting::Stddev).into_iter().zip([140.0, 13.0, 3.0]) {
        assert!((found / wanted - 1.0).abs() < 0.05, "{found} for {wanted}");
    }
    let torch = (0.1 * 14_000.0 / 255.0_f64).powi(2);
    assert!((variance(Lighting::Eigenvalue01)[0] / torch - 1.0).abs() < 0.05);
    assert_eq!(variance(Lighting::Off), [0.0; 3]);
}

#[test]
fn draws_reach_every_corner_and_depend_on_seed_epoch_and_sample() {
    let augment = Augment::new(12, 8, Element::F32, Lighting::Off, &statistics(12));
    let mut seen = [[0; 5]; 5];
    (0..2500).for_each(|i| {
        let draw = augment.draw(1, 2, i);
        seen[draw.y][draw.x] += 1;
    });
    assert!(seen.iter().flatten().all(|n| (50..160).contains(n)), "{seen:?}");
    let augment = Augment::new(12, 8, Element::F32, Lighting::Stddev, &statistics(12));
    let first = augment.draw(1, 2, 3);
    assert_eq!(first, augment.draw(1, 2, 3));
    assert!(
        ![(2, 2, 3), (1, 3, 3), (1, 2, 4)]
            .map(|(s, e, i)| augment.draw(s, e, i))
            .contains(&first)
    );
}
