/* ops - one function per operation of the contract: which kernels it is made of on this device, in this mode.
 *
 * Products: our own kernels give a row the same bits whatever the other rows are, and are made for few rows;
 * cuBLASLt is expected to be the faster one for more (gpu_bench linear compares), and picks its algorithm by
 * their number. The default mode has our own up to LINEAR_FEW_ROWS. Deterministic mode has it for generated
 * rows and the output head; rows of prompts, however few, go through one algorithm of cuBLASLt per shape
 * (gemm_lt.h), or through our own where none keeps to the rule.
 *
 * Attention: rows of prompts go through the prefill kernel and generated rows through the decode kernel,
 * always, so that a token that is computed again in a replay gets the bits that it had. */
#include "kernels/cuda/ops.h"

#include "base/mem.h"
#include "kernels/cuda/kv_stage.h"
#include "kernels/cuda/samples.h"
#include "kernels/cuda/step.h"
#include "kernels/cuda/weights.h"

#include <stdlib.h>

/* --- attention's setup --- */

static status check_setup(const device *d, const attend_setup *s, errbuf *eb) {
    const kv_layout *l = &s->layout;
    if (l->type != d->opt.act_type)
        return errf(eb, ST_UNSUPPORTED,
                    "cuda: KV of type %s with activations of type %s: set kv_dtype to auto",
                    dtype_name(l->type), dtype_name(d->opt.act_type));
    bool head_ok = d->type == NUM_F32 ? l->head_dim <= 256
                                      : l->head_dim == 32 || l->head_dim == 64 || l->head_dim == 128;
    if (!head_ok)
        return errf(eb, ST_UNSUPPORTED,
                    "cuda: heads of %u numbers: the kernels want 32, 64 or 128 (f32: at most 256)",
                    l->head_dim);
    if (s->heads / l->kv_heads > 16)
        return errf(eb, ST_UNSUPPORTED,
                    "cuda: %u query heads for each of k and v: the kernels want at most 16",
                    s->heads / l->kv_heads);
    return ST_OK;
}

/* cos and sin of all positions. The factors are needed for that only. */
static status make_rope(device *d, const attend_setup *s, uint32_t max_context, errbuf *eb) {
    size_t half = s->rope_dim / 2, factor_bytes = half * sizeof(float);
    const uint32_t tables = s->rope_local_base != 0 ? 2 : 1;
    if (half == 0) return ST_OK;
    d->rope_bytes = max_context * half * 2 * sizeof(float);
    for (uint32_t i = 0; i < tables; i++) d->rope[i] = gpu_take(d, d->rope_bytes);
    float *factors = s->rope_factors ? gpu_take(d, factor_bytes) : NULL;
    if (!d->rope[0] || !d->rope[tables - 1] || (s->rope_factors && !factors)) {
        gpu_give(d, factors, factor_bytes);
        return errf(eb, ST_NOMEM, "cuda: no GPU memory for %zu KiB of rotary tables: lower max_context",
                    tables * d->rope_bytes >> 10);
    }
    const double magnitude = s->rope_magnitude != 0 ? (double)s->rope_magnitude : 1;
    cudaError_t e = cudaSuccess;
    if (factors)
        e = cudaMemcpyAsync(factors, s->rope_factors, factor_bytes, cudaMemcpyHostToDevice, d->stream);
    if (e == cudaSuccess)
        e = launch_rope_table(d->rope[0], max_context, s->rope_dim, (double)s->rope_base, factors, magnitude,
                              d->stream);
    if (e == cudaSuccess && d->rope[1])
        e = launch_rope_table(d->rope[1], max_context, s->rope_dim, (double)s->rope_local_base, NULL, 1,
                              d->stream);
    bool ok = gpu_ok(d, e, "rope table") && gpu_wait(d, d->stream, d->done, "rope table") == ST_OK;
    gpu_give(d, factors, factor_bytes);
    return ok ? ST_OK : gpu_fault_text(d, eb);
}

static size_t partial_bytes(const device *d) {
    return (size_t)d->partial_items * d->attention.heads * (d->attention.layout.head_dim + 2) * sizeof(float);
}

static size_t counter_bytes(const device *d) {
    return (size_t)d->partial_items * d->attention.layout.kv_heads * sizeof(uint32_t);
}

