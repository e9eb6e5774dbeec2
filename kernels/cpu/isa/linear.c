/* linear - out[r, n] = sum_k x[r, k] weight[n, k], weights dequantised on the fly to fp32.
 *
 * An output element is one chain: a vector accumulator over k in ascending steps of the vector's width, then
 * the fixed tree of vf_sum4. Zeros pad k to whole groups of 32. Everything below only decides which elements
 * are computed at the same time:
 *
 * - one row: 4 weight rows at a time, dequantised in registers; nothing is stored;
 * - more rows: a panel of weight rows is dequantised into scratch once, then blocks of x that fit the L2
 *   cache go over it in tiles of TILE_ROWS x 4; the 4 weight rows of a tile stay in the L1 cache while the
 *   block streams past them.
 *
 * The dot form (both operands contiguous in k) was taken over the outer-product form, which has fewer loads,
 * because quantised weights come in rows: a panel needs no transposition, and one row of x computes the same
 * chains without a panel. Tasks are (panel, block of rows); nothing splits k. */
#include "kernels/cpu/isa/weights.h"

/* Accumulators of a tile + 4 weights + 1 x fit the registers. */
#if SIMD_WIDTH == 16
#define TILE_ROWS 6u
#elif SIMD_KIND == 2
#define TILE_ROWS 3u
#else
#define TILE_ROWS 2u
#endif
#define TILE_COLS 4u

enum {
    PANEL_BYTES = 128 * 1024, /* of dequantised weights, and */
    BLOCK_BYTES = 128 * 1024, /* of x: both lie in the L2 cache */
    TASKS_PER_THREAD = 4,     /* so that a late thread costs little */
    SPLIT_ROWS_MIN = 96,      /* fewer would not pay for dequantising a panel again */
    SINGLE_COLS_MIN = 32,     /* weight rows of a task with one row of x */
};

typedef struct linear_job {
    const host_linear *op;
    device *dev;
    size_t row_bytes;
    uint32_t inner_padded; /* floats of a panel row */
    uint32_t panel_cols;   /* weight rows of a task, a multiple of TILE_COLS */
    uint32_t panels;
    uint32_t block_rows; /* rows of x of a task */
} linear_job;

static const uint8_t *weight_row(const linear_job *j, uint32_t n) {
    return (const uint8_t *)j->op->weight->data + n * j->row_bytes;
}

/* ---- one row ---- */

INLINE void single_group(dtype type, const float *x, const uint8_t *const w[TILE_COLS], size_t g,
                         vf acc[TILE_COLS]) {
    vf xs[QV];
    UNROLL for (size_t i = 0; i < QV; i++) xs[i] = vf_load(x + i * SIMD_WIDTH);
    UNROLL for (uint32_t c = 0; c < TILE_COLS; c++) {
        vf ws[QV];
        weights_group(type, w[c], g, ws);
        UNROLL for (uint32_t i = 0; i < QV; i++) acc[c] = vf_fma(xs[i], ws[i], acc[c]);
    }
}

