/* utf8 - one character at a time: is it whole, cut off, or wrong?
 *
 * Strict (Unicode table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. A wrong sequence is
 * measured by the "maximal subpart" rule, so that a replacement yields as many U+FFFD as every browser and
 * Python do. */
#ifndef BATON_TEXT_UTF8_H
#define BATON_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

typedef enum utf8_kind { UTF8_WHOLE, UTF8_CUT, UTF8_WRONG } utf8_kind;

typedef struct utf8_char {
    utf8_kind kind;
    uint32_t len;  /* bytes: of the character, of what is there of it, or of the wrong part; >= 1 */
    uint32_t code; /* code point when whole */
} utf8_char;

/* The character at bytes[0], len >= 1. */
utf8_char utf8_next(const char *bytes, size_t len);
/* Offset of the first byte that is not valid UTF-8 (a cut-off end included); len when all is valid. */
size_t utf8_invalid_at(const char *text, size_t len);

#endif
