/* weights - matrices from the model file into GPU memory, in the activations' type and in the kernels'
 * order.
 *
 * Streaming: chunks of rows are converted by the host into one of two pinned buffers while the other one is
 * copied, so a file that is mapped is read once, front to back, and never held in host memory. Weights of
 * blocks (Q4_0 ...) become plain numbers here, and several threads share the rows of a chunk. A row is
 * converted by itself, so its bytes do not depend on their number. Vectors stay in f32, since norms are
 * computed in it. Random tensors are made by the GPU itself.
 *
 *   WEIGHT_QKV       rows of q, then k, then v: one product makes all three
 *   WEIGHT_GATE_UP   groups of 8 rows of gate and of up alternate, so that the block that computes a row of
 *                    one computes its partner of the other and multiplies them at once
 *
 * A bias lies behind its weight, in the same order: a matrix of one column. That of a product has the
 * activations' type, so that our own kernels and the library add the same numbers; that of a norm is f32. */
#include "kernels/cuda/weights.h"

#include "base/mem.h"
#include "kernels/cuda/samples.h"
#include "kernels/cuda/weight_rows.h"
#include "kernels/host/team.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define BIAS_ALIGN   ((size_t)256) /* of where it begins */
#define BIAS_PADDING 8u            /* numbers of a product's: zeros to a multiple of it (launch.h) */
#define CHUNK_BYTES  ((size_t)4 << 20)
#define TASK_BYTES   ((size_t)64 << 10) /* what a thread converts at a time */
#define LAUNCHES_MAX 512u /* before the next wait: a full queue blocks a launch without a deadline */
#define READERS_MAX  8u   /* threads, when the config does not ask for more than one */

/* Where a row of the finished matrix comes from. */
typedef struct origin {
    const tensor *part;
    uint32_t row;
    uint32_t run; /* rows from here on that lie one after another in both */
} origin;

static origin origin_of(weight_form form, const tensor *const *parts, uint32_t row) {
    if (form == WEIGHT_GATE_UP) {
        uint32_t group = row / GATE_UP_GROUP, in_group = row % GATE_UP_GROUP;
        return (origin){.part = parts[group % 2],
                        .row = group / 2 * GATE_UP_GROUP + in_group,
                        .run = GATE_UP_GROUP - in_group};
    }
    while (row >= (*parts)->rows) row -= (*parts++)->rows;
    return (origin){.part = *parts, .row = row, .run = (*parts)->rows - row};
}

/* --- streaming --- */

/* Two pinned buffers for all weights of the device, which are pinned once and not for each weight. */
struct weight_stage {
    void *pinned[2];
    cudaEvent_t copied[2]; /* what was copied from there last has left it */
    size_t bytes;          /* of one */
    uint32_t turn;
    team *readers;
    float *scratch; /* [threads, scratch_count] a row for each thread */
    uint32_t scratch_count;
};

void weight_stage_free(device *d) {
    PRE(d);
    weight_stage *s = d->weights;
    if (!s) return;
    for (int i = 0; i < 2; i++) {
        gpu_pinned_give(d, s->pinned[i]);
        if (s->copied[i]) (void)cudaEventDestroy(s->copied[i]);
    }
    team_free(s->readers);
    free(s->scratch);
    free(s);
    d->weights = NULL;
}

/* What was configured; one, which is also what nobody configured, stands for as many as there are CPUs for.
 */
static uint32_t reader_count(const device *d) {
    cpu_set_t ours;
    if (d->opt.threads > 1) return MIN(d->opt.threads, TEAM_THREADS_MAX);
    if (sched_getaffinity(0, sizeof ours, &ours) != 0) return 1;
    return MIN((uint32_t)CPU_COUNT(&ours), READERS_MAX);
}

/* A stage that has room for a row of the weight. */
static status reserve_stage(device *d, const weight *w, errbuf *eb) {
    size_t row_bytes = w->cols * num_bytes(w->type);
    if (d->weights && row_bytes <= d->weights->bytes && w->cols <= d->weights->scratch_count) return ST_OK;
    weight_stage_free(d);
    weight_stage *s = d->weights = xcalloc(1, sizeof *s);
    s->bytes = MAX(CHUNK_BYTES, row_bytes);
    status st = team_new(&s->readers, reader_count(d), NULL, eb);
    if (st != ST_OK) return err_prefix(eb, st, "cuda: conversion of weights");
    s->scratch_count = w->cols;
    s->scratch = xcalloc((size_t)team_threads(s->readers) * w->cols, sizeof *s->scratch);
    for (int i = 0; i < 2; i++) {
        s->pinned[i] = gpu_pinned_take(s->bytes);
        if (!s->pinned[i])
            return errf(eb, ST_NOMEM, "cuda: no pinned host memory for %zu KiB of weights on their way",
                        2 * s->bytes >> 10);
        if (!gpu_ok(d, cudaEventCreateWithFlags(&s->copied[i], cudaEventDisableTiming), "weights"))
            return gpu_fault_text(d, eb);
    }
    return ST_OK;
}

