/* Addresses beyond this machine: refused without keys, unless the config says that it is meant so. HTTP's:
 * http_door_test. */
#include "tests/unit/config_scene.h"

#include "base/mem.h"

#define KEYS "cluster:\n  key_file: k/cluster.key\n  client_key_file: k/client.key\n"

static void addresses_beyond_this_machine_need_keys(void **state) {
    (void)state;
    refuses_with(
        MODEL "cluster:\n  control: tcp://node-a:8001\n", NULL,
        "FILE:4:12: cluster.control: tcp://node-a:8001 is beyond this machine, and who reaches it could "
        "join the cluster: set cluster.key_file (see baton-ctl keygen), or cluster.insecure: true");
    refuses_with(
        MODEL "cluster:\n  client: tcp://[2001:db8::1]:8002\n  key_file: k\n", NULL,
        "FILE:4:11: cluster.client: tcp://[2001:db8::1]:8002 is beyond this machine, and who reaches it "
        "could use and drain the cluster: set cluster.client_key_file (see baton-ctl keygen), or "
        "cluster.insecure: true");
    refuses_with(
        MODEL, "cluster.client=tcp://*:8002",
        "--set cluster.client=tcp://*:8002: cluster.client: tcp://*:8002 is beyond this machine, and who "
        "reaches it could use and drain the cluster: set cluster.client_key_file (see baton-ctl keygen), "
        "or cluster.insecure: true");
    refuses_with(
        MODEL "cluster:\n  client_key_file: k\n", NULL,
        "FILE:4:20: cluster.client_key_file: needs cluster.key_file too: baton-ctl keygen makes both");
}

static void with_keys_or_where_it_is_meant_they_are_taken(void **state) {
    (void)state;
    static const char *const all[] = {"cluster.control=tcp://10.0.0.1:8001",
                                      "cluster.client=tcp://0.0.0.0:8002"};
    static const char *const near[] = {"cluster.control=tcp://127.1.2.3:8001",
                                       "cluster.client=tcp://localhost:8002"};
    config_free(loads(MODEL KEYS, all, ARRAY_LEN(all)));
    config_free(loads(MODEL "cluster:\n  insecure: true\n", all, ARRAY_LEN(all)));
    config_free(loads(MODEL, near, ARRAY_LEN(near)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_beyond_this_machine_need_keys),
        cmocka_unit_test(with_keys_or_where_it_is_meant_they_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
