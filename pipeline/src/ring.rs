//! Batch slots on loan; the type of a lease says who may touch the pixels.
//!
//! `free --acquire--> Filling --cells--> a Cell per sample --last finished--> Ready --share--> an
//! InUse per tower --last drop--> free`. A cell dropped unfinished voids its batch, which goes
//! home. The ring knows no devices: its memory is the caller's, pinned or not.
//!
//! ```compile_fail,E0599
//! # use pipeline::ring::*;
//! fn too_early(lease: Filling<Vec<u8>>) -> Vec<InUse<Vec<u8>>> { lease.share(2) } // not Ready yet
//! ```

use crate::trace::Trace;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    cell::UnsafeCell,
    fmt,
    ops::{DerefMut, Range},
    ptr, slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// What a slot is made of: bytes that the device can read while the CPU does something else.
pub trait Memory: DerefMut<Target = [u8]> + Send + Sync + fmt::Debug + 'static {}
impl<M: DerefMut<Target = [u8]> + Send + Sync + fmt::Debug + 'static> Memory for M {}

/// What a slot holds besides pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Pass over the training set, from 0.
    pub epoch: u64,
    /// Global training step from 0; in an evaluation, the batch's number.
    pub step: u64,
    /// Samples from the front that count: all but in an evaluation's last batch.
    pub valid: usize,
    /// The class of each sample; 0 where it does not count.
    pub labels: Vec<u32>,
    /// The index in its split of each sample; 0 where it does not count.
    pub ids: Vec<u64>,
}

/// A slot at home: memory, and the lists that travel with it.
#[derive(Debug)]
struct Slot<M> {
    memory: M,
    batch: Batch,
    id: usize,
    /// For the timeline; `None` is at home.
    state: Option<&'static str>,
    trace: Trace,
}

impl<M> Slot<M> {
    fn enter(&mut self, state: Option<&'static str>) {
        self.trace.slot(self.id, std::mem::replace(&mut self.state, state), state);
    }
}

/// A slot away from home. Dropped in any state, even by a panic, it goes back: none can leak.
#[derive(Debug)]
struct Loan<M> {
    slot: Option<Slot<M>>, // `None` only inside `drop`
    home: Sender<Slot<M>>, // has a place for every slot, so sending home never waits
}

impl<M> Loan<M> {
    fn slot(&self) -> &Slot<M> {
        self.slot.as_ref().expect("a live lease holds its slot")
    }

    fn slot_mut(&mut self) -> &mut Slot<M> {
        self.slot.as_mut().expect("a live lease holds its slot")
    }
}

impl<M: Memory> AsRef<[u8]> for Loan<M> {
    fn as_ref(&self) -> &[u8] {
        &self.slot().memory
    }
}

impl<M> Drop for Loan<M> {
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            slot.enter(None);
            let _ = self.home.try_send(slot); // an error means the ring is gone: free the slot
        }
    }
}

/// Owns the slots that nobody has on loan.
#[derive(Debug)]
pub struct Ring<M> {
    home: Sender<Slot<M>>,
    free: Receiver<Slot<M>>,
}

impl<M: Memory> Ring<M> {
    /// Takes over `slots`: the data plane's last allocation.
    ///
    /// # Panics
    /// With fewer than 2 slots: one cannot be filled and copied at once.
    pub fn new(slots: Vec<M>, batch: usize) -> Self {
        Self::traced(slots, batch, &Trace::off())
    }

    /// The same; `trace` shows who has which slot.
    ///
    /// # Panics
    /// With fewer than 2 slots.
    pub fn traced(slots: Vec<M>, batch: usize, trace: &Trace) -> Self {
        assert!(slots.len() >= 2, "a ring needs at least 2 slots, not {}", slots.len());
        let (home, free) = bounded(slots.len());
        for (id, memory) in slots.into_iter().enumerate() {
            let (labels, ids) = (vec![0; batch], vec![0; batch]);
            let batch = Batch { labels, ids, ..Batch::default() };
            let slot = Slot { memory, batch, id, state: None, trace: trace.clone() };
            home.send(slot).expect("`free` is open");
        }
        Self { home, free }
    }