static status make_partials(device *d, uint32_t max_context, errbuf *eb) {
    uint32_t rows = MIN(d->opt.max_rows, d->opt.max_seqs);
    d->partial_items =
        decode_plan_items_max(&d->plan, rows, (uint64_t)d->opt.page_count * KV_PAGE_TOKENS, max_context);
    d->partials = gpu_take(d, partial_bytes(d));
    d->counters = gpu_take(d, counter_bytes(d));
    if (d->partials && d->counters) return ST_OK;
    return errf(eb, ST_NOMEM, "cuda: no GPU memory for %zu KiB of partial sums of attention (%u splits)",
                (partial_bytes(d) + counter_bytes(d)) >> 10, d->partial_items);
}

static status make_events(device *d, errbuf *eb) {
    uint32_t layers = d->attention.layout.layers;
    d->layer_done = xcalloc((size_t)2 * layers, sizeof(cudaEvent_t));
    for (uint32_t i = 0; i < 2 * layers; i++)
        if (!gpu_ok(d, cudaEventCreateWithFlags(&d->layer_done[i], cudaEventDisableTiming), "layer events"))
            return gpu_fault_text(d, eb);
    return ST_OK;
}

void cuda_attend_done(device *d) {
    PRE(d);
    step_free(d);
    kv_stage_free(d);
    for (uint32_t i = 0; d->layer_done && i < 2 * d->attention.layout.layers; i++)
        if (d->layer_done[i]) (void)cudaEventDestroy(d->layer_done[i]);
    free(d->layer_done);
    d->layer_done = NULL;
    for (uint32_t i = 0; i < ARRAY_LEN(d->rope); i++) gpu_give(d, d->rope[i], d->rope_bytes);
    gpu_give(d, d->partials, partial_bytes(d));
    gpu_give(d, d->counters, counter_bytes(d));
    d->rope[0] = d->rope[1] = d->partials = NULL;
    d->counters = NULL;
}

status cuda_attend_setup(device *d, const attend_setup *s, errbuf *eb) {
    PRE(d);
    PRE(s);
    PRE(s->layout.layers > 0);
    PRE(s->layout.kv_heads > 0);
    PRE(s->heads % s->layout.kv_heads == 0);
    PRE(s->rope_dim <= s->layout.head_dim);
    PRE(s->rope_dim % 2 == 0);
    if (gpu_faulted(d)) return gpu_fault_text(d, eb);
    status st = check_setup(d, s, eb);
    if (st != ST_OK) return st;
    cuda_attend_done(d);
    weight_stage_free(d); /* the weights are loaded */
    d->attention = *s;
    d->attention.rope_factors = NULL;
    uint32_t max_context = d->opt.max_seq_pages * KV_PAGE_TOKENS;
    d->plan = decode_plan_make(d->opt.deterministic, max_context, d->sm_count, s->layout.kv_heads);
    st = make_rope(d, s, max_context, eb);
    if (st == ST_OK) st = make_partials(d, max_context, eb);
    if (st == ST_OK) st = make_events(d, eb);
    if (st == ST_OK) st = samples_lists_new(d, eb);
    if (st == ST_OK) st = kv_stage_new(d, eb);
    if (st == ST_OK) st = kv_stage_warm(d, eb);
    if (st == ST_OK) st = step_new(d, eb);
    return st; /* close frees what there is */
}

/* --- rows --- */

status cuda_embed(device *d, const op_embed *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    const step_view *v = gpu_step(d);
    PRE(a->table->type == d->type);
    PRE(!a->positions || a->positions->type == d->type);
    PRE(!a->positions || a->positions->cols == a->table->cols);
    for (uint32_t i = 0; a->positions && i < v->op->seq_count; i++)
        PRE(v->op->seqs[i].pos + v->op->seqs[i].row_count <= a->positions->rows);
    const embed_args args = {.type = d->type,
                             .table = a->table->data,
                             .positions = a->positions ? a->positions->data : NULL,
                             .scale = a->scale,
                             .t = v->tables,
                             .rows = a->rows,
                             .dim = a->table->cols,
                             .x = a->x};
    return gpu_op_end(d, launch_embed(&args, d->stream), "embed");
}

static status run_norm(device *d, const norm_args *a, const weight *w, const char *op) {
    PRE(w->type == NUM_F32);
    PRE(w->cols == a->dim);
    return gpu_op_end(d, launch_norm(a, d->stream), op);
}

