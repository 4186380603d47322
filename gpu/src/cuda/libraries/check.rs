//! A library's pass beside our own kernel's, on made-up numbers, at the size of a batch.

use super::{
    Call, Refused,
    plan::{Planned, Product},
    shapes::in_order,
};
use crate::{
    cuda::{Numbers, board::Cuda, launch::Ptr, memory::Memory, tile::Epilogue},
    device::DeviceError,
    ops::{
        conv::{self, Pass},
        linear,
    },
    random::philox,
};
use cudarc::driver::result;

/// How far results may lie apart, relative to their norm: sums of up to 400,000 terms in single precision,
/// in another order.
const APART_MAX: f64 = 1e-4;
/// Times that a way is timed: the first launch of a graph takes longer.
const TIMES: usize = 5;
/// Made-up numbers repeat after so many: a prime, so that no row is another's.
const PERIOD: usize = 10_007;

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

impl Product {
    /// Floats of `x`, `w` and `y` over `n` images.
    fn lens(&self, n: usize) -> [usize; 3] {
        match self {
            Self::Conv(op, _) => [n * op.x_len(), op.w_len(), n * op.y_len()],
            Self::Linear(op, _) => {
                [n * op.inputs, op.outputs * op.weight_inputs, n * op.outputs]
            }
        }
    }
}

impl Cuda {
    /// Tries the plan that was made last; returns what it takes and what our kernel does, in ms, if these are to
    /// be timed.
    pub(super) fn try_last_plan(
        &mut self, product: &Product, timed: bool,
    ) -> Result<[f64; 2], String> {
        let plan = self.libraries.plans.len() - 1;
        let n = match &self.libraries.plans[plan] {
            Planned::Conv { n, .. } | Planned::Linear { n, .. } => *n,
        };
        let library = product.library();
        let [first, second, result] = in_order(product.pass(), product.lens(n));
        let beds = || {
            Ok::<_, DeviceError>([
                self.filled(&noise(1, first))?,
                self.filled(&noise(2, second))?,
                self.unwritten(result)?,
                self.unwritten(result)?,
            ])
        };
        let beds = beds().map_err(|error| format!("no room to try {library}: {error}"))?;
        let [first, second, found, wanted] = beds.each_ref().map(Memory::ptr);
        // Where the sums are added to what there is, too.
        let ways = if product.pass() == Pass::Forward { 2 } else { 1 };
        for accumulate in [false, true].into_iter().take(ways) {
            let operands = [first, second, found];
            let call = Call::Product { library, plan, operands, accumulate };
            match self.libraries.make(&self.queues.compute, &call) {
                Ok(()) => {}
                Err(Refused::Library(why)) => return Err(format!("{library} refused: {why}")),
                Err(Refused::Driver(error)) => {
                    self.keep("trying a library", Err::<(), _>(error));
                }
            }
            self.make_ourselves(product, n, [first, second, wanted], accumulate);
        }
        self.flush();
        // Images are alike: the first and the last one will do. Of weights there is one set.
        let len = match product.pass() {
            Pass::BackwardWeight => result,
            _ => result / n,
        };
        let mut worst = 0.0_f64;
        for at in [0, result - len] {
            let mut read = |from: Ptr| self.read_floats(from.offset::<f32>(at), len);
            let (found, wanted) = (read(found), read(wanted));
            worst = worst.max(apart(&found, &wanted));
        }
        if worst > APART_MAX && !self.has_failed() {
            return Err(format!("{library} makes {worst:.1e} of something else"));
        }
        if !timed {
            return Ok([0.0; 2]);
        }
        let call = Call::Product {
            library,
            plan,
            operands: [first, second, found],
            accumulate: false,
        };
        let by_library = self.time(|gpu| gpu.call(call));
        let ourselves = self.time(|gpu| {
            gpu.make_ourselves(product, n, [first, second, wanted], false);
        });
        Ok([by_library, ourselves])
    }

    /// What it takes, in ms, of several times the shortest; no time at all after a failure.
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

    fn make_ourselves(
        &mut self, product: &Product, n: usize, [first, second, result]: [Ptr; 3],
        accumulate: bool,
    ) {
        let (to, room) = (Epilogue { accumulate, ..Epilogue::plain(result) }, self.workspace());
        let sink = &mut |launch| self.launch(&launch);
        let activations = conv::cuda::Input::Activations(first);
        match product {
            Product::Conv(op, Pass::Forward) => {
                conv::cuda::forward(Numbers::F32, op, n, activations, second, to, room, sink);
            }
            Product::Conv(op, Pass::BackwardData) => {
                conv::cuda::backward_data(
                    Numbers::F32,
                    op,
                    n,
                    second,
                    first,
                    result,
                    room,
                    sink,
                );
            }
            Product::Conv(op, Pass::BackwardWeight) => {
                conv::cuda::backward_weight(
                    Numbers::F32,
                    op,
                    n,
                    activations,
                    second,
                    result,
                    room,
                    sink,
                );
            }
            Product::Linear(op, Pass::Forward) => {
                linear::cuda::forward(Numbers::F32, op, n, first, second, to, room, sink);
            }
            Product::Linear(op, _) => {
                linear::cuda::backward_data(
                    Numbers::F32,
                    op,
                    n,
                    second,
                    first,
                    result,
                    room,
                    sink,
                );
            }
        }
    }

    /// Memory with these numbers.
    fn filled(&self, values: &[f32]) -> Result<Memory, DeviceError> {
        let memory = Memory::new(&self.context, size_of_val(values))?;
        let stream = &self.queues.compute;
        // SAFETY: as long; both stay until the stream was waited for.
        let copied =
            unsafe { result::memcpy_htod_async(memory.ptr().0, values, stream.handle()) };
        let copied = copied.and_then(|()| stream.synchronize());
        self.context.check("copying to the GPU", copied)?;
        Ok(memory)
    }

    /// Memory of `len` floats that are no numbers: what is overwritten must not be read.
    fn unwritten(&self, len: usize) -> Result<Memory, DeviceError> {
        let bytes = len * size_of::<f32>();
        let memory = Memory::new(&self.context, bytes)?;
        // SAFETY: the memory is ours and `bytes` long.
        let filled = unsafe { result::memset_d8_sync(memory.ptr().0, 0xff, bytes) };
        self.context.check("filling memory", filled)?;
        Ok(memory)
    }

    /// Waits for all that was asked, and copies from the GPU; zeros after a failure.
    fn read_floats(&mut self, from: Ptr, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        if !self.has_failed() {
            let stream = &self.queues.compute;
            // SAFETY: memory of as many floats; both stay until the stream was waited for.
            let copied =
                unsafe { result::memcpy_dtoh_async(&mut values, from.0, stream.handle()) };
            let copied = copied.and_then(|()| stream.synchronize());
            self.keep("copying from the GPU", copied);
        }
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
