//! On the CPU: images shared out, planes in their order, so that each is read from memory once.

use super::Finish;
use crate::{
    cpu::{
        LINE, Pool, Scratch,
        vector::{Kernel, Simd},
    },
    device::Activation,
    ops::{
        activation::cpu as activation,
        lrn::{
            Lrn,
            cpu::{self as lrn, Image, Input},
        },
        pool::cpu::{self as pool, PAD},
    },
};

pub(crate) fn forward(
    workers: &Pool, scratch: &mut Scratch, op: &Finish, n: usize, y: &mut [f32],
    out: Option<&mut [f32]>,
) {
    op.check();
    // ReLU costs nothing where `y` is read next.
    if op.in_place() || op.activation == Activation::Tanh {
        activation::forward(workers, op.activation, n * op.y_len(), y);
    }
    let Some(out) = out.filter(|_| !op.in_place()) else {
        return;
    };
    let (share, room_len) = (workers.share(n), Rooms::len(op));
    let rooms = scratch.take(workers.threads() * room_len);
    let out = (&mut out[..n * op.out_len()], share * op.out_len());
    workers.zip_chunks(out, (rooms, room_len), |part, out, room| {
        let y = &y[part * share * op.y_len()..];
        workers.level().run(Forward { op, y, out, room });
    });
}

pub(crate) fn backward(
    workers: &Pool, scratch: &mut Scratch, op: &Finish, n: usize, d: &[f32], y: &mut [f32],
    db: &mut [f32],
) {
    op.check();
    let (share, room_len) = (workers.share(n), Rooms::len(op));
    let parts = n.div_ceil(share);
    let rooms = &mut scratch.take(workers.threads() * room_len)[..parts * room_len];
    let y = (&mut y[..n * op.y_len()], share * op.y_len());
    workers.zip_chunks(y, (&mut *rooms, room_len), |part, y, room| {
        let d = &d[part * share * op.out_len()..];
        workers.level().run(Backward { op, d, y, room });
    });
    let (first, others) = rooms.split_at(room_len);
    db[..op.channels].copy_from_slice(&first[..op.channels]);
    for sums in others.chunks_exact(room_len) {
        db[..op.channels].iter_mut().zip(sums).for_each(|(db, sum)| *db += sum);
    }
}

/// Floats of a plane that vectors may be read beyond.
fn plane_len(op: &Finish) -> usize {
    (op.area + PAD).next_multiple_of(LINE)
}

/// `to = max(floor, from)`.
#[inline(always)]
fn copy<S: Simd<L>, const L: usize>(s: S, floor: S::V, from: &[f32], to: &mut [f32]) {
    for at in (0..from.len()).step_by(L) {
        s.store_next(s.max(floor, s.load_next(&from[at..])), &mut to[at..from.len()]);
    }
}

struct Forward<'a> {
    op: &'a Finish,
    y: &'a [f32],
    out: &'a mut [f32],
    room: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { op, y, out, room } = self;
        let (floor, out_area) = (activation::floor(s, op.activation), op.out_area());
        let Rooms { normalised: room, lrn: memory, .. } = Rooms::new(op, room);
        let images = y.chunks_exact(op.y_len()).zip(out.chunks_exact_mut(op.out_len()));
        for (y, out) in images {
            let input = Input { x: y, floor };
            let mut image = op.lrn.as_ref().map(|lrn| Image::new(lrn, memory));
            for (c, out) in out.chunks_exact_mut(out_area).enumerate() {
                let plane = &y[c * op.area..][..op.area];
                match (&mut image, &op.pool) {
                    (Some(image), None) => image.forward::<S, L, false>(s, input, c, out),
                    (Some(image), Some(pool)) => {
                        image.forward::<S, L, false>(s, input, c, room);
                        pool::forward(s, pool, room, out);
                    }
                    (None, Some(pool)) => {
                        copy(s, floor, plane, room);
                        pool::forward(s, pool, room, out);
                    }
                    (None, None) => copy(s, floor, plane, out),
                }
            }
        }
    }
}

/// How the scratch memory of a worker is divided on the way back.
struct Rooms<'a> {
    /// Sums of each channel's gradients.
    db: &'a mut [f32],
    /// What was pooled.
    normalised: &'a mut [f32],
    /// The gradient of that.
    gradient: &'a mut [f32],
    /// Of the pooling.
    pool: &'a mut [f32],
    /// Of the LRN.
    lrn: &'a mut [f32],
}

impl<'a> Rooms<'a> {
    fn lens(op: &Finish) -> [usize; 5] {
        let plane = if op.in_place() { 0 } else { plane_len(op) };
        let pool = op.pool.map_or(0, |pool| pool::room_len(&pool));
        let lrn = op.lrn.map_or(0, |lrn| Image::len(&lrn));
        [op.channels, plane, plane, pool, lrn].map(|len| len.next_multiple_of(LINE))
    }

