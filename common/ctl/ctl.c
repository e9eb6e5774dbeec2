/* The send half of ctl: names, and packing into the generated protobuf structs.
 *
 * The generated structs only borrow from the ctl_msg, except where the shapes differ (tokens, biases, names
 * of numerics): those arrays come from one scratch block that is freed before ctl_pack returns. Field by
 * field copies are dull on purpose: the wire form may grow fields without touching pure code. */
#include "ctl/ctl.h"

#include "base/mem.h"
#include "ctl/ctl_limits.h"
#include "proto/control.pb-c.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)CTL_PROMPT == (int)BATON__KIND__PROMPT, "ctl_kind and Kind number alike");
static_assert((int)CTL_LEAVING == (int)BATON__KIND__LEAVING, "ctl_kind and Kind number alike");
static_assert((int)ROLE_COLOCATED == (int)BATON__ROLE__ROLE_COLOCATED, "worker_role and Role number alike");
static_assert((int)FINISH_LENGTH == (int)BATON__FINISH__FINISH_LENGTH, "finish and Finish number alike");

const char *ctl_kind_name(ctl_kind kind) {
    static const char *const names[CTL_KIND_COUNT] = {
        "NONE",           "JOIN",      "HEARTBEAT", "NO_ROOM", "RESERVED",  "TOKENS",  "VERIFIED",
        "HANDOFF_FAILED", "PREEMPTED", "FAILED",    "CLOSED",  "DRAINED",   "LEAVING", "WELCOME",
        "REFUSED",        "ACK",       "PREFILL",   "RESERVE", "DEST",      "RELEASE", "CANCEL",
        "DROP",           "DRAIN",     "EXIT",      "PEER",    "PEER_GONE", "PAIR",    "PROMPT",
    };
    PRE(kind < CTL_KIND_COUNT);
    return names[kind];
}

/* protobuf-c wants char *, and "" where there is nothing. It only reads. */
static char *text(const char *s) {
    return (char *)(s ? s : "");
}

static void emit(Baton__ControlMessage *pb, Baton__ControlMessage__BodyCase body, buf *out) {
    pb->body_case = body;
    /* Not into a ProtobufCBuffer, which is called for each id of a prompt. */
    char *to = buf_grow(out, baton__control_message__get_packed_size(pb));
    (void)baton__control_message__pack(pb, (uint8_t *)to);
}

static void pack_join(const ctl_join *j, Baton__ControlMessage *pb, buf *out) {
    PRE(j->role < ROLE_COUNT);
    PRE(j->numeric_count <= CTL_NUMERICS_MAX);
    Baton__Numeric numerics[CTL_NUMERICS_MAX];
    Baton__Numeric *list[CTL_NUMERICS_MAX];
    for (uint32_t i = 0; i < j->numeric_count; i++) {
        baton__numeric__init(&numerics[i]);
        numerics[i].name = text(j->numerics[i].name);
        numerics[i].value = text(j->numerics[i].value);
        list[i] = &numerics[i];
    }
    Baton__Join body = BATON__JOIN__INIT;
    body.role = (Baton__Role)j->role;
    body.name = text(j->name);
    body.host = text(j->host);
    body.pid = j->pid;
    body.endpoint = text(j->endpoint);
    body.transport = text(j->transport);
    body.page_count = j->page_count;
    body.page_tokens = j->page_tokens;
    body.max_seqs = j->max_seqs;
    body.max_rows = j->max_rows;
    body.max_context = j->max_context;
    body.kv_token_bytes = j->kv_token_bytes;
    body.last_incarnation = j->last_incarnation;
    body.n_numerics = j->numeric_count;
    body.numerics = list;
    pb->join = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_JOIN, out);
}

