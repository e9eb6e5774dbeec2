/* weights_test - weights on their way from the file into GPU memory: every type of storage and every form
 * arrives with the bytes that weight_row_read makes of its rows, whatever the number of threads that convert
 * them. */
#include "kernels/cuda/weight_rows.h"
#include "kernels/cuda/weights.h"
#include "tests/cuda/rig.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* 5 MB in 16 bits: more than one chunk of the staging, each of many tasks. */
enum { COLS = 1024, ROWS = 2576, PARTS_MAX = 3 };

static const num_type act_nums[] = {[DT_F32] = NUM_F32, [DT_F16] = NUM_F16, [DT_BF16] = NUM_BF16};

/* The rows of the finished matrix in their order, one after another. Caller frees. */
static char *expected(weight_form form, const tensor *const *parts, dtype act, size_t row_bytes) {
    char *bytes = xcalloc(ROWS, row_bytes);
    float scratch[COLS];
    uint32_t part = 0, row = 0;
    for (uint32_t i = 0; i < ROWS; i++) {
        if (form == WEIGHT_GATE_UP) {
            part = i / GATE_UP_GROUP % 2;
            row = i / GATE_UP_GROUP / 2 * GATE_UP_GROUP + i % GATE_UP_GROUP;
        } else if (row == parts[part]->rows) {
            part++;
            row = 0;
        }
        weight_row_read(parts[part], row++, act_nums[act], bytes + i * row_bytes, scratch);
    }
    return bytes;
}

static void check_weight(weight_form form, dtype stored, dtype act, uint32_t threads) {
    static const uint32_t rows[][PARTS_MAX] = {
        [WEIGHT_PLAIN] = {ROWS}, [WEIGHT_QKV] = {1600, 488, 488}, [WEIGHT_GATE_UP] = {ROWS / 2, ROWS / 2}};
    device_options opt = rig_options(act, true);
    opt.threads = threads;
    rig r = rig_open("cuda", &opt);
    tensor t[PARTS_MAX] = {0};
    for (uint32_t i = 0; i < PARTS_MAX; i++)
        if (rows[form][i] > 0) t[i] = random_tensor(stored, rows[form][i], COLS, 10 * stored + i);
    const tensor *const parts[PARTS_MAX] = {&t[0], &t[1], &t[2]};
    size_t row_bytes = rig_act_bytes(&r, COLS);
    char *want = expected(form, parts, act, row_bytes), *have = xcalloc(ROWS, row_bytes);

    weight *w = rig_weight(&r, form, parts);
    assert_int_equal(w->bytes, ROWS * row_bytes);
    rig_check(&r, r.ops->mem_read(r.d, have, w->data, w->bytes), "mem_read");
    if (memcmp(have, want, w->bytes) != 0)
        fail_msg("form %d of %s as %s with %u threads: other bytes", form, dtype_name(stored),
                 dtype_name(act), threads);

    r.ops->weight_free(r.d, w);
    rig_close(&r);
    for (uint32_t i = 0; i < PARTS_MAX; i++) free((void *)t[i].data);
    free(want);
    free(have);
}

static void every_type_of_storage_has_the_same_bytes_with_one_to_nine_threads(void **state) {
    (void)state;
    static const dtype stored[] = {DT_F32,  DT_F16,    DT_BF16, DT_Q4_0, DT_Q4_1, DT_Q8_0, DT_Q5_0,
                                   DT_Q5_1, DT_IQ4_NL, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};
    for (size_t i = 0; i < ARRAY_LEN(stored); i++)
        for (uint32_t threads = 1; threads <= 9; threads += 4)
            check_weight(WEIGHT_PLAIN, stored[i], DT_BF16, threads);
}

static void every_form_and_every_type_of_activations_likewise(void **state) {
    (void)state;
    static const dtype acts[] = {DT_F32, DT_F16, DT_BF16};
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        check_weight(WEIGHT_QKV, DT_Q4_1, acts[i], 3);
        check_weight(WEIGHT_GATE_UP, DT_Q4_1, acts[i], 3);
    }
}

/* One CPU is one thread, whose scratch is the only one. */
static void a_process_that_may_use_one_cpu_converts_with_it(void **state) {
    (void)state;
    cpu_set_t before, one;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    check_weight(WEIGHT_PLAIN, DT_Q4_1, DT_BF16, 1);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_storage_has_the_same_bytes_with_one_to_nine_threads),
        cmocka_unit_test(every_form_and_every_type_of_activations_likewise),
        cmocka_unit_test(a_process_that_may_use_one_cpu_converts_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
