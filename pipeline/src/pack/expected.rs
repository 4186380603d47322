//! What ILSVRC should look like: counts, and the statistics that others have published. What is far
//! from it is worth a note: a class that was not downloaded whole, or channels in another order.

use super::manifest::Manifest;
use crate::{
    dataset::{Class, Dataset, Split, Statistics},
    source,
};
use sha2::{Digest as _, Sha256};
use std::ops::RangeInclusive;

/// SHA-256 of the 1000 sorted WNIDs of ILSVRC-2012, each with a line feed.
const WNIDS_2012: &str = "70002b0ff5de60a3a17a82dbfcff291931f96225ddf941ad2e182fc39e183d15";
/// The devkit's readme: training pictures in all, and of a class.
const TRAIN_2012: u64 = 1_281_167;
const TRAIN_PER_CLASS_2012: RangeInclusive<u64> = 732..=1300;
/// Validation pictures of a class, of 1000 classes, in 2010 and 2012.
const VAL_PER_CLASS: u64 = 50;
/// The mean of R, G and B: cuda-convnet2's and VGG's, and how far those are from one another.
const MEANS: [[f64; 3]; 2] = [[127.305, 119.715, 104.913], [123.68, 116.779, 103.939]];
const MEAN_TOLERANCE: f64 = 5.0;
/// Square roots of the eigenvalues, grey levels: cuda-convnet2's `color_pca`, and Torch's
/// [0.2175, 0.0188, 0.0045] of pixels between 0 and 1.
const DEVIATIONS: [[f64; 3]; 2] = [[121.7801, 37.0939, 19.7208], [118.92, 34.96, 17.11]];
const DEVIATION_TOLERANCE: f64 = 0.1;

/// Whether the classes are those of ILSVRC-2012.
fn is_2012(classes: &[Class]) -> bool {
    let mut digest = Sha256::new();
    for class in classes {
        digest.update(&class.wnid);
        digest.update("\n");
    }
    source::hex(&digest.finalize()) == WNIDS_2012
}

/// What of the source and of the packed pictures is not as it should be.
pub(super) fn notes(manifest: &Manifest, dataset: &Dataset) -> Vec<String> {
    let Manifest { classes, listed, train_expected, .. } = manifest;
    let is_2012 = is_2012(classes);
    let mut notes = counts(classes, listed, train_expected, is_2012);
    if is_2012 {
        notes.extend(statistics(&dataset.statistics));
    }
    notes
}

/// By class, against the devkit if there is one, else against what is known of 2012.
fn counts(
    classes: &[Class], listed: &[Vec<u64>], expected: &[u64], is_2012: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    let mut compare = |split: Split, wanted: &dyn Fn(usize) -> RangeInclusive<u64>| {
        let found = &listed[split as usize];
        let wrong: Vec<usize> = (0..classes.len())
            .filter(|class| !wanted(*class).contains(&found[*class]))
            .collect();
        let Some(first) = wrong.first() else { return };
        let (low, high) = wanted(*first).into_inner();
        let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
        let (wnid, found) = (&classes[*first].wnid, found[*first]);
        notes.push(format!(
            "{split}: {} classes have not as many images as they should: first {wnid}, {found} of \
             {range}",
            wrong.len()
        ));
    };
    let total: u64 = listed[Split::Train as usize].iter().sum();
    if expected.len() == classes.len() {
        compare(Split::Train, &|class| expected[class]..=expected[class]);
    } else if is_2012 {
        compare(Split::Train, &|_| TRAIN_PER_CLASS_2012);
    }
    let of_contest = is_2012 || (classes.len() == 1000 && !expected.is_empty());
    if of_contest && listed[Split::Val as usize].iter().any(|count| *count > 0) {
        compare(Split::Val, &|_| VAL_PER_CLASS..=VAL_PER_CLASS);
    }
    if is_2012 && total != TRAIN_2012 {
        notes.push(format!("train: {total} images, and ILSVRC-2012 has {TRAIN_2012}"));
    }
    notes
}

