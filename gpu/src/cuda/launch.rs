//! A kernel launch as a value: which kernel, how many threads, which arguments.

use bytemuck::{NoUninit, Pod, Zeroable};
use std::ffi::c_void;

/// Bytes that the arguments of a launch may take; CUDA itself allows 4096.
const ARGUMENT_BYTES_MAX: usize = 256;
/// Arguments that a launch may have.
pub const ARGUMENTS_MAX: usize = 16;
/// CUDA's limit of threads in a block.
const THREADS_MAX: u32 = 1024;
/// CUDA's limit of blocks along x.
const BLOCKS_X_MAX: u32 = 0x7fff_ffff;
/// CUDA's limit of blocks along y and along z.
const BLOCKS_YZ_MAX: u32 = 65_535;

/// An address on a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ptr(pub u64);

impl Ptr {
    /// No memory: what an optional argument is where it is not given.
    pub const NULL: Self = Self(0);

    /// The address `count` elements of `T` further on.
    #[must_use]
    pub const fn offset<T>(self, count: usize) -> Self {
        Self(self.0 + (count * size_of::<T>()) as u64)
    }

    /// The address of an optional argument.
    pub fn or_null(given: Option<Self>) -> Self {
        given.unwrap_or(Self::NULL)
    }
}

/// What changes from step to step. Kernels read it from device memory, so that a captured graph can be
/// launched again; its twin in the kernels is `struct StepParams` of `prim.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepParams {
    /// Learning rate.
    pub rate: f32,
    /// What a row has of the loss's gradient: the gradient's scale divided by the rows whose label is a class, by 1
    /// where there is none.
    pub share: f32,
    /// The global step, low word first: it keys the dropout.
    pub step: [u32; 2],
    /// One divided by the gradient's scale.
    pub unscale: f32,
    /// Set by [`find_overflow`](crate::ops::sgd::cuda::find_overflow): from then on no weight is updated.
    pub overflowed: u32,
}

impl StepParams {
    /// Of training step `step` at learning rate `rate`, on a batch of which `counted` rows have a label
    /// that is a class.
    pub fn new(rate: f32, step: u64, counted: usize) -> Self {
        let step = [step as u32, (step >> 32) as u32];
        let share = 1.0 / counted.max(1) as f32;
        Self { rate, share, step, unscale: 1.0, overflowed: 0 }
    }

    /// Where `overflowed` is of those at `params`.
    pub(super) const fn overflowed_at(params: Ptr) -> Ptr {
        Ptr(params.0 + std::mem::offset_of!(Self, overflowed) as u64)
    }

    /// With gradients that are `scale` times as large, a power of two.
    #[must_use]
    pub fn scaled(self, scale: f32) -> Self {
        Self { share: self.share * scale, unscale: self.unscale / scale, ..self }
    }
}

/// The arguments of a launch, copied in: each begins at a multiple of 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Args {
    words: [u64; ARGUMENT_BYTES_MAX / 8],
    /// Of each argument: its first word and its size in bytes.
    places: [(u8, u16); ARGUMENTS_MAX],
    count: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self::new()
    }
}

impl Args {
    /// None yet.
    pub const fn new() -> Self {
        Self { words: [0; ARGUMENT_BYTES_MAX / 8], places: [(0, 0); ARGUMENTS_MAX], count: 0 }
    }

    /// With one more: a number, a [`Ptr`] or a `repr(C)` struct of numbers, of the same size and order
    /// as the kernel's parameter.
    ///
    /// # Panics
    /// If there is no room left.
    #[must_use]
    pub fn with<T: NoUninit>(mut self, value: T) -> Self {
        let first = self.end();
        let bytes = bytemuck::bytes_of(&value);
        assert!(
            self.count < ARGUMENTS_MAX && 8 * first + bytes.len() <= ARGUMENT_BYTES_MAX,
            "argument {} of {} bytes does not fit",
            self.count,
            bytes.len()
        );
        bytemuck::cast_slice_mut(&mut self.words)[8 * first..][..bytes.len()]
            .copy_from_slice(bytes);
        self.places[self.count] = (first as u8, bytes.len() as u16);
        self.count += 1;
        self
    }

    /// The word after the last argument.
    fn end(&self) -> usize {
        let last = self.count.checked_sub(1).map(|last| self.places[last]);
        last.map_or(0, |(first, bytes)| usize::from(first) + usize::from(bytes).div_ceil(8))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.words);
        self.places[..self.count]
            .iter()
            .map(|(first, len)| &bytes[8 * usize::from(*first)..][..usize::from(*len)])
    }

    /// The addresses of all, as `cuLaunchKernel` wants them, in the first [`Args::len`] entries. They
    /// hold as long as `self` stays where it is; nobody may write through them.
    pub fn addresses(&self) -> [*mut c_void; ARGUMENTS_MAX] {
        let mut addresses = [std::ptr::null_mut(); ARGUMENTS_MAX];
        for (address, argument) in addresses.iter_mut().zip(self.iter()) {
            *address = argument.as_ptr().cast_mut().cast();
        }
        addresses
    }
}

