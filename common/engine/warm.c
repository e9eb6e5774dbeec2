#include "engine/warm.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

/* Tables of the largest step. */
typedef struct tables {
    int32_t *ids;           /* [max_rows] token 0 */
    uint32_t *pages;        /* of the longest prompt */
    step_seq *seqs;         /* [max_rows] */
    uint32_t *head;         /* [max_rows] */
    sample_input *samples;  /* [max_rows] */
    sample_result *results; /* [max_rows] */
    sampling params;        /* greedy */
    uint32_t max_prompt;    /* rows */
} tables;

static tables tables_new(const engine_options *o) {
    tables t = {.params = sampling_default(), .max_prompt = MIN(o->max_rows, o->max_context)};
    uint32_t page_count = kv_pages_for(t.max_prompt);
    t.params.temperature = 0;
    t.ids = xcalloc(o->max_rows, sizeof *t.ids);
    t.pages = xcalloc(page_count, sizeof *t.pages);
    t.seqs = xcalloc(o->max_rows, sizeof *t.seqs);
    t.head = xcalloc(o->max_rows, sizeof *t.head);
    t.samples = xcalloc(o->max_rows, sizeof *t.samples);
    t.results = xcalloc(o->max_rows, sizeof *t.results);
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

/* One prompt of `rows` rows, or of the longest context. */
static op_step prompt_step(tables *t, uint32_t rows) {
    rows = MIN(rows, t->max_prompt);
    t->seqs[0] = (step_seq){
        .pages = t->pages, .page_count = kv_pages_for(rows), .row_count = rows, .prompt_count = rows};
    t->head[0] = rows - 1;
    return (op_step){.rows = rows, .seq_count = 1, .head_count = 1};
}

static status run(forward *f, tables *t, const warm_step *w, errbuf *eb) {
    op_step s = w->prompt ? prompt_step(t, w->rows) : decode_step(t, w->rows);
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

status warm_run(forward *f, const engine_options *o, errbuf *eb) {
    PRE(f);
    PRE(o);
    uint64_t begin_ns = clock_now_ns();
    uint32_t count = 0;
    tables t = tables_new(o);
    status st = ST_OK;
    warm_step w;
    for (uint32_t i = 0; st == ST_OK && f->ops->warm(f->dev, i, &w); i++) {
        if (w.prompt ? !o->warm_prompts : !o->warm_decode) continue;
        st = run(f, &t, &w, eb);
        count++;
    }
    tables_done(&t);
    if (st == ST_OK && count > 0)
        log_info("engine", "warm", "sizes=%u ms=%.0f", count, (double)(clock_now_ns() - begin_ns) / 1e6);
    return st;
}
