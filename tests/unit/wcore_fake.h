/* wcore_fake - the world around a role core, for its unit tests: a sink that remembers, and messages that are
 * quick to write. */
#ifndef BATON_TESTS_WCORE_FAKE_H
#define BATON_TESTS_WCORE_FAKE_H

#include "tests/test.h"

#include "base/mem.h"
#include "kv/handoff.h"
#include "worker_core/wcore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_LOG   256u
#define FAKE_EOS   2
#define FAKE_D_INC 77u
#define FAKE_P_INC 55u
#define FAKE_EPOCH 9u
#define FAKE_INC   33u

typedef struct fake {
    const wcore_ops *ops;
    void *core;
    ctl_msg sent[FAKE_LOG]; /* arrays of TOKENS are copied into `tokens` */
    uint32_t sent_count, sent_read;
    ctl_token tokens[FAKE_LOG];
    uint32_t token_count;
    xfer_cmd cmds[FAKE_LOG];
    uint32_t cmd_count, cmd_read;
    const dev_job *job; /* running step */
    uint32_t steps;
    uint64_t now_ns;
} fake;

static const int32_t fake_eog[] = {FAKE_EOS};

static inline void fake_send(void *ctx, const ctl_msg *m) {
    fake *f = ctx;
    assert_true(f->sent_count < FAKE_LOG);
    ctl_msg *out = &f->sent[f->sent_count++];
    *out = *m;
    out->free_pages = f->core ? f->ops->stats(f->core).pages_free : 0;
    if (m->kind != CTL_TOKENS) return;
    assert_true(f->token_count + m->tokens.count <= FAKE_LOG);
    memcpy(f->tokens + f->token_count, m->tokens.tokens, m->tokens.count * sizeof *f->tokens);
    out->tokens.tokens = f->tokens + f->token_count;
    f->token_count += m->tokens.count;
}

static inline void fake_xfer(void *ctx, const xfer_cmd *c) {
    fake *f = ctx;
    assert_true(f->cmd_count < FAKE_LOG);
    f->cmds[f->cmd_count++] = *c;
}

static inline void fake_step(void *ctx, const dev_job *j) {
    fake *f = ctx;
    assert_null(f->job);
    f->job = j;
    f->steps++;
}

static inline wcore_options fake_options(void) {
    return (wcore_options){.page_count = 100,
                           .max_seqs = 4,
                           .max_rows = 64,
                           .chunk_tokens = 32,
                           .max_context = 512,
                           .policy = "chunked",
                           .prefix_cache = true,
                           .cache_outputs = true,
                           .eog = fake_eog,
                           .eog_count = 1};
}

static inline fake *fake_new(const wcore_ops *ops, const wcore_options *opt) {
    fake *f = xcalloc(1, sizeof *f);
    f->ops = ops;
    wcore_sink sink = {.ctx = f, .send = fake_send, .xfer = fake_xfer, .step = fake_step};
    f->core = ops->new_core(opt, &sink);
    ops->session(f->core, FAKE_EPOCH, FAKE_INC, 0);
    return f;
}

static inline void fake_free(fake *f) {
    assert_true(f->ops->check(f->core));
    f->ops->free_core(f->core);
    free(f);
}

/* The next message to the coordinator; fails when there is none or it is another kind. */
static inline const ctl_msg *fake_expect(fake *f, ctl_kind kind) {
    assert_true(f->sent_read < f->sent_count);
    const ctl_msg *m = &f->sent[f->sent_read++];
    assert_int_equal(m->kind, kind);
    return m;
}

static inline void fake_expect_quiet(const fake *f) {
    assert_int_equal(f->sent_read, f->sent_count);
}

static inline const xfer_cmd *fake_expect_cmd(fake *f, xfer_cmd_kind kind) {
    assert_true(f->cmd_read < f->cmd_count);
    const xfer_cmd *c = &f->cmds[f->cmd_read++];
    assert_int_equal(c->kind, kind);
    return c;
}

static inline void fake_expect_no_cmd(const fake *f) {
    assert_int_equal(f->cmd_read, f->cmd_count);
}

