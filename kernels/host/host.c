#include "kernels/host/host.h"

#include "base/mem.h"
#include "base/memcheck.h"
#include "kernels/half.h"
#include "kernels/host/host_kinds.h"
#include "kernels/host/host_weight.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

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

static float *row_of(host_device *h, uint32_t dim) {
    if (dim > h->row_dim) h->row = xrealloc(h->row, dim, sizeof *h->row);
    h->row_dim = MAX(h->row_dim, dim);
    return h->row;
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
    free(h->row);
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
    *out = (device_memory){.host = true};
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

/* Pages that are given back come again as zeros, so that a pool of gigabytes is written once and not twice.
 * They are taken now, not by the first requests. */
static void zero(void *p, size_t bytes, bool whole_pages) {
    if (whole_pages && madvise(p, bytes, MADV_DONTNEED) == 0) {
        (void)madvise(p, bytes, MADV_POPULATE_WRITE);
        MEMCHECK_DEFINED(p, bytes);
    } else {
        memset(p, 0, bytes);
    }
}

void *host_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64, whole = (bytes + align - 1) / align * align;
    if (whole < bytes) return NULL;
    void *p = aligned_alloc(align, whole ? whole : align);
    /* Pools are read in pieces of a few KiB all over them, which costs misses of the TLB in small pages. A
     * kernel that does not obey loses that only. */
    if (p && align == HUGE_PAGE) (void)madvise(p, whole, MADV_HUGEPAGE);
    if (p) zero(p, whole, align == HUGE_PAGE);
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

status host_weight_init(weight *w, const weight_parts *parts, errbuf *eb) {
    PRE(w);
    PRE(parts);
    PRE(weight_is_there(parts));
    w->parts = *parts;
    for (uint32_t i = 0; i < weight_form_parts(parts->form); i++) {
        tensor *t = &w->parts.part[i];
        PRE(t->cols == parts->part[0].cols);
        PRE(parts->form != WEIGHT_GATE_UP || t->rows == parts->part[0].rows);
        if (t->data) continue;
        w->owned[i] = make_random(t);
        t->data = w->owned[i];
        if (!w->owned[i])
            return errf(eb, ST_NOMEM, "no memory for a random weight of %u x %u", parts->part[i].rows,
                        parts->part[i].cols);
    }
    return ST_OK;
}

void host_weight_done(weight *w) {
    PRE(w);
    for (uint32_t i = 0; i < WEIGHT_PARTS_MAX; i++) free(w->owned[i]);
}

status host_weight_load(device *d, const weight_parts *parts, weight **out, errbuf *eb) {
    PRE(d);
    PRE(out);
    weight *w = xcalloc(1, sizeof *w);
    status st = host_weight_init(w, parts, eb);
    if (st == ST_OK)
        *out = w;
    else
        host_weight_free(d, w);
    return st;
}

void host_weight_free(device *d, weight *w) {
    PRE(d);
    if (!w) return;
    host_weight_done(w);
    free(w);
}

status host_weights_ready(device *d, weight_home *out, errbuf *eb) {
    PRE(d);
    PRE(out);
    (void)eb;
    *out = (weight_home){0};
    return ST_OK;
}

static uint64_t tensor_bytes(const tensor *t) {
    return t->rows ? (uint64_t)t->rows * dtype_row_bytes(t->type, t->cols) : 0;
}

uint64_t host_weight_bytes(dtype act_type, const weight_parts *parts) {
    PRE(parts);
    (void)act_type; /* weights stay in the type of the file */
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < weight_form_parts(parts->form); i++)
        bytes += tensor_bytes(&parts->part[i]) + tensor_bytes(&parts->bias[i]);
    return bytes;
}

static const tensor *plain(const weight *w) {
    PRE(w->parts.form == WEIGHT_PLAIN);
    return &w->parts.part[0];
}

/* The bias of part i, or NULL */
static const float *bias_of(const weight *w, uint32_t i) {
    return w->parts.bias[i].data;
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
    const host_device *h = peek(d);
    PRE(h->step);
    PRE(a->rows == h->step->rows);
    RUN(d, embed, .table = plain(a->table), .ids = h->step->ids, .rows = a->rows, .out = a->x);
    return host_embed_rest(d, a);
}

status host_embed_rest(device *d, const op_embed *a) {
    const host_device *h = peek(d);
    PRE(h->step);
    if (a->scale != 0)
        for (size_t i = 0; i < (size_t)a->rows * plain(a->table)->cols; i++) a->x[i] *= a->scale;
    if (!a->positions) return ST_OK;
    const tensor *table = plain(a->positions);
    float *row = row_of(host_of(d), table->cols);
    for (uint32_t r = 0; r < a->rows; r++) {
        PRE(h->pos[r] < table->rows);
        const int32_t pos = (int32_t)h->pos[r];
        RUN(d, embed, .table = table, .ids = &pos, .rows = 1, .out = row);
        RUN(d, add, .x = a->x + (size_t)r * table->cols, .y = row, .rows = 1, .dim = table->cols);
    }
    return ST_OK;
}

/* out = norm(x) * weight (+ bias); out may be x. */
static status norm_rows(device *d, const host_rmsnorm *a, norm_kind kind, const float *bias) {
    switch (kind) {
    case NORM_RMS: {
        status st = host_of(d)->kernels->rmsnorm(d, a);
        if (st != ST_OK) return failed_op(d, "rmsnorm", st);
        break;
    }
    case NORM_LAYER:
        host_layer_norm(a);
        break;
    }
    if (bias) host_add_bias(a->out, bias, a->rows, a->dim);
    return ST_OK;
}

