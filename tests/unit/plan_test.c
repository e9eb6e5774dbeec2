#include "tests/test.h"

#include "base/mem.h"
#include "kernels/backends.h"
#include "worker/plan.h"

#include <stdlib.h>
#include <string.h>

/* SmolLM2-135M's dimensions; its KV is 30 layers of 3 heads of 64. Weights have shapes and no data. */
static model smol = {.name = (char *)"smol",
                     .path = (char *)"smol.gguf",
                     .dim = 576,
                     .layers = 30,
                     .heads = 9,
                     .kv_heads = 3,
                     .head_dim = 64,
                     .ffn_dim = 1536,
                     .context = 8192,
                     .vocab = 49152,
                     .rope_dim = 64,
                     .tied = true,
                     .weights_hash = 0xabcd};

static config local(void) {
    config c = {.cluster = {.control = (char *)"tcp://127.0.0.1:8001"},
                .model = {.backend = (char *)"cpu",
                          .isa = (char *)"auto",
                          .act_dtype = (char *)"auto",
                          .kv_dtype = (char *)"auto"},
                .handoff = {.transport = (char *)"shm", .ring_slots = 8, .slot_kb = 1024}};
    config_role r = {.cores = 1,
                     .tp = 1,
                     .pp = 1,
                     .kv_memory_mb = 256,
                     .max_seqs = 32,
                     .token_budget = 256,
                     .chunk_tokens = 128};
    c.prefill = c.decode = c.colocated = r;
    return c;
}

static dtype same_as_activations(dtype act_type) {
    return act_type;
}

static uint64_t all_in_the_act_type(dtype act_type, const weight_parts *w) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < weight_form_parts(w->form); i++)
        count += (uint64_t)w->part[i].rows * w->part[i].cols;
    return count * dtype_block_bytes(act_type);
}

/* Only what a plan asks of a backend. */
static const backend_ops gpu_ops = {
    .name = "cuda", .kv_default = same_as_activations, .weight_bytes = all_in_the_act_type};

static plan_device gpu(uint64_t total_mib, uint64_t free_mib) {
    return (plan_device){.ops = &gpu_ops, .memory = {.total = total_mib << 20, .free = free_mib << 20}};
}

/* On the host: the backend that the config names. */
static status make(plan *p, const config *c, worker_role role, errbuf *eb) {
    plan_device host = {.ops = backend_find(c->model.backend), .memory = {.host = true}};
    return plan_make(p, c, role, &smol, &host, eb);
}

static void pages_come_from_the_memory_unless_they_are_given(void **state) {
    (void)state;
    config c = local();
    plan p;
    assert_int_equal(make(&p, &c, ROLE_DECODE, NULL), ST_OK);
    assert_int_equal(p.layout.type, DT_F16);
    assert_int_equal(kv_page_bytes(&p.layout), 368640);
    assert_int_equal(p.page_count, (256u << 20) / 368640);
    c.decode.kv_pages = 77;
    assert_int_equal(make(&p, &c, ROLE_DECODE, NULL), ST_OK);
    assert_int_equal(p.page_count, 77);
}

static void kv_dtype_auto_is_the_backends_and_may_be_overridden(void **state) {
    (void)state;
    config c = local();
    plan p;
    c.model.backend = (char *)"ref";
    assert_int_equal(make(&p, &c, ROLE_PREFILL, NULL), ST_OK);
    assert_int_equal(p.layout.type, DT_F32);
    c.model.kv_dtype = (char *)"f16";
    assert_int_equal(make(&p, &c, ROLE_PREFILL, NULL), ST_OK);
    assert_int_equal(p.layout.type, DT_F16);
}

static void the_context_is_the_smaller_of_config_and_model(void **state) {
    (void)state;
    config c = local();
    plan p;
    assert_int_equal(make(&p, &c, ROLE_PREFILL, NULL), ST_OK);
    assert_int_equal(p.max_context, 8192);
    c.model.max_context = 1024;
    assert_int_equal(make(&p, &c, ROLE_PREFILL, NULL), ST_OK);
    assert_int_equal(p.max_context, 1024);
    c.model.max_context = 100000;
    assert_int_equal(make(&p, &c, ROLE_PREFILL, NULL), ST_OK);
    assert_int_equal(p.max_context, 8192);
}

static void a_decode_step_has_no_more_rows_than_sequences(void **state) {
    (void)state;
    config c = local();
    plan p;
    assert_int_equal(make(&p, &c, ROLE_DECODE, NULL), ST_OK);
    assert_int_equal(p.max_rows, 32);
    assert_int_equal(make(&p, &c, ROLE_COLOCATED, NULL), ST_OK);
    assert_int_equal(p.max_rows, 256);
}

