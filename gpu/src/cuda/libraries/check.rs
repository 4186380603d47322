//! A product by a library beside our own kernel, and what both take: on made-up numbers, at the size of a batch.

use super::{Call, Refused, product::Product, shapes::in_order};
use crate::{
    cuda::{
        Numbers,
        board::Cuda,
        launch::{Ptr, StepParams},
        memory::Memory,
        tile::{Epilogue, Tile, Tiled},
    },
    device::DeviceError,
    ops::{
        conv::{self, Pass},
        linear,
        sgd::Sgd,
    },
    random::philox,
};

/// How far results of these may lie apart, relative to their norm.
const fn apart_max(numbers: Numbers) -> f64 {
    match numbers {
        // Sums of up to 400,000 terms in single precision, in another order.
        Numbers::F32 => 1e-4,
        // A factor that is cut to tf32, as tensor cores read it, is off by 2^-10 at most; ours are rounded.
        Numbers::Tf32 => 1.0 / 512.0,
        // Sums that lie near a tie are rounded to either side.
        Numbers::Bf16 => 1.0 / 256.0,
        Numbers::F16 => 1.0 / 2048.0,
    }
}
/// Times that a way is timed: the first launch of a graph takes longer.
const TIMES: usize = 5;
/// Made-up numbers repeat after so many: a prime, so that no row is another's.
const PERIOD: usize = 10_007;

/// A step of the optimiser that is timed.
const STEP: Sgd = Sgd { rate: 0.01, momentum: 0.9, decay: 0.0005 };

/// `len` numbers between -1 and 1.
fn noise(seed: u32, len: usize) -> Vec<f32> {
    let number = |i: usize| {
        let word = philox([seed, 2012], [(i % PERIOD) as u32, 0, 0, 0])[0];
        (f64::from(word) / 2_147_483_648.0 - 1.0) as f32
    };
    let mut values: Vec<f32> = (0..len.min(PERIOD)).map(number).collect();
    while values.len() < len {
        values.extend_from_within(..values.len().min(len - values.len()));
    }
    values
}

/// The norm of the difference relative to that of what is wanted; infinite where it is no number.
fn apart(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |sum: f64, x: f64| x.mul_add(x, sum);
    let pairs = found.iter().zip(wanted);
    let difference = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).fold(0.0, square).sqrt();
    let norm = wanted.iter().map(|b| f64::from(*b)).fold(0.0, square).sqrt();
    let apart = difference / norm;
    if apart.is_finite() { apart } else { f64::INFINITY }
}

/// A product and its operands, on a GPU.
#[derive(Debug)]
pub(super) struct Bed {
    pub(super) product: Product,
    n: usize,
    /// The one that our own kernel takes by itself.
    pub(super) tile: Tile,
    /// What is multiplied, in the order of calls.
    factors: [Memory; 2],
    /// A library's result, and our kernel's; of an optimiser's step, velocities and weights.
    results: [Memory; 2],
    /// Of such a step, what products read of the weights, if they do not read these; and what changes.
    copy: Option<Memory>,
    params: Memory,
}

impl Bed {
    /// Numbers of the result.
    fn len(&self) -> usize {
        in_order(self.product.pass(), self.product.lens(self.n))[2]
    }
}

impl Cuda {
    /// A product over `n` images.
    pub(super) fn bed(&mut self, product: &Product, n: usize) -> Result<Bed, DeviceError> {
        self.forget_graphs(); // of operands that are no more
        let [first, second, result] = in_order(product.pass(), product.lens(n));
        let numbers = self.numbers;
        let result_bytes = result * size_of::<f32>(); // halves take less
        let copied = product.is_step() && numbers.copies_weights();
        Ok(Bed {
            product: *product,
            n,
            tile: product.tile(numbers, n),
            factors: [
                self.filled(&numbers.narrow(&noise(1, first)))?,
                self.filled(&numbers.narrow(&noise(2, second)))?,
            ],
            results: [self.unwritten(result_bytes)?, self.unwritten(result_bytes)?],
            copy: copied.then(|| self.unwritten(result * numbers.bytes())).transpose()?,
            params: self.filled(bytemuck::bytes_of(&StepParams::new(STEP.rate, 0, n)))?,
        })
    }

    /// The call that the plan which was made last is.
    fn last_plan(&self, bed: &Bed, accumulate: bool, wide: bool) -> Call {
        let [first, second] = bed.factors.each_ref().map(Memory::ptr);
        Call::Product {
            library: bed.product.library(),
            plan: self.libraries.plans.len() - 1,
            operands: [first, second, bed.results[0].ptr()],
            accumulate,
            wide,
        }
    }

    /// Holds what the plan that was made last makes to what our kernel does.
    pub(super) fn try_last_plan(&mut self, bed: &Bed) -> Result<(), String> {
        let library = bed.product.library();
        for wide in bed.product.widths(self.numbers) {
            self.make_both(bed, *wide)?;
            let stored = if *wide || bed.product.pass() == Pass::BackwardWeight {
                Numbers::F32
            } else {
                self.numbers
            };
            let apart = self.results_apart(bed, stored);
            // Of halves, sums that are not rounded to them are those of exact products.
            let exact = *wide && self.numbers.copies_weights();
            let most = apart_max(if exact { stored } else { self.numbers });
            if apart > most && !self.has_failed() {
                return Err(format!("{library} makes {apart:.1e} of something else"));
            }
        }
        Ok(())
    }

