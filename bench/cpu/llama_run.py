"""The same run as cpu_model's, of llama.cpp through its own functions: prefill, and decode of one and of many
sequences. One line of JSON.

    .cache/golden/bin/python3 bench/cpu/llama_run.py MODEL.gguf --threads 2 --flash 1

Each sequence has keys and values of its own (kv_unified off, copied by llama_memory_seq_cp), weights are
repacked where llama.cpp does that (its default), and the next token is the best logit, as there."""

import argparse
import ctypes
import json
import resource
import time

import numpy as np
from llama_cpp import llama_cpp as api

CHUNK, PREFILL_S = 512, 0.6


def cpu_use():
    """Seconds so far: of the clock, of all CPUs but idle ones, of this process"""
    stat = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    own = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), (sum(stat) - stat[3] - stat[4]) / 100, own.ru_utime + own.ru_stime


def foreign(begin):
    wall, busy, own = (b - a for a, b in zip(begin, cpu_use()))
    return max(0.0, 100 * (busy - own) / wall)


class Run:
    def __init__(self, o):
        self.o, self.log = o, []

        @api.llama_log_callback
        def keep(level, text, user):
            line = text.decode("utf-8", "replace")
            if "buffer size" in line:
                self.log.append(" ".join(line.split()[1:]))

        self.keep = keep  # called as long as the library is used
        api.llama_log_set(keep, None)
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(o.model.encode(), api.llama_model_default_params())
        assert self.model, o.model
        c = api.llama_context_default_params()
        each = -(-(o.prompt + o.steps + 1) // 256) * 256
        c.n_ctx, c.n_seq_max = each * max(o.streams), max(o.streams)
        c.n_batch = c.n_ubatch = CHUNK
        c.n_threads = c.n_threads_batch = o.threads
        c.flash_attn_type = o.flash
        c.kv_unified = False
        self.context = api.llama_init_from_model(self.model, c)
        assert self.context, "no context"
        self.memory = api.llama_get_memory(self.context)
        self.vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.batch = api.llama_batch_init(CHUNK, 0, 1)
        self.ids = [i * 7919 % self.vocab for i in range(o.prompt)]
        if o.ids:
            self.ids = [int(i) for i in open(o.ids).read().split()][: o.prompt]

    def decode(self, rows, all_logits):
        """rows: [(id, position, sequence)]; the best tokens of those whose logits are asked for"""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, position, sequence) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0] = token, position, 1, sequence
            b.logits[i] = all_logits or i == len(rows) - 1
        assert api.llama_decode(self.context, b) == 0
        count = len(rows) if all_logits else 1
        raw = ctypes.cast(api.llama_get_logits(self.context), ctypes.POINTER(ctypes.c_float))
        logits = np.ctypeslib.as_array(raw, shape=(count, self.vocab))
        return logits.argmax(axis=1).tolist()

    def prefill(self, count):
        api.llama_memory_clear(self.memory, False)
        best = None
        begin = time.perf_counter()
        for at in range(0, count, CHUNK):
            rows = [(self.ids[i], i, 0) for i in range(at, min(count, at + CHUNK))]
            best = self.decode(rows, False)
        return time.perf_counter() - begin, best[0]

    def streams(self, count, first):
        """Seconds of the steps, and the tokens of sequence 0"""
        prompt = self.o.prompt
        for i in range(count):
            api.llama_memory_seq_rm(self.memory, i, prompt if i == 0 else 0, -1)
            if i > 0:
                api.llama_memory_seq_cp(self.memory, 0, i, -1, -1)
        tokens, ids = [first] * count, [first]
        begin = time.perf_counter()
        for n in range(self.o.steps):
            tokens = self.decode([(t, prompt + n, i) for i, t in enumerate(tokens)], True)
            ids.append(tokens[0])
        return time.perf_counter() - begin, ids


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--flash", type=int, default=1, help="1: flash attention, 0: none")
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--steps", type=int, default=64)
    p.add_argument("--streams", default="1,8,16")
    p.add_argument("--ids", help="a file with the prompt's token ids")
    o = p.parse_args()
    o.streams = [int(n) for n in o.streams.split(",")]
    run = Run(o)
    run.prefill(16)  # the first touches everything
    use, best, spent = cpu_use(), 1e9, 0
    while spent < PREFILL_S:
        took, first = run.prefill(o.prompt)
        best, spent = min(best, took), spent + took
    out = {"threads": o.threads, "flash": o.flash, "prefill": round(o.prompt / best, 2)}
    for n in o.streams:
        took, ids = run.streams(n, first)
        out[f"decode_{n}"] = round(n * o.steps / took, 2)
    out |= {"ids": ids, "foreign": round(foreign(use), 2), "buffers": run.log}
    out["system"] = api.llama_print_system_info().decode()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
