"""Writes a Llama model of transformers as a GGUF file (v3) that Baton reads: dimensions, a byte-level
tokenizer, weights in BF16.

The package `gguf` is not needed, so this works where only PyTorch and transformers are installed."""

import struct

import torch

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TYPE_F32, TYPE_BF16 = 0, 30
ALIGNMENT = 32
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


class Keys:
    def __init__(self):
        self.raw, self.count = b"", 0

    def put(self, name, kind, payload):
        self.raw += text(name) + struct.pack("<I", kind) + payload
        self.count += 1

    def u32(self, name, value):
        self.put(name, U32, struct.pack("<I", value))

    def f32(self, name, value):
        self.put(name, F32, struct.pack("<f", value))

    def string(self, name, value):
        self.put(name, STRING, text(value))

    def array(self, name, kind, items):
        self.put(name, ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))


def byte_characters():
    """The 256 bytes in the writing of GPT-2: what is not visible in Latin-1 takes the code points from 256
    on."""
    visible = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    others = [b for b in range(256) if b not in visible]
    code = {b: b for b in visible}
    code.update({b: 256 + i for i, b in enumerate(others)})
    return [chr(code[b]) for b in range(256)]


def tokenizer(keys, vocab):
    tokens = SPECIALS + byte_characters()
    tokens += ["token%d" % i for i in range(len(tokens), vocab)]
    keys.string("tokenizer.ggml.model", "gpt2")
    keys.string("tokenizer.ggml.pre", "smollm")
    keys.array("tokenizer.ggml.tokens", STRING, [text(t) for t in tokens])
    keys.array(
        "tokenizer.ggml.token_type",
        I32,
        [struct.pack("<i", 3 if i < len(SPECIALS) else 1) for i in range(vocab)],
    )
    keys.array("tokenizer.ggml.merges", STRING, [text("a b")] if "ab" in tokens else [])
    keys.u32("tokenizer.ggml.bos_token_id", 1)
    keys.u32("tokenizer.ggml.eos_token_id", 2)
    keys.put("tokenizer.ggml.add_bos_token", BOOL, b"\0")


def dimensions(keys, c):
    keys.string("general.architecture", "llama")
    keys.string("general.name", "random llama")
    for name, value in [
        ("block_count", c.num_hidden_layers),
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_attention_heads),
        ("attention.head_count_kv", c.num_key_value_heads),
        ("attention.key_length", c.head_dim),
        ("attention.value_length", c.head_dim),
        ("vocab_size", c.vocab_size),
        ("rope.dimension_count", c.head_dim),
    ]:
        keys.u32("llama." + name, value)
    keys.f32("llama.rope.freq_base", c.rope_parameters["rope_theta"])
    keys.f32("llama.attention.layer_norm_rms_epsilon", c.rms_norm_eps)


def rotated(w, heads):
    """transformers rotates pairs (i, i + half) of a head, GGUF (2i, 2i + 1): reorder the rows."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).transpose(1, 2).reshape(w.shape)


def tensors(model):
    c, state = model.config, model.state_dict()
    yield "token_embd.weight", state["model.embed_tokens.weight"]
    yield "output_norm.weight", state["model.norm.weight"]
    yield "output.weight", state["lm_head.weight"]
    for i in range(c.num_hidden_layers):
        layer = "model.layers.%d." % i
        for ours, theirs in [
            ("attn_norm", "input_layernorm"),
            ("attn_q", "self_attn.q_proj"),
            ("attn_k", "self_attn.k_proj"),
            ("attn_v", "self_attn.v_proj"),
            ("attn_output", "self_attn.o_proj"),
            ("ffn_norm", "post_attention_layernorm"),
            ("ffn_gate", "mlp.gate_proj"),
            ("ffn_up", "mlp.up_proj"),
            ("ffn_down", "mlp.down_proj"),
        ]:
            w = state[layer + theirs + ".weight"]
            if ours in ("attn_q", "attn_k"):
                w = rotated(w, c.num_attention_heads if ours == "attn_q" else c.num_key_value_heads)
            yield "blk.%d.%s.weight" % (i, ours), w


def padded(raw):
    return raw + b"\0" * (-len(raw) % ALIGNMENT)


def write(path, model):
    keys = Keys()
    dimensions(keys, model.config)
    tokenizer(keys, model.config.vocab_size)
    infos, data, count = b"", [], 0
    at = 0
    for name, w in tensors(model):
        w = w.detach().cpu().contiguous()
        kind = TYPE_F32 if w.dim() == 1 else TYPE_BF16
        raw = (
            w.float().numpy().tobytes()
            if kind == TYPE_F32
            else w.bfloat16().view(torch.int16).numpy().tobytes()
        )
        infos += (
            text(name)
            + struct.pack("<I", w.dim())
            + b"".join(struct.pack("<Q", d) for d in reversed(w.shape))
        )
        infos += struct.pack("<IQ", kind, at)
        data.append(padded(raw))
        at += len(data[-1])
        count += 1
    with open(path, "wb") as f:
        f.write(padded(b"GGUF" + struct.pack("<IQQ", 3, count, keys.count) + keys.raw + infos))
        for raw in data:
            f.write(raw)
