"""Seeded tiny checkpoints of every family, as Hugging Face writes them and as GGUF, without any library:
tiny.py NAME|all FOLDER [--gguf | --wide-gguf]

Writes FOLDER/NAME (config.json, generation_config.json, tokenizer.json, model.safetensors), or
FOLDER/NAME.gguf; --wide-gguf: with two heads of 32 numbers, which is what 16-bit kernels want."""

import json
import math
import os
import random
import struct
import sys
from array import array

VOCAB, LAYERS, CONTEXT = 384, 2, 256
DIM, HEADS, FFN = 64, 4, 96
END = VOCAB - 1

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}


def rope(base=10000.0, **more):
    return {"rope_type": "default", "rope_theta": base} | more


def usual(kv_heads, **more):
    return {
        "hidden_size": DIM,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": kv_heads,
        "head_dim": DIM // HEADS,
        "intermediate_size": FFN,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "rope_parameters": rope(),
    } | more


# name: class, model_type, architecture in GGUF, config
FAMILIES = {
    "llama2": ("LlamaForCausalLM", "llama", "llama", usual(HEADS)),
    "llama3": ("LlamaForCausalLM", "llama", "llama", usual(2, rope_parameters=LLAMA3)),
    "yarn": ("LlamaForCausalLM", "llama", "llama", usual(2, rope_parameters=YARN)),
    "mistral": ("MistralForCausalLM", "mistral", "llama", usual(2, sliding_window=12)),
    "smollm2": ("LlamaForCausalLM", "llama", "llama", usual(2, tie_word_embeddings=True)),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", "qwen2", usual(2, rope_parameters=rope(1e6))),
    "qwen3": (
        "Qwen3ForCausalLM",
        "qwen3",
        "qwen3",
        usual(2, head_dim=32, tie_word_embeddings=True, rope_parameters=rope(1e6)),
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        "gemma3_text",
        "gemma3",
        usual(
            1,
            num_hidden_layers=7,
            head_dim=32,
            query_pre_attn_scalar=24,
            sliding_window=12,
            tie_word_embeddings=True,
            layer_types=["sliding_attention"] * 5 + ["full_attention", "sliding_attention"],
            hidden_activation="gelu_pytorch_tanh",
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": rope(1e4),
            },
        ),
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "gpt2",
        "gpt2",
        {
            "n_embd": DIM,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_positions": CONTEXT,
            "n_inner": None,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
        },
    ),
    "opt": (
        "OPTForCausalLM",
        "opt",
        "opt",
        {
            "hidden_size": DIM,
            "word_embed_proj_dim": DIM,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "ffn_dim": FFN,
            "max_position_embeddings": CONTEXT,
            "activation_function": "relu",
            "do_layer_norm_before": True,
            "tie_word_embeddings": True,
        },
    ),
}


def widen(name):
    """The family has two heads of 32 numbers from now on."""
    config = FAMILIES[name][3]
    wide = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    config.update({k: v for k, v in wide.items() if k in config or k == "num_attention_heads"})


