//! A stand-in for the part of `libcublas.so.12` that `gpu` calls: it holds every size and address to what they
//! must be, and computes the true result when its stream comes to it. Matrices lie by columns.

use crate::{
    api_device::api,
    context::{bound, current},
    kind::{Kind, cut_to_tf32},
    operands::{Operand, apart},
    settings::settings,
    status::{Status, tell},
    stream::Stream,
};
use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_int},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// `CUBLAS_STATUS_NOT_INITIALIZED`.
const NOT_INITIALIZED: Status = 1;
/// `CUBLAS_STATUS_INVALID_VALUE`.
const INVALID_VALUE: Status = 7;
/// `CUBLAS_STATUS_NOT_SUPPORTED`.
const NOT_SUPPORTED: Status = 15;
const IN_FLOAT: c_int = 68;
const IN_FLOAT_PEDANTIC: c_int = 69;
const IN_FLOAT_OF_TF32: c_int = 77;
const DEFAULT_MATH: c_int = 0;
const PEDANTIC_MATH: c_int = 2;
const WHOLE_SUMS_MATH: c_int = 16;
const GEMM_DEFAULT: c_int = -1;
/// Less would be too little on some GPUs.
const WORKSPACE_BYTES_MIN: usize = 32 << 20;

#[derive(Debug, Clone, Copy)]
struct Handle {
    device: usize,
    stream: Option<&'static Stream>,
    workspace: Option<Operand>,
    math: c_int,
}

/// By the numbers that are handed out in the place of addresses.
static HANDLES: Mutex<BTreeMap<usize, Handle>> = Mutex::new(BTreeMap::new());

fn handles() -> MutexGuard<'static, BTreeMap<usize, Handle>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wrong<T>(what: &str) -> Result<T, Status> {
    tell(&format!("cuBLAS: {what}"));
    Err(INVALID_VALUE)
}

fn set(number: usize, change: impl FnOnce(&mut Handle)) -> Result<(), Status> {
    match handles().get_mut(&number) {
        Some(handle) => {
            change(handle);
            Ok(())
        }
        None => wrong("no handle"),
    }
}

/// `CUDA_R_32F`, `CUDA_R_16F` and `CUDA_R_16BF`.
fn kind(number: c_int) -> Result<Kind, Status> {
    match number {
        0 => Ok(Kind::Float),
        2 => Ok(Kind::Half),
        14 => Ok(Kind::Bfloat),
        _ => wrong(&format!("numbers of type {number}")),
    }
}

/// What is multiplied, and how, as a call and its handle say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    factors: Kind,
    result: Kind,
    sums: c_int,
}

impl Numbers {
    /// Whether this is something that is meant, with the handle's arithmetic: floats as they are, or as tf32;
    /// halves as they are, summed as floats.
    const fn meant(self, math: c_int) -> bool {
        match (self.factors, self.result) {
            (Kind::Float, Kind::Float) => {
                matches!(
                    (self.sums, math),
                    (IN_FLOAT_PEDANTIC, PEDANTIC_MATH) | (IN_FLOAT_OF_TF32, DEFAULT_MATH)
                )
            }
            (Kind::Half, Kind::Half | Kind::Float)
            | (Kind::Bfloat, Kind::Bfloat | Kind::Float) => {
                matches!((self.sums, math), (IN_FLOAT, WHOLE_SUMS_MATH))
            }
            _ => false,
        }
    }
}

/// `c (+)= f(a) b`, where `f` turns `a` over or does not.
#[derive(Debug, Clone, Copy)]
struct Product {
    turned: bool,
    m: usize,
    n: usize,
    terms: usize,
    /// From column to column of each.
    pitches: [usize; 3],
}

impl Product {
    /// Numbers from the first to the last of each matrix.
    fn lens(&self) -> [usize; 3] {
        let [a, b, c] = self.pitches;
        let len = |rows: usize, columns: usize, pitch: usize| (columns - 1) * pitch + rows;
        let [rows, columns] =
            if self.turned { [self.terms, self.m] } else { [self.m, self.terms] };
        [len(rows, columns, a), len(self.terms, self.n, b), len(self.m, self.n, c)]
    }

    fn pitches_fit(&self) -> bool {
        let rows = if self.turned { self.terms } else { self.m };
        self.pitches[0] >= rows && self.pitches[1] >= self.terms && self.pitches[2] >= self.m
    }

