/* packed - products of quantised rows with packed weights: which tiles, in which order, on which thread.
 *
 * - Up to PACKED_SMALL_MAX rows: each panel is streamed once from memory, against all rows.
 * - More: a block of rows that fits the L2 cache goes over a panel that fits the L1 cache in tiles of
 *   PACKED_TILE_MAX rows. With VNNI a panel of nibbles is spread to bytes first, once for the block: the
 *   tiles then need no other instructions than products.
 *
 * Tasks are (run of panels, block of rows). What is done with a tile's sums is the same whatever the tile. */
#include "kernels/cpu/isa/packed.h"

enum {
    BLOCK_BYTES = 256 * 1024, /* of quantised rows: half of a small L2 cache */
    TASKS_PER_THREAD = 4,     /* so that a late thread costs little */
    BLOCK_ROWS_MIN = 24,
};

#if SIMD_KIND == 512
#define SPREADS true
#else
#define SPREADS false /* other sets unpack nibbles as cheaply as they load bytes */
#endif

typedef struct packed_job {
    const cpu_product *op;
    device *dev;
    uint32_t panels; /* of all parts, or of one of two that go together */
    uint32_t run;    /* panels of a task */
    uint32_t runs;
    uint32_t block_rows;
} packed_job;

/* A panel's weights, as tiles will read them. */
typedef struct panel {
    tile_weights w;
    packed_tile *const *tiles; /* by T - 1 */
    uint32_t tile_max;
} panel;

static void spread_panel(const packed *p, const uint8_t *from, uint8_t *to) {
    size_t head = pack_record_bytes(p->type) - PACK_NIBBLE_BYTES;
    for (uint32_t g = 0; g < p->cols / PACK_GROUP; g++) {
        memcpy(to, from, head);
        const uint8_t *q = from + head;
        uint8_t *low = to + head, *high = low + PACK_NIBBLE_BYTES;
        for (uint32_t i = 0; i < PACK_NIBBLE_BYTES; i++) {
            low[i] = q[i] & 15;
            high[i] = q[i] >> 4;
        }
        from += head + PACK_NIBBLE_BYTES;
        to += head + PACK_BYTE_BYTES;
    }
}

static size_t spread_bytes(const packed *p) {
    return p->type == DT_Q8_0 || !SPREADS
               ? 0
               : (pack_record_bytes(p->type) + PACK_NIBBLE_BYTES) * (p->cols / PACK_GROUP);
}

/* scratch: [spread_bytes], or NULL: too few rows to spread the panel for */
static panel panel_of(const packed *p, uint32_t index, uint32_t planes, void *scratch) {
    const bool min = p->type == DT_Q4_1;
    const uint8_t *record = p->data + index * pack_panel_bytes(p->type, p->cols);
    panel out = {.w = {.record = record, .groups = p->cols / PACK_GROUP, .zero = p->type == DT_Q8_0}};
    if (scratch && spread_bytes(p) > 0) {
        spread_panel(p, record, scratch);
        out.w.record = scratch;
    } else if (p->type != DT_Q8_0) {
        out.tiles = (min ? ISA(packed_nibbles_min) : ISA(packed_nibbles))[planes - 1];
        out.tile_max = PACKED_SMALL_MAX;
        return out;
    }
    out.tiles = (min ? ISA(packed_bytes_min) : ISA(packed_bytes))[planes - 1];
    out.tile_max = PACKED_TILE_MAX;
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

/* gate and up of a tile: out = silu(gate) * up, floats and whole numbers of the group that a panel makes. */
INLINE void store_gated(const cpu_product *a, uint32_t panel_index, const float *gate, const float *up,
                        uint32_t row, uint32_t rows) {
    uint32_t col = panel_index * PACK_ROWS, dim = a->part[0].w->rows;
    for (uint32_t t = 0; t < rows; t++) {
        float *out = a->part[0].out + (size_t)(row + t) * dim + col;
        for (uint32_t i = 0; i < PACK_ROWS; i += SIMD_WIDTH) {
            vf g = vf_load(gate + t * PACK_ROWS + i), u = vf_load(up + t * PACK_ROWS + i);
            vf_store(out + i, g / (vf_set1(1.0f) + vf_exp(vf_zero() - g)) * u);
        }
        ISA(cpu_quantise)(a->gated, row + t, col, out, PACK_ROWS);
    }
}

static void run_panel(const packed_job *j, uint32_t part, uint32_t index, uint32_t begin, uint32_t end,
                      uint8_t *scratch) {
    const cpu_product *a = j->op;
    const cpu_product_part *one = &a->part[part], *two = &a->part[part + 1];
    const bool spread = end - begin > PACKED_SMALL_MAX;
    panel first = panel_of(one->w, index, a->x->planes, spread ? scratch : NULL), second;
    if (a->gated)
        second = panel_of(two->w, index, a->x->planes, spread ? scratch + spread_bytes(one->w) : NULL);
    uint32_t most = a->gated ? MIN(first.tile_max, second.tile_max) : first.tile_max, rows;
    for (uint32_t r = begin; r < end; r += rows) {
        _Alignas(64) float sums[PACKED_TILE_MAX * PACK_ROWS], sums_up[PACKED_TILE_MAX * PACK_ROWS];
        rows = tile_rows_of(end - r, most);
        tile_rows x = {.row = a->x->data + r * a->x->stride, .rows = a->x};
        first.tiles[rows - 1](&first.w, &x, sums);
        if (!a->gated) {
            store_tile(one->w, one->bias, index, sums, rows, one->out + (size_t)r * one->w->rows);
            continue;
        }
        second.tiles[rows - 1](&second.w, &x, sums_up);
        store_gated(a, index, sums, sums_up, r, rows);
    }
}

static void packed_task(void *ctx, uint32_t task, uint32_t thread) {
    const packed_job *j = ctx;
    const cpu_product *a = j->op;
    uint32_t begin = task % j->runs * j->run, end = MIN(begin + j->run, j->panels);
    uint32_t row = task / j->runs * j->block_rows, row_end = MIN(row + j->block_rows, a->rows);
    uint32_t part = 0, first = 0; /* of the part */
    for (uint32_t i = begin; i < end; i++) {
        while (!a->gated && i - first >= pack_panels(a->part[part].w->rows))
            first += pack_panels(a->part[part++].w->rows);
        run_panel(j, part, i - first, row, row_end, j->dev->scratch[thread]);
    }
}

static uint32_t divide_up(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

status ISA(cpu_product)(device *d, const cpu_product *a) {
    packed_job j = {.op = a, .dev = d};
    size_t scratch = 0;
    for (uint32_t i = 0; i < a->parts; i++) {
        PRE(a->part[i].w->cols == a->x->cols);
        if (!a->gated || i == 0) j.panels += pack_panels(a->part[i].w->rows);
        scratch = a->gated ? scratch + spread_bytes(a->part[i].w) : MAX(scratch, spread_bytes(a->part[i].w));
    }
    if (a->rows > PACKED_SMALL_MAX && scratch && !cpu_scratch_threads(d, scratch)) return ST_DEVICE;
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
