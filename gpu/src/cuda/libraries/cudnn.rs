//! cuDNN's convolutions: what is called, which algorithms it has for a pass, and the pass itself.

use super::{
    load::{Loaded, Opaque, Status, functions},
    shapes::Shapes,
};
use crate::{
    cuda::{
        Numbers,
        context::{Context, Stream},
        launch::Ptr,
    },
    ops::conv::{Conv, Pass},
};
use cudarc::driver::sys::CUstream;
use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
    sync::Arc,
};

/// `CUDNN_TENSOR_OP_MATH`: tensor cores, which round floats to tf32.
const TENSOR_OP_MATH: c_int = 1;
/// `CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION`: the same, and floats may become halves.
const CONVERTING_MATH: c_int = 2;
/// `CUDNN_DETERMINISTIC`.
const DETERMINISTIC: c_int = 1;
/// As many algorithms as a pass has, with each kind of arithmetic.
const CANDIDATES_MAX: usize = 16;

/// `cudnnConvolution*AlgoPerf_t`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Perf {
    algorithm: c_int,
    status: Status,
    time_ms: f32,
    workspace_bytes: usize,
    determinism: c_int,
    math: c_int,
    reserved: [c_int; 3],
}

/// `cudnnGetConvolution*Algorithm_v7`: two operands, the convolution, the result.
type Ask = unsafe extern "C" fn(
    Opaque,
    Opaque,
    Opaque,
    Opaque,
    Opaque,
    c_int,
    *mut c_int,
    *mut Perf,
) -> Status;
/// `cudnnGetConvolution*WorkspaceSize`.
type Size =
    unsafe extern "C" fn(Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut usize) -> Status;
/// `cudnnConvolution*`: both operands, the convolution, algorithm and workspace, the result.
type Run = unsafe extern "C" fn(
    Opaque,
    *const f32,
    Opaque,
    Ptr,
    Opaque,
    Ptr,
    Opaque,
    c_int,
    Ptr,
    usize,
    *const f32,
    Opaque,
    Ptr,
) -> Status;

functions! {
    /// What is called of cuDNN, as its headers `cudnn_graph.h`, `cudnn_ops.h` and `cudnn_cnn.h` declare it.
    Functions {
        cudnnGetVersion() -> usize;
        cudnnGetErrorString(Status) -> *const c_char;
        cudnnCreate(*mut Opaque) -> Status;
        cudnnDestroy(Opaque) -> Status;
        cudnnSetStream(Opaque, CUstream) -> Status;
        cudnnCreateTensorDescriptor(*mut Opaque) -> Status;
        cudnnDestroyTensorDescriptor(Opaque) -> Status;
        cudnnSetTensor4dDescriptor(Opaque, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnCreateFilterDescriptor(*mut Opaque) -> Status;
        cudnnDestroyFilterDescriptor(Opaque) -> Status;
        cudnnSetFilter4dDescriptor(Opaque, c_int, c_int, c_int, c_int, c_int, c_int) -> Status;
        cudnnCreateConvolutionDescriptor(*mut Opaque) -> Status;
        cudnnDestroyConvolutionDescriptor(Opaque) -> Status;
        cudnnSetConvolution2dDescriptor(
            Opaque, c_int, c_int, c_int, c_int, c_int, c_int, c_int, c_int,
        ) -> Status;
        cudnnSetConvolutionGroupCount(Opaque, c_int) -> Status;
        cudnnSetConvolutionMathType(Opaque, c_int) -> Status;
        cudnnGetConvolution2dForwardOutputDim(
            Opaque, Opaque, Opaque, *mut c_int, *mut c_int, *mut c_int, *mut c_int,
        ) -> Status;
        cudnnGetConvolutionForwardAlgorithm_v7(
            Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut c_int, *mut Perf,
        ) -> Status;
        cudnnGetConvolutionBackwardDataAlgorithm_v7(
            Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut c_int, *mut Perf,
        ) -> Status;
        cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut c_int, *mut Perf,
        ) -> Status;
        cudnnGetConvolutionForwardWorkspaceSize(
            Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut usize,
        ) -> Status;
        cudnnGetConvolutionBackwardDataWorkspaceSize(
            Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut usize,
        ) -> Status;
        cudnnGetConvolutionBackwardFilterWorkspaceSize(
            Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut usize,
        ) -> Status;
        cudnnConvolutionForward(
            Opaque, *const f32, Opaque, Ptr, Opaque, Ptr, Opaque, c_int, Ptr, usize,
            *const f32, Opaque, Ptr,
        ) -> Status;
        cudnnConvolutionBackwardData(
            Opaque, *const f32, Opaque, Ptr, Opaque, Ptr, Opaque, c_int, Ptr, usize,
            *const f32, Opaque, Ptr,
        ) -> Status;
        cudnnConvolutionBackwardFilter(
            Opaque, *const f32, Opaque, Ptr, Opaque, Ptr, Opaque, c_int, Ptr, usize,
            *const f32, Opaque, Ptr,
        ) -> Status;
    }
}

impl Functions {
    fn ask(&self, pass: Pass) -> Ask {
        match pass {
            Pass::Forward => self.cudnnGetConvolutionForwardAlgorithm_v7,
            Pass::BackwardData => self.cudnnGetConvolutionBackwardDataAlgorithm_v7,
            Pass::BackwardWeight => self.cudnnGetConvolutionBackwardFilterAlgorithm_v7,
        }
    }

    fn size(&self, pass: Pass) -> Size {
        match pass {
            Pass::Forward => self.cudnnGetConvolutionForwardWorkspaceSize,
            Pass::BackwardData => self.cudnnGetConvolutionBackwardDataWorkspaceSize,
            Pass::BackwardWeight => self.cudnnGetConvolutionBackwardFilterWorkspaceSize,
        }
    }

