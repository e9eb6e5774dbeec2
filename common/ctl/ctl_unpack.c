/* The receive half of ctl: bytes from a peer become a ctl_msg, or ST_CORRUPT.
 *
 * protobuf-c parses into many small allocations, which are checked and then copied into one block that the
 * ctl_msg owns. The block is laid out by running the same `fill` twice: a first pass without memory counts, a
 * second one copies. So the two can not disagree. Nothing here trusts the bytes: lengths, counts, enums,
 * signs and floats are checked before a struct is filled, and the parser's allocator has a budget, since a
 * few bytes of input can ask for a hundred of memory. */
#include "ctl/ctl.h"

#include "base/mem.h"
#include "ctl/ctl_limits.h"
#include "ctl/ctl_tokens.h"
#include "proto/control.pb-c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct budget {
    size_t left;
} budget;

static void *budget_alloc(void *ctx, size_t bytes) {
    budget *b = ctx;
    if (bytes > b->left) return NULL;
    b->left -= bytes;
    return malloc(bytes ? bytes : 1);
}

static void budget_free(void *ctx, void *p) {
    (void)ctx;
    free(p);
}

/* Which body each kind carries; BODY__NOT_SET = none. */
static const Baton__ControlMessage__BodyCase bodies[CTL_KIND_COUNT] = {
    [CTL_JOIN] = BATON__CONTROL_MESSAGE__BODY_JOIN,
    [CTL_HEARTBEAT] = BATON__CONTROL_MESSAGE__BODY_HEARTBEAT,
    [CTL_NO_ROOM] = BATON__CONTROL_MESSAGE__BODY_FAILED,
    [CTL_RESERVED] = BATON__CONTROL_MESSAGE__BODY_RESERVED,
    [CTL_TOKENS] = BATON__CONTROL_MESSAGE__BODY_TOKENS,
    [CTL_VERIFIED] = BATON__CONTROL_MESSAGE__BODY_VERIFIED,
    [CTL_HANDOFF_FAILED] = BATON__CONTROL_MESSAGE__BODY_FAILED,
    [CTL_FAILED] = BATON__CONTROL_MESSAGE__BODY_FAILED,
    [CTL_LEAVING] = BATON__CONTROL_MESSAGE__BODY_FAILED,
    [CTL_WELCOME] = BATON__CONTROL_MESSAGE__BODY_WELCOME,
    [CTL_REFUSED] = BATON__CONTROL_MESSAGE__BODY_REFUSED,
    [CTL_PREFILL] = BATON__CONTROL_MESSAGE__BODY_WORK,
    [CTL_RESERVE] = BATON__CONTROL_MESSAGE__BODY_WORK,
    [CTL_DEST] = BATON__CONTROL_MESSAGE__BODY_DEST,
    [CTL_PEER] = BATON__CONTROL_MESSAGE__BODY_DEST,
    [CTL_PEER_GONE] = BATON__CONTROL_MESSAGE__BODY_DEST,
    [CTL_PAIR] = BATON__CONTROL_MESSAGE__BODY_PAIR,
    [CTL_PROMPT] = BATON__CONTROL_MESSAGE__BODY_PROMPT,
};

/* ---- checks ---- */

static status check_text(const char *name, const char *s, errbuf *eb) {
    size_t len = strlen(s);
    if (len > CTL_STRING_MAX)
        return errf(eb, ST_CORRUPT, "%s: %zu bytes, at most %u are legal", name, len, CTL_STRING_MAX);
    return ST_OK;
}

static status check_count(const char *name, size_t count, size_t max, errbuf *eb) {
    if (count > max) return errf(eb, ST_CORRUPT, "%s: %zu entries, at most %zu are legal", name, count, max);
    return ST_OK;
}

static status check_ids(const char *name, const int32_t *ids, size_t count, errbuf *eb) {
    status st = check_count(name, count, CTL_IDS_MAX, eb);
    for (size_t i = 0; st == ST_OK && i < count; i++)
        if (ids[i] < 0) st = errf(eb, ST_CORRUPT, "%s: entry %zu is %d, no token id", name, i, ids[i]);
    return st;
}

