/* The keys of mock workers, and the ranks of processes that host several. */
#include "tests/unit/config_scene.h"

#define MOCK "model: {path: random:mock, backend: mock}\n"

static void a_process_may_host_several_mock_workers(void **state) {
    (void)state;
    config *c = loads(MOCK "mock: {workers_per_process: 4}\nprefill: {count: 6, hosts: [a:2, b:2]}\n"
                           "decode: {count: 4}\n",
                      NULL, 0);
    char *text = NULL;
    assert_int_equal(config_check_text(c, 1, &text, NULL), ST_OK);
    assert_string_equal(strstr(text, "\nrank=0"),
                        "\nrank=0 role=coordinator index=0 host=localhost cores=-\n"
                        "rank=1 role=prefill index=0 host=a cores=0-0 workers=4\n"
                        "rank=2 role=prefill index=4 host=b cores=0-0 workers=2\n"
                        "rank=3 role=decode index=0 host=localhost cores=0-0 workers=4\n"
                        "slots host=localhost count=2\n"
                        "slots host=a count=1\n"
                        "slots host=b count=1\n");
    free(text);
    config_free(c);
}

static void what_only_mock_workers_do_is_refused_for_others(void **state) {
    (void)state;
    refuses_with(MODEL "mock:\n  workers_per_process: 2\n", NULL,
                 "FILE:4:24: mock.workers_per_process: 2 is for model.backend mock; a process of cpu is one "
                 "worker: set it to 1");
    refuses_with(
        MOCK "mock:\n  latency: h100\n", NULL,
        "FILE:3:12: mock.latency: \"h100\": no preset, and as a file: No such file or directory: want one "
        "of a100-opt-13b, h200-8b, instant, or a file's path");
    refuses_with(MOCK "prefill: {kv_memory_mb: 0}\n", NULL,
                 "FILE:2:25: prefill.kv_memory_mb: 0 means all that the device has left, which is for "
                 "model.backend cuda: set it, or prefill.kv_pages");
    config *c = loads(MODEL "mock: {latency: of no interest}\n", NULL, 0); /* backend cpu */
    config_free(c);
}

static void mock_yaml_is_eight_workers_in_two_processes(void **state) {
    (void)state;
    config *c = loads_file(CONFIG_DIR "/mock.yaml");
    assert_string_equal(c->model.backend, "mock");
    assert_string_equal(c->mock.latency, "h200-8b");
    config_rank *ranks = NULL;
    uint32_t count = 0;
    assert_int_equal(config_ranks(c, 1, &ranks, &count, NULL), ST_OK);
    assert_int_equal(count, 3);
    assert_int_equal(ranks[1].worker_count, 4);
    assert_int_equal(ranks[2].worker_count, 4);
    free(ranks);
    config_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_may_host_several_mock_workers),
        cmocka_unit_test(what_only_mock_workers_do_is_refused_for_others),
        cmocka_unit_test(mock_yaml_is_eight_workers_in_two_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
