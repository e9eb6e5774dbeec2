/* /health and /metrics of a large cluster, against a core that does what the test says. */
#include "coordinator/health.h"

#include "coordinator/throughput.h"

#include "front_fakes.h"
#include "tests/test.h"

/* More than a cluster can have: whatever the limit, nobody is left out. */
enum { WORKERS_MORE = 5000, WORKERS_MORE_SMALL = 200 };

static bool has_pages(const buf *page, uint32_t worker, uint32_t pages) {
    char line[96];
    snprintf(line, sizeof line, "baton_kv_pages_total{role=\"decode\",worker=\"decode-%u\"} %u\n", worker,
             pages);
    return strstr(page->data, line);
}

static void every_worker_is_on_health_and_in_the_metrics(void **state) {
    (void)state;
    core c = {.ready = true, .more_workers = test_small() ? WORKERS_MORE_SMALL : WORKERS_MORE};
    meter *m = meter_new("tiny");
    const uint32_t more = c.more_workers;
    buf page = {0};
    health_facts facts = {.model = "tiny", .role_wanted = {[ROLE_DECODE] = more + 1}};
    assert_int_equal(health_page(&page, &c, &facts, false, 1), 200);
    assert_non_null(strstr(page.data, "{\"status\":\"ok\",")); /* those beyond any page count too */
    uint32_t shown = 0;
    for (const char *at = page.data; (at = strstr(at, "{\"name\":")); at++) shown++;
    assert_int_equal(shown, more + 2);
    char last[32];
    snprintf(last, sizeof last, "{\"name\":\"decode-%u\",", more);
    assert_non_null(strstr(page.data, last));
    assert_non_null(strstr(page.data, "\"promised\":0},\"busy_s\":{\"prefill\":0.000000,\"decode\":1.500000,"
                                      "\"mixed\":0.000000},\"prefix_cache\":{\"queries\":80,\"hits\":20,"
                                      "\"hit_rate\":0.2500,\"pages\":4,\"evictions\":3}},{"));
    buf_reset(&page);
    meter_print(m, &c, 1, &page);
    shown = 0;
    for (const char *at = page.data; (at = strstr(at, "\nbaton_steps_total{")); at++) shown++;
    assert_int_equal(shown, more + 2);
    assert_true(has_pages(&page, more, 20));
    c.more_workers = 0; /* they have left: no page is counted for them */
    buf_reset(&page);
    meter_print(m, &c, 2, &page);
    assert_true(has_pages(&page, more, 0));
    buf_done(&page);
    meter_free(m);
}

static void health_says_who_stands_still_and_which_role_is_stuck(void **state) {
    (void)state;
    core c = {.ready = true, .standing_ns = 2999 * NS_PER_MS};
    health_facts facts = {.model = "tiny", .stuck_ns = 3 * NS_PER_S};
    buf page = {0};
    assert_int_equal(health_page(&page, &c, &facts, false, 1), 200);
    assert_non_null(strstr(page.data, "{\"status\":\"ok\",\"ready\":true,\"stuck\":[],"));
    assert_non_null(strstr(page.data, "\"step_bound_ms\":40.0,\"step_layers\":[3,12],"));
    assert_non_null(strstr(page.data, "\"standing_ms\":2999.0,\"stuck\":false,\"last_token_ms\":2.5,"));
    assert_non_null(strstr(page.data, "\"stuck\":false,\"last_token_ms\":null,"));
    assert_non_null(
        strstr(page.data,
               "\"holds\":{\"computing\":0,\"parked\":0,\"sending\":0,\"reserved\":1,"
               "\"decoding\":3,\"closing\":0},\"id\":\"000000000000abc1\",\"pages\":{\"total\":20,\"used\":5,"
               "\"free\":15,\"cached\":4,\"pinned\":0,\"reserved\":1,\"promised\":0}"));
    c.standing_ns = 3 * NS_PER_S;
    buf_reset(&page);
    assert_int_equal(health_page(&page, &c, &facts, false, 1), 503);
    assert_non_null(strstr(page.data, "{\"status\":\"stuck\",\"ready\":true,\"stuck\":[\"decode\"],"));
    assert_non_null(strstr(page.data, "\"standing_ms\":3000.0,\"stuck\":true,"));
    buf_reset(&page);
    assert_int_equal(health_ready(&page, &c, &facts, false, 1), 503);
    assert_string_equal(page.data, "stuck\n");
    c.more_workers = 1; /* another decode worker is ready and does not stand: the role gets on */
    assert_string_equal(health_word(&c, &facts, false, 1), "ok");
    buf_done(&page);
}

