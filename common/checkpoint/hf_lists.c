#include "checkpoint/hf_lists.h"

#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define SHOWN 40 /* bytes of a token in an error */

/* --- where they are --- */

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* Behind the string that begins at p; NULL when it has no end. */
static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end; p++) {
        if (*p == '"') return p + 1;
        if (*p == '\\') p++;
    }
    return NULL;
}

/* Behind the value at p; NULL when it has no end. Brackets are only counted. */
static const char *skip_value(const char *p, const char *end) {
    uint64_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            if (!p) return NULL;
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0) return p; /* of what is around a number */
            depth--;
            p++;
        } else if (*p == ',' && depth == 0) {
            return p;
        } else {
            p++;
            continue;
        }
        if (depth == 0) return p;
    }
    return NULL;
}

/* The value of a member of the object at p; NULL when there is none. */
static const char *find_member(const char *p, const char *end, const char *name) {
    p = skip_space(p, end);
    if (p == end || *p != '{') return NULL;
    size_t len = strlen(name);
    for (p++;; p++) {
        p = skip_space(p, end);
        if (p == end || *p != '"') return NULL;
        const char *key = p + 1, *value = skip_string(p, end);
        if (!value) return NULL;
        bool same = (size_t)(value - 1 - key) == len && memcmp(key, name, len) == 0;
        p = skip_space(value, end);
        if (p == end || *p != ':') return NULL;
        p = skip_space(p + 1, end);
        if (same) return p;
        p = skip_value(p, end);
        if (p) p = skip_space(p, end);
        if (!p || p == end || *p != ',') return NULL;
    }
}

static checkpoint_text find_list(const char *model, const char *end, const char *name, char opening) {
    const char *p = model ? find_member(model, end, name) : NULL;
    const char *behind = p && p < end && *p == opening ? skip_value(p, end) : NULL;
    return behind ? (checkpoint_text){p, (uint64_t)(behind - p)} : (checkpoint_text){"", 0};
}

void hf_lists_find(hf_lists *out, const char *json, size_t len) {
    PRE(out);
    PRE(json || len == 0);
    *out = (hf_lists){0};
    if (len == 0) json = "";
    const char *end = json + len, *model = find_member(json, end, "model");
    out->vocab = find_list(model, end, "vocab", '{');
    out->merges = find_list(model, end, "merges", '[');
    const checkpoint_text *first = &out->vocab, *second = &out->merges;
    if (second->len && (!first->len || second->data < first->data)) {
        first = &out->merges;
        second = &out->vocab;
    }
    buf rest = {0};
    const char *at = json;
    const checkpoint_text *const lists[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        if (lists[i]->len == 0) continue;
        buf_add(&rest, at, (size_t)(lists[i]->data - at));
        buf_adds(&rest, lists[i] == &out->vocab ? "{}" : "[]");
        at = lists[i]->data + lists[i]->len;
    }
    buf_add(&rest, at, (size_t)(end - at));
    out->rest = rest.data;
    out->rest_len = rest.len;
}

/* --- strings --- */

/* A place in a list. */
typedef struct cursor {
    const char *p, *end;
} cursor;

static bool take(cursor *c, char want) {
    c->p = skip_space(c->p, c->end);
    if (c->p == c->end || *c->p != want) return false;
    c->p++;
    return true;
}

static bool take_hex4(cursor *c, uint32_t *out) {
    if (c->end - c->p < 4) return false;
    *out = 0;
    for (const char *stop = c->p + 4; c->p < stop; c->p++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = memchr(digits, *c->p, sizeof digits - 1);
        if (!digit) return false;
        *out = *out << 4 | (uint32_t)((digit - digits) & 15);
    }
    return true;
}

static size_t write_utf8(uint32_t code, char *to) {
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; code >>= 6) to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)((0xF00u >> len) | code);
    return len;
}

