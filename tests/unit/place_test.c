#include "tests/test.h"

#include "worker/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rank 0 is the coordinator, 1 and 2 the prefill workers, 3 the decode worker. */
static config cluster(void) {
    config c = {0};
    c.cluster.oversubscribe = true;
    c.handoff.transport = (char *)"auto";
    c.prefill = (config_role){.count = 2, .cores = 1, .tp = 1, .pp = 1};
    c.decode = (config_role){.count = 1, .cores = 1, .tp = 1, .pp = 1};
    return c;
}

static void a_launched_worker_goes_by_role_and_index(void **state) {
    (void)state;
    config c = cluster();
    place p;
    errbuf eb = {0};
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "2", &eb), ST_OK);
    assert_string_equal(p.name, "prefill-1");
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, "3", &eb), ST_OK);
    assert_string_equal(p.name, "decode-0");
}

static void workers_of_a_host_are_numbered_for_its_gpus(void **state) {
    (void)state;
    config c = cluster();
    place p;
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "1", NULL), ST_OK);
    assert_int_equal(p.gpu, 0); /* the coordinator counts for nothing */
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "2", NULL), ST_OK);
    assert_int_equal(p.gpu, 1);
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, "3", NULL), ST_OK);
    assert_int_equal(p.gpu, 2);
    assert_false(p.alone);
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, NULL, NULL), ST_OK);
    assert_int_equal(p.gpu, 0);
    assert_false(p.alone); /* there may be others */

    char *hosts[] = {(char *)"nodeA:8",
                     (char *)"nodeB:8"}; /* nodeA: coordinator, prefill-0, decode-0; nodeB: prefill-1 */
    c.cluster.hosts = hosts;
    c.cluster.hosts_count = 2;
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "2", NULL), ST_OK);
    assert_int_equal(p.gpu, 0);
    assert_true(p.alone);
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, "3", NULL), ST_OK);
    assert_int_equal(p.gpu, 1);
    assert_false(p.alone);
}

static void a_worker_started_by_hand_goes_by_host_and_pid_and_is_not_pinned(void **state) {
    (void)state;
    config c = cluster();
    place p;
    char want[160];
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, NULL, NULL), ST_OK);
    snprintf(want, sizeof want, "decode-%s-%ld", p.host, (long)getpid());
    assert_string_equal(p.name, want);
    assert_int_equal(p.cpu_count, 0);
}

static void workers_of_one_process_have_names_of_their_own(void **state) {
    (void)state;
    config c = cluster();
    c.prefill.count = 5;
    c.mock.workers_per_process = 3;
    place p;
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "2", NULL), ST_OK); /* the second process of the role */
    assert_int_equal(p.worker_count, 2);
    place first = place_member(&p, ROLE_PREFILL, 0), second = place_member(&p, ROLE_PREFILL, 1);
    assert_string_equal(first.name, "prefill-3");
    assert_string_equal(second.name, "prefill-4");
    assert_string_equal(second.host, p.host);

    assert_int_equal(place_find(&p, &c, ROLE_DECODE, "3", NULL), ST_OK);
    assert_int_equal(p.worker_count, 1);
    assert_string_equal(p.name, "decode-0");

    char want[160];
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, NULL, NULL), ST_OK);
    assert_int_equal(p.worker_count, 3);
    second = place_member(&p, ROLE_DECODE, 1);
    snprintf(want, sizeof want, "decode-%s-%ld-1", p.host, (long)getpid());
    assert_string_equal(second.name, want);
}

static void more_cores_than_the_host_has_leave_everybody_unpinned(void **state) {
    (void)state;
    config c = cluster();
    c.decode.count = 5000;
    place p;
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "1", NULL), ST_OK);
    assert_int_equal(p.cpu_count, 0);
}

static void the_launch_rank_is_mpiruns_or_else_that_of_a_pmix_step(void **state) {
    (void)state;
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("PMIX_RANK");
    setenv("SLURM_PROCID", "0", 1); /* a batch script has it: no rank */
    assert_null(place_launch_rank());
    setenv("PMIX_RANK", "2", 1);
    assert_string_equal(place_launch_rank(), "2");
    setenv("OMPI_COMM_WORLD_RANK", "3", 1);
    assert_string_equal(place_launch_rank(), "3");
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("PMIX_RANK");
    unsetenv("SLURM_PROCID");
}

