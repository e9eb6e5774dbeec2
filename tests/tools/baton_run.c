/* baton_run - one process, the engine only: text or logits of a prompt, for comparisons with other programs.
 *
 *   baton-run MODEL -p "Once upon a time" -n 64
 *   baton-run MODEL --chat "What is the capital of France?" -n 64
 *   baton-run MODEL --ids 1,2,3 --logits OUT.f32 --backend ref --kv f32     logits [tokens, vocab], fp32, raw
 *   baton-run MODEL --ids 1,2,3 --logits OUT.f32 --backend cuda --act f32   the same from slow kernels
 *   baton-run MODEL --bench 512                                             speed of prefill and decode
 *
 * Text goes to stdout, ids and times to stderr. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "kernels/backends.h"
#include "text/chat.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 512u

typedef struct run_options {
    const char *model, *prompt, *chat, *ids, *backend, *isa, *kv, *act, *logits, *weights;
    uint32_t count, threads, bench, gpu, act_bits;
    bool deterministic;
} run_options;

enum {
    OPT_IDS = 256,
    OPT_CHAT,
    OPT_BACKEND,
    OPT_ISA,
    OPT_THREADS,
    OPT_LOGITS,
    OPT_KV,
    OPT_BENCH,
    OPT_ACT,
    OPT_GPU,
    OPT_DETERMINISTIC,
    OPT_ACT_BITS,
    OPT_WEIGHTS,
};

static const struct argp_option options[] = {
    {"prompt", 'p', "TEXT", 0, "complete this text", 0},
    {"ids", OPT_IDS, "1,2,3", 0, "complete these token ids", 0},
    {"chat", OPT_CHAT, "TEXT", 0, "answer this user message", 0},
    {"count", 'n', "N", 0, "tokens to generate, greedily (32)", 0},
    {"backend", OPT_BACKEND, "NAME", 0, "cpu, ref or cuda", 0},
    {"isa", OPT_ISA, "NAME", 0, "auto, avx512, avx2 or portable", 0},
    {"act-bits", OPT_ACT_BITS, "N", 0, "cpu: 16 (the default), 8 or 32", 0},
    {"threads", OPT_THREADS, "N", 0, "size of the thread team (1)", 0},
    {"weights", OPT_WEIGHTS, "TYPE", 0, "auto (as the file has them), f32, f16, bf16, q8_0 or q4_0", 0},
    {"kv", OPT_KV, "TYPE", 0, "f16, bf16 or f32 (the backend's default)", 0},
    {"act", OPT_ACT, "TYPE", 0, "cuda: activations and weights in bf16 (the default), f16 or f32", 0},
    {"gpu", OPT_GPU, "N", 0, "cuda: which of the visible devices (0)", 0},
    {"deterministic", OPT_DETERMINISTIC, NULL, 0,
     "cuda: the kernels whose results do not depend on the batch", 0},
    {"logits", OPT_LOGITS, "FILE", 0, "write the logits of all prompt positions instead of generating", 0},
    {"bench", OPT_BENCH, "N", 0, "time a prompt of N tokens in chunks of 512 and 64 decode steps", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    run_options *o = state->input;
    switch (key) {
    case 'p':
        o->prompt = arg;
        return 0;
    case 'n':
        o->count = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case OPT_IDS:
        o->ids = arg;
        return 0;
    case OPT_CHAT:
        o->chat = arg;
        return 0;
    case OPT_BACKEND:
        o->backend = arg;
        return 0;
    case OPT_ISA:
        o->isa = arg;
        return 0;
    case OPT_THREADS:
        o->threads = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case OPT_WEIGHTS:
        o->weights = arg;
        return 0;
    case OPT_KV:
        o->kv = arg;
        return 0;
    case OPT_ACT:
        o->act = arg;
        return 0;
    case OPT_GPU:
        o->gpu = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case OPT_DETERMINISTIC:
        o->deterministic = true;
        return 0;
    case OPT_ACT_BITS:
        o->act_bits = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case OPT_LOGITS:
        o->logits = arg;
        return 0;
    case OPT_BENCH:
        o->bench = (uint32_t)strtoul(arg, NULL, 10);
        return 0;
    case ARGP_KEY_ARG:
        if (o->model) return ARGP_ERR_UNKNOWN;
        o->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->model) argp_usage(state);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

/* --- the prompt --- */

/* A checkpoint, what it computes, and its texts. */
typedef struct loaded {
    checkpoint *ckpt;
    model *m;
    tokenizer *tok;
} loaded;

