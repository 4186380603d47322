//! [`Cpu`]: the device trait's calls, each to its op's room.

use super::{Cores, Level, Pool, Scratch, memory::Memory};
use crate::{
    device::{Device, DeviceError, Home, Input, Pictures, Progress, Step, Sums},
    ops::{
        activation,
        conv::{self, Conv, Pass},
        dropout::{self, Dropout},
        finish::{self, Finish},
        linear::{self, Linear},
        sgd::{self, Sgd},
        softmax::{self, Score},
    },
};
use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

/// `f32` memory of the CPU device.
#[derive(Debug)]
pub struct Buffer(Memory);

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.0.floats()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.floats_mut()
    }
}

/// A ring slot of the CPU device. It begins with a line of the caches, so that whole lines can be written past them; with
/// pages of 4 KiB, writing a batch takes half as long again (38 us a picture of 224 px, not 26).
#[derive(Debug)]
pub struct Slot(Memory);

impl Deref for Slot {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Some cores of the CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    name: String,
    pool: Pool,
    scratch: Scratch,
    progress: Progress,
    score: Score,
}

impl Cpu {
    /// A device with `threads` workers, named `NAME-worker-I`; with 1, the caller's thread works.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn new(name: &str, threads: usize) -> Result<Self, DeviceError> {
        Self::with_level(name, threads, Level::widest())
    }

    /// As [`Cpu::new`], kept to the instructions of `level`.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn with_level(name: &str, threads: usize, level: Level) -> Result<Self, DeviceError> {
        Pool::new(name, threads, level).map(|pool| Self::of(name, pool))
    }

    /// A device with a worker on each of `cores`, where it stays; with one, the caller's thread, once
    /// it is [at home](Device::home).
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn on(name: &str, cores: &Cores) -> Result<Self, DeviceError> {
        Pool::on(name, cores, Level::widest()).map(|pool| Self::of(name, pool))
    }

    fn of(name: &str, pool: Pool) -> Self {
        Self {
            name: name.into(),
            pool,
            scratch: Scratch::default(),
            progress: Progress::default(),
            score: Score::default(),
        }
    }

    fn allocate(&self, bytes: usize) -> Result<Memory, DeviceError> {
        Memory::zeros(bytes).map_err(|_| self.out_of_memory(bytes))
    }

    fn out_of_memory(&self, wanted_bytes: usize) -> DeviceError {
        DeviceError::OutOfMemory { device: self.name.clone(), wanted_bytes, counted: None }
    }
}

fn floats(input: Input<'_, Buffer>) -> &[f32] {
    match input {
        Input::Buffer(buffer) => buffer,
        Input::Pictures(pixels) => pixels,
    }
}

impl Device for Cpu {
    type Buffer = Buffer;
    type Slot = Slot;
    type Parcel = Buffer;

    /// Calls return when all is done.
    const AHEAD: usize = 0;
    /// A step of the full net takes a slow CPU some 10 s.
    const PATIENCE: Duration = Duration::from_secs(600);

    fn describe(&self) -> String {
        format!("{}: {} CPU threads", self.name, self.pool.threads())
    }

    fn home(&self) -> Home {
        self.pool.home()
    }

    fn zeros(&self, len: usize) -> Result<Buffer, DeviceError> {
        let bytes = len.saturating_mul(size_of::<f32>()); // more than there is stays so
        self.allocate(bytes).map(Buffer)
    }

    fn slot(&self, bytes: usize) -> Result<Slot, DeviceError> {
        self.allocate(bytes).map(Slot)
    }

