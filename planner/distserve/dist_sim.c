#include "planner/distserve/dist_sim.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define NONE          UINT32_MAX
#define BACK_PRESSURE 9000000u /* tokens of context that wait for decode, from where on no prefill begins */

/* simdistserve/base/worker.py: add_ray_overhead, ms */
static double overhead_ms(uint64_t context) {
    return 2 + (double)context * 0.0001;
}

typedef struct list {
    uint32_t head, tail, count;
} list;

typedef enum doing { WAITS, WOKEN, WORKS } doing;

typedef struct worker {
    list prefill, decode;       /* queues */
    uint64_t decode_context;    /* of the queue */
    list in_prefill, in_decode; /* of the step that is being done */
    uint32_t next;              /* stage of the pipeline; the last one's is the first */
    bool first, last, leaves;   /* leaves: what was computed goes to a decode instance */
    uint32_t computed;          /* what the balance counts of its step */
    doing doing;
    double at;      /* when WOKEN or WORKS ends */
    uint64_t order; /* of events at one time */
} worker;

typedef struct state {
    uint32_t next; /* in its list */
    uint32_t remaining, chunk;
    int64_t done;      /* decode steps; -1: prompt */
    uint64_t chunk_id; /* step of the first stage */
} state;

typedef struct dist_sim {
    const dist_options *opt;
    const dist_request *requests;
    dist_latency *out;
    double *first_ms; /* of the first token */
    state *states;
    worker *workers;
    uint32_t count, worker_count, decode_begin, ended;
    uint64_t order, chunk_id;
    double now;
} dist_sim;

/* ---- lists ---- */

static void push(dist_sim *s, list *l, uint32_t r) {
    s->states[r].next = NONE;
    if (l->count++ == 0)
        l->head = r;
    else
        s->states[l->tail].next = r;
    l->tail = r;
}

static uint32_t pop(dist_sim *s, list *l) {
    uint32_t r = l->head;
    l->head = s->states[r].next;
    l->count--;
    return r;
}

static uint64_t context_of(const dist_sim *s, uint32_t r) {
    return s->requests[r].prompt + (uint64_t)MAX(s->states[r].done, 0);
}

/* ---- who gets what ---- */

static void wake(dist_sim *s, worker *w) {
    if (w->doing != WAITS) return;
    w->doing = WOKEN;
    w->at = s->now;
    w->order = s->order++;
}

static void give_prefill(dist_sim *s, worker *w, uint32_t r) {
    push(s, &w->prefill, r);
    wake(s, w);
}

static void give_decode(dist_sim *s, worker *w, uint32_t r) {
    push(s, &w->decode, r);
    w->decode_context += context_of(s, r);
    wake(s, w);
}

static void route_prefill(dist_sim *s, uint32_t r) {
    worker *best = NULL;
    for (uint32_t i = 0; i < s->opt->prefill_count; i++) {
        worker *w = &s->workers[i * s->opt->prefill_pp];
        if (!best || w->computed + w->prefill.count < best->computed + best->prefill.count) best = w;
    }
    give_prefill(s, best, r);
}

static void route_decode(dist_sim *s, uint32_t r) {
    worker *best = NULL;
    for (uint32_t i = 0; i < s->opt->decode_count; i++) {
        worker *w = &s->workers[s->decode_begin + i * s->opt->decode_pp];
        if (!best || w->decode.count < best->decode.count) best = w;
    }
    give_decode(s, best, r);
}

/* ---- steps ---- */

/* Of `sequences` at most, as many as 50,000 tokens of context allow. Returns their context. */
static uint64_t take_decode(dist_sim *s, worker *w, uint64_t sequences) {
    uint64_t room = DIST_CONTEXT_MAX, all = 0;
    uint64_t most = MIN(sequences, w->decode.count);
    for (uint64_t i = 0; i < most; i++) {
        uint64_t context = context_of(s, w->decode.head);
        if (context + 1 > room) break;
        room -= context + 1;
        all += context;
        push(s, &w->in_decode, pop(s, &w->decode));
    }
    w->decode_context -= all;
    return all;
}