    fn run(&self, pass: Pass) -> Run {
        match pass {
            Pass::Forward => self.cudnnConvolutionForward,
            Pass::BackwardData => self.cudnnConvolutionBackwardData,
            Pass::BackwardWeight => self.cudnnConvolutionBackwardFilter,
        }
    }

    /// What a status means.
    pub(super) fn check(&self, function: &str, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: returns a text that lives as long as the library.
        let text = unsafe { CStr::from_ptr((self.cudnnGetErrorString)(status)) };
        Err(format!("{function}: {}", text.to_string_lossy()))
    }
}

/// cuDNN on one GPU, whose calls go to one stream.
#[derive(Debug)]
pub(super) struct Cudnn {
    pub(super) loaded: &'static Loaded<Functions>,
    context: Arc<Context>,
    numbers: Numbers,
    handle: Opaque,
}

// SAFETY: a handle may be used by any thread, by one at a time.
unsafe impl Send for Cudnn {}

impl Cudnn {
    /// Opens it for the GPU whose context is bound, to multiply `numbers`.
    pub(super) fn open(
        loaded: &'static Loaded<Functions>, context: &Arc<Context>, stream: &Stream,
        numbers: Numbers,
    ) -> Result<Self, String> {
        let functions = &loaded.functions;
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle to where it is told.
        let made = unsafe { (functions.cudnnCreate)(&raw mut handle) };
        functions.check("cudnnCreate", made)?;
        let cudnn = Self { loaded, context: Arc::clone(context), numbers, handle };
        // SAFETY: the stream lives as long as the device that has both.
        let set = unsafe { (functions.cudnnSetStream)(handle, stream.handle()) };
        functions.check("cudnnSetStream", set)?;
        Ok(cudnn)
    }

    /// The ways to make `pass` of `op` over `n` images that always give the same bits and need no more than
    /// `workspace_bytes_max`, the one that should be fastest first.
    pub(super) fn plans(
        &self, op: &Conv, pass: Pass, n: usize, workspace_bytes_max: usize,
    ) -> Result<Vec<Plan>, String> {
        let functions = &self.loaded.functions;
        let shapes = Arc::new(Shapes::new(functions, self.numbers, op, n)?);
        let [first, second, result] = shapes.of(pass);
        let mut found = [Perf::default(); CANDIDATES_MAX];
        let mut count = 0;
        let conv = shapes.conv.handle;
        // SAFETY: descriptors that live; there is room for as many results as asked for.
        let asked = unsafe {
            (functions.ask(pass))(
                self.handle,
                first,
                second,
                conv,
                result,
                CANDIDATES_MAX as c_int,
                &raw mut count,
                found.as_mut_ptr(),
            )
        };
        functions.check("choosing an algorithm", asked)?;
        let mut plans: Vec<Plan> = vec![];
        for perf in &found[..(count as usize).min(CANDIDATES_MAX)] {
            let known = plans.iter().any(|plan| plan.algorithm == perf.algorithm);
            let sound = perf.status == 0 && perf.determinism == DETERMINISTIC;
            if known || !sound || !self.allows(perf.math) {
                continue;
            }
            let mut workspace_bytes = 0;
            // SAFETY: descriptors that live; writes one number.
            let sized = unsafe {
                let size = functions.size(pass);
                let to = &raw mut workspace_bytes;
                size(self.handle, first, second, conv, result, perf.algorithm, to)
            };
            if sized == 0 && workspace_bytes <= workspace_bytes_max {
                let (shapes, algorithm) = (Arc::clone(&shapes), perf.algorithm);
                plans.push(Plan { shapes, pass, algorithm, workspace_bytes });
            }
        }
        Ok(plans)
    }

    /// Whether arithmetic rounds no factor but as the numbers say.
    const fn allows(&self, math: c_int) -> bool {
        match self.numbers {
            Numbers::F32 => !matches!(math, TENSOR_OP_MATH | CONVERTING_MATH),
            Numbers::Bf16 | Numbers::F16 | Numbers::Tf32 => math != CONVERTING_MATH,
        }
    }

    /// Puts a plan's pass on the stream: `operands` in cuDNN's order, the result last.
    pub(super) fn run(
        &self, plan: &Plan, operands: [Ptr; 3], accumulate: bool, workspace: Ptr,
    ) -> Result<(), String> {
        let functions = &self.loaded.functions;
        let (alpha, beta) = (1.0, if accumulate { 1.0 } else { 0.0 });
        let [first, second, result] = plan.shapes.of(plan.pass);
        // SAFETY: descriptors and memory that live, as long as the descriptors say; the caller vouches for the
        // operands, and the workspace is as long as was asked for. The factors are read before it returns.
        let ran = unsafe {
            (functions.run(plan.pass))(
                self.handle,
                &raw const alpha,
                first,
                operands[0],
                second,
                operands[1],
                plan.shapes.conv.handle,
                plan.algorithm,
                workspace,
                plan.workspace_bytes,
                &raw const beta,
                result,
                operands[2],
            )
        };
        functions.check("a convolution", ran)
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        let (destroy, handle) = (self.loaded.functions.cudnnDestroy, self.handle);
        self.context.free(|| {
            // SAFETY: made in `open` and destroyed once.
            unsafe { destroy(handle) };
            Ok(())
        });
    }
}

/// How cuDNN makes one pass of a convolution.
#[derive(Debug)]
pub(super) struct Plan {
    shapes: Arc<Shapes>,
    pub(super) pass: Pass,
    /// A number of the pass's own `cudnnConvolution*Algo_t`.
    pub(super) algorithm: c_int,
    pub(super) workspace_bytes: usize,
}
