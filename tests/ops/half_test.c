/* half_test - the integer conversions against the compiler's own _Float16, and their rounding. */
#include "kernels/half.h"
#include "tests/ops/fixture.h"

#if defined(__x86_64__) || defined(__aarch64__)

static uint16_t compiler_half(float x) {
    _Float16 h = (_Float16)x;
    uint16_t bits;
    memcpy(&bits, &h, sizeof bits);
    return bits;
}

static void every_half_becomes_the_float_that_the_compiler_makes(void **state) {
    (void)state;
    for (uint32_t i = 0; i <= 0xffff; i++) {
        uint16_t bits = (uint16_t)i;
        _Float16 h;
        memcpy(&h, &bits, sizeof h);
        float got = f32_of_half(bits), want = (float)h;
        if ((i & 0x7fff) > 0x7c00)
            assert_true(got != got); /* its payload: checked through vectors in rows_test */
        else
            assert_int_equal(f32_bits(got), f32_bits(want));
        if ((i & 0x7fff) <= 0x7c00) assert_int_equal(half_of_f32(got), bits);
    }
}

static void floats_round_to_the_half_that_the_compiler_makes(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 400000; i++) {
        uint32_t bits = (uint32_t)random_at(1, i);
        if ((bits & 0x7fffffff) > 0x7f800000) continue;
        /* A quarter of them where halves are subnormal or overflow, with few fraction bits: ties. */
        if (i % 4 == 0) bits = (bits & 0x803ff000) | (uint32_t)(100 + random_at(2, i) % 46) << 23;
        assert_int_equal(half_of_f32(f32_of_bits(bits)), compiler_half(f32_of_bits(bits)));
    }
}

#endif

static void ties_go_to_even_and_the_rest_to_the_nearest(void **state) {
    (void)state;
    assert_int_equal(half_of_f32(1.0f + 0x1p-11f), 0x3c00);            /* tie, even below */
    assert_int_equal(half_of_f32(1.0f + 3 * 0x1p-11f), 0x3c02);        /* tie, even above */
    assert_int_equal(half_of_f32(1.0f + 0x1p-11f + 0x1p-20f), 0x3c01); /* above the tie */
    assert_int_equal(half_of_f32(65519.0f), 0x7bff);
    assert_int_equal(half_of_f32(65520.0f), 0x7c00); /* tie with 65536: infinity */
    assert_int_equal(half_of_f32(0x1p-25f), 0);      /* tie with the least subnormal */
    assert_int_equal(half_of_f32(0x1.8p-25f), 1);
    assert_int_equal(half_of_f32(-0.0f), 0x8000);
    assert_int_equal(half_of_f32(f32_of_bits(0x7f800001)), 0x7e00); /* a signalling NaN becomes quiet */
    assert_int_equal(half_of_f32(f32_of_bits(0xffffffff)), 0xffff);
}

static void bf16_is_the_upper_half_of_a_float(void **state) {
    (void)state;
    assert_int_equal(f32_bits(f32_of_bf16(0x3f80)), 0x3f800000);
    assert_int_equal(f32_bits(f32_of_bf16(0xc049)), 0xc0490000);
}

static void floats_round_to_the_nearest_bf16_and_ties_to_even(void **state) {
    (void)state;
    for (uint32_t i = 0; i <= 0xffff; i++) {
        float x = f32_of_bf16((uint16_t)i);
        if (x == x)
            assert_int_equal(bf16_of_f32(x), i);
        else
            assert_int_equal(bf16_of_f32(x), i | 0x40); /* a signalling NaN becomes quiet */
    }
    assert_int_equal(bf16_of_f32(f32_of_bits(0x3f808000)), 0x3f80);          /* tie, even below */
    assert_int_equal(bf16_of_f32(f32_of_bits(0x3f818000)), 0x3f82);          /* tie, even above */
    assert_int_equal(bf16_of_f32(f32_of_bits(0x3f808001)), 0x3f81);          /* above the tie */
    assert_int_equal(bf16_of_f32(f32_of_bits(0xbf807fff)), 0xbf80);          /* below it */
    assert_int_equal(bf16_of_f32(f32_of_bits(0x7f7fffff)), 0x7f80);          /* infinity */
    assert_int_equal(bf16_of_f32(f32_of_bits(0x7f800001)) & 0x7fff, 0x7fc0); /* still not a number */
    assert_int_equal(bf16_of_f32(-0.0f), 0x8000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__) || defined(__aarch64__)
        cmocka_unit_test(every_half_becomes_the_float_that_the_compiler_makes),
        cmocka_unit_test(floats_round_to_the_half_that_the_compiler_makes),
#endif
        cmocka_unit_test(ties_go_to_even_and_the_rest_to_the_nearest),
        cmocka_unit_test(bf16_is_the_upper_half_of_a_float),
        cmocka_unit_test(floats_round_to_the_nearest_bf16_and_ties_to_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
