#include "coordinator/native_look.h"

#include "coordinator/native_wire.h"

#include <stdlib.h>
#include <string.h>

/* "READY" as clients have it: "ready". */
static void lower(char *text) {
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z') *text = (char)(*text + 32);
}

static void set_number(protobuf_c_boolean *has, uint32_t *out, uint32_t value) {
    *has = true;
    *out = value;
}

static void set_ms(protobuf_c_boolean *has, double *out, uint64_t ns) {
    *has = true;
    *out = (double)ns / 1e6;
}

/* What baton-ctl status shows beside what every list of workers has. */
static void add_progress(Baton__ServerWorker *out, const core_worker_info *w, const core_holding *h,
                         const health_facts *f) {
    out->has_step = true;
    out->step = w->beat.step;
    set_ms(&out->has_step_age_ms, &out->step_age_ms, w->beat.step_age_ns);
    set_ms(&out->has_step_bound_ms, &out->step_bound_ms, w->beat.step_bound_ns);
    set_number(&out->has_step_layers_done, &out->step_layers_done, w->beat.step_layers_done);
    set_number(&out->has_step_layers, &out->step_layers, w->beat.step_layers);
    set_ms(&out->has_silence_ms, &out->silence_ms, w->silence_ns);
    set_ms(&out->has_standing_ms, &out->standing_ms, w->standing_ns);
    out->has_stuck = true;
    out->stuck = health_stuck(f, w);
    if (w->token_age_ns != UINT64_MAX) set_ms(&out->has_last_token_ms, &out->last_token_ms, w->token_age_ns);
    set_number(&out->has_computing, &out->computing, h->computing);
    set_number(&out->has_parked, &out->parked, h->parked);
    set_number(&out->has_sending, &out->sending, h->sending);
    set_number(&out->has_reserved, &out->reserved, h->reserved);
    set_number(&out->has_decoding, &out->decoding, h->decoding);
    set_number(&out->has_closing, &out->closing, h->closing);
    set_number(&out->has_pages_cached, &out->pages_cached, w->beat.cache_pages);
    set_number(&out->has_pages_pinned, &out->pages_pinned, h->pages_pinned);
    set_number(&out->has_pages_reserved, &out->pages_reserved, h->pages_reserved);
}

/* Caller frees with free_worker; the strings of w are borrowed. */
static Baton__ServerWorker *worker_of(const core_worker_info *w) {
    Baton__ServerWorker *out = xcalloc(1, sizeof *out);
    baton__server_worker__init(out);
    out->id = xcalloc(1, CORE_WORKER_ID_MAX);
    core_worker_id(w->incarnation, out->id);
    out->state = xstrdup(member_sm.states[w->state].name);
    lower(out->state);
    out->name = (char *)w->name;
    out->role = (char *)worker_role_name(w->role);
    out->host = (char *)w->host;
    out->requests = w->assigned;
    out->pages_used = w->beat.pages_used;
    out->pages_total = w->page_count;
    return out;
}

static void free_worker(Baton__ServerWorker *w) {
    free(w->id);
    free(w->state);
    free(w);
}

/* [*count] of the members from first to end. Caller frees with free_workers. */
static Baton__ServerWorker **workers_of(const core *c, uint32_t first, uint32_t end, const health_facts *f,
                                        uint64_t now_ns, size_t *count) {
    Baton__ServerWorker **all = NULL;
    core_worker_info w;
    *count = 0;
    for (uint32_t i = first; i < end && core_worker(c, i, now_ns, &w); i++) {
        core_holding h;
        core_holding_of(c, i, &h);
        all = xrealloc(all, *count + 1, sizeof *all);
        all[*count] = worker_of(&w);
        add_progress(all[(*count)++], &w, &h, f);
    }
    return all;
}

static void free_workers(Baton__ServerWorker **all, size_t count) {
    for (size_t i = 0; i < count; i++) free_worker(all[i]);
    free(all);
}

void native_look_workers(buf *out, uint64_t id, const native_look *at, uint32_t index, uint64_t now_ns) {
    PRE(out);
    PRE(at);
    Baton__ServerWorkers all = BATON__SERVER_WORKERS__INIT;
    uint32_t first = index == NATIVE_ALL_WORKERS ? 0 : index,
             end = index == NATIVE_ALL_WORKERS ? index : index + 1;
    all.workers = workers_of(at->core, first, end, at->facts, now_ns, &all.n_workers);
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.body_case = BATON__SERVER_EVENT__BODY_WORKERS;
    ev.workers = &all;
    native_wire_add(out, &ev);
    free_workers(all.workers, all.n_workers);
}

void native_look_status(buf *out, uint64_t id, const native_look *at, uint64_t now_ns) {
    PRE(out);
    PRE(at);
    core_counters n;
    core_counters_of(at->core, &n);
    Baton__ServerStatus s = BATON__SERVER_STATUS__INIT;
    Baton__ServerLost lost = BATON__SERVER_LOST__INIT;
    core_lost last;
    s.version = (char *)BATON_VERSION;
    s.model = (char *)at->facts->model;
    s.status = (char *)health_word(at->core, at->facts, at->stopping, now_ns);
    s.uptime_s = (double)(now_ns - MIN(at->facts->started_ns, now_ns)) / 1e9;
    s.queued = n.requests[REQ_WAIT_PREFILL];
    s.prefill = n.requests[REQ_PREFILL];
    s.wait_kv = n.requests[REQ_WAIT_KV];
    s.decode = n.requests[REQ_DECODE];
    s.parked = n.parked;
    s.parked_bytes = n.parked_bytes;
    if (n.parked_since_ns) s.parked_oldest_ms = (double)(now_ns - MIN(n.parked_since_ns, now_ns)) / 1e6;
    s.workers = workers_of(at->core, 0, UINT32_MAX, at->facts, now_ns, &s.n_workers);
    s.workers_joined = n.workers_joined;
    s.workers_left = n.workers_left;
    s.workers_lost = n.workers_lost;
    s.replays = n.replays;
    s.preemptions = n.preemptions;
    s.failed = n.failed;
    s.stale_messages = n.stale_messages;
    s.events_dropped = event_log_dropped(at->events);
    if (core_last_lost(at->core, &last, now_ns)) {
        lost.worker = (char *)last.worker;
        lost.why = (char *)last.why;
        lost.age_ms = (double)last.age_ns / 1e6;
        s.last_lost = &lost;
    }
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.body_case = BATON__SERVER_EVENT__BODY_STATUS;
    ev.status = &s;
    native_wire_add(out, &ev);
    free_workers(s.workers, s.n_workers);
}

void native_look_aborted(buf *out, uint64_t id, uint32_t choices) {
    PRE(out);
    Baton__ServerAborted a = BATON__SERVER_ABORTED__INIT;
    a.choices = choices;
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.body_case = BATON__SERVER_EVENT__BODY_ABORTED;
    ev.aborted = &a;
    native_wire_add(out, &ev);
}
