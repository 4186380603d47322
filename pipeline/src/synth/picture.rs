//! One random picture: an object of a given kind somewhere on a random background.

use super::draw::{Shape, Texture};
use crate::random::Draws;

/// Pairs of a shape and a texture.
pub const CLASSES_MAX: usize = Shape::ALL.len() * Texture::ALL.len();

/// What tells a class: its shape with its texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) shape: Shape,
    pub(super) texture: Texture,
}

impl Kind {
    /// Walks the diagonals of the table of shapes by textures, so that a few classes differ in
    /// both, and neither alone tells ten classes apart.
    pub(super) const fn of_class(class: usize) -> Self {
        let row = class / Shape::ALL.len();
        let column = class % Shape::ALL.len();
        let texture = Texture::ALL[(column + row) % Texture::ALL.len()];
        Self { shape: Shape::ALL[column], texture }
    }
}

/// Width and height of ILSVRC's pictures, roughly as often as there (of 16): 500 x 375 and its
/// portrait twin are the most frequent by far.
const SIZES: [(usize, usize); 16] = [
    (500, 375),
    (500, 375),
    (500, 375),
    (500, 375),
    (500, 375),
    (500, 375),
    (375, 500),
    (375, 500),
    (375, 500),
    (500, 333),
    (500, 333),
    (333, 500),
    (500, 400),
    (400, 300),
    (640, 480),
    (500, 500),
];

/// Points of the background's smooth noise along each side.
const LATTICE: usize = 7;

type Colour = [f32; 3];

/// Everything about a picture but its grain.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// The JPEG quality, 75 to 95.
    pub(super) quality: u8,
    kind: Kind,
    /// The object's centre, in pixels.
    centre: (f32, f32),
    /// Cosine and sine of the object's turn, over its radius: pixels to the shape's plane.
    turn: (f32, f32),
    colours: [Colour; 2],
    background: Background,
    /// Amplitude of the grain over everything, in grey levels.
    grain: f32,
}

/// A gradient between two colours, with smooth noise.
#[derive(Debug)]
struct Background {
    colours: [Colour; 2],
    /// Share of the second colour: `origin + x * step.0 + y * step.1`.
    origin: f32,
    step: (f32, f32),
    lattice: [[f32; LATTICE]; LATTICE],
}

impl Picture {
    /// Draws all of a picture's parameters.
    pub(super) fn random(kind: Kind, shorter_side: Option<usize>, draws: &mut Draws) -> Self {
        let (width, height) = size(shorter_side, draws);
        let shorter = width.min(height) as f32;
        let radius = shorter * uniform(draws, 0.28, 0.44);
        // The object stays whole within the picture's centre square, which resizing keeps.
        let free = shorter / 2.0 - radius;
        let centre = (
            width as f32 / 2.0 + free * uniform(draws, -1.0, 1.0),
            height as f32 / 2.0 + free * uniform(draws, -1.0, 1.0),
        );
        // Up to 35 degrees either way: a square stays a square, a cross stays upright.
        let angle = uniform(draws, -0.6, 0.6);
        let turn = (angle.cos() / radius, angle.sin() / radius);
        let background = Background::random(width, height, draws);
        // The object must show, whatever its colour: its brightness keeps away from the
        // background's, and its second colour's from its own.
        let behind = background.brightness();
        let first = colour_away_from(&[behind], draws);
        let second = colour_away_from(&[brightness(first)], draws);
        Self {
            width,
            height,
            quality: 75 + draws.below(21) as u8,
            kind,
            centre,
            turn,
            colours: [first, second],
            background,
            grain: uniform(draws, 2.0, 24.0),
        }
    }

    /// Draws the picture, [height, width, 3], into `rgb`.
    pub(super) fn draw(&self, draws: &mut Draws, rgb: &mut Vec<u8>) {
        rgb.clear();
        rgb.reserve(self.width * self.height * 3);
        // Blots of the noise texture, in a grid over the object's plane.
        let blots: [u32; 32] = std::array::from_fn(|_| draws.next_u32());
        let mut grain = Grain { word: 0, left: 0 };
        for y in 0..self.height {
            let row = self.background.row(y, self.height);
            for x in 0..self.width {
                let colour = self.at(x, y, &row, &blots);
                let grain = self.grain * grain.next(draws);
                rgb.extend(colour.map(|level| (level + grain) as u8)); // saturates
            }
        }
    }

    /// The colour of a pixel, before the grain.
    fn at(&self, x: usize, y: usize, row: &[f32; LATTICE], blots: &[u32; 32]) -> Colour {
        let (dx, dy) = (x as f32 - self.centre.0, y as f32 - self.centre.1);
        let (cos, sin) = self.turn;
        let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
        // Nearly half of the pixels are out of the object's reach.
        if u.abs().max(v.abs()) < 1.0 && self.kind.shape.holds(u, v) {
            let (column, line) = (((u + 1.0) * 7.0) as usize, ((v + 1.0) * 7.0) as usize);
            let blot = blots[line % 32] >> (column % 32) & 1 == 1;
            self.colours[usize::from(self.kind.texture.second(u, v, blot))]
        } else {
            self.background.at(x, y, self.width, row)
        }
    }
}

