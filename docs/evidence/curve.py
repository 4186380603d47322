#!/usr/bin/env python3
"""Draws a run: `python docs/evidence/curve.py RUN/metrics.jsonl CURVE.png [TITLE]`.

Left axis: training loss, mean over 20 steps, and validation loss, in nats. Right axis: validation top-1 in percent.
Needs matplotlib.
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WINDOW = 20  # steps


def main():
    metrics, out = sys.argv[1:3]
    lines = [json.loads(line) for line in open(metrics, encoding="utf-8")]
    steps = [line for line in lines if line["kind"] == "step"]
    validations = [line for line in lines if line["kind"] == "validation"]
    windows = [steps[i : i + WINDOW] for i in range(0, len(steps), WINDOW)]
    mean = [(w[-1]["step"], sum(line["loss"] for line in w) / len(w)) for w in windows]

    figure, loss = plt.subplots(figsize=(7, 4), dpi=110)
    loss.plot(*zip(*mean), color="tab:blue", lw=1, label="training loss")
    at = [line["step"] for line in validations]
    loss.plot(at, [line["loss"] for line in validations], color="tab:orange", label="validation loss")
    loss.set(xlabel="step", ylabel="loss, nats", ylim=(0, None))
    accuracy = loss.twinx()
    accuracy.plot(at, [100 * line["top1"] for line in validations], color="tab:green", label="validation top-1")
    accuracy.set(ylabel="top-1, %", ylim=(0, 100))
    handles = [handle for axes in (loss, accuracy) for handle in axes.get_legend_handles_labels()[0]]
    loss.legend(handles=handles, loc="center right", frameon=False)
    loss.set_title(sys.argv[3] if len(sys.argv) > 3 else metrics, fontsize=10)
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    main()
