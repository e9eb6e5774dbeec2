#include "bench/cpu/op_bench.h"

#include "base/mem.h"

#include <stdio.h>

enum { COPIES_MAX = 256 };
#define ROTATED_BYTES ((size_t)100 << 20) /* of all copies: several times what a cache holds */
#define ROTATED_ROWS  16u                 /* more rows than that do not wait for memory */

typedef struct product {
    const char *name;
    weight_form form;
    uint32_t part_rows[WEIGHT_PARTS_MAX], cols;
} product;

typedef struct product_run {
    const product *p;
    dtype type;
    uint32_t rows;
    weight *copy[COPIES_MAX];
    uint32_t copies;
    float *x, *scratch, *out;
} product_run;

static uint32_t all_rows(const product *p) {
    return p->part_rows[0] + p->part_rows[1] + p->part_rows[2];
}

static void call(op_bench *b, void *arg, uint32_t turn) {
    product_run *r = arg;
    weight *w = r->copy[turn % r->copies];
    if (r->p->form == WEIGHT_GATE_UP) {
        const op_gate_up op = {.x = r->x, .w = w, .rows = r->rows, .scratch = r->scratch, .out = r->out};
        CHECK(b->ops->gate_up(b->dev, &op) == ST_OK);
        return;
    }
    const op_linear op = {.x = r->x, .w = w, .rows = r->rows, .out = r->out};
    CHECK(b->ops->linear(b->dev, &op) == ST_OK);
}

static void body(op_bench *b, void *arg) {
    product_run *r = arg;
    char what[64];
    uint32_t outer = all_rows(r->p);
    snprintf(what, sizeof what, "%s %s %ux%u act %u rows %u", r->p->name, dtype_name(r->type), outer,
             r->p->cols, b->opt.act_bits, r->rows);
    const bool whole = b->opt.act_bits != 32 && r->type != DT_F32 && r->type != DT_F16 && r->type != DT_BF16;
    const op_line l = {.what = what,
                       .call = call,
                       .arg = r,
                       .unit = whole ? OP_INT8 : OP_FP32,
                       .ops = 2.0 * outer * r->p->cols * r->rows,
                       .bytes = (double)outer * (double)dtype_row_bytes(r->type, r->p->cols)};
    op_bench_line(b, &l);
}

/* A device for each, since what it has repacked it keeps until it is closed. */
static void run(op_bench *b, const product *p, dtype type, uint32_t rows) {
    errbuf eb = {0};
    op_bench one = *b;
    CHECK(one.ops->open(&one.dev, &one.opt, &eb) == ST_OK);
    size_t row_bytes = dtype_row_bytes(type, p->cols), bytes = all_rows(p) * row_bytes;
    product_run r = {.p = p, .type = type, .rows = rows, .copies = 1};
    if (rows <= ROTATED_ROWS)
        r.copies = (uint32_t)MIN((size_t)COPIES_MAX, MAX(ROTATED_BYTES / bytes, (size_t)1));
    uint8_t *data = op_bench_fill(&one, bytes * r.copies);
    for (uint32_t c = 0; c < r.copies; c++) {
        weight_parts parts = {.form = p->form};
        const uint8_t *at = data + c * bytes;
        for (uint32_t i = 0; i < weight_form_parts(p->form); i++) {
            parts.part[i] = (tensor){.type = type, .rows = p->part_rows[i], .cols = p->cols, .data = at};
            at += p->part_rows[i] * row_bytes;
        }
        CHECK(one.ops->weight_load(one.dev, &parts, &r.copy[c], &eb) == ST_OK);
    }
    size_t x_bytes = (size_t)rows * p->cols * sizeof(float);
    size_t out_bytes = (size_t)rows * all_rows(p) * sizeof(float);
    r.x = op_bench_fill(&one, x_bytes);
    r.scratch = op_bench_fill(&one, out_bytes);
    r.out = op_bench_fill(&one, out_bytes);
    const op_rows step = {.rows = rows};
    op_bench_step(&one, &step, body, &r);
    for (uint32_t c = 0; c < r.copies; c++) one.ops->weight_free(one.dev, r.copy[c]);
    one.ops->mem_free(one.dev, r.x, x_bytes);
    one.ops->mem_free(one.dev, r.scratch, out_bytes);
    one.ops->mem_free(one.dev, r.out, out_bytes);
    one.ops->mem_free(one.dev, data, bytes * r.copies);
    one.ops->close(one.dev);
}

void op_bench_products(op_bench *b, dtype type, uint32_t rows) {
    PRE(b);
    const op_shape *s = b->shape;
    uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const product products[] = {
        {"qkv", WEIGHT_QKV, {q, kv, kv}, s->dim},
        {"o", WEIGHT_PLAIN, {s->dim}, q},
        {"gate_up", WEIGHT_GATE_UP, {s->ffn_dim, s->ffn_dim}, s->dim},
        {"down", WEIGHT_PLAIN, {s->dim}, s->ffn_dim},
    };
    const product head = {"head", WEIGHT_PLAIN, {s->vocab}, s->dim};
    for (size_t i = 0; i < ARRAY_LEN(products); i++) run(b, &products[i], type, rows);
    if (rows <= ROTATED_ROWS) run(b, &head, type, rows); /* a prompt has one row of logits */
}
