/* DistServe's simulator on small cases: the numbers are those of the original, which
 * tests/planner/distserve_golden.py runs and prints. */
#include "tests/test.h"

#include "base/mem.h"
#include "planner/distserve/dist_arrivals.h"
#include "planner/distserve/dist_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTS_MAX 512u

/* Its profiles, from the folder of public data. */
static profile_distserve data[2]; /* its engine's, vLLM's */

/* ---- the cases ---- */

typedef enum pattern { ONE, BURST, SPACED, POISSON, ALIKE, LONG } pattern;

typedef struct small_case {
    const char *name;
    pattern pattern;
    uint32_t requests;
    double gap; /* ms; POISSON: rate */
    bool colocated;
    uint32_t count[2], tp[2], pp[2]; /* prefill, decode; 0: 1 */
    const char *model;               /* NULL: OPT-13B */
    bool chunked;
    uint64_t most; /* tokens of a prefill step; 0: 66144 */
} small_case;

static const small_case cases[] = {
    {.name = "one", .pattern = ONE, .requests = 1},
    {.name = "one_vllm", .pattern = ONE, .requests = 1, .colocated = true},
    {.name = "burst", .pattern = BURST, .requests = 6},
    {.name = "burst_vllm", .pattern = BURST, .requests = 6, .colocated = true},
    {.name = "spaced_tp2", .pattern = SPACED, .requests = 8, .gap = 50, .tp = {2, 2}},
    {.name = "spaced_tp4_tp1", .pattern = SPACED, .requests = 8, .gap = 50, .tp = {4, 1}},
    {.name = "spaced_pp2", .pattern = SPACED, .requests = 8, .gap = 50, .pp = {2, 2}},
    {.name = "spaced_pp2_pp4", .pattern = SPACED, .requests = 8, .gap = 50, .pp = {2, 4}},
    {.name = "spaced_2p1d", .pattern = SPACED, .requests = 12, .gap = 20, .count = {2, 1}},
    {.name = "spaced_1p3d", .pattern = SPACED, .requests = 12, .gap = 20, .count = {1, 3}},
    {.name = "spaced_2p2d_pp2",
     .pattern = SPACED,
     .requests = 12,
     .gap = 20,
     .count = {2, 2},
     .pp = {2, 2},
     .tp = {2, 1}},
    {.name = "spaced_vllm", .pattern = SPACED, .requests = 12, .gap = 50, .colocated = true},
    {.name = "spaced_vllm_pp2_tp2",
     .pattern = SPACED,
     .requests = 12,
     .gap = 50,
     .colocated = true,
     .pp = {2, 2},
     .tp = {2, 2}},
    {.name = "spaced_vllm_2",
     .pattern = SPACED,
     .requests = 12,
     .gap = 20,
     .colocated = true,
     .count = {2, 2}},
    {.name = "chunked_vllm",
     .pattern = SPACED,
     .requests = 12,
     .gap = 50,
     .colocated = true,
     .chunked = true,
     .most = 256},
    {.name = "chunked_vllm_pp2",
     .pattern = SPACED,
     .requests = 12,
     .gap = 50,
     .colocated = true,
     .chunked = true,
     .most = 256,
     .pp = {2, 2}},
    {.name = "few_tokens", .pattern = BURST, .requests = 12, .most = 700},
    {.name = "large_batch", .pattern = ALIKE, .requests = 120},
    {.name = "more_context_than_a_step", .pattern = LONG, .requests = 14, .most = 163008},
    {.name = "opt_66b",
     .pattern = SPACED,
     .requests = 8,
     .gap = 100,
     .model = "facebook/opt-66b",
     .tp = {4, 2},
     .pp = {1, 2}},
    {.name = "opt_66b_vllm",
     .pattern = SPACED,
     .requests = 8,
     .gap = 100,
     .colocated = true,
     .model = "facebook/opt-66b",
     .tp = {8, 8}},
    {.name = "poisson", .pattern = POISSON, .requests = 300, .gap = 4},
    {.name = "poisson_2p1d_tp2",
     .pattern = POISSON,
     .requests = 300,
     .gap = 16,
     .count = {2, 1},
     .tp = {2, 2}},
    {.name = "poisson_pp4_pp2", .pattern = POISSON, .requests = 300, .gap = 8, .pp = {4, 2}},
    {.name = "poisson_vllm", .pattern = POISSON, .requests = 300, .gap = 2, .colocated = true},
};