status cuda_norm(device *d, const op_norm *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    PRE(a->x || a->delta);
    const norm_args args = {.type = d->type,
                            .kind = a->kind,
                            .x = a->x,
                            .delta = a->delta,
                            .weight = a->weight->data,
                            .bias = a->weight->bias,
                            .rows = a->rows,
                            .dim = a->dim,
                            .eps = a->eps,
                            .out = a->out};
    return run_norm(d, &args, a->weight, "norm");
}

status cuda_head_norm(device *d, const op_head_norm *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    const norm_args args = {.type = d->type,
                            .kind = a->kind,
                            .x = (float *)a->x, /* only read: there is a head */
                            .delta = a->delta,
                            .weight = a->weight->data,
                            .bias = a->weight->bias,
                            .head = gpu_step(d)->tables.head + a->begin,
                            .rows = a->count,
                            .dim = a->dim,
                            .eps = a->eps,
                            .out = a->out};
    return run_norm(d, &args, a->weight, "head norm");
}

/* --- products --- */

static status own_product(device *d, const linear_args *a, const char *op) {
    return gpu_op_end(d, launch_linear(a, d->stream), op);
}

/* The library multiplies and adds the bias; what needs an activation goes through scratch [rows, n].
 * ST_UNSUPPORTED: it has nothing for this shape. */
static status library_product(device *d, const linear_args *a, void *scratch, const char *op) {
    errbuf text = {0};
    linear_args plain = *a;
    const bool gated = a->mode == LINEAR_GATE_UP, acts = gated || a->mode == LINEAR_UNGATED;
    if (acts) {
        plain.out = scratch;
        plain.mode = LINEAR_ACT;
    }
    status st = gemm_lt_linear(d->gemm, &plain, &text);
    if (st == ST_UNSUPPORTED) return st;
    if (st == ST_TIMEOUT) return gpu_hung(d, text.text);
    if (st != ST_OK) return gpu_fault(d, text.text);
    const act_args act = {.type = d->type,
                          .act = a->act,
                          .gated = gated,
                          .x = scratch,
                          .rows = a->rows,
                          .dim = gated ? a->n / 2 : a->n,
                          .out = a->out};
    return gpu_op_end(d, acts ? launch_act_mul(&act, d->stream) : cudaSuccess, op);
}

static linear_args rows_of(const linear_args *a, const step_run *run) {
    const size_t width = a->mode == LINEAR_GATE_UP ? a->n / 2 : a->n, bytes = num_bytes(a->type);
    linear_args part = *a;
    part.rows = run->count;
    part.x = (const char *)a->x + (size_t)run->begin * a->k * bytes;
    part.out = (char *)a->out + run->begin * width * bytes;
    return part;
}

static status prompt_product(device *d, const linear_args *a, void *scratch, const char *op) {
    const uint32_t shapes = gemm_lt_shapes(d->gemm);
    status st = library_product(d, a, scratch, op);
    if (gemm_lt_shapes(d->gemm) != shapes) gpu_name_path(d);
    return st == ST_UNSUPPORTED ? own_product(d, a, op) : st;
}

