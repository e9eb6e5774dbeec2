#!/usr/bin/env python3
"""PyTorch's figures at the shapes of gpu_bench and gpu_model, with the same keys, as JSON lines.

peers.py [GROUP]... [--device cuda|cpu] [--tiny]      groups: ceilings linear prefill decode model rows

The same rules: random data, buffers that rotate over more than three times the L2, work recorded into a CUDA
graph, the median of 20 replays between events (fewer, where they would take more than half a second), only
useful bytes and operations. `how` names what was measured: the attention over pages has no peer in PyTorch,
so decode is compared with attention over contiguous memory, which is an upper bound. --tiny runs every line
on small shapes."""

import argparse
import json
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

REPLAYS, REPLAYS_MIN, PIECES_MAX = 20, 5, 256
REPLAY_US, MEASURE_US = 1000.0, 5e5
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


def emit(key, how, unit, value, us=(0, 0, 0)):
    print(
        json.dumps(
            {
                "by": "torch",
                "key": key,
                "how": how,
                "unit": unit,
                "value": value,
                "us": us[0],
                "p10_us": us[1],
                "p90_us": us[2],
            }
        ),
        flush=True,
    )


def emit_error(key, how, error):
    print(
        json.dumps({"by": "torch", "key": key, "how": how, "error": str(error).strip().split("\n")[0][:200]}),
        flush=True,
    )


