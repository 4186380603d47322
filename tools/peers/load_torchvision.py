#!/usr/bin/env python3
"""torchvision under PyTorch's DataLoader: `CORPUS=DIR/train python tools/peers/load_torchvision.py tensor|pillow`.

`tensor` is its best: `decode_jpeg` and v2 transforms on bytes. `pillow` is what most code uses.
"""

import io
import os
import sys

import load_common as common
import torch
import torchvision
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

KIND = sys.argv[1]
torch.set_num_threads(1)
MEAN = torch.tensor(common.MEAN).view(3, 1, 1)
VECTORS, VALUES = torch.tensor(common.EIGENVECTORS), torch.tensor(common.EIGENVALUES)


def light(pixels):
    add = (VECTORS @ (VALUES * torch.randn(3) * 0.1)).view(3, 1, 1)
    return pixels.float().add_(add - MEAN)


PILLOW = transforms.Compose(
    [
        transforms.Resize(common.STORED),
        transforms.CenterCrop(common.STORED),
        transforms.RandomCrop(common.CROP),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
        light,
    ]
)
TENSOR = v2.Compose(
    [
        v2.Resize(common.STORED, antialias=True),
        v2.CenterCrop(common.STORED),
        v2.RandomCrop(common.CROP),
        v2.RandomHorizontalFlip(),
        light,
    ]
)


def by_pillow(data):
    return PILLOW(Image.open(io.BytesIO(data)).convert("RGB"))


def by_tensor(data):
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        return TENSOR(torchvision.io.decode_jpeg(encoded, mode=torchvision.io.ImageReadMode.RGB))
    except RuntimeError:
        return by_pillow(data)  # CMYK


class Pictures(torch.utils.data.Dataset):
    def __init__(self):
        self.paths = common.files()
        self.labels = [common.classes()[os.path.basename(os.path.dirname(path))] for path in self.paths]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        with open(self.paths[i], "rb") as file:
            data = file.read()
        return {"pillow": by_pillow, "tensor": by_tensor}[KIND](data), self.labels[i]


WORKERS = 0 if common.CORES == 1 else common.CORES
LOADER = torch.utils.data.DataLoader(
    Pictures(),
    common.BATCH,
    shuffle=True,
    num_workers=WORKERS,
    persistent_workers=WORKERS > 0,
    prefetch_factor=2 if WORKERS else None,
)


def epoch():
    images = 0
    for pixels, _ in LOADER:
        assert pixels.shape[1:] == (3, common.CROP, common.CROP) and pixels.dtype == torch.float32
        images += len(pixels)
    return images


common.bench(f"torchvision {torchvision.__version__} {KIND}", epoch)