static void pack_heartbeat(const ctl_heartbeat *h, Baton__ControlMessage *pb, buf *out) {
    PRE(h->step_count <= CTL_STEPS_MAX);
    uint32_t ages[CTL_STEPS_MAX], durations[CTL_STEPS_MAX];
    uint32_t prefill_rows[CTL_STEPS_MAX], decode_rows[CTL_STEPS_MAX], chunks[CTL_STEPS_MAX];
    uint64_t squares[CTL_STEPS_MAX], contexts[CTL_STEPS_MAX];
    for (uint32_t i = 0; i < h->step_count; i++) {
        ages[i] = h->steps[i].age_us;
        durations[i] = h->steps[i].duration_us;
        prefill_rows[i] = (uint32_t)h->steps[i].sums.tokens;
        decode_rows[i] = h->steps[i].sums.batch;
        chunks[i] = h->steps[i].sums.chunks;
        squares[i] = h->steps[i].sums.squares;
        contexts[i] = h->steps[i].sums.context;
    }
    Baton__Heartbeat body = BATON__HEARTBEAT__INIT;
    body.step = h->step;
    body.step_age_ns = h->step_age_ns;
    body.step_bound_ns = h->step_bound_ns;
    body.step_layers_done = h->step_layers_done;
    body.step_layers = h->step_layers;
    body.running = h->running;
    body.waiting = h->waiting;
    body.parked = h->parked;
    body.sends_pending = h->sends_pending;
    body.decode_rows = h->decode_rows;
    body.decode_steps = h->decode_steps;
    body.prefill_rows = h->prefill_rows;
    body.xfer_segments = h->xfer_segments;
    body.xfer_bytes = h->xfer_bytes;
    body.xfer_failures = h->xfer_failures;
    body.stale = h->stale;
    body.pages_used = h->pages_used;
    body.drain = h->drain;
    body.busy_prefill_ns = h->busy_ns[BUSY_PREFILL];
    body.busy_decode_ns = h->busy_ns[BUSY_DECODE];
    body.busy_mixed_ns = h->busy_ns[BUSY_MIXED];
    body.n_step_ages_us = body.n_step_durations_us = h->step_count;
    body.n_step_prefill_rows = body.n_step_decode_rows = h->step_count;
    body.n_step_chunks = body.n_step_squares = body.n_step_contexts = h->step_count;
    body.step_ages_us = ages;
    body.step_durations_us = durations;
    body.step_prefill_rows = prefill_rows;
    body.step_decode_rows = decode_rows;
    body.step_chunks = chunks;
    body.step_squares = squares;
    body.step_contexts = contexts;
    body.steps_left_out = h->steps_left_out;
    body.cache_queries = h->cache_queries;
    body.cache_hits = h->cache_hits;
    body.cache_pages = h->cache_pages;
    body.cache_evictions = h->cache_evictions;
    pb->heartbeat = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_HEARTBEAT, out);
}

static void pack_work(const ctl_work *w, Baton__ControlMessage *pb, buf *out) {
    const sampling *p = &w->params;
    PRE(w->prompt_count <= CTL_IDS_MAX);
    PRE(w->output_count <= CTL_IDS_MAX);
    PRE(p->stop_id_count <= SAMPLING_STOP_IDS_MAX);
    PRE(p->bias_count <= SAMPLING_BIAS_MAX);
    PRE(p->spec_len <= SAMPLING_SPEC_MAX);
    PRE(p->logprobs >= -1);
    PRE(p->logprobs <= SAMPLING_LOGPROBS_MAX);
    PRE(p->prompt_logprobs >= -1);
    PRE(p->prompt_logprobs <= SAMPLING_LOGPROBS_MAX);

    int32_t bias_ids[SAMPLING_BIAS_MAX];
    float biases[SAMPLING_BIAS_MAX];
    for (uint32_t i = 0; i < p->bias_count; i++) {
        bias_ids[i] = p->bias[i].id;
        biases[i] = p->bias[i].bias;
    }
    Baton__Sampling params = BATON__SAMPLING__INIT;
    params.temperature = p->temperature;
    params.top_p = p->top_p;
    params.min_p = p->min_p;
    params.top_k = p->top_k;
    params.repetition_penalty = p->repetition_penalty;
    params.presence_penalty = p->presence_penalty;
    params.frequency_penalty = p->frequency_penalty;
    params.seed = p->seed;
    params.choice = p->choice;
    params.max_tokens = p->max_tokens;
    params.min_tokens = p->min_tokens;
    params.ignore_eos = p->ignore_eos;
    params.logprobs = p->logprobs;
    params.prompt_logprobs = p->prompt_logprobs;
    params.n_stop_ids = p->stop_id_count;
    params.stop_ids = (int32_t *)p->stop_ids;
    params.n_bias_ids = p->bias_count;
    params.bias_ids = bias_ids;
    params.n_biases = p->bias_count;
    params.biases = biases;
    params.spec = (ProtobufCBinaryData){.len = p->spec_len, .data = (uint8_t *)p->spec};

    Baton__Work body = BATON__WORK__INIT;
    body.n_prompt = w->prompt_count;
    body.prompt = (int32_t *)w->prompt;
    body.n_output = w->output_count;
    body.output = (int32_t *)w->output;
    body.params = &params;
    body.then_decode = w->then_decode;
    body.p_inc = w->p_inc;
    body.ids_hash = w->ids_hash;
    body.cache = w->cache;
    body.salt0 = w->salt[0];
    body.salt1 = w->salt[1];
    pb->work = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_WORK, out);
}

