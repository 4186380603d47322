//! A device's own worker threads, and how work is cut for them.

use super::{Cores, Level};
use crate::device::{DeviceError, Home};
use rayon::prelude::*;
use std::sync::Arc;

/// `threads` workers. Work is cut into parts that depend on the count only, so that the same count
/// gives the same bits.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    level: Level,
    workers: Option<Arc<rayon::ThreadPool>>, // `None` for one thread: the caller's
    /// One for each worker, who stays there.
    cores: Option<Cores>,
}

impl Pool {
    /// Starts the workers, named `NAME-worker-I`, who use the instructions of `level`.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn new(name: &str, threads: usize, level: Level) -> Result<Self, DeviceError> {
        Self::start(name, threads.max(1), level, None)
    }

    /// The same, a worker on each of `cores`.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn on(name: &str, cores: &Cores, level: Level) -> Result<Self, DeviceError> {
        Self::start(name, cores.count(), level, Some(cores.clone()))
    }

    fn start(
        name: &str, threads: usize, level: Level, cores: Option<Cores>,
    ) -> Result<Self, DeviceError> {
        let workers = if threads == 1 {
            None
        } else {
            let (name, cores) = (name.to_owned(), cores.clone());
            let built = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .start_handler(move |i| cores.iter().for_each(|cores| cores.bind(i)))
                .thread_name(move |i| format!("{name}-worker-{i}"))
                .build();
            let built =
                built.map_err(|e| DeviceError::Threads { threads, reason: e.to_string() })?;
            Some(Arc::new(built))
        };
        Ok(Self { threads, level, workers, cores })
    }

    /// How many workers there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The instructions that they use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// One of the workers, or wherever the caller is.
    pub fn home(&self) -> Home {
        match (&self.workers, &self.cores) {
            (Some(workers), _) => Home::Worker(Arc::clone(workers)),
            (None, Some(cores)) => Home::Core(cores.clone()),
            (None, None) => Home::Anywhere,
        }
    }

    /// Calls `body(i, chunk)` for the `len`-sized chunks of `data`, side by side.
    pub fn chunks<T: Send>(
        &self, data: &mut [T], len: usize, body: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        match &self.workers {
            Some(workers) => workers.install(|| {
                data.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| body(i, chunk));
            }),
            None => data.chunks_mut(len).enumerate().for_each(|(i, chunk)| body(i, chunk)),
        }
    }

    /// Calls `body(i, a, b)` for the chunks of two slices, each with its own length, side by side,
    /// as long as both have some.
    pub fn zip_chunks<A: Send, B: Send>(
        &self, (a, a_len): (&mut [A], usize), (b, b_len): (&mut [B], usize),
        body: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
    ) {
        if let Some(workers) = &self.workers {
            workers.install(|| {
                let pairs = a.par_chunks_mut(a_len).zip(b.par_chunks_mut(b_len));
                pairs.enumerate().for_each(|(i, (a, b))| body(i, a, b));
            });
        } else {
            let pairs = a.chunks_mut(a_len).zip(b.chunks_mut(b_len));
            pairs.enumerate().for_each(|(i, (a, b))| body(i, a, b));
        }
    }

    /// As [`Pool::zip_chunks`], for three slices.
    pub fn zip_chunks_of_three<A: Send, B: Send, C: Send>(
        &self, (a, a_len): (&mut [A], usize), (b, b_len): (&mut [B], usize),
        (c, c_len): (&mut [C], usize),
        body: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync + Send,
    ) {
        if let Some(workers) = &self.workers {
            workers.install(|| {
                let pairs = a.par_chunks_mut(a_len).zip(b.par_chunks_mut(b_len));
                let all = pairs.zip(c.par_chunks_mut(c_len)).enumerate();
                all.for_each(|(i, ((a, b), c))| body(i, a, b, c));
            });
        } else {
            let pairs = a.chunks_mut(a_len).zip(b.chunks_mut(b_len));
            let all = pairs.zip(c.chunks_mut(c_len)).enumerate();
            all.for_each(|(i, ((a, b), c))| body(i, a, b, c));
        }
    }

    /// Items of each worker's part when `count` are shared out.
    pub fn share(&self, count: usize) -> usize {
        count.div_ceil(self.threads).max(1)
    }
}