static status check_join(const Baton__Join *j, errbuf *eb) {
    if ((uint32_t)j->role >= ROLE_COUNT) return errf(eb, ST_CORRUPT, "role: %d is unknown", (int)j->role);
    status st = check_text("name", j->name, eb);
    if (st == ST_OK) st = check_text("host", j->host, eb);
    if (st == ST_OK) st = check_text("endpoint", j->endpoint, eb);
    if (st == ST_OK) st = check_text("transport", j->transport, eb);
    if (st == ST_OK) st = check_count("numerics", j->n_numerics, CTL_NUMERICS_MAX, eb);
    for (size_t i = 0; st == ST_OK && i < j->n_numerics; i++) {
        st = check_text("numerics name", j->numerics[i]->name, eb);
        if (st == ST_OK) st = check_text("numerics value", j->numerics[i]->value, eb);
    }
    return st;
}

static status check_sampling(const Baton__Sampling *p, errbuf *eb) {
    const struct {
        const char *name;
        float value;
    } floats[] = {
        {"temperature", p->temperature},
        {"top_p", p->top_p},
        {"min_p", p->min_p},
        {"repetition_penalty", p->repetition_penalty},
        {"presence_penalty", p->presence_penalty},
        {"frequency_penalty", p->frequency_penalty},
    };
    for (size_t i = 0; i < ARRAY_LEN(floats); i++)
        if (!isfinite(floats[i].value))
            return errf(eb, ST_CORRUPT, "%s: not a finite number", floats[i].name);
    if (p->logprobs < -1 || p->logprobs > SAMPLING_LOGPROBS_MAX)
        return errf(eb, ST_CORRUPT, "logprobs: %d, want -1..%d", p->logprobs, SAMPLING_LOGPROBS_MAX);
    if (p->prompt_logprobs < -1 || p->prompt_logprobs > SAMPLING_LOGPROBS_MAX)
        return errf(eb, ST_CORRUPT, "prompt_logprobs: %d, want -1..%d", p->prompt_logprobs,
                    SAMPLING_LOGPROBS_MAX);
    status st = check_count("stop_ids", p->n_stop_ids, SAMPLING_STOP_IDS_MAX, eb);
    if (st == ST_OK) st = check_count("bias_ids", p->n_bias_ids, SAMPLING_BIAS_MAX, eb);
    if (st != ST_OK) return st;
    if (p->spec.len > SAMPLING_SPEC_MAX)
        return errf(eb, ST_CORRUPT, "spec: %zu bytes, want at most %u", p->spec.len, SAMPLING_SPEC_MAX);
    if (p->n_biases != p->n_bias_ids)
        return errf(eb, ST_CORRUPT, "biases: %zu for %zu ids", p->n_biases, p->n_bias_ids);
    for (size_t i = 0; i < p->n_biases; i++)
        if (!isfinite(p->biases[i]))
            return errf(eb, ST_CORRUPT, "biases: entry %zu is not a finite number", i);
    return ST_OK;
}

static status check_work(const Baton__Work *w, errbuf *eb) {
    if (!w->params) return errf(eb, ST_CORRUPT, "params: missing");
    status st = check_ids("prompt", w->prompt, w->n_prompt, eb);
    if (st == ST_OK) st = check_ids("output", w->output, w->n_output, eb);
    if (st == ST_OK) st = check_sampling(w->params, eb);
    return st;
}

static status check_heartbeat(const Baton__Heartbeat *h, errbuf *eb) {
    status st = check_count("step_ages_us", h->n_step_ages_us, CTL_STEPS_MAX, eb);
    if (st != ST_OK) return st;
    const struct {
        const char *name;
        size_t count;
        bool optional; /* all or none */
    } others[] = {{"step_durations_us", h->n_step_durations_us, false},
                  {"step_prefill_rows", h->n_step_prefill_rows, false},
                  {"step_decode_rows", h->n_step_decode_rows, false},
                  {"step_chunks", h->n_step_chunks, true},
                  {"step_squares", h->n_step_squares, true},
                  {"step_contexts", h->n_step_contexts, true}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i].count != h->n_step_ages_us && !(others[i].optional && others[i].count == 0))
            return errf(eb, ST_CORRUPT, "%s: %zu for %zu steps", others[i].name, others[i].count,
                        h->n_step_ages_us);
    return ST_OK;
}

