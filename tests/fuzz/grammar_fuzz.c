/* A spec, a NUL, and tokens to take, one per byte. Before each token the mask must say what taking says. */
#include "base/mem.h"
#include "fuzz.h"
#include "grammar/grammar.h"

#include <string.h>

#define TOKENS_MOST 24u

static const char *const words[] = {"{\"", "\":", "\", \"", "true",  "12", "-1", "\\u00", "\xc3\xa9",
                                    "}]",  "ab",  "",       "hello", ", ", "\n", "0.",    "\xe2\x82"};
enum { VOCAB = 256 + ARRAY_LEN(words) };

static size_t token_bytes(void *ctx, int32_t id, char *out, size_t cap) {
    (void)ctx;
    if (id < 256) {
        if (cap) out[0] = (char)id;
        return 1;
    }
    size_t len = strlen(words[id - 256]);
    memcpy(out, words[id - 256], MIN(len, cap));
    return len;
}

static bool in_mask(const uint32_t *bits, int32_t id) {
    return bits[id / 32] >> (id % 32) & 1;
}

/* Takes the token that the byte picks among those that the mask allows; false at the end. Of those that it
 * forbids every eighth is tried. */
static bool step(grammar_run *r, uint8_t pick) {
    uint32_t bits[(VOCAB + 31) / 32];
    memset(bits, 0xAA, sizeof bits);
    if (!grammar_run_mask(r, bits)) return false; /* it takes too long */
    int32_t allowed[VOCAB];
    uint32_t count = 0;
    for (int32_t id = 0; id < (int32_t)VOCAB; id++) {
        if (in_mask(bits, id))
            allowed[count++] = id;
        else if (id % 8 == pick % 8)
            CHECK(!grammar_run_take(r, id));
    }
    CHECK(grammar_run_at_end(r) ? count == 0 : count > 0 || grammar_run_may_end(r));
    if (count == 0) return false;
    CHECK(grammar_run_take(r, allowed[pick % count]));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t len = end ? (size_t)(end - data) : size;
    grammar_vocab *v = grammar_vocab_new(VOCAB, token_bytes, NULL);
    grammar *g = NULL;
    errbuf eb = {0};
    status checked = grammar_check((const char *)data, len, NULL);
    status made = grammar_new(&g, v, (const char *)data, len, &eb);
    CHECK(checked == made);
    if (made != ST_OK) {
        CHECK(eb.text[0]);
    } else {
        grammar_run *r = grammar_run_new(g);
        for (size_t i = 0; i < TOKENS_MOST; i++)
            if (!step(r, len + 1 + i < size ? data[len + 1 + i] : (uint8_t)(i * 37))) break;
        grammar_run_free(r);
        grammar_free(g);
    }
    grammar_vocab_free(v);
    return 0;
}
