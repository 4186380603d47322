//! Streams as threads, and events as flags.

use crate::{
    context::{Context, bound},
    settings::settings,
    status::{
        CAPTURE_ISOLATION, CAPTURE_UNSUPPORTED, Done, INVALID_HANDLE, INVALID_VALUE, SUCCESS,
        Status,
    },
};
use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// What a stream does, once or, in a graph, again and again.
pub(crate) type Op = Arc<dyn Fn() -> Status + Send + Sync>;

/// How slow a stream is that another does not wait for.
const SLOW: Duration = Duration::from_millis(5);
/// Streams of one user of a GPU: two of them may share it.
const STREAMS_PER_USER: usize = 4;

/// Something that happens once.
#[derive(Debug, Default)]
struct Flag {
    at: Mutex<Option<Instant>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flag {
    fn set(&self) {
        *lock(&self.at) = Some(Instant::now());
        self.changed.notify_all();
    }

    fn at(&self) -> Option<Instant> {
        *lock(&self.at)
    }

    fn wait(&self) {
        let mut at = lock(&self.at);
        while at.is_none() {
            at = self.changed.wait(at).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// An op, and whether it is done on a context that has failed, too: else what waits would hang.
struct Queued {
    always: bool,
    op: Op,
}

/// A queue of ops and the thread that does them.
pub(crate) struct Stream {
    pub(crate) context: &'static Context,
    /// Which of its user's streams.
    number: usize,
    queue: Sender<Queued>,
    /// Ops that were asked of it and are not done.
    pending: Arc<AtomicUsize>,
    captured: Mutex<Option<Vec<Op>>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A moment of a stream.
#[derive(Debug)]
pub(crate) struct Event {
    device: usize,
    /// Made with timing.
    timed: bool,
    /// What was recorded last, and the stream's number.
    last: Mutex<Option<(Arc<Flag>, usize)>>,
}

thread_local! {
    /// Whether this thread captures on any stream.
    static CAPTURING: Cell<bool> = const { Cell::new(false) };
}

/// Refuses what a thread may not ask for while it captures.
pub(crate) fn not_captured() -> Done {
    if CAPTURING.get() { Err(CAPTURE_UNSUPPORTED) } else { Ok(()) }
}

impl Stream {
    /// A stream of `context`, whose thread lives as long as the process.
    pub(crate) fn new(context: &'static Context) -> &'static Self {
        let made = context.streams_made.fetch_add(1, SeqCst);
        Self::start(context, made as usize % STREAMS_PER_USER, made)
    }

    /// The driver's own stream of `context`, which nobody makes.
    pub(crate) fn own(context: &'static Context) -> &'static Self {
        Self::start(context, STREAMS_PER_USER, u64::from(u32::MAX))
    }

    fn start(context: &'static Context, number: usize, made: u64) -> &'static Self {
        let (queue, ops) = channel();
        let seed = settings().seed ^ (context.device as u64) << 32 ^ made << 8;
        let pending = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&pending);
        thread::spawn(move || work(context, number, seed, &ops, &done));
        let stream = Self { context, number, queue, pending, captured: Mutex::new(None) };
        let stream: &'static Self = Box::leak(Box::new(stream));
        context.add(stream);
        stream
    }

    fn queue(&self, always: bool, op: Op) {
        self.pending.fetch_add(1, SeqCst);
        let _ = self.queue.send(Queued { always, op }); // the thread lives as long as the process
    }

    /// Does something behind all else, or captures it.
    pub(crate) fn push(&self, op: Op) {
        match &mut *lock(&self.captured) {
            Some(ops) => ops.push(op),
            None => self.queue(false, op),
        }
    }

    /// Whether kernels may be launched on it: its context must be this thread's.
    pub(crate) fn usable(&self) -> Done {
        self.context.sound()?;
        let bound = bound().is_some_and(|bound| bound.device == self.context.device);
        if bound { Ok(()) } else { Err(INVALID_HANDLE) }
    }

    /// Captures what is asked of it from here on.
    pub(crate) fn begin_capture(&self) -> Done {
        let mut captured = lock(&self.captured);
        if captured.is_some() {
            return Err(INVALID_VALUE);
        }
        *captured = Some(vec![]);
        CAPTURING.set(true);
        Ok(())
    }

    /// What was captured.
    pub(crate) fn end_capture(&self) -> Result<Vec<Op>, Status> {
        CAPTURING.set(false);
        lock(&self.captured).take().ok_or(INVALID_VALUE)
    }

    /// Whether it captures.
    pub(crate) fn captures(&self) -> bool {
        lock(&self.captured).is_some()
    }

    /// Whether all that was asked of it is done.
    pub(crate) fn idle(&self) -> Result<bool, Status> {
        if self.captures() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        self.context.sound()?;
        Ok(self.pending.load(SeqCst) == 0)
    }

    fn fence(&self) -> Arc<Flag> {
        let flag = Arc::new(Flag::default());
        let set = Arc::clone(&flag);
        self.queue(
            true,
            Arc::new(move || {
                set.set();
                SUCCESS
            }),
        );
        flag
    }

    /// Waits for all that was asked of it, for ever if it hangs.
    pub(crate) fn synchronize(&self) -> Done {
        if self.captures() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        self.fence().wait();
        self.context.sound()
    }

    /// Goes on behind what `event` was recorded behind.
    pub(crate) fn wait(&self, event: &Event) -> Done {
        if self.captures() {
            return Err(CAPTURE_ISOLATION);
        }
        let last = lock(&event.last).clone();
        if let Some((flag, of)) = last
            && settings().drop_waits != Some((self.number, of))
        {
            self.queue(
                true,
                Arc::new(move || {
                    flag.wait();
                    SUCCESS
                }),
            );
        }
        Ok(())
    }

    /// `event` stands behind all that was asked so far.
    pub(crate) fn record(&self, event: &Event) -> Done {
        if self.captures() {
            return Err(CAPTURE_UNSUPPORTED);
        }
        if event.device != self.context.device {
            return Err(INVALID_HANDLE);
        }
        *lock(&event.last) = Some((self.fence(), self.number));
        Ok(())
    }
}

impl Event {
    /// One of a GPU, which was never recorded.
    pub(crate) fn new(device: usize, timed: bool) -> Self {
        Self { device, timed, last: Mutex::new(None) }
    }

    /// Whether it was recorded and tells when it happened.
    pub(crate) fn tells_time(&self) -> bool {
        self.timed && lock(&self.last).is_some()
    }

    /// Whether it has happened; one that was never recorded has.
    pub(crate) fn happened(&self) -> bool {
        lock(&self.last).as_ref().is_none_or(|(flag, _)| flag.at().is_some())
    }

    /// When it happened.
    pub(crate) fn at(&self) -> Option<Instant> {
        lock(&self.last).as_ref().and_then(|(flag, _)| flag.at())
    }

    /// Waits for it.
    pub(crate) fn wait(&self) {
        let last = lock(&self.last).clone();
        if let Some((flag, _)) = last {
            flag.wait();
        }
    }
}

/// The thread of a stream.
fn work(
    context: &'static Context, number: usize, mut seed: u64, ops: &Receiver<Queued>,
    pending: &AtomicUsize,
) {
    let settings = settings();
    // Of one GPU only, so that another can be ahead of it.
    let slow =
        settings.drop_waits.is_some_and(|(_, slow)| slow == number && context.device == 0);
    for Queued { always, op } in ops {
        if slow {
            thread::sleep(SLOW);
        }
        if settings.jitter_us > 0 {
            // Numerical Recipes' generator; its upper bits are good enough.
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let delay = (seed >> 33) % (settings.jitter_us + 1);
            // Most delays are none, so that many ops do not add up to a long test.
            if seed >> 61 == 0 {
                thread::sleep(Duration::from_micros(delay));
            }
        }
        if always || context.sound().is_ok() {
            match op() {
                SUCCESS => {}
                error => context.fail(error),
            }
        }
        pending.fetch_sub(1, SeqCst);
    }
}