    /// Slots that nobody has.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Waits for a free slot: here a slow device slows the readers down. `None` if `abort` closes
    /// meanwhile.
    pub fn acquire(&self, abort: &Receiver<()>) -> Option<Filling<M>> {
        crossbeam_channel::select_biased! {
            recv(abort) -> _ => None,
            recv(self.free) -> slot => {
                let mut slot = slot.expect("the ring holds both ends of the channel");
                slot.enter(Some("filling"));
                Some(Filling(Loan { slot: Some(slot), home: self.home.clone() }))
            }
        }
    }
}

/// The dispatcher says what the batch will hold.
#[derive(Debug)]
pub struct Filling<M>(Loan<M>);

/// The parts of a batch, being written by several workers.
struct Shared<M> {
    /// In a cell of its own, for memory may lie within `M` itself, and is written while others hold
    /// `&Shared`.
    loan: UnsafeCell<Loan<M>>,
    /// Where the pixels, labels and ids begin, taken once `loan` lay where it stays: nobody moves or
    /// touches it before all cells are gone.
    start: *mut u8,
    labels: *mut u32,
    ids: *mut u64,
    left: AtomicUsize,
    void: AtomicBool,
}

// SAFETY: the pointers lead into memory that `loan` owns and that is Send and Sync; cells reach
// disjoint parts of it, and whoever takes `loan` is the last to hold the Arc.
unsafe impl<M: Send + Sync> Send for Shared<M> {}
// SAFETY: as above; `loan` is reached by value or by `&mut` only, all other shared state is atomic.
unsafe impl<M: Send + Sync> Sync for Shared<M> {}

/// One sample's place in a batch, for one worker. Dropped unfinished, the batch is void.
pub struct Cell<M: Memory> {
    shared: Option<Arc<Shared<M>>>,
    index: usize,
    bytes: usize,
}

impl<M: Memory> fmt::Debug for Cell<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("index", &self.index).finish_non_exhaustive()
    }
}

impl<M: Memory> Filling<M> {
    /// What the batch will hold.
    pub fn batch_mut(&mut self) -> &mut Batch {
        &mut self.0.slot_mut().batch
    }

    /// What the batch will hold.
    pub fn batch(&self) -> &Batch {
        &self.0.slot().batch
    }

    /// Zeroes the places from sample `first` on, which no cell will be made for.
    ///
    /// # Panics
    /// If the slot is shorter.
    pub fn zero_from(&mut self, first: usize, sample_bytes: usize) {
        self.0.slot_mut().memory[first * sample_bytes..].fill(0);
    }

    /// One cell for each of the `valid` samples.
    ///
    /// # Panics
    /// If there is none, or the slot is shorter than they are.
    pub fn into_cells(self, sample_bytes: usize) -> Cells<M> {
        let valid = self.0.slot().batch.valid;
        let mut shared = Arc::new(Shared {
            loan: UnsafeCell::new(self.0),
            start: ptr::null_mut(),
            labels: ptr::null_mut(),
            ids: ptr::null_mut(),
            left: AtomicUsize::new(valid),
            void: AtomicBool::new(false),
        });
        let place = Arc::get_mut(&mut shared).expect("nobody else has it yet");
        let Slot { memory, batch, .. } = place.loan.get_mut().slot_mut();
        let memory: &mut [u8] = memory;
        let needed = sample_bytes.checked_mul(valid).filter(|_| valid > 0);
        assert!(needed.is_some_and(|bytes| bytes <= memory.len()), "{} bytes", memory.len());
        assert!(batch.labels.len() >= valid && batch.ids.len() >= valid, "short lists");
        place.start = memory.as_mut_ptr();
        (place.labels, place.ids) = (batch.labels.as_mut_ptr(), batch.ids.as_mut_ptr());
        Cells { shared: Some(shared), left: 0..valid, bytes: sample_bytes }
    }
}

/// The cells of samples that follow one another. While some have not been taken, the batch is not
/// whole; dropped then, it is void.
pub struct Cells<M: Memory> {
    /// `None` if all have been taken: it goes with the last, who may be the last of the batch.
    shared: Option<Arc<Shared<M>>>,
    left: Range<usize>,
    bytes: usize,
}

