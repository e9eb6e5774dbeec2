#include "kernels/host/host.h"

#include "base/mem.h"
#include "kernels/half.h"

#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 3u

struct weight {
    weight_form form;
    uint32_t part_count;
    tensor parts[PARTS_MAX];
    void *owned[PARTS_MAX]; /* the bf16 numbers of a random part; NULL: borrowed from the model */
};

/* A host backend's device begins with its host_device. */
static host_device *host_of(device *d) {
    PRE(d);
    return (host_device *)d;
}

static const host_device *peek(const device *d) {
    PRE(d);
    return (const host_device *)d;
}

/* Calls a small operation; a failure leaves this function, and device_error names it. */
#define RUN(d, name, ...)                                                                                    \
    do {                                                                                                     \
        status st_ = host_of(d)->kernels->name(d, &(host_##name){__VA_ARGS__});                              \
        if (st_ != ST_OK) return failed_op(d, #name, st_);                                                   \
    } while (0)

static status failed_op(device *d, const char *name, status st) {
    host_of(d)->failed = name;
    return st;
}

/* --- life --- */

static void grow_rows(host_device *h, uint32_t rows) {
    if (rows <= h->row_capacity) return;
    h->pos = xrealloc(h->pos, rows, sizeof *h->pos);
    h->refs = xrealloc(h->refs, rows, sizeof *h->refs);
    h->row_capacity = rows;
}

void host_init(host_device *h, const host_kernels *k, const device_options *opt) {
    PRE(h);
    PRE(k);
    PRE(opt);
    h->kernels = k;
    grow_rows(h, MAX(opt->max_rows, 1u));
}

void host_done(host_device *h) {
    PRE(h);
    free(h->pos);
    free(h->refs);
    sampler_free(h->sampler);
    *h = (host_device){0};
}

const char *host_path(const device *d) {
    return peek(d)->kernels->path;
}

dtype host_act_type(const device *d) {
    PRE(d);
    return DT_F32;
}

status host_memory(uint32_t gpu, device_memory *out, errbuf *eb) {
    PRE(out);
    (void)gpu;
    (void)eb;
    *out = (device_memory){.total = UINT64_MAX, .free = UINT64_MAX};
    return ST_OK;
}

status host_sync(device *d, errbuf *eb) {
    PRE(d);
    (void)eb;
    return ST_OK;
}

void host_device_error(const device *d, errbuf *eb) {
    const host_device *h = peek(d);
    errf(eb, ST_DEVICE, "%s: %s: no memory for its scratch", h->kernels->path,
         h->failed ? h->failed : "no op failed");
}

/* --- memory and weights --- */

void *host_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    size_t whole = (bytes + 63) / 64 * 64;
    if (whole < bytes) return NULL;
    void *p = aligned_alloc(64, whole ? whole : 64);
    if (p) memset(p, 0, whole);
    return p;
}

void host_mem_free(device *d, void *p, size_t bytes) {
    PRE(d);
    (void)bytes;
    free(p);
}

status host_mem_read(device *d, void *host, const void *mem, size_t bytes) {
    PRE(d);
    memcpy(host, mem, bytes);
    return ST_OK;
}

status host_mem_write(device *d, void *mem, const void *host, size_t bytes) {
    PRE(d);
    memcpy(mem, host, bytes);
    return ST_OK;
}

/* The device is the host: nothing is gained. */
memory_kind host_pin_memory(device *d, void *memory, size_t bytes) {
    PRE(d);
    PRE(memory);
    PRE(bytes > 0);
    return MEMORY_HOST;
}

void host_unpin_memory(device *d, void *memory) {
    PRE(d);
    PRE(memory);
}

/* The weights of a random tensor, which are exact in bf16. NULL when there is no memory. */
static uint16_t *make_random(const tensor *t) {
    PRE(t->type == DT_BF16);
    size_t count = (size_t)t->rows * t->cols;
    uint16_t *out = malloc(count * sizeof *out);
    for (size_t i = 0; out && i < count; i++)
        out[i] = bf16_of_f32((float)random_weight(t->random_seed, i) * t->random_scale);
    return out;
}

static uint32_t part_count_of(weight_form form) {
    switch (form) {
    case WEIGHT_PLAIN:
        return 1;
    case WEIGHT_GATE_UP:
        return 2;
    case WEIGHT_QKV:
        return 3;
    }
    check_failed("check", "known weight form", __FILE__, __LINE__, __func__);
}

status host_weight_load(device *d, weight_form form, const tensor *const *parts, weight **out, errbuf *eb) {
    PRE(d);
    PRE(parts);
    PRE(out);
    weight *w = xcalloc(1, sizeof *w);
    w->form = form;
    w->part_count = part_count_of(form);
    for (uint32_t i = 0; i < w->part_count; i++) {
        PRE(parts[i]->cols == parts[0]->cols);
        PRE(form != WEIGHT_GATE_UP || parts[i]->rows == parts[0]->rows);
        w->parts[i] = *parts[i];
        if (parts[i]->data) continue;
        w->owned[i] = make_random(parts[i]);
        w->parts[i].data = w->owned[i];
        if (w->owned[i]) continue;
        host_weight_free(d, w);
        return errf(eb, ST_NOMEM, "no memory for a random weight of %u x %u", parts[i]->rows, parts[i]->cols);
    }
    *out = w;
    return ST_OK;
}

void host_weight_free(device *d, weight *w) {
    PRE(d);
    if (!w) return;
    for (uint32_t i = 0; i < w->part_count; i++) free(w->owned[i]);
    free(w);
}

static const tensor *plain(const weight *w) {
    PRE(w->form == WEIGHT_PLAIN);
    return &w->parts[0];
}

/* --- a step --- */

status host_attend_setup(device *d, const attend_setup *s, errbuf *eb) {
    PRE(s);
    PRE(s->kv);
    PRE(s->heads % s->layout.kv_heads == 0);
    (void)eb;
    host_of(d)->attention = *s;
    return ST_OK;
}

bool host_warm(const device *d, uint32_t i, warm_step *out) {
    PRE(d);
    PRE(out);
    (void)i;
    return false;
}

status host_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb) {
    PRE(s);
    PRE(out);
    PRE(s->rows > 0);
    (void)eb;
    host_device *h = host_of(d);
    grow_rows(h, s->rows);
    uint32_t row = 0;
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const step_seq *q = &s->seqs[i];
        PRE(q->row_begin == row);
        PRE(q->row_count <= s->rows - row);
        PRE(q->page_count >= kv_pages_for(q->pos + q->row_count));
        for (uint32_t r = 0; r < q->row_count; r++, row++) {
            h->pos[row] = q->pos + r;
            h->refs[row] = (kv_ref){.pages = q->pages, .pos = q->pos + r};
        }
    }
    PRE(row == s->rows);
    for (uint32_t i = 0; i < s->head_count; i++) PRE(s->head[i] < s->rows);
    h->step = s;
    h->failed = NULL;
    *out = (step_pass){.rows = s->rows, .head_count = s->head_count};
    return ST_OK;
}

