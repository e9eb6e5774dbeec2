/* attention - KV rows into pages, and softmax(q . k * scale) v over the pages of a row's sequence. */
#include "base/mem.h"
#include "kernels/half.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>

float ref_kv_get(const kv_layout *l, const void *tile, size_t i) {
    if (l->type == DT_F16) return f32_of_half_at((const uint8_t *)tile + i * 2);
    if (l->type == DT_BF16) return f32_of_bf16(((const uint16_t *)tile)[i]);
    return ((const float *)tile)[i];
}

void ref_kv_set(const kv_layout *l, void *tile, size_t i, float value) {
    if (l->type == DT_F16)
        ((uint16_t *)tile)[i] = half_of_f32(value);
    else if (l->type == DT_BF16)
        ((uint16_t *)tile)[i] = bf16_of_f32(value);
    else
        ((float *)tile)[i] = value;
}

status ref_kv_write(device *d, const host_kv_write *a) {
    PRE(d);
    const kv_layout *l = a->layout;
    for (uint32_t r = 0; r < a->rows; r++) {
        uint32_t page = a->refs[r].pages[a->refs[r].pos / KV_PAGE_TOKENS];
        size_t first = (size_t)(a->refs[r].pos % KV_PAGE_TOKENS) * l->head_dim;
        for (uint32_t h = 0; h < l->kv_heads; h++) {
            uint8_t *k_tile = (uint8_t *)a->kv + kv_tile_offset(l, page, a->layer, 0, h);
            uint8_t *v_tile = (uint8_t *)a->kv + kv_tile_offset(l, page, a->layer, 1, h);
            for (uint32_t i = 0; i < l->head_dim; i++) {
                size_t from = ((size_t)r * l->kv_heads + h) * l->head_dim + i;
                ref_kv_set(l, k_tile, first + i, a->k[from]);
                ref_kv_set(l, v_tile, first + i, a->v[from]);
            }
        }
    }
    return ST_OK;
}

/* The tile of position `pos`; *first is the index of its row. */
static const void *tile_at(const host_attention *a, uint32_t r, uint32_t pos, uint32_t is_v, uint32_t head,
                           size_t *first) {
    uint32_t page = a->refs[r].pages[pos / KV_PAGE_TOKENS];
    *first = (size_t)(pos % KV_PAGE_TOKENS) * a->layout->head_dim;
    return (const uint8_t *)a->kv + kv_tile_offset(a->layout, page, a->layer, is_v, head);
}

/* One row, one query head. p: [pos + 1] scratch; sum: [head_dim] scratch. */
static void attend(const host_attention *a, uint32_t r, uint32_t h, double *p, double *sum) {
    const kv_layout *l = a->layout;
    uint32_t kv_head = h / (a->heads / l->kv_heads);
    uint32_t count = a->refs[r].pos + 1;
    uint32_t begin = a->window && count > a->window ? count - a->window : 0; /* the first that is seen */
    const float *q = a->q + ((size_t)r * a->heads + h) * l->head_dim;
    float *out = a->out + ((size_t)r * a->heads + h) * l->head_dim;
    double top = -INFINITY, total = 0;
    size_t first;
    for (uint32_t j = begin; j < count; j++) {
        const void *tile = tile_at(a, r, j, 0, kv_head, &first);
        double dot = 0;
        for (uint32_t i = 0; i < l->head_dim; i++) dot += (double)q[i] * ref_kv_get(l, tile, first + i);
        p[j] = dot * a->scale;
        if (p[j] > top) top = p[j];
    }
    for (uint32_t i = 0; i < l->head_dim; i++) sum[i] = 0;
    for (uint32_t j = begin; j < count; j++) {
        const void *tile = tile_at(a, r, j, 1, kv_head, &first);
        p[j] = exp(p[j] - top);
        total += p[j];
        for (uint32_t i = 0; i < l->head_dim; i++) sum[i] += p[j] * ref_kv_get(l, tile, first + i);
    }
    for (uint32_t i = 0; i < l->head_dim; i++) out[i] = (float)(sum[i] / total);
}

status ref_attention(device *d, const host_attention *a) {
    PRE(d);
    PRE(a->heads % a->layout->kv_heads == 0);
    double *sum = xcalloc(a->layout->head_dim, sizeof *sum);
    for (uint32_t r = 0; r < a->rows; r++) {
        double *p = xcalloc((size_t)a->refs[r].pos + 1, sizeof *p);
        for (uint32_t h = 0; h < a->heads; h++) attend(a, r, h, p, sum);
        free(p);
    }
    free(sum);
    return ST_OK;
}
