/* specials - finding tokens that stand in the text as they are: control tokens ("<|im_end|>") and those a
 * file calls user-defined.
 *
 * Private to this folder. Found from the left, the longest first at each place. The cost at each place is a
 * look-up for each length that such a token with this first byte has, not for each token: a vocabulary has
 * thousands of them. Read-only after specials_init. */
#ifndef BATON_TEXT_SPECIALS_H
#define BATON_TEXT_SPECIALS_H

#include "text/text_span.h"
#include "text/vocab.h"

typedef struct specials {
    const vocab *vocab; /* kept */
    uint8_t *flags;     /* [vocab->count] checkpoint_added; NULL = none has any */
    uint32_t *lengths;  /* bytes, by first byte, then the longest first */
    uint32_t from[257]; /* lengths of first byte b are [from[b], from[b + 1]) */
    bool prefixed;      /* some have ADDED_PREFIXED */
    bool swallows;      /* some take white space with them */
} specials;

/* ST_CORRUPT when flags are no list of numbers, one per token. */
status specials_init(specials *s, const vocab *v, const checkpoint *ckpt, errbuf *eb);
void specials_done(specials *s);

/* A text that is being searched. */
typedef struct special_search {
    const specials *specials;
    const char *text;
    size_t len;
    bool parse_control;     /* control tokens are found, too; user-defined ones always are */
    const text_span *plain; /* where they are not. [plain_count], ascending */
    uint32_t plain_count;
    uint32_t plain_at; /* first plain span that does not end before the place we are at */
    bool prefix_due;   /* the stretch that begins at the last match gets a space in front */
} special_search;

typedef struct special_match {
    int32_t id;
    size_t begin, end; /* with the white space that it takes */
    bool lone_prefix;  /* nothing is left of the stretch before it but the space that it gets in front */
} special_match;

/* The next one that begins at `from` or later; false when there is none. `from` is the end of the match
 * before, or 0. Sets prefix_due for what follows. */
bool specials_next(special_search *s, size_t from, special_match *out);

#endif
