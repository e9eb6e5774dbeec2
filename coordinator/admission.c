/* Who is let into the queue, and how long it may stay there. Refused is
 *
 * - what can never be: it fits no pool, or no worker of a role is there or expected;
 *
 * - what finds the queue full: limits.max_queue, max_requests, max_queue_tokens. A request that comes while
 *   nobody waits is let in whatever it has, so that a bound of tokens keeps nobody out for good;
 *
 * - what is beyond its client's share: a client's own in the queue may be SHARE times what is free, four
 *   fifths for one that asks alone, four ninths each for two, and something is always free for the next one.
 *   This bound moves by itself, pushes nobody out, and needs no number of clients (dynamic thresholds:
 *   Choudhury, Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998). Where
 *   nobody has ever said who it is all are one client, and the queue is theirs;
 *
 * - what is late: by what pace.h has learned its first token would come after its time, or nobody would take
 *   it within wait_prefill_ms. It would use up what others need to be in time, so that under overload hardly
 *   anything would be. Nobody is refused so while the queue is empty.
 */
#include "coordinator/state.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

#define SHARE       4u
#define RETRY_MIN_S 1u
#define RETRY_MAX_S 60u

admission admission_look(const core *c) {
    admission a = {.known = true, .tokens = c->opt.max_context};
    a.served = !router_missing_role(core_member_list(c), c->opt.role_wanted, false, &a.missing);
    a.route = !router_missing_role(core_member_list(c), c->opt.role_wanted, true, &a.missing);
    for (uint32_t i = 0; i < c->member_count; i++) {
        const member *m = c->members[i];
        a.prefills += member_lives(m) && m->role == ROLE_PREFILL;
        if (!member_lives(m) || m->tokens_max >= a.tokens) continue;
        a.tokens = m->tokens_max;
        a.pool = m;
    }
    return a;
}

void admission_know(core *c) {
    PRE(c);
    c->admission = admission_look(c);
    pace_doubt(&c->pace);
}

/* A route can come about: its workers are there, or the config says that they will be. */
static status check_roles(core *c, errbuf *eb) {
    if (!c->admission.known) admission_know(c);
    if (c->admission.route) return ST_OK;
    c->counts.rejected_roles++;
    return errf(eb, ST_PEER, "no %s worker has joined, and the config wants none: start one",
                worker_role_name(c->admission.missing));
}

uint32_t admission_max_tokens(const core *c, const core_request *r) {
    uint32_t limit = c->admission.tokens;
    if (r->max_tokens_given || r->prompt_count >= limit) return r->params.max_tokens;
    return MIN(r->params.max_tokens, limit - r->prompt_count);
}

/* Rule 10. After check_roles. */
static status check_tokens(const core *c, const core_request *r, errbuf *eb) {
    const member *pool = c->admission.pool;
    uint32_t limit = c->admission.tokens;
    if ((uint64_t)r->prompt_count + MAX(admission_max_tokens(c, r), 1u) <= limit) return ST_OK;
    char sum[96];
    if (r->max_tokens_given)
        snprintf(sum, sizeof sum, "the prompt of %u tokens with max_tokens %u", r->prompt_count,
                 r->params.max_tokens);
    else
        snprintf(sum, sizeof sum, "the prompt of %u tokens", r->prompt_count);
    if (!pool)
        return errf(eb, ST_INVALID, "%s exceeds the context of %u tokens: shorten it or lower max_tokens",
                    sum, limit);
    return errf(eb, ST_INVALID,
                "%s exceeds the %u tokens that the KV pool of %s can hold: shorten it or lower max_tokens",
                sum, limit, pool->name);
}

/* Whether each of them could be computed at all */
static status check_fit(core *c, const core_request *r, uint32_t count, errbuf *eb) {
    status st = ST_OK;
    for (uint32_t i = 0; i < count && st == ST_OK; i++) {
        if (r[i].prompt_count == 0)
            st = errf(eb, ST_INVALID, "the prompt's token count must be at least 1");
        else
            st = check_tokens(c, &r[i], eb);
    }
    if (st == ST_OK && count > c->opt.max_queue)
        st = errf(eb, ST_INVALID, "%u choices are asked for at once, and limits.max_queue is %u", count,
                  c->opt.max_queue);
    if (st != ST_OK) c->counts.rejected_invalid++;
    return st;
}

/* A request as the queue sees it */
typedef struct entrant {
    const fair_client *own; /* whose it is, as far as the queue knows it */
    uint64_t client, key, tokens, now_ns;
    uint32_t count, last_tokens; /* choices; tokens of the last one */
} entrant;

static uint32_t seconds(uint64_t ns) {
    uint64_t s = ns / NS_PER_S + (ns % NS_PER_S > 0);
    return (uint32_t)MIN(MAX(s, RETRY_MIN_S), RETRY_MAX_S);
}