static void fill(dist_request *r, const small_case *c) {
    double at = 0;
    if (c->pattern == POISSON) dist_arrivals_poisson(r, c->requests, c->gap, 0);
    for (uint32_t i = 0; i < c->requests; i++) {
        if (i > 0) at += c->gap;
        if (c->pattern != POISSON) r[i].at_ms = at;
        switch (c->pattern) {
        case ONE:
            r[i].prompt = 512, r[i].output = 64;
            break;
        case BURST:
            r[i].prompt = 64 + 37 * i % 500, r[i].output = 1 + 11 * i % 40;
            break;
        case SPACED:
            r[i].prompt = 100 + 211 * i % 900, r[i].output = 1 + 7 * i % 60;
            break;
        case POISSON:
            r[i].prompt = 1 + 733 * i % 1900, r[i].output = 1 + 37 * i % 250;
            break;
        case ALIKE:
            r[i].prompt = 10, r[i].output = 30;
            break;
        case LONG:
            r[i].prompt = 5000, r[i].output = 12;
            break;
        }
    }
}

/* What the original says, ms */
typedef struct golden {
    const char *name;
    uint32_t requests;
    double first_ttft, last_ttft, sum_ttft, last_tpot, sum_tpot, p90_ttft, p90_tpot;
} golden;

static const golden goldens[] = {
    {"one", 1, 75.1998810534344, 75.1998810534344, 75.1998810534344, 22.368926065054662, 22.368926065054662,
     75.1998810534344, 22.368926065054662},
    {"one_vllm", 1, 99.161363256109, 99.161363256109, 99.161363256109, 25.912970686454297, 25.912970686454297,
     99.161363256109, 25.912970686454297},
    {"burst", 6, 118.10932936748836, 118.10932936748836, 708.6559762049302, 22.630609454723796,
     135.86252705685007, 118.10932936748836, 22.821470241231843},
    {"burst_vllm", 6, 158.46465711843837, 158.46465711843837, 950.7879427106302, 26.23746523196978,
     157.5295063001554, 158.46465711843837, 26.45482287812837},
    {"spaced_tp2", 8, 24.635190162335505, 91.7272169145449, 594.7710309199299, 16.29604217169776,
     131.73453113982183, 113.80173940685296, 16.980925016460844},
    {"spaced_tp4_tp1", 8, 18.88566336573154, 41.1506395736493, 276.4324217162063, 23.702729155896378,
     190.5745828904379, 45.80242594367981, 24.618553245378635},
    {"spaced_pp2", 8, 34.374994844993616, 96.42918492745514, 690.8561400566291, 24.626297593970886,
     195.82668139177213, 111.1314501924812, 25.33403348912257},
    {"spaced_pp2_pp4", 8, 34.374994844993616, 96.42918492745514, 690.8561400566291, 24.594348409988925,
     198.97103465756518, 111.1314501924812, 26.64220716532568},
    {"spaced_2p1d", 12, 31.374994844993616, 246.29271576628742, 2096.1668737124255, 26.096854010100976,
     302.7271343628428, 257.81379993160635, 26.560855537509564},
    {"spaced_1p3d", 12, 31.374994844993616, 517.3279578685847, 4984.865074406613, 23.35295571411014,
     277.679992241675, 615.3279578685847, 24.604237440250003},
    {"spaced_2p2d_pp2", 12, 27.635190162335505, 64.33617517014147, 704.4669175271418, 24.191444757263955,
     300.2146116536784, 82.53388629644247, 26.35156741645988},
    {"spaced_vllm", 12, 39.19389450766525, 519.0322676147769, 4913.692440890376, 29.860309084064575,
     616.0342081584027, 648.5470633443892, 82.96256535160954},
    {"spaced_vllm_pp2_tp2", 12, 42.589859471570456, 107.39740919061728, 1204.009264386903, 29.883845510037126,
     497.0983031520261, 128.24846734439154, 56.13063488002464},
    {"spaced_vllm_2", 12, 39.19389450766525, 313.60852205220806, 3409.7226846708986, 27.642748108693677,
     424.54100517266136, 429.79004440324417, 46.020839901546914},
    {"chunked_vllm", 12, 39.19389450766525, 985.3181237596184, 8603.681808285666, 30.26781538916373,
     694.8273325426562, 1171.3369762192904, 138.05692729268424},
    {"chunked_vllm_pp2", 12, 42.19389450766525, 382.5908338673173, 3433.7835996640288, 29.567156955464156,
     546.0774668443963, 494.5709306256675, 82.90741859919717},
    {"few_tokens", 12, 92.26668979754183, 461.5846393135258, 2498.675181139148, 25.361654978605657,
     285.4627064383262, 384.18257069209716, 25.144898236158298},
    {"large_batch", 120, 143.60272237048332, 143.60272237048332, 17232.326684458043, 30.23169250038141,
     3627.803100045773, 143.60272237048332, 30.23169250038141},
    {"more_context_than_a_step", 14, 9654.753065354269, 9654.753065354269, 135166.54291495975,
     86.2192903212928, 1177.7196955451845, 9654.753065354269, 86.2192903212928},
    {"opt_66b", 8, 47.670028607897045, 227.28805622905134, 1352.2806838071872, 53.321093971445755,
     427.47330355983837, 257.7111856257982, 54.56571935641587},
    {"opt_66b_vllm", 8, 57.723332505776085, 269.90490674977093, 1738.6536550412966, 34.35392818162408,
     445.8251653396266, 352.419990603076, 91.87092165927413},
    {"poisson", 300, 21.204565854397906, 92.42485960249905, 62837.207951025215, 32.09556062357842,
     11148.29510321473, 397.1455138778566, 41.58644691477294},
    {"poisson_2p1d_tp2", 300, 17.811653352141644, 64.71240638313975, 41515.97883284469, 121.19908969272831,
     27017.94283720108, 260.7483981647207, 126.1427835219049},
    {"poisson_pp4_pp2", 300, 36.20456585439791, 107.42485960249905, 53934.390018307655, 36.0960071259143,
     12674.042640022713, 250.4982058063599, 45.74333986156076},
    {"poisson_vllm", 300, 25.192822104596296, 133.46615701477276, 73713.95654365767, 32.49760875491438,
     17112.203087292262, 417.1099395349099, 70.785015407237},
};

