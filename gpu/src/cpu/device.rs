//! [`Cpu`]: the device trait's calls, each to its op's room.

use super::{Cores, Level, Pool, Scratch};
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
use memmap2::MmapMut;
use std::{
    io,
    ops::{Deref, DerefMut},
    time::Duration,
};

/// `f32` memory of the CPU device.
#[derive(Debug)]
pub struct Buffer(Vec<f32>);

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// A ring slot of the CPU device: pages of its own, so that it begins with a line of the caches and
/// whole lines can be written past them. They are large ones where the system has any: with pages of
/// 4 KiB, writing a batch takes half as long again (38 us a picture of 224 px, not 26).
#[derive(Debug)]
pub struct Slot(MmapMut);

impl Slot {
    fn new(bytes: usize) -> io::Result<Self> {
        let mut memory = MmapMut::map_anon(bytes)?;
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage); // an error means that there are none
        memory.fill(0); // now, not while the first batches are written
        Ok(Self(memory))
    }
}

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

    fn allocate(&self, len: usize) -> Result<Vec<f32>, DeviceError> {
        let mut memory = Vec::new();
        let bytes = len * size_of::<f32>();
        memory.try_reserve_exact(len).map_err(|_| self.out_of_memory(bytes))?;
        memory.resize(len, 0.0);
        Ok(memory)
    }

    fn out_of_memory(&self, wanted_bytes: usize) -> DeviceError {
        DeviceError::OutOfMemory { device: self.name.clone(), wanted_bytes }
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
    type Parcel = Vec<f32>;

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
        self.allocate(len).map(Buffer)
    }

    fn slot(&self, bytes: usize) -> Result<Slot, DeviceError> {
        Slot::new(bytes).map_err(|_| self.out_of_memory(bytes))
    }

    fn upload(&mut self, dst: &mut Buffer, src: &[f32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&mut self, src: &Buffer, dst: &mut [f32]) {
        dst.copy_from_slice(&src[..dst.len()]);
    }

    fn parcels(
        from: &Self, _to: &Self, count: usize, len: usize,
    ) -> Result<Vec<Vec<f32>>, DeviceError> {
        (0..count).map(|_| from.allocate(len)).collect()
    }

    fn pack(&mut self, src: &Buffer, len: usize, parcel: &mut Vec<f32>) {
        parcel[..len].copy_from_slice(&src[..len]);
    }

    fn unpack(&mut self, parcel: &mut Vec<f32>, len: usize, dst: &mut Buffer) {
        if dst.len() == parcel.len() {
            // The parcel goes back with memory that is as good: nothing is copied.
            std::mem::swap(&mut dst.0, parcel);
        } else {
            dst[..len].copy_from_slice(&parcel[..len]);
        }
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
        let x = floats(x);
        let (b, accumulate) = (to.bias.map(|b| &b[..]), to.accumulate);
        let algorithm = op.algorithm(Pass::Forward);
        let (pool, scratch) = (&self.pool, &mut self.scratch);
        conv::cpu::forward(algorithm, pool, scratch, op, n, x, w, b, accumulate, y);
        activation::cpu::forward(pool, to.activation, n * op.y_len(), y);
    }

    fn conv_backward_data(
        &mut self, op: &Conv, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let algorithm = op.algorithm(Pass::BackwardData);
        conv::cpu::backward_data(algorithm, &self.pool, &mut self.scratch, op, n, dy, w, dx);
    }

    fn conv_backward_weight(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, dy: &Buffer, dw: &mut Buffer,
    ) {
        let x = floats(x);
        let algorithm = op.algorithm(Pass::BackwardWeight);
        conv::cpu::backward_weight(algorithm, &self.pool, &mut self.scratch, op, n, x, dy, dw);
    }

    fn bias_backward(&mut self, n: usize, k: usize, area: usize, dy: &Buffer, db: &mut Buffer) {
        linear::cpu::bias_backward(&self.pool, n, k, area, dy, db);
    }

    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Buffer, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let (b, accumulate) = (to.bias.map(|b| &b[..]), to.accumulate);
        let (pool, scratch) = (&self.pool, &mut self.scratch);
        linear::cpu::forward(pool, scratch, op, n, x, w, b, accumulate, y);
        activation::cpu::forward(pool, to.activation, n * op.outputs, y);
    }

    fn linear_backward_data(
        &mut self, op: &Linear, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        linear::cpu::backward_data(&self.pool, &mut self.scratch, op, n, dy, w, dx);
    }

    fn linear_update(
        &mut self, op: &Linear, n: usize, x: &Buffer, dy: &Buffer, sgd: &Sgd, v: &mut Buffer,
        w: &mut Buffer,
    ) {
        linear::cpu::update(&self.pool, &mut self.scratch, op, n, x, dy, sgd, v, w);
    }

    fn finish_forward(
        &mut self, op: &Finish, n: usize, y: &mut Buffer, out: Option<&mut Buffer>,
    ) {
        let out = out.map(|out| &mut out[..]);
        finish::cpu::forward(&self.pool, &mut self.scratch, op, n, y, out);
    }

    fn finish_backward(
        &mut self, op: &Finish, n: usize, d: &Buffer, y: &mut Buffer, db: &mut Buffer,
    ) {
        finish::cpu::backward(&self.pool, &mut self.scratch, op, n, d, y, db);
    }

    fn dropout(&mut self, op: &Dropout, n: usize, y: &mut Buffer) {
        dropout::cpu::apply(&self.pool, op, n, y);
    }

    fn scale(&mut self, factor: f32, len: usize, y: &mut Buffer) {
        dropout::cpu::scale(&self.pool, factor, len, y);
    }

    fn add(&mut self, len: usize, x: &Buffer, y: &mut Buffer) {
        activation::cpu::add(&self.pool, len, x, y);
    }

    fn softmax(&mut self, n: usize, classes: usize, labels: &[u32], logits: &mut Buffer) {
        self.score = softmax::cpu::forward(n, classes, labels, logits);
    }

    fn softmax_backward(&mut self, n: usize, classes: usize, labels: &[u32], p: &mut Buffer) {
        softmax::cpu::backward(n, classes, labels, p);
    }

    fn sgd(&mut self, op: &Sgd, len: usize, g: &Buffer, v: &mut Buffer, w: &mut Buffer) {
        sgd::cpu::step(&self.pool, op, len, g, v, w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_begin_with_a_line_and_are_as_long_as_they_are_asked_for() {
        let cpu = Cpu::new("test", 1).expect("a device");
        for bytes in [4, 64, 400, 3 * 224 * 224 * 4] {
            let mut slot = cpu.slot(bytes).expect("memory");
            assert_eq!((slot.len(), slot.as_ptr().addr() % 64), (bytes, 0));
            slot[bytes - 1] = 1;
        }
    }
}
