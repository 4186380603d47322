//! A stand-in for cuDNN's convolutions: every descriptor, size and address is held to what it must be, and the
//! true result is computed when its stream comes to it.

use crate::{
    context::bound,
    convolution::{Pass, Problem},
    kind::{Kind, cut_to_tf32},
    operands::{ALIGNMENT, Operand, apart, put},
    settings::settings,
    status::{Status, tell},
    stream::Stream,
};
use std::{
    collections::BTreeMap,
    ffi::c_int,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// `CUDNN_STATUS_NOT_INITIALIZED`.
pub(crate) const NOT_INITIALIZED: Status = 1001;
/// `CUDNN_STATUS_BAD_PARAM`.
pub(crate) const BAD_PARAM: Status = 2000;
/// `CUDNN_STATUS_NOT_SUPPORTED`.
pub(crate) const NOT_SUPPORTED: Status = 3000;
pub(crate) const FLOAT: c_int = 0;
pub(crate) const NHWC: c_int = 1;
pub(crate) const CROSS_CORRELATION: c_int = 1;
const DEFAULT_MATH: c_int = 0;
const TENSOR_OP_MATH: c_int = 1;
const CONVERTING_MATH: c_int = 2;
const FMA_MATH: c_int = 3;

/// What the library has made for its caller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Thing {
    Handle { device: usize, stream: Option<&'static Stream> },
    Tensor(Option<(Kind, [usize; 4])>),
    Filter(Option<(Kind, [usize; 4])>),
    Convolution(Option<Convolution>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Convolution {
    pub(crate) pad: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) groups: usize,
    pub(crate) math: c_int,
}

/// By the numbers that are handed out in the place of addresses.
static THINGS: Mutex<BTreeMap<usize, Thing>> = Mutex::new(BTreeMap::new());

fn things() -> MutexGuard<'static, BTreeMap<usize, Thing>> {
    THINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn make(thing: Thing) -> usize {
    let mut things = things();
    let number = things.last_key_value().map_or(0x1000, |(last, _)| last + 16);
    things.insert(number, thing);
    number
}

pub(crate) fn wrong<T>(what: &str) -> Result<T, Status> {
    tell(&format!("cuDNN: {what}"));
    Err(BAD_PARAM)
}

pub(crate) fn sizes(numbers: [c_int; 4]) -> Result<[usize; 4], Status> {
    let size = |number: c_int| usize::try_from(number).ok().filter(|size| *size > 0);
    match numbers.map(size) {
        [Some(a), Some(b), Some(c), Some(d)] => Ok([a, b, c, d]),
        _ => wrong(&format!("sizes {numbers:?}")),
    }
}

/// `CUDNN_DATA_FLOAT`, `CUDNN_DATA_HALF` and `CUDNN_DATA_BFLOAT16`.
pub(crate) fn kind(number: c_int) -> Result<Kind, Status> {
    match number {
        FLOAT => Ok(Kind::Float),
        2 => Ok(Kind::Half),
        9 => Ok(Kind::Bfloat),
        _ => wrong(&format!("numbers of type {number}")),
    }
}

pub(crate) fn set(
    number: usize, change: impl FnOnce(&mut Thing) -> bool,
) -> Result<(), Status> {
    let mut things = things();
    let Some(thing) = things.get_mut(&number) else {
        return wrong("a descriptor that is none");
    };
    if change(thing) { Ok(()) } else { wrong(&format!("a descriptor that is {thing:?}")) }
}

pub(crate) fn destroy(number: usize) -> Result<(), Status> {
    things().remove(&number).map_or_else(|| wrong("destroyed twice"), |_| Ok(()))
}

/// The stream of a handle, of the context that is bound.
pub(crate) fn stream(handle: usize) -> Result<&'static Stream, Status> {
    let thing = things().get(&handle).copied();
    let Some(Thing::Handle { device, stream }) = thing else {
        return wrong(&format!("no handle: {thing:?}"));
    };
    if bound().is_none_or(|context| context.device != device) {
        return wrong("another GPU's context is bound");
    }
    stream.map_or_else(|| wrong("no stream was set"), Ok)
}

/// What is multiplied, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    kind: Kind,
    math: c_int,
}

