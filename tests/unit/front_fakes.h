/* front_fakes - a tokenizer of bytes and a core that does what the test says, for the tests of the
 * coordinator's fronts.
 *
 * They define the functions of text/tokenizer.h and coordinator/core.h that the fronts call, so the linker
 * never takes the real ones from their libraries. Include once per program. Ids 0..255 are bytes; from 256 on
 * come fake_words. */
#ifndef BATON_TESTS_FRONT_FAKES_H
#define BATON_TESTS_FRONT_FAKES_H

#include "base/clock.h"
#include "base/mem.h"
#include "coordinator/core.h"
#include "coordinator/meter.h"
#include "coordinator/stream.h"
#include "coordinator/text.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_START = 256, FAKE_END, FAKE_HELLO, FAKE_WORLD, FAKE_EMOJI_A, FAKE_EMOJI_B, FAKE_VOCAB };
static const char *const fake_words[] = {"<|im_start|>", "<|im_end|>", "hello",
                                         " world",       "\xf0\x9f",   "\x99\x82"};
#define FAKE_CONTEXT 4096u

struct tokenizer {
    int unused;
};
static struct tokenizer fake_tokenizer;

void token_list_add(token_list *l, int32_t id) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 16;
        l->ids = xrealloc(l->ids, l->capacity, sizeof *l->ids);
    }
    l->ids[l->count++] = id;
}

void token_list_done(token_list *l) {
    free(l->ids);
    *l = (token_list){0};
}

static bool is_plain(const encode_options *opt, size_t at) {
    for (uint32_t i = 0; i < opt->plain_count; i++)
        if (at >= opt->plain[i].begin && at < opt->plain[i].end) return true;
    return false;
}

status tokenizer_encode(const tokenizer *t, const char *text, size_t len, const encode_options *opt,
                        token_list *out, errbuf *eb) {
    (void)t;
    size_t bad = utf8_invalid_at(text, len);
    if (bad != len) return errf(eb, ST_INVALID, "byte %zu is not UTF-8", bad);
    for (size_t i = 0; i < len;) {
        if (out->count >= opt->max_tokens) return errf(eb, ST_NOMEM, "more than %u tokens", opt->max_tokens);
        int32_t id = (unsigned char)text[i];
        size_t step = 1;
        for (int32_t w = FAKE_START; w <= FAKE_END && opt->parse_special && !is_plain(opt, i); w++) {
            size_t n = strlen(fake_words[w - FAKE_START]);
            if (len - i < n || memcmp(text + i, fake_words[w - FAKE_START], n) != 0) continue;
            id = w;
            step = n;
        }
        token_list_add(out, id);
        i += step;
    }
    return ST_OK;
}

space_strip tokenizer_strip(const tokenizer *t) {
    (void)t;
    return STRIP_NONE;
}

uint32_t tokenizer_vocab(const tokenizer *t) {
    (void)t;
    return FAKE_VOCAB;
}

size_t tokenizer_bytes(const tokenizer *t, int32_t id, char *out, size_t cap) {
    (void)t;
    if (id < 0 || id >= FAKE_VOCAB) return 0;
    char byte = (char)id;
    const char *text = id < FAKE_START ? &byte : fake_words[id - FAKE_START];
    size_t len = id < FAKE_START ? 1 : strlen(text);
    if (cap) memcpy(out, text, MIN(len, cap));
    return len;
}

bool tokenizer_is_special(const tokenizer *t, int32_t id) {
    (void)t;
    return id == FAKE_START || id == FAKE_END;
}

/* ---- the core ---- */

enum { FAKE_REQUESTS = 512 };

typedef struct fake_request {
    bool alive, canceled, finished;
    uint32_t prompt_count, tokens;
    uint64_t client, first_by_ns, salt[2];
    sampling params;
    bool max_tokens_given;
    int32_t prompt[64]; /* the first ones */
} fake_request;

struct core {
    streams *streams;
    fake_request requests[FAKE_REQUESTS]; /* by number; 0 is none */
    uint64_t last;
    status refuse; /* what core_submit answers */
    const char *refuse_why;
    uint32_t refuse_after; /* so many are taken first */
    uint32_t retry_s;      /* told with it */
    bool ready, idle;
    const char *const *numerics; /* of the workers: name, value, ..., NULL; NULL = none has joined */
    uint32_t more_workers;       /* beside the usual two */
    uint32_t cached;             /* tokens of every prompt */
    uint32_t drained;            /* 1 + index of the worker that drains; 0 = none */
    uint64_t standing_ns;        /* of the decode worker, which has work */
    core_counters counts;        /* what core_counters_of adds to its own */
    const char *lost;            /* why the last lost worker was lost; NULL = none was */
};

