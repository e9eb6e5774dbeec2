/* gather_test - what a gather waits for while steps follow one another. On the emulation, whose streams are
 * lazy here. */
#include "tests/cuda/rig.h"
#include "tests/cuda_host/emulation.h"

#include <stdlib.h>

enum {
    ROWS = 20,
    LAYERS = 3,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 32,
    QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM
};

static const kv_layout layout = {
    .type = DT_BF16, .layers = LAYERS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};

/* Two sequences: the first step computes one, the second the other. */
static const uint32_t pages[2][RIG_SEQ_PAGES] = {{3, 1}, {7, 9}};

typedef struct scene {
    rig r;
    step_seq seq[2];
    op_step step[2];
    int32_t ids[ROWS];
    void *qkv, *out;
    uint8_t *wire;
} scene;

static scene *scene_new(void) {
    setenv("BATON_EMU_STREAMS", "lazy", 1); /* nothing runs before somebody waits for it */
    const device_options opt = rig_options(DT_BF16, true);
    scene *s = xcalloc(1, sizeof *s);
    s->r = rig_open("cuda", &opt);
    rig_attention(&s->r, &layout, HEADS, HEAD_DIM);
    float *x = numbers(70, (size_t)ROWS * QKV, DT_BF16);
    s->qkv = rig_acts(&s->r, x, (size_t)ROWS * QKV);
    s->out = rig_acts(&s->r, NULL, (size_t)ROWS * HEADS * HEAD_DIM);
    s->wire = xcalloc(1, kv_segment_bytes(&layout, ROWS, LAYERS));
    free(x);
    for (int i = 0; i < 2; i++) {
        s->seq[i] = (step_seq){.pages = pages[i], .page_count = 2, .row_count = ROWS, .prompt_count = ROWS};
        s->step[i] = plain_step(&s->seq[i], s->ids, ROWS);
    }
    return s;
}

static void scene_free(scene *s) {
    unsetenv("BATON_EMU_STREAMS");
    rig_free(&s->r, s->qkv, rig_act_bytes(&s->r, (size_t)ROWS * QKV));
    rig_free(&s->r, s->out, rig_act_bytes(&s->r, (size_t)ROWS * HEADS * HEAD_DIM));
    rig_close(&s->r);
    free(s->wire);
    free(s);
}

static uint64_t begin(scene *s, int which) {
    errbuf eb = {0};
    step_pass pass = {0};
    rig_check(&s->r, s->r.ops->step_begin(s->r.d, &s->step[which], &pass, &eb), eb.text);
    return pass.step;
}

static void issue_layer(scene *s, uint32_t layer) {
    const op_attend a = {.layer = layer, .rows = ROWS, .qkv = s->qkv, .out = s->out};
    rig_check(&s->r, s->r.ops->attend(s->r.d, &a), "attend");
    rig_check(&s->r, s->r.ops->layer_mark(s->r.d, layer), "layer_mark");
}

static void end(scene *s) {
    errbuf eb = {0};
    rig_check(&s->r, s->r.ops->step_end(s->r.d, &eb), eb.text);
}

/* Gathers layers [0, layers) of a sequence into s->wire; returns how many kernels ran meanwhile. */
static uint64_t gather(scene *s, int which, uint32_t layers, uint64_t step) {
    uint64_t sum = 0, before = emulation_kernels();
    const op_kv_copy a = {.layout = &layout,
                          .kv = s->r.kv,
                          .pages = pages[which],
                          .piece = kv_piece_of(&layout, 0, ROWS, 0, layers),
                          .wire = s->wire,
                          .step = step,
                          .checksum = &sum};
    rig_check(&s->r, s->r.ops->kv_gather(s->r.d, &a), "kv_gather");
    assert_true(sum == kv_checksum(0, s->wire, kv_piece_bytes(&layout, &a.piece)));
    return emulation_kernels() - before;
}

static bool all_zero(const scene *s, uint32_t layers) {
    for (size_t i = 0; i < kv_segment_bytes(&layout, ROWS, layers); i++)
        if (s->wire[i]) return false;
    return true;
}

static void a_gather_waits_for_nothing_of_the_step_after_its_own(void **state) {
    (void)state;
    scene *s = scene_new();
    uint64_t first = begin(s, 0);
    for (uint32_t layer = 0; layer < LAYERS; layer++) issue_layer(s, layer);
    end(s);
    uint64_t second = begin(s, 1);
    assert_int_equal(second, first + 1);
    for (uint32_t layer = 0; layer < LAYERS; layer++) issue_layer(s, layer); /* marked, and not run yet */
    assert_int_equal(gather(s, 0, LAYERS, first), 1); /* its own kernel, and no other */
    assert_false(all_zero(s, LAYERS));
    end(s);
    scene_free(s);
}

static void a_gather_of_the_running_step_waits_for_its_last_layer(void **state) {
    (void)state;
    scene *s = scene_new();
    begin(s, 1);
    for (uint32_t layer = 0; layer < LAYERS; layer++) issue_layer(s, layer);
    end(s);
    uint64_t running = begin(s, 0);
    issue_layer(s, 0);
    uint64_t before = emulation_kernels();
    assert_true(gather(s, 0, 1, running) > 1);
    assert_false(all_zero(s, 1));
    uint64_t of_one_layer = emulation_kernels() - before - 1;
    issue_layer(s, 1);
    issue_layer(s, 2);
    assert_true(gather(s, 0, 2, running) - 1 <= of_one_layer); /* of layer 1, and none of layer 2 */
    assert_false(all_zero(s, 2));
    end(s);
    scene_free(s);
}

/* Step 3 records the events of step 1 again. */
static void a_step_that_has_ended_is_not_waited_for_by_the_event_of_a_later_one(void **state) {
    (void)state;
    scene *s = scene_new();
    uint64_t first = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t number = begin(s, i % 2);
        if (i == 0) first = number;
        for (uint32_t layer = 0; layer < LAYERS; layer++) issue_layer(s, layer);
        if (i < 2) end(s);
    }
    assert_int_equal(gather(s, 1, LAYERS, first), 1);
    end(s);
    scene_free(s);
}

static void rows_of_no_step_are_gathered_at_once(void **state) {
    (void)state;
    scene *s = scene_new();
    begin(s, 0);
    for (uint32_t layer = 0; layer < LAYERS; layer++) issue_layer(s, layer);
    assert_int_equal(gather(s, 1, LAYERS, 0), 1);
    assert_true(all_zero(s, LAYERS));
    end(s);
    scene_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gather_waits_for_nothing_of_the_step_after_its_own),
        cmocka_unit_test(a_gather_of_the_running_step_waits_for_its_last_layer),
        cmocka_unit_test(a_step_that_has_ended_is_not_waited_for_by_the_event_of_a_later_one),
        cmocka_unit_test(rows_of_no_step_are_gathered_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
