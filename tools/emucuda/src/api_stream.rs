//! The driver's functions of streams and events.

use crate::{
    api_device::api,
    context::current,
    status::{INVALID_HANDLE, NOT_READY},
    stream::{Event, Stream},
};
use std::ffi::c_uint;

/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: c_uint = 2;

api! {
    fn cuStreamCreate(stream: *mut *const Stream, _flags: c_uint) {
        *stream = Stream::new(current()?);
        Ok(())
    }

    fn cuStreamDestroy_v2(stream: *const Stream) {
        (*stream).synchronize() // its thread stays: handles may be held by ops that are queued
    }

    fn cuStreamSynchronize(stream: *const Stream) {
        (*stream).context.sound()?;
        (*stream).synchronize()
    }

    fn cuStreamQuery(stream: *const Stream) {
        let stream = if stream.is_null() { current()?.own() } else { &*stream };
        if stream.idle()? { Ok(()) } else { Err(NOT_READY) }
    }

    fn cuStreamWaitEvent(stream: *const Stream, event: *const Event, _flags: c_uint) {
        (*stream).context.sound()?;
        (*stream).wait(&*event)
    }

    fn cuEventCreate(event: *mut *const Event, flags: c_uint) {
        *event = Box::leak(Box::new(Event::new(current()?.device, flags & DISABLE_TIMING == 0)));
        Ok(())
    }

    fn cuEventDestroy_v2(_event: *const Event) {
        Ok(()) // few, and a dangling one would be a crash of the test and not its failure
    }

    fn cuEventRecord(event: *const Event, stream: *const Stream) {
        (*stream).context.sound()?;
        (*stream).record(&*event)
    }

    fn cuEventQuery(event: *const Event) {
        current()?;
        if (*event).happened() { Ok(()) } else { Err(NOT_READY) }
    }

    fn cuEventSynchronize(event: *const Event) {
        (*event).wait();
        current().map(drop)
    }

    fn cuEventElapsedTime(milliseconds: *mut f32, start: *const Event, end: *const Event) {
        if ![start, end].into_iter().all(|event| (*event).tells_time()) {
            return Err(INVALID_HANDLE);
        }
        let start = (*start).at().ok_or(NOT_READY)?;
        let end = (*end).at().ok_or(NOT_READY)?;
        let seconds = if end >= start {
            (end - start).as_secs_f32()
        } else {
            -(start - end).as_secs_f32()
        };
        *milliseconds = seconds * 1e3;
        Ok(())
    }
}
