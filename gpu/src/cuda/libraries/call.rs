//! What is put on a stream beside kernels, as a value: the same in every step, as a launch is.

use super::{Libraries, plan::Planned};
use crate::cuda::{context::Stream, launch::Ptr, probe::says};
use cudarc::driver::{
    DriverError,
    sys::{self, CUmemorytype},
};
use std::{fmt, ptr};

/// A call of a library, or a copy that one needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cuda) enum Call {
    /// A pass that was planned: two operands and the result, as the library takes them.
    Product {
        /// Which library.
        library: &'static str,
        /// Which of the plans.
        plan: usize,
        /// Where they lie.
        operands: [Ptr; 3],
        /// Add to what is there.
        accumulate: bool,
        /// The result is `f32`, whatever was multiplied.
        wide: bool,
    },
    /// Rows, of which each memory has its own pitch.
    Rows {
        /// From where, and bytes from row to row.
        from: (Ptr, usize),
        /// To where, likewise.
        to: (Ptr, usize),
        /// Bytes of a row.
        bytes: usize,
        /// How many.
        rows: usize,
    },
}

impl Call {
    /// For the timeline and errors.
    pub(in crate::cuda) const fn name(&self) -> &'static str {
        match self {
            Self::Product { library, .. } => library,
            Self::Rows { .. } => "rows of weights",
        }
    }
}

/// Why something was not put on a stream.
#[derive(Debug)]
pub(in crate::cuda) enum Refused {
    /// The driver's error.
    Driver(DriverError),
    /// A library's words.
    Library(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => f.write_str(&says(*error)),
            Self::Library(why) => f.write_str(why),
        }
    }
}

impl From<DriverError> for Refused {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl Libraries {
    /// Puts a call on the stream that the libraries were opened with.
    pub(in crate::cuda) fn make(&self, stream: &Stream, call: &Call) -> Result<(), Refused> {
        match *call {
            Call::Product { plan, operands, accumulate, wide, .. } => {
                self.product(plan, operands, (accumulate, wide)).map_err(Refused::Library)
            }
            Call::Rows { from, to, bytes, rows } => {
                let copy = sys::CUDA_MEMCPY2D {
                    srcXInBytes: 0,
                    srcY: 0,
                    srcMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
                    srcHost: ptr::null(),
                    srcDevice: from.0.0,
                    srcArray: ptr::null_mut(),
                    srcPitch: from.1,
                    dstXInBytes: 0,
                    dstY: 0,
                    dstMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
                    dstHost: ptr::null_mut(),
                    dstDevice: to.0.0,
                    dstArray: ptr::null_mut(),
                    dstPitch: to.1,
                    WidthInBytes: bytes,
                    Height: rows,
                };
                // SAFETY: `rows` rows of memory of one GPU on both sides, as whoever made the call says.
                unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, stream.handle()) }
                    .result()?;
                Ok(())
            }
        }
    }

    fn product(
        &self, plan: usize, operands: [Ptr; 3], (accumulate, wide): (bool, bool),
    ) -> Result<(), String> {
        match (&self.plans[plan], &self.cudnn, &self.cublas) {
            (Planned::Conv { plan, .. }, Some(cudnn), _) => {
                let room = self.room.as_ref().expect("as long as there are plans");
                cudnn.run(plan, operands, accumulate, room.workspace())
            }
            (Planned::Linear { op, n, pass }, _, Some(cublas)) => {
                cublas.run(op, *n, *pass, operands, (accumulate, wide))
            }
            _ => unreachable!("plans are made by what is there"),
        }
    }
}