impl<M: Memory> fmt::Debug for Cells<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<M: Memory> Cells<M> {
    /// The next `len` cells, or as many as are left; `None` after the last.
    ///
    /// # Panics
    /// If `len` is 0.
    pub fn split(&mut self, len: usize) -> Option<Self> {
        assert!(len > 0, "a run without cells");
        let mid = self.left.end.min(self.left.start + len);
        let run = self.left.start..mid;
        self.left.start = mid;
        let shared =
            if self.left.is_empty() { self.shared.take() } else { self.shared.clone() };
        shared.map(|shared| Self { shared: Some(shared), left: run, bytes: self.bytes })
    }
}

impl<M: Memory> Iterator for Cells<M> {
    type Item = Cell<M>;

    fn next(&mut self) -> Option<Cell<M>> {
        let Self { shared, left, bytes } = self.split(1)?;
        Some(Cell { shared, index: left.start, bytes })
    }
}

impl<M: Memory> Cell<M> {
    /// Which sample of the batch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The sample's bytes, to be written once, front to back (pinned memory may be
    /// write-combined).
    ///
    /// # Panics
    /// Never: a cell that can be named is live.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let shared = self.shared.as_ref().expect("a live cell holds its batch");
        // SAFETY: `into_cells` checked that all indices lie within the memory, and `split` gives
        // each of them away once; so this range is ours alone until `shared` is given up, and it
        // outlives us.
        unsafe {
            slice::from_raw_parts_mut(shared.start.add(self.index * self.bytes), self.bytes)
        }
    }

    /// Replaces the sample's class and index: another one took its place.
    ///
    /// # Panics
    /// Never: a cell that can be named is live.
    pub fn set_sample(&mut self, label: u32, id: u64) {
        let shared = self.shared.as_ref().expect("a live cell holds its batch");
        // SAFETY: as in `bytes_mut`: element `index` of both lists is ours alone.
        unsafe {
            *shared.labels.add(self.index) = label;
            *shared.ids.add(self.index) = id;
        }
    }

    /// Declares the sample whole. The last one of a batch gets it, unless another was dropped.
    pub fn finish(mut self) -> Option<Ready<M>> {
        let shared = self.shared.take().expect("finished once");
        settle(shared)
    }
}

impl<M: Memory> Drop for Cell<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.void.store(true, Ordering::Relaxed); // ordered by the Arc's own count
            drop(settle(shared));
        }
    }
}

/// Counts a cell off. The last one takes the loan out: home if the batch is void.
fn settle<M: Memory>(shared: Arc<Shared<M>>) -> Option<Ready<M>> {
    shared.left.fetch_sub(1, Ordering::Relaxed); // ordered by the Arc's own count
    // Exactly one caller gets the loan: the last to let go, who sees what all others wrote. The
    // batch is whole if all cells have counted off: of cells that were never taken, none has.
    let shared = Arc::into_inner(shared)?;
    let whole = shared.left.into_inner() == 0 && !shared.void.into_inner();
    let mut loan = shared.loan.into_inner();
    whole.then(|| {
        loan.slot_mut().enter(Some("ready"));
        Ready(loan)
    })
}

/// The batch is whole and waits for its towers.
#[derive(Debug)]
pub struct Ready<M>(Loan<M>);

impl<M: Memory> Ready<M> {
    /// What the batch holds.
    pub fn batch(&self) -> &Batch {
        &self.0.slot().batch
    }

    /// Its pixels, `[batch, 3, crop, crop]`.
    pub fn bytes(&self) -> &[u8] {
        &self.0.slot().memory
    }

    /// Lends the same batch to every tower; the slot goes home when the last one is done.
    pub fn share(mut self, towers: usize) -> Vec<InUse<M>> {
        self.0.slot_mut().enter(Some("in use"));
        let loan = Arc::new(self.0);
        (0..towers).map(|_| InUse(Arc::clone(&loan))).collect()
    }
}

/// A tower reads the batch: it, or whoever it hands the pixels to, keeps them until its copy has
/// completed.
#[derive(Debug)]
pub struct InUse<M>(Arc<Loan<M>>);

impl<M: Memory> InUse<M> {
    /// What the batch holds.
    pub fn batch(&self) -> &Batch {
        &self.0.slot().batch
    }

    /// The pixels as they were published.
    pub fn bytes(&self) -> &[u8] {
        &self.0.slot().memory
    }

    /// The pixels for one who keeps them as long as this lease, or longer.
    pub fn shared(&self) -> Arc<dyn AsRef<[u8]> + Send + Sync> {
        Arc::clone(&self.0) as _
    }
}

#[cfg(test)]
mod tests;
