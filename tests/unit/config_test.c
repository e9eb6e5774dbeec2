/* The cluster file: defaults, places in error texts, --set, combinations, the rank map, the files in
 * deploy/config. */
#include "tests/unit/config_scene.h"

#include "base/mem.h"
#include "config/config_keys.h"

#ifdef BATON_SANITIZER
#define SLOW 10u
#else
#define SLOW 1u
#endif

static void left_out_keys_have_their_defaults(void **state) {
    (void)state;
    config *c = loads(MODEL, NULL, 0);
    assert_string_equal(c->model.path, "m.gguf");
    assert_string_equal(c->cluster.http, "127.0.0.1:8000");
    assert_string_equal(c->cluster.control, "tcp://127.0.0.1:8001");
    assert_string_equal(c->cluster.client, "tcp://127.0.0.1:8002");
    assert_int_equal(c->cluster.hosts_count, 0);
    assert_int_equal(c->prefill.count, 1);
    assert_int_equal(c->prefill.token_budget, 512);
    assert_int_equal(c->prefill.chunk_tokens, 256);
    assert_int_equal(c->decode.count, 1);
    assert_int_equal(c->decode.max_seqs, 64);
    assert_int_equal(c->decode.token_budget, 64); /* 0 = max_seqs */
    assert_int_equal(c->decode.chunk_tokens, 16);
    assert_int_equal(c->colocated.count, 0);
    assert_int_equal(c->colocated.token_budget, 256);
    assert_string_equal(c->colocated.policy, "chunked");
    assert_string_equal(c->prefill.policy, "");
    assert_string_equal(c->model.act_dtype, "auto");
    assert_false(c->model.deterministic || c->model.check_ops);
    assert_true(c->decode.memory_fraction == 0.9);
    assert_string_equal(c->handoff.transport, "auto");
    assert_int_equal(c->handoff.ring_slots, 8);
    assert_int_equal(c->handoff.test_flip_segment, -1);
    assert_true(c->handoff.overlap && c->handoff.checksums);
    assert_int_equal(c->limits.heartbeat_ms, 250);
    assert_int_equal(c->limits.suspect_ms, 1500 * SLOW);
    assert_int_equal(c->limits.gone_ms, 5000 * SLOW);
    assert_int_equal(c->limits.prefill_ms, 120000 * SLOW);
    assert_int_equal(c->limits.max_attempts, 4);
    assert_int_equal(c->limits.max_body_kb, 8192);
    config_free(c);
    config_free(NULL);
}

static void values_of_every_type_are_read(void **state) {
    (void)state;
    config *c =
        loads(MODEL "cluster:\n  hosts: [nodeA:8, \"nodeB:4\"]\n  oversubscribe: true\n  client: \"\"\n"
                    "handoff: {test_flip_segment: -1, overlap: false, transport: zmq}\n"
                    "prefill:\n  hosts:\n    - nodeB\n  kv_pages: 77\n  memory_fraction: 0.45\n",
              NULL, 0);
    assert_int_equal(c->cluster.hosts_count, 2);
    assert_string_equal(c->cluster.hosts[0], "nodeA:8");
    assert_string_equal(c->cluster.hosts[1], "nodeB:4");
    assert_true(c->cluster.oversubscribe);
    assert_string_equal(c->cluster.client, "");
    assert_false(c->handoff.overlap);
    assert_string_equal(c->handoff.transport, "zmq");
    assert_int_equal(c->prefill.hosts_count, 1);
    assert_string_equal(c->prefill.hosts[0], "nodeB");
    assert_int_equal(c->prefill.kv_pages, 77);
    assert_true(c->prefill.memory_fraction == 0.45);
    config_free(c);
}

static void unknown_keys_are_refused_where_they_stand(void **state) {
    (void)state;
    refuses_with("limits:\n  max_queue: 1\n  max_requets: 5\n  gone_ms: 6000\n", NULL,
                 "FILE:3:3: limits.max_requets: unknown key: did you mean max_requests?");
    refuses_with(MODEL "perfill:\n  count: 1\n", NULL,
                 "FILE:3:1: perfill: unknown key: did you mean prefill?");
    refuses_with(MODEL "limits:\n  zzzzzzzzzzzz: 5\n", NULL, "FILE:4:3: limits.zzzzzzzzzzzz: unknown key");
    refuses_with(MODEL "prefill:\n  policy: chunked\n", NULL, "FILE:4:3: prefill.policy: unknown key");
    refuses_with(MODEL "decode:\n  chunk_tokens: 16\n", NULL, "FILE:4:3: decode.chunk_tokens: unknown key");
    refuses_with(MODEL "decode:\n  hostz:\n    - a\n", NULL,
                 "FILE:4:3: decode.hostz: unknown key: did you mean hosts?");
}