/* Deterministic mode: each row by the kernel of its kind. */
static status product_by_kind(device *d, const linear_args *a, void *scratch, const char *op) {
    const step_view *v = gpu_step(d);
    if (v->prompt_rows == 0 || a->mode == LINEAR_F32) return own_product(d, a, op);
    PRE(a->rows == v->op->rows);
    for (uint32_t i = 0; i < v->run_count; i++) {
        const linear_args part = rows_of(a, &v->runs[i]);
        status st = v->runs[i].prompt ? prompt_product(d, &part, scratch, op) : own_product(d, &part, op);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static status product(device *d, const linear_args *a, void *scratch, const char *op) {
    /* An output head with a bias is one that no model has: the library would want it in f32. */
    if (!d->gemm || (a->mode == LINEAR_F32 && a->bias)) return own_product(d, a, op);
    if (d->opt.deterministic) return product_by_kind(d, a, scratch, op);
    return a->rows <= LINEAR_FEW_ROWS ? own_product(d, a, op) : library_product(d, a, scratch, op);
}

status cuda_linear(device *d, const op_linear *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    PRE(a->w->form != WEIGHT_GATE_UP);
    PRE(a->w->type == d->type);
    const linear_args args = {.type = d->type,
                              .x = a->x,
                              .w = a->w->data,
                              .rows = a->rows,
                              .n = a->w->rows,
                              .k = a->w->cols,
                              .out = a->out,
                              .mode = a->logits ? LINEAR_F32 : LINEAR_ACT,
                              .bias = a->w->bias};
    return product(d, &args, NULL, "linear");
}

status cuda_gate_up(device *d, const op_gate_up *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    PRE(a->w->form != WEIGHT_QKV);
    PRE(a->w->type == d->type);
    const linear_args args = {.type = d->type,
                              .x = a->x,
                              .w = a->w->data,
                              .rows = a->rows,
                              .n = a->w->rows,
                              .k = a->w->cols,
                              .out = a->out,
                              .mode = a->w->form == WEIGHT_GATE_UP ? LINEAR_GATE_UP : LINEAR_UNGATED,
                              .act = a->act,
                              .bias = a->w->bias};
    return product(d, &args, a->scratch, "gate_up");
}

/* --- attention --- */

/* All decode items of the step, in as many launches as the room for partial sums makes it. */
static cudaError_t decode_rows(device *d, const attend_args *args, const step_view *v) {
    if (v->recording) return launch_attend_decode(args, 0, UINT32_MAX, v->grid, true, d->stream);
    for (uint32_t begin = 0; begin < v->item_count;) {
        uint32_t count = decode_plan_range(v->items, begin, v->item_count, d->partial_items);
        cudaError_t e = launch_attend_decode(args, begin, count, count, v->fused, d->stream);
        if (e != cudaSuccess) return e;
        begin += count;
    }
    return cudaSuccess;
}

static cudaError_t attend_rows(device *d, const attend_args *args, const step_view *v) {
    if (v->fused && d->type != NUM_F32) return decode_rows(d, args, v);
    cudaError_t e = launch_rope_kv(args, d->stream);
    if (e != cudaSuccess) return e;
    if (d->type == NUM_F32) return launch_attend_f32(args, d->stream);
    if (v->tile_count > 0) e = launch_attend_prefill(args, 0, v->tile_count, d->stream);
    return e == cudaSuccess ? decode_rows(d, args, v) : e;
}

status cuda_attend(device *d, const op_attend *a) {
    PRE(d);
    PRE(a);
    if (gpu_faulted(d)) return ST_DEVICE;
    const step_view *v = gpu_step(d);
    const kv_layout *l = &d->attention.layout;
    const uint32_t max_context = d->opt.max_seq_pages * KV_PAGE_TOKENS;
    PRE(!a->q_norm == !a->k_norm);
    PRE(!a->rope_local || d->attention.rope_dim == 0 || d->rope[1]);
    const attend_args args = {.type = d->type,
                              .kv = d->attention.kv,
                              .layers = l->layers,
                              .layer = a->layer,
                              .kv_heads = l->kv_heads,
                              .heads = d->attention.heads,
                              .head_dim = l->head_dim,
                              .scale = d->attention.scale,
                              .kind = d->attention.rope,
                              .rope = d->rope[a->rope_local],
                              .rope_dim = d->attention.rope_dim,
                              .window = a->window < max_context ? a->window : 0,
                              .q_norm = a->q_norm ? a->q_norm->data : NULL,
                              .k_norm = a->k_norm ? a->k_norm->data : NULL,
                              .norm_eps = a->norm_eps,
                              .t = v->tables,
                              .rows = a->rows,
                              .qkv = a->qkv,
                              .out = a->out,
                              .partials = d->partials,
                              .counters = d->counters};
    PRE(a->layer < l->layers);
    return gpu_op_end(d, attend_rows(d, &args, v), "attend");
}

status cuda_layer_mark(device *d, uint32_t layer) {
    PRE(d);
    if (gpu_faulted(d)) return ST_DEVICE;
    PRE(layer < d->attention.layout.layers);
    PRE(!gpu_step(d)->recording); /* a step with marks has hooks, and is not repeatable */
    cudaEvent_t event = gpu_layer_event(d, d->step_number, layer);
    return gpu_ok(d, cudaEventRecord(event, d->stream), "layer mark") ? ST_OK : ST_DEVICE;
}