static void pack_tokens(const ctl_tokens *t, Baton__ControlMessage *pb, buf *out) {
    PRE(t->count <= CTL_TOKENS_MAX);
    typedef struct row {
        Baton__Token token;
        int32_t ids[SAMPLING_LOGPROBS_MAX];
        float logprobs[SAMPLING_LOGPROBS_MAX];
    } row;
    row *rows = xmalloc(t->count * sizeof *rows);
    Baton__Token **list = xmalloc(t->count * sizeof(Baton__Token *));
    for (uint32_t i = 0; i < t->count; i++) {
        const ctl_token *from = &t->tokens[i];
        PRE(from->token.top_count <= SAMPLING_LOGPROBS_MAX);
        Baton__Token *to = &rows[i].token;
        baton__token__init(to);
        to->req = from->req;
        to->attempt = from->attempt;
        to->index = from->index;
        to->id = from->token.id;
        to->fin = (Baton__Finish)from->token.fin;
        to->logprob = from->token.logprob;
        to->cached = from->cached;
        for (uint32_t k = 0; k < from->token.top_count; k++) {
            rows[i].ids[k] = from->token.top[k].id;
            rows[i].logprobs[k] = from->token.top[k].logprob;
        }
        to->n_top_ids = to->n_top_logprobs = from->token.top_count;
        to->top_ids = rows[i].ids;
        to->top_logprobs = rows[i].logprobs;
        list[i] = to;
    }
    Baton__Tokens body = BATON__TOKENS__INIT;
    body.n_tokens = t->count;
    body.tokens = list;
    pb->tokens = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_TOKENS, out);
    free(list);
    free(rows);
}

static void pack_prompt(const ctl_prompt *p, Baton__ControlMessage *pb, buf *out) {
    PRE(p->count <= CTL_PROMPT_MAX);
    uint32_t top = p->count ? p->rows[0].top_count : 0, at = 0;
    float *logprobs = xcalloc(p->count + 1u, sizeof *logprobs);
    uint32_t *ranks = xcalloc(p->count + 1u, sizeof *ranks);
    int32_t *ids = xcalloc((size_t)p->count * top + 1, sizeof *ids);
    float *tops = xcalloc((size_t)p->count * top + 1, sizeof *tops);
    for (uint32_t i = 0; i < p->count; i++) {
        const token_out *row = &p->rows[i];
        PRE(row->top_count == top);
        logprobs[i] = row->logprob;
        ranks[i] = row->rank;
        for (uint32_t k = 0; k < top; k++, at++) {
            ids[at] = row->top[k].id;
            tops[at] = row->top[k].logprob;
        }
    }
    Baton__Prompt body = BATON__PROMPT__INIT;
    body.begin = p->begin;
    body.done = p->done;
    body.n_logprobs = body.n_ranks = p->count;
    body.logprobs = logprobs;
    body.ranks = ranks;
    body.n_top_ids = body.n_top_logprobs = at;
    body.top_ids = ids;
    body.top_logprobs = tops;
    pb->prompt = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_PROMPT, out);
    free(logprobs);
    free(ranks);
    free(ids);
    free(tops);
}

static void pack_dest(const ctl_dest *d, Baton__ControlMessage *pb, buf *out) {
    Baton__Dest body = BATON__DEST__INIT;
    body.d_inc = d->d_inc;
    body.endpoint = text(d->endpoint);
    body.new_attempt = d->new_attempt;
    body.token_begin = d->token_begin;
    pb->dest = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_DEST, out);
}

