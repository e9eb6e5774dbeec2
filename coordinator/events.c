/* What happened to workers and requests, told to whoever keeps a log of it. */
#include "coordinator/state.h"

const char *core_retry_name(core_retry why) {
    static const char *const names[RETRY_COUNT] = {"death",         "handoff_failed", "timeout",
                                                   "worker_failed", "preempted",      "no_room"};
    PRE(why < RETRY_COUNT);
    return names[why];
}

const char *core_event_name(core_event_kind kind) {
    static const char *const names[EVENT_COUNT] = {
        "join", "refused", "ready",         "suspect",        "drain",    "undrain",    "left",
        "gone", "replay",  "handoff_abort", "request_failed", "canceled", "client_left"};
    PRE(kind < EVENT_COUNT);
    return names[kind];
}

static void name_worker(core_event *e, const member *m) {
    if (!m) return;
    e->worker = m->name;
    e->role = worker_role_name(m->role);
    e->incarnation = m->incarnation;
}

void event_of_worker(const core *c, core_event_kind kind, const member *m, const char *reason) {
    PRE(c);
    PRE(m);
    if (!c->sink.event) return;
    core_event e = {.kind = kind, .reason = reason ? reason : ""};
    name_worker(&e, m);
    c->sink.event(c->sink.ctx, &e);
}

void event_of_request(const core *c, core_event_kind kind, const request *r, const char *cause,
                      const char *reason) {
    PRE(c);
    PRE(r);
    if (!c->sink.event) return;
    core_event e = {
        .kind = kind, .req = r->id, .attempt = r->attempt, .cause = cause, .reason = reason ? reason : ""};
    name_worker(&e, c->acting ? c->acting : r->decode ? r->decode : r->prefill);
    c->sink.event(c->sink.ctx, &e);
}

void event_stale(core *c, ctl_kind kind) {
    PRE(c);
    PRE(kind < CTL_KIND_COUNT);
    c->counts.stale_messages++;
    c->counts.stale_kinds[kind]++;
}
