//! The ops of a training step of a net, as a tower asks its device for them.

use super::{
    bed::STEP,
    task::{End, Task},
};
use crate::model::{Layer, Net, Op, Part};
use gpu::{
    device::Activation,
    ops::{conv::Pass, dropout::Dropout, finish::Finish},
};

/// An op, of which layer it is if it is a part of every step, and what it is called.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) layer: Option<String>,
    pub(super) name: String,
    pub(super) task: Task,
}

/// Those that the first of `devices` is asked for, layer by layer; then what not every step has.
pub(super) fn ops(net: &Net, devices: usize) -> Vec<Tried> {
    let part = |i| Part::of_device(i, devices, net.towers);
    let mut ops = vec![];
    let (mut pixels, mut widest, mut units) = (1, 0, 0);
    for (number, layer) in net.layers.iter().enumerate() {
        let mut add = |what: &str, task: Task| {
            let (layer, name) = (Some(layer.name.clone()), format!("{} {what}", layer.name));
            ops.push(Tried { layer, name, task });
        };
        let finish = layer.finish(part(0), &net.lrn);
        let sources = if layer.reads_peers() { devices } else { 1 };
        for source in 0..sources {
            let of = if source > 0 { format!(" of tower {source}") } else { String::new() };
            let op = layer.op(part(0), part(source));
            let end = end(layer, &finish, part(0), source, sources);
            for pass in Pass::ALL {
                if layer.reads_image && pass == Pass::BackwardData {
                    continue; // nobody needs that of the pictures
                }
                let task = match op {
                    Op::Conv(op) => Task::Conv { op, pass, first: layer.reads_image, end },
                    Op::Linear(op) => Task::Linear { op, pass, pixels, end },
                };
                let pass = match pass {
                    Pass::Forward => "forward",
                    Pass::BackwardData => "backward, data",
                    Pass::BackwardWeight => "backward, weights",
                };
                add(&format!("{pass}{of}"), task);
            }
        }
        if layer.head {
            for (forward, what) in [(true, "softmax"), (false, "softmax backward")] {
                add(what, Task::Softmax { classes: net.classes, forward });
            }
            add("backward, bias", Task::Bias { rows: net.classes, area: 1 });
        } else {
            if !finish.in_place() {
                add("finish forward", Task::Finish { op: finish, forward: true });
            }
            add("finish backward", Task::Finish { op: finish, forward: false });
        }
        if layer.dropout > 0.0 {
            units = finish.channels;
            let (rate, seed, step) = (layer.dropout, 2012, STEP.step);
            let layer = number as u32;
            let first_unit = if devices > 1 { units } else { 0 }; // those of the second
            let op = Dropout { rate, units, first_unit, seed, layer, step };
            add("dropout", Task::Dropout { op });
        }
        if layer.conv.is_some() {
            // Of a linear layer, it is a part of its weights' pass.
            add("optimiser", Task::Sgd { len: layer.local_kernels(part(0)) * layer.row_len() });
        }
        widest = widest.max(finish.out_len());
        pixels = layer.side_handed_on() * layer.side_handed_on();
    }
    let mut add = |name: &str, task: Task| {
        ops.push(Tried { layer: None, name: name.into(), task });
    };
    add("adding up", Task::Add { units: widest });
    if units > 0 {
        add("dropout in testing", Task::Scale { units });
    }
    ops
}

/// What the product of source `source` ends with: the first one's with the bias, the last one's with the activation
/// where nothing else follows it.
fn end(layer: &Layer, finish: &Finish, part: Part, source: usize, sources: usize) -> End {
    let last = source + 1 == sources && finish.in_place();
    End {
        bias: source == 0 && layer.biases(part).1 > 0,
        accumulate: source > 0,
        activation: if last { finish.activation } else { Activation::None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn of_2012(devices: usize) -> (Net, Vec<Tried>) {
        let net = Net::new(&Config::load("two-tower-2012", None).expect("a preset"), 1000);
        let ops = ops(&net, devices);
        (net, ops)
    }

    #[test]
    fn every_layer_is_tried_in_every_pass() {
        let (net, ops) = of_2012(2);
        // Three passes of each source, less the pictures' gradient.
        let products = 3 * net.layers.len() - 1
            + 3 * net.layers.iter().filter(|layer| layer.reads_peers()).count();
        // LRN or pooling there, what follows a product back; the head's softmax, both ways, and bias; two of dropout;
        // the optimiser of convolutions; adding up, and testing.
        assert_eq!(ops.len(), products + 3 + 7 + 3 + 2 + 5 + 2);
    }

    #[test]
    fn one_device_has_all_channels_in_groups_and_one_source() {
        let ops = of_2012(1).1;
        let conv = |name: &str| {
            ops.iter().find_map(|tried| match tried.task {
                Task::Conv { op, .. } if tried.name == name => {
                    Some((op.channels, op.kernels, op.groups))
                }
                _ => None,
            })
        };
        assert_eq!(conv("conv2 forward"), Some((96, 256, 2)));
        assert_eq!(conv("conv3 forward"), Some((256, 384, 1)));
        assert!(ops.iter().all(|tried| !tried.name.contains(" of tower ")));
    }

    #[test]
    fn products_end_as_those_of_a_run() {
        let (none, relu) = (Activation::None, Activation::Relu);
        let ends: Vec<_> = (of_2012(2).1.iter())
            .filter(|tried| tried.name.contains(" forward"))
            .filter_map(|tried| match tried.task {
                Task::Conv { end, .. } | Task::Linear { end, .. } => {
                    Some((&*tried.name, end.bias, end.accumulate, end.activation))
                }
                _ => None,
            })
            .map(|(name, bias, more, then)| (name.to_owned(), bias, more, then))
            .collect();
        let wanted = [
            ("conv1 forward", true, false, none),
            ("conv2 forward", true, false, none),
            ("conv3 forward", true, false, none),
            ("conv3 forward of tower 1", false, true, relu),
            ("conv4 forward", true, false, relu),
            ("conv5 forward", true, false, none),
            ("fc6 forward", true, false, none),
            ("fc6 forward of tower 1", false, true, relu),
            ("fc7 forward", true, false, none),
            ("fc7 forward of tower 1", false, true, relu),
            ("fc8 forward", true, false, none),
        ];
        assert_eq!(
            ends,
            wanted.map(|(name, bias, more, then)| (name.into(), bias, more, then))
        );
    }
}
