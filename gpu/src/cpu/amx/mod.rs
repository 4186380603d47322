//! AMX: a core's matrix unit, which adds the product of 16 rows of 32 bf16s and 16 columns to a tile of sums at once.
//!
//! A product is cut into tasks of two tiles of rows by one or two of columns, each over all its terms. Tasks of one shape
//! are one block of assembly, which has all eight tile registers from its first instruction to its last: stable Rust has no
//! type for what they hold.

mod tasks;

use super::pairs::{Product, Repeat};
use std::{arch::x86_64::__cpuid_count, sync::LazyLock};
use tasks::{Rows, Shape, Step, Tasks};

/// Rows of a tile, and columns of a tile of sums.
const SIDE: usize = 16;
/// Pairs of bf16s in a tile's row.
const PAIRS: usize = 16;
/// Steps that a task takes at most while its sums are in tiles.
const STEPS: usize = if cfg!(test) { 4 } else { 256 };
/// Tasks of one shape at once.
const TASKS: usize = if cfg!(test) { 2 } else { 32 };

/// The proof that this process may use the matrix unit for bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amx(());

impl Amx {
    /// If the CPU has the unit and the operating system grants it to this process, which is asked once. What refuses, an old
    /// Linux or a sandbox, leaves the CPU without.
    pub(super) fn of_this_process() -> Option<Self> {
        static FOUND: LazyLock<bool> = LazyLock::new(|| is_there() && is_granted());
        FOUND.then_some(Self(()))
    }

    /// # Safety
    /// [`Amx::of_this_process`] has returned one.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }

    /// Computes `product`.
    ///
    /// # Safety
    /// It [`fits`], and all its rows, steps and vectors lie within its slices.
    pub(super) unsafe fn run(self, product: &mut Product<'_>) {
        let (pairs, vectors) = (product.pairs.count, product.vectors);
        let [outer, inner] = product.runs;
        for part in parts(pairs) {
            let mut add = product.add || part.first > 0;
            let mut steps = [Step::default(); STEPS];
            let mut filled = 0;
            for run in 0..outer.count * inner.count {
                let a = run / inner.count * outer.stride + run % inner.count * inner.stride;
                for i in 0..part.count {
                    let at = part.first + i * part.pairs;
                    steps[filled] = Step {
                        a: (a + 2 * at) * size_of::<u16>(),
                        b: (run * pairs + at) * vectors * SIDE * size_of::<f32>(),
                    };
                    filled += 1;
                    if filled == STEPS {
                        // SAFETY: the caller's promise; these are steps of the product.
                        unsafe { tasks(self, product, &steps, part.pairs, add) };
                        (add, filled) = (true, 0);
                    }
                }
            }
            if filled > 0 {
                // SAFETY: as above.
                unsafe { tasks(self, product, &steps[..filled], part.pairs, add) };
            }
        }
        tasks::release(self);
    }

    /// Multiplies what is in tiles, for `rounds` times a tile of sums each; returns the operations, a multiply-add
    /// being two.
    pub(super) fn multiply_add(self, rounds: usize) -> usize {
        let shape = Shape::new([SIDE; 2], PAIRS);
        tasks::multiply_add(self, &shape, rounds);
        tasks::release(self);
        rounds * 4 * SIDE * SIDE * 2 * PAIRS * 2
    }
}

/// Whether tiles can be read where `product`'s factors lie: pairs as neighbours, and vectors, one or two.
pub(super) fn fits(product: &Product<'_>) -> bool {
    product.pairs.stride == 2 && product.vectors <= 2 && product.c_at.col == SIDE
}

/// Whether the CPU has tiles and multiplies bf16 in them.
#[expect(unused_unsafe, reason = "Rust 1.89 has `__cpuid_count` unsafe, and later ones safe")]
fn is_there() -> bool {
    const EXTENDED: u32 = 7;
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    // SAFETY: every x86-64 has the instruction.
    let of = |leaf| unsafe { __cpuid_count(leaf, 0) };
    of(0).eax >= EXTENDED && of(EXTENDED).edx & (BF16 | TILES) == BF16 | TILES
}

