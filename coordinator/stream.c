#include "coordinator/stream.h"

#include "base/clock.h"
#include "base/u64_map.h"
#include "coordinator/meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* Log-probabilities of prompts that are kept at once for all clients: 128 MiB */
#define SCORES_MAX (16u << 20)

typedef struct entry { /* one choice: a request of the core */
    uint64_t req;
    stream *owner;
    choice text;
    prompt_scores scores;
    finish fin;
    int32_t stop_id;
    bool ended, noted; /* noted: its end is on the to-do list already */
    bool begun;
    uint64_t last_token_ns, routed_ns;
    core_times times;
} entry;

struct stream {
    streams *all;
    api_request request;
    choice_rules rules;
    stream_listener listener;
    entry *entries; /* [count] */
    uint32_t count, ended;
    uint64_t score_count; /* see api_scores */
    stream_step *steps;   /* the log */
    uint32_t step_count, step_capacity;
    uint32_t cursor; /* next step to give out */
    uint32_t shown_tokens;
    uint32_t last_ended;
    uint64_t routed_ns; /* of the choice whose first token came first */
    uint64_t first_ns;  /* when the first token came; 0 = none did */
    bool answered;
    api_error error;
    stream *prev, *next; /* all */
};

typedef struct todo { /* what to tell the core at the next turn */
    uint64_t req;
    bool matched; /* a stop string: core_finish; else core_cancel */
} todo;

struct streams {
    core *core;
    const tokenizer *tok;
    meter *meter;
    uint64_t score_count; /* of all streams */
    u64_map by_req;       /* entry: choices that the core has not ended */
    todo *todos;
    uint32_t todo_count, todo_capacity, alive;
    stream *list;
};

streams *streams_new(core *c, const tokenizer *tok, meter *m) {
    PRE(c);
    PRE(tok);
    PRE(m);
    streams *all = xcalloc(1, sizeof *all);
    all->core = c;
    all->tok = tok;
    all->meter = m;
    u64_map_init(&all->by_req, 0);
    return all;
}

void streams_free(streams *all) {
    if (!all) return;
    CHECK(all->alive == 0);
    u64_map_done(&all->by_req);
    free(all->todos);
    free(all);
}

uint32_t streams_alive(const streams *all) {
    return all->alive;
}

static void note(streams *all, uint64_t req, bool matched) {
    if (all->todo_count == all->todo_capacity) {
        all->todo_capacity = all->todo_capacity ? all->todo_capacity * 2 : 64;
        all->todos = xrealloc(all->todos, all->todo_capacity, sizeof *all->todos);
    }
    all->todos[all->todo_count++] = (todo){.req = req, .matched = matched};
}

bool streams_turn(streams *all, uint64_t now_ns) {
    PRE(all);
    bool any = all->todo_count > 0;
    /* The core may answer with streams_end at once, which may note more: hence the index, not a pointer. */
    for (uint32_t i = 0; i < all->todo_count; i++) {
        todo t = all->todos[i];
        if (t.matched)
            core_finish(all->core, t.req, now_ns);
        else
            core_cancel(all->core, t.req, now_ns);
    }
    all->todo_count = 0;
    return any;
}

static void log_step(stream *s, const stream_step *step) {
    if (s->cursor == s->step_count) s->cursor = s->step_count = 0; /* all were given out */
    if (s->step_count == s->step_capacity) {
        s->step_capacity = s->step_capacity ? s->step_capacity * 2 : 8;
        s->steps = xrealloc(s->steps, s->step_capacity, sizeof *s->steps);
    }
    s->steps[s->step_count++] = *step;
}

static uint32_t entry_index(const entry *e) {
    return (uint32_t)(e - e->owner->entries);
}

void streams_token(streams *all, uint64_t req, const core_token *t, uint64_t now_ns) {
    PRE(all);
    PRE(t);
    entry *e = u64_map_get(&all->by_req, req);
    if (!e || e->noted || e->owner->error.http) return; /* nobody waits for it any more */
    stream *s = e->owner;
    CHECK(t->index == e->text.count);
    meter_token(all->meter, e->begun ? now_ns - e->last_token_ns : 0, !e->begun);
    if (!e->begun) {
        log_step(s, &(stream_step){.kind = STEP_BEGIN, .choice = entry_index(e)});
        e->begun = true;
        if (!s->first_ns) {
            s->first_ns = now_ns;
            s->routed_ns = e->routed_ns;
        }
    }
    e->last_token_ns = now_ns;
    if (t->token.fin == FINISH_STOP_ID) e->stop_id = t->token.id;
    stream_step step = {.kind = STEP_PART, .choice = entry_index(e)};
    if (choice_add(&e->text, &t->token, &step.part)) log_step(s, &step);
    if (e->text.matched >= 0) {
        e->noted = true;
        note(all, req, true);
    }
    s->listener.wake(s->listener.ctx);
}

