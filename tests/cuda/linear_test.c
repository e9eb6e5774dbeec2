/* linear_test - launch_linear and launch_act_mul against loops in double, and the promise that a row's bits
 * do not depend on how many rows there are, which kernel they go through, or what the others hold. */
#include "tests/cuda/gpu.h"

#include "base/mem.h"
#include "base/tensor.h"
#include "kernels/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 257, ROWS_WIDE = 130 };

static const char *const type_names[] = {"bf16", "f16", "f32"};
static const char *const mode_names[] = {"act", "f32", "gate_up", "ungated"};

/* --- numbers of a type --- */

static size_t size_of(num_type type) {
    return type == NUM_F32 ? 4 : 2;
}

static float unpacked(num_type type, const void *p, size_t i) {
    switch (type) {
    case NUM_BF16:
        return f32_of_bf16(((const uint16_t *)p)[i]);
    case NUM_F16:
        return f32_of_half(((const uint16_t *)p)[i]);
    case NUM_F32:
        return ((const float *)p)[i];
    }
    return 0;
}

/* `count` numbers in -1..1 that are exact in every type, of ten sizes: sums of their products need more bits
 * than fp32 has, so that another order of additions gives other bits. Caller frees. */
static void *packed_random(num_type type, uint64_t seed, size_t count) {
    void *p = xmalloc(count * size_of(type));
    for (size_t i = 0; i < count; i++) {
        float v = ldexpf((float)random_weight(seed, i), -8 - abs(random_weight(seed + 1000, i)) / 2 % 10);
        if (type == NUM_F32)
            ((float *)p)[i] = v;
        else
            ((uint16_t *)p)[i] = type == NUM_BF16 ? bf16_of_f32(v) : half_of_f32(v);
    }
    return p;
}

/* --- a product and its operands --- */

typedef struct product {
    num_type type;
    uint32_t n, k;
    void *x, *w;         /* host, [ROWS_MAX, k] and [n, k] */
    void *dev_x, *dev_w; /* device copies */
    act_kind act;
    void *bias, *dev_bias; /* [n], or NULL */
} product;

static product product_new(num_type type, uint32_t n, uint32_t k) {
    product p = {.type = type, .n = n, .k = k};
    p.x = packed_random(type, 11, (size_t)ROWS_MAX * k);
    p.w = packed_random(type, 7 + n, (size_t)n * k);
    p.dev_x = gpu_new(p.x, (size_t)ROWS_MAX * k * size_of(type));
    p.dev_w = gpu_new(p.w, (size_t)n * k * size_of(type));
    return p;
}

static void product_add_bias(product *p) {
    const uint32_t padded = (p->n + 7) / 8 * 8;
    p->bias = packed_random(p->type, 3, padded);
    memset((char *)p->bias + p->n * size_of(p->type), 0, (padded - p->n) * size_of(p->type));
    p->dev_bias = gpu_new(p->bias, padded * size_of(p->type));
}

static void product_done(product *p) {
    gpu_free(p->dev_bias);
    free(p->bias);
    gpu_free(p->dev_x);
    gpu_free(p->dev_w);
    free(p->x);
    free(p->w);
}

static uint32_t width_of(const product *p, linear_out mode) {
    return mode == LINEAR_GATE_UP ? p->n / 2 : p->n;
}

static num_type out_type(const product *p, linear_out mode) {
    return mode == LINEAR_F32 ? NUM_F32 : p->type;
}

static size_t row_bytes(const product *p, linear_out mode) {
    return width_of(p, mode) * size_of(out_type(p, mode));
}

/* Rows [first, first + rows) of x through launch_linear, and that nothing past them was written. Caller
 * frees. */
static uint8_t *run_by(const product *p, linear_out mode, uint32_t first, uint32_t rows, bool no_cluster) {
    const size_t bytes = rows * row_bytes(p, mode), canary = 256;
    void *out = gpu_new(NULL, bytes + canary);
    const linear_args a = {.type = p->type,
                           .x = (const char *)p->dev_x + (size_t)first * p->k * size_of(p->type),
                           .w = p->dev_w,
                           .rows = rows,
                           .n = p->n,
                           .k = p->k,
                           .out = out,
                           .mode = mode,
                           .act = p->act,
                           .bias = p->dev_bias,
                           .no_cluster = no_cluster};
    GPU_OK(launch_linear(&a, NULL));
    uint8_t *host = xmalloc(bytes + canary);
    gpu_read(host, out, bytes + canary);
    gpu_free(out);
    for (size_t i = 0; i < canary; i++)
        if (host[bytes + i] != 0xff)
            fail_msg("%s %s %ux%ux%u: byte %zu past the end was written", type_names[p->type],
                     mode_names[mode], rows, p->n, p->k, i);
    return host;
}

