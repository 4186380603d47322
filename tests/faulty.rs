//! A CPU device with one bug, for tests that must notice it.

use gpu::{
    cpu::{Buffer, Cpu, Slot},
    device::{Device, DeviceError, Input, Pictures, Progress, Step, Sums},
    ops::{
        conv::Conv, dropout::Dropout, finish::Finish, linear::Linear, lrn::Lrn, sgd::Sgd,
        softmax::Score,
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What is wrong with a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Its `n`-th call panics, from 0.
    Panics(usize),
    /// It has no room for buffers of this many floats or more.
    NoRoom(usize),
    /// Convolutions of one of two sources use the weights of the other.
    ConvOffset,
    /// Linear layers likewise.
    LinearOffset,
    /// LRN sees all of its channels as one tower's.
    LrnSeam,
    /// The dropout mask is that of the first tower.
    MaskOffset,
    /// The gradient of the weights is that of half of the batch.
    HalfBatch,
}

/// A [`Cpu`] with a fault.
#[derive(Debug)]
pub(crate) struct Faulty {
    cpu: Cpu,
    fault: Fault,
    /// Copies and ops so far.
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    /// A device of one thread, and the count of its calls.
    pub(crate) fn new(fault: Fault) -> (Self, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let cpu = Cpu::new("faulty", 1).expect("no threads");
        (Self { cpu, fault, calls: Arc::clone(&calls) }, calls)
    }

    /// What the panic of call `n` says.
    pub(crate) fn text(n: usize) -> String {
        format!("a made-up fault at call {n}")
    }

    fn call(&mut self) -> &mut Cpu {
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(self.fault != Fault::Panics(n), "{}", Self::text(n));
        &mut self.cpu
    }

    fn conv(&self, op: &Conv) -> Conv {
        let mut op = *op;
        if self.fault == Fault::ConvOffset && op.channels < op.weight_channels {
            op.weight_offset = op.channels - op.weight_offset;
        }
        op
    }

    fn linear(&self, op: &Linear) -> Linear {
        let mut op = *op;
        if self.fault == Fault::LinearOffset && op.inputs < op.weight_inputs {
            op.weight_offset = op.inputs - op.weight_offset;
        }
        op
    }

    fn finish(&self, op: &Finish) -> Finish {
        let seamless = |lrn: Lrn| Lrn { groups: 1, ..lrn };
        let lrn = if self.fault == Fault::LrnSeam { op.lrn.map(seamless) } else { op.lrn };
        Finish { lrn, ..*op }
    }
}

/// Methods that count their call and hand it on.
macro_rules! hand_on {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        fn $name(&mut self, $($arg: $type),*) $(-> $result)? {
            self.call().$name($($arg),*)
        }
    )*};
}

impl Device for Faulty {
    type Buffer = Buffer;
    type Slot = Slot;
    type Parcel = Buffer;
    const AHEAD: usize = Cpu::AHEAD;
    const PATIENCE: Duration = Cpu::PATIENCE;

    fn describe(&self) -> String {
        format!("{}, {:?}", self.cpu.describe(), self.fault)
    }

    fn zeros(&self, len: usize) -> Result<Buffer, DeviceError> {
        match self.fault {
            Fault::NoRoom(from) if len >= from => Err(DeviceError::OutOfMemory {
                device: "faulty".into(),
                wanted_bytes: len * size_of::<f32>(),
                counted: None,
            }),
            _ => self.cpu.zeros(len),
        }
    }

    fn slot(&self, bytes: usize) -> Result<Slot, DeviceError> {
        self.cpu.slot(bytes)
    }

    fn parcels(
        from: &Self, to: &Self, count: usize, len: usize,
    ) -> Result<Vec<Buffer>, DeviceError> {
        Cpu::parcels(&from.cpu, &to.cpu, count, len)
    }

    fn progress(&mut self) -> Result<Progress, DeviceError> {
        self.cpu.progress()
    }

    fn score(&mut self) -> Score {
        self.cpu.score()
    }

    fn conv_forward(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let op = self.conv(op);
        self.call().conv_forward(&op, n, x, w, to, y);
    }

    fn conv_backward_weight(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, dy: &Buffer, dw: &mut Buffer,
    ) {
        let n = if self.fault == Fault::HalfBatch { n / 2 } else { n };
        self.call().conv_backward_weight(op, n, x, dy, dw);
    }

    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Buffer, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let op = self.linear(op);
        self.call().linear_forward(&op, n, x, w, to, y);
    }

    fn finish_forward(
        &mut self, op: &Finish, n: usize, y: &mut Buffer, out: Option<&mut Buffer>,
    ) {
        let op = self.finish(op);
        self.call().finish_forward(&op, n, y, out);
    }

    fn finish_backward(
        &mut self, op: &Finish, n: usize, d: &Buffer, y: &mut Buffer, db: &mut Buffer,
    ) {
        let op = self.finish(op);
        self.call().finish_backward(&op, n, d, y, db);
    }

    fn dropout(&mut self, op: &Dropout, n: usize, y: &mut Buffer) {
        let first = if self.fault == Fault::MaskOffset { 0 } else { op.first_unit };
        self.call().dropout(&Dropout { first_unit: first, ..*op }, n, y);
    }

    hand_on! {
        fn upload(dst: &mut Buffer, src: &[f32]);
        fn download(src: &Buffer, dst: &mut [f32]);
        fn pack(src: &Buffer, len: usize, parcel: &mut Buffer);
        fn give(src: &mut Buffer, len: usize, parcel: &mut Buffer);
        fn unpack(parcel: &mut Buffer, len: usize, dst: &mut Buffer);
        fn begin(pictures: &Pictures, labels: &[u32], step: Step);
        fn end();
        fn conv_backward_data(op: &Conv, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer);
        fn bias_backward(n: usize, k: usize, area: usize, dy: &Buffer, db: &mut Buffer);
        fn linear_backward_data(op: &Linear, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer);
        fn linear_update(
            op: &Linear, n: usize, x: &Buffer, dy: &Buffer, sgd: &Sgd, v: &mut Buffer,
            w: &mut Buffer
        );
        fn scale(factor: f32, len: usize, y: &mut Buffer);
        fn add(len: usize, x: &Buffer, y: &mut Buffer);
        fn softmax(n: usize, classes: usize, labels: &[u32], logits: &mut Buffer);
        fn softmax_backward(n: usize, classes: usize, labels: &[u32], p: &mut Buffer);
        fn sgd(op: &Sgd, len: usize, g: &Buffer, v: &mut Buffer, w: &mut Buffer);
    }
}
