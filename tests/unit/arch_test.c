/* What an architecture is described with: other layers than Llama's from checkpoint to logits, and sizes that
 * are exactly what is taken. */
#include "arch_scene.h"

#include "engine/engine.h"
#include "engine/forward.h"
#include "engine/weights.h"
#include "kernels/backends.h"

#include <string.h>

static engine_options options_of(const char *backend) {
    return (engine_options){.backend = backend,
                            .device = {.threads = 2, .isa = "auto"},
                            .kv_type = DT_F32,
                            .page_count = 4,
                            .max_rows = TOKENS,
                            .max_seqs = 1,
                            .max_context = CONTEXT};
}

/* Rows [0, chunk) in one step, then [chunk, TOKENS). */
static void engine_logits_of(const model *m, const char *backend, const int32_t *ids, uint32_t chunk,
                             float *logits) {
    const engine_options opt = options_of(backend);
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    const sampling p = sampling_default();
    const uint32_t pages[] = {2, 0};
    const seq_start init = {
        .prompt = ids, .prompt_count = TOKENS, .params = &p, .pages = pages, .page_count = 2};
    assert_int_equal(engine_seq_open(e, 0, &init, NULL), ST_OK);
    const step_item first = {.count = chunk}, rest = {.begin = chunk, .count = TOKENS - chunk};
    assert_int_equal(engine_logits(e, &first, logits, NULL), ST_OK);
    assert_int_equal(engine_logits(e, &rest, logits + chunk * VOCAB, NULL), ST_OK);
    engine_free(e);
}

static void check_logits(const model *m, const char *backend) {
    int32_t ids[TOKENS];
    static double want[TOKENS * VOCAB];
    static float got[TOKENS * VOCAB];
    for (int32_t i = 0; i < TOKENS; i++) ids[i] = (i * 11 + 5) % VOCAB;
    naive_logits(m, ids, want);
    engine_logits_of(m, backend, ids, 13, got);
    double error = 0, sum = 0;
    for (uint32_t i = 0; i < TOKENS * VOCAB; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        sum += want[i] * want[i];
    }
    if (!(error < 1e-10 * sum)) print_error("%s on %s: nmse %g\n", m->arch->name, backend, error / sum);
    assert_true(error < 1e-10 * sum);
}

static void a_gpt_computes_what_its_formulas_say(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&gpt);
    assert_int_equal(model_features(s.m), FEATURE_LAYER_NORM | FEATURE_BIAS | FEATURE_NO_ROPE | FEATURE_ACT |
                                              FEATURE_UNGATED | FEATURE_POSITIONS);
    check_logits(s.m, "ref");
    check_logits(s.m, "cpu");
    arch_scene_close(&s);
}

static void norms_of_heads_halves_and_windows_are_computed(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&near);
    assert_int_equal(model_features(s.m),
                     FEATURE_BIAS | FEATURE_ROPE_HALVES | FEATURE_ACT | FEATURE_WINDOW | FEATURE_QK_NORM);
    check_logits(s.m, "ref");
    check_logits(s.m, "cpu");
    arch_scene_close(&s);
}

static void a_bias_that_is_missing_or_too_much_is_named(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&gpt);
    arch without = gpt;
    without.layer[LAYER_DOWN].bias = false;
    model *m = NULL;
    errbuf eb = {0};
    assert_int_equal(model_load_as(&m, &without, s.ckpt, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "tensor 'blk.0.ffn_down.bias' has no place in the architecture 'gpt'"));
    arch with = gpt;
    with.output.bias = true;
    assert_int_equal(model_load_as(&m, &with, s.ckpt, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "tensor 'output.bias' is missing"));
    assert_null(m);
    arch_scene_close(&s);
}

static status near_gelu_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    status st = near_dims(m, ckpt, eb);
    m->act = ACT_GELU;
    return st;
}

static status near_wide_dims(model *m, const checkpoint *ckpt, errbuf *eb) {
    status st = near_dims(m, ckpt, eb);
    m->window[1]++;
    return st;
}

static uint64_t hash_of(const arch *a, const checkpoint *ckpt) {
    model *m = NULL;
    assert_int_equal(model_load_as(&m, a, ckpt, NULL), ST_OK);
    uint64_t hash = m->weights_hash;
    model_free(m);
    return hash;
}

static void kinds_tell_models_apart(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&near);
    arch gelu = near, wide = near;
    gelu.dims = near_gelu_dims;
    wide.dims = near_wide_dims;
    assert_true(hash_of(&near, s.ckpt) == s.m->weights_hash);
    assert_true(hash_of(&gelu, s.ckpt) != s.m->weights_hash);
    assert_true(hash_of(&wide, s.ckpt) != s.m->weights_hash);
    arch_scene_close(&s);
}