static uint8_t *run(const product *p, linear_out mode, uint32_t first, uint32_t rows) {
    return run_by(p, mode, first, rows, false);
}

/* --- against double --- */

/* A sum and how far off it may be: fp32 additions of the matrix units may drop what is below the last bit of
 * the largest term, once for every 8 products at most. */
typedef struct sum {
    double value, slack;
} sum;

static sum dot(const product *p, uint32_t row, uint32_t n) {
    double value = p->bias ? (double)unpacked(p->type, p->bias, n) : 0, magnitude = fabs(value);
    for (uint32_t i = 0; i < p->k; i++) {
        double v = (double)unpacked(p->type, p->x, (size_t)row * p->k + i) *
                   (double)unpacked(p->type, p->w, (size_t)n * p->k + i);
        value += v;
        magnitude += fabs(v);
    }
    double per_sum = p->type == NUM_F32 ? 1e-6 : (p->k + 64) * 0x1p-27;
    return (sum){value, magnitude * per_sum};
}

static double rounding_of(num_type type) {
    return type == NUM_BF16 ? 0x1p-8 : type == NUM_F16 ? 0x1p-11 : 0x1p-23;
}

static double silu(double x) {
    return x / (1 + exp(-x));
}

static double acted(act_kind act, double x) {
    if (act == ACT_RELU) return x < 0 ? 0 : x;
    return act == ACT_SILU ? silu(x) : 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* What out[row][column] should be. */
static sum expected(const product *p, linear_out mode, uint32_t row, uint32_t column) {
    if (mode == LINEAR_UNGATED) {
        sum all = dot(p, row, column);
        double value = acted(p->act, all.value);
        return (sum){value, 1.2 * all.slack + fabs(value) * 0x1p-19};
    }
    if (mode != LINEAR_GATE_UP) return dot(p, row, column);
    uint32_t n = column / GATE_UP_GROUP * (2 * GATE_UP_GROUP) + column % GATE_UP_GROUP;
    sum gate = dot(p, row, n), up = dot(p, row, n + GATE_UP_GROUP);
    double value = acted(p->act, gate.value) * up.value;
    double slack = 1.2 * gate.slack * fabs(up.value) + fabs(acted(p->act, gate.value)) * up.slack +
                   fabs(value) * 0x1p-19;
    return (sum){value, slack};
}

static void check_rows(const product *p, linear_out mode, uint32_t rows) {
    const uint32_t width = width_of(p, mode);
    uint8_t *out = run(p, mode, 0, rows);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < width; c++) {
            double got = (double)unpacked(out_type(p, mode), out, (size_t)r * width + c);
            sum want = expected(p, mode, r, c);
            double bound = want.slack + fabs(want.value) * rounding_of(out_type(p, mode)) + 0x1p-24;
            if (!(fabs(got - want.value) <= bound))
                fail_msg("%s %s %ux%ux%u: [%u][%u] is %.9g, not %.9g +- %.2g", type_names[p->type],
                         mode_names[mode], rows, p->n, p->k, r, c, got, want.value, bound);
        }
    free(out);
}

/* For types up to `last`: f32 has one tile for all shapes and is slow in the emulation. */
static void check_shape(num_type last, uint32_t n, uint32_t k, const uint32_t *rows, size_t count) {
    for (num_type type = NUM_BF16; type <= last; type++) {
        product p = product_new(type, n, k);
        for (linear_out mode = LINEAR_ACT; mode <= LINEAR_GATE_UP; mode++) {
            if (mode == LINEAR_GATE_UP && n % (2 * GATE_UP_GROUP) != 0) continue;
            for (size_t i = 0; i < count; i++) check_rows(&p, mode, rows[i]);
        }
        product_done(&p);
    }
}