    /// Asks for the product by both.
    fn make_both(&mut self, bed: &Bed, wide: bool) -> Result<(), String> {
        let library = bed.product.library();
        // Where the sums are added to what there is, too.
        let ways = if bed.product.pass() == Pass::Forward { 2 } else { 1 };
        for accumulate in [false, true].into_iter().take(ways) {
            let call = self.last_plan(bed, accumulate, wide);
            match self.libraries.make(&self.queues.compute, &call) {
                Ok(()) => {}
                Err(Refused::Library(why)) => return Err(format!("{library} refused: {why}")),
                Err(Refused::Driver(error)) => {
                    self.keep("trying a library", Err::<(), _>(error));
                }
            }
            self.make_ourselves(bed, None, accumulate, wide);
        }
        self.flush();
        Ok(())
    }

    /// How far both results of a bed lie apart, which are these.
    fn results_apart(&mut self, bed: &Bed, numbers: Numbers) -> f64 {
        // Image by image, so that one that is wrong shows beside all others. Of weights there is one set.
        let result = bed.len();
        let whole = bed.product.pass() == Pass::BackwardWeight;
        let len = if whole { result } else { result / bed.n };
        let [found, wanted] =
            bed.results.each_ref().map(|memory| self.read(memory.ptr(), numbers, result));
        let pairs = found.chunks(len).zip(wanted.chunks(len));
        pairs.map(|(found, wanted)| apart(found, wanted)).fold(0.0, f64::max)
    }

    /// What the plan that was made last takes, in ms.
    pub(super) fn time_last_plan(&mut self, bed: &Bed) -> f64 {
        let call = self.last_plan(bed, false, false);
        self.time(|gpu| gpu.call(call))
    }

    /// What our own kernel takes by this tile, in ms.
    pub(super) fn time_ourselves(&mut self, bed: &Bed, tile: Option<Tile>) -> f64 {
        self.time(|gpu| gpu.make_ourselves(bed, tile, false, false))
    }

    /// What it takes, in ms, of several times the shortest; infinitely many after a failure.
    fn time(&mut self, mut ask: impl FnMut(&mut Self)) -> f64 {
        let mut shortest = f64::INFINITY;
        for _ in 0..TIMES {
            let seconds = self.clock_start().and_then(|clock| {
                ask(self);
                self.clock_stop(&clock)
            });
            match seconds {
                Ok(seconds) => shortest = shortest.min(seconds * 1e3),
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        shortest
    }

    /// Asks our own kernel for the product.
    fn make_ourselves(&mut self, bed: &Bed, tile: Option<Tile>, accumulate: bool, wide: bool) {
        let (n, by) = (bed.n, Tiled { numbers: self.numbers, tile });
        let [first, second] = bed.factors.each_ref().map(Memory::ptr);
        let [of_library, result] = bed.results.each_ref().map(Memory::ptr);
        let to = Epilogue { accumulate, wide, ..Epilogue::plain(result) };
        let room = self.workspace();
        let params = bed.params.ptr();
        let sink = &mut |launch| self.launch(&launch);
        let x = conv::cuda::Input::Activations(first);
        match &bed.product {
            Product::Conv(op, Pass::Forward) => {
                conv::cuda::forward(by, op, n, x, second, to, room, sink);
            }
            Product::Conv(op, Pass::BackwardData) => {
                conv::cuda::backward_data(by, op, n, second, first, result, room, sink);
            }
            Product::Conv(op, Pass::BackwardWeight) => {
                conv::cuda::backward_weight(by, op, n, x, second, result, room, sink);
            }
            Product::Linear(op, Pass::Forward) => {
                linear::cuda::forward(by, op, n, first, second, to, room, sink);
            }
            Product::Linear(op, Pass::BackwardData) => {
                linear::cuda::backward_data(by, op, n, second, first, result, room, sink);
            }
            Product::Linear(op, Pass::BackwardWeight) => {
                let copy = Ptr::or_null(bed.copy.as_ref().map(Memory::ptr));
                let weights = [of_library, result, copy];
                linear::cuda::update(by, op, n, [first, second], &STEP, weights, params, sink);
            }
        }
    }

    /// Memory with these bytes.
    fn filled(&self, bytes: &[u8]) -> Result<Memory, DeviceError> {
        let memory = Memory::new(&self.context, bytes.len())?;
        let stream = &self.queues.compute;
        // SAFETY: as long.
        let copied = unsafe { stream.write(memory.ptr(), bytes) };
        self.context.check("copying to the GPU", copied)?;
        Ok(memory)
    }

    /// Memory of so many bytes that are no numbers: what is overwritten must not be read.
    fn unwritten(&self, bytes: usize) -> Result<Memory, DeviceError> {
        Memory::filled(&self.context, bytes, 0xff)
    }

    /// Waits for all that was asked, and copies numbers from the GPU; zeros after a failure.
    fn read(&mut self, from: Ptr, numbers: Numbers, len: usize) -> Vec<f32> {
        let mut bytes = vec![0_u8; len * numbers.bytes()];
        if !self.has_failed() {
            let stream = &self.queues.compute;
            // SAFETY: memory of as many numbers.
            let copied = unsafe { stream.read(from, &mut bytes) };
            self.keep("copying from the GPU", copied);
        }
        let mut values = vec![0.0; len];
        numbers.widen(&bytes, &mut values);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_numbers_are_as_many_as_asked_for_and_differ() {
        let many = noise(1, 3 * PERIOD + 5);
        assert_eq!(many.len(), 3 * PERIOD + 5);
        assert_eq!(many[..4], many[PERIOD..PERIOD + 4]);
        assert!(many.iter().all(|value| value.abs() <= 1.0) && many[0] != many[1]);
        assert_ne!(noise(2, 7), many[..7]);
    }

    #[test]
    fn what_is_no_number_is_infinitely_far() {
        assert_eq!(apart(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(apart(&[1.0], &[0.0]), f64::INFINITY);
        assert!((apart(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }
}