static const sm_state fake_req_states[] = {
    [REQ_NEW] = {"NEW", 0, false},         [REQ_WAIT_PREFILL] = {"WAIT_PREFILL", 0, false},
    [REQ_PREFILL] = {"PREFILL", 0, false}, [REQ_WAIT_KV] = {"WAIT_KV", 0, false},
    [REQ_DECODE] = {"DECODE", 0, false},   [REQ_DONE] = {"DONE", 0, true},
    [REQ_FAILED] = {"FAILED", 0, true},    [REQ_CANCELED] = {"CANCELED", 0, true}};
const sm_def request_sm = {"request", fake_req_states, ARRAY_LEN(fake_req_states)};
static const sm_state fake_member_states[] = {[MEMBER_JOINING] = {"JOINING", 0, false},
                                              [MEMBER_READY] = {"READY", 0, false},
                                              [MEMBER_SUSPECT] = {"SUSPECT", 0, false},
                                              [MEMBER_DRAINING] = {"DRAINING", 0, false},
                                              [MEMBER_GONE] = {"GONE", 0, true}};
const sm_def member_sm = {"worker", fake_member_states, ARRAY_LEN(fake_member_states)};

static void fake_submit(core *c, const core_request *r) {
    CHECK(c->last + 1 < FAKE_REQUESTS);
    fake_request *f = &c->requests[++c->last];
    *f = (fake_request){.alive = true,
                        .prompt_count = r->prompt_count,
                        .params = r->params,
                        .max_tokens_given = r->max_tokens_given,
                        .client = r->client,
                        .first_by_ns = r->first_by_ns,
                        .salt = {r->salt[0], r->salt[1]}};
    memcpy(f->prompt, r->prompt, MIN(r->prompt_count, 64u) * sizeof *r->prompt);
}

status core_submit_all(core *c, const core_request *r, uint32_t count, uint64_t now_ns, uint64_t *reqs,
                       uint32_t *retry_s, errbuf *eb) {
    (void)now_ns;
    if (c->refuse != ST_OK && c->last + count > c->refuse_after) {
        if (c->retry_s) *retry_s = c->retry_s;
        return errf(eb, c->refuse, "%s", c->refuse_why);
    }
    for (uint32_t i = 0; i < count; i++) {
        fake_submit(c, &r[i]);
        reqs[i] = c->last;
    }
    return ST_OK;
}

static void fake_end(core *c, uint64_t req, core_end end) {
    fake_request *f = &c->requests[req];
    if (!f->alive) return;
    f->alive = false;
    core_times t = {.queue_ns = 1000000,
                    .prefill_ns = 2000000,
                    .handoff_ns = 3000000,
                    .decode_wait_ns = 500000,
                    .first_token_ns = 4000000,
                    .decode_ns = 5000000,
                    .total_ns = 10000000,
                    .attempts = 1,
                    .cached_tokens = c->cached};
    streams_end(c->streams, req, &end, &t);
}

static void fake_token(core *c, uint64_t req, token_out t) {
    core_token ct = {.index = c->requests[req].tokens++, .token = t};
    streams_token(c->streams, req, &ct, clock_now_ns());
    if (t.fin != FINISH_NONE) fake_end(c, req, (core_end){.state = REQ_DONE, .fin = t.fin});
}

static inline void fake_text(core *c, uint64_t req, const char *text) {
    for (; *text; text++) fake_token(c, req, (token_out){.id = (unsigned char)*text});
}

void core_cancel(core *c, uint64_t req, uint64_t now_ns) {
    (void)now_ns;
    c->requests[req].canceled = c->requests[req].alive;
    fake_end(c, req, (core_end){.state = REQ_CANCELED});
}

void core_finish(core *c, uint64_t req, uint64_t now_ns) {
    (void)now_ns;
    c->requests[req].finished = true;
    fake_end(c, req, (core_end){.state = REQ_DONE, .fin = FINISH_NONE});
}

/* A prefill and a decode worker, and `more` idle ones. */
bool core_pair(const core *c, uint32_t index, core_pair_info *out);
bool core_pair(const core *c, uint32_t index, core_pair_info *out) {
    (void)c, (void)index, (void)out;
    return false;
}

bool core_worker(const core *c, uint32_t index, uint64_t now_ns, core_worker_info *out) {
    (void)now_ns;
    static char name[32];
    if (index >= 2 + c->more_workers) return false;
    *out = (core_worker_info){.incarnation = 0xabc0 + index,
                              .name = "prefill-0",
                              .host = "here",
                              .role = ROLE_PREFILL,
                              .state = MEMBER_READY,
                              .page_count = 10,
                              .free_pages = 7,
                              .token_age_ns = UINT64_MAX,
                              .beat.pages_used = 3};
    if (index == 0) return true;
    out->role = ROLE_DECODE;
    out->name = "decode-0";
    out->state = c->drained == 2 ? MEMBER_DRAINING : c->ready ? MEMBER_READY : MEMBER_SUSPECT;
    out->page_count = 20;
    out->free_pages = 15;
    out->has_work = c->standing_ns > 0;
    out->standing_ns = c->standing_ns;
    out->token_age_ns = 2500000;
    out->beat.pages_used = 5;
    out->beat.busy_ns[BUSY_DECODE] = 1500000000;
    out->beat.step_bound_ns = 40000000;
    out->beat.step_layers_done = 3;
    out->beat.step_layers = 12;
    out->beat.cache_queries = 80;
    out->beat.cache_hits = 20;
    out->beat.cache_pages = 4;
    out->beat.cache_evictions = 3;
    out->steps_left_out = 7;
    if (index == 1) return true;
    out->standing_ns = 0;
    snprintf(name, sizeof name, "decode-%u", index - 1);
    out->name = name;
    out->beat.pages_used = 0;
    return true;
}

