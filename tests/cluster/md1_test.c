/* The mock's latency model as a queue that theory knows: Poisson arrivals, prompts of one length, one prompt
 * per step, one token each, so that every service takes the same time (M/D/1).
 *
 * Two servers on the virtual clock. A whole simulated cluster, in which each request's wait must be Lindley's
 * to the nanosecond; and Lindley's recursion by itself with the same service time, over so many requests that
 * the interval around the mean wait is narrow enough to be held against theory: 99 % by means of batches, a
 * hundredth of the mean at most.
 *
 * SEED is the first that was written down; no other was tried. */
#include "story.h"

#include "base/log.h"
#include "base/mix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SEED         1u
#define TOKENS       32u
#define SERVICE_NS   (10 * NS_PER_MS)
#define STORY_COUNT  20000u
#define BATCHES      100u
#define T_99         2.6264 /* Student, 99 % two-sided, 99 degrees of freedom */
#define COUNT        20000000u
#define WARM_COUNT   1000000u
#define WIDTH_WANTED 0.01

/* 8 ms + 32 tokens * 62.5 us. */
static const latency_model model = {.prefill = {8e6, 62500, 0}, .decode = {1e6, 1000, 100}};

static uint64_t service_ns(void) {
    latency_step s = {0};
    latency_add_chunk(&s, 0, TOKENS);
    return latency_ns(&model, &s);
}

/* Arrivals at a load: absolute times. */
typedef struct arrivals {
    uint64_t state;
    double mean_ns, at_ns;
} arrivals;

static arrivals arrivals_of(double load) {
    return (arrivals){.state = mix64(SEED * MIX64_STEP) ^ (uint64_t)(load * 1000),
                      .mean_ns = (double)service_ns() / load};
}

static uint64_t next_ns(arrivals *a) {
    a->state += MIX64_STEP;
    double u = ((double)(mix64(a->state) >> 11) + 0.5) * 0x1p-53;
    a->at_ns -= a->mean_ns * log(u);
    return (uint64_t)a->at_ns;
}

static void a_step_takes_what_the_model_says(void **state) {
    (void)state;
    assert_int_equal(service_ns(), SERVICE_NS);
}

/* One colocated worker that takes one prompt per step. */
static sim *one_worker(void) {
    sim_options o = sim_defaults();
    o.latency = &model;
    o.max_rows = o.chunk_tokens = TOKENS;
    o.max_seqs = 512;
    o.pages[ROLE_COLOCATED] = 2048;
    o.core.max_requests = o.core.max_queue = 4096;
    return cluster(o, 0, 0, 1);
}

static void a_decode_step_takes_what_its_batch_and_context_say(void **state) {
    (void)state;
    sim *s = one_worker();
    uint64_t at_ns = s->now_ns;
    sim_client *c = submit(s, TOKENS, 3);
    UNTIL(s, c->ended);
    assert_done(c);
    assert_int_equal(c->first_ns, at_ns + SERVICE_NS + 2 * s->opt.ctl_ns);
    assert_int_equal(c->end_ns, c->first_ns + 2 * (1000000 + 1000) + 100 * (33 + 34));
    all_over(s);
}

static void sixty_four_workers_serve_all(void **state) {
    (void)state;
    sim_options o = sim_defaults();
    o.latency = latency_preset("h200-8b");
    o.core.max_requests = o.core.max_queue = 2048;
    sim *s = cluster(o, 32, 32, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(sim_run_for(s, NS_PER_MS / 2));
        submit(s, 1 + i % 200, 1 + i % 30);
    }
    for (uint32_t i = 0; i < s->client_count; i++) UNTIL(s, s->clients[i]->ended);
    for (uint32_t i = 0; i < s->client_count; i++) assert_done(s->clients[i]);
    all_over(s);
}

