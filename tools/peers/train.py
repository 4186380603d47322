#!/usr/bin/env python3
"""Training steps beside PyTorch's, in one run: a table in Markdown.

    python tools/peers/train.py --python VENV/bin/python [--rounds 2] [--threads 1 2] [--isa AVX512_CORE_BF16]

VENV has the newest torch. Each round runs every configuration once, one after the other, on as many cores as it has
threads; the table has the best of the rounds, and for each group the ratio of ours to PyTorch's best. Memory is anonymous of ours, which holds all of it all the time, and the peak of PyTorch's process. `alexnet` is that
of target/release. PyTorch's are channels last but for one, compiled and not, with LRN written in four ways (train_torch.py). `--isa`
keeps oneDNN to an instruction set, as its ONEDNN_MAX_CPU_ISA. With 2 threads, a round takes some 20 minutes; `--dtype` and `--lrn` leave some out.
"""

import argparse
import json
import os
import subprocess

parser = argparse.ArgumentParser()
parser.add_argument("--python", required=True, help="with torch")
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
parser.add_argument("--dtype", nargs="+", default=["f32", "bf16"])
parser.add_argument("--lrn", nargs="+", default=["fast", "chunk", "across", "torch"])
parser.add_argument("--isa")
A = parser.parse_args()
if A.isa:
    os.environ["ONEDNN_MAX_CPU_ISA"] = A.isa
HERE = os.path.dirname(os.path.abspath(__file__))
ALEXNET = os.path.join(HERE, "../../target/release/alexnet")


def last_json(command, threads):
    pinned = ["taskset", "-c", ",".join(str(core) for core in range(threads)), *command]
    done = subprocess.run(pinned, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{' '.join(pinned)}: {done.stderr[-2000:]}")
    return json.loads(lines[-1])


def ours(step, threads, *more):
    command = [ALEXNET, "bench", step, "--threads", str(threads), "--steps", str(A.steps), "--json", *more]
    result = last_json(command, threads)
    images = {"infer" if step == "infer" else "train": result["images_per_s"]}
    return images | {"bound": result["roofline_images_per_s"], "memory": result["memory_mib"]}


def torch(threads, *more):
    script = os.path.join(HERE, "train_torch.py")
    command = [A.python, script, "--threads", str(threads), "--steps", str(A.steps), *more]
    result = last_json(command, threads)
    return {"train": result["images_per_s"], "infer": result["forward_images_per_s"], "memory": result["peak_rss_mib"]}


def configurations(threads):
    towers = {"two towers": ["--towers", "2"]} if threads > 1 else {}
    towers["one device"] = ["--towers", "1"]
    for dtype in A.dtype:
        for name, more in towers.items():
            yield dtype, f"ours, {name}", lambda more=more, d=dtype: ours("train", threads, "--dtype", d, *more)
        yield dtype, "ours, forward", lambda d=dtype: ours("infer", threads, "--dtype", d)
        for layout, lrn in [("cl", lrn) for lrn in A.lrn] + [("nchw", "fast")] * ("fast" in A.lrn):
            for name, more in {"eager": [], "compiled": ["--compile"]}.items():
                arguments = ["--dtype", dtype, "--layout", layout, "--lrn", lrn, *more]
                yield dtype, f"PyTorch, {name}, {layout}, LRN {lrn}", lambda a=arguments: torch(threads, *a)


def main():
    for threads in A.threads:
        best = {}
        for _ in range(A.rounds):
            for dtype, name, run in configurations(threads):
                into = best.setdefault((dtype, name), {})
                for key, value in run().items():
                    into[key] = max(into.get(key, 0.0), value)
        print(f"\n{threads} thread{'s' * (threads > 1)}\n")
        print("| dtype | what | train, images/s | of the bound | forward, images/s | of the bound | MiB |\n|---|---|---|---|---|---|---|")
        for dtype in A.dtype:
            rows = {name: row for (of, name), row in best.items() if of == dtype}
            for what in ("train", "infer"):
                bound = max(row["bound"] for row in rows.values() if what in row and "bound" in row)
                for row in rows.values():
                    row[f"{what} share"] = f"{100 * row[what] / bound:.0f} %" if what in row else ""
                rows.setdefault("direct convolution's bound", {})[what] = bound
            for name, row in rows.items():
                train, infer = (f"{row[key]:.1f}" if key in row else "" for key in ("train", "infer"))
                shares = [row.get(f"{what} share", "") for what in ("train", "infer")]
                memory = f"{row['memory']:.0f}" if "memory" in row else ""
                print(f"| {dtype} | {name} | {train} | {shares[0]} | {infer} | {shares[1]} | {memory} |")
        for dtype in A.dtype:
            for key in ("train", "infer"):
                top = lambda who: max(
                    row.get(key, 0.0) for (d, name), row in best.items() if d == dtype and name.startswith(who)
                )
                print(f"\n{dtype}, {key}: {top('ours') / top('PyTorch'):.2f} times PyTorch's best", flush=True)


if __name__ == "__main__":
    main()