void core_holding_of(const core *c, uint32_t index, core_holding *out) {
    (void)c;
    *out = index == 0   ? (core_holding){.computing = 1, .parked = 2, .pages_pinned = 2}
           : index == 1 ? (core_holding){.reserved = 1, .decoding = 3, .pages_reserved = 1}
                        : (core_holding){0};
}

const char *core_retry_name(core_retry why) {
    static const char *const names[] = {"death",         "handoff_failed", "timeout",
                                        "worker_failed", "preempted",      "no_room"};
    return names[why];
}

const char *core_event_name(core_event_kind kind) {
    static const char *const names[EVENT_COUNT] = {
        [EVENT_JOIN] = "join", [EVENT_CANCELED] = "canceled", [EVENT_CLIENT_LEFT] = "client_left"};
    return names[kind] ? names[kind] : "other";
}

void core_worker_id(uint64_t incarnation, char out[static CORE_WORKER_ID_MAX]) {
    snprintf(out, CORE_WORKER_ID_MAX, "%016" PRIx64, incarnation);
}

status core_worker_called(const core *c, const char *worker, uint32_t *index, errbuf *eb) {
    core_worker_info info;
    for (uint32_t i = 0; core_worker(c, i, 1, &info); i++) {
        if (strcmp(info.name, worker) != 0) continue;
        *index = i;
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "no worker is called %s", worker);
}

void core_drain(core *c, uint32_t index, uint64_t now_ns) {
    (void)now_ns;
    c->drained = index + 1;
}

status core_undrain(core *c, uint32_t index, uint64_t now_ns, errbuf *eb) {
    (void)now_ns;
    if (c->drained != index + 1) return errf(eb, ST_INVALID, "it leaves already");
    c->drained = 0;
    return ST_OK;
}

/* numerics: pairs of name and value, NULL at the end, or none at all. */
const char *core_numeric(const core *c, const char *name) {
    for (const char *const *n = c->numerics; n && *n; n += 2)
        if (strcmp(n[0], name) == 0) return n[1];
    return NULL;
}

bool core_last_lost(const core *c, core_lost *out, uint64_t now_ns) {
    (void)now_ns;
    if (!c->lost) return false;
    *out = (core_lost){.worker = "decode-1", .why = c->lost, .age_ns = 1500000};
    return true;
}

bool core_ready(const core *c) {
    return c->ready;
}

void core_counters_of(const core *c, core_counters *out) {
    *out = c->counts;
    out->submitted = c->last;
    out->handoffs_verified = 7;
    out->workers_joined = 3;
    out->cache_queries = 80;
    out->cache_hits = 48;
    out->requests[REQ_DECODE] = c->idle ? 0 : 2;
}

uint32_t core_alive(const core *c, uint64_t now_ns, core_record *out, uint32_t max) {
    (void)c, (void)now_ns, (void)out, (void)max;
    return 0;
}

uint32_t core_handoffs(const core *c, uint64_t now_ns, core_handoff *out, uint32_t max) {
    (void)c, (void)now_ns;
    if (max) out[0] = (core_handoff){.req = 9, .prefill = "prefill-0", .age_ns = 2500000};
    return 1;
}

const char *core_stage_name(core_stage stage) {
    static const char *const names[] = {"queue", "prefill", "hand-off", "decode wait", "decode"};
    return names[stage];
}

bool core_request_times(const core *c, uint64_t req, uint64_t now_ns, core_times *out) {
    (void)c, (void)req, (void)now_ns, (void)out;
    return false;
}

/* ---- the world around them ---- */

/* ChatML, read before main so that the tables below can point to it. */
static chat_template fake_chat;

__attribute__((constructor)) static void fake_chat_init(void) {
    static const char text[] = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + "
                               "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
                               "{{ '<|im_start|>assistant\n' }}{% endif %}";
    status st = jinja_new(&fake_chat.program, text, sizeof text - 1, NULL);
    CHECK(st == ST_OK);
}

__attribute__((destructor)) static void fake_chat_done(void) {
    chat_template_done(&fake_chat);
}

static const text_env fake_env = {
    .tok = &fake_tokenizer,
    .chat = &fake_chat,
    .model = {"tiny", FAKE_CONTEXT, FAKE_VOCAB, .json_depth = 128, .masks = true}};

#endif
