#include "worker_core/wseq.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

wseq *wseq_new(const ctl_msg *m, uint32_t page_capacity) {
    PRE(m);
    PRE(m->work.prompt_count > 0);
    const ctl_work *w = &m->work;
    wseq *s = xcalloc(1, sizeof *s);
    s->req = m->req;
    s->attempt = m->attempt;
    s->prompt_count = w->prompt_count;
    s->output_count = w->output_count;
    s->cache = w->cache;
    s->anew = w->params.prompt_logprobs >= 0 && m->kind == CTL_PREFILL;
    memcpy(s->salt, w->salt, sizeof s->salt);
    s->ids_capacity = w->prompt_count + w->output_count + 1;
    s->ids = xcalloc(s->ids_capacity, sizeof *s->ids);
    memcpy(s->ids, w->prompt, w->prompt_count * sizeof *s->ids);
    if (w->output_count) memcpy(s->ids + w->prompt_count, w->output, w->output_count * sizeof *s->ids);
    sampling_copy(&s->params, &w->params);
    s->pages = xcalloc(page_capacity, sizeof *s->pages);
    s->page_capacity = page_capacity;
    s->slot = WSEQ_NO_SLOT;
    return s;
}

void wseq_free(wseq *s) {
    if (!s) return;
    free(s->ids);
    free(s->pages);
    free(s->dest_endpoint);
    sampling_done(&s->params);
    free(s);
}

void wseq_add_id(wseq *s, int32_t id) {
    PRE(s);
    uint32_t rows = wseq_rows(s);
    PRE(rows < s->ids_capacity);
    s->ids[rows] = id;
    s->output_count++;
    if (rows + 1 < s->ids_capacity) return;
    s->ids_capacity += MAX(s->ids_capacity / 2, 64u);
    s->ids = xrealloc(s->ids, s->ids_capacity, sizeof *s->ids);
}

uint32_t wseq_rows(const wseq *s) {
    return s->prompt_count + s->output_count;
}

bool wseq_is_replay(const wseq *s) {
    return s->phase == WSEQ_PROMPT && s->output_count > 0;
}
