//! How near each version of augmentation comes to the speed at which slots can be filled at all:
//! `cargo bench -p pipeline --bench augment -- [--rounds N] [--pictures N]`.
//!
//! Random crops of random pictures, more of them than the caches hold, into 3 slots of 128 crops of
//! side 224, by 1 and by 2 threads. The bound is `fill` of the same places in the same rounds. Each
//! crop is timed for itself and the median counts, so that what else runs on the machine for a while
//! does not.

use memmap2::MmapMut;
use pipeline::{
    augment::{Augment, Element, Lighting},
    dataset::Statistics,
    feed::slot_bytes,
    random::Draws,
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const STORED: usize = 256;
const CROP: usize = 224;
const PICTURE_BYTES: usize = 3 * STORED * STORED;
const BATCH: usize = 128;
const SLOTS: usize = 3;

/// A row of the table.
struct Row {
    what: &'static str,
    threads: usize,
    element: Element,
    /// `None` only fills.
    augment: Option<Augment>,
    /// Of every crop so far.
    times: Vec<Duration>,
}

impl Row {
    /// Writes all slots, a part of each by each thread.
    fn run(&mut self, slots: &mut [MmapMut], pictures: &[&[u8]], round: usize) {
        let Self { threads, ref augment, .. } = *self;
        let bytes = slot_bytes(BATCH, CROP, self.element);
        let mut parts: Vec<Vec<&mut [u8]>> = (0..threads).map(|_| vec![]).collect();
        for slot in slots {
            let of_slot = slot[..bytes].chunks_mut(bytes / threads);
            parts.iter_mut().zip(of_slot).for_each(|(parts, part)| parts.push(part));
        }
        let times = std::thread::scope(|scope| {
            let work = |(thread, parts)| {
                let first = (2 * round + thread) * pictures.len() / 4;
                let places = slot_bytes(1, CROP, self.element);
                scope.spawn(move || write(augment.as_ref(), parts, places, pictures, first))
            };
            let threads: Vec<_> = parts.into_iter().enumerate().map(work).collect();
            let times = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            times.flatten().collect::<Vec<_>>()
        });
        self.times.extend(times);
    }

    /// Microseconds a crop that a share of all took at most.
    fn quantile_us(&mut self, share: f64) -> f64 {
        self.times.sort_unstable();
        1e6 * self.times[(share * (self.times.len() - 1) as f64) as usize].as_secs_f64()
    }
}

fn write(
    augment: Option<&Augment>, parts: Vec<&mut [u8]>, bytes: usize, pictures: &[&[u8]],
    first: usize,
) -> Vec<Duration> {
    let (mut sample, mut times) = (first, vec![]);
    for part in parts {
        for place in part.chunks_exact_mut(bytes) {
            sample += 7919; // a prime: in no order, and none twice before all
            let began = Instant::now();
            match augment {
                Some(augment) => {
                    let draw = augment.draw(1, 0, sample as u64);
                    augment.crop(place, pictures[sample % pictures.len()], &draw);
                }
                None => black_box(place).fill(7),
            }
            times.push(began.elapsed());
        }
    }
    times
}

/// Pages as those of the CPU device's slots.
fn slot(bytes: usize) -> MmapMut {
    let mut slot = MmapMut::map_anon(bytes).expect("memory");
    #[cfg(target_os = "linux")]
    let _ = slot.advise(memmap2::Advice::HugePage);
    slot.fill(1);
    slot
}

fn draw(picture: &mut [u8], index: usize) {
    let mut draws = Draws::new(2012, 0, 0, index as u64);
    picture.as_chunks_mut().0.iter_mut().for_each(|to| *to = draws.next_u32().to_le_bytes());
}

fn statistics() -> Statistics {
    Statistics {
        images: 1,
        mean: (0..3 * STORED * STORED).map(|i| 100.0 + (i % 97) as f32 / 3.0).collect(),
        covariance: [[0.0; 3]; 3],
        eigenvalues: [14_000.0, 1_300.0, 300.0],
        eigenvectors: [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]],
    }
}