status host_step_end(device *d, errbuf *eb) {
    (void)eb;
    host_device *h = host_of(d);
    PRE(h->step);
    h->step = NULL;
    return ST_OK;
}

status host_layer_mark(device *d, uint32_t layer) {
    PRE(d);
    (void)layer;
    return ST_OK;
}

/* --- ops --- */

status host_embed_op(device *d, const op_embed *a) {
    const op_step *s = host_of(d)->step;
    PRE(s);
    PRE(a->rows == s->rows);
    RUN(d, embed, .table = plain(a->table), .ids = s->ids, .rows = a->rows, .out = a->x);
    return ST_OK;
}

status host_norm(device *d, const op_norm *a) {
    if (a->delta) RUN(d, add, .x = a->x, .y = a->delta, .rows = a->rows, .dim = a->dim);
    RUN(d, rmsnorm, .x = a->x, .weight = plain(a->weight), .rows = a->rows, .dim = a->dim, .eps = a->eps,
        .out = a->out);
    return ST_OK;
}

status host_linear_op(device *d, const op_linear *a) {
    PRE(a->w->form != WEIGHT_GATE_UP);
    float *out = a->out;
    for (uint32_t i = 0; i < a->w->part_count; i++) {
        RUN(d, linear, .x = a->x, .weight = &a->w->parts[i], .rows = a->rows, .out = out);
        out += (size_t)a->rows * a->w->parts[i].rows;
    }
    return ST_OK;
}

