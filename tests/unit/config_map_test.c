/* Maps of ranks that cannot work, and the files of deploy/config for several GPUs and hosts. */
#include "tests/unit/config_scene.h"

#define CUDA "model:\n  path: m.gguf\n  backend: cuda\n"

static void map_refused(const char *text, const char *want) {
    config *c = loads(text, NULL, 0);
    config_rank *ranks = NULL;
    uint32_t count;
    errbuf eb = {0};
    assert_int_equal(config_ranks(c, 8, &ranks, &count, &eb), ST_INVALID);
    assert_string_equal(eb.text, want);
    config_free(c);
}

static config_rank *map_of(const config *c, uint32_t want) {
    config_rank *ranks = NULL;
    uint32_t count;
    errbuf eb = {0};
    if (config_ranks(c, 64, &ranks, &count, &eb)) fail_msg("%s", eb.text);
    assert_int_equal(count, want);
    return ranks;
}

static void more_workers_than_gpus_are_refused_when_their_shares_do_not_fit(void **state) {
    (void)state;
    map_refused(
        CUDA "cluster: {gpus_per_host: 2}\ndecode: {count: 2}\n",
        "GPU 0 of localhost (cluster.gpus_per_host: 2) is shared by workers whose memory_fraction sums "
        "to 1.80: lower counts, add hosts, or make the fractions sum to at most 1");
    config *c = loads(CUDA "cluster: {gpus_per_host: 1}\nprefill: {memory_fraction: 0.5}\n"
                           "decode: {memory_fraction: 0.5}\n",
                      NULL, 0);
    free(map_of(c, 3));
    config_free(c);
    c = loads(CUDA "decode: {count: 2}\n", NULL, 0); /* how many GPUs there are nobody has said */
    free(map_of(c, 4));
    config_free(c);
    c = loads(MODEL "cluster: {gpus_per_host: 1}\n", NULL, 0); /* and on CPUs it means nothing */
    free(map_of(c, 3));
    config_free(c);
}

static void gpus_are_counted_on_each_host(void **state) {
    (void)state;
    config *c = loads(CUDA "cluster: {hosts: [\"a:8\", \"b:8\"], gpus_per_host: 2}\nprefill: {count: 2}\n"
                           "decode: {count: 2}\n",
                      NULL, 0);
    config_rank *ranks = map_of(c, 5);
    const uint32_t want[] = {0, 0, 1, 1}; /* prefill-0 a, prefill-1 b, decode-0 a, decode-1 b */
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(ranks[i + 1].gpu, want[i]);
    assert_true(config_gpu_share(c, ranks, 5, &ranks[1], 2) == 0.9);
    assert_true(config_gpu_share(c, ranks, 5, &ranks[1], 1) == 1.8);
    free(ranks);
    config_free(c);
}

static void transports_between_gpus_want_gpus(void **state) {
    (void)state;
    refuses_with(
        MODEL "handoff:\n  transport: ipc\n", NULL,
        "FILE:4:14: handoff.transport: ipc is between GPUs, and model.backend is cpu: set it to auto, shm "
        "or zmq");
    config_free(loads(CUDA "handoff:\n  transport: nccl\n", NULL, 0));
}

static void memory_is_no_way_between_hosts(void **state) {
    (void)state;
    map_refused(
        MODEL "prefill: {hosts: [\"a:8\"]}\ndecode: {hosts: [\"b:8\"]}\nhandoff: {transport: shm}\n",
        "handoff.transport shm is for one host, but prefill is on a and decode on b: set it to auto, or "
        "to zmq");
    map_refused(
        CUDA "prefill: {hosts: [\"a:8\"]}\ndecode: {hosts: [\"b:8\"]}\nhandoff: {transport: ipc}\n",
        "handoff.transport ipc is for one host, but prefill is on a and decode on b: set it to auto, or "
        "to nccl");
    config *c = loads(MODEL "prefill: {hosts: [\"a:8\"]}\ndecode: {hosts: [\"b:8\"]}\n", NULL, 0);
    free(map_of(c, 3));
    config_free(c);
    c = loads(MODEL "cluster: {hosts: [\"a:8\"]}\ncolocated: {count: 1, hosts: [\"b:8\"]}\n"
                    "handoff: {transport: shm}\n", /* colocated workers hand nothing over */
              NULL, 0);
    free(map_of(c, 4));
    config_free(c);
}

static void the_files_for_several_gpus_and_hosts_give_each_worker_its_own(void **state) {
    (void)state;
    const struct {
        const char *file;
        uint32_t prefill, decode, gpus, hosts;
    } want[] = {{CONFIG_DIR "/two-gpus.yaml", 1, 1, 2, 1},
                {CONFIG_DIR "/8gpu-node.yaml", 2, 6, 8, 1},
                {CONFIG_DIR "/two-nodes.yaml", 4, 4, 4, 2},
                {CONFIG_DIR "/cpu-two-hosts.yaml", 1, 1, 0, 2}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        config *c = loads_file(want[i].file);
        assert_int_equal(c->prefill.count, want[i].prefill);
        assert_int_equal(c->decode.count, want[i].decode);
        assert_int_equal(c->cluster.gpus_per_host, want[i].gpus);
        assert_string_equal(c->handoff.transport, "auto");
        uint32_t count = 1 + want[i].prefill + want[i].decode;
        config_rank *ranks = map_of(c, count);
        for (uint32_t k = 1; k < count; k++) {
            if (want[i].gpus) assert_true(ranks[k].gpu < want[i].gpus);
            bool other = want[i].hosts == 2 && !strcmp(ranks[k].role, "decode");
            assert_int_equal(strcmp(ranks[k].host, ranks[0].host) != 0, other);
        }
        free(ranks);
        config_free(c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_workers_than_gpus_are_refused_when_their_shares_do_not_fit),
        cmocka_unit_test(gpus_are_counted_on_each_host),
        cmocka_unit_test(transports_between_gpus_want_gpus),
        cmocka_unit_test(memory_is_no_way_between_hosts),
        cmocka_unit_test(the_files_for_several_gpus_and_hosts_give_each_worker_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
