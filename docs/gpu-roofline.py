#!/usr/bin/env python3
"""A paper model of training the 2012 net on GPUs: writes docs/gpu-roofline.md.

    python docs/gpu-roofline.py > docs/gpu-roofline.md

Each layer takes what its direct products take at the peak, or what its operands take from memory, whichever is longer.
What crosses between two GPUs is taken as not overlapped at all, and as overlapped with everything. Peaks are the
vendors' data sheets'.
"""

BATCH = 128
# Name: peak of f32, of halves (bf16, f16) with f32 sums, dense, both in TFLOP/s; memory in GB/s; whether it is sm_80 or
# newer, where our own kernels use tensor cores, which multiply tf32 half as fast as halves; and GB/s of one direction of the
# links that two of them may have: over PCIe about four fifths of what the slot has, which is an assumption.
GPUS = {
    "V100 32 GB": (15.7, 125.0, 900, False, {"NVLink 2": 150.0, "PCIe 3 x16": 12.0}),
    "A100 40 GB": (19.5, 312.0, 1555, True, {"NVLink 3": 300.0, "PCIe 4 x16": 25.0}),
    "RTX 3090": (35.6, 71.0, 936, True, {"NVLink bridge": 56.0, "PCIe 4 x16": 25.0}),
    "RTX 4090": (82.6, 165.2, 1008, True, {"PCIe 4 x16": 25.0}),
    "H100 SXM": (66.9, 989.4, 3350, True, {"NVLink 4": 450.0, "PCIe 5 x16": 50.0}),
}
# Bytes of a number in memory.
NUMBERS = {"f32": 4, "tf32": 4, "halves": 2}
VOLTA_CORES = "V100 32 GB, on tensor cores"
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
# Published training speeds, as the project's reference collected them: GPU, how many, software, batch, f32 and halves in
# images/s unless they say ms a batch, source.
SOUMITH = "github.com/soumith/convnet-benchmarks README"
CAFFE = "BVLC/caffe docs/performance_hardware.md"
LAMBDA = "github.com/lambdal/lambda-tensorflow-benchmark tf-train-throughput-*.csv (commit c17619d)"
TITAN_X = "Titan X (Maxwell)"
PUBLISHED = [
    ("GTX 580", 2, "the paper: 90 epochs of 1.2 M in 5 to 6 days", "128", "208 to 250", "", "NeurIPS 2012"),
    ("K20", 1, "Caffe, no cuDNN (CaffeNet)", "256", "142", "", CAFFE),
    ("GTX 770", 1, "the same", "256", "155", "", CAFFE),
    ("Tesla K40", 1, "the same", "256", "193", "", CAFFE),
    ("M40", 1, "Caffe2", "128", "218 ms", "", "caffe2/python/convnet_benchmarks.py"),
    (TITAN_X, 1, "Caffe, native", "128", "324 ms", "", SOUMITH),
    (TITAN_X, 1, "cuDNN R2", "128", "231 ms", "", SOUMITH),
    (TITAN_X, 1, "cuda-convnet2", "128", "723 (177 ms)", "", SOUMITH),
    ("Titan X", 1, "Caffe2, cuDNN v4", "128", "90 ms", "", "caffe2/python/convnet_benchmarks.py"),
    (TITAN_X, 1, "neon", "128", "87 ms", "78 ms", SOUMITH),
    (TITAN_X, 1, "TensorFlow", "128", "81 ms", "", SOUMITH),
    (TITAN_X, 1, "cuDNN R4", "128", "1580 (81 ms)", "1803 (71 ms)", SOUMITH),
    ("Titan X (Pascal)", 1, "Torch, cuDNN 5.1", "16", "1099 (14.56 ms)", "", "github.com/jcjohnson/cnn-benchmarks"),
    ("GTX 1080 Ti", 1, "TensorFlow", "512/1024", "2636", "2914", LAMBDA),
    ("RTX 2080 Ti", 1, "TensorFlow", "512/1024", "4184", "5297", LAMBDA),
    ("V100 32 GB", 1, "TensorFlow", "1536", "5132", "", LAMBDA),
    (VOLTA_CORES, 1, "TensorFlow", "3072", "", "9319", LAMBDA),
    ("RTX 3090", 1, "TensorFlow", "896/1920", "6744", "9473", LAMBDA),
    ("RTX 3090", 2, "TensorFlow", "", "9244", "16113", LAMBDA),
    ("A100 40 GB", 1, "TensorFlow; the PCIe card, f32 is likely tf32", "1792/3584", "10187", "16487", LAMBDA),
    ("A100 40 GB", 2, "the same", "", "20093", "33629", LAMBDA),
]


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


