/* Storage types of converted weights: the bytes of ggml's reference, and what does not fit. */
#include "tests/test.h"

#include "base/half.h"
#include "base/mem.h"
#include "checkpoint/quantize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void blocks_have_the_bytes_of_the_reference(void **state) {
    (void)state;
    FILE *f = fopen(GOLDEN_DIR "/quantize.bin", "rb");
    uint32_t count = 0;
    assert_non_null(f);
    assert_int_equal(fread(&count, sizeof count, 1, f), 1);
    assert_true(count > 100 && count < 10000);
    float *x = xcalloc(count, 32 * sizeof *x);
    assert_int_equal(fread(x, 32 * sizeof *x, count, f), count);
    static const dtype types[] = {DT_Q8_0, DT_Q4_0};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        size_t bytes = dtype_row_bytes(types[t], 32 * count);
        uint8_t *want = xmalloc(bytes), *got = xmalloc(bytes);
        assert_int_equal(fread(want, 1, bytes, f), bytes);
        assert_true(quantize_row(types[t], x, 32 * count, got));
        assert_memory_equal(got, want, bytes);
        free(want);
        free(got);
    }
    fclose(f);
    free(x);
}

static void numbers_that_a_type_cannot_hold_are_refused(void **state) {
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    uint8_t out[34];
    float x[32] = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        x[7] = bad[i];
        assert_false(quantize_row(DT_Q8_0, x, 32, out));
        assert_false(quantize_row(DT_Q4_0, x, 32, out));
    }
    x[7] = 1e30f; /* the scale is more than f16 holds */
    assert_false(quantize_row(DT_Q8_0, x, 32, out));
    assert_false(quantize_row(DT_Q4_0, x, 32, out));
    uint16_t half;
    assert_false(quantize_row(DT_F16, &(float){70000.0f}, 1, &half));
    assert_true(quantize_row(DT_F16, &(float){INFINITY}, 1, &half));
    assert_int_equal(half, 0x7c00);
    assert_true(quantize_row(DT_BF16, &(float){70000.0f}, 1, &half));
    x[7] = 1e-44f; /* one over the scale is no number */
    assert_true(quantize_row(DT_Q8_0, x, 32, out));
    assert_true(quantize_row(DT_Q4_0, x, 32, out));
}

static void every_half_is_the_same_after_the_way_to_f32_and_back(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t from = (uint16_t)h, to = 0;
        float x = 0;
        dequantize_row(DT_F16, &from, 1, &x);
        if (!isnan(x)) {
            assert_true(quantize_row(DT_F16, &x, 1, &to));
            assert_int_equal(to, from);
        }
        dequantize_row(DT_BF16, &from, 1, &x);
        if (isnan(x)) continue;
        assert_true(quantize_row(DT_BF16, &x, 1, &to));
        assert_int_equal(to, from);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_the_bytes_of_the_reference),
        cmocka_unit_test(numbers_that_a_type_cannot_hold_are_refused),
        cmocka_unit_test(every_half_is_the_same_after_the_way_to_f32_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