class Tensor:
    """Row-major f32 of shape [rows, cols], or [cols]"""

    def __init__(self, shape, numbers):
        self.shape, self.numbers = list(shape), numbers

    def transposed(self):
        rows, cols = self.shape
        out = array("f")
        for c in range(cols):
            out.extend(self.numbers[c::cols])
        return Tensor([cols, rows], out)

    def plus(self, value):
        return Tensor(self.shape, array("f", (x + value for x in self.numbers)))

    def from_row(self, begin):
        return Tensor([self.shape[0] - begin, self.shape[1]], self.numbers[begin * self.shape[1] :])

    def of_pairs(self, heads):
        """Rows i and i + head / 2 of each head become neighbours: what GGUF's Llama rotates."""
        rows, cols = self.shape
        head, out = rows // heads, array("f")
        for h in range(heads):
            for i in range(head // 2):
                for row in (h * head + i, h * head + i + head // 2):
                    out.extend(self.numbers[row * cols : (row + 1) * cols])
        return Tensor(self.shape, out)


def seeded(name, shape, centre, spread):
    """Random.random() gives the same numbers in every version of Python. array("f") rounds them."""
    draw = random.Random(name).random
    count = math.prod(shape)
    return Tensor(shape, array("f", (centre + spread * (2 * draw() - 1) for _ in range(count))))


# --- Hugging Face ---


def matrix(family, name, rows, cols):
    return seeded(family + name, [rows, cols], 0, 1.8 / math.sqrt(cols))


def vector(family, name, count, centre):
    return seeded(family + name, [count], centre, 0.3)


def last_norm(family, name, c, one):
    """Of any sign where the head is the embedding: else each token would answer itself."""
    spread, centre = (1, one - 1) if c["tie_word_embeddings"] else (0.3, one)
    return seeded(family + name, [DIM], centre, spread)


def llama_like(name, c, prefix="model."):
    gemma, head = name == "gemma3", c["head_dim"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    one = 0 if gemma else 1  # Gemma's norms multiply by 1 + w
    out = {prefix + "embed_tokens.weight": seeded(name + "embed", [VOCAB, DIM], 0, 0.3 if gemma else 1)}
    for i in range(c["num_hidden_layers"]):
        at = "%slayers.%d." % (prefix, i)
        for part, rows, cols in (
            ("self_attn.q_proj", q, DIM),
            ("self_attn.k_proj", kv, DIM),
            ("self_attn.v_proj", kv, DIM),
            ("self_attn.o_proj", DIM, q),
            ("mlp.gate_proj", FFN, DIM),
            ("mlp.up_proj", FFN, DIM),
            ("mlp.down_proj", DIM, FFN),
        ):
            out[at + part + ".weight"] = matrix(name, at + part, rows, cols)
            if name == "qwen2" and part[-6:] in ("q_proj", "k_proj", "v_proj"):
                out[at + part + ".bias"] = vector(name, at + part + "b", rows, 0)
        norms = ["input_layernorm", "post_attention_layernorm"]
        if gemma:
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for norm in norms:
            out[at + norm + ".weight"] = vector(name, at + norm, DIM, one)
        for norm in ("q_norm", "k_norm") if gemma or name == "qwen3" else ():
            out[at + "self_attn." + norm + ".weight"] = vector(name, at + norm, head, one)
    out[prefix + "norm.weight"] = last_norm(name, "norm", c, one)
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = matrix(name, "head", VOCAB, DIM)
    return out


def linears(out, name, at, parts, conv1d):
    for part, rows, cols in parts:
        shape = (cols, rows) if conv1d else (rows, cols)
        out[at + part + ".weight"] = seeded(name + at + part, shape, 0, 1.8 / math.sqrt(cols))
        out[at + part + ".bias"] = vector(name, at + part + "b", rows, 0)


def layer_norms(out, name, at, norms):
    for norm in norms:
        out[at + norm + ".weight"] = vector(name, at + norm, DIM, 1)
        out[at + norm + ".bias"] = vector(name, at + norm + "b", DIM, 0)


def gpt2(name, c):
    out = {
        "transformer.wte.weight": seeded(name + "wte", [VOCAB, DIM], 0, 1),
        "transformer.wpe.weight": seeded(name + "wpe", [CONTEXT, DIM], 0, 1),
    }
    for i in range(LAYERS):
        at = "transformer.h.%d." % i
        parts = (
            ("attn.c_attn", 3 * DIM, DIM),
            ("attn.c_proj", DIM, DIM),
            ("mlp.c_fc", 4 * DIM, DIM),
            ("mlp.c_proj", DIM, 4 * DIM),
        )
        linears(out, name, at, parts, True)
        layer_norms(out, name, at, ("ln_1", "ln_2"))
    layer_norms(out, name, "transformer.", ("ln_f",))
    out["transformer.ln_f.weight"] = last_norm(name, "ln_f", c, 1)
    return out


def opt(name, c):
    prefix = "model.decoder."
    out = {
        prefix + "embed_tokens.weight": seeded(name + "wte", [VOCAB, DIM], 0, 1),
        prefix + "embed_positions.weight": seeded(name + "wpe", [CONTEXT + 2, DIM], 0, 1),
    }
    for i in range(LAYERS):
        at = "%slayers.%d." % (prefix, i)
        parts = [("self_attn." + part, DIM, DIM) for part in ("q_proj", "k_proj", "v_proj", "out_proj")]
        linears(out, name, at, parts + [("fc1", FFN, DIM), ("fc2", DIM, FFN)], False)
        layer_norms(out, name, at, ("self_attn_layer_norm", "final_layer_norm"))
    layer_norms(out, name, prefix, ("final_layer_norm",))
    out[prefix + "final_layer_norm.weight"] = last_norm(name, "final", c, 1)
    return out


def tensors_of(name):
    config = FAMILIES[name][3]
    return {"gpt2": gpt2, "opt": opt}.get(name, llama_like)(name, config)


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, t in tensors.items():
        end = at + 4 * len(t.numbers)
        header[name] = {"dtype": "F32", "shape": t.shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.numbers.tobytes())


# --- the tokenizer ---


def byte_chars():
    """GPT-2's writing of bytes as characters"""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for b in range(256):
        table[b] = chr(b if b in plain else 256 + extra)
        extra += b not in plain
    return [table[b] for b in range(256)]


WORDS = " the of and in to a is that it was for on are as with his they at be this have from or one had by"


def vocabulary():
    tokens, merges = byte_chars(), []
    space = tokens[32]
    for word in WORDS.split(" ")[1:]:
        left = space
        for letter in word:
            if left + letter not in tokens:
                merges.append((left, letter))
                tokens.append(left + letter)
            left += letter
    while len(tokens) < END:
        tokens.append("<|%d|>" % len(tokens))
    return tokens + ["<|end|>"], merges


def write_tokenizer(path):
    tokens, merges = vocabulary()
    added = [t for t in tokens if t.startswith("<|")]
    body = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": tokens.index(t),
                "content": t,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for t in added
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": {t: i for i, t in enumerate(tokens) if t not in added},
            "merges": ["%s %s" % m for m in merges],
        },
    }
    with open(path, "w", encoding="utf-8") as f:
        json.dump(body, f)


def write_folder(name, folder):
    cls, model_type, _, config = FAMILIES[name]
    os.makedirs(folder, exist_ok=True)
    ends = {"bos_token_id": END, "eos_token_id": END}
    extra = {"pad_token_id": 1} if name == "opt" else {"pad_token_id": None}
    common = {"architectures": [cls], "model_type": model_type, "vocab_size": VOCAB, "dtype": "float32"}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(common | config | ends | extra, f, indent=1)
    with open(os.path.join(folder, "generation_config.json"), "w", encoding="utf-8") as f:
        json.dump(ends, f)
    write_tokenizer(os.path.join(folder, "tokenizer.json"))
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors_of(name))


