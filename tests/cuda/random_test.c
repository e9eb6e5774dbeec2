/* random_test - random weights made on the device are those of base/tensor.h. */
#include "tests/cuda/gpu.h"

#include "base/mem.h"
#include "base/tensor.h"
#include "kernels/half.h"

#include <stdlib.h>
#include <string.h>

enum { SLACK = 16 }; /* bytes before and after what is filled, which must stay */

static float value_at(num_type type, const uint8_t *p) {
    float f;
    uint16_t h;
    memcpy(&f, p, sizeof f);
    memcpy(&h, p, sizeof h);
    switch (type) {
    case NUM_BF16:
        return f32_of_bf16(h);
    case NUM_F16:
        return f32_of_half(h);
    case NUM_F32:
        return f;
    }
    return 0;
}

/* `shift` elements into an aligned block, so that stores of 16 bytes are not always possible. */
static void check_fill(num_type type, uint64_t seed, uint64_t begin, uint64_t count, float scale,
                       uint32_t shift) {
    size_t size = type == NUM_F32 ? 4 : 2, bytes = (shift + count) * size + 2 * (size_t)SLACK;
    uint8_t *host = xmalloc(bytes), *dev = gpu_new(NULL, bytes);
    GPU_OK(launch_random_fill(type, dev + SLACK + shift * size, seed, begin, count, scale, NULL));
    gpu_read(host, dev, bytes);
    for (size_t i = 0; i < SLACK + shift * size; i++) assert_int_equal(host[i], 0xff);
    for (uint64_t i = 0; i < count; i++) {
        float want = (float)random_weight(seed, begin + i) * scale;
        assert_true(value_at(type, host + SLACK + (shift + i) * size) == want);
    }
    for (size_t i = bytes - SLACK; i < bytes; i++) assert_int_equal(host[i], 0xff);
    gpu_free(dev);
    free(host);
}

static void every_element_is_that_of_its_index(void **state) {
    (void)state;
    static const uint64_t begins[] = {0, 1, 7, 8, 4096, ((uint64_t)1 << 40) + 3};
    static const uint64_t counts[] = {1, 7, 8, 9, 64, 2051};
    for (int type = NUM_BF16; type <= NUM_F32; type++)
        for (size_t b = 0; b < sizeof begins / sizeof *begins; b++)
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
                check_fill((num_type)type, 77 + b, begins[b], counts[c], 0x1p-13f, 0);
}

static void the_memory_need_not_be_aligned(void **state) {
    (void)state;
    for (int type = NUM_BF16; type <= NUM_F32; type++)
        for (uint32_t shift = 1; shift < 8; shift++) check_fill((num_type)type, 5, 16, 45, 0x1p-10f, shift);
}

/* f16 has these only as subnormal numbers. */
static void small_scales_are_exact_too(void **state) {
    (void)state;
    check_fill(NUM_F16, 9, 0, 300, 0x1p-24f, 0);
    check_fill(NUM_BF16, 9, 0, 300, 0x1p-40f, 0);
    check_fill(NUM_F16, 9, 0, 300, 256, 0);
}

static void parts_make_the_whole(void **state) {
    (void)state;
    enum { COUNT = 333 };
    float *dev = gpu_new(NULL, COUNT * sizeof *dev), got[COUNT];
    for (uint64_t at = 0, step = 1; at < COUNT; at += step, step = step * 2 + 1) {
        uint64_t count = MIN(step, COUNT - at);
        GPU_OK(launch_random_fill(NUM_F32, dev + at, 3, at, count, 1, NULL));
    }
    gpu_read(got, dev, sizeof got);
    for (uint64_t i = 0; i < COUNT; i++) assert_true(got[i] == (float)random_weight(3, i));
    gpu_free(dev);
}

static void nothing_is_filled_where_nothing_is_asked(void **state) {
    (void)state;
    check_fill(NUM_F32, 1, 5, 0, 1, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_is_that_of_its_index),
        cmocka_unit_test(the_memory_need_not_be_aligned),
        cmocka_unit_test(small_scales_are_exact_too),
        cmocka_unit_test(parts_make_the_whole),
        cmocka_unit_test(nothing_is_filled_where_nothing_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
