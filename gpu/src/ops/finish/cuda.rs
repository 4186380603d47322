//! On a CUDA device: one kernel forward; backward, one for the maxima, one for the gradient, two for the bias.

use super::Finish;
use crate::{
    cuda::{
        launch::{Args, Launch, Ptr, Sink, int},
        numbers::{Numbers, kernels},
    },
    device::Activation,
    ops::{activation::cuda as activation, linear::cuda as linear},
};
use bytemuck::{Pod, Zeroable};

/// Threads of a pixel, and pixels of a block: `PIXELS` of `finish.cu`.
const BLOCK: [u32; 3] = [32, 8, 1];
/// Shared memory of a block for a channel, in bytes.
const CHANNEL_BYTES: usize = 3 * BLOCK[1] as usize * size_of::<f32>();
/// Channels that LRN goes over at most: a launch may have 48 KiB of shared memory without asking for more.
pub const LRN_CHANNELS_MAX: usize = (48 << 10) / CHANNEL_BYTES;
/// The workspace's parts begin at multiples of this.
const ALIGNMENT: usize = 256;

/// The twin of `FinishShape` in `finish.cu`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Shape {
    images: i32,
    height: i32,
    width: i32,
    channels: i32,
    activation: i32,
    lrn_size: i32,
    lrn_group: i32,
    alpha: f32,
    beta: f32,
    k: f32,
    factor: f32,
    window: i32,
    stride: i32,
    out_height: i32,
    out_width: i32,
    unused: i32,
}

impl Shape {
    fn new(op: &Finish, n: usize) -> Self {
        op.check();
        let _ = (int(n * op.y_len()), int(n * op.out_len()));
        let mut shape = Self {
            images: int(n),
            height: 1,
            width: int(op.area),
            channels: int(op.channels),
            activation: activation::code(op.activation),
            ..Self::default()
        };
        if let Some(lrn) = &op.lrn {
            shape.lrn_size = int(lrn.size);
            shape.lrn_group = int(lrn.channels / lrn.groups);
            (shape.alpha, shape.beta, shape.k) = (lrn.alpha, lrn.beta, lrn.k);
            shape.factor = 2.0 * lrn.alpha * lrn.beta;
        }
        if let Some(pool) = &op.pool {
            (shape.height, shape.width) = (int(pool.height), int(pool.width));
            (shape.window, shape.stride) = (int(pool.window), int(pool.stride));
            shape.out_height = int(pool.out_height());
            shape.out_width = int(pool.out_width());
        }
        shape
    }
}

/// `out = pool(lrn(f(y)))`; where there is neither, `y = f(y)` and no `out`. Products that were clipped
/// already ([`Epilogue::relu`](crate::cuda::tile::Epilogue)) need no call then.
pub fn forward(
    numbers: Numbers, op: &Finish, n: usize, y: Ptr, out: Option<Ptr>, sink: Sink<'_>,
) {
    if op.in_place() || op.activation == Activation::Tanh {
        activation::forward(numbers, op.activation, n * op.y_len(), y, sink);
    }
    let Some(out) = out.filter(|_| !op.in_place()) else {
        return;
    };
    let args = Args::new().with(y).with(out).with(Shape::new(op, n));
    sink(Launch::each(numbers.of(kernels!("finish_forward")), n * op.out_len(), 256, args));
}

/// Bytes of the maxima of the pooling, if any.
fn taps_bytes(op: &Finish, n: usize) -> usize {
    op.pool.map_or(0, |_| (n * op.out_len()).next_multiple_of(ALIGNMENT))
}

/// Bytes of the workspace that [`backward`] needs.
pub fn workspace_bytes(op: &Finish, n: usize) -> usize {
    taps_bytes(op, n) + linear::bias_workspace_bytes(n, op.channels, op.area)
}

