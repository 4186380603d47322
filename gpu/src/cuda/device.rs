//! The device trait's calls on a GPU, each to its op's room.

use super::{
    batch::FeedBytes,
    board::{BATCHES, Cuda},
    buffer::Buffer,
    layout,
    memory::{Memory, Pinned},
    parcel::Parcel,
    steps::workspace_bytes,
    tile::Epilogue,
    timeline::Timeline,
};
use crate::{
    device::{
        Activation, Demand, Device, DeviceError, Input, Pictures, Progress, RowLayout, Span,
        Step, Sums,
    },
    ops::{
        activation,
        conv::{self, Conv},
        dropout::{self, Dropout},
        finish::{self, Finish},
        linear::{self, Linear},
        sgd::{self, Sgd},
        softmax::{self, Score},
    },
};
use std::time::Duration;

impl Cuda {
    fn conv_input(&self, x: Input<'_, Buffer>, op: u64) -> conv::cuda::Input {
        match x {
            Input::Buffer(x) => conv::cuda::Input::Activations(x.read_by(op)),
            Input::Pictures(_) => conv::cuda::Input::Packed(self.packed()),
        }
    }

    fn epilogue(&mut self, y: &Buffer, to: &Sums<'_, Buffer>, op: u64) -> Epilogue {
        let bias = to.bias.map(|b| b.read_by(op));
        let relu = to.activation == Activation::Relu;
        Epilogue { out: self.write(y, op), bias, accumulate: to.accumulate, relu }
    }

    /// What the product's epilogue has not applied.
    fn activate(&mut self, activation: Activation, len: usize, y: &Buffer) {
        if activation != Activation::Relu {
            activation::cuda::forward(activation, len, y.ptr(), &mut |l| self.launch(&l));
        }
    }
}

impl Device for Cuda {
    type Buffer = Buffer;
    type Slot = Pinned;
    type Parcel = Parcel;