/* The chosen token's logprob is not checked: it has no meaning where none was asked for. */
static status check_tokens(const Baton__Tokens *t, errbuf *eb) {
    status st = check_count("tokens", t->n_tokens, CTL_TOKENS_MAX, eb);
    for (size_t i = 0; st == ST_OK && i < t->n_tokens; i++) {
        const Baton__Token *k = t->tokens[i];
        if (k->id < 0) return errf(eb, ST_CORRUPT, "tokens: entry %zu is %d, no token id", i, k->id);
        if ((uint32_t)k->fin > FINISH_LENGTH) return errf(eb, ST_CORRUPT, "fin: %d is unknown", (int)k->fin);
        if (k->n_top_logprobs != k->n_top_ids)
            return errf(eb, ST_CORRUPT, "top_logprobs: %zu for %zu ids", k->n_top_logprobs, k->n_top_ids);
        st = check_count("top_ids", k->n_top_ids, SAMPLING_LOGPROBS_MAX, eb);
        for (size_t n = 0; st == ST_OK && n < k->n_top_ids; n++)
            if (isnan(k->top_logprobs[n])) return errf(eb, ST_CORRUPT, "top_logprobs: not a number");
    }
    return st;
}

static status check_prompt(const Baton__Prompt *p, errbuf *eb) {
    status st = check_count("logprobs", p->n_logprobs, CTL_PROMPT_MAX, eb);
    if (st != ST_OK) return st;
    size_t rows = p->n_logprobs, top = rows ? p->n_top_ids / rows : 0;
    if (p->begin == 0) return errf(eb, ST_CORRUPT, "begin: the first token of a prompt has no logprob");
    if (p->n_ranks != rows) return errf(eb, ST_CORRUPT, "ranks: %zu for %zu logprobs", p->n_ranks, rows);
    if (p->n_top_ids != rows * top || p->n_top_logprobs != p->n_top_ids)
        return errf(eb, ST_CORRUPT, "top_logprobs: %zu for %zu ids of %zu tokens", p->n_top_logprobs,
                    p->n_top_ids, rows);
    st = check_count("top_ids", top, SAMPLING_LOGPROBS_MAX, eb);
    for (size_t i = 0; st == ST_OK && i < rows; i++)
        if (isnan(p->logprobs[i])) return errf(eb, ST_CORRUPT, "logprobs: not a number");
    for (size_t i = 0; st == ST_OK && i < p->n_top_ids; i++) {
        if (p->top_ids[i] < 0) return errf(eb, ST_CORRUPT, "top_ids: %d is no token id", p->top_ids[i]);
        if (isnan(p->top_logprobs[i])) return errf(eb, ST_CORRUPT, "top_logprobs: not a number");
    }
    return st;
}

