/* wcore - what the pure part of every worker role looks like from outside, and what it may ask of the world.
 *
 * A role (prefill_worker/prefill_core.c, decode_worker/decode_core.c, colocated_worker/colocated_core.c) is a
 * table of functions over its own struct. Events come in with now_ns, requests go out through the sink; no
 * socket, clock, thread or device in it. The runtime (worker/runtime.c) and the virtual-time cluster test
 * drive the same object files; both go through an agent (worker_core/agent.h), which adds membership.
 *
 * At most one step is outstanding: after sink.step the role waits for `stepped`. Pages of a sequence in the
 * running step are given back only after `stepped`; pages known to the transfer thread only after X_DROPPED.
 */
#ifndef BATON_WORKER_CORE_WCORE_H
#define BATON_WORKER_CORE_WCORE_H

#include "ctl/ctl.h"
#include "ctl/decision.h"
#include "kv/xfer_cmd.h"
#include "token/step.h"

typedef struct wcore_sink {
    void *ctx;
    /* To the coordinator; head (epoch, incarnation, free pages) is filled in below */
    void (*send)(void *ctx, const ctl_msg *m);
    /* To the transfer thread */
    void (*xfer)(void *ctx, const xfer_cmd *c);
    /* To the device thread; j and its arrays stay valid until `stepped` */
    void (*step)(void *ctx, const dev_job *j);
    /* What was decided (ctl/decision.h), before it is done; NULL: nobody asks */
    void (*decision)(void *ctx, const decision *d);
} wcore_sink;

typedef struct wcore_options {
    uint32_t page_count;
    uint32_t max_seqs;     /* engine slots */
    uint32_t max_rows;     /* rows of one step: the token budget */
    uint32_t chunk_tokens; /* prefill: longest chunk of one prompt in one step, a multiple of 16 */
    uint32_t max_context;
    const char *policy; /* colocated: "chunked" or "prefill_first" */
    bool prefix_cache;  /* whole pages are kept for prompts that begin alike */
    bool cache_outputs; /* pages of generated rows, too: a row has the same bytes whether it was generated or
                           part of a prompt */
    const int32_t *eog; /* end-of-generation ids; borrowed */
    uint32_t eog_count;
} wcore_options;

/* What a heartbeat and the metrics tell about a role (see ctl_heartbeat). */
typedef struct wcore_stats {
    uint32_t running, waiting, parked, sends_pending;
    uint32_t pages_used, pages_free; /* by requests; the others, those that only the prefix cache has included
                                      */
    uint64_t decode_rows, decode_steps, prefill_rows;
    uint64_t stale;
    uint64_t cache_queries, cache_hits; /* of the prefix cache: see ctl_heartbeat */
    uint32_t cache_pages;
    uint64_t cache_evictions;
} wcore_stats;

typedef struct wcore_ops {
    worker_role role;
    void *(*new_core)(const wcore_options *opt, const wcore_sink *sink);
    void (*free_core)(void *core);
    /* A new session: forget every request at once (its pages come back when the transfer thread and the
     * running step let go). */
    void (*session)(void *core, uint64_t epoch, uint64_t incarnation, uint64_t now_ns);
    /* PREFILL RESERVE DEST RELEASE CANCEL DROP DRAIN, of this session */
    void (*ctl)(void *core, const ctl_msg *m, uint64_t now_ns);
    void (*stepped)(void *core, const step_result *results, uint32_t count, uint64_t now_ns);
    void (*xfer)(void *core, const xfer_event *e, uint64_t now_ns);
    /* Form the next step if idle; once per turn */
    void (*turn)(void *core, uint64_t now_ns);
    wcore_stats (*stats)(const void *core);
    /* Nothing held: no request */
    bool (*idle)(const void *core);
    /* Each page is used as often as requests have it; for tests */
    bool (*check)(const void *core);
} wcore_ops;

extern const wcore_ops prefill_core_ops;
extern const wcore_ops decode_core_ops;
extern const wcore_ops colocated_core_ops;

#endif