/* --- descriptions that contradict themselves --- */

static void a_description_is_checked(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&near);
    assert_true(model_check(&near, s.m));
    arch a = near;
    a.steps[1].from = BUFFER_GATED; /* nobody wrote it yet */
    assert_false(model_check(&a, s.m));
    a = near;
    a.steps[3].weight = LAYER_DOWN; /* other columns */
    assert_false(model_check(&a, s.m));
    a = near;
    a.layer[LAYER_FFN_NORM].part[0].name = NULL;
    assert_false(model_check(&a, s.m));
    a = near;
    a.step_count = 6; /* ends before anything is added */
    assert_false(model_check(&a, s.m));
    arch_scene_close(&s);
}

/* --- sizes --- */

static size_t taken; /* bytes, by the backend under test */

static void *counting_alloc(device *d, size_t bytes) {
    taken += bytes;
    return backend_find("ref")->mem_alloc(d, bytes);
}

static void activations_are_exactly_what_is_taken(void **state) {
    (void)state;
    const arch *const archs[] = {&gpt, &near};
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        arch_scene s = arch_scene_open(archs[i]);
        backend_ops ops = *backend_find("ref");
        ops.mem_alloc = counting_alloc;
        device *d = NULL;
        assert_int_equal(ops.open(&d, &(device_options){.threads = 1}, NULL), ST_OK);
        weights w;
        assert_int_equal(weights_load(&w, s.m, &ops, d, NULL), ST_OK);
        forward f;
        taken = 0;
        forward_init(&f, s.m, &w, &ops, d, 100);
        assert_int_equal(forward_alloc(&f, NULL), ST_OK);
        assert_int_equal(taken, activations_of(s.m, sizeof(float), 100).bytes);
        uint64_t q = HEADS * HEAD, kv = s.m->kv_heads * HEAD, up = i ? 2 * FFN : FFN;
        uint64_t row = DIM + DIM + DIM + (q + 2 * kv) + q + up + FFN, head = HEAD_ROWS_MAX * (DIM + VOCAB);
        assert_int_equal(taken, 4 * (100 * row + head)); /* every part is a multiple of 64 bytes */
        forward_done(&f);
        weights_done(&w);
        ops.close(d);
        arch_scene_close(&s);
    }
}

static void weights_are_counted_with_their_biases(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&gpt);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < checkpoint_tensor_count(s.ckpt); i++)
        bytes += checkpoint_tensor_at(s.ckpt, i)->bytes;
    assert_int_equal(weights_bytes(s.m, backend_find("ref"), DT_F32), bytes);
    assert_int_equal(s.m->weight_count * sizeof(float), bytes);
    arch_scene_close(&s);
}

/* --- kinds --- */

static void features_are_named_from_the_lowest(void **state) {
    (void)state;
    assert_null(feature_name(0));
    assert_string_equal(feature_name(FEATURE_WINDOW), "attention window");
    assert_string_equal(feature_name(FEATURE_QK_NORM | FEATURE_BIAS), "bias");
    for (uint32_t bit = 1; bit < FEATURE_ALL; bit *= 2) assert_non_null(feature_name(bit));
    assert_null(feature_name(~FEATURE_ALL));
}

static void forms_have_one_two_or_three_parts(void **state) {
    (void)state;
    assert_int_equal(weight_form_parts(WEIGHT_PLAIN), 1);
    assert_int_equal(weight_form_parts(WEIGHT_GATE_UP), 2);
    assert_int_equal(weight_form_parts(WEIGHT_QKV), WEIGHT_PARTS_MAX);
    assert_false(weight_is_there(&(weight_parts){0}));
    assert_true(weight_is_there(&(weight_parts){.part = {{.rows = 1, .cols = 1}}}));
}

static void a_context_beyond_learned_positions_is_refused(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&gpt);
    engine_options opt = options_of("ref");
    opt.max_context = CONTEXT + 1;
    engine *e = NULL;
    errbuf eb = {0};
    assert_int_equal(engine_new(&e, s.m, &opt, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "learned positions for 48 tokens only"));
    arch_scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_are_named_from_the_lowest),
        cmocka_unit_test(forms_have_one_two_or_three_parts),
        cmocka_unit_test(a_gpt_computes_what_its_formulas_say),
        cmocka_unit_test(norms_of_heads_halves_and_windows_are_computed),
        cmocka_unit_test(a_bias_that_is_missing_or_too_much_is_named),
        cmocka_unit_test(kinds_tell_models_apart),
        cmocka_unit_test(a_context_beyond_learned_positions_is_refused),
        cmocka_unit_test(a_description_is_checked),
        cmocka_unit_test(activations_are_exactly_what_is_taken),
        cmocka_unit_test(weights_are_counted_with_their_biases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