static void refuse(config c, worker_role role, const char *text) {
    plan p;
    errbuf eb = {0};
    assert_int_equal(make(&p, &c, role, &eb), ST_INVALID);
    assert_string_equal(eb.text, text);
}

static void sizes_that_cannot_work_are_refused_by_their_key(void **state) {
    (void)state;
    config c = local();
    c.prefill.kv_memory_mb = 0;
    refuse(c, ROLE_PREFILL,
           "prefill.kv_memory_mb is 0, but one page of this model's KV has 368640 bytes: raise it");
    c = local();
    c.prefill.token_budget = 15;
    refuse(c, ROLE_PREFILL, "prefill.token_budget is 15: want at least 16");
    c.colocated.token_budget = 16;
    refuse(c, ROLE_COLOCATED, "colocated.token_budget is 16: want at least 17");
    c = local();
    c.prefill.chunk_tokens = 24;
    refuse(c, ROLE_PREFILL, "prefill.chunk_tokens is 24: want a multiple of 16");
    c = local();
    c.model.kv_dtype = (char *)"q8_0";
    refuse(c, ROLE_PREFILL, "model.kv_dtype 'q8_0': want auto, f16, bf16 or f32");
}

/* ---- a device with memory of its own ---- */

static config on_gpu(void) {
    config c = local();
    c.model.backend = (char *)"cuda";
    c.prefill.kv_memory_mb = c.decode.kv_memory_mb = 0;
    c.prefill.memory_fraction = c.decode.memory_fraction = 0.5;
    return c;
}

static void the_pool_takes_what_the_share_of_the_gpu_leaves(void **state) {
    (void)state;
    config c = on_gpu();
    c.decode.max_seqs = 256;
    c.decode.token_budget = 256;
    plan p;
    plan_device dev = gpu(8192, 8000);
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_true(p.own_memory);
    assert_int_equal(p.act_type, DT_BF16);
    assert_int_equal(p.layout.type, DT_BF16);
    assert_int_equal(p.memory.budget, 4096ull << 20);
    assert_int_equal(p.memory.weights, 2 * 134515008);
    /* per row: 576 f32; 2 x 576 + 576 + 2 x 192 + 576 + 3 x 1536 bf16. Of the head: 64 rows of 576 bf16 and
     * 49152 f32
     */
    assert_int_equal(p.memory.activations, 256 * (576 * 4 + 7296 * 2) + 64 * (576 * 2 + 49152 * 4));
    assert_int_equal(p.memory.tables, 8192 * 64 * 4 + 64 * 49152 * 4);
    assert_int_equal(p.memory.reserve, 384u << 20);
    uint64_t left =
        p.memory.budget - p.memory.weights - p.memory.activations - p.memory.tables - p.memory.reserve;
    assert_int_equal(p.page_count, left / 368640 - 1); /* and the spare page */
    assert_int_equal(p.memory.kv, (p.page_count + 1) * 368640ull);
}

/* Of one pair more than there are: it may be on its way out. */
static void pairs_over_nccl_have_the_librarys_buffers_in_the_reserve(void **state) {
    (void)state;
    config c = on_gpu();
    plan p;
    plan_device dev = gpu(8192, 8192);
    const uint64_t mib = 1u << 20, pair = 32 * mib;
    c.prefill.count = 2;
    c.decode.count = 3;
    c.handoff.ring_slots = 8;
    c.handoff.slot_kb = 1024;
    c.handoff.nccl_ctas = 4;
    c.handoff.transport = (char *)"nccl";
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib + 4 * (pair + 4 * 20 * mib));
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib + 3 * (pair + 4 * 20 * mib));
    c.handoff.nccl_ctas = 0;
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib + 4 * (pair + 8 * 20 * mib));
    c.handoff.transport = (char *)"auto"; /* on this machine */
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib);
    const char *const own[] = {"tcp://localhost:1", "tcp://[::1]:1", "tcp://127.0.1.1:1"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        c.cluster.control = (char *)own[i];
        assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
        assert_int_equal(p.memory.reserve, 384 * mib);
    }
    c.cluster.control = (char *)"tcp://10.0.0.1:8001"; /* workers of other hosts may come */
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib + 4 * (pair + 8 * 20 * mib));
    c.cluster.control = (char *)own[0];
    c.cluster.hosts_count = 2;
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib + 4 * (pair + 8 * 20 * mib));
    c.handoff.transport = (char *)"zmq";
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.memory.reserve, 384 * mib);
}

