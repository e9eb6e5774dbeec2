/* engine_scene - an engine on the generated checkpoint (BATON_TINY_MODEL), which has matrices of all six
 * weight types, and one sequence's way through it. */
#ifndef BATON_TESTS_ENGINE_SCENE_H
#define BATON_TESTS_ENGINE_SCENE_H

#include "tests/test.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "tests/model_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 300, CONTEXT = 512, PAGES = 256, ROWS = 320, SEQS = 80 };

typedef struct fixture {
    model_file file;
    const model *m; /* the file's */
    int32_t prompt[PROMPT];
} fixture;

static inline int setup(void **state) {
    log_setup(LOG_WARN, "engine");
    const char *path = getenv("BATON_TINY_MODEL");
    if (!path) fail_msg("set BATON_TINY_MODEL to a file made by make-tiny-model (ctest does)");
    fixture *f = xcalloc(1, sizeof *f);
    f->file = model_file_open(path);
    f->m = f->file.m;
    for (uint32_t i = 0; i < PROMPT; i++)
        f->prompt[i] = (int32_t)(3 + (i * i * 31 + i * 7) % (f->m->vocab - 3));
    *state = f;
    return 0;
}

static inline int teardown(void **state) {
    fixture *f = *state;
    model_file_close(&f->file);
    free(f);
    return 0;
}

static inline engine_options options_of(const char *backend, uint32_t threads, dtype kv) {
    return (engine_options){.backend = backend,
                            .device = {.threads = threads, .isa = "auto"},
                            .kv_type = kv,
                            .page_count = PAGES,
                            .max_rows = ROWS,
                            .max_seqs = SEQS,
                            .max_context = CONTEXT};
}

static inline engine *engine_of(const fixture *f, const char *backend, uint32_t threads, dtype kv) {
    const engine_options opt = options_of(backend, threads, kv);
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, f->m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return e;
}

static inline sampling greedy(void) {
    sampling p = sampling_default();
    p.temperature = 0;
    p.logprobs = SAMPLING_LOGPROBS_MAX; /* so that results show the bytes of the logits */
    return p;
}

/* Opens `slot` with a page table of `page_count` pages first, first + stride, ... */
static inline void open_at(engine *e, uint32_t slot, const int32_t *prompt, uint32_t count, const sampling *p,
                           uint32_t first, uint32_t stride, uint32_t page_count) {
    uint32_t pages[PAGES];
    for (uint32_t i = 0; i < page_count; i++) pages[i] = first + i * stride;
    const seq_start init = {
        .prompt = prompt, .prompt_count = count, .params = p, .pages = pages, .page_count = page_count};
    assert_int_equal(engine_seq_open(e, slot, &init, NULL), ST_OK);
}

static inline step_result step_one(engine *e, uint32_t slot, uint32_t begin, uint32_t count, bool sample) {
    const step_item it = {.slot = slot, .begin = begin, .count = count, .sample = sample, .tag = slot + 100};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    assert_int_equal(r.tag, slot + 100);
    assert_int_equal(r.sampled, sample);
    return r;
}

/* The whole prompt in chunks; the token that follows it. */
static inline token_out prefill(engine *e, uint32_t slot, uint32_t count, uint32_t chunk) {
    step_result r = {0};
    for (uint32_t begin = 0; begin < count; begin += chunk) {
        uint32_t rows = MIN(chunk, count - begin);
        r = step_one(e, slot, begin, rows, begin + rows == count);
    }
    return r.token;
}

#endif
