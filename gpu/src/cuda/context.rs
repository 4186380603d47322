//! A GPU's context, bound to the thread that calls, and its streams and events: each freed when it is
//! dropped, unless the GPU was given up.
//!
//! The driver's own tracking of who uses what is not used: all order between streams is ours.

use super::{launch::Ptr, probe::says};
use crate::device::DeviceError;
use cudarc::driver::{
    DriverError, result,
    result::stream::StreamKind,
    sys::{self, CUevent_flags, CUresult},
};
use std::{
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Between two looks at what somebody waits for: the driver waits without a limit, or looks once.
const PAUSE: Duration = Duration::from_micros(50);

/// The context that everything on one GPU shares.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
    name: String,
    state: Arc<State>,
    /// How long a GPU may take for what somebody waits for.
    patience: Duration,
}

/// What all in this process share who open one GPU: the driver has one primary context of it.
#[derive(Debug, Default)]
struct State {
    /// Whether the GPU has failed or fallen silent. Then nothing is freed: that would wait for it, and
    /// the end of the process frees all.
    lost: AtomicBool,
    /// Bytes of the GPU's memory that were given out.
    given_bytes: AtomicUsize,
}

impl State {
    /// That of GPU `index` of `count`.
    fn of(index: usize, count: usize) -> Arc<Self> {
        static STATES: OnceLock<Vec<Arc<State>>> = OnceLock::new();
        let states = STATES.get_or_init(|| (0..count).map(|_| Arc::default()).collect());
        Arc::clone(&states[index])
    }
}

