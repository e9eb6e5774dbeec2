/* prompt_rows_test - deterministic mode on the emulation: which rows go through cuBLASLt's stand-in, whose
 * bits differ from our own kernels', what the path says of it, and what is warmed up. */
#include "tests/cuda/mini.h"
#include "tests/cuda_host/emulation.h"

#include <stdlib.h>
#include <string.h>

enum { IN = 128, OUT = 96, FFN = 40, SEQS = 4, ROWS = 49 };

static int setup(void **state) {
    (void)state;
    return unsetenv("BATON_EMU_CUBLASLT");
}

/* --- which rows --- */

/* A prompt; a replay of 5 rows of the prompt and 5 generated ones; one generated row; a replay of 10 and 13.
 */
static const uint32_t pages[SEQS][2] = {{5, 9}, {2, 11}, {7, 0}, {30, 29}};
static const step_seq mixed[SEQS] = {
    {.pages = pages[0], .page_count = 1, .row_begin = 0, .row_count = 15, .prompt_count = 15},
    {.pages = pages[1], .page_count = 1, .row_begin = 15, .row_count = 10, .prompt_count = 5},
    {.pages = pages[2], .page_count = 1, .row_begin = 25, .row_count = 1, .pos = 3, .prompt_count = 3},
    {.pages = pages[3], .page_count = 2, .row_begin = 26, .row_count = 23, .prompt_count = 10},
};
enum { PROMPT_ROWS = 15 + 5 + 10 };

static bool of_prompt(uint32_t row) {
    for (uint32_t i = 0; i < SEQS; i++)
        if (row >= mixed[i].row_begin && row < mixed[i].row_begin + mixed[i].row_count)
            return mixed[i].pos + row - mixed[i].row_begin < mixed[i].prompt_count;
    fail_msg("no row %u", row);
    return false;
}

/* A product of the step's rows; IN numbers of each go in. gate_up: FFN of each come out, else OUT. */
static float *product(const rig *r, const step_seq *seqs, uint32_t seq_count, const float *x, bool gate_up) {
    static const int32_t ids[ROWS] = {0};
    const uint32_t rows = seqs[seq_count - 1].row_begin + seqs[seq_count - 1].row_count;
    const size_t width = gate_up ? FFN : OUT;
    tensor plain = random_tensor(DT_F32, OUT, IN, 11), gate = random_tensor(DT_F32, FFN, IN, 21),
           up = random_tensor(DT_F32, FFN, IN, 22);
    weight *w = gate_up ? rig_weight(r, WEIGHT_GATE_UP, (const tensor *[]){&gate, &up})
                        : rig_weight(r, WEIGHT_PLAIN, (const tensor *[]){&plain});
    void *in = rig_acts(r, x, (size_t)rows * IN), *scratch = rig_acts(r, NULL, (size_t)rows * 2 * FFN);
    void *out = rig_acts(r, NULL, rows * width);
    const op_step s = {.ids = ids, .rows = rows, .seqs = seqs, .seq_count = seq_count};
    const op_gate_up paired = {.x = in, .w = w, .rows = rows, .scratch = scratch, .out = out};
    const op_linear single = {.x = in, .w = w, .rows = rows, .out = out};
    step_pass pass;
    errbuf eb = {0};
    if (r->ops->step_begin(r->d, &s, &pass, &eb) != ST_OK) fail_msg("%s", eb.text);
    rig_check(r, gate_up ? r->ops->gate_up(r->d, &paired) : r->ops->linear(r->d, &single), "product");
    if (r->ops->step_end(r->d, &eb) != ST_OK) fail_msg("%s", eb.text);
    float *values = rig_read_acts(r, out, rows * width);
    rig_free(r, in, rig_act_bytes(r, (size_t)rows * IN));
    rig_free(r, scratch, rig_act_bytes(r, (size_t)rows * 2 * FFN));
    rig_free(r, out, rig_act_bytes(r, rows * width));
    r->ops->weight_free(r->d, w);
    free((void *)plain.data);
    free((void *)gate.data);
    free((void *)up.data);
    return values;
}

