#include "engine/seq.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static status check_ids(const char *what, const int32_t *ids, uint32_t count, const seq_limits *lim,
                        errbuf *eb) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= lim->vocab)
            return errf(eb, ST_INVALID, "sequence: %s token %u has id %d, the vocabulary ends at %u", what, i,
                        (int)ids[i], lim->vocab - 1);
    return ST_OK;
}

static status check_params(const sampling *p, const seq_limits *lim, errbuf *eb) {
    if (!(p->temperature >= 0) || !isfinite(p->temperature))
        return errf(eb, ST_INVALID, "sequence: temperature is %g, want 0 or more", (double)p->temperature);
    if (!(p->repetition_penalty > 0) || !isfinite(p->repetition_penalty))
        return errf(eb, ST_INVALID, "sequence: repetition_penalty is %g, want more than 0",
                    (double)p->repetition_penalty);
    if (!isfinite(p->presence_penalty) || !isfinite(p->frequency_penalty))
        return errf(eb, ST_INVALID, "sequence: a penalty is not finite");
    if (!(p->top_p > 0 && p->top_p <= 1))
        return errf(eb, ST_INVALID, "sequence: top_p is %g, want (0, 1]", (double)p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return errf(eb, ST_INVALID, "sequence: min_p is %g, want [0, 1]", (double)p->min_p);
    if (p->stop_id_count > SAMPLING_STOP_IDS_MAX || p->bias_count > SAMPLING_BIAS_MAX)
        return errf(eb, ST_INVALID, "sequence: %u stop ids and %u biases, want at most %u and %u",
                    p->stop_id_count, p->bias_count, SAMPLING_STOP_IDS_MAX, SAMPLING_BIAS_MAX);
    for (uint32_t i = 0; i < p->bias_count; i++) {
        status st = check_ids("logit_bias", &p->bias[i].id, 1, lim, eb);
        if (st != ST_OK) return st;
        if (!isfinite(p->bias[i].bias))
            return errf(eb, ST_INVALID, "sequence: logit_bias of token %d is not finite", (int)p->bias[i].id);
    }
    return ST_OK;
}

status seq_init(seq *s, const seq_start *init, const seq_limits *lim, errbuf *eb) {
    PRE(s);
    PRE(init);
    PRE(init->params);
    PRE(!s->open);
    uint64_t count = (uint64_t)init->prompt_count + init->output_count;
    if (init->prompt_count == 0 || count > lim->max_context)
        return errf(eb, ST_INVALID, "sequence: %u prompt and %u output tokens, want 1..%u in all",
                    init->prompt_count, init->output_count, lim->max_context);
    status st = check_ids("prompt", init->prompt, init->prompt_count, lim, eb);
    if (st == ST_OK) st = check_ids("output", init->output, init->output_count, lim, eb);
    if (st == ST_OK) st = check_params(init->params, lim, eb);
    if (st != ST_OK) return st;

    seq n = {.open = true, .prompt_count = init->prompt_count, .count = (uint32_t)count};
    st = seq_add_pages(&n, init->pages, init->page_count, lim, eb);
    if (st != ST_OK) {
        free(n.pages);
        return st;
    }
    n.capacity = MIN(n.count + 64, lim->max_context + 1);
    n.ids = xcalloc(n.capacity, sizeof *n.ids);
    memcpy(n.ids, init->prompt, n.prompt_count * sizeof *n.ids);
    if (init->output_count) memcpy(n.ids + n.prompt_count, init->output, init->output_count * sizeof *n.ids);
    sampling_copy(&n.params, init->params);
    *s = n;
    return ST_OK;
}

void seq_done(seq *s) {
    PRE(s);
    free(s->ids);
    free(s->pages);
    sampling_done(&s->params);
    *s = (seq){0};
}

status seq_add_pages(seq *s, const uint32_t *pages, uint32_t count, const seq_limits *lim, errbuf *eb) {
    PRE(s);
    PRE(pages || count == 0);
    uint32_t limit = kv_pages_for(lim->max_context + 1);
    if (count > limit - s->page_count)
        return errf(eb, ST_INVALID, "sequence: %u pages, want at most %u (max_context %u)",
                    s->page_count + count, limit, lim->max_context);
    for (uint32_t i = 0; i < count; i++)
        if (pages[i] >= lim->page_count)
            return errf(eb, ST_INVALID, "sequence: page %u is none of the %u of the pool", pages[i],
                        lim->page_count);
    if (s->page_count + count > s->page_capacity) {
        s->page_capacity = MIN(MAX(s->page_count + count, 2 * s->page_capacity), limit);
        s->pages = xrealloc(s->pages, s->page_capacity, sizeof *s->pages);
    }
    if (count) memcpy(s->pages + s->page_count, pages, count * sizeof *pages);
    s->page_count += count;
    return ST_OK;
}

void seq_add_token(seq *s, int32_t id, const seq_limits *lim) {
    PRE(s->count <= lim->max_context);
    if (s->count == s->capacity) {
        s->capacity = MIN(2 * s->capacity, lim->max_context + 1);
        s->ids = xrealloc(s->ids, s->capacity, sizeof *s->ids);
    }
    s->ids[s->count++] = id;
}