static void every_shape_agrees_with_double(void **state) {
    (void)state;
    static const struct {
        uint32_t n, k;
    } shapes[] = {{1, 8},    {15, 64},  {16, 72},   {33, 120}, {64, 128},
                  {300, 88}, {80, 576}, {17, 1160}, {32, 2120}};
    static const uint32_t rows[] = {1, 3, 8, 11, 17, 34, 65};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        check_shape(NUM_F32, shapes[i].n, shapes[i].k, rows, ARRAY_LEN(rows));
}

static void tall_matrices_agree_with_double(void **state) {
    (void)state;
    static const uint32_t rows[] = {2, 10};
    check_shape(NUM_F16, 4100, 72, rows, ARRAY_LEN(rows));
    check_shape(NUM_F16, 4112, 8, rows, ARRAY_LEN(rows));
}

/* --- the same bits --- */

static void check_same(const product *p, linear_out mode, const uint8_t *got, const uint8_t *want,
                       uint32_t rows, const char *by) {
    const size_t bytes = row_bytes(p, mode);
    for (uint32_t r = 0; r < rows; r++)
        if (memcmp(got + r * bytes, want + r * bytes, bytes) != 0)
            fail_msg("%s %s n %u k %u: row %u of %u has other bits than by %s", type_names[p->type],
                     mode_names[mode], p->n, p->k, r, rows, by);
}

static void check_invariance(num_type last, uint32_t n, uint32_t k, const uint32_t *rows, size_t count) {
    for (num_type type = NUM_BF16; type <= last; type++) {
        product p = product_new(type, n, k);
        for (linear_out mode = LINEAR_ACT; mode <= LINEAR_GATE_UP; mode++) {
            uint8_t *all = run_by(&p, mode, 0, ROWS_WIDE, true);
            for (size_t i = 0; i < count; i++) {
                uint8_t *some = run_by(&p, mode, 0, rows[i], true);
                check_same(&p, mode, some, all, rows[i], "the wide kernel");
                free(some);
            }
            free(all);
        }
        product_done(&p);
    }
}

static void a_row_has_the_same_bits_for_every_number_of_rows(void **state) {
    (void)state;
    static const uint32_t rows[] = {1, 2, 7, 8, 9, 16, 17, 32, 33, 64, 65};
    static const uint32_t one_per_kernel[] = {1, 9, 17, 33};
    check_invariance(NUM_F16, 48, 2120, rows, ARRAY_LEN(rows));
    check_invariance(NUM_F32, 80, 72, one_per_kernel, ARRAY_LEN(one_per_kernel));
    check_invariance(NUM_F16, 304, 200, one_per_kernel, ARRAY_LEN(one_per_kernel));
}

static void a_row_of_a_tall_matrix_has_the_same_bits_for_every_number_of_rows(void **state) {
    (void)state;
    static const uint32_t rows[] = {1, 9, 20, 65};
    check_invariance(NUM_F16, 4112, 136, rows, ARRAY_LEN(rows));
}

/* 97 x 2 tiles of 128 x 128 are enough for the large tile. */
static void a_row_has_the_same_bits_in_large_tiles(void **state) {
    (void)state;
    static const uint32_t rows[] = {5, 34};
    check_invariance(NUM_BF16, 12304, 72, rows, ARRAY_LEN(rows));

    product p = product_new(NUM_F16, 12299, 136); /* stores of one number at a time */
    for (linear_out mode = LINEAR_ACT; mode <= LINEAR_F32; mode++) {
        uint8_t *all = run_by(&p, mode, 0, ROWS_WIDE, true), *few = run(&p, mode, 0, 3);
        check_same(&p, mode, few, all, 3, "large tiles");
        free(all);
        free(few);
    }
    check_rows(&p, LINEAR_ACT, 3);
    product_done(&p);
}

/* Rows [0, count) by the narrow kernel, eight at a time. Caller frees. */
static uint8_t *run_narrow(const product *p, linear_out mode, uint32_t count) {
    const size_t bytes = row_bytes(p, mode);
    uint8_t *all = xmalloc(count * bytes);
    for (uint32_t first = 0; first < count; first += 8) {
        const uint32_t rows = MIN(8, count - first);
        uint8_t *some = run(p, mode, first, rows);
        memcpy(all + first * bytes, some, rows * bytes);
        free(some);
    }
    return all;
}

