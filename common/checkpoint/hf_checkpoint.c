/* hf_checkpoint - a Hugging Face folder as a checkpoint.
 *
 *   config.json            -> keys of the architecture              hf_config.c, hf_rope.c
 *   generation_config.json -> ends, defaults of requests            hf_config.c
 *   tokenizer.json ...     -> the tokenizer's keys and lists        hf_tokenizer.c
 *   *.safetensors          -> tensors by our names, with what makes them ours (checkpoint_prepare does it)
 *
 * Read by the names in hf_names.c. Tensors are kept sorted by name. */
#include "base/mem.h"
#include "checkpoint/checkpoint_format.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/hf_shards.h"
#include "checkpoint/hf_tokenizer.h"
#include "checkpoint/json_file.h"
#include "checkpoint/mapped_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CONFIG_MOST (16u << 20) /* bytes of config.json */

typedef struct hf_tensor {
    checkpoint_tensor t; /* its name is owned */
    tensor_source source;
    float *own; /* what no file has; NULL otherwise. Owned */
} hf_tensor;

typedef struct hf_checkpoint {
    hf_config config;
    key_store *keys;
    hf_shards shards;
    hf_tensor *list; /* [count], while it is filled */
    uint64_t count, capacity;
    checkpoint_tensor *tensors; /* [count] of the list, side by side */
} hf_checkpoint;

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool claims(const char *path) {
    PRE(path);
    size_t len = strlen(path);
    static const char ending[] = ".safetensors";
    bool one = len >= sizeof ending - 1 && strcmp(path + len - (sizeof ending - 1), ending) == 0;
    return one || is_folder(path);
}

/* The folder's name, whole: dots in it are no endings. */
static char *stem(const char *path) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') len--;
    size_t from = len;
    while (from > 0 && path[from - 1] != '/') from--;
    return xstrndup(path + from, len - from);
}

/* --- tensors --- */

static hf_tensor *add(hf_checkpoint *h, const char *name) {
    if (h->count == h->capacity) {
        h->capacity = MAX(256u, h->capacity * 2);
        h->list = xrealloc(h->list, h->capacity, sizeof *h->list);
    }
    hf_tensor *t = &h->list[h->count++];
    *t = (hf_tensor){.t = {.name = {xstrdup(name), strlen(name)}, .dim_count = 1, .dims = {1, 1, 1, 1}}};
    return t;
}

/* A vector that stands in no file. */
static void add_vector(hf_checkpoint *h, const char *name, float *own, uint64_t count) {
    hf_tensor *t = add(h, name);
    t->own = own;
    t->t.type = DT_F32;
    t->t.dims[0] = count;
    t->t.bytes = count * sizeof *own;
    t->t.data = own;
}

static uint64_t rows_of_heads(const hf_checkpoint *h, hf_change change) {
    return (change == HF_ROTATED_Q ? h->config.heads : h->config.kv_heads) * h->config.head_dim;
}

/* A Conv1D has the inputs in front; c_attn, whose outputs are three times its inputs, shows which it is. */
static bool is_conv1d(const hf_checkpoint *h) {
    for (uint64_t i = 0; i < hf_shards_count(&h->shards); i++) {
        const checkpoint_tensor *t = &hf_shards_at(&h->shards, i)->t;
        const char *c_attn = strstr(t->name.data, ".c_attn.weight");
        if (c_attn && t->dim_count == 2) return t->dims[0] > t->dims[1];
    }
    return true;
}

static void set_change(hf_tensor *to, const checkpoint_tensor *from, change_kind change) {
    to->source = (tensor_source){.change = change, .type = from->type, .data = to->t.data};
    to->t.data = NULL; /* until it is prepared */
}