static status rotate(device *d, float *x, uint32_t heads, uint32_t rows) {
    const host_device *h = host_of(d);
    const attend_setup *s = &h->attention;
    RUN(d, rope, .x = x, .pos = h->pos, .rows = rows, .heads = heads, .head_dim = s->layout.head_dim,
        .rope_dim = s->rope_dim, .base = s->rope_base, .factors = s->rope_factors);
    return ST_OK;
}

status host_attend(device *d, const op_attend *a) {
    const host_device *h = host_of(d);
    const attend_setup *s = &h->attention;
    PRE(s->kv);
    PRE(h->step);
    PRE(a->rows == h->step->rows);
    size_t kv_block = (size_t)a->rows * s->layout.kv_heads * s->layout.head_dim;
    float *q = a->qkv, *k = q + (size_t)a->rows * s->heads * s->layout.head_dim, *v = k + kv_block;
    status st = rotate(d, q, s->heads, a->rows);
    if (st == ST_OK) st = rotate(d, k, s->layout.kv_heads, a->rows);
    if (st != ST_OK) return st;
    RUN(d, kv_write, .layout = &s->layout, .kv = s->kv, .layer = a->layer, .k = k, .v = v, .refs = h->refs,
        .rows = a->rows);
    RUN(d, attention, .layout = &s->layout, .kv = s->kv, .layer = a->layer, .q = q, .refs = h->refs,
        .rows = a->rows, .heads = s->heads, .scale = s->scale, .out = a->out);
    return ST_OK;
}

status host_gate_up(device *d, const op_gate_up *a) {
    PRE(a->w->form == WEIGHT_GATE_UP);
    const tensor *gate_weight = &a->w->parts[0], *up_weight = &a->w->parts[1];
    float *gate = a->scratch, *up = gate + (size_t)a->rows * gate_weight->rows;
    RUN(d, linear, .x = a->x, .weight = gate_weight, .rows = a->rows, .out = gate);
    RUN(d, linear, .x = a->x, .weight = up_weight, .rows = a->rows, .out = up);
    RUN(d, silu_mul, .gate = gate, .up = up, .rows = a->rows, .dim = gate_weight->rows, .out = a->out);
    return ST_OK;
}

status host_head_norm(device *d, const op_head_norm *a) {
    const op_step *s = host_of(d)->step;
    PRE(s);
    PRE(a->begin + a->count <= s->head_count);
    float *out = a->out;
    for (uint32_t i = 0; i < a->count; i++) {
        size_t at = (size_t)s->head[a->begin + i] * a->dim;
        const float *delta = a->delta;
        for (uint32_t k = 0; k < a->dim; k++)
            out[(size_t)i * a->dim + k] = delta ? a->x[at + k] + delta[at + k] : a->x[at + k];
    }
    RUN(d, rmsnorm, .x = out, .weight = plain(a->weight), .rows = a->count, .dim = a->dim, .eps = a->eps,
        .out = out);
    return ST_OK;
}

status host_sample(device *d, const op_sample *a) {
    host_device *h = host_of(d);
    const op_step *s = h->step;
    PRE(s);
    PRE(s->samples);
    PRE(s->results);
    PRE(a->begin + a->count <= s->head_count);
    if (h->vocab != a->vocab) {
        sampler_free(h->sampler);
        h->sampler = sampler_new(a->vocab);
        h->vocab = a->vocab;
    }
    for (uint32_t i = 0; i < a->count; i++)
        sampler_next(h->sampler, a->logits + (size_t)i * a->vocab, &s->samples[a->begin + i],
                     &s->results[a->begin + i]);
    return ST_OK;
}
