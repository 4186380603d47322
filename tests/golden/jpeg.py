#!/usr/bin/env python3
"""Remakes the small JPEGs in `jpeg/` beside itself, and `jpeg.txt`: what libjpeg-turbo decodes them
to. Read by pipeline/tests/jpeg.rs.

A line of `jpeg.txt` is a file's name, its width and height, and the CRC-32 of its RGB pixels as
Pillow gives them; Pillow's decoder is libjpeg-turbo with its defaults: the "slow integer" inverse
transform and "fancy" upsampling. Of files with inks there is a CRC-32 of libjpeg's own cyan, magenta
and yellow, too; of files that are no JPEGs, the means of 4 x 4 parts instead, in hexadecimal. With a
folder as an argument, it prints such lines for all pictures below it instead. Needs Pillow, numpy
and `cjpeg` of libjpeg-turbo-progs to make the files.
"""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, features

HERE = Path(__file__).parent
SAMPLINGS = {
    "444": "1x1", "422": "2x1", "440": "1x2", "420": "2x2", "411": "4x1", "14": "1x4",
    "410": "4x2", "24": "2x4", "31": "3x1", "13": "1x3",
    "mixed-chroma": "2x2,1x2,1x1", "crossed-chroma": "2x2,2x1,1x2", "coarse-luma": "1x1,2x2,1x1",
    "equal-22": "2x2,2x2,1x1",
}
SIZES = [(1, 1), (2, 3), (3, 2), (5, 17), (8, 8), (9, 16), (16, 9), (17, 33), (40, 7)]
SCRIPT = "0: 0 63 0 0;\n2: 0 63 0 0;\n1: 0 63 0 0;\n"


def picture(width, height):
    """Waves, an edge and noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    noise = np.random.default_rng(2012).normal(0, 12, (height, width, 3))
    waves = [np.sin(x / 5 + y / 17), np.cos(x * y / 150), np.sin(y / 6 - x / 11)]
    base = np.stack([128 + 90 * wave for wave in waves], -1)
    base[(x - width / 2) * 2 > y - height / 2] *= 0.6
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def encode(name, size, *options):
    header = b"P6 %d %d 255\n" % size
    source = header + picture(*size).tobytes()
    jpeg = subprocess.run(["cjpeg", *options], input=source, check=True, capture_output=True)
    (HERE / "jpeg" / f"{name}.jpg").write_bytes(jpeg.stdout)


def make():
    folder = HERE / "jpeg"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, sample in SAMPLINGS.items():
        encode(name, (61, 45), "-quality", "60", "-sample", sample)
    for width, height in SIZES:
        encode(f"420-{width}x{height}", (width, height), "-sample", "2x2")
        encode(f"422-{width}x{height}", (width, height), "-sample", "2x1")
    encode("grey", (61, 45), "-grayscale")
    encode("rgb", (61, 45), "-rgb", "-quality", "60")
    encode("optimised", (61, 45), "-optimize", "-sample", "2x2")
    encode("fine", (61, 45), "-quality", "100", "-sample", "1x1")
    encode("coarse", (61, 45), "-quality", "1", "-sample", "2x2")
    encode("restart-row", (61, 45), "-restart", "1", "-sample", "2x2")
    encode("restart-3", (61, 45), "-restart", "3B", "-sample", "1x1")
    encode("restart-1", (61, 45), "-restart", "1B", "-sample", "2x1")
    encode("progressive", (61, 45), "-progressive", "-sample", "2x2")
    encode("progressive-grey", (61, 45), "-progressive", "-grayscale", "-restart", "2B")
    encode("progressive-444", (61, 45), "-progressive", "-sample", "1x1", "-quality", "95")
    script = folder / "script"
    script.write_text(SCRIPT)
    encode("scans", (61, 45), "-scans", str(script), "-sample", "2x2")
    script.unlink()
    inks()


def inks():
    """CMYK, marked by Adobe's segment and not, and YCCK: the same but for the mark."""
    four = np.concatenate([picture(61, 45), picture(45, 61).transpose(1, 0, 2)[..., :1]], -1)
    image = Image.fromarray(four, "CMYK")
    for name, options in {
        "cmyk": {},
        "cmyk-progressive": {"progressive": True},
        "ycck": {"subsampling": 2},
    }.items():
        file = io.BytesIO()
        image.save(file, "JPEG", quality=75, **options)
        bytes_ = bytearray(file.getvalue())
        adobe = bytes_.index(b"\xff\xeeXXAdobe".replace(b"XX", b"\0\x0e"))
        assert bytes_[adobe + 15] == 0
        if name == "ycck":
            bytes_[adobe + 15] = 2
        (HERE / "jpeg" / f"{name}.jpg").write_bytes(bytes_)
        if name == "cmyk":
            del bytes_[adobe : adobe + 16]
            (HERE / "jpeg" / "cmyk-unmarked.jpg").write_bytes(bytes_)


def lines(folder):
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".gif"):
            continue
        try:
            with Image.open(path) as image:
                image.load()
                pixels, more = image.convert("RGB"), ""
                if image.format != "JPEG":
                    more = " " + means(np.asarray(pixels))
                elif image.mode == "CMYK":
                    stored = 255 - np.asarray(image)[..., :3]  # Pillow has inverted them
                    more = f" {zlib.crc32(stored.tobytes()):08x}"
        except (OSError, Image.DecompressionBombError):
            continue
        name, crc = path.relative_to(folder), zlib.crc32(pixels.tobytes())
        yield f"{name} {pixels.width} {pixels.height} {crc:08x}{more}"


def means(pixels):
    rows = [part for half in np.array_split(pixels, 4) for part in np.array_split(half, 4, 1)]
    return np.rint([part.mean((0, 1)) for part in rows]).astype(np.uint8).tobytes().hex()


def head():
    turbo = features.version("libjpeg_turbo")
    return f"# made by tests/golden/jpeg.py, Pillow {PIL.__version__}, libjpeg-turbo {turbo}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print("\n".join([head(), *lines(Path(sys.argv[1]))]))
    else:
        make()
        (HERE / "jpeg.txt").write_text("\n".join([head(), *lines(HERE / "jpeg")]) + "\n")