/// Whether Linux lets this process have the 8 KiB of tiles among its registers.
fn is_granted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: the call changes nothing but what this process's threads may use.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Steps of as many pairs each, of every run.
#[derive(Debug, PartialEq)]
struct Part {
    /// The first pair.
    first: usize,
    /// Pairs of a step.
    pairs: usize,
    /// Steps.
    count: usize,
}

/// Cuts a run of `pairs` into steps: of equal length if there are as few of them, or whole ones and a last one.
fn parts(pairs: usize) -> impl Iterator<Item = Part> {
    let count = pairs.div_ceil(PAIRS);
    let even = pairs.is_multiple_of(count);
    let whole = if even { pairs / count } else { PAIRS };
    let (count, rest) = (pairs / whole, pairs % whole);
    let last = (rest > 0).then_some(Part { first: count * whole, pairs: rest, count: 1 });
    [Part { first: 0, pairs: whole, count }].into_iter().chain(last)
}

/// Neighbouring rows of a product, a tile of them.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    /// The first, counted over all.
    first: usize,
    /// bf16s to it in `a`.
    a: usize,
    count: usize,
}

/// All rows, in tiles of nearly equal height.
fn segments([outer, inner]: [Repeat; 2]) -> impl Iterator<Item = Segment> {
    let tiles = inner.count.div_ceil(SIDE);
    let (least, taller) = (inner.count / tiles, inner.count % tiles);
    (0..outer.count * tiles).map(move |i| {
        let (row, tile) = (i / tiles, i % tiles);
        let at = tile * least + tile.min(taller);
        Segment {
            first: row * inner.count + at,
            a: row * outer.stride + at * inner.stride,
            count: least + usize::from(tile < taller),
        }
    })
}

/// The two halves of a segment; of one row, that and nothing.
fn halves(segment: Segment, stride: usize) -> [Segment; 2] {
    let count = segment.count.div_ceil(2);
    let rest = Segment {
        first: segment.first + count,
        a: segment.a + count * stride,
        count: segment.count - count,
    };
    [Segment { count, ..segment }, rest]
}

/// Tasks of the same heights that wait until there are many.
#[derive(Clone, Copy, Default)]
struct Batch {
    heights: [usize; 2],
    rows: [[Segment; 2]; TASKS],
    filled: usize,
}

/// # Safety
/// As [`Amx::run`]; `steps` are some of the product's.
unsafe fn tasks(amx: Amx, product: &mut Product<'_>, steps: &[Step], pairs: usize, add: bool) {
    let row = product.rows[1].stride;
    let mut all = segments(product.rows);
    // Tiles are of two heights, which mostly come in the same two ways by turns.
    let mut batches = [Batch::default(); 2];
    let mut multiply = |batch: &mut Batch| {
        if batch.filled > 0 {
            // SAFETY: the caller's promise; these are some of its rows.
            unsafe { alike(amx, product, &batch.rows[..batch.filled], steps, pairs, add) };
            batch.filled = 0;
        }
    };
    while let Some(segment) = all.next() {
        let two = all.next().map_or_else(|| halves(segment, row), |next| [segment, next]);
        let heights = two.map(|segment| segment.count);
        let find = |fits: &dyn Fn(&Batch) -> bool| batches.iter().position(fits);
        let alike = find(&|batch| batch.heights == heights);
        let at = alike.or_else(|| find(&|batch| batch.filled == 0)).unwrap_or_else(|| {
            batches.swap(0, 1);
            multiply(&mut batches[1]);
            1
        });
        let batch = &mut batches[at];
        batch.heights = heights;
        batch.rows[batch.filled] = two;
        batch.filled += 1;
        if batch.filled == TASKS {
            multiply(batch);
        }
    }
    batches.iter_mut().for_each(multiply);
}