    fn len(op: &Finish) -> usize {
        Self::lens(op).iter().sum()
    }

    fn new(op: &Finish, room: &'a mut [f32]) -> Self {
        let mut rest = room;
        let [db, normalised, gradient, pool, lrn] = Self::lens(op).map(|len| {
            let (part, left) = std::mem::take(&mut rest).split_at_mut(len);
            rest = left;
            part
        });
        db.fill(0.0);
        Self { db, normalised, gradient, pool, lrn }
    }
}

struct Backward<'a> {
    op: &'a Finish,
    d: &'a [f32],
    y: &'a mut [f32],
    room: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { op, d, y, room } = self;
        let mut rooms = Rooms::new(op, room);
        let images = y.chunks_exact_mut(op.y_len()).zip(d.chunks_exact(op.out_len()));
        for (y, d) in images {
            if op.in_place() && op.area == 1 {
                units(s, op, d, y, rooms.db);
            } else if let Some(lrn) = &op.lrn {
                normalised_image(s, op, lrn, d, y, &mut rooms);
            } else {
                image(s, op, d, y, &mut rooms);
            }
        }
    }
}

/// One image of a linear layer.
#[inline(always)]
fn units<S: Simd<L>, const L: usize>(
    s: S, op: &Finish, d: &[f32], y: &mut [f32], db: &mut [f32],
) {
    for at in (0..op.channels).step_by(L) {
        let (y, db) = (&mut y[at..], &mut db[at..op.channels]);
        let dy = activation::backward(s, op.activation, s.load_next(y), s.load_next(&d[at..]));
        s.store_next(dy, y);
        s.store_next(s.add(s.load_next(db), dy), db);
    }
}

/// One channel: `y` becomes `d f'(y)`, whose sum is returned.
#[inline(always)]
fn channel<S: Simd<L>, const L: usize>(s: S, op: &Finish, d: &[f32], y: &mut [f32]) -> f32 {
    let mut sum = s.zero();
    let (ds, d) = d[..y.len()].as_chunks::<L>();
    let (ys, y) = y.as_chunks_mut::<L>();
    for (d, y) in ds.iter().zip(ys) {
        let dy = activation::backward(s, op.activation, s.load(y), s.load(d));
        s.store(dy, y);
        sum = s.add(sum, dy);
    }
    let dy = activation::backward(s, op.activation, s.load_part(y), s.load_part(d));
    s.store_part(dy, y);
    s.sum(s.add(sum, dy))
}

/// One image without LRN.
#[inline(always)]
fn image<S: Simd<L>, const L: usize>(
    s: S, op: &Finish, d: &[f32], y: &mut [f32], rooms: &mut Rooms<'_>,
) {
    let (floor, d_area) = (activation::floor(s, op.activation), op.out_area());
    for (c, y) in y.chunks_exact_mut(op.area).enumerate() {
        let d = &d[c * d_area..][..d_area];
        rooms.db[c] += if let Some(pool) = &op.pool {
            copy(s, floor, y, rooms.normalised);
            pool::backward(s, pool, rooms.normalised, d, rooms.pool, rooms.gradient);
            channel(s, op, rooms.gradient, y)
        } else {
            channel(s, op, d, y)
        };
    }
}

/// One image with LRN: the gradient of a channel waits for those of its window.
#[inline(always)]
fn normalised_image<S: Simd<L>, const L: usize>(
    s: S, op: &Finish, lrn: &Lrn, d: &[f32], y: &mut [f32], rooms: &mut Rooms<'_>,
) {
    let (floor, d_area) = (activation::floor(s, op.activation), op.out_area());
    let mut image = Image::new(lrn, &mut *rooms.lrn);
    let mut done = 0;
    for c in 0..op.channels {
        let (input, d) = (Input { x: y, floor }, &d[c * d_area..][..d_area]);
        image.forward::<S, L, true>(s, input, c, rooms.normalised);
        if let Some(pool) = &op.pool {
            pool::backward(s, pool, rooms.normalised, d, rooms.pool, rooms.gradient);
            image.gradient(s, input, c, rooms.gradient);
        } else {
            image.gradient(s, input, c, d);
        }
        // The planes that a later channel still reads lie after this one's window.
        while done < op.channels && lrn::window(lrn, done).end <= c + 1 {
            image.backward(s, Input { x: y, floor }, done, rooms.gradient);
            let y = &mut y[done * op.area..][..op.area];
            rooms.db[done] += channel(s, op, rooms.gradient, y);
            done += 1;
        }
    }
}