    fn solve(&self, a: &[f32], b: &[f32], c: &Operand, factor: f64, beta: f32) {
        let [a_pitch, b_pitch, c_pitch] = self.pitches;
        for column in 0..self.n {
            let b = &b[column * b_pitch..][..self.terms];
            let mut sums = vec![0.0_f64; self.m];
            if self.turned {
                for (row, sum) in sums.iter_mut().enumerate() {
                    let a = &a[row * a_pitch..][..self.terms];
                    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    *sum = products.sum();
                }
            } else {
                for (term, b) in b.iter().enumerate() {
                    let a = &a[term * a_pitch..][..self.m];
                    for (sum, a) in sums.iter_mut().zip(a) {
                        *sum += f64::from(*a) * f64::from(*b);
                    }
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                c.change(column * c_pitch + row, |before| {
                    let before = if beta == 0.0 { 0.0 } else { f64::from(beta * before) };
                    factor * sum + before
                });
            }
        }
    }
}

fn multiply(
    number: usize, numbers: Numbers, product: Product, at: [usize; 3], [alpha, beta]: [f32; 2],
) -> Result<(), Status> {
    let handle = handles().get(&number).copied();
    let Some(Handle { device, stream: Some(stream), workspace: Some(workspace), math }) =
        handle
    else {
        return wrong(&format!("no stream or no workspace: {handle:?}"));
    };
    if bound().is_none_or(|context| context.device != device) || !numbers.meant(math) {
        return wrong(&format!("another GPU's context is bound, or {numbers:?} by {math}"));
    }
    if !product.pitches_fit() || alpha != 1.0 || (beta != 0.0 && beta != 1.0) {
        return wrong(&format!("{product:?}, factors {alpha} and {beta}"));
    }
    let [a, b, c] = product.lens();
    let operands = [
        Operand::of(numbers.factors, at[0], a),
        Operand::of(numbers.factors, at[1], b),
        Operand::of(numbers.result, at[2], c),
        workspace,
    ];
    if let Err(why) = apart(stream.context, &operands, numbers.factors.bytes()) {
        return wrong(&why);
    }
    let fault = settings().fault("gemm");
    if fault == Some("refuse") {
        return Err(NOT_SUPPORTED);
    }
    let [a, b, c, room] = operands;
    stream.push(Arc::new(move || {
        room.spoil();
        let factor = if fault == Some("wrong") { 1.01 } else { 1.0 };
        let [a, b] = [a, b].map(|operand| {
            let read = operand.read();
            let cut = numbers.sums == IN_FLOAT_OF_TF32;
            if cut { read.into_iter().map(cut_to_tf32).collect() } else { read }
        });
        product.solve(&a, &b, &c, factor, beta);
        0
    }));
    Ok(())
}

/// # Safety
/// Nothing is asked of the caller.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cublasGetStatusString(status: Status) -> *const c_char {
    let text: &CStr = match status {
        0 => c"CUBLAS_STATUS_SUCCESS",
        NOT_INITIALIZED => c"CUBLAS_STATUS_NOT_INITIALIZED",
        INVALID_VALUE => c"CUBLAS_STATUS_INVALID_VALUE",
        NOT_SUPPORTED => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => c"<unknown>",
    };
    text.as_ptr()
}

