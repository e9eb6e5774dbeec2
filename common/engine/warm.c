#include "engine/warm.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

/* Tables of the largest step. */
typedef struct tables {
    int32_t *ids;           /* [max_rows] unlike tokens, since algorithms may be tested with them */
    uint32_t *pages;        /* of the longest prompt */
    step_seq *seqs;         /* [max_rows] */
    uint32_t *head;         /* [max_rows] */
    sample_input *samples;  /* [max_rows] */
    sample_result *results; /* [max_rows] */
    sampling params;        /* greedy */
    uint32_t max_prompt;    /* rows */
} tables;

static tables tables_new(const engine_options *o, uint32_t vocab) {
    tables t = {.params = sampling_default(), .max_prompt = MIN(o->max_rows, o->max_context)};
    uint32_t page_count = kv_pages_for(t.max_prompt);
    t.params.temperature = 0;
    t.ids = xcalloc(o->max_rows, sizeof *t.ids);
    t.pages = xcalloc(page_count, sizeof *t.pages);
    t.seqs = xcalloc(o->max_rows, sizeof *t.seqs);
    t.head = xcalloc(o->max_rows, sizeof *t.head);
    t.samples = xcalloc(o->max_rows, sizeof *t.samples);
    t.results = xcalloc(o->max_rows, sizeof *t.results);
    for (uint32_t i = 0; i < o->max_rows; i++) t.ids[i] = (int32_t)(i % vocab);
    for (uint32_t i = 0; i < page_count; i++) t.pages[i] = i % o->page_count;
    return t;
}

static void tables_done(tables *t) {
    free(t->ids);
    free(t->pages);
    free(t->seqs);
    free(t->head);
    free(t->samples);
    free(t->results);
}

/* One row each of `rows` sequences, as if it had been generated. */
static op_step decode_step(tables *t, uint32_t rows) {
    for (uint32_t i = 0; i < rows; i++) {
        t->seqs[i] = (step_seq){.pages = t->pages, .page_count = 1, .row_begin = i, .row_count = 1};
        t->head[i] = i;
    }
    return (op_step){.rows = rows, .seq_count = rows, .head_count = rows, .repeatable = true};
}

/* One sequence of `rows` rows, or of the longest context; all but the first are generated in a replay. */
static op_step prompt_step(tables *t, uint32_t rows, bool replay) {
    rows = MIN(rows, t->max_prompt);
    t->seqs[0] = (step_seq){.pages = t->pages,
                            .page_count = kv_pages_for(rows),
                            .row_count = rows,
                            .prompt_count = replay ? 1 : rows};
    t->head[0] = rows - 1;
    return (op_step){.rows = rows, .seq_count = 1, .head_count = 1};
}

static status run(forward *f, tables *t, const warm_step *w, errbuf *eb) {
    op_step s =
        w->kind == WARM_DECODE ? decode_step(t, w->rows) : prompt_step(t, w->rows, w->kind == WARM_REPLAY);
    for (uint32_t i = 0; i < s.head_count; i++)
        t->samples[i] = (sample_input){.params = &t->params, .prompt = t->ids, .prompt_count = 1};
    s.ids = t->ids;
    s.seqs = t->seqs;
    s.head = t->head;
    s.samples = t->samples;
    s.results = t->results;
    const forward_hook none = {0};
    for (uint32_t i = 0; i < w->times; i++) {
        status st = forward_step(f, &s, &none, NULL, eb);
        if (st != ST_OK) return err_prefix(eb, st, "warming up with %u rows", s.rows);
    }
    return ST_OK;
}

/* Replays come where prompts do. */
static bool wanted(const engine_options *o, warm_kind kind) {
    switch (kind) {
    case WARM_DECODE:
        return o->warm_decode;
    case WARM_PROMPT:
    case WARM_REPLAY:
        return o->warm_prompts;
    case WARM_PATH:
        return true;
    }
    check_failed("check", "a kind of step", __FILE__, __LINE__, __func__);
}

status warm_run(forward *f, const engine_options *o, errbuf *eb) {
    PRE(f);
    PRE(o);
    uint64_t begin_ns = clock_now_ns();
    uint32_t count = 0;
    tables t = tables_new(o, f->model->vocab);
    status st = ST_OK;
    warm_step w;
    for (uint32_t i = 0; st == ST_OK && f->ops->warm(f->dev, i, &w); i++) {
        if (!wanted(o, w.kind)) continue;
        st = run(f, &t, &w, eb);
        count++;
    }
    tables_done(&t);
    if (st == ST_OK && count > 0)
        log_info("engine", "warm", "sizes=%u ms=%.0f", count, (double)(clock_now_ns() - begin_ns) / 1e6);
    return st;
}