status host_norm(device *d, const op_norm *a) {
    PRE(a);
    PRE(a->weight);
    PRE(a->x || a->delta);
    if (a->x && a->delta) RUN(d, add, .x = a->x, .y = a->delta, .rows = a->rows, .dim = a->dim);
    const float *x = a->x ? a->x : a->delta;
    const host_rmsnorm n = {
        .x = x, .weight = plain(a->weight), .rows = a->rows, .dim = a->dim, .eps = a->eps, .out = a->out};
    return norm_rows(d, &n, a->kind, bias_of(a->weight, 0));
}

/* Part i of a product, [rows, rows of the part] */
static status linear_part(device *d, const weight *w, uint32_t i, const float *x, uint32_t rows, float *out) {
    const tensor *t = &w->parts.part[i];
    RUN(d, linear, .x = x, .weight = t, .rows = rows, .out = out);
    if (bias_of(w, i)) host_add_bias(out, bias_of(w, i), rows, t->rows);
    return ST_OK;
}

status host_linear_op(device *d, const op_linear *a) {
    PRE(a);
    PRE(a->w->parts.form != WEIGHT_GATE_UP);
    float *out = a->out;
    for (uint32_t i = 0; i < weight_form_parts(a->w->parts.form); i++) {
        status st = linear_part(d, a->w, i, a->x, a->rows, out);
        if (st != ST_OK) return st;
        out += (size_t)a->rows * a->w->parts.part[i].rows;
    }
    return ST_OK;
}

static status rotate(device *d, float *x, uint32_t heads, uint32_t rows, bool local) {
    const host_device *h = host_of(d);
    const attend_setup *s = &h->attention;
    if (s->rope_dim == 0) return ST_OK;
    const host_rope rope = {.x = x,
                            .pos = h->pos,
                            .rows = rows,
                            .heads = heads,
                            .head_dim = s->layout.head_dim,
                            .rope_dim = s->rope_dim,
                            .base = local ? s->rope_local_base : s->rope_base,
                            .factors = local ? NULL : s->rope_factors,
                            .magnitude = local ? 0 : s->rope_magnitude};
    switch (s->rope) {
    case ROPE_PAIRS: {
        status st = h->kernels->rope(d, &rope);
        return st == ST_OK ? ST_OK : failed_op(d, "rope", st);
    }
    case ROPE_HALVES:
        host_rope_halves(&rope);
        break;
    }
    return ST_OK;
}

/* Heads of queries or keys: the norm that they may have, and the rotation. */
static status prepare_heads(device *d, const op_attend *a, const weight *norm, float *x, uint32_t heads) {
    const uint32_t head_dim = peek(d)->attention.layout.head_dim;
    if (norm)
        RUN(d, rmsnorm, .x = x, .weight = plain(norm), .rows = a->rows * heads, .dim = head_dim,
            .eps = a->norm_eps, .out = x);
    return rotate(d, x, heads, a->rows, a->rope_local);
}

status host_attend(device *d, const op_attend *a) {
    const host_device *h = host_of(d);
    const attend_setup *s = &h->attention;
    PRE(s->kv);
    PRE(h->step);
    PRE(a->rows == h->step->rows);
    PRE(!a->q_norm == !a->k_norm);
    size_t kv_block = (size_t)a->rows * s->layout.kv_heads * s->layout.head_dim;
    float *q = a->qkv, *k = q + (size_t)a->rows * s->heads * s->layout.head_dim, *v = k + kv_block;
    status st = prepare_heads(d, a, a->q_norm, q, s->heads);
    if (st == ST_OK) st = prepare_heads(d, a, a->k_norm, k, s->layout.kv_heads);
    if (st != ST_OK) return st;
    RUN(d, kv_write, .layout = &s->layout, .kv = s->kv, .layer = a->layer, .k = k, .v = v, .refs = h->refs,
        .rows = a->rows);
    RUN(d, attention, .layout = &s->layout, .kv = s->kv, .layer = a->layer, .q = q, .refs = h->refs,
        .rows = a->rows, .heads = s->heads, .scale = s->scale, .window = a->window, .out = a->out);
    return ST_OK;
}

status host_gate_up(device *d, const op_gate_up *a) {
    PRE(a->w->parts.form != WEIGHT_QKV);
    const bool gated = a->w->parts.form == WEIGHT_GATE_UP;
    const uint32_t dim = a->w->parts.part[0].rows;
    float *gate = a->scratch, *up = gated ? gate + (size_t)a->rows * dim : NULL;
    status st = linear_part(d, a->w, 0, a->x, a->rows, gate);
    if (st == ST_OK && gated) st = linear_part(d, a->w, 1, a->x, a->rows, up);
    if (st != ST_OK) return st;
    RUN(d, act_mul, .act = a->act, .gate = gate, .up = up, .rows = a->rows, .dim = dim, .out = a->out);
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
    const host_rmsnorm n = {
        .x = out, .weight = plain(a->weight), .rows = a->count, .dim = a->dim, .eps = a->eps, .out = out};
    return norm_rows(d, &n, a->kind, bias_of(a->weight, 0));
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