static void f32_weighs_twice_as_much(void **state) {
    (void)state;
    config c = on_gpu();
    plan p, q;
    plan_device dev = gpu(8192, 8192);
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    c.model.act_dtype = (char *)"f32";
    assert_int_equal(plan_make(&q, &c, ROLE_PREFILL, &smol, &dev, NULL), ST_OK);
    assert_int_equal(q.layout.type, DT_F32);
    assert_int_equal(q.memory.weights, 2 * p.memory.weights);
    assert_true(q.page_count < p.page_count / 2);
}

static void what_others_took_of_the_gpu_is_not_there(void **state) {
    (void)state;
    config c = on_gpu();
    c.decode.max_seqs = c.decode.token_budget = 1024;
    plan all, rest;
    plan_device empty = gpu(8192, 8192), half = gpu(8192, 2048);
    assert_int_equal(plan_make(&all, &c, ROLE_DECODE, &smol, &empty, NULL), ST_OK);
    assert_int_equal(plan_make(&rest, &c, ROLE_DECODE, &smol, &half, NULL), ST_OK);
    assert_int_equal(rest.memory.budget, 2048ull << 20);
    assert_true(rest.page_count < all.page_count);
}

static void the_pool_is_no_larger_than_all_requests_together(void **state) {
    (void)state;
    config c = on_gpu();
    c.model.max_context = 1600;
    plan p;
    plan_device dev = gpu(81920, 81920);
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.page_count, 32 * 101);
}

static void a_gpu_without_room_is_refused_with_the_numbers(void **state) {
    (void)state;
    config c = on_gpu();
    plan p;
    errbuf eb = {0};
    plan_device dev = gpu(1024, 1000);
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, &dev, &eb), ST_NOMEM);
    assert_string_equal(
        eb.text,
        "prefill: no GPU memory for KV: 0.50 of 1.00 GiB = 0.50 (0.98 free) for weights 0.25, "
        "activations 0.02, tables 0.01, rings 0.00, reserve 0.38: raise prefill.memory_fraction, lower "
        "token_budget, max_seqs or handoff.ring_slots, or take a smaller model");
}

static uint64_t rings_of(const char *transport, const char *control, worker_role role,
                         const plan_device *dev) {
    config c = on_gpu();
    c.cluster.control = (char *)control;
    c.prefill.count = 3;
    c.decode.count = 2;
    c.colocated.memory_fraction = 0.5;
    c.prefill.kv_pages = c.decode.kv_pages = 10;
    c.handoff.transport = (char *)transport;
    c.handoff.ring_slots = 5;
    c.handoff.slot_kb = 1024;
    plan p;
    assert_int_equal(plan_make(&p, &c, role, &smol, dev, NULL), ST_OK);
    return p.memory.rings >> 20;
}

static void rings_between_gpus_are_one_per_worker_of_the_other_role(void **state) {
    (void)state;
    plan_device dev = gpu(8192, 8000), host = {.ops = &gpu_ops, .memory = {.host = true}};
    const char *here = "tcp://127.0.0.1:8001", *lan = "tcp://10.0.0.1:8001";
    assert_int_equal(rings_of("auto", here, ROLE_DECODE, &dev), 3 * 6); /* of 2 MiB each */
    assert_int_equal(rings_of("auto", here, ROLE_PREFILL, &dev), 0);    /* it maps the receiver's */
    assert_int_equal(rings_of("auto", lan, ROLE_DECODE, &dev), (3 + 1) * 6);
    assert_int_equal(rings_of("auto", lan, ROLE_PREFILL, &dev), (2 + 1) * 6);
    assert_int_equal(rings_of("nccl", here, ROLE_DECODE, &dev), (3 + 1) * 6);
    assert_int_equal(rings_of("nccl", here, ROLE_PREFILL, &dev), (2 + 1) * 6);
    assert_int_equal(rings_of("ipc", lan, ROLE_DECODE, &dev), 3 * 6);
    assert_int_equal(rings_of("ipc", lan, ROLE_PREFILL, &dev), 0);
    assert_int_equal(rings_of("auto", lan, ROLE_COLOCATED, &dev), 0);
    assert_int_equal(rings_of("shm", lan, ROLE_DECODE, &dev), 0);
    assert_int_equal(rings_of("zmq", lan, ROLE_DECODE, &dev), 0);
    assert_int_equal(rings_of("auto", lan, ROLE_DECODE, &host), 0);
}

