#!/usr/bin/env python3
"""Makes the committed seeds of the fuzzers, small inputs of every kind that are understood. What has broken
something before lies beside them.  make_corpus.py [--root DIR]"""

import argparse
import json
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5


def text(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(v):
    if isinstance(v, list):
        kind = STRING if isinstance(v[0], str) else I32 if isinstance(v[0], int) else F32
        body = b"".join(
            text(x) if kind == STRING else struct.pack("<i" if kind == I32 else "<f", x) for x in v
        )
        return struct.pack("<IIQ", ARRAY, kind, len(v)) + body
    if isinstance(v, str):
        return struct.pack("<I", STRING) + text(v)
    if isinstance(v, float):
        return struct.pack("<If", F32, v)
    return struct.pack("<II", U32, v)


def gguf(keys, tensors):
    """tensors: (name, dims), all zeros; vectors are f32, matrices q8_0"""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(k) + gguf_value(v) for k, v in keys.items())
    data = b""
    for name, dims in tensors:
        head += text(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims)
        head += struct.pack("<IQ", 8 if len(dims) > 1 else 0, len(data))
        count = dims[0] // 32 * 34 * dims[1] if len(dims) > 1 else dims[0] * 4
        data += bytes(count + -count % 32)
    return head + bytes(-len(head) % 32) + data


def tiny(arch):
    dim, ffn, vocab = 32, 32, 16 if arch in ("llama", "qwen2") else len(SPM_TOKENS)
    keys = {"general.architecture": arch, "general.name": "tiny"}
    for name, value in {
        "block_count": 1,
        "embedding_length": dim,
        "feed_forward_length": ffn,
        "attention.head_count": 1,
        "attention.head_count_kv": 1,
        "context_length": 64,
        "rope.freq_base": 10000.0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.layer_norm_epsilon": 1e-5,
    }.items():
        keys[arch + "." + name] = value
    tensors = [("token_embd.weight", [dim, vocab]), ("output_norm.weight", [dim])]
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        tensors.append((f"blk.0.{name}.weight", [dim, dim]))
    for name in ("attn_norm", "ffn_norm"):
        tensors.append((f"blk.0.{name}.weight", [dim]))
    if arch in ("qwen2",):
        tensors += [(f"blk.0.attn_{x}.bias", [dim]) for x in "qkv"]
    if arch in ("qwen3", "gemma3"):
        tensors += [(f"blk.0.attn_{x}_norm.weight", [dim]) for x in "qk"]
    return keys, tensors


BYTE_LEVEL = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["<|im_start|>", "<|im_end|>", *"Helo\u0120wrdab1", "He", "He" "l", "\u0120w"],
    "tokenizer.ggml.merges": ["H e", "He l", "\u0120 w"],
    "tokenizer.ggml.eos_token_id": 1,
    "tokenizer.chat_template": "{{ messages }}",
}
BYTE_LEVEL["tokenizer.ggml.token_type"] = [3, 3] + [1] * (len(BYTE_LEVEL["tokenizer.ggml.tokens"]) - 2)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPM_TOKENS = [
    "<unk>",
    "<s>",
    "</s>",
    "<0x0A>",
    "\u2581",
    *"Helo",
    "\u2581H",
    "He",
    "ll",
    "ello",
    "\u2581w",
    "or",
]
SPM = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": SPM_TOKENS,
    "tokenizer.ggml.token_type": [2, 3, 3, 6] + [1] * (len(SPM_TOKENS) - 4),
    "tokenizer.ggml.scores": [0.0 - i for i in range(len(SPM_TOKENS))],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
}


def safetensors(header, data=b""):
    body = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(body)) + body + data


def hf_tokenizer(model, **more):
    out = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None}
    out.update({"post_processor": None, "decoder": None}, **more)
    out["model"] = {"type": "BPE", "unk_token": None, "fuse_unk": False, "byte_fallback": False, **model}
    return json.dumps(out, separators=(",", ":"), ensure_ascii=False).encode()


def added(number, content, **more):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": content, **flags, **more}