impl Background {
    fn random(width: usize, height: usize, draws: &mut Draws) -> Self {
        // Two colours of similar brightness, so that the object can keep away from both.
        let first: Colour = std::array::from_fn(|_| uniform(draws, 20.0, 235.0));
        let shift = uniform(draws, -25.0, 25.0);
        let second = first.map(|level| level + shift + uniform(draws, -35.0, 35.0));
        let angle = uniform(draws, 0.0, std::f32::consts::TAU);
        let step = (0.7 * angle.cos() / width as f32, 0.7 * angle.sin() / height as f32);
        let origin = 0.5 - step.0 * width as f32 / 2.0 - step.1 * height as f32 / 2.0;
        let amplitude = uniform(draws, 0.0, 40.0);
        let lattice = std::array::from_fn(|_| {
            std::array::from_fn(|_| amplitude * uniform(draws, -1.0, 1.0))
        });
        Self { colours: [first, second], origin, step, lattice }
    }

    fn brightness(&self) -> f32 {
        f32::midpoint(brightness(self.colours[0]), brightness(self.colours[1]))
    }

    /// The lattice at line `y`.
    fn row(&self, y: usize, height: usize) -> [f32; LATTICE] {
        let at = y as f32 / height as f32 * (LATTICE - 1) as f32;
        let (line, part) = (at as usize, at.fract());
        std::array::from_fn(|i| mix(self.lattice[line][i], self.lattice[line + 1][i], part))
    }

    /// The colour of a pixel, `row` being its line's [`row`](Self::row).
    fn at(&self, x: usize, y: usize, width: usize, row: &[f32; LATTICE]) -> Colour {
        let share = self.origin + x as f32 * self.step.0 + y as f32 * self.step.1;
        let at = x as f32 / width as f32 * (LATTICE - 1) as f32;
        let noise = mix(row[at as usize], row[at as usize + 1], at.fract());
        std::array::from_fn(|i| mix(self.colours[0][i], self.colours[1][i], share) + noise)
    }
}

/// Random levels, a byte at a time: four pixels per draw.
struct Grain {
    word: u32,
    left: u32,
}

impl Grain {
    /// The next level, -1 to 1.
    fn next(&mut self, draws: &mut Draws) -> f32 {
        if self.left == 0 {
            self.word = draws.next_u32();
            self.left = 4;
        }
        let byte = self.word & 0xff;
        self.word >>= 8;
        self.left -= 1;
        byte as f32 / 127.5 - 1.0
    }
}

/// A size of ILSVRC's, scaled to `shorter_side` if one is given.
fn size(shorter_side: Option<usize>, draws: &mut Draws) -> (usize, usize) {
    let (width, height) = SIZES[draws.below(SIZES.len() as u32) as usize];
    let shorter = width.min(height);
    let to = shorter_side.unwrap_or(shorter);
    (width * to / shorter, height * to / shorter)
}

fn uniform(draws: &mut Draws, from: f32, to: f32) -> f32 {
    from + (to - from) * draws.unit() as f32
}

fn mix(a: f32, b: f32, share: f32) -> f32 {
    a + (b - a) * share
}

/// Luma as JPEG has it, 0 to 255.
fn brightness([red, green, blue]: Colour) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// A random colour whose brightness is at least 60 levels off each of `levels`. Colours are
/// tried until one fits; a black or a white one always does in the end.
fn colour_away_from(levels: &[f32], draws: &mut Draws) -> Colour {
    const DISTANCE: f32 = 60.0;
    const TRIES: usize = 32;
    for _ in 0..TRIES {
        let colour: Colour = std::array::from_fn(|_| uniform(draws, 0.0, 255.0));
        if levels.iter().all(|level| (brightness(colour) - level).abs() >= DISTANCE) {
            return colour;
        }
    }
    if levels.iter().all(|&level| level > 127.5) { [0.0; 3] } else { [255.0; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_kind_of_its_own() {
        let kinds: Vec<_> = (0..CLASSES_MAX).map(Kind::of_class).collect();
        assert_eq!(CLASSES_MAX, 48);
        for (i, kind) in kinds.iter().enumerate() {
            assert!(!kinds[..i].contains(kind), "class {i} repeats {kind:?}");
        }
    }

    #[test]
    fn sizes_keep_their_aspect_when_scaled() {
        for index in 0..50 {
            let (width, height) = size(Some(96), &mut Draws::new(1, 0, 0, index));
            assert_eq!(width.min(height), 96);
            assert!(width.max(height) <= 144);
        }
    }

    #[test]
    fn colour_tells_nothing_of_the_class() {
        // The mean colour of many pictures is the same for two classes, to its own spread.
        let mean = |class: usize| -> f64 {
            let mut rgb = Vec::new();
            let sum: f64 = (0..300)
                .map(|index| {
                    let mut draws = Draws::new(5, 0, class as u64, index);
                    let picture = Picture::random(Kind::of_class(class), Some(24), &mut draws);
                    picture.draw(&mut draws, &mut rgb);
                    rgb.iter().map(|&b| f64::from(b)).sum::<f64>() / rgb.len() as f64
                })
                .sum();
            sum / 300.0
        };
        let (a, b) = (mean(0), mean(9));
        assert!((a - b).abs() < 10.0, "{a} and {b}");
    }
}
