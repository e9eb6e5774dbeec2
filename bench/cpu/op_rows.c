#include "bench/cpu/op_bench.h"

#include "base/mem.h"

#include <stdio.h>

enum { LAYERS = 8 };

/* --- norm --- */

typedef struct norm_run {
    uint32_t rows;
    float *x, *out;
    weight *w;
} norm_run;

static void call_norm(op_bench *b, void *arg, uint32_t turn) {
    const norm_run *r = arg;
    (void)turn;
    const op_norm op = {
        .x = r->x, .weight = r->w, .rows = r->rows, .dim = b->shape->dim, .eps = 1e-5f, .out = r->out};
    CHECK(b->ops->norm(b->dev, &op) == ST_OK);
}

static void body_norm(op_bench *b, void *arg) {
    const norm_run *r = arg;
    char what[64];
    snprintf(what, sizeof what, "norm %u act %u rows %u", b->shape->dim, b->opt.act_bits, r->rows);
    double numbers = (double)r->rows * b->shape->dim;
    const op_line l = {.what = what, .call = call_norm, .arg = arg, .unit = OP_FP32, .ops = 4 * numbers};
    op_bench_line(b, &l);
}

void op_bench_norm(op_bench *b, uint32_t rows) {
    PRE(b);
    errbuf eb = {0};
    size_t bytes = (size_t)rows * b->shape->dim * sizeof(float), w_bytes = b->shape->dim * sizeof(float);
    void *data = op_bench_fill(b, w_bytes);
    norm_run r = {.rows = rows, .x = op_bench_fill(b, bytes), .out = op_bench_fill(b, bytes)};
    const weight_parts parts = {.part = {{.type = DT_F32, .rows = 1, .cols = b->shape->dim, .data = data}}};
    CHECK(b->ops->weight_load(b->dev, &parts, &r.w, &eb) == ST_OK);
    const op_rows step = {.rows = rows};
    op_bench_step(b, &step, body_norm, &r);
    b->ops->weight_free(b->dev, r.w);
    b->ops->mem_free(b->dev, data, w_bytes);
    b->ops->mem_free(b->dev, r.x, bytes);
    b->ops->mem_free(b->dev, r.out, bytes);
}

/* --- attention --- */

typedef struct attend_run {
    const op_rows *rows;
    float *qkv, *out;
} attend_run;

static void call_attend(op_bench *b, void *arg, uint32_t turn) {
    const attend_run *r = arg;
    const op_attend op = {.layer = turn % LAYERS, .rows = r->rows->rows, .qkv = r->qkv, .out = r->out};
    CHECK(b->ops->attend(b->dev, &op) == ST_OK);
}

static void body_attend(op_bench *b, void *arg) {
    const attend_run *r = arg;
    const op_shape *s = b->shape;
    double rows = r->rows->rows, last = r->rows->pos + (r->rows->decode ? 1 : rows);
    double pairs = r->rows->decode ? rows * last : rows * r->rows->pos + rows * (rows + 1) / 2;
    double keys = r->rows->decode ? rows * last : last;
    char what[64];
    snprintf(what, sizeof what, "attend %ux%u/%u %s %u at %u", s->heads, s->head_dim, s->kv_heads,
             r->rows->decode ? "sequences" : "prompt rows", r->rows->rows, r->rows->pos);
    const op_line l = {.what = what,
                       .call = call_attend,
                       .arg = arg,
                       .unit = OP_FP32,
                       .ops = 4.0 * pairs * s->heads * s->head_dim,
                       .bytes = keys * 2 * s->kv_heads * s->head_dim * 2};
    op_bench_line(b, &l);
}

