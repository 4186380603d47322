//! [`Cuda`]: one GPU as a device, and how it does what the device trait asks.
//!
//! Every call is put on a stream and returns; what fails is kept, all later calls do nothing, and
//! [`progress`](crate::device::Device::progress) tells.

use super::{
    batch::{Batch, Feed, Taken, batch_max},
    buffer::Buffer,
    context::{Context, Event},
    graph::{Graphs, Makers},
    images,
    launch::{Launch, Ptr},
    libraries::{Call, Libraries, Refused, Tuning},
    memory::{Memory, Pinned, pageable},
    module::Kernels,
    numbers::{self, Numbers},
    probe::{Found, Gpu, PTX_DRIVER_MIN, Unusable},
    queues::Queues,
    setup::Setup,
    steps::workspace_bytes,
    tile::Tile,
    timeline::Timeline,
};
use crate::{
    device::{Demand, DeviceError, Progress},
    ops::{conv::Conv, finish::cuda::LRN_CHANNELS_MAX},
};
use cudarc::driver::DriverError;
use std::{cell::RefCell, sync::Arc};

/// Batches on their way: one in work, and one that is asked for meanwhile.
pub(super) const BATCHES: usize = 1 + 1;
/// Parcels that are unpacked in as many batches, at most: 2 ways at 16 layers, and as many again.
pub(super) const ARRIVALS: usize = 64;

/// One GPU.
#[derive(Debug)]
pub struct Cuda {
    gpu: Gpu,
    image: &'static str,
    /// What activations are kept in, and products multiply.
    pub(super) numbers: Numbers,
    pub(super) context: Arc<Context>,
    kernels: Kernels,
    graphs: Graphs,
    pub(super) libraries: Libraries,
    /// Of all products of our own kernels, if it was asked for.
    pub(super) tile: Option<Tile>,
    pub(super) queues: Queues,
    pub(super) rooms: Option<Rooms>,
    /// What went wrong first.
    pub(super) failed: Option<DeviceError>,
    pub(super) begun: u64,
    pub(super) scored: u64,
    pub(super) progress: Progress,
    /// Of the batch whose score was taken last.
    pub(super) taken: Taken,
    /// If someone watches.
    pub(super) timeline: Option<Timeline>,
    pub(super) unpacked: u64,
    /// Of the newest parcels.
    pub(super) arrivals: Vec<Event>,
    remarks: RefCell<Vec<String>>,
}

/// What [`Cuda::reserve`](crate::device::Device::reserve) allocates.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) feed: Feed,
    pub(super) batches: [Batch; BATCHES],
    workspace: Memory,
    /// What reads the pictures.
    pub(super) first: Option<Conv>,
    pub(super) rows: usize,
    pub(super) classes: usize,
}

impl Drop for Cuda {
    /// Kernels and copies that are under way use what is about to be freed. A GPU that does not end them is given up.
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            let _ = self.queues.synchronize(); // who asked for them is gone
        }
    }
}

impl Cuda {
    /// GPU `index` of those that were found, with what the environment says.
    ///
    /// # Errors
    /// If there is no such GPU, or it cannot be used.
    pub fn open(found: &Found, index: usize) -> Result<Self, DeviceError> {
        Self::open_with(found, index, Setup::of_environment())
    }

    /// The same with what `setup` says.
    ///
    /// # Errors
    /// If there is no such GPU, or it cannot be used.
    pub fn open_with(found: &Found, index: usize, setup: Setup) -> Result<Self, DeviceError> {
        let gpu = found.usable(index).map_err(DeviceError::Unusable)?.clone();
        let context = Context::new(index, setup.patience)?;
        let image =
            images::pick(gpu.capability, setup.kernels).ok_or_else(|| DeviceError::Failed {
                device: context.name().into(),
                doing: "choosing its kernels",
                reason: "there is PTX for compute capability 8.0 and newer only".into(),
            })?;
        if image.is_ptx() && found.driver < PTX_DRIVER_MIN {
            let found = found.driver;
            return Err(DeviceError::Unusable(Unusable::OldDriverForPtx { found }));
        }
        let kernels = Kernels::load(&context, &image.bytes)?;
        let arrivals = (0..ARRIVALS).map(|_| Event::new(&context)).collect::<Result<_, _>>()?;
        Ok(Self {
            queues: Queues::new(&context)?,
            gpu,
            image: image.name,
            numbers: Numbers::default(),
            context,
            kernels,
            graphs: Graphs::default(),
            libraries: Libraries::new(found.driver, setup.libraries),
            tile: None,
            rooms: None,
            failed: None,
            begun: 0,
            scored: 0,
            progress: Progress::default(),
            taken: Taken::default(),
            timeline: None,
            unpacked: 0,
            arrivals,
            remarks: RefCell::default(),
        })
    }

