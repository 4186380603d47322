#!/usr/bin/env python3
"""Remakes the golden files with PyTorch: `python tests/golden/make.py` writes, beside itself,

ops.txt   every op on small shapes, forward and backward (read by gpu/tests/golden.rs)
step.json one training step of the preset `two-tower-2012` at batch 4, dropout off: the loss, and of
          each gradient its norm and 64 probes (read by tests/it.rs)

Inputs come from the counter generator Philox4x32-10, which the readers have too, so that the files
hold results only. All inputs are rounded to float32 as the readers hold them; all results are
computed in float64. Needs torch and numpy, about 3 GB of memory and ten seconds.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
YEAR = 2012  # second word of every key
PROBES = 64
FILE_BYTES_MAX = 64 * 1024


def philox(key, counter):
    """Philox4x32-10 (Salmon et al., 2011) of a key of 2 words and a list of 4 arrays of words."""
    low = np.uint64(0xFFFFFFFF)
    k = [np.uint64(word) for word in key]
    c = [np.asarray(words, dtype=np.uint64) for words in counter]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        shift = np.uint64(32)
        c = [(b >> shift) ^ c[1] ^ k[0], b & low, (a >> shift) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack(np.broadcast_arrays(*c), axis=-1)


def words(key, length):
    """`length` words: word i is `philox([key, YEAR], [i / 4, 0, 0, 0])[i % 4]`."""
    counters = np.arange((length + 3) // 4)
    return philox([key, YEAR], [counters, 0, 0, 0]).reshape(-1)[:length]


def uniform(key, scale, *shape):
    """`scale (2 u - 1)`, u = word / 2^32, rounded to float32 and widened."""
    unit = words(key, int(np.prod(shape))).astype(np.float64) / 2.0**32
    values = (scale * (2.0 * unit - 1.0)).astype(np.float32).astype(np.float64)
    return torch.from_numpy(values.reshape(shape))


def check_philox():
    """The known answers of Random123."""
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    known = [
        ([0, 0], [0] * 4, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xA4093822, 0x299F31D0], pi, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]
    for key, counter, want in known:
        assert philox(key, [[word] for word in counter])[0].tolist() == want


# ops.txt: one line a tensor, `name shape value...`. Keys of inputs: x 1, w 2, b 3, dy 4, second
# source 5.


class Lines(list):
    def put(self, name, tensor):
        shape = ",".join(str(side) for side in tensor.shape) or "1"
        values = " ".join(f"{float(value):.8g}" for value in tensor.detach().reshape(-1))
        self.append(f"{name} {shape} {values}")


def leaf(tensor):
    return tensor.clone().requires_grad_()


def backward(y, key=4):
    y.backward(uniform(key, 1.0, *y.shape))


def conv(lines, name, n, channels, side, kernels, window, stride, pads, groups):
    before, after = pads
    x = leaf(uniform(1, 1.0, n, channels, *side))
    w = leaf(uniform(2, 1.0, kernels, channels // groups, window, window))
    b = leaf(uniform(3, 1.0, kernels))
    y = F.conv2d(F.pad(x, (before, after, before, after)), w, b, stride=stride, groups=groups)
    backward(y)
    for what, tensor in [("y", y), ("dx", x.grad), ("dw", w.grad), ("db", b.grad)]:
        lines.put(f"{name}.{what}", tensor)


def convolutions(lines):
    # The window hangs over right and below, as conv1's does.
    conv(lines, "conv_hang", 2, 2, (9, 9), 3, 5, 4, (0, 3), 1)
    # Groups, as conv2, conv4 and conv5 on one device; higher than wide.
    conv(lines, "conv_groups", 2, 4, (6, 4), 6, 3, 1, (1, 1), 2)
    # More zeros above and left than below and right, a step of 2.
    conv(lines, "conv_pads", 1, 2, (5, 7), 2, 5, 2, (2, 1), 1)
    # Two sources, of 2 and 3 channels, as conv3 on two devices.
    left, right = leaf(uniform(1, 1.0, 2, 2, 4, 4)), leaf(uniform(5, 1.0, 2, 3, 4, 4))
    w, b = leaf(uniform(2, 1.0, 3, 5, 3, 3)), leaf(uniform(3, 1.0, 3))
    y = F.conv2d(torch.cat([left, right], 1), w, b, padding=1)
    backward(y)
    for what, tensor in [("y", y), ("dx0", left.grad), ("dx1", right.grad), ("dw", w.grad)]:
        lines.put(f"conv_sources.{what}", tensor)


def linear(lines):
    # Two sources, of 4 and 3 inputs, as fc6 on two devices.
    left, right = leaf(uniform(1, 1.0, 3, 4)), leaf(uniform(5, 1.0, 3, 3))
    w, b = leaf(uniform(2, 1.0, 5, 7)), leaf(uniform(3, 1.0, 5))
    y = F.linear(torch.cat([left, right], 1), w, b)
    backward(y)
    grads = [("dx0", left.grad), ("dx1", right.grad), ("dw", w.grad), ("db", b.grad)]
    for what, tensor in [("y", y), *grads]:
        lines.put(f"linear.{what}", tensor)


def activations(lines):
    for name, function in [("relu", torch.relu), ("tanh", torch.tanh)]:
        x = leaf(uniform(1, 3.0, 24))
        y = function(x)
        backward(y)
        lines.put(f"{name}.y", y)
        lines.put(f"{name}.dx", x.grad)


def towers_lrn(x, towers, alpha):
    """`alpha` is the coefficient itself: PyTorch divides its own by n = 5. Per tower."""
    parts = x.chunk(towers, 1)
    return torch.cat([F.local_response_norm(p, 5, alpha * 5, 0.75, 2.0) for p in parts], 1)


def lrn(lines):
    # Large values and the paper's literal alpha, so that the sum outweighs k.
    x = leaf(uniform(1, 120.0, 2, 14, 2, 3))
    y = towers_lrn(x, 2, 1e-4)
    backward(y)
    lines.put("lrn.y", y)
    lines.put("lrn.dx", x.grad)


def pool(lines):
    for name, x in [
        ("pool", uniform(1, 1.0, 2, 2, 7, 5)),
        # Values 0, 1 and 2: the first of equal maxima gets the gradient.
        ("pool_ties", torch.floor(uniform(1, 1.5, 2, 2, 7, 5) + 1.5)),
    ]:
        x = leaf(x)
        y = F.max_pool2d(x, 3, 2)
        backward(y)
        lines.put(f"{name}.y", y)
        lines.put(f"{name}.dx", x.grad)


def dropout(lines):
    """Units 6..15 of layer 5 of seed 2^32 + 2012 at step 2^32 + 7; PyTorch's own scales in training."""
    x, rate = uniform(1, 1.0, 3, 9), 0.5
    units, rows = np.arange(6, 15), np.arange(3)[:, None]
    drawn = philox([2012, 1 ^ 5], [(units // 4)[None, :], rows, 7, 1])
    word = drawn[rows, np.arange(9)[None, :], (units % 4)[None, :]]
    lines.put("dropout.train", x * torch.from_numpy(word >= int(rate * 2**32)))
    lines.put("dropout.test", x * (1 - rate))


def softmax(lines):
    # Logits around 1000 and -1000: exp alone would not hold them.
    shift = torch.tensor([0.0, 1000.0, -1000.0, 0.0], dtype=torch.float64)[:, None]
    x = leaf((uniform(1, 3.0, 4, 7) + shift).float().double())
    labels = torch.tensor([3, 0, 6, 2])
    loss = F.cross_entropy(x, labels)
    loss.backward()
    better = (x > x.gather(1, labels[:, None])).sum(1)
    lines.put("softmax.p", torch.softmax(x, 1))
    lines.put("softmax.loss_sum", loss * 4)
    lines.put("softmax.top1_top5", torch.stack([(better < k).sum() for k in (1, 5)]))
    lines.put("softmax.dx", x.grad)


def sgd(lines):
    """Three steps; the rate falls before the last one, which PyTorch's own SGD takes differently."""
    w, v = uniform(2, 1.0, 9), torch.zeros(9, dtype=torch.float64)
    for key, rate in [(10, 0.01), (11, 0.01), (12, 0.001)]:
        v = 0.9 * v - 0.0005 * rate * w - rate * uniform(key, 1.0, 9)
        w = w + v
    lines.put("sgd.w", w)
    lines.put("sgd.v", v)


# step.json


def layers():
    """Name, weight shape, sigma of the weights and (stride, pads before and after, groups)."""
    conv = [
        ("conv1", (96, 3, 11, 11), (4, 0, 3, 1)),
        ("conv2", (256, 48, 5, 5), (1, 2, 2, 2)),
        ("conv3", (384, 256, 3, 3), (1, 1, 1, 1)),
        ("conv4", (384, 192, 3, 3), (1, 1, 1, 2)),
        ("conv5", (256, 192, 3, 3), (1, 1, 1, 2)),
    ]
    fc = [("fc6", (4096, 9216)), ("fc7", (4096, 4096)), ("fc8", (1000, 4096))]
    return [(*c[:2], 0.02, c[2]) for c in conv] + [(*f, 0.01, None) for f in fc]


def net(x, parameters):
    """Section 3.5, with the hanging window of conv1 and the LRN per tower."""
    for i, (name, _, _, shape) in enumerate(layers()):
        w, b = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        if shape is None:
            x = F.linear(x.flatten(1), w, b)
        else:
            stride, before, after, groups = shape
            x = F.conv2d(F.pad(x, (before, after) * 2), w, b, stride=stride, groups=groups)
        if name == "fc8":
            return x
        x = torch.relu(x)
        if i < 2:
            x = towers_lrn(x, 2, 2e-5)
        if i in (0, 1, 4):
            x = F.max_pool2d(x, 3, 2)


def step():
    parameters = {}
    for i, (name, shape, sigma, _) in enumerate(layers()):
        parameters[f"{name}.weight"] = uniform(2 * i, sigma, *shape).requires_grad_()
        parameters[f"{name}.bias"] = uniform(2 * i + 100, 0.1, shape[0]).requires_grad_()
    assert sum(p.numel() for p in parameters.values()) == 60_965_224
    labels = [3, 141, 592, 999]
    logits = net(uniform(1000, 120.0, len(labels), 3, 224, 224), parameters)
    loss = F.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    tensors = {}
    for name, parameter in parameters.items():
        grad = parameter.grad.reshape(-1)
        at = [k * 2654435761 % 2**32 % grad.numel() for k in range(PROBES)]
        probes = [float(f"{value:.9g}") for value in grad[at].tolist()]
        tensors[name] = {"len": grad.numel(), "norm": grad.norm().item(), "probes": probes}
    return {
        "made_by": f"tests/golden/make.py, torch {torch.__version__}, float64",
        "labels": labels,
        "loss": loss.item(),
        "tensors": tensors,
    }


def write(name, text):
    assert len(text) < FILE_BYTES_MAX, f"{name} has {len(text)} bytes"
    (HERE / name).write_text(text)


def main():
    check_philox()
    lines = Lines()
    for op in [convolutions, linear, activations, lrn, pool, dropout, softmax, sgd]:
        op(lines)
    head = f"# made by tests/golden/make.py, torch {torch.__version__}, float64; name shape value...\n"
    write("ops.txt", head + "\n".join(lines) + "\n")
    golden = json.dumps(step())
    write("step.json", golden.replace('"tensors": {', '"tensors": {\n').replace("]}, ", "]},\n") + "\n")


if __name__ == "__main__":
    main()