api! {
    fn cublasGetProperty(which: c_int, value: *mut c_int) {
        let part = usize::try_from(which).ok().and_then(|which| [12, 9, 1].get(which).copied());
        *value = part.ok_or(INVALID_VALUE)?;
        Ok(())
    }

    fn cublasCreate_v2(handle: *mut usize) {
        let device = current().map_err(|_| NOT_INITIALIZED)?.device;
        if settings().fault("cublas") == Some("closed") {
            return Err(NOT_INITIALIZED);
        }
        let mut handles = handles();
        let number = handles.last_key_value().map_or(0x1000, |(last, _)| last + 16);
        handles.insert(number, Handle { device, stream: None, workspace: None, math: 0 });
        *handle = number;
        Ok(())
    }

    fn cublasDestroy_v2(handle: usize) {
        handles().remove(&handle).map_or_else(|| wrong("destroyed twice"), |_| Ok(()))
    }

    fn cublasSetStream_v2(handle: usize, stream: *const Stream) {
        let stream = &*stream;
        // The workspace is its own again, as its documentation says.
        set(handle, |handle| (handle.stream, handle.workspace) = (Some(stream), None))
    }

    fn cublasSetWorkspace_v2(handle: usize, first: usize, bytes: usize) {
        if bytes < WORKSPACE_BYTES_MIN {
            return wrong(&format!("a workspace of {bytes} bytes"));
        }
        set(handle, |handle| handle.workspace = Some(Operand::room(first, bytes)))
    }

    fn cublasSetMathMode(handle: usize, math: c_int) {
        set(handle, |handle| handle.math = math)
    }

    fn cublasGemmEx(
        handle: usize, turn_a: c_int, turn_b: c_int, m: c_int, n: c_int, terms: c_int,
        alpha: *const f32, a: usize, a_kind: c_int, a_pitch: c_int, b: usize, b_kind: c_int,
        b_pitch: c_int, beta: *const f32, c: usize, c_kind: c_int, c_pitch: c_int, sums: c_int,
        algorithm: c_int,
    ) {
        if a_kind != b_kind || algorithm != GEMM_DEFAULT {
            return wrong(&format!("types {a_kind} and {b_kind}, algorithm {algorithm}"));
        }
        let numbers = Numbers { factors: kind(a_kind)?, result: kind(c_kind)?, sums };
        if !(0..=1).contains(&turn_a) || turn_b != 0 || [m, n, terms].iter().any(|size| *size < 1) {
            return wrong(&format!("{m} by {n} sums of {terms}, turned {turn_a}, {turn_b}"));
        }
        let [m, n, terms] = [m, n, terms].map(|size| size as usize);
        let pitches = [a_pitch, b_pitch, c_pitch].map(|pitch| pitch as usize);
        let product = Product { turned: turn_a == 1, m, n, terms, pitches };
        multiply(handle, numbers, product, [a, b, c], [*alpha, *beta])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api_device::{cuCtxSetCurrent, cuDevicePrimaryCtxRetain},
        api_stream::{cuStreamCreate, cuStreamSynchronize},
        memory::{Place, allocate},
    };
    use std::ptr;

    /// What a caller says of 2 rows of 3 inputs and 4 outputs, whose weights lie in rows of 5.
    #[derive(Debug, Clone, Copy)]
    struct Said {
        stream_last: bool,
        math: c_int,
        /// Of `a`, `b` and `c`.
        kinds: [c_int; 3],
        sums: c_int,
        pitch: c_int,
        beta: f32,
        b_from_a: bool,
    }

    const RIGHT: Said = Said {
        stream_last: false,
        math: 2,
        kinds: [0; 3],
        sums: 69,
        pitch: 5,
        beta: 0.0,
        b_from_a: false,
    };

    /// The status of the first call that does not succeed, or 0; and what was made.
    fn multiply(said: Said) -> (Status, Vec<f32>) {
        let (mut context, mut stream, mut handle) = (ptr::null(), ptr::null(), 0);
        let memory = |bytes| allocate(bytes, Place::Device(0)).expect("memory");
        let (a, b, c) = (memory(4 * 18), memory(4 * 6), memory(4 * 8));
        let room = memory(WORKSPACE_BYTES_MIN);
        // Weights 0, 1, 2 .. 17, and inputs 1, 2 .. 6.
        let [of_a, of_b, of_c] = said.kinds.map(|number| kind(number).unwrap_or(Kind::Float));
        (0..18).for_each(|i| Operand::of(of_a, a, 18).change(i, |_| f64::from(i as u8)));
        (0..6).for_each(|i| Operand::of(of_b, b, 6).change(i, |_| f64::from(1 + i as u8)));
        let b = if said.b_from_a { a } else { b };
        let (alpha, beta) = (1.0, said.beta);
        // SAFETY: pointers to locals, and handles as they were handed out.
        let all = unsafe {
            [
                cuDevicePrimaryCtxRetain(&raw mut context, 0),
                cuCtxSetCurrent(context),
                cuStreamCreate(&raw mut stream, 0),
                cublasCreate_v2(&raw mut handle),
                cublasSetStream_v2(handle, stream),
                cublasSetWorkspace_v2(handle, room, WORKSPACE_BYTES_MIN),
                if said.stream_last { cublasSetStream_v2(handle, stream) } else { 0 },
                cublasSetMathMode(handle, said.math),
                cublasGemmEx(
                    handle,
                    1,
                    0,
                    4,
                    2,
                    3,
                    &raw const alpha,
                    a,
                    said.kinds[0],
                    said.pitch,
                    b,
                    said.kinds[1],
                    3,
                    &raw const beta,
                    c,
                    said.kinds[2],
                    4,
                    said.sums,
                    -1,
                ),
                cuStreamSynchronize(stream),
            ]
        };
        let first = all.into_iter().find(|status| *status != 0).unwrap_or(0);
        (first, Operand::of(of_c, c, 8).read())
    }

    #[test]
    fn products_are_true_and_each_thing_that_is_said_wrongly_is_refused() {
        let row = |i: usize, k: usize| {
            (0..3).map(|c| ((5 * k + c) * (3 * i + c + 1)) as f32).sum::<f32>()
        };
        let wanted: Vec<f32> = (0..8).map(|at| row(at / 4, at % 4)).collect();
        let halves = |kinds| Said { math: 16, kinds, sums: 68, ..RIGHT };
        let tf32 = Said { math: 0, sums: 77, ..RIGHT };
        for right in [RIGHT, tf32, halves([2, 2, 0]), halves([14, 14, 0])] {
            assert_eq!(multiply(right), (0, wanted.clone()), "{right:?}");
        }
        for (kind, of) in [(2, Kind::Half), (14, Kind::Bfloat)] {
            let rounded = wanted.iter().map(|sum| of.widen(of.round(f64::from(*sum))));
            assert_eq!(multiply(halves([kind; 3])), (0, rounded.collect()));
        }
        for wrong in [
            halves([2, 2, 14]),
            halves([2, 14, 2]),
            halves([0; 3]),
            Said { math: 0, ..halves([2; 3]) },
            Said { sums: 64, ..halves([2; 3]) },
            Said { kinds: [0, 0, 2], ..RIGHT },
            Said { math: 0, ..RIGHT },
            Said { sums: 77, ..RIGHT },
            Said { stream_last: true, ..RIGHT },
            Said { sums: 68, ..RIGHT },
            Said { pitch: 2, ..RIGHT },
            Said { pitch: 6, ..RIGHT },
            Said { beta: 2.0, ..RIGHT },
            Said { b_from_a: true, ..RIGHT },
        ] {
            assert_eq!(multiply(wrong).0, INVALID_VALUE, "{wrong:?}");
        }
    }
}
