//! Work on many threads whose results arrive in the order of the work: whoever writes them down
//! writes the same bytes for any number of threads.

use super::turn::Turn;
use crossbeam_channel::bounded;
use std::{
    any::Any,
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

/// Pieces under way for each job: enough that the slowest does not stop the others.
const AHEAD_PER_JOB: usize = 16;

/// Bytes that may wait for their turn, together: of records of 200 KB more than are under way. A piece
/// that is larger than its share waits where it was made.
const WAITING_BYTES_MAX: u64 = 256 << 20;

/// What was made, as far as memory is concerned.
pub(super) trait Piece: Send {
    /// Bytes that it holds on to.
    fn bytes(&self) -> u64;
}

/// Work that ended before its time.
#[derive(Debug)]
pub(super) enum Broken {
    /// A thread could not be started.
    Thread(io::Error),
    /// A thread panicked, with these words.
    Panicked(String),
}

/// Calls `make` for `0..count` on `jobs` threads, each with a state of its own from `state`, and
/// `take` on this thread with what it made, in order. Returns the threads' states. What waits for its
/// turn takes at most [`WAITING_BYTES_MAX`], and a piece for each job.
///
/// # Errors
/// The first of `take`, or that a thread cannot go on; then what is under way is dropped.
pub(super) fn ordered<S: Send, T: Piece, E: From<Broken>>(
    jobs: usize, count: usize, state: impl Fn() -> S + Sync,
    make: impl Fn(&mut S, usize) -> T + Sync, mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<Vec<S>, E> {
    let jobs = jobs.max(1);
    let ahead = AHEAD_PER_JOB * jobs;
    let (tasks, work) = bounded::<usize>(ahead);
    let (results, made) = bounded::<(usize, thread::Result<T>)>(ahead);
    let (turn, share) = (Turn::default(), WAITING_BYTES_MAX / ahead as u64);
    thread::scope(|scope| {
        let turns = turn.hand_out();
        let mut workers = Vec::new();
        for i in 0..jobs {
            let (work, results) = (work.clone(), results.clone());
            let (state, make, turn) = (&state, &make, &turn);
            let body = move || {
                let mut own = state();
                for index in work {
                    let made = catch_unwind(AssertUnwindSafe(|| make(&mut own, index)));
                    let last = made.is_err();
                    if made.as_ref().is_ok_and(|piece| piece.bytes() > share) {
                        turn.wait(index);
                    }
                    if results.send((index, made)).is_err() || last {
                        break; // nobody takes any more, or the state is no longer to be trusted
                    }
                }
                own
            };
            let worker = thread::Builder::new().name(format!("pack-{i}"));
            workers.push(worker.spawn_scoped(scope, body).map_err(Broken::Thread)?);
        }
        drop((work, results));
        let (mut sent, mut next, mut early) = (0, 0, BTreeMap::new());
        while next < count {
            // Never more than `ahead` pieces are between the tasks and `take`: sending never waits.
            while sent < count && sent - next < ahead && tasks.send(sent).is_ok() {
                sent += 1;
            }
            let (index, piece) = made.recv().expect("a worker leaves with a word");
            early.insert(index, piece.map_err(|panic| Broken::Panicked(words(&*panic)))?);
            while let Some(piece) = early.remove(&next) {
                take(next, piece)?;
                next += 1;
                turns.now(next);
            }
        }
        drop((tasks, made, turns)); // as on every early return: the workers find their channels closed
        let join = |worker: thread::ScopedJoinHandle<'_, S>| worker.join().expect("caught");
        Ok(workers.into_iter().map(join).collect())
    })
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draws;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    #[derive(Debug)]
    enum Failed {
        Broken(Broken),
        Full(usize),
    }

    impl From<Broken> for Failed {
        fn from(broken: Broken) -> Self {
            Self::Broken(broken)
        }
    }

    impl Piece for usize {
        fn bytes(&self) -> u64 {
            0
        }
    }

    impl Piece for () {
        fn bytes(&self) -> u64 {
            0
        }
    }

    /// One that is said to be large.
    struct Large<'a>(&'a AtomicUsize);

    impl Piece for Large<'_> {
        fn bytes(&self) -> u64 {
            WAITING_BYTES_MAX / 4
        }
    }

    impl Drop for Large<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Takes a while that has nothing to do with its place, so that later pieces overtake it.
    fn dawdle(index: usize) -> usize {
        let us = Draws::new(1, 0, 0, index as u64).below(200);
        thread::sleep(Duration::from_micros(us.into()));
        index * index
    }

    #[test]
    fn results_arrive_in_order_and_every_state_comes_back() {
        for jobs in [0, 1, 2, 7] {
            let mut seen = Vec::new();
            let make = |count: &mut usize, index| {
                *count += 1;
                dawdle(index)
            };
            let states = ordered::<_, _, Failed>(
                jobs,
                300,
                || 0,
                make,
                |index, square| {
                    seen.push((index, square));
                    Ok(())
                },
            );
            let states = states.expect("nothing fails");
            assert_eq!((states.len(), states.iter().sum::<usize>()), (jobs.max(1), 300));
            assert!(seen.into_iter().eq((0..300).map(|i| (i, i * i))));
        }
    }

    #[test]
    fn no_more_is_under_way_than_was_allowed() {
        let (made, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let make = |(): &mut (), index: usize| {
            let begun = made.fetch_add(1, Ordering::SeqCst) + 1;
            let ahead = begun - taken.load(Ordering::SeqCst);
            assert!(ahead <= 2 * AHEAD_PER_JOB, "{ahead} at {index}");
        };
        let take = |_, ()| {
            thread::sleep(Duration::from_micros(100)); // slower than the workers
            taken.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        ordered::<_, _, Failed>(2, 200, || (), make, take).expect("within bounds");
    }

    #[test]
    fn no_more_bytes_wait_than_were_allowed() {
        let alive = AtomicUsize::new(0);
        let make = |(): &mut (), index| {
            if index % 10 == 0 {
                thread::sleep(Duration::from_millis(2)); // the others get far ahead
            }
            let count = alive.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(count <= 2 * 3, "{count} at {index}"); // one is waited with, one handed over
            Large(&alive)
        };
        ordered::<_, _, Failed>(3, 100, || (), make, |_, _| Ok(())).expect("within bounds");
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_error_of_the_taker_ends_the_work() {
        for jobs in [1, 3] {
            let take = |index, _| if index == 40 { Err(Failed::Full(index)) } else { Ok(()) };
            let error = ordered(jobs, 10_000, || (), |(), index| dawdle(index), take);
            assert!(matches!(error, Err(Failed::Full(40))), "{error:?}");
        }
    }

    #[test]
    fn a_panic_ends_the_work_with_its_words() {
        for jobs in [1, 3] {
            let make = |(): &mut (), index| assert_ne!(index, 50, "a made-up bug");
            let error = ordered::<_, _, Failed>(jobs, 10_000, || (), make, |_, ()| Ok(()));
            let Err(Failed::Broken(Broken::Panicked(words))) = error else {
                panic!("{error:?}")
            };
            assert!(words.contains("a made-up bug"), "{words}");
        }
    }
}