static void waits_of_the_cluster_are_lindleys_to_the_nanosecond(double load) {
    sim *s = one_worker();
    uint64_t begin_ns = s->now_ns, free_ns = 0, *want_ns = xcalloc(STORY_COUNT, sizeof *want_ns);
    double waited = 0;
    arrivals a = arrivals_of(load);
    for (uint32_t i = 0; i < STORY_COUNT; i++) {
        uint64_t at_ns = begin_ns + next_ns(&a);
        assert_true(sim_run_until(s, at_ns));
        submit(s, TOKENS, 1);
        uint64_t there_ns = at_ns + s->opt.ctl_ns; /* a message to the worker, and one back */
        free_ns = MAX(free_ns, there_ns) + SERVICE_NS;
        want_ns[i] = free_ns + s->opt.ctl_ns;
        waited += (double)(free_ns - there_ns) / SERVICE_NS - 1;
    }
    run_for(s, 60 * NS_PER_S);
    for (uint32_t i = 0; i < STORY_COUNT; i++) {
        assert_done(s->clients[i]);
        assert_int_equal(s->clients[i]->first_ns, want_ns[i]);
    }
    printf("load %.1f: %u requests of a whole cluster, mean wait %.4f services\n", load, STORY_COUNT,
           waited / STORY_COUNT);
    free(want_ns);
    all_over(s);
}

static void a_cluster_waits_as_lindley_says(void **state) {
    (void)state;
    waits_of_the_cluster_are_lindleys_to_the_nanosecond(0.3);
    waits_of_the_cluster_are_lindleys_to_the_nanosecond(0.6);
    waits_of_the_cluster_are_lindleys_to_the_nanosecond(0.9);
}

/* A server whose only state is when it will be free. */
typedef struct server {
    arrivals arrivals;
    uint64_t service_ns, free_ns;
} server;

/* The next request's wait, in services. */
static double next_wait(server *v) {
    uint64_t at_ns = next_ns(&v->arrivals), start_ns = MAX(at_ns, v->free_ns);
    v->free_ns = start_ns + v->service_ns;
    return (double)(start_ns - at_ns) / (double)v->service_ns;
}

typedef struct interval {
    double mean, half;
} interval;

static interval batch_means(const double batches[BATCHES]) {
    double mean = 0, square = 0;
    for (uint32_t b = 0; b < BATCHES; b++) mean += batches[b] / BATCHES;
    for (uint32_t b = 0; b < BATCHES; b++) square += (batches[b] - mean) * (batches[b] - mean);
    return (interval){mean, T_99 * sqrt(square / (BATCHES - 1) / BATCHES)};
}

static void assert_contains(double load, const char *what, const interval *i, double theory) {
    printf("load %.1f: %s %.5f +- %.5f, theory %.5f\n", load, what, i->mean, i->half, theory);
    assert_true(fabs(i->mean - theory) <= i->half);
}

/* bound, share: theory says that so large a share waits no longer than so many services. */
static void mean_wait_is_that_of_theory(double load, double theory, double bound, double share) {
    double waits[BATCHES] = {0}, below[BATCHES] = {0};
    server v = {.arrivals = arrivals_of(load), .service_ns = service_ns()};
    for (uint32_t i = 0; i < WARM_COUNT; i++) next_wait(&v); /* it began empty */
    for (uint32_t b = 0; b < BATCHES; b++) {
        for (uint32_t i = 0; i < COUNT / BATCHES; i++) {
            double wait = next_wait(&v);
            waits[b] += wait / (COUNT / BATCHES);
            below[b] += (wait <= bound) / (double)(COUNT / BATCHES);
        }
    }
    interval mean = batch_means(waits), part = batch_means(below);
    assert_true(mean.half <= WIDTH_WANTED * mean.mean);
    assert_contains(load, "mean wait", &mean, theory);
    assert_contains(load, "share that waits no longer", &part, share);
}

static void load_0_3_is_as_in_theory(void **state) {
    (void)state;
    mean_wait_is_that_of_theory(0.3, 0.3 / (2 * 0.7), 1, 0.94490);
}

static void load_0_6_is_as_in_theory(void **state) {
    (void)state;
    mean_wait_is_that_of_theory(0.6, 0.75, 2, 0.89074);
}

static void load_0_9_is_as_in_theory(void **state) {
    (void)state;
    mean_wait_is_that_of_theory(0.9, 4.5, 10, 0.88240);
}

int main(void) {
    log_setup(LOG_ERROR, "md1");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_takes_what_the_model_says),
        cmocka_unit_test(a_decode_step_takes_what_its_batch_and_context_say),
        cmocka_unit_test(sixty_four_workers_serve_all),
        cmocka_unit_test(a_cluster_waits_as_lindley_says),
        cmocka_unit_test(load_0_3_is_as_in_theory),
        cmocka_unit_test(load_0_6_is_as_in_theory),
        cmocka_unit_test(load_0_9_is_as_in_theory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