/// Tasks of the same heights.
///
/// # Safety
/// As [`tasks()`]; `rows` are one or more, and some of the product's.
unsafe fn alike(
    amx: Amx, product: &mut Product<'_>, rows: &[[Segment; 2]], steps: &[Step], pairs: usize,
    add: bool,
) {
    let (a, c, c_row) = (product.a.as_ptr(), product.c.as_mut_ptr(), product.c_at.row);
    // A row alone is multiplied twice, once for nothing.
    let mut nothing = [0.0_f32; 2 * SIDE];
    let mut places = [Rows { a: [a; 2], c: [c; 2] }; TASKS];
    for (to, [upper, lower]) in places.iter_mut().zip(rows) {
        to.a = [upper.a, lower.a].map(|at| a.wrapping_add(at));
        to.c = [upper.first, lower.first].map(|first| c.wrapping_add(first * c_row));
        if lower.count == 0 {
            (to.a[1], to.c[1]) = (to.a[0], nothing.as_mut_ptr());
        }
    }
    let places = places[..rows.len()].as_ptr_range();
    let [upper, lower] = rows[0].map(|segment| segment.count);
    let steps = steps.as_ptr_range();
    let tasks = Tasks {
        shape: Shape::new([upper, lower.max(1)], pairs),
        rows: [places.start, places.end],
        steps: [steps.start, steps.end],
        a_row: product.rows[1].stride * size_of::<u16>(),
        b: product.b.as_ptr(),
        b_row: product.vectors * SIDE * size_of::<f32>(),
        c_row: c_row * size_of::<f32>(),
        add: u8::from(add),
        next: product.next.map(<[f32]>::as_ptr),
        next_ends: product.next.map(|next| next.as_ptr_range().end),
    };
    // SAFETY: the caller's promise: the steps of these rows lie within `a`, their pairs within `b`, and the vectors of the
    // rows within `c`, or `nothing`, whose row is one. What is next is fetched only.
    let fetched = unsafe {
        if product.vectors == 1 { tasks.one_column(amx) } else { tasks.two_columns(amx) }
    };
    for (next, fetched) in product.next.iter_mut().zip(fetched) {
        let floats = (fetched.addr() - next.as_ptr().addr()) / size_of::<f32>();
        *next = next.get(floats..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_cut_evenly_where_that_takes_no_more_steps() {
        let cut = |pairs| {
            parts(pairs).map(|part| (part.first, part.pairs, part.count)).collect::<Vec<_>>()
        };
        assert_eq!(cut(1), [(0, 1, 1)]);
        assert_eq!(cut(16), [(0, 16, 1)]);
        assert_eq!(cut(24), [(0, 12, 2)]);
        assert_eq!(cut(96), [(0, 16, 6)]);
        assert_eq!(cut(23), [(0, 16, 1), (16, 7, 1)]);
        assert_eq!(cut(103), [(0, 16, 6), (96, 7, 1)]);
    }

    #[test]
    fn every_row_is_in_one_tile() {
        let repeat = |count, stride| Repeat { count, stride };
        for (outer, inner) in [(1, 1), (1, 16), (3, 13), (2, 55), (4, 33)] {
            let rows = [repeat(outer, 1000), repeat(inner, 7)];
            let mut next = 0;
            for segment in segments(rows) {
                assert!((1..=SIDE).contains(&segment.count));
                assert_eq!(segment.first, next);
                assert_eq!(segment.a, next / inner * 1000 + next % inner * 7);
                next += segment.count;
            }
            assert_eq!(next, outer * inner);
        }
        let [upper, lower] = halves(Segment { first: 3, a: 30, count: 5 }, 7);
        assert_eq!((upper.first, upper.a, upper.count), (3, 30, 3));
        assert_eq!((lower.first, lower.a, lower.count), (6, 51, 2));
    }
}
