#!/usr/bin/env python3
"""NVIDIA DALI on the CPU: `CORPUS=DIR/train python tools/peers/load_dali.py region|whole`.

`region` is its best: it looks at the size, decodes the square of the source that the 224 crop is made of, rescales that
to 224. `whole` decodes all. Lighting and mean are fused into `crop_mirror_normalize`.
"""

import sys

import load_common as common
import numpy as np
import nvidia.dali as dali
from nvidia.dali import fn, pipeline_def, types

KIND = sys.argv[1]


def constant(value):
    return types.Constant(np.asarray(value, np.float32), device="cpu")


def mean_less_lighting():
    draws = fn.random.normal(shape=[3], stddev=0.1) * constant(common.EIGENVALUES)
    vectors = list(zip(*common.EIGENVECTORS))
    light = sum(draws[i] * constant(vectors[i]) for i in range(3))
    return constant(common.MEAN) - light


def finish(pixels, x, y):
    return fn.crop_mirror_normalize(
        pixels,
        dtype=types.FLOAT,
        mean=mean_less_lighting(),
        std=[1.0],
        crop=(common.CROP, common.CROP),
        crop_pos_x=x,
        crop_pos_y=y,
        mirror=fn.random.coin_flip(),
        output_layout="CHW",
    )


@pipeline_def(batch_size=common.BATCH, num_threads=common.CORES, device_id=None, prefetch_queue_depth=2)
def pipe():
    encoded, label = fn.readers.file(file_root=common.CORPUS, random_shuffle=True, name="reader", initial_fill=1500)
    u, v = (fn.random.uniform(range=(0.0, 1.0)) for _ in range(2))
    resize = {"interp_type": types.INTERP_LINEAR, "antialias": True}
    if KIND == "whole":
        pixels = fn.decoders.image(encoded, output_type=types.RGB)
        pixels = fn.resize(pixels, resize_shorter=common.STORED, **resize)
        pixels = fn.crop(pixels, crop=(common.STORED, common.STORED))
        return finish(pixels, u, v), label
    shape = fn.peek_image_shape(encoded)
    h, w = (fn.cast(shape[i], dtype=types.FLOAT) for i in range(2))
    shorter = dali.math.min(h, w)
    side = shorter * (common.CROP / common.STORED)
    y, x = (h - shorter) * 0.5 + v * (shorter - side), (w - shorter) * 0.5 + u * (shorter - side)
    pixels = fn.decoders.image_slice(
        encoded,
        fn.stack(x, y),
        fn.stack(side, side),
        axis_names="WH",
        normalized_anchor=False,
        normalized_shape=False,
        output_type=types.RGB,
    )
    pixels = fn.resize(pixels, size=(common.CROP, common.CROP), **resize)
    return finish(pixels, 0.0, 0.0), label


PIPE = pipe()
PIPE.build()
IMAGES = PIPE.epoch_size("reader")


def epoch():
    images = 0
    while images < IMAGES:
        pixels, _ = PIPE.run()
        images += len(pixels)
    batch = pixels.as_array()
    assert batch.shape[1:] == (3, common.CROP, common.CROP) and batch.dtype == np.float32
    return images


common.bench(f"DALI {dali.__version__} {KIND}", epoch)
