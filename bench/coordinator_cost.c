/* coordinator_cost - what one event costs the coordinator's core, in instructions, with many live requests.
 *
 *   coordinator_cost LIVE KIND EVENTS
 *
 * The core is driven through its public functions, with scripted workers behind its sink: one prefill worker,
 * one decode worker. Before the measured part LIVE requests are brought to where they stay: half of them
 * decode, a quarter is parked at the prefill worker because no slot of the decode worker is free, the rest is
 * in the queue behind a prefill worker that has its two batches. Then come EVENTS events of one KIND, a
 * millisecond apart, each followed by a turn as in production:
 *
 *   turn    nothing happened
 *   beat    a heartbeat
 *   token   one token of one running request, another one each time
 *   leave   a client of the queue leaves and another one comes
 *   life    one request ends, a parked one takes its place, a prompt is done and parks, the queue's first is
 *           routed, and a new request comes: so each event is one whole life, of nine messages
 *   stuck   as turn, but the parked ones are larger than any decode worker that is left: a decode worker that
 *           could hold them has left before
 *
 * Instructions per event, without the preparation:
 *
 *   valgrind --tool=callgrind --toggle-collect=measured --callgrind-out-file=/dev/null \
 *       build/test/bin/coordinator_cost 10000 token 1000
 *
 * and the "Collected" of that divided by the events. It must be the same for 100 and for 10,000 but for what
 * a heap's depth and the caches make of it. */
#include "base/clock.h"
#include "base/mem.h"
#include "coordinator/core.h"
#include "kv/kv_layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    P = 1,
    D = 2,
    LARGE = 3,
    PROMPT = 20,
    EPOCH = 7,
    MAX_TOKENS = 1 << 20,
    CONTEXT = 1 << 21,
    PAGES = 1 << 24,
    SMALL_CONTEXT = 1 << 18
};

typedef struct running { /* a request at the decode worker */
    uint64_t req;
    uint32_t index; /* of its next token */
} running;

typedef struct scene {
    core *core;
    uint64_t now_ns;
    uint64_t incarnation[LARGE + 1];
    running *runs;     /* [run_count], a ring from run_first: oldest first */
    uint64_t *prompts; /* [prompt_count], a ring: given to P, first token not told */
    uint64_t *queue;   /* [queue_count], a ring: submitted, not given to P */
    uint32_t live, run_first, run_count, prompt_first, prompt_count, queue_first, queue_count;
} scene;

static void say(scene *s, uint64_t conn, ctl_msg m) {
    m.epoch = EPOCH;
    m.incarnation = s->incarnation[conn];
    m.free_pages = PAGES;
    core_message(s->core, conn, &m, s->now_ns);
}

static void say_token(scene *s, uint64_t conn, uint64_t req, uint32_t index, finish fin) {
    ctl_token t = {.req = req, .attempt = 1, .index = index, .token = {.id = 5, .fin = fin}};
    say(s, conn, (ctl_msg){.kind = CTL_TOKENS, .tokens = {.tokens = &t, .count = 1}});
}

static void push(uint64_t *ring, uint32_t size, uint32_t first, uint32_t *count, uint64_t value) {
    CHECK(*count < size);
    ring[(first + (*count)++) % size] = value;
}

/* What the core says to workers is answered at once, as far as it must be. */
static void on_send(void *ctx, uint64_t conn, const ctl_msg *m) {
    scene *s = ctx;
    uint32_t size = 2 * s->live;
    switch (m->kind) {
    case CTL_WELCOME:
        s->incarnation[conn] = m->incarnation;
        break;
    case CTL_PREFILL:
        push(s->prompts, size, s->prompt_first, &s->prompt_count, m->req);
        CHECK(s->queue[s->queue_first] == m->req);
        s->queue_first = (s->queue_first + 1) % size;
        s->queue_count--;
        break;
    case CTL_RESERVE:
        CHECK(s->run_count < size);
        s->runs[(s->run_first + s->run_count++) % size] = (running){.req = m->req, .index = 1};
        break;
    default:
        break;
    }
}

static void on_hang_up(void *ctx, uint64_t conn) {
    (void)ctx;
    (void)conn;
}

