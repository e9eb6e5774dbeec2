/* /health and /metrics of a large cluster, against a core that does what the test says. */
#include "coordinator/health.h"

#include "front_fakes.h"
#include "tests/test.h"

/* More than a cluster can have: whatever the limit, nobody is left out. */
static void every_worker_is_on_health_and_in_the_metrics(void **state) {
    (void)state;
    core c = {.ready = true, .more_workers = 5000};
    meter *m = meter_new("tiny");
    const uint32_t more = c.more_workers;
    buf page = {0};
    health_facts facts = {.model = "tiny", .role_wanted = {[ROLE_DECODE] = more + 1}};
    assert_int_equal(health_page(&page, &c, &facts, false, 1), 200);
    assert_non_null(strstr(page.data, "{\"status\":\"ok\",")); /* those beyond any page count too */
    uint32_t shown = 0;
    for (const char *at = page.data; (at = strstr(at, "{\"name\":")); at++) shown++;
    assert_int_equal(shown, more + 2);
    assert_non_null(strstr(page.data, "{\"name\":\"decode-5000\","));
    assert_non_null(strstr(page.data, "\"promised\":0},\"busy_s\":{\"prefill\":0.000000,\"decode\":1.500000,"
                                      "\"mixed\":0.000000},\"prefix_cache\":{\"queries\":80,\"hits\":20,"
                                      "\"hit_rate\":0.2500,\"pages\":4,\"evictions\":3}},{"));
    buf_reset(&page);
    meter_print(m, &c, 1, &page);
    shown = 0;
    for (const char *at = page.data; (at = strstr(at, "\nbaton_steps_total{")); at++) shown++;
    assert_int_equal(shown, more + 2);
    assert_non_null(strstr(page.data, "baton_kv_pages_total{role=\"decode\",worker=\"decode-5000\"} 20\n"));
    c.more_workers = 0; /* they have left: no page is counted for them */
    buf_reset(&page);
    meter_print(m, &c, 2, &page);
    assert_non_null(strstr(page.data, "baton_kv_pages_total{role=\"decode\",worker=\"decode-5000\"} 0\n"));
    buf_done(&page);
    meter_free(m);
}

static void busy_time_and_the_coordinators_own_are_counters(void **state) {
    (void)state;
    core c = {.ready = true};
    meter *m = meter_new("tiny");
    buf page = {0};
    meter_print(m, &c, 1, &page);
    assert_non_null(strstr(page.data, "# TYPE baton_worker_busy_seconds_total counter\n"));
    assert_non_null(strstr(page.data, "\nbaton_worker_busy_seconds_total{role=\"decode\",worker=\"decode-0\","
                                      "phase=\"decode\"} 1.5\n"));
    assert_non_null(strstr(page.data, "\nbaton_worker_steps_left_out_total{role=\"decode\","
                                      "worker=\"decode-0\"} 7\n"));
    assert_non_null(strstr(page.data,
                           "\nbaton_worker_busy_seconds_total{role=\"prefill\",worker=\"prefill-0\","
                           "phase=\"mixed\"} 0\n"));
    assert_non_null(strstr(page.data, "\nbaton_prefix_cache_queries_total{role=\"decode\","
                                      "worker=\"decode-0\"} 80\n"));
    assert_non_null(strstr(page.data, "\nbaton_prefix_cache_pages{role=\"decode\",worker=\"decode-0\"} 4\n"));
    assert_non_null(
        strstr(page.data, "\nvllm:prefix_cache_hits_total{model_name=\"tiny\",engine=\"0\"} 48\n"));
    assert_non_null(
        strstr(page.data, "\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "));
    meter_finished(m, "stop", &(core_times){.decode_wait_ns = 3000000}, 2);
    buf_reset(&page);
    meter_print(m, &c, 1, &page);
    assert_non_null(strstr(page.data, "\nbaton_decode_wait_seconds_bucket{le=\"0.0025\"} 0\n"
                                      "baton_decode_wait_seconds_bucket{le=\"0.005\"} 1\n"));
    buf_done(&page);
    meter_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_worker_is_on_health_and_in_the_metrics),
        cmocka_unit_test(busy_time_and_the_coordinators_own_are_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
