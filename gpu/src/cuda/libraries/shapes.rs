//! Convolutions as cuDNN has them described: `[n, h, w, c]` and `[k, r, s, c]`, all of one kind of numbers, whose
//! products are summed in `f32`.

use super::{
    cudnn::Functions,
    load::{Opaque, Status},
};
use crate::{
    cuda::{Numbers, launch::int},
    ops::conv::{Conv, Pass},
};
use std::{ffi::c_int, ptr};

/// `CUDNN_DATA_FLOAT`.
const FLOAT: c_int = 0;
/// `CUDNN_DATA_HALF`.
const HALF: c_int = 2;
/// `CUDNN_DATA_BFLOAT16`.
const BFLOAT16: c_int = 9;
/// `CUDNN_TENSOR_NHWC`.
const NHWC: c_int = 1;
/// `CUDNN_CROSS_CORRELATION`: the window is not turned over.
const CROSS_CORRELATION: c_int = 1;
/// `CUDNN_DEFAULT_MATH`: of floats, tensor cores that round factors to tf32.
const DEFAULT_MATH: c_int = 0;
/// `CUDNN_TENSOR_OP_MATH`: tensor cores, for what is in memory.
const TENSOR_OP_MATH: c_int = 1;
/// `CUDNN_FMA_MATH`: no tensor cores, whose factors are rounded.
const FMA_MATH: c_int = 3;

/// What memory holds, as cuDNN names it.
const fn data_type(numbers: Numbers) -> c_int {
    match numbers {
        Numbers::F32 | Numbers::Tf32 => FLOAT,
        Numbers::Bf16 => BFLOAT16,
        Numbers::F16 => HALF,
    }
}

/// How it is multiplied.
const fn math(numbers: Numbers) -> c_int {
    match numbers {
        Numbers::F32 => FMA_MATH,
        Numbers::Tf32 => DEFAULT_MATH,
        Numbers::Bf16 | Numbers::F16 => TENSOR_OP_MATH,
    }
}

/// The descriptors of a convolution.
#[derive(Debug)]
pub(super) struct Shapes {
    x: Descriptor,
    w: Descriptor,
    y: Descriptor,
    pub(super) conv: Descriptor,
}

impl Shapes {
    /// Those of `op` over `n` images.
    pub(super) fn new(
        functions: &Functions, numbers: Numbers, op: &Conv, n: usize,
    ) -> Result<Self, String> {
        let kind = data_type(numbers);
        let tensor = (
            functions.cudnnCreateTensorDescriptor,
            functions.cudnnDestroyTensorDescriptor,
            functions.cudnnSetTensor4dDescriptor,
        );
        let images = |[c, h, w]: [usize; 3]| {
            let made = Descriptor::new(functions, tensor.0, tensor.1)?;
            let [n, c, h, w] = [n, c, h, w].map(int);
            // SAFETY: the descriptor lives.
            let set = unsafe { (tensor.2)(made.handle, NHWC, kind, n, c, h, w) };
            functions.check("describing a tensor", set).map(|()| made)
        };
        let wanted = [n, op.kernels, op.out_height(), op.out_width()].map(int);
        let x = images([op.channels, op.height, op.width])?;
        let y = images([op.kernels, op.out_height(), op.out_width()])?;
        let (create, destroy) =
            (functions.cudnnCreateFilterDescriptor, functions.cudnnDestroyFilterDescriptor);
        let w = Descriptor::new(functions, create, destroy)?;
        let [k, c, side] = [op.kernels, op.channels / op.groups, op.window].map(int);
        // SAFETY: the descriptor lives.
        let set = unsafe {
            (functions.cudnnSetFilter4dDescriptor)(w.handle, kind, NHWC, k, c, side, side)
        };
        functions.check("describing the weights", set)?;
        let conv = Self::convolution(functions, numbers, op)?;
        let mut found = [0; 4];
        let [n, c, h, width] = found.each_mut().map(ptr::from_mut);
        // SAFETY: descriptors that live; writes four numbers.
        let asked = unsafe {
            let dimensions = functions.cudnnGetConvolution2dForwardOutputDim;
            dimensions(conv.handle, x.handle, w.handle, n, c, h, width)
        };
        functions.check("asking for the output's shape", asked)?;
        if found != wanted {
            return Err(format!("it makes {found:?} of what is to be {wanted:?}"));
        }
        Ok(Self { x, w, y, conv })
    }

