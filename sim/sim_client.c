/* The clients: what they ask, the streams that must come, what came. */
#include "sim/sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sim_client *client_of(const sim *s, uint64_t req) {
    return u64_map_get(&s->client_of, req);
}

static void client_free(sim_client *c) {
    if (!c) return;
    free(c->prompt);
    free(c->want);
    free(c);
}

void sim_clients_free(sim *s) {
    PRE(s);
    for (uint32_t i = 0; i < s->client_count; i++) client_free(s->clients[i]);
    /* Those that are to be forgotten, and have not ended, stand in the map only. */
    for (uint32_t i = 0; s->opt.forget_clients && i < s->client_of.slot_count; i++)
        client_free(s->client_of.slots[i].value);
    u64_map_done(&s->client_of);
    free(s->clients);
    free(s->ids);
}

/* ---- what must come ---- */

static void expect_stream(sim_client *c) {
    uint64_t hash = kv_ids_hash(KV_IDS_HASH_START, c->prompt, c->prompt_count);
    const int32_t eos = SIM_EOS;
    c->want = xcalloc(MAX(c->params.max_tokens, 1u), sizeof *c->want);
    c->want_count = 0;
    c->want_fin = FINISH_NONE;
    if (c->params.max_tokens == 0) c->want_fin = FINISH_LENGTH;
    while (c->want_fin == FINISH_NONE) {
        int32_t id = sim_token(hash, c->params.seed, c->want_count);
        c->want[c->want_count++] = id;
        c->want_fin = sampling_finish(&c->params, &eos, 1, id, c->want_count);
    }
}

/* What came before, if anything, then ids of its own. */
static void make_prompt(sim_client *c, const sim_ask *ask, uint64_t made_of) {
    uint32_t before = ask->after ? ask->after->prompt_count + ask->after->got : 0;
    c->prompt_count = before + ask->prompt_count;
    c->prompt = xcalloc(MAX(c->prompt_count, 1u), sizeof *c->prompt);
    for (uint32_t i = 0; i < before; i++)
        c->prompt[i] = i < ask->after->prompt_count ? ask->after->prompt[i]
                                                    : ask->after->want[i - ask->after->prompt_count];
    for (uint32_t i = before; i < c->prompt_count; i++)
        c->prompt[i] = (int32_t)(10 + (kv_mix(made_of + i) >> 9) % 5000);
}

/* All ids are SIM_ANY_ID; one array serves whoever reads some, up to the end of its output. */
static void share_ids(sim *s, uint64_t count) {
    uint32_t want = (uint32_t)MIN(count, (uint64_t)s->opt.core.max_context + 1);
    if (want <= s->id_capacity) return;
    s->ids = xrealloc(s->ids, want, sizeof *s->ids);
    for (uint32_t i = s->id_capacity; i < want; i++) s->ids[i] = SIM_ANY_ID;
    s->id_capacity = want;
}

/* ---- what comes ---- */

/* Whether all that must have been told of the prompt was. */
static bool prompt_is_told(const sim_client *c) {
    return c->params.prompt_logprobs < 0 || c->scored + 1 == c->prompt_count;
}

void sim_client_token(sim *s, uint64_t req, const core_token *t) {
    PRE(t);
    sim_client *c = client_of(s, req);
    if (!c || c->ended) {
        sim_failf(s, "req %llu: a token after the end", (unsigned long long)req);
        return;
    }
    if (t->index != c->got)
        sim_failf(s, "req %llu: token %u after %u", (unsigned long long)req, t->index, c->got);
    if (c->got >= c->want_count || t->token.id != (c->want ? c->want[c->got] : SIM_ANY_ID))
        sim_failf(s, "req %llu: output %u is %d and must not be", (unsigned long long)req, t->index,
                  t->token.id);
    if (!prompt_is_told(c))
        sim_failf(s, "req %llu: a token before its prompt's log-probabilities", (unsigned long long)req);
    if (!c->got) c->first_ns = s->now_ns;
    c->got++;
    if ((t->token.fin != FINISH_NONE) != (c->got == c->want_count))
        sim_failf(s, "req %llu: end %d at output %u", (unsigned long long)req, t->token.fin, t->index);
    if (c->stop_at >= 0 && t->index == (uint32_t)c->stop_at) core_finish(s->core, req, s->now_ns);
}

void sim_client_prompt(sim *s, uint64_t req, const core_prompt *p) {
    PRE(p);
    sim_client *c = client_of(s, req);
    bool sound = c && !c->ended && !c->got && c->params.prompt_logprobs >= 0 && p->begin == c->scored + 1 &&
                 p->count < c->prompt_count - c->scored;
    uint64_t h = sound ? kv_ids_hash(KV_IDS_HASH_START, c->prompt, p->begin) : 0;
    for (uint32_t i = 0; sound && i < p->count; i++) {
        token_out want = {0};
        int32_t id = c->prompt[p->begin + i];
        sim_score(h, id, &want);
        sound = want.logprob == p->rows[i].logprob && want.rank == p->rows[i].rank &&
                p->rows[i].top_count == want.top_count && p->rows[i].top[1].id == want.top[1].id;
        h = kv_ids_hash(h, &id, 1);
    }
    if (!sound)
        sim_failf(s, "req %llu: %u log-probabilities from token %u on must not be", (unsigned long long)req,
                  p->count, p->begin);
    else
        c->scored += p->count;
}

static void tell_ended(sim *s, sim_client *c) {
    if (s->opt.watch.ended) s->opt.watch.ended(s->opt.watch.ctx, c);
    if (s->opt.forget_clients) client_free(c);
}

