//! The kernels on a GPU: an image of them all, loaded once, and launches put on a stream.

use super::{
    context::{Context, Stream},
    launch::Launch,
};
use crate::device::DeviceError;
use cudarc::driver::{
    DriverError, result,
    sys::{self, CUfunction_attribute as Attribute},
};
use std::{collections::HashMap, ffi::CString, sync::Arc};

/// Dynamic shared memory that every kernel may have; more has to be asked for.
const SHARED_BYTES_FREE: u32 = 48 << 10;

/// The loaded kernels.
#[derive(Debug)]
pub(super) struct Kernels {
    context: Arc<Context>,
    module: sys::CUmodule,
    /// Those that were launched, and the dynamic shared memory that was asked for.
    functions: HashMap<&'static str, (sys::CUfunction, u32)>,
}

// SAFETY: as for `Context`.
unsafe impl Send for Kernels {}

impl Kernels {
    /// Loads `image`: a cubin, or PTX that the driver compiles and that ends with a zero.
    pub(super) fn load(context: &Arc<Context>, image: &[u8]) -> Result<Self, DeviceError> {
        context.bind()?;
        // SAFETY: an image of kernels, of which PTX ends with a zero and cubins know their length.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let module = context.check("loading the kernels", module)?;
        let functions = HashMap::new();
        Ok(Self { context: Arc::clone(context), module, functions })
    }

    /// Puts a launch on `stream`, a stream of the same context, which is bound.
    pub(super) fn launch(
        &mut self, stream: &Stream, launch: &Launch,
    ) -> Result<(), DriverError> {
        let function = self.function(launch)?;
        let [grid_x, grid_y, grid_z] = launch.grid;
        let [block_x, block_y, block_z] = launch.block;
        let mut arguments = launch.args.addresses();
        // SAFETY: the op that made the launch vouches for number, order and sizes of the arguments, which
        // the driver copies before it returns, and for the length of what they point at; the device
        // keeps that memory until it has waited for its streams.
        let launched = unsafe {
            sys::cuLaunchKernel(
                function,
                grid_x,
                grid_y,
                grid_z,
                block_x,
                block_y,
                block_z,
                launch.shared_bytes,
                stream.handle(),
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        launched.result()
    }

    fn function(&mut self, launch: &Launch) -> Result<sys::CUfunction, DriverError> {
        let known = self.functions.get(launch.kernel).copied();
        if let Some((function, _)) = known.filter(|(_, bytes)| launch.shared_bytes <= *bytes) {
            return Ok(function);
        }
        let name = CString::new(launch.kernel).expect("kernels' names are ASCII");
        // SAFETY: the module is loaded and lives as long as `self`.
        let function = unsafe { result::module::get_function(self.module, name) }?;
        if launch.shared_bytes > SHARED_BYTES_FREE {
            let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = launch.shared_bytes as i32;
            // SAFETY: the function is of our module.
            unsafe { result::function::set_function_attribute(function, attribute, bytes) }?;
        }
        let bytes = launch.shared_bytes.max(SHARED_BYTES_FREE);
        self.functions.insert(launch.kernel, (function, bytes));
        Ok(function)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        let module = self.module;
        // SAFETY: loaded once, in `load`.
        self.context.free(|| unsafe { result::module::unload(module) });
    }
}
