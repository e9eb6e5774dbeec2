/* vocab_build - a small byte-level BPE vocabulary for tests: all 256 bytes as ids 0..255, then what the test
 * adds. */
#ifndef BATON_TESTS_VOCAB_BUILD_H
#define BATON_TESTS_VOCAB_BUILD_H

#include "gguf_build.h"

#define VOCAB_BUILD_MAX 512u

typedef struct vocab_build {
    char bytes[256][3]; /* GPT-2's writing of each byte */
    const char *tokens[VOCAB_BUILD_MAX];
    int32_t kinds[VOCAB_BUILD_MAX];
    uint32_t count;
} vocab_build;

static inline void vocab_build_init(vocab_build *v) {
    uint32_t next = 256;
    *v = (vocab_build){.count = 256};
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t code = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
        if (code < 0x80) {
            v->bytes[b][0] = (char)code;
        } else {
            v->bytes[b][0] = (char)(0xC0 | code >> 6);
            v->bytes[b][1] = (char)(0x80 | (code & 0x3F));
        }
        v->tokens[b] = v->bytes[b];
        v->kinds[b] = 1;
    }
}

/* kind: 1 normal, 3 control, 4 user-defined, 5 unused. Returns the id. */
static inline int32_t vocab_build_add(vocab_build *v, const char *text, int32_t kind) {
    v->tokens[v->count] = text;
    v->kinds[v->count] = kind;
    return (int32_t)v->count++;
}

/* The keys of a tokenizer with the pre-tokenizer `pre`. */
static inline void vocab_build_keys(const vocab_build *v, gguf_build *b, const char *pre,
                                    const char *const *merges, uint64_t merge_count) {
    build_string(b, "tokenizer.ggml.model", "gpt2");
    build_string(b, "tokenizer.ggml.pre", pre);
    build_strings(b, "tokenizer.ggml.tokens", v->tokens, v->count);
    build_i32s(b, "tokenizer.ggml.token_type", v->kinds, v->count);
    build_strings(b, "tokenizer.ggml.merges", merges, merge_count);
}

#endif