/* Rows [begin, begin + count) of a weight on their way into host memory. */
typedef struct chunk {
    const weight *w;
    const tensor *const *parts;
    uint32_t begin, count, task_rows;
    char *to;
    float *scratch; /* [threads, cols] */
} chunk;

static void read_rows(void *ctx, uint32_t task, uint32_t thread) {
    const chunk *c = ctx;
    const size_t row_bytes = c->w->cols * num_bytes(c->w->type);
    float *scratch = c->scratch + (size_t)thread * c->w->cols;
    const uint32_t begin = task * c->task_rows, end = MIN(begin + c->task_rows, c->count);
    for (uint32_t i = begin; i < end; i++) {
        origin o = origin_of(c->w->form, c->parts, c->begin + i);
        weight_row_read(o.part, o.row, c->w->type, c->to + i * row_bytes, scratch);
    }
}

/* Rows [begin, begin + count), all from files, through one pinned buffer. An event that was not recorded yet
 * is done.
 */
static status load_chunk(device *d, const weight *w, const tensor *const *parts, uint32_t begin,
                         uint32_t count) {
    weight_stage *s = d->weights;
    uint32_t side = s->turn++ % 2;
    size_t row_bytes = w->cols * num_bytes(w->type);
    if (gpu_wait_event(d, s->copied[side], "weights") != ST_OK) return ST_DEVICE;
    chunk c = {.w = w,
               .parts = parts,
               .begin = begin,
               .count = count,
               .task_rows = (uint32_t)MAX(TASK_BYTES / row_bytes, (size_t)1),
               .to = s->pinned[side],
               .scratch = s->scratch};
    team_run(s->readers, (count + c.task_rows - 1) / c.task_rows, read_rows, &c);
    cudaError_t e = cudaMemcpyAsync((char *)w->data + begin * row_bytes, s->pinned[side], count * row_bytes,
                                    cudaMemcpyHostToDevice, d->stream);
    if (e == cudaSuccess) e = cudaEventRecord(s->copied[side], d->stream);
    return gpu_ok(d, e, "weights") ? ST_OK : ST_DEVICE;
}

/* The last copies may still be under way when it returns: what uses the weight comes after them in the
 * stream. */
static status load_rows(device *d, const weight *w, const tensor *const *parts, errbuf *eb) {
    status st = reserve_stage(d, w, eb);
    if (st != ST_OK) {
        weight_stage_free(d); /* half of one serves nobody */
        return st;
    }
    uint32_t rows = (uint32_t)(d->weights->bytes / (w->cols * num_bytes(w->type)));
    for (uint32_t row = 0; st == ST_OK && row < w->rows; row += rows)
        st = load_chunk(d, w, parts, row, MIN(rows, w->rows - row));
    return st == ST_OK ? ST_OK : gpu_fault_text(d, eb);
}

static status fill_random(device *d, const weight *w, const tensor *const *parts, errbuf *eb) {
    size_t row_bytes = w->cols * num_bytes(w->type);
    for (uint32_t row = 0, launches = 1; row < w->rows; launches++) {
        origin o = origin_of(w->form, parts, row);
        uint32_t run = MIN(o.run, w->rows - row);
        cudaError_t e = launch_random_fill(w->type, (char *)w->data + row * row_bytes, o.part->random_seed,
                                           (uint64_t)o.row * w->cols, (uint64_t)run * w->cols,
                                           o.part->random_scale, d->stream);
        if (!gpu_ok(d, e, "random weights") ||
            (launches % LAUNCHES_MAX == 0 && gpu_wait(d, d->stream, d->done, "random weights") != ST_OK))
            return gpu_fault_text(d, eb);
        row += run;
    }
    return ST_OK;
}

/* --- a weight --- */

static status check_parts(weight_form form, const tensor *const *parts, errbuf *eb) {
    for (uint32_t i = 0; i < weight_form_parts(form); i++) {
        PRE(parts[i]->cols == parts[0]->cols);
        PRE(!parts[i]->data == !parts[0]->data);
        if (form == WEIGHT_GATE_UP) {
            PRE(parts[i]->rows == parts[0]->rows);
            if (parts[i]->rows % GATE_UP_GROUP != 0)
                return errf(eb, ST_UNSUPPORTED, "cuda: feed-forward of %u numbers: want a multiple of %u",
                            parts[i]->rows, GATE_UP_GROUP);
        }
        if (parts[i]->rows > 1 && parts[i]->cols % 8 != 0)
            return errf(eb, ST_UNSUPPORTED,
                        "cuda: a weight matrix with rows of %u numbers: want a multiple of 8",
                        parts[i]->cols);
    }
    return ST_OK;
}

