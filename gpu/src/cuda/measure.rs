//! What a GPU takes: seconds of what is asked of it, and of copies to and from pinned memory.

use super::{
    board::Cuda,
    context::{Event, Stream},
    memory::{Memory, Pinned},
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

    /// Seconds to copy `bytes` of pinned memory to the GPU, and back.
    ///
    /// # Errors
    /// If there is no memory left, or the GPU fails.
    pub fn copy_seconds(&mut self, bytes: usize) -> Result<[f64; 2], DeviceError> {
        let memory = Memory::new(&self.context, bytes)?;
        let mut host = Pinned::new(&self.context, bytes)?;
        let (start, end) = (Event::timed(&self.context)?, Event::timed(&self.context)?);
        let stream = Stream::new(&self.context)?;
        let timed = |copy: &mut dyn FnMut() -> Result<(), DriverError>| {
            copy()?; // the first one finds pages and clocks asleep
            stream.record(&start)?;
            (0..COPIES).try_for_each(|_| copy())?;
            stream.record(&end)?;
            stream.synchronize()?;
            Ok(f64::from(end.since_ms(&start)?) * 1e-3 / COPIES as f64)
        };
        let (there, handle) = (memory.ptr().0, stream.handle());
        // SAFETY: both are as long and stay until the stream was waited for.
        let to = timed(&mut || unsafe { result::memcpy_htod_async(there, &host[..], handle) });
        let to = self.context.check("copying to the GPU", to)?;
        // SAFETY: as above.
        let from =
            timed(&mut || unsafe { result::memcpy_dtoh_async(&mut host[..], there, handle) });
        let from = self.context.check("copying from the GPU", from)?;
        Ok([to, from])
    }
}