static void values_of_the_wrong_type_are_refused(void **state) {
    (void)state;
    refuses_with(MODEL "limits:\n  max_queue: many\n", NULL,
                 "FILE:4:14: limits.max_queue: \"many\" is no whole number");
    refuses_with(MODEL "limits:\n  max_queue: 12x\n", NULL,
                 "FILE:4:14: limits.max_queue: \"12x\" is no whole number");
    refuses_with(MODEL "limits:\n  max_queue: 010\n", NULL,
                 "FILE:4:14: limits.max_queue: \"010\" is no whole number");
    refuses_with(MODEL "limits:\n  max_queue:\n", NULL,
                 "FILE:4:13: limits.max_queue: \"\" is no whole number");
    refuses_with(MODEL "handoff:\n  overlap: maybe\n", NULL,
                 "FILE:4:12: handoff.overlap: \"maybe\" is no truth value: want true or false");
    refuses_with(MODEL "limits:\n  max_queue: [1]\n", NULL,
                 "FILE:4:14: limits.max_queue: want one value here, not a list or a mapping");
    refuses_with(MODEL "cluster:\n  hosts: nodeA\n", NULL,
                 "FILE:4:10: cluster.hosts: want a list here, such as [nodeA, nodeB]");
    refuses_with("model: m.gguf\n", NULL, "FILE:1:8: model: want keys with values here");
}

static void values_out_of_range_are_refused(void **state) {
    (void)state;
    refuses_with(MODEL "limits:\n  max_queue: 0\n", NULL,
                 "FILE:4:14: limits.max_queue: 0 is out of range: want 1..1000000");
    refuses_with(MODEL "limits:\n  max_queue: 99999999999999999999\n", NULL,
                 "FILE:4:14: limits.max_queue: 99999999999999999999 is out of range: want 1..1000000");
    refuses_with(MODEL "handoff:\n  test_flip_segment: -2\n", NULL,
                 "FILE:4:22: handoff.test_flip_segment: -2 is out of range: want -1..2147483647");
    refuses_with(MODEL "limits:\n  max_queue: -1\n", NULL,
                 "FILE:4:14: limits.max_queue: \"-1\" is no whole number");
    refuses_with(MODEL "colocated:\n  policy: chunk\n", NULL,
                 "FILE:4:11: colocated.policy: \"chunk\" is unknown: want one of chunked, prefill_first");
    refuses_with("model:\n  path: m.gguf\n  isa: sse\n", NULL,
                 "FILE:3:8: model.isa: \"sse\" is unknown: want one of auto, avx512, avx2, portable");
}

static void shares_are_above_0_and_at_most_1(void **state) {
    (void)state;
    static const char *const bad[] = {"0",   "0.0", "1.01",  "-0.5", "1e-1", "nan",
                                      "0x1", ".",   "0.5.5", "half", "0.5 ", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char set[64], want[256];
        snprintf(set, sizeof set, "decode.memory_fraction=%s", bad[i]);
        snprintf(
            want, sizeof want,
            "--set %s: decode.memory_fraction: \"%s\": want a number above 0 and at most 1, such as 0.45",
            set, bad[i]);
        refuses_with(MODEL, set, want);
    }
    static const char *const good[] = {"decode.memory_fraction=1", "prefill.memory_fraction=.25",
                                       "colocated.memory_fraction=0.333333333333333"};
    config *c = loads(MODEL, good, ARRAY_LEN(good));
    assert_true(c->decode.memory_fraction == 1);
    assert_true(c->prefill.memory_fraction == 0.25);
    assert_true(c->colocated.memory_fraction == 0.333333333333333);
    config_free(c);
}