static status load(loaded *l, const char *path, const char *weight_dtype, errbuf *eb) {
    status st = checkpoint_open(&l->ckpt, path, eb);
    if (st == ST_OK) st = tokenizer_new(&l->tok, l->ckpt, eb);
    if (st == ST_OK) st = checkpoint_prepare(l->ckpt, weight_dtype, &(checkpoint_prepared){0}, eb);
    if (st == ST_OK) st = model_load(&l->m, l->ckpt, eb);
    return st;
}

static void unload(loaded *l) {
    model_free(l->m);
    tokenizer_free(l->tok);
    checkpoint_close(l->ckpt);
}

static status encode_chat(const loaded *l, const char *text, token_list *out, errbuf *eb) {
    chat_template c = {0};
    buf prompt = {0};
    text_span *spans = NULL;
    uint32_t count = 0;
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", text);
    const chat_input in = {.messages = messages, .add_generation_prompt = true};
    status st = chat_template_init(&c, l->ckpt, NULL, 0);
    if (st == ST_OK) st = chat_render(&c, &in, &prompt, &spans, &count, eb);
    const encode_options opt = {
        .parse_special = true, .plain = spans, .plain_count = count, .max_tokens = l->m->context};
    if (st == ST_OK) st = tokenizer_encode(l->tok, prompt.data, prompt.len, &opt, out, eb);
    buf_done(&prompt);
    free(spans);
    json_decref(messages);
    chat_template_done(&c);
    return st;
}

static status read_prompt(const run_options *o, const loaded *l, token_list *out, errbuf *eb) {
    if (o->bench) { /* any ids do: the speed does not depend on them */
        for (uint32_t i = 0; i < o->bench; i++) token_list_add(out, (int32_t)(i * 7919 % l->m->vocab));
        return ST_OK;
    }
    if (o->chat) return encode_chat(l, o->chat, out, eb);
    if (o->ids) {
        for (char *at = (char *)o->ids, *end = at; *at; at = *end ? end + 1 : end) {
            long id = strtol(at, &end, 10);
            if (end == at || (*end && *end != ','))
                return errf(eb, ST_INVALID, "--ids: '%.20s': want numbers with commas", at);
            token_list_add(out, (int32_t)id);
        }
        return ST_OK;
    }
    if (!o->prompt) return errf(eb, ST_INVALID, "no prompt: give -p, --chat, --ids or --bench");
    const encode_options opt = {.add_special = true, .max_tokens = l->m->context};
    return tokenizer_encode(l->tok, o->prompt, strlen(o->prompt), &opt, out, eb);
}

/* --- what is done with it --- */

static status write_logits(engine *e, const model *m, uint32_t count, const char *path, errbuf *eb) {
    FILE *out = fopen(path, "wb");
    if (!out) return errf(eb, ST_IO, "%s: %m", path);
    float *logits = xcalloc((size_t)CHUNK * m->vocab, sizeof *logits);
    status st = ST_OK;
    for (uint32_t begin = 0; begin < count && st == ST_OK; begin += CHUNK) {
        const step_item it = {.begin = begin, .count = MIN(CHUNK, count - begin)};
        st = engine_logits(e, &it, logits, eb);
        size_t values = (size_t)it.count * m->vocab;
        if (st == ST_OK && fwrite(logits, sizeof *logits, values, out) != values)
            st = errf(eb, ST_IO, "%s: %m", path);
    }
    free(logits);
    if (fclose(out) != 0 && st == ST_OK) st = errf(eb, ST_IO, "%s: %m", path);
    return st;
}

static bool is_end(const loaded *l, int32_t id) {
    uint32_t count;
    const int32_t *eog = tokenizer_eog(l->tok, &count);
    for (uint32_t i = 0; i < count; i++)
        if (eog[i] == id) return true;
    return false;
}

static status prefill(engine *e, uint32_t count, step_result *last, errbuf *eb) {
    status st = ST_OK;
    for (uint32_t begin = 0; begin < count && st == ST_OK; begin += CHUNK) {
        step_item it = {.begin = begin, .count = MIN(CHUNK, count - begin)};
        it.sample = begin + it.count == count;
        st = engine_step(e, &it, 1, NULL, last, eb);
    }
    return st;
}

