/* What the judge says of queues whose answer is known, and that it says the same again. */
#include "planner/judge/judge.h"

#include "planner/judge/pool.h"

#include "base/mem.h"
#include "bench/workload/draw.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A worker that serves prompts one by one, token_ms each token; step_ms a decode step. */
typedef struct scene {
    profile p;
    profile_engine engine;
    step_cost_knot prefill[2], decode[1];
    fleet_placement at;
    arrivals_options arrivals;
    workload *load;
    judge_case c;
    judge_rules rules;
} scene;

static void scene_init(scene *s, double token_ms, double step_ms, const workload_options *load) {
    *s = (scene){.arrivals = {.kind = ARRIVALS_GAMMA, .burstiness = 1}, .rules = judge_rules_default()};
    s->prefill[0] = (step_cost_knot){.x = 0};
    s->prefill[1] = (step_cost_knot){.x = 1, .base_ns = token_ms * 1e6};
    s->decode[0] = (step_cost_knot){.base_ns = step_ms * 1e6};
    s->engine = (profile_engine){.roles = {true, true, true},
                                 .tp = 1,
                                 .pp = 1,
                                 .devices = 1,
                                 .prefill = {.knots = s->prefill, .count = 2, .x_max = 1e12, .y_max = 1e18},
                                 .decode = {.knots = s->decode, .count = 1, .x_max = 1e12, .y_max = 1e18},
                                 .shared = 1};
    s->p = (profile){.engines = &s->engine, .engine_count = 1};
    s->p.link = (profile_link){.known = true, .bytes_per_s = 1e15, .kv_token_bytes = 1, .layers = 1};
    errbuf eb = {0};
    if (workload_new(&s->load, load, &eb) != ST_OK) fail_msg("%s", eb.text);
    s->c = (judge_case){.profile = &s->p,
                        .placement = &s->at,
                        .load = s->load,
                        .arrivals = &s->arrivals,
                        .limits = slo_none()};
}

static void scene_done(scene *s) {
    workload_free(s->load);
}

static void scene_role(scene *s, worker_role role, uint32_t max_seqs) {
    s->at.roles[role] = (fleet_role){.count = 1,
                                     .tp = 1,
                                     .pp = 1,
                                     .devices = 1,
                                     .kv_pages = 60000,
                                     .max_seqs = max_seqs,
                                     .max_rows = 1 << 20,
                                     .chunk_tokens = 1 << 20};
}

/* M/D/1: 100 ms each. */
static void deterministic(scene *s) {
    const workload_options load = {.kind = WORKLOAD_FIXED, .prompt_mean = 100, .output_mean = 1};
    scene_init(s, 1, 1, &load);
    scene_role(s, ROLE_COLOCATED, 1);
    s->at.prefill_first = true;
}

#define ROWS 50000u

/* M/M/1 of mean 100 ms: the quantiles of the exponential distribution, each once, in a random order. */
static void exponential(scene *s) {
    char path[] = "/tmp/baton-judge-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    assert_non_null(f);
    uint32_t *order = xmalloc(ROWS * sizeof *order);
    draw d = draw_begin(5, 0, DRAW_SEED);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t k = (uint32_t)draw_below(&d, i + 1);
        order[i] = order[k];
        order[k] = i;
    }
    for (uint32_t i = 0; i < ROWS; i++)
        fprintf(f, "{\"prompt_tokens\": %.0f, \"output_tokens\": 1}\n",
                ceil(-10000 * log((order[i] + .5) / ROWS)));
    free(order);
    fclose(f);
    const workload_options load = {.kind = WORKLOAD_TRACE, .path = path};
    scene_init(s, .01, 1, &load);
    unlink(path);
    scene_role(s, ROLE_COLOCATED, 1);
    s->at.prefill_first = true;
}

static judge_goodput search(const scene *s) {
    judge_goodput g;
    errbuf eb = {0};
    if (judge_search(&g, &s->c, &s->rules, &eb) != ST_OK) fail_msg("%s", eb.text);
    return g;
}

static judge_point at_rate(const scene *s, double rate) {
    judge_point p;
    errbuf eb = {0};
    if (judge_rate(&p, &s->c, &s->rules, rate, &eb) != ST_OK) fail_msg("%s", eb.text);
    return p;
}

static void assert_goodput(const judge_goodput *g, double truth) {
    const search_result *r = &g->result;
    if (!(r->low <= truth && truth <= r->high && fabs(r->crossing / truth - 1) < .01))
        fail_msg("%.6g is not %.6g, [%.6g, %.6g]", truth, r->crossing, r->low, r->high);
}

static void the_goodput_of_an_mm1_queue_is_found(void **state) {
    (void)state;
    scene s;
    exponential(&s);
    s.c.limits.ttft_ms = 500;
    s.rules.half_width = .004;
    judge_goodput g = search(&s);
    assert_goodput(&g, 5.394830);
    scene_done(&s);
}

