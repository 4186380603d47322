//! What the tests of the kernels share: a device that is the emulation, and layouts.

use super::{
    launch::{Launch, Ptr, StepParams},
    layout,
    numbers::Numbers,
    tile::Tile,
};
use bytemuck::Pod;
use hostemu::{Counts, How, Memory};
use std::collections::BTreeMap;

/// An emulated device, as the ops' `cuda.rs` see one.
#[derive(Debug)]
pub(crate) struct Emulated(Memory, How);

impl Emulated {
    pub(crate) fn new(how: How) -> Self {
        Self(Memory::new(how), how)
    }

    /// A buffer with these values.
    pub(crate) fn put<T: Pod>(&mut self, values: &[T]) -> Ptr {
        let address = self.0.allocate(size_of_val(values));
        self.0.bytes(address).copy_from_slice(bytemuck::cast_slice(values));
        Ptr(address)
    }

    /// A buffer with these values, rounded to `numbers`.
    pub(crate) fn put_as(&mut self, numbers: Numbers, values: &[f32]) -> Ptr {
        self.put(&numbers.narrow(values))
    }

    /// A buffer for `len` of `numbers`, none of which is there yet.
    pub(crate) fn unwritten_as(&mut self, numbers: Numbers, len: usize) -> Ptr {
        Ptr(self.0.allocate(len * numbers.bytes()))
    }

    /// The values of a buffer of `numbers`.
    pub(crate) fn get_as(&mut self, numbers: Numbers, at: Ptr) -> Vec<f32> {
        let bytes: Vec<u8> = self.get(at);
        let mut values = vec![0.0; bytes.len() / numbers.bytes()];
        numbers.widen(&bytes, &mut values);
        values
    }

    /// A buffer of `len` values that are not numbers.
    pub(crate) fn unwritten(&mut self, len: usize) -> Ptr {
        Ptr(self.0.allocate(len * size_of::<f32>()))
    }

    /// A workspace.
    pub(crate) fn workspace(&mut self, bytes: usize) -> Ptr {
        Ptr(self.0.allocate(bytes))
    }

    /// The values of a buffer.
    pub(crate) fn get<T: Pod>(&mut self, at: Ptr) -> Vec<T> {
        self.0
            .bytes(at.0)
            .chunks_exact(size_of::<T>())
            .map(bytemuck::pod_read_unaligned)
            .collect()
    }

    /// The parameters of a step.
    pub(crate) fn params(&mut self, params: StepParams) -> Ptr {
        self.put(&[params])
    }

    /// Runs `body` with a sink that runs each launch at once.
    pub(crate) fn run(&mut self, body: impl FnOnce(&mut dyn FnMut(Launch))) {
        body(&mut |launch| {
            // SAFETY: the addresses among the arguments are those of this memory's buffers, as long as the
            // op's shapes say; the emulation holds them against the buffers.
            let done = unsafe {
                self.0.launch(
                    launch.kernel,
                    launch.grid,
                    launch.block,
                    launch.shared_bytes,
                    launch.args.iter(),
                )
            };
            done.unwrap_or_else(|failure| panic!("{failure}"));
        });
    }

    /// The tiles that are tried of products of `numbers` beside their own: one schedule will do, followed, and older
    /// devices, as they are of the same code. Kernels with a seeded bug may have fewer.
    pub(crate) fn other_tiles(&self, numbers: Numbers) -> Vec<Tile> {
        if !self.1.checked && !self.1.old {
            return Vec::new();
        }
        let kernels = hostemu::kernels();
        let there = |tile: &Tile| {
            let end = format!("_{}_{}", numbers.name(), tile.name());
            kernels.iter().any(|kernel| kernel.ends_with(&end))
        };
        Tile::ALL.into_iter().filter(there).collect()
    }

    /// What the launches of each kernel cost, if they are followed.
    pub(crate) const fn counts(&self) -> &BTreeMap<String, Counts> {
        self.0.counts()
    }
}

/// Whether kernels are emulated here; says so if not.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub(crate) fn emulation() -> bool {
    if !hostemu::AVAILABLE {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI emulates the kernels: it takes a C++ compiler and x86-64 Linux"
        );
        eprintln!("SKIP: no C++ compiler for x86-64 Linux, which emulates the kernels");
    }
    hostemu::AVAILABLE
}