/// A size as kernels take it.
///
/// # Panics
/// If it does not fit: kernels count in 32 bits, which hold every tensor of the net at any batch that a
/// device has memory for.
pub(crate) fn int(size: usize) -> i32 {
    i32::try_from(size).expect("kernels count in 32 bits")
}

/// One launch of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Launch {
    /// The kernel's name, as in the `.cu` files.
    pub kernel: &'static str,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Shared memory beside what the kernel declares, in bytes.
    pub shared_bytes: u32,
    /// The arguments.
    pub args: Args,
}

impl Launch {
    /// A launch without dynamic shared memory.
    ///
    /// # Panics
    /// If CUDA would refuse this grid or block.
    pub fn new(kernel: &'static str, grid: [usize; 3], block: [u32; 3], args: Args) -> Self {
        let grid = grid.map(|blocks| u32::try_from(blocks).expect("blocks are counted in u32"));
        let threads = block[0] * block[1] * block[2];
        assert!((1..=THREADS_MAX).contains(&threads), "{kernel}: a block of {block:?}");
        assert!(
            grid[0] > 0
                && grid[0] <= BLOCKS_X_MAX
                && (1..=BLOCKS_YZ_MAX).contains(&grid[1])
                && (1..=BLOCKS_YZ_MAX).contains(&grid[2]),
            "{kernel}: a grid of {grid:?}"
        );
        Self { kernel, grid, block, shared_bytes: 0, args }
    }

    /// One thread for each of `items`, in blocks of `threads`; the kernel checks its own bounds.
    ///
    /// # Panics
    /// As [`Launch::new`].
    pub fn each(kernel: &'static str, items: usize, threads: u32, args: Args) -> Self {
        Self::new(kernel, [items.div_ceil(threads as usize), 1, 1], [threads, 1, 1], args)
    }

    /// With `bytes` of dynamic shared memory.
    #[must_use]
    pub const fn with_shared(self, bytes: u32) -> Self {
        Self { shared_bytes: bytes, ..self }
    }
}

/// What takes launches: a stream of a device, or the emulation of the tests.
pub type Sink<'a> = &'a mut dyn FnMut(Launch);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Shape([i32; 3]);

    #[test]
    fn arguments_keep_order_size_and_bytes() {
        let args =
            Args::new().with(Ptr(0x1234)).with(7_i32).with(Shape([1, -2, 3])).with(0.5_f32);
        let found: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
        let shape = [1_i32, -2, 3].map(i32::to_ne_bytes).concat();
        let wanted = [
            0x1234_u64.to_ne_bytes().to_vec(),
            7_i32.to_ne_bytes().to_vec(),
            shape,
            0.5_f32.to_ne_bytes().to_vec(),
        ];
        assert_eq!(found, wanted);
        assert_eq!(args.len(), 4);
    }

    #[test]
    fn addresses_point_at_the_arguments_and_are_aligned() {
        let args = Args::new().with(1_u32).with(Ptr(2)).with(Shape([3; 3]));
        let addresses = args.addresses();
        for (address, argument) in addresses.iter().zip(args.iter()) {
            assert_eq!(address.addr(), argument.as_ptr().addr());
            assert_eq!(address.addr() % 8, 0);
        }
        assert!(addresses[3..].iter().all(|address| address.is_null()));
    }

    #[test]
    #[should_panic(expected = "argument 16 of 4 bytes does not fit")]
    fn a_seventeenth_argument_does_not_fit() {
        let _ = (0..17).fold(Args::new(), Args::with::<i32>);
    }

    #[test]
    fn each_covers_all_items() {
        let grid = |items| Launch::each("kernel", items, 256, Args::new()).grid[0];
        assert_eq!([1, 256, 257].map(grid), [1, 1, 2]);
    }

    #[test]
    #[should_panic(expected = "kernel: a grid of [1, 65536, 1]")]
    fn a_grid_that_cuda_refuses_is_refused() {
        let _ = Launch::new("kernel", [1, 65_536, 1], [32, 1, 1], Args::new());
    }

    #[test]
    fn step_parameters_are_the_words_that_the_kernels_read() {
        let params = StepParams::new(0.01, 3 << 32 | 5, 0);
        assert_eq!(size_of::<StepParams>(), 24);
        assert_eq!((params.share, params.step), (1.0, [5, 3]));
        let scaled = StepParams::new(0.01, 0, 4).scaled(1024.0);
        assert_eq!((scaled.share, scaled.unscale, scaled.rate), (256.0, 1.0 / 1024.0, 0.01));
    }
}
