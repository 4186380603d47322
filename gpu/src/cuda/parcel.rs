//! What crosses between two GPUs: a room that one fills and the other empties, and the events by which
//! each knows that the other is done. No thread waits.

use super::{
    board::{ARRIVALS, Cuda},
    buffer::Buffer,
    context::{Context, Event, Stream},
    launch::Ptr,
    memory::{Memory, Pinned},
    timeline::Timeline,
};
use crate::device::DeviceError;
use cudarc::driver::{DriverError, result, sys};
use std::sync::Arc;

/// A room for numbers on their way from one GPU to another.
#[derive(Debug)]
pub struct Parcel {
    room: Room,
    /// Of the sender: the room is full.
    filled: Arc<Event>,
    /// Of the receiver: the room is empty again.
    emptied: Event,
}

#[derive(Debug)]
enum Room {
    /// Memory of the receiver, which the sender writes.
    Peer { memory: Memory, sender: Arc<Context> },
    /// Memory of the host, where GPUs do not reach one another.
    Host(Pinned),
}

/// How two GPUs reach one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// They are one.
    Same,
    /// The sender writes the receiver's memory.
    Peer,
    /// Both reach the host's only.
    Host,
}

impl Way {
    /// From `from` to `to`.
    pub(super) fn between(from: &Context, to: &Context) -> Result<Self, DeviceError> {
        if from.handle() == to.handle() {
            return Ok(Self::Same);
        }
        Ok(if from.reaches(to)? { Self::Peer } else { Self::Host })
    }

    /// For the log.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Same => "copies on one GPU",
            Self::Peer => "peer copies",
            Self::Host => "pinned host memory: the GPUs do not reach one another",
        }
    }
}

impl Parcel {
    pub(super) fn new(
        from: &Arc<Context>, to: &Arc<Context>, way: Way, bytes: usize,
    ) -> Result<Self, DeviceError> {
        let room = match way {
            Way::Host => Room::Host(Pinned::new(from, bytes)?),
            Way::Same | Way::Peer => {
                Room::Peer { memory: Memory::new(to, bytes)?, sender: Arc::clone(from) }
            }
        };
        Ok(Self { room, filled: Arc::new(Event::new(from)?), emptied: Event::new(to)? })
    }

    /// Fills it with `bytes` from `src` on a stream of the sender, and says when it will be.
    pub(super) fn fill(
        &mut self, src: Ptr, bytes: usize, stream: &Stream, timeline: Option<&mut Timeline>,
    ) -> Result<Arc<Event>, DriverError> {
        stream.wait(&self.emptied)?;
        let mut copies = || self.copy_in(src, bytes, stream);
        match timeline {
            Some(timeline) => timeline.span("out", stream, "parcel", copies)?,
            None => copies()?,
        }
        stream.record(&self.filled)?;
        Ok(Arc::clone(&self.filled))
    }

    fn copy_in(&mut self, src: Ptr, bytes: usize, stream: &Stream) -> Result<(), DriverError> {
        match &mut self.room {
            Room::Peer { memory, sender } => {
                assert!(bytes <= memory.bytes(), "a parcel of {} bytes", memory.bytes());
                let (to, from) = (memory.context().handle(), sender.handle());
                // SAFETY: `bytes` of the receiver's memory, which is kept with the event, and of the
                // sender's buffer, which is not written before `filled`.
                unsafe {
                    sys::cuMemcpyPeerAsync(
                        memory.ptr().0,
                        to,
                        src.0,
                        from,
                        bytes,
                        stream.handle(),
                    )
                }
                .result()
            }
            Room::Host(pinned) => {
                // SAFETY: the room stays where it is, and is read after `filled` only.
                unsafe {
                    result::memcpy_dtoh_async(&mut pinned[..bytes], src.0, stream.handle())
                }
            }
        }
    }

    /// Empties `bytes` into `dst` on a stream of the receiver.
    pub(super) fn empty(
        &mut self, dst: Ptr, bytes: usize, stream: &Stream, timeline: Option<&mut Timeline>,
    ) -> Result<(), DriverError> {
        stream.wait(&self.filled)?;
        let copies = || self.copy_out(dst, bytes, stream);
        match timeline {
            Some(timeline) => timeline.span("inward", stream, "parcel", copies)?,
            None => copies()?,
        }
        stream.record(&self.emptied)
    }

    fn copy_out(&self, dst: Ptr, bytes: usize, stream: &Stream) -> Result<(), DriverError> {
        match &self.room {
            Room::Peer { memory, .. } => {
                assert!(bytes <= memory.bytes(), "a parcel of {} bytes", memory.bytes());
                let from = memory.ptr().0;
                // SAFETY: `bytes` of two buffers of the receiver, of which the first is not written
                // before `emptied`, and the second is ordered by the caller.
                unsafe { result::memcpy_dtod_async(dst.0, from, bytes, stream.handle()) }
            }
            Room::Host(pinned) => {
                // SAFETY: as above.
                unsafe { result::memcpy_htod_async(dst.0, &pinned[..bytes], stream.handle()) }
            }
        }
    }
}

impl Cuda {
    /// Parcels from `from` to `to`.
    pub(super) fn parcels_between(
        from: &Self, to: &Self, count: usize, len: usize,
    ) -> Result<Vec<Parcel>, DeviceError> {
        let way = Way::between(&from.context, &to.context)?;
        from.remark(format!(
            "{} -> {}: the exchange goes by {}",
            from.context.name(),
            to.context.name(),
            way.describe()
        ));
        let bytes = len * from.numbers.bytes();
        (0..count).map(|_| Parcel::new(&from.context, &to.context, way, bytes)).collect()
    }

    pub(super) fn fill(&mut self, src: &Buffer, len: usize, parcel: &mut Parcel) {
        assert!(len <= src.len(), "{len} numbers of {}", src.len());
        let bytes = len * src.numbers().bytes();
        if self.has_failed() {
            return;
        }
        self.bind();
        self.flush();
        let timeline = self.timeline.as_mut();
        let filled = self
            .queues
            .out_follows()
            .and_then(|()| parcel.fill(src.ptr(), bytes, &self.queues.out, timeline));
        if let Some(filled) = self.keep("sending a parcel", filled) {
            src.leaves_until(filled);
        }
    }

    pub(super) fn empty(&mut self, parcel: &mut Parcel, len: usize, dst: &Buffer) {
        assert!(len <= dst.len(), "{len} numbers into {}", dst.len());
        let bytes = len * dst.numbers().bytes();
        dst.outdate_copy();
        if self.has_failed() {
            return;
        }
        self.bind();
        self.flush();
        let arrived = &self.arrivals[self.unpacked as usize % ARRIVALS];
        let queues = &mut self.queues;
        let timeline = self.timeline.as_mut();
        let emptied = || {
            queues.inward_follows(dst.used())?;
            if let Some(event) = dst.take_leaving() {
                queues.inward.wait(&event)?;
            }
            parcel.empty(dst.ptr(), bytes, &queues.inward, timeline)?;
            queues.inward.record(arrived)?;
            queues.compute.wait(arrived)
        };
        let emptied = emptied();
        self.unpacked += 1;
        self.keep("receiving a parcel", emptied);
    }
}
