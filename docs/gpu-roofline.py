#!/usr/bin/env python3
"""A paper model of training the 2012 net on GPUs: writes docs/gpu-roofline.md.

    python docs/gpu-roofline.py > docs/gpu-roofline.md

Each layer takes what its multiply-adds take at the peak, or what its operands take from memory, whichever is longer: a
bound that no program reaches. What crosses between two GPUs is taken as not overlapped at all, and as
overlapped with everything. Peaks are the vendors' data sheets'.
"""

BATCH = 128
# Name: peak of f32, of bf16 (f16 on Volta) with f32 sums, dense, both in TFLOP/s; memory in GB/s; and GB/s of one
# direction of the links that two of them may have.
PCIE = {"PCIe 3 x16": 12.0, "PCIe 4 x16": 25.0}
GPUS = {
    "V100 32 GB": (15.7, 125.0, 900, {"NVLink 2": 150.0, "PCIe 3 x16": 12.0}),
    "A100 40 GB": (19.5, 312.0, 1555, {"NVLink 3": 300.0, **PCIE}),
    "RTX 3090": (35.6, 71.0, 936, {"NVLink bridge": 56.0, **PCIE}),
    "RTX 4090": (82.6, 165.2, 1008, PCIE),
    "H100 SXM": (66.9, 989.4, 3350, {"NVLink 4": 450.0}),
}
# Kernels, channels that a kernel sees, window, side of the output, side of what is handed on, across; groups are
# in the channels.
CONVS = [
    ("conv1", 96, 3, 11, 55, 27, False),
    ("conv2", 256, 48, 5, 27, 13, False),
    ("conv3", 384, 256, 3, 13, 13, True),
    ("conv4", 384, 192, 3, 13, 13, False),
    ("conv5", 256, 192, 3, 13, 6, False),
]
INPUT = [3 * 224 * 224, 96 * 27 * 27, 256 * 13 * 13, 384 * 13 * 13, 384 * 13 * 13]
FCS = [("fc6", 4096, 256 * 6 * 6), ("fc7", 4096, 4096), ("fc8", 1000, 4096)]
# Published training speeds, images/s: github.com/lambdal/lambda-tensorflow-benchmark, commit c17619d, AlexNet of one
# column without LRN, synthetic pictures, at batches of 896 to 3584.
PUBLISHED = {
    "V100 32 GB": (5132, 9319),
    "A100 40 GB": (10187, 16487),
    "RTX 3090": (6744, 9473),
}


def layers(size):
    """Name, GFLOP of a step, bytes of a step and bytes that cross, of the whole net and batch; `size` bytes a number."""
    for i, (name, kernels, channels, window, side, handed, across) in enumerate(CONVS):
        passes = 2 if i == 0 else 3  # nobody needs the pictures' gradient
        flop = passes * 2 * BATCH * kernels * channels * window**2 * side**2
        weights, x, y = kernels * channels * window**2, BATCH * INPUT[i], BATCH * kernels * side**2
        out = BATCH * kernels * handed**2
        # Each pass reads two operands and writes the third; what follows the product reads and writes y both ways,
        # and out once each; the optimiser reads and writes weights and velocity in f32.
        moved = passes * (x + y + weights) * size + (4 * y + 2 * out) * size + 5 * 4 * weights
        crossing = 2 * x // 2 * size if across else 0  # half of x each way: activations, then gradients
        yield name, flop / 1e9, moved, crossing
    for name, units, inputs in FCS:
        flop = 3 * 2 * BATCH * units * inputs
        weights, x, y = units * inputs, BATCH * inputs, BATCH * units
        # Read forward and backward, and read and written with the velocity by the update, which makes its gradient.
        moved = 2 * weights * size + 4 * 4 * weights + 3 * (x + y) * size
        # Of fc8 the logits cross one way, and their gradient the other, in f32.
        yield name, flop / 1e9, moved, y * 4 if name == "fc8" else 2 * x // 2 * size


def bound_ms(size, peak, gbps, gpus=1):
    return sum(
        max(gflop / gpus / peak, moved / gpus / (gbps * 1e6)) for _, gflop, moved, _ in layers(size)
    )


def main():
    print("# What GPUs could do at most: a model on paper\n")
    print("**Not yet measured on hardware.** This is `docs/gpu-roofline.py`, which says what it counts. Training")
    print(f"`two-tower-2012` at batch {BATCH}; `alexnet doctor` puts a GPU's own figures beside such bounds.\n")
    print("| layer | GFLOP a step | MB moved, f32 | MB moved, bf16 | MB crossing, f32 | bf16 |")
    print("|---|---|---|---|---|---|")
    total = [0.0] * 5
    for single, half in zip(layers(4), layers(2)):
        row = [single[1], single[2] / 1e6, half[2] / 1e6, single[3] / 1e6, half[3] / 1e6]
        total = [a + b for a, b in zip(total, row)]
        print(f"| {single[0]} | " + " | ".join(f"{value:.1f}" for value in row) + " |")
    print("| all | " + " | ".join(f"{value:.1f}" for value in total) + " |\n")
    print("What crosses is of each direction. Bounds in images a second; two GPUs with an exchange that is not")
    print("overlapped at all, and with one that costs nothing.\n")
    print("| GPU | f32 | bf16 | published f32 / half, other net, larger batch |")
    print("|---|---|---|---|")
    for name, (single, half, gbps, _) in GPUS.items():
        rates = [BATCH / bound_ms(size, peak, gbps) * 1e3 for size, peak in ((4, single), (2, half))]
        published = " / ".join(str(rate) for rate in PUBLISHED[name]) if name in PUBLISHED else ""
        print(f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} | {published} |")
    print("\n| two of | link | f32 | bf16 |")
    print("|---|---|---|---|")
    for name, (single, half, gbps, links) in GPUS.items():
        for link, speed in links.items():
            cells = []
            for size, peak in ((4, single), (2, half)):
                alone = bound_ms(size, peak, gbps, 2)
                crossing = sum(layer[3] for layer in layers(size)) / (speed * 1e6)
                cells.append(f"{BATCH / (alone + crossing) * 1e3:.0f} to {BATCH / alone * 1e3:.0f}")
            print(f"| {name} | {link} | {cells[0]} | {cells[1]} |")
    print("\nOver PCIe the exchange is a large part of a step that is not overlapped; that is why it leaves before")
    print("the local work and arrives during it. A batch of 128 is small for these GPUs: expect a fraction of the bound.")


main()
