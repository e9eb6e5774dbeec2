/* tokenizer - text to token ids.
 *
 *   text --special tokens--> stretches --pre-tokenizer--> pieces --merges--> ids
 *
 * Special tokens are found from the left, the longest first at each place. Tokens that a file calls
 * user-defined are text of their own and always found; control tokens only when the caller parses special
 * tokens, and never where a byte of the match belongs to a `plain` span. Nothing is stored between the
 * steps: each piece goes straight to the merges, so an encoding that hits max_tokens ends there. The bound
 * is checked before the work too: n bytes are at least n / longest tokens.
 *
 * Rejected: a cache of word -> ids. It would need a lock or a copy per thread, and the heap is fast enough
 * without. */
#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/bpe.h"
#include "text/pretok.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1u << 30) /* bytes of one text */

struct tokenizer {
    vocab vocab;
    bpe *merges;
    pretok *pretok;
    int32_t *specials;          /* by first byte, then longest first */
    uint32_t special_from[257]; /* specials of first byte b are [special_from[b], special_from[b + 1]) */
    bool add_bos;
    bool whole_words;
};

/* --- building --- */

static bool is_matched_whole(const vocab *v, uint32_t id) {
    return v->text[id].len > 0 && (vocab_is_control(v, (int32_t)id) || v->kind[id] == TOKEN_USER_DEFINED);
}

static int compare_specials(const void *a, const void *b, void *arg) {
    const vocab *v = arg;
    int32_t ia = *(const int32_t *)a, ib = *(const int32_t *)b;
    checkpoint_text x = v->text[ia], y = v->text[ib];
    if (x.data[0] != y.data[0]) return (unsigned char)x.data[0] < (unsigned char)y.data[0] ? -1 : 1;
    if (x.len != y.len) return x.len > y.len ? -1 : 1;
    return (ia > ib) - (ia < ib);
}

static void list_specials(tokenizer *t) {
    uint32_t count = 0;
    for (uint32_t id = 0; id < t->vocab.count; id++) count += is_matched_whole(&t->vocab, id);
    t->specials = xcalloc(count, sizeof *t->specials);
    count = 0;
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        if (!is_matched_whole(&t->vocab, id)) continue;
        t->specials[count++] = (int32_t)id;
        t->special_from[(unsigned char)t->vocab.text[id].data[0] + 1]++;
    }
    qsort_r(t->specials, count, sizeof *t->specials, compare_specials, &t->vocab);
    for (uint32_t b = 0; b < 256; b++) t->special_from[b + 1] += t->special_from[b];
    POST(t->special_from[256] == count);
}

status tokenizer_new(tokenizer **out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    tokenizer *t = xcalloc(1, sizeof *t);
    status st = vocab_init(&t->vocab, ckpt, eb);
    if (st == ST_OK) st = bpe_new(&t->merges, &t->vocab, ckpt, eb);
    if (st == ST_OK) st = pretok_new(&t->pretok, ckpt, eb);
    if (st != ST_OK) goto fail;

    t->whole_words = pretok_whole_words(t->pretok);
    t->add_bos = pretok_adds_bos(t->pretok);
    checkpoint_bool(ckpt, "tokenizer.ggml.add_bos_token", &t->add_bos);
    if (t->add_bos && t->vocab.bos < 0) {
        st = errf(
            eb, ST_CORRUPT,
            "tokenizer: the file wants a BOS token in front but names none (tokenizer.ggml.bos_token_id)");
        goto fail;
    }
    list_specials(t);
    *out = t;
    return ST_OK;

fail:
    tokenizer_free(t);
    return st;
}

void tokenizer_free(tokenizer *t) {
    if (!t) return;
    pretok_free(t->pretok);
    bpe_free(t->merges);
    free(t->specials);
    vocab_done(&t->vocab);
    free(t);
}

/* --- encoding --- */

typedef struct encoding {
    const tokenizer *tok;
    const encode_options *opt;
    uint32_t plain_at; /* first plain span that does not end before the place we are at */
    bpe_work work;
    char *written; /* a piece as vocabulary text, for whole words */
    token_list *out;
} encoding;