    const AHEAD: usize = BATCHES - 1;
    /// A step takes a GPU some ms; its first launches compile kernels where there is PTX only.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn describe(&self) -> String {
        let gpu = self.gpu();
        let (major, minor) = gpu.capability;
        let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
        let (index, name, image) = (gpu.index, &gpu.name, self.image());
        format!("gpu {index}: {name}, sm_{major}{minor}, {gib:.1} GiB, kernels {image}")
    }

    fn memory(&self) -> Option<(String, usize)> {
        let (free, _) = self.context.memory().ok()?;
        Some((self.context.name().into(), free))
    }

    fn zeros(&self, len: usize) -> Result<Buffer, DeviceError> {
        Memory::zeroed(&self.context, len * size_of::<f32>()).map(Buffer::new)
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

    fn reserved_bytes(demand: &Demand) -> usize {
        workspace_bytes(demand) + FeedBytes::of(demand).sum()
    }

    fn begin(&mut self, pictures: &Pictures, labels: &[u32], step: Step) {
        if let Some((op, n)) = self.begin_batch(pictures, labels, step) {
            let (pictures, packed) = (self.pictures(), self.packed());
            self.queues.count();
            conv::cuda::space_to_depth(&op, n, pictures, packed, &mut |l| self.launch(&l));
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
        self.seconds
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
        let (x, w, sums) = (self.conv_input(x, by), w.read_by(by), self.epilogue(y, &to, by));
        let room = self.workspace();
        conv::cuda::forward(op, n, x, w, sums, room, &mut |l| self.launch(&l));
        self.activate(to.activation, n * op.y_len(), y);
    }

    fn conv_backward_data(
        &mut self, op: &Conv, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (dy, w, dx) = (dy.read_by(by), w.read_by(by), self.write(dx, by));
        let room = self.workspace();
        conv::cuda::backward_data(op, n, dy, w, dx, room, &mut |l| self.launch(&l));
    }

    fn conv_backward_weight(
        &mut self, op: &Conv, n: usize, x: Input<'_, Buffer>, dy: &Buffer, dw: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, dy, dw) = (self.conv_input(x, by), dy.read_by(by), self.write(dw, by));
        let room = self.workspace();
        conv::cuda::backward_weight(op, n, x, dy, dw, room, &mut |l| self.launch(&l));
    }

    fn bias_backward(&mut self, n: usize, k: usize, area: usize, dy: &Buffer, db: &mut Buffer) {
        let by = self.queues.count();
        let (dy, db, room) = (dy.read_by(by), self.write(db, by), self.workspace());
        linear::cuda::bias_backward(n, k, area, dy, db, room, &mut |l| self.launch(&l));
    }

    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Buffer, w: &Buffer, to: Sums<'_, Buffer>,
        y: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, w) = (x.read_by(by), w.read_by(by));
        let (sums, room) = (self.epilogue(y, &to, by), self.workspace());
        linear::cuda::forward(op, n, x, w, sums, room, &mut |l| self.launch(&l));
        self.activate(to.activation, n * op.outputs, y);
    }

    fn linear_backward_data(
        &mut self, op: &Linear, n: usize, dy: &Buffer, w: &Buffer, dx: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (dy, w, dx) = (dy.read_by(by), w.read_by(by), self.write(dx, by));
        let room = self.workspace();
        linear::cuda::backward_data(op, n, dy, w, dx, room, &mut |l| self.launch(&l));
    }

    fn linear_update(
        &mut self, op: &Linear, n: usize, x: &Buffer, dy: &Buffer, sgd: &Sgd, v: &mut Buffer,
        w: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (x, dy) = (x.read_by(by), dy.read_by(by));
        let (v, w) = (self.write(v, by), self.write(w, by));
        let params = self.params();
        linear::cuda::update(op, n, [x, dy], sgd, [v, w], params, &mut |l| self.launch(&l));
    }

    fn finish_forward(
        &mut self, op: &Finish, n: usize, y: &mut Buffer, out: Option<&mut Buffer>,
    ) {
        let by = self.queues.count();
        let (y, out) = (self.write(y, by), out.map(|out| self.write(out, by)));
        finish::cuda::forward(op, n, y, out, &mut |l| self.launch(&l));
    }

    fn finish_backward(
        &mut self, op: &Finish, n: usize, d: &Buffer, y: &mut Buffer, db: &mut Buffer,
    ) {
        let by = self.queues.count();
        let (d, y, db) = (d.read_by(by), self.write(y, by), self.write(db, by));
        let room = self.workspace();
        finish::cuda::backward(op, n, d, y, db, room, &mut |l| self.launch(&l));
    }

    fn dropout(&mut self, op: &Dropout, n: usize, y: &mut Buffer) {
        let by = self.queues.count();
        let (y, params) = (self.write(y, by), self.params());
        dropout::cuda::apply(op, n, y, params, &mut |l| self.launch(&l));
    }

    fn scale(&mut self, factor: f32, len: usize, y: &mut Buffer) {
        let by = self.queues.count();
        let y = self.write(y, by);
        dropout::cuda::scale(factor, len, y, &mut |l| self.launch(&l));
    }

    fn add(&mut self, len: usize, x: &Buffer, y: &mut Buffer) {
        let by = self.queues.count();
        let (x, y) = (x.read_by(by), self.write(y, by));
        activation::cuda::add(len, x, y, &mut |l| self.launch(&l));
    }

    fn softmax(&mut self, n: usize, classes: usize, _labels: &[u32], logits: &mut Buffer) {
        let by = self.queues.count();
        let (logits, labels, scores) = (self.write(logits, by), self.labels(), self.scores());
        softmax::cuda::forward(n, classes, labels, logits, scores, &mut |l| self.launch(&l));
        self.scores_of(n);
    }

    fn softmax_backward(&mut self, n: usize, classes: usize, _labels: &[u32], p: &mut Buffer) {
        let by = self.queues.count();
        let (p, labels, params) = (self.write(p, by), self.labels(), self.params());
        softmax::cuda::backward(n, classes, labels, p, params, &mut |l| self.launch(&l));
    }

    fn sgd(&mut self, op: &Sgd, len: usize, g: &Buffer, v: &mut Buffer, w: &mut Buffer) {
        let by = self.queues.count();
        let (g, v, w) = (g.read_by(by), self.write(v, by), self.write(w, by));
        let params = self.params();
        sgd::cuda::step(op, len, g, v, w, params, &mut |l| self.launch(&l));
    }
}
