//! What a part of a net needs of its device's memory, said before it is asked for.

use super::room::Lens;
use crate::{
    exchange::PARCELS_MAX,
    model::{Net, Op, Part},
};
use gpu::device::{Demand, Device};
use std::fmt;

/// Buffers that all layers of a part share, in floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    /// Of what is handed on, or read.
    pub(super) gradient: usize,
    /// Of what crosses.
    pub(super) foreign: usize,
    /// Of the logits, which cross in `f32`.
    pub(super) logits: usize,
    pub(super) dw: usize,
    pub(super) db: usize,
}

impl Shared {
    /// Those of `part`, one of `peers + 1`.
    pub(super) fn of(net: &Net, part: Part, peers: usize, batch: usize) -> Self {
        let most = |len: fn(&Lens) -> usize| {
            let lens = (0..net.layers.len()).map(|i| Lens::of(net, i, part, peers));
            lens.map(|lens| len(&lens)).max().unwrap_or(0)
        };
        // Nobody needs the image's.
        let hidden = most(|lens| if lens.reads_image { 0 } else { lens.x });
        Self {
            gradient: most(|lens| lens.out).max(hidden) * batch,
            foreign: most(|lens| lens.crosses) * batch,
            logits: if peers > 0 { net.classes * batch } else { 0 },
            dw: most(|lens| lens.dw),
            db: most(|lens| lens.rows),
        }
    }

    /// Activations of `width` bytes each that a parcel has room for.
    pub(super) fn parcel(&self, width: usize) -> usize {
        self.foreign.max(self.logits * size_of::<f32>() / width)
    }
}

/// What the layers of `part` will ask of their device.
pub(super) fn demand(net: &Net, part: Part, peers: &[Part], batch: usize) -> Demand {
    let mut demand = Demand { batch, classes: net.classes, ..Demand::default() };
    for layer in &net.layers {
        let peers = if layer.reads_peers() { peers } else { &[] };
        for source in std::iter::once(&part).chain(peers) {
            match layer.op(part, *source) {
                Op::Conv(op) => demand.convs.push(op),
                Op::Linear(op) => demand.linears.push(op),
            }
            // The convolutions come first in a net, too.
            demand.names.push(layer.name.clone());
        }
        demand.finishes.push(layer.finish(part, &net.lrn));
    }
    demand
}

/// Bytes by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Weights, biases and their velocities.
    pub weights: usize,
    /// What layers hand on, and what peers hand to them.
    pub activations: usize,
    /// Gradients under way.
    pub gradients: usize,
    /// Parcels from peers.
    pub parcels: usize,
    /// What the device needs for itself: pictures, and rooms of the kernels.
    pub workspace: usize,
}

impl Needs {
    /// Of part `index` when `devices` devices carry `net` in batches of `batch`.
    pub fn of<D: Device>(
        device: &D, net: &Net, index: usize, devices: usize, batch: usize,
    ) -> Self {
        let part = Part::of_device(index, devices, net.towers);
        let peers: Vec<Part> = (0..devices)
            .filter(|peer| *peer != index)
            .map(|peer| Part::of_device(peer, devices, net.towers))
            .collect();
        let lens = (0..net.layers.len()).map(|i| Lens::of(net, i, part, peers.len()));
        let lens: Vec<Lens> = lens.collect();
        let sum = |len: fn(&Lens) -> usize| lens.iter().map(len).sum::<usize>();
        let shared = Shared::of(net, part, peers.len(), batch);
        let floats = |floats: usize| floats * size_of::<f32>();
        let (width, factor) = (device.activation_bytes(), device.factor_bytes());
        let values = sum(|lens| lens.weights) * factor + floats(sum(|lens| lens.biases));
        let velocities = floats(sum(|lens| lens.weights + lens.biases));
        let hidden = sum(|lens| lens.hidden + lens.finished + lens.foreign);
        let logits = sum(|lens| lens.y - lens.hidden);
        Self {
            weights: values + velocities,
            activations: batch * (hidden * width + logits * factor),
            gradients: (shared.gradient + 2 * shared.foreign) * width
                + floats(shared.dw + shared.db + shared.logits),
            parcels: peers.len() * PARCELS_MAX * shared.parcel(width) * width,
            workspace: device.reserved_bytes(&demand(net, part, &peers, batch)),
        }
    }

    /// All of it.
    pub const fn sum(&self) -> usize {
        self.weights + self.activations + self.gradients + self.parcels + self.workspace
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        write!(
            f,
            "{}: weights and velocities {}, activations {}, gradients {}, parcels {}, workspace {}",
            mib(self.sum()),
            mib(self.weights),
            mib(self.activations),
            mib(self.gradients),
            mib(self.parcels),
            mib(self.workspace)
        )
    }
}

/// What was planned for a device whose memory is counted, should it have less room than it says.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) device: String,
    /// In MiB, and by what.
    pub(super) needs: String,
    /// Half of the batch, half of that, and so on, with the bytes that each needs.
    pub(super) halves: Vec<(usize, usize)>,
}

impl Planned {
    /// The largest of the halved batches that fits into this.
    pub(super) fn fitting(&self, bytes: usize) -> Option<usize> {
        self.halves.iter().find(|(_, needed)| *needed <= bytes).map(|(batch, _)| *batch)
    }
}

/// The largest batch of which the parts of `net` that `indices` name fit into `free_bytes`.
pub(super) fn largest_batch<D: Device>(
    device: &D, net: &Net, indices: &[usize], devices: usize, free_bytes: usize, batch: usize,
) -> Option<usize> {
    let fits = |batch: &usize| {
        let needs = indices.iter().map(|i| Needs::of(device, net, *i, devices, *batch).sum());
        needs.sum::<usize>() <= free_bytes
    };
    // Needs grow with the batch.
    let (mut fitting, mut too_large) = (0, batch);
    while too_large - fitting > 1 {
        let middle = usize::midpoint(fitting, too_large);
        *(if fits(&middle) { &mut fitting } else { &mut too_large }) = middle;
    }
    (fitting > 0).then_some(fitting)
}