def gpus(numbers):
    """Name, peak, GB/s and links of what can multiply such numbers; Volta both as our kernels do and as libraries may."""
    for name, (single, halves, gbps, cores, links) in GPUS.items():
        if cores:
            yield name, {"f32": single, "tf32": halves / 2, "halves": halves}[numbers], gbps, links
        elif numbers != "tf32":
            yield name, single, gbps, links
            if numbers == "halves":
                yield VOLTA_CORES, halves, gbps, links


def bounds(numbers, peak, gbps):
    """Of each layer, on one GPU: us of its products and us of its memory."""
    return [(gflop / peak * 1e3, moved / gbps / 1e3) for _, gflop, moved, _ in layers(NUMBERS[numbers])]


def whole_us(numbers, peak, gbps):
    return sum(map(max, bounds(numbers, peak, gbps)))


def crossing_us(numbers, speed):
    """Of each layer that reads the other GPU: its name, and us that its parcels take."""
    return [(name, crossing / speed / 1e3) for name, _, _, crossing in layers(NUMBERS[numbers]) if crossing]


def published(name, count):
    found = [row[4:6] for row in PUBLISHED if row[:2] == (name, count)]
    return found[0] if found else ("", "")


def table(*rows):
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    print("\n" + "\n".join([head, "|---" * len(rows[0]) + "|", *rest]))


def totals():
    rows = []
    for (name, gflop, single, crossing), (_, _, half, crossing_half) in zip(layers(4), layers(2)):
        rows.append((name, gflop, *(value / 1e6 for value in (single, half, crossing, crossing_half))))
    rows.append(("all", *map(sum, list(zip(*rows))[1:])))
    cells = [[name, *(f"{value:.1f}" for value in values)] for name, *values in rows]
    table(["layer", "GFLOP a step", "MB moved, f32, tf32", "halves", "MB crossing, f32, tf32", "halves"], *cells)


def by_layer(numbers):
    of = list(gpus(numbers))
    columns = [bounds(numbers, peak, gbps) for _, peak, gbps, _ in of]
    rows = []
    for (name, *_), *row in zip(layers(4), *columns):
        rows.append([name, *(f"{max(us):.0f}" + (" m" if us[1] > us[0] else "") for us in row)])
    sums = [f"{sum(map(max, column)):.0f}" for column in columns]
    table([f"{numbers}, us", *(name for name, *_ in of)], *rows, ["all", *sums])


def one_gpu():
    rates = {name: {} for name, *_ in gpus("halves")}
    for numbers in NUMBERS:
        for name, peak, gbps, _ in gpus(numbers):
            rates[name][numbers] = f"{BATCH / whole_us(numbers, peak, gbps) * 1e6:.0f}"
    rows = [[name, *(rate.get(n, "") for n in NUMBERS), *published(name, 1)] for name, rate in rates.items()]
    table(["GPU", *NUMBERS, "published f32", "published halves"], *rows)


