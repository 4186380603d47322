//! The driver's functions of modules, launches and graphs.

use crate::{
    api_device::api,
    context::current,
    image,
    module::{Function, Module, launch},
    settings::settings,
    status::{INVALID_VALUE, NOT_FOUND},
    stream::{Op, Stream},
};
use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void},
    sync::{Arc, atomic::Ordering::SeqCst},
};

const MAX_DYNAMIC_SHARED_BYTES: c_uint = 8;
/// Shared memory that a block may have at most, as on sm_80.
const SHARED_BYTES_MAX: c_int = 163 << 10;

api! {
    fn cuModuleLoadData(module: *mut *const Module, start: *const c_char) {
        current()?;
        let kernels = image::read(start, settings())?;
        *module = Box::into_raw(Box::new(Module::of(kernels)?));
        Ok(())
    }

    fn cuModuleUnload(module: *mut Module) {
        drop(Box::from_raw(module));
        Ok(())
    }

    fn cuModuleGetFunction(
        function: *mut *const Function, module: *const Module, name: *const c_char,
    ) {
        *function = (*module).function(CStr::from_ptr(name)).ok_or(NOT_FOUND)?;
        Ok(())
    }

    fn cuFuncSetAttribute(function: *const Function, attribute: c_uint, value: c_int) {
        if attribute == MAX_DYNAMIC_SHARED_BYTES {
            if !(0..=SHARED_BYTES_MAX).contains(&value) {
                return Err(INVALID_VALUE);
            }
            (*function).shared_bytes_max.store(value as u32, SeqCst);
        }
        Ok(())
    }

    fn cuLaunchKernel(
        function: *const Function, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint, shared_bytes: c_uint,
        stream: *const Stream, arguments: *const *const c_void, _extra: *const c_void,
    ) {
        (*stream).usable()?;
        let (grid, threads) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        launch(&*function, grid, threads, shared_bytes, &*stream, arguments)
    }

    fn cuStreamBeginCapture_v2(stream: *const Stream, _mode: c_uint) {
        (*stream).usable()?;
        (*stream).begin_capture()
    }

    fn cuStreamEndCapture(stream: *const Stream, graph: *mut *const Vec<Op>) {
        *graph = Box::into_raw(Box::new((*stream).end_capture()?));
        Ok(())
    }

    fn cuGraphInstantiateWithFlags(
        instance: *mut *const Vec<Op>, graph: *const Vec<Op>, _flags: c_ulonglong,
    ) {
        if !settings().graphs {
            return Err(INVALID_VALUE);
        }
        *instance = Box::into_raw(Box::new((*graph).clone()));
        Ok(())
    }

    fn cuGraphLaunch(instance: *const Vec<Op>, stream: *const Stream) {
        (*stream).usable()?;
        (*instance).iter().for_each(|op| (*stream).push(Arc::clone(op)));
        Ok(())
    }

    fn cuGraphDestroy(graph: *mut Vec<Op>) {
        drop(Box::from_raw(graph));
        Ok(())
    }

    fn cuGraphExecDestroy(instance: *mut Vec<Op>) {
        drop(Box::from_raw(instance));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::INVALID_IMAGE;
    use crate::{api_device::cuCtxSetCurrent, api_device::cuDevicePrimaryCtxRetain};
    use std::ptr;

    #[test]
    fn an_image_of_neither_kind_is_refused_by_its_status() {
        let (mut context, mut module) = (ptr::null(), ptr::null());
        // SAFETY: pointers to locals, and an image that ends with a zero.
        unsafe {
            assert_eq!(cuDevicePrimaryCtxRetain(&raw mut context, 0), 0);
            assert_eq!(cuCtxSetCurrent(context), 0);
            assert_eq!(cuModuleLoadData(&raw mut module, c"junk".as_ptr()), INVALID_IMAGE);
        }
    }
}