/// The variable that says under how many schedules tests run: `all`, even those of large ops; `unfollowed`, only
/// those that are not followed; or `one`, where a test has four.
pub(crate) const SCHEDULES: &str = "ALEXNET_SCHEDULES";

fn schedules_are(wanted: &str) -> bool {
    std::env::var_os(SCHEDULES).is_some_and(|schedules| schedules == wanted)
}

/// Runs a test under all four schedules and, unless [told otherwise](SCHEDULES), once with every access followed.
pub(crate) fn on_every_schedule(mut test: impl FnMut(&mut Emulated)) {
    if schedules_are("one") {
        once(test);
    } else if emulation() {
        let followed = (!schedules_are("unfollowed")).then_some(How::CHECKED);
        for how in How::SCHEDULES.into_iter().chain(followed) {
            test(&mut Emulated::new(how));
        }
    }
}

/// Runs a test of products of `numbers` under all four schedules, followed, and as older devices have them.
pub(crate) fn on_every_device(numbers: Numbers, mut test: impl FnMut(&mut Emulated)) {
    on_every_schedule(&mut test);
    if emulation() && numbers.copies_weights() {
        test(&mut Emulated::new(How::OLD));
    }
}

/// Runs a test of products of `numbers` followed, unless [told otherwise](SCHEDULES), and as older devices have them.
pub(crate) fn followed_and_old(numbers: Numbers, mut test: impl FnMut(&mut Emulated)) {
    if emulation() {
        if !schedules_are("unfollowed") {
            test(&mut Emulated::new(How::CHECKED));
        }
        if numbers.copies_weights() {
            test(&mut Emulated::new(How::OLD));
        }
    }
}

/// Whether what is as large as in 2012 runs under all schedules and for all numbers, as `cargo xtask ci --full`
/// has it.
pub(crate) fn in_full() -> bool {
    schedules_are("all")
}

/// Runs a test that is as large as in 2012 under one schedule, or [in full](in_full) under all four.
pub(crate) fn at_full_size(mut test: impl FnMut(&mut Emulated)) {
    if emulation() {
        let schedules = &How::SCHEDULES[..if in_full() { 4 } else { 1 }];
        schedules.iter().for_each(|how| test(&mut Emulated::new(*how)));
    }
}

/// Runs a test under one schedule.
pub(crate) fn once(test: impl FnOnce(&mut Emulated)) {
    if emulation() {
        test(&mut Emulated::new(How::default()));
    }
}

/// As [`layout::channels_last`], into new memory.
pub(crate) fn channels_last(values: &[f32], channels: usize, area: usize) -> Vec<f32> {
    let mut turned = vec![0.0; values.len()];
    layout::channels_last(values, &mut turned, channels, area);
    turned
}

/// The way back.
pub(crate) fn channels_first(values: &[f32], channels: usize, area: usize) -> Vec<f32> {
    channels_last(values, area, channels)
}

/// `values` rounded to `numbers`, as products read them.
pub(crate) fn rounded(numbers: Numbers, values: &[f32]) -> Vec<f32> {
    if numbers == Numbers::Tf32 {
        // Half of the last bit that is kept is added, so that ties go away from zero.
        let round = |x: &f32| f32::from_bits((x.to_bits() + (1 << 12)) & !((1 << 13) - 1));
        return values.iter().map(round).collect();
    }
    let mut to = values.to_vec();
    numbers.round(&mut to);
    to
}

/// Whether results are the same to the last bit.
pub(crate) fn same_bits(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> bool {
    let bits = |values: &[Vec<f32>]| -> Vec<u32> {
        values.iter().flatten().map(|value| value.to_bits()).collect()
    };
    bits(found) == bits(wanted)
}

/// Noise that needs no rounding.
pub(crate) fn noise_as(numbers: Numbers, seed: u32, len: usize) -> Vec<f32> {
    rounded(numbers, &crate::testing::noise(seed, len))
}

/// By how much a number may be off that errs by `error` before it is rounded to `numbers`.
pub(crate) fn bound(numbers: Numbers, error: f64) -> f64 {
    error
        + match numbers {
            Numbers::F32 | Numbers::Tf32 => 0.0,
            Numbers::Bf16 => 1.0 / 256.0,
            Numbers::F16 => 1.0 / 2048.0,
        }
}