static void the_goodput_of_an_md1_queue_is_found(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    s.c.limits.ttft_ms = 300;
    s.rules.half_width = .005;
    judge_goodput g = search(&s);
    assert_goodput(&g, 5.869762);
    s.rules.target = .99;
    s.rules.half_width = .0015;
    s.c.limits.ttft_ms = 500;
    g = search(&s);
    assert_goodput(&g, 5.607833);
    scene_done(&s);
}

/* Lengths are fixed: a seed is the arrivals. */
static void intervals_cover_the_truth(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    s.c.limits.ttft_ms = 300;
    s.rules.half_width = .02;
    uint32_t covers = 0;
    double sum = 0;
    for (uint32_t i = 0; i < 100; i++) {
        s.rules.first_seed = 1000 + 100 * i;
        judge_point p = at_rate(&s, 5.869762);
        covers += p.attainment.low <= .9 && .9 <= p.attainment.high;
        sum += p.attainment.mean;
    }
    assert_in_range(covers, 90, 100);
    assert_true(fabs(sum / 100 - .9) < .002); /* nor is it too good in the mean */
    scene_done(&s);
}

/* One prompt takes 100 ms, a decode step 20 ms; prompts are 5 per second. */
static void stalls(scene *s, bool colocated) {
    const workload_options load = {.kind = WORKLOAD_FIXED, .prompt_mean = 512, .output_mean = 600};
    scene_init(s, 100. / 512, 20, &load);
    scene_role(s, colocated ? ROLE_COLOCATED : ROLE_PREFILL, 1000);
    if (!colocated) scene_role(s, ROLE_DECODE, 1000);
    s->at.prefill_first = colocated;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) s->at.roles[i].max_rows = s->at.roles[i].chunk_tokens = 512;
}

static verdict verdict_at(const scene *s, double rate) {
    judge_point p = at_rate(s, rate);
    const rate_point at = judge_rate_point(&p);
    return search_judge(&at, s->rules.target);
}

static void a_limit_on_gaps_sees_the_stalls_that_a_mean_hides(void **state) {
    (void)state;
    for (uint32_t colocated = 0; colocated < 2; colocated++) {
        scene s;
        stalls(&s, colocated);
        s.rules.half_width = .02;
        s.rules.seeds = 5;
        s.rules.requests_min = 500;
        s.c.limits.tpot_ms = 50;
        assert_int_equal(verdict_at(&s, 5), VERDICT_PASS);
        s.c.limits = slo_none();
        s.c.limits.itl_p99_ms = 100;
        assert_int_equal(verdict_at(&s, 5), colocated ? VERDICT_FAIL : VERDICT_PASS);
        judge_point p = at_rate(&s, 5);
        if (!colocated) assert_float_equal(p.itl_ms[2], 20, 1e-6);
        scene_done(&s);
    }
}

static void the_same_question_has_the_same_answer_on_any_number_of_threads(void **state) {
    (void)state;
    scene s;
    const workload_options load = {
        .kind = WORKLOAD_LOGNORMAL, .prompt_mean = 200, .output_mean = 20, .prompt_cv = 1, .output_cv = 1};
    scene_init(&s, .5, 5, &load);
    scene_role(&s, ROLE_PREFILL, 64);
    scene_role(&s, ROLE_DECODE, 64);
    s.engine.prefill_cv = s.engine.decode_cv = .1;
    s.rules.half_width = .03;
    s.rules.requests_min = 500;
    s.c.limits.ttft_ms = 400;
    s.c.limits.tpot_ms = 8;
    judge_goodput *first = xcalloc(1, sizeof *first), *again = xcalloc(1, sizeof *again);
    static const uint32_t threads[] = {1, 1, 2, 5};
    for (uint32_t i = 0; i < ARRAY_LEN(threads); i++) {
        s.rules.threads = threads[i];
        errbuf eb = {0};
        judge_goodput *to = i ? again : first;
        if (judge_search(to, &s.c, &s.rules, &eb) != ST_OK) fail_msg("%s", eb.text);
        assert_true(to->result.pass < to->result.crossing);
        assert_true(to->result.crossing < to->result.fail);
        if (i) assert_memory_equal(first, again, sizeof *first);
    }
    free(first);
    free(again);
    scene_done(&s);
}

static void overload_is_told_and_told_early(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    judge_point p = at_rate(&s, 11); /* no limit: only the queue says so */
    assert_true(p.unstable);
    assert_in_range(p.requests, 1, 100000);
    assert_true(p.prefill_busy > .99);
    s.engine.pp = s.at.roles[ROLE_COLOCATED].pp = s.at.roles[ROLE_COLOCATED].max_seqs =
        2; /* two stages of 100 ms, both 90 % busy */
    p = at_rate(&s, 9);
    assert_float_equal(p.prefill_busy, .9, .02);
    s.engine.pp = s.at.roles[ROLE_COLOCATED].pp = s.at.roles[ROLE_COLOCATED].max_seqs = 1;
    p = at_rate(&s, 9);
    assert_false(p.unstable);
    assert_true(p.settled);
    assert_true(p.attainment.mean == 1);
    assert_float_equal(p.prefill_busy, .9, .02);
    scene_done(&s);
}

