/* random_checkpoint - checkpoints without a file: the dimensions of known models, seeded random weights, a
 * vocabulary of bytes.
 *
 * "random:NAME" or "random:NAME:SEED" in place of a path. For measuring where no checkpoint is, and for
 * tests. The weights exist nowhere until a backend makes them (base/tensor.h): every tensor that is asked for
 * is there, in the shape that is asked for; of those that a model can do without only the output head is,
 * when it is not tied. Vectors are ones, as norms have them.
 *
 * The vocabulary has the model's size: ids 0..255 are the bytes, then fillers that decode to " 256", " 257",
 * ..., then <|im_start|> and, last, <|im_end|>, the only end of a generation. There are no merges, so a text
 * has as many tokens as bytes; chat is ChatML.
 *
 * The shapes are those of the published configurations, all in Llama's architecture: Qwen2.5 without its
 * biases, Llama 3 without its rope factors. opt-13b-shape keeps OPT-13B's layers, heads, tied embedding and
 * context. OPT's feed-forward has two matrices of 20480 and Llama's has three, so the same number of weights
 * needs 2/3 of 20480 = 13653.3 columns; 13696 is the multiple of 128 (the tile of matrix kernels) nearest to
 * it, which gives 12.867 billion parameters where OPT-13B has 12.853, positions and biases included.
 *
 * tiny is for tests. Its head is not the embedding: over so few layers a tied one answers each token with
 * itself.
 *
 * mock is for the mock backend, which reads no weights: little KV per token, a long context.
 *
 * Scale: |random_weight| is uniform over odd numbers up to 255, which has a standard deviation of 256 /
 * sqrt(3); the power of two nearest to sqrt(3) / (256 sqrt(cols)) makes it about 1 / sqrt(cols), so that a
 * row of unit size stays one of unit size through every layer. */
#include "base/mem.h"
#include "checkpoint/byte_chars.h"
#include "checkpoint/checkpoint_format.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define PREFIX       "random:"
#define TOKENS_LEAST 260u /* the bytes, a filler or two, the ends of turns */
#define KIND_NORMAL  1
#define KIND_CONTROL 3
#define FILLER_BYTES 16u

typedef struct shape {
    const char *name;
    const char *arch;
    uint32_t layers, dim, heads, kv_heads, head_dim, ffn_dim, vocab, context;
    float rope_base, norm_eps;
    bool tied;
} shape;

static const shape shapes[] = {
    {"llama-3.2-1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000.0f, 1e-5f, true},
    {"llama-3.1-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000.0f, 1e-5f, false},
    {"qwen2.5-7b", "llama", 28, 3584, 28, 4, 128, 18944, 152064, 32768, 1000000.0f, 1e-6f, false},
    {"opt-13b-shape", "llama", 40, 5120, 40, 40, 128, 13696, 50272, 2048, 10000.0f, 1e-5f, true},
    {"tiny", "llama", 2, 128, 4, 2, 32, 256, 512, 2048, 10000.0f, 1e-5f, false},
    {"mock", "llama", 4, 64, 4, 1, 16, 128, 512, 131072, 10000.0f, 1e-5f, false},
};

static const char chat_template[] =
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}";

typedef struct random_checkpoint {
    const shape *shape;
    char *name;                   /* the whole path. Owned */
    uint64_t hash;                /* of name and seed */
    char (*bytes)[2];             /* [256] the characters that write bytes */
    uint8_t byte_len[256];        /* 1 or 2 */
    char (*filler)[FILLER_BYTES]; /* [vocab - 256 - 2] texts of the fillers, NUL-terminated */
    float *ones;                  /* [ones_count]: every vector */
    uint32_t ones_count;
} random_checkpoint;

/* --- the name --- */

static bool claims(const char *path) {
    PRE(path);
    return strncmp(path, PREFIX, sizeof PREFIX - 1) == 0;
}

static status find_shape(const char *name, size_t len, const shape **out, errbuf *eb) {
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        if (strlen(shapes[i].name) != len || memcmp(shapes[i].name, name, len) != 0) continue;
        *out = &shapes[i];
        return ST_OK;
    }
    buf known = {0};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) buf_addf(&known, "%s%s", i ? ", " : "", shapes[i].name);
    errf(eb, ST_INVALID, "there is no random model '%.*s': want one of %s", (int)MIN(len, 64u), name,
         known.data);
    buf_done(&known);
    return ST_INVALID;
}

