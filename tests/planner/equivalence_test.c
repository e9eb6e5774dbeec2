/* The whole cluster in virtual time and the planner's fast simulator decide the same, one decision after the
 * other: routes, reservations, the rows of every step, preemptions; and each request's first and last token
 * come at the same nanosecond. So does the cluster without its checks of KV. Random traces through placements
 * of every kind, with pools so small that requests wait, are refused and lose their places.
 *
 *   equivalence_test [SEEDS]      12 of each kind by default */
#include "tests/planner/twin.h"

#include "kv/kv_layout.h"
#include "tests/test.h"

static uint64_t seeds = 12;

typedef struct shape {
    const char *name;
    uint32_t p, d, w;
    bool prefill_first;
    bool alike; /* all requests are of one size: steps of several workers end together */
    uint32_t pages[ROLE_COUNT], seqs[ROLE_COUNT]; /* from this to twice as many */
    uint32_t gap_ms;                              /* between arrivals, in the mean */
} shape;

static uint32_t draw(uint64_t *rng, uint32_t low, uint32_t high) {
    *rng += MIX64_STEP;
    return low + (uint32_t)((mix64(*rng) >> 32) % (high - low + 1));
}

static uint32_t most_pages(const twin_case *c) {
    uint32_t least = UINT32_MAX;
    for (uint32_t r = 0; r < ROLE_COUNT; r++)
        if (c->place.roles[r].count) least = MIN(least, c->place.roles[r].kv_pages);
    return least;
}

static twin_case make_case(const shape *s, uint64_t seed, uint32_t count) {
    uint64_t rng = mix64(seed * 1000003);
    twin_case c = {.max_requests = draw(&rng, 0, 3) ? 1000 : 12,
                   .max_queue = draw(&rng, 0, 3) ? 1000 : 6,
                   .max_context = 1024,
                   .link_ns = 50 * NS_PER_US,
                   .count = count};
    c.place.prefill_first = s->prefill_first;
    const uint32_t counts[ROLE_COUNT] = {
        [ROLE_PREFILL] = s->p, [ROLE_DECODE] = s->d, [ROLE_COLOCATED] = s->w};
    for (uint32_t r = 0; r < ROLE_COUNT; r++) {
        uint32_t seqs = draw(&rng, s->seqs[r], 2 * s->seqs[r]);
        c.place.roles[r] = (fleet_role){.count = counts[r],
                                        .tp = 1,
                                        .pp = 1,
                                        .devices = 1,
                                        .kv_pages = draw(&rng, s->pages[r], 2 * s->pages[r]),
                                        .max_seqs = seqs,
                                        .max_rows = r == ROLE_DECODE ? seqs : 32 * draw(&rng, 1, 4),
                                        .chunk_tokens = 16 * draw(&rng, 1, 8)};
    }
    c.latency = (latency_model){.prefill = {5123457, 100003, 71}, .decode = {8000011, 300007, 1009}};
    c.requests = xcalloc(count, sizeof *c.requests);
    uint32_t tokens = MIN(most_pages(&c) * KV_PAGE_TOKENS, 400u);
    for (uint64_t i = 0, at_ns = 0; i < count; i++) {
        at_ns += draw(&rng, 0, 2 * s->gap_ms * (uint32_t)NS_PER_MS);
        uint32_t output = draw(&rng, 1, MIN(60u, tokens / 2));
        c.requests[i] =
            (twin_request){.at_ns = at_ns, .prompt = draw(&rng, 1, tokens - output), .output = output};
        if (s->alike) c.requests[i] = (twin_request){at_ns, c.requests[0].prompt, c.requests[0].output};
    }
    return c;
}

/* The next decision of the actor that both know from i on; count: none. */
static uint32_t next_of(const twin_log *l, uint32_t i, int32_t actor) {
    while (i < l->count && (l->items[i].actor != actor || l->items[i].kind == TWIN_NO_ROOM)) i++;
    return i;
}

