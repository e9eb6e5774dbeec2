/* More is asked than can be served, in virtual time: what is served stays as much, and as prompt, as ever;
 * nobody starves beside a flood; and who is refused is told when to come again.
 *
 * Goodput: requests per second whose first token came within GOAL and whose later ones came TPOT apart at
 * most, in the mean. Arrivals are Poisson; SEED is the first that was written down. */
#include "story.h"

#include "base/log.h"
#include "base/mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED    1u
#define GOAL_NS (2 * NS_PER_S)
#define TPOT_NS (100 * NS_PER_MS)
#define WARM_NS (20 * NS_PER_S) /* arrivals before that are not counted */
#define SPAN_NS (40 * NS_PER_S)

typedef struct load {
    const char *name;
    uint32_t p, d, c;
    uint32_t max_rows, chunk_tokens, max_seqs;
    uint32_t prompt_min, prompt_max, output_min, output_max;
    latency_model model;
    double capacity; /* requests per second, roughly: loads are multiples of it */
} load;

/* A run: who comes, and what became of them. */
typedef struct run {
    const load *load;
    uint64_t rng, begin_ns;
    double gap_ns, at_ns;
    uint32_t counted, good, refused, failed, late;
} run;

static double draw(run *r) {
    r->rng += MIX64_STEP;
    return ((double)(mix64(r->rng) >> 11) + 0.5) * 0x1p-53;
}

static uint32_t between(run *r, uint32_t low, uint32_t high) {
    return low + (uint32_t)(draw(r) * (high - low + 1));
}

static bool next(void *ctx, sim_arrival *out) {
    run *r = ctx;
    r->at_ns -= r->gap_ns * log(draw(r));
    uint64_t at_ns = r->begin_ns + (uint64_t)r->at_ns;
    if (at_ns > r->begin_ns + WARM_NS + SPAN_NS) return false;
    *out = (sim_arrival){.at_ns = at_ns,
                         .ask = {.prompt_count = between(r, r->load->prompt_min, r->load->prompt_max),
                                 .max_tokens = between(r, r->load->output_min, r->load->output_max),
                                 .stop_at = -1,
                                 .ignore_eos = true}};
    return true;
}

static void ended(void *ctx, const sim_client *c) {
    run *r = ctx;
    if (c->submit_ns < r->begin_ns + WARM_NS) return;
    r->counted++;
    r->refused += c->refused != ST_OK;
    if (c->refused != ST_OK) return;
    r->failed += c->end.state != REQ_DONE;
    if (c->end.state != REQ_DONE) return;
    bool in_time = c->first_ns - c->submit_ns <= GOAL_NS;
    bool fluent = c->got < 2 || (c->end_ns - c->first_ns) / (c->got - 1) <= TPOT_NS;
    r->good += in_time && fluent;
    r->late += !in_time;
}

/* Good requests per second at so many times the capacity. */
static double goodput(const load *l, double times, bool admission, run *r) {
    sim_options o = sim_defaults();
    o.check_kv = false;
    o.forget_clients = true;
    o.workers[ROLE_PREFILL] = l->p;
    o.workers[ROLE_DECODE] = l->d;
    o.workers[ROLE_COLOCATED] = l->c;
    o.max_rows = l->max_rows;
    o.chunk_tokens = l->chunk_tokens;
    o.max_seqs = l->max_seqs;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) o.pages[i] = 4096;
    o.latency = &l->model;
    o.core.max_context = 8192;
    o.core.max_requests = 65536;
    o.core.max_queue = 65536 / 2;
    o.core.ttft_goal_ns = admission ? GOAL_NS : 0;
    o.core.wait_prefill_ns = o.core.prefill_ns = o.core.wait_kv_ns = o.core.decode_token_ns = 3600 * NS_PER_S;
    *r =
        (run){.load = l, .rng = mix64(SEED), .begin_ns = 2 * NS_PER_S, .gap_ns = 1e9 / (l->capacity * times)};
    o.watch = (sim_watch){.ctx = r, .next = next, .ended = ended};
    sim *s = sim_new(&o);
    while (!sim_served(s)) assert_story_goes_on(s);
    sim_free(s);
    return (double)r->good / ((double)SPAN_NS / 1e9);
}

static double tell(const load *l, double times, bool admission) {
    run r;
    double g = goodput(l, times, admission, &r);
    print_message(
        "%s, load %.1f%s: %.2f good requests/s; of %u requests %u good, %u late, %u refused, %u ended in the "
        "queue\n",
        l->name, times, admission ? "" : ", all let in", g, r.counted, r.good, r.late, r.refused, r.failed);
    return g;
}

