/* gpu_model - speed of a whole model through the engine, as JSON lines: prefill, and decode of one and of
 * many sequences.
 *
 *   gpu_model [--model random:llama-3.1-8b] [--backend cuda] [--deterministic] [--batch 64] [--context 1024]
 *             [--prompt 2048] [--steps 128] [--serial]
 *
 * Decode counts the bytes that a step must read: all weights once but for the embedding table, of which it
 * reads a row per sequence, and the keys and values of the live tokens. Prefill counts the operations of the
 * matrix products and of causal attention. A step's time is that of engine_step, from the call to the
 * sampled tokens in host memory; its host share is what is left without waiting for the GPU (wait_clock.h).
 * Random weights do: no figure depends on their values. --serial: no kernel begins before the one before it
 * has ended (mode "serial"), to see what overlap is worth. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bench/gpu/timer.h"
#include "bench/gpu/wait_clock.h"
#include "engine/engine.h"
#include "kernels/backends.h"
#include "kernels/cuda/launch.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_STEPS = 4, PREFILL_RUNS = 8, CONTEXT_MIN = 4096, BATCH_MAX = 256 };

typedef struct run_options {
    const char *model, *backend;
    bool deterministic, serial;
    uint32_t batch, context, prompt, steps;
} run_options;

typedef struct scene {
    const run_options *o;
    const char *name; /* of the model, in keys */
    checkpoint *ckpt;
    model *m;
    engine *e;
    int32_t *ids;    /* [longest prompt] */
    uint32_t *pages; /* [all] */
    uint32_t page_count, rows;
    double *step_us, *host_us; /* [steps] */
} scene;

/* --- what must be read and computed --- */

/* Numbers in the matrices of a layer; its vectors do not count. */
static double layer_weights(const model *m) {
    double count = 0;
    for (uint32_t r = 0; r < LAYER_ROLES; r++) {
        const weight_parts *w = &m->layer[0].weights[r];
        for (uint32_t i = 0; i < weight_form_parts(w->form); i++)
            if (w->part[i].rows > 1) count += (double)w->part[i].rows * w->part[i].cols;
    }
    return count;
}

static double decode_bytes(const model *m, uint32_t batch, double context) {
    double weights = m->layers * layer_weights(m) + (double)m->vocab * m->dim;
    double kv = 2.0 * m->layers * m->kv_heads * m->head_dim * context * batch;
    return 2 * (weights + kv); /* 16-bit numbers */
}

static double prefill_flops(const model *m, double tokens) {
    double products = 2 * m->layers * layer_weights(m) * tokens + 2.0 * m->vocab * m->dim;
    return products + 2.0 * m->layers * m->heads * m->head_dim * tokens * tokens;
}

/* --- figures --- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bench_time spread(double *us, uint32_t count) {
    qsort(us, count, sizeof *us, compare);
    return (bench_time){us[count / 2], us[count / 10], us[count - 1 - count / 10]};
}

static bench_figure figure(const scene *s, const char *what, uint32_t batch, uint32_t tokens) {
    bench_figure f = {.mode = s->o->deterministic ? "deterministic" : "default", .ceiling = ""};
    if (s->o->serial) f.mode = s->o->deterministic ? "deterministic serial" : "serial";
    snprintf(f.key, sizeof f.key, "model %s %s batch %u ctx %u", s->name, what, batch, tokens);
    return f;
}

static void print_host(const scene *s, uint32_t batch, uint32_t context, uint32_t count) {
    bench_figure f = figure(s, "host time per step", batch, context);
    f.unit = "us";
    f.time = spread(s->host_us, count);
    f.value = f.time.us;
    bench_print(&f);
    f = figure(s, "host time per step p99", batch, context);
    f.unit = "us";
    f.value = s->host_us[count - 1 - count / 100];
    f.time.us = f.time.p10_us = f.time.p90_us = f.value;
    bench_print(&f);
}

/* --- steps --- */

static status open_seq(scene *s, uint32_t slot, uint32_t count, uint32_t pages_each, errbuf *eb) {
    sampling greedy = sampling_default();
    greedy.temperature = 0;
    const seq_start init = {.prompt = s->ids,
                            .prompt_count = count,
                            .params = &greedy,
                            .pages = s->pages + (size_t)slot * pages_each,
                            .page_count = pages_each};
    return engine_seq_open(s->e, slot, &init, eb);
}