static void pack_welcome(const ctl_welcome *w, Baton__ControlMessage *pb, buf *out) {
    Baton__Welcome body = BATON__WELCOME__INIT;
    body.lease_ns = w->lease_ns;
    body.heartbeat_ns = w->heartbeat_ns;
    body.name = text(w->name);
    pb->welcome = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_WELCOME, out);
}

static void pack_refused(const ctl_msg *m, Baton__ControlMessage *pb, buf *out) {
    Baton__Refused body = BATON__REFUSED__INIT;
    body.field = text(m->refused.field);
    body.why = text(m->refused.why);
    pb->refused = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_REFUSED, out);
}

static void pack_reserved(const ctl_reserved *r, Baton__ControlMessage *pb, buf *out) {
    Baton__Reserved body = BATON__RESERVED__INIT;
    body.d_have = r->d_have;
    pb->reserved = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_RESERVED, out);
}

static void pack_failed(const ctl_failed *f, Baton__ControlMessage *pb, buf *out) {
    Baton__Failed body = BATON__FAILED__INIT;
    body.segment = f->segment;
    body.why = text(f->why);
    pb->failed = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_FAILED, out);
}

static void pack_verified(const ctl_verified *v, Baton__ControlMessage *pb, buf *out) {
    Baton__Verified body = BATON__VERIFIED__INIT;
    body.bytes = v->bytes;
    body.segments = v->segments;
    body.exposed_ns = v->exposed_ns;
    pb->verified = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_VERIFIED, out);
}

static void pack_pair(const ctl_pair *p, Baton__ControlMessage *pb, buf *out) {
    Baton__Pair body = BATON__PAIR__INIT;
    body.d_inc = p->d_inc;
    body.transport = text(p->transport);
    body.open = p->open;
    body.latency_ns = p->latency_ns;
    body.bytes_per_s = p->bytes_per_s;
    body.why = text(p->why);
    pb->pair = &body;
    emit(pb, BATON__CONTROL_MESSAGE__BODY_PAIR, out);
}

void ctl_pack(const ctl_msg *m, buf *out) {
    PRE(m);
    PRE(out);
    PRE(m->kind > CTL_NONE);
    PRE(m->kind < CTL_KIND_COUNT);
    Baton__ControlMessage pb = BATON__CONTROL_MESSAGE__INIT;
    pb.kind = (Baton__Kind)m->kind;
    pb.epoch = m->epoch;
    pb.incarnation = m->incarnation;
    pb.req = m->req;
    pb.attempt = m->attempt;
    pb.free_pages = m->free_pages;
    switch (m->kind) {
    case CTL_JOIN:
        pack_join(&m->join, &pb, out);
        break;
    case CTL_HEARTBEAT:
        pack_heartbeat(&m->heartbeat, &pb, out);
        break;
    case CTL_NO_ROOM:
    case CTL_HANDOFF_FAILED:
    case CTL_FAILED:
    case CTL_LEAVING:
        pack_failed(&m->failed, &pb, out);
        break;
    case CTL_RESERVED:
        pack_reserved(&m->reserved, &pb, out);
        break;
    case CTL_TOKENS:
        pack_tokens(&m->tokens, &pb, out);
        break;
    case CTL_VERIFIED:
        pack_verified(&m->verified, &pb, out);
        break;
    case CTL_WELCOME:
        pack_welcome(&m->welcome, &pb, out);
        break;
    case CTL_REFUSED:
        pack_refused(m, &pb, out);
        break;
    case CTL_PREFILL:
    case CTL_RESERVE:
        pack_work(&m->work, &pb, out);
        break;
    case CTL_PROMPT:
        pack_prompt(&m->prompt, &pb, out);
        break;
    case CTL_PAIR:
        pack_pair(&m->pair, &pb, out);
        break;
    case CTL_DEST:
    case CTL_PEER:
    case CTL_PEER_GONE:
        pack_dest(&m->dest, &pb, out);
        break;
    case CTL_PREEMPTED:
    case CTL_CLOSED:
    case CTL_DRAINED:
    case CTL_ACK:
    case CTL_RELEASE:
    case CTL_CANCEL:
    case CTL_DROP:
    case CTL_DRAIN:
    case CTL_EXIT:
        emit(&pb, BATON__CONTROL_MESSAGE__BODY__NOT_SET, out);
        break;
    case CTL_NONE:
    case CTL_KIND_COUNT:
        break; /* refused above */
    }
}
