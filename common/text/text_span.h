/* text_span - a stretch of text in which special tokens are plain text (a user's message inside a chat
 * prompt). */
#ifndef BATON_TEXT_TEXT_SPAN_H
#define BATON_TEXT_TEXT_SPAN_H

#include <stddef.h>

typedef struct text_span {
    size_t begin, end; /* bytes */
} text_span;

#endif