static void on_token(void *ctx, uint64_t req, const core_token *t) {
    (void)ctx;
    (void)req;
    (void)t;
}

static void on_end(void *ctx, uint64_t req, const core_end *e, const core_times *t) {
    (void)ctx;
    (void)req;
    (void)t;
    CHECK(e->state == REQ_DONE || e->state == REQ_CANCELED);
}

static void turn(scene *s) {
    s->now_ns += NS_PER_MS;
    (void)core_turn(s->core, s->now_ns);
}

static void submit_with(scene *s, uint32_t max_tokens) {
    static int32_t prompt[PROMPT] = {1, 2, 3};
    prompt[0]++; /* each of its own: nothing of it lies in a prefix cache */
    core_request r = {
        .prompt = prompt, .prompt_count = PROMPT, .params = sampling_default(), .max_tokens_given = true};
    r.params.max_tokens = max_tokens;
    uint64_t req = 0;
    errbuf eb = {0};
    status st = core_submit(s->core, &r, s->now_ns, &req, &eb);
    if (st != ST_OK) fprintf(stderr, "%s\n", eb.text);
    CHECK(st == ST_OK);
    push(s->queue, 2 * s->live, s->queue_first, &s->queue_count, req);
}

static void submit(scene *s) {
    submit_with(s, SMALL_CONTEXT - PROMPT);
}

static void join(scene *s, uint64_t conn, ctl_join j) {
    j.name = worker_role_name(j.role);
    j.host = "here";
    j.pid = (uint32_t)conn;
    j.page_count = PAGES;
    j.page_tokens = KV_PAGE_TOKENS;
    j.max_rows = 2 * PROMPT;
    j.kv_token_bytes = 64;
    core_message(s->core, conn, &(ctl_msg){.kind = CTL_JOIN, .free_pages = PAGES, .join = j}, s->now_ns);
    say(s, conn, (ctl_msg){.kind = CTL_HEARTBEAT});
}

/* The oldest prompt at P is done. */
static void prompt_done(scene *s) {
    CHECK(s->prompt_count > 0);
    uint64_t req = s->prompts[s->prompt_first];
    s->prompt_first = (s->prompt_first + 1) % (2 * s->live);
    s->prompt_count--;
    say_token(s, P, req, 0, FINISH_NONE);
    turn(s);
}

/* The newest request at D, which has just been reserved for, gets its KV from P. */
static void take_over(scene *s) {
    running *r = &s->runs[(s->run_first + s->run_count - 1) % (2 * s->live)];
    say(s, D, (ctl_msg){.kind = CTL_RESERVED, .req = r->req, .attempt = 1});
    turn(s);
    say(s, D, (ctl_msg){.kind = CTL_VERIFIED, .req = r->req, .attempt = 1});
    turn(s);
    say(s, P, (ctl_msg){.kind = CTL_CLOSED, .req = r->req, .attempt = 1});
    turn(s);
}