static status place(hf_checkpoint *h, hf_tensor *to, const safetensor *s, hf_change change, bool conv1d,
                    errbuf *eb) {
    const checkpoint_tensor *from = &s->t;
    checkpoint_tensor *t = &to->t;
    if (from->type == SAFETENSOR_OTHER)
        return errf(eb, ST_UNSUPPORTED, "has dtype %s; weights are F32, F16 or BF16", s->dtype);
    if (from->dim_count > 2 || from->bytes == 0)
        return errf(eb, from->bytes ? ST_UNSUPPORTED : ST_CORRUPT, "has %s",
                    from->bytes ? "more than two dimensions" : "no numbers");
    t->type = from->dim_count == 1 ? DT_F32 : from->type;
    t->dim_count = from->dim_count;
    memcpy(t->dims, from->dims, sizeof t->dims);
    t->data = from->data;
    uint32_t width = dtype_block_bytes((dtype)from->type);
    bool rotated = change == HF_ROTATED_Q || change == HF_ROTATED_K;
    if (rotated && (t->dims[1] != rows_of_heads(h, change) || h->config.head_dim % 2 != 0))
        return errf(eb, ST_CORRUPT,
                    "has %" PRIu64 " rows, want %" PRIu64 ": heads of an even number of dimensions",
                    t->dims[1], rows_of_heads(h, change));
    if (change == HF_FROM_ROW_2 && t->dims[1] <= 2) return errf(eb, ST_CORRUPT, "has less than three rows");
    if (change == HF_FROM_ROW_2) {
        t->dims[1] -= 2;
        t->data = (const uint8_t *)from->data + 2 * t->dims[0] * width;
    }
    bool transposed = change == HF_CONV1D && conv1d && t->dim_count == 2;
    if (transposed) {
        t->dims[0] = from->dims[1];
        t->dims[1] = from->dims[0];
    }
    t->bytes = t->dims[0] * t->dims[1] * dtype_block_bytes((dtype)t->type);
    if (rotated) {
        set_change(to, from, CHANGE_ROTATION);
        to->source.head_rows = (uint32_t)h->config.head_dim;
    } else if (change == HF_PLUS_ONE || transposed) {
        set_change(to, from, transposed ? CHANGE_TRANSPOSE : CHANGE_PLUS_ONE);
    } else if (t->type != from->type || (uintptr_t)t->data % width != 0) {
        set_change(to, from, CHANGE_TYPE);
    }
    return ST_OK;
}

static status place_all(hf_checkpoint *h, errbuf *eb) {
    const hf_arch *a = h->config.arch;
    bool conv1d = is_conv1d(h);
    for (uint64_t i = 0; i < hf_shards_count(&h->shards); i++) {
        const safetensor *s = hf_shards_at(&h->shards, i);
        hf_place p;
        hf_found found = hf_place_of(a, s->t.name.data, &p);
        if (found == HF_IGNORED) continue;
        if (found == HF_UNKNOWN)
            return errf(eb, ST_UNSUPPORTED, "tensor '%.64s' has no place in %s as it is supported here",
                        s->t.name.data, a->class);
        if (h->config.tied && strcmp(p.name, "output.weight") == 0) continue;
        status st = place(h, add(h, p.name), s, p.change, conv1d, eb);
        if (st != ST_OK) return err_prefix(eb, st, "tensor '%.64s'", s->t.name.data);
    }
    return ST_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const hf_tensor *)a)->t.name.data, ((const hf_tensor *)b)->t.name.data);
}

static const hf_tensor *find(const hf_checkpoint *h, const char *name) {
    hf_tensor wanted = {.t = {.name = {name, strlen(name)}}};
    return h->count ? bsearch(&wanted, h->list, h->count, sizeof *h->list, by_name) : NULL;
}

static void sort(hf_checkpoint *h) {
    if (h->count) qsort(h->list, h->count, sizeof *h->list, by_name);
}

/* The bias of `name` ("blk.3.attn_norm"), of zeros, where its weight is there and it is not. Adds behind what
 * is sorted. */
