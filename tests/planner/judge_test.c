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
    printf("%.6g: %.6g [%.6g, %.6g], pass %.4g, fail %.4g, %u rates, %lu requests; %s\n", truth, r->crossing, r->low,
           r->high, r->pass, r->fail, g->count, g->simulated, g->why);
    for (uint32_t i = 0; i < g->count; i++) {
        const judge_point *p = &g->points[i];
        printf("   %8.4g %.4f [%.4f, %.4f] seeds %u requests %lu%s%s\n", p->rate, p->attainment.mean,
               p->attainment.low, p->attainment.high, p->seeds, p->requests, p->unstable ? " unstable" : "",
               p->settled ? "" : " unsettled");
    }
    assert_true(r->low <= truth && truth <= r->high);
    assert_true(fabs(r->crossing / truth - 1) < .01);
}

static void the_goodput_of_an_mm1_queue_is_found(void **state) {
    (void)state;
    scene s;
    exponential(&s);
    s.c.limits.ttft_ms = 500;
    judge_goodput g = search(&s);
    assert_goodput(&g, 5.394830);
    scene_done(&s);
}

static void the_goodput_of_an_md1_queue_is_found(void **state) {
    (void)state;
    scene s;
    deterministic(&s);
    s.c.limits.ttft_ms = 300;
    judge_goodput g = search(&s);
    assert_goodput(&g, 5.869762);
    s.rules.target = .99;
    s.rules.half_width = .001;
    s.c.limits.ttft_ms = 500;
    g = search(&s);
    assert_goodput(&g, 5.607833);
    scene_done(&s);
}

static void coverage(void **state) {
    (void)state;
    static const struct {double rate, ttft_ms, truth;} q[] = {{5.869762, 300, .9}, {5.607833, 500, .99}, {8.0, 0, 0}};
    for (int k = 0; k < 2; k++)
    for (double half = .04; half > .008; half /= 2) {
    scene s;
    deterministic(&s);
    s.c.limits.ttft_ms = q[k].ttft_ms;
    s.rules.half_width = k ? half / 10 : half;
    if (getenv("SEEDS")) s.rules.seeds = (uint32_t)atoi(getenv("SEEDS"));
    if (getenv("LEAST")) s.rules.requests_min = (uint32_t)atoi(getenv("LEAST"));
    setvbuf(stdout, NULL, _IOLBF, 0);
    int covers = 0, n = 100; double sum = 0, reqs = 0, seeds = 0, width=0, se2=0;
    for (int i = 0; i < n; i++) {
        s.rules.first_seed = 1000 + 100 * (uint64_t)i;
        judge_point p = at_rate(&s, q[k].rate);
        covers += p.attainment.low <= q[k].truth && q[k].truth <= p.attainment.high;
        sum += p.attainment.mean; reqs += (double)p.requests; seeds += p.seeds; width += (p.attainment.high-p.attainment.low)/2;
        se2 += pow(p.attainment.mean-q[k].truth,2);
    }
    fflush(stdout);
    printf("half %g: covers %d of %d, mean %.5f of %g rms %.5f width %.5f, %.0f requests, %.1f seeds\n", s.rules.half_width, covers, n, sum / n, q[k].truth, sqrt(se2/n), width/n, reqs / n, seeds / n);
    scene_done(&s);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) { coverage(NULL); return 0; }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_goodput_of_an_mm1_queue_is_found),
        cmocka_unit_test(the_goodput_of_an_md1_queue_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
