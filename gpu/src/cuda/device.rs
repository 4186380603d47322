//! The device trait's calls on a GPU, each to its op's room.

use super::{
    batch::FeedBytes,
    board::{BATCHES, Cuda},
    buffer::Buffer,
    launch::Launch,
    layout,
    libraries::Product,
    memory::{Memory, Pinned},
    numbers::Numbers,
    parcel::Parcel,
    setup,
    steps::workspace_bytes,
    timeline::Timeline,
};
use crate::{
    device::{
        Demand, Device, DeviceError, Input, Pictures, Progress, RowLayout, Span, Step, Sums,
    },
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
use std::time::Duration;

impl Device for Cuda {
    type Buffer = Buffer;
    type Slot = Pinned;
    type Parcel = Parcel;

    const AHEAD: usize = BATCHES - 1;
    const PATIENCE: Duration = setup::PATIENCE;

    fn describe(&self) -> String {
        let gpu = self.gpu();
        let (major, minor) = gpu.capability;
        let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
        let (index, name, image) = (gpu.index, &gpu.name, self.image());
        let (numbers, libraries) = (self.numbers.name(), self.libraries.describe());
        format!(
            "gpu {index}: {name}, sm_{major}{minor}, {gib:.1} GiB, {numbers}, kernels {image}{libraries}"
        )
    }

    fn memory(&self) -> Option<(String, usize)> {
        let (free, _) = self.context.memory().ok()?;
        Some((self.context.name().into(), free))
    }

    fn zeros(&self, len: usize) -> Result<Buffer, DeviceError> {
        let memory = Memory::filled(&self.context, len * size_of::<f32>(), 0)?;
        Ok(Buffer::new(memory, Numbers::F32, None))
    }

    fn activations(&self, len: usize) -> Result<Buffer, DeviceError> {
        let memory = Memory::filled(&self.context, len * self.numbers.bytes(), 0)?;
        Ok(Buffer::new(memory, self.numbers.in_memory(), None))
    }

    fn factors(&self, len: usize) -> Result<Buffer, DeviceError> {
        if !self.numbers.copies_weights() {
            return self.zeros(len);
        }
        let memory = Memory::filled(&self.context, len * size_of::<f32>(), 0)?;
        let copy = Memory::filled(&self.context, len * self.numbers.bytes(), 0)?;
        Ok(Buffer::new(memory, Numbers::F32, Some(copy)))
    }

    fn activation_bytes(&self) -> usize {
        self.numbers.bytes()
    }

    fn factor_bytes(&self) -> usize {
        let copy = if self.numbers.copies_weights() { self.numbers.bytes() } else { 0 };
        size_of::<f32>() + copy
    }

    fn may_begin(&mut self) -> bool {
        self.may_copy_pictures()
    }

    fn slot(&self, bytes: usize) -> Result<Pinned, DeviceError> {
        self.pin(bytes)
    }

    fn upload(&mut self, dst: &mut Buffer, src: &[f32]) {
        self.write_now(dst, src);
    }

    fn download(&mut self, src: &Buffer, dst: &mut [f32]) {
        self.read_now(src, dst);
    }

    fn upload_rows(&mut self, lies: RowLayout, dst: &mut Buffer, src: &[f32]) {
        let mut rows = vec![0.0; src.len()];
        if !src.is_empty() {
            layout::channels_last(src, &mut rows, lies.channels, lies.pixels);
        }
        self.write_now(dst, &rows);
    }

    fn download_rows(&mut self, lies: RowLayout, src: &Buffer, dst: &mut [f32]) {
        let mut rows = vec![0.0; dst.len()];
        self.read_now(src, &mut rows);
        if !dst.is_empty() {
            layout::channels_first(&rows, dst, lies.channels, lies.pixels);
        }
    }

    fn upload_channels(&mut self, channels: usize, area: usize, dst: &mut Buffer, src: &[f32]) {
        self.upload_rows(RowLayout { blocks: 1, channels, pixels: area }, dst, src);
    }

    fn download_channels(
        &mut self, channels: usize, area: usize, src: &Buffer, dst: &mut [f32],
    ) {
        let image = RowLayout { blocks: 1, channels, pixels: area };
        self.download_rows(image, src, dst);
    }

    fn parcels(
        from: &Self, to: &Self, count: usize, len: usize,
    ) -> Result<Vec<Parcel>, DeviceError> {
        Self::parcels_between(from, to, count, len)
    }

    fn pack(&mut self, src: &Buffer, len: usize, parcel: &mut Parcel) {
        self.fill(src, len, parcel);
    }

    fn unpack(&mut self, parcel: &mut Parcel, len: usize, dst: &mut Buffer) {
        self.empty(parcel, len, dst);
    }

    fn reserve(&mut self, demand: &Demand) -> Result<(), DeviceError> {
        self.reserve_rooms(demand)
    }

    fn reserved_bytes(&self, demand: &Demand) -> usize {
        workspace_bytes(self.numbers, demand)
            + FeedBytes::of(self.numbers, demand).sum()
            + self.libraries.room_bytes(demand)
    }

    fn begin(&mut self, pictures: &Pictures, labels: &[u32], step: Step) {
        if let Some((op, n)) = self.begin_batch(pictures, labels, step) {
            let (numbers, pictures, packed) = (self.numbers, self.pictures(), self.packed());
            self.queues.count();
            let sink = &mut |l: Launch| self.launch(&l);
            conv::cuda::space_to_depth(numbers, &op, n, pictures, packed, sink);
            self.free_pictures();
        }
    }

    fn turn(&mut self) {
        self.turn_back();
    }

    fn end(&mut self) {
        self.end_batch();
    }

    fn progress(&mut self) -> Result<Progress, DeviceError> {
        self.look()
    }

    fn score(&mut self) -> Score {
        self.take_score()
    }

    fn seconds(&mut self) -> Option<[f64; 2]> {
        self.taken.seconds
    }

    fn overflowed(&mut self) -> bool {
        self.taken.overflowed
    }

    fn watch(&mut self) -> Result<(), DeviceError> {
        self.context.bind()?;
        self.timeline = Some(Timeline::new(&self.context, &self.queues.compute)?);
        Ok(())
    }

    fn spans(&mut self, each: &mut dyn FnMut(Span)) {
        if let Some(timeline) = &mut self.timeline {
            let told = timeline.tell(each);
            self.keep("reading its clock", told);
        }
    }

    fn give_up(&mut self) {
        self.context.give_up();
    }

    fn remarks(&mut self) -> Vec<String> {
        self.take_remarks()
    }

    fn conv_forward(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, w) = (self.conv_input(x, by), self.factor(w, by));
        let (sums, room) = (self.epilogue(y, &to, by), self.workspace());
        if !self.conv_forward_by_library(op, n, x, w, sums) {
            let tiled = self.tiled(&Product::of_conv(op, Pass::Forward, x.is_packed()));
            conv::cuda::forward(tiled, op, n, x, w, sums, room, &mut |l| self.launch(&l));
        }
        self.activate(to.activation, n * op.y_len(), y);
    }

    fn conv_backward_data(
        &mut self, op: &Conv, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (dy, w) = (self.factor(dy, by), self.factor(w, by));
        let (dx, room) = (self.gradient(dx, by), self.workspace());
        if !self.conv_backward_data_by_library(op, n, dy, w, dx) {
            let tiled = self.tiled(&Product::of_conv(op, Pass::BackwardData, false));
            conv::cuda::backward_data(tiled, op, n, dy, w, dx, room, &mut |l| {
                self.launch(&l);
            });
        }
    }

    fn conv_backward_weight(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, dy: &Buffer, dw: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, dy) = (self.conv_input(x, by), self.factor(dy, by));
        let (dw, room) = (self.write(dw, by), self.workspace());
        if !self.conv_backward_weight_by_library(op, n, x, dy, dw) {
            let tiled = self.tiled(&Product::of_conv(op, Pass::BackwardWeight, x.is_packed()));
            conv::cuda::backward_weight(tiled, op, n, x, dy, dw, room, &mut |l| {
                self.launch(&l);
            });
        }
    }

    fn bias_backward(&mut self, n: usize, k: usize, area: usize, dy: &Buffer, db: &mut Buffer) {
        let by = self.queues.count();
        let (numbers, room) = (dy.numbers(), self.workspace());
        let (dy, db) = (dy.read_by(by), self.write(db, by));
        let sink = &mut |l: Launch| self.launch(&l);
        linear::cuda::bias_backward(numbers, n, k, area, dy, db, room, sink);
    }

    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Buffer, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, w) = (self.factor(x, by), self.factor(w, by));
        let (sums, room) = (self.epilogue(y, &to, by), self.workspace());
        if !self.linear_forward_by_library(op, n, x, w, sums) {
            let tiled = self.tiled(&Product::of_linear(op, Pass::Forward));
            linear::cuda::forward(tiled, op, n, x, w, sums, room, &mut |l| self.launch(&l));
        }
        self.activate(to.activation, n * op.outputs, y);
    }

    fn linear_backward_data(
        &mut self, op: &Linear, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (dy, w) = (self.factor(dy, by), self.factor(w, by));
        let (dx, room) = (self.gradient(dx, by), self.workspace());
        if !self.linear_backward_data_by_library(op, n, dy, w, dx) {
            let tiled = self.tiled(&Product::of_linear(op, Pass::BackwardData));
            linear::cuda::backward_data(tiled, op, n, dy, w, dx, room, &mut |l| {
                self.launch(&l);
            });
        }
    }

    fn linear_update(
        &mut self, op: &Linear, n: usize, x: &Buffer, dy: &Buffer, sgd: &Sgd, v: &mut Buffer,
        w: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, dy) = (self.factor(x, by), self.factor(dy, by));
        let (w, params) = (self.weights(v, w, by), self.params());
        self.find_overflow(self.numbers, n * op.inputs, x);
        self.find_overflow(self.numbers, n * op.outputs, dy);
        let tiled = self.tiled(&Product::of_linear(op, Pass::BackwardWeight));
        let sink = &mut |l: Launch| self.launch(&l);
        linear::cuda::update(tiled, op, n, [x, dy], sgd, w, params, sink);
    }

    fn finish_forward(
        &mut self, op: &Finish, n: usize, y: &mut Buffer, out: Option<&mut Buffer>,
    ) {
        let by = self.queues.count();
        let numbers = y.numbers();
        let (y, out) = (self.write(y, by), out.map(|out| self.gradient(out, by)));
        finish::cuda::forward(numbers, op, n, y, out, &mut |l| self.launch(&l));
    }

    fn finish_backward(
        &mut self, op: &Finish, n: usize, d: &Buffer, y: &mut Buffer, db: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (numbers, room) = (y.numbers(), self.workspace());
        assert_eq!(d.numbers(), numbers, "gradients are kept as what they are of");
        let (d, y, db) = (d.read_by(by), self.write(y, by), self.write(db, by));
        finish::cuda::backward(numbers, op, n, d, y, db, room, &mut |l| self.launch(&l));
    }

    fn dropout(&mut self, op: &Dropout, n: usize, y: &mut Buffer) {
        let by = self.queues.count();
        let (numbers, y, params) = (y.numbers(), self.write(y, by), self.params());
        dropout::cuda::apply(numbers, op, n, y, params, &mut |l| self.launch(&l));
    }

    fn scale(&mut self, factor: f32, len: usize, y: &mut Buffer) {
        let by = self.queues.count();
        let (numbers, y) = (y.numbers(), self.write(y, by));
        dropout::cuda::scale(numbers, factor, len, y, &mut |l| self.launch(&l));
    }

    fn add(&mut self, len: usize, x: &Buffer, y: &mut Buffer) {
        let by = self.queues.count();
        let numbers = y.numbers();
        assert_eq!(x.numbers(), numbers, "what is added is kept alike");
        let (x, y) = (x.read_by(by), self.write(y, by));
        activation::cuda::add(numbers, len, x, y, &mut |l| self.launch(&l));
    }

    fn softmax(&mut self, n: usize, classes: usize, _labels: &[u32], logits: &mut Buffer) {
        let by = self.queues.count();
        assert_eq!(logits.numbers(), Numbers::F32, "logits are factors");
        let (logits, labels, scores) = (self.write(logits, by), self.labels(), self.scores());
        softmax::cuda::forward(n, classes, labels, logits, scores, &mut |l| self.launch(&l));
        self.scores_of(n);
    }

    fn softmax_backward(&mut self, n: usize, classes: usize, _labels: &[u32], p: &mut Buffer) {
        let by = self.queues.count();
        assert_eq!(p.numbers(), Numbers::F32, "probabilities are factors");
        let (p, labels, params) = (self.write(p, by), self.labels(), self.params());
        softmax::cuda::backward(n, classes, labels, p, params, &mut |l| self.launch(&l));
    }

    fn sgd(&mut self, op: &Sgd, len: usize, g: &Buffer, v: &mut Buffer, w: &mut Buffer) {
        let by = self.queues.count();
        let numbers = if w.copy().is_some() { self.numbers } else { Numbers::F32 };
        let (g, w, params) = (g.read_by(by), self.weights(v, w, by), self.params());
        self.find_overflow(Numbers::F32, len, g);
        sgd::cuda::step(numbers, op, len, g, w, params, &mut |l| self.launch(&l));
    }
}