static void what_is_no_yaml_is_refused_with_its_place(void **state) {
    (void)state;
    refuses_with("model:\n\tpath: m.gguf\n", NULL,
                 "FILE:1:1: model: libyaml: found character that cannot start any token");
    refuses_with("", NULL, "FILE:1:1: model.path: is missing: set it to a .gguf file, or to random:NAME");
    refuses_with("# nothing\n", NULL,
                 "FILE:1:1: model.path: is missing: set it to a .gguf file, or to random:NAME");
    char path[32];
    errbuf eb = {0};
    config *c = NULL;
    assert_int_equal(config_load(&c, file_of(path, "- a\n- b\n"), NULL, 0, &eb), ST_INVALID);
    unlink(path);
    assert_int_equal(config_load(&c, "/nonexistent/baton.yaml", NULL, 0, &eb), ST_IO);
    assert_string_equal(
        eb.text,
        "/nonexistent/baton.yaml: No such file or directory: give the path of a configuration, such as "
        "deploy/config/local.yaml");
    assert_int_equal(config_load(&c, "/tmp", NULL, 0, NULL), ST_INVALID);
    assert_null(c);
}

static void set_overrides_the_file(void **state) {
    (void)state;
    static const char *const sets[] = {"decode.count=3",        "cluster.hosts=nodeA:8,nodeB:4",
                                       "handoff.overlap=false", "model.served_model_name=a=b",
                                       "cluster.client=",       "decode.count=4"};
    config *c = loads(MODEL "decode:\n  count: 2\ncluster:\n  hosts: [x:1]\n", sets, ARRAY_LEN(sets));
    assert_int_equal(c->decode.count, 4); /* the last one wins */
    assert_int_equal(c->cluster.hosts_count, 2);
    assert_string_equal(c->cluster.hosts[1], "nodeB:4");
    assert_false(c->handoff.overlap);
    assert_string_equal(c->model.served_model_name, "a=b");
    assert_string_equal(c->cluster.client, "");
    config_free(c);
    static const char *const none[] = {"cluster.hosts="};
    c = loads(MODEL "cluster:\n  hosts: [x:1]\n", none, 1);
    assert_int_equal(c->cluster.hosts_count, 0);
    config_free(c);
}

static void bad_sets_are_named(void **state) {
    (void)state;
    refuses_with(MODEL, "decode.cuont=3", "--set: unknown key \"decode.cuont\": did you mean decode.count?");
    refuses_with(MODEL, "decoder.count=3",
                 "--set: unknown key \"decoder.count\": did you mean decode.count?");
    refuses_with(MODEL, "qqqqqqqqqqq.count=3", "--set: unknown key \"qqqqqqqqqqq.count\"");
    refuses_with(MODEL, "count=3", "--set: \"count=3\" is not of the form section.key=value");
    refuses_with(MODEL, "decode.count", "--set: \"decode.count\" is not of the form section.key=value");
    refuses_with(MODEL, "decode.count=x", "--set decode.count=x: decode.count: \"x\" is no whole number");
    refuses_with(MODEL, "limits.gone_ms=100",
                 "--set limits.gone_ms=100: limits.gone_ms: 100 must be at least 1501, limits.suspect_ms and "
                 "one more: a "
                 "worker is suspect before it is gone");
    refuses_with(MODEL, "cluster.hosts=a,,b",
                 "--set cluster.hosts=a,,b: cluster.hosts: entry 2 is \"\": want a host name or NAME:CORES");
}