/// `y` becomes the gradient of the product and `db`, overwritten, that of the bias, from `d`, the gradient of
/// what was handed on.
///
/// # Panics
/// If LRN goes over more than [`LRN_CHANNELS_MAX`] channels.
pub fn backward(
    numbers: Numbers, op: &Finish, n: usize, d: Ptr, y: Ptr, db: Ptr, workspace: Ptr,
    sink: Sink<'_>,
) {
    let (shape, rooms) = (Shape::new(op, n), workspace.offset::<u8>(taps_bytes(op, n)));
    if op.pool.is_some() {
        let args = Args::new().with(y).with(workspace).with(shape);
        sink(Launch::each(numbers.of(kernels!("pool_taps")), n * op.out_len(), 256, args));
    }
    assert!(op.lrn.is_none() || op.channels <= LRN_CHANNELS_MAX, "LRN over {}", op.channels);
    let shared = if op.lrn.is_some() { op.channels * CHANNEL_BYTES } else { 0 };
    let pixels = BLOCK[1] as usize;
    let args = Args::new().with(d).with(workspace).with(y).with(shape);
    let grid = [(n * op.area).div_ceil(pixels), 1, 1];
    let kernel = numbers.of(kernels!("finish_backward"));
    sink(Launch::new(kernel, grid, BLOCK, args).with_shared(shared as u32));
    linear::bias_backward(numbers, n, op.channels, op.area, y, db, rooms, sink);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cuda::testing::{
            Emulated, at_full_size, bound, channels_first, channels_last, noise_as,
            on_every_schedule, once, rounded,
        },
        device::Device as _,
        ops::{finish::tests::ops, lrn::Lrn, pool::MaxPool},
        testing::{self, close, close_sums, noise, wide},
    };
    use proptest::prelude::*;

    /// What the CPU device finds, which is held against the formulas in `mod.rs`: what is handed on, the gradient
    /// of the product and that of the bias.
    fn by_the_cpu(op: &Finish, n: usize, x: &[f32], d: &[f32]) -> [Vec<f32>; 3] {
        let mut cpu = crate::cpu::Cpu::new("test", 1).expect("threads");
        let mut y = testing::buffer(&mut cpu, x);
        let mut out = testing::buffer(&mut cpu, d);
        cpu.finish_forward(op, n, &mut y, (!op.in_place()).then_some(&mut out));
        let handed_on = if op.in_place() { y.to_vec() } else { out.to_vec() };
        let d = testing::buffer(&mut cpu, d);
        let mut db = testing::buffer(&mut cpu, &vec![0.0; op.channels]);
        cpu.finish_backward(op, n, &d, &mut y, &mut db);
        [handed_on, y.to_vec(), db.to_vec()]
    }

    fn agrees(device: &mut Emulated, op: &Finish, n: usize) {
        for numbers in Numbers::IN_MEMORY {
            let [x, d] = [op.y_len(), op.out_len()].map(|len| noise_as(numbers, 1, n * len));
            agrees_on(numbers, device, op, n, &x, &d);
        }
    }

    fn agrees_on(
        numbers: Numbers, device: &mut Emulated, op: &Finish, n: usize, x: &[f32], d: &[f32],
    ) {
        // A stored tanh is rounded before it is pooled or normalised, and after; its gradient is made of what was
        // stored.
        let tanh = op.activation == Activation::Tanh;
        let stored = tanh && !op.in_place();
        let error = bound(numbers, 2e-6);
        let of_stored = |stored: bool| if stored { 3.0 * error } else { error };
        let [handed_on, dy, db] = by_the_cpu(op, n, x, d);
        let y = device.put_as(numbers, &channels_last(x, op.channels, op.area));
        let out = (!op.in_place()).then(|| device.unwritten_as(numbers, d.len()));
        device.run(|sink| forward(numbers, op, n, y, out, sink));
        let found: Vec<f32> = device.get_as(numbers, out.unwrap_or(y));
        let found = channels_first(&found, op.channels, op.out_area());
        if op.activation == Activation::Tanh {
            close(&found, &wide(&handed_on), of_stored(stored));
        } else {
            let wanted = rounded(numbers, &handed_on);
            assert_eq!(found, wanted, "bits, so that the same maxima are found");
        }
        let (given, on_db) = (
            device.put_as(numbers, &channels_last(d, op.channels, op.out_area())),
            device.unwritten(db.len()),
        );
        let workspace = device.workspace(workspace_bytes(op, n));
        device.run(|sink| backward(numbers, op, n, given, y, on_db, workspace, sink));
        let on_dy = channels_first(&device.get_as(numbers, y), op.channels, op.area);
        if !(stored && numbers != Numbers::F32 && op.pool.is_some()) {
            // Else near-ties go the other way.
            close(&on_dy, &wide(&dy), of_stored(tanh));
        }
        let of_channel = |k| {
            let units = (0..dy.len()).filter(move |i| i / op.area % op.channels == k);
            units.map(|i| f64::from(on_dy[i]))
        };
        close_sums(&device.get(on_db), of_channel, 1e-6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn kernels_agree_with_the_cpu_device(op in ops(), n in 1..4_usize) {
            on_every_schedule(|device| agrees(device, &op, n));
        }
    }

    #[test]
    fn another_exponent_agrees_too() {
        let (channels, groups, area) = (10, 2, 21);
        let lrn = Lrn { channels, groups, area, size: 5, alpha: 0.7, beta: 0.6, k: 2.0 };
        let op = Finish { lrn: Some(lrn), ..Finish::nothing(channels, area) };
        let (x, d) = (noise(1, op.y_len()), noise(2, op.out_len()));
        let wanted = by_the_cpu(&op, 1, &x, &d);
        on_every_schedule(|device| {
            let y = device.put(&channels_last(&x, channels, area));
            let out = device.unwritten(d.len());
            device.run(|sink| forward(Numbers::F32, &op, 1, y, Some(out), sink));
            close(&channels_first(&device.get(out), channels, area), &wide(&wanted[0]), 1e-6);
        });
    }

    #[test]
    fn a_linear_layers_gradient_keeps_what_is_positive() {
        let op = Finish { activation: Activation::Relu, ..Finish::nothing(301, 1) };
        on_every_schedule(|device| agrees(device, &op, 3));
    }

    #[test]
    fn conv1_conv2_and_conv5_of_2012_agree_with_the_cpu_device() {
        for (channels, side, normalised) in [(96, 55, true), (256, 27, true), (128, 13, false)]
        {
            let (area, groups) = (side * side, 2);
            let lrn = Lrn { channels, groups, area, size: 5, alpha: 2e-5, beta: 0.75, k: 2.0 };
            let (height, width) = (side, side);
            let pool = MaxPool { channels, height, width, window: 3, stride: 2 };
            let (lrn, pool) = (normalised.then_some(lrn), Some(pool));
            let op = Finish { channels, area, activation: Activation::Relu, lrn, pool };
            at_full_size(|device| agrees(device, &op, 1));
        }
    }

    #[test]
    fn of_equal_maxima_the_first_gets_the_gradient() {
        let (height, width) = (5, 5);
        let pool = MaxPool { channels: 2, height, width, window: 3, stride: 2 };
        let op = Finish { pool: Some(pool), ..Finish::nothing(2, 25) };
        // Three values, so that every window has its largest more than once.
        let x: Vec<f32> = (0..50).map(|i| (i * 7 % 3) as f32).collect();
        on_every_schedule(|device| {
            for numbers in Numbers::IN_MEMORY {
                let d = noise_as(numbers, 2, op.out_len());
                agrees_on(numbers, device, &op, 1, &x, &d);
            }
        });
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let op = Finish { activation: Activation::Relu, ..Finish::nothing(2, 1) };
        once(|device| {
            for numbers in Numbers::IN_MEMORY {
                let y = device.put_as(numbers, &[f32::NAN, -1.0]);
                device.run(|sink| forward(numbers, &op, 1, y, None, sink));
                let found = device.get_as(numbers, y);
                assert!(found[0].is_nan() && found[1] == 0.0);
            }
        });
    }
}