// SAFETY: the driver's handles belong to the process, and its functions may be called from any thread.
unsafe impl Send for Context {}
// SAFETY: as above; what changes is atomic.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of GPU `index`, which [`super::probe`] has found.
    pub(super) fn new(index: usize, patience: Duration) -> Result<Arc<Self>, DeviceError> {
        let name = format!("gpu {index}");
        let failed = |error| {
            failed(&name, "opening it, which takes some hundred MiB of its memory", error)
        };
        let count = result::device::get_count().map_err(failed)? as usize;
        let device = result::device::get(index as i32).map_err(failed)?;
        // SAFETY: the driver just gave us the device; `drop` releases the context.
        let handle = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        let context = Self { device, handle, name, state: State::of(index, count), patience };
        context.bind()?;
        Ok(Arc::new(context))
    }

    /// Makes it this thread's.
    pub(super) fn bind(&self) -> Result<(), DeviceError> {
        // SAFETY: the handle lives as long as `self`.
        self.check("binding it to a thread", unsafe { result::ctx::set_current(self.handle) })
    }

    /// What an error of the driver means here.
    pub(super) fn check<T>(
        &self, doing: &'static str, done: Result<T, DriverError>,
    ) -> Result<T, DeviceError> {
        done.map_err(|error| match error {
            // Nobody else asks whether something is ready and goes on if it is not.
            DriverError(CUresult::CUDA_ERROR_NOT_READY) => DeviceError::Silent {
                device: self.name.clone(),
                doing,
                seconds: self.patience.as_secs(),
            },
            error => failed(&self.name, doing, error),
        })
    }

    /// The error of host memory that could not be pinned.
    pub(super) fn not_pinned(&self, wanted_bytes: usize, error: DriverError) -> DeviceError {
        DeviceError::NotPinned { device: self.name.clone(), wanted_bytes, reason: says(error) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn handle(&self) -> sys::CUcontext {
        self.handle
    }

    /// Free and total memory in bytes.
    pub(super) fn memory(&self) -> Result<(usize, usize), DeviceError> {
        self.bind()?;
        self.check("asking for its memory", result::mem_get_info())
    }

    fn is_lost(&self) -> bool {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Bytes of the GPU's memory that were given out in this process.
    pub(super) fn given_bytes(&self) -> &AtomicUsize {
        &self.state.given_bytes
    }

    /// Nothing more is asked of the GPU.
    pub(super) fn give_up(&self) {
        self.state.lost.store(true, Ordering::Relaxed); // it orders nothing else
    }

    /// Frees something, or waits to, with this context bound, unless the GPU was given up. An error has no
    /// one to go to, and the end of the process frees all.
    pub(super) fn free(&self, free: impl FnOnce() -> Result<(), DriverError>) {
        if !self.is_lost() && self.bind().is_ok() {
            let _ = free();
        }
    }

    /// Waits until the driver's own stream, which ours do not wait for, has done what was asked of it.
    pub(super) fn wait_for_its_own(&self) -> Result<(), DriverError> {
        self.wait_for(ptr::null_mut())
    }

    /// Waits for a stream, but not for longer than a GPU may take: then it is given up.
    fn wait_for(&self, stream: sys::CUstream) -> Result<(), DriverError> {
        let started = Instant::now();
        loop {
            // SAFETY: a stream that its owner keeps, or the driver's own of the context that is bound.
            match unsafe { sys::cuStreamQuery(stream) } {
                late @ CUresult::CUDA_ERROR_NOT_READY if self.is_lost() => {
                    return Err(DriverError(late));
                }
                CUresult::CUDA_ERROR_NOT_READY => {}
                done => return done.result(),
            }
            if started.elapsed() > self.patience {
                self.give_up();
            }
            thread::sleep(PAUSE);
        }
    }

    /// Whether `self` may read and write memory of `peer`, which is opened for it.
    pub(super) fn reaches(&self, peer: &Self) -> Result<bool, DeviceError> {
        if self.handle == peer.handle {
            return Ok(true);
        }
        let mut can = 0;
        // SAFETY: writes one integer to where it is told; both devices came from the driver.
        let asked =
            unsafe { sys::cuDeviceCanAccessPeer(&raw mut can, self.device, peer.device) };
        self.check("asking for a peer", asked.result())?;
        if can == 0 {
            return Ok(false);
        }
        self.bind()?;
        // SAFETY: our context is bound, the peer's lives as long as `peer`.
        match unsafe { sys::cuCtxEnablePeerAccess(peer.handle, 0) } {
            CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(true),
            // What can be asked may still be refused, as by a virtual machine.
            CUresult::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED
            | CUresult::CUDA_ERROR_TOO_MANY_PEERS => Ok(false),
            done => self.check("opening a peer's memory", done.result()).map(|()| true),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let device = self.device;
        // SAFETY: retained once, in `new`; whatever used it held the Arc.
        self.free(|| unsafe { result::primary_ctx::release(device) });
    }
}

fn failed(device: &str, doing: &'static str, error: DriverError) -> DeviceError {
    DeviceError::Failed { device: device.into(), doing, reason: says(error) }
}

/// Work in order, beside that of other streams.
#[derive(Debug)]
pub(super) struct Stream {
    context: Arc<Context>,
    handle: sys::CUstream,
}

// SAFETY: as for `Context`.
unsafe impl Send for Stream {}
// SAFETY: as for `Context`.
unsafe impl Sync for Stream {}

impl Stream {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, DeviceError> {
        context.bind()?;
        let made = result::stream::create(StreamKind::NonBlocking);
        let handle = context.check("making a stream", made)?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    pub(super) fn handle(&self) -> sys::CUstream {
        self.handle
    }

    /// What is asked of it from here on happens after what `event` was last recorded behind.
    pub(super) fn wait(&self, event: &Event) -> Result<(), DriverError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both handles live as long as their owners.
        unsafe { result::stream::wait_event(self.handle, event.handle, flags) }
    }

    /// `event` stands behind all that was asked so far.
    pub(super) fn record(&self, event: &Event) -> Result<(), DriverError> {
        // SAFETY: both handles live as long as their owners; both are of one context, as the device
        // that owns them made both.
        unsafe { result::event::record(event.handle, self.handle) }
    }

    /// Waits until all that was asked has happened, but not for longer than a GPU may take: then it is given up.
    pub(super) fn synchronize(&self) -> Result<(), DriverError> {
        self.context.wait_for(self.handle)
    }

    /// Copies to the GPU once all that was asked has happened, and waits for it: the driver itself waits for a copy of
    /// memory that is not pinned, without a limit.
    ///
    /// # Safety
    /// `to` is the GPU's and as long.
    pub(super) unsafe fn write(&self, to: Ptr, bytes: &[u8]) -> Result<(), DriverError> {
        self.synchronize()?;
        // SAFETY: the caller's promise; both stay until the stream was waited for, or the GPU is given up.
        unsafe { result::memcpy_htod_async(to.0, bytes, self.handle) }?;
        self.synchronize()
    }

    /// Copies from the GPU, likewise.
    ///
    /// # Safety
    /// `from` is the GPU's and as long.
    pub(super) unsafe fn read(&self, from: Ptr, bytes: &mut [u8]) -> Result<(), DriverError> {
        self.synchronize()?;
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_async(bytes, from.0, self.handle) }?;
        self.synchronize()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let handle = self.handle;
        // SAFETY: made in `new` and destroyed once.
        self.context.free(|| unsafe { result::stream::destroy(handle) });
    }
}

/// A moment of a stream.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    handle: sys::CUevent,
}

// SAFETY: as for `Context`.
unsafe impl Send for Event {}
// SAFETY: as for `Context`.
unsafe impl Sync for Event {}

impl Event {
    /// One that orders only.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, DeviceError> {
        Self::with(context, CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// One that also tells when.
    pub(super) fn timed(context: &Arc<Context>) -> Result<Self, DeviceError> {
        Self::with(context, CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(context: &Arc<Context>, flags: CUevent_flags) -> Result<Self, DeviceError> {
        context.bind()?;
        let handle = context.check("making an event", result::event::create(flags))?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    /// Whether it has happened; one that was never recorded has.
    pub(super) fn happened(&self) -> Result<bool, DriverError> {
        // SAFETY: the handle lives as long as `self`.
        match unsafe { result::event::query(self.handle) } {
            Ok(()) => Ok(true),
            Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until it has happened; false if the GPU fails or was given up, and it may not have.
    pub(super) fn waited_for(&self) -> bool {
        let mut happened = false;
        self.context.free(|| {
            // SAFETY: the handle lives as long as `self`.
            unsafe { result::event::synchronize(self.handle) }.map(|()| happened = true)
        });
        happened
    }

    /// Milliseconds from `earlier` to this one: both timed, of one context, and happened.
    pub(super) fn since_ms(&self, earlier: &Self) -> Result<f32, DriverError> {
        // SAFETY: both handles live as long as their owners.
        unsafe { result::event::elapsed(earlier.handle, self.handle) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let handle = self.handle;
        // SAFETY: made in `with` and destroyed once.
        self.context.free(|| unsafe { result::event::destroy(handle) });
    }
}