/* What follows a backslash. Returns the bytes written, at most 4 (an escape is longer); 0 = it is none. */
static size_t take_escape(cursor *c, char *to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (c->p == c->end) return 0;
    char kind = *c->p++;
    const char *simple = memchr(from, kind, sizeof from - 1);
    if (simple) {
        to[0] = into[simple - from];
        return 1;
    }
    uint32_t code, low;
    if (kind != 'u' || !take_hex4(c, &code)) return 0;
    if (code >= 0xD800 && code < 0xE000) { /* half of a character: the other follows */
        if (code >= 0xDC00 || c->end - c->p < 2 || c->p[0] != '\\' || c->p[1] != 'u') return 0;
        c->p += 2;
        if (!take_hex4(c, &low) || low < 0xDC00 || low >= 0xE000) return 0;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return write_utf8(code, to);
}

/* A string, unescaped to `to`, which has room for all of the list. */
static bool take_string(cursor *c, char *to, size_t *len) {
    if (!take(c, '"')) return false;
    size_t n = 0;
    while (c->p < c->end && *c->p != '"') {
        if (*c->p != '\\') {
            to[n++] = *c->p++;
            continue;
        }
        c->p++;
        size_t written = take_escape(c, to + n);
        if (written == 0) return false;
        n += written;
    }
    *len = n;
    return take(c, '"');
}

/* --- the vocabulary --- */

static uint32_t *slot_of(const hf_lists *l, const char *text, size_t len) {
    uint32_t i = (uint32_t)XXH3_64bits(text, len) & l->slot_mask;
    for (;; i = (i + 1) & l->slot_mask) {
        if (l->slots[i] == 0) return &l->slots[i];
        const hf_word *w = &l->words[l->slots[i] - 1];
        if (w->len == len && memcmp(w->text, text, len) == 0) return &l->slots[i];
    }
}

int32_t hf_lists_id(const hf_lists *l, const char *text, size_t len) {
    PRE(l);
    uint32_t slot = l->slots ? *slot_of(l, text, len) : 0;
    return slot ? l->words[slot - 1].id : -1;
}

/* A whole number below `end`, at most nine digits; -1 = something else. */
static int32_t take_id(cursor *c, uint32_t end) {
    int64_t id = -1;
    c->p = skip_space(c->p, c->end);
    for (int digits = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9' && digits < 9; c->p++, digits++)
        id = MAX(id, 0) * 10 + (*c->p - '0');
    bool whole = c->p < c->end && (*c->p == ',' || *c->p == '}' || *c->p == ' ' || *c->p == '\n' ||
                                   *c->p == '\r' || *c->p == '\t');
    return whole && id < end ? (int32_t)id : -1;
}

static status read_words(hf_lists *l, uint32_t id_end, errbuf *eb) {
    cursor c = {l->vocab.data, l->vocab.data + l->vocab.len};
    size_t used = 0, room = 1024, len;
    l->texts = xmalloc(l->vocab.len + 1);
    l->words = xcalloc(room, sizeof *l->words);
    bool more = take(&c, '{') && !take(&c, '}');
    while (more) {
        char *text = l->texts + used;
        if (!take_string(&c, text, &len) || len > UINT32_MAX || !take(&c, ':'))
            return errf(eb, ST_CORRUPT, "vocabulary: no text and number behind token %u", l->count);
        int32_t id = take_id(&c, id_end);
        if (id < 0)
            return errf(eb, ST_CORRUPT, "the id of token '%.*s' is no number below %u", (int)MIN(len, SHOWN),
                        text, id_end);
        if (l->count == room) l->words = xrealloc(l->words, room *= 2, sizeof *l->words);
        l->words[l->count++] = (hf_word){text, (uint32_t)len, id};
        used += len;
        more = take(&c, ',');
        if (!more && !take(&c, '}'))
            return errf(eb, ST_CORRUPT, "vocabulary: no comma behind token '%.*s'", (int)MIN(len, SHOWN),
                        text);
    }
    return ST_OK;
}

static status index_words(hf_lists *l, errbuf *eb) {
    uint32_t slots = 8;
    while (slots < (uint64_t)l->count * 2 && slots < 1u << 31) slots *= 2;
    l->slots = xcalloc(slots, sizeof *l->slots);
    l->slot_mask = slots - 1;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t *slot = slot_of(l, l->words[i].text, l->words[i].len);
        if (*slot)
            return errf(eb, ST_CORRUPT, "vocabulary: token '%.*s' is there twice",
                        (int)MIN(l->words[i].len, SHOWN), l->words[i].text);
        *slot = i + 1;
    }
    return ST_OK;
}

/* --- merges --- */

/* "a b" or ["a", "b"], written to `text` as one; the left part's length. */
static bool take_pair(cursor *c, char *text, size_t *left, size_t *len) {
    c->p = skip_space(c->p, c->end);
    if (c->p < c->end && *c->p == '[') {
        size_t right;
        c->p++;
        if (!take_string(c, text, left) || !take(c, ',') || !take_string(c, text + *left, &right))
            return false;
        *len = *left + right;
        return take(c, ']');
    }
    if (!take_string(c, text, len)) return false;
    char *space = memchr(text, ' ', *len);
    if (!space) return false;
    *left = (size_t)(space - text);
    memmove(space, space + 1, *len - *left - 1);
    --*len;
    return true;
}

static status add_merge(hf_lists *l, const char *text, size_t left, size_t len, errbuf *eb) {
    const checkpoint_text words[3] = {{text, left}, {text + left, len - left}, {text, len}};
    for (size_t k = 0; k < 3; k++) {
        int32_t id = hf_lists_id(l, words[k].data, words[k].len);
        if (id < 0 || words[k].len == 0)
            return errf(eb, ST_CORRUPT, "merge %u: '%.*s' is no token", l->merge_count,
                        (int)MIN(words[k].len, SHOWN), words[k].data);
        l->merge_ids[(size_t)l->merge_count * 3 + k] = id;
    }
    l->merge_count++;
    return ST_OK;
}

static status read_merges(hf_lists *l, errbuf *eb) {
    cursor c = {l->merges.data, l->merges.data + l->merges.len};
    size_t room = 1024, left, len;
    char *text = xmalloc(l->merges.len + 1);
    l->merge_ids = xcalloc(room * 3, sizeof *l->merge_ids);
    status st = ST_OK;
    bool more = take(&c, '[') && !take(&c, ']');
    while (more && st == ST_OK) {
        if (l->merge_count == room)
            l->merge_ids = xrealloc(l->merge_ids, (room *= 2) * 3, sizeof *l->merge_ids);
        if (!take_pair(&c, text, &left, &len))
            st = errf(eb, ST_CORRUPT, "merge %u is no pair of texts", l->merge_count);
        else
            st = add_merge(l, text, left, len, eb);
        if (st != ST_OK) break;
        more = take(&c, ',');
        if (!more && !take(&c, ']'))
            st = errf(eb, ST_CORRUPT, "merges: no comma behind merge %u", l->merge_count - 1);
    }
    free(text);
    return st;
}

status hf_lists_read(hf_lists *l, uint32_t id_end, errbuf *eb) {
    PRE(l);
    PRE(!l->words);
    status st = read_words(l, id_end, eb);
    if (st == ST_OK) st = index_words(l, eb);
    if (st == ST_OK) st = read_merges(l, eb);
    return st;
}

void hf_lists_done(hf_lists *l) {
    free(l->rest);
    free(l->words);
    free(l->slots);
    free(l->texts);
    free(l->merge_ids);
    *l = (hf_lists){0};
}
