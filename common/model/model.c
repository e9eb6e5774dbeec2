/* model - from a checkpoint to a checked description: the architecture's table entry does the reading, this
 * file the checking.
 *
 * Every tensor of the checkpoint must be taken by the architecture. One that is not (a bias, an expert, an
 * adapter) would be left out of the computation silently, so it is refused by name. */
#include "model/model.h"

#include "base/mem.h"
#include "model/model_arch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define SAMPLE_BYTES 4096u /* of each tensor's begin, middle and end */

static const model_arch *const archs[] = {&model_arch_llama};

/* --- what the architectures use --- */

status model_tensor(const model_source *w, const char *name, uint32_t rows, uint32_t cols, tensor *out,
                    errbuf *eb) {
    if (checkpoint_made_of(w->ckpt)) {
        *out = checkpoint_make(w->ckpt, name, rows, cols);
        *w->weight_count += (uint64_t)rows * cols;
        return ST_OK;
    }
    const checkpoint_tensor *t = checkpoint_tensor_find(w->ckpt, name);
    if (!t) return errf(eb, ST_CORRUPT, "tensor '%s' is missing", name);
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return errf(eb, ST_CORRUPT, "tensor '%s' is [%" PRIu64 ", %" PRIu64 "], want [%u, %u]", name,
                    t->dims[1], t->dims[0], rows, cols);
    if (!dtype_known(t->type))
        return errf(eb, ST_UNSUPPORTED,
                    "tensor '%s' has type %u; supported are f32, f16, bf16, q8_0, q4_0 and q4_1", name,
                    t->type);
    w->taken[t - checkpoint_tensor_at(w->ckpt, 0)] = true;
    *out = (tensor){.type = (dtype)t->type, .rows = rows, .cols = cols, .data = t->data};
    *w->weight_count += (uint64_t)rows * cols;
    return ST_OK;
}

status model_vector(const model_source *w, const char *name, uint32_t cols, tensor *out, errbuf *eb) {
    tensor t;
    status st = model_tensor(w, name, 1, cols, &t, eb);
    if (st != ST_OK) return st;
    if (t.type != DT_F32)
        return errf(eb, ST_UNSUPPORTED, "tensor '%s' has type %s; it must be f32", name, dtype_name(t.type));
    *out = t;
    return ST_OK;
}

/* --- the hash --- */

static void hash_u64(XXH3_state_t *h, uint64_t v) {
    XXH3_64bits_update(h, &v, sizeof v);
}

/* Table of tensors, the constants that change the computation, and parts of each tensor. Reading all the
 * weights would cost seconds and page in the whole file; two checkpoints that differ, differ in nearly every
 * block. */
static uint64_t hash_weights(const model *m, const checkpoint *ckpt) {
    XXH3_state_t *h = XXH3_createState();
    CHECK(h);
    XXH3_64bits_reset(h);
    const uint32_t dims[] = {m->dim,      m->layers,  m->heads, m->kv_heads,
                             m->head_dim, m->ffn_dim, m->vocab, m->rope_dim};
    XXH3_64bits_update(h, dims, sizeof dims);
    XXH3_64bits_update(h, &m->rope_base, sizeof m->rope_base);
    XXH3_64bits_update(h, &m->norm_eps, sizeof m->norm_eps);
    if (checkpoint_made_of(ckpt)) hash_u64(h, checkpoint_made_of(ckpt));
    for (uint64_t i = 0; i < checkpoint_tensor_count(ckpt); i++) {
        const checkpoint_tensor *t = checkpoint_tensor_at(ckpt, i);
        const char *data = t->data;
        hash_u64(h, t->name.len);
        XXH3_64bits_update(h, t->name.data, t->name.len);
        hash_u64(h, t->type);
        for (uint32_t d = 0; d < 4; d++) hash_u64(h, t->dims[d]);
        uint64_t n = MIN(t->bytes, SAMPLE_BYTES);
        XXH3_64bits_update(h, data, n);
        XXH3_64bits_update(h, data + (t->bytes - n) / 2, n);
        XXH3_64bits_update(h, data + (t->bytes - n), n);
    }
    uint64_t hash = XXH3_64bits_digest(h);
    XXH3_freeState(h);
    return hash;
}

/* --- loading --- */

static const model_arch *find_arch(model *m, const checkpoint *ckpt, errbuf *eb) {
    checkpoint_text name = arch_name(ckpt);
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) {
        if (strlen(archs[i]->name) != name.len || memcmp(archs[i]->name, name.data, name.len) != 0) continue;
        m->arch = xstrdup(archs[i]->name);
        return archs[i];
    }
    buf known = {0};
    for (size_t i = 0; i < ARRAY_LEN(archs); i++) buf_addf(&known, "%s%s", i ? ", " : "", archs[i]->name);
    errf(eb, ST_UNSUPPORTED, "architecture '%.*s' is not supported; supported: %s", (int)MIN(name.len, 64u),
         name.data, known.data);
    buf_done(&known);
    return NULL;
}

static status load_weights(model *m, const model_arch *arch, const checkpoint *ckpt, errbuf *eb) {
    uint64_t count = checkpoint_tensor_count(ckpt);
    model_source w = {
        .ckpt = ckpt, .taken = xcalloc(count, sizeof *w.taken), .weight_count = &m->weight_count};
    status st = arch->weights(m, &w, eb);
    for (uint64_t i = 0; i < count && st == ST_OK; i++) {
        const checkpoint_tensor *t = checkpoint_tensor_at(ckpt, i);
        m->weight_bytes += t->bytes;
        if (!w.taken[i])
            st = errf(eb, ST_UNSUPPORTED,
                      "tensor '%.*s' has no place in the architecture '%s' as it is supported here",
                      (int)MIN(t->name.len, 64u), t->name.data, m->arch);
    }
    free(w.taken);
    if (checkpoint_made_of(ckpt)) m->weight_bytes = m->weight_count * sizeof(uint16_t);
    if (st == ST_OK) m->weights_hash = hash_weights(m, ckpt);
    return st;
}

/* The tokens of the vocabulary are the rows of the embedding. */
static status count_tokens(model *m, const checkpoint *ckpt, errbuf *eb) {
    static const char key[] = "tokenizer.ggml.tokens";
    checkpoint_kind kind;
    uint64_t count;
    if (!checkpoint_list(ckpt, key, &kind, &count) || count == 0 || count > INT32_MAX)
        return errf(eb, ST_CORRUPT, "the file has no list of tokens (%s)", key);
    m->vocab = (uint32_t)count;
    return ST_OK;
}

status model_load(model **out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    model *m = xcalloc(1, sizeof *m);
    m->path = xstrdup(checkpoint_path(ckpt));
    status st = ST_UNSUPPORTED;
    const model_arch *arch = find_arch(m, ckpt, eb);
    if (!arch) goto fail;
    checkpoint_text name;
    bool named = checkpoint_string(ckpt, "general.name", &name) && name.len > 0;
    m->name = named ? xstrndup(name.data, name.len) : checkpoint_stem(m->path);
    st = count_tokens(m, ckpt, eb);
    if (st == ST_OK) st = arch->dims(m, ckpt, eb);
    if (st == ST_OK) st = load_weights(m, arch, ckpt, eb);
    if (st != ST_OK) goto fail;
    *out = m;
    return ST_OK;

fail:
    st = err_prefix(eb, st, "%s", m->path);
    model_free(m);
    return st;
}

void model_free(model *m) {
    if (!m) return;
    free(m->layer);
    free(m->name);
    free(m->path);
    free(m->arch);
    free(m);
}