static void near(const char *name, double got, double want) {
    if (fabs(got - want) > 1e-9 * fmax(1, fabs(want))) fail_msg("%s: %.17g, want %.17g", name, got, want);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double p90(const double *x, uint32_t n) {
    double sorted[REQUESTS_MAX];
    memcpy(sorted, x, n * sizeof *x);
    qsort(sorted, n, sizeof *sorted, ascending);
    double at = .9 * (n - 1);
    uint32_t i = (uint32_t)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[i];
}

static void run(dist_latency *out, const small_case *c) {
    dist_request r[REQUESTS_MAX];
    fill(r, c);
    const char *model = c->model ? c->model : "facebook/opt-13b";
    const profile_distserve *d = &data[c->colocated];
    uint64_t most = c->most > 0 ? c->most : 66144;
    dist_options opt = {.colocated = c->colocated,
                        .prefill_count = MAX(c->count[0], 1),
                        .decode_count = MAX(c->count[1], 1),
                        .prefill_pp = MAX(c->pp[0], 1),
                        .decode_pp = MAX(c->pp[1], 1),
                        .prefill_engine = profile_distserve_find(d, model, MAX(c->tp[0], 1)),
                        .decode_engine = profile_distserve_find(d, model, MAX(c->tp[1], 1)),
                        .prefill_max_tokens = most,
                        .decode_max_tokens = most,
                        .chunked = c->chunked};
    errbuf eb = {0};
    if (dist_sim_run(out, r, c->requests, &opt, &eb) != ST_OK) fail_msg("%s: %s", c->name, eb.text);
}

static void the_originals_numbers_come_out_to_1e_9(void **ctx) {
    (void)ctx;
    assert_int_equal(ARRAY_LEN(cases), ARRAY_LEN(goldens));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const golden *g = &goldens[i];
        uint32_t n = cases[i].requests;
        assert_string_equal(cases[i].name, g->name);
        assert_int_equal(n, g->requests);
        dist_latency out[REQUESTS_MAX];
        run(out, &cases[i]);
        double ttft[REQUESTS_MAX], tpot[REQUESTS_MAX], sum_ttft = 0, sum_tpot = 0;
        for (uint32_t k = 0; k < n; k++) {
            sum_ttft += ttft[k] = out[k].ttft_ms;
            sum_tpot += tpot[k] = out[k].tpot_ms;
        }
        near(g->name, ttft[0], g->first_ttft);
        near(g->name, ttft[n - 1], g->last_ttft);
        near(g->name, sum_ttft, g->sum_ttft);
        near(g->name, tpot[n - 1], g->last_tpot);
        near(g->name, sum_tpot, g->sum_tpot);
        near(g->name, p90(ttft, n), g->p90_ttft);
        near(g->name, p90(tpot, n), g->p90_tpot);
    }
}