static status check(const Baton__ControlMessage *pb, errbuf *eb) {
    if ((uint32_t)pb->kind == CTL_NONE || (uint32_t)pb->kind >= CTL_KIND_COUNT)
        return errf(eb, ST_CORRUPT, "kind: %d is unknown", (int)pb->kind);
    const char *kind = ctl_kind_name((ctl_kind)pb->kind);
    if (pb->body_case != bodies[pb->kind])
        return errf(eb, ST_CORRUPT, "%s: has body %d, want %d", kind, (int)pb->body_case,
                    (int)bodies[pb->kind]);
    status st = ST_OK;
    switch (pb->body_case) {
    case BATON__CONTROL_MESSAGE__BODY_JOIN:
        st = check_join(pb->join, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_WELCOME:
        st = check_text("name", pb->welcome->name, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_REFUSED:
        st = check_text("field", pb->refused->field, eb);
        if (st == ST_OK) st = check_text("why", pb->refused->why, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_WORK:
        st = check_work(pb->work, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_DEST:
        st = check_text("endpoint", pb->dest->endpoint, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_TOKENS:
        st = check_tokens(pb->tokens, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_PROMPT:
        st = check_prompt(pb->prompt, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_FAILED:
        st = check_text("why", pb->failed->why, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_PAIR:
        st = check_text("transport", pb->pair->transport, eb);
        if (st == ST_OK) st = check_text("why", pb->pair->why, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY_HEARTBEAT:
        st = check_heartbeat(pb->heartbeat, eb);
        break;
    case BATON__CONTROL_MESSAGE__BODY__NOT_SET:
    case BATON__CONTROL_MESSAGE__BODY_RESERVED:
    case BATON__CONTROL_MESSAGE__BODY_VERIFIED:
    case _BATON__CONTROL_MESSAGE__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return st == ST_OK ? st : err_prefix(eb, st, "%s", kind);
}

/* ---- the block: base is NULL while counting ---- */

typedef struct block {
    char *base;
    size_t used;
} block;

static void *take(block *b, size_t bytes) {
    size_t at = b->used;
    b->used += (bytes + 7) & ~(size_t)7;
    return b->base && bytes ? b->base + at : NULL;
}

static void *take_copy(block *b, const void *from, size_t bytes) {
    void *to = take(b, bytes);
    if (to) memcpy(to, from, bytes);
    return to;
}

static const char *take_text(block *b, const char *s) {
    return take_copy(b, s, strlen(s) + 1);
}

static void fill_join(block *b, const Baton__Join *from, ctl_join *to) {
    ctl_numeric *numerics = take(b, from->n_numerics * sizeof *numerics);
    for (size_t i = 0; i < from->n_numerics; i++) {
        ctl_numeric one = {.name = take_text(b, from->numerics[i]->name),
                           .value = take_text(b, from->numerics[i]->value)};
        if (numerics) numerics[i] = one;
    }
    *to = (ctl_join){
        .role = (worker_role)from->role,
        .name = take_text(b, from->name),
        .host = take_text(b, from->host),
        .pid = from->pid,
        .endpoint = take_text(b, from->endpoint),
        .transport = take_text(b, from->transport),
        .page_count = from->page_count,
        .page_tokens = from->page_tokens,
        .max_seqs = from->max_seqs,
        .max_rows = from->max_rows,
        .max_context = from->max_context,
        .kv_token_bytes = from->kv_token_bytes,
        .last_incarnation = from->last_incarnation,
        .numerics = numerics,
        .numeric_count = (uint32_t)from->n_numerics,
    };
}

static void fill_heartbeat(block *b, const Baton__Heartbeat *from, ctl_heartbeat *to) {
    ctl_step *steps = take(b, from->n_step_ages_us * sizeof *steps);
    for (size_t i = 0; steps && i < from->n_step_ages_us; i++)
        steps[i] = (ctl_step){.age_us = from->step_ages_us[i],
                              .duration_us = from->step_durations_us[i],
                              .sums = {.tokens = from->step_prefill_rows[i],
                                       .batch = from->step_decode_rows[i],
                                       .chunks = from->n_step_chunks ? from->step_chunks[i] : 0,
                                       .squares = from->n_step_squares ? from->step_squares[i] : 0,
                                       .context = from->n_step_contexts ? from->step_contexts[i] : 0}};
    *to = (ctl_heartbeat){
        .step = from->step,
        .step_age_ns = from->step_age_ns,
        .step_bound_ns = from->step_bound_ns,
        .step_layers_done = from->step_layers_done,
        .step_layers = from->step_layers,
        .running = from->running,
        .waiting = from->waiting,
        .parked = from->parked,
        .sends_pending = from->sends_pending,
        .decode_rows = from->decode_rows,
        .decode_steps = from->decode_steps,
        .prefill_rows = from->prefill_rows,
        .xfer_segments = from->xfer_segments,
        .xfer_bytes = from->xfer_bytes,
        .xfer_failures = from->xfer_failures,
        .stale = from->stale,
        .pages_used = from->pages_used,
        .drain = from->drain,
        .busy_ns = {[BUSY_PREFILL] = from->busy_prefill_ns,
                    [BUSY_DECODE] = from->busy_decode_ns,
                    [BUSY_MIXED] = from->busy_mixed_ns},
        .steps = steps,
        .step_count = (uint32_t)from->n_step_ages_us,
        .steps_left_out = from->steps_left_out,
        .cache_queries = from->cache_queries,
        .cache_hits = from->cache_hits,
        .cache_pages = from->cache_pages,
        .cache_evictions = from->cache_evictions,
    };
}

static sampling fill_sampling(block *b, const Baton__Sampling *from) {
    sampling_bias *bias = take(b, from->n_biases * sizeof *bias);
    for (size_t i = 0; bias && i < from->n_biases; i++)
        bias[i] = (sampling_bias){.id = from->bias_ids[i], .bias = from->biases[i]};
    return (sampling){
        .temperature = from->temperature,
        .top_p = from->top_p,
        .min_p = from->min_p,
        .top_k = from->top_k,
        .repetition_penalty = from->repetition_penalty,
        .presence_penalty = from->presence_penalty,
        .frequency_penalty = from->frequency_penalty,
        .seed = from->seed,
        .choice = from->choice,
        .max_tokens = from->max_tokens,
        .min_tokens = from->min_tokens,
        .ignore_eos = from->ignore_eos,
        .logprobs = from->logprobs,
        .prompt_logprobs = from->prompt_logprobs,
        .stop_id_count = (uint32_t)from->n_stop_ids,
        .bias_count = (uint32_t)from->n_biases,
        .stop_ids = take_copy(b, from->stop_ids, from->n_stop_ids * sizeof *from->stop_ids),
        .bias = bias,
        .spec = take_copy(b, from->spec.data, from->spec.len),
        .spec_len = (uint32_t)from->spec.len,
    };
}

static void fill_work(block *b, const Baton__Work *from, ctl_work *to) {
    *to = (ctl_work){
        .prompt = take_copy(b, from->prompt, from->n_prompt * sizeof *from->prompt),
        .prompt_count = (uint32_t)from->n_prompt,
        .output = take_copy(b, from->output, from->n_output * sizeof *from->output),
        .output_count = (uint32_t)from->n_output,
        .params = fill_sampling(b, from->params),
        .then_decode = from->then_decode,
        .p_inc = from->p_inc,
        .ids_hash = from->ids_hash,
        .cache = from->cache,
        .salt = {from->salt0, from->salt1},
    };
}

static void fill_tokens(block *b, const Baton__Tokens *from, ctl_tokens *to) {
    ctl_token *tokens = take(b, from->n_tokens * sizeof *tokens);
    for (size_t i = 0; tokens && i < from->n_tokens; i++) {
        const Baton__Token *k = from->tokens[i];
        tokens[i] = (ctl_token){
            .req = k->req,
            .attempt = k->attempt,
            .index = k->index,
            .token = {.id = k->id,
                      .fin = (finish)k->fin,
                      .logprob = k->logprob,
                      .top_count = (uint32_t)k->n_top_ids},
            .cached = k->cached,
        };
        for (size_t n = 0; n < k->n_top_ids; n++)
            tokens[i].token.top[n] = (token_logprob){.id = k->top_ids[n], .logprob = k->top_logprobs[n]};
    }
    *to = (ctl_tokens){.tokens = tokens, .count = (uint32_t)from->n_tokens};
}

static void fill_prompt(block *b, const Baton__Prompt *from, ctl_prompt *to) {
    size_t count = from->n_logprobs, top = count ? from->n_top_ids / count : 0;
    token_out *rows = take(b, count * sizeof *rows);
    for (size_t i = 0; rows && i < count; i++) {
        rows[i] =
            (token_out){.logprob = from->logprobs[i], .rank = from->ranks[i], .top_count = (uint32_t)top};
        for (size_t k = 0; k < top; k++)
            rows[i].top[k] = (token_logprob){from->top_ids[i * top + k], from->top_logprobs[i * top + k]};
    }
    *to = (ctl_prompt){.begin = from->begin, .rows = rows, .count = (uint32_t)count, .done = from->done};
}

static void fill(block *b, const Baton__ControlMessage *pb, ctl_msg *m) {
    *m = (ctl_msg){
        .kind = (ctl_kind)pb->kind,
        .epoch = pb->epoch,
        .incarnation = pb->incarnation,
        .req = pb->req,
        .attempt = pb->attempt,
        .free_pages = pb->free_pages,
    };
    switch (pb->body_case) {
    case BATON__CONTROL_MESSAGE__BODY_JOIN:
        fill_join(b, pb->join, &m->join);
        break;
    case BATON__CONTROL_MESSAGE__BODY_WELCOME:
        m->welcome = (ctl_welcome){.lease_ns = pb->welcome->lease_ns,
                                   .heartbeat_ns = pb->welcome->heartbeat_ns,
                                   .name = take_text(b, pb->welcome->name)};
        break;
    case BATON__CONTROL_MESSAGE__BODY_REFUSED:
        m->refused.field = take_text(b, pb->refused->field);
        m->refused.why = take_text(b, pb->refused->why);
        break;
    case BATON__CONTROL_MESSAGE__BODY_HEARTBEAT:
        fill_heartbeat(b, pb->heartbeat, &m->heartbeat);
        break;
    case BATON__CONTROL_MESSAGE__BODY_WORK:
        fill_work(b, pb->work, &m->work);
        break;
    case BATON__CONTROL_MESSAGE__BODY_RESERVED:
        m->reserved = (ctl_reserved){.d_have = pb->reserved->d_have};
        break;
    case BATON__CONTROL_MESSAGE__BODY_DEST:
        m->dest = (ctl_dest){.d_inc = pb->dest->d_inc,
                             .endpoint = take_text(b, pb->dest->endpoint),
                             .new_attempt = pb->dest->new_attempt,
                             .token_begin = pb->dest->token_begin};
        break;
    case BATON__CONTROL_MESSAGE__BODY_TOKENS:
        fill_tokens(b, pb->tokens, &m->tokens);
        break;
    case BATON__CONTROL_MESSAGE__BODY_PROMPT:
        fill_prompt(b, pb->prompt, &m->prompt);
        break;
    case BATON__CONTROL_MESSAGE__BODY_FAILED:
        m->failed = (ctl_failed){.segment = pb->failed->segment, .why = take_text(b, pb->failed->why)};
        break;
    case BATON__CONTROL_MESSAGE__BODY_VERIFIED:
        m->verified = (ctl_verified){.bytes = pb->verified->bytes,
                                     .segments = pb->verified->segments,
                                     .exposed_ns = pb->verified->exposed_ns};
        break;
    case BATON__CONTROL_MESSAGE__BODY_PAIR:
        m->pair = (ctl_pair){.d_inc = pb->pair->d_inc,
                             .transport = take_text(b, pb->pair->transport),
                             .open = pb->pair->open,
                             .latency_ns = pb->pair->latency_ns,
                             .bytes_per_s = pb->pair->bytes_per_s,
                             .why = take_text(b, pb->pair->why)};
        break;
    case BATON__CONTROL_MESSAGE__BODY__NOT_SET:
    case _BATON__CONTROL_MESSAGE__BODY__CASE_IS_INT_SIZE:
        break;
    }
}

status ctl_unpack(const void *bytes, size_t count, ctl_msg *out, errbuf *eb) {
    PRE(out);
    PRE(bytes || count == 0);
    if (count > CTL_BYTES_MAX)
        return errf(eb, ST_CORRUPT, "control message: %zu bytes, at most %u are legal", count, CTL_BYTES_MAX);

    if (ctl_tokens_unpack(bytes, count, out)) return ST_OK;
    budget left = {.left = CTL_UNPACK_MAX};
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &left};
    Baton__ControlMessage *pb = baton__control_message__unpack(&allocator, count, bytes);
    if (!pb) return errf(eb, ST_CORRUPT, "control message: %zu bytes that are no protobuf message", count);

    status st = check(pb, eb);
    if (st == ST_OK) {
        ctl_msg m;
        block b = {0};
        fill(&b, pb, &m);
        if (b.used) {
            size_t want = b.used;
            b = (block){.base = xmalloc(want)};
            fill(&b, pb, &m);
            POST(b.used == want);
        }
        m.owned = b.base;
        *out = m;
    } else {
        err_prefix(eb, st, "control message");
    }
    baton__control_message__free_unpacked(pb, &allocator);
    return st;
}

void ctl_done(ctl_msg *m) {
    if (!m) return;
    free(m->owned);
    *m = (ctl_msg){0};
}