# --- GGUF ---

LLAMA_NAMES = {
    "embed_tokens": "token_embd",
    "lm_head": "output",
    "norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NAMES = {
    "gemma3": LLAMA_NAMES
    | {
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    },
    "gpt2": {
        "wte": "token_embd",
        "wpe": "position_embd",
        "ln_f": "output_norm",
        "ln_1": "attn_norm",
        "ln_2": "ffn_norm",
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    },
    "opt": {
        "embed_tokens": "token_embd",
        "embed_positions": "position_embd",
        "final_layer_norm": "ffn_norm",
        "self_attn_layer_norm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.out_proj": "attn_output",
        "fc1": "ffn_up",
        "fc2": "ffn_down",
    },
}


def gguf_tensor(name, full, t):
    """Name and tensor as llama.cpp's converter has them"""
    arch, config = FAMILIES[name][2:]
    for prefix in ("model.", "transformer.", "decoder."):
        full = full.removeprefix(prefix)
    place, _, end = full.rpartition(".")
    layer = ""
    if place.startswith(("layers.", "h.")):
        _, number, place = place.split(".", 2)
        layer = "blk.%s." % number
    ours = NAMES.get(name, LLAMA_NAMES)[place]
    if name == "opt" and not layer and ours == "ffn_norm":
        ours = "output_norm"
    if name == "opt" and ours == "position_embd":
        t = t.from_row(2)
    if ".c_" in "." + place and end == "weight" and name == "gpt2":
        t = t.transposed()
    if name == "gemma3" and ours.endswith("norm"):
        t = t.plus(1)
    if arch == "llama" and ours in ("attn_q", "attn_k"):
        t = t.of_pairs(config["num_attention_heads" if ours == "attn_q" else "num_key_value_heads"])
    return "%s%s.%s" % (layer, ours, end), t