def tokenizers():
    vocab = {c: i for i, c in enumerate(["<s>", *"Helo\u0120wrd1", "He", "Hel", "\u0120w"])}
    merges = ["H e", "He l", "\u0120 w"]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    yield "byte_level", hf_tokenizer(
        {"vocab": vocab, "merges": merges}, pre_tokenizer=level, decoder=level, added_tokens=[added(0, "<s>")]
    )
    split = {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False}
    yield "split", hf_tokenizer(
        {"vocab": vocab, "merges": [m.split() for m in merges], "ignore_merges": True},
        normalizer={"type": "NFC"},
        pre_tokenizer={"type": "Sequence", "pretokenizers": [split, {**level, "use_regex": False}]},
        decoder=level,
        added_tokens=[added(0, "<s>"), added(20, "_x", lstrip=True, rstrip=True, special=False)],
    )
    spm = {t: i for i, t in enumerate(SPM_TOKENS)}
    yield "spm", hf_tokenizer(
        {"vocab": spm, "merges": ["H e", "l l", "\u2581 H"], "unk_token": "<unk>", "fuse_unk": True}
        | {"byte_fallback": True},
        normalizer={
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        post_processor={
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        added_tokens=[added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
    )


def configs():
    llama = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "vocab_size": 16,
    }
    llama |= {"intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "silu"}
    llama |= {
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "eos_token_id": 2,
    }
    llama |= {
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "torch_dtype": "bfloat16",
    }
    yield "llama", llama
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    yield "llama3", {**llama, "rope_scaling": {**rope, "original_max_position_embeddings": 64}}
    yield "linear", {
        **llama,
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "temperature": 0.5,
        "top_k": 3,
    }
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    yield "yarn", {
        **llama,
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "rope_scaling": yarn,
    }
    longrope = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    phi3 = {**llama, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "rope_scaling": longrope}
    yield "longrope", {**phi3, "original_max_position_embeddings": 64}
    yield "qwen2", {
        **llama,
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "sliding_window": None,
    }
    gemma = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "head_dim": 16}
    gemma |= {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 32}
    gemma |= {"layer_types": ["sliding_attention", "full_attention"], "rope_local_base_freq": 10000.0}
    yield "gemma3", {**llama, **gemma}
    gpt2 = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
    }
    yield "gpt2", {**gpt2, "n_positions": 64, "vocab_size": 16, "activation_function": "gelu_new"}
    opt = {"architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": 64, "ffn_dim": 96}
    opt |= {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 16, "max_position_embeddings": 64}
    yield "opt", {
        **opt,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "word_embed_proj_dim": 64,
    }


LENGTH, CHUNKED = "Content-Length: 2\r\n", "Transfer-Encoding: chunked\r\n"
HTTP = {
    "get": "GET /v1/models?a=b HTTP/1.1\r\nHost: a\r\n\r\n",
    "post": "POST /v1//completions/ HTTP/1.1\r\nHost: a\r\n" + LENGTH + "Expect: 100-continue\r\n\r\n{}",
    "chunked": "POST /%76 HTTP/1.1\r\nHost: a\r\n" + CHUNKED + "\r\n3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\n",
    "options": "\r\nOPTIONS * HTTP/1.0\nConnection: keep-alive\nOrigin: null\n\n",
    "absolute": "GET http://a:80/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "chunks": "2\r\nab\r\nA\r\n0123456789\r\n0\r\n\r\n",
}
COMPLETION = {
    "model": "tiny",
    "prompt": ["ab", "c"],
    "max_tokens": 7,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 3,
}
COMPLETION |= {"top_k": 4, "min_p": 0.05, "stop": ["x"], "stop_token_ids": [1], "stream": True, "logprobs": 2}
COMPLETION |= {"stream_options": {"include_usage": True}, "logit_bias": {"5": -100}, "seed": -3, "echo": True}
COMPLETION |= {"presence_penalty": 1, "min_tokens": 2, "ignore_eos": True, "cache_salt": "m", "user": "u"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":[1,2.5]}'}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CHAT = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "7", "tool_call_id": "c"},
    ],
    "tools": [TOOL],
    "tool_choice": "none",
    "max_completion_tokens": 5,
    "logprobs": True,
    "top_logprobs": 2,
    "chat_template_kwargs": {"enable_thinking": False},
    "add_generation_prompt": True,
    "response_format": {"type": "text"},
}
OPENAI = [
    (0, COMPLETION),
    (0, {"prompt": [[1, 2], [3]], "max_tokens": 0, "prompt_logprobs": 1, "truncate_prompt_tokens": 2}),
    (1, CHAT),
    (1, {name: value for name, value in CHAT.items() if not name.startswith("tool")}),
    (2, {"prompt": ["a", "b"], "add_special_tokens": False, "return_token_strs": True}),
    (2, {"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": False}),
    (3, {"tokens": [1, 2, 3]}),
]
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": -3, "maximum": 120},
        "b": {"type": "array", "items": {"enum": ["x", 1, None]}, "minItems": 1, "maxItems": 3},
        "c": {"anyOf": [{"type": "string", "pattern": "^[a-c]{2,4}$"}, {"$ref": "#/$defs/n"}]},
        "d": {"type": "string", "minLength": 1, "maxLength": 3},
    },
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}},
}
SPECS = [
    {"json_object": True},
    {"json_schema": SCHEMA},
    {"regex": "(ab|[^x-z\\d]+?)\\w{2,3}(\u00e9|.)*"},
    {"choice": ["hello", "help", "\u00e9"]},
    {"sequence": [{"literal": "<"}, {"any_of": [{"literal": "a"}, {"choice": ["b"]}]}]},
    {"repeat": {"literal": "ab"}, "least": 1, "most": 8},
]


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def post(path, body, more=""):
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}"