static void assert_infeasible(scene *s, const char *why) {
    judge_goodput g = search(s);
    assert_true(g.infeasible);
    assert_string_equal(g.why, why);
}

static void what_a_lone_request_misses_no_rate_can_keep(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    s.c.limits.ttft_ms = 80;
    assert_infeasible(&s, "TTFT of a lone request is 100 ms at the 90th percentile: the limit is 80 ms");
    s.c.limits = slo_none();
    s.c.max_context = 64;
    assert_infeasible(&s, "100 % of the requests fit no worker: KV pages or context are too few for them");
    scene_done(&s);
    stalls(&s, false);
    s.c.limits.tpot_ms = 15;
    assert_infeasible(&s, "TPOT of a lone request is 20 ms at the 90th percentile: the limit is 15 ms");
    s.c.limits = slo_none();
    s.c.limits.itl_max_ms = 15;
    assert_infeasible(&s, "ITL of a lone request is 20 ms at the 90th percentile: the limit is 15 ms");
    scene_done(&s);
}

static void a_search_says_what_limits(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    s.c.limits.ttft_ms = 300;
    s.rules.resolution = .3;
    judge_goodput g = search(&s);
    assert_non_null(strstr(g.why, "TTFT: "));
    if (!strstr(g.why, "workers 6")) fail_msg("%s", g.why);
    scene_done(&s);
}

static void what_cannot_be_simulated_is_refused_with_the_reason(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    judge_point p;
    judge_goodput g;
    errbuf eb = {0};
    assert_int_equal(judge_rate(&p, &s.c, &s.rules, -1, &eb), ST_INVALID);
    assert_int_equal(judge_rate(&p, &s.c, &s.rules, NAN, &eb), ST_INVALID);
    assert_int_equal(judge_rate(&p, &s.c, &s.rules, INFINITY, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "finite"));
    s.rules.seeds = 1;
    assert_int_equal(judge_search(&g, &s.c, &s.rules, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "1 to 16 seeds"));
    s.rules = judge_rules_default();
    s.engine.roles[ROLE_COLOCATED] = false;
    assert_int_equal(judge_search(&g, &s.c, &s.rules, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "no colocated engine"));
    s.engine.roles[ROLE_COLOCATED] = true;
    s.engine.prefill.x_max = 99;
    assert_int_equal(judge_search(&g, &s.c, &s.rules, &eb), ST_INVALID);
    scene_done(&s);
}

typedef struct squares {
    uint64_t out[1000];
    uint32_t bad;
} squares;

static status square(void *ctx, uint32_t index, errbuf *eb) {
    squares *s = ctx;
    s->out[index] = (uint64_t)index * index;
    return index >= s->bad ? errf(eb, ST_INVALID, "task %u", index) : ST_OK;
}

static void the_pool_does_all_tasks_and_tells_of_the_first_that_failed(void **state) {
    (void)state;
    static const uint32_t threads[] = {1, 2, 5, 200};
    for (uint32_t i = 0; i < ARRAY_LEN(threads); i++) {
        squares s = {.bad = 1000};
        errbuf eb = {0};
        assert_int_equal(judge_pool(threads[i], 1000, square, &s, &eb), ST_OK);
        for (uint32_t k = 0; k < 1000; k++) assert_int_equal(s.out[k], k * k);
        s.bad = 17;
        assert_int_equal(judge_pool(threads[i], 1000, square, &s, &eb), ST_INVALID);
        assert_string_equal(eb.text, "task 17");
        assert_int_equal(judge_pool(threads[i], 0, square, &s, NULL), ST_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_goodput_of_an_mm1_queue_is_found),
        cmocka_unit_test(the_goodput_of_an_md1_queue_is_found),
        cmocka_unit_test(intervals_cover_the_truth),
        cmocka_unit_test(a_limit_on_gaps_sees_the_stalls_that_a_mean_hides),
        cmocka_unit_test(the_same_question_has_the_same_answer_on_any_number_of_threads),
        cmocka_unit_test(overload_is_told_and_told_early),
        cmocka_unit_test(what_a_lone_request_misses_no_rate_can_keep),
        cmocka_unit_test(a_search_says_what_limits),
        cmocka_unit_test(what_cannot_be_simulated_is_refused_with_the_reason),
        cmocka_unit_test(the_pool_does_all_tasks_and_tells_of_the_first_that_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
