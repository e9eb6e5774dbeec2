/* make_tiny_model - writes a small GGUF checkpoint of the llama architecture for tests.
 *
 *   make-tiny-model OUT.gguf [--seed N]
 *
 * It is valid in every respect (any GGUF reader takes it) and knows nothing: its weights are random, but
 * scaled so that greedy text wanders instead of falling into a loop - large queries and keys, so that
 * attention picks a few positions, which differ from step to step - and so that the best token stands clear
 * of the second. In the first layer all six weight types take turns over the matrices; the other layers have
 * one type each, as files have, so that backends stack and repack their matrices. So a test that runs it has
 * run every block format, both ways. End-of-generation tokens have small logits: they do not come by
 * accident.
 *
 * The tokenizer is byte-level BPE: three specials, the 256 bytes, and every prefix of a list of words, among
 * them characters of several bytes and half a character. Its chat template is ChatML with a default system
 * prompt. */
#include "base/mem.h"
#include "base/mix.h"
#include "base/status.h"
#include "base/tensor.h"
#include "kernels/half.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIM = 128,
    LAYERS = 4,
    HEADS = 4,
    KV_HEADS = 2,
    HEAD_DIM = 32,
    FFN = 256,
    CONTEXT = 4096,
    ALIGNMENT = 32
};
enum { TOKENS_MAX = 2048, TENSORS_MAX = 3 + LAYERS * 9, SPECIALS = 3 };

static const char chat_template[] = "{% for message in messages %}{% if loop.first and messages[0]['role'] "
                                    "!= 'system' %}{{ '<|im_start|>system\n"
                                    "You are a helpful AI assistant named Tiny<|im_end|>\n' }}{% endif "
                                    "%}{{'<|im_start|>' + message['role'] + '\n' + "
                                    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if "
                                    "add_generation_prompt %}{{ '<|im_start|>assistant\n' "
                                    "}}{% endif %}";

/* Words as bytes; a blank before a word belongs to it. The last ones are UTF-8: whole characters and a
 * beginning of one. */
static const char words[] =
    " the| of| and| to| in| a| is| that| for| it| as| was| with| be| by| on| not| he| his| "
    "but| at| are| this| have| from| or| had| an|"
    " they| which| one| you| were| all| her| she| there| would| their| we| him| been| has| "
    "when| who| will| no| more| if| out| so|"
    " up| said| what| its| about| than| into| them| can| only| other| time| new| some| could| "
    "these| two| may| first| then| do| any|"
    " like| my| now| over| such| our| man| me| even| most| made| after| also| well| before| "
    "must| through| years| where| much| your|"
    " way| down| should| because| long| each| just| state| those| people| too| world| little| "
    "good| very| make| water| write| story|"
    " hello| cat| dog| sea| sun| light| night| page| token| model| cache| work| hand| Once| "
    "upon| capital| France| question|"
    "The|What|How|Why|Write|user|assistant|system|Hello|ing|tion|ment|ness|ed|er|ly|est|able|"
    "con|pro|re|un|\n\n|  |    |...|é|ü|ß|“|日|語|\xF0\x9F";

/* --- random numbers --- */

typedef struct dice {
    uint64_t state;
} dice;

static uint64_t dice_next(dice *d) { /* splitmix64 */
    return mix64(d->state += MIX64_STEP);
}

/* Nearly normal, mean 0, deviation 1, within +-3.5: a sum of four uniform numbers, so that no libm decides on
 * the file's bytes. */
static float dice_normal(dice *d) {
    uint64_t bits = dice_next(d);
    int32_t sum = 0;
    for (int i = 0; i < 4; i++) sum += (int32_t)(bits >> (16 * i) & 0xFFFF);
    return ((float)sum - 131070.0f) * (1.0f / 37837.0f); /* 65536 * sqrt(4 / 12) */
}

/* --- block formats --- */

static void put16(uint8_t *at, uint16_t value) {
    memcpy(at, &value, sizeof value);
}

/* The nearest whole number in low..high. */
static int nearest(float x, int low, int high) {
    int q = (int)(x + (x < 0 ? -0.5f : 0.5f));
    return q < low ? low : q > high ? high : q;
}

static void pack_q8_0(const float *w, uint8_t *out) {
    float most = 0;
    for (int i = 0; i < 32; i++) most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    put16(out, half_of_f32(most / 127));
    float d = f32_of_half_at(out);
    for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)(d > 0 ? nearest(w[i] / d, -127, 127) : 0);
}