static void combinations_that_cannot_work_are_refused(void **state) {
    (void)state;
    refuses_with(MODEL "decode:\n  tp: 2\n", NULL,
                 "FILE:4:7: decode.tp: 2: tensor parallelism is not built yet: set it to 1");
    refuses_with(MODEL "decode:\n  pp: 2\n", NULL,
                 "FILE:4:7: decode.pp: 2: pipeline parallelism is not built yet: set it to 1");
    refuses_with(MODEL "prefill:\n  chunk_tokens: 100\n", NULL,
                 "FILE:4:17: prefill.chunk_tokens: 100 is no multiple of 16, the tokens of a page: try 112");
    refuses_with(
        MODEL "decode:\n  count: 0\n", NULL,
        "FILE:4:10: decode.count: 1 prefill, 0 decode and no colocated workers could serve no request: set "
        "prefill.count and decode.count, or colocated.count");
    refuses_with(
        MODEL "prefill:\n  count: 0\ndecode:\n  count: 0\n", NULL,
        "FILE:1:1: colocated.count: 0 prefill, 0 decode and no colocated workers could serve no request: set "
        "prefill.count and decode.count, or colocated.count");
    refuses_with(MODEL "decode:\n  token_budget: 8\n", NULL,
                 "FILE:4:17: decode.token_budget: 8 rows per step are fewer than decode.max_seqs 64: raise "
                 "it, or lower "
                 "max_seqs");
    refuses_with(MODEL "handoff:\n  segment_kb: 2048\n", NULL,
                 "FILE:4:15: handoff.segment_kb: 2048 is more than handoff.slot_kb 1024: a segment must fit "
                 "a slot of the "
                 "ring");
    refuses_with(MODEL "cluster:\n  http: \"8000\"\n", NULL,
                 "FILE:4:9: cluster.http: \"8000\" is no address: want HOST:PORT, such as 127.0.0.1:8000");
    refuses_with(MODEL "cluster:\n  control: 127.0.0.1:8001\n", NULL,
                 "FILE:4:12: cluster.control: \"127.0.0.1:8001\" is no endpoint: want tcp://HOST:PORT");
    refuses_with(MODEL "cluster:\n  client: tcp://a:99999\n", NULL,
                 "FILE:4:11: cluster.client: \"tcp://a:99999\" is no endpoint: want tcp://HOST:PORT, or \"\" "
                 "for none");
    refuses_with(MODEL "limits:\n  max_workers: 4097\n", NULL,
                 "FILE:4:16: limits.max_workers: 4097 is out of range: want 1..4096");
    refuses_with(MODEL "limits:\n  max_workers: 1\n", NULL,
                 "FILE:4:16: limits.max_workers: 1, but the roles ask for 2 workers: raise it");
    refuses_with(
        MODEL "limits:\n  max_requests: 10\n", "limits.max_queue=11",
        "--set limits.max_queue=11: limits.max_queue: 11 is more than limits.max_requests 10: the queue is a "
        "part of all "
        "requests");
}

#define CUDA "model:\n  path: m.gguf\n  backend: cuda\n"

static void types_that_a_backend_does_not_have_are_refused(void **state) {
    (void)state;
    refuses_with(
        MODEL "  act_dtype: f16\n", NULL,
        "FILE:3:14: model.act_dtype: f16 is for model.backend cuda; cpu computes in f32: set it to auto");
    refuses_with(MODEL "  kv_dtype: bf16\n  backend: ref\n", NULL,
                 "FILE:3:13: model.kv_dtype: bf16 is for model.backend cuda: want auto, f16 or f32 on ref");
    refuses_with(CUDA "  kv_dtype: f16\n", NULL,
                 "FILE:4:13: model.kv_dtype: f16, but on cuda the KV cache has the type of the activations, "
                 "bf16: set it "
                 "to auto, or set model.act_dtype to f16");
    refuses_with(CUDA "  act_dtype: f16\n  kv_dtype: bf16\n", NULL,
                 "FILE:5:13: model.kv_dtype: bf16, but on cuda the KV cache has the type of the activations, "
                 "f16: set it "
                 "to auto, or set model.act_dtype to bf16");
    static const char *const good[][2] = {{"model.act_dtype=auto", "model.kv_dtype=bf16"},
                                          {"model.act_dtype=f16", "model.kv_dtype=f16"},
                                          {"model.act_dtype=f32", "model.kv_dtype=auto"}};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) config_free(loads(CUDA, good[i], 2));
}

static void only_cuda_can_take_what_the_device_has_left(void **state) {
    (void)state;
    refuses_with(MODEL "decode:\n  kv_memory_mb: 0\n", NULL,
                 "FILE:4:17: decode.kv_memory_mb: 0 means all that the device has left, which is for "
                 "model.backend cuda: "
                 "set it, or decode.kv_pages");
    config_free(loads(MODEL "decode:\n  kv_memory_mb: 0\n  kv_pages: 5\n", NULL, 0));
    config_free(loads(CUDA "decode:\n  kv_memory_mb: 0\n", NULL, 0));
}

static void colocated_workers_alone_are_a_route(void **state) {
    (void)state;
    config *c =
        loads(MODEL "prefill: {count: 0}\ndecode: {count: 0}\ncolocated: {count: 1, policy: prefill_first}\n",
              NULL, 0);
    assert_string_equal(c->colocated.policy, "prefill_first");
    config_free(c);
}

