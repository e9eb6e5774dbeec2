/* layer - the ops of a layer with packed weights: quantise once, multiply, and leave the next op what it
 * reads.
 *
 *   norm (x += delta, norm, quantise) -> linear (q, k, v in one pass) -> attend -> quantise, linear (o)
 *     -> norm -> gate_up (both products, activation, quantise in one pass) -> linear (down)
 *
 * An op that makes the input of a product leaves it as floats and, in a slot of the device, as whole numbers;
 * the slot serves the next op only, and only when that reads the same floats. What has no packed weight goes
 * to host.c. */
#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/host/host_weight.h"

#include <stdlib.h>
#include <string.h>

/* A weight of this backend. */
typedef struct cpu_weight {
    weight host; /* parts that are packed have no data here */
    packed part[WEIGHT_PARTS_MAX];
} cpu_weight;

static const cpu_weight *of(const weight *w) {
    PRE(w);
    return (const cpu_weight *)(const void *)w;
}

static bool all_packed(const weight *w) {
    const uint32_t parts = weight_form_parts(w->parts.form);
    for (uint32_t i = 0; i < parts; i++)
        if (!of(w)->part[i].data) return false;
    return parts > 0;
}

static status no_scratch(device *d, const char *op) {
    d->host.failed = op;
    return ST_DEVICE;
}

/* --- weights --- */

typedef struct packing {
    const tensor *from;
    void *to;
} packing;

static void pack_task(void *ctx, uint32_t panel, uint32_t thread) {
    const packing *p = ctx;
    (void)thread;
    pack_panel(p->from, panel, p->to);
}

static status pack(device *d, tensor *from, packed *to, errbuf *eb) {
    size_t bytes = pack_bytes(from);
    void *data = store_take(d->store, bytes);
    if (!data) return errf(eb, ST_NOMEM, "no memory for a packed weight of %u x %u", from->rows, from->cols);
    packing p = {.from = from, .to = data};
    if (!store_filled(d->store)) team_run(d->team, pack_panels(from->rows), pack_task, &p);
    *to = (packed){.type = from->type, .rows = from->rows, .cols = from->cols, .data = data};
    from->data = NULL; /* nobody reads the file's bytes any more */
    return ST_OK;
}

uint64_t cpu_weight_bytes(dtype act_type, const weight_parts *parts) {
    PRE(parts);
    uint64_t packed_bytes = 0, bytes = host_weight_bytes(act_type, parts);
    for (uint32_t i = 0; i < weight_form_parts(parts->form); i++)
        if (pack_takes(&parts->part[i])) packed_bytes += pack_bytes(&parts->part[i]);
    return MAX(bytes, packed_bytes);
}

status cpu_weight_load(device *d, const weight_parts *parts, weight **out, errbuf *eb) {
    PRE(d);
    PRE(parts);
    PRE(out);
    cpu_weight *w = xcalloc(1, sizeof *w);
    status st = host_weight_init(&w->host, parts, eb);
    const uint32_t count = weight_form_parts(parts->form);
    bool packs = d->act_bits != 32; /* all parts or none: a product goes one way */
    for (uint32_t i = 0; i < count; i++) packs &= pack_takes(&w->host.parts.part[i]);
    for (uint32_t i = 0; packs && st == ST_OK && i < count; i++)
        st = pack(d, &w->host.parts.part[i], &w->part[i], eb);
    if (st == ST_OK)
        *out = &w->host;
    else
        cpu_weight_free(d, &w->host);
    return st;
}

void cpu_weight_free(device *d, weight *w) {
    PRE(d);
    if (!w) return;
    host_weight_done(w);
    free(w); /* begins a cpu_weight */
}

/* --- whole numbers --- */

static size_t whole_lines(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static uint32_t planes_of(const device *d) {
    return d->act_bits == 16 ? 2 : 1;
}

/* The slot that was not written last, for `rows` rows; NULL when there is no memory. */
static quant_rows *next_slot(device *d, uint32_t rows, uint32_t cols, uint32_t planes) {
    cpu_quant_slot *s = &d->slots[d->slot ^ 1];
    uint32_t groups = cols / QUANT_GROUP;
    size_t end = whole_lines((size_t)cols * planes), pairs = d->kernels->pairs ? whole_lines(cols * 2) : 0;
    quant_rows r = {.data = s->rows.data, .cols = cols, .planes = planes};
    r.pairs_at = pairs ? end : 0;
    r.groups_at = end + pairs;
    r.stride = whole_lines(r.groups_at + groups * sizeof(quant_group));
    if (rows * r.stride > s->bytes) {
        free(s->rows.data);
        s->bytes = 0;
        s->rows.data = r.data = host_mem_alloc(d, rows * r.stride);
        if (!r.data) return NULL;
        s->bytes = rows * r.stride;
    }
    s->rows = r;
    s->of = NULL;
    d->slot ^= 1;
    return &s->rows;
}

void cpu_slots_free(device *d) {
    PRE(d);
    for (size_t i = 0; i < ARRAY_LEN(d->slots); i++) free(d->slots[i].rows.data);
}

typedef struct quantising {
    const device *dev;
    const float *x;
    const quant_rows *to;
    uint32_t rows;
} quantising;

enum { QUANT_ROWS = 16 }; /* of a task */

static void quantise_task(void *ctx, uint32_t task, uint32_t thread) {
    const quantising *q = ctx;
    (void)thread;
    uint32_t end = MIN((task + 1) * QUANT_ROWS, q->rows), cols = q->to->cols;
    for (uint32_t r = task * QUANT_ROWS; r < end; r++)
        q->dev->kernels->quantise(q->to, r, 0, q->x + (size_t)r * cols, cols);
}

/* x as whole numbers: as the last op left them, or made now. The slot is used up. */
static const quant_rows *take_whole(device *d, const float *x, uint32_t rows, uint32_t cols) {
    cpu_quant_slot *s = &d->slots[d->slot];
    bool there = s->of == x && s->rows.cols == cols;
    s->of = NULL;
    if (there) return &s->rows;
    quantising q = {.dev = d, .x = x, .to = next_slot(d, rows, cols, planes_of(d)), .rows = rows};
    if (q.to) team_run(d->team, (rows + QUANT_ROWS - 1) / QUANT_ROWS, quantise_task, &q);
    return q.to;
}

/* --- ops --- */

status cpu_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb) {
    PRE(d);
    for (size_t i = 0; i < ARRAY_LEN(d->slots); i++) d->slots[i].of = NULL;
    return host_step_begin(d, s, out, eb);
}