static status generate(engine *e, const loaded *l, uint32_t prompt_count, const run_options *o, errbuf *eb) {
    step_result r;
    uint64_t start = clock_now_ns();
    status st = prefill(e, prompt_count, &r, eb);
    uint64_t first = clock_now_ns();
    uint32_t done = 0;
    buf ids = {0}, text = {0};
    detok d = {0};
    while (st == ST_OK) {
        buf_addf(&ids, "%s%d", done ? "," : "", (int)r.token.id);
        detok_add(&d, l->tok, r.token.id, true, &text);
        if (++done == o->count || (!o->bench && is_end(l, r.token.id))) break;
        const step_item it = {.begin = prompt_count + done - 1, .count = 1, .sample = true};
        st = engine_step(e, &it, 1, NULL, &r, eb);
    }
    uint64_t end = clock_now_ns();
    detok_end(&d, &text);
    if (st == ST_OK) {
        if (!o->bench) printf("%s\n", text.data ? text.data : "");
        fprintf(stderr, "ids %s\nprefill %u tokens %.1f tok/s, decode %u tokens %.1f tok/s\n",
                ids.data ? ids.data : "", prompt_count, prompt_count / ((double)(first - start) / 1e9),
                done - 1, (done - 1) / ((double)(end - first) / 1e9));
    }
    buf_done(&ids);
    buf_done(&text);
    return st;
}

/* --- main --- */

static status type_named(const char *name, const char *option, dtype *out, errbuf *eb) {
    static const dtype types[] = {DT_F16, DT_BF16, DT_F32};
    for (uint32_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(name, dtype_name(types[i])) != 0) continue;
        *out = types[i];
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "%s '%s': want f16, bf16 or f32", option, name);
}

static status open_engine(engine **out, const model *m, const run_options *o, uint32_t tokens, errbuf *eb) {
    const backend_ops *ops = backend_find(o->backend);
    if (!ops) return errf(eb, ST_INVALID, "no backend '%s': want one of %s", o->backend, backend_names());
    dtype act = DT_BF16;
    status st = o->act ? type_named(o->act, "--act", &act, eb) : ST_OK;
    if (st != ST_OK) return st;
    dtype kv = ops->kv_default(act);
    st = o->kv ? type_named(o->kv, "--kv", &kv, eb) : ST_OK;
    if (st != ST_OK) return st;
    const engine_options opt = {
        .backend = o->backend,
        .device = {.threads = o->threads,
                   .isa = o->isa,
                   .act_bits = o->act_bits,
                   .gpu = o->gpu,
                   .act_type = act,
                   .deterministic = o->deterministic},
        .kv_type = kv,
        .page_count = kv_pages_for(tokens),
        .max_rows = CHUNK,
        .max_seqs = 1,
        .max_context = tokens,
    };
    return engine_new(out, m, &opt, eb);
}

static status run(const run_options *o, errbuf *eb) {
    loaded l = {0};
    engine *e = NULL;
    uint32_t *pages = NULL;
    token_list prompt = {0};
    status st = load(&l, o->model, o->weights, eb);
    if (st == ST_OK) st = read_prompt(o, &l, &prompt, eb);
    if (st != ST_OK) goto done;
    uint32_t tokens = prompt.count + o->count, page_count = kv_pages_for(tokens);
    st = open_engine(&e, l.m, o, tokens, eb);
    if (st != ST_OK) goto done;
    pages = xcalloc(page_count, sizeof *pages);
    for (uint32_t i = 0; i < page_count; i++) pages[i] = i;
    sampling greedy = sampling_default();
    greedy.temperature = 0;
    const seq_start init = {.prompt = prompt.ids,
                            .prompt_count = prompt.count,
                            .params = &greedy,
                            .pages = pages,
                            .page_count = page_count};
    st = engine_seq_open(e, 0, &init, eb);
    if (st == ST_OK)
        st = o->logits ? write_logits(e, l.m, prompt.count, o->logits, eb)
                       : generate(e, &l, prompt.count, o, eb);

done:
    free(pages);
    engine_free(e);
    token_list_done(&prompt);
    unload(&l);
    return st;
}

int main(int argc, char **argv) {
    run_options o = {
        .backend = "cpu", .isa = "auto", .weights = "auto", .count = 32, .threads = 1, .act_bits = 16};
    const struct argp parser = {options, parse, "MODEL", "Runs the engine alone, greedily.",
                                NULL,    NULL,  NULL};
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (o.bench) o.count = 65; /* the first comes out of the prefill */
    log_setup(LOG_WARN, "baton-run");
    errbuf eb = {0};
    status st = run(&o, &eb);
    if (st == ST_OK) return 0;
    fprintf(stderr, "baton-run: %s: %s\n", status_name(st), eb.text);
    return 1;
}
