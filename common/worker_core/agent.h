/* agent - a worker's pure part: membership (join, lease, heartbeats, drain) around one role core.
 *
 *   disconnected -> joining (JOIN sent) -> member (WELCOME: incarnation, epoch)
 *   member, joining -> disconnected (REFUSED, lost, told GONE, lease over)
 *   any -> leaving (its device failed: LEAVING sent) -> quit on EXIT, session end, or after a second
 *   member -> drains (it was asked to stop: heartbeats ask for DRAIN) -> DRAINED -> quit on EXIT
 *
 * Protocol rules 12, 14, 15, 16: a stale {incarnation} is answered with DROP-like silence and counted; an
 * unanswered half lease stops starting work; a lost session drops everything and joins anew; no coordinator
 * for 60 s ends the worker. */
#ifndef BATON_WORKER_CORE_AGENT_H
#define BATON_WORKER_CORE_AGENT_H

#include "worker_core/wcore.h"

typedef struct agent agent;

typedef struct agent_sink {
    void *ctx;
    /* To the coordinator, head complete */
    void (*send)(void *ctx, const ctl_msg *m);
    void (*xfer)(void *ctx, const xfer_cmd *c);
    void (*step)(void *ctx, const dev_job *j);
    /* See wcore.h; may be NULL */
    void (*decision)(void *ctx, const decision *d);
    /* Drop the connection and open a fresh one; agent_connected follows at once */
    void (*reconnect)(void *ctx);
    /* EXIT, the end of leaving or draining, rejoin_ns passed, or REFUSED for good */
    void (*quit)(void *ctx, const char *why, bool orderly);
} agent_sink;

typedef struct agent_options {
    const wcore_ops *role;
    wcore_options core;
    ctl_join join;          /* borrowed until agent_free */
    uint64_t join_retry_ns; /* JOIN again when unanswered */
    uint64_t rejoin_ns;     /* without a coordinator for so long: quit (60 s) */
} agent_options;

/* What the device side reports for the heartbeat. */
typedef struct agent_progress {
    uint64_t step, step_age_ns, step_bound_ns; /* see ctl_heartbeat */
    uint32_t step_layers_done, step_layers;
    xfer_stats xfer;
} agent_progress;

agent *agent_new(const agent_options *opt, const agent_sink *sink, uint64_t now_ns);
void agent_free(agent *a);
/* The (new) connection is up as far as we know: sends JOIN */
void agent_connected(agent *a, uint64_t now_ns);
/* The connection's session ended */
void agent_lost(agent *a, uint64_t now_ns);
void agent_ctl(agent *a, const ctl_msg *m, uint64_t now_ns);
/* The step that sink.step asked for has ended; span: when it ran, on the clock of now_ns. */
void agent_stepped(agent *a, const step_result *results, uint32_t count, const step_span *span,
                   uint64_t now_ns);
void agent_xfer(agent *a, const xfer_event *e, uint64_t now_ns);
/* This worker cannot go on: tells the coordinator why and starts nothing any more; quit follows, at once or
 * soon. */
void agent_leave(agent *a, const char *why, uint64_t now_ns);
/* This worker was asked to stop: it asks to be drained, finishes what it has, and quits when the coordinator
 * says EXIT. It quits at once when it is no member or was asked before, and when its session ends or limit_ns
 * have passed. */
void agent_drain(agent *a, uint64_t limit_ns, uint64_t now_ns);
/* Once per turn: heartbeats, leases, batch formation. Returns when it wants to run again at the latest. */
uint64_t agent_turn(agent *a, const agent_progress *p, uint64_t now_ns);
bool agent_is_member(const agent *a);
/* 0 when not a member */
uint64_t agent_incarnation(const agent *a);
wcore_stats agent_stats(const agent *a);
bool agent_check(const agent *a);
bool agent_idle(const agent *a);

#endif
