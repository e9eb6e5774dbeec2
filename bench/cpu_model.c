/* cpu_model - speed of a whole model on the backend cpu, through the engine: prefill, and decode of one and
 * of many sequences at once. One line of JSON.
 *
 *   cpu_model MODEL.gguf [--threads 2] [--act-bits 16] [--isa auto] [--kv f16] [--prompt 512] [--steps 64]
 *             [--streams 1,8,16] [--ids FILE]
 *   cpu_model --ceilings [--threads 2] [--isa auto]
 *
 * Every sequence decodes at a depth of --prompt tokens, with keys and values of its own: the prompt is
 * computed once and copied. Its tokens are chosen greedily, so that they can be compared. Bytes of a step:
 * all weights once but for the embedding table, of which it reads a row per sequence, as the file has them,
 * and the keys and values of the live tokens. `foreign` is what others used of a CPU meanwhile, in percent.
 * bench/cpu/compare.py runs this beside llama.cpp. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bench/cpu/ceilings.h"
#include "bench/cpu/foreign.h"
#include "engine/engine.h"
#include "kernels/backends.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 512, WARM_ROWS = 16, STREAMS_MAX = 64, LIST_MAX = 8 };
#define PREFILL_NS (600 * NS_PER_MS) /* prompts are repeated until so much time has passed */

typedef struct run_options {
    const char *model, *isa, *kv, *ids;
    uint32_t threads, act_bits, prompt, steps;
    uint32_t streams[LIST_MAX], list_count;
    bool ceilings;
} run_options;

typedef struct scene {
    const run_options *o;
    checkpoint *ckpt;
    model *m;
    engine *e;
    int32_t *ids;    /* [prompt] */
    uint32_t *pages; /* [streams][pages_each] */
    uint32_t pages_each, streams;
    int32_t *chosen; /* [steps + 1] of sequence 0 */
    cpu_use begin;
} scene;

/* --- what a step must read --- */

static double part_bytes(const weight_parts *w) {
    double bytes = 0;
    for (uint32_t i = 0; i < weight_form_parts(w->form); i++)
        bytes += (double)w->part[i].rows * (double)dtype_row_bytes(w->part[i].type, w->part[i].cols);
    return bytes;
}

static double weight_bytes(const model *m) {
    double bytes = part_bytes(&m->output);
    for (uint32_t l = 0; l < m->layers; l++)
        for (uint32_t r = 0; r < LAYER_ROLES; r++)
            if (weight_is_there(&m->layer[l].weights[r])) bytes += part_bytes(&m->layer[l].weights[r]);
    return bytes;
}

/* --- steps --- */

static status open_seq(scene *s, uint32_t slot, const int32_t *output, errbuf *eb) {
    sampling greedy = sampling_default();
    greedy.temperature = 0;
    const seq_start init = {.prompt = s->ids,
                            .prompt_count = s->o->prompt,
                            .output = output,
                            .output_count = output ? 1 : 0,
                            .params = &greedy,
                            .pages = s->pages + (size_t)slot * s->pages_each,
                            .page_count = s->pages_each};
    return engine_seq_open(s->e, slot, &init, eb);
}

static status step(scene *s, const step_item *items, uint32_t count, int32_t *first, errbuf *eb) {
    step_result results[STREAMS_MAX];
    status st = engine_step(s->e, items, count, NULL, results, eb);
    for (uint32_t i = 0; i < count && st == ST_OK; i++)
        if (results[i].broken) st = errf(eb, ST_CORRUPT, "%s", results[i].why);
    if (st == ST_OK && results[0].sampled) *first = results[0].token.id;
    return st;
}

/* The first `count` tokens of the prompt. */
static status prefill(scene *s, uint32_t count, double *ns, errbuf *eb) {
    status st = open_seq(s, 0, NULL, eb);
    if (st != ST_OK) return st;
    uint64_t begin_ns = clock_now_ns();
    for (uint32_t begin = 0; begin < count && st == ST_OK; begin += CHUNK) {
        step_item it = {.begin = begin, .count = MIN((uint32_t)CHUNK, count - begin)};
        it.sample = begin + it.count == s->o->prompt;
        st = step(s, &it, 1, &s->chosen[0], eb);
    }
    *ns = (double)(clock_now_ns() - begin_ns);
    engine_seq_close(s->e, 0);
    return st;
}

