/* detok - from token ids to whole UTF-8 characters.
 *
 * A token is bytes, not characters: an emoji may be spread over three tokens. What cannot be decided yet is
 * held back (at most 3 bytes: a character is at most 4); what can never become a character is replaced at
 * once. */
#include "base/mem.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define REPLACEMENT       "\xEF\xBF\xBD" /* U+FFFD */
#define TOKEN_BYTES_USUAL 256u           /* longer tokens take a heap buffer */

/* Moves whole and wrong sequences of bytes[0..len) to out; returns how many bytes of a cut-off one are left
 * over. */
static size_t drain(const char *bytes, size_t len, buf *out) {
    size_t at = 0;
    while (at < len) {
        utf8_char c = utf8_next(bytes + at, len - at);
        if (c.kind == UTF8_CUT) break;
        if (c.kind == UTF8_WHOLE)
            buf_add(out, bytes + at, c.len);
        else
            buf_adds(out, REPLACEMENT);
        at += c.len;
    }
    return len - at;
}

/* Bytes that are left of the first token's. */
static size_t strip(space_strip how, char *bytes, size_t len) {
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        bool dropped = bytes[i] == ' ' && (how == STRIP_ALL || (how == STRIP_ONE && i == 0));
        if (!dropped) bytes[kept++] = bytes[i];
    }
    return kept;
}

detok detok_after(const tokenizer *t, const int32_t *ids, uint32_t count) {
    PRE(t);
    PRE(ids || count == 0);
    detok d = {0};
    for (uint32_t i = 0; i < count && !d.begun; i++)
        d.begun = !tokenizer_is_special(t, ids[i]) && tokenizer_bytes(t, ids[i], NULL, 0) > 0;
    return d;
}

void detok_add(detok *d, const tokenizer *t, int32_t id, bool keep_special, buf *out) {
    PRE(d);
    PRE(t);
    PRE(out);
    PRE(d->held_count < sizeof d->held);
    if (!keep_special && tokenizer_is_special(t, id)) return;

    char usual[sizeof d->held + TOKEN_BYTES_USUAL];
    char *bytes = usual;
    size_t len = tokenizer_bytes(t, id, usual + d->held_count, TOKEN_BYTES_USUAL);
    if (len > TOKEN_BYTES_USUAL) {
        bytes = xmalloc(d->held_count + len);
        tokenizer_bytes(t, id, bytes + d->held_count, len);
    }
    if (!d->begun && len > 0) {
        len = strip(tokenizer_strip(t), bytes + d->held_count, len);
        d->begun = true;
    }
    memcpy(bytes, d->held, d->held_count);
    len += d->held_count;

    size_t left = drain(bytes, len, out);
    CHECK(left < sizeof d->held);
    memcpy(d->held, bytes + len - left, left);
    d->held_count = (uint32_t)left;
    if (bytes != usual) free(bytes);
}

void detok_end(detok *d, buf *out) {
    PRE(d);
    PRE(out);
    if (d->held_count) buf_adds(out, REPLACEMENT);
    d->held_count = 0;
}