static void assert_goodput_stays(const load *l) {
    static const double loads[] = {0.8, 0.9, 1, 1.1, 1.3};
    double peak = 0;
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        for (int admission = 0; admission < 2; admission++) peak = MAX(peak, tell(l, loads[i], admission));
    double kept = tell(l, 3, true), lost = tell(l, 3, false);
    print_message("%s: %.1f %% of the peak at 3 times the capacity, %.1f %% if all are let in\n", l->name,
                  100 * kept / peak, 100 * lost / peak);
    assert_true(kept >= 0.9 * peak);
    assert_true(lost <= 0.1 * peak); /* or the test would show nothing */
}

static const load prompts = {.name = "prompts of one length",
                             .p = 1,
                             .d = 1,
                             .max_rows = 512,
                             .chunk_tokens = 512,
                             .max_seqs = 64,
                             .prompt_min = 500,
                             .prompt_max = 500,
                             .output_min = 8,
                             .output_max = 8,
                             .model = {.prefill = {8e6, 62500, 0}, .decode = {5e6, 100000, 0}},
                             .capacity = 25};
static const load mixed = {.name = "prompts of many lengths",
                           .p = 2,
                           .d = 2,
                           .max_rows = 512,
                           .chunk_tokens = 256,
                           .max_seqs = 64,
                           .prompt_min = 16,
                           .prompt_max = 2000,
                           .output_min = 1,
                           .output_max = 64,
                           .model = {.prefill = {8e6, 62500, 0}, .decode = {5e6, 100000, 0}},
                           .capacity = 20};
static const load colocated = {.name = "colocated workers",
                               .c = 2,
                               .max_rows = 512,
                               .chunk_tokens = 256,
                               .max_seqs = 32,
                               .prompt_min = 16,
                               .prompt_max = 1000,
                               .output_min = 8,
                               .output_max = 64,
                               .model = {.prefill = {4e6, 62500, 0}, .decode = {4e6, 200000, 0}},
                               .capacity = 40};
static const load answers = {.name = "decode workers are full",
                             .p = 1,
                             .d = 1,
                             .max_rows = 512,
                             .chunk_tokens = 512,
                             .max_seqs = 16,
                             .prompt_min = 100,
                             .prompt_max = 300,
                             .output_min = 32,
                             .output_max = 96,
                             .model = {.prefill = {4e6, 20000, 0}, .decode = {10e6, 500000, 0}},
                             .capacity = 14};

static void goodput_stays_with_prompts_of_one_length(void **state) {
    (void)state;
    assert_goodput_stays(&prompts);
}

static void goodput_stays_with_prompts_of_many_lengths(void **state) {
    (void)state;
    assert_goodput_stays(&mixed);
}

static void goodput_stays_with_colocated_workers(void **state) {
    (void)state;
    assert_goodput_stays(&colocated);
}

static void goodput_stays_with_full_decode_workers(void **state) {
    (void)state;
    assert_goodput_stays(&answers);
}

/* ---- fairness ---- */

/* One worker that takes one prompt of 32 tokens at a time, 10 ms each. */
static sim *one_worker(uint64_t wait_prefill_ns) {
    static const latency_model model = {.prefill = {8e6, 62500, 0}, .decode = {1e6, 1000, 100}};
    sim_options o = sim_defaults();
    o.latency = &model;
    o.max_rows = o.chunk_tokens = 32;
    o.max_seqs = 512;
    o.pages[ROLE_COLOCATED] = 2048;
    o.core.max_requests = 1024;
    o.core.max_queue = 500;
    o.core.wait_prefill_ns = wait_prefill_ns;
    return cluster(o, 0, 0, 1);
}

static status ask_as(sim *s, uint64_t client, sim_client **out, errbuf *why) {
    sim_ask ask = {.prompt_count = 32, .max_tokens = 1, .stop_at = -1, .ignore_eos = true, .client = client};
    return sim_submit(s, &ask, out, why);
}

/* FLOOD asks for as much as it is let, all the time. */
enum { FLOOD = 7, OTHERS = 5 };

static void flood(sim *s) {
    errbuf why = {0};
    for (int i = 0; i < 1000; i++)
        if (ask_as(s, FLOOD, NULL, &why) != ST_OK) return;
    fail_msg("nothing stops it");
}