static void rings_are_not_the_pools(void **state) {
    (void)state;
    config c = on_gpu();
    c.decode.max_seqs = c.decode.token_budget = 1024;
    c.prefill.count = 4;
    plan without, with;
    plan_device dev = gpu(8192, 2048);
    assert_int_equal(plan_make(&without, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    c.handoff.transport = (char *)"ipc";
    assert_int_equal(plan_make(&with, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_int_equal(with.memory.rings, 4 * (8ull << 20));
    uint64_t less = without.memory.kv - with.memory.kv;
    assert_true(less + 368640 > with.memory.rings && less < with.memory.rings + 368640);
}

static void sizes_that_are_given_are_taken(void **state) {
    (void)state;
    config c = on_gpu();
    plan p;
    plan_device dev = gpu(1024, 1000);
    c.decode.kv_memory_mb = 256;
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.page_count, (256u << 20) / 368640);
    c.decode.kv_pages = 5;
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_int_equal(p.page_count, 5);
    assert_int_equal(p.memory.kv, (5 + 1) * 368640);
}

static void a_gpu_is_deterministic_when_told_and_a_host_always(void **state) {
    (void)state;
    config c = on_gpu();
    plan p;
    ctl_numeric n[PLAN_NUMERICS];
    plan_device dev = gpu(8192, 8192);
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_false(p.deterministic);
    plan_numerics(&p, &smol, "cuda/sm_90/bf16", n);
    assert_string_equal(n[3].name, "deterministic");
    assert_string_equal(n[3].value, "false");
    plan_numerics_done(n);
    c.model.deterministic = true;
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, &dev, NULL), ST_OK);
    assert_true(p.deterministic);
    c = local();
    assert_int_equal(make(&p, &c, ROLE_DECODE, NULL), ST_OK);
    assert_true(p.deterministic);
    assert_false(p.own_memory);
}

static void the_numerics_id_names_what_must_be_alike(void **state) {
    (void)state;
    config c = local();
    plan p;
    ctl_numeric n[PLAN_NUMERICS];
    assert_int_equal(make(&p, &c, ROLE_DECODE, NULL), ST_OK);
    plan_numerics(&p, &smol, "cpu/avx2", n);
    /* In this order: a refusal names the first that differs, which must be the cause (the backend, not its
     * path). */
    const char *want[][2] = {{"kernels", BATON_VERSION},  {"weights", "000000000000abcd"},
                             {"backend", "cpu"},          {"deterministic", "true"},
                             {"kv_dtype", "f16"},         {"path", "cpu/avx2"},
                             {"kv_layout", "16x30x3x64"}, {"tp", "1"}};
    assert_int_equal(ARRAY_LEN(want), PLAN_NUMERICS);
    for (uint32_t i = 0; i < PLAN_NUMERICS; i++) {
        assert_string_equal(n[i].name, want[i][0]);
        assert_string_equal(n[i].value, want[i][1]);
    }
    plan_numerics_done(n);
}

static int shape(void **state) {
    (void)state;
    smol.arch = arch_find((checkpoint_text){"llama", 5});
    model_shape(&smol);
    return 0;
}

static int unshape(void **state) {
    (void)state;
    free(smol.layer);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_from_the_memory_unless_they_are_given),
        cmocka_unit_test(kv_dtype_auto_is_the_backends_and_may_be_overridden),
        cmocka_unit_test(the_context_is_the_smaller_of_config_and_model),
        cmocka_unit_test(a_decode_step_has_no_more_rows_than_sequences),
        cmocka_unit_test(sizes_that_cannot_work_are_refused_by_their_key),
        cmocka_unit_test(the_pool_takes_what_the_share_of_the_gpu_leaves),
        cmocka_unit_test(pairs_over_nccl_have_the_librarys_buffers_in_the_reserve),
        cmocka_unit_test(f32_weighs_twice_as_much),
        cmocka_unit_test(what_others_took_of_the_gpu_is_not_there),
        cmocka_unit_test(the_pool_is_no_larger_than_all_requests_together),
        cmocka_unit_test(a_gpu_without_room_is_refused_with_the_numbers),
        cmocka_unit_test(rings_between_gpus_are_one_per_worker_of_the_other_role),
        cmocka_unit_test(rings_are_not_the_pools),
        cmocka_unit_test(sizes_that_are_given_are_taken),
        cmocka_unit_test(a_gpu_is_deterministic_when_told_and_a_host_always),
        cmocka_unit_test(the_numerics_id_names_what_must_be_alike),
    };
    return cmocka_run_group_tests(tests, shape, unshape);
}