    fn convolution(
        functions: &Functions, numbers: Numbers, op: &Conv,
    ) -> Result<Descriptor, String> {
        let (create, destroy) = (
            functions.cudnnCreateConvolutionDescriptor,
            functions.cudnnDestroyConvolutionDescriptor,
        );
        let conv = Descriptor::new(functions, create, destroy)?;
        let [pad, stride, groups] = [op.pad_before, op.stride, op.groups].map(int);
        // SAFETY: the descriptor lives.
        let set = unsafe {
            let set = functions.cudnnSetConvolution2dDescriptor;
            set(conv.handle, pad, pad, stride, stride, 1, 1, CROSS_CORRELATION, FLOAT)
        };
        functions.check("describing a convolution", set)?;
        // SAFETY: as above.
        let set = unsafe { (functions.cudnnSetConvolutionGroupCount)(conv.handle, groups) };
        functions.check("setting its groups", set)?;
        let math = math(numbers);
        // SAFETY: as above.
        let set = unsafe { (functions.cudnnSetConvolutionMathType)(conv.handle, math) };
        functions.check("setting its arithmetic", set)?;
        Ok(conv)
    }

    /// The operands of a pass and its result.
    pub(super) fn of(&self, pass: Pass) -> [Opaque; 3] {
        let [x, w, y] = [&self.x, &self.w, &self.y].map(|descriptor| descriptor.handle);
        in_order(pass, [x, w, y])
    }
}

/// `x`, `w` and `y` as cuDNN takes them in a pass: two operands, then the result.
pub(super) fn in_order<T>(pass: Pass, [x, w, y]: [T; 3]) -> [T; 3] {
    match pass {
        Pass::Forward => [x, w, y],
        Pass::BackwardData => [w, y, x],
        Pass::BackwardWeight => [x, y, w],
    }
}

/// A description of cuDNN's, of the host's memory only.
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) handle: Opaque,
    destroy: unsafe extern "C" fn(Opaque) -> Status,
}

// SAFETY: plain memory of the library, which nobody else knows.
unsafe impl Send for Descriptor {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    fn new(
        functions: &Functions, create: unsafe extern "C" fn(*mut Opaque) -> Status,
        destroy: unsafe extern "C" fn(Opaque) -> Status,
    ) -> Result<Self, String> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle to where it is told.
        let made = unsafe { create(&raw mut handle) };
        functions.check("making a descriptor", made)?;
        Ok(Self { handle, destroy })
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made in `new` and destroyed once.
        unsafe { (self.destroy)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, process::Command};

    /// NVIDIA's library where the loader finds it, where `ALEXNET_CUDNN` says, or in the packages of Python.
    fn library() -> Option<libloading::Library> {
        let wheel = "import nvidia.cudnn; print(nvidia.cudnn.__path__[0])";
        let python = Command::new("python3").args(["-c", wheel]).output().ok();
        let wheel = python.filter(|output| output.status.success()).map(|output| {
            let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            format!("{folder}/lib/libcudnn.so.9")
        });
        let named = env::var("ALEXNET_CUDNN").ok();
        let files = [named, Some("libcudnn.so.9".into()), wheel];
        // SAFETY: loads NVIDIA's library, whose initialisers are the system's own.
        files
            .into_iter()
            .flatten()
            .find_map(|file| unsafe { libloading::Library::new(file) }.ok())
    }

    /// The convolutions of 2012 as libraries make them: on one device of two, and on one alone.
    fn convolutions() -> Vec<Conv> {
        let conv = |channels, side, kernels, window, pad, groups| Conv {
            channels,
            height: side,
            width: side,
            kernels,
            window,
            stride: 1,
            pad_before: pad,
            pad_after: pad,
            groups,
            weight_channels: channels / groups,
            weight_offset: 0,
            by: None,
        };
        let pictures =
            Conv { stride: 4, pad_before: 0, pad_after: 3, ..conv(3, 224, 96, 11, 0, 1) };
        vec![
            pictures.packed(),
            conv(48, 27, 128, 5, 2, 1),
            conv(96, 27, 256, 5, 2, 2),
            conv(128, 13, 192, 3, 1, 1),
            conv(256, 13, 384, 3, 1, 1),
            conv(384, 13, 384, 3, 1, 2),
            conv(384, 13, 256, 3, 1, 2),
        ]
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
    fn the_true_library_makes_outputs_of_our_shapes() {
        let Some(library) = library() else {
            eprintln!("SKIP: no libcudnn.so.9; `pip install nvidia-cudnn-cu12` has one");
            return;
        };
        let functions = Functions::of(&library, "libcudnn.so.9").expect("all that is called");
        for op in convolutions() {
            for numbers in Numbers::ALL {
                let shapes = Shapes::new(&functions, numbers, &op, 128);
                assert!(shapes.is_ok(), "{op:?} of {numbers:?}: {shapes:?}");
            }
        }
        // Another shape is not taken for ours: this window would hang over.
        let op = Conv { pad_after: 2, ..convolutions()[1] };
        let told = Shapes::new(&functions, Numbers::F32, &Conv { pad_after: 3, ..op }, 1);
        assert!(told.is_err_and(|why| why.starts_with("it makes [1, 128, 27, 27]")));
    }
}