status cpu_embed_op(device *d, const op_embed *a) {
    PRE(d);
    PRE(a);
    const packed *table = &of(a->table)->part[0];
    if (!table->data) return host_embed_op(d, a);
    const int32_t *ids = d->host.step->ids;
    for (uint32_t r = 0; r < a->rows; r++) pack_row(table, (uint32_t)ids[r], a->x + (size_t)r * table->cols);
    return host_embed_rest(d, a);
}

/* Norm of rows that are wanted as whole numbers, too, when they are the input of a product. */
static status norm_rows(device *d, cpu_norm_rows *a, const weight *w, bool input) {
    a->weight = w->parts.part[0].data;
    a->bias = w->parts.bias[0].data;
    if (input && d->act_bits != 32 && a->dim % QUANT_GROUP == 0) {
        /* Of the head's input even 8 bits keep 16: a prompt has one such row, and of all places where
         * rounding errors come from this one is a quarter (mean KL). */
        a->quant = next_slot(d, a->rows, a->dim, a->pick ? 2 : planes_of(d));
        if (!a->quant) return no_scratch(d, "norm");
    }
    status st = d->kernels->norm_rows(d, a);
    if (a->quant) d->slots[d->slot].of = a->out;
    return st;
}

status cpu_norm_op(device *d, const op_norm *a) {
    PRE(d);
    PRE(a);
    PRE(a->weight);
    PRE(a->x || a->delta);
    cpu_norm_rows n = {.x = a->x ? a->x : (float *)a->delta, /* which is not written, as nothing is added */
                       .delta = a->x ? a->delta : NULL,
                       .kind = a->kind,
                       .rows = a->rows,
                       .dim = a->dim,
                       .eps = a->eps,
                       .out = a->out};
    return norm_rows(d, &n, a->weight, a->x != NULL);
}

status cpu_head_norm_op(device *d, const op_head_norm *a) {
    PRE(d);
    PRE(a);
    const op_step *s = d->host.step;
    PRE(s);
    PRE(a->begin + a->count <= s->head_count);
    cpu_norm_rows n = {.x = (float *)a->x, /* which is not written, as rows are picked */
                       .delta = a->delta,
                       .pick = s->head + a->begin,
                       .kind = a->kind,
                       .rows = a->count,
                       .dim = a->dim,
                       .eps = a->eps,
                       .out = a->out};
    return norm_rows(d, &n, a->weight, true);
}

/* All parts of w, each to a block of its own from `out` on. */
static status multiply(device *d, const weight *w, const float *x, uint32_t rows, float *out) {
    cpu_product p = {.rows = rows, .parts = weight_form_parts(w->parts.form)};
    p.x = take_whole(d, x, rows, of(w)->part[0].cols);
    if (!p.x) return no_scratch(d, "linear");
    for (uint32_t i = 0; i < p.parts; i++) {
        const packed *part = &of(w)->part[i];
        p.part[i] = (cpu_product_part){.w = part, .bias = w->parts.bias[i].data, .out = out};
        out += (size_t)rows * part->rows;
    }
    return d->kernels->product(d, &p);
}

status cpu_linear_op(device *d, const op_linear *a) {
    PRE(d);
    PRE(a);
    PRE(a->w->parts.form != WEIGHT_GATE_UP);
    return all_packed(a->w) ? multiply(d, a->w, a->x, a->rows, a->out) : host_linear_op(d, a);
}

status cpu_gate_up_op(device *d, const op_gate_up *a) {
    PRE(d);
    PRE(a);
    const weight *w = a->w;
    if (!all_packed(w)) return host_gate_up(d, a);
    const packed *gate = &of(w)->part[0], *up = &of(w)->part[1];
    const bool gated = w->parts.form == WEIGHT_GATE_UP;
    if (gate->rows % QUANT_GROUP != 0) {
        status st = multiply(d, w, a->x, a->rows, a->scratch);
        const float *first = a->scratch, *second = gated ? first + (size_t)a->rows * gate->rows : NULL;
        const host_act_mul act = {a->act, first, second, .rows = a->rows, .dim = gate->rows, .out = a->out};
        return st == ST_OK ? d->host.kernels->act_mul(d, &act) : st;
    }
    cpu_product p = {.rows = a->rows, .parts = gated ? 2 : 1, .act = a->act};
    p.x = take_whole(d, a->x, a->rows, gate->cols);
    quant_rows *to = p.x ? next_slot(d, a->rows, gate->rows, planes_of(d)) : NULL;
    if (!to) return no_scratch(d, "gate_up");
    p.acted = to;
    p.part[0] = (cpu_product_part){.w = gate, .bias = w->parts.bias[0].data, .out = a->out};
    if (gated) p.part[1] = (cpu_product_part){.w = up, .bias = w->parts.bias[1].data};
    status st = d->kernels->product(d, &p);
    d->slots[d->slot].of = a->out;
    return st;
}
