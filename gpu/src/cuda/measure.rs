//! What a GPU takes: seconds of what is asked of it, and of copies to and from pinned memory, which are to come as
//! they were sent.

use super::{
    board::Cuda,
    context::{Event, Stream},
    memory::{Memory, some_lie_pageable},
};
use crate::device::DeviceError;
use cudarc::driver::{DriverError, result};

/// Copies of which one is timed with the others.
const COPIES: usize = 4;

/// A moment of a GPU.
#[derive(Debug)]
pub struct Clock(Event);

impl Cuda {
    /// Starts a clock of the GPU's own, behind all that was asked of it.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn clock_start(&mut self) -> Result<Clock, DeviceError> {
        self.bind();
        self.flush();
        let start = Event::timed(&self.context)?;
        let started = self.queues.compute.record(&start);
        self.keep("starting a clock", started);
        Ok(Clock(start))
    }

    /// Seconds that the GPU took for what was asked of it since.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn clock_stop(&mut self, clock: &Clock) -> Result<f64, DeviceError> {
        self.bind();
        self.flush();
        let end = Event::timed(&self.context)?;
        let ended = self.queues.compute.record(&end);
        let ended = ended.and_then(|()| self.queues.synchronize());
        let ms = ended.and_then(|()| end.since_ms(&clock.0));
        let ms = self.keep("reading a clock", ms);
        self.look()?;
        Ok(f64::from(ms.unwrap_or(0.0)) * 1e-3)
    }

    /// Seconds to copy `bytes`, whole words, of pinned memory to the GPU, and back; of pageable memory, where a remark says
    /// so.
    ///
    /// # Errors
    /// If there is no memory left, the GPU fails, or what comes back is not what was sent.
    pub fn copy_seconds(&mut self, bytes: usize) -> Result<[f64; 2], DeviceError> {
        let memory = Memory::filled(&self.context, bytes, 0)?;
        let mut host = self.pin(bytes)?;
        // Each word tells its place, and none is zero.
        let words: &mut [u32] = bytemuck::cast_slice_mut(&mut host);
        words.iter_mut().zip(1..).for_each(|(word, place)| *word = place);
        let (start, end) = (Event::timed(&self.context)?, Event::timed(&self.context)?);
        let stream = Stream::new(&self.context)?;
        let timed = |copy: &mut dyn FnMut() -> Result<(), DriverError>| {
            copy()?; // the first one finds pages and clocks asleep
            stream.record(&start)?;
            for _ in 0..COPIES {
                if some_lie_pageable() {
                    stream.synchronize()?; // or the driver would wait for the copy before, for as long as it takes
                }
                copy()?;
            }
            stream.record(&end)?;
            stream.synchronize()?;
            Ok(f64::from(end.since_ms(&start)?) * 1e-3 / COPIES as f64)
        };
        let (there, handle) = (memory.ptr().0, stream.handle());
        // SAFETY: both are as long and stay until the stream was waited for.
        let to = timed(&mut || unsafe { result::memcpy_htod_async(there, &host[..], handle) });
        let to = self.context.check("copying to the GPU", to)?;
        host.fill(0);
        // SAFETY: as above.
        let from =
            timed(&mut || unsafe { result::memcpy_dtoh_async(&mut host[..], there, handle) });
        let from = self.context.check("copying from the GPU", from)?;
        let words: &[u32] = bytemuck::cast_slice(&host);
        match words.iter().zip(1..).find(|(word, place)| *word != place) {
            None => Ok([to, from]),
            Some((word, place)) => Err(DeviceError::Failed {
                device: self.context.name().into(),
                doing: "copying to the GPU and back",
                reason: format!("{word} came back, and {place} was sent"),
            }),
        }
    }
}