impl Numbers {
    /// Whether factors are rounded, and how, is what the caller means to have: floats as they are, or as tf32;
    /// halves as they are, by tensor cores.
    const fn meant(self) -> bool {
        matches!(
            (self.kind, self.math),
            (Kind::Float, FMA_MATH | DEFAULT_MATH)
                | (Kind::Half | Kind::Bfloat, TENSOR_OP_MATH)
        )
    }

    const fn are_tf32(self) -> bool {
        matches!((self.kind, self.math), (Kind::Float, DEFAULT_MATH))
    }

    /// The arithmetic that algorithms are told with: as it was asked for, and with more rounding than that.
    const fn told(self) -> [c_int; 2] {
        if self.math == FMA_MATH {
            [FMA_MATH, TENSOR_OP_MATH]
        } else {
            [TENSOR_OP_MATH, CONVERTING_MATH]
        }
    }
}

/// The shapes that descriptors say, and the numbers.
pub(crate) fn problem(x: usize, w: usize, conv: usize) -> Result<(Problem, Numbers), Status> {
    let things = things();
    let [x, w, conv] = [x, w, conv].map(|number| things.get(&number).copied());
    let (
        Some(Thing::Tensor(Some((kind, [images, channels, height, width])))),
        Some(Thing::Filter(Some((kind_of_w, [kernels, seen, rows, columns])))),
        Some(Thing::Convolution(Some(Convolution { pad, stride, groups, math }))),
    ) = (x, w, conv)
    else {
        return wrong(&format!("descriptors {x:?}, {w:?}, {conv:?}"));
    };
    if channels != seen * groups || kernels % groups != 0 || kind != kind_of_w {
        return wrong(&format!(
            "{channels} channels, {kind:?}, and {kernels} kernels of {seen}, {kind_of_w:?}, in {groups} groups"
        ));
    }
    let window = [rows, columns];
    Ok((
        Problem { images, channels, height, width, kernels, window, pad, stride, groups },
        Numbers { kind, math },
    ))
}

/// The problem of a pass whose output is to be `y`.
pub(crate) fn problem_of(
    x: usize, w: usize, conv: usize, y: usize,
) -> Result<(Problem, Numbers), Status> {
    let (problem, numbers) = problem(x, w, conv)?;
    let y = things().get(&y).copied();
    let [height, width] = problem.out();
    let wanted = (numbers.kind, [problem.images, problem.kernels, height, width]);
    match y {
        Some(Thing::Tensor(Some(found))) if found == wanted => {}
        _ => return wrong(&format!("an output {y:?} of {problem:?}")),
    }
    if numbers.meant() {
        Ok((problem, numbers))
    } else {
        wrong(&format!("{numbers:?}: factors would be rounded, or tensor cores not used"))
    }
}

/// `cudnnConvolution*AlgoPerf_t`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Perf {
    algorithm: c_int,
    status: Status,
    time_ms: f32,
    bytes: usize,
    determinism: c_int,
    math: c_int,
    reserved: [c_int; 3],
}

/// The algorithms of a pass, fastest first: number, whether it always gives the same bits, and rounds no more than
/// it was asked to. First come those that are not to be taken.
const fn algorithms(pass: Pass) -> &'static [(c_int, bool, bool)] {
    match pass {
        Pass::Forward => {
            &[(1, true, false), (7, false, true), (1, true, true), (0, true, true)]
        }
        Pass::Data => &[(0, false, true), (1, true, true)],
        Pass::Weight => &[(0, false, true), (3, false, true), (1, true, true)],
    }
}

