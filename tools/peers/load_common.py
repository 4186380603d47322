"""What the loading peers share: the corpus, the task's numbers, the clock. One process measures one configuration and
prints one JSON line.

The task: decode, rescale the shorter side to 256 (antialiased bilinear), centre 256, random 224 crop and mirror, PCA
lighting and mean, batches of 128 planar f32 in a random order. `CORPUS` is a folder of class folders of JPEGs; under
`taskset -c 0` a peer uses one thread, else as many as there are cores.
"""

import glob
import json
import os
import statistics
import time

CORPUS = os.environ["CORPUS"]
BATCH, CROP, STORED = 128, 224, 256
MEAN = (123.68, 116.779, 103.939)
EIGENVALUES = (55.46, 4.794, 1.148)  # standard deviations, grey levels
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
CORES = len(os.sched_getaffinity(0))
RUNS = int(os.environ.get("RUNS", 3))


def files():
    return sorted(path for path in glob.glob(CORPUS + "/*/*") if os.path.isfile(path))


def classes():
    return {name: i for i, name in enumerate(sorted({os.path.basename(os.path.dirname(f)) for f in files()}))}


def label(path):
    return classes()[os.path.basename(os.path.dirname(path))]


def anonymous_mib():
    """Of this process and its children."""
    total = 0
    for status in glob.glob("/proc/[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in open(status, encoding="utf-8") if ":" in line)
        except OSError:
            continue
        if str(os.getpid()) in (fields["Pid"].strip(), fields["PPid"].strip()) and "RssAnon" in fields:
            total += int(fields["RssAnon"].split()[0])
    return total // 1024


def bench(peer, epoch, **more):
    """`epoch()` returns how many images it delivered. The first one warms up."""
    for path in files():
        with open(path, "rb") as file:
            file.read()
    epoch()
    rates = []
    for _ in range(RUNS):
        began = time.perf_counter()
        images = epoch()
        rates.append(images / (time.perf_counter() - began))
    print(
        json.dumps(
            {
                "peer": peer,
                "cores": CORES,
                "images_per_s": round(statistics.median(rates), 1),
                "best": round(max(rates), 1),
                "memory_mib": anonymous_mib(),
                **more,
            }
        ),
        flush=True,
    )
