/* sim - a whole cluster in one process and virtual time: the coordinator core and N workers, each the real
 * agent and role core with a fake device and a fake transfer thread.
 *
 * - events: a heap ordered by (time, number); everything that happens is one event, so a seed replays
 *   exactly;
 * - control: each message is packed and unpacked; per connection and direction they arrive in order, after a
 *   delay;
 * - device: a step takes time; halfway the KV of layer 0 is read and written, at its end that of layer 1;
 * - KV: a row of a page holds the hash of all ids up to it, so a row of another prompt, of a reused page or
 *   of a missing segment is noticed when it is read or sent;
 * - tokens: output token i is a pure function of (prompt, seed, i): the harness knows every stream
 *   beforehand.
 *
 * Who uses it: the stories and the random walk of tests/cluster, and whatever else wants a whole cluster
 * without hardware, a planner or a stand-in for an engine. A planner sets check_kv to false, which leaves out
 * all that proves that bytes are right: the KV, the checks after every event, the packing of messages, and
 * ids, which are all the same then. Every decision and every time is what it would be with them. It links the
 * pure cores only, the same objects as production, and nothing of the tests. Every symbol begins with sim_.
 * Thread: one, the caller's; worlds are independent.
 *
 * The first broken promise sets `failure`; nothing runs afterwards. Time starts at 1 s, because a stamp of 0
 * means never. */
#ifndef BATON_SIM_H
#define BATON_SIM_H

#include "base/clock.h"
#include "base/mem.h"
#include "base/u64_map.h"
#include "coordinator/core.h"
#include "latency/latency.h"
#include "worker_core/agent.h"

#define SIM_WORKERS_MAX 256u
#define SIM_LAYERS      2u
#define SIM_EOS         2
#define SIM_ANY_ID      10 /* every id without check_kv */

typedef struct sim_ask {
    uint32_t prompt_count, max_tokens;
    bool max_tokens_absent;
    int32_t stop_at;    /* the output index at which the harness finds a stop string; -1 = never */
    bool ignore_eos;    /* run to max_tokens */
    bool score;         /* log-probabilities of its prompt are wanted, and of the two best; with check_kv */
    uint32_t story;     /* prompts of one story begin alike; 0: of its own */
    uint64_t salt;      /* of the prefix cache */
    uint64_t client;    /* as in core_request */
    uint64_t within_ns; /* its first token must come; 0: as the core's options say */
    /* Its prompt and what it has got so far come first, as in the next turn of a chat; NULL: none */
    const struct sim_client *after;
} sim_ask;

typedef struct sim_arrival {
    uint64_t at_ns; /* never goes back; one that is over is now */
    sim_ask ask;
} sim_arrival;

/* Who drives a run or looks on; each may be NULL. */
typedef struct sim_watch {
    void *ctx;
    /* The next arrival; asked once before the first event, and again when the last one has come. False: there
     * is none any more. */
    bool (*next)(void *ctx, sim_arrival *out);
    /* A client of `next` or of sim_submit has ended, or was refused (c->refused; of `next` only) */
    void (*ended)(void *ctx, const struct sim_client *c);
    /* worker: its index; -1: the coordinator */
    void (*decision)(void *ctx, uint64_t now_ns, int32_t worker, const decision *d);
    /* How long a step takes, in place of sim_options' numbers; without jitter */
    uint64_t (*step_ns)(void *ctx, uint32_t worker, const latency_step *s);
} sim_watch;

/* What a role has for itself; 0, NULL: as sim_options says for all */
typedef struct sim_role {
    uint32_t max_seqs, max_rows, chunk_tokens;
    const char *policy; /* of a colocated worker; NULL: they take turns */
} sim_role;

typedef struct sim_options {
    uint64_t seed;
    bool check_kv; /* true by default; false: neither a prefix cache nor clients that come `after` one */
    bool forget_clients; /* one that has ended is freed after watch.ended: memory for those alive only */
    bool jitter;         /* delays vary, with rare long ones; false: exact times for stories */
    uint32_t workers[ROLE_COUNT];
    uint32_t pages[ROLE_COUNT];
    uint32_t max_seqs, max_rows, chunk_tokens;
    sim_role roles[ROLE_COUNT];
    uint64_t ctl_ns, step_ns, row_ns, frame_ns; /* delays: control message, step, per row, pair frame */
    uint64_t mark_ns; /* a running step makes progress so often; 0: it stands still until its end */
    const latency_model *latency;     /* of steps, in place of step and row; NULL = those. Borrowed */
    bool prefix_cache, cache_outputs; /* of every worker: see wcore_options */
    uint64_t post_ns, copy_ns;        /* hand-over between threads; copying one segment */
    /* Of a pair: segments that it holds at most, and their bytes (512, 1024); a token's KV has 64 bytes here
     */
    uint32_t pair_slots, segment_bytes, slot_bytes;
    uint64_t pair_timeout_ns, join_retry_ns, rejoin_ns;
    sim_watch watch;
    core_options core;
} sim_options;
/* Real limits, exact times: control 1 ms, a step 10 ms, a frame 2 ms */
sim_options sim_defaults(void);
/* What a role has, options of its own and common ones together */
sim_role sim_role_of(const sim_options *o, worker_role role);