/* The prompt's keys and values for all other sequences. */
static void copy_prompt(scene *s) {
    engine_kv kv = engine_kv_of(s->e);
    size_t bytes = kv_segment_bytes(&kv.layout, s->o->prompt, kv.layout.layers);
    void *wire = kv.ops->mem_alloc(kv.dev, bytes);
    CHECK(wire);
    uint64_t checksum;
    op_kv_copy copy = {.layout = &kv.layout,
                       .kv = kv.base,
                       .pages = s->pages,
                       .piece = kv_piece_of(&kv.layout, 0, s->o->prompt, 0, kv.layout.layers),
                       .wire = wire,
                       .checksum = &checksum};
    CHECK(kv.ops->kv_gather(kv.dev, &copy) == ST_OK);
    for (uint32_t i = 1; i < s->streams; i++) {
        copy.pages = s->pages + (size_t)i * s->pages_each;
        CHECK(kv.ops->kv_scatter(kv.dev, &copy) == ST_OK);
    }
    kv.ops->mem_free(kv.dev, wire, bytes);
}

static status decode(scene *s, uint32_t streams, double *ns, errbuf *eb) {
    step_item items[STREAMS_MAX];
    status st = ST_OK;
    uint32_t opened = 0;
    while (opened < streams && st == ST_OK) {
        st = open_seq(s, opened, &s->chosen[0], eb);
        opened += st == ST_OK;
    }
    uint64_t begin_ns = clock_now_ns();
    for (uint32_t n = 0; n < s->o->steps && st == ST_OK; n++) {
        for (uint32_t i = 0; i < streams; i++)
            items[i] = (step_item){.slot = i, .begin = s->o->prompt + n, .count = 1, .sample = true};
        st = step(s, items, streams, &s->chosen[n + 1], eb);
    }
    *ns = (double)(clock_now_ns() - begin_ns);
    for (uint32_t i = 0; i < opened; i++) engine_seq_close(s->e, i);
    return st;
}

/* --- figures --- */

static status bench_prefill(scene *s, errbuf *eb) {
    double best = 0, spent = 0;
    status st = ST_OK;
    while (spent < (double)PREFILL_NS && st == ST_OK) {
        double ns = 0;
        st = prefill(s, s->o->prompt, &ns, eb);
        spent += ns;
        if (best == 0 || ns < best) best = ns;
    }
    if (st == ST_OK) printf(", \"prefill\": %.2f", s->o->prompt * 1e9 / best);
    return st;
}

static status bench_decode(scene *s, errbuf *eb) {
    status st = ST_OK;
    engine_kv kv = engine_kv_of(s->e);
    double ns, weights = weight_bytes(s->m);
    double each = (double)kv_token_bytes(&kv.layout) * (s->o->prompt + (s->o->steps + 1) / 2.0);
    int32_t first = s->chosen[0];
    for (uint32_t i = 0; i < s->o->list_count && st == ST_OK; i++) {
        uint32_t streams = s->o->streams[i];
        s->chosen[0] = first;
        st = decode(s, streams, &ns, eb);
        if (st != ST_OK) break;
        printf(", \"decode_%u\": %.2f, \"gbs_%u\": %.3f", streams, streams * s->o->steps * 1e9 / ns, streams,
               (weights + streams * each) * s->o->steps / ns);
    }
    printf(", \"weight_bytes\": %.0f, \"kv_bytes\": %.0f, \"ids\": [", weights, each);
    for (uint32_t i = 0; i <= s->o->steps; i++) printf("%s%d", i ? ", " : "", (int)s->chosen[i]);
    printf("]");
    return st;
}

static void print_ceilings(const run_options *o, const char *path, errbuf *eb) {
    team *t = NULL;
    CHECK(team_new(&t, o->threads, NULL, eb) == ST_OK);
    ceiling_isa isa = ceiling_isa_of(path);
    ceiling_buffer b = ceiling_buffer_new(t);
    printf(", \"read\": %.2f, \"fp32\": %.1f, \"int8\": %.1f", ceiling_read(t, isa, &b), ceiling_fp32(t, isa),
           ceiling_int8(t, isa));
    ceiling_buffer_done(&b);
    team_free(t);
}

