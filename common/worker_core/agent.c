#include "worker_core/agent.h"

#include "base/clock.h"
#include "base/mem.h"
#include "worker_core/step_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum agent_state { AGENT_DISCONNECTED, AGENT_JOINING, AGENT_MEMBER } agent_state;

/* Silence is judged by the time this process was awake: of a longer gap between two calls only so much
 * counts, so a stopped and continued worker first reads what came meanwhile. agent_turn asks to be called
 * more often than that. */
#define AWAKE_GAP_MAX_NS (500 * NS_PER_MS)
#define TURN_MAX_NS      (250 * NS_PER_MS)
#define LEAVE_WAIT_NS    NS_PER_S /* for EXIT, the sign that LEAVING arrived */

struct agent {
    agent_options opt;
    agent_sink sink;
    void *core;
    agent_state state;
    uint64_t epoch, incarnation; /* 0 when not a member */
    uint64_t heartbeat_ns, lease_ns;
    uint64_t seen_ns;            /* local time of the last call */
    uint64_t awake_ns;           /* awake time until then; all marks below are on this clock */
    uint64_t heard_ns;           /* last answer of the coordinator in this session */
    uint64_t alone_ns;           /* since when there is no session */
    uint64_t joined_ns;          /* last JOIN sent */
    uint64_t beat_ns;            /* last HEARTBEAT sent */
    bool beat_due;               /* none was sent in this session yet */
    bool draining, drained_told; /* DRAIN came; it was answered */
    bool drain_asked; /* this process was asked to stop: draining ends at drain_end_ns at the latest */
    uint64_t drain_end_ns;
    bool leaving; /* LEAVING was sent at leaving_ns; no step is begun any more */
    uint64_t leaving_ns;
    bool quitting;
    uint64_t stale;
    latency_step sums; /* of the step that was begun last */
    step_log steps;
};

static void awake(agent *a, uint64_t now_ns) {
    if (now_ns <= a->seen_ns) return;
    a->awake_ns += MIN(now_ns - a->seen_ns, AWAKE_GAP_MAX_NS);
    a->seen_ns = now_ns;
}

static void send_message(agent *a, const ctl_msg *m) {
    ctl_msg out = *m;
    out.epoch = a->epoch;
    out.incarnation = a->incarnation;
    out.free_pages = a->opt.role->stats(a->core).pages_free;
    a->sink.send(a->sink.ctx, &out);
}

/* What a core says between two sessions is about requests of the last one: nobody wants it. */
static void core_send(void *ctx, const ctl_msg *m) {
    agent *a = ctx;
    if (a->state == AGENT_MEMBER) send_message(a, m);
}

static void core_xfer(void *ctx, const xfer_cmd *c) {
    agent *a = ctx;
    a->sink.xfer(a->sink.ctx, c);
}

static void core_step(void *ctx, const dev_job *j) {
    agent *a = ctx;
    a->sums = j->sums;
    a->sink.step(a->sink.ctx, j);
}

static void core_decision(void *ctx, const decision *d) {
    agent *a = ctx;
    a->sink.decision(a->sink.ctx, d);
}

agent *agent_new(const agent_options *opt, const agent_sink *sink, uint64_t now_ns) {
    PRE(opt);
    PRE(sink);
    PRE(opt->role);
    PRE(opt->join_retry_ns > 0);
    PRE(opt->rejoin_ns > 0);
    agent *a = xcalloc(1, sizeof *a);
    a->opt = *opt;
    a->sink = *sink;
    a->seen_ns = now_ns;
    wcore_sink s = {.ctx = a,
                    .send = core_send,
                    .xfer = core_xfer,
                    .step = core_step,
                    .decision = sink->decision ? core_decision : NULL};
    a->core = opt->role->new_core(&opt->core, &s);
    return a;
}

void agent_free(agent *a) {
    if (!a) return;
    a->opt.role->free_core(a->core);
    free(a);
}

static void send_join(agent *a) {
    ctl_msg m = {.kind = CTL_JOIN, .join = a->opt.join};
    a->joined_ns = a->awake_ns;
    send_message(a, &m);
}