typedef struct sim_client {
    uint64_t index;  /* in the order in which they came, from 0 */
    uint64_t req;    /* 0: refused */
    status refused;  /* by the coordinator, at once, with why; ST_OK: it was not */
    int32_t *prompt; /* NULL without check_kv, as want */
    uint32_t prompt_count;
    sampling params;
    int32_t *want; /* the stream that must come, to its end */
    uint32_t want_count;
    finish want_fin;
    int32_t stop_at;
    uint32_t got;
    uint32_t scored; /* tokens of the prompt whose log-probabilities came; the first has none */
    uint32_t cached; /* rows of the prompt that were not computed; once it ended */
    bool canceled, ended;
    core_end end;
    char why[256];
    core_times times;
    uint64_t submit_ns, first_ns, end_ns;
} sim_client;

typedef struct sim_event sim_event;
typedef struct sim_proc sim_proc;
typedef struct sim_pair sim_pair;
typedef struct sim_conn sim_conn;

/* What has happened so far; stories step until a number changes. */
typedef struct sim_seen {
    uint64_t to_coord[CTL_KIND_COUNT]; /* control messages that arrived, by kind */
    uint64_t to_worker[CTL_KIND_COUNT];
    uint64_t sent_by_worker[CTL_KIND_COUNT];
    uint64_t segments; /* scattered into a D's pages */
    uint64_t rows;     /* of those of layer 0 */
    uint64_t seals;    /* verified */
    uint64_t steps, kills, reconnects, strays;
} sim_seen;

typedef struct sim {
    sim_options opt;
    uint64_t now_ns;
    uint64_t rng;
    uint64_t event_number;
    sim_event **heap;
    uint32_t heap_count, heap_capacity;
    sim_event **ready; /* [ready_taken, ready_count): of those that woke up; before the heap */
    uint32_t ready_taken, ready_count, ready_capacity;
    core *core;
    uint64_t core_wake_ns;  /* when it wants to run again */
    uint64_t core_armed_ns; /* the wake event that counts, not later than that; 0 = none */
    bool core_frozen;
    sim_event **core_stash; /* events that wait for the coordinator to wake */
    uint32_t core_stash_count, core_stash_capacity;
    sim_proc *procs[SIM_WORKERS_MAX];
    uint32_t proc_count;
    sim_conn **conns; /* conns[i] has number i + 1 */
    uint32_t conn_count, conn_capacity;
    sim_pair **pairs;
    uint32_t pair_count, pair_capacity;
    sim_client **clients; /* [client_count] that ended too, unless they are forgotten */
    uint32_t client_count, client_capacity;
    u64_map client_of;  /* by request, those alive */
    uint64_t asked;     /* clients that came */
    uint32_t retry_s;   /* what the last one that was refused was told */
    bool arriving;      /* one is on its way */
    sim_arrival coming; /* that one */
    int32_t *ids;       /* [id_capacity] all the same, for every prompt without check_kv */
    uint32_t id_capacity;
    sim_event *spare;    /* a list: events to be used again */
    uint64_t broken_req; /* whose sampled rows have no usable logits, on any worker; 0 = none */
    sim_seen seen;
    char failure[320];
} sim;

sim *sim_new(const sim_options *opt);
void sim_free(sim *s);

/* One event. False: something failed. */
bool sim_step(sim *s);
bool sim_run_until(sim *s, uint64_t at_ns);
bool sim_run_for(sim *s, uint64_t span_ns);

/* ST_OK: *out (which may be NULL) is the client. Refusals come back with their text. */
status sim_submit(sim *s, const sim_ask *ask, sim_client **out, errbuf *eb);
void sim_cancel(sim *s, sim_client *c);

void sim_kill(sim *s, uint32_t worker);
/* SIGTERM: it drains, for this long at most */
void sim_term(sim *s, uint32_t worker, uint64_t limit_ns);
/* Its next step fails, and it leaves */
void sim_break_device(sim *s, uint32_t worker);
/* A fresh process in the dead one's place; a device yet to fail is mended */
void sim_restart(sim *s, uint32_t worker);
/* SIGSTOP */
void sim_freeze(sim *s, uint32_t worker);
void sim_thaw(sim *s, uint32_t worker);
void sim_freeze_core(sim *s);
void sim_thaw_core(sim *s);
/* Its control connection breaks */
void sim_cut_conn(sim *s, uint32_t worker);
/* The pair channel breaks; no pair: nothing */
void sim_cut_pair(sim *s, uint32_t p, uint32_t d);

bool sim_alive(const sim *s, uint32_t worker);
bool sim_frozen(const sim *s, uint32_t worker);
bool sim_member(const sim *s, uint32_t worker);
/* Every worker and the coordinator hold nothing */
bool sim_idle_everywhere(const sim *s);
/* Nobody is on the way, and all who came have ended */
bool sim_served(const sim *s);
uint32_t sim_pages_used(const sim *s, uint32_t worker);
/* Pair channels of this life of it */
uint32_t sim_pairs_open(const sim *s, uint32_t worker);
/* Of this life of it; zeros: it has none */
wcore_stats sim_stats(const sim *s, uint32_t worker);
/* Index of the first worker of a role */
uint32_t sim_first(const sim *s, worker_role role);

void sim_failf(sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_random(sim *s);
/* 0..n-1 */
uint32_t sim_below(sim *s, uint32_t n);
/* The model */
int32_t sim_token(uint64_t prompt_hash, uint64_t seed, uint32_t index);

#endif