class Bench:
    def __init__(self, o):
        self.tiny, self.cuda = o.tiny, o.device == "cuda"
        self.device = torch.device(o.device)
        self.rotate = 1
        if self.cuda:
            self.rotate = 3 * getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 64 << 20)

    def random(self, *shape, dtype=torch.bfloat16):
        """Uniform in -1..1."""
        return torch.empty(shape, dtype=dtype, device=self.device).uniform_(-1, 1)

    def sets(self, size, most):
        return 1 if self.tiny else max(1, min(math.ceil(self.rotate / size), most))

    def elapsed_us(self, work, count):
        """Microseconds of each of `count` calls."""
        if not self.cuda:
            out = []
            for _ in range(count):
                begin = time.perf_counter()
                work()
                out.append(1e6 * (time.perf_counter() - begin))
            return out
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)
        ]
        for begin, end in events:
            begin.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return [1000 * begin.elapsed_time(end) for begin, end in events]

    def recorded(self, work):
        """The work as a CUDA graph. On the CPU it is just called."""
        if not self.cuda:
            return work
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    def measure(self, piece, sets=1):
        """(median, p10, p90) microseconds of piece(turn)."""
        piece(0)

        def several(count):
            for i in range(count):
                piece(i % sets)

        # Recorded, since Python's calls may take longer than the work.
        first = self.elapsed_us(self.recorded(lambda: several(sets)), 2)[1] / sets
        first = first if first >= 10 else 1.0
        pieces = (
            sets
            if self.tiny
            else sets * int(min(max(REPLAY_US / (first * sets), 1), max(PIECES_MAX // sets, 1)))
        )
        replays = 2 if self.tiny else int(min(max(MEASURE_US / (first * pieces), REPLAYS_MIN), REPLAYS))
        replay = self.recorded(lambda: several(pieces))
        self.elapsed_us(replay, replays // 5 + 1)
        us = sorted(t / pieces for t in self.elapsed_us(replay, replays))
        return us[len(us) // 2], us[len(us) // 10], us[len(us) - 1 - len(us) // 10]

    def figure(self, key, how, unit, work, piece, sets=1):
        """work: useful bytes or operations of a piece; unit TB/s or TFLOP/s, or us. False, and a line that
        says why, after an error."""
        try:
            us = self.measure(piece, sets)
        except (RuntimeError, TypeError, ValueError) as e:
            emit_error(key, how, e)
            return False
        emit(key, how, unit, us[0] if unit == "us" else work / max(us[0], 1e-9) / 1e6, us)
        return True

    def rows_figure(self, key, how, size, piece, sets):
        """A bandwidth, or the time where all sets together are too small to leave the L2."""
        self.figure(key, how, "TB/s" if sets * size >= self.rotate else "us", float(size), piece, sets)


# --- kernels ---


def ceilings(b):
    count = 1 << 10 if b.tiny else 1 << 31
    if b.cuda:
        count = min(count, torch.cuda.mem_get_info()[0] // 8)
    x, y = b.random(count), b.random(count)
    b.figure("copy", "Tensor.copy_", "TB/s", 4.0 * count, lambda turn: y.copy_(x))
    del x, y
    n = 64 if b.tiny else 8192
    x, w = b.random(n, n), b.random(n, n)
    b.figure("gemm 8192", "torch.matmul", "TFLOP/s", 2.0 * n**3, lambda turn: torch.matmul(x, w.t()))


def attention(q, k, v, backend, causal):
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def prefill(b):
    heads, kv, dim = (4, 1, 64) if b.tiny else (32, 8, 128)
    for seq in [40] if b.tiny else [512, 2048, 8192, 16384]:
        batch = 2 if b.tiny else 16384 // seq
        q, k, v = (
            b.random(batch, heads, seq, dim),
            b.random(batch, kv, seq, dim),
            b.random(batch, kv, seq, dim),
        )
        key = "attend_prefill causal d128 32/8 batch %d seq %d" % (batch, seq)
        flops = 2.0 * batch * heads * dim * seq * seq
        for name in ["cudnn", "flash"] if b.cuda else ["flash"]:
            done = b.figure(
                key, "SDPA " + name, "TFLOP/s", flops, lambda turn: attention(q, k, v, BACKENDS[name], True)
            )
            if done and not b.tiny:
                continue
            # A backend without grouped heads gets each KV head once per query head.
            every_k, every_v = k.repeat_interleave(heads // kv, 1), v.repeat_interleave(heads // kv, 1)
            b.figure(
                key,
                "SDPA %s, KV heads repeated" % name,
                "TFLOP/s",
                flops,
                lambda turn: attention(q, every_k, every_v, BACKENDS[name], True),
            )


def decode(b):
    heads, kv, dim = (4, 1, 64) if b.tiny else (32, 8, 128)
    for batch in [2] if b.tiny else [1, 8, 64, 256]:
        for ctx in [600] if b.tiny else [512, 4096, 32768]:
            size = 4 * batch * ctx * kv * dim
            if b.cuda and size > torch.cuda.mem_get_info()[0] // 2:
                continue
            sets = b.sets(size, 128)
            # The query heads of a group as rows of one head: PyTorch then reads keys and values once.
            q = b.random(batch, kv, heads // kv, dim)
            k, v = b.random(sets, batch, kv, ctx, dim), b.random(sets, batch, kv, ctx, dim)
            key = "attend_decode d128 32/8 batch %d ctx %d" % (batch, ctx)
            for name in ["cudnn", "flash"] if b.cuda else ["flash"]:
                b.figure(
                    key,
                    "SDPA %s, contiguous KV" % name,
                    "TB/s",
                    float(size),
                    lambda turn: attention(q, k[turn], v[turn], BACKENDS[name], False),
                    sets,
                )
            del q, k, v


def linear(b):
    shapes = [
        ("qkv", 6144, 4096),
        ("o", 4096, 4096),
        ("gate_up", 28672, 4096),
        ("down", 4096, 14336),
        ("head", 128256, 4096),
    ]
    for name, n, k in [("tiny", 48, 64)] if b.tiny else shapes:
        sets = b.sets(2 * n * k, 16)
        w = [b.random(n, k) for _ in range(sets)]
        for rows in [1, 2, 4, 8, 16, 17, 32, 64, 128, 256, 512, 2048]:
            if rows > (32 if b.tiny else 64 if name == "head" else 2048):
                break
            x = b.random(rows, k)
            size, flops = 2.0 * (n * k + rows * k + rows * n), 2.0 * rows * n * k
            b.figure(
                "linear %s %dx%d rows %d" % (name, n, k, rows),
                "torch.matmul",
                "TB/s" if rows <= 64 else "TFLOP/s",
                size if rows <= 64 else flops,
                lambda turn: torch.matmul(x, w[turn].t()),
                sets,
            )
        del w


def rows(b):
    for count in [3] if b.tiny else [1, 64, 8192]:
        dim = 64 if b.tiny else 4096
        sets = b.sets(12 * count * dim, 64)
        x, delta = b.random(sets, count, dim, dtype=torch.float32), b.random(sets, count, dim)
        weight = b.random(dim, dtype=torch.float32)

        def norm(turn):
            x[turn].add_(delta[turn])
            return F.rms_norm(x[turn], (dim,), weight, 1e-5).bfloat16()

        b.rows_figure(
            "norm rows %d dim %d" % (count, dim),
            "add_, rms_norm, bfloat16 (eager)",
            12 * count * dim,
            norm,
            sets,
        )
        wide = 64 if b.tiny else 14336
        sets = b.sets(6 * count * wide, 64)
        gate, up, out = (b.random(sets, count, wide) for _ in range(3))
        b.rows_figure(
            "silu_mul rows %d dim %d" % (count, wide),
            "silu, mul (eager)",
            6 * count * wide,
            lambda turn: torch.mul(F.silu(gate[turn]), up[turn], out=out[turn]),
            sets,
        )
    vocab = 300 if b.tiny else 128256
    for batch in [2] if b.tiny else [1, 64]:
        logits = b.random(batch, vocab, dtype=torch.float32) * 8
        b.figure(
            "sample greedy batch %d vocab %d" % (batch, vocab),
            "argmax",
            "us",
            0,
            lambda turn: logits.argmax(-1),
        )
        noise = torch.empty_like(logits)
        b.figure(
            "sample temperature batch %d vocab %d" % (batch, vocab),
            "softmax, exponential noise, argmax",
            "us",
            0,
            lambda turn: (torch.softmax(logits / 0.8, -1) / noise.exponential_(1)).argmax(-1),
        )


# --- a whole model: Llama's decoder in plain PyTorch, recorded as a CUDA graph ---


class Llama:
    """Contiguous KV of equal length for all sequences: a simpler job than paged, ragged serving, so an upper
    bound."""

    def __init__(self, b, batch, context):
        self.b, self.batch, self.context = b, batch, context
        if b.tiny:
            self.layers, self.dim, self.heads, self.kv, self.hd, self.ffn, self.vocab = (
                2,
                128,
                4,
                2,
                32,
                256,
                512,
            )
        else:
            self.layers, self.dim, self.heads, self.kv, self.hd, self.ffn, self.vocab = (
                32,
                4096,
                32,
                8,
                128,
                14336,
                128256,
            )
        self.embed = b.random(self.vocab, self.dim)
        self.head = b.random(self.vocab, self.dim) * self.dim**-0.5
        self.norm = torch.ones(self.dim, dtype=torch.bfloat16, device=b.device)
        qkv = (self.heads + 2 * self.kv) * self.hd
        self.w = [
            [
                b.random(n, k) * k**-0.5
                for n, k in [
                    (qkv, self.dim),
                    (self.dim, self.heads * self.hd),
                    (2 * self.ffn, self.dim),
                    (self.dim, self.ffn),
                ]
            ]
            for _ in range(self.layers)
        ]

    def weights(self):
        return (
            self.layers * self.dim * (2 * self.heads * self.hd + 2 * self.kv * self.hd + 3 * self.ffn)
            + self.vocab * self.dim
        )

    def new_cache(self):
        self.k = self.b.random(self.layers, self.batch, self.kv, self.context, self.hd)
        self.v = self.b.random(self.layers, self.batch, self.kv, self.context, self.hd)

    def rotate(self, x, pos):
        half = self.hd // 2
        angle = pos.float()[:, None] * 500000.0 ** (-torch.arange(half, device=x.device).float() / half)
        cos, sin = angle.cos().bfloat16(), angle.sin().bfloat16()
        a, c = x[..., :half], x[..., half:]
        return torch.cat([a * cos - c * sin, a * sin + c * cos], -1)

    def split(self, qkv, pos, tokens):
        qkv = qkv.view(-1, tokens, self.heads + 2 * self.kv, self.hd).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.kv, self.kv], 1)
        return self.rotate(q, pos), self.rotate(k, pos), v

    def run(self, ids, pos, attend):
        x = self.embed[ids]
        tokens = ids.shape[1]
        for i, (wqkv, wo, wgu, wd) in enumerate(self.w):
            q, k, v = self.split(F.linear(F.rms_norm(x, (self.dim,), self.norm, 1e-5), wqkv), pos, tokens)
            a = attend(i, q, k, v).transpose(1, 2).reshape(x.shape[0], tokens, -1)
            x = x + F.linear(a, wo)
            gate, up = F.linear(F.rms_norm(x, (self.dim,), self.norm, 1e-5), wgu).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, wd)
        return F.linear(F.rms_norm(x[:, -1], (self.dim,), self.norm, 1e-5), self.head).argmax(-1)

    def attend_decode(self, i, q, k, v):
        self.k[i, :, :, -1:] = k
        self.v[i, :, :, -1:] = v
        rows = q.view(self.batch, self.kv, self.heads // self.kv, self.hd)
        return F.scaled_dot_product_attention(rows, self.k[i], self.v[i]).view(
            self.batch, self.heads, 1, self.hd
        )

    def attend_prefill(self, i, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


@torch.no_grad()
def model(b):
    steps = 128 if not b.tiny else 4
    context, prompt = (64, 48) if b.tiny else (1024, 2048)
    m = Llama(b, 1, context + steps // 2)
    name = "tiny" if b.tiny else "llama-3.1-8b"
    how = "plain PyTorch, CUDA graph, contiguous KV"
    for batch in [1, 2] if b.tiny else [1, 64]:
        m.batch = batch
        m.new_cache()
        ids = torch.zeros(batch, 1, dtype=torch.long, device=b.device)
        pos = torch.full((1,), m.context - 1, device=b.device)
        size = 2.0 * (m.weights() + 2.0 * m.layers * m.kv * m.hd * m.context * batch)
        b.figure(
            "model %s decode batch %d ctx %d" % (name, batch, context),
            how,
            "TB/s",
            size,
            lambda turn: m.run(ids, pos, m.attend_decode),
        )
    ids, pos = torch.arange(prompt, device=b.device)[None] % m.vocab, torch.arange(prompt, device=b.device)
    flops = (
        2.0 * (m.weights() - m.vocab * m.dim) * prompt
        + 2.0 * m.vocab * m.dim
        + 2.0 * m.layers * m.heads * m.hd * prompt**2
    )
    b.figure(
        "model %s prefill batch 1 ctx %d" % (name, prompt),
        how,
        "TFLOP/s",
        flops,
        lambda turn: m.run(ids, pos, m.attend_prefill),
    )


# First what targets are set against.
GROUPS = {
    "ceilings": ceilings,
    "linear": linear,
    "prefill": prefill,
    "decode": decode,
    "model": model,
    "rows": rows,
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("group", nargs="*")
    p.add_argument("--device", default="cuda")
    p.add_argument("--tiny", action="store_true")
    o = p.parse_args()
    unknown = [g for g in o.group if g not in GROUPS]
    if unknown:
        p.error("no group %s: want some of %s" % (unknown[0], " ".join(GROUPS)))
    if o.device == "cuda" and not torch.cuda.is_available():
        print("peers.py: no CUDA device was found", file=sys.stderr)
        return 3
    torch.manual_seed(1)
    b = Bench(o)
    print(
        json.dumps({"by": "torch", "key": "version", "how": torch.__version__, "unit": "", "value": 0}),
        flush=True,
    )
    failed = False
    for name in o.group or GROUPS:
        try:
            with torch.no_grad():
                GROUPS[name](b)
        except RuntimeError as e:  # no memory for the operands, say: the next group may have enough
            emit_error(name, "torch", e)
            failed = True
        if b.cuda:
            torch.cuda.empty_cache()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
