/* engine_life_test - sequences that open, grow, break and close; engines that cannot be; hooks. */
#include "tests/unit/engine_scene.h"

/* --- sequences --- */

static void broken_logits_end_one_sequence_and_leave_its_neighbour(void **state) {
    fixture *f = *state;
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    const sampling good = greedy();
    sampling bad = good;
    const sampling_bias beyond[] = {{7, 3e38f}, {7, 3e38f}}; /* together they are infinite */
    bad.bias = beyond;
    bad.bias_count = 2;
    open_at(e, 0, f->prompt, 20, &bad, 0, 2, 2);
    open_at(e, 1, f->prompt, 20, &good, 2, 2, 2);
    const step_item items[] = {{.slot = 0, .count = 20, .sample = true, .tag = 5},
                               {.slot = 1, .count = 20, .sample = true, .tag = 6}};
    step_result r[2];
    assert_int_equal(engine_step(e, items, 2, NULL, r, NULL), ST_OK);
    assert_true(r[0].broken && !r[0].sampled);
    assert_non_null(strstr(r[0].why, "position 20"));
    assert_non_null(strstr(r[0].why, "banned"));
    assert_int_equal(r[0].tag, 5);
    assert_true(r[1].sampled && !r[1].broken);
    engine_seq_close(e, 0);
    open_at(e, 0, f->prompt, 20, &good, 0, 2, 2);
    assert_int_equal(step_one(e, 0, 0, 20, true).token.id, r[1].token.id);
    engine_free(e);
}

static void pages_can_be_added_with_a_step(void **state) {
    fixture *f = *state;
    const sampling p = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 0, f->prompt, 40, &p, 0, 1, 3);
    open_at(e, 1, f->prompt, 40, &p, 100, 1, 0);
    token_out want = prefill(e, 0, 40, 40);
    step_item it = {.slot = 1, .count = 32, .new_page_count = 2, .new_pages = {77, 8}};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    it = (step_item){
        .slot = 1, .begin = 32, .count = 8, .sample = true, .new_page_count = 1, .new_pages = {55}};
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    assert_memory_equal(&want, &r.token, sizeof want);
    engine_free(e);
}

static void a_closed_slot_opens_again_without_a_trace(void **state) {
    fixture *f = *state;
    const int32_t stop = 9;
    const sampling_bias bias = {5, 50};
    sampling biased = greedy();
    biased.stop_ids = &stop;
    biased.stop_id_count = 1;
    biased.bias = &bias;
    biased.bias_count = 1;
    const sampling plain = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 3, f->prompt, 30, &plain, 0, 1, 2);
    token_out want = prefill(e, 3, 30, 30);
    engine_seq_close(e, 3);
    open_at(e, 3, f->prompt + 9, 30, &biased, 0, 1, 2);
    assert_int_equal(prefill(e, 3, 30, 30).id, 5);
    engine_seq_close(e, 3);
    open_at(e, 3, f->prompt, 30, &plain, 0, 1, 2);
    token_out got = prefill(e, 3, 30, 30);
    assert_memory_equal(&want, &got, sizeof got);
    engine_free(e);
}

static void the_context_can_be_filled_to_the_last_token(void **state) {
    fixture *f = *state;
    engine_options opt = options_of("cpu", 1, DT_F16);
    opt.max_context = 33;
    engine *e;
    assert_int_equal(engine_new(&e, f->m, &opt, NULL), ST_OK);
    const sampling p = greedy();
    open_at(e, 0, f->prompt, 31, &p, 0, 1, 3);
    prefill(e, 0, 31, 31);
    step_one(e, 0, 31, 1, true);
    step_one(e, 0, 32, 1, true); /* computes the last position, and chooses what would follow it */
    engine_free(e);
}