static status parse(const char *path, const shape **out, uint64_t *seed, errbuf *eb) {
    const char *name = path + sizeof PREFIX - 1;
    const char *colon = strchr(name, ':');
    *seed = 0;
    if (colon) {
        const char *digits = colon + 1;
        errno = 0;
        *seed = strtoull(digits, NULL, 10);
        if (!digits[0] || strspn(digits, "0123456789") != strlen(digits) || errno)
            return errf(eb, ST_INVALID, "'%s' is no seed: want a whole number below 2^64", digits);
    }
    return find_shape(name, colon ? (size_t)(colon - name) : strlen(name), out, eb);
}

/* --- life --- */

static void write_tokens(random_checkpoint *r) {
    uint32_t fillers = r->shape->vocab - 256 - 2;
    byte_chars table;
    byte_chars_init(&table);
    r->bytes = xcalloc(256, sizeof *r->bytes);
    for (uint32_t b = 0; b < 256; b++)
        r->byte_len[b] = (uint8_t)byte_chars_write(&table, &(char){(char)b}, 1, r->bytes[b]);
    r->filler = xcalloc(fillers, sizeof *r->filler);
    for (uint32_t i = 0; i < fillers; i++) /* U+0120 writes a space */
        snprintf(r->filler[i], sizeof r->filler[i], "\xC4\xA0%u", 256 + i);
}

static status open_name(void **self, const char *path, errbuf *eb) {
    PRE(self);
    PRE(claims(path));
    const shape *s = NULL;
    uint64_t seed;
    status st = parse(path, &s, &seed, eb);
    if (st != ST_OK) return err_prefix(eb, st, "%s", path);
    CHECK(s->vocab >= TOKENS_LEAST);
    random_checkpoint *r = xcalloc(1, sizeof *r);
    r->shape = s;
    r->name = xstrdup(path);
    r->hash = XXH3_64bits_withSeed(s->name, strlen(s->name), seed);
    write_tokens(r);
    r->ones_count = MAX(MAX(s->dim, s->ffn_dim), s->heads * s->head_dim);
    r->ones = xcalloc(r->ones_count, sizeof *r->ones);
    for (uint32_t i = 0; i < r->ones_count; i++) r->ones[i] = 1.0f;
    *self = r;
    return ST_OK;
}

static void close_name(void *self) {
    random_checkpoint *r = self;
    free(r->name);
    free(r->bytes);
    free(r->filler);
    free(r->ones);
    free(r);
}

/* --- keys --- */

/* Whether `key` is "<arch>.<name>". */
static bool is_dim(const random_checkpoint *r, const char *key, const char *name) {
    size_t len = strlen(r->shape->arch);
    return strncmp(key, r->shape->arch, len) == 0 && key[len] == '.' && strcmp(key + len + 1, name) == 0;
}

static bool u64(const void *self, const char *key, uint64_t *out) {
    const random_checkpoint *r = self;
    const shape *s = r->shape;
    const struct {
        const char *name;
        uint32_t value;
    } dims[] = {
        {"block_count", s->layers},
        {"embedding_length", s->dim},
        {"feed_forward_length", s->ffn_dim},
        {"context_length", s->context},
        {"attention.head_count", s->heads},
        {"attention.head_count_kv", s->kv_heads},
        {"attention.key_length", s->head_dim},
        {"attention.value_length", s->head_dim},
    };
    for (size_t i = 0; i < ARRAY_LEN(dims); i++) {
        if (!is_dim(r, key, dims[i].name)) continue;
        *out = dims[i].value;
        return true;
    }
    if (strcmp(key, "tokenizer.ggml.eos_token_id") != 0) return false;
    *out = s->vocab - 1;
    return true;
}

static bool f64(const void *self, const char *key, double *out) {
    const random_checkpoint *r = self;
    bool base = is_dim(r, key, "rope.freq_base");
    if (!base && !is_dim(r, key, "attention.layer_norm_rms_epsilon")) return false;
    *out = base ? r->shape->rope_base : r->shape->norm_eps;
    return true;
}

