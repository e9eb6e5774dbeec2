/* What is claimed of fits, on points that others measured: Splitwise's perf_model.csv in the folder
 * BATON_DATA. Errors are leave-one-out, relative, in the mean over the points that have others beyond them.
 */
#include "tests/test.h"

#include "base/mem.h"
#include "bench/workload/csv.h"
#include "bench/workload/lines.h"
#include "planner/profile/fit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS_MAX 400u

typedef struct engine_points {
    fit_point prefill[ROWS_MAX], decode[ROWS_MAX];
    uint32_t count;
} engine_points;

/* The rows of one engine. */
static void read_points(const char *path, const char *model, const char *hardware, double tp,
                        engine_points *out) {
    lines l;
    char *line = NULL, *names[CSV_COLUMNS_MAX], *fields[CSV_COLUMNS_MAX];
    assert_int_equal(lines_open(&l, path, NULL), ST_OK);
    assert_int_equal(lines_next(&l, &line, NULL), ST_OK);
    char *header = xstrdup(line);
    uint32_t width = csv_split(header, names), at[6];
    static const char *const wanted[] = {"prompt_size", "batch_size", "token_size",
                                         "prompt_time", "token_time", "tensor_parallel"};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) at[i] = csv_column(names, width, wanted[i]);
    uint32_t model_at = csv_column(names, width, "model"), hardware_at = csv_column(names, width, "hardware");
    out->count = 0;
    while (lines_next(&l, &line, NULL) == ST_OK && line) {
        double v[ARRAY_LEN(wanted)];
        csv_split(line, fields);
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++) v[i] = strtod(fields[at[i]], NULL);
        if (strcmp(fields[model_at], model) != 0 || strcmp(fields[hardware_at], hardware) != 0 || v[5] != tp)
            continue;
        assert_true(out->count < ROWS_MAX);
        out->prefill[out->count] = (fit_point){v[1] * v[0], v[1] * v[0] * v[0], v[3] * 1e6};
        out->decode[out->count++] = (fit_point){v[1], v[1] * (v[0] + v[2] / 2), v[4] * 1e6};
    }
    free(header);
    lines_close(&l);
}

typedef struct claim {
    const char *model, *hardware;
    uint32_t tp;
    double three_prefill, prefill, three_decode, decode; /* errors, at most; three: at least */
} claim;

static void assert_claim(const fit_point *points, uint32_t count, const char *phase, double three,
                         double ours) {
    step_cost c = {0};
    profile_error linear, knots;
    assert_int_equal(fit_linear(&c, &linear, points, count, NULL), ST_OK);
    step_cost_done(&c);
    assert_int_equal(fit_cost(&c, &knots, points, count, NULL), ST_OK);
    print_message("  %-8s three coefficients %5.1f %%   ours %4.1f %%, P90 %4.1f %%, %u knots, %u points\n",
                  phase, 100 * linear.mean, 100 * knots.mean, 100 * knots.p90, c.count, knots.points);
    step_cost_done(&c);
    assert_true(linear.mean > three);
    assert_true(knots.mean < ours);
}

static void prefill_wants_more_than_three_coefficients_decode_hardly(void **state) {
    (void)state;
    static const claim claims[] = {
        {"llama2-70b", "a100-80gb", 4, 0.16, 0.108, 0.024, 0.023},
        {"llama2-70b", "a100-80gb", 8, 0.19, 0.089, 0.019, 0.021},
        {"llama2-70b", "h100-80gb", 4, 0.12, 0.045, 0.018, 0.018},
        {"llama2-70b", "h100-80gb", 8, 0.25, 0.043, 0.019, 0.021},
        {"bloom-176b", "a100-80gb", 8, 0.16, 0.069, 0.016, 0.016},
        {"bloom-176b", "h100-80gb", 8, 0.15, 0.028, 0.018, 0.021},
        /* Some of its prompts waited for memory: no curve of these two sums says that. */
        {"llama2-70b", "a100-80gb", 2, 0.5, 0.30, 0.05, 0.049},
        {"llama2-70b", "h100-80gb", 2, 0.5, 0.31, 0.03, 0.019},
    };
    const char *dir = getenv("BATON_DATA");
    char *path = xasprintf("%s/splitwise_perf_model.csv", dir ? dir : "");
    if (!dir || access(path, R_OK) != 0) {
        print_message("skipped: no splitwise_perf_model.csv in the folder BATON_DATA\n");
        free(path);
        skip();
    }
    engine_points *points = xcalloc(1, sizeof *points);
    for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
        const claim *c = &claims[i];
        read_points(path, c->model, c->hardware, c->tp, points);
        print_message("%s on %s, tp %u\n", c->model, c->hardware, c->tp);
        assert_int_equal(points->count, 105);
        assert_claim(points->prefill, points->count, "prefill", c->three_prefill, c->prefill);
        assert_claim(points->decode, points->count, "decode", c->three_decode, c->decode);
    }
    free(points);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefill_wants_more_than_three_coefficients_decode_hardly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
