//! The mean image and the covariance of the training pixels (section 4.1), in exact integers: the
//! same sums whatever the order, so the same statistics for any number of jobs.

use crate::dataset::{SIZE_MAX, Statistics};
use serde::{Deserialize, Serialize};

/// Sums over pictures `[size, size, 3]`; up to 2^24 of them at [`SIZE_MAX`] fit the integers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accumulator {
    size: usize,
    images: u64,
    /// Per value, in the pictures' own order.
    sums: Vec<u64>,
    /// Of the products RR, RG, RB, GG, GB, BB over all pixels.
    products: [u128; 6],
}

// A row's products are added up in 32 bits.
const _: () = assert!(SIZE_MAX as u64 * 255 * 255 <= u32::MAX as u64);
// n sum(xy) of `finish` is a signed number of 128 bits: 2^24 images, SIZE_MAX^2 pixels, twice.
const _: () = assert!((1 << 48) * (SIZE_MAX as u128).pow(4) * 255 * 255 <= i128::MAX as u128);

const PAIRS: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];

impl Accumulator {
    /// Nothing yet.
    ///
    /// # Panics
    /// If `size` is larger than [`SIZE_MAX`].
    pub fn new(size: usize) -> Self {
        assert!(size <= SIZE_MAX, "pictures of {size} px");
        Self { size, images: 0, sums: vec![0; size * size * 3], products: [0; 6] }
    }

    /// Adds a picture.
    ///
    /// # Panics
    /// If it is not `size x size x 3` bytes.
    pub fn add(&mut self, square: &[u8]) {
        assert_eq!(square.len(), self.sums.len(), "a picture of another size");
        self.images += 1;
        for (sum, value) in self.sums.iter_mut().zip(square) {
            *sum += u64::from(*value);
        }
        for row in square.chunks_exact(self.size * 3) {
            let mut products = [0_u32; 6];
            for pixel in row.chunks_exact(3) {
                for (product, (i, j)) in products.iter_mut().zip(PAIRS) {
                    *product += u32::from(pixel[i]) * u32::from(pixel[j]);
                }
            }
            for (all, product) in self.products.iter_mut().zip(products) {
                *all += u128::from(product);
            }
        }
    }

    /// Adds what another has counted.
    ///
    /// # Panics
    /// If its pictures have another size.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.size, other.size, "pictures of another size");
        self.images += other.images;
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.products.iter_mut().zip(other.products).for_each(|(sum, other)| *sum += other);
    }

    /// Whether its sums are of pictures of side `size`, as those that were read back should be.
    pub fn is_of(&self, size: usize) -> bool {
        self.size == size && size <= SIZE_MAX && self.sums.len() == size * size * 3
    }

    /// Pictures counted.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Mean image, covariance and its eigenvectors; zeros for no pictures.
    pub fn finish(&self) -> Statistics {
        let area = self.size * self.size;
        let images = self.images.max(1);
        let at = |c: usize, pixel: usize| self.sums[3 * pixel + c];
        let mean = (0..3)
            .flat_map(|c| (0..area).map(move |pixel| (c, pixel)))
            .map(|(c, pixel)| (at(c, pixel) as f64 / images as f64) as f32)
            .collect();
        let sums: [u128; 3] =
            std::array::from_fn(|c| (0..area).map(|pixel| u128::from(at(c, pixel))).sum());
        let n = u128::from(images) * area as u128;
        let mut covariance = [[0.0; 3]; 3];
        for (product, (i, j)) in self.products.into_iter().zip(PAIRS) {
            // Exact up to the one division: n sum(xy) - sum(x) sum(y) over n^2.
            let numerator = (n * product) as i128 - (sums[i] * sums[j]) as i128;
            covariance[i][j] = numerator as f64 / (n * n) as f64;
            covariance[j][i] = covariance[i][j];
        }
        let (eigenvalues, eigenvectors) = eigen(covariance);
        Statistics { images: self.images, mean, covariance, eigenvalues, eigenvectors }
    }
}

