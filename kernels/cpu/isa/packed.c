/* packed - products of quantised rows with packed weights: which tiles, in which order, on which thread.
 *
 * A block of rows that fits the L2 cache goes over a panel that fits the L1 cache in tiles; few rows are one
 * tile, and the panel is streamed from memory once. Nibbles are unpacked by the tiles: that goes beside the
 * products, and spreading a panel to bytes first was slower on Zen 4 at every number of rows.
 *
 * Tasks are (run of panels, block of rows). What is done with a tile's sums is the same whatever the tile. */
#include "kernels/cpu/isa/packed.h"

enum {
    BLOCK_BYTES = 256 * 1024, /* of quantised rows: half of a small L2 cache */
    TASKS_PER_THREAD = 4,     /* so that a late thread costs little */
    BLOCK_ROWS_MIN = 24,
    AHEAD_PANEL = 64 * 1024, /* a panel that may be asked for as a whole */
    AHEAD_BYTES =
        4096, /* what a stream asks for before it reads it: a prefetcher of the CPU stops at page edges */
};

typedef struct packed_job {
    const cpu_product *op;
    uint32_t panels; /* of all parts, or of the first when the others go with it */
    uint32_t run;    /* panels of a task */
    uint32_t runs;
    uint32_t block_rows;
    uint32_t tile_max;
} packed_job;

/* A panel's weights, as tiles will read them. */
typedef struct panel {
    tile_weights w;
    packed_tile *const *tiles; /* by T - 1 */
} panel;

static panel panel_of(const packed *p, uint32_t index, uint32_t planes) {
    const uint8_t *data = p->data + index * pack_panel_bytes(p->type, p->cols);
    panel out = {.w = {.panel = data, .groups = p->cols / PACK_GROUP}};
    out.w.ahead = data + AHEAD_BYTES;
    out.w.ahead_bytes = (uint32_t)pack_record_bytes(p->type);
    out.tiles = ISA(packed_tiles)[p->type][planes - 1];
    return out;
}

/* Rows of the next tile when `left` are left: whole tiles, but the last two are of about one size. */
static uint32_t tile_rows_of(uint32_t left, uint32_t most) {
    if (left >= 2 * most) return most;
    return left > most ? (left + 1) / 2 : left;
}

/* Sums of a tile to out[row][col..]; cols of the panel exist. */
INLINE void store_tile(const packed *p, const float *bias, uint32_t panel_index, const float *sums,
                       uint32_t rows, float *out) {
    uint32_t col = panel_index * PACK_ROWS, cols = MIN(p->rows - col, PACK_ROWS);
    for (uint32_t t = 0; t < rows; t++) {
        float *to = out + (size_t)t * p->rows + col;
        const float *from = sums + t * PACK_ROWS;
        for (uint32_t i = 0; i < cols; i++) to[i] = bias ? from[i] + bias[col + i] : from[i];
    }
}

/* One vector of a tile's sums, with the bias that they may have. */
INLINE vf biased(const float *sums, const float *bias, uint32_t col) {
    vf sum = vf_load(sums);
    if (bias) sum = sum + vf_load(bias + col);
    return sum;
}

/* What a tile makes of gate and up, or of gate alone: floats and whole numbers of the group that a panel is.
 */
INLINE void store_acted(const cpu_product *a, act_kind act, uint32_t panel_index, const float *gate,
                        const float *up, uint32_t row, uint32_t rows) {
    uint32_t col = panel_index * PACK_ROWS, dim = a->part[0].w->rows;
    for (uint32_t t = 0; t < rows; t++) {
        float *out = a->part[0].out + (size_t)(row + t) * dim + col;
        for (uint32_t i = 0; i < PACK_ROWS; i += SIMD_WIDTH) {
            vf active = vf_act(act, biased(gate + t * PACK_ROWS + i, a->part[0].bias, col + i));
            if (up) active = active * biased(up + t * PACK_ROWS + i, a->part[1].bias, col + i);
            vf_store(out + i, active);
        }
        ISA(cpu_quantise)(a->acted, row + t, col, out, PACK_ROWS);
    }
}