/* w = d * q + m, q in 0..15 */
static void pack_nibbles(const float *w, float d, float m, uint8_t *out) {
    for (int i = 0; i < 16; i++) {
        int low = d != 0 ? nearest((w[i] - m) / d, 0, 15) : 0,
            high = d != 0 ? nearest((w[i + 16] - m) / d, 0, 15) : 0;
        out[i] = (uint8_t)(low | high << 4);
    }
}

static void pack_q4_0(const float *w, uint8_t *out) {
    float most = 0; /* with its sign: -8 reaches further than +7 */
    for (int i = 0; i < 32; i++) most = fabsf(w[i]) > fabsf(most) ? w[i] : most;
    put16(out, half_of_f32(most / -8));
    float d = f32_of_half_at(out);
    pack_nibbles(w, d, -8 * d, out + 2);
}

static void pack_q4_1(const float *w, uint8_t *out) {
    float low = w[0], high = w[0];
    for (int i = 1; i < 32; i++) {
        low = w[i] < low ? w[i] : low;
        high = w[i] > high ? w[i] : high;
    }
    put16(out, half_of_f32((high - low) / 15));
    put16(out + 2, half_of_f32(low));
    pack_nibbles(w, f32_of_half_at(out), f32_of_half_at(out + 2), out + 4);
}

static void pack_block(dtype type, const float *w, uint8_t *out) {
    switch (type) {
    case DT_F32:
        memcpy(out, w, sizeof *w);
        return;
    case DT_F16:
        put16(out, half_of_f32(*w));
        return;
    case DT_BF16:
        put16(out, bf16_of_f32(*w));
        return;
    case DT_Q8_0:
        pack_q8_0(w, out);
        return;
    case DT_Q4_0:
        pack_q4_0(w, out);
        return;
    case DT_Q4_1:
        pack_q4_1(w, out);
        return;
    default: /* main offers no other */
        abort();
    }
}

/* --- the file --- */

static void put_u32(buf *b, uint32_t v) {
    buf_add(b, &v, sizeof v);
}

static void put_u64(buf *b, uint64_t v) {
    buf_add(b, &v, sizeof v);
}

static void put_string(buf *b, const char *s) {
    put_u64(b, strlen(s));
    buf_adds(b, s);
}

enum { KIND_U32 = 4, KIND_I32 = 5, KIND_F32 = 6, KIND_BOOL = 7, KIND_STRING = 8, KIND_ARRAY = 9 };

typedef struct file {
    buf keys, infos, data;
    uint32_t key_count, tensor_count;
    dice dice;
} file;

static void key(file *f, const char *name, uint32_t kind) {
    put_string(&f->keys, name);
    put_u32(&f->keys, kind);
    f->key_count++;
}

static void key_u32(file *f, const char *name, uint32_t v) {
    key(f, name, KIND_U32);
    put_u32(&f->keys, v);
}

static void key_f32(file *f, const char *name, float v) {
    key(f, name, KIND_F32);
    buf_add(&f->keys, &v, sizeof v);
}

static void key_string(file *f, const char *name, const char *v) {
    key(f, name, KIND_STRING);
    put_string(&f->keys, v);
}

static void key_false(file *f, const char *name) {
    key(f, name, KIND_BOOL);
    buf_add(&f->keys, "", 1);
}

static void key_array(file *f, const char *name, uint32_t kind, uint64_t count) {
    key(f, name, KIND_ARRAY);
    put_u32(&f->keys, kind);
    put_u64(&f->keys, count);
}

/* --- tokens --- */

typedef struct vocabulary {
    char *text[TOKENS_MAX];
    uint32_t count;
    char *merges[TOKENS_MAX];
    uint32_t merge_count;
} vocabulary;