static rig deterministic_rig(dtype act) {
    const kv_layout layout = {.type = act, .layers = 1, .kv_heads = 1, .head_dim = 32};
    const device_options opt = rig_options(act, true);
    rig r = rig_open("cuda", &opt);
    rig_attention(&r, &layout, 2, 32);
    return r;
}

/* As one prompt, or as one sequence whose prompt, of a token, was computed before. */
static step_seq all_rows(bool prompt) {
    static const uint32_t table[4] = {1, 2, 3, 4};
    return (step_seq){.pages = table,
                      .page_count = 4,
                      .row_count = ROWS,
                      .pos = prompt ? 0 : 1,
                      .prompt_count = prompt ? ROWS : 1};
}

static void rows_of_prompts_go_through_the_library_and_generated_ones_do_not(void **state) {
    (void)state;
    for (dtype act = DT_F16; act <= DT_BF16; act += DT_BF16 - DT_F16)
        for (int gate_up = 0; gate_up < 2; gate_up++) {
            const size_t width = gate_up ? FFN : OUT;
            rig r = deterministic_rig(act);
            float *x = numbers(12, (size_t)ROWS * IN, act);
            const step_seq prompt = all_rows(true), generated = all_rows(false);
            uint64_t before = emulation_library_rows();
            float *by_library = product(&r, &prompt, 1, x, gate_up);
            assert_int_equal(emulation_library_rows() - before, ROWS);
            float *by_us = product(&r, &generated, 1, x, gate_up);
            assert_int_equal(emulation_library_rows() - before, ROWS);
            float *both = product(&r, mixed, SEQS, x, gate_up);
            assert_int_equal(emulation_library_rows() - before, ROWS + PROMPT_ROWS);
            for (uint32_t row = 0; row < ROWS; row++) {
                const float *want = of_prompt(row) ? by_library : by_us;
                assert_memory_not_equal(by_library + row * width, by_us + row * width, width * sizeof *both);
                assert_memory_equal(both + row * width, want + row * width, width * sizeof *both);
            }
            free(x);
            free(by_library);
            free(by_us);
            free(both);
            rig_close(&r);
        }
}

/* Without the library, or without an algorithm of it that keeps to the rule, there is one way for all. */
static void without_the_library_all_rows_go_through_our_own_kernels(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"absent", "det-own/"}, {"refuses", "det-lt0.0.0-refused/"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int gate_up = 0; gate_up < 2; gate_up++) {
            assert_int_equal(setenv("BATON_EMU_CUBLASLT", cases[i][0], 1), 0);
            const size_t width = gate_up ? FFN : OUT;
            rig r = deterministic_rig(DT_BF16);
            float *x = numbers(12, (size_t)ROWS * IN, DT_BF16);
            const step_seq prompt = all_rows(true), generated = all_rows(false);
            uint64_t before = emulation_library_rows();
            float *a = product(&r, &prompt, 1, x, gate_up), *b = product(&r, &generated, 1, x, gate_up);
            float *c = product(&r, mixed, SEQS, x, gate_up);
            assert_int_equal(emulation_library_rows(), before);
            assert_memory_equal(a, b, ROWS * width * sizeof *a);
            assert_memory_equal(a, c, ROWS * width * sizeof *a);
            assert_non_null(strstr(r.ops->path(r.d), cases[i][1]));
            free(x);
            free(a);
            free(b);
            free(c);
            rig_close(&r);
        }
}

static void f32_needs_no_library(void **state) {
    (void)state;
    rig r = deterministic_rig(DT_F32);
    float *x = numbers(12, (size_t)ROWS * IN, DT_F32);
    uint64_t before = emulation_library_rows();
    float *a = product(&r, mixed, SEQS, x, false);
    assert_int_equal(emulation_library_rows(), before);
    assert_non_null(strstr(r.ops->path(r.d), "/f32/det-own/"));
    free(x);
    free(a);
    rig_close(&r);
}

/* --- the output head --- */

