#include "worker_core/wstep.h"

#include "base/mem.h"
#include "ctl/ctl_limits.h"

#include <string.h>

static void step_open(wtable *t, wseq *s) {
    t->opens[t->job.open_count++] = (dev_open){.slot = s->slot,
                                               .init = {.prompt = s->ids,
                                                        .prompt_count = s->prompt_count,
                                                        .output = s->ids + s->prompt_count,
                                                        .output_count = s->output_count,
                                                        .params = &s->params,
                                                        .pages = s->pages,
                                                        .page_count = s->page_count}};
    s->open = true;
    s->engine_pages = s->page_count;
}

void wstep_add(wtable *t, wseq *s, uint32_t begin, uint32_t count, bool sample) {
    PRE(!t->busy);
    PRE(s->slot != WSEQ_NO_SLOT);
    PRE(!s->in_step);
    PRE(count > 0);
    PRE(t->job.item_count < t->opt.max_seqs);
    PRE(kv_pages_for(begin + count) <= s->page_count);
    PRE(begin >= s->kept_pages * KV_PAGE_TOKENS); /* what others may read is never written */
    step_item item = {.slot = s->slot, .begin = begin, .count = count, .sample = sample, .tag = s->req};
    if (!s->open) step_open(t, s);
    item.new_page_count = s->page_count - s->engine_pages;
    CHECK(item.new_page_count <= ARRAY_LEN(item.new_pages));
    memcpy(item.new_pages, s->pages + s->engine_pages, item.new_page_count * sizeof *s->pages);
    s->engine_pages = s->page_count;
    s->in_step = true;
    t->step_seqs[t->job.item_count] = s;
    t->items[t->job.item_count++] = item;
    if (s->phase == WSEQ_DECODE)
        for (uint32_t i = 0; i < count; i++) latency_add_decode(&t->job.sums, begin + i + 1);
    else
        latency_add_chunk(&t->job.sums, begin, count);
}

/* Out of the way of those who do not ask. */
__attribute__((noinline, cold)) static void tell_step(const wtable *t) {
    decision d = {
        .kind = DECISION_STEP, .step = t->steps, .items = t->items, .item_count = t->job.item_count};
    t->sink.decision(t->sink.ctx, &d);
}

bool wstep_go(wtable *t) {
    PRE(!t->busy);
    if (t->job.item_count == 0) return false;
    memcpy(t->closes, t->left_slots, t->left_slot_count * sizeof *t->closes);
    t->job.close_count = t->left_slot_count;
    t->left_slot_count = 0;
    t->job.closes = t->closes;
    t->job.opens = t->opens;
    t->job.items = t->items;
    t->busy = true;
    t->steps++;
    if (t->sink.decision) tell_step(t);
    t->sink.step(t->sink.ctx, &t->job);
    return true;
}

void wstep_first_token(wtable *t, const wseq *s, uint32_t index, const token_out *token) {
    wstep_token(t, s, index, token);
    t->tokens[t->token_count - 1].cached = MIN(s->hit_rows, s->prompt_count);
}

void wstep_token(wtable *t, const wseq *s, uint32_t index, const token_out *token) {
    CHECK(t->token_count < 2 * t->opt.max_seqs);
    t->tokens[t->token_count++] =
        (ctl_token){.req = s->req, .attempt = s->attempt, .index = index, .token = *token};
}

static void send_tokens(wtable *t) {
    if (t->token_count == 0) return;
    ctl_msg m = {.kind = CTL_TOKENS, .tokens = {.tokens = t->tokens, .count = t->token_count}};
    wtable_send(t, &m);
    t->token_count = 0;
}

/* What a step computed of a prompt: its tokens' logprobs, and that it is all there when that is the end. Out
 * of the way of decode rows. */
__attribute__((noinline)) static void tell_prompt(wtable *t, const wseq *s, const step_item *item,
                                                  const step_result *r) {
    bool done = s->params.max_tokens == 0 && item->begin + item->count == wseq_rows(s);
    for (uint32_t told = 0, count; told < r->prompt_count || done; told += count) {
        count = MIN(r->prompt_count - told, CTL_PROMPT_MAX);
        bool last = told + count == r->prompt_count;
        ctl_msg m = {.kind = CTL_PROMPT,
                     .req = s->req,
                     .attempt = s->attempt,
                     .prompt = {.begin = item->begin + 1 + told,
                                .rows = count ? r->prompt + told : NULL,
                                .count = count,
                                .done = done && last}};
        wtable_send(t, &m);
        if (last) return;
    }
}

void wstep_end(wtable *t, const step_result *results, uint32_t count,
               void (*row)(wtable *t, wseq *s, const step_item *item, const step_result *r)) {
    PRE(t->busy);
    PRE(count == t->job.item_count);
    t->busy = false;
    t->token_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        wseq *s = t->step_seqs[i];
        CHECK(results[i].tag == t->items[i].tag);
        s->in_step = false;
        if (s->phase == WSEQ_CLOSING)
            wtable_settle(t, s); /* its result is of no interest any more */
        else if (results[i].broken)
            wtable_fail(t, s, results[i].why);
        else {
            if (s->phase == WSEQ_PROMPT) tell_prompt(t, s, &t->items[i], &results[i]);
            row(t, s, &t->items[i], &results[i]);
        }
    }
    send_tokens(t); /* after all rows: free_pages in its head counts what ended here */
    t->job = (dev_job){0};
}
