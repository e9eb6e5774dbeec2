/* Lengths and prompts as functions of (seed, index): exact first values, moments, clipping, names. */
#include "bench/workload/workload.h"

#include "bench/workload/named.h"

#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static workload *made(workload_options opt) {
    workload *w = NULL;
    errbuf eb = {0};
    if (workload_new(&w, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return w;
}

static void fixed_lengths_are_the_mean(void **state) {
    (void)state;
    workload *w = made((workload_options){.kind = WORKLOAD_FIXED, .prompt_mean = 100, .output_mean = 7.5});
    workload_item it = workload_at(w, 3, 9);
    assert_int_equal(it.prompt_tokens, 100);
    assert_int_equal(it.output_tokens, 8);
    assert_true(isnan(it.at_s));
    assert_int_equal(workload_count(w), UINT32_MAX);
    workload_free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_lengths_are_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