/* Loading the text of a config gives that config. Time limits would be multiplied twice under a sanitizer:
 * their values are left out. */
static void the_text_of_a_config_loads_as_the_same(void **state) {
    (void)state;
    config *c = loads(
        MODEL "cluster:\n  name: \"a \\\"quoted\\\" \\\\ name\\n\"\n  hosts: [nodeA:8, nodeB:8]\n"
              "decode:\n  max_seqs: 9\n  memory_fraction: 0.45\nprefill: {memory_fraction: 0.123456789}\n",
        NULL, 0);
    char *text = config_text(c);
    assert_non_null(strstr(text, "  memory_fraction: 0.45\n"));
    config *again = loads(text, NULL, 0);
    char *text_again = config_text(again);
    if (SLOW > 1) *strstr(text, "  suspect_ms") = *strstr(text_again, "  suspect_ms") = 0;
    assert_string_equal(text, text_again);
    assert_string_equal(again->cluster.name, "a \"quoted\" \\ name\n");
    assert_int_equal(again->decode.token_budget, 9);
    assert_true(again->prefill.memory_fraction == 0.123456789);
    free(text);
    free(text_again);
    config_free(c);
    config_free(again);
}

/* ---- ranks ---- */

static void assert_rank(const config_rank *r, const char *role, uint32_t index, const char *host,
                        uint32_t begin, uint32_t count) {
    assert_string_equal(r->role, role);
    assert_int_equal(r->index, index);
    assert_string_equal(r->host, host);
    assert_int_equal(r->core_begin, begin);
    assert_int_equal(r->core_count, count);
}

static void ranks_take_the_cores_of_this_machine_in_order(void **state) {
    (void)state;
    config *c = loads(MODEL "prefill: {count: 1, cores: 2}\ndecode: {count: 2, cores: 1}\n", NULL, 0);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    assert_int_equal(config_ranks(c, 4, &ranks, &count, NULL), ST_OK);
    assert_int_equal(count, 4);
    assert_rank(&ranks[0], "coordinator", 0, "localhost", 0, 0);
    assert_rank(&ranks[1], "prefill", 0, "localhost", 0, 2);
    assert_rank(&ranks[2], "decode", 0, "localhost", 2, 1);
    assert_rank(&ranks[3], "decode", 1, "localhost", 3, 1);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(ranks[i].rank, i);
    free(ranks);
    config_free(c);
}