void sim_client_end(sim *s, uint64_t req, const core_end *e, const core_times *times) {
    PRE(e);
    sim_client *c = client_of(s, req);
    if (!c || c->ended) {
        sim_failf(s, "req %llu ended twice", (unsigned long long)req);
        return;
    }
    c->ended = true;
    c->end = *e;
    c->times = *times;
    c->cached = times->cached_tokens;
    c->end_ns = s->now_ns;
    snprintf(c->why, sizeof c->why, "%s", e->why ? e->why : "");
    bool stopped = c->stop_at >= 0 && c->got == (uint32_t)c->stop_at + 1;
    if (e->state == REQ_DONE && e->fin == FINISH_NONE && !stopped) sim_failf(s, "an end without a reason");
    if (e->state == REQ_DONE && e->fin != FINISH_NONE && (c->got != c->want_count || e->fin != c->want_fin))
        sim_failf(s, "req %llu: done with %u of %u tokens", (unsigned long long)req, c->got, c->want_count);
    if (e->state == REQ_DONE && !prompt_is_told(c))
        sim_failf(s, "req %llu: done with %u log-probabilities", (unsigned long long)req, c->scored);
    if (e->state == REQ_CANCELED && !c->canceled) sim_failf(s, "canceled by nobody");
    if (e->state == REQ_FAILED && strstr(c->why, "another token")) sim_failf(s, "%s", c->why);
    if (e->state == REQ_FAILED && e->st != ST_CORRUPT && e->st != ST_PEER && e->st != ST_TIMEOUT)
        sim_failf(s, "failed with %s", status_name(e->st));
    u64_map_take(&s->client_of, req);
    tell_ended(s, c);
}

/* ---- coming ---- */

static sim_client *client_new(sim *s, const sim_ask *ask) {
    PRE(s->opt.check_kv || !ask->after);
    PRE(s->opt.check_kv || (!ask->max_tokens_absent && !ask->score && ask->max_tokens));
    sim_client *c = xcalloc(1, sizeof *c);
    uint64_t own = sim_random(s);
    c->index = s->asked++;
    c->prompt_count = ask->prompt_count;
    if (s->opt.check_kv)
        make_prompt(c, ask, ask->story ? kv_mix(s->opt.seed + ask->story) : own);
    else
        share_ids(s, (uint64_t)ask->prompt_count + ask->max_tokens);
    c->params = sampling_default();
    c->params.seed = own;
    c->params.max_tokens = ask->max_tokens;
    if (ask->score) c->params.prompt_logprobs = 2;
    c->params.ignore_eos = ask->ignore_eos || !s->opt.check_kv;
    c->stop_at = ask->stop_at;
    c->submit_ns = s->now_ns;
    return c;
}

static status submit(sim *s, const sim_ask *ask, sim_client *c, errbuf *eb) {
    core_request r = {.prompt = c->prompt ? c->prompt : s->ids,
                      .prompt_count = c->prompt_count,
                      .params = c->params,
                      .max_tokens_given = !ask->max_tokens_absent,
                      .client = ask->client,
                      .first_by_ns = ask->within_ns ? s->now_ns + ask->within_ns : 0,
                      .salt = {ask->salt}};
    /* Longer than any worker's context: it is refused before an id is looked at. */
    status st = core_submit_all(s->core, &r, 1, s->now_ns, &c->req, &s->retry_s, eb);
    if (st != ST_OK) return st;
    if (s->opt.check_kv) {
        expect_stream(c);
    } else {
        c->want_count = c->params.max_tokens;
        c->want_fin = FINISH_LENGTH;
    }
    u64_map_put(&s->client_of, c->req, c);
    if (s->opt.forget_clients) return ST_OK;
    SIM_GROW(s->clients, s->client_count, s->client_capacity);
    s->clients[s->client_count++] = c;
    return ST_OK;
}

status sim_submit(sim *s, const sim_ask *ask, sim_client **out, errbuf *eb) {
    PRE(s);
    PRE(ask);
    sim_client *c = client_new(s, ask);
    status st = submit(s, ask, c, eb);
    if (st != ST_OK) {
        client_free(c);
        return st;
    }
    if (out) *out = c;
    if (!s->core_frozen) sim_core_turn(s);
    return ST_OK;
}

void sim_client_await(sim *s) {
    PRE(!s->arriving);
    const sim_watch *w = &s->opt.watch;
    s->arriving = w->next && w->next(w->ctx, &s->coming);
    if (s->arriving) sim_post(s, s->coming.at_ns, EV_ARRIVAL, NULL);
}

void sim_client_arrives(sim *s) {
    PRE(s->arriving);
    sim_ask ask = s->coming.ask;
    sim_client *c = client_new(s, &ask);
    errbuf eb = {0};
    c->refused = submit(s, &ask, c, &eb);
    s->arriving = false;
    sim_client_await(s); /* before the turn, so that who comes at the same moment comes in order */
    if (c->refused != ST_OK) {
        c->ended = true;
        c->end_ns = s->now_ns;
        snprintf(c->why, sizeof c->why, "%s", eb.text);
        if (s->opt.watch.ended) s->opt.watch.ended(s->opt.watch.ctx, c);
        client_free(c);
        return;
    }
    sim_core_turn(s);
}

bool sim_served(const sim *s) {
    PRE(s);
    return !s->arriving && u64_map_count(&s->client_of) == 0;
}

void sim_cancel(sim *s, sim_client *c) {
    PRE(s);
    PRE(c);
    if (c->ended) return;
    c->canceled = true;
    uint64_t req = c->req;
    core_cancel(s->core, req, s->now_ns); /* c may be forgotten by then */
    if (client_of(s, req)) sim_failf(s, "cancel did not end the request");
    if (!s->core_frozen) sim_core_turn(s);
}
