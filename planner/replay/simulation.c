#include "planner/replay/simulation.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct session {
    const simulation_options *o;
    simulation *out;
    fleet *fleet;
    row **open;                    /* [plan count]; NULL: not sent, or over; owned */
    uint32_t next, oldest;         /* to be sent; none before it is open */
    uint32_t members_left;         /* of the windows, not over */
    bool over;                     /* all members have ended */
    fleet_worker_totals *at_begin; /* [worker count] when the windows began; owned */
    char (*names)[TRACE_NAME_MAX]; /* [worker count]; owned */
    status failed;                 /* of the writer */
    errbuf why;
} session;

const char *simulation_worker_name(const fleet_placement *p, uint32_t worker, char *out, size_t size) {
    PRE(p);
    PRE(out);
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        if (worker < p->roles[role].count) {
            snprintf(out, size, "%s-%u", worker_role_name(role), worker);
            return out;
        }
        worker -= p->roles[role].count;
    }
    snprintf(out, size, "worker-%u", worker);
    return out;
}

/* ---- rows ---- */

static void close_row(session *s, uint32_t i) {
    row *r = s->open[i];
    s->open[i] = NULL;
    if (r->phase == ROW_WINDOW) {
        s->members_left--;
        if (r->end_ns != ROW_NEVER)
            s->out->duration_s = fmax(s->out->duration_s, (double)r->end_ns / (double)NS_PER_S);
    }
    if (s->o->writer && s->failed == ST_OK) s->failed = row_writer_add(s->o->writer, r, &s->why);
    row_list_add(&s->out->rows, r);
    free(r);
}

static void end_as(session *s, uint32_t i, row_outcome outcome, uint64_t end_ns, const char *error) {
    row *r = s->open[i];
    r->outcome = outcome;
    r->end_ns = end_ns;
    r->error = error ? xstrdup(error) : NULL;
    close_row(s, i);
}

static double ms_between(uint64_t from, uint64_t to) {
    return from == FLEET_NEVER || to == FLEET_NEVER || to < from ? NAN : (double)(to - from) / 1e6;
}

/* The decode worker's first own token: the first of a disaggregated request is the prefill worker's. */
static uint64_t own_token_ns(const row *r, const fleet_outcome *o) {
    return o->verified_ns != FLEET_NEVER && r->event_count > 1 ? r->events[1].at_ns : FLEET_NEVER;
}

static row_stages stages_of(const row *r, const fleet_outcome *o) {
    return (row_stages){.queue_ms = ms_between(o->at_ns, o->routed_ns),
                        .prefill_ms = ms_between(o->routed_ns, o->computed_ns),
                        .handoff_ms = ms_between(o->computed_ns, o->verified_ns),
                        .decode_wait_ms = ms_between(o->verified_ns, own_token_ns(r, o)),
                        .decode_ms = ms_between(o->first_ns, o->last_ns),
                        .first_token_ms = ms_between(o->at_ns, o->first_ns),
                        .total_ms = ms_between(o->at_ns, o->last_ns),
                        .attempts = 1,
                        .preemptions = o->preemptions};
}

/* ---- the trace ---- */

static void add_span(core_record *c, uint64_t begin_ns, core_stage stage, uint32_t worker) {
    if (begin_ns == FLEET_NEVER) return;
    c->spans[c->span_count++] =
        (core_span){.begin_ns = begin_ns, .stage = stage, .worker = worker == UINT32_MAX ? 0 : worker + 1};
}

static void keep_request(session *s, const row *r, const fleet_outcome *o) {
    if (!s->o->trace || o->end != FLEET_DONE) return;
    core_record c = {.req = o->index + 1,
                     .state = REQ_DONE,
                     .prompt_tokens = o->prompt_tokens,
                     .output_tokens = o->output_tokens,
                     .attempts = 1,
                     .preemptions = o->preemptions,
                     .born_ns = o->at_ns,
                     .first_token_ns = o->first_ns,
                     .end_ns = o->last_ns};
    add_span(&c, o->at_ns, STAGE_QUEUE, UINT32_MAX);
    add_span(&c, o->routed_ns, STAGE_PREFILL, o->prefill_worker);
    if (o->verified_ns != FLEET_NEVER) {
        add_span(&c, o->computed_ns, STAGE_HANDOFF, o->prefill_worker);
        add_span(&c, o->verified_ns, STAGE_DECODE_WAIT, o->decode_worker);
        add_span(&c, own_token_ns(r, o), STAGE_DECODE, o->decode_worker);
    } else if (o->output_tokens > 1) {
        add_span(&c, o->first_ns, STAGE_DECODE, o->prefill_worker);
    }
    trace_record(s->o->trace, &c);
}

