#include "text/vocab.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define LISTED_ENDS_MAX 64u

/* Roles that a token has by its name when the file gives no id for the role, and names that always end a
 * generation. Both lists are llama.cpp's, because the files are made with it in mind. Any token named here is
 * a control token, whatever the file says. Lists of architectures with another tokenizer model than gpt2 are
 * left out. */
typedef struct token_role {
    const char *key; /* id in the file; it wins over the names */
    bool ends;       /* this role ends a generation */
    const char *names[12];
} token_role;

static const token_role roles[] = {
    {"tokenizer.ggml.eot_token_id",
     true,
     {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>",
      "_<EOT>", "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>"}},
    {"tokenizer.ggml.eom_token_id", true, {"<|eom_id|>"}},
    {"tokenizer.ggml.fim_pre_token_id",
     false,
     {"<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
      "<|code_prefix|>", "<|prefix|>"}},
    {"tokenizer.ggml.fim_suf_token_id",
     false,
     {"<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>",
      "<|code_suffix|>", "<|suffix|>"}},
    {"tokenizer.ggml.fim_mid_token_id",
     false,
     {"<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
      "<|middle|>"}},
    {"tokenizer.ggml.fim_pad_token_id", true, {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"tokenizer.ggml.fim_rep_token_id",
     true,
     {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"tokenizer.ggml.fim_sep_token_id", true, {"<|file_sep|>"}},
    {"tokenizer.ggml.eos_token_id", true, {NULL}},
};

static const char *const enders[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
};

/* --- bytes and their characters --- */

/* The byte that "<0x0A>" writes, -1 when the text is another one. */
static int byte_of_text(checkpoint_text s) {
    static const char digits[] = "0123456789ABCDEF";
    if (s.len != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>') return -1;
    const char *high = memchr(digits, s.data[3], 16), *low = memchr(digits, s.data[4], 16);
    return high && low ? (int)((high - digits) << 4 | (low - digits)) : -1;
}

static size_t spaced_bytes(const vocab *v, int32_t id, char *out, size_t cap) {
    checkpoint_text s = v->text[id];
    if (v->kind[id] == TOKEN_BYTE) {
        if (cap) out[0] = (char)byte_of_text(s);
        return 1;
    }
    size_t n = 0;
    for (size_t at = 0; at < s.len; n++) {
        bool space = s.len - at >= SPACE_SIGN_LEN && memcmp(s.data + at, SPACE_SIGN, SPACE_SIGN_LEN) == 0;
        if (n < cap) out[n] = space ? ' ' : s.data[at];
        at += space ? SPACE_SIGN_LEN : 1;
    }
    return n;
}

size_t vocab_bytes(const vocab *v, int32_t id, char *out, size_t cap) {
    PRE(v);
    PRE(out || cap == 0);
    if (id < 0 || (uint32_t)id >= v->count) return 0;
    checkpoint_text s = v->text[id];
    if (v->kind[id] == TOKEN_UNUSED) return 0;
    if (!v->byte_level) return spaced_bytes(v, id, out, cap);
    if (vocab_is_control(v, id) || v->kind[id] == TOKEN_USER_DEFINED) { /* written as they are */
        if (cap) memcpy(out, s.data, MIN(s.len, cap));
        return s.len;
    }
    size_t n = 0;
    for (size_t at = 0; at < s.len;) {
        utf8_char c = utf8_next(s.data + at, s.len - at);
        int byte = c.kind == UTF8_WHOLE && c.code < BYTE_CHARS_END ? v->bytes.byte_of_code[c.code] : -1;
        /* A character that writes no byte stands for itself. */
        for (uint32_t i = 0; i < (byte >= 0 ? 1 : c.len); i++, n++)
            if (n < cap) out[n] = byte >= 0 ? (char)byte : s.data[at + i];
        at += c.len;
    }
    return n;
}

/* --- text to id --- */

static uint32_t *slot_of(const vocab *v, const char *text, size_t len) {
    uint32_t i = (uint32_t)XXH3_64bits(text, len) & v->slot_mask;
    for (;; i = (i + 1) & v->slot_mask) {
        if (v->slots[i] == 0) return &v->slots[i];
        checkpoint_text s = v->text[v->slots[i] - 1];
        if (s.len == len && memcmp(s.data, text, len) == 0) return &v->slots[i];
    }
}

int32_t vocab_find(const vocab *v, const char *text, size_t len) {
    return (int32_t)*slot_of(v, text, len) - 1;
}

int32_t vocab_find_plain(const vocab *v, const char *text, size_t len) {
    int32_t id = vocab_find(v, text, len);
    if (id < 0) return -1;
    switch ((token_kind)v->kind[id]) {
    case TOKEN_UNDEFINED:
    case TOKEN_NORMAL:
    case TOKEN_USER_DEFINED:
        return id;
    case TOKEN_UNKNOWN:
    case TOKEN_CONTROL:
    case TOKEN_UNUSED:
    case TOKEN_BYTE:
        return -1;
    }
    return -1;
}

bool vocab_is_control(const vocab *v, int32_t id) {
    return id >= 0 && (uint32_t)id < v->count &&
           (v->kind[id] == TOKEN_CONTROL || v->kind[id] == TOKEN_UNKNOWN);
}

static status read_tokens(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    checkpoint_kind kind;
    uint64_t count;
    if (!checkpoint_list(ckpt, "tokenizer.ggml.tokens", &kind, &count) || kind != CHECKPOINT_TEXTS)
        return errf(eb, ST_CORRUPT, "tokenizer: the file has no list of tokens (tokenizer.ggml.tokens)");
    if (count == 0 || count > VOCAB_MAX)
        return errf(eb, ST_CORRUPT, "tokenizer: %" PRIu64 " tokens, want 1..%u", count, VOCAB_MAX);

    v->count = (uint32_t)count;
    v->text = xcalloc(count, sizeof *v->text);
    v->kind = xcalloc(count, sizeof *v->kind);
    uint32_t slots = 8;
    while (slots < count * 2) slots *= 2;
    v->slots = xcalloc(slots, sizeof *v->slots);
    v->slot_mask = slots - 1;

    for (uint32_t i = 0; i < v->count; i++) {
        CHECK(checkpoint_list_text(ckpt, "tokenizer.ggml.tokens", i, &v->text[i]));
        checkpoint_text s = v->text[i];
        v->longest = MAX(v->longest, (uint32_t)MIN(s.len, UINT32_MAX));
        v->kind[i] = TOKEN_NORMAL;
        if (s.len == 0) continue; /* a hole in the numbering: it can be neither written nor found */
        uint32_t *slot = slot_of(v, s.data, s.len);
        if (*slot)
            return errf(eb, ST_CORRUPT, "tokenizer: tokens %u and %u have the same text", *slot - 1, i);
        *slot = i + 1;
    }
    if (v->longest == 0) return errf(eb, ST_CORRUPT, "tokenizer: all %u tokens are empty", v->count);
    return ST_OK;
}

static status read_kinds(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    checkpoint_kind listed;
    uint64_t count;
    if (!checkpoint_list(ckpt, "tokenizer.ggml.token_type", &listed, &count)) {
        /* All are normal, but for those whose text can be nothing else. */
        for (uint32_t i = 0; !v->byte_level && i < v->count; i++)
            if (byte_of_text(v->text[i]) >= 0) v->kind[i] = TOKEN_BYTE;
        return ST_OK;
    }
    if (count != v->count)
        return errf(eb, ST_CORRUPT, "tokenizer: %" PRIu64 " token types for %u tokens", count, v->count);
    for (uint32_t i = 0; i < v->count; i++) {
        int64_t kind;
        if (!checkpoint_list_i64(ckpt, "tokenizer.ggml.token_type", i, &kind))
            return errf(eb, ST_CORRUPT, "tokenizer: token types are no whole numbers");
        v->kind[i] = kind < 0 || kind > TOKEN_BYTE ? TOKEN_UNDEFINED : (uint8_t)kind;
        if (kind == TOKEN_BYTE && !v->byte_level && byte_of_text(v->text[i]) < 0)
            return errf(eb, ST_CORRUPT, "tokenizer: token %u is a byte, but is not written like '<0x0A>'", i);
    }
    return ST_OK;
}

/* The id under `key`, -1 when the file has none. */
static status read_id(const vocab *v, const checkpoint *ckpt, const char *key, int32_t *out, errbuf *eb) {
    uint64_t id;
    *out = -1;
    if (!checkpoint_u64(ckpt, key, &id)) return ST_OK;
    if (id >= v->count)
        return errf(eb, ST_CORRUPT, "tokenizer: %s is %" PRIu64 ", but there are %u tokens", key, id,
                    v->count);
    *out = (int32_t)id;
    return ST_OK;
}

/* --- the ends --- */

static int compare_ids(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void add_eog(vocab *v, int32_t id) {
    for (uint32_t i = 0; i < v->eog_count; i++)
        if (v->eog[i] == id) return;
    v->eog[v->eog_count++] = id;
}

/* The token of a role's name, -1 when there is none. A file may give it another kind by mistake. Not so a
 * tokenizer.json; nor is "</s>" a sign where it is no control token: Qwen2's and Gemma's have it from HTML.
 */
static int32_t named_token(const vocab *v, const char *name, bool kinds_are_right) {
    int32_t id = vocab_find(v, name, strlen(name));
    bool as_is = kinds_are_right || strcmp(name, "</s>") == 0;
    return id >= 0 && as_is && v->kind[id] != TOKEN_CONTROL ? -1 : id;
}

/* The ends that a file lists, besides those by role (generation_config.json's). */
static status add_listed(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    static const char key[] = "tokenizer.ggml.eos_token_ids";
    checkpoint_kind kind;
    uint64_t count;
    if (!checkpoint_list(ckpt, key, &kind, &count)) return ST_OK;
    if (kind != CHECKPOINT_INTEGERS || count > LISTED_ENDS_MAX)
        return errf(eb, ST_CORRUPT, "tokenizer: %s is no list of at most %u ids", key, LISTED_ENDS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        int64_t id = -1;
        if (!checkpoint_list_i64(ckpt, key, i, &id) || id < 0 || id >= v->count)
            return errf(eb, ST_CORRUPT, "tokenizer: %s has %" PRId64 ", but there are %u tokens", key, id,
                        v->count);
        add_eog(v, (int32_t)id);
    }
    return ST_OK;
}

static status find_ends(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    checkpoint_text prefix;
    bool right = checkpoint_string(ckpt, "tokenizer.hf.space_prefix", &prefix);
    v->eog = xcalloc(ARRAY_LEN(roles) + ARRAY_LEN(enders) + LISTED_ENDS_MAX, sizeof *v->eog);
    for (size_t r = 0; r < ARRAY_LEN(roles); r++) {
        int32_t id;
        status st = read_id(v, ckpt, roles[r].key, &id, eb);
        if (st != ST_OK) return st;
        for (size_t n = 0; id < 0 && n < ARRAY_LEN(roles[r].names) && roles[r].names[n]; n++) {
            id = named_token(v, roles[r].names[n], right);
            if (id >= 0) v->kind[id] = TOKEN_CONTROL;
        }
        if (id >= 0 && roles[r].ends) add_eog(v, id);
    }
    for (size_t n = 0; n < ARRAY_LEN(enders); n++) {
        int32_t id = named_token(v, enders[n], right);
        if (id < 0) continue;
        v->kind[id] = TOKEN_CONTROL;
        add_eog(v, id);
    }
    status st = add_listed(v, ckpt, eb);
    qsort(v->eog, v->eog_count, sizeof *v->eog, compare_ids);
    return st;
}

static status read_model(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    checkpoint_text kind = {"", 0};
    (void)checkpoint_string(ckpt, "tokenizer.ggml.model", &kind);
    v->byte_level = kind.len == 4 && memcmp(kind.data, "gpt2", 4) == 0;
    if (v->byte_level || (kind.len == 5 && memcmp(kind.data, "llama", 5) == 0)) return ST_OK;
    return errf(eb, ST_UNSUPPORTED,
                "tokenizer: model '%.*s' is not supported; byte-level BPE ('gpt2') and SentencePiece's BPE "
                "('llama') are",
                (int)MIN(kind.len, 64u), kind.data);
}

/* What becomes of characters and bytes that have no token. */
static status read_unknown(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    bool unknown_bytes = false;
    v->fuse_unknown = !v->byte_level;
    checkpoint_bool(ckpt, "tokenizer.hf.fuse_unknown", &v->fuse_unknown);
    checkpoint_bool(ckpt, "tokenizer.hf.unknown_bytes", &unknown_bytes);
    if (v->byte_level && !unknown_bytes) return ST_OK;
    return read_id(v, ckpt, "tokenizer.ggml.unknown_token_id", &v->unknown, eb);
}

static void find_bytes(vocab *v) {
    for (uint32_t b = 0; b < 256; b++) {
        v->id_of_byte[b] = -1;
        if (!v->byte_level) continue;
        char byte = (char)b, text[2];
        size_t len = byte_chars_write(&v->bytes, &byte, 1, text);
        v->id_of_byte[b] = vocab_find(v, text, len);
    }
    for (uint32_t i = 0; !v->byte_level && i < v->count; i++)
        if (v->kind[i] == TOKEN_BYTE) v->id_of_byte[byte_of_text(v->text[i])] = (int32_t)i;
}

status vocab_init(vocab *v, const checkpoint *ckpt, errbuf *eb) {
    PRE(v);
    PRE(ckpt);
    *v = (vocab){.bos = -1, .eos = -1, .unknown = -1};
    byte_chars_init(&v->bytes);
    status st = read_model(v, ckpt, eb);
    if (st == ST_OK) st = read_tokens(v, ckpt, eb);
    if (st == ST_OK) st = read_kinds(v, ckpt, eb);
    if (st == ST_OK) st = read_id(v, ckpt, "tokenizer.ggml.bos_token_id", &v->bos, eb);
    if (st == ST_OK) st = read_id(v, ckpt, "tokenizer.ggml.eos_token_id", &v->eos, eb);
    if (st == ST_OK) st = read_unknown(v, ckpt, eb);
    if (st == ST_OK) st = find_ends(v, ckpt, eb);
    if (st != ST_OK) {
        vocab_done(v);
        return st;
    }
    find_bytes(v);
    return ST_OK;
}

void vocab_done(vocab *v) {
    free(v->text);
    free(v->kind);
    free(v->slots);
    free(v->eog);
    *v = (vocab){.bos = -1, .eos = -1, .unknown = -1};
}
