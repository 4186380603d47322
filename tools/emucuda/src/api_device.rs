//! The driver's functions of devices, contexts and errors.

use crate::{
    context::{Context, bind, bound, current, of_device},
    memory::used,
    settings::settings,
    status::{
        INVALID_VALUE, NO_DEVICE, PEER_ACCESS_ALREADY_ENABLED, PEER_ACCESS_UNSUPPORTED, Status,
        names,
    },
};
use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint},
    ptr,
};

/// Bodies of the driver's functions: they return what their block comes to.
macro_rules! api {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($arg: $type),*) -> $crate::status::Status {
            let body = || -> $crate::status::Done {
                // SAFETY: the caller keeps the driver's rules: pointers to write to are valid, handles are
                // those that were handed out.
                unsafe {
                    $crate::api_device::trust_the_caller();
                    $body
                }
            };
            let done = body();
            $crate::calls::count(stringify!($name), done);
            $crate::status::status(done)
        }
    )*};
}
pub(crate) use api;

/// What every body begins with.
///
/// # Safety
/// The driver's rules are kept.
pub(crate) const unsafe fn trust_the_caller() {}

/// `cudarc`'s names of what is asked of a device.
const CAPABILITY_MAJOR: c_uint = 75;
const CAPABILITY_MINOR: c_uint = 76;
const MULTIPROCESSORS: c_uint = 16;
const SHARED_BYTES_OPT_IN: c_uint = 97;
const CLOCK_KHZ: c_uint = 13;
const MEMORY_CLOCK_KHZ: c_uint = 36;
const MEMORY_BITS: c_uint = 37;

api! {
    fn cuInit(_flags: c_uint) {
        if settings().devices == 0 { Err(NO_DEVICE) } else { Ok(()) }
    }

    fn cuDriverGetVersion(version: *mut c_int) {
        *version = settings().driver;
        Ok(())
    }

    fn cuDeviceGetCount(count: *mut c_int) {
        *count = settings().devices as c_int;
        Ok(())
    }

    fn cuDeviceGet(device: *mut c_int, index: c_int) {
        of_device(index)?;
        *device = index;
        Ok(())
    }

    fn cuDeviceGetName(name: *mut c_char, room: c_int, device: c_int) {
        of_device(device)?;
        let text = CString::new(format!("Emulated GPU {device}")).map_err(|_| INVALID_VALUE)?;
        let bytes = text.as_bytes_with_nul();
        if bytes.len() > room as usize {
            return Err(INVALID_VALUE);
        }
        bytes.as_ptr().cast::<c_char>().copy_to_nonoverlapping(name, bytes.len());
        Ok(())
    }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        of_device(device)?;
        *bytes = settings().memory_bytes;
        Ok(())
    }

    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) {
        of_device(device)?;
        let (major, minor) = settings().capability;
        *value = match attribute {
            CAPABILITY_MAJOR => major,
            CAPABILITY_MINOR => minor,
            MULTIPROCESSORS => 4,
            SHARED_BYTES_OPT_IN => 163 << 10,
            CLOCK_KHZ | MEMORY_CLOCK_KHZ => 10_000, // so that shares of its peak are no zero
            MEMORY_BITS => 64,
            _ => return Err(INVALID_VALUE),
        };
        Ok(())
    }

    fn cuDevicePrimaryCtxRetain(context: *mut *const Context, device: c_int) {
        *context = of_device(device)?;
        Ok(())
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        of_device(device).map(drop)
    }

    fn cuCtxSetCurrent(context: *const Context) {
        bind(context.as_ref());
        Ok(())
    }

    fn cuCtxGetCurrent(context: *mut *const Context) {
        *context = bound().map_or(ptr::null(), ptr::from_ref);
        Ok(())
    }

    fn cuCtxSynchronize() {
        current()?.synchronize()
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let all = settings().memory_bytes;
        *free = all - used(current()?.device);
        *total = all;
        Ok(())
    }

    fn cuDeviceCanAccessPeer(can: *mut c_int, device: c_int, peer: c_int) {
        of_device(device)?;
        of_device(peer)?;
        *can = (settings().peers && device != peer).into();
        Ok(())
    }

    fn cuCtxEnablePeerAccess(peer: *const Context, _flags: c_uint) {
        let (context, peer) = (current()?, &*peer);
        if !settings().peers_open {
            return Err(PEER_ACCESS_UNSUPPORTED);
        }
        if context.open(peer.device) { Ok(()) } else { Err(PEER_ACCESS_ALREADY_ENABLED) }
    }

    fn cuGetErrorName(error: Status, name: *mut *const c_char) {
        *name = named(error, |names| names.0)?;
        Ok(())
    }

    fn cuGetErrorString(error: Status, says: *mut *const c_char) {
        *says = named(error, |names| names.1)?;
        Ok(())
    }
}

fn named(
    error: Status, of: impl Fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Result<*const c_char, Status> {
    names(error).map(|names| of(names).as_ptr()).ok_or(INVALID_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::contexts;

    #[test]
    fn devices_are_counted_and_named() {
        let (mut count, mut name) = (0, [0; 64]);
        // SAFETY: pointers to locals, with room as said.
        unsafe {
            assert_eq!(cuDeviceGetCount(&raw mut count), 0);
            assert_eq!(cuDeviceGetName(name.as_mut_ptr(), 64, 1), 0);
            assert_ne!(cuDeviceGetName(name.as_mut_ptr(), 64, count), 0);
        }
        assert_eq!(count as usize, contexts().len());
        let name = CStr::from_bytes_until_nul(bytes_of(&name)).expect("it ends");
        assert_eq!(name, c"Emulated GPU 1");
    }

    /// Characters as bytes.
    fn bytes_of(chars: &[c_char; 64]) -> &[u8] {
        // SAFETY: characters are bytes.
        unsafe { std::slice::from_raw_parts(chars.as_ptr().cast(), chars.len()) }
    }
}