/* Whoever asks beside a flood is served after what is being computed, two prompts at most, and its turn. */
static void nobody_starves_beside_a_flood(void **state) {
    (void)state;
    sim *s = one_worker(60 * NS_PER_S);
    flood(s);
    core_counters k;
    core_counters_of(s->core, &k);
    assert_int_equal(k.requests[REQ_WAIT_PREFILL], 400); /* four fifths of the queue */
    assert_int_equal(k.rejected_share, 1);
    uint64_t longest_ns = 0;
    for (uint32_t round = 0; round < 200; round++) {
        flood(s);
        sim_client *c[OTHERS];
        errbuf why = {0};
        for (uint32_t i = 0; i < OTHERS; i++) assert_int_equal(ask_as(s, 100 + i, &c[i], &why), ST_OK);
        for (uint32_t i = 0; i < OTHERS; i++) {
            UNTIL(s, c[i]->ended);
            assert_done(c[i]);
            longest_ns = MAX(longest_ns, c[i]->first_ns - c[i]->submit_ns);
        }
    }
    /* Two that the worker has, one turn of each of the others and of the flood, its own, and the messages:
     * all exact */
    assert_int_equal(longest_ns, (2 + 5 + 1 + 1) * 10 * MS);
    uint32_t flooded = 0;
    for (uint32_t i = 0; i < s->client_count; i++) flooded += s->clients[i]->ended;
    print_message("longest wait beside a flood: %.0f ms; the flood had %u turns, the others %u\n",
                  (double)longest_ns / 1e6, flooded - 200 * OTHERS, 200 * OTHERS);
    sim_free(s);
}

/* ---- what would be late ---- */

/* Whether it would be let in */
static status ask_within(sim *s, uint64_t ns, errbuf *why) {
    sim_ask ask = {.prompt_count = 32, .max_tokens = 1, .stop_at = -1, .ignore_eos = true, .within_ns = ns};
    sim_client *c = NULL;
    status st = sim_submit(s, &ask, &c, why);
    if (st == ST_OK) sim_cancel(s, c);
    return st;
}

static void what_would_be_late_is_refused_at_once_and_told_when_to_come_again(void **state) {
    (void)state;
    sim *s = one_worker(60 * NS_PER_S);
    errbuf why = {0};
    for (uint32_t i = 0; i < 10; i++) assert_int_equal(ask_as(s, 0, NULL, &why), ST_OK);
    assert_int_equal(ask_within(s, MS, &why), ST_OK); /* nothing is known yet */
    for (uint32_t i = 0; i < 420; i++) assert_int_equal(ask_as(s, 0, NULL, &why), ST_OK);
    run_for(s, 300 * MS); /* 30 of 430 are through, 2 are with the worker */
    uint64_t need_ns = MS;
    while (ask_within(s, need_ns, &why) != ST_OK) need_ns += MS;
    sim_client *last = NULL;
    assert_int_equal(ask_within(s, 1000 * MS, &why), ST_AGAIN);
    assert_int_equal(s->retry_s, 4); /* in 3.0 s there would be a second's work left, and a little */
    assert_non_null(strstr(why.text, "there is too much to do: its first token is expected within 41"));
    assert_non_null(strstr(why.text, " ms, and it has 1000; try again later"));
    assert_int_equal(ask_as(s, 0, &last, &why), ST_OK);
    UNTIL(s, last->ended);
    assert_in_range(last->first_ns - last->submit_ns, need_ns * 95 / 100, need_ns * 105 / 100);
    run_for(s, NS_PER_S);
    assert_int_equal(ask_within(s, 1, &why), ST_OK); /* nobody waits: let it try */
    sim_free(s);
}

static void what_would_wait_longer_than_anybody_may_is_refused_at_once(void **state) {
    (void)state;
    sim *s = one_worker(2 * NS_PER_S);
    errbuf why = {0};
    for (uint32_t i = 0; i < 430; i++) assert_int_equal(ask_as(s, 0, NULL, &why), ST_OK);
    run_for(s, 300 * MS);
    assert_int_equal(ask_within(s, UINT64_MAX - s->now_ns, &why), ST_AGAIN);
    assert_int_equal(s->retry_s, 3);
    assert_non_null(strstr(why.text, "there is too much to do: a worker would take it in about 4"));
    assert_non_null(strstr(why.text, " ms, and limits.wait_prefill_ms is 2000; try again later"));
    sim_free(s);
}