/* --- life --- */

static status kv_named(const char *name, dtype *out, errbuf *eb) {
    static const dtype types[] = {DT_F16, DT_BF16, DT_F32};
    for (uint32_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(name, dtype_name(types[i])) != 0) continue;
        *out = types[i];
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "--kv '%s': want f16, bf16 or f32", name);
}

/* The first ids of the file, or any: the speed does not depend on them. */
static status read_ids(scene *s, errbuf *eb) {
    FILE *in = s->o->ids ? fopen(s->o->ids, "r") : NULL;
    if (s->o->ids && !in) return errf(eb, ST_IO, "%s: %m", s->o->ids);
    status st = ST_OK;
    for (uint32_t i = 0; i < s->o->prompt && st == ST_OK; i++) {
        s->ids[i] = (int32_t)(i * 7919ull % s->m->vocab);
        if (in && fscanf(in, "%d", &s->ids[i]) != 1)
            st = errf(eb, ST_INVALID, "%s: %u ids, want %u (--prompt)", s->o->ids, i, s->o->prompt);
    }
    if (in) fclose(in);
    return st;
}

static device_options device_of(const run_options *o) {
    return (device_options){.threads = o->threads, .isa = o->isa, .act_bits = o->act_bits};
}

static status scene_open(scene *s, errbuf *eb) {
    const run_options *o = s->o;
    dtype kv = DT_F16;
    status st = kv_named(o->kv, &kv, eb);
    if (st == ST_OK) st = checkpoint_open(&s->ckpt, o->model, eb);
    if (st == ST_OK) st = checkpoint_prepare(s->ckpt, "auto", &(checkpoint_prepared){0}, eb);
    if (st == ST_OK) st = model_load(&s->m, s->ckpt, eb);
    if (st != ST_OK) return st;
    uint32_t tokens = o->prompt + o->steps + 1;
    for (uint32_t i = 0; i < o->list_count; i++) s->streams = MAX(s->streams, o->streams[i]);
    s->pages_each = kv_pages_for(tokens);
    const engine_options opt = {
        .backend = "cpu",
        .device = device_of(o),
        .kv_type = kv,
        .page_count = s->streams * s->pages_each,
        .max_rows = CHUNK,
        .max_seqs = s->streams,
        .max_context = MAX(tokens, s->m->context),
    };
    st = engine_new(&s->e, s->m, &opt, eb);
    s->ids = xcalloc(o->prompt, sizeof *s->ids);
    s->pages = xcalloc(opt.page_count, sizeof *s->pages);
    s->chosen = xcalloc(o->steps + 1, sizeof *s->chosen);
    for (uint32_t i = 0; i < opt.page_count; i++) s->pages[i] = i;
    return st == ST_OK ? read_ids(s, eb) : st;
}

static status run_model(const run_options *o, errbuf *eb) {
    scene s = {.o = o};
    status st = scene_open(&s, eb);
    if (st == ST_OK) {
        printf("{\"path\": \"%s\", \"threads\": %u", engine_path(s.e), o->threads);
        double ns;
        st = prefill(&s, MIN(o->prompt, (uint32_t)WARM_ROWS), &ns, eb);
        s.begin = cpu_use_now();
        if (st == ST_OK) st = bench_prefill(&s, eb);
    }
    if (st == ST_OK) {
        copy_prompt(&s);
        st = bench_decode(&s, eb);
    }
    if (st == ST_OK) printf(", \"foreign\": %.2f}\n", cpu_use_foreign(&s.begin));
    free(s.ids);
    free(s.pages);
    free(s.chosen);
    engine_free(s.e);
    model_free(s.m);
    checkpoint_close(s.ckpt);
    return st;
}

