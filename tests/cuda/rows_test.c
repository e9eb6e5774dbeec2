/* rows_test - embedding and RMSNorm of the GPU against loops in double. */
#include "tests/cuda/gpu.h"

#include "base/mem.h"
#include "base/tensor.h"
#include "kernels/half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 5 };

/* --- numbers of a type --- */

static size_t size_of(num_type type) {
    return type == NUM_F32 ? 4 : 2;
}

/* Values of the type in -1..1, none of them 0. Caller frees. */
static float *numbers(num_type type, uint64_t seed, size_t count) {
    float *v = xmalloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = gpu_rounded(type, (float)random_weight(seed, i) * 0x1.0204p-8f);
    return v;
}

static void *packed_on_gpu(num_type type, const float *v, size_t count) {
    uint16_t *half = xmalloc(count * sizeof *half);
    for (size_t i = 0; i < count; i++) half[i] = type == NUM_BF16 ? bf16_of_f32(v[i]) : half_of_f32(v[i]);
    void *dev = type == NUM_F32 ? gpu_new(v, count * sizeof *v) : gpu_new(half, count * sizeof *half);
    free(half);
    return dev;
}

static float *unpacked(num_type type, const void *dev, size_t count) {
    float *v = xmalloc(count * sizeof *v);
    uint16_t *half = xmalloc(count * sizeof *half);
    if (type == NUM_F32)
        gpu_read(v, dev, count * sizeof *v);
    else
        gpu_read(half, dev, count * sizeof *half);
    for (size_t i = 0; type != NUM_F32 && i < count; i++)
        v[i] = type == NUM_BF16 ? f32_of_bf16(half[i]) : f32_of_half(half[i]);
    free(half);
    return v;
}

/* --- embedding --- */

static void check_embed(num_type type, uint32_t dim) {
    enum { VOCAB = 9, REAL = 3 };
    const int32_t ids[ROWS_MAX] = {8, 0, 5, INT32_MAX,
                                   -7}; /* the last two rows are padding: their ids are stale */
    const step_header header = {.rows = REAL};
    float *table = numbers(type, dim, (size_t)VOCAB * dim),
          *got = xmalloc((size_t)ROWS_MAX * dim * sizeof *got);
    void *table_dev = packed_on_gpu(type, table, (size_t)VOCAB * dim);
    float *x = gpu_new(NULL, (size_t)ROWS_MAX * dim * sizeof *x);
    const step_tables t = {.header = gpu_new(&header, sizeof header), .ids = gpu_new(ids, sizeof ids)};
    const embed_args a = {.type = type, .table = table_dev, .t = t, .rows = ROWS_MAX, .dim = dim, .x = x};
    GPU_OK(launch_embed(&a, NULL));
    gpu_read(got, x, (size_t)ROWS_MAX * dim * sizeof *x);
    for (uint32_t r = 0; r < REAL; r++)
        assert_memory_equal(got + (size_t)r * dim, table + (size_t)ids[r] * dim, dim * sizeof *got);
    for (size_t i = (size_t)REAL * dim; i < (size_t)ROWS_MAX * dim; i++) assert_true(got[i] == 0);
    gpu_free(table_dev);
    gpu_free(x);
    gpu_free(t.header);
    gpu_free(t.ids);
    free(table);
    free(got);
}

static void rows_of_the_table_arrive_exactly_and_padding_is_zero(void **state) {
    (void)state;
    static const uint32_t dims[] = {8, 64, 72, 576, 4104};
    for (int type = NUM_BF16; type <= NUM_F32; type++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) check_embed((num_type)type, dims[i]);
}

/* --- norm --- */

typedef struct norm_case {
    num_type type;
    uint32_t dim, rows;
    bool delta, head;
} norm_case;

/* Host copies of what a launch reads and writes. */
typedef struct norm_data {
    float *x, *delta, *weight; /* [ROWS_MAX, dim], [ROWS_MAX, dim], [dim] */
    float *x_after, *out;      /* [ROWS_MAX, dim], [rows, dim] */
} norm_data;

static const uint32_t head_rows[ROWS_MAX] = {4, 1, 1, 0, 3};
#define EPS 1e-5f

static void norm_free(norm_data *d) {
    free(d->x);
    free(d->delta);
    free(d->weight);
    free(d->x_after);
    free(d->out);
}

/* Runs rows [begin, begin + rows) of the same data in one launch. */
static norm_data run_norm(const norm_case *c, uint32_t begin) {
    size_t count = (size_t)ROWS_MAX * c->dim;
    norm_data d = {.x = numbers(NUM_F32, 1, count),
                   .delta = numbers(c->type, 2, count),
                   .weight = numbers(NUM_F32, 3, c->dim),
                   .x_after = xmalloc(count * sizeof(float))};
    float *x = gpu_new(d.x, count * sizeof *x), *weight = gpu_new(d.weight, c->dim * sizeof *weight);
    char *delta = packed_on_gpu(c->type, d.delta, count);
    char *out = gpu_new(NULL, count * size_of(c->type));
    uint32_t *head = gpu_new(head_rows, sizeof head_rows);
    size_t skip =
        c->head ? 0 : (size_t)begin * c->dim; /* of x and delta; with head the rows are told by it */
    const norm_args a = {.type = c->type,
                         .x = x + skip,
                         .delta = c->delta ? delta + skip * size_of(c->type) : NULL,
                         .weight = weight,
                         .head = c->head ? head + begin : NULL,
                         .rows = c->rows,
                         .dim = c->dim,
                         .eps = EPS,
                         .out = out};
    GPU_OK(launch_norm(&a, NULL));
    gpu_read(d.x_after, x, count * sizeof *x);
    d.out = unpacked(c->type, out, (size_t)c->rows * c->dim);
    gpu_free(x);
    gpu_free(weight);
    gpu_free(delta);
    gpu_free(out);
    gpu_free(head);
    return d;
}

