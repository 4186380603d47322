#!/usr/bin/env python3
"""The two-tower network of 2012 on PyTorch's CPU device: images a second of a whole training step.

    python tools/peers/train_torch.py --threads 2 --batch 128 --layout cl --lrn fast --dtype f32 [--compile]

One configuration a process; one JSON line. `--lrn torch` is `nn.LocalResponseNorm`, per tower; `fast` the same function
from elementwise operations, which `--compile` fuses; `chunk` those on each tower's channels where they lie; `across` those on
all channels, which is another function at the towers' seam, and what a net without towers has; `none` leaves it out. Needs torch (3 GB from PyPI: in a virtual
environment outside the checkout, never in CI).
"""

import argparse
import json
import os
import resource
import statistics
import time

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--layout", default="cl", choices=["cl", "nchw"])
parser.add_argument("--lrn", default="fast", choices=["torch", "fast", "chunk", "across", "none"])
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--compile", action="store_true")
parser.add_argument("--steps", type=int, default=3)
A = parser.parse_args()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(A.threads)

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(A.threads)
torch.manual_seed(0)
ALPHA = 2e-5  # effective: the 2012 source divides its 1e-4 by 5


def normalised(x):
    """Local response normalisation from elementwise operations."""
    c = x.shape[1]
    s = F.pad(x * x, (0, 0, 0, 0, 2, 2))
    s = s[:, :c] + s[:, 1 : c + 1] + s[:, 2 : c + 2] + s[:, 3 : c + 3] + s[:, 4 : c + 4]
    r = torch.rsqrt(2.0 + ALPHA * s)
    return x * (r * torch.sqrt(r))


class AcrossLrn(nn.Module):
    """On all channels."""

    def forward(self, x):
        return normalised(x)


class ChunkLrn(nn.Module):
    """Per tower, on its channels where they lie."""

    def forward(self, x):
        return torch.cat([normalised(tower) for tower in x.chunk(2, 1)], 1)


class FastLrn(nn.Module):
    """Per tower, each as an image of its own."""

    def forward(self, x):
        n, c, h, w = x.shape
        return normalised(x.reshape(2 * n, c // 2, h, w)).reshape(n, c, h, w)


class TorchLrn(nn.Module):
    """The same by PyTorch's module, which divides alpha by the window's size."""

    def __init__(self):
        super().__init__()
        self.lrn = nn.LocalResponseNorm(5, alpha=5 * ALPHA, beta=0.75, k=2.0)

    def forward(self, x):
        n, c, h, w = x.shape
        return self.lrn(x.reshape(2 * n, c // 2, h, w)).reshape(n, c, h, w)


def lrn():
    return {"torch": TorchLrn, "fast": FastLrn, "chunk": ChunkLrn, "across": AcrossLrn, "none": nn.Identity}[A.lrn]()


def network():
    hang_over = nn.ZeroPad2d((0, 3, 0, 3))
    convolutions = [hang_over, nn.Conv2d(3, 96, 11, 4), nn.ReLU(), lrn(), nn.MaxPool2d(3, 2)]
    convolutions += [nn.Conv2d(96, 256, 5, 1, 2, groups=2), nn.ReLU(), lrn(), nn.MaxPool2d(3, 2)]
    convolutions += [nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU()]
    convolutions += [nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU()]
    convolutions += [nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    hidden = [nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout()]
    hidden += [nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)]
    net = nn.Sequential(*convolutions, *hidden)
    assert sum(p.numel() for p in net.parameters()) == 60_965_224
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return net


def median_seconds(body, steps):
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        body()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def anonymous_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("RssAnon:"))


def main():
    net = network()
    x, y = torch.randn(A.batch, 3, 224, 224), torch.randint(0, 1000, (A.batch,))
    if A.layout == "cl":
        net = net.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    model = torch.compile(net) if A.compile else net
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=A.dtype == "bf16")

    def step():
        optimiser.zero_grad(set_to_none=True)
        with cast:
            loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()

    def forward():
        with torch.no_grad(), cast:
            model(x)

    step()
    train = median_seconds(step, A.steps)
    anonymous = anonymous_mib()
    net.eval()
    forward()
    infer = median_seconds(forward, A.steps)
    result = vars(A) | {
        "torch": torch.__version__,
        "images_per_s": round(A.batch / train, 2),
        "forward_images_per_s": round(A.batch / infer, 2),
        "memory_mib": anonymous,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