/* Ends the session, if there is one: everything it was about is dropped at once. */
static void leave_session(agent *a, uint64_t now_ns) {
    bool member = a->state == AGENT_MEMBER;
    a->state = AGENT_DISCONNECTED;
    if (!member) return;
    a->opt.join.last_incarnation = a->incarnation;
    a->epoch = a->incarnation = 0;
    a->draining = a->drained_told = false;
    a->alone_ns = a->awake_ns;
    a->opt.role->session(a->core, 0, 0, now_ns);
}

static void quit(agent *a, const char *why, bool orderly) {
    if (a->quitting) return;
    a->quitting = true;
    a->sink.quit(a->sink.ctx, why, orderly);
}

void agent_connected(agent *a, uint64_t now_ns) {
    PRE(a);
    awake(a, now_ns);
    leave_session(a, now_ns);
    a->state = AGENT_JOINING;
    send_join(a);
}

void agent_lost(agent *a, uint64_t now_ns) {
    PRE(a);
    awake(a, now_ns);
    leave_session(a, now_ns);
    if (a->leaving) quit(a, "the session ended while leaving", true);
    if (a->drain_asked) quit(a, "the session ended while draining", true);
    if (!a->quitting) a->sink.reconnect(a->sink.ctx);
}

/* A JOIN that was sent twice may be welcomed twice; messages are in order, so the last is the session that
 * counts. */
static void on_welcome(agent *a, const ctl_msg *m, uint64_t now_ns) {
    bool usable =
        m->epoch != 0 && m->incarnation != 0 && m->welcome.lease_ns != 0 && m->welcome.heartbeat_ns != 0;
    if (a->state == AGENT_DISCONNECTED || !usable || m->incarnation == a->incarnation) {
        a->stale++;
        return;
    }
    leave_session(a, now_ns);
    a->state = AGENT_MEMBER;
    a->epoch = m->epoch;
    a->incarnation = m->incarnation;
    a->lease_ns = m->welcome.lease_ns;
    a->heartbeat_ns = m->welcome.heartbeat_ns;
    a->heard_ns = a->awake_ns;
    a->beat_due = true;
    a->opt.role->session(a->core, a->epoch, a->incarnation, now_ns);
}

/* To a member, or by the name of "session", it says that the coordinator has given up the session. Else,
 * while joining, it is final: nothing that this process can do will change its role, model or numbers. */
static void on_refused(agent *a, const ctl_msg *m, uint64_t now_ns) {
    if (a->state == AGENT_DISCONNECTED) return;
    const char *field = m->refused.field ? m->refused.field : "";
    if (a->state == AGENT_MEMBER || strcmp(field, "session") == 0) {
        agent_lost(a, now_ns);
        return;
    }
    char why[256];
    snprintf(why, sizeof why, "the coordinator refused this worker: %s: %s", field,
             m->refused.why ? m->refused.why : "");
    quit(a, why, false);
}

static void on_peer(agent *a, const ctl_msg *m) {
    if (a->opt.join.role != ROLE_PREFILL) {
        a->stale++;
        return;
    }
    core_xfer(a, &(xfer_cmd){.kind = X_PEER, .peer_inc = m->dest.d_inc, .endpoint = m->dest.endpoint});
}

/* Its host may have vanished without a word to the transfer thread. */
static void on_peer_gone(agent *a, const ctl_msg *m) {
    if (a->opt.join.role == ROLE_COLOCATED)
        a->stale++;
    else
        core_xfer(a, &(xfer_cmd){.kind = X_PEER_GONE, .peer_inc = m->dest.d_inc});
}