    fn upload(&mut self, dst: &mut Buffer, src: &[f32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&mut self, src: &Buffer, dst: &mut [f32]) {
        dst.copy_from_slice(&src[..dst.len()]);
    }

    fn parcels(
        from: &Self, _to: &Self, count: usize, len: usize,
    ) -> Result<Vec<Buffer>, DeviceError> {
        (0..count).map(|_| from.zeros(len)).collect()
    }

    fn pack(&mut self, src: &Buffer, len: usize, parcel: &mut Buffer) {
        parcel[..len].copy_from_slice(&src[..len]);
    }

    fn give(&mut self, src: &mut Buffer, len: usize, parcel: &mut Buffer) {
        swap_or_copy(src, parcel, len);
    }

    fn unpack(&mut self, parcel: &mut Buffer, len: usize, dst: &mut Buffer) {
        // A parcel that is swapped goes back with other memory.
        swap_or_copy(parcel, dst, len);
        self.progress.unpacked += 1;
    }

    fn begin(&mut self, _pictures: &Pictures, _labels: &[u32], _step: Step) {
        self.score = Score::default();
    }

    fn end(&mut self) {
        self.progress.done += 1;
    }

    fn progress(&mut self) -> Result<Progress, DeviceError> {
        Ok(self.progress)
    }

    fn score(&mut self) -> Score {
        self.score
    }

    fn conv_forward(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let (x, w) = (first(floats(x), n * op.x_len()), first(w, op.w_len()));
        let (b, y) = (to.bias.map(|b| first(b, op.kernels)), first_mut(y, n * op.y_len()));
        let algorithm = op.algorithm(Pass::Forward);
        let (pool, scratch) = (&self.pool, &mut self.scratch);
        conv::cpu::forward(algorithm, pool, scratch, op, n, x, w, b, to.accumulate, y);
        activation::cpu::forward(pool, to.activation, y.len(), y);
    }

    fn conv_backward_data(
        &mut self, op: &Conv, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let algorithm = op.algorithm(Pass::BackwardData);
        let (dy, w, dx) =
            (first(dy, n * op.y_len()), first(w, op.w_len()), first_mut(dx, n * op.x_len()));
        conv::cpu::backward_data(algorithm, &self.pool, &mut self.scratch, op, n, dy, w, dx);
    }

    fn conv_backward_weight(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, dy: &Buffer, dw: &mut Buffer,
    ) {
        let algorithm = op.algorithm(Pass::BackwardWeight);
        let (x, dy, dw) = (
            first(floats(x), n * op.x_len()),
            first(dy, n * op.y_len()),
            first_mut(dw, op.w_len()),
        );
        conv::cpu::backward_weight(algorithm, &self.pool, &mut self.scratch, op, n, x, dy, dw);
    }

    fn bias_backward(&mut self, n: usize, k: usize, area: usize, dy: &Buffer, db: &mut Buffer) {
        let (dy, db) = (first(dy, n * k * area), first_mut(db, k));
        linear::cpu::bias_backward(&self.pool, n, k, area, dy, db);
    }

    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Buffer, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let (x, w) = (first(x, n * op.inputs), first(w, op.w_len()));
        let (b, y) = (to.bias.map(|b| first(b, op.outputs)), first_mut(y, n * op.outputs));
        let (pool, scratch) = (&self.pool, &mut self.scratch);
        linear::cpu::forward(pool, scratch, op, n, x, w, b, to.accumulate, y);
        activation::cpu::forward(pool, to.activation, y.len(), y);
    }

    fn linear_backward_data(
        &mut self, op: &Linear, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let (dy, w, dx) =
            (first(dy, n * op.outputs), first(w, op.w_len()), first_mut(dx, n * op.inputs));
        linear::cpu::backward_data(&self.pool, &mut self.scratch, op, n, dy, w, dx);
    }

    fn linear_update(
        &mut self, op: &Linear, n: usize, x: &Buffer, dy: &Buffer, sgd: &Sgd, v: &mut Buffer,
        w: &mut Buffer,
    ) {
        let (x, dy) = (first(x, n * op.inputs), first(dy, n * op.outputs));
        let (v, w) = (first_mut(v, op.w_len()), first_mut(w, op.w_len()));
        linear::cpu::update(&self.pool, &mut self.scratch, op, n, x, dy, sgd, v, w);
    }

    fn finish_forward(
        &mut self, op: &Finish, n: usize, y: &mut Buffer, out: Option<&mut Buffer>,
    ) {
        let out = out.map(|out| first_mut(out, n * op.out_len()));
        let y = first_mut(y, n * op.y_len());
        finish::cpu::forward(&self.pool, &mut self.scratch, op, n, y, out);
    }

