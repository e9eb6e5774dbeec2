/* kv_write - rows of keys and values into pages, keys transposed (attend.h). */
#include "kernels/cpu/isa/kv_write.h"

static void kv_write_row(void *ctx, uint32_t row, uint32_t thread) {
    const host_kv_write *a = ctx;
    (void)thread;
    const kv_layout *l = a->layout;
    uint32_t page = a->refs[row].pages[a->refs[row].pos / KV_PAGE_TOKENS];
    for (uint32_t h = 0; h < l->kv_heads; h++) {
        size_t from = ((size_t)row * l->kv_heads + h) * l->head_dim;
        write_head(l, a->kv, page, a->layer, h, a->refs[row].pos % KV_PAGE_TOKENS, a->k + from, a->v + from);
    }
}

status ISA(cpu_kv_write)(device *d, const host_kv_write *a) {
    PRE(a->layer < a->layout->layers);
    PRE(a->layout->type == DT_F16 || a->layout->type == DT_F32);
    team_run(d->team, a->rows, kv_write_row, (void *)a);
    return ST_OK;
}