static void run_panel(const packed_job *j, uint32_t part, uint32_t index, uint32_t begin, uint32_t end) {
    const cpu_product *a = j->op;
    const cpu_product_part *one = &a->part[part], *two = &a->part[part + 1];
    panel first = panel_of(one->w, index, a->x->planes), second = {0};
    const bool gated = a->acted && a->parts == 2;
    if (gated) second = panel_of(two->w, index, a->x->planes);
    if (gated && pack_panel_bytes(one->w->type, one->w->cols) <= AHEAD_PANEL) {
        /* Two streams by turns: each panel asks for the next one, which the other stream has. */
        first.w.ahead = second.w.panel;
        second.w.ahead = first.w.panel + pack_panel_bytes(one->w->type, one->w->cols);
    }
    uint32_t rows;
    for (uint32_t r = begin; r < end; r += rows) {
        _Alignas(64) float sums[PACKED_TILE_MAX * PACK_ROWS], sums_up[PACKED_TILE_MAX * PACK_ROWS];
        rows = tile_rows_of(end - r, j->tile_max);
        tile_rows x = {.row = a->x->data + r * a->x->stride, .rows = a->x};
        first.tiles[rows - 1](&first.w, &x, sums);
        first.w.ahead_bytes = 0; /* what follows in memory was asked for by the first tile */
        if (!a->acted) {
            store_tile(one->w, one->bias, index, sums, rows, one->out + (size_t)r * one->w->rows);
            continue;
        }
        if (gated) second.tiles[rows - 1](&second.w, &x, sums_up);
        second.w.ahead_bytes = 0;
        store_acted(a, a->act, index, sums, gated ? sums_up : NULL, r, rows);
    }
}

static void packed_task(void *ctx, uint32_t task, uint32_t thread) {
    const packed_job *j = ctx;
    (void)thread;
    const cpu_product *a = j->op;
    uint32_t begin = task % j->runs * j->run, end = MIN(begin + j->run, j->panels);
    uint32_t row = task / j->runs * j->block_rows, row_end = MIN(row + j->block_rows, a->rows);
    uint32_t part = 0, first = 0; /* of the part */
    for (uint32_t i = begin; i < end; i++) {
        while (!a->acted && i - first >= pack_panels(a->part[part].w->rows))
            first += pack_panels(a->part[part++].w->rows);
        run_panel(j, part, i - first, row, row_end);
    }
}

static uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

status ISA(cpu_product)(device *d, const cpu_product *a) {
    PRE(a->rows > 0);
    packed_job j = {.op = a, .tile_max = a->x->planes == 2 ? PACKED_TILE_MAX2 : PACKED_TILE_MAX};
    for (uint32_t i = 0; i < a->parts; i++) {
        PRE(a->part[i].w->cols == a->x->cols);
        if (!a->acted || i == 0) j.panels += pack_panels(a->part[i].w->rows);
    }
    uint32_t fit = (uint32_t)(BLOCK_BYTES / a->x->stride) / PACKED_TILE_MAX * PACKED_TILE_MAX;
    uint32_t blocks = divide_up(a->rows, MAX(fit, BLOCK_ROWS_MIN));
    j.block_rows = divide_up(divide_up(a->rows, blocks), PACKED_TILE_MAX) * PACKED_TILE_MAX;
    blocks = divide_up(a->rows, j.block_rows);
    uint32_t threads = team_threads(d->team), tasks = threads == 1 ? 1 : threads * TASKS_PER_THREAD;
    j.run = divide_up(j.panels, MAX(divide_up(tasks, blocks), 1u));
    j.runs = divide_up(j.panels, j.run);
    team_run(d->team, j.runs * blocks, packed_task, &j);
    return ST_OK;
}
