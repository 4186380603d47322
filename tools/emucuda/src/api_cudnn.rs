//! The functions of `libcudnn.so.9` that `gpu` calls.

use crate::{
    api_device::api,
    context::current,
    convolution::Pass,
    cudnn::{
        BAD_PARAM, CROSS_CORRELATION, Convolution, FLOAT, Given, NHWC, NOT_INITIALIZED,
        NOT_SUPPORTED, Perf, Thing, choose, destroy, kind, make, problem, problem_of, run, set,
        sizes, stream, workspace_bytes, wrong,
    },
    settings::settings,
    status::Status,
    stream::Stream,
};
use std::ffi::{CStr, c_char, c_int};

/// # Safety
/// Nothing is asked of the caller.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cudnnGetVersion() -> usize {
    settings().cudnn
}

/// # Safety
/// Nothing is asked of the caller.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cudnnGetErrorString(status: Status) -> *const c_char {
    let text: &CStr = match status {
        0 => c"CUDNN_STATUS_SUCCESS",
        NOT_INITIALIZED => c"CUDNN_STATUS_NOT_INITIALIZED",
        BAD_PARAM => c"CUDNN_STATUS_BAD_PARAM",
        NOT_SUPPORTED => c"CUDNN_STATUS_NOT_SUPPORTED",
        _ => c"CUDNN_UNKNOWN_STATUS",
    };
    text.as_ptr()
}