static void add_zero_bias(hf_checkpoint *h, const char *name, uint64_t sorted) {
    char full[96];
    uint64_t count = h->count;
    h->count = sorted;
    snprintf(full, sizeof full, "%s.weight", name);
    const hf_tensor *weight = find(h, full);
    uint64_t numbers = weight ? weight->t.dims[weight->t.dim_count == 2] : 0;
    snprintf(full, sizeof full, "%s.bias", name);
    bool wanted = weight && !find(h, full);
    h->count = count;
    if (wanted) add_vector(h, full, xcalloc(numbers, sizeof(float)), numbers);
}

static void add_zero_biases(hf_checkpoint *h) {
    const hf_arch *a = h->config.arch;
    uint64_t sorted = h->count;
    for (uint64_t i = 0; a->biased && i < h->config.layers; i++)
        for (size_t k = 0; k < ARRAY_LEN(a->layer) && a->layer[k].to; k++) {
            char name[80];
            snprintf(name, sizeof name, "blk.%" PRIu64 ".%s", i, a->layer[k].to);
            add_zero_bias(h, name, sorted);
        }
    if (a->biased) add_zero_bias(h, "output_norm", sorted);
    if (h->config.rope.factors) {
        add_vector(h, "rope_freqs.weight", h->config.rope.factors, h->config.rope.count);
        h->config.rope.factors = NULL; /* given */
    }
    sort(h);
}

static status check_tensors(const hf_checkpoint *h, errbuf *eb) {
    for (uint64_t i = 1; i < h->count; i++)
        if (by_name(&h->list[i - 1], &h->list[i]) == 0)
            return errf(eb, ST_CORRUPT, "two tensors become %s", h->list[i].t.name.data);
    const hf_tensor *embed = find(h, "token_embd.weight");
    if (!embed) return errf(eb, ST_CORRUPT, "there is no embedding among the tensors");
    if (embed->t.dims[1] != h->config.vocab)
        return errf(eb, ST_CORRUPT, "the embedding has %" PRIu64 " rows, but vocab_size is %" PRIu64,
                    embed->t.dims[1], h->config.vocab);
    if (h->config.untied && !find(h, "output.weight"))
        return errf(eb, ST_CORRUPT, "tie_word_embeddings is false, but lm_head.weight is missing");
    return ST_OK;
}

static status read_tensors(hf_checkpoint *h, const char *folder, errbuf *eb) {
    status st = hf_shards_open(&h->shards, folder, eb);
    if (st == ST_OK) st = place_all(h, eb);
    if (st != ST_OK) return st;
    sort(h);
    st = check_tensors(h, eb);
    if (st != ST_OK) return st;
    add_zero_biases(h);
    h->tensors = xcalloc(MAX(h->count, 1u), sizeof *h->tensors);
    for (uint64_t i = 0; i < h->count; i++) h->tensors[i] = h->list[i].t;
    return ST_OK;
}

/* --- life --- */

static void close_folder(void *self) {
    hf_checkpoint *h = self;
    for (uint64_t i = 0; i < h->count; i++) {
        free((void *)(uintptr_t)h->list[i].t.name.data);
        free(h->list[i].own);
    }
    free(h->list);
    free(h->tensors);
    hf_shards_close(&h->shards);
    key_store_free(h->keys);
    hf_config_done(&h->config);
    free(h);
}

static status read_keys(hf_checkpoint *h, const char *folder, const json_t *config, errbuf *eb) {
    char *path = xasprintf("%s/generation_config.json", folder);
    json_t *generation = NULL;
    status st = mapped_file_exists(path) ? json_file_read(&generation, path, CONFIG_MOST, eb) : ST_OK;
    if (st == ST_OK) st = hf_tokenizer_read(h->keys, folder, (uint32_t)h->config.vocab, eb);
    if (st == ST_OK) {
        st = hf_generation_read(h->keys, generation, config, h->config.vocab, eb);
        if (st != ST_OK) err_prefix(eb, st, "%s", generation ? path : folder);
    }
    json_decref(generation);
    free(path);
    return st;
}