static void check_clusters(uint32_t n, uint32_t k, const uint32_t *rows, size_t count) {
    for (num_type type = NUM_BF16; type <= NUM_F16; type++) {
        product p = product_new(type, n, k);
        for (linear_out mode = LINEAR_ACT; mode <= LINEAR_GATE_UP; mode++) {
            if (mode == LINEAR_GATE_UP && n % (2 * GATE_UP_GROUP) != 0) continue;
            uint8_t *narrow = run_narrow(&p, mode, rows[count - 1]);
            for (size_t i = 0; i < count; i++) {
                uint8_t *some = run(&p, mode, 0, rows[i]);
                check_same(&p, mode, some, narrow, rows[i], "the narrow kernel");
                free(some);
            }
            free(narrow);
        }
        product_done(&p);
    }
}

/* Of one slice to eight, whose last is whole, shorter, or less than a step. */
static void rows_for_clusters_have_the_bits_of_the_narrow_kernel(void **state) {
    (void)state;
    static const uint32_t rows[] = {17, 31, 32, 33, 64, 65, 128, 129, 256, 257}, few[] = {17, 34, 66};
    check_clusters(15, 8, rows, ARRAY_LEN(rows));
    check_clusters(48, 136, rows, ARRAY_LEN(rows));
    check_clusters(129, 264, few, ARRAY_LEN(few));
    check_clusters(208, 512, few, ARRAY_LEN(few));
    check_clusters(16, 2120, few, ARRAY_LEN(few));
    check_clusters(33, 4104, few, 2);
}

static void clusters_take_17_to_256_rows_of_16_bit_numbers(void **state) {
    (void)state;
    int major;
    GPU_OK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    for (num_type type = NUM_BF16; type <= NUM_F32; type++)
        for (uint32_t rows = 1; rows <= 300; rows++) {
            linear_args a = {.type = type, .rows = rows, .n = 64, .k = 64};
            const bool fit = rows >= 17 && rows <= 256 && type != NUM_F32 && major >= 9;
            assert_int_equal(linear_in_clusters(&a), fit);
            a.no_cluster = true;
            assert_false(linear_in_clusters(&a));
        }
}

/* The emulated device can be an older one, which refuses clusters. */
static void a_device_without_clusters_gives_the_same_bits(void **state) {
    (void)state;
    product p = product_new(NUM_BF16, 80, 200);
    for (uint32_t rows = 20; rows <= 100; rows += 40) {
        uint8_t *want = run(&p, LINEAR_ACT, 0, rows);
        assert_int_equal(setenv("BATON_EMU_MAJOR", "8", 1), 0);
        uint8_t *got = run(&p, LINEAR_ACT, 0, rows);
        assert_int_equal(unsetenv("BATON_EMU_MAJOR"), 0);
        check_same(&p, LINEAR_ACT, got, want, rows, "clusters");
        free(want);
        free(got);
    }
    product_done(&p);
}

static void a_row_has_the_same_bits_wherever_it_stands(void **state) {
    (void)state;
    enum { FIRST = 41 };
    for (num_type type = NUM_BF16; type <= NUM_F32; type++) {
        product p = product_new(type, 64, 264);
        const size_t bytes = row_bytes(&p, LINEAR_ACT);
        uint8_t *all = run(&p, LINEAR_ACT, 0, ROWS_WIDE);
        for (uint32_t rows = 1; rows <= 40; rows += 13) {
            uint8_t *some = run(&p, LINEAR_ACT, FIRST, rows);
            check_same(&p, LINEAR_ACT, some, all + FIRST * bytes, rows, "another place");
            free(some);
        }
        free(all);
        product_done(&p);
    }
}

static void a_row_of_nan_stays_alone(void **state) {
    (void)state;
    enum { BAD = 3 };
    for (num_type type = NUM_BF16; type <= NUM_F32; type++) {
        product p = product_new(type, 48, 136);
        const size_t bytes = row_bytes(&p, LINEAR_ACT), x_bytes = p.k * size_of(type);
        for (uint32_t rows = 5; rows <= 65; rows += 30) { /* 5, 35, 65 */
            uint8_t *before = run(&p, LINEAR_ACT, 0, rows);
            GPU_OK(cudaMemset((char *)p.dev_x + BAD * x_bytes, 0xff, x_bytes));
            uint8_t *after = run(&p, LINEAR_ACT, 0, rows);
            GPU_OK(cudaMemcpy((char *)p.dev_x + BAD * x_bytes, (char *)p.x + BAD * x_bytes, x_bytes,
                              cudaMemcpyHostToDevice));
            assert_memory_equal(after, before, BAD * bytes);
            assert_memory_equal(after + (BAD + 1) * bytes, before + (BAD + 1) * bytes,
                                (rows - BAD - 1) * bytes);
            for (uint32_t n = 0; n < p.n; n++) assert_true(isnan(unpacked(type, after + BAD * bytes, n)));
            free(before);
            free(after);
        }
        product_done(&p);
    }
}

