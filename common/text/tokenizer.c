/* tokenizer - text to token ids.
 *
 *   text --special tokens--> stretches --normal--> stretches --pre-tokenizer--> pieces --merges--> ids
 *
 * Tokens that a file calls user-defined are text of their own and always found; control tokens only when the
 * caller parses special tokens, and never where a byte of the match belongs to a `plain` span. Nothing is
 * stored between the steps: each piece goes straight to the merges, so an encoding that hits max_tokens ends
 * there. The bound is checked before the work too: n bytes are at least n / longest tokens.
 *
 * Rejected: a cache of word -> ids. It would need a lock or a copy per thread, and the heap is fast enough
 * without. */
#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/bpe.h"
#include "text/normal.h"
#include "text/pretok.h"
#include "text/specials.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1u << 30) /* bytes of one text */

#define COMPOSED_MIN 4u /* composing makes text shorter by at most this factor */

struct tokenizer {
    vocab vocab;
    bpe *merges;
    normal normal;
    pretok *pretok;
    specials specials;
    bool add_bos, add_eos;
    bool whole_words;
    uint64_t densest; /* bytes of text that one token stands for, at most; UINT64_MAX = no telling */
    space_strip strip;
};

/* --- building --- */

static status read_strip(tokenizer *t, const checkpoint *ckpt, errbuf *eb) {
    static const char key[] = "tokenizer.hf.strip_space";
    static const char *const names[] = {[STRIP_NONE] = "none", [STRIP_ONE] = "one", [STRIP_ALL] = "all"};
    checkpoint_text name;
    if (!checkpoint_string(ckpt, key, &name)) {
        bool spaced = !t->vocab.byte_level && t->normal.prefix != PREFIX_NEVER;
        t->strip = spaced ? STRIP_ONE : STRIP_NONE;
        return ST_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strlen(names[i]) != name.len || memcmp(names[i], name.data, name.len) != 0) continue;
        t->strip = (space_strip)i;
        return ST_OK;
    }
    return errf(eb, ST_CORRUPT, "tokenizer: %s is '%.*s', want none, one or all", key,
                (int)MIN(name.len, 64u), name.data);
}

/* White space that goes with a special token, and characters that fuse into one unknown token, are text
 * without a bound on one token. */
static uint64_t densest(const tokenizer *t) {
    bool fuses = t->vocab.unknown >= 0 && t->vocab.fuse_unknown;
    for (uint32_t b = 0; fuses && b < 256; b++) fuses = t->vocab.id_of_byte[b] >= 0;
    fuses = t->vocab.unknown >= 0 && t->vocab.fuse_unknown && !fuses;
    if (fuses || t->specials.swallows) return UINT64_MAX;
    return (uint64_t)t->vocab.longest * (t->normal.composes ? COMPOSED_MIN : 1);
}

static status check_ends(const tokenizer *t, errbuf *eb) {
    if (t->add_bos && t->vocab.bos < 0)
        return errf(
            eb, ST_CORRUPT,
            "tokenizer: the file wants a BOS token in front but names none (tokenizer.ggml.bos_token_id)");
    if (t->add_eos && t->vocab.eos < 0)
        return errf(
            eb, ST_CORRUPT,
            "tokenizer: the file wants an EOS token behind but names none (tokenizer.ggml.eos_token_id)");
    return ST_OK;
}

status tokenizer_new(tokenizer **out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    tokenizer *t = xcalloc(1, sizeof *t);
    status st = vocab_init(&t->vocab, ckpt, eb);
    if (st == ST_OK) st = bpe_new(&t->merges, &t->vocab, ckpt, eb);
    if (st == ST_OK) st = pretok_new(&t->pretok, ckpt, t->vocab.byte_level, eb);
    if (st == ST_OK) st = normal_init(&t->normal, ckpt, t->vocab.byte_level, pretok_composes(t->pretok), eb);
    if (st == ST_OK) st = specials_init(&t->specials, &t->vocab, ckpt, eb);
    if (st == ST_OK) st = read_strip(t, ckpt, eb);
    if (st != ST_OK) goto fail;

    t->whole_words = pretok_whole_words(t->pretok);
    checkpoint_bool(ckpt, "tokenizer.hf.whole_words", &t->whole_words);
    t->add_bos = pretok_adds_bos(t->pretok);
    checkpoint_bool(ckpt, "tokenizer.ggml.add_bos_token", &t->add_bos);
    checkpoint_bool(ckpt, "tokenizer.ggml.add_eos_token", &t->add_eos);
    st = check_ends(t, eb);
    if (st != ST_OK) goto fail;
    t->densest = densest(t);
    *out = t;
    return ST_OK;

fail:
    tokenizer_free(t);
    return st;
}

void tokenizer_free(tokenizer *t) {
    if (!t) return;
    specials_done(&t->specials);
    pretok_free(t->pretok);
    bpe_free(t->merges);
    vocab_done(&t->vocab);
    free(t);
}

/* --- encoding --- */

typedef struct encoding {
    const tokenizer *tok;
    const encode_options *opt;
    bpe_work work;
    buf stretch;   /* as the pre-tokenizer wants it */
    char *written; /* a piece as vocabulary text, for whole words of byte-level vocabularies */
    token_list *out;
} encoding;

static status too_long(const encoding *e, errbuf *eb) {
    return errf(eb, ST_NOMEM, "the text is more than %u tokens", e->opt->max_tokens);
}