void streams_prompt(streams *all, uint64_t req, const core_prompt *p) {
    PRE(all);
    PRE(p);
    entry *e = u64_map_get(&all->by_req, req);
    if (!e || e->noted || e->owner->error.http) return; /* nobody waits for it any more */
    prompt_scores_add(&e->scores, stream_prompt(e->owner, entry_index(e))->ids.count, p);
}

/* However it ended: the prompt of a choice that got a token was computed, or found. */
static void count_end(const entry *e, const char *reason, const core_times *t) {
    const stream *s = e->owner;
    uint32_t i = entry_index(e);
    if (e->begun && i % s->request.choices == 0)
        meter_prompt(s->all->meter, stream_prompt(s, i)->ids.count, t->cached_tokens);
    meter_finished(s->all->meter, reason, t, e->text.count);
}

void streams_routed(streams *all, uint64_t req, uint64_t ns) {
    PRE(all);
    entry *e = u64_map_get(&all->by_req, req);
    if (e) e->routed_ns = ns;
    meter_routed(all->meter, ns);
}

static void end_well(entry *e, const core_end *end, const core_times *t) {
    stream *s = e->owner;
    e->fin = end->fin;
    e->times = *t;
    s->last_ended = entry_index(e);
    s->ended++;
    if (!e->begun) log_step(s, &(stream_step){.kind = STEP_BEGIN, .choice = entry_index(e)});
    e->begun = true;
    stream_step step = {.kind = STEP_END, .choice = entry_index(e)};
    step.part = (choice_part){e->text.shown.text_end, e->text.shown.text_end, e->text.count, e->text.count};
    (void)choice_end(&e->text, &step.part);
    log_step(s, &step);
    count_end(e, stream_finish_of(s, entry_index(e)).reason, t);
}

void stream_fail(stream *s, uint32_t http, const char *why) {
    PRE(s);
    PRE(http >= 400);
    PRE(why);
    if (s->error.http) return;
    api_fail(&s->error, http, NULL, "%s", why);
    for (uint32_t i = 0; i < s->count; i++) {
        entry *e = &s->entries[i];
        if (e->ended || e->noted) continue;
        e->noted = true;
        note(s->all, e->req, false);
    }
    s->listener.wake(s->listener.ctx);
}

/* "chatcmpl-7f..." is the answer's id, and what follows the first dash is what x-request-id says. */
static bool goes_by(const stream *s, const char *name) {
    const char *id = s->request.id, *dash = strchr(id, '-');
    if (id[0] && (strcmp(id, name) == 0 || (dash && strcmp(dash + 1, name) == 0))) return true;
    for (uint32_t i = 0; i < s->count; i++) {
        char number[32]; /* as the log has it: a bare number may be what another client calls its own */
        snprintf(number, sizeof number, "req=%" PRIu64, s->entries[i].req);
        if (!s->entries[i].ended && strcmp(number, name) == 0) return true;
    }
    return false;
}

static uint32_t cancel(stream *s, uint64_t now_ns) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        if (e->ended || e->noted) continue;
        core_times t = {0};
        (void)core_request_times(s->all->core, e->req, now_ns, &t);
        count_end(e, "abort", &t);
        count++;
    }
    if (count) stream_fail(s, 499, "the request was canceled by who looks after the cluster");
    return count;
}

uint32_t streams_cancel(streams *all, const char *name, uint64_t now_ns) {
    PRE(all);
    PRE(name);
    uint32_t count = 0;
    stream *s;
    DL_FOREACH(all->list, s) {
        if (!s->error.http && goes_by(s, name)) count += cancel(s, now_ns);
    }
    return count;
}

/* The x-request-id; NULL: it has none. */
static const char *name_of(const stream *s) {
    const char *id = s->request.id, *dash = strchr(id, '-');
    return !id[0] ? NULL : dash ? dash + 1 : id;
}

const char *streams_name(const streams *all, uint64_t req) {
    PRE(all);
    const entry *e = u64_map_get(&all->by_req, req);
    return e ? name_of(e->owner) : NULL;
}