# What happens, as front_fuzz takes it. 0 and a number dial: the slot, the host and the port, by TLS or not.
DIAL, FLUSH, SHUT, CLOSE, TOKEN_TO, WAIT, DOOR, READ = range(8)
OVER_TLS = lambda slot: slot + 6 * 12
STREAM = post("/v1/completions", '{"prompt":"a","stream":true,"n":2}')
CHAT = post("/v1/chat/completions", '{"messages":[{"role":"user","content":"a"}]}')
PAGES = [f"GET {p} HTTP/1.1\r\nHost: a\r\n\r\n" for p in ("/ping", "/trace?last=2", "/metrics", "/health")]
FRONT = {
    "stream": [
        DIAL,
        0,
        STREAM,
        FLUSH,
        TOKEN_TO,
        0,
        6,
        TOKEN_TO,
        1,
        201,
        3,
        READ,
        TOKEN_TO,
        0,
        202,
        READ,
        SHUT,
    ],
    "chat_over_tls": [DIAL, OVER_TLS(0), CHAT, FLUSH, TOKEN_TO, 0, 202, READ, SHUT, READ, CLOSE],
    "plain_to_tls": [DIAL, 4 * 6, STREAM, FLUSH, READ],
    "pages": [DIAL, 1, *PAGES, FLUSH, READ, WAIT, 3, WAIT, 4],
    "events": [DIAL, 1, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n", FLUSH, WAIT, 2, READ, WAIT, 3, WAIT, 3],
    "live_over_tls": [DIAL, OVER_TLS(2), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", FLUSH, READ, SHUT],
    "denied": [
        DOOR,
        0,
        DIAL,
        0,
        STREAM,
        DIAL,
        7,
        post("/tokenize", "{}", "Authorization: Bearer sk-1\r\n"),
        READ,
    ],
    "preflight": [DIAL, 0, "OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n"]
    + ["Access-Control-Request-Method: GET\r\n\r\n", FLUSH, READ],
    "slow_upload": [DIAL, 0, STREAM[:-5], FLUSH, WAIT, 2, DIAL, 1, STREAM[:-3], WAIT, 3, READ, WAIT, 4],
    "crowd": [x for slot in range(6) for x in (DIAL, slot + 6 * (slot % 4), "GET /pi")] + [FLUSH, READ],
    "greedy": [x for slot in range(4) for x in (DIAL, slot, "GET /ping")] + [READ, CLOSE],
    "idle_makes_room": [x for i in range(5) for x in (DIAL, i + 6 * (i % 3), PAGES[0], FLUSH, READ)],
    "chunks": [DIAL, 0, STREAM[: STREAM.index("Content")] + "Transfer-Encoding: chunked\r\n\r\n", FLUSH]
    + ["c\r\n{\"prompt\":\"a", FLUSH, "\r\n2\r\n\"}\r\n0\r\n\r\n", FLUSH, TOKEN_TO, 0, 202, READ],
    "tokens": [DIAL, 0, post("/tokenize", '{"prompt":"ab"}'), post("/detokenize", '{"tokens":[97]}'), READ],
    "continue": [DIAL, 0, post("/v1/completions", "", "Expect: 100-continue\r\n")[:-5] + "9\r\n\r\n", READ],
    "models": [DIAL, 0]
    + [f"GET {p} HTTP/1.1\nHost: a\n\n" for p in ("/v1/models", "/v1/models/tiny", "/ready", "/load")]
    + [f"HEAD {p} HTTP/1.0\nHost: a\n\n" for p in ("/version",)]
    + [READ, DIAL, 1, "GET /openapi.json HTTP/1.1\nHost: a\n\n", READ],
    "gone": [DIAL, 0, STREAM, FLUSH, CLOSE, DIAL, 1, CHAT, FLUSH, SHUT, TOKEN_TO, 0, 6],
    "stop": [DIAL, 0, STREAM, FLUSH, DOOR, 4, DIAL, 1, STREAM, DOOR, 6, READ],
}

# What happens, as native_fuzz takes it: of the second connection, and a turn after each message.
MESSAGE, LATER, STUCK, STOP, TOKEN_OF = 1, 25, 28, 37, 43


def said(message):
    return bytes([MESSAGE]) + struct.pack("<H", len(message)) + message


# The pair of RFC 32, and a request to the doorkeeper up to the credentials.
SECRET_KEY = b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
PUBLIC_KEY = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
ZAP_REQUEST = (b"1.0", b"1", b"baton", b"10.0.0.1", b"", b"CURVE")


def part(data):
    return bytes([len(data)]) + data


SAMPLING = field(10, 5) + field(14, b"\x01\x02") + field(15, b"\x03") + field(16, struct.pack("<f", 1.5))
WORK = field(14, field(1, b"\x01\x02\x03") + field(2, b"\x04") + field(3, SAMPLING))
FAILED_WHY = field(18, field(1, 1) + field(2, b"why"))
STEPS = b"".join(field(n, b"\x05\x06") for n in (20, 21, 22, 23, 29, 30, 31))
PEER = field(16, fixed(1, 9) + field(2, b"tcp://a:1"))
# by kind of control.proto
CONTROL_BODIES = {
    1: field(10, field(2, b"p-0") + field(3, b"h") + field(7, 8) + field(8, 16) + field(13, field(1, b"a"))),
    2: field(13, field(1, 3) + field(17, 4) + STEPS),
    3: FAILED_WHY,
    4: field(15, field(1, 16)),
    5: field(17, field(1, field(1, b"\x01") + field(2, b"\x01"))),
    6: field(19, field(1, 100) + field(2, 2)),
    7: FAILED_WHY,
    9: FAILED_WHY,
    12: FAILED_WHY,
    13: field(11, field(1, 1000) + field(2, 10) + field(3, b"p-0")),
    14: field(12, field(1, b"a") + field(2, b"b")),
    16: WORK,
    17: WORK,
    18: PEER,
    24: PEER,
    25: PEER,
    26: field(20, fixed(1, 9) + field(2, b"shm") + field(3, 1)),
    27: field(21, field(1, 1) + field(3, struct.pack("<2f", -1, -2)) + field(4, b"\x01\x02")),
}

# What happens, byte by byte, as the fuzzers of that name take it: prompts and hand-offs from begin to end.
P, D, TURN, STEP, XFER = 0, 1, 20, 20, 24
SAY = lambda who, kind, *fields: [0, who, kind, 50, 0, *fields]
TOKEN = lambda who, how: SAY(who, 3, 0, 0, how)
SCRIPTS = {
    "core": {
        "handoff": [0, 16, 4, 20, 6, TURN, *SAY(D, 2, 0, 0), *TOKEN(P, 0), *SAY(D, 4, 100, 2), *SAY(P, 8)]
        + [*TOKEN(D, 2), *TOKEN(D, 0), *TOKEN(D, 0x38), TURN],
        "prompt_logprobs": [0, 16, 12, 8, 6, TURN, *SAY(P, 12, 1, 8, 0), TURN, *TOKEN(P, 0x38)],
        "five_workers": [64, 16, 4, 20, 6, 16, 4, 9, 6, TURN, *TOKEN(3, 0), *TOKEN(0, 0), 28, 3, TURN],
    },
    "agent": {
        "prefill": [0, 0, 0, 0, 1, 2, 40, 0, 2, 0, 1, 9, 0, 1, 0, 14, STEP, 5, 14, STEP, 5, XFER, 128]
        + [0, 3, 0, 1, XFER, 0],
        "no_tokens": [0, 0, 0, 0, 1, 10, 40, 0, 14, STEP, 5, 14, STEP, 5],
        "decode": [1, 0, 1, 0, 1, 2, 40, XFER, 128, 5, 14, STEP, 5, 14, STEP, 5, 0, 3, 0, 1, STEP, 5],
        "colocated": [2, 0, 0, 0, 1, 2, 40, 14, STEP, 5, 14, STEP, 5, 14, STEP, 5, 0, 3, 0, 1],
    },
    "wire": {
        "bus": [0, 4, 0, 0, 1, 0, 0, 1, 2, 104, 105, 0, 0, 1, 1, 120, 6, 1, 0, 0, 0, 4, 0, 1, 1],
        "gap": [0, 0, 0, 1, 1, 120, 16, 0, 1, 9, 0, 8, 0, 2, 0, 24, 0, 1, 0, 7, 1],
        "no_frame": [0, 19, 0, 1, 97, 0, 35, 0, 1, 1, 1, 1, 1, 1, 1],
        "receiver": [2, 3, 7, 2, 104, 105, 11, 0, 0, 1, 2],
        "sender": [3, 2, 6, 1, 120, 4, 0],
    },
    "data": {
        "receiver": [1, 11, 0, 6, 0, 15, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 15, 8, 2, 0]
        + [0, 3, 0, 0, 1, 1, 0, 15, 4, 2, 0, 0, 9, 0, 0, 5, 2, 0, 15, 0, 0],
        "seal_without_a_token": [1, 11, 0, 6, 0, 15, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 15, 8, 2, 0]
        + [0, 3, 0, 0, 1, 1, 0, 15, 4, 2, 0, 0, 9, 0, 0, 0xF5, 2, 0, 15, 0, 0],
        "sender": [0, 11, 0, 6, 0, 31, 11, 0, 12, 0, 0, 11, 0, 9, 0, 0, 0, 0, 0, 0, 0, 11, 0, 18, 0, 31]
        + [11, 0, 15, 0, 0, 0, 3, 0, 0, 0],
    },
}


def seeds():
    for arch in ("llama", "qwen2", "qwen3", "gemma3"):
        keys, tensors = tiny(arch)
        yield "gguf", arch, gguf({**keys, **(SPM if arch in ("qwen3", "gemma3") else BYTE_LEVEL)}, tensors)
    yield "gguf", "tokenizer", gguf(SPM, [])
    f32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    yield "safetensors", "two", safetensors(
        {
            "__metadata__": {"format": "pt"},
            "a": f32,
            "b": {"dtype": "BF16", "shape": [2], "data_offsets": [16, 20]},
        },
        bytes(20),
    )
    yield "safetensors", "empty", safetensors({})
    for name, data in tokenizers():
        yield "hf_tokenizer", name, data
    for name, config in configs():
        yield "hf_config", name, json.dumps(config).encode()
    for name, request in HTTP.items():
        yield "http", name, (b"\x86" if name == "chunks" else b"\x06") + request.encode()
    for name, happens in FRONT.items():
        yield "front", name, b"".join(x.encode() if isinstance(x, str) else bytes([x]) for x in happens)
    for i, (kind, body) in enumerate(OPENAI):
        yield "openai", str(i), bytes([kind]) + json.dumps(body).encode()
    with open(os.path.join(HERE, "../golden/constructs.json"), encoding="utf-8") as f:
        for i, construct in enumerate(json.load(f)):
            yield "jinja", f"construct{i}", construct.encode()
    for i, spec in enumerate(SPECS):
        yield "grammar", str(i), json.dumps(spec).encode() + b"\0" + bytes(range(32))
    turn = field(1, b"user") + field(2, b"hi")
    request = field(1, 1) + field(5, field(1, turn)) + field(7, 9) + field(17, b"x") + field(24, b"salt")
    ids = field(1, 2) + field(4, field(1, b"\x01\x02")) + field(18, b"\x03") + field(21, 1)
    yield "native", "chat", said(field(1, request)) + bytes([TOKEN_OF, 0, 7, TOKEN_OF, 0, 201, 65])
    yield "native", "ids", said(field(1, ids)) + bytes([TOKEN_OF, 0, 6, TOKEN_OF, 0, 255])
    yield "native", "cancel", said(field(1, ids)) + said(field(2, field(1, 2))) + said(field(3, b""))
    yield "native", "look", said(field(4, field(1, 1))) + said(field(6, field(1, 3)))
    yield "native", "drain", said(field(5, field(1, 1) + field(2, b"decode-0"))) + said(
        field(5, field(1, 2) + field(2, b"decode-0") + field(3, 1))
    )
    yield "native", "abort", said(field(1, ids)) + said(field(7, field(1, 1) + field(2, b"native-1-2")))
    yield "native", "stuck", said(field(1, request)) + bytes([STUCK, LATER, 3, LATER, 4])
    yield "native", "stop", said(field(1, ids)) + bytes([STOP]) + said(field(1, request))
    yield "keys", "api", b"\0# who key\nbatch sk-0123456789abc\n\n sk-bcdef0123456789 \r\n"
    yield "keys", "cluster", b"\2baton-cluster-key " + SECRET_KEY + b"\n"
    yield "keys", "client", b"\3baton-client-key " + SECRET_KEY + b" " + PUBLIC_KEY + b"\n"
    for name, key in (("let_in", b"\xfe"), ("not_let_in", part(bytes(32))), ("no_key", b"")):
        yield "zap", name, b"".join(part(p) for p in ZAP_REQUEST) + key + b"\xff" + part(b"1.0") + part(b"2")
    piece = lambda n, *p: struct.pack("<7I", n, *p)
    yield "kv", "whole", b"\0\x1f" + piece(0, 0, 16, 0, 3, 0, 2) + piece(1, 16, 16, 0, 3, 0, 2)
    yield "kv", "layers", b"\1\x0f" + piece(0, 16, 16, 0, 1, 0, 2) + piece(1, 16, 16, 1, 3, 0, 2)
    for kind in range(1, 28):
        yield "ctl", f"kind{kind}", field(1, kind) + fixed(2, 7) + fixed(3, 8) + field(
            4, 9
        ) + CONTROL_BODIES.get(kind, b"")
    for target, scripts in SCRIPTS.items():
        for name, script in scripts.items():
            yield target, name, bytes(script)
    for name in ("local", "mock", "two-nodes", "8gpu-node"):
        with open(os.path.join(HERE, f"../../deploy/config/{name}.yaml"), encoding="utf-8") as f:
            lines = [line for line in f if line.strip() and not line.lstrip().startswith("#")]
        yield "config", name, "".join(lines).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--root", default=os.path.join(HERE, "corpus"))
    root = parser.parse_args().root
    for target, name, data in seeds():
        folder = os.path.join(root, target)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


if __name__ == "__main__":
    main()