/* Rows of all parts, and the type that they are kept in. */
static uint32_t rows_of(const weight_parts *from) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < weight_form_parts(from->form); i++) rows += from->part[i].rows;
    return rows;
}

static bool has_bias(const weight_parts *from) {
    for (uint32_t i = 0; i < weight_form_parts(from->form); i++)
        if (from->bias[i].data) return true;
    return false;
}

/* Where the bias of a weight begins, and where it ends. */
static uint64_t bias_begin(dtype act_type, const weight_parts *from) {
    const uint32_t rows = rows_of(from);
    const uint64_t bytes =
        (uint64_t)rows * from->part[0].cols * (rows == 1 ? sizeof(float) : dtype_block_bytes(act_type));
    return has_bias(from) ? (bytes + BIAS_ALIGN - 1) / BIAS_ALIGN * BIAS_ALIGN : bytes;
}

uint64_t cuda_weight_bytes(dtype act_type, const weight_parts *from) {
    PRE(from);
    const uint64_t rows = rows_of(from), begin = bias_begin(act_type, from);
    if (!has_bias(from)) return begin;
    if (rows == 1) return begin + from->part[0].cols * sizeof(float);
    return begin + (rows + BIAS_PADDING - 1) / BIAS_PADDING * BIAS_PADDING * dtype_block_bytes(act_type);
}

/* Parts without a bias have one of zeros. */
static status load_bias(device *d, weight *w, const weight_parts *from, errbuf *eb) {
    if (!has_bias(from)) return ST_OK;
    const uint32_t count = weight_form_parts(from->form);
    weight bias = {.form = w->form, .type = w->type, .rows = w->rows, .cols = 1};
    bias.data = (char *)w->data + bias_begin(d->opt.act_type, from);
    if (w->rows == 1) bias.cols = w->cols;
    tensor views[WEIGHT_PARTS_MAX];
    const tensor *parts[WEIGHT_PARTS_MAX] = {NULL};
    float *zeros = xcalloc(w->rows, sizeof *zeros);
    for (uint32_t i = 0; i < count; i++) {
        const tensor *b = &from->bias[i];
        PRE(!b->data || b->type == DT_F32);
        PRE(!b->data || b->cols == (w->rows == 1 ? w->cols : from->part[i].rows));
        views[i] = (tensor){
            .type = DT_F32, .rows = from->part[i].rows, .cols = bias.cols, .data = b->data ? b->data : zeros};
        parts[i] = &views[i];
    }
    w->bias = bias.data;
    status st = load_rows(d, &bias, parts, eb);
    free(zeros);
    return st;
}

status cuda_weights_ready(device *d, weight_home *out, errbuf *eb) {
    PRE(d);
    PRE(out);
    (void)eb;
    *out = (weight_home){0};
    return ST_OK;
}

status cuda_weight_load(device *d, const weight_parts *from, weight **out, errbuf *eb) {
    PRE(d);
    PRE(from);
    PRE(out);
    const weight_form form = from->form;
    const tensor *parts[WEIGHT_PARTS_MAX];
    for (uint32_t i = 0; i < WEIGHT_PARTS_MAX; i++) parts[i] = &from->part[i];
    if (gpu_faulted(d)) return gpu_fault_text(d, eb);
    status st = check_parts(form, parts, eb);
    if (st != ST_OK) return st;
    weight *w = xcalloc(1, sizeof *w);
    *w = (weight){.form = form, .type = d->type, .cols = parts[0]->cols};
    w->rows = rows_of(from);
    if (w->rows == 1) w->type = NUM_F32;
    w->bytes = cuda_weight_bytes(d->opt.act_type, from);
    w->data = gpu_take(d, w->bytes);
    /* The output head is a plain matrix, and which one it is shows only when it is used: room for each of
     * them. */
    if (w->data && form == WEIGHT_PLAIN && w->rows > 1) st = samples_reserve(d, w->rows);
    if (!w->data || st != ST_OK) {
        size_t bytes = w->bytes;
        cuda_weight_free(d, w);
        if (gpu_faulted(d)) return gpu_fault_text(d, eb);
        return errf(eb, ST_NOMEM,
                    "cuda: no GPU memory for a weight of %zu KiB: %.0f MiB of %.0f are taken, and "
                    "memory_fraction is %g",
                    bytes >> 10, (double)d->used / 0x1p20, (double)d->total / 0x1p20, d->opt.memory_fraction);
    }
    st = parts[0]->data ? load_rows(d, w, parts, eb) : fill_random(d, w, parts, eb);
    if (st == ST_OK) st = load_bias(d, w, from, eb);
    if (st != ST_OK) {
        cuda_weight_free(d, w);
        return st;
    }
    *out = w;
    return ST_OK;
}

void cuda_weight_free(device *d, weight *w) {
    PRE(d);
    if (!w) return;
    gpu_give(d, w->data, w->bytes);
    free(w);
}