static status run_ceilings(const run_options *o, errbuf *eb) {
    const backend_ops *ops = backend_find("cpu");
    device *d = NULL;
    const device_options opt = device_of(o);
    status st = ops->open(&d, &opt, eb);
    if (st != ST_OK) return st;
    cpu_use begin = cpu_use_now();
    printf("{\"path\": \"%s\", \"threads\": %u", ops->path(d), o->threads);
    print_ceilings(o, ops->path(d), eb);
    printf(", \"foreign\": %.2f}\n", cpu_use_foreign(&begin));
    ops->close(d);
    return ST_OK;
}

enum {
    OPT_ISA = 256,
    OPT_KV,
    OPT_THREADS,
    OPT_ACT_BITS,
    OPT_PROMPT,
    OPT_STEPS,
    OPT_STREAMS,
    OPT_IDS,
    OPT_CEILINGS
};

static const struct argp_option options[] = {
    {"threads", OPT_THREADS, "N", 0, "size of the thread team, 1..64 (1)", 0},
    {"act-bits", OPT_ACT_BITS, "N", 0, "bits of what meets weights of 4 and 8 bits: 16, 8 or 32 (16)", 0},
    {"isa", OPT_ISA, "NAME", 0, "auto, avx512, avx2 or portable (auto)", 0},
    {"kv", OPT_KV, "TYPE", 0, "f16, bf16 or f32 (f16)", 0},
    {"prompt", OPT_PROMPT, "N", 0, "tokens of the prompt (512)", 0},
    {"steps", OPT_STEPS, "N", 0, "decode steps (64)", 0},
    {"streams", OPT_STREAMS, "LIST", 0, "sequences of a decode step, up to eight numbers in 1..64 (1,8,16)",
     0},
    {"ids", OPT_IDS, "FILE", 0, "token ids of the prompt, with blanks (any)", 0},
    {"ceilings", OPT_CEILINGS, NULL, 0, "no model: GB/s, GFLOP/s and GOP/s of the machine", 0},
    {0},
};

static uint32_t number(const char *text, char **end, uint32_t most, struct argp_state *state) {
    unsigned long n = strtoul(text, end, 10);
    if (*end == text || (**end && **end != ',') || n == 0 || n > most)
        argp_error(state, "'%s': want a number in 1..%u", text, most);
    return (uint32_t)n;
}

static void numbers(run_options *o, const char *text, struct argp_state *state) {
    o->list_count = 0;
    for (char *end; *text; text = *end ? end + 1 : end) {
        if (o->list_count == LIST_MAX) argp_error(state, "--streams: more than %d numbers", LIST_MAX);
        o->streams[o->list_count++] = number(text, &end, STREAMS_MAX, state);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    run_options *o = state->input;
    char *end;
    switch (key) {
    case OPT_ISA:
        o->isa = arg;
        return 0;
    case OPT_KV:
        o->kv = arg;
        return 0;
    case OPT_THREADS:
        o->threads = number(arg, &end, TEAM_THREADS_MAX, state);
        return 0;
    case OPT_ACT_BITS:
        o->act_bits = number(arg, &end, 32, state);
        return 0;
    case OPT_PROMPT:
        o->prompt = number(arg, &end, 1u << 14, state);
        return 0;
    case OPT_STEPS:
        o->steps = number(arg, &end, 10000, state);
        return 0;
    case OPT_STREAMS:
        numbers(o, arg, state);
        return 0;
    case OPT_IDS:
        o->ids = arg;
        return 0;
    case OPT_CEILINGS:
        o->ceilings = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->model) return ARGP_ERR_UNKNOWN;
        o->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!o->model && !o->ceilings) argp_usage(state);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv) {
    run_options o = {.isa = "auto",
                     .kv = "f16",
                     .threads = 1,
                     .act_bits = 16,
                     .prompt = 512,
                     .steps = 64,
                     .streams = {1, 8, 16},
                     .list_count = 3};
    const struct argp parser = {options, parse, "[MODEL]", "Speed of a whole model on the backend cpu.",
                                NULL,    NULL,  NULL};
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    log_setup(LOG_WARN, "cpu_model");
    errbuf eb = {0};
    status st = o.ceilings ? run_ceilings(&o, &eb) : run_model(&o, &eb);
    if (st == ST_OK) return 0;
    fprintf(stderr, "cpu_model: %s: %s\n", status_name(st), eb.text);
    return 1;
}