/// Mean and eigenvalues against the published ones.
fn statistics(found: &Statistics) -> Vec<String> {
    let mut notes = Vec::new();
    let area = (found.mean.len() / 3).max(1);
    let means: Vec<f64> = found
        .mean
        .chunks_exact(area)
        .map(|channel| channel.iter().map(|v| f64::from(*v)).sum::<f64>() / area as f64)
        .collect();
    let within = |value: f64, known: [f64; 2], low: f64, high: f64| {
        value >= known[0].min(known[1]) - low && value <= known[0].max(known[1]) + high
    };
    let known = |table: [[f64; 3]; 2], i: usize| [table[0][i], table[1][i]];
    let sound = |i: usize| within(means[i], known(MEANS, i), MEAN_TOLERANCE, MEAN_TOLERANCE);
    if !(0..3).all(sound) {
        let [r, g, b] = MEANS[0];
        notes.push(format!(
            "the mean of R, G and B is {:.1}, {:.1}, {:.1}; that of ILSVRC-2012 is about {r:.1}, \
             {g:.1}, {b:.1}",
            means[0], means[1], means[2]
        ));
    }
    let deviations = found.eigenvalues.map(f64::sqrt);
    let sound = |i: usize| {
        let known = known(DEVIATIONS, i);
        let [low, high] = [known[0].min(known[1]), known[0].max(known[1])];
        let t = DEVIATION_TOLERANCE;
        within(deviations[i], known, t * low, t * high)
    };
    if !(0..3).all(sound) {
        let ([a, b, c], [x, y, z]) = (deviations, DEVIATIONS[0]);
        notes.push(format!(
            "the colours deviate by {a:.1}, {b:.1}, {c:.1} grey levels along their axes; those of \
             ILSVRC-2012 by about {x:.1}, {y:.1}, {z:.1}"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(wnids: &str) -> Vec<Class> {
        let class = |wnid: &str| Class { wnid: wnid.into(), name: String::new() };
        wnids.lines().map(class).collect()
    }

    /// `tests/golden/wnids_2012.txt`: the classes of ILSVRC-2012 in sorted order.
    fn classes_2012() -> Vec<Class> {
        classes(include_str!("../../../tests/golden/wnids_2012.txt"))
    }

    #[test]
    fn the_classes_of_2012_are_told_from_others() {
        let mut classes = classes_2012();
        assert_eq!(classes.len(), 1000);
        assert!(is_2012(&classes));
        classes.swap(3, 4);
        assert!(!is_2012(&classes));
    }

    #[test]
    fn counts_of_2012_are_held_against_what_is_known() {
        let classes = classes_2012();
        let mut train = vec![1300; 895];
        train.resize(1000, 1121);
        train[999] -= 1300 * 895 + 1121 * 105 - TRAIN_2012;
        let sound = [train.clone(), vec![50; 1000], vec![0; 1000]];
        assert_eq!(counts(&classes, &sound, &[], true), [""; 0]);
        let mut few = sound.clone();
        (few[0][1], few[0][2], few[1][0]) = (731, 1301, 49);
        let found = counts(&classes, &few, &[], true);
        let wanted = "train: 2 classes have not as many images as they should: first n01443537, \
                      731 of 732 to 1300";
        assert_eq!(found[0], wanted);
        assert!(found[1].starts_with("val: 1 classes") && found[1].ends_with("49 of 50"));
        assert_eq!(found[2], "train: 1280599 images, and ILSVRC-2012 has 1281167");
        assert_eq!(counts(&classes, &few, &[], false), [""; 0]);
    }

    #[test]
    fn the_devkits_counts_are_exact() {
        let listed = [vec![5, 7], vec![0, 0], vec![0, 0]];
        let classes = classes("n1\nn2");
        assert_eq!(counts(&classes, &listed, &[5, 7], false), [""; 0]);
        let found = counts(&classes, &listed, &[5, 8], false);
        assert!(found[0].ends_with("first n2, 7 of 8"), "{found:?}");
    }

    #[test]
    fn published_statistics_pass_and_swapped_channels_do_not() {
        let with = |means: [f32; 3], deviations: [f64; 3]| {
            statistics(&Statistics {
                images: 1,
                mean: means.iter().flat_map(|mean| [*mean; 4]).collect(),
                covariance: [[0.0; 3]; 3],
                eigenvalues: deviations.map(|d| d * d),
                eigenvectors: [[0.0; 3]; 3],
            })
        };
        for i in 0..2 {
            assert_eq!(with(MEANS[i].map(|mean| mean as f32), DEVIATIONS[i]), [""; 0]);
        }
        let bgr = with([104.9, 119.7, 127.3], DEVIATIONS[0]);
        assert!(bgr[0].starts_with("the mean of R, G and B is 104.9, 119.7, 127.3"), "{bgr:?}");
        let flat = with([127.0, 119.0, 105.0], [60.0, 37.0, 19.0]);
        assert!(flat[0].contains("deviate by 60.0, 37.0, 19.0"), "{flat:?}");
    }
}
