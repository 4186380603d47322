//! Tasks as the matrix unit has them: shapes and places, which assembly reads by their offsets.

use super::{Amx, SIDE};
use std::{arch::asm, mem::offset_of};

/// Where the factors of a step lie, in bytes from the first.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Step {
    pub(super) a: usize,
    pub(super) b: usize,
}

/// The tile registers' shapes: 0 to 3 are sums, by rows, 4 and 5 rows of `a`, 6 and 7 columns of `b`.
#[repr(C, align(64))]
pub(super) struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shape {
    /// Tiles of `heights` rows, and `pairs` in a step.
    pub(super) fn new([upper, lower]: [usize; 2], pairs: usize) -> Self {
        let mut shape = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let tiles = [
            (upper, SIDE),
            (upper, SIDE),
            (lower, SIDE),
            (lower, SIDE),
            (upper, pairs),
            (lower, pairs),
            (pairs, SIDE),
            (pairs, SIDE),
        ];
        for (i, (rows, columns)) in tiles.into_iter().enumerate() {
            (shape.rows[i], shape.row_bytes[i]) = (rows as u8, 4 * columns as u16);
        }
        shape
    }
}

/// Where a task's two tiles of rows begin.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Rows {
    pub(super) a: [*const u16; 2],
    pub(super) c: [*mut f32; 2],
}

/// Tasks of one shape over some steps: the first of each and the end; lengths in bytes.
#[repr(C)]
pub(super) struct Tasks {
    pub(super) shape: Shape,
    pub(super) rows: [*const Rows; 2],
    pub(super) steps: [*const Step; 2],
    pub(super) a_row: usize,
    pub(super) b: *const f32,
    pub(super) b_row: usize,
    pub(super) c_row: usize,
    /// To what is in `c`, if not 0.
    pub(super) add: u8,
    /// What is fetched meanwhile, if it begins before it ends: two lines of each a step, the last perhaps behind the end.
    pub(super) next: [*const f32; 2],
    /// See `next`.
    pub(super) next_ends: [*const f32; 2],
}

/// `$tasks`, with these instructions for the second column of tiles.
macro_rules! run {
    ($tasks:expr, $next:ident, $load:literal, $multiply:literal, $store:literal) => {
        asm!(
            "ldtilecfg [{tasks}]",
            "mov {a_row}, [{tasks} + {a_row_at}]",
            "mov {b_row}, [{tasks} + {b_row_at}]",
            "mov {c_row}, [{tasks} + {c_row_at}]",
            "mov {rows}, [{tasks} + {rows_at}]",
            "2:",
            "mov {upper}, [{rows} + 16]",
            "mov {lower}, [{rows} + 24]",
            "cmp byte ptr [{tasks} + {add_at}], 0",
            "jne 3f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 4f",
            "3:",
            "tileloadd tmm0, [{upper} + {c_row}]",
            "tileloadd tmm2, [{lower} + {c_row}]",
            $load,
            "4:",
            "mov {step}, [{tasks} + {steps_at}]",
            "5:",
            "mov {upper}, [{step}]",
            "mov {lower}, {upper}",
            "mov {b}, [{step} + 8]",
            "add {upper}, [{rows}]",
            "add {lower}, [{rows} + 8]",
            "add {b}, [{tasks} + {b_at}]",
            "tileloadd tmm6, [{b} + {b_row}]",
            "tileloadd tmm4, [{upper} + {a_row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {a_row}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            $multiply,
            "cmp {next}, [{tasks} + {ends_at}]",
            "jae 6f",
            "prefetcht1 [{next}]",
            "prefetcht1 [{next} + 64]",
            "add {next}, 128",
            "6:",
            "cmp {other}, [{tasks} + {ends_at} + 8]",
            "jae 7f",
            "prefetcht1 [{other}]",
            "prefetcht1 [{other} + 64]",
            "add {other}, 128",
            "7:",
            "add {step}, 16",
            "cmp {step}, [{tasks} + {steps_at} + 8]",
            "jne 5b",
            "mov {upper}, [{rows} + 16]",
            "mov {lower}, [{rows} + 24]",
            "tilestored [{upper} + {c_row}], tmm0",
            "tilestored [{lower} + {c_row}], tmm2",
            $store,
            "add {rows}, 32",
            "cmp {rows}, [{tasks} + {rows_at} + 8]",
            "jne 2b",
            tasks = in(reg) $tasks,
            rows = out(reg) _,
            step = out(reg) _,
            upper = out(reg) _,
            lower = out(reg) _,
            b = out(reg) _,
            a_row = out(reg) _,
            b_row = out(reg) _,
            c_row = out(reg) _,
            next = inout(reg) $next[0],
            other = inout(reg) $next[1],
            ends_at = const offset_of!(Tasks, next_ends),
            rows_at = const offset_of!(Tasks, rows),
            steps_at = const offset_of!(Tasks, steps),
            a_row_at = const offset_of!(Tasks, a_row),
            b_at = const offset_of!(Tasks, b),
            b_row_at = const offset_of!(Tasks, b_row),
            c_row_at = const offset_of!(Tasks, c_row),
            add_at = const offset_of!(Tasks, add),
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        )
    };
}

impl Tasks {
    /// Returns up to where `next` was fetched.
    ///
    /// # Safety
    /// All that the tasks name lies within memory that is this call's, but for `next`: fetching reads nothing, and cannot
    /// fail.
    pub(super) unsafe fn two_columns(&self, _: Amx) -> [*const f32; 2] {
        let mut next = self.next;
        // SAFETY: there is an `Amx`, and the caller's promise.
        unsafe {
            run!(
                &raw const *self,
                next,
                "tileloadd tmm1, [{upper} + {c_row} + 64]
                 tileloadd tmm3, [{lower} + {c_row} + 64]",
                "tileloadd tmm7, [{b} + {b_row} + 64]
                 tdpbf16ps tmm1, tmm4, tmm7
                 tdpbf16ps tmm3, tmm5, tmm7",
                "tilestored [{upper} + {c_row} + 64], tmm1
                 tilestored [{lower} + {c_row} + 64], tmm3"
            );
        }
        next
    }

    /// # Safety
    /// As [`Tasks::two_columns`].
    pub(super) unsafe fn one_column(&self, _: Amx) -> [*const f32; 2] {
        let mut next = self.next;
        // SAFETY: as there.
        unsafe { run!(&raw const *self, next, "", "", "") }
        next
    }
}

/// Multiplies what is in tiles of `shape`, `rounds` times into each tile of sums.
pub(super) fn multiply_add(_: Amx, shape: &Shape, rounds: usize) {
    // SAFETY: there is an `Amx`; nothing but tile registers is written.
    unsafe {
        asm!(
            "ldtilecfg [{shape}]",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            shape = in(reg) &raw const *shape,
            rounds = inout(reg) rounds => _,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}

/// Gives the tiles back, lest they are saved whenever another thread's turn comes.
pub(super) fn release(_: Amx) {
    // SAFETY: there is an `Amx`.
    unsafe { asm!("tilerelease", options(nomem, nostack)) }
}
