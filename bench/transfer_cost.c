/* transfer_cost - instructions per report and command of a transfer thread, with few hand-offs known and with
 * many.
 *
 *   transfer_cost       prints the table (see bench/cost.h)
 *
 * The thread does not run: a world is what it works on, and an event is a turn of its role. Nothing is copied
 * and nothing is sent, so this is the bookkeeping alone. */
#include "bench/cost.h"

#include "base/log.h"
#include "base/mem.h"
#include "transfer/recv.h"
#include "transfer/send.h"

#include <stdlib.h>

enum { TOKENS = 1024, PAGES = TOKENS / KV_PAGE_TOKENS, LAYERS = 2 };
enum { FEW = 100, MANY = 4096 };

typedef struct world {
    xfer x;
    int32_t ids[TOKENS];
    uint32_t pages[PAGES];
    uint32_t reports; /* made of request 1 */
} world;

static void say(world *w, xfer_cmd_kind kind, uint64_t req) {
    xfer_cmd c = {.kind = kind,
                  .id = {.epoch = 1, .p_inc = 2, .d_inc = 3, .req = req, .attempt = 1},
                  .peer_inc = kind == X_OFFER ? ++w->x.offers : 0,
                  .ids = w->ids,
                  .id_count = TOKENS,
                  .pages = w->pages,
                  .page_count = PAGES};
    w->x.role->command(&w->x, &c);
}

static world *build(const xfer_role *role, xfer_cmd_kind kind, uint32_t held) {
    world *w = xcalloc(1, sizeof *w);
    w->x.role = role;
    w->x.opt.kv.layout = (kv_layout){.type = DT_F16, .layers = LAYERS, .kv_heads = 1, .head_dim = 8};
    w->x.opt.kv.page_count = 1;
    w->x.opt.overlap = true;
    w->x.awake_ns = 1;
    list_init(&w->x.by_age);
    u64_map_init(&w->x.by_req, held);
    CHECK(ring_new(&w->x.layers, 16, sizeof(layer_report), NULL) == ST_OK);
    CHECK(ring_new(&w->x.commands, 16, sizeof(xfer_cmd *), NULL) == ST_OK);
    for (uint64_t req = 1; req <= held; req++) say(w, kind, req);
    return w;
}

static void done(void *ctx) {
    world *w = ctx;
    w->x.role->drop_all(&w->x);
    u64_map_done(&w->x.by_req);
    ring_free(w->x.layers);
    ring_free(w->x.commands);
    free(w);
}

static void *parked(uint32_t held) {
    return build(&send_role, X_OFFER, held);
}

static void *expected(uint32_t held) {
    return build(&recv_role, X_EXPECT, held);
}

/* Layer after layer of the oldest offer, each in a turn of its own. */
static void report(void *ctx) {
    world *w = ctx;
    layer_rows rows = {.req = 1, .count = KV_PAGE_TOKENS, .layer = w->reports % LAYERS};
    rows.begin = w->reports++ / LAYERS % PAGES * KV_PAGE_TOKENS;
    layer_report r = {.rows = rows, .stamp = w->x.offers};
    CHECK(ring_push(w->x.layers, &r) == ST_OK);
    w->x.role->turn(&w->x);
}

/* An offer that comes again, and a turn in which nothing is reported. */
static void offer(void *ctx) {
    world *w = ctx;
    say(w, X_OFFER, 2);
    w->x.role->turn(&w->x);
}

static void seal(void *ctx) {
    say(ctx, X_SEAL, 3);
}

/* A reservation that goes and another that comes. */
static void expect(void *ctx) {
    world *w = ctx;
    w->x.role->drop(&w->x, 2);
    say(w, X_EXPECT, 2);
}

static const cost_case cases[] = {
    {.name = "layer_report", .counts = "parked offers", .build = parked, .event = report},
    {.name = "offer", .counts = "parked offers", .build = parked, .event = offer},
    {.name = "seal", .counts = "parked offers", .build = parked, .event = seal},
    {.name = "drop_and_expect", .counts = "expected hand-offs", .build = expected, .event = expect},
};

int main(int argc, char **argv) {
    cost_case filled[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        filled[i] = cases[i];
        filled[i].few = FEW;
        filled[i].many = MANY;
        filled[i].done = done;
    }
    log_setup(LOG_ERROR, "bench");
    return cost_main(argc, argv, filled, ARRAY_LEN(filled));
}
