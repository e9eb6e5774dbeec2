/* core_cost - instructions per event of the workers' role cores, with few requests held and with many.
 *
 *   core_cost       prints the table (see bench/cost.h); one line of it by hand:
 *
 *   valgrind --tool=callgrind --collect-atstart=no --toggle-collect=cost_measured \
 *            --callgrind-out-file=/dev/null build/test/bin/core_cost prefill_life_beside_parked 4096
 *
 * Each case names the event and what is held meanwhile: a request's whole life at a worker (its messages, its
 * step, the transfer thread's answers), a turn in which there is nothing to do, a message while much is
 * queued, a row of a step. The world is a sink that answers what the transfer thread would and notes the
 * step. */
#include "base/mem.h"
#include "bench/cost.h"
#include "kv/handoff.h"
#include "worker_core/wcore.h"

#include <stdlib.h>
#include <string.h>

#define PROMPT     20u /* tokens: two pages, and rows to go before the third */
#define PAGES_EACH 64u
#define SESSION    ((uint64_t)7)
#define PEER       ((uint64_t)5)

typedef struct world {
    const wcore_ops *ops;
    void *core;
    const dev_job *job;   /* the running step, or NULL */
    step_result *results; /* [max_seqs] */
    uint64_t next_req;
    uint64_t dropped[4]; /* X_DROP posted and not answered */
    uint32_t dropped_count;
    bool hold_drops; /* the transfer thread does not answer */
    int32_t ids[PROMPT];
    uint64_t hash;
    uint64_t sent; /* messages */
} world;

static void on_send(void *ctx, const ctl_msg *m) {
    world *w = ctx;
    (void)m;
    w->sent += w->core ? w->ops->stats(w->core).pages_free > 0 : 0; /* as the agent does for each message */
}

static void on_xfer(void *ctx, const xfer_cmd *c) {
    world *w = ctx;
    if (c->kind != X_DROP || w->hold_drops) return;
    CHECK(w->dropped_count < ARRAY_LEN(w->dropped));
    w->dropped[w->dropped_count++] = c->id.req;
}

static void on_step(void *ctx, const dev_job *job) {
    world *w = ctx;
    w->job = job;
}

static world *world_new(const wcore_ops *ops, uint32_t held, uint32_t seqs, uint32_t max_rows) {
    world *w = xcalloc(1, sizeof *w);
    w->ops = ops;
    w->results = xcalloc(seqs, sizeof *w->results);
    wcore_options opt = {.page_count = PAGES_EACH * (held + 64),
                         .max_seqs = seqs,
                         .max_rows = max_rows,
                         .chunk_tokens = 64,
                         .max_context = 1u << 20,
                         .policy = "chunked"};
    wcore_sink sink = {.ctx = w, .send = on_send, .xfer = on_xfer, .step = on_step};
    w->core = ops->new_core(&opt, &sink);
    ops->session(w->core, 1, SESSION, 0);
    for (uint32_t i = 0; i < PROMPT; i++) w->ids[i] = (int32_t)i;
    w->hash = kv_ids_hash(KV_IDS_HASH_START, w->ids, PROMPT);
    return w;
}

static void world_done(void *world_) {
    world *w = world_;
    CHECK(w->ops->check(w->core));
    w->ops->free_core(w->core);
    free(w->results);
    free(w);
}

static void give(world *w, ctl_kind kind, uint64_t req) {
    ctl_msg m = {.kind = kind, .epoch = 1, .incarnation = SESSION, .req = req, .attempt = 1};
    m.work = (ctl_work){.prompt = w->ids,
                        .prompt_count = PROMPT,
                        .params = sampling_default(),
                        .p_inc = PEER,
                        .ids_hash = w->hash,
                        .then_decode = w->ops->role == ROLE_COLOCATED};
    m.work.params.max_tokens = 1u << 19;
    w->ops->ctl(w->core, &m, 0);
}