/// Eigenvalues, largest first, and unit eigenvectors of a symmetric matrix, by Jacobi's rotations.
/// An eigenvector's largest component is positive, so that its sign is the same everywhere.
fn eigen(matrix: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let (mut a, mut v) = (matrix, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
    // Convergence is quadratic; a 3 x 3 matrix takes five sweeps or so to all its digits.
    for _ in 0..30 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if a[p][q] == 0.0 {
                continue;
            }
            let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
            let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
            let c = 1.0 / (t * t + 1.0).sqrt();
            let s = t * c;
            for row in &mut a {
                (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
            }
            let (row_p, row_q) = (a[p], a[q]);
            a[p] = std::array::from_fn(|k| c * row_p[k] - s * row_q[k]);
            a[q] = std::array::from_fn(|k| s * row_p[k] + c * row_q[k]);
            for row in &mut v {
                (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
            }
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|i, j| a[*j][*j].total_cmp(&a[*i][*i]));
    let vector = |i: usize| {
        let column = [v[0][i], v[1][i], v[2][i]];
        let largest =
            column.into_iter().fold(0.0, |m: f64, x| if x.abs() > m.abs() { x } else { m });
        column.map(|x| if largest < 0.0 { -x } else { x })
    };
    (order.map(|i| a[i][i].max(0.0)), order.map(vector))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draws;

    fn pictures(count: u64, size: usize) -> Vec<Vec<u8>> {
        let picture = |i| {
            let mut draws = Draws::new(1, 0, 0, i);
            let mut level = || {
                let base = draws.below(200);
                [base + 20, base + draws.below(40), base / 2 + draws.below(60)]
            };
            (0..size * size).flat_map(|_| level()).map(|v| v as u8).collect()
        };
        (0..count).map(picture).collect()
    }

    #[test]
    fn sums_agree_with_floating_point_and_merge_in_any_order() {
        let (size, pictures) = (5, pictures(7, 5));
        let mut whole = Accumulator::new(size);
        pictures.iter().for_each(|picture| whole.add(picture));
        let (mut left, mut right) = (Accumulator::new(size), Accumulator::new(size));
        pictures.iter().enumerate().for_each(|(i, picture)| {
            if i % 3 == 0 { &mut left } else { &mut right }.add(picture);
        });
        right.merge(&left);
        assert_eq!(right, whole);
        let found = whole.finish();
        let n = (7 * size * size) as f64;
        let mean = |c: usize| {
            let values = pictures.iter().flat_map(|p| p.iter().skip(c).step_by(3));
            values.map(|v| f64::from(*v)).sum::<f64>() / n
        };
        for (i, j) in PAIRS {
            let products = pictures
                .iter()
                .flat_map(|p| p.chunks_exact(3))
                .map(|pixel| (f64::from(pixel[i]) - mean(i)) * (f64::from(pixel[j]) - mean(j)));
            let wanted = products.sum::<f64>() / n;
            assert!((found.covariance[i][j] - wanted).abs() < 1e-9 * wanted.abs());
        }
        let sum: f64 = pictures.iter().map(|p| f64::from(p[3 * 7 + 2])).sum();
        assert_eq!(found.mean[2 * size * size + 7], (sum / 7.0) as f32);
    }

    #[test]
    fn the_brightest_pictures_are_counted_exactly() {
        let mut sums = Accumulator::new(64);
        sums.add(&[255; 64 * 64 * 3]);
        assert_eq!(sums.finish().covariance, [[0.0; 3]; 3]);
        sums.add(&[0; 64 * 64 * 3]);
        let found = sums.finish();
        // Half of the pixels at 0, half at 255: a variance of (255 / 2)^2 in every direction.
        assert_eq!(found.covariance, [[16256.25; 3]; 3]);
        assert!(found.mean.iter().all(|mean| *mean == 127.5));
        assert!((found.eigenvalues[0] - 3.0 * 16256.25).abs() < 1e-9);
        for _ in 0..40 {
            sums.merge(&sums.clone()); // 2^41 pictures in the end: the integers hold
        }
        assert_eq!((sums.images(), sums.finish().covariance), (1 << 41, found.covariance));
    }

    #[test]
    fn eigenvectors_are_unit_and_solve_their_equation() {
        let mut sums = Accumulator::new(5);
        pictures(3, 5).iter().for_each(|picture| sums.add(picture));
        let found = sums.finish();
        assert!(found.eigenvalues[0] >= found.eigenvalues[1]);
        assert!(found.eigenvalues[1] >= found.eigenvalues[2]);
        for (value, vector) in found.eigenvalues.into_iter().zip(found.eigenvectors) {
            let norm: f64 = vector.iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() < 1e-12);
            for (row, x) in found.covariance.iter().zip(vector) {
                let product: f64 = row.iter().zip(vector).map(|(a, x)| a * x).sum();
                assert!((product - value * x).abs() < 1e-9 * found.eigenvalues[0]);
            }
        }
    }
}
