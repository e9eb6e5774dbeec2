/* Composing is utf8proc's work, character by character. Its own loop that sorts combining marks takes n^2
 * steps for n marks in a row, which a hostile text has; so the marks are sorted here, by counting. */
#include "text/normal.h"

#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#define DECOMPOSED_MAX 4    /* code points that one becomes; Unicode's longest is 4 */
#define MARK_LEAD      0xCC /* first byte of U+0300: characters below are composed and stay alone */
#define SHORT_RUN      16u

static const struct {
    const char *name;
    space_prefix value;
} prefixes[] = {
    {"never", PREFIX_NEVER}, {"first", PREFIX_FIRST}, {"each", PREFIX_EACH}, {"prepend", PREFIX_PREPEND}};

static status read_prefix(normal *n, const checkpoint *ckpt, bool byte_level, errbuf *eb) {
    static const char key[] = "tokenizer.hf.space_prefix";
    checkpoint_text name;
    if (!checkpoint_string(ckpt, key, &name)) {
        bool prepends = !byte_level;
        if (!byte_level) checkpoint_bool(ckpt, "tokenizer.ggml.add_space_prefix", &prepends);
        n->prefix = prepends ? PREFIX_PREPEND : PREFIX_NEVER;
        return ST_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        if (strlen(prefixes[i].name) != name.len || memcmp(prefixes[i].name, name.data, name.len) != 0)
            continue;
        n->prefix = prefixes[i].value;
        return ST_OK;
    }
    return errf(eb, ST_CORRUPT, "tokenizer: %s is '%.*s', want never, first, each or prepend", key,
                (int)MIN(name.len, 64u), name.data);
}

status normal_init(normal *n, const checkpoint *ckpt, bool byte_level, bool composes, errbuf *eb) {
    PRE(n);
    PRE(ckpt);
    *n = (normal){.composes = composes, .signs = !byte_level};
    checkpoint_bool(ckpt, "tokenizer.hf.nfc", &n->composes);
    return read_prefix(n, ckpt, byte_level, eb);
}

/* --- composing --- */

static uint32_t class_of(int32_t code) {
    return (uint32_t)utf8proc_get_property(code)->combining_class;
}

/* Sorts marks by their class; equal ones keep their order. */
static void sort_marks(int32_t *marks, size_t count, int32_t *spare) {
    if (count <= SHORT_RUN) {
        for (size_t i = 1; i < count; i++) {
            int32_t mark = marks[i];
            size_t at = i;
            for (; at > 0 && class_of(marks[at - 1]) > class_of(mark); at--) marks[at] = marks[at - 1];
            marks[at] = mark;
        }
        return;
    }
    size_t from[257] = {0};
    for (size_t i = 0; i < count; i++) from[class_of(marks[i]) + 1]++;
    for (size_t c = 0; c < 256; c++) from[c + 1] += from[c];
    memcpy(spare, marks, count * sizeof *marks);
    for (size_t i = 0; i < count; i++) marks[from[class_of(spare[i])]++] = spare[i];
}

static void sort_runs(int32_t *codes, size_t count, int32_t *spare) {
    for (size_t at = 0; at < count;) {
        size_t end = at;
        while (end < count && class_of(codes[end]) != 0) end++;
        if (end - at > 1) sort_marks(codes + at, end - at, spare);
        at = end == at ? at + 1 : end;
    }
}

static bool may_compose(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= MARK_LEAD) return true;
    return false;
}

status normal_compose(const char *text, size_t len, buf *out, errbuf *eb) {
    PRE(text || len == 0);
    PRE(out);
    if (!may_compose(text, len)) {
        buf_add(out, text, len);
        return ST_OK;
    }
    size_t room =
        len * DECOMPOSED_MAX; /* a character of one byte becomes one code point; never more than this */
    int32_t *codes = malloc(room * sizeof *codes), *spare = malloc(room * sizeof *spare);
    if (!codes || !spare) {
        free(codes);
        free(spare);
        return errf(eb, ST_NOMEM, "tokenizer: no memory to compose %zu bytes", len);
    }
    size_t count = 0;
    for (size_t at = 0; at < len;) {
        utf8_char c = utf8_next(text + at, len - at);
        CHECK(c.kind == UTF8_WHOLE);
        int last_class = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char((int32_t)c.code, codes + count, DECOMPOSED_MAX,
                                                     UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &last_class);
        CHECK(n >= 1);
        CHECK(n <= DECOMPOSED_MAX);
        count += (size_t)n;
        at += c.len;
    }
    sort_runs(codes, count, spare);
    utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    CHECK(composed >= 0);
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t n = utf8proc_encode_char(codes[i], bytes);
        CHECK(n >= 1);
        buf_add(out, bytes, (size_t)n);
    }
    free(codes);
    free(spare);
    return ST_OK;
}

/* --- a stretch --- */

static bool starts_with_space(const normal *n, checkpoint_text t) {
    if (t.data[0] == ' ') return true;
    return n->signs && t.len >= SPACE_SIGN_LEN && memcmp(t.data, SPACE_SIGN, SPACE_SIGN_LEN) == 0;
}

static bool gets_prefix(const normal *n, checkpoint_text t, bool at_start) {
    switch (n->prefix) {
    case PREFIX_NEVER:
        return false;
    case PREFIX_FIRST:
        return at_start && !starts_with_space(n, t);
    case PREFIX_EACH:
        return !starts_with_space(n, t);
    case PREFIX_PREPEND:
        return true;
    }
    return false;
}

status normal_stretch(const normal *n, checkpoint_text text, bool at_start, bool bare, buf *to,
                      checkpoint_text *out, errbuf *eb) {
    PRE(n);
    PRE(to);
    PRE(out);
    *out = text;
    buf_reset(to);
    if (text.len == 0) return ST_OK;
    bool prefix = !bare && gets_prefix(n, text, at_start);
    bool compose = n->composes && may_compose(text.data, text.len);
    if (!prefix && !compose && !n->signs) return ST_OK;
    buf composed = {0};
    if (compose) {
        status st = normal_compose(text.data, text.len, &composed, eb);
        if (st != ST_OK) {
            buf_done(&composed);
            return st;
        }
        text = (checkpoint_text){composed.data, composed.len};
    }
    const char *space = n->signs ? SPACE_SIGN : " ";
    if (prefix) buf_adds(to, space);
    for (size_t at = 0; at < text.len;) {
        const char *cut = n->signs ? memchr(text.data + at, ' ', text.len - at) : NULL;
        size_t end = cut ? (size_t)(cut - text.data) : text.len;
        buf_add(to, text.data + at, end - at);
        if (cut) buf_adds(to, space);
        at = end + (cut != NULL);
    }
    buf_done(&composed);
    *out = (checkpoint_text){to->data, to->len};
    return ST_OK;
}