/* Twice the capacity, each with half a second for its first token; how many got it in the last second */
static uint32_t served_in_a_second(sim *s) {
    sim_client *c[200] = {0};
    sim_ask ask = {
        .prompt_count = 32, .max_tokens = 1, .stop_at = -1, .ignore_eos = true, .within_ns = 500 * MS};
    for (uint32_t i = 0; i < ARRAY_LEN(c); i++) {
        errbuf why = {0};
        (void)sim_submit(s, &ask, &c[i], &why);
        run_for(s, 5 * MS);
    }
    run_for(s, 600 * MS);
    uint32_t served = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(c); i++)
        served += c[i] && c[i]->end.state == REQ_DONE && c[i]->first_ns - c[i]->submit_ns <= 500 * MS;
    return served;
}

static void a_worker_that_stood_still_is_trusted_again(void **state) {
    (void)state;
    sim *s = one_worker(60 * NS_PER_S);
    for (uint32_t i = 0; i < 3; i++) (void)served_in_a_second(s);
    assert_true(served_in_a_second(s) >= 100); /* what comes in a second keeps it busy for longer than that */
    sim_freeze(s, 0);
    (void)served_in_a_second(s);
    sim_thaw(s, 0);
    (void)served_in_a_second(s);
    assert_true(served_in_a_second(s) >= 100);
    sim_free(s);
}

/* The decode worker is full, and finished prompts wait for it. */
static sim *full_decode_worker(void) {
    static const latency_model model = {.prefill = {4e6, 20000, 0}, .decode = {10e6, 100000, 0}};
    sim_options o = sim_defaults();
    o.latency = &model;
    o.max_rows = o.chunk_tokens = 512;
    o.max_seqs = 4;
    o.pages[ROLE_PREFILL] = o.pages[ROLE_DECODE] = 2048;
    o.core.max_requests = 1024;
    o.core.max_queue = 500;
    sim *s = cluster(o, 1, 1, 0);
    sim_ask ask = {.prompt_count = 32, .max_tokens = 64, .stop_at = -1, .ignore_eos = true};
    errbuf why = {0};
    for (uint32_t i = 0; i < 60; i++) assert_int_equal(sim_submit(s, &ask, NULL, &why), ST_OK);
    run_for(s, 5 * NS_PER_S); /* time enough to learn how fast it takes them over */
    core_counters k;
    core_counters_of(s->core, &k);
    assert_int_equal(k.requests[REQ_WAIT_PREFILL], 0);
    assert_in_range(k.requests[REQ_WAIT_KV], 10, 50);
    return s;
}

static void a_goal_that_cannot_be_met_holds_up_nobody(void **state) {
    (void)state;
    sim *s = full_decode_worker();
    errbuf why = {0};
    sim_ask ask = {
        .prompt_count = 32, .max_tokens = 64, .stop_at = -1, .ignore_eos = true, .within_ns = NS_PER_S};
    sim_client *hopeless = NULL, *other = NULL;
    assert_int_equal(sim_submit(s, &ask, &hopeless, &why), ST_OK); /* nobody waits: let it try */
    ask.within_ns = 0;
    assert_int_equal(sim_submit(s, &ask, &other, &why), ST_OK);
    UNTIL(s, other->got == 1);
    assert_in_range(other->first_ns - other->submit_ns, 1, 20 * MS);
    assert_true(hopeless->ended);
    assert_int_equal(hopeless->end_ns - hopeless->submit_ns, 0);
    assert_int_equal(hopeless->end.st, ST_PEER);
    assert_non_null(strstr(hopeless->why, "its first token cannot come in time any more: "));
    assert_non_null(strstr(hopeless->why, " prompts before it wait for a decode worker; try again later"));
    core_counters k;
    core_counters_of(s->core, &k);
    assert_int_equal(k.expired, 1);
    sim_free(s);
}

int main(void) {
    log_setup(LOG_ERROR, "overload");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goodput_stays_with_prompts_of_one_length),
        cmocka_unit_test(goodput_stays_with_prompts_of_many_lengths),
        cmocka_unit_test(goodput_stays_with_colocated_workers),
        cmocka_unit_test(goodput_stays_with_full_decode_workers),
        cmocka_unit_test(nobody_starves_beside_a_flood),
        cmocka_unit_test(what_would_be_late_is_refused_at_once_and_told_when_to_come_again),
        cmocka_unit_test(a_worker_that_stood_still_is_trusted_again),
        cmocka_unit_test(what_would_wait_longer_than_anybody_may_is_refused_at_once),
        cmocka_unit_test(a_goal_that_cannot_be_met_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