void agent_ctl(agent *a, const ctl_msg *m, uint64_t now_ns) {
    PRE(a);
    PRE(m);
    awake(a, now_ns);
    if (a->quitting) return;
    if (m->kind == CTL_WELCOME) {
        on_welcome(a, m, now_ns);
        return;
    }
    if (m->kind == CTL_REFUSED) {
        on_refused(a, m, now_ns);
        return;
    }
    if (a->state != AGENT_MEMBER || m->epoch != a->epoch || m->incarnation != a->incarnation) {
        a->stale++;
        return;
    }
    a->heard_ns = a->awake_ns;
    if (m->kind == CTL_ACK) return;
    if (m->kind == CTL_DRAIN) {
        a->draining = true;
        a->drained_told = false; /* an answer to an earlier one may have been taken for late */
    } else if (m->kind == CTL_EXIT)
        quit(a, "the coordinator said EXIT", true);
    else if (m->kind == CTL_PEER)
        on_peer(a, m);
    else if (m->kind == CTL_PEER_GONE)
        on_peer_gone(a, m);
    else
        a->opt.role->ctl(a->core, m, now_ns);
}

void agent_stepped(agent *a, const step_result *results, uint32_t count, const step_span *span,
                   uint64_t now_ns) {
    PRE(a);
    PRE(span);
    awake(a, now_ns);
    step_log_add(&a->steps, span, &a->sums);
    a->opt.role->stepped(a->core, results, count, now_ns);
}

/* Of this session: one that ended with an earlier one is nobody's business any more. */
static void tell_pair(agent *a, const xfer_event *e) {
    if (a->state != AGENT_MEMBER || e->id.epoch != a->epoch || e->id.p_inc != a->incarnation) return;
    ctl_msg m = {.kind = CTL_PAIR,
                 .pair = {.d_inc = e->id.d_inc,
                          .transport = e->pair.transport,
                          .open = e->pair.open,
                          .latency_ns = e->pair.latency_ns,
                          .bytes_per_s = (uint64_t)e->pair.bytes_per_s,
                          .why = e->why}};
    send_message(a, &m);
}

void agent_xfer(agent *a, const xfer_event *e, uint64_t now_ns) {
    PRE(a);
    PRE(e);
    awake(a, now_ns);
    if (e->kind == X_PAIR)
        tell_pair(a, e);
    else
        a->opt.role->xfer(a->core, e, now_ns);
}

void agent_leave(agent *a, const char *why, uint64_t now_ns) {
    PRE(a);
    PRE(why);
    awake(a, now_ns);
    if (a->leaving || a->quitting) return;
    a->leaving = true;
    a->leaving_ns = a->awake_ns;
    if (a->state != AGENT_MEMBER) { /* nobody to tell */
        quit(a, why, true);
        return;
    }
    ctl_msg m = {.kind = CTL_LEAVING, .failed = {.why = why}};
    send_message(a, &m);
}

void agent_drain(agent *a, uint64_t limit_ns, uint64_t now_ns) {
    PRE(a);
    PRE(limit_ns > 0);
    awake(a, now_ns);
    if (a->state != AGENT_MEMBER || a->drain_asked || a->leaving) {
        quit(a, a->drain_asked ? "it was asked to stop a second time" : "it was asked to stop", true);
        return;
    }
    a->drain_asked = a->beat_due = true;
    a->drain_end_ns = a->awake_ns + limit_ns;
}

static void send_heartbeat(agent *a, const agent_progress *p, uint64_t now_ns) {
    wcore_stats st = agent_stats(a);
    ctl_step steps[CTL_STEPS_MAX];
    ctl_msg m = {.kind = CTL_HEARTBEAT,
                 .heartbeat = {.step = p->step,
                               .step_age_ns = p->step_age_ns,
                               .step_bound_ns = p->step_bound_ns,
                               .step_layers_done = p->step_layers_done,
                               .step_layers = p->step_layers,
                               .running = st.running,
                               .waiting = st.waiting,
                               .parked = st.parked,
                               .sends_pending = st.sends_pending,
                               .decode_rows = st.decode_rows,
                               .decode_steps = st.decode_steps,
                               .prefill_rows = st.prefill_rows,
                               .xfer_segments = p->xfer.segments,
                               .xfer_bytes = p->xfer.bytes,
                               .xfer_failures = p->xfer.failures,
                               .stale = st.stale,
                               .pages_used = st.pages_used,
                               .drain = a->drain_asked,
                               .cache_queries = st.cache_queries,
                               .cache_hits = st.cache_hits,
                               .cache_pages = st.cache_pages,
                               .cache_evictions = st.cache_evictions,
                               .steps = steps}};
    memcpy(m.heartbeat.busy_ns, a->steps.busy_ns, sizeof m.heartbeat.busy_ns);
    m.heartbeat.step_count = step_log_take(&a->steps, now_ns, steps, &m.heartbeat.steps_left_out);
    a->beat_due = false;
    a->beat_ns = a->awake_ns;
    send_message(a, &m);
}