static void check_row(const norm_case *c, const norm_data *d, uint32_t row) {
    size_t from = (size_t)(c->head ? head_rows[row] : row) * c->dim, to = (size_t)row * c->dim;
    double squares = 0, bound = c->type == NUM_BF16 ? 0x1.01p-8 : c->type == NUM_F16 ? 0x1.01p-11 : 1e-6;
    for (uint32_t i = 0; i < c->dim; i++) {
        double v = (double)d->x[from + i] + (c->delta ? (double)d->delta[from + i] : 0);
        squares += v * v;
    }
    double scale = 1 / sqrt(squares / c->dim + (double)EPS);
    for (uint32_t i = 0; i < c->dim; i++) {
        double v = (double)d->x[from + i] + (c->delta ? (double)d->delta[from + i] : 0);
        double want = v * scale * (double)d->weight[i];
        if (!(fabs((double)d->out[to + i] - want) <= bound * fabs(want) + 1e-7))
            fail_msg("type %d dim %u row %u element %u: %g, want %g", c->type, c->dim, row, i,
                     (double)d->out[to + i], want);
    }
}

static void check_residual(const norm_case *c, const norm_data *d) {
    for (size_t i = 0; i < (size_t)ROWS_MAX * c->dim; i++) {
        bool added = c->delta && !c->head && i < (size_t)c->rows * c->dim;
        assert_true(d->x_after[i] == (added ? d->x[i] + d->delta[i] : d->x[i]));
    }
}

static void norm_of_every_shape_is_that_of_double_loops(void **state) {
    (void)state;
    static const uint32_t dims[] = {8, 64, 136, 576, 2048, 8192, 8200, 16384, 16392, 32768};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int type = NUM_BF16; type <= NUM_F32; type++)
            for (int way = 0; way < 4; way++) {
                if (dims[i] > 2048 && way != (int)(i + (size_t)type) % 4)
                    continue; /* one way each of the long ones */
                const norm_case c = {(num_type)type, dims[i], dims[i] > 2048 ? 1 : 4, way & 1, way & 2};
                norm_data d = run_norm(&c, 0);
                for (uint32_t r = 0; r < c.rows; r++) check_row(&c, &d, r);
                check_residual(&c, &d);
                norm_free(&d);
            }
}

static void a_row_has_the_same_bits_alone_among_others_and_through_the_head(void **state) {
    (void)state;
    static const uint32_t dims[] = {64, 576, 4096};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        const norm_case all = {NUM_F32, dims[i], ROWS_MAX, true, false},
                        one = {NUM_F32, dims[i], 1, true, false};
        const norm_case head = {NUM_F32, dims[i], ROWS_MAX, true, true};
        size_t bytes = dims[i] * sizeof(float);
        norm_data whole = run_norm(&all, 0), picked = run_norm(&head, 0);
        for (uint32_t r = 0; r < ROWS_MAX; r++) {
            norm_data alone = run_norm(&one, r);
            assert_memory_equal(alone.out, whole.out + (size_t)r * dims[i], bytes);
            assert_memory_equal(picked.out + (size_t)r * dims[i], whole.out + (size_t)head_rows[r] * dims[i],
                                bytes);
            norm_free(&alone);
        }
        norm_free(&whole);
        norm_free(&picked);
    }
}

static void shapes_that_do_not_fit_are_refused(void **state) {
    (void)state;
    embed_args e = {.type = NUM_F32, .rows = 1, .dim = 12};
    float x = 0;
    norm_args a = {.type = NUM_F32, .x = &x, .rows = 1, .dim = 12};
    assert_int_equal(launch_norm(&a, NULL), cudaErrorInvalidValue);
    a.dim = 32776;
    assert_int_equal(launch_norm(&a, NULL), cudaErrorInvalidValue);
    assert_int_equal(launch_embed(&e, NULL), cudaErrorInvalidValue);
    a.dim = e.dim = 64;
    a.rows = e.rows = 0;
    assert_int_equal(launch_norm(&a, NULL), cudaSuccess);
    assert_int_equal(launch_embed(&e, NULL), cudaSuccess);
    a.x = NULL; /* nothing at all to norm */
    assert_int_equal(launch_norm(&a, NULL), cudaErrorInvalidValue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_table_arrive_exactly_and_padding_is_zero),
        cmocka_unit_test(norm_of_every_shape_is_that_of_double_loops),
        cmocka_unit_test(a_row_has_the_same_bits_alone_among_others_and_through_the_head),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