INLINE void single_cols(dtype type, const linear_job *j, uint32_t n, float sums[TILE_COLS]) {
    uint32_t inner = j->op->weight->cols, whole = inner / GROUP, rest = inner % GROUP;
    const float *x = j->op->x;
    const uint8_t *w[TILE_COLS];
    /* Past the end the last row is computed again, and not stored. */
    for (uint32_t c = 0; c < TILE_COLS; c++) w[c] = weight_row(j, MIN(n + c, j->op->weight->rows - 1));
    vf acc[TILE_COLS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    for (size_t g = 0; g < whole; g++) single_group(type, x + g * GROUP, w, g, acc);
    if (rest && weights_plain(type)) {
        float x_tail[GROUP] = {0};
        uint8_t w_tail[TILE_COLS][128];
        memcpy(x_tail, x + (size_t)whole * GROUP, rest * sizeof *x);
        for (uint32_t c = 0; c < TILE_COLS; c++) {
            weights_tail(weights_at(type, w[c], whole), weights_plain_bytes(type) / GROUP * rest, w_tail[c]);
            w[c] = w_tail[c];
        }
        single_group(type, x_tail, w, 0, acc);
    }
    vf_sum4(sums, acc[0], acc[1], acc[2], acc[3]);
}

static void single_task(void *ctx, uint32_t task, uint32_t thread) {
    const linear_job *j = ctx;
    (void)thread;
    uint32_t end = MIN((task + 1) * j->panel_cols, j->op->weight->rows);
    for (uint32_t n = task * j->panel_cols; n < end; n += TILE_COLS) {
        float sums[TILE_COLS];
        WEIGHTS_FOR_TYPE(j->op->weight->type, single_cols(TYPE, j, n, sums))
        memcpy(j->op->out + n, sums, MIN(TILE_COLS, end - n) * sizeof *sums);
    }
}

/* ---- more rows ---- */

INLINE void tile_steps(uint32_t rows, const float *x, size_t x_stride, const float *w, size_t w_stride,
                       uint32_t count, vf acc[TILE_ROWS][TILE_COLS]) {
    for (uint32_t k = 0; k < count; k += SIMD_WIDTH) {
        vf ws[TILE_COLS];
        UNROLL for (uint32_t c = 0; c < TILE_COLS; c++) ws[c] = vf_load(w + c * w_stride + k);
        UNROLL for (uint32_t r = 0; r < rows; r++) {
            vf xs = vf_load(x + r * x_stride + k);
            UNROLL for (uint32_t c = 0; c < TILE_COLS; c++) acc[r][c] = vf_fma(xs, ws[c], acc[r][c]);
        }
    }
}

/* rows x 4 elements of out; w: 4 panel rows; cols: how many of the 4 exist. */
INLINE void tile(uint32_t rows, const linear_job *j, const float *x, const float *w, float *out,
                 uint32_t cols) {
    uint32_t inner = j->op->weight->cols, whole = inner / GROUP * GROUP, rest = inner - whole;
    vf acc[TILE_ROWS][TILE_COLS];
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        UNROLL for (uint32_t c = 0; c < TILE_COLS; c++) acc[r][c] = vf_zero();
    }
    tile_steps(rows, x, inner, w, j->inner_padded, whole, acc);
    if (rest) {
        float x_tail[TILE_ROWS][GROUP] = {0};
        for (uint32_t r = 0; r < rows; r++)
            memcpy(x_tail[r], x + (size_t)r * inner + whole, rest * sizeof *x);
        tile_steps(rows, x_tail[0], GROUP, w + whole, j->inner_padded, GROUP, acc);
    }
    UNROLL for (uint32_t r = 0; r < rows; r++) {
        float sums[TILE_COLS];
        vf_sum4(sums, acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
        float *to = out + (size_t)r * j->op->weight->rows;
        if (cols == TILE_COLS)
            memcpy(to, sums, sizeof sums);
        else
            memcpy(to, sums, cols * sizeof *sums);
    }
}

/* Rows of the next tile when `left` are left: whole tiles, but the last two are of about one size, for a tile
 * of one row loads as many weights for a third of the work or less. */
static uint32_t tile_rows(uint32_t left) {
    if (left >= 2 * TILE_ROWS) return TILE_ROWS;
    return left > TILE_ROWS ? (left + 1) / 2 : left;
}

/* All rows of a block against 4 panel rows. */
static void block_cols(const linear_job *j, const float *x, uint32_t rows, const float *w, float *out,
                       uint32_t cols) {
    uint32_t count;
    for (uint32_t r = 0; r < rows; r += count) {
        count = tile_rows(rows - r);
        switch (count) {
#if TILE_ROWS > 3u
        case 6:
            tile(6, j, x, w, out, cols);
            break;
        case 5:
            tile(5, j, x, w, out, cols);
            break;
        case 4:
            tile(4, j, x, w, out, cols);
            break;
#endif
#if TILE_ROWS > 2u
        case 3:
            tile(3, j, x, w, out, cols);
            break;
#endif
        case 2:
            tile(2, j, x, w, out, cols);
            break;
        default:
            tile(1, j, x, w, out, cols);
            break;
        }
        x += (size_t)count * j->op->weight->cols;
        out += (size_t)count * j->op->weight->rows;
    }
}

static void panel_task(void *ctx, uint32_t task, uint32_t thread) {
    const linear_job *j = ctx;
    const tensor *w = j->op->weight;
    float *panel = j->dev->scratch[thread];
    uint32_t n_begin = task % j->panels * j->panel_cols, n_end = MIN(n_begin + j->panel_cols, w->rows);
    uint32_t r_begin = task / j->panels * j->block_rows, r_end = MIN(r_begin + j->block_rows, j->op->rows);
    size_t block = MAX(BLOCK_BYTES / (w->cols * sizeof(float)) / TILE_ROWS * TILE_ROWS, TILE_ROWS);

    /* Missing rows of the last tile keep what the scratch held: their sums are not stored. */
    for (uint32_t n = n_begin; n < n_end; n++) {
        float *to = panel + (size_t)(n - n_begin) * j->inner_padded;
        WEIGHTS_FOR_TYPE(w->type, weights_row(TYPE, weight_row(j, n), w->cols, to))
    }
    for (uint32_t r = r_begin; r < r_end; r += (uint32_t)block) {
        uint32_t rows = MIN((uint32_t)block, r_end - r);
        const float *x = j->op->x + (size_t)r * w->cols;
        float *out = j->op->out + (size_t)r * w->rows;
        for (uint32_t n = n_begin; n < n_end; n += TILE_COLS)
            block_cols(j, x, rows, panel + (size_t)(n - n_begin) * j->inner_padded, out + n,
                       MIN(TILE_COLS, n_end - n));
    }
}

static uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

status ISA(cpu_linear)(device *d, const host_linear *a) {
    const tensor *w = a->weight;
    PRE(w->cols > 0);
    PRE(w->rows > 0);
    linear_job j = {.op = a, .dev = d, .row_bytes = dtype_row_bytes(w->type, w->cols)};
    uint32_t tasks_wanted = team_threads(d->team) == 1 ? 1 : team_threads(d->team) * TASKS_PER_THREAD;
    uint32_t cols_even = divide_up(divide_up(w->rows, tasks_wanted), TILE_COLS) * TILE_COLS;
    if (a->rows == 1) {
        j.panel_cols = MAX(cols_even, SINGLE_COLS_MIN);
        team_run(d->team, divide_up(w->rows, j.panel_cols), single_task, &j);
        return ST_OK;
    }
    j.inner_padded = divide_up(w->cols, GROUP) * GROUP;
    size_t row_bytes = j.inner_padded * sizeof(float);
    uint32_t cols_fit = (uint32_t)(PANEL_BYTES / row_bytes) / TILE_COLS * TILE_COLS;
    j.panel_cols = MIN(MAX(cols_fit, TILE_COLS), cols_even);
    j.panels = divide_up(w->rows, j.panel_cols);
    uint32_t splits = MIN(divide_up(tasks_wanted, j.panels), MAX(a->rows / SPLIT_ROWS_MIN, 1u));
    j.block_rows = divide_up(divide_up(a->rows, splits), TILE_ROWS) * TILE_ROWS;
    if (!cpu_scratch_threads(d, j.panel_cols * row_bytes)) return ST_DEVICE;
    team_run(d->team, j.panels * divide_up(a->rows, j.block_rows), panel_task, &j);
    return ST_OK;
}
