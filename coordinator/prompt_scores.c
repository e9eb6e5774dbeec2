#include "coordinator/prompt_scores.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void begin(prompt_scores *p, uint32_t prompt_count, uint32_t top) {
    p->items = xcalloc(prompt_count, sizeof *p->items);
    p->tops = xcalloc((size_t)prompt_count * top + 1, sizeof *p->tops);
    p->capacity = prompt_count;
    p->top = top;
    p->count = 1;
}

void prompt_scores_add(prompt_scores *p, uint32_t prompt_count, const core_prompt *told) {
    PRE(p);
    PRE(told);
    PRE(told->count > 0);
    if (!p->count) begin(p, prompt_count, told->rows[0].top_count);
    PRE(told->begin == p->count);
    PRE(told->count <= p->capacity - p->count);
    for (uint32_t i = 0; i < told->count; i++) {
        const token_out *row = &told->rows[i];
        token_logprob *tops = p->tops + (size_t)p->count * p->top;
        memcpy(tops, row->top, MIN(row->top_count, p->top) * sizeof *tops);
        p->items[p->count++] = (prompt_score){.logprob = row->logprob, .rank = row->rank};
    }
}

void prompt_scores_done(prompt_scores *p) {
    if (!p) return;
    free(p->items);
    free(p->tops);
    *p = (prompt_scores){0};
}