/* Whole prompts or chunks; a later stage takes what the first one's step had. */
static void take_prefill(dist_sim *s, worker *w) {
    uint64_t room = s->opt->prefill_max_tokens, taken = 0, id = s->states[w->prefill.head].chunk_id;
    if (w->first) id = ++s->chunk_id;
    while (w->prefill.count > 0) {
        state *t = &s->states[w->prefill.head];
        if (!w->first) {
            if (t->chunk_id != id) break;
        } else {
            uint64_t left = !s->opt->chunked ? room : room > taken ? room - taken : 0;
            uint64_t take = s->opt->chunked ? MIN(t->remaining, left) : t->remaining;
            if (take == 0 || take > left) break;
            t->chunk = (uint32_t)take;
            t->remaining -= (uint32_t)take;
            t->chunk_id = id;
            room -= take;
            taken += take;
        }
        push(s, &w->in_prefill, pop(s, &w->prefill));
    }
}

static double begin_prefill(dist_sim *s, worker *w) {
    take_prefill(s, w);
    uint64_t tokens = 0, squares = 0, context = 0;
    uint32_t r = w->in_prefill.head;
    for (uint32_t i = 0; i < w->in_prefill.count; i++, r = s->states[r].next) {
        uint64_t chunk = s->states[r].chunk;
        tokens += chunk;
        squares += chunk * chunk;
        context += context_of(s, r);
    }
    if (s->opt->chunked && s->opt->prefill_max_tokens > tokens)
        context += take_decode(s, w, s->opt->prefill_max_tokens - tokens);
    w->computed = w->in_prefill.count;
    double ms = profile_distserve_prefill_ms(s->opt->prefill_engine, s->opt->prefill_pp, (double)tokens,
                                             (double)squares);
    return w->first ? ms + overhead_ms(context) : ms;
}

static double begin_decode(dist_sim *s, worker *w) {
    uint64_t context = take_decode(s, w, s->opt->decode_max_tokens);
    uint32_t batch = w->in_decode.count;
    uint32_t pp = s->opt->colocated ? s->opt->prefill_pp : s->opt->decode_pp;
    double ms = profile_distserve_decode_ms(s->opt->decode_engine, pp, batch, (double)(context + batch));
    return w->first ? ms + overhead_ms(context) : ms;
}

static void end_prefill(dist_sim *s, worker *w, uint32_t r) {
    state *t = &s->states[r];
    if (!w->last || t->remaining > 0) {
        give_prefill(s, &s->workers[w->next], r);
        return;
    }
    t->done = 0;
    s->first_ms[r] = s->now;
    if (w->leaves)
        route_decode(s, r);
    else
        give_decode(s, &s->workers[w->next], r);
}

static void end_decode(dist_sim *s, worker *w, uint32_t r) {
    const dist_request *q = &s->requests[r];
    if (w->last && ++s->states[r].done >= q->output) {
        s->out[r] = (dist_latency){.ttft_ms = s->first_ms[r] - q->at_ms,
                                   .tpot_ms = (s->now - s->first_ms[r]) / q->output,
                                   .end_ms = s->now};
        s->ended++;
        return;
    }
    give_decode(s, &s->workers[w->next], r);
}

static void end_step(dist_sim *s, worker *w) {
    w->computed = 0;
    while (w->in_prefill.count > 0) end_prefill(s, w, pop(s, &w->in_prefill));
    while (w->in_decode.count > 0) end_decode(s, w, pop(s, &w->in_decode));
}

static status resume(dist_sim *s, worker *w, errbuf *eb) {
    if (w->doing == WORKS) end_step(s, w);
    if (w->prefill.count == 0 && w->decode.count == 0) {
        w->doing = WAITS;
        return ST_OK;
    }
    bool prefill = w->prefill.count > 0 && w->decode_context <= BACK_PRESSURE;
    double ms = prefill ? begin_prefill(s, w) : begin_decode(s, w);
    CHECK(w->in_prefill.count + w->in_decode.count > 0);
    if (!(ms >= 0) || isinf(ms))
        return errf(eb, ST_INVALID, "the profile says that a %s step of %u requests takes %g ms",
                    prefill ? "prefill" : "decode", prefill ? w->in_prefill.count : w->in_decode.count, ms);
    w->doing = WORKS;
    w->at = s->now + ms;
    w->order = s->order++;
    return ST_OK;
}

/* ---- the whole ---- */