static void nothing_out_of_range_is_opened(void **state) {
    fixture *f = *state;
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    const sampling good = greedy();
    const int32_t negative = -1, beyond = (int32_t)f->m->vocab;
    const uint32_t page = 0, bad_page = PAGES;
    const sampling_bias bad_bias = {(int32_t)f->m->vocab, 1}, nan_bias = {1, NAN};
    sampling bad[6];
    for (int i = 0; i < 6; i++) bad[i] = good;
    bad[0].temperature = NAN;
    bad[1].repetition_penalty = 0;
    bad[2].bias = &bad_bias;
    bad[2].bias_count = 1;
    bad[3].bias = &nan_bias;
    bad[3].bias_count = 1;
    bad[4].top_p = 0;
    bad[5].min_p = 2;
    const seq_start ok = {
        .prompt = f->prompt, .prompt_count = 3, .params = &good, .pages = &page, .page_count = 1};
    seq_start init[12];
    for (int i = 0; i < 12; i++) init[i] = ok;
    init[0].prompt_count = 0;
    init[1].prompt = &negative;
    init[1].prompt_count = 1;
    init[2].prompt = &beyond;
    init[2].prompt_count = 1;
    init[3].output = &beyond;
    init[3].output_count = 1;
    init[4].pages = &bad_page;
    init[5].output = f->prompt;
    init[5].prompt_count = PROMPT;
    init[5].output_count = PROMPT; /* 600 > 512 */
    for (int i = 0; i < 6; i++) init[6 + i].params = &bad[i];
    for (int i = 0; i < 12; i++) {
        errbuf eb = {0};
        assert_int_equal(engine_seq_open(e, 0, &init[i], &eb), ST_INVALID);
        assert_true(strncmp(eb.text, "sequence: ", 10) == 0);
    }
    assert_int_equal(engine_seq_open(e, 0, &ok, NULL), ST_OK); /* and the slot is still free */
    const step_item it = {.count = 3, .new_page_count = 1, .new_pages = {PAGES}};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_INVALID);
    engine_free(e);
}

static void an_engine_that_cannot_be_is_refused_with_the_reason(void **state) {
    fixture *f = *state;
    engine *e = NULL;
    errbuf eb = {0};
    engine_options opt = options_of("abacus", 1, DT_F16);
    assert_int_equal(engine_new(&e, f->m, &opt, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "abacus"));
    assert_non_null(strstr(eb.text, "cpu"));
    opt = options_of("cpu", 1, DT_Q8_0);
    assert_int_equal(engine_new(&e, f->m, &opt, NULL), ST_INVALID);
    opt = options_of("cpu", 1, DT_BF16); /* a KV type, but not one of this backend */
    assert_int_equal(engine_new(&e, f->m, &opt, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "bf16"));
    opt = options_of("cpu", 1, DT_F16);
    opt.max_rows = 0;
    assert_int_equal(engine_new(&e, f->m, &opt, NULL), ST_INVALID);
    opt = options_of("cpu", 1, DT_F16);
    opt.device.isa = "mmx";
    assert_int_not_equal(engine_new(&e, f->m, &opt, NULL), ST_OK);
    assert_null(e);
}

/* --- hooks --- */

typedef struct witness {
    engine *e;
    uint32_t begins, ends;
    uint32_t written; /* layers whose KV was there at layer_end and not yet at layer_begin */
} witness;

static bool row_written(engine *e, uint32_t layer) {
    engine_kv kv = engine_kv_of(e);
    const uint8_t *tile = (const uint8_t *)kv.base + kv_tile_offset(&kv.layout, 0, layer, 0, 0);
    for (size_t i = 0; i < kv.layout.head_dim * kv_elem_bytes(&kv.layout); i++)
        if (tile[i]) return true;
    return false;
}

static void on_begin(void *ctx, uint32_t layer, const step_item *items, uint32_t count) {
    witness *w = ctx;
    assert_int_equal(layer, w->begins++);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].tag, 31);
    assert_false(row_written(w->e, layer));
}

static void on_end(void *ctx, uint64_t step, uint32_t layer, const step_item *items, uint32_t count) {
    witness *w = ctx;
    assert_int_equal(step, 0); /* the host writes at once */
    assert_int_equal(layer, w->ends++);
    assert_int_equal(w->begins, w->ends);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].tag, 31);
    w->written += row_written(w->e, layer);
}

static void hooks_see_each_layer_before_and_after_its_kv_is_written(void **state) {
    fixture *f = *state;
    const sampling p = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 0, f->prompt, 16, &p, 0, 1, 1);
    witness w = {.e = e};
    const engine_hook hook = {.ctx = &w, .layer_begin = on_begin, .layer_end = on_end};
    const step_item it = {.count = 16, .tag = 31};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, &hook, &r, NULL), ST_OK);
    assert_int_equal(w.begins, f->m->layers);
    assert_int_equal(w.ends, f->m->layers);
    assert_int_equal(w.written, f->m->layers);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_logits_end_one_sequence_and_leave_its_neighbour),
        cmocka_unit_test(pages_can_be_added_with_a_step),
        cmocka_unit_test(a_closed_slot_opens_again_without_a_trace),
        cmocka_unit_test(the_context_can_be_filled_to_the_last_token),
        cmocka_unit_test(nothing_out_of_range_is_opened),
        cmocka_unit_test(an_engine_that_cannot_be_is_refused_with_the_reason),
        cmocka_unit_test(hooks_see_each_layer_before_and_after_its_kv_is_written),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
