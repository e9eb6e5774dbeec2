#include "tests/test.h"

#include "base/mem.h"
#include "worker/plan.h"

#include <string.h>

/* SmolLM2-135M's KV: 30 layers of 3 heads of 64. */
static const model smol = {.name = (char *)"smol",
                           .path = (char *)"smol.gguf",
                           .dim = 576,
                           .layers = 30,
                           .heads = 9,
                           .kv_heads = 3,
                           .head_dim = 64,
                           .ffn_dim = 1536,
                           .context = 8192,
                           .weights_hash = 0xabcd};

static config local(void) {
    config c = {.model = {.backend = (char *)"cpu", .isa = (char *)"auto", .kv_dtype = (char *)"auto"}};
    config_role r = {
        .cores = 1, .tp = 1, .pp = 1, .kv_memory_mb = 256, .max_seqs = 32, .token_budget = 256, .chunk_tokens = 128};
    c.prefill = c.decode = c.colocated = r;
    return c;
}

static void pages_come_from_the_memory_unless_they_are_given(void **state) {
    (void)state;
    config c = local();
    plan p;
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, NULL), ST_OK);
    assert_int_equal(p.layout.type, DT_F16);
    assert_int_equal(kv_page_bytes(&p.layout), 368640);
    assert_int_equal(p.page_count, (256u << 20) / 368640);
    c.decode.kv_pages = 77;
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, NULL), ST_OK);
    assert_int_equal(p.page_count, 77);
}

static void kv_dtype_auto_is_the_backends_and_may_be_overridden(void **state) {
    (void)state;
    config c = local();
    plan p;
    c.model.backend = (char *)"ref";
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, NULL), ST_OK);
    assert_int_equal(p.layout.type, DT_F32);
    c.model.kv_dtype = (char *)"f16";
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, NULL), ST_OK);
    assert_int_equal(p.layout.type, DT_F16);
}

static void the_context_is_the_smaller_of_config_and_model(void **state) {
    (void)state;
    config c = local();
    plan p;
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, NULL), ST_OK);
    assert_int_equal(p.max_context, 8192);
    c.model.max_context = 1024;
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, NULL), ST_OK);
    assert_int_equal(p.max_context, 1024);
    c.model.max_context = 100000;
    assert_int_equal(plan_make(&p, &c, ROLE_PREFILL, &smol, NULL), ST_OK);
    assert_int_equal(p.max_context, 8192);
}

static void a_decode_step_has_no_more_rows_than_sequences(void **state) {
    (void)state;
    config c = local();
    plan p;
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, NULL), ST_OK);
    assert_int_equal(p.max_rows, 32);
    assert_int_equal(plan_make(&p, &c, ROLE_COLOCATED, &smol, NULL), ST_OK);
    assert_int_equal(p.max_rows, 256);
}

static void refuse(config c, worker_role role, const char *text) {
    plan p;
    errbuf eb = {0};
    assert_int_equal(plan_make(&p, &c, role, &smol, &eb), ST_INVALID);
    assert_string_equal(eb.text, text);
}

static void sizes_that_cannot_work_are_refused_by_their_key(void **state) {
    (void)state;
    config c = local();
    c.prefill.kv_memory_mb = 0;
    refuse(c, ROLE_PREFILL, "prefill.kv_memory_mb is 0, but one page of this model's KV has 368640 bytes: raise it");
    c = local();
    c.prefill.token_budget = 15;
    refuse(c, ROLE_PREFILL, "prefill.token_budget is 15: want at least 16");
    c.colocated.token_budget = 16;
    refuse(c, ROLE_COLOCATED, "colocated.token_budget is 16: want at least 17");
    c = local();
    c.prefill.chunk_tokens = 24;
    refuse(c, ROLE_PREFILL, "prefill.chunk_tokens is 24: want a multiple of 16");
    c = local();
    c.model.backend = (char *)"abacus";
    refuse(c, ROLE_PREFILL, "model.backend 'abacus': this program has cpu, ref");
}

static void the_numerics_id_names_what_must_be_alike(void **state) {
    (void)state;
    config c = local();
    plan p;
    ctl_numeric n[PLAN_NUMERICS];
    assert_int_equal(plan_make(&p, &c, ROLE_DECODE, &smol, NULL), ST_OK);
    plan_numerics(&p, &smol, "cpu/avx2", n);
    const char *want[][2] = {{"weights", "000000000000abcd"},
                             {"kv_dtype", "f16"},
                             {"kv_layout", "16x30x3x64"},
                             {"backend", "cpu"},
                             {"isa", "cpu/avx2"},
                             {"tp", "1"},
                             {"kernels", BATON_VERSION},
                             {"deterministic", "true"}};
    assert_int_equal(ARRAY_LEN(want), PLAN_NUMERICS);
    for (uint32_t i = 0; i < PLAN_NUMERICS; i++) {
        assert_string_equal(n[i].name, want[i][0]);
        assert_string_equal(n[i].value, want[i][1]);
    }
    plan_numerics_done(n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_from_the_memory_unless_they_are_given),
        cmocka_unit_test(kv_dtype_auto_is_the_backends_and_may_be_overridden),
        cmocka_unit_test(the_context_is_the_smaller_of_config_and_model),
        cmocka_unit_test(a_decode_step_has_no_more_rows_than_sequences),
        cmocka_unit_test(sizes_that_cannot_work_are_refused_by_their_key),
        cmocka_unit_test(the_numerics_id_names_what_must_be_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