/* One step, timed. */
static status step(scene *s, const step_item *items, uint32_t count, double *step_us, double *host_us,
                   errbuf *eb) {
    step_result results[BATCH_MAX];
    wait_clock_take_ns();
    uint64_t begin_ns = clock_now_ns();
    status st = engine_step(s->e, items, count, NULL, results, eb);
    uint64_t took_ns = clock_now_ns() - begin_ns, waited_ns = wait_clock_take_ns();
    *step_us = (double)took_ns / 1000;
    *host_us = (double)(took_ns - MIN(waited_ns, took_ns)) / 1000;
    for (uint32_t i = 0; i < count && st == ST_OK; i++)
        if (results[i].broken) st = errf(eb, ST_CORRUPT, "%s", results[i].why);
    return st;
}

/* A prompt in chunks of the largest step; the time of all of them. */
static status prefill(scene *s, uint32_t slot, uint32_t count, double *us, errbuf *eb) {
    status st = ST_OK;
    *us = 0;
    for (uint32_t begin = 0; begin < count && st == ST_OK; begin += s->rows) {
        step_item it = {.slot = slot, .begin = begin, .count = MIN(s->rows, count - begin)};
        it.sample = begin + it.count == count;
        double one = 0, host;
        st = step(s, &it, 1, &one, &host, eb);
        *us += one;
    }
    return st;
}

static status bench_prompt(scene *s, errbuf *eb) {
    double us[PREFILL_RUNS] = {0};
    status st = ST_OK;
    for (int i = -1; i < PREFILL_RUNS && st == ST_OK; i++) { /* the first warms up */
        st = open_seq(s, 0, s->o->prompt, kv_pages_for(s->o->prompt + 1), eb);
        if (st != ST_OK) break;
        st = prefill(s, 0, s->o->prompt, &us[MAX(i, 0)], eb);
        engine_seq_close(s->e, 0);
    }
    if (st != ST_OK) return err_prefix(eb, st, "prefill");
    bench_figure f = figure(s, "prefill", 1, s->o->prompt);
    f.unit = "TFLOP/s";
    f.ceiling = "gemm";
    f.time = spread(us, PREFILL_RUNS);
    f.value = prefill_flops(s->m, s->o->prompt) / f.time.us / 1e6;
    bench_print(&f);
    return ST_OK;
}

static status decode_steps(scene *s, uint32_t batch, uint32_t context, errbuf *eb) {
    step_item items[BATCH_MAX];
    status st = ST_OK;
    for (uint32_t n = 0; n < WARM_STEPS + s->o->steps && st == ST_OK; n++) {
        for (uint32_t i = 0; i < batch; i++)
            items[i] = (step_item){.slot = i, .begin = context + n, .count = 1, .sample = true};
        uint32_t at = n < WARM_STEPS ? 0 : n - WARM_STEPS;
        st = step(s, items, batch, &s->step_us[at], &s->host_us[at], eb);
    }
    return st;
}

static status bench_decode(scene *s, uint32_t batch, errbuf *eb) {
    uint32_t context = s->o->context, opened = 0;
    uint32_t pages_each = kv_pages_for(context + WARM_STEPS + s->o->steps + 1);
    double us;
    status st = ST_OK;
    while (opened < batch && st == ST_OK) {
        st = open_seq(s, opened, context, pages_each, eb);
        if (st != ST_OK) break;
        st = prefill(s, opened++, context, &us, eb);
    }
    if (st == ST_OK) st = decode_steps(s, batch, context, eb);
    for (uint32_t i = 0; i < opened; i++) engine_seq_close(s->e, i);
    if (st != ST_OK) return err_prefix(eb, st, "decode of %u sequences", batch);
    bench_figure f = figure(s, "decode", batch, context);
    f.unit = "TB/s";
    f.ceiling = "copy";
    f.time = spread(s->step_us, s->o->steps);
    f.value = decode_bytes(s->m, batch, context + WARM_STEPS + s->o->steps / 2.0) / f.time.us / 1e6;
    bench_print(&f);
    print_host(s, batch, context, s->o->steps);
    return ST_OK;
}

/* --- life --- */

