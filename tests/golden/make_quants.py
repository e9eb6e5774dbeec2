"""Writes quants.bin: blocks of every quantised type with the numbers that gguf's own Python makes of them.

make_quants.py [--check]     needs the modules gguf and numpy (venv.sh); --check: fails when the file differs

The file, little endian: per type  u32 type, u32 bytes of blocks, u32 weights, blocks, f32 weights."""

import os
import sys

import gguf
import numpy as np

HALVES = {  # where the scales of a block are
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "IQ4_NL": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
}
# Ordinary, negative, zero, the least subnormal, the largest number, and one whose bits are all in use.
SCALES = (0x2E66, 0xAE66, 0x0000, 0x8000, 0x0001, 0x7BFF, 0xFBFF, 0x07FF, 0x3FFF)


def blocks_of(name, rng):
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    fill = [np.full(size, byte, np.uint8) for byte in (0x00, 0xFF, 0x55, 0xAA, 0x0F, 0xF0)]
    fill += [np.arange(size, dtype=np.uint8) * 37] + [rng.integers(0, 256, size, np.uint8) for _ in range(11)]
    for i, block in enumerate(fill):
        for j, at in enumerate(HALVES[name]):
            scale = SCALES[(i + 4 * j) % len(SCALES)]
            block[at : at + 2] = (scale & 255, scale >> 8)
    return np.stack(fill)


def main():
    rng = np.random.default_rng(256)
    out = b""
    for name in HALVES:
        kind = gguf.GGMLQuantizationType[name]
        blocks = blocks_of(name, rng)
        weights = gguf.quants.dequantize(blocks, kind).astype("<f4")
        out += np.array([kind.value, blocks.size, weights.size], "<u4").tobytes()
        out += blocks.tobytes() + weights.tobytes()
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quants.bin")
    if "--check" in sys.argv:
        return 0 if open(path, "rb").read() == out else 1
    open(path, "wb").write(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
