/* model - from a GGUF file to a checked description: the architecture's table entry does the reading, this
 * file the checking.
 *
 * Every tensor of the file must be taken by the architecture. One that is not (a bias, an expert, an adapter)
 * would be left out of the computation silently, so it is refused by name. */
#include "model/model.h"

#include "base/mem.h"
#include "base/path.h"
#include "checkpoint/gguf.h"
#include "model/model_arch.h"
#include "model/random_model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define SAMPLE_BYTES 4096u /* of each tensor's begin, middle and end */

static const model_arch *const archs[] = {&model_arch_llama};

/* --- what the architectures use --- */

static void key_name(const model *m, const char *name, char out[96]) {
    snprintf(out, 96, "%s.%s", m->arch, name);
}

status model_key(const model *m, model_number key, uint32_t *out, errbuf *eb) {
    char name[96];
    key_name(m, key.name, name);
    uint64_t value;
    if (!gguf_u64(m->file, name, &value)) {
        /* An array (one value per layer) or a float is a variant that nothing here knows, not an absent key.
         */
        gguf_type type;
        uint64_t count;
        double real;
        if (key.fallback == 0 || gguf_array(m->file, name, &type, &count) || gguf_f64(m->file, name, &real))
            return errf(eb, ST_CORRUPT, "%s is missing or no whole number", name);
        *out = key.fallback;
        return ST_OK;
    }
    if (value < key.least || value > key.most)
        return errf(eb, ST_CORRUPT, "%s is %" PRIu64 ", want %u..%u", name, value, key.least, key.most);
    *out = (uint32_t)value;
    return ST_OK;
}

status model_real(const model *m, const char *key, double most, double fallback, float *out, errbuf *eb) {
    char name[96];
    key_name(m, key, name);
    double value = fallback;
    if (!gguf_f64(m->file, name, &value) && fallback == 0)
        return errf(eb, ST_CORRUPT, "%s is missing or no number", name);
    if (!isfinite(value) || value <= 0 || value > most)
        return errf(eb, ST_CORRUPT, "%s is %g, want above 0 and at most %g", name, value, most);
    *out = (float)value;
    return ST_OK;
}

bool model_has(const model_source *w, const char *name) {
    if (w->random) return strcmp(name, "output.weight") == 0 && !w->random->tied;
    return gguf_tensor_find(w->file, name) != NULL;
}

status model_tensor(const model_source *w, const char *name, uint32_t rows, uint32_t cols, tensor *out,
                    errbuf *eb) {
    if (w->random) {
        *out = random_model_tensor(w->random, name, rows, cols);
        *w->weight_count += (uint64_t)rows * cols;
        return ST_OK;
    }
    const gguf_tensor *t = gguf_tensor_find(w->file, name);
    if (!t) return errf(eb, ST_CORRUPT, "tensor '%s' is missing", name);
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return errf(eb, ST_CORRUPT, "tensor '%s' is [%" PRIu64 ", %" PRIu64 "], want [%u, %u]", name,
                    t->dims[1], t->dims[0], rows, cols);
    if (!dtype_known(t->type))
        return errf(eb, ST_UNSUPPORTED,
                    "tensor '%s' has type %u; supported are f32, f16, bf16, q8_0, q4_0 and q4_1", name,
                    t->type);
    w->taken[t - gguf_tensor_at(w->file, 0)] = true;
    *out = (tensor){.type = (dtype)t->type, .rows = rows, .cols = cols, .data = t->data};
    *w->weight_count += (uint64_t)rows * cols;
    return ST_OK;
}

status model_vector(const model_source *w, const char *name, uint32_t cols, tensor *out, errbuf *eb) {
    if (w->random) {
        *out = (tensor){.type = DT_F32, .rows = 1, .cols = cols, .data = w->random->ones};
        *w->weight_count += cols;
        return ST_OK;
    }
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
static uint64_t hash_weights(const model *m) {
    XXH3_state_t *h = XXH3_createState();
    CHECK(h);
    XXH3_64bits_reset(h);
    const uint32_t dims[] = {m->dim,      m->layers,  m->heads, m->kv_heads,
                             m->head_dim, m->ffn_dim, m->vocab, m->rope_dim};
    XXH3_64bits_update(h, dims, sizeof dims);
    XXH3_64bits_update(h, &m->rope_base, sizeof m->rope_base);
    XXH3_64bits_update(h, &m->norm_eps, sizeof m->norm_eps);
    if (m->random) hash_u64(h, m->random->hash);
    for (uint64_t i = 0; i < gguf_tensor_count(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
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

static const model_arch *find_arch(model *m, errbuf *eb) {
    gguf_str name = {"", 0};
    gguf_string(m->file, "general.architecture", &name);
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

static status load_weights(model *m, const model_arch *arch, errbuf *eb) {
    uint64_t count = gguf_tensor_count(m->file);
    model_source w = {.file = m->file,
                      .taken = xcalloc(count, sizeof *w.taken),
                      .random = m->random,
                      .weight_count = &m->weight_count};
    status st = arch->weights(m, &w, eb);
    for (uint64_t i = 0; i < count && st == ST_OK; i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        m->weight_bytes += t->bytes;
        if (!w.taken[i])
            st = errf(eb, ST_UNSUPPORTED,
                      "tensor '%.*s' has no place in the architecture '%s' as it is supported here",
                      (int)MIN(t->name.len, 64u), t->name.data, m->arch);
    }
    free(w.taken);
    if (m->random) m->weight_bytes = m->weight_count * sizeof(uint16_t);
    if (st == ST_OK) m->weights_hash = hash_weights(m);
    return st;
}

/* The file, or the image that stands for it. */
static status open_source(model *m, errbuf *eb) {
    if (!random_model_is(m->path)) return gguf_open(&m->file, m->path, eb);
    m->random = xcalloc(1, sizeof *m->random);
    status st = random_model_init(m->random, m->path, eb);
    if (st != ST_OK) return err_prefix(eb, st, "%s", m->path);
    return gguf_parse(&m->file, m->random->image.data, m->random->image.len, eb);
}

status model_load(model **out, const char *path, model_parts parts, errbuf *eb) {
    PRE(out);
    PRE(path);
    model *m = xcalloc(1, sizeof *m);
    m->path = xstrdup(path);
    status st = open_source(m, eb);
    if (st != ST_OK) { /* its text names the path already */
        model_free(m);
        return st;
    }
    const model_arch *arch = find_arch(m, eb);
    if (!arch) {
        st = ST_UNSUPPORTED;
        goto fail;
    }
    gguf_str name;
    bool named = gguf_string(m->file, "general.name", &name) && name.len > 0;
    m->name = named ? xstrndup(name.data, name.len) : path_stem(path);

    st = tokenizer_new(&m->tok, m->file, eb);
    if (st != ST_OK) goto fail;
    m->vocab = tokenizer_vocab(m->tok);
    st = arch->dims(m, eb);
    if (st == ST_OK && parts == MODEL_ALL) st = load_weights(m, arch, eb);
    if (st != ST_OK) goto fail;
    *out = m;
    return ST_OK;

fail:
    model_free(m);
    return err_prefix(eb, st, "%s", path);
}

void model_free(model *m) {
    if (!m) return;
    tokenizer_free(m->tok); /* before the file that it points into */
    gguf_close(m->file);
    if (m->random) random_model_done(m->random);
    free(m->random);
    free(m->layer);
    free(m->name);
    free(m->path);
    free(m->arch);
    free(m);
}
