//! Nothing is allocated in a step, once every buffer has grown: neither from the heap, whose calls are counted, nor in pages
//! of its own, which would have to be touched for the first time. A binary of its own, since its allocator counts for all of
//! it.

use alexnet::{
    config::{Config, Dtype},
    model::Net,
    tower::{Pass, Towers},
};
use crossbeam_channel::never;
use gpu::{
    cpu::{Cpu, Slot},
    device::Device as _,
};
use pipeline::ring::{Ready, Ring};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

const CLASSES: usize = 10;
const BATCH: usize = 4;
/// The mailboxes, what is kept per thread and the allocator's own pages have settled by then.
const WARM_UP: u64 = 3;
/// Steps that are counted. A thread's first wait at a channel allocates, whenever it comes to wait; so
/// most of the steps are what a step takes.
const COUNTED: u64 = 6;
const MOST: usize = 4;

/// Counts what every thread allocates but those that asked to be left out.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is the test's own: it hands batches out and takes outcomes in.
    static OUTSIDE: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    // A thread that is ending has no such flag any more, and is no tower.
    if !OUTSIDE.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn batch(ring: &Ring<Slot>, len: usize) -> Ready<Slot> {
    let mut filling = ring.acquire(&never()).expect("nobody aborts");
    let batch = filling.batch_mut();
    batch.valid = BATCH;
    batch.labels.iter_mut().enumerate().for_each(|(i, label)| *label = (i % CLASSES) as u32);
    let mut ready = None;
    for (i, mut cell) in filling.into_cells(len * size_of::<f32>()).enumerate() {
        let pixels: &mut [f32] = bytemuck::cast_slice_mut(cell.bytes_mut());
        let value = |at: usize| ((at * 7 + i * 13) % 101) as f32 - 50.0;
        pixels.iter_mut().enumerate().for_each(|(at, pixel)| *pixel = value(at));
        ready = cell.finish();
    }
    ready.expect("all cells are finished")
}

/// Pages that this process has touched for the first time; 0 where the system does not tell.
fn touched() -> usize {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have any character: state, parent, group, session, terminal, its group, flags, minor faults.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(7).map_or(0, |faults| faults.parse().expect("a number"))
}

/// The most that each of [`MOST`] steps allocates, and the least that any touches, of `devices` devices of
/// `threads` threads each, in the whole net of 2012 with smaller layers at its end.
fn allocations_of_a_step(devices: usize, threads: usize, dtype: Dtype) -> [usize; 2] {
    let mut config = Config::load("two-tower-2012", None).expect("a preset");
    config.fc.iter_mut().for_each(|fc| fc.units = 256);
    (config.train.batch, config.train.dtype) = (BATCH, dtype);
    let net = Net::new(&config, CLASSES);
    let cpu = |i: usize| Cpu::new(&format!("tower-{i}"), threads).expect("threads");
    let mut towers =
        Towers::start((0..devices).map(cpu).collect(), &net, &config.train).expect("memory");
    let len = 3 * net.crop * net.crop;
    let bytes = len * BATCH * size_of::<f32>();
    let ring = Ring::new(towers.slots(2, bytes).expect("memory"), BATCH);
    let mut counts = [vec![], vec![]];
    for step in 0..WARM_UP + COUNTED {
        let batch = batch(&ring, len);
        let before = [ALLOCATIONS.load(Ordering::Relaxed), touched()];
        towers
            .submit(batch, Pass::Train { rate: 1e-4, step, scale: 1.0 }, false)
            .expect("healthy towers");
        let (outcome, _) = towers.outcome().expect("healthy towers");
        if step >= WARM_UP {
            counts[0].push(ALLOCATIONS.load(Ordering::Relaxed) - before[0]);
            counts[1].push(touched() - before[1]);
        }
        assert!(outcome.score.loss_sum.is_finite());
    }
    // A machine that moves pages about may count some in any step, and what a step touches is touched in each.
    counts.iter_mut().for_each(|counts| counts.sort_unstable());
    [counts[0][MOST - 1], counts[1][0]]
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
fn nothing_is_allocated_in_a_step() {
    OUTSIDE.set(true);
    for dtype in [Dtype::F32, Dtype::Bf16] {
        assert_eq!(allocations_of_a_step(2, 1, dtype), [0; 2], "two towers, {dtype:?}");
        assert_eq!(allocations_of_a_step(1, 2, dtype), [0; 2], "two threads, {dtype:?}");
        assert_eq!(allocations_of_a_step(2, 2, dtype), [0; 2], "two towers of two, {dtype:?}");
    }
    OUTSIDE.set(false);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "the allocator counts nothing");
    let (cpu, before) = (Cpu::new("test", 1).expect("a device"), touched());
    if before == 0 {
        eprintln!("SKIP: the system does not tell which pages were touched");
        return;
    }
    drop(std::hint::black_box(cpu.zeros(1 << 20).expect("memory")));
    assert!(touched() > before, "the pages of a device are not counted");
}