/* ---- which placements, and what they are worth ---- */

static const dist_model *model_of(const char *name) {
    const dist_model *m = NULL;
    errbuf eb = {0};
    if (dist_model_find(&m, name, &eb) != ST_OK) fail_msg("%s", eb.text);
    return m;
}

static void memory_is_that_of_its_table(void **ctx) {
    (void)ctx;
    static const struct {
        const char *model;
        uint32_t rows;
        uint64_t tokens; /* of all rows */
    } tables[] = {
        {"facebook/opt-13b", 25, 37979344},
        {"facebook/opt-66b", 23, 10737600},
        {"facebook/opt-175b", 28, 7147376},
    };
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        const dist_model *m = model_of(tables[i].model);
        uint32_t rows = 0;
        uint64_t all = 0;
        for (uint32_t tp = 1; tp <= 96; tp++)
            for (uint32_t pp = 1; pp <= 96; pp++) {
                uint64_t tokens = dist_model_tokens(m, tp, pp);
                rows += tokens > 0;
                all += tokens;
            }
        assert_int_equal(rows, tables[i].rows);
        assert_int_equal(all, tables[i].tokens);
    }
    assert_int_equal(dist_model_tokens(model_of("opt_13b"), 1, 1), 66144);
    assert_int_equal(dist_model_tokens(model_of("opt_66b"), 1, 1), 0);
    assert_int_equal(dist_model_kv_bytes(model_of("opt_13b")), 819200);
}

static uint32_t mix(uint32_t h, uint32_t n) {
    return h * 1000003u + n;
}

static void the_placements_are_those_of_its_search_in_its_order(void **ctx) {
    (void)ctx;
    static const struct {
        const char *model;
        uint32_t algorithm, nodes, per_node, count, mixed;
    } lists[] = {
        {"opt_13b", 1, 1, 8, 48, 365632992u},    {"opt_13b", 2, 1, 8, 48, 365632992u},
        {"opt_13b", 3, 1, 8, 12, 1820816696u},   {"opt_13b", 1, 4, 8, 569, 3456622891u},
        {"opt_13b", 2, 4, 8, 133, 1224473740u},  {"opt_13b", 3, 4, 8, 28, 2134695348u},
        {"opt_13b", 1, 2, 4, 48, 365632992u},    {"opt_13b", 2, 2, 4, 18, 696336325u},
        {"opt_13b", 3, 2, 4, 12, 1820816696u},   {"opt_66b", 1, 1, 8, 61, 3575219469u},
        {"opt_66b", 2, 1, 8, 61, 3575219469u},   {"opt_66b", 3, 1, 8, 13, 3165118288u},
        {"opt_66b", 1, 4, 8, 613, 776155919u},   {"opt_66b", 2, 4, 8, 183, 647253503u},
        {"opt_66b", 3, 4, 8, 31, 3371815888u},   {"opt_66b", 1, 2, 4, 61, 3575219469u},
        {"opt_66b", 2, 2, 4, 22, 3305275769u},   {"opt_66b", 3, 2, 4, 13, 3165118288u},
        {"opt_175b", 1, 1, 8, 88, 1204993338u},  {"opt_175b", 2, 1, 8, 88, 1204993338u},
        {"opt_175b", 3, 1, 8, 16, 3584930816u},  {"opt_175b", 1, 4, 8, 1132, 1726198710u},
        {"opt_175b", 2, 4, 8, 325, 2351078549u}, {"opt_175b", 3, 4, 8, 44, 720594728u},
        {"opt_175b", 1, 2, 4, 88, 1204993338u},  {"opt_175b", 2, 2, 4, 26, 1226350637u},
        {"opt_175b", 3, 2, 4, 16, 3584930816u},
    };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        dist_config *c;
        uint32_t count, h = 0;
        dist_configs_list(&c, &count, model_of(lists[i].model), (dist_algorithm)lists[i].algorithm,
                          lists[i].nodes, lists[i].per_node);
        assert_int_equal(count, lists[i].count);
        for (uint32_t k = 0; k < count; k++) {
            if (!c[k].colocated) h = mix(h, c[k].cross);
            h = mix(mix(h, c[k].prefill_tp), c[k].prefill_pp);
            if (!c[k].colocated) h = mix(mix(h, c[k].decode_tp), c[k].decode_pp);
        }
        assert_int_equal(h, lists[i].mixed);
        free(c);
    }
}

