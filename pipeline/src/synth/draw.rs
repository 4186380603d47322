//! What a shape and a texture look like: which points of the plane belong to them. Distances
//! are in units of the object's radius, with the origin at its centre.

/// The outline of a class's object; all lie within the unit disc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Moon,
    Bar,
}

impl Shape {
    pub(super) const ALL: [Self; 8] = [
        Self::Disc,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
        Self::Cross,
        Self::Moon,
        Self::Bar,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Ring => "ring",
            Self::Cross => "cross",
            Self::Moon => "moon",
            Self::Bar => "bar",
        }
    }

    /// Whether the point (`x`, `y`) lies inside.
    pub(super) fn holds(self, x: f32, y: f32) -> bool {
        let squared = x * x + y * y;
        match self {
            Self::Disc => squared < 0.85,
            Self::Square => x.abs().max(y.abs()) < 0.7,
            // Three half planes at distance 1/2 from the centre: corners on the unit circle.
            Self::Triangle => y < 0.5 && 0.866 * x.abs() - 0.5 * y < 0.5,
            Self::Star => squared < 1.0 && in_star(x, y),
            Self::Ring => (0.3..1.0).contains(&squared),
            Self::Cross => {
                let (near, far) = (x.abs().min(y.abs()), x.abs().max(y.abs()));
                near < 0.28 && far < 0.95
            }
            Self::Moon => squared < 1.0 && (x - 0.5).powi(2) + y * y > 0.6,
            Self::Bar => x.abs() < 0.95 && y.abs() < 0.3,
        }
    }
}

/// The five-pointed star: the union of a pentagram's five triangles is where at most one of its
/// five lines has the point on its outer side.
fn in_star(x: f32, y: f32) -> bool {
    // Unit normals at 90 + 72 k degrees.
    const NORMALS: [(f32, f32); 5] = [
        (0.0, 1.0),
        (-0.951_06, 0.309_02),
        (-0.587_79, -0.809_02),
        (0.587_79, -0.809_02),
        (0.951_06, 0.309_02),
    ];
    // The lines' distance from the centre: cos 72 degrees for points on the unit circle, a
    // little more for a star that is not all points.
    let outside = NORMALS.iter().filter(|(a, b)| a * x + b * y > 0.38).count();
    outside <= 1
}

/// The pattern of two colours inside the outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texture {
    Plain,
    Stripes,
    Checks,
    Dots,
    Rings,
    Noise,
}

impl Texture {
    pub(super) const ALL: [Self; 6] =
        [Self::Plain, Self::Stripes, Self::Checks, Self::Dots, Self::Rings, Self::Noise];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Stripes => "stripes",
            Self::Checks => "checks",
            Self::Dots => "dots",
            Self::Rings => "rings",
            Self::Noise => "noise",
        }
    }

    /// Whether the point (`x`, `y`) has the second colour; `noise` is a random bit of its own.
    pub(super) fn second(self, x: f32, y: f32, noise: bool) -> bool {
        // Periods in radii: at a radius of 20 pixels the finest is 5 pixels wide.
        match self {
            Self::Plain => false,
            Self::Stripes => (y * 2.5).rem_euclid(1.0) < 0.5,
            Self::Checks => ((x * 2.8).floor() + (y * 2.8).floor()).rem_euclid(2.0) < 1.0,
            Self::Dots => {
                let (x, y) = ((x * 2.2).rem_euclid(1.0) - 0.5, (y * 2.2).rem_euclid(1.0) - 0.5);
                x * x + y * y < 0.1
            }
            Self::Rings => (x.hypot(y) * 2.5).rem_euclid(1.0) < 0.5,
            Self::Noise => noise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of a 64 x 64 grid over the square around the unit disc, and whether `f` holds.
    fn grid(f: impl Fn(f32, f32) -> bool) -> Vec<bool> {
        let at = |i: usize| i as f32 / 32.0 - 1.0;
        (0..64 * 64).map(|i| f(at(i % 64), at(i / 64))).collect()
    }

    fn differing(a: &[bool], b: &[bool]) -> usize {
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn shapes_cover_a_good_part_of_their_disc_and_nothing_outside() {
        for shape in Shape::ALL {
            let points = grid(|x, y| shape.holds(x, y));
            let share = differing(&points, &[false; 64 * 64]) as f32 / (64.0 * 64.0);
            assert!((0.15..0.8).contains(&share), "{shape:?} covers {share}");
            assert!(grid(|x, y| shape.holds(x, y) && x.hypot(y) > 1.01).iter().all(|out| !out));
        }
    }

    #[test]
    fn shapes_differ_from_one_another() {
        let points = Shape::ALL.map(|shape| grid(|x, y| shape.holds(x, y)));
        for (i, a) in points.iter().enumerate() {
            for (j, b) in points.iter().enumerate().skip(i + 1) {
                let differing = differing(a, b);
                assert!(differing > 300, "{i} and {j} differ in {differing} of 4096 points");
            }
        }
    }

    #[test]
    fn textures_differ_from_one_another() {
        let points = Texture::ALL.map(|texture| grid(|x, y| texture.second(x, y, x > y)));
        for (i, a) in points.iter().enumerate() {
            for b in points.iter().skip(i + 1) {
                assert!(differing(a, b) > 700);
            }
        }
    }
}
