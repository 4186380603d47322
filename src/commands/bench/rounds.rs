//! Rates of two things measured by turns, so that a noisy machine is as noisy for both.

use std::{
    sync::{Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A round of one of them lasts at least this long.
const ROUND: Duration = Duration::from_millis(200);
/// By turns at least so often.
const ROUNDS_MIN: usize = 3;

/// Items a second, all threads together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Of what is measured.
    pub(super) measured: f64,
    /// Of what bounds it.
    pub(super) bound: f64,
    /// What an item takes of a thread, seconds: the median and the 99th percentile.
    pub(super) latency: [f64; 2],
}

/// Something that is done to one item after another by each thread.
pub(super) trait Work: Sync {
    /// What a thread does to an item; made once per thread and round, with its own buffers.
    fn worker(&self, thread: usize) -> impl FnMut(usize);
}

impl<W: FnMut(usize), F: Fn(usize) -> W + Sync> Work for F {
    fn worker(&self, thread: usize) -> impl FnMut(usize) {
        self(thread)
    }
}

/// The best rounds of `work` and `bound` on `items` items, for `seconds` in all.
pub(super) fn by_turns(
    threads: usize, items: usize, seconds: f64, work: &impl Work, bound: &impl Work,
) -> Rates {
    let mut best = Rates { measured: 0.0, bound: 0.0, latency: latency(threads, items, work) };
    let began = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS_MIN || began.elapsed().as_secs_f64() < seconds {
        best.measured = best.measured.max(round(threads, items, work));
        best.bound = best.bound.max(round(threads, items, bound));
        rounds += 1;
    }
    best
}

/// Median and 99th percentile of the seconds that an item takes, in a round of its own: looking at a
/// clock twice takes as long as reading a record.
fn latency(threads: usize, items: usize, work: &impl Work) -> [f64; 2] {
    let seconds = Mutex::new(Vec::new());
    let timed = |thread: usize| {
        let (mut worker, seconds) = (work.worker(thread), &seconds);
        move |i: usize| {
            let began = Instant::now();
            worker(i);
            let took = began.elapsed().as_secs_f64();
            seconds.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    };
    round(threads, items, &timed);
    let mut seconds = seconds.into_inner().unwrap_or_else(PoisonError::into_inner);
    seconds.sort_by(f64::total_cmp);
    [0.5, 0.99].map(|share| seconds[(share * seconds.len() as f64) as usize])
}

/// Items a second of all threads, each of which goes through its share of the items, whole passes.
fn round(threads: usize, items: usize, work: &impl Work) -> f64 {
    let barrier = Barrier::new(threads);
    let share = |index: usize| {
        let mut worker = work.worker(index);
        let own = (index..items).step_by(threads);
        own.clone().take(2).for_each(&mut worker); // buffers grow
        barrier.wait();
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < ROUND {
            own.clone().for_each(&mut worker);
            done += own.len();
        }
        done as f64 / began.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let share = &share;
        let all: Vec<_> = (0..threads).map(|index| scope.spawn(move || share(index))).collect();
        all.into_iter().map(|thread| thread.join().expect("a bug in a benchmark")).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn each_item_is_done_as_often_as_any_other() {
        let done: Vec<AtomicUsize> = (0..7).map(|_| AtomicUsize::new(0)).collect();
        let work = |_| {
            |i: usize| {
                done[i].fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(30));
            }
        };
        let rate = round(1, 7, &work);
        assert!(rate > 0.0 && rate < 34.0, "{rate}");
        let counts: Vec<_> = done.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let [median, most] = latency(1, 7, &work);
        assert!((0.03..=most).contains(&median), "{median} s, {most} s");
        assert!(counts.iter().all(|n| n.abs_diff(counts[6]) <= 1), "{counts:?}");
    }
}