/// Holds singles against the formula in double precision, and all levels against each other.
fn check(augment: &Augment, element: Element, image: &[u8]) {
    let statistics = statistics();
    for sample in 0..4 {
        let draw = augment.draw(1, 0, sample);
        let mut wanted = None;
        for (level, augment) in augment.at_every_level() {
            let mut out = MmapMut::map_anon(augment.sample_bytes()).expect("memory");
            augment.crop(&mut out, image, &draw);
            let wanted = wanted.get_or_insert_with(|| out.to_vec());
            assert!(wanted[..] == out[..], "{level}, {element:?}");
        }
        let wanted = wanted.expect("there is a level");
        if element != Element::F32 {
            continue; // held against singles by the crate's tests
        }
        for (i, found) in wanted.as_chunks().0.iter().enumerate().step_by(101) {
            let (c, v, u) = (i / CROP / CROP, i / CROP % CROP, i % CROP);
            let column = if draw.mirror { CROP - 1 - u } else { u };
            let pixel = image[3 * ((draw.y + v) * STORED + draw.x + column) + c];
            let edge = (STORED - CROP) / 2;
            let mean = statistics.mean[(c * STORED + edge + v) * STORED + edge + u];
            let lit = f64::from(pixel) - f64::from(mean) + f64::from(draw.lighting[c]);
            let error = (f64::from(f32::from_ne_bytes(*found)) - lit / 1.1).abs();
            assert!(error < 1e-4, "{found:?} for {} at {i}", lit / 1.1);
        }
    }
}

fn main() {
    let mut rounds = 15;
    let mut pictures = 1024;
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        match pair[0].as_str() {
            "--rounds" => rounds = pair[1].parse().expect("a number"),
            "--pictures" => pictures = pair[1].parse().expect("a number"),
            _ => {}
        }
    }
    let mut memory = slot(pictures * PICTURE_BYTES);
    memory.chunks_exact_mut(PICTURE_BYTES).enumerate().for_each(|(i, to)| draw(to, i));
    let pictures: Vec<&[u8]> = memory.chunks_exact(PICTURE_BYTES).collect();
    let mut rows = vec![];
    for threads in [1, 2] {
        for element in [Element::F32, Element::F16, Element::Bf16] {
            let new = |what, augment| Row { what, threads, element, augment, times: vec![] };
            let augment = Augment::new(STORED, CROP, element, Lighting::Stddev, &statistics());
            if threads == 1 {
                check(&augment, element, pictures[0]);
            }
            rows.push(new("fill", None));
            for (level, augment) in augment.at_every_level() {
                rows.push(new(level, Some(augment)));
            }
        }
    }
    let bytes = slot_bytes(BATCH, CROP, Element::F32);
    let mut slots: Vec<MmapMut> = (0..SLOTS).map(|_| slot(bytes)).collect();
    for round in 0..rounds {
        rows.iter_mut().for_each(|row| row.run(&mut slots, &pictures, round));
    }
    report(&mut rows);
}

#[expect(clippy::print_stdout, reason = "the result")]
fn report(rows: &mut [Row]) {
    println!(
        "| threads | element | version | us a crop | fastest tenth | GB/s | of the bound |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut bound = [0.0; 2];
    for row in rows {
        let us = [0.5, 0.1].map(|share| row.quantile_us(share));
        if row.augment.is_none() {
            bound = us;
        }
        println!(
            "| {} | {:?} | {} | {:.1} | {:.1} | {:.1} | {:.0} %, {:.0} % |",
            row.threads,
            row.element,
            row.what,
            us[0],
            us[1],
            row.threads as f64 * slot_bytes(1, CROP, row.element) as f64 / us[0] / 1e3,
            100.0 * bound[0] / us[0],
            100.0 * bound[1] / us[1],
        );
    }
}