static void what_stands_still_or_starts_again_is_in_the_metrics(void **state) {
    (void)state;
    core c = {.ready = true, .standing_ns = 1500 * NS_PER_MS};
    c.counts = (core_counters){.parked = 2,
                               .parked_bytes = 4096,
                               .parked_since_ns = NS_PER_S,
                               .drops_sent = 5,
                               .retries = {[RETRY_DEATH] = 3, [RETRY_NO_ROOM] = 4},
                               .stale_kinds = {[CTL_TOKENS] = 6}};
    meter *m = meter_new("tiny");
    buf page = {0};
    const core_event joined = {
        .kind = EVENT_JOIN, .worker = "decode-0", .role = "decode", .incarnation = 1, .reason = ""};
    meter_event(m, &joined);
    meter_event(m, &joined);
    meter_event(m, &(core_event){.kind = EVENT_CANCELED, .worker = "decode-0", .role = "decode"});
    meter_print(m, &c, 3500 * NS_PER_MS, &page);
#define D0 "{role=\"decode\",worker=\"decode-0\""
#define P0 "{role=\"prefill\",worker=\"prefill-0\""
    static const char *const want[] = {"\nbaton_kv_parked 2\n",
                                       "\nbaton_kv_parked_bytes 4096\n",
                                       "\nbaton_kv_parked_oldest_seconds 2.5\n",
                                       "\nbaton_retries_total{reason=\"death\"} 3\n",
                                       "\nbaton_retries_total{reason=\"handoff_failed\"} 0\n",
                                       "\nbaton_retries_total{reason=\"timeout\"} 0\n",
                                       "\nbaton_retries_total{reason=\"worker_failed\"} 0\n",
                                       "\nbaton_retries_total{reason=\"preempted\"} 0\n",
                                       "\nbaton_retries_total{reason=\"no_room\"} 4\n",
                                       "\nbaton_stale_messages_by_kind_total{kind=\"tokens\"} 6\n",
                                       "\nbaton_drops_sent_total 5\n",
                                       "\nbaton_log_dropped_total 0\n",
                                       "\nbaton_events_dropped_total 0\n",
                                       "\nbaton_worker_incarnations_total" D0 "} 2\n",
                                       "\nbaton_worker_standing_seconds" D0 "} 1.5\n",
                                       "\nbaton_worker_last_token_seconds" D0 "} 0.0025\n",
                                       "\nbaton_kv_pages" D0 ",state=\"free\"} 11\n",
                                       "\nbaton_kv_pages" D0 ",state=\"cached\"} 4\n",
                                       "\nbaton_kv_pages" D0 ",state=\"sequences\"} 4\n",
                                       "\nbaton_kv_pages" D0 ",state=\"reserved\"} 1\n",
                                       "\nbaton_kv_pages" D0 ",state=\"pinned\"} 0\n",
                                       "\nbaton_kv_pages" P0 ",state=\"free\"} 7\n",
                                       "\nbaton_kv_pages" P0 ",state=\"sequences\"} 1\n",
                                       "\nbaton_kv_pages" P0 ",state=\"pinned\"} 2\n"};
#undef D0
#undef P0
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        if (!strstr(page.data, want[i])) fail_msg("no %s in %s", want[i], page.data);
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
        cmocka_unit_test(health_says_who_stands_still_and_which_role_is_stuck),
        cmocka_unit_test(what_stands_still_or_starts_again_is_in_the_metrics),
        cmocka_unit_test(busy_time_and_the_coordinators_own_are_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