static void prepare(scene *s, bool stuck) {
    uint32_t run = s->live / 2, parked = s->live / 4, queue = s->live - run - parked;
    core_options o = {.epoch = EPOCH,
                      .max_requests = 2 * s->live,
                      .max_queue = 2 * s->live,
                      .max_workers = 8,
                      .heartbeat_ns = 250 * NS_PER_MS,
                      .suspect_ns = 100000 * NS_PER_S,
                      .gone_ns = 200000 * NS_PER_S,
                      .step_age_min_ns = 10 * NS_PER_S,
                      .lease_ns = 10 * NS_PER_S,
                      .wait_prefill_ns = 60000 * NS_PER_S,
                      .prefill_ns = 120000 * NS_PER_S,
                      .wait_kv_ns = 60000 * NS_PER_S,
                      .decode_token_ns = 30000 * NS_PER_S,
                      .max_attempts = 4,
                      .max_context = CONTEXT,
                      .prefix_cache = true};
    core_sink sink = {.ctx = s, .send = on_send, .hang_up = on_hang_up, .token = on_token, .end = on_end};
    s->core = core_new(&o, &sink, s->now_ns);
    s->runs = xcalloc(2 * s->live, sizeof *s->runs);
    s->prompts = xcalloc(2 * s->live, sizeof *s->prompts);
    s->queue = xcalloc(2 * s->live, sizeof *s->queue);
    join(s, P, (ctl_join){.role = ROLE_PREFILL, .max_seqs = 1u << 20, .max_context = CONTEXT});
    if (stuck) join(s, LARGE, (ctl_join){.role = ROLE_DECODE, .max_seqs = 1, .max_context = CONTEXT});
    uint32_t early = stuck ? parked + 1 : 0; /* one of them at LARGE, the others parked */
    for (uint32_t i = 0; i < early; i++) {
        submit_with(s, MAX_TOKENS);
        turn(s);
        prompt_done(s);
    }
    if (stuck) { /* what had reserved there is parked like the others */
        core_conn_lost(s->core, LARGE, "it left", s->now_ns);
        s->run_count = 0;
    }
    join(s, D,
         (ctl_join){.role = ROLE_DECODE, .max_seqs = run, .max_context = stuck ? SMALL_CONTEXT : CONTEXT});
    turn(s);
    for (uint32_t i = 0; i < run; i++) {
        submit(s);
        turn(s);
        prompt_done(s);
        take_over(s);
    }
    CHECK(s->run_count == run);
    for (uint32_t i = 0; !stuck && i < parked; i++) {
        submit(s);
        turn(s);
        prompt_done(s);
    }
    CHECK(s->prompt_count == 0);
    for (uint32_t i = 0; i < queue; i++) submit(s);
    turn(s);
}

static void event_turn(scene *s, uint32_t i) {
    (void)i;
    turn(s);
}

static void event_beat(scene *s, uint32_t i) {
    say(s, i % 2 ? P : D, (ctl_msg){.kind = CTL_HEARTBEAT});
    turn(s);
}

static void event_token(scene *s, uint32_t i) {
    running *r = &s->runs[(s->run_first + i % s->run_count) % (2 * s->live)];
    say_token(s, D, r->req, r->index++, FINISH_NONE);
    turn(s);
}

static void event_leave(scene *s, uint32_t i) {
    (void)i;
    uint32_t last = (s->queue_first + --s->queue_count) % (2 * s->live);
    core_cancel(s->core, s->queue[last], s->now_ns);
    submit(s);
    turn(s);
}

static void event_life(scene *s, uint32_t i) {
    (void)i;
    const running *r = &s->runs[s->run_first];
    uint64_t req = r->req;
    uint32_t index = r->index;
    s->run_first = (s->run_first + 1) % (2 * s->live);
    s->run_count--;
    say_token(s, D, req, index, FINISH_EOS);
    turn(s);
    take_over(s);
    prompt_done(s);
    submit(s);
    turn(s);
}

/* Named in the command above. */
__attribute__((noinline)) static void measured(scene *s, void (*event)(scene *, uint32_t), uint32_t events) {
    for (uint32_t i = 0; i < events; i++) event(s, i);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*event)(scene *, uint32_t);
    } kinds[] = {{"turn", event_turn},   {"beat", event_beat}, {"token", event_token},
                 {"leave", event_leave}, {"life", event_life}, {"stuck", event_turn}};
    scene s = {.now_ns = NS_PER_S, .live = argc == 4 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0};
    uint32_t events = argc == 4 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
    size_t k = 0;
    while (argc == 4 && k < ARRAY_LEN(kinds) && strcmp(kinds[k].name, argv[2]) != 0) k++;
    if (s.live < 20 || events == 0 || k == ARRAY_LEN(kinds)) {
        fprintf(stderr,
                "usage: coordinator_cost LIVE (at least 20) turn|beat|token|leave|life|stuck EVENTS\n");
        return 2;
    }
    prepare(&s, strcmp(argv[2], "stuck") == 0);
    measured(&s, kinds[k].event, events);
    core_counters n;
    core_counters_of(s.core, &n);
    printf("kind=%s events=%u queued=%u prefill=%u parked=%u decode=%u\n", kinds[k].name, events,
           n.requests[REQ_WAIT_PREFILL], n.requests[REQ_PREFILL], n.requests[REQ_WAIT_KV],
           n.requests[REQ_DECODE]);
    core_free(s.core);
    free(s.runs);
    free(s.prompts);
    free(s.queue);
    return 0;
}