static uint32_t whole_us(uint64_t ns) {
    return (uint32_t)MIN((ns + NS_PER_US - 1) / NS_PER_US, UINT32_MAX);
}

static void on_step(void *ctx, uint32_t worker, uint64_t begin_ns, uint64_t end_ns, const latency_step *l) {
    session *s = ctx;
    ctl_step step = {
        .age_us = whole_us(end_ns - begin_ns), .duration_us = whole_us(end_ns - begin_ns), .sums = *l};
    core_steps steps = {.worker = worker + 1,
                        .name = s->names[worker],
                        .role = fleet_worker(s->fleet, worker).role,
                        .steps = &step,
                        .count = 1,
                        .now_ns = end_ns};
    trace_add_steps(s->o->trace, &steps);
}

/* ---- what the fleet tells ---- */

static bool on_next(void *ctx, fleet_request *out) {
    session *s = ctx;
    if (s->over || s->next == s->o->plan->count) return false;
    const planned *p = &s->o->plan->items[s->next];
    row *r = xmalloc(sizeof *r);
    row_init(r);
    r->seed = p->seed;
    r->index = p->index;
    r->phase = p->phase;
    r->outcome = ROW_UNFINISHED;
    r->scheduled_ns = r->sent_ns = p->at_ns;
    r->prompt_asked = p->prompt_tokens;
    r->output_asked = p->output_tokens;
    s->open[s->next++] = r;
    *out = (fleet_request){
        .at_ns = p->at_ns, .prompt_tokens = p->prompt_tokens, .output_tokens = p->output_tokens};
    return true;
}

static void on_token(void *ctx, uint64_t index, uint64_t at_ns) {
    session *s = ctx;
    if (s->open[index]) row_add_event(s->open[index], at_ns, 1);
}

/* What has been sent and not ended; what `next` was asked for too early is taken back. */
static void leave_rest(session *s, uint64_t now_ns) {
    for (uint32_t i = s->oldest; i < s->next; i++) {
        row *r = s->open[i];
        if (!r) continue;
        if (r->sent_ns <= now_ns) {
            end_as(s, i, ROW_UNFINISHED, now_ns, "the last member of the windows had ended");
        } else {
            row_done(r);
            free(r);
            s->open[i] = NULL;
        }
    }
}

static void on_ended(void *ctx, const fleet_outcome *o) {
    session *s = ctx;
    uint32_t i = (uint32_t)o->index;
    row *r = s->open[i];
    if (!r) return;
    keep_request(s, r, o);
    if (o->end == FLEET_DONE) {
        r->stages = stages_of(r, o);
        r->prompt_tokens = r->prompt_asked;
        r->output_tokens = r->output_asked;
        snprintf(r->finish, sizeof r->finish, "length");
        end_as(s, i, ROW_OK, o->last_ns, NULL);
    } else if (o->end == FLEET_REFUSED) {
        end_as(s, i, ROW_REFUSED, o->at_ns, "the queue was full, or no worker can ever hold it");
    } else {
        end_as(s, i, ROW_UNFINISHED, ROW_NEVER, "it did not end");
    }
    if (s->members_left > 0 || s->over) return;
    s->over = true;
    leave_rest(s, o->end == FLEET_DONE ? o->last_ns : o->at_ns);
}

/* ---- the run ---- */

/* When the client gives up the oldest request. */
static uint64_t deadline_ns(session *s) {
    while (s->oldest < s->next && !s->open[s->oldest]) s->oldest++;
    return s->oldest < s->next ? s->open[s->oldest]->sent_ns + s->o->request_timeout_ns : UINT64_MAX;
}

static status run_until(session *s, uint64_t until_ns, errbuf *eb) {
    for (bool there = false; !there && !s->over;) {
        uint64_t deadline = deadline_ns(s), to = MIN(until_ns, deadline);
        there = to == until_ns || fleet_idle(s->fleet);
        status st = fleet_run(s->fleet, to, eb);
        if (st != ST_OK) return st;
        if (s->failed != ST_OK) return errf(eb, s->failed, "%s", s->why.text);
        if (to == deadline && !s->over && s->open[s->oldest])
            end_as(s, s->oldest, ROW_TIMED_OUT, deadline, "the client's --request-timeout passed");
        if (s->members_left == 0 && !s->over) {
            s->over = true;
            leave_rest(s, to);
        }
        there |= fleet_idle(s->fleet);
    }
    return ST_OK;
}