/* --- what is refused --- */

static void shapes_that_cannot_be_are_refused(void **state) {
    (void)state;
    product p = product_new(NUM_BF16, 32, 64);
    void *out = gpu_new(NULL, 32 * sizeof(float));
    const linear_args good = {
        .type = NUM_BF16, .x = p.dev_x, .w = p.dev_w, .rows = 1, .n = 32, .k = 64, .out = out};
    linear_args odd_k = good, half_pair = good, no_rows = good, crooked = good;
    odd_k.k = 60;
    half_pair.n = 24;
    half_pair.mode = LINEAR_GATE_UP;
    no_rows.rows = 0;
    crooked.x = (const char *)p.dev_x + 2;
    assert_int_equal(launch_linear(&good, NULL), cudaSuccess);
    assert_int_equal(launch_linear(&odd_k, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_linear(&half_pair, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_linear(&no_rows, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_linear(&crooked, NULL), cudaErrorInvalidValue);
    const act_args odd = {.type = NUM_BF16, .gated = true, .x = p.dev_x, .rows = 1, .dim = 12, .out = out};
    assert_int_equal(launch_act_mul(&odd, NULL), cudaErrorInvalidValue);
    GPU_OK(cudaDeviceSynchronize());
    gpu_free(out);
    product_done(&p);
}

/* --- biases and activations --- */

/* What a library leaves, of large and small numbers. */
static void act_mul_agrees_with_double(void **state) {
    (void)state;
    enum { ROWS = 5, DIM = 152 };
    for (num_type type = NUM_BF16; type <= NUM_F32; type++)
        for (int way = 0; way < 6; way++) {
            const act_kind act = (act_kind)(way / 2);
            const bool gated = way % 2;
            const size_t count = (size_t)ROWS * DIM * (gated ? 2 : 1);
            void *host = packed_random(type, 5, count);
            for (size_t i = 0; i < count; i++) {
                const float v = ldexpf(unpacked(type, host, i), i % 5 == 0 ? 4 : 0);
                if (type == NUM_F32)
                    ((float *)host)[i] = v;
                else
                    ((uint16_t *)host)[i] = type == NUM_BF16 ? bf16_of_f32(v) : half_of_f32(v);
            }
            void *x = gpu_new(host, count * size_of(type));
            const size_t bytes = (size_t)ROWS * DIM * size_of(type), canary = 64;
            void *dev = gpu_new(NULL, bytes + canary);
            const act_args a = {
                .type = type, .act = act, .gated = gated, .x = x, .rows = ROWS, .dim = DIM, .out = dev};
            GPU_OK(launch_act_mul(&a, NULL));
            uint8_t *out = xmalloc(bytes + canary);
            gpu_read(out, dev, bytes + canary);
            for (size_t i = 0; i < (size_t)ROWS * DIM; i++) {
                size_t at = gated ? i + i / GATE_UP_GROUP * GATE_UP_GROUP : i;
                double want = acted(act, (double)unpacked(type, host, at)) *
                              (gated ? (double)unpacked(type, host, at + GATE_UP_GROUP) : 1);
                double bound = fabs(want) * (rounding_of(type) + 0x1p-19) + 0x1p-24;
                if (!(fabs((double)unpacked(type, out, i) - want) <= bound))
                    fail_msg("%s activation %d: %g, want %g", type_names[type], act,
                             (double)unpacked(type, out, i), want);
            }
            for (size_t i = 0; i < canary; i++) assert_int_equal(out[bytes + i], 0xff);
            free(out);
            free(host);
            gpu_free(dev);
            gpu_free(x);
        }
}

/* In fp32, where nothing is rounded between: by every activation, gated and not. */
static void act_mul_of_f32_sums_is_what_products_with_an_activation_give(void **state) {
    (void)state;
    enum { ROWS = 3 };
    product p = product_new(NUM_F32, 96, 72);
    for (act_kind act = ACT_SILU; act <= ACT_RELU; act++)
        for (linear_out mode = LINEAR_GATE_UP; mode <= LINEAR_UNGATED; mode++) {
            p.act = act;
            uint8_t *sums = run(&p, LINEAR_ACT, 0, ROWS), *want = run(&p, mode, 0, ROWS);
            void *x = gpu_new(sums, ROWS * row_bytes(&p, LINEAR_ACT));
            const size_t bytes = ROWS * row_bytes(&p, mode);
            void *dev = gpu_new(NULL, bytes);
            const act_args a = {.type = NUM_F32,
                                .act = act,
                                .gated = mode == LINEAR_GATE_UP,
                                .x = x,
                                .rows = ROWS,
                                .dim = width_of(&p, mode),
                                .out = dev};
            GPU_OK(launch_act_mul(&a, NULL));
            uint8_t *out = xmalloc(bytes);
            gpu_read(out, dev, bytes);
            assert_memory_equal(out, want, bytes);
            free(out);
            free(sums);
            free(want);
            gpu_free(dev);
            gpu_free(x);
        }
    product_done(&p);
}

/* n that is no multiple of eight too: the kernels that store eight at a time read the zeros behind it. */
static void biases_and_activations_agree_with_double_by_every_kernel(void **state) {
    (void)state;
    static const uint32_t rows[] = {1, 9, 20, 40, 65};
    static const uint32_t n[] = {33, 96};
    for (num_type type = NUM_BF16; type <= NUM_F32; type++)
        for (size_t i = 0; i < ARRAY_LEN(n); i++) {
            product p = product_new(type, n[i], 136);
            product_add_bias(&p);
            for (linear_out mode = LINEAR_ACT; mode <= LINEAR_UNGATED; mode++) {
                if (mode == LINEAR_GATE_UP && n[i] % (2 * GATE_UP_GROUP) != 0) continue;
                p.act = (act_kind)((i + (size_t)mode) % 3);
                for (size_t r = 0; r < ARRAY_LEN(rows); r++) check_rows(&p, mode, rows[r]);
            }
            product_done(&p);
        }
}

static void a_row_with_bias_and_activation_has_the_same_bits_by_every_kernel(void **state) {
    (void)state;
    static const uint32_t rows[] = {1, 9, 17, 40};
    for (num_type type = NUM_BF16; type <= NUM_F16; type++)
        for (linear_out mode = LINEAR_ACT; mode <= LINEAR_UNGATED; mode++) {
            product p = product_new(type, 96, 1160);
            p.act = mode == LINEAR_GATE_UP ? ACT_SILU : ACT_GELU;
            product_add_bias(&p);
            uint8_t *all = run_by(&p, mode, 0, ROWS_WIDE, true);
            for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
                uint8_t *some = run_by(&p, mode, 0, rows[i / 2], i % 2);
                check_same(&p, mode, some, all, rows[i / 2], "the wide kernel");
                free(some);
            }
            free(all);
            product_done(&p);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_agrees_with_double),
        cmocka_unit_test(tall_matrices_agree_with_double),
        cmocka_unit_test(a_row_has_the_same_bits_for_every_number_of_rows),
        cmocka_unit_test(a_row_of_a_tall_matrix_has_the_same_bits_for_every_number_of_rows),
        cmocka_unit_test(a_row_has_the_same_bits_in_large_tiles),
        cmocka_unit_test(rows_for_clusters_have_the_bits_of_the_narrow_kernel),
        cmocka_unit_test(clusters_take_17_to_256_rows_of_16_bit_numbers),
        cmocka_unit_test(a_device_without_clusters_gives_the_same_bits),
        cmocka_unit_test(a_row_has_the_same_bits_wherever_it_stands),
        cmocka_unit_test(a_row_of_nan_stays_alone),
        cmocka_unit_test(shapes_that_cannot_be_are_refused),
        cmocka_unit_test(act_mul_agrees_with_double),
        cmocka_unit_test(act_mul_of_f32_sums_is_what_products_with_an_activation_give),
        cmocka_unit_test(biases_and_activations_agree_with_double_by_every_kernel),
        cmocka_unit_test(a_row_with_bias_and_activation_has_the_same_bits_by_every_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