/* Bytes in the writing of GPT-2: what is not visible in Latin-1 takes the code points from 256 on. */
static char *written(const char *bytes, size_t len) {
    buf out = {0};
    for (size_t i = 0; i < len; i++) {
        uint32_t byte = (unsigned char)bytes[i], code = 256;
        bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        for (uint32_t b = 0; b < byte && !visible; b++)
            code += !((b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE);
        if (visible) code = byte;
        if (code < 0x80) {
            buf_addf(&out, "%c", (char)code);
        } else {
            buf_addf(&out, "%c%c", (char)(0xC0 | code >> 6), (char)(0x80 | (code & 0x3F)));
        }
    }
    return out.data;
}

static bool has_token(const vocabulary *v, const char *text) {
    for (uint32_t i = 0; i < v->count; i++)
        if (strcmp(v->text[i], text) == 0) return true;
    return false;
}

/* Each prefix of the word is a token, made of the one before and the next byte. */
static void add_word(vocabulary *v, const char *word, size_t len) {
    for (size_t n = 2; n <= len; n++) {
        char *text = written(word, n);
        if (has_token(v, text)) {
            free(text);
            continue;
        }
        CHECK(v->count < TOKENS_MAX);
        char *left = written(word, n - 1), *right = written(word + n - 1, 1);
        v->text[v->count++] = text;
        v->merges[v->merge_count++] = xasprintf("%s %s", left, right);
        free(left);
        free(right);
    }
}

static void make_vocabulary(vocabulary *v) {
    v->text[v->count++] = xstrdup("<|endoftext|>");
    v->text[v->count++] = xstrdup("<|im_start|>");
    v->text[v->count++] = xstrdup("<|im_end|>");
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        v->text[v->count++] = written(&byte, 1);
    }
    for (const char *at = words; *at;) {
        size_t len = strcspn(at, "|");
        add_word(v, at, len);
        at += len + (at[len] == '|');
    }
}

static void put_keys(file *f, const vocabulary *v) {
    key_string(f, "general.architecture", "llama");
    key_string(f, "general.name", "Tiny random llama");
    key_u32(f, "llama.block_count", LAYERS);
    key_u32(f, "llama.context_length", CONTEXT);
    key_u32(f, "llama.embedding_length", DIM);
    key_u32(f, "llama.feed_forward_length", FFN);
    key_u32(f, "llama.attention.head_count", HEADS);
    key_u32(f, "llama.attention.head_count_kv", KV_HEADS);
    key_f32(f, "llama.rope.freq_base", 10000.0f);
    key_f32(f, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    key_u32(f, "llama.vocab_size", v->count);
    key_u32(f, "llama.rope.dimension_count", HEAD_DIM);
    key_false(f, "tokenizer.ggml.add_space_prefix");
    key_false(f, "tokenizer.ggml.add_bos_token");
    key_string(f, "tokenizer.ggml.model", "gpt2");
    key_string(f, "tokenizer.ggml.pre", "smollm");
    key_array(f, "tokenizer.ggml.tokens", KIND_STRING, v->count);
    for (uint32_t i = 0; i < v->count; i++) put_string(&f->keys, v->text[i]);
    key_array(f, "tokenizer.ggml.token_type", KIND_I32, v->count);
    for (uint32_t i = 0; i < v->count; i++) put_u32(&f->keys, i < SPECIALS ? 3 : 1); /* control, normal */
    key_array(f, "tokenizer.ggml.merges", KIND_STRING, v->merge_count);
    for (uint32_t i = 0; i < v->merge_count; i++) put_string(&f->keys, v->merges[i]);
    key_u32(f, "tokenizer.ggml.bos_token_id", 1);
    key_u32(f, "tokenizer.ggml.eos_token_id", 2);
    key_u32(f, "tokenizer.ggml.unknown_token_id", 0);
    key_u32(f, "tokenizer.ggml.padding_token_id", 2);
    key_string(f, "tokenizer.chat_template", chat_template);
}

/* --- tensors --- */

static void pad(buf *b) {
    static const char zeros[ALIGNMENT];
    buf_add(b, zeros, (ALIGNMENT - b->len % ALIGNMENT) % ALIGNMENT);
}

static void put_info(file *f, const char *name, dtype type, uint32_t rows, uint32_t cols) {
    pad(&f->data);
    put_string(&f->infos, name);
    put_u32(&f->infos, rows > 1 ? 2 : 1);
    put_u64(&f->infos, cols);
    if (rows > 1) put_u64(&f->infos, rows);
    put_u32(&f->infos, type);
    put_u64(&f->infos, f->data.len);
    f->tensor_count++;
}

/* A random matrix with deviation `scale` / sqrt(cols): from an input of deviation 1 it makes an output of
 * deviation `scale`. The first `quiet` rows are ten times smaller. */
static void put_matrix(file *f, const char *name, dtype type, uint32_t rows, uint32_t cols, float scale,
                       uint32_t quiet) {
    put_info(f, name, type, rows, cols);
    float w[32], unit = scale / sqrtf((float)cols);
    uint32_t step = dtype_block_weights(type), bytes = dtype_block_bytes(type);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c += step) {
            uint8_t block[40];
            for (uint32_t i = 0; i < step; i++)
                w[i] = dice_normal(&f->dice) * unit * (r < quiet ? 0.1f : 1.0f);
            pack_block(type, w, block);
            buf_add(&f->data, block, bytes);
        }
    }
}