/// Workspace that one takes, of no round number.
pub(crate) fn workspace_bytes(problem: &Problem, pass: Pass, algorithm: c_int) -> usize {
    let fault = settings().fault(pass.name());
    match (fault, pass, algorithm) {
        (Some("hungry"), ..) => 1 << 30,
        (_, Pass::Forward, 0) => 0,
        _ => 1004 + problem.lens()[1],
    }
}

fn known(pass: Pass, algorithm: c_int) -> bool {
    algorithms(pass)
        .iter()
        .any(|(number, always, as_asked)| *number == algorithm && *always && *as_asked)
}

/// Tells the algorithms of a pass.
///
/// # Safety
/// There is room for a number, and for `room` results.
pub(crate) unsafe fn choose(
    (problem, numbers): &(Problem, Numbers), pass: Pass, room: c_int, count: *mut c_int,
    found: *mut Perf,
) {
    let [as_asked, rounded] = numbers.told();
    let none = settings().fault(pass.name()) == Some("none");
    let all = if none { &[] } else { algorithms(pass) };
    let all = &all[..all.len().min(room as usize)];
    for (i, (algorithm, always, plain)) in all.iter().enumerate() {
        let perf = Perf {
            algorithm: *algorithm,
            status: 0,
            time_ms: -1.0,
            bytes: workspace_bytes(problem, pass, *algorithm),
            determinism: (*always).into(),
            math: if *plain { as_asked } else { rounded },
            reserved: [0; 3],
        };
        // SAFETY: there is room for as many, as the caller says.
        unsafe { found.add(i).write(perf) };
    }
    // SAFETY: a number of the caller's.
    unsafe { count.write(all.len() as c_int) };
}

/// What a call says beside its descriptors.
pub(crate) struct Given {
    pub(crate) algorithm: c_int,
    /// The operands' addresses, in cuDNN's order, the result last.
    pub(crate) at: [usize; 3],
    pub(crate) workspace: usize,
    pub(crate) bytes: usize,
    pub(crate) factors: [f32; 2],
}

/// Puts a pass on the handle's stream.
pub(crate) fn run(
    handle: usize, (problem, numbers): (Problem, Numbers), pass: Pass, given: &Given,
) -> Result<(), Status> {
    let stream = stream(handle)?;
    let [x, w, y] = problem.lens();
    let [first, second, result] = match pass {
        Pass::Forward => [x, w, y],
        Pass::Data => [w, y, x],
        Pass::Weight => [x, y, w],
    };
    let Given { algorithm, at, workspace, bytes, factors: [alpha, beta] } = *given;
    if !known(pass, algorithm) {
        return wrong(&format!("algorithm {algorithm} does not always give the same bits"));
    }
    if bytes < workspace_bytes(&problem, pass, algorithm) {
        return wrong(&format!("a workspace of {bytes} bytes"));
    }
    if alpha != 1.0 || (beta != 0.0 && beta != 1.0) {
        return wrong(&format!("factors {alpha} and {beta}"));
    }
    let operands = [
        Operand::of(numbers.kind, at[0], first),
        Operand::of(numbers.kind, at[1], second),
        Operand::of(numbers.kind, at[2], result),
        Operand::room(workspace, bytes),
    ];
    if let Err(why) = apart(stream.context, &operands, ALIGNMENT) {
        return wrong(&why);
    }
    let fault = settings().fault(pass.name());
    if fault == Some("refuse") {
        return Err(NOT_SUPPORTED);
    }
    let [first, second, result, room] = operands;
    stream.push(Arc::new(move || {
        room.spoil();
        let [first, second] = [first, second].map(|operand| {
            let read = operand.read();
            if numbers.are_tf32() { read.into_iter().map(cut_to_tf32).collect() } else { read }
        });
        let sums = problem.solve(pass, [&first, &second]);
        let factor = if fault == Some("wrong") { 1.01 } else { 1.0 };
        put(&result, &sums, factor, beta);
        0
    }));
    Ok(())
}