static bool same(const twin_log *a, const twin_decision *x, const twin_log *b, const twin_decision *y) {
    return x->kind == y->kind && x->at_ns == y->at_ns && x->req == y->req && x->step == y->step &&
           x->worker == y->worker && x->decode == y->decode && x->row_count == y->row_count &&
           (!x->row_count ||
            memcmp(&a->rows[x->row_begin], &b->rows[y->row_begin], x->row_count * sizeof *a->rows) == 0);
}

static void show(const char *who, const twin_case *c, const twin_log *l, uint32_t i) {
    char text[4096] = "nothing";
    if (i < l->count) twin_text(c, l, &l->items[i], text, sizeof text);
    print_error("  %-6s %12.6f ms %s\n", who, i < l->count ? (double)l->items[i].at_ns / 1e6 : 0, text);
}

/* The first difference of an actor; true: there is none. */
static bool same_of_actor(const twin_case *c, const twin_log *a, const twin_log *b, int32_t actor,
                          const char *name) {
    uint32_t i = next_of(a, 0, actor), k = next_of(b, 0, actor);
    for (; i < a->count && k < b->count && same(a, &a->items[i], b, &b->items[k]);
         i = next_of(a, i + 1, actor), k = next_of(b, k + 1, actor)) {
    }
    if (i == a->count && k == b->count) return true;
    print_error("%s:\n", name);
    show("sim", c, a, i);
    show("other", c, b, k);
    return false;
}

static bool same_stamps(const twin_case *c, const twin_log *a, const twin_log *b, const char *name) {
    for (uint32_t i = 0; i < c->count; i++) {
        const twin_stamps *x = &a->stamps[i], *y = &b->stamps[i];
        if (x->refused == y->refused && x->first_ns == y->first_ns && x->last_ns == y->last_ns &&
            x->preemptions == y->preemptions)
            continue;
        print_error("%s: request %u: refused %d %d, first %" PRIu64 " %" PRIu64 ", last %" PRIu64 " %" PRIu64
                    ", preempted %u %u\n",
                    name, i + 1, x->refused, y->refused, x->first_ns, y->first_ns, x->last_ns, y->last_ns,
                    x->preemptions, y->preemptions);
        return false;
    }
    return true;
}

static bool agree(const twin_case *c, const twin_log *a, const twin_log *b, const char *name) {
    bool fine = true;
    for (int32_t actor = -1; actor < (int32_t)fleet_placement_workers(&c->place); actor++)
        fine = same_of_actor(c, a, b, actor, name) && fine;
    return same_stamps(c, a, b, name) && fine;
}

typedef struct sums {
    uint64_t decisions, reserves, preempts, no_room, refused;
} sums;

static void count(sums *s, const twin_case *c, const twin_log *l) {
    s->decisions += l->count;
    for (uint32_t i = 0; i < l->count; i++) {
        s->reserves += l->items[i].kind == TWIN_RESERVE;
        s->preempts += l->items[i].kind == TWIN_PREEMPT;
        s->no_room += l->items[i].kind == TWIN_NO_ROOM;
    }
    for (uint32_t i = 0; i < c->count; i++) s->refused += l->stamps[i].refused;
}

static sums compare(const shape *s, uint32_t requests) {
    sums all = {0};
    uint32_t wrong = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        twin_case c = make_case(s, seed, requests);
        twin_log full, fast, counts, stamps;
        twin_run_sim(&c, true, &full);
        twin_run_sim(&c, false, &fast);
        twin_run_fleet(&c, true, &counts);
        twin_run_fleet(&c, false, &stamps);
        char name[64];
        snprintf(name, sizeof name, "%s, seed %u", s->name, (unsigned)seed);
        bool ran = !full.failure[0] && !fast.failure[0] && !counts.failure[0] && !stamps.failure[0];
        if (!ran) print_error("%s: %s|%s|%s\n", name, full.failure, fast.failure, counts.failure);
        bool fine = ran && agree(&c, &full, &fast, name) && agree(&c, &full, &counts, name) &&
                    same_stamps(&c, &full, &stamps, name);
        wrong += !fine;
        count(&all, &c, &full);
        twin_log_done(&full);
        twin_log_done(&fast);
        twin_log_done(&counts);
        twin_log_done(&stamps);
        free(c.requests);
    }
    print_message("%s: %" PRIu64 " decisions, %" PRIu64 " late reservations, %" PRIu64
                  " preemptions, %" PRIu64 " times no room, %" PRIu64 " refused; %u of %u seeds differ\n",
                  s->name, all.decisions, all.reserves, all.preempts, all.no_room, all.refused, wrong,
                  (unsigned)seeds);
    assert_int_equal(wrong, 0);
    return all;
}

