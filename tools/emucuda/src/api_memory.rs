//! The driver's functions of memory and copies. Addresses are those of this process.

use crate::{
    api_device::api,
    context::{Context, current},
    memory::{Place, allocate, free, place},
    settings::settings,
    status::{Done, INVALID_VALUE, OUT_OF_MEMORY, SUCCESS, tell},
    stream::{Stream, not_captured},
};
use std::{
    ffi::{c_uint, c_void},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// How long filling memory takes, beside whatever else is done.
const MEMSET: Duration = Duration::from_micros(300);

/// Asked for so far, on all GPUs.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// `CU_MEMORYTYPE_DEVICE`.
const DEVICE: c_uint = 2;

/// `CUDA_MEMCPY2D`, of which only copies from the start are made.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Copy2d {
    from_at: [usize; 2],
    from_kind: c_uint,
    _from_host: *const c_void,
    from: usize,
    _from_array: *const c_void,
    from_pitch: usize,
    to_at: [usize; 2],
    to_kind: c_uint,
    _to_host: *mut c_void,
    to: usize,
    _to_array: *const c_void,
    to_pitch: usize,
    bytes: usize,
    rows: usize,
}

/// Whether `bytes` from `first` on are memory of `context`'s GPU, or such as it reaches.
fn within(context: &Context, first: usize, bytes: usize) -> Done {
    match place(first, bytes) {
        Some(Place::Device(device)) if context.reaches(device) => Ok(()),
        found => {
            let here = context.device;
            tell(&format!("{bytes} bytes at {first:#x} are not GPU {here}'s: {found:?}"));
            Err(INVALID_VALUE)
        }
    }
}

/// Copies when its turn has come.
///
/// # Safety
/// Both must be memory of so many bytes until then.
unsafe fn copy_later(stream: &Stream, to: usize, from: usize, bytes: usize) {
    stream.push(Arc::new(move || {
        let (from, to) =
            (ptr::with_exposed_provenance(from), ptr::with_exposed_provenance_mut::<u8>(to));
        // SAFETY: the caller's promise.
        unsafe { ptr::copy(from, to, bytes) };
        SUCCESS
    }));
}

api! {
    fn cuMemAlloc_v2(first: *mut usize, bytes: usize) {
        not_captured()?;
        let number = ALLOCATIONS.fetch_add(1, SeqCst);
        if settings().full.is_some_and(|full| number >= full) {
            return Err(OUT_OF_MEMORY);
        }
        *first = allocate(bytes, Place::Device(current()?.device))?;
        Ok(())
    }

    fn cuMemFree_v2(first: usize) {
        not_captured()?;
        current()?.synchronize()?;
        free(first)
    }

    fn cuMemHostAlloc(first: *mut usize, bytes: usize, _flags: c_uint) {
        current()?;
        if bytes > settings().pin_bytes_max {
            return Err(OUT_OF_MEMORY);
        }
        *first = allocate(bytes, Place::Pinned)?;
        Ok(())
    }

    fn cuMemFreeHost(first: usize) {
        current()?.synchronize()?;
        free(first)
    }

    fn cuMemsetD8_v2(first: usize, value: u8, bytes: usize) {
        not_captured()?;
        let context = current()?;
        within(context, first, bytes)?;
        // Other streams do not wait for it, nor does who asks.
        context.own().push(Arc::new(move || {
            thread::sleep(MEMSET);
            ptr::with_exposed_provenance_mut::<u8>(first).write_bytes(value, bytes);
            SUCCESS
        }));
        Ok(())
    }

    fn cuMemcpyHtoDAsync_v2(to: usize, from: *const c_void, bytes: usize, stream: *const Stream) {
        let stream = &*stream;
        stream.context.sound()?;
        within(stream.context, to, bytes)?;
        copy_later(stream, to, from.expose_provenance(), bytes); // read as late as it may be
        // Whoever asks for a copy of pageable memory may have to wait for it, and for what is before it.
        if place(from.addr(), bytes) == Some(Place::Pinned) { Ok(()) } else { stream.synchronize() }
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: usize, bytes: usize, stream: *const Stream) {
        let stream = &*stream;
        stream.context.sound()?;
        within(stream.context, from, bytes)?;
        copy_later(stream, to.expose_provenance(), from, bytes);
        if place(to.addr(), bytes) == Some(Place::Pinned) { Ok(()) } else { stream.synchronize() }
    }

    fn cuMemcpyDtoDAsync_v2(to: usize, from: usize, bytes: usize, stream: *const Stream) {
        let stream = &*stream;
        stream.context.sound()?;
        within(stream.context, to, bytes)?;
        within(stream.context, from, bytes)?;
        copy_later(stream, to, from, bytes);
        Ok(())
    }

    fn cuMemcpy2DAsync_v2(copy: *const Copy2d, stream: *const Stream) {
        let (stream, copy) = (&*stream, &*copy);
        stream.context.sound()?;
        let Copy2d { from_kind, from, from_pitch, to_kind, to, to_pitch, bytes, rows, .. } = *copy;
        if (from_kind, to_kind) != (DEVICE, DEVICE) || copy.from_at != [0; 2] || copy.to_at != [0; 2]
            || bytes > from_pitch.min(to_pitch) || rows == 0 {
            tell(&format!("rows of {bytes} bytes at pitches of {from_pitch} and {to_pitch}"));
            return Err(INVALID_VALUE);
        }
        within(stream.context, from, (rows - 1) * from_pitch + bytes)?;
        within(stream.context, to, (rows - 1) * to_pitch + bytes)?;
        for row in 0..rows {
            copy_later(stream, to + row * to_pitch, from + row * from_pitch, bytes);
        }
        Ok(())
    }

    fn cuMemcpyPeerAsync(
        to: usize, to_context: *const Context, from: usize, from_context: *const Context,
        bytes: usize, stream: *const Stream,
    ) {
        let stream = &*stream;
        stream.context.sound()?;
        within(&*to_context, to, bytes)?;
        within(&*from_context, from, bytes)?;
        copy_later(stream, to, from, bytes);
        Ok(())
    }
}
