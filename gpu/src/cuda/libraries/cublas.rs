//! cuBLAS's products of matrices, for the linear layers: of one kind of numbers, summed in `f32`.

use super::load::{Loaded, Opaque, Status, functions};
use crate::{
    cuda::{
        Numbers,
        context::{Context, Stream},
        launch::{Ptr, int},
        memory::Memory,
    },
    ops::{conv::Pass, linear::Linear},
};
use cudarc::driver::sys::CUstream;
use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
    sync::Arc,
};

/// `CUBLAS_OP_N`.
const AS_IT_IS: c_int = 0;
/// `CUBLAS_OP_T`.
const TRANSPOSED: c_int = 1;
/// `CUDA_R_32F`.
const FLOAT: c_int = 0;
/// `CUDA_R_16F`.
const HALF: c_int = 2;
/// `CUDA_R_16BF`.
const BFLOAT16: c_int = 14;
/// `CUBLAS_COMPUTE_32F`: of halves, whose products are then exact.
const IN_FLOAT: c_int = 68;
/// `CUBLAS_COMPUTE_32F_PEDANTIC`: no tensor cores, whose factors are rounded.
const IN_FLOAT_PEDANTIC: c_int = 69;
/// `CUBLAS_COMPUTE_32F_FAST_TF32`: tensor cores, which round floats to tf32.
const IN_FLOAT_OF_TF32: c_int = 77;
/// `CUBLAS_DEFAULT_MATH`.
const DEFAULT_MATH: c_int = 0;
/// `CUBLAS_PEDANTIC_MATH`: as `IN_FLOAT_PEDANTIC`, for all that does not say it.
const PEDANTIC_MATH: c_int = 2;
/// `CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION`: parts of sums stay `f32` until they are added up.
const WHOLE_SUMS_MATH: c_int = 16;
/// `CUBLAS_GEMM_DEFAULT`: of the algorithms, its own choice, the same in the same place.
const GEMM_DEFAULT: c_int = -1;
/// What it wants on the GPUs that want most: cuBLAS's documentation, "cublasSetWorkspace".
pub(super) const WORKSPACE_BYTES: usize = 32 << 20;

functions! {
    /// What is called of cuBLAS, as its header `cublas_api.h` declares it.
    Functions {
        cublasGetProperty(c_int, *mut c_int) -> Status;
        cublasGetStatusString(Status) -> *const c_char;
        cublasCreate_v2(*mut Opaque) -> Status;
        cublasDestroy_v2(Opaque) -> Status;
        cublasSetStream_v2(Opaque, CUstream) -> Status;
        cublasSetWorkspace_v2(Opaque, Ptr, usize) -> Status;
        cublasSetMathMode(Opaque, c_int) -> Status;
        cublasGemmEx(
            Opaque, c_int, c_int, c_int, c_int, c_int, *const f32, Ptr, c_int, c_int, Ptr, c_int,
            c_int, *const f32, Ptr, c_int, c_int, c_int, c_int,
        ) -> Status;
    }
}

impl Functions {
    /// What a status means.
    fn check(&self, function: &str, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: returns a text that lives as long as the library.
        let text = unsafe { CStr::from_ptr((self.cublasGetStatusString)(status)) };
        Err(format!("{function}: {}", text.to_string_lossy()))
    }
}

/// What memory holds, as cuBLAS names it.
const fn data_type(numbers: Numbers) -> c_int {
    match numbers {
        Numbers::F32 | Numbers::Tf32 => FLOAT,
        Numbers::Bf16 => BFLOAT16,
        Numbers::F16 => HALF,
    }
}

/// How it is multiplied: of a call, and of a handle.
const fn arithmetic(numbers: Numbers) -> (c_int, c_int) {
    match numbers {
        Numbers::F32 => (IN_FLOAT_PEDANTIC, PEDANTIC_MATH),
        Numbers::Tf32 => (IN_FLOAT_OF_TF32, DEFAULT_MATH),
        Numbers::Bf16 | Numbers::F16 => (IN_FLOAT, WHOLE_SUMS_MATH),
    }
}

