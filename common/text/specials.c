#include "text/specials.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

static bool is_matched_whole(const vocab *v, uint32_t id) {
    return v->text[id].len > 0 && (vocab_is_control(v, (int32_t)id) || v->kind[id] == TOKEN_USER_DEFINED);
}

/* --- building --- */

typedef struct first_len {
    uint32_t first, len;
} first_len;

static int compare_lengths(const void *a, const void *b) {
    const first_len *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return (x->len < y->len) - (x->len > y->len);
}

static void list_lengths(specials *s) {
    const vocab *v = s->vocab;
    uint32_t count = 0, kept = 0;
    for (uint32_t id = 0; id < v->count; id++) count += is_matched_whole(v, id);
    first_len *all = xcalloc(MAX(count, 1u), sizeof *all);
    count = 0;
    for (uint32_t id = 0; id < v->count; id++)
        if (is_matched_whole(v, id))
            all[count++] = (first_len){(unsigned char)v->text[id].data[0], (uint32_t)v->text[id].len};
    qsort(all, count, sizeof *all, compare_lengths);
    s->lengths = xcalloc(MAX(count, 1u), sizeof *s->lengths);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && compare_lengths(&all[i], &all[i - 1]) == 0) continue;
        s->lengths[kept++] = all[i].len;
        s->from[all[i].first + 1]++;
    }
    for (uint32_t b = 0; b < 256; b++) s->from[b + 1] += s->from[b];
    free(all);
    POST(s->from[256] == kept);
}

static status read_flags(specials *s, const checkpoint *ckpt, errbuf *eb) {
    static const char key[] = "tokenizer.hf.added_flags";
    checkpoint_kind kind;
    uint64_t count;
    if (!checkpoint_list(ckpt, key, &kind, &count)) return ST_OK;
    if (count != s->vocab->count)
        return errf(eb, ST_CORRUPT, "tokenizer: %" PRIu64 " flags for %u tokens (%s)", count, s->vocab->count,
                    key);
    s->flags = xcalloc(count, sizeof *s->flags);
    for (uint32_t id = 0; id < count; id++) {
        int64_t flags;
        if (!checkpoint_list_i64(ckpt, key, id, &flags) || flags < 0 || flags > UINT8_MAX)
            return errf(eb, ST_CORRUPT, "tokenizer: the flags of token %u are no sum of flags (%s)", id, key);
        s->flags[id] = (uint8_t)flags;
        s->prefixed = s->prefixed || (flags & ADDED_PREFIXED);
        s->swallows = s->swallows || (flags & (ADDED_LSTRIP | ADDED_RSTRIP));
    }
    return ST_OK;
}

status specials_init(specials *s, const vocab *v, const checkpoint *ckpt, errbuf *eb) {
    PRE(s);
    PRE(v);
    *s = (specials){.vocab = v};
    list_lengths(s);
    return read_flags(s, ckpt, eb);
}

void specials_done(specials *s) {
    free(s->flags);
    free(s->lengths);
    *s = (specials){0};
}

/* --- characters --- */

/* Unicode's White_Space */
static bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

/* What regular expressions call \w */
static bool is_word(uint32_t c) {
    switch (utf8proc_category((int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9); /* joiners; circled letters */
    }
}

/* The character that ends at text[end], end > 0. */
static utf8_char char_before(const char *text, size_t end) {
    size_t at = end - 1;
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80) at--;
    return utf8_next(text + at, end - at);
}

/* --- searching --- */

static bool touches_plain(special_search *s, size_t begin, size_t end) {
    while (s->plain_at < s->plain_count && s->plain[s->plain_at].end <= begin) s->plain_at++;
    for (uint32_t i = s->plain_at; i < s->plain_count && s->plain[i].begin < end; i++)
        if (s->plain[i].begin < s->plain[i].end) return true;
    return false;
}

static bool is_single_word(const special_search *s, size_t begin, size_t end) {
    if (begin > 0 && is_word(char_before(s->text, begin).code)) return false;
    return end == s->len || !is_word(utf8_next(s->text + end, s->len - end).code);
}

/* The token that starts at text[at] and has (or has not) a space of its own in front, or -1. */
static int32_t token_at(special_search *s, size_t at, bool prefixed) {
    const specials *all = s->specials;
    unsigned char first = (unsigned char)s->text[at];
    for (uint32_t i = all->from[first]; i < all->from[first + 1]; i++) {
        uint32_t len = all->lengths[i];
        if (len > s->len - at) continue;
        int32_t id = vocab_find(all->vocab, s->text + at, len);
        if (id < 0 || !is_matched_whole(all->vocab, (uint32_t)id)) continue;
        uint8_t flags = all->flags ? all->flags[id] : 0;
        if (((flags & ADDED_PREFIXED) != 0) != prefixed) continue;
        if ((flags & ADDED_SINGLE_WORD) && !is_single_word(s, at, at + len)) continue;
        if (!vocab_is_control(all->vocab, id)) return id;
        if (s->parse_control && !touches_plain(s, at, at + len)) return id;
    }
    return -1;
}

/* Bytes of a space at text[at] that a prefixed token takes as its own; 0 = none. */
static size_t own_space(const special_search *s, size_t at) {
    if (s->text[at] == ' ') return 1;
    bool sign = s->len - at > SPACE_SIGN_LEN && memcmp(s->text + at, SPACE_SIGN, SPACE_SIGN_LEN) == 0;
    return sign ? SPACE_SIGN_LEN : 0;
}

static bool match_at(special_search *s, size_t from, size_t at, special_match *out) {
    *out = (special_match){token_at(s, at, false), at, at, false};
    if (out->id < 0 && s->specials->prefixed) {
        size_t space = own_space(s, at);
        if (at == from && s->prefix_due) out->id = token_at(s, at, true);
        if (out->id < 0 && space && at + space < s->len) {
            out->id = token_at(s, at + space, true);
            out->end = at + space;
            out->lone_prefix = at == from && s->prefix_due;
        }
    }
    if (out->id < 0) return false;
    uint8_t flags = s->specials->flags ? s->specials->flags[out->id] : 0;
    out->end += s->specials->vocab->text[out->id].len;
    s->prefix_due = !(flags & ADDED_PREFIXED);
    if (flags & ADDED_LSTRIP)
        for (utf8_char c; out->begin > from; out->begin -= c.len) {
            c = char_before(s->text, out->begin);
            if (!is_space(c.code)) break;
        }
    if (flags & ADDED_RSTRIP)
        for (utf8_char c; out->end < s->len; out->end += c.len) {
            c = utf8_next(s->text + out->end, s->len - out->end);
            if (!is_space(c.code)) break;
        }
    return true;
}

bool specials_next(special_search *s, size_t from, special_match *out) {
    PRE(s);
    PRE(out);
    PRE(from <= s->len);
    const uint32_t *begin = s->specials->from;
    for (size_t at = from; at < s->len; at++) {
        unsigned char first = (unsigned char)s->text[at];
        bool none = begin[first] == begin[first + 1] && !s->specials->prefixed;
        special_match m;
        if (none || !match_at(s, from, at, &m)) continue;
        *out = m;
        return true;
    }
    return false;
}