static status open_folder(void **self, const char *folder, errbuf *eb) {
    PRE(self);
    PRE(folder);
    if (!is_folder(folder))
        return errf(eb, ST_INVALID,
                    "%s is one file of a model: the path is that of the folder with its config.json", folder);
    char *path = xasprintf("%s/config.json", folder), *name = stem(folder);
    hf_checkpoint *h = xcalloc(1, sizeof *h);
    h->keys = key_store_new();
    key_store_text(h->keys, "general.name", name, strlen(name));
    json_t *config = NULL;
    status st = json_file_read(&config, path, CONFIG_MOST, eb);
    if (st == ST_OK) {
        st = hf_config_read(&h->config, h->keys, config, eb);
        if (st != ST_OK) err_prefix(eb, st, "%s", path);
    }
    if (st == ST_OK) {
        st = read_tensors(h, folder, eb);
        if (st != ST_OK) err_prefix(eb, st, "%s", folder);
    }
    if (st == ST_OK) st = read_keys(h, folder, config, eb);
    json_decref(config);
    free(path);
    free(name);
    if (st == ST_OK)
        *self = h;
    else
        close_folder(h);
    return st;
}

/* --- what is asked --- */

static bool u64(const void *self, const char *key, uint64_t *out) {
    return key_store_get_u64(((const hf_checkpoint *)self)->keys, key, out);
}

static bool f64(const void *self, const char *key, double *out) {
    return key_store_get_f64(((const hf_checkpoint *)self)->keys, key, out);
}

static bool boolean(const void *self, const char *key, bool *out) {
    return key_store_get_bool(((const hf_checkpoint *)self)->keys, key, out);
}

static bool string(const void *self, const char *key, checkpoint_text *out) {
    return key_store_get_text(((const hf_checkpoint *)self)->keys, key, out);
}

static bool list(const void *self, const char *key, checkpoint_kind *kind, uint64_t *count) {
    return key_store_get_list(((const hf_checkpoint *)self)->keys, key, kind, count);
}

static bool list_text(const void *self, const char *key, uint64_t i, checkpoint_text *out) {
    return key_store_get_list_text(((const hf_checkpoint *)self)->keys, key, i, out);
}

static bool list_i64(const void *self, const char *key, uint64_t i, int64_t *out) {
    return key_store_get_list_i64(((const hf_checkpoint *)self)->keys, key, i, out);
}

static bool list_f64(const void *self, const char *key, uint64_t i, double *out) {
    return key_store_get_list_f64(((const hf_checkpoint *)self)->keys, key, i, out);
}

static uint64_t tensor_count(const void *self) {
    return ((const hf_checkpoint *)self)->count;
}

static const checkpoint_tensor *tensor_at(const void *self, uint64_t i) {
    return &((const hf_checkpoint *)self)->tensors[i];
}

static const checkpoint_tensor *tensor_find(const void *self, const char *name) {
    const hf_checkpoint *h = self;
    const hf_tensor *t = find(h, name);
    return t ? &h->tensors[t - h->list] : NULL;
}

static bool has(const void *self, const char *name) {
    return tensor_find(self, name) != NULL;
}

static void drop(const void *self) {
    hf_shards_drop(&((const hf_checkpoint *)self)->shards);
}

static const tensor_source *source(const void *self, uint64_t i) {
    return &((const hf_checkpoint *)self)->list[i].source;
}

static uint64_t stamp(const void *self) {
    return hf_shards_stamp(&((const hf_checkpoint *)self)->shards);
}

const checkpoint_format checkpoint_hf = {
    .claims = claims,
    .stem = stem,
    .open = open_folder,
    .close = close_folder,
    .u64 = u64,
    .f64 = f64,
    .boolean = boolean,
    .string = string,
    .list = list,
    .list_text = list_text,
    .list_i64 = list_i64,
    .list_f64 = list_f64,
    .tensor_count = tensor_count,
    .tensor_at = tensor_at,
    .tensor_find = tensor_find,
    .has = has,
    .drop = drop,
    .source = source,
    .stamp = stamp,
};