void streams_end(streams *all, uint64_t req, const core_end *end, const core_times *t) {
    PRE(all);
    PRE(end);
    PRE(t);
    entry *e = u64_map_get(&all->by_req, req);
    if (!e) return; /* its stream was closed */
    (void)u64_map_take(&all->by_req, e->req);
    e->ended = true;
    stream *s = e->owner;
    /* A failure that raced with a stop string changes nothing: the text is complete. */
    if (end->state == REQ_DONE || e->text.matched >= 0) {
        end_well(e, end, t);
    } else if (!s->error.http) {
        bool failed = end->state == REQ_FAILED;
        count_end(e, failed ? "error" : "abort", t);
        stream_fail(s, failed ? api_http_of(end->st) : 503,
                    failed && end->why ? end->why : "the request was canceled");
    }
    s->listener.wake(s->listener.ctx);
}

static void submit_params(const stream *s, uint32_t i, core_request *out) {
    const api_request *r = &s->request;
    const api_prompt *p = &r->prompts[i / r->choices];
    *out = (core_request){.prompt = p->ids.ids,
                          .prompt_count = p->ids.count,
                          .params = r->params,
                          .max_tokens_given = r->max_tokens_given,
                          .priority = r->priority,
                          .client = r->client,
                          .first_by_ns = r->first_by_ns,
                          .salt = {r->salt[0], r->salt[1]}};
    out->params.choice = i; /* over all prompts: each draws numbers of its own from the one seed */
}

static void begin(stream *s, uint32_t i, uint64_t req) {
    entry *en = &s->entries[i];
    *en = (entry){.req = req, .owner = s, .stop_id = -1};
    choice_init(&en->text, &s->rules);
    const api_prompt *p = stream_prompt(s, i);
    en->text.pending = detok_after(s->all->tok, p->ids.ids, p->ids.count);
    if (s->request.echo) choice_behind(&en->text, p);
    u64_map_put(&s->all->by_req, req, en);
}

/* All choices, or none and *e tells why. */
static status submit(stream *s, uint64_t now_ns, api_error *e) {
    core_request *cr = xcalloc(s->count, sizeof *cr);
    uint64_t *reqs = xcalloc(s->count, sizeof *reqs);
    for (uint32_t i = 0; i < s->count; i++) submit_params(s, i, &cr[i]);
    status st = core_submit_all(s->all->core, cr, s->count, now_ns, reqs, &e->retry_s, &e->text);
    if (st != ST_OK) e->http = api_http_of(st);
    for (uint32_t i = 0; i < s->count && st == ST_OK; i++) begin(s, i, reqs[i]);
    free(cr);
    free(reqs);
    return st;
}

status stream_open(stream **out, streams *all, api_request *r, const stream_listener *l, uint64_t now_ns,
                   api_error *e) {
    PRE(out);
    PRE(all);
    PRE(r);
    PRE(l);
    PRE(l->wake);
    PRE(e);
    PRE(r->prompt_count >= 1);
    PRE(r->choices >= 1);
    uint64_t score_count = api_scores(r);
    if (score_count > SCORES_MAX - all->score_count) {
        api_fail(e, 429, NULL, "too many log-probabilities of prompts are under way: try again later");
        return ST_AGAIN;
    }
    stream *s = xcalloc(1, sizeof *s);
    s->all = all;
    s->listener = *l;
    s->request = *r;
    s->count = r->prompt_count * r->choices;
    s->entries = xcalloc(s->count, sizeof *s->entries);
    s->rules = (choice_rules){.tok = all->tok,
                              .stops = s->request.stops,
                              .stop_count = r->stop_count,
                              .min_tokens = r->params.min_tokens,
                              .include_stop = r->include_stop,
                              .keep_special = r->keep_special,
                              .logprobs = r->params.logprobs >= 0};
    status st = submit(s, now_ns, e);
    if (st != ST_OK) {
        free(s->entries);
        free(s);
        return st;
    }
    s->score_count = score_count;
    all->score_count += score_count;
    *r = (api_request){0};
    all->alive++;
    DL_APPEND(all->list, s);
    meter_admitted(all->meter, stream_prompt_tokens(s), s->request.choices,
                   (uint32_t)MAX(s->request.params.max_tokens, 0));
    *out = s;
    return ST_OK;
}

bool stream_owes(const stream *s, uint64_t *req, const char **name) {
    PRE(req);
    PRE(name);
    if (!s || s->error.http || (stream_ended(s) && !stream_has_step(s))) return false;
    uint32_t i = 0;
    while (i + 1 < s->count && s->entries[i].ended) i++;
    *req = s->entries[i].req;
    *name = name_of(s);
    return true;
}