/* A device of its own: attention is set up once. */
void op_bench_attend(op_bench *b, const op_rows *rows) {
    PRE(b);
    PRE(rows);
    errbuf eb = {0};
    op_bench one = *b;
    const op_shape *s = b->shape;
    CHECK(one.ops->open(&one.dev, &one.opt, &eb) == ST_OK);
    kv_layout layout = {.type = DT_F16, .layers = LAYERS, .kv_heads = s->kv_heads, .head_dim = s->head_dim};
    uint32_t pages =
        rows->decode ? rows->rows * kv_pages_for(rows->pos + 1) : kv_pages_for(rows->pos + rows->rows);
    size_t kv_bytes = pages * kv_page_bytes(&layout);
    size_t q_bytes = (size_t)rows->rows * s->heads * s->head_dim * sizeof(float);
    size_t qkv_bytes = (size_t)rows->rows * (s->heads + 2 * s->kv_heads) * s->head_dim * sizeof(float);
    void *kv = op_bench_fill(&one, kv_bytes);
    const attend_setup setup = {.layout = layout,
                                .kv = kv,
                                .heads = s->heads,
                                .scale = 0.125f,
                                .rope_dim = s->head_dim,
                                .rope_base = 1e4f};
    CHECK(one.ops->attend_setup(one.dev, &setup, &eb) == ST_OK);
    attend_run r = {.rows = rows, .qkv = op_bench_fill(&one, qkv_bytes), .out = op_bench_fill(&one, q_bytes)};
    op_bench_step(&one, rows, body_attend, &r);
    one.ops->mem_free(one.dev, kv, kv_bytes);
    one.ops->mem_free(one.dev, r.qkv, qkv_bytes);
    one.ops->mem_free(one.dev, r.out, q_bytes);
    one.ops->close(one.dev);
}

/* --- sampling --- */

typedef struct sample_run {
    uint32_t rows;
    float *logits;
} sample_run;

static void call_sample(op_bench *b, void *arg, uint32_t turn) {
    const sample_run *r = arg;
    (void)turn;
    const op_sample op = {.logits = r->logits, .count = r->rows, .vocab = b->shape->vocab};
    CHECK(b->ops->sample(b->dev, &op) == ST_OK);
}

static void body_sample(op_bench *b, void *arg) {
    const sample_run *r = arg;
    char what[64];
    snprintf(what, sizeof what, "sample greedy %u rows %u", b->shape->vocab, r->rows);
    const op_line l = {.what = what,
                       .call = call_sample,
                       .arg = arg,
                       .unit = OP_NOTHING,
                       .bytes = (double)r->rows * b->shape->vocab * sizeof(float)};
    op_bench_line(b, &l);
}

void op_bench_sample(op_bench *b, uint32_t rows) {
    PRE(b);
    size_t bytes = (size_t)rows * b->shape->vocab * sizeof(float);
    sample_run r = {.rows = rows, .logits = op_bench_fill(b, bytes)};
    const op_rows step = {.rows = rows, .decode = true};
    op_bench_step(b, &step, body_sample, &r);
    b->ops->mem_free(b->dev, r.logits, bytes);
}

/* --- hand-off copies --- */

static void call_gather(op_bench *b, void *arg, uint32_t turn) {
    (void)turn;
    CHECK(b->ops->kv_gather(b->dev, arg) == ST_OK);
}

static void call_scatter(op_bench *b, void *arg, uint32_t turn) {
    (void)turn;
    CHECK(b->ops->kv_scatter(b->dev, arg) == ST_OK);
}

void op_bench_copies(op_bench *b) {
    PRE(b);
    kv_layout l = {
        .type = DT_F16, .layers = 30, .kv_heads = b->shape->kv_heads, .head_dim = b->shape->head_dim};
    enum { TOKENS = 250 };
    uint32_t pages[16];
    uint64_t checksum;
    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++) pages[i] = (i * 7) % 16;
    size_t kv_bytes = ARRAY_LEN(pages) * kv_page_bytes(&l), wire_bytes = kv_segment_bytes(&l, TOKENS, 30);
    void *kv = op_bench_fill(b, kv_bytes), *wire = op_bench_fill(b, wire_bytes);
    op_kv_copy op = {.layout = &l,
                     .kv = kv,
                     .pages = pages,
                     .piece = kv_piece_of(&l, 0, TOKENS, 0, 30),
                     .wire = wire,
                     .checksum = &checksum};
    op_line line = {.what = "kv_gather 250 tokens",
                    .call = call_gather,
                    .arg = &op,
                    .unit = OP_NOTHING,
                    .bytes = (double)wire_bytes};
    op_bench_line(b, &line);
    line.what = "kv_scatter 250 tokens";
    line.call = call_scatter;
    op_bench_line(b, &line);
    b->ops->mem_free(b->dev, kv, kv_bytes);
    b->ops->mem_free(b->dev, wire, wire_bytes);
}