static status too_long(const encoding *e, errbuf *eb) {
    return errf(eb, ST_NOMEM, "the text is more than %u tokens", e->opt->max_tokens);
}

/* Whether `bytes` more bytes of text cannot end within the limit. Dropped bytes (without a token) are too
 * rare to count. */
static bool is_hopeless(const encoding *e, size_t bytes) {
    return bytes / e->tok->vocab.longest > e->opt->max_tokens - e->out->count;
}

static status encode_piece(void *arg, const char *piece, size_t len, errbuf *eb) {
    encoding *e = arg;
    const vocab *v = &e->tok->vocab;
    if (is_hopeless(e, len)) return too_long(e, eb);

    int32_t whole = -1;
    if (e->tok->whole_words && len <= v->longest)
        whole = vocab_find(v, e->written, byte_chars_write(&v->bytes, piece, len, e->written));
    status st = ST_OK;
    if (whole >= 0)
        token_list_add(e->out, whole);
    else
        st = bpe_encode(e->tok->merges, &e->work, piece, len, e->out, eb);
    if (st == ST_OK && e->out->count > e->opt->max_tokens) return too_long(e, eb);
    return st;
}

static bool touches_plain(encoding *e, size_t begin, size_t end) {
    const text_span *spans = e->opt->plain;
    while (e->plain_at < e->opt->plain_count && spans[e->plain_at].end <= begin) e->plain_at++;
    for (uint32_t i = e->plain_at; i < e->opt->plain_count && spans[i].begin < end; i++)
        if (spans[i].begin < spans[i].end) return true;
    return false;
}

/* The special token that starts at text[at], or -1. */
static int32_t special_at(encoding *e, const char *text, size_t len, size_t at) {
    const tokenizer *t = e->tok;
    unsigned char first = (unsigned char)text[at];
    for (uint32_t i = t->special_from[first]; i < t->special_from[first + 1]; i++) {
        int32_t id = t->specials[i];
        checkpoint_text s = t->vocab.text[id];
        if (s.len > len - at || memcmp(s.data, text + at, s.len) != 0) continue;
        if (!vocab_is_control(&t->vocab, id)) return id;
        if (e->opt->parse_special && !touches_plain(e, at, at + s.len)) return id;
    }
    return -1;
}

static status encode_all(encoding *e, const char *text, size_t len, errbuf *eb) {
    const tokenizer *t = e->tok;
    size_t stretch = 0; /* where the text since the last special token begins */
    for (size_t at = 0; at < len;) {
        unsigned char first = (unsigned char)text[at];
        int32_t id = t->special_from[first] < t->special_from[first + 1] ? special_at(e, text, len, at) : -1;
        if (id < 0) {
            at++;
            continue;
        }
        status st = pretok_split(t->pretok, text + stretch, at - stretch, encode_piece, e, eb);
        if (st != ST_OK) return st;
        token_list_add(e->out, id);
        if (e->out->count > e->opt->max_tokens) return too_long(e, eb);
        at += t->vocab.text[id].len;
        stretch = at;
    }
    return pretok_split(t->pretok, text + stretch, len - stretch, encode_piece, e, eb);
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
    bool with_bos = opt->add_special && t->add_bos;
    if (out->count + with_bos > opt->max_tokens && (len > 0 || with_bos)) return too_long(&e, eb);
    if (len > TEXT_MAX || (len > 0 && is_hopeless(&e, len))) return too_long(&e, eb);
    size_t wrong = utf8_invalid_at(text, len);
    if (wrong < len) return errf(eb, ST_INVALID, "the text is not UTF-8 at byte %zu", wrong);

    if (t->whole_words) e.written = xmalloc((size_t)t->vocab.longest * 2);
    if (with_bos) token_list_add(out, t->vocab.bos);
    status st = encode_all(&e, text, len, eb);
    if (st != ST_OK) out->count = count_before;
    bpe_work_done(&e.work);
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

int32_t tokenizer_find(const tokenizer *t, const char *text) {
    PRE(t);
    PRE(text);
    return vocab_find(&t->vocab, text, strlen(text));
}