#define REQUESTS 80u

static void one_prefill_and_one_decode_worker_decide_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "1P1D", .p = 1, .d = 1, .pages = {40, 40, 1}, .seqs = {4, 4, 1}, .gap_ms = 60},
            REQUESTS);
}

static void two_prefill_workers_decide_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "2P1D", .p = 2, .d = 1, .pages = {40, 60, 1}, .seqs = {4, 6, 1}, .gap_ms = 40},
            REQUESTS);
}

static void three_decode_workers_decide_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "1P3D", .p = 1, .d = 3, .pages = {60, 30, 1}, .seqs = {4, 3, 1}, .gap_ms = 30},
            REQUESTS);
}

static void three_prefill_workers_decide_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "3P1D", .p = 3, .d = 1, .pages = {30, 80, 1}, .seqs = {3, 8, 1}, .gap_ms = 30},
            REQUESTS);
}

static void colocated_workers_with_chunks_decide_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "chunked", .w = 2, .pages = {1, 1, 40}, .seqs = {1, 1, 4}, .gap_ms = 60},
            REQUESTS);
}

static void colocated_workers_with_prefill_first_decide_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "prefill first",
                     .w = 2,
                     .prefill_first = true,
                     .pages = {1, 1, 40},
                     .seqs = {1, 1, 4},
                     .gap_ms = 60},
            REQUESTS);
}

static void small_pools_preempt_alike(void **state) {
    (void)state;
    shape apart = {
        .name = "2P2D, small", .p = 2, .d = 2, .pages = {6, 6, 1}, .seqs = {4, 5, 1}, .gap_ms = 30};
    sums s = compare(&apart, REQUESTS);
    assert_true(s.reserves > 8 * seeds);
    assert_true(s.preempts > 8 * seeds);
    shape chunked = {.name = "chunked, small", .w = 2, .pages = {1, 1, 6}, .seqs = {1, 1, 5}, .gap_ms = 30};
    s = compare(&chunked, REQUESTS);
    assert_true(s.preempts > 8 * seeds);
    chunked.name = "prefill first, small";
    chunked.prefill_first = true;
    s = compare(&chunked, REQUESTS);
    assert_true(s.preempts > 8 * seeds);
}

static void requests_of_one_size_are_decided_alike(void **state) {
    (void)state;
    compare(&(shape){.name = "2P2D, one size",
                     .p = 2,
                     .d = 2,
                     .alike = true,
                     .pages = {30, 30, 1},
                     .seqs = {4, 4, 1},
                     .gap_ms = 30},
            REQUESTS);
    compare(&(shape){.name = "2 chunked, one size",
                     .w = 2,
                     .alike = true,
                     .pages = {1, 1, 30},
                     .seqs = {1, 1, 4},
                     .gap_ms = 30},
            REQUESTS);
}

int main(int argc, char **argv) {
    if (argc > 1) seeds = strtoull(argv[1], NULL, 10);
    log_setup(LOG_ERROR, "equivalence");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_prefill_and_one_decode_worker_decide_alike),
        cmocka_unit_test(two_prefill_workers_decide_alike),
        cmocka_unit_test(three_decode_workers_decide_alike),
        cmocka_unit_test(three_prefill_workers_decide_alike),
        cmocka_unit_test(colocated_workers_with_chunks_decide_alike),
        cmocka_unit_test(colocated_workers_with_prefill_first_decide_alike),
        cmocka_unit_test(small_pools_preempt_alike),
        cmocka_unit_test(requests_of_one_size_are_decided_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