static void turn_alone(agent *a) {
    if (a->awake_ns - a->alone_ns >= a->opt.rejoin_ns) {
        char why[128];
        snprintf(why, sizeof why, "no coordinator answered for %.1f s",
                 (double)a->opt.rejoin_ns / (double)NS_PER_S);
        quit(a, why, false);
        return;
    }
    if (a->state == AGENT_JOINING && a->awake_ns - a->joined_ns >= a->opt.join_retry_ns) send_join(a);
}

static uint64_t next_turn(const agent *a, uint64_t now_ns) {
    uint64_t mark = a->awake_ns + TURN_MAX_NS;
    if (a->state == AGENT_MEMBER) {
        mark = MIN(mark, a->beat_ns + a->heartbeat_ns);
        mark = MIN(mark, a->heard_ns + a->lease_ns);
        if (a->drain_asked) mark = MIN(mark, a->drain_end_ns);
    } else {
        mark = MIN(mark, a->alone_ns + a->opt.rejoin_ns);
        if (a->state == AGENT_JOINING) mark = MIN(mark, a->joined_ns + a->opt.join_retry_ns);
    }
    return now_ns + (mark > a->awake_ns ? mark - a->awake_ns : 0);
}

uint64_t agent_turn(agent *a, const agent_progress *p, uint64_t now_ns) {
    PRE(a);
    PRE(p);
    awake(a, now_ns);
    if (a->quitting) return UINT64_MAX;
    if (a->state != AGENT_MEMBER) {
        turn_alone(a);
        return a->quitting ? UINT64_MAX : next_turn(a, now_ns);
    }
    if (a->leaving) {
        uint64_t waited_ns = a->awake_ns - a->leaving_ns;
        if (waited_ns >= LEAVE_WAIT_NS) quit(a, "the coordinator did not answer LEAVING", true);
        return a->quitting ? UINT64_MAX : now_ns + MIN(TURN_MAX_NS, LEAVE_WAIT_NS - waited_ns);
    }
    if (a->drain_asked && a->awake_ns >= a->drain_end_ns) {
        quit(a, "its requests did not finish in the time that it has for draining", true);
        return UINT64_MAX;
    }
    uint64_t silence = a->awake_ns - a->heard_ns;
    if (silence >= a->lease_ns) {
        agent_lost(a, now_ns);
        return a->quitting ? UINT64_MAX : next_turn(a, now_ns);
    }
    /* After half a lease without an answer no step begins. What the last one computed was sent: its head
     * names the session, so a coordinator that has given this worker up ignores it. */
    if (silence < a->lease_ns / 2) a->opt.role->turn(a->core, now_ns);
    if (a->beat_due || a->awake_ns - a->beat_ns >= a->heartbeat_ns) send_heartbeat(a, p, now_ns);
    if (a->draining && !a->drained_told && agent_idle(a)) {
        ctl_msg m = {.kind = CTL_DRAINED};
        a->drained_told = true;
        send_message(a, &m);
    }
    return next_turn(a, now_ns);
}

bool agent_is_member(const agent *a) {
    PRE(a);
    return a->state == AGENT_MEMBER;
}

uint64_t agent_incarnation(const agent *a) {
    PRE(a);
    return a->incarnation;
}

wcore_stats agent_stats(const agent *a) {
    PRE(a);
    wcore_stats st = a->opt.role->stats(a->core);
    st.stale += a->stale;
    return st;
}

bool agent_check(const agent *a) {
    PRE(a);
    if ((a->state == AGENT_MEMBER) != (a->incarnation != 0)) return false;
    return a->opt.role->check(a->core);
}

bool agent_idle(const agent *a) {
    PRE(a);
    return a->opt.role->idle(a->core);
}