/* The last row of a prompt is the prompt's in every layer; its logits come as those of generated rows. */
static void the_head_is_our_own_for_all_rows(void **state) {
    (void)state;
    const device_options opt = rig_options(DT_BF16, true);
    mini m = mini_open("cuda", &opt);
    const int32_t ids[20] = {3, 1, 4, 1, 5};
    const uint32_t table[2] = {1, 2}, head[] = {19};
    const step_seq seq = {.pages = table, .page_count = 2, .row_count = 20, .prompt_count = 20};
    const op_step s = {
        .ids = ids, .rows = 20, .seqs = &seq, .seq_count = 1, .head = head, .head_count = ARRAY_LEN(head)};
    step_pass pass;
    errbuf eb = {0};
    uint64_t before = emulation_library_rows();
    if (mini_step(&m, &s, &pass, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_int_equal(emulation_library_rows() - before, 2 * 20); /* q k v, o */
    mini_close(&m);
}

/* --- warming up --- */

/* What is warmed besides decode steps. */
static void check_warm(const device_options *opt, const warm_step *want, uint32_t count) {
    mini m = mini_open("cuda", opt);
    uint32_t n = 0, i = 0;
    for (warm_step w; m.r.ops->warm(m.r.d, i, &w); i++) {
        if (w.kind == WARM_DECODE) continue;
        assert_true(n < count);
        assert_int_equal(w.kind, want[n].kind);
        assert_int_equal(w.rows, want[n++].rows);
        assert_int_equal(w.times, 1);
    }
    assert_int_equal(n, count);
    mini_close(&m);
}

/* The longest prompt first, since what it is tested with decides. The kernels of each tile size are loaded
 * when they are first launched. */
static void fixed_algorithms_are_chosen_with_the_longest_prompt_before_the_path_is_told(void **state) {
    (void)state;
    static const warm_step all[] = {{WARM_PROMPT, RIG_ROWS, 1}, {WARM_PATH, 1, 1},    {WARM_REPLAY, 9, 1},
                                    {WARM_REPLAY, 17, 1},       {WARM_REPLAY, 33, 1}, {WARM_REPLAY, 65, 1},
                                    {WARM_REPLAY, RIG_ROWS, 1}};
    static const warm_step few[] = {{WARM_PROMPT, 20, 1},
                                    {WARM_PATH, 1, 1},
                                    {WARM_REPLAY, 9, 1},
                                    {WARM_REPLAY, 17, 1},
                                    {WARM_REPLAY, 20, 1}};
    static const warm_step own[] = {{WARM_PROMPT, 8, 1},
                                    {WARM_PROMPT, 16, 1},
                                    {WARM_PROMPT, 32, 1},
                                    {WARM_PROMPT, 64, 1},
                                    {WARM_PROMPT, RIG_ROWS, 1}};
    device_options opt = rig_options(DT_BF16, true);
    check_warm(&opt, all, ARRAY_LEN(all));
    opt.max_rows = 20;
    check_warm(&opt, few, ARRAY_LEN(few));
    opt.check_ops = true;
    check_warm(&opt, all + 1, 1);
    opt = rig_options(DT_BF16, true);
    assert_int_equal(setenv("BATON_EMU_CUBLASLT", "absent", 1), 0);
    check_warm(&opt, own, ARRAY_LEN(own));
    assert_int_equal(unsetenv("BATON_EMU_CUBLASLT"), 0);
    opt.own_products = true;
    check_warm(&opt, own, ARRAY_LEN(own));
    opt.act_type = DT_F32;
    check_warm(&opt, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rows_of_prompts_go_through_the_library_and_generated_ones_do_not, setup),
        cmocka_unit_test_setup(without_the_library_all_rows_go_through_our_own_kernels, setup),
        cmocka_unit_test_setup(f32_needs_no_library, setup),
        cmocka_unit_test_setup(the_head_is_our_own_for_all_rows, setup),
        cmocka_unit_test_setup(fixed_algorithms_are_chosen_with_the_longest_prompt_before_the_path_is_told,
                               setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