    fn finish_backward(
        &mut self, op: &Finish, n: usize, d: &Buffer, y: &mut Buffer, db: &mut Buffer,
    ) {
        let (d, y) = (first(d, n * op.out_len()), first_mut(y, n * op.y_len()));
        let db = first_mut(db, op.channels);
        finish::cpu::backward(&self.pool, &mut self.scratch, op, n, d, y, db);
    }

    fn dropout(&mut self, op: &Dropout, n: usize, y: &mut Buffer) {
        dropout::cpu::apply(&self.pool, op, n, first_mut(y, n * op.units));
    }

    fn scale(&mut self, factor: f32, len: usize, y: &mut Buffer) {
        dropout::cpu::scale(&self.pool, factor, len, first_mut(y, len));
    }

    fn add(&mut self, len: usize, x: &Buffer, y: &mut Buffer) {
        activation::cpu::add(&self.pool, len, first(x, len), first_mut(y, len));
    }

    fn softmax(&mut self, n: usize, classes: usize, labels: &[u32], logits: &mut Buffer) {
        let logits = first_mut(logits, n * classes);
        self.score = softmax::cpu::forward(n, classes, labels, logits);
    }

    fn softmax_backward(&mut self, n: usize, classes: usize, labels: &[u32], p: &mut Buffer) {
        softmax::cpu::backward(n, classes, labels, first_mut(p, n * classes));
    }

    fn sgd(&mut self, op: &Sgd, len: usize, g: &Buffer, v: &mut Buffer, w: &mut Buffer) {
        let (g, v, w) = (first(g, len), first_mut(v, len), first_mut(w, len));
        sgd::cpu::step(&self.pool, op, len, g, v, w);
    }
}

/// The first `len` floats go to `to`; buffers of one size are swapped.
fn swap_or_copy(from: &mut Buffer, to: &mut Buffer, len: usize) {
    if from.len() == to.len() {
        std::mem::swap(from, to);
    } else {
        to[..len].copy_from_slice(&from[..len]);
    }
}

/// What an op of this shape reads of a buffer.
fn first(buffer: &[f32], len: usize) -> &[f32] {
    assert!(len <= buffer.len(), "{len} floats are due, and the buffer has {}", buffer.len());
    &buffer[..len]
}

/// What an op of this shape writes.
fn first_mut(buffer: &mut [f32], len: usize) -> &mut [f32] {
    assert!(len <= buffer.len(), "{len} floats are due, and the buffer has {}", buffer.len());
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Activation;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn ops_refuse_buffers_that_are_too_short() {
        let mut cpu = Cpu::new("test", 1).expect("a device");
        let mut refused = |op: &dyn Fn(&mut Cpu, [&mut Buffer; 3])| {
            let lens = [[7, 8, 8], [8, 7, 8], [8, 8, 7]];
            let all = lens.map(|lens| {
                let mut buffers = lens.map(|len| cpu.zeros(len).expect("memory"));
                catch_unwind(AssertUnwindSafe(|| op(&mut cpu, buffers.each_mut()))).is_err()
            });
            assert_eq!(all, [true; 3]);
        };
        let conv = Conv {
            channels: 2,
            height: 2,
            width: 2,
            kernels: 2,
            window: 2,
            stride: 1,
            pad_before: 0,
            pad_after: 1,
            groups: 2,
            weight_channels: 1,
            weight_offset: 0,
            by: Some([conv::Algorithm::Im2col; 3]),
        };
        assert_eq!([conv.x_len(), conv.w_len(), conv.y_len()], [8; 3]);
        refused(&|cpu, [x, w, y]| {
            cpu.conv_forward(&conv, 1, Input::Buffer(x), w, Sums::more(), y);
        });
        refused(&|cpu, [x, w, y]| cpu.conv_backward_data(&conv, 1, y, w, x));
        refused(&|cpu, [x, w, y]| cpu.conv_backward_weight(&conv, 1, Input::Buffer(x), y, w));
        let finish = Finish {
            channels: 8,
            area: 1,
            activation: Activation::Relu,
            lrn: None,
            pool: None,
        };
        refused(&|cpu, [d, y, db]| cpu.finish_backward(&finish, 1, d, y, db));
        let sgd = Sgd { rate: 0.1, momentum: 0.9, decay: 0.0 };
        refused(&|cpu, [g, v, w]| cpu.sgd(&sgd, 8, g, v, w));
    }
}