static status check_room(core *c, const entrant *e, uint32_t *retry_s, errbuf *eb) {
    const request_table *t = &c->requests;
    uint32_t queued = request_table_queued(t);
    uint32_t places = MIN(c->opt.max_queue - MIN(queued, c->opt.max_queue), c->opt.max_requests - t->count);
    if (e->count > places) {
        c->counts.rejected_full++;
        *retry_s = seconds(pace_wait_count_ns(&c->pace, e->count - places, e->now_ns));
        return errf(eb, ST_AGAIN, "the queue is full: %u requests wait, %u are alive; try again later",
                    queued, t->count);
    }
    uint64_t tokens = c->opt.max_queue_tokens ? c->opt.max_queue_tokens : UINT64_MAX;
    uint64_t room = tokens - MIN(tokens, t->queued_tokens);
    if (queued && e->tokens > room) {
        c->counts.rejected_tokens++;
        *retry_s = seconds(pace_wait_ns(&c->pace, e->tokens - room, e->now_ns));
        return errf(eb, ST_AGAIN,
                    "the queue is full: %" PRIu64 " prompt tokens wait, this request has %" PRIu64
                    ", and limits.max_queue_tokens is %" PRIu64 "; try again later",
                    t->queued_tokens, e->tokens, tokens);
    }
    uint64_t own_tokens = e->own ? e->own->cost : 0;
    uint32_t own = e->own ? e->own->count : 0;
    c->named = c->named || e->client;
    bool much = own + e->count > (uint64_t)SHARE * places || (own_tokens + e->tokens) / SHARE > room;
    if (own && c->named && much) {
        c->counts.rejected_share++;
        *retry_s = seconds(pace_wait_ns(&c->pace, own_tokens, e->now_ns));
        return errf(eb, ST_AGAIN,
                    "this client has its share of the queue: %u requests with %" PRIu64
                    " prompt tokens wait for it, and what is free is for others; try again later",
                    own, own_tokens);
    }
    return ST_OK;
}

static status check_time(core *c, const entrant *e, admission_times *t, uint32_t *retry_s, errbuf *eb) {
    if (!request_table_queued(&c->requests) || !pace_known(&c->pace) || !admission_served(c)) return ST_OK;
    const pace *p = &c->pace;
    const fair_queue *q = &c->requests.fair;
    uint64_t ahead = c->requests.queued_tokens - q->cost; /* replays */
    ahead += fair_queue_ahead(q, e->own, e->key, (uint32_t)MIN(e->tokens, UINT32_MAX));
    ahead += e->tokens - e->last_tokens;
    uint64_t wait_ns = pace_wait_ns(p, ahead, e->now_ns), stage_ns = (uint64_t)p->stage_ns;
    uint64_t first_ns = e->now_ns + wait_ns + stage_ns;
    /* Half of the time at most, so that some are let in whatever was learned, and it is learned anew. */
    uint64_t has_ns = t->first_by_ns - MIN(t->first_by_ns, e->now_ns);
    uint64_t late_ns = first_ns + MIN((uint64_t)p->margin_ns, has_ns / 2);
    errbuf why = {0};
    if (wait_ns > c->opt.wait_prefill_ns) {
        *retry_s = seconds(wait_ns - c->opt.wait_prefill_ns);
        errf(&why, ST_AGAIN, "a worker would take it in about %llu ms, and limits.wait_prefill_ms is %llu",
             wait_ns / NS_PER_MS, c->opt.wait_prefill_ns / NS_PER_MS);
    } else if (late_ns > t->first_by_ns) {
        *retry_s = seconds(late_ns - t->first_by_ns);
        errf(&why, ST_AGAIN, "its first token is expected within %llu ms, and it has %llu",
             (late_ns - e->now_ns) / NS_PER_MS, has_ns / NS_PER_MS);
    } else {
        t->expected_ns = first_ns;
        if (t->first_by_ns != UINT64_MAX) t->leave_by_ns = t->first_by_ns - stage_ns;
        return ST_OK;
    }
    c->counts.rejected_late++;
    return errf(eb, ST_AGAIN, "there is too much to do: %s; try again later", why.text);
}

status admission_judge(core *c, const core_request *r, uint32_t count, uint64_t now_ns, admission_times *t,
                       uint32_t *retry_s, errbuf *eb) {
    PRE(c);
    PRE(r);
    PRE(count > 0);
    PRE(t);
    status st = check_roles(c, eb);
    if (st == ST_OK) st = check_fit(c, r, count, eb);
    if (st != ST_OK) return st;
    uint32_t unwanted;
    if (!retry_s) retry_s = &unwanted;
    entrant e = {.own = fair_queue_client(&c->requests.fair, r->client),
                 .client = r->client,
                 .key = request_key(r->priority, c->last_req + 1),
                 .count = count,
                 .now_ns = now_ns};
    for (uint32_t i = 0; i < count; i++) e.tokens += r[i].prompt_count;
    e.last_tokens = r[count - 1].prompt_count;
    *t = (admission_times){.first_by_ns = r->first_by_ns};
    if (!t->first_by_ns) t->first_by_ns = c->opt.ttft_goal_ns ? now_ns + c->opt.ttft_goal_ns : UINT64_MAX;
    t->leave_by_ns = t->first_by_ns;
    st = check_room(c, &e, retry_s, eb);
    return st == ST_OK ? check_time(c, &e, t, retry_s, eb) : st;
}
