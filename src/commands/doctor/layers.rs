//! Every op of every layer at full size, on a GPU and on the CPU.

use super::{
    bed::{Bed, Task},
    report::LayerLine,
};
use crate::{
    devices::cores,
    model::{Net, Op, Part},
};
use anyhow::Result;
use gpu::{
    cpu::Cpu,
    cuda::Cuda,
    device::DeviceError,
    ops::conv::{Algorithm, Pass},
};

/// How far results may lie apart, relative to their norm: sums of up to 400,000 terms in single precision,
/// in another order.
const APART_MAX: f64 = 1e-4;
/// The same of what follows a product: near-ties of the pooling go the other way, for a few windows in a
/// million.
const APART_MAX_FINISH: f64 = 5e-3;
/// Times that an op is timed with the others.
const TIMES: usize = 5;

/// Tries each op that the first of as many devices as towers is asked for.
pub(super) fn check(gpu: &mut Cuda, net: &Net, batch: usize) -> Result<Vec<LayerLine>> {
    let mut cpu = Cpu::new("doctor", cores())?;
    let mut lines = vec![];
    for (name, task) in tasks(net) {
        let wanted = {
            let mut bed = Bed::new(&mut cpu, plainest(task), batch)?;
            bed.run();
            bed.result()
        };
        let mut bed = Bed::new(&mut *gpu, task, batch)?;
        bed.run();
        let found = bed.result();
        let peaks = (bed.device.gpu().peak_gflops(), bed.device.gpu().peak_gbps());
        let seconds = seconds(&mut bed)?;
        let limit = match task {
            Task::Finish { .. } => APART_MAX_FINISH,
            _ => APART_MAX,
        };
        let apart = apart(&found, &wanted);
        lines.push(LayerLine::new(name, apart, limit, seconds, &task, batch, peaks));
    }
    Ok(lines)
}

/// By direct sums on the CPU.
fn plainest(task: Task) -> Task {
    match task {
        Task::Conv { op, pass, first } => {
            let by = Some([Algorithm::Im2col; 3]);
            Task::Conv { op: gpu::ops::conv::Conv { by, ..op }, pass, first }
        }
        other => other,
    }
}

fn seconds(bed: &mut Bed<'_, Cuda>) -> Result<f64, DeviceError> {
    // The clock is the device's, so the bed lends it out op by op.
    let mut best = f64::INFINITY;
    for _ in 0..TIMES {
        let start = bed.device.clock_start()?;
        bed.run();
        best = best.min(bed.device.clock_stop(&start)?);
    }
    Ok(best)
}

/// The norm of the difference, relative to that of what is wanted; infinite where it is no number.
fn apart(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |sum: f64, x: f64| sum + x * x;
    let pairs = found.iter().zip(wanted);
    let difference = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).fold(0.0, square).sqrt();
    let norm = wanted.iter().map(|b| f64::from(*b)).fold(0.0, square).sqrt();
    let apart = difference / norm;
    if apart.is_finite() { apart } else { f64::INFINITY }
}

fn tasks(net: &Net) -> Vec<(String, Task)> {
    let part = |i| Part::of_device(i, net.towers, net.towers);
    let mut tasks = vec![];
    let mut pixels = 1;
    let mut largest = 0;
    for layer in &net.layers {
        let peers = if layer.reads_peers() { net.towers } else { 1 };
        for source in 0..peers {
            for pass in Pass::ALL {
                if layer.reads_image && pass == Pass::BackwardData {
                    continue; // nobody needs that of the pictures
                }
                let of = if source > 0 { format!(" of tower {source}") } else { String::new() };
                let task = match layer.op(part(0), part(source)) {
                    Op::Conv(op) => Task::Conv { op, pass, first: layer.reads_image },
                    Op::Linear(op) => Task::Linear { op, pass, pixels },
                };
                let pass = match pass {
                    Pass::Forward => "forward",
                    Pass::BackwardData => "backward, data",
                    Pass::BackwardWeight => "backward, weights",
                };
                tasks.push((format!("{} {pass}{of}", layer.name), task));
            }
        }
        let op = layer.finish(part(0), &net.lrn);
        if !layer.head {
            for (forward, way) in [(true, "forward"), (false, "backward")] {
                let task = Task::Finish { op, forward };
                tasks.push((format!("{} finish {way}", layer.name), task));
            }
        }
        if layer.conv.is_some() {
            largest = largest.max(layer.local_kernels(part(0)) * layer.row_len());
        }
        pixels = layer.side_handed_on() * layer.side_handed_on();
    }
    tasks.push(("optimiser".into(), Task::Sgd { len: largest }));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_difference_that_is_no_number_is_none_at_all() {
        assert_eq!(apart(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(apart(&[f32::NAN, 2.0], &[1.0, 2.0]), f64::INFINITY);
        assert!((apart(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn every_layer_is_tried_in_every_pass() {
        let net = Net::new(&Config::load("two-tower-2012", None).expect("a preset"), 1000);
        let tasks = tasks(&net);
        // Three passes of each source, less the pictures' gradient; what follows, both ways; the optimiser.
        let products = 8 * 3 - 1 + 4 * 3;
        assert_eq!(tasks.len(), products + 7 * 2 + 1);
    }
}
