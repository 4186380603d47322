#!/usr/bin/env python3
"""FFCV on the CPU: `CORPUS=DIR/train python tools/peers/load_ffcv.py write|raw|jpeg|original OUT`.

`write` packs OUT/{raw,jpeg,original}.beton: 256-pixel squares as they are, as JPEGs of quality 90, and the files' own
bytes; it prints images a second of each. The others load. FFCV has no random crop or lighting of its own: both, the
mirror and the mean are one compiled operation here, which is the fastest that it can do.
"""

import json
import os
import sys
import time
from dataclasses import replace

import load_common as common
import numpy as np

KIND, OUT = sys.argv[1:3]


def write():
    import ffcv.fields.rgb_image as rgb_image
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    paths, encode, current = common.files(), rgb_image.encode_jpeg, {}

    class Pictures:
        def __init__(self, square):
            self.square = square

        def __len__(self):
            return len(paths)

        def __getitem__(self, i):
            picture = Image.open(paths[i])
            current.update(path=paths[i], own=not self.square and picture.mode != "CMYK")
            picture = picture.convert("RGB")
            if self.square:
                w, h = picture.size
                scale = common.STORED / min(w, h)
                size = (max(common.STORED, int(w * scale)), max(common.STORED, int(h * scale)))
                picture = picture.resize(size, Image.BILINEAR)
                x, y = ((side - common.STORED) // 2 for side in picture.size)
                picture = picture.crop((x, y, x + common.STORED, y + common.STORED))
            return np.asarray(picture), common.label(paths[i])

    def own_or_encoded(pixels, quality):
        return np.fromfile(current["path"], np.uint8) if current["own"] else encode(pixels, quality)

    rgb_image.encode_jpeg = own_or_encoded
    os.makedirs(OUT, exist_ok=True)
    for name, mode in (("raw", "raw"), ("jpeg", "jpg"), ("original", "jpg")):
        began = time.perf_counter()
        fields = {"image": RGBImageField(write_mode=mode, jpeg_quality=90), "label": IntField()}
        writer = DatasetWriter(f"{OUT}/{name}.beton", fields, num_workers=common.CORES)
        writer.from_indexed_dataset(Pictures(name != "original"), shuffle_indices=False)
        rate = len(paths) / (time.perf_counter() - began)
        print(json.dumps({"peer": f"FFCV writer {name}", "cores": common.CORES, "images_per_s": round(rate, 1)}), flush=True)


def load():
    import ffcv
    from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.pipeline.allocation_query import AllocationQuery
    from ffcv.pipeline.compiler import Compiler
    from ffcv.pipeline.operation import Operation
    from ffcv.transforms import Squeeze, ToTensor

    mean, values, vectors = (
        np.asarray(x, np.float32) for x in (common.MEAN, common.EIGENVALUES, common.EIGENVECTORS)
    )

    class Augment(Operation):
        def generate_code(self):
            indices = Compiler.get_iterator()

            def augment(images, out):
                for i in indices(images.shape[0]):
                    y, x, mirror = np.random.randint(0, 33), np.random.randint(0, 33), np.random.rand() < 0.5
                    a = np.random.randn() * 0.1 * values[0]
                    b = np.random.randn() * 0.1 * values[1]
                    d = np.random.randn() * 0.1 * values[2]
                    for c in range(3):
                        add = np.float32(a * vectors[c, 0] + b * vectors[c, 1] + d * vectors[c, 2]) - mean[c]
                        for r in range(224):
                            if mirror:
                                for k in range(224):
                                    out[i, c, r, k] = np.float32(images[i, y + r, x + 223 - k, c]) + add
                            else:
                                for k in range(224):
                                    out[i, c, r, k] = np.float32(images[i, y + r, x + k, c]) + add
                return out

            augment.is_parallel = True
            return augment

        def declare_state_and_memory(self, state):
            shape, dtype = (3, common.CROP, common.CROP), np.dtype("float32")
            return replace(state, jit_mode=True, shape=shape, dtype=dtype), AllocationQuery(shape, dtype)

    square = (common.STORED, common.STORED)
    decoder = CenterCropRGBImageDecoder(square, ratio=1.0) if KIND == "original" else SimpleRGBImageDecoder()
    loader = Loader(
        f"{OUT}/{KIND}.beton",
        batch_size=common.BATCH,
        num_workers=common.CORES,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=False,
        pipelines={"image": [decoder, Augment(), ToTensor()], "label": [IntDecoder(), ToTensor(), Squeeze()]},
    )
    passes = {"raw": 10, "jpeg": 4, "original": 1}[KIND]

    def epoch():
        images = 0
        for _ in range(passes):
            for pixels, _ in loader:
                images += len(pixels)
        assert pixels.shape[1:] == (3, common.CROP, common.CROP)
        return images

    common.bench(f"FFCV {ffcv.__version__} {KIND}", epoch)


write() if KIND == "write" else load()