def llama3_factors(r, head):
    """As transformers and llama.cpp's converter compute them"""
    out = array("f")
    low = r["original_max_position_embeddings"] / r["low_freq_factor"]
    high = r["original_max_position_embeddings"] / r["high_freq_factor"]
    for i in range(head // 2):
        wave = 2 * math.pi * r["rope_theta"] ** (2 * i / head)
        smooth = (r["original_max_position_embeddings"] / wave - r["low_freq_factor"]) / (
            r["high_freq_factor"] - r["low_freq_factor"]
        )
        if wave < high:
            out.append(1)
        elif wave > low:
            out.append(r["factor"])
        else:
            out.append(1 / ((1 - smooth) / r["factor"] + smooth))
    return Tensor([head // 2], out)


def gguf_keys(name):
    _, _, arch, c = FAMILIES[name]
    heads = c.get("num_attention_heads", HEADS)
    keys = {
        "general.architecture": arch,
        "general.name": "tiny " + name,
        arch + ".block_count": c.get("num_hidden_layers", LAYERS),
        arch + ".context_length": CONTEXT,
        arch + ".embedding_length": DIM,
        arch + ".feed_forward_length": 4 * DIM if arch == "gpt2" else FFN,
        arch + ".attention.head_count": heads,
    }
    if arch in ("gpt2", "opt"):
        return keys | {arch + ".attention.layer_norm_epsilon": 1e-5}
    r = c["rope_parameters"]
    keys |= {
        arch + ".attention.head_count_kv": c["num_key_value_heads"],
        arch + ".attention.key_length": c["head_dim"],
        arch + ".attention.value_length": c["head_dim"],
        arch + ".attention.layer_norm_rms_epsilon": 1e-5,
        arch + ".rope.freq_base": r.get("full_attention", r)["rope_theta"],
    }
    if "sliding_window" in c:
        keys[arch + ".attention.sliding_window"] = c["sliding_window"]
    if name == "gemma3":
        keys["gemma3.attention.scale"] = c["query_pre_attn_scalar"] ** -0.5
        keys["gemma3.rope.scaling.type"] = "linear"
        keys["gemma3.rope.scaling.factor"] = r["full_attention"]["factor"]
    if name == "yarn":
        keys["llama.rope.scaling.type"] = "yarn"
        keys["llama.rope.scaling.factor"] = r["factor"]
        keys["llama.rope.scaling.original_context_length"] = r["original_max_position_embeddings"]
    return keys


def gguf_value(value):
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack("<%di" % len(value), *value)


def write_gguf(name, path):
    tokens, merges = vocabulary()
    keys = gguf_keys(name) | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t.startswith("<|") else 1 for t in tokens],
        "tokenizer.ggml.merges": ["%s %s" % m for m in merges],
        "tokenizer.ggml.eos_token_id": END,
    }
    tensors = dict(gguf_tensor(name, full, t) for full, t in tensors_of(name).items())
    if name == "llama3":
        tensors["rope_freqs.weight"] = llama3_factors(LLAMA3, FAMILIES[name][3]["head_dim"])
    head, body = b"", b""
    for key, value in keys.items():
        head += struct.pack("<Q", len(key)) + key.encode() + gguf_value(value)
    for full, t in tensors.items():
        head += struct.pack("<Q", len(full)) + full.encode() + struct.pack("<I", len(t.shape))
        head += struct.pack("<%dQ" % len(t.shape), *reversed(t.shape)) + struct.pack("<IQ", 0, len(body))
        body += t.numbers.tobytes()
        body += bytes(-len(body) % 32)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys)) + head
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32) + body)


def main():
    name, folder = sys.argv[1:3]
    os.makedirs(folder, exist_ok=True)
    for family in FAMILIES if name == "all" else [name]:
        if sys.argv[3:] == ["--wide-gguf"]:
            widen(family)
        if sys.argv[3:]:
            write_gguf(family, os.path.join(folder, family + ".gguf"))
        else:
            write_folder(family, os.path.join(folder, family))


if __name__ == "__main__":
    main()