void stream_close(stream *s, uint64_t now_ns) {
    if (!s) return;
    streams *all = s->all;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        entry *e = &s->entries[i];
        longest = MAX(longest, e->text.count);
        if (!e->ended) {
            (void)u64_map_take(&all->by_req, e->req);
            if (!e->noted) note(all, e->req, false);
            if (!s->error.http) {
                core_times t = {0};
                (void)core_request_times(all->core, e->req, now_ns, &t);
                count_end(e, "abort", &t);
            }
        }
        choice_done(&e->text);
        prompt_scores_done(&e->scores);
    }
    all->score_count -= s->score_count;
    meter_request(all->meter, longest);
    api_request_done(&s->request);
    free(s->entries);
    free(s->steps);
    DL_DELETE(all->list, s);
    free(s);
    all->alive--;
}

const api_request *stream_request(const stream *s) {
    return &s->request;
}

static bool is_last_part(const stream *s, const stream_step *step) {
    const entry *e = &s->entries[step->choice];
    if (!e->ended) return false;
    for (uint32_t i = s->cursor; i < s->step_count; i++) {
        const stream_step *next = &s->steps[i];
        if (next->choice != step->choice) continue;
        return next->kind == STEP_END && next->part.text_begin == next->part.text_end &&
               next->part.token_begin == next->part.token_end;
    }
    return false;
}

bool stream_next(stream *s, bool merge, stream_step *out) {
    PRE(s);
    PRE(out);
    while (s->cursor < s->step_count) {
        const stream_step *step = &s->steps[s->cursor++];
        if (step->choice == UINT32_MAX) continue; /* an END that went out with its PART */
        *out = *step;
        s->shown_tokens += step->part.token_end - step->part.token_begin;
        if (merge && step->kind == STEP_PART && is_last_part(s, step)) {
            out->last = true;
            uint32_t i = s->cursor;
            while (s->steps[i].choice != step->choice) i++;
            s->steps[i].choice = UINT32_MAX;
        }
        return true;
    }
    return false;
}

void stream_answered(stream *s) {
    PRE(s);
    if (s->answered || !s->first_ns) return;
    s->answered = true;
    meter_answered(s->all->meter, s->routed_ns, clock_now_ns() - s->first_ns);
}

bool stream_has_step(const stream *s) {
    return s->cursor < s->step_count;
}
bool stream_ended(const stream *s) {
    return s->ended == s->count;
}
const api_error *stream_error(const stream *s) {
    return s->error.http ? &s->error : NULL;
}
uint32_t stream_choice_count(const stream *s) {
    return s->count;
}
const tokenizer *stream_tokenizer(const stream *s) {
    return s->all->tok;
}

const choice *stream_choice(const stream *s, uint32_t i) {
    PRE(s);
    PRE(i < s->count);
    return &s->entries[i].text;
}

const api_prompt *stream_prompt(const stream *s, uint32_t i) {
    PRE(s);
    PRE(i < s->count);
    return &s->request.prompts[i / s->request.choices];
}

const prompt_scores *stream_scores(const stream *s, uint32_t i) {
    PRE(s);
    PRE(i < s->count);
    return &s->entries[i].scores;
}

stream_finish stream_finish_of(const stream *s, uint32_t i) {
    PRE(s);
    PRE(i < s->count);
    const entry *e = &s->entries[i];
    stream_finish f = {.stop_id = -1};
    if (!e->ended) return f;
    f.reason = "stop";
    if (e->text.matched >= 0)
        f.stop = &s->request.stops[e->text.matched];
    else if (e->fin == FINISH_STOP_ID)
        f.stop_id = e->stop_id;
    else if (e->fin == FINISH_LENGTH)
        f.reason = "length";
    return f;
}

uint32_t stream_prompt_tokens(const stream *s) {
    PRE(s);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < s->request.prompt_count; i++) sum += s->request.prompts[i].ids.count;
    return sum;
}

uint32_t stream_completion_tokens(const stream *s, bool shown) {
    PRE(s);
    if (shown) return s->shown_tokens;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < s->count; i++) sum += s->entries[i].text.count;
    return sum;
}

uint32_t stream_cached_tokens(const stream *s) {
    PRE(s);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < s->count; i += s->request.choices) sum += s->entries[i].times.cached_tokens;
    return sum;
}

bool stream_times(const stream *s, uint32_t i, core_times *out) {
    PRE(s);
    PRE(i < s->count);
    PRE(out);
    if (!s->entries[i].ended) return false;
    *out = s->entries[i].times;
    return true;
}

uint32_t stream_last_ended(const stream *s) {
    return s->last_ended;
}
