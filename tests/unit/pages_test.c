/* /health and /metrics of a large cluster, against a core that does what the test says. */
#include "coordinator/health.h"

#include "coordinator/throughput.h"

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

#define LABELS "{model_name=\"tiny\",engine=\"0\""

static void requests_are_told_in_the_names_of_vllm(void **state) {
    (void)state;
    core c = {.ready = true};
    meter *m = meter_new("tiny");
    buf page = {0};
    meter_admitted(m, 30, 2, 100);
    core_times t = {.queue_ns = 500 * NS_PER_MS,
                    .prefill_ns = 250 * NS_PER_MS,
                    .first_token_ns = 1000 * NS_PER_MS,
                    .decode_ns = 2000 * NS_PER_MS,
                    .total_ns = 3000 * NS_PER_MS};
    meter_finished(m, "stop", &t, 5);
    meter_finished(m, "length", &t, 1); /* has no time per token */
    meter_request(m, 5);
    ctl_step steps[2] = {{.sums = {.tokens = 20, .batch = 3}}, {.sums = {.batch = 4}}};
    meter_steps(m, &(core_steps){.steps = steps, .count = 2});
    meter_http(m, "/tokenize", "POST", 200);
    meter_http_done(m, "/tokenize", "POST", 250 * NS_PER_MS);
    meter_print(m, &c, 1, &page);
    static const char *const want[] = {
        "\nvllm:request_time_per_output_token_seconds_sum" LABELS "} 0.5\n",
        "\nvllm:request_time_per_output_token_seconds_count" LABELS "} 1\n",
        "\nvllm:request_inference_time_seconds_sum" LABELS "} 5\n",
        "\nvllm:request_max_num_generation_tokens_sum" LABELS "} 5\n",
        "\nvllm:request_params_max_tokens_sum" LABELS "} 100\n",
        "\nvllm:iteration_tokens_total_bucket" LABELS ",le=\"8\"} 1\n",
        "\nvllm:iteration_tokens_total_sum" LABELS "} 27\n",
        "\nvllm:num_requests_waiting_by_reason" LABELS ",reason=\"capacity\"} 0\n",
        "\nvllm:admission_rejections_total" LABELS ",reason=\"queue_full\"} 0\n",
        "\nvllm:cache_config_info" LABELS ",block_size=\"16\",num_gpu_blocks=\"20\"} 1\n",
        "\nhttp_requests_total{handler=\"/tokenize\",method=\"POST\",status=\"2xx\"} 1\n",
        "\nhttp_request_duration_seconds_bucket{handler=\"/tokenize\",method=\"POST\",le=\"0.5\"} 1\n",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_open_fds ",
        "\nprocess_start_time_seconds "};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        if (!strstr(page.data, want[i])) fail_msg("no %s in %s", want[i], page.data);
    c.more_workers = 1;
    buf_reset(&page);
    meter_print(m, &c, 1, &page);
    assert_non_null(strstr(page.data, "block_size=\"16\",num_gpu_blocks=\"20\"} 0\n"));
    assert_non_null(strstr(page.data, "block_size=\"16\",num_gpu_blocks=\"40\"} 1\n"));
    buf_done(&page);
    meter_free(m);
}

static void throughput_is_told_every_ten_seconds_and_once_after_the_last(void **state) {
    (void)state;
    core c = {.ready = true};
    throughput t = {0};
    buf line = {0};
    assert_false(throughput_line(&t, &c, NS_PER_S, &line));
    t.prompt_tokens = t.output_tokens = (uint64_t)-50; /* so that 50 more have come */
    assert_false(throughput_line(&t, &c, 11 * NS_PER_S - 1, &line));
    assert_true(throughput_line(&t, &c, 11 * NS_PER_S, &line));
    assert_string_equal(line.data,
                        "Avg prompt throughput: 5.0 tokens/s, Avg generation throughput: 5.0 tokens/s, "
                        "Running: 2 reqs, Waiting: 0 reqs, KV cache usage: 25.0%, Prefix cache hit rate: "
                        "60.0%");
    buf_reset(&line);
    c.idle = true;
    assert_true(throughput_line(&t, &c, 21 * NS_PER_S, &line));
    assert_non_null(strstr(line.data, "generation throughput: 0.0 tokens/s, Running: 0 reqs"));
    assert_false(throughput_line(&t, &c, 31 * NS_PER_S, &line));
    assert_false(throughput_line(&t, &c, 41 * NS_PER_S, &line));
    buf_done(&line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_told_in_the_names_of_vllm),
        cmocka_unit_test(throughput_is_told_every_ten_seconds_and_once_after_the_last),
        cmocka_unit_test(every_worker_is_on_health_and_in_the_metrics),
        cmocka_unit_test(busy_time_and_the_coordinators_own_are_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