static uint64_t last_window_end(const schedule *p) {
    const schedule_window *w = &p->windows[p->window_count - 1];
    return w->end_ns != ROW_NEVER ? w->end_ns : p->end_ns;
}

/* Busy shares between the begin of the windows and now, as facts.h measures them. */
static void take_workers(session *s, double span_s) {
    run_info *info = &s->out->server;
    uint32_t count = fleet_worker_count(s->fleet);
    info->workers = xcalloc(count + 1, sizeof *info->workers);
    for (uint32_t i = 0; i < count; i++) {
        fleet_worker_totals b = s->at_begin[i], e = fleet_worker(s->fleet, i);
        double ns = span_s * (double)NS_PER_S;
        info->workers[info->worker_count++] =
            (run_worker){.name = xstrdup(s->names[i]),
                         .role = xstrdup(worker_role_name(e.role)),
                         .prefill_share = span_s > 0 ? (double)(e.prefill_ns - b.prefill_ns) / ns : NAN,
                         .decode_share = span_s > 0 ? (double)(e.decode_ns - b.decode_ns) / ns : NAN,
                         .mixed_share = span_s > 0 ? (double)(e.mixed_ns - b.mixed_ns) / ns : NAN,
                         .pages_used_max = e.pages_most,
                         .pages_total = e.pages};
    }
}

static status run(session *s, errbuf *eb) {
    const schedule *plan = s->o->plan;
    uint64_t begin_ns = plan->windows[0].begin_ns, end_ns = last_window_end(plan);
    status st = begin_ns ? run_until(s, begin_ns, eb) : ST_OK;
    if (st != ST_OK) return st;
    for (uint32_t i = 0; i < fleet_worker_count(s->fleet); i++) s->at_begin[i] = fleet_worker(s->fleet, i);
    st = run_until(s, end_ns, eb);
    if (st != ST_OK) return st;
    take_workers(s, (double)(end_ns - begin_ns) / (double)NS_PER_S);
    uint64_t preemptions = fleet_totals_of(s->fleet).preemptions;
    s->out->server.preemptions = (double)preemptions;
    s->out->server.replays = 0;
    return run_until(s, UINT64_MAX - 1, eb);
}

status simulation_run(simulation *out, const simulation_options *o, errbuf *eb) {
    PRE(out);
    PRE(o);
    PRE(o->plan);
    PRE(o->plan->window_count > 0);
    PRE(o->plan->before_count == 0);
    PRE(o->request_timeout_ns > 0);
    *out = (simulation){0};
    run_info_init(&out->server);
    session s = {.o = o, .out = out};
    fleet_sink sink = {
        .ctx = &s, .next = on_next, .ended = on_ended, .token = on_token, .step = o->trace ? on_step : NULL};
    s.open = xcalloc(o->plan->count, sizeof *s.open);
    for (uint32_t i = 0; i < o->plan->window_count; i++) s.members_left += o->plan->windows[i].count;
    uint32_t workers = fleet_placement_workers(o->fleet.placement);
    s.names = xcalloc(workers + 1, sizeof *s.names);
    s.at_begin = xcalloc(workers + 1, sizeof *s.at_begin);
    for (uint32_t i = 0; i < workers; i++)
        (void)simulation_worker_name(o->fleet.placement, i, s.names[i], sizeof s.names[i]);
    status st = fleet_new(&s.fleet, &o->fleet, &sink, eb);
    if (st == ST_OK) st = run(&s, eb);
    if (st == ST_OK && !s.over) {
        s.over = true;
        leave_rest(&s, fleet_totals_of(s.fleet).now_ns);
    }
    if (st == ST_OK) out->totals = fleet_totals_of(s.fleet);
    for (uint32_t i = 0; i < s.next; i++) {
        if (!s.open[i]) continue;
        row_done(s.open[i]);
        free(s.open[i]);
    }
    fleet_free(s.fleet);
    free(s.open);
    free(s.names);
    free(s.at_begin);
    return st;
}

void simulation_done(simulation *s) {
    PRE(s);
    row_list_done(&s->rows);
    run_info_done(&s->server);
}