static void tell(world *w, ctl_kind kind, uint64_t req) {
    ctl_msg m = {.kind = kind, .epoch = 1, .incarnation = SESSION, .req = req, .attempt = 1};
    m.dest = (ctl_dest){.d_inc = PEER, .endpoint = "", .new_attempt = 1};
    if (kind != CTL_DEST) memset(&m.dest, 0, sizeof m.dest);
    w->ops->ctl(w->core, &m, 0);
}

static void verified(world *w, uint64_t req) {
    xfer_event e = {.kind = X_VERIFIED, .id = {.p_inc = PEER, .req = req, .attempt = 1}, .first = {.id = 9}};
    w->ops->xfer(w->core, &e, 0);
}

static void dropped(world *w, uint64_t req) {
    xfer_event e = {.kind = X_DROPPED, .id = {.req = req}};
    w->ops->xfer(w->core, &e, 0);
}

static void answer_drops(world *w) {
    while (w->dropped_count > 0) dropped(w, w->dropped[--w->dropped_count]);
}

/* Begins a step when there is something to compute. */
static void turn(world *w) {
    w->ops->turn(w->core, 0);
}

static void stepped(world *w) {
    CHECK(w->job);
    uint32_t count = w->job->item_count;
    for (uint32_t i = 0; i < count; i++) {
        w->results[i].tag = w->job->items[i].tag;
        w->results[i].sampled = w->job->items[i].sample;
        w->results[i].token.id = 9;
    }
    w->job = NULL;
    w->ops->stepped(w->core, w->results, count, 0);
}

/* ---- prefill ---- */

static void park(world *w, uint64_t req) {
    give(w, CTL_PREFILL, req);
    turn(w);
    stepped(w);
}

static void *parked(uint32_t held) {
    world *w = world_new(&prefill_core_ops, held, 16, 512);
    while (w->next_req < held) park(w, ++w->next_req);
    CHECK(w->ops->stats(w->core).parked == held);
    return w;
}

/* The oldest parked prompt goes, another takes its place: the number of those that are held stays. */
static void prefill_life(void *world_) {
    world *w = world_;
    uint64_t oldest = w->next_req + 1 - w->ops->stats(w->core).parked;
    tell(w, CTL_DEST, oldest);
    tell(w, CTL_RELEASE, oldest);
    answer_drops(w);
    park(w, ++w->next_req);
}

static void idle_turn(void *world_) {
    turn(world_);
}

/* Prompts that wait behind a running step. */
static void *queued(uint32_t held) {
    world *w = world_new(&prefill_core_ops, held, 16, 512);
    while (w->next_req < held) give(w, CTL_PREFILL, ++w->next_req);
    turn(w);
    return w;
}

/* A prompt comes, and the last that came is given up. */
static void come_and_go(void *world_) {
    world *w = world_;
    tell(w, CTL_CANCEL, w->next_req);
    answer_drops(w);
    give(w, CTL_PREFILL, ++w->next_req);
}

/* Every step ends what is in it and as many prompts come. */
static void queue_step(void *world_) {
    world *w = world_;
    uint64_t first = w->job->items[0].tag;
    uint32_t count = w->job->item_count;
    stepped(w);
    for (uint64_t req = first; req < first + count; req++) {
        tell(w, CTL_RELEASE, req);
        answer_drops(w);
        give(w, CTL_PREFILL, ++w->next_req);
        turn(w);
    }
}

/* ---- decode ---- */

static void reserve(world *w, uint64_t req) {
    give(w, CTL_RESERVE, req);
}

static void *running(uint32_t held) {
    world *w = world_new(&decode_core_ops, held, held + 16, held + 16);
    while (w->next_req < held) {
        reserve(w, ++w->next_req);
        verified(w, w->next_req);
    }
    CHECK(w->ops->stats(w->core).running == held);
    turn(w);
    return w;
}

/* While the step of all others runs. */
static void decode_life(void *world_) {
    world *w = world_;
    reserve(w, ++w->next_req);
    verified(w, w->next_req);
    tell(w, CTL_RELEASE, w->next_req);
}

