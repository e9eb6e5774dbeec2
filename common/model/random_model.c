/* random_model - a table of shapes, and the GGUF image that describes one.
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
 * Scale: |random_weight| is uniform over odd numbers up to 255, which has a standard deviation of 256 /
 * sqrt(3); the power of two nearest to sqrt(3) / (256 sqrt(cols)) makes it about 1 / sqrt(cols). */
#include "model/random_model.h"

#include "checkpoint/gguf.h"
#include "text/vocab.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define PREFIX "random:"

typedef struct shape {
    const char *name;
    uint32_t layers, dim, heads, kv_heads, head_dim, ffn_dim, vocab, context;
    float rope_base, norm_eps;
    bool tied;
} shape;

static const shape shapes[] = {
    {"llama-3.2-1b", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000.0f, 1e-5f, true},
    {"llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256, 131072, 500000.0f, 1e-5f, false},
    {"qwen2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064, 32768, 1000000.0f, 1e-6f, false},
    {"opt-13b-shape", 40, 5120, 40, 40, 128, 13696, 50272, 2048, 10000.0f, 1e-5f, true},
    {"tiny", 2, 128, 4, 2, 32, 256, 512, 2048, 10000.0f, 1e-5f, false},
};

/* --- the name --- */

bool random_model_is(const char *path) {
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

/* --- the image: GGUF version 3 --- */

static void put_u32(buf *b, uint32_t v) {
    buf_add(b, &v, sizeof v);
}

static void put_u64(buf *b, uint64_t v) {
    buf_add(b, &v, sizeof v);
}

static void put_text(buf *b, const char *text) {
    put_u64(b, strlen(text));
    buf_adds(b, text);
}

static void key(buf *b, const char *name, gguf_type type, uint32_t *count) {
    put_text(b, name);
    put_u32(b, type);
    ++*count;
}

static void key_text(buf *b, const char *name, const char *text, uint32_t *count) {
    key(b, name, GGUF_STRING, count);
    put_text(b, text);
}

static void key_u32(buf *b, const char *name, uint32_t v, uint32_t *count) {
    key(b, name, GGUF_U32, count);
    put_u32(b, v);
}

static void key_f32(buf *b, const char *name, float v, uint32_t *count) {
    key(b, name, GGUF_F32, count);
    buf_add(b, &v, sizeof v);
}

static void key_array(buf *b, const char *name, gguf_type elem, uint64_t elems, uint32_t *count) {
    key(b, name, GGUF_ARRAY, count);
    put_u32(b, elem);
    put_u64(b, elems);
}

static void put_dims(buf *b, const shape *s, uint32_t *count) {
    key_u32(b, "llama.block_count", s->layers, count);
    key_u32(b, "llama.embedding_length", s->dim, count);
    key_u32(b, "llama.feed_forward_length", s->ffn_dim, count);
    key_u32(b, "llama.context_length", s->context, count);
    key_u32(b, "llama.attention.head_count", s->heads, count);
    key_u32(b, "llama.attention.head_count_kv", s->kv_heads, count);
    key_u32(b, "llama.attention.key_length", s->head_dim, count);
    key_u32(b, "llama.attention.value_length", s->head_dim, count);
    key_f32(b, "llama.rope.freq_base", s->rope_base, count);
    key_f32(b, "llama.attention.layer_norm_rms_epsilon", s->norm_eps, count);
}

static void put_byte_tokens(buf *b) {
    vocab v;
    vocab_init_bytes(&v);
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[2];
        size_t len = vocab_write_bytes(&v, &(char){(char)byte}, 1, text);
        put_u64(b, len);
        buf_add(b, text, len);
    }
}

static void put_vocab(buf *b, uint32_t tokens, uint32_t *count) {
    key_text(b, "tokenizer.ggml.model", "gpt2", count);
    key_text(b, "tokenizer.ggml.pre", "gpt-2", count);
    key_array(b, "tokenizer.ggml.tokens", GGUF_STRING, tokens, count);
    put_byte_tokens(b);
    for (uint32_t id = 256; id < tokens - 2; id++) {
        char text[16];
        snprintf(text, sizeof text, "\xC4\xA0%u", id); /* U+0120 writes a space */
        put_text(b, text);
    }
    put_text(b, "<|im_start|>");
    put_text(b, "<|im_end|>");
    key_array(b, "tokenizer.ggml.token_type", GGUF_U8, tokens, count);
    for (uint32_t id = 0; id < tokens; id++)
        buf_add(b, &(uint8_t){id < tokens - 2 ? TOKEN_NORMAL : TOKEN_CONTROL}, 1);
    key_array(b, "tokenizer.ggml.merges", GGUF_STRING, 0, count);
    key_u32(b, "tokenizer.ggml.eos_token_id", tokens - 1, count);
    key_text(b, "tokenizer.chat_template",
             "{% for message in messages %}"
             "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}{% endfor %}"
             "{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}",
             count);
}

static void put_image(buf *out, const shape *s, const char *path) {
    buf keys = {0};
    uint32_t count = 0;
    key_text(&keys, "general.architecture", "llama", &count);
    key_text(&keys, "general.name", path, &count);
    put_dims(&keys, s, &count);
    put_vocab(&keys, s->vocab, &count);
    buf_adds(out, "GGUF");
    put_u32(out, 3);
    put_u64(out, 0); /* tensors */
    put_u64(out, count);
    buf_add(out, keys.data, keys.len);
    buf_done(&keys);
}

/* --- life and weights --- */

status random_model_init(random_model *r, const char *path, errbuf *eb) {
    PRE(r);
    PRE(path);
    PRE(random_model_is(path));
    const shape *s = NULL;
    uint64_t seed;
    status st = parse(path, &s, &seed, eb);
    if (st != ST_OK) return st;
    PRE(s->vocab > 258);
    *r = (random_model){
        .seed = seed, .hash = XXH3_64bits_withSeed(s->name, strlen(s->name), seed), .tied = s->tied};
    put_image(&r->image, s, path);
    r->ones = xcalloc(s->dim, sizeof *r->ones);
    for (uint32_t i = 0; i < s->dim; i++) r->ones[i] = 1.0f;
    return ST_OK;
}

void random_model_done(random_model *r) {
    buf_done(&r->image);
    free(r->ones);
    *r = (random_model){0};
}

tensor random_model_tensor(const random_model *r, const char *name, uint32_t rows, uint32_t cols) {
    PRE(r);
    PRE(name);
    PRE(rows > 0);
    PRE(cols > 0);
    double deviation = 256 / sqrt(3);
    int power = (int)lround(-log2(deviation * sqrt(cols)));
    return (tensor){.type = DT_BF16,
                    .rows = rows,
                    .cols = cols,
                    .random_seed = XXH3_64bits_withSeed(name, strlen(name), r->hash),
                    .random_scale = ldexpf(1.0f, power)};
}
