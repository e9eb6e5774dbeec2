/* DistServe's simulator on small cases: the numbers are those of the original, which
 * tests/planner/distserve_golden.py runs and prints. */
#include "tests/test.h"

#include "base/mem.h"
#include "planner/distserve/dist_arrivals.h"
#include "planner/distserve/dist_sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    {.name = "spaced_2p2d_pp2", .pattern = SPACED, .requests = 12, .gap = 20, .count = {2, 2}, .pp = {2, 2}, .tp = {2, 1}},
    {.name = "spaced_vllm", .pattern = SPACED, .requests = 12, .gap = 50, .colocated = true},
    {.name = "spaced_vllm_pp2_tp2", .pattern = SPACED, .requests = 12, .gap = 50, .colocated = true, .pp = {2, 2}, .tp = {2, 2}},
    {.name = "spaced_vllm_2", .pattern = SPACED, .requests = 12, .gap = 20, .colocated = true, .count = {2, 2}},
    {.name = "chunked_vllm", .pattern = SPACED, .requests = 12, .gap = 50, .colocated = true, .chunked = true, .most = 256},
    {.name = "chunked_vllm_pp2", .pattern = SPACED, .requests = 12, .gap = 50, .colocated = true, .chunked = true, .most = 256, .pp = {2, 2}},
    {.name = "few_tokens", .pattern = BURST, .requests = 12, .most = 700},
    {.name = "large_batch", .pattern = ALIKE, .requests = 120},
    {.name = "more_context_than_a_step", .pattern = LONG, .requests = 14, .most = 163008},
    {.name = "opt_66b", .pattern = SPACED, .requests = 8, .gap = 100, .model = "facebook/opt-66b", .tp = {4, 2}, .pp = {1, 2}},
    {.name = "opt_66b_vllm", .pattern = SPACED, .requests = 8, .gap = 100, .colocated = true, .model = "facebook/opt-66b", .tp = {8, 8}},
    {.name = "poisson", .pattern = POISSON, .requests = 300, .gap = 4},
    {.name = "poisson_2p1d_tp2", .pattern = POISSON, .requests = 300, .gap = 16, .count = {2, 1}, .tp = {2, 2}},
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
        case ONE: r[i].prompt = 512, r[i].output = 64; break;
        case BURST: r[i].prompt = 64 + 37 * i % 500, r[i].output = 1 + 11 * i % 40; break;
        case SPACED: r[i].prompt = 100 + 211 * i % 900, r[i].output = 1 + 7 * i % 60; break;
        case POISSON: r[i].prompt = 1 + 733 * i % 1900, r[i].output = 1 + 37 * i % 250; break;
        case ALIKE: r[i].prompt = 10, r[i].output = 30; break;
        case LONG: r[i].prompt = 5000, r[i].output = 12; break;
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
    {"one", 1, 75.1998810534344, 75.1998810534344, 75.1998810534344, 22.368926065054662, 22.368926065054662, 75.1998810534344, 22.368926065054662},
    {"one_vllm", 1, 99.161363256109, 99.161363256109, 99.161363256109, 25.912970686454297, 25.912970686454297, 99.161363256109, 25.912970686454297},
    {"burst", 6, 118.10932936748836, 118.10932936748836, 708.6559762049302, 22.630609454723796, 135.86252705685007, 118.10932936748836, 22.821470241231843},
    {"burst_vllm", 6, 158.46465711843837, 158.46465711843837, 950.7879427106302, 26.23746523196978, 157.5295063001554, 158.46465711843837, 26.45482287812837},
    {"spaced_tp2", 8, 24.635190162335505, 91.7272169145449, 594.7710309199299, 16.29604217169776, 131.73453113982183, 113.80173940685296, 16.980925016460844},
    {"spaced_tp4_tp1", 8, 18.88566336573154, 41.1506395736493, 276.4324217162063, 23.702729155896378, 190.5745828904379, 45.80242594367981, 24.618553245378635},
    {"spaced_pp2", 8, 34.374994844993616, 96.42918492745514, 690.8561400566291, 24.626297593970886, 195.82668139177213, 111.1314501924812, 25.33403348912257},
    {"spaced_pp2_pp4", 8, 34.374994844993616, 96.42918492745514, 690.8561400566291, 24.594348409988925, 198.97103465756518, 111.1314501924812, 26.64220716532568},
    {"spaced_2p1d", 12, 31.374994844993616, 246.29271576628742, 2096.1668737124255, 26.096854010100976, 302.7271343628428, 257.81379993160635, 26.560855537509564},
    {"spaced_1p3d", 12, 31.374994844993616, 517.3279578685847, 4984.865074406613, 23.35295571411014, 277.679992241675, 615.3279578685847, 24.604237440250003},
    {"spaced_2p2d_pp2", 12, 27.635190162335505, 64.33617517014147, 704.4669175271418, 24.191444757263955, 300.2146116536784, 82.53388629644247, 26.35156741645988},
    {"spaced_vllm", 12, 39.19389450766525, 519.0322676147769, 4913.692440890376, 29.860309084064575, 616.0342081584027, 648.5470633443892, 82.96256535160954},
    {"spaced_vllm_pp2_tp2", 12, 42.589859471570456, 107.39740919061728, 1204.009264386903, 29.883845510037126, 497.0983031520261, 128.24846734439154, 56.13063488002464},
    {"spaced_vllm_2", 12, 39.19389450766525, 313.60852205220806, 3409.7226846708986, 27.642748108693677, 424.54100517266136, 429.79004440324417, 46.020839901546914},
    {"chunked_vllm", 12, 39.19389450766525, 985.3181237596184, 8603.681808285666, 30.26781538916373, 694.8273325426562, 1171.3369762192904, 138.05692729268424},
    {"chunked_vllm_pp2", 12, 42.19389450766525, 382.5908338673173, 3433.7835996640288, 29.567156955464156, 546.0774668443963, 494.5709306256675, 82.90741859919717},
    {"few_tokens", 12, 92.26668979754183, 461.5846393135258, 2498.675181139148, 25.361654978605657, 285.4627064383262, 384.18257069209716, 25.144898236158298},
    {"large_batch", 120, 143.60272237048332, 143.60272237048332, 17232.326684458043, 30.23169250038141, 3627.803100045773, 143.60272237048332, 30.23169250038141},
    {"more_context_than_a_step", 14, 9654.753065354269, 9654.753065354269, 135166.54291495975, 86.2192903212928, 1177.7196955451845, 9654.753065354269, 86.2192903212928},
    {"opt_66b", 8, 47.670028607897045, 227.28805622905134, 1352.2806838071872, 53.321093971445755, 427.47330355983837, 257.7111856257982, 54.56571935641587},
    {"opt_66b_vllm", 8, 57.723332505776085, 269.90490674977093, 1738.6536550412966, 34.35392818162408, 445.8251653396266, 352.419990603076, 91.87092165927413},
    {"poisson", 300, 21.204565854397906, 92.42485960249905, 62837.207951025215, 32.09556062357842, 11148.29510321473, 397.1455138778566, 41.58644691477294},
    {"poisson_2p1d_tp2", 300, 17.811653352141644, 64.71240638313975, 41515.97883284469, 121.19908969272831, 27017.94283720108, 260.7483981647207, 126.1427835219049},
    {"poisson_pp4_pp2", 300, 36.20456585439791, 107.42485960249905, 53934.390018307655, 36.0960071259143, 12674.042640022713, 250.4982058063599, 45.74333986156076},
    {"poisson_vllm", 300, 25.192822104596296, 133.46615701477276, 73713.95654365767, 32.49760875491438, 17112.203087292262, 417.1099395349099, 70.785015407237},
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_originals_numbers_come_out_to_1e_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