def exchange(numbers):
    at = [i for i, layer in enumerate(layers(4)) if layer[3]]
    rows = []
    for name, peak, gbps, links in gpus(numbers):
        work = [max(bounds(numbers, peak, gbps)[i]) / 2 for i in at]
        for link, speed in links.items():
            cells = [f"{us:.0f} / {own:.0f}" for (_, us), own in zip(crossing_us(numbers, speed), work)]
            rows.append([name, link, *cells])
    table([f"{numbers}, two of", "link", *(name for name, _ in crossing_us(numbers, 1))], *rows)


def two_gpus():
    ranges = {(name, link): {} for name, *_, links in gpus("halves") for link in links}
    for numbers in NUMBERS:
        for name, peak, gbps, links in gpus(numbers):
            alone = whole_us(numbers, peak, gbps) / 2
            for link, speed in links.items():
                longest = alone + sum(us for _, us in crossing_us(numbers, speed))
                text = f"{BATCH / longest * 1e6:.0f} to {BATCH / alone * 1e6:.0f}"
                ranges[name, link][numbers] = text
    rows = [[name, link, *(cells.get(n, "") for n in NUMBERS), *published(name, 2)]
            for (name, link), cells in ranges.items()]
    table(["two of", "link", *NUMBERS, "published f32", "published halves"], *rows)


def main():
    print(f"""# What GPUs could do at most: a model on paper

**Not yet measured on hardware.** This is `docs/gpu-roofline.py`, which says what it counts. Training
`two-tower-2012` at batch {BATCH}; `alexnet doctor` puts a GPU's own figures beside such bounds. Halves are bf16 and
f16; `tf32`, of sm_80 and newer, lies in memory and crosses as `f32` does. What crosses is of each direction.""")
    totals()
    print("""
## One GPU

Microseconds that a layer takes at least in a step; `m` marks what memory bounds, and not products.""")
    for numbers in NUMBERS:
        by_layer(numbers)
    print("""
On V100 our own kernels multiply halves without tensor cores, which they use from sm_80 on; only cuDNN and cuBLAS could
use V100's, in f16. "On tensor cores" supposes that of every product, and is not reached even by these: in halves the
gradients of weights are always made by our own kernels. On GeForce cards `tf32` is as fast as `f32`.

Images a second, beside published ones, which are of other nets and larger batches (see the end):""")
    one_gpu()
    print("""
No program passes these bounds by direct products. The published `f32` of V100 and A100 lies above them: Winograd's and
FFT convolutions multiply less, that net may have fewer operations, and A100's `f32` is likely TF32, the default there,
so that its bound is the column beside. A batch of 128 is small for these GPUs: expect a fraction of the bound.

## Two GPUs

Each has half of every layer's work. Of the layers that read both towers: microseconds of the exchange over a link / of
the layer's work on each GPU, at least. NVLink's speed is the data sheet's of one direction; PCIe's is an assumption,
12, 25 and 50 GB/s. Where the driver has no peer copies, as for RTX 4090, parcels go through the host's memory: up to
twice the time.""")
    for numbers in NUMBERS:
        exchange(numbers)
    print("""
Over PCIe the exchange is a large part of a step that is not overlapped; that is why it leaves before the local work and
arrives during it. Where conv3's takes longer than conv3's work, that cannot hide it, and the better end below may be
out of reach. Over NVLink it is shorter everywhere.

Images a second, with an exchange that is not overlapped at all, and with one that costs nothing. The published pairs
are of whole nets, one a GPU, whose gradients cross, and do not tell their link:""")
    two_gpus()
    print("""
## Published speeds

Of training, as the project's reference has them, in images a second unless they say milliseconds a batch; mostly of
nets of one column without LRN, and of synthetic pictures. Two batches are those of `f32` and of halves; what names no
numbers is taken for `f32`. None of H100 was found.""")
    rows = [[f"{count} x {gpu}" if count > 1 else gpu, *rest] for gpu, count, *rest in PUBLISHED]
    table(["GPU", "software", "batch", "f32", "halves", "source"], *rows)


main()