/* Whether `bytes` more bytes of text cannot end within the limit. Dropped bytes (without a token) are too
 * rare to count. */
static bool is_hopeless(const encoding *e, size_t bytes) {
    return bytes / e->tok->densest > e->opt->max_tokens - e->out->count;
}

/* The token that is all of a piece, or -1. */
static int32_t whole_word(const encoding *e, const char *piece, size_t len) {
    const vocab *v = &e->tok->vocab;
    if (!e->tok->whole_words || len > v->longest) return -1;
    if (!v->byte_level) return vocab_find_plain(v, piece, len);
    return vocab_find_plain(v, e->written, byte_chars_write(&v->bytes, piece, len, e->written));
}

static status encode_piece(void *arg, const char *piece, size_t len, errbuf *eb) {
    encoding *e = arg;
    if (is_hopeless(e, len)) return too_long(e, eb);
    int32_t whole = whole_word(e, piece, len);
    status st = ST_OK;
    if (whole >= 0)
        token_list_add(e->out, whole);
    else
        st = bpe_encode(e->tok->merges, &e->work, piece, len, e->out, eb);
    if (st == ST_OK && e->out->count > e->opt->max_tokens) return too_long(e, eb);
    return st;
}

static status encode_stretch(encoding *e, checkpoint_text text, bool at_start, bool bare, errbuf *eb) {
    checkpoint_text stretch;
    status st = normal_stretch(&e->tok->normal, text, at_start, bare, &e->stretch, &stretch, eb);
    if (st != ST_OK) return st;
    return pretok_split(e->tok->pretok, stretch.data, stretch.len, encode_piece, e, eb);
}

static status encode_all(encoding *e, const char *text, size_t len, errbuf *eb) {
    const encode_options *opt = e->opt;
    special_search search = {.specials = &e->tok->specials,
                             .text = text,
                             .len = len,
                             .parse_control = opt->parse_special,
                             .plain = opt->plain,
                             .plain_count = opt->plain_count,
                             .prefix_due = true};
    for (size_t at = 0;;) {
        bool bare = !search.prefix_due;
        special_match m = {.begin = len};
        bool found = specials_next(&search, at, &m);
        status st = encode_stretch(e, (checkpoint_text){text + at, m.begin - at}, at == 0, bare, eb);
        if (st == ST_OK && m.lone_prefix) st = encode_piece(e, SPACE_SIGN, SPACE_SIGN_LEN, eb);
        if (st != ST_OK || !found) return st;
        token_list_add(e->out, m.id);
        if (e->out->count > opt->max_tokens) return too_long(e, eb);
        at = m.end;
    }
}

status tokenizer_encode(const tokenizer *t, const char *text, size_t len, const encode_options *opt,
                        token_list *out, errbuf *eb) {
    PRE(t);
    PRE(opt);
    PRE(out);
    PRE(text || len == 0);
    PRE(opt->plain || opt->plain_count == 0);
    if (len == 0) text = "";
    uint32_t count_before = out->count;
    encoding e = {.tok = t, .opt = opt, .out = out};
    uint32_t ends = opt->add_special ? (uint32_t)t->add_bos + t->add_eos : 0;
    if (out->count + (uint64_t)ends > opt->max_tokens && (len > 0 || ends)) return too_long(&e, eb);
    if (len > TEXT_MAX || (len > 0 && is_hopeless(&e, len))) return too_long(&e, eb);
    size_t wrong = utf8_invalid_at(text, len);
    if (wrong < len) return errf(eb, ST_INVALID, "the text is not UTF-8 at byte %zu", wrong);

    if (t->whole_words) e.written = xmalloc((size_t)t->vocab.longest * 2);
    if (opt->add_special && t->add_bos) token_list_add(out, t->vocab.bos);
    status st = encode_all(&e, text, len, eb);
    if (st == ST_OK && opt->add_special && t->add_eos) {
        token_list_add(out, t->vocab.eos);
        if (out->count > opt->max_tokens) st = too_long(&e, eb);
    }
    if (st != ST_OK) out->count = count_before;
    bpe_work_done(&e.work);
    buf_done(&e.stretch);
    free(e.written);
    return st;
}

/* --- what is known of tokens --- */

uint32_t tokenizer_vocab(const tokenizer *t) {
    PRE(t);
    return t->vocab.count;
}

size_t tokenizer_bytes(const tokenizer *t, int32_t id, char *out, size_t cap) {
    PRE(t);
    PRE(out || cap == 0);
    return vocab_bytes(&t->vocab, id, out, cap);
}

bool tokenizer_is_special(const tokenizer *t, int32_t id) {
    PRE(t);
    return vocab_is_control(&t->vocab, id);
}

const int32_t *tokenizer_eog(const tokenizer *t, uint32_t *count) {
    PRE(t);
    PRE(count);
    *count = t->vocab.eog_count;
    return t->vocab.eog;
}

int32_t tokenizer_bos(const tokenizer *t) {
    PRE(t);
    return t->vocab.bos;
}

space_strip tokenizer_strip(const tokenizer *t) {
    PRE(t);
    return t->strip;
}

int32_t tokenizer_find(const tokenizer *t, const char *text) {
    PRE(t);
    PRE(text);
    return vocab_find(&t->vocab, text, strlen(text));
}