api! {
    fn cudnnCreate(handle: *mut usize) {
        let context = current().map_err(|_| NOT_INITIALIZED)?;
        if settings().fault("cudnn") == Some("closed") {
            return Err(NOT_INITIALIZED);
        }
        *handle = make(Thing::Handle { device: context.device, stream: None });
        Ok(())
    }

    fn cudnnDestroy(handle: usize) {
        destroy(handle)
    }

    fn cudnnSetStream(handle: usize, to: *const Stream) {
        let to = &*to;
        set(handle, |thing| match thing {
            Thing::Handle { device, stream } if *device == to.context.device => {
                *stream = Some(to);
                true
            }
            _ => false,
        })
    }

    fn cudnnCreateTensorDescriptor(made: *mut usize) {
        *made = make(Thing::Tensor(None));
        Ok(())
    }

    fn cudnnDestroyTensorDescriptor(made: usize) {
        destroy(made)
    }

    fn cudnnSetTensor4dDescriptor(
        made: usize, format: c_int, of: c_int, n: c_int, c: c_int, h: c_int, w: c_int,
    ) {
        if format != NHWC {
            return wrong(&format!("a tensor of format {format}"));
        }
        let all = (kind(of)?, sizes([n, c, h, w])?);
        set(made, |thing| match thing {
            Thing::Tensor(tensor) => {
                *tensor = Some(all);
                true
            }
            _ => false,
        })
    }

    fn cudnnCreateFilterDescriptor(made: *mut usize) {
        *made = make(Thing::Filter(None));
        Ok(())
    }

    fn cudnnDestroyFilterDescriptor(made: usize) {
        destroy(made)
    }

    fn cudnnSetFilter4dDescriptor(
        made: usize, of: c_int, format: c_int, k: c_int, c: c_int, h: c_int, w: c_int,
    ) {
        if format != NHWC {
            return wrong(&format!("a filter of format {format}"));
        }
        let all = (kind(of)?, sizes([k, c, h, w])?);
        set(made, |thing| match thing {
            Thing::Filter(filter) => {
                *filter = Some(all);
                true
            }
            _ => false,
        })
    }

    fn cudnnCreateConvolutionDescriptor(made: *mut usize) {
        *made = make(Thing::Convolution(None));
        Ok(())
    }

    fn cudnnDestroyConvolutionDescriptor(made: usize) {
        destroy(made)
    }

    fn cudnnSetConvolution2dDescriptor(
        made: usize, pad_h: c_int, pad_w: c_int, u: c_int, v: c_int, dilation_h: c_int,
        dilation_w: c_int, mode: c_int, sums: c_int,
    ) {
        let said = (dilation_h, dilation_w, mode, sums);
        if said != (1, 1, CROSS_CORRELATION, FLOAT) || pad_h < 0 || pad_w < 0 {
            return wrong(&format!("a convolution of {said:?}, padded by {pad_h}, {pad_w}"));
        }
        let [u, v, ..] = sizes([u, v, 1, 1])?;
        let pad = [pad_h as usize, pad_w as usize];
        // Until it is told otherwise, it rounds factors where it likes.
        let new = Convolution { pad, stride: [u, v], groups: 1, math: 0 };
        set(made, |thing| match thing {
            Thing::Convolution(convolution) => {
                *convolution = Some(new);
                true
            }
            _ => false,
        })
    }

    fn cudnnSetConvolutionGroupCount(made: usize, count: c_int) {
        set(made, |thing| match thing {
            Thing::Convolution(Some(convolution)) if count > 0 => {
                convolution.groups = count as usize;
                true
            }
            _ => false,
        })
    }

    fn cudnnSetConvolutionMathType(made: usize, math: c_int) {
        set(made, |thing| match thing {
            Thing::Convolution(Some(convolution)) => {
                convolution.math = math;
                true
            }
            _ => false,
        })
    }

    fn cudnnGetConvolution2dForwardOutputDim(
        conv: usize, x: usize, w: usize, n: *mut c_int, c: *mut c_int, h: *mut c_int, width: *mut c_int,
    ) {
        let (problem, _) = problem(x, w, conv)?;
        let [out_height, out_width] = problem.out();
        (*n, *c) = (problem.images as c_int, problem.kernels as c_int);
        (*h, *width) = (out_height as c_int, out_width as c_int);
        Ok(())
    }

    fn cudnnGetConvolutionForwardAlgorithm_v7(
        handle: usize, x: usize, w: usize, conv: usize, y: usize, room: c_int, count: *mut c_int,
        found: *mut Perf,
    ) {
        stream(handle)?;
        choose(&problem_of(x, w, conv, y)?, Pass::Forward, room, count, found);
        Ok(())
    }

    fn cudnnGetConvolutionBackwardDataAlgorithm_v7(
        handle: usize, w: usize, dy: usize, conv: usize, dx: usize, room: c_int, count: *mut c_int,
        found: *mut Perf,
    ) {
        stream(handle)?;
        choose(&problem_of(dx, w, conv, dy)?, Pass::Data, room, count, found);
        Ok(())
    }

    fn cudnnGetConvolutionBackwardFilterAlgorithm_v7(
        handle: usize, x: usize, dy: usize, conv: usize, dw: usize, room: c_int, count: *mut c_int,
        found: *mut Perf,
    ) {
        stream(handle)?;
        choose(&problem_of(x, dw, conv, dy)?, Pass::Weight, room, count, found);
        Ok(())
    }

    fn cudnnGetConvolutionForwardWorkspaceSize(
        handle: usize, x: usize, w: usize, conv: usize, y: usize, algorithm: c_int, bytes: *mut usize,
    ) {
        stream(handle)?;
        *bytes = workspace_bytes(&problem_of(x, w, conv, y)?.0, Pass::Forward, algorithm);
        Ok(())
    }

    fn cudnnGetConvolutionBackwardDataWorkspaceSize(
        handle: usize, w: usize, dy: usize, conv: usize, dx: usize, algorithm: c_int, bytes: *mut usize,
    ) {
        stream(handle)?;
        *bytes = workspace_bytes(&problem_of(dx, w, conv, dy)?.0, Pass::Data, algorithm);
        Ok(())
    }

    fn cudnnGetConvolutionBackwardFilterWorkspaceSize(
        handle: usize, x: usize, dy: usize, conv: usize, dw: usize, algorithm: c_int, bytes: *mut usize,
    ) {
        stream(handle)?;
        *bytes = workspace_bytes(&problem_of(x, dw, conv, dy)?.0, Pass::Weight, algorithm);
        Ok(())
    }

    fn cudnnConvolutionForward(
        handle: usize, alpha: *const f32, x: usize, at_x: usize, w: usize, at_w: usize, conv: usize,
        algorithm: c_int, workspace: usize, bytes: usize, beta: *const f32, y: usize, at_y: usize,
    ) {
        let (at, factors) = ([at_x, at_w, at_y], [*alpha, *beta]);
        let given = Given { algorithm, at, workspace, bytes, factors };
        run(handle, problem_of(x, w, conv, y)?, Pass::Forward, &given)
    }

    fn cudnnConvolutionBackwardData(
        handle: usize, alpha: *const f32, w: usize, at_w: usize, dy: usize, at_dy: usize, conv: usize,
        algorithm: c_int, workspace: usize, bytes: usize, beta: *const f32, dx: usize, at_dx: usize,
    ) {
        let (at, factors) = ([at_w, at_dy, at_dx], [*alpha, *beta]);
        let given = Given { algorithm, at, workspace, bytes, factors };
        run(handle, problem_of(dx, w, conv, dy)?, Pass::Data, &given)
    }

    fn cudnnConvolutionBackwardFilter(
        handle: usize, alpha: *const f32, x: usize, at_x: usize, dy: usize, at_dy: usize, conv: usize,
        algorithm: c_int, workspace: usize, bytes: usize, beta: *const f32, dw: usize, at_dw: usize,
    ) {
        let (at, factors) = ([at_x, at_dy, at_dw], [*alpha, *beta]);
        let given = Given { algorithm, at, workspace, bytes, factors };
        run(handle, problem_of(x, dw, conv, dy)?, Pass::Weight, &given)
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

    /// What a caller says of a convolution of 2 images of 3 x 3, 4 channels in 2 groups.
    #[derive(Debug, Clone, Copy)]
    struct Said {
        format: c_int,
        /// Of `x`, `w` and `y`.
        kinds: [c_int; 3],
        groups: c_int,
        math: c_int,
        kernels: c_int,
        out: c_int,
        algorithm: c_int,
        bytes_less: usize,
        beta: f32,
        y_from_w: bool,
    }

    const RIGHT: Said = Said {
        format: NHWC,
        kinds: [0; 3],
        groups: 2,
        math: 3,
        kernels: 2,
        out: 3,
        algorithm: 1,
        bytes_less: 0,
        beta: 0.0,
        y_from_w: false,
    };

    /// The status of the first call that does not succeed, or 0.
    fn forward(said: Said) -> Status {
        let mut context = ptr::null();
        let mut stream = ptr::null();
        let (mut handle, mut x, mut w, mut y, mut conv) = (0, 0, 0, 0, 0);
        let [at_x, at_w, at_y, room] =
            [72, 36, 36, 1024].map(|len| allocate(4 * len, Place::Device(0)).expect("memory"));
        let at_y = if said.y_from_w { at_w } else { at_y };
        let mut bytes = 0;
        let (alpha, beta) = (1.0, said.beta);
        // SAFETY: pointers to locals, and handles as they were handed out.
        let all = unsafe {
            [
                cuDevicePrimaryCtxRetain(&raw mut context, 0),
                cuCtxSetCurrent(context),
                cuStreamCreate(&raw mut stream, 0),
                cudnnCreate(&raw mut handle),
                cudnnSetStream(handle, stream),
                cudnnCreateTensorDescriptor(&raw mut x),
                cudnnCreateTensorDescriptor(&raw mut y),
                cudnnCreateFilterDescriptor(&raw mut w),
                cudnnCreateConvolutionDescriptor(&raw mut conv),
                cudnnSetTensor4dDescriptor(x, said.format, said.kinds[0], 2, 4, 3, 3),
                cudnnSetTensor4dDescriptor(y, NHWC, said.kinds[2], 2, 2, said.out, said.out),
                cudnnSetFilter4dDescriptor(w, said.kinds[1], NHWC, said.kernels, 2, 3, 3),
                cudnnSetConvolution2dDescriptor(conv, 1, 1, 1, 1, 1, 1, 1, 0),
                cudnnSetConvolutionGroupCount(conv, said.groups),
                cudnnSetConvolutionMathType(conv, said.math),
                cudnnGetConvolutionForwardWorkspaceSize(
                    handle,
                    x,
                    w,
                    conv,
                    y,
                    1,
                    &raw mut bytes,
                ),
                cudnnConvolutionForward(
                    handle,
                    &raw const alpha,
                    x,
                    at_x,
                    w,
                    at_w,
                    conv,
                    said.algorithm,
                    room,
                    bytes - said.bytes_less.min(bytes),
                    &raw const beta,
                    y,
                    at_y,
                ),
                cuStreamSynchronize(stream),
            ]
        };
        all.into_iter().find(|status| *status != 0).unwrap_or(0)
    }

    #[test]
    fn each_thing_that_is_said_wrongly_is_refused() {
        let halves = |kind| Said { kinds: [kind; 3], math: 1, ..RIGHT };
        for right in [RIGHT, Said { math: 0, ..RIGHT }, halves(2), halves(9)] {
            assert_eq!(forward(right), 0, "{right:?}");
        }
        for wrong in [
            Said { format: 0, ..RIGHT },
            Said { kinds: [0, 0, 2], ..RIGHT },
            Said { kinds: [0, 2, 0], ..RIGHT },
            Said { kinds: [2, 9, 9], ..halves(9) },
            Said { kinds: [1; 3], ..RIGHT },
            Said { math: 3, ..halves(2) },
            Said { groups: 1, ..RIGHT },
            Said { math: 1, ..RIGHT },
            Said { math: 2, ..RIGHT },
            Said { kernels: 3, ..RIGHT },
            Said { out: 4, ..RIGHT },
            Said { algorithm: 7, ..RIGHT },
            Said { bytes_less: 1, ..RIGHT },
            Said { beta: 0.5, ..RIGHT },
            Said { y_from_w: true, ..RIGHT },
        ] {
            assert_eq!(forward(wrong), BAD_PARAM, "{wrong:?}");
        }
    }
}
