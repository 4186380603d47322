//! The contexts: one per GPU, with its streams, its peers, and the error that sticks to it.

use crate::{
    settings::settings,
    status::{Done, INVALID_CONTEXT, INVALID_DEVICE, SUCCESS, Status},
    stream::Stream,
};
use std::{
    cell::Cell,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

/// A GPU's primary context.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) device: usize,
    sticky: AtomicU32,
    /// Kernels launched.
    pub(crate) launches: AtomicU64,
    /// The driver's own stream, which others do not wait for.
    own: OnceLock<&'static Stream>,
    streams: Mutex<Vec<&'static Stream>>,
    /// Streams ever made.
    pub(crate) streams_made: AtomicU64,
    peers: Mutex<Vec<usize>>,
}

thread_local! {
    static CURRENT: Cell<Option<&'static Context>> = const { Cell::new(None) };
}

/// All of them.
pub(crate) fn contexts() -> &'static [Context] {
    static CONTEXTS: OnceLock<Vec<Context>> = OnceLock::new();
    let context = |device| Context {
        device,
        sticky: AtomicU32::new(SUCCESS),
        launches: AtomicU64::new(0),
        own: OnceLock::new(),
        streams: Mutex::default(),
        streams_made: AtomicU64::new(0),
        peers: Mutex::default(),
    };
    CONTEXTS.get_or_init(|| (0..settings().devices).map(context).collect())
}

/// That of GPU `device`.
pub(crate) fn of_device(device: i32) -> Result<&'static Context, Status> {
    usize::try_from(device).ok().and_then(|i| contexts().get(i)).ok_or(INVALID_DEVICE)
}

/// This thread's, sound or not.
pub(crate) fn bound() -> Option<&'static Context> {
    CURRENT.get()
}

/// Binds one to this thread.
pub(crate) fn bind(context: Option<&'static Context>) {
    CURRENT.set(context);
}

/// This thread's, if nothing has failed on it.
pub(crate) fn current() -> Result<&'static Context, Status> {
    let context = bound().ok_or(INVALID_CONTEXT)?;
    context.sound().map(|()| context)
}

impl Context {
    /// The error that sticks to it.
    pub(crate) fn sound(&self) -> Done {
        match self.sticky.load(SeqCst) {
            SUCCESS => Ok(()),
            error => Err(error),
        }
    }

    /// From here on all calls return `error`, unless another sticks already.
    pub(crate) fn fail(&self, error: Status) {
        let _ = self.sticky.compare_exchange(SUCCESS, error, SeqCst, SeqCst);
    }

    /// Keeps a new stream.
    pub(crate) fn add(&self, stream: &'static Stream) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    /// The driver's own stream.
    pub(crate) fn own(&'static self) -> &'static Stream {
        self.own.get_or_init(|| Stream::own(self))
    }

    /// Waits for all streams.
    pub(crate) fn synchronize(&self) -> Done {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone();
        streams.into_iter().try_for_each(Stream::synchronize)
    }

    /// Whether kernels and copies of this GPU reach memory of `device`.
    pub(crate) fn reaches(&self, device: usize) -> bool {
        device == self.device
            || self.peers.lock().unwrap_or_else(PoisonError::into_inner).contains(&device)
    }

    /// Opens a peer's memory; whether it was not open before.
    pub(crate) fn open(&self, device: usize) -> bool {
        let new = !self.reaches(device);
        if new {
            self.peers.lock().unwrap_or_else(PoisonError::into_inner).push(device);
        }
        new
    }
}
