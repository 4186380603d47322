#!/usr/bin/env python3
"""What bounds any loader on libjpeg-turbo: decoding at 1/8 scale, which is entropy decoding and little else, by Pillow
from bytes in memory: `CORPUS=DIR/train python tools/peers/load_eighth.py`.
"""

import io
from concurrent.futures import ThreadPoolExecutor

import load_common as common
from PIL import Image

DATA = [open(path, "rb").read() for path in common.files()]


def decode(data):
    image = Image.open(io.BytesIO(data))
    image.draft(None, (image.width // 8, image.height // 8))
    image.load()


POOL = ThreadPoolExecutor(common.CORES)


def epoch():
    return len(list(POOL.map(decode, DATA)))


common.bench("libjpeg-turbo at 1/8 scale", epoch)