/// cuBLAS on one GPU, whose calls go to one stream and need no memory but its workspace.
#[derive(Debug)]
pub(super) struct Cublas {
    pub(super) loaded: &'static Loaded<Functions>,
    context: Arc<Context>,
    numbers: Numbers,
    handle: Opaque,
    /// After the handle, which uses it.
    _workspace: Memory,
}

// SAFETY: a handle may be used by any thread, by one at a time.
unsafe impl Send for Cublas {}

impl Cublas {
    /// Opens it for the GPU whose context is bound, to multiply `numbers`.
    pub(super) fn open(
        loaded: &'static Loaded<Functions>, context: &Arc<Context>, stream: &Stream,
        numbers: Numbers,
    ) -> Result<Self, String> {
        let functions = &loaded.functions;
        let workspace =
            Memory::new(context, WORKSPACE_BYTES).map_err(|error| error.to_string())?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle to where it is told.
        let made = unsafe { (functions.cublasCreate_v2)(&raw mut handle) };
        functions.check("cublasCreate", made)?;
        let room = workspace.ptr();
        let context = Arc::clone(context);
        let cublas = Self { loaded, context, numbers, handle, _workspace: workspace };
        // In this order: with the stream, the workspace becomes cuBLAS's own again.
        // SAFETY: the stream lives as long as the device that has both.
        let set = unsafe { (functions.cublasSetStream_v2)(handle, stream.handle()) };
        functions.check("cublasSetStream", set)?;
        // SAFETY: the memory is as long, and lives as long as the handle.
        let set = unsafe { (functions.cublasSetWorkspace_v2)(handle, room, WORKSPACE_BYTES) };
        functions.check("cublasSetWorkspace", set)?;
        let (_, math) = arithmetic(numbers);
        // SAFETY: the handle lives.
        let set = unsafe { (functions.cublasSetMathMode)(handle, math) };
        functions.check("cublasSetMathMode", set)?;
        Ok(cublas)
    }

    /// Puts a pass of `op` over `n` images on the stream: `x` and `w`, or `w` and `y`, then the result; `w`
    /// from the source's first column on. What is `wide` becomes `f32`.
    ///
    /// # Panics
    /// For the gradient of the weights, which is never whole.
    pub(super) fn run(
        &self, op: &Linear, n: usize, pass: Pass, operands: [Ptr; 3],
        (accumulate, wide): (bool, bool),
    ) -> Result<(), String> {
        let functions = &self.loaded.functions;
        let (alpha, beta) = (1.0, if accumulate { 1.0 } else { 0.0 });
        // Its matrices lie by columns: all of ours are transposed to it, and so the product is `w x^T`.
        let [inputs, outputs, pitch, n] = [op.inputs, op.outputs, op.weight_inputs, n].map(int);
        let [first, second, result] = operands;
        let (turn, rows, terms, w, right) = match pass {
            Pass::Forward => (TRANSPOSED, outputs, inputs, second, first),
            Pass::BackwardData => (AS_IT_IS, inputs, outputs, first, second),
            Pass::BackwardWeight => unreachable!("the gradient is never whole"),
        };
        let (kind, (sums, _)) = (data_type(self.numbers), arithmetic(self.numbers));
        let to = if wide { FLOAT } else { kind };
        // SAFETY: memory that lives, as long as the shapes say: the caller vouches for it. The factors are
        // read before it returns.
        let ran = unsafe {
            (functions.cublasGemmEx)(
                self.handle,
                turn,
                AS_IT_IS,
                rows,
                n,
                terms,
                &raw const alpha,
                w,
                kind,
                pitch,
                right,
                kind,
                terms,
                &raw const beta,
                result,
                to,
                rows,
                sums,
                GEMM_DEFAULT,
            )
        };
        functions.check("cublasGemmEx", ran)
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        let (destroy, handle) = (self.loaded.functions.cublasDestroy_v2, self.handle);
        self.context.free(|| {
            // SAFETY: made in `open` and destroyed once.
            unsafe { destroy(handle) };
            Ok(())
        });
    }
}
