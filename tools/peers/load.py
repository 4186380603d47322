#!/usr/bin/env python3
"""The pipeline beside its peers, in one run: a table in Markdown.

    python tools/peers/load.py --corpus DIR --work WORK --python VENV/bin/python --ffcv VENV2/bin/python [--rounds 3]

DIR holds train/CLASS/*.JPEG. Everything is packed into WORK first (it may stand there from an earlier run). Each round
runs every configuration once, one after the other; the table has the medians over the rounds and, for each group,
the ratio of ours to the best peer. `alexnet` and `prepack` are those of target/release.
"""

import argparse
import json
import os
import statistics
import subprocess

parser = argparse.ArgumentParser()
parser.add_argument("--corpus", required=True)
parser.add_argument("--work", required=True)
parser.add_argument("--python", required=True, help="with DALI, torch and torchvision")
parser.add_argument("--ffcv", required=True, help="with FFCV")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=float, default=6.0)
parser.add_argument("--only", choices=["files", "raw", "jpeg"])
A = parser.parse_args()
HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = os.path.join(HERE, "../../target/release")
SHARDS = {kind: os.path.join(A.work, "shards", kind) for kind in ("raw", "jpeg", "original")}
BETONS = os.path.join(A.work, "betons")
ENVIRONMENT = {**os.environ, "CORPUS": os.path.join(A.corpus, "train"), "RUNS": "1"}


def last_json(command, cores):
    pinned = ["taskset", "-c", ",".join(str(core) for core in range(cores)), *command]
    done = subprocess.run(pinned, env=ENVIRONMENT, cwd=A.work, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{' '.join(pinned)}: {done.stderr[-2000:]}")
    return json.loads(lines[-1])


def ours(data, *more):
    alexnet = os.path.join(RELEASE, "alexnet")
    return [alexnet, "bench", "pipeline", "--data", data, "--seconds", str(A.seconds), "--json", *more]


def peer(python, script, *arguments):
    return [python, os.path.join(HERE, script), *arguments]


GROUPS = {
    "files": {
        "ours, tree, region": ours(A.corpus, "--decode", "region"),
        "ours, tree, exact": ours(A.corpus, "--decode", "exact"),
        "ours, original shards, region": ours(SHARDS["original"], "--decode", "region"),
        "DALI, region": peer(A.python, "load_dali.py", "region"),
        "DALI, whole": peer(A.python, "load_dali.py", "whole"),
        "torchvision, tensors": peer(A.python, "load_torchvision.py", "tensor"),
        "torchvision, Pillow": peer(A.python, "load_torchvision.py", "pillow"),
        "FFCV, the files' own bytes": peer(A.ffcv, "load_ffcv.py", "original", BETONS),
        "bound: libjpeg-turbo at 1/8 scale": peer(A.python, "load_eighth.py"),
    },
    "raw": {
        "ours, raw shards": ours(SHARDS["raw"]),
        "FFCV, raw": peer(A.ffcv, "load_ffcv.py", "raw", BETONS),
    },
    "jpeg": {
        "ours, 256-pixel JPEG shards": ours(SHARDS["jpeg"], "--decode", "region"),
        "FFCV, 256-pixel JPEGs": peer(A.ffcv, "load_ffcv.py", "jpeg", BETONS),
    },
}


def pack():
    for kind, out in SHARDS.items():
        if not os.path.exists(out):
            command = [os.path.join(RELEASE, "prepack"), "build", "--source", A.corpus, "--out", out, "--encoding", kind]
            subprocess.run(command + (["--quality", "90"] if kind == "jpeg" else []), check=True)
    if not os.path.exists(os.path.join(BETONS, "original.beton")):
        subprocess.run(peer(A.ffcv, "load_ffcv.py", "write", BETONS), env=ENVIRONMENT, cwd=HERE, check=True)


def main():
    os.makedirs(os.path.join(A.work, "shards"), exist_ok=True)
    pack()
    for group, configurations in GROUPS.items():
        if A.only in (None, group):
            table(group, configurations)


def table(group, configurations):
    found = {}
    for _ in range(A.rounds):
        for cores in (1, 2):
            for name, command in configurations.items():
                found.setdefault((cores, name), []).append(last_json(command, cores))
    print(f"\n### {group}\n\n| what | 1 core, images/s | 2 cores, images/s | share of bound | memory, MiB |\n|---|---|---|---|---|")
    rate = {key: statistics.median(run["images_per_s"] for run in runs) for key, runs in found.items()}
    for name in configurations:
        last = found[2, name][-1]
        share = f"{100 * last['share_of_bound']:.0f} % of {last['bound']}" if "bound" in last else ""
        print(f"| {name} | {rate[1, name]:.0f} | {rate[2, name]:.0f} | {share} | {last['memory_mib']} |")
    for cores in (1, 2):
        mine = max((rate[cores, name], name) for name in configurations if name.startswith("ours"))
        peers = [name for name in configurations if not name.startswith(("ours", "bound"))]
        best = max((rate[cores, name], name) for name in peers)
        print(f"\n{cores} core{'s' * (cores > 1)}: {mine[1]} at {mine[0] / best[0]:.2f} times {best[1]}", end="")
    print(flush=True)


main()