static workload *fixed_lengths(uint32_t prompt, uint32_t output) {
    workload *w = NULL;
    const workload_options o = {.kind = WORKLOAD_FIXED, .prompt_mean = prompt, .output_mean = output};
    assert_int_equal(workload_new(&w, &o, NULL), ST_OK);
    return w;
}

static dist_case case_of(const char *model, bool vllm, const workload *w, double ttft, double tpot) {
    slo limits = slo_none();
    limits.ttft_ms = ttft;
    limits.tpot_ms = tpot;
    return (dist_case){.model = model_of(model),
                       .data = &data[vllm],
                       .load = w,
                       .limits = limits,
                       .target = .9,
                       .requests = 300,
                       .rate_max = 5,
                       .rate_step = .01,
                       .window_requests = 500,
                       .resolution = .05};
}

static void its_search_finds_the_rates_that_the_original_finds(void **ctx) {
    (void)ctx;
    static const struct {
        dist_config config;
        double tpot_ms, per_gpu;
    } searches[] = {
        {{false, 1, 1, 1, 1, 1}, 100, 3.369140625}, {{false, 1, 2, 1, 1, 1}, 100, 4.775390625},
        {{false, 1, 1, 2, 1, 1}, 100, 4.697265625}, {{false, 2, 2, 1, 1, 2}, 100, 3.57421875},
        {{false, 1, 4, 1, 2, 1}, 100, 4.990234375}, {{true, 1, 1, 1, 0, 0}, 100, 3.2421875},
        {{true, 1, 2, 2, 0, 0}, 100, 3.28125},      {{false, 1, 4, 2, 1, 1}, 32, 0.99609375},
    };
    workload *w = fixed_lengths(512, 64);
    for (size_t i = 0; i < ARRAY_LEN(searches); i++) {
        const dist_config *config = &searches[i].config;
        dist_case c = case_of("opt_13b", config->colocated, w, 200, searches[i].tpot_ms);
        dist_options opt;
        char why[160], name[64];
        if (!dist_case_options(&opt, &c, config, why, sizeof why)) fail_msg("%s", why);
        double per_gpu = NAN;
        assert_int_equal(dist_search_own(&per_gpu, &c, config, &opt, NULL), ST_OK);
        near(dist_config_text(config, name, sizeof name), per_gpu, searches[i].per_gpu);
    }
    workload_free(w);
}

/* ---- what it cannot do ---- */

static void a_placement_without_memory_or_profile_is_rejected_with_the_reason(void **ctx) {
    (void)ctx;
    workload *w = fixed_lengths(512, 64);
    dist_options opt;
    char why[160];
    dist_case large = case_of("opt_66b", false, w, 200, 100);
    const dist_config small = {false, 1, 1, 1, 2, 1};
    assert_false(dist_case_options(&opt, &large, &small, why, sizeof why));
    assert_string_equal(why, "memory: no room for tp 1, pp 1");
    dist_case c = case_of("opt_13b", false, w, 200, 100);
    const dist_config wide = {false, 1, 1, 1, 8, 1};
    assert_false(dist_case_options(&opt, &c, &wide, why, sizeof why));
    assert_string_equal(why, "no profile of tp 8");
    workload_free(w);
}