static bool boolean(const void *self, const char *key, bool *out) {
    PRE(self);
    PRE(out);
    (void)key; /* every one is as usual */
    return false;
}

static bool string(const void *self, const char *key, checkpoint_text *out) {
    const random_checkpoint *r = self;
    const struct {
        const char *key, *text;
    } texts[] = {
        {"general.architecture", r->shape->arch},   {"general.name", r->name},
        {"tokenizer.ggml.model", "gpt2"},           {"tokenizer.ggml.pre", "gpt-2"},
        {"tokenizer.chat_template", chat_template},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (strcmp(key, texts[i].key) != 0) continue;
        *out = (checkpoint_text){texts[i].text, strlen(texts[i].text)};
        return true;
    }
    return false;
}

/* --- lists --- */

static bool is_tokens(const char *key) {
    return strcmp(key, "tokenizer.ggml.tokens") == 0;
}

static bool is_kinds(const char *key) {
    return strcmp(key, "tokenizer.ggml.token_type") == 0;
}

static bool list(const void *self, const char *key, checkpoint_kind *kind, uint64_t *count) {
    const random_checkpoint *r = self;
    bool merges = strcmp(key, "tokenizer.ggml.merges") == 0;
    if (!merges && !is_tokens(key) && !is_kinds(key)) return false;
    *kind = is_kinds(key) ? CHECKPOINT_INTEGERS : CHECKPOINT_TEXTS;
    *count = merges ? 0 : r->shape->vocab;
    return true;
}

static bool list_text(const void *self, const char *key, uint64_t i, checkpoint_text *out) {
    const random_checkpoint *r = self;
    uint32_t vocab = r->shape->vocab;
    if (!is_tokens(key) || i >= vocab) return false;
    if (i < 256) {
        *out = (checkpoint_text){r->bytes[i], r->byte_len[i]};
        return true;
    }
    const char *text = i == vocab - 1 ? "<|im_end|>" : i == vocab - 2 ? "<|im_start|>" : r->filler[i - 256];
    *out = (checkpoint_text){text, strlen(text)};
    return true;
}

static bool list_i64(const void *self, const char *key, uint64_t i, int64_t *out) {
    const random_checkpoint *r = self;
    if (!is_kinds(key) || i >= r->shape->vocab) return false;
    *out = i < r->shape->vocab - 2 ? KIND_NORMAL : KIND_CONTROL;
    return true;
}

static bool list_f64(const void *self, const char *key, uint64_t i, double *out) {
    PRE(self);
    PRE(out);
    (void)key; /* there is none */
    (void)i;
    return false;
}

/* --- weights --- */

static uint64_t tensor_count(const void *self) {
    PRE(self);
    return 0;
}

static const checkpoint_tensor *tensor_at(const void *self, uint64_t i) {
    PRE(self);
    (void)i; /* there is none */
    return NULL;
}

static const checkpoint_tensor *tensor_find(const void *self, const char *name) {
    PRE(self);
    (void)name; /* likewise */
    return NULL;
}

static bool has(const void *self, const char *name) {
    const random_checkpoint *r = self;
    return strcmp(name, "output.weight") == 0 && !r->shape->tied;
}

static uint64_t made_of(const void *self) {
    const random_checkpoint *r = self;
    return r->hash;
}

static tensor make(const void *self, const char *name, uint32_t rows, uint32_t cols) {
    const random_checkpoint *r = self;
    if (rows == 1) {
        CHECK(cols <= r->ones_count);
        return (tensor){.type = DT_F32, .rows = 1, .cols = cols, .data = r->ones};
    }
    double deviation = 256 / sqrt(3);
    int power = (int)lround(-log2(deviation * sqrt(cols)));
    return (tensor){.type = DT_BF16,
                    .rows = rows,
                    .cols = cols,
                    .random_seed = XXH3_64bits_withSeed(name, strlen(name), r->hash),
                    .random_scale = ldexpf(1.0f, power)};
}

const checkpoint_format checkpoint_random = {
    .claims = claims,
    .stem = xstrdup,
    .open = open_name,
    .close = close_name,
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
    .made_of = made_of,
    .make = make,
};
