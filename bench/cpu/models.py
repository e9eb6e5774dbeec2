"""Writes the model files that bench/cpu/compare.py compares with, where they are not there yet:

    .cache/golden/bin/python3 bench/cpu/models.py models/SmolLM2-135M-Instruct.Q4_1.gguf .cache/golden/models

SmolLM2.q4_0.gguf, .q8_0.gguf     the file's dequantised weights, quantised anew: matrices of layers;
                                  embedding and head stay Q8_0, as in the file
random-1b.q4_0.gguf, .q8_0.gguf   Llama-3.2-1B's shape with seeded random weights and the file's tokenizer,
                                  its vocabulary filled up with unused tokens; all matrices in that type
"""

import os
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

TYPES = {"q4_0": Type.Q4_0, "q8_0": Type.Q8_0}
SHAPE_1B = {"layers": 16, "dim": 2048, "ffn": 8192, "heads": 32, "kv_heads": 8, "vocab": 128256}


def copy_keys(reader, writer, skip=()):
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", *skip):
            continue
        kind, part = field.types[0], field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=part)


def add(writer, name, w, kind):
    data = w if kind == Type.F32 else gguf.quants.quantize(w, kind)
    writer.add_tensor(name, data, raw_dtype=kind)


def finish(writer, path):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.rename(path + ".new", path)
    print(path, os.path.getsize(path), flush=True)


def requantised(source, path, kind):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path + ".new", "llama")
    copy_keys(reader, writer, skip=("general.file_type",))
    for t in reader.tensors:
        matrix_of_layer = t.name.startswith("blk.") and len(t.shape) == 2
        if matrix_of_layer:
            w = np.asarray(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32)
            add(writer, t.name, w, kind)
        else:
            writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    finish(writer, path)


def vocabulary(reader, writer, count):
    tokens = list(reader.fields["tokenizer.ggml.tokens"].contents())
    types = list(reader.fields["tokenizer.ggml.token_type"].contents())
    tokens += ["[unused%d]" % i for i in range(len(tokens), count)]
    types += [5] * (count - len(types))
    writer.add_token_list(tokens)
    writer.add_token_types(types)


def random_model(source, path, kind, s):
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path + ".new", "llama")
    skip = [f for f in reader.fields if f.startswith("llama.") or f.startswith("general.")]
    copy_keys(reader, writer, skip=(*skip, "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"))
    vocabulary(reader, writer, s["vocab"])
    writer.add_name("random-1b")
    writer.add_block_count(s["layers"])
    writer.add_context_length(8192)
    writer.add_embedding_length(s["dim"])
    writer.add_feed_forward_length(s["ffn"])
    writer.add_head_count(s["heads"])
    writer.add_head_count_kv(s["kv_heads"])
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(s["dim"] // s["heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(s["vocab"])
    rng = np.random.default_rng(1)
    matrix = lambda rows, cols: (rng.standard_normal((rows, cols), dtype=np.float32) * (cols**-0.5))
    kv_dim = s["dim"] // s["heads"] * s["kv_heads"]
    ones = np.ones(s["dim"], dtype=np.float32)
    add(writer, "token_embd.weight", matrix(s["vocab"], s["dim"]), kind)
    add(writer, "output_norm.weight", ones, Type.F32)
    for i in range(s["layers"]):
        for name, rows, cols in [
            ("attn_q", s["dim"], s["dim"]),
            ("attn_k", kv_dim, s["dim"]),
            ("attn_v", kv_dim, s["dim"]),
            ("attn_output", s["dim"], s["dim"]),
            ("ffn_gate", s["ffn"], s["dim"]),
            ("ffn_up", s["ffn"], s["dim"]),
            ("ffn_down", s["dim"], s["ffn"]),
        ]:
            add(writer, f"blk.{i}.{name}.weight", matrix(rows, cols), kind)
        add(writer, f"blk.{i}.attn_norm.weight", ones, Type.F32)
        add(writer, f"blk.{i}.ffn_norm.weight", ones, Type.F32)
    finish(writer, path)


def main():
    source, folder = sys.argv[1:3]
    os.makedirs(folder, exist_ok=True)
    for word, kind in TYPES.items():
        for name, make in [
            ("SmolLM2", lambda path: requantised(source, path, kind)),
            ("random-1b", lambda path: random_model(source, path, kind, SHAPE_1B)),
        ]:
            path = os.path.join(folder, f"{name}.{word}.gguf")
            if not os.path.exists(path):
                make(path)


if __name__ == "__main__":
    main()