static void a_request_that_the_original_never_ends_is_an_error(void **ctx) {
    (void)ctx;
    const distserve_engine *e = profile_distserve_find(&data[0], "facebook/opt-13b", 1);
    dist_options opt = {.prefill_count = 1,
                        .decode_count = 1,
                        .prefill_pp = 1,
                        .decode_pp = 1,
                        .prefill_engine = e,
                        .decode_engine = e,
                        .prefill_max_tokens = 66144,
                        .decode_max_tokens = 66144};
    dist_latency out;
    errbuf eb = {0};
    const dist_request prompt = {.prompt = 66145, .output = 1}, context = {.prompt = 49000, .output = 1001};
    assert_int_equal(dist_sim_run(&out, &prompt, 1, &opt, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "a prompt of 66145 tokens never fits a prefill step of 66144"));
    assert_int_equal(dist_sim_run(&out, &context, 1, &opt, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "49000 + 1001 tokens never fit a decode step"));
}

static void the_steady_rate_is_near_what_a_start_from_empty_promises(void **ctx) {
    (void)ctx;
    workload *w = fixed_lengths(512, 64);
    dist_case c = case_of("opt_13b", false, w, 200, 100);
    const dist_config config = {false, 1, 1, 1, 1, 1};
    dist_options opt;
    char why[160];
    assert_true(dist_case_options(&opt, &c, &config, why, sizeof why));
    double per_gpu = NAN;
    search_result steady;
    assert_int_equal(dist_search_own(&per_gpu, &c, &config, &opt, NULL), ST_OK);
    assert_int_equal(dist_search_steady(&steady, &c, &config, &opt, NULL), ST_OK);
    if (!(steady.crossing > 1.2 * per_gpu && steady.crossing < 2.8 * per_gpu)) /* of two GPUs */
        fail_msg("steady %g (%g .. %g), own %g per GPU", steady.crossing, steady.low, steady.high, per_gpu);
    workload_free(w);
}

static void the_best_of_equal_rows_has_fewer_gpus(void **ctx) {
    (void)ctx;
    dist_row rows[] = {{.config = {false, 1, 2, 1, 2, 1}, .own = 1.5},
                       {.config = {false, 1, 1, 1, 1, 1}, .own = 1.5},
                       {.config = {false, 1, 1, 1, 1, 1}, .own = 9, .why = "memory"},
                       {.config = {false, 1, 1, 1, 1, 2}, .own = 1.25}};
    const dist_table t = {.rows = rows, .count = ARRAY_LEN(rows)};
    assert_int_equal(dist_table_best(&t, DIST_OWN), 1);
    rows[3].steady.crossing = INFINITY; /* it passes at all that were tried */
    rows[3].steady.highest = 6;
    assert_true(dist_row_worth(&rows[3], DIST_STEADY) == 2);
    assert_int_equal(dist_table_best(&t, DIST_STEADY), 3);
    assert_int_equal(dist_table_best(&t, DIST_FLEET), DIST_NOBODY);
}

/* 0, or -1: they are not there. */
static int read_profiles(void) {
    static const char *const engines[] = {"distserve", "vllm"};
    const char *folder = getenv("BATON_DATA");
    for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
        char *path = xasprintf("%s/distserve_profiler-a100-80g.%s.json", folder ? folder : "", engines[i]);
        bool there = access(path, R_OK) == 0;
        errbuf eb = {0};
        status st = there ? profile_distserve_read(&data[i], path, &eb) : ST_IO;
        if (!there) print_message("skipped: no %s in the folder BATON_DATA\n", path);
        free(path);
        if (eb.text[0]) print_error("%s\n", eb.text);
        if (there) CHECK(st == ST_OK);
        if (st != ST_OK) return -1;
    }
    return 0;
}

static void drop_profiles(void) {
    for (size_t i = 0; i < ARRAY_LEN(data); i++) profile_distserve_done(&data[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_that_of_its_table),
        cmocka_unit_test(the_placements_are_those_of_its_search_in_its_order),
        cmocka_unit_test(the_best_of_equal_rows_has_fewer_gpus),
    };
    const struct CMUnitTest with_data[] = {
        cmocka_unit_test(the_originals_numbers_come_out_to_1e_9),
        cmocka_unit_test(its_search_finds_the_rates_that_the_original_finds),
        cmocka_unit_test(a_placement_without_memory_or_profile_is_rejected_with_the_reason),
        cmocka_unit_test(a_request_that_the_original_never_ends_is_an_error),
        cmocka_unit_test(the_steady_rate_is_near_what_a_start_from_empty_promises),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed == 0 && read_profiles() == 0) failed = cmocka_run_group_tests(with_data, NULL, NULL);
    drop_profiles();
    return failed;
}
