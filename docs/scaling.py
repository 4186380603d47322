#!/usr/bin/env python3
"""How many cores and which storage feed a number of GPUs: a discrete-event model of the feed.

    python docs/scaling.py NAME=REPORT.json ...

where each report is of `alexnet bench pipeline --workers 1 --json`, or 2 to check the model at two. Workers take one
sample after another from a storage that serves reads in turn, to memory that takes bytes in turn; a batch's slot is
free again when the GPUs have taken the batch of so many before. Stage costs are those that were measured; the rest is
what the tables say.
"""

import heapq
import json
import sys

BATCH = 128
SLOTS = 5
SAMPLE_BYTES = {"f32": 3 * 224 * 224 * 4, "f16": 3 * 224 * 224 * 2, "bf16": 3 * 224 * 224 * 2}
# What a server's storage gives: bytes a second, the time of a read, and how much of it no other read can use.
STORAGE = {
    "page cache": (float("inf"), 0.0, 0.0),
    "NVMe": (5e9, 100e-6, 0.0),
    "SATA SSD": (0.5e9, 150e-6, 0.0),
    "network, 10 Gbit/s": (1.1e9, 500e-6, 0.0),
    "disk, --order global": (150e6, 8e-3, 8e-3),
    "disk, --order block:64": (150e6, 8e-3 / 64, 8e-3 / 64),
}
MEMORY = 100e9  # bytes a second that all cores together write past their caches: eight channels, half of the peak
DEMANDS = [(gpus, rate) for rate in (10_000, 20_000) for gpus in (1, 2, 8)]
CORES = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
BATCHES = 60


def feed(cores, cost, bytes_read, bytes_written, storage, memory, demand):
    """Images a second, after the ring is full."""
    bandwidth, latency, seek = storage
    workers = [0.0] * cores
    heapq.heapify(workers)
    storage_free = memory_free = 0.0
    taken = []  # when the GPUs began with each batch
    batch_done = 0.0
    for i in range(BATCHES * BATCH):
        batch = i // BATCH
        start = heapq.heappop(workers)
        if batch >= SLOTS:
            start = max(start, taken[batch - SLOTS])
        if bandwidth != float("inf"):
            storage_free = max(storage_free, start) + seek + bytes_read / bandwidth
            start = max(start + latency, storage_free)
        memory_free = max(memory_free, start) + bytes_written / memory
        end = max(start + cost, memory_free)
        heapq.heappush(workers, end)
        batch_done = max(batch_done, end)
        if (i + 1) % BATCH == 0:
            before = taken[-1] + BATCH / demand if taken else 0.0
            taken.append(max(batch_done, before))
            batch_done = 0.0
    half = BATCHES // 2
    return (BATCHES - 1 - half) * BATCH / (taken[-1] - taken[half])


def cost(report):
    """Seconds of one core a sample."""
    stages = report["pipeline"]["stages"]
    return sum(stages[s]["busy_us"] / max(stages[s]["items"], 1) for s in ("read", "decode", "resize", "augment")) * 1e-6


def main():
    reports = {}
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        with open(path, encoding="utf-8") as file:
            report = json.loads(file.read().splitlines()[-1])
        reports.setdefault(name, {})[report["workers"]] = report

    print("| from | cost of a sample, us | 1 core: measured | model | 2 cores: measured | model |\n|---|---|---|---|---|---|")
    for name, by_workers in reports.items():
        one = by_workers[1]
        written = SAMPLE_BYTES[one["element"]]
        row = [name, f"{cost(one) * 1e6:.0f}"]
        for workers in (1, 2):
            report = by_workers.get(workers)
            # This machine's own memory: what filling the slots reached, where that was measured.
            bounded = report and report["bound"] == "filling the slots"
            memory = report["bound_images_per_s"] * written if bounded else MEMORY
            modelled = feed(workers, cost(one), 0, written, STORAGE["page cache"], memory, 1e9)
            row += [f"{report['images_per_s']:.0f}" if report else "", f"{modelled:.0f}"]
        print("| " + " | ".join(row) + " |")

    for storage, (bandwidth, latency, seek) in STORAGE.items():
        of = "" if bandwidth == float("inf") else f" ({bandwidth / 1e6:.0f} MB/s, {latency * 1e6:.0f} us a read)"
        print(f"\n{storage}{of}: cores that feed\n")
        print("| from | " + " | ".join(f"{g} x {r // 1000} k/s" for g, r in DEMANDS) + " |\n|---" + "|---" * len(DEMANDS) + "|")
        for name, by_workers in reports.items():
            one = by_workers[1]
            row = [name]
            for gpus, rate in DEMANDS:
                need, limits = gpus * rate, (cost(one), one["bytes_per_image"], SAMPLE_BYTES[one["element"]])
                reached = 0.0
                for cores in CORES:
                    reached = feed(cores, *limits, (bandwidth, latency, seek), MEMORY, need)
                    if reached >= 0.98 * need:
                        row.append(str(cores))
                        break
                else:
                    row.append(f"no: {reached / 1000:.1f} k/s")
            print("| " + " | ".join(row) + " |")


main()
