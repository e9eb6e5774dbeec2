#!/usr/bin/env python3
"""Writes tests/golden/quantize.bin: rows of f32 and what the gguf package's reference makes of them.

count u32 | count * 32 f32 | count q8_0 blocks (34 bytes) | count q4_0 blocks (18 bytes)

Needs numpy and gguf (tests/golden/venv.sh).
"""

import os

import numpy as np
from gguf import GGMLQuantizationType, quants

rng = np.random.default_rng(7)
rows = [rng.standard_normal((40, 32)) * s for s in (1e-30, 1e-6, 0.02, 1.0, 300.0)]
rows.append(np.zeros((1, 32)))
rows.append(np.tile([1.0, -1.0], 16).reshape(1, 32))  # a tie of the largest
rows.append(np.arange(-16, 16).reshape(1, 32) * 127 / 32)  # halves to be rounded
rows.append(np.linspace(-127, 127, 32).round(0).reshape(1, 32) + 0.5)
x = np.concatenate(rows).astype(np.float32)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantize.bin")
with open(path, "wb") as f:
    f.write(np.uint32(len(x)).tobytes())
    f.write(x.tobytes())
    for t in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0):
        f.write(quants.quantize(x, t).tobytes())