static void hosts_are_cycled_per_role(void **state) {
    (void)state;
    config *c = loads(MODEL "cluster: {hosts: [nodeA:4, nodeB:4]}\nprefill: {count: 3, cores: 1}\n"
                            "decode: {count: 2, cores: 2, hosts: [nodeB, \"nodeC:8\"]}\n",
                      NULL, 0);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    errbuf eb = {0};
    if (config_ranks(c, 1, &ranks, &count, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_int_equal(count, 6);
    assert_rank(&ranks[0], "coordinator", 0, "nodeA", 0, 0);
    assert_rank(&ranks[1], "prefill", 0, "nodeA", 0, 1);
    assert_rank(&ranks[2], "prefill", 1, "nodeB", 0, 1);
    assert_rank(&ranks[3], "prefill", 2, "nodeA", 1, 1);
    assert_rank(&ranks[4], "decode", 0, "nodeB", 1, 2);
    assert_rank(&ranks[5], "decode", 1, "nodeC", 0, 2);
    free(ranks);
    config_free(c);
}

static void refuses_ranks(const char *text, uint32_t cores, const char *want) {
    config *c = loads(text, NULL, 0);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    errbuf eb = {0};
    assert_int_equal(config_ranks(c, cores, &ranks, &count, &eb), ST_INVALID);
    assert_null(ranks);
    assert_string_equal(eb.text, want);
    config_free(c);
}

static void too_few_cores_are_refused_with_the_remedy(void **state) {
    (void)state;
    refuses_ranks(MODEL "prefill: {cores: 2}\ndecode: {cores: 2}\n", 2,
                  "prefill and decode ask for 4 cores on this machine, which has 2: lower count or cores, "
                  "add hosts, or set "
                  "cluster.oversubscribe: true");
    refuses_ranks(
        MODEL
        "cluster: {hosts: [nodeA:1, nodeB:8]}\nprefill: {cores: 2}\ndecode: {cores: 1, hosts: [nodeB]}\n",
        2,
        "prefill asks for 2 cores on nodeA, which has 1: lower count or cores, add hosts, or set "
        "cluster.oversubscribe: true");
    refuses_ranks(MODEL "colocated: {count: 1}\n", 2,
                  "prefill, decode and colocated ask for 3 cores on this machine, which has 2: lower count "
                  "or cores, add hosts, "
                  "or set cluster.oversubscribe: true");
}

static void hosts_that_cannot_be_read_are_refused(void **state) {
    (void)state;
    refuses_ranks(
        MODEL "cluster: {hosts: [nodeA]}\n", 2,
        "cluster.hosts: the cores of nodeA are not known: write nodeA:CORES, here or in cluster.hosts");
    refuses_ranks(MODEL "cluster: {hosts: [\"nodeA:x\"]}\n", 2,
                  "cluster.hosts: \"nodeA:x\": want NAME:CORES with 1..4096 cores");
    refuses_ranks(MODEL "prefill: {hosts: [\"nodeA:0\"]}\n", 2,
                  "prefill.hosts: \"nodeA:0\": want NAME:CORES with 1..4096 cores");
    refuses_ranks(MODEL "cluster: {hosts: [\"nodeA:4\", \"nodeA:5\"]}\n", 2,
                  "cluster.hosts: \"nodeA:5\": nodeA has 4 cores elsewhere: say it once");
}

static void oversubscribed_cores_are_shared(void **state) {
    (void)state;
    config *c =
        loads(MODEL "cluster: {oversubscribe: true}\nprefill: {cores: 2}\ndecode: {count: 2, cores: 1}\n"
                    "colocated: {count: 1, cores: 8}\n",
              NULL, 0);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    assert_int_equal(config_ranks(c, 2, &ranks, &count, NULL), ST_OK);
    assert_rank(&ranks[1], "prefill", 0, "localhost", 0, 2);
    assert_rank(&ranks[2], "decode", 0, "localhost", 0, 1);
    assert_rank(&ranks[3], "decode", 1, "localhost", 1, 1);
    assert_rank(&ranks[4], "colocated", 0, "localhost", 0, 2);
    free(ranks);
    config_free(c);
}

/* ---- deploy/config ---- */

static char *slurp(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s: cannot be read", path);
    buf text = {0};
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;) buf_add(&text, block, n);
    fclose(f);
    return text.data;
}

static void local_yaml_is_the_defaults_with_a_name_and_a_model(void **state) {
    (void)state;
    config *c = loads_file(CONFIG_DIR "/local.yaml");
    config *d =
        loads("model: {path: models/SmolLM2-135M-Instruct.Q4_1.gguf}\ncluster: {name: local}\n", NULL, 0);
    char *text = config_text(c), *want = config_text(d);
    assert_string_equal(text, want);
    free(text);
    free(want);
    config_free(d);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    assert_int_equal(config_ranks(c, 2, &ranks, &count, NULL), ST_OK);
    assert_int_equal(count, 3);
    free(ranks);
    config_free(c);
}

static void the_files_for_gpus_fit_their_gpus(void **state) {
    (void)state;
    config *c = loads_file(CONFIG_DIR "/cuda.yaml");
    assert_string_equal(c->model.backend, "cuda");
    assert_int_equal(c->prefill.count + c->decode.count, 2);
    assert_int_equal(c->decode.kv_memory_mb, 0);
    config_free(c);
    c = loads_file(CONFIG_DIR "/cuda-one-gpu.yaml");
    assert_string_equal(c->model.backend, "cuda");
    assert_true(c->prefill.count * c->prefill.memory_fraction + c->decode.count * c->decode.memory_fraction <=
                1);
    config_free(c);
}

static void the_check_lists_ranks_and_slots(void **state) {
    (void)state;
    config *c = loads(MODEL "cluster:\n  hosts: [a:2, b:2]\n", NULL, 0);
    char *text = NULL;
    assert_int_equal(config_check_text(c, 2, &text, NULL), ST_OK);
    const char *map = strstr(text, "\nrank=0");
    assert_non_null(map);
    assert_string_equal(map, "\nrank=0 role=coordinator index=0 host=a cores=-\n"
                             "rank=1 role=prefill index=0 host=a cores=0-0\n"
                             "rank=2 role=decode index=0 host=a cores=1-1\n"
                             "slots host=a count=3\n");
    free(text);
    config_free(c);
}

static void colocated_yaml_has_two_chunked_workers(void **state) {
    (void)state;
    config *c = loads_file(CONFIG_DIR "/colocated.yaml");
    assert_int_equal(c->prefill.count + c->decode.count, 0);
    assert_int_equal(c->colocated.count, 2);
    assert_string_equal(c->colocated.policy, "chunked");
    assert_string_equal(c->cluster.http, "127.0.0.1:8000");
    config_rank *ranks = NULL;
    uint32_t count = 0;
    assert_int_equal(config_ranks(c, 2, &ranks, &count, NULL), ST_OK);
    assert_rank(&ranks[2], "colocated", 1, "localhost", 1, 1);
    free(ranks);
    config_free(c);
}

/* Each key has a line of its own, in its section, and from the key before it to that line's end "Default:
 * <text>." */
static void local_yaml_documents_every_key_with_its_default(void **state) {
    (void)state;
    char *text = slurp(CONFIG_DIR "/local.yaml");
    for (uint32_t i = 0; i < config_key_count; i++) {
        const config_key *k = &config_keys[i];
        char section[40], key[64], want[128];
        snprintf(section, sizeof section, "\n%s:\n", k->section);
        snprintf(key, sizeof key, "\n  %s:", k->name);
        bool quoted = k->type == KEY_STRING && !k->text[0];
        snprintf(want, sizeof want, "Default: %s.\n", quoted ? "\"\"" : k->text);
        const char *begin = strstr(text, section);
        if (!begin) fail_msg("no section %s", k->section);
        begin += strlen(section) - 1;
        const char *end = begin, *line = strstr(begin, key);
        while (end && (end[1] == ' ' || end[1] == '\n')) end = strchr(end + 1, '\n');
        if (!line || (end && line > end)) fail_msg("%s.%s is not documented", k->section, k->name);
        const char *comment = line;
        for (const char *up = line - 1; up >= begin; up--) {
            if (*up != '\n') continue;
            if (strncmp(up + 1, "  #", 3) != 0) break;
            comment = up;
        }
        char block[1024];
        snprintf(block, sizeof block, "%.*s", (int)MIN((size_t)(line + 1 - comment), sizeof block - 1),
                 comment);
        if (!strstr(block, want))
            fail_msg("%s.%s: its comment does not end with \"%.*s\"", k->section, k->name,
                     (int)strlen(want) - 1, want);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(left_out_keys_have_their_defaults),
        cmocka_unit_test(values_of_every_type_are_read),
        cmocka_unit_test(unknown_keys_are_refused_where_they_stand),
        cmocka_unit_test(values_of_the_wrong_type_are_refused),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(shares_are_above_0_and_at_most_1),
        cmocka_unit_test(what_is_no_yaml_is_refused_with_its_place),
        cmocka_unit_test(set_overrides_the_file),
        cmocka_unit_test(bad_sets_are_named),
        cmocka_unit_test(combinations_that_cannot_work_are_refused),
        cmocka_unit_test(types_that_a_backend_does_not_have_are_refused),
        cmocka_unit_test(only_cuda_can_take_what_the_device_has_left),
        cmocka_unit_test(colocated_workers_alone_are_a_route),
        cmocka_unit_test(the_text_of_a_config_loads_as_the_same),
        cmocka_unit_test(ranks_take_the_cores_of_this_machine_in_order),
        cmocka_unit_test(hosts_are_cycled_per_role),
        cmocka_unit_test(too_few_cores_are_refused_with_the_remedy),
        cmocka_unit_test(hosts_that_cannot_be_read_are_refused),
        cmocka_unit_test(oversubscribed_cores_are_shared),
        cmocka_unit_test(the_check_lists_ranks_and_slots),
        cmocka_unit_test(local_yaml_is_the_defaults_with_a_name_and_a_model),
        cmocka_unit_test(the_files_for_gpus_fit_their_gpus),
        cmocka_unit_test(colocated_yaml_has_two_chunked_workers),
        cmocka_unit_test(local_yaml_documents_every_key_with_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