static status scene_open(scene *s, errbuf *eb) {
    const run_options *o = s->o;
    status st = checkpoint_open(&s->ckpt, o->model, eb);
    if (st == ST_OK) st = checkpoint_prepare(s->ckpt, "auto", &(checkpoint_prepared){0}, eb);
    if (st == ST_OK) st = model_load(&s->m, s->ckpt, eb);
    if (st != ST_OK) return st;
    s->name = strncmp(o->model, "random:", 7) == 0 ? o->model + 7 : s->m->name;
    uint32_t tokens = o->context + WARM_STEPS + o->steps + 1, longest = MAX(tokens, o->prompt + 1);
    s->page_count = MAX(o->batch * kv_pages_for(tokens), kv_pages_for(longest));
    s->rows = MAX(o->prompt, o->batch);
    const backend_ops *ops = backend_find(o->backend);
    if (!ops) return errf(eb, ST_INVALID, "no backend '%s': want one of %s", o->backend, backend_names());
    const engine_options opt = {
        .backend = o->backend,
        .device = {.threads = 1, .isa = "auto", .act_type = DT_BF16, .deterministic = o->deterministic},
        .kv_type = ops->kv_default(DT_BF16),
        .page_count = s->page_count,
        .max_rows = s->rows,
        .max_seqs = o->batch,
        .max_context = MIN(MAX(longest, CONTEXT_MIN), MAX(s->m->context, longest)),
    };
    st = engine_new(&s->e, s->m, &opt, eb);
    s->ids = xcalloc(longest, sizeof *s->ids);
    s->pages = xcalloc(s->page_count, sizeof *s->pages);
    s->step_us = xcalloc(o->steps, sizeof *s->step_us);
    s->host_us = xcalloc(o->steps, sizeof *s->host_us);
    for (uint32_t i = 0; i < longest; i++) s->ids[i] = (int32_t)(i * 7919 % s->m->vocab);
    for (uint32_t i = 0; i < s->page_count; i++) s->pages[i] = i;
    return st;
}

static status run(const run_options *o, errbuf *eb) {
    scene s = {.o = o};
    status st = scene_open(&s, eb);
    if (st == ST_OK) fprintf(stderr, "gpu_model: %s on %s\n", s.name, engine_path(s.e));
    if (st == ST_OK) st = bench_decode(&s, 1, eb);
    if (st == ST_OK) st = bench_prompt(&s, eb);
    if (st == ST_OK && o->batch > 1) st = bench_decode(&s, o->batch, eb);
    free(s.ids);
    free(s.pages);
    free(s.step_us);
    free(s.host_us);
    engine_free(s.e);
    model_free(s.m);
    checkpoint_close(s.ckpt);
    return st;
}

enum {
    OPT_MODEL = 256,
    OPT_BACKEND,
    OPT_DETERMINISTIC,
    OPT_BATCH,
    OPT_CONTEXT,
    OPT_PROMPT,
    OPT_STEPS,
    OPT_SERIAL
};

static const struct argp_option options[] = {
    {"model", OPT_MODEL, "NAME", 0, "a file or random:NAME (random:llama-3.1-8b)", 0},
    {"backend", OPT_BACKEND, "NAME", 0, "of the engine (cuda)", 0},
    {"deterministic", OPT_DETERMINISTIC, NULL, 0, "the kernels whose results do not depend on the batch", 0},
    {"batch", OPT_BATCH, "N", 0, "sequences of the large decode steps, 1..256 (64)", 0},
    {"context", OPT_CONTEXT, "N", 0, "tokens of a sequence when decoding begins (1024)", 0},
    {"prompt", OPT_PROMPT, "N", 0, "tokens of the prompt (2048)", 0},
    {"steps", OPT_STEPS, "N", 0, "decode steps that are timed (128)", 0},
    {"serial", OPT_SERIAL, NULL, 0, "no kernel begins before the one before it has ended", 0},
    {0},
};

static uint32_t number(const char *text, uint32_t most, struct argp_state *state) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end || n == 0 || n > most)
        argp_error(state, "'%s': want a number in 1..%u", text, most);
    return (uint32_t)n;
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    run_options *o = state->input;
    switch (key) {
    case OPT_MODEL:
        o->model = arg;
        return 0;
    case OPT_BACKEND:
        o->backend = arg;
        return 0;
    case OPT_DETERMINISTIC:
        o->deterministic = true;
        return 0;
    case OPT_BATCH:
        o->batch = number(arg, BATCH_MAX, state);
        return 0;
    case OPT_CONTEXT:
        o->context = number(arg, 1u << 17, state);
        return 0;
    case OPT_PROMPT:
        o->prompt = number(arg, 1u << 14, state);
        return 0;
    case OPT_STEPS:
        o->steps = number(arg, 10000, state);
        return 0;
    case OPT_SERIAL:
        o->serial = true;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv) {
    run_options o = {.model = "random:llama-3.1-8b",
                     .backend = "cuda",
                     .batch = 64,
                     .context = 1024,
                     .prompt = 2048,
                     .steps = 128};
    const struct argp parser = {options, parse, NULL, "Speed of a whole model through the engine.",
                                NULL,    NULL,  NULL};
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    launch_overlap(!o.serial);
    log_setup(LOG_DEBUG, "gpu_model"); /* the backend says how many nodes a recorded step has */
    errbuf eb = {0};
    status st = run(&o, &eb);
    if (st == ST_OK) return 0;
    fprintf(stderr, "gpu_model: %s: %s\n", status_name(st), eb.text);
    return st == ST_UNSUPPORTED ? 3 : 1;
}