/* Norm weights around 1, so that leaving one out shows. */
static void put_norm(file *f, const char *name) {
    put_info(f, name, DT_F32, 1, DIM);
    for (uint32_t i = 0; i < DIM; i++) {
        float w = 1.0f + 0.1f * dice_normal(&f->dice);
        buf_add(&f->data, &w, sizeof w);
    }
}

static const dtype types[] = {DT_Q4_1, DT_F16, DT_Q8_0, DT_F32, DT_Q4_0, DT_BF16};

static const dtype layer_types[] = {DT_Q4_1, DT_Q8_0, DT_Q4_0}; /* after the first */

static void put_layer(file *f, uint32_t layer) {
    const struct {
        const char *name;
        uint32_t rows, cols;
        float scale;
    } parts[] = {
        {"attn_q", HEADS * HEAD_DIM, DIM, 2.0f},
        {"attn_k", KV_HEADS * HEAD_DIM, DIM, 2.0f},
        {"attn_v", KV_HEADS * HEAD_DIM, DIM, 1.5f},
        {"attn_output", DIM, HEADS * HEAD_DIM, 1.5f},
        {"ffn_gate", FFN, DIM, 1.5f},
        {"ffn_up", FFN, DIM, 1.5f},
        {"ffn_down", DIM, FFN, 1.0f},
    };
    char name[64];
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", layer);
    put_norm(f, name);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", layer);
    put_norm(f, name);
    for (uint32_t i = 0; i < ARRAY_LEN(parts); i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, parts[i].name);
        dtype type =
            layer == 0 ? types[i % ARRAY_LEN(types)] : layer_types[(layer - 1) % ARRAY_LEN(layer_types)];
        put_matrix(f, name, type, parts[i].rows, parts[i].cols, parts[i].scale, 0);
    }
}

static bool write_file(const file *f, const char *path) {
    buf head = {0};
    buf_adds(&head, "GGUF");
    put_u32(&head, 3);
    put_u64(&head, f->tensor_count);
    put_u64(&head, f->key_count);
    buf_add(&head, f->keys.data, f->keys.len);
    buf_add(&head, f->infos.data, f->infos.len);
    pad(&head);

    /* Tests that start at the same time may both make it: a rename shows either all of it or nothing. */
    char *temporary = xasprintf("%s.new", path);
    FILE *out = fopen(temporary, "wb");
    bool ok = out && fwrite(head.data, 1, head.len, out) == head.len &&
              fwrite(f->data.data, 1, f->data.len, out) == f->data.len;
    if (out && fclose(out) != 0) ok = false;
    if (ok) ok = rename(temporary, path) == 0;
    if (!ok)
        perror(path);
    else
        printf("%s: %u tensors, %zu bytes\n", path, f->tensor_count, head.len + f->data.len);
    free(temporary);
    buf_done(&head);
    return ok;
}

int main(int argc, char **argv) {
    uint64_t seed = 1;
    if (argc == 4 && strcmp(argv[2], "--seed") == 0) {
        seed = strtoull(argv[3], NULL, 10);
    } else if (argc != 2) {
        fprintf(stderr, "usage: make-tiny-model OUT.gguf [--seed N]\n");
        return 2;
    }
    vocabulary *v = xcalloc(1, sizeof *v);
    make_vocabulary(v);
    file f = {.dice = {.state = seed}};
    put_keys(&f, v);
    put_matrix(&f, "token_embd.weight", DT_Q8_0, v->count, DIM, sqrtf(DIM), 0);
    for (uint32_t layer = 0; layer < LAYERS; layer++) put_layer(&f, layer);
    put_norm(&f, "output_norm.weight");
    put_matrix(&f, "output.weight", DT_F16, v->count, DIM, 3.0f, SPECIALS);
    CHECK(f.tensor_count == TENSORS_MAX);
    bool ok = write_file(&f, argv[1]);

    buf_done(&f.keys);
    buf_done(&f.infos);
    buf_done(&f.data);
    for (uint32_t i = 0; i < v->count; i++) free(v->text[i]);
    for (uint32_t i = 0; i < v->merge_count; i++) free(v->merges[i]);
    free(v);
    return ok ? 0 : 1;
}