static void add_instances(dist_sim *s, uint32_t count, uint32_t pp, bool leaves) {
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t stage = 0; stage < pp; stage++) {
            uint32_t begin = s->worker_count - stage, last = stage + 1 == pp;
            s->workers[s->worker_count] = (worker){.first = stage == 0,
                                                   .last = last,
                                                   .leaves = last && leaves,
                                                   .next = last ? begin : s->worker_count + 1};
            s->worker_count++;
        }
}

static worker *next_event(const dist_sim *s) {
    worker *best = NULL;
    for (worker *w = s->workers; w < s->workers + s->worker_count; w++) {
        if (w->doing == WAITS) continue;
        if (!best || w->at < best->at || (w->at == best->at && w->order < best->order)) best = w;
    }
    return best;
}

static status check(const dist_request *requests, uint32_t count, const dist_options *opt, errbuf *eb) {
    uint64_t workers = (uint64_t)opt->prefill_count * opt->prefill_pp;
    if (!opt->colocated) workers += (uint64_t)opt->decode_count * opt->decode_pp;
    if (workers > DIST_WORKERS_MAX)
        return errf(eb, ST_INVALID, "%llu stages in all: want at most %u", (unsigned long long)workers,
                    DIST_WORKERS_MAX);
    if (count > DIST_REQUESTS_MAX)
        return errf(eb, ST_INVALID, "%u requests: want at most %u", count, DIST_REQUESTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const dist_request *r = &requests[i];
        PRE(r->prompt > 0);
        PRE(r->output > 0);
        PRE(i == 0 || r->at_ms >= requests[i - 1].at_ms);
        if (!opt->chunked && r->prompt > opt->prefill_max_tokens)
            return errf(eb, ST_INVALID, "request %u: a prompt of %u tokens never fits a prefill step of %llu",
                        i, r->prompt, (unsigned long long)opt->prefill_max_tokens);
        if ((uint64_t)r->prompt + r->output > DIST_CONTEXT_MAX)
            return errf(eb, ST_INVALID,
                        "request %u: %u + %u tokens never fit a decode step, which takes %u of context", i,
                        r->prompt, r->output, DIST_CONTEXT_MAX);
    }
    return ST_OK;
}

static status run(dist_sim *s, errbuf *eb) {
    uint32_t arrived = 0;
    for (;;) {
        worker *w = next_event(s);
        if (arrived < s->count && (!w || s->requests[arrived].at_ms <= w->at)) {
            s->now = s->requests[arrived].at_ms;
            route_prefill(s, arrived++);
            continue;
        }
        if (!w) break;
        s->now = w->at;
        status st = resume(s, w, eb);
        if (st != ST_OK) return st;
    }
    CHECK(s->ended == s->count);
    return ST_OK;
}

status dist_sim_run(dist_latency *out, const dist_request *requests, uint32_t count, const dist_options *opt,
                    errbuf *eb) {
    PRE(out);
    PRE(requests);
    PRE(opt->prefill_count > 0);
    PRE(opt->prefill_pp > 0);
    PRE(opt->colocated || opt->decode_count > 0);
    PRE(opt->colocated || opt->decode_pp > 0);
    PRE(opt->prefill_max_tokens > 0);
    PRE(opt->decode_max_tokens > 0);
    status st = check(requests, count, opt, eb);
    if (st != ST_OK) return st;
    dist_sim s = {.opt = opt, .requests = requests, .out = out, .count = count};
    uint32_t stages = opt->prefill_count * opt->prefill_pp;
    s.decode_begin = stages;
    if (!opt->colocated) stages += opt->decode_count * opt->decode_pp;
    s.workers = xcalloc(stages, sizeof *s.workers);
    s.states = xcalloc(count + 1u, sizeof *s.states);
    s.first_ms = xcalloc(count + 1u, sizeof *s.first_ms);
    for (uint32_t i = 0; i < count; i++) s.states[i] = (state){.remaining = requests[i].prompt, .done = -1};
    add_instances(&s, opt->prefill_count, opt->prefill_pp, !opt->colocated);
    if (!opt->colocated) add_instances(&s, opt->decode_count, opt->decode_pp, false);
    st = run(&s, eb);
    free(s.workers);
    free(s.states);
    free(s.first_ms);
    return st;
}
