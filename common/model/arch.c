#include "model/arch.h"

#include "base/mem.h"
#include "model/model.h"

#include <string.h>

#define ARCH_ENTRY(name) &name,
static const arch *const archs[] = {ARCHS(ARCH_ENTRY)};

const arch *arch_find(checkpoint_text name) {
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (strlen(archs[i]->name) == name.len && memcmp(archs[i]->name, name.data, name.len) == 0)
            return archs[i];
    return NULL;
}

char *arch_names(void) {
    buf known = {0};
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) buf_addf(&known, "%s%s", i ? ", " : "", archs[i]->name);
    return known.data;
}

uint64_t arch_size(const model *m, arch_dim dim) {
    PRE(m);
    switch (dim) {
    case DIM_NONE:
        return 0;
    case DIM_ONE:
        return 1;
    case DIM_MODEL:
        return m->dim;
    case DIM_Q:
        return (uint64_t)m->heads * m->head_dim;
    case DIM_KV:
        return (uint64_t)m->kv_heads * m->head_dim;
    case DIM_HEAD:
        return m->head_dim;
    case DIM_FFN:
        return m->ffn_dim;
    case DIM_VOCAB:
        return m->vocab;
    case DIM_POSITIONS:
        return m->context;
    }
    check_failed("check", "a dimension", __FILE__, __LINE__, __func__);
}

uint64_t arch_width(const model *m, arch_buffer buffer) {
    PRE(m);
    PRE(m->arch);
    uint64_t width = 0;
    for (uint32_t i = 0; i < ARCH_WIDTHS_MAX; i++) width += arch_size(m, m->arch->widths[buffer][i]);
    return width;
}

/* --- the check --- */

/* Numbers of a row that a product with this weight makes */
static uint64_t rows_of(const arch_weight *w, const model *m) {
    uint64_t rows = 0;
    for (uint32_t i = 0; i < weight_form_parts(w->form); i++) rows += arch_size(m, w->part[i].rows);
    return rows;
}

static bool has_weight(const arch_step *s, const arch *a, const model *m) {
    const arch_weight *w = &a->layer[s->weight];
    if (!w->part[0].name) return false;
    uint64_t cols = arch_size(m, w->part[0].cols);
    switch (s->kind) {
    case STEP_NORM:
        return cols == m->dim && rows_of(w, m) == 1 && arch_width(m, s->to) == cols;
    case STEP_LINEAR:
        return arch_width(m, s->from) == cols && arch_width(m, s->to) == rows_of(w, m);
    case STEP_FFN:
        return arch_width(m, s->from) == cols && arch_width(m, BUFFER_SCRATCH) == rows_of(w, m) &&
               arch_width(m, s->to) == arch_size(m, w->part[0].rows);
    case STEP_ATTEND:
        break;
    }
    return false;
}

bool arch_check(const arch *a, const model *m) {
    PRE(a);
    PRE(m);
    bool written[ARCH_BUFFERS] = {false};
    if (a->step_count == 0 || a->step_count > ARCH_STEPS_MAX) return false;
    for (uint32_t i = 0; i < a->step_count; i++) {
        const arch_step *s = &a->steps[i];
        if (s->kind != STEP_NORM && !written[s->from]) return false;
        bool fits = s->kind == STEP_ATTEND
                        ? s->from == BUFFER_QKV && arch_width(m, s->to) == arch_size(m, DIM_Q)
                        : has_weight(s, a, m);
        if (!fits) return false;
        written[s->to] = true;
    }
    return a->steps[a->step_count - 1].to == BUFFER_DELTA && arch_width(m, BUFFER_DELTA) == m->dim;
}