static inline void fake_expect_token(const ctl_msg *m, uint32_t i, uint64_t req, uint32_t attempt,
                                     uint32_t index, int32_t id, finish fin) {
    assert_int_equal(m->kind, CTL_TOKENS);
    assert_true(i < m->tokens.count);
    const ctl_token *t = &m->tokens.tokens[i];
    assert_int_equal(t->req, req);
    assert_int_equal(t->attempt, attempt);
    assert_int_equal(t->index, index);
    assert_int_equal(t->token.id, id);
    assert_int_equal(t->token.fin, fin);
}

/* PREFILL or RESERVE with ids 100, 101, ...; max_tokens as given, never ended by accident. */
typedef struct fake_work {
    uint64_t req;
    uint32_t attempt, prompt, output, max_tokens;
    bool cache;
    uint64_t salt;
} fake_work;

static inline void fake_give(fake *f, ctl_kind kind, fake_work w) {
    int32_t ids[1024];
    assert_true(w.prompt + w.output <= 1024);
    for (uint32_t i = 0; i < w.prompt + w.output; i++) ids[i] = (int32_t)(100 + i);
    ctl_msg m = {
        .kind = kind, .epoch = FAKE_EPOCH, .incarnation = FAKE_INC, .req = w.req, .attempt = w.attempt};
    m.work.prompt = ids;
    m.work.prompt_count = w.prompt;
    m.work.output = ids + w.prompt;
    m.work.output_count = w.output;
    m.work.params = sampling_default();
    m.work.params.max_tokens = w.max_tokens;
    m.work.then_decode = f->ops->role == ROLE_COLOCATED;
    m.work.p_inc = FAKE_P_INC;
    m.work.cache = w.cache;
    m.work.salt[1] = w.salt;
    m.work.ids_hash = kv_ids_hash(KV_IDS_HASH_START, ids, w.prompt + w.output);
    f->ops->ctl(f->core, &m, f->now_ns);
    assert_true(f->ops->check(f->core));
}

static inline void fake_tell(fake *f, ctl_kind kind, uint64_t req, uint32_t attempt) {
    ctl_msg m = {.kind = kind, .epoch = FAKE_EPOCH, .incarnation = FAKE_INC, .req = req, .attempt = attempt};
    f->ops->ctl(f->core, &m, f->now_ns);
    assert_true(f->ops->check(f->core));
}

static inline void fake_event(fake *f, xfer_event e) {
    f->ops->xfer(f->core, &e, f->now_ns);
    assert_true(f->ops->check(f->core));
}

static inline void fake_turn(fake *f) {
    f->ops->turn(f->core, f->now_ns);
    assert_true(f->ops->check(f->core));
}

/* Ends the running step; every sampled row gets the token `id`. */
static inline void fake_stepped(fake *f, int32_t id) {
    step_result results[64] = {0};
    assert_non_null(f->job);
    uint32_t count = f->job->item_count;
    assert_true(count <= 64);
    for (uint32_t i = 0; i < count; i++) {
        const step_item *item = &f->job->items[i];
        results[i] = (step_result){.tag = item->tag, .sampled = item->sample, .token = {.id = id}};
    }
    f->job = NULL;
    f->ops->stepped(f->core, results, count, f->now_ns);
    assert_true(f->ops->check(f->core));
}

/* Ends the running step; the item at `index` has no usable logits, all others get the token `id`. */
static inline void fake_stepped_broken(fake *f, uint32_t index, int32_t id) {
    step_result results[64] = {0};
    assert_non_null(f->job);
    uint32_t count = f->job->item_count;
    assert_true(index < count && count <= 64);
    for (uint32_t i = 0; i < count; i++) {
        const step_item *item = &f->job->items[i];
        results[i] =
            (step_result){.tag = item->tag, .sampled = i != index && item->sample, .token = {.id = id}};
    }
    results[index].broken = true;
    snprintf(results[index].why, sizeof results[index].why, "no number");
    f->job = NULL;
    f->ops->stepped(f->core, results, count, f->now_ns);
    assert_true(f->ops->check(f->core));
}

static inline uint32_t fake_used(const fake *f) {
    return f->ops->stats(f->core).pages_used;
}

#endif
