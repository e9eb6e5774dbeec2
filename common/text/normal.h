/* normal - what is done to a stretch of text before it is cut: composing (Unicode's form NFC), the space in
 * front, and "▁" for spaces.
 *
 * Private to this folder. Read-only after normal_init. */
#ifndef BATON_TEXT_NORMAL_H
#define BATON_TEXT_NORMAL_H

#include "base/mem.h"
#include "text/vocab.h"

/* Which stretches get a space in front. */
typedef enum space_prefix {
    PREFIX_NEVER,
    PREFIX_FIRST,   /* the one at the text's beginning, unless it has one */
    PREFIX_EACH,    /* each that has none */
    PREFIX_PREPEND, /* each */
} space_prefix;

typedef struct normal {
    bool composes;
    bool signs; /* spaces become "▁" */
    space_prefix prefix;
} normal;

/* composes: what holds when the file says nothing. ST_CORRUPT names the key. */
status normal_init(normal *n, const checkpoint *ckpt, bool byte_level, bool composes, errbuf *eb);

/* A stretch as the pre-tokenizer wants it: the text itself where nothing is to be done, or what was written
 * to `to` (emptied first). bare: no prefix, wherever it stands. Text is valid UTF-8. ST_NOMEM. */
status normal_stretch(const normal *n, checkpoint_text text, bool at_start, bool bare, buf *to,
                      checkpoint_text *out, errbuf *eb);

/* Appends the text in form NFC. O(n) for any text. ST_NOMEM. */
status normal_compose(const char *text, size_t len, buf *out, errbuf *eb);

#endif