static void decode_step(void *world_) {
    world *w = world_;
    stepped(w);
    turn(w);
}

/* Reservations whose KV is on its way, beside 40 that run. */
static void *reserved(uint32_t held) {
    world *w = world_new(&decode_core_ops, held, held + 64, 64);
    while (w->next_req < 40) {
        reserve(w, ++w->next_req);
        verified(w, w->next_req);
    }
    for (uint32_t i = 0; i < held; i++) reserve(w, ++w->next_req);
    CHECK(w->ops->stats(w->core).running == 40);
    CHECK(w->ops->stats(w->core).waiting == held);
    turn(w);
    return w;
}

/* Requests that are over, of which the transfer thread has not let go; a reservation comes and goes. */
static void *leaving(uint32_t held) {
    world *w = world_new(&decode_core_ops, held, held + 16, 64);
    w->hold_drops = true;
    for (uint32_t i = 0; i < held; i++) {
        reserve(w, ++w->next_req);
        tell(w, CTL_DROP, w->next_req);
    }
    w->hold_drops = false;
    return w;
}

static void reserve_and_drop(void *world_) {
    world *w = world_;
    reserve(w, ++w->next_req);
    tell(w, CTL_DROP, w->next_req);
    answer_drops(w);
}

/* ---- colocated ---- */

static void *colocated(uint32_t held) {
    world *w = world_new(&colocated_core_ops, held, held + 16, 64 * (held + 16));
    while (w->next_req < held) give(w, CTL_PREFILL, ++w->next_req);
    turn(w);
    stepped(w);
    CHECK(w->ops->stats(w->core).running == held);
    turn(w);
    return w;
}

static void colocated_life(void *world_) {
    world *w = world_;
    give(w, CTL_PREFILL, ++w->next_req);
    tell(w, CTL_CANCEL, w->next_req);
}

static const cost_case cases[] = {
    {.name = "prefill_life_beside_parked",
     .counts = "parked prompts",
     .few = 100,
     .many = 4090,
     .build = parked,
     .event = prefill_life,
     .done = world_done},
    {.name = "prefill_idle_turn",
     .counts = "parked prompts",
     .few = 100,
     .many = 4090,
     .build = parked,
     .event = idle_turn,
     .done = world_done},
    {.name = "prefill_come_and_go",
     .counts = "waiting prompts",
     .few = 100,
     .many = 4090,
     .build = queued,
     .event = come_and_go,
     .done = world_done},
    {.name = "prefill_step_of_16",
     .counts = "waiting prompts",
     .few = 100,
     .many = 4090,
     .build = queued,
     .event = queue_step,
     .done = world_done},
    {.name = "decode_life",
     .counts = "running sequences",
     .few = 100,
     .many = 10000,
     .build = running,
     .event = decode_life,
     .done = world_done},
    {.name = "decode_row",
     .counts = "running sequences",
     .few = 100,
     .many = 10000,
     .build = running,
     .event = decode_step,
     .done = world_done,
     .units_per_held = 1},
    {.name = "decode_step_of_40",
     .counts = "reservations",
     .few = 100,
     .many = 10000,
     .build = reserved,
     .event = decode_step,
     .done = world_done},
    {.name = "decode_reserve_and_drop",
     .counts = "reservations that leave",
     .few = 100,
     .many = 10000,
     .build = leaving,
     .event = reserve_and_drop,
     .done = world_done},
    {.name = "colocated_life",
     .counts = "running requests",
     .few = 100,
     .many = 10000,
     .build = colocated,
     .event = colocated_life,
     .done = world_done},
    {.name = "colocated_row",
     .counts = "running requests",
     .few = 100,
     .many = 10000,
     .build = colocated,
     .event = decode_step,
     .done = world_done,
     .units_per_held = 1},
};

int main(int argc, char **argv) {
    return cost_main(argc, argv, cases, ARRAY_LEN(cases));
}