    /// Has it keep activations in `numbers`, and multiply these, from before the first buffer on.
    ///
    /// # Panics
    /// If they are tf32 and the GPU is older than [`TF32_FROM`](super::numbers::TF32_FROM).
    #[must_use]
    pub fn keeping(mut self, numbers: Numbers) -> Self {
        let capable = numbers != Numbers::Tf32 || self.gpu.capability >= numbers::TF32_FROM;
        assert!(capable, "{} has no tf32", self.gpu.name);
        self.numbers = numbers;
        self
    }

    /// The GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The name of the image that its kernels are of.
    pub fn image(&self) -> &'static str {
        self.image
    }

    /// Has the fastest ways kept, or timed, when it is reserved for.
    #[must_use]
    pub fn tuned(mut self, tuning: Tuning) -> Self {
        self.libraries.tuning = Some(tuning);
        self
    }

    pub(super) fn remark(&self, text: String) {
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.contains(&text) {
            remarks.push(text);
        }
    }

    pub(super) fn take_remarks(&mut self) -> Vec<String> {
        self.remarks.take()
    }

    /// Keeps the first error; returns what there is to go on with.
    pub(super) fn keep<T>(
        &mut self, doing: &'static str, done: Result<T, DriverError>,
    ) -> Option<T> {
        match self.context.check(doing, done) {
            Ok(done) => Some(done),
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }

    /// Makes the context this thread's: one thread may have several GPUs.
    pub(super) fn bind(&mut self) {
        if let Err(error) = self.context.bind() {
            self.failed.get_or_insert(error);
        }
    }

    /// Whether there is no use in going on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn pin(&self, bytes: usize) -> Result<Pinned, DeviceError> {
        let (slot, refused) = Pinned::or_pageable(&self.context, bytes)?;
        if let Some(refused) = refused {
            self.remark(pageable(&refused, bytes));
        }
        Ok(slot)
    }

    pub(super) fn reserve_rooms(&mut self, demand: &Demand) -> Result<(), DeviceError> {
        let (batch, most) = (demand.batch, batch_max(demand));
        if batch > most {
            return Err(DeviceError::TooLong {
                device: self.context.name().into(),
                batch,
                most,
            });
        }
        let normalised = demand.finishes.iter().filter(|op| op.lrn.is_some());
        let widest = normalised.map(|op| op.channels).max().unwrap_or(0);
        if widest > LRN_CHANNELS_MAX {
            return Err(DeviceError::TooWide {
                device: self.context.name().into(),
                channels: widest,
                most: LRN_CHANNELS_MAX,
            });
        }
        let batch = || Batch::new(&self.context, demand.batch);
        self.rooms = Some(Rooms {
            feed: Feed::new(&self.context, self.numbers, demand)?,
            batches: [batch()?, batch()?],
            workspace: Memory::new(&self.context, workspace_bytes(self.numbers, demand))?,
            first: demand.convs.first().copied(),
            rows: demand.batch,
            classes: demand.classes,
        });
        self.plan_products(demand);
        self.forget_graphs(); // of other plans, and of trying these
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Runs of launches that come again are new ones.
    pub(super) fn forget_graphs(&mut self) {
        self.graphs = Graphs::default();
    }

    pub(super) fn workspace(&self) -> Ptr {
        self.rooms().workspace.ptr()
    }

    pub(super) fn params(&self) -> Ptr {
        self.rooms().feed.params.ptr()
    }

    pub(super) fn labels(&self) -> Ptr {
        self.rooms().feed.labels.ptr()
    }

    pub(super) fn scores(&self) -> Ptr {
        self.rooms().feed.scores.ptr()
    }

    pub(super) fn packed(&self) -> Ptr {
        self.rooms().feed.packed.ptr()
    }

    pub(super) fn pictures(&self) -> Ptr {
        self.rooms().feed.pictures.ptr()
    }

    pub(super) fn rooms(&self) -> &Rooms {
        self.rooms.as_ref().expect("reserved before the first batch")
    }

    /// Puts a kernel behind all others, with the run that it belongs to.
    pub(super) fn launch(&mut self, launch: &Launch) {
        if !self.has_failed() {
            self.graphs.push(launch);
        }
    }

    /// The same with a library's call.
    pub(super) fn call(&mut self, call: Call) {
        if !self.has_failed() {
            self.graphs.call(call);
        }
    }

    /// Ends the run of launches: what is asked of `compute` next is behind them.
    pub(super) fn flush(&mut self) {
        if self.has_failed() {
            self.graphs.clear();
            return;
        }
        let Self { graphs, kernels, libraries, queues, context, timeline, .. } = self;
        let mut makers = Makers { kernels, libraries };
        let Some(first) = graphs.first() else { return };
        let mut doing = first;
        let mut launches = || {
            let launched = graphs.flush(&mut makers, &queues.compute, context);
            launched.map_err(|(kernel, error)| {
                doing = kernel;
                error
            })
        };
        let launched = match timeline {
            Some(timeline) => timeline.span("compute", &queues.compute, first, launches),
            None => launches(),
        };
        if let Some(why) = self.graphs.refused() {
            let name = self.context.name();
            self.remark(format!(
                "{name} did not take launches as a graph, and is asked for them one by one, which takes longer: {why}"
            ));
        }
        match launched {
            Ok(()) => {}
            Err(Refused::Driver(error)) => drop(self.keep(doing, Err::<(), _>(error))),
            Err(Refused::Library(reason)) => {
                let device = self.context.name().into();
                self.failed.get_or_insert(DeviceError::Failed { device, doing, reason });
            }
        }
    }

    /// The address of what op `op` writes, once it may.
    pub(super) fn write(&mut self, buffer: &Buffer, op: u64) -> Ptr {
        buffer.outdate_copy();
        self.write_with_copy(buffer, op)
    }

    /// The same where op `op` writes the copy that products read, too, as far as it writes the numbers.
    pub(super) fn write_with_copy(&mut self, buffer: &Buffer, op: u64) -> Ptr {
        if let Some(event) = buffer.take_leaving() {
            self.flush();
            let waits = self.queues.compute.wait(&event);
            self.keep("waiting for a parcel to leave", waits);
        }
        buffer.read_by(op)
    }

    /// The address of what op `op` multiplies.
    pub(super) fn factor(&mut self, buffer: &Buffer, op: u64) -> Ptr {
        let floats = buffer.read_by(op);
        let Some(copy) = buffer.copy() else {
            let held = self.numbers.in_memory();
            assert_eq!(buffer.numbers(), held, "products read activations and factors");
            return floats;
        };
        if buffer.take_stale() {
            let (numbers, len) = (self.numbers, buffer.len());
            numbers::narrow(numbers, len, floats, copy, &mut |l| self.launch(&l));
        }
        copy
    }

    /// Copies to the GPU and waits for it.
    pub(super) fn write_now(&mut self, dst: &Buffer, src: &[f32]) {
        assert!(src.len() <= dst.len(), "{} floats into {}", src.len(), dst.len());
        if src.is_empty() || self.has_failed() {
            return;
        }
        self.bind();
        self.flush();
        let op = self.queues.count();
        let to = self.write(dst, op);
        let src = dst.numbers().narrow(src);
        // SAFETY: `dst` is as long.
        let copied = unsafe { self.queues.compute.write(to, &src) };
        self.keep("copying to the GPU", copied);
    }

    /// Waits for all that was asked, and copies from the GPU.
    pub(super) fn read_now(&mut self, src: &Buffer, dst: &mut [f32]) {
        assert!(dst.len() <= src.len(), "{} floats of {}", dst.len(), src.len());
        if dst.is_empty() || self.has_failed() {
            return;
        }
        self.bind();
        self.flush();
        let op = self.queues.count();
        let from = src.read_by(op);
        let mut bytes = vec![0_u8; dst.len() * src.numbers().bytes()];
        // SAFETY: `src` is as long.
        let copied = unsafe { self.queues.compute.read(from, &mut bytes) };
        self.keep("copying from the GPU", copied);
        src.numbers().widen(&bytes, dst);
    }
}
