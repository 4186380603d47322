#!/usr/bin/env python3
"""Remakes resize.txt with Pillow: `python tests/golden/resize.py` writes it beside itself. It is read by
pipeline/tests/resize.rs.

Pictures come from a formula that the reader has too. Each is rescaled as section 2 has it: the shorter
side to `size`, the longer one in proportion, rounded down; then the centre square. Of that, some rows are
kept, as hexadecimal RGB. Needs Pillow and a second.
"""

from pathlib import Path

import PIL
from PIL import Image

HERE = Path(__file__).parent
FILE_BYTES_MAX = 64 * 1024

# Width, height, size, rows kept (None: all).
CASES = [
    (57, 43, 32, None),  # down, landscape
    (43, 57, 32, None),  # down, portrait
    (40, 40, 41, 4),  # up by a hair
    (500, 375, 256, 5),  # the most frequent of ILSVRC, by a factor that is no whole number
    (375, 500, 256, 5),
    (300, 256, 256, 3),  # of the right height: cropped only
    (100, 80, 256, 5),  # up
    (1024, 768, 64, 16),  # down by a lot: the filter spans 24 pixels
    (256, 512, 128, 6),  # a factor of exactly 2
]


def pixel(x, y):
    """Slopes that wrap round at sharp edges, a product of both, and rings that become finer outwards."""
    return (x * 7 + y * 3) % 256, (x * y + 5 * y) % 251, ((x * x + y * y) // 64) % 256


def main():
    lines = [f"# made by tests/golden/resize.py, Pillow {PIL.__version__}; width height size row rgb..."]
    for width, height, size, kept in CASES:
        picture = Image.new("RGB", (width, height))
        picture.putdata([pixel(x, y) for y in range(height) for x in range(width)])
        shorter = min(width, height)
        w, h = size * width // shorter, size * height // shorter
        rescaled = picture.resize((w, h), Image.Resampling.BILINEAR)
        left, top = (w - size) // 2, (h - size) // 2
        square = rescaled.crop((left, top, left + size, top + size))
        count = kept or size
        for row in [i * (size - 1) // (count - 1) for i in range(count)]:
            line = square.crop((0, row, size, row + 1)).tobytes().hex()
            lines.append(f"{width} {height} {size} {row} {line}")
    text = "\n".join(lines) + "\n"
    assert len(text) < FILE_BYTES_MAX, len(text)
    (HERE / "resize.txt").write_text(text)


if __name__ == "__main__":
    main()