static void a_task_of_slurm_takes_the_gpu_of_its_local_number_and_is_not_pinned(void **state) {
    (void)state;
    config c = cluster();
    place p;
    setenv("PMIX_RANK", "3", 1);
    setenv("SLURM_LOCALID", "0", 1);
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, place_launch_rank(), NULL), ST_OK);
    assert_string_equal(p.name, "decode-0");
    assert_int_equal(p.gpu, 0); /* the map, which has all on this host, says 2 */
    assert_int_equal(p.cpu_count, 0);

    setenv("OMPI_COMM_WORLD_RANK", "3", 1); /* mpirun in an allocation: the map's word */
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, place_launch_rank(), NULL), ST_OK);
    assert_int_equal(p.gpu, 2);
    unsetenv("OMPI_COMM_WORLD_RANK");
    unsetenv("PMIX_RANK");
    unsetenv("SLURM_LOCALID");
}

static void a_rank_of_another_role_or_outside_the_map_is_refused(void **state) {
    (void)state;
    config c = cluster();
    place p;
    errbuf eb = {0};
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "3", &eb), ST_INVALID);
    assert_string_equal(
        eb.text, "launch rank 3 is of role decode in the config, but this program is a prefill worker");
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "4", &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "launch rank 4: the config has 4 ranks; start the cluster with deploy/up.sh");
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "1x", &eb), ST_INVALID);
    assert_string_equal(eb.text, "launch rank '1x' is no number");
}

static void the_address_towards_loopback_is_loopback(void **state) {
    (void)state;
    char host[64];
    assert_int_equal(place_address_towards("tcp://127.0.0.1:8001", host, NULL), ST_OK);
    assert_string_equal(host, "127.0.0.1");
}

static void what_is_no_endpoint_is_refused_by_its_text(void **state) {
    (void)state;
    char host[64];
    errbuf eb = {0};
    const char *bad[] = {"127.0.0.1:8001", "tcp://", "tcp://host", "ipc:///tmp/x:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(place_address_towards(bad[i], host, &eb), ST_INVALID);
        assert_non_null(strstr(eb.text, bad[i]));
    }
}

static void a_gpu_that_too_many_workers_would_share_is_refused_once_their_number_is_known(void **state) {
    (void)state;
    config c = cluster();
    c.prefill.memory_fraction = c.decode.memory_fraction = 0.9;
    place p;
    errbuf eb = {0};
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, "3", NULL), ST_OK);
    assert_int_equal(place_check_gpu(&p, &c, 3, &eb), ST_OK);
    assert_int_equal(place_check_gpu(&p, &c, 2, &eb), ST_INVALID); /* with prefill-0 */
    assert_non_null(strstr(eb.text, "GPU 0 of 2 on "));
    assert_non_null(strstr(eb.text, "sums to 1.80"));
    assert_int_equal(place_find(&p, &c, ROLE_PREFILL, "2", NULL), ST_OK);
    assert_int_equal(place_check_gpu(&p, &c, 2, &eb), ST_OK);
    c.prefill.memory_fraction = c.decode.memory_fraction = 0.3;
    assert_int_equal(place_check_gpu(&p, &c, 1, &eb), ST_OK);
    c.decode.memory_fraction = 0.9;
    assert_int_equal(place_check_gpu(&p, &c, 1, &eb), ST_INVALID);
    assert_int_equal(place_find(&p, &c, ROLE_DECODE, NULL, NULL), ST_OK); /* by hand */
    assert_int_equal(place_check_gpu(&p, &c, 1, &eb), ST_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_launched_worker_goes_by_role_and_index),
        cmocka_unit_test(workers_of_a_host_are_numbered_for_its_gpus),
        cmocka_unit_test(a_gpu_that_too_many_workers_would_share_is_refused_once_their_number_is_known),
        cmocka_unit_test(a_worker_started_by_hand_goes_by_host_and_pid_and_is_not_pinned),
        cmocka_unit_test(workers_of_one_process_have_names_of_their_own),
        cmocka_unit_test(more_cores_than_the_host_has_leave_everybody_unpinned),
        cmocka_unit_test(the_launch_rank_is_mpiruns_or_else_that_of_a_pmix_step),
        cmocka_unit_test(a_task_of_slurm_takes_the_gpu_of_its_local_number_and_is_not_pinned),
        cmocka_unit_test(a_rank_of_another_role_or_outside_the_map_is_refused),
        cmocka_unit_test(the_address_towards_loopback_is_loopback),
        cmocka_unit_test(what_is_no_endpoint_is_refused_by_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
