#include "text/utf8.h"

#include "base/status.h"

#include <string.h>

utf8_char utf8_next(const char *bytes, size_t len) {
    DEBUG_ASSERT(len >= 1);
    const unsigned char *s = (const unsigned char *)bytes;
    unsigned char lead = s[0];
    if (lead < 0x80) return (utf8_char){UTF8_WHOLE, 1, lead};
    if (lead < 0xC2 || lead > 0xF4) return (utf8_char){UTF8_WRONG, 1, 0};

    uint32_t want = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t code = lead & (0x7Fu >> want);
    /* Only the second byte's range depends on the lead: it keeps out overlong forms, surrogates and >
     * U+10FFFF. */
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (uint32_t i = 1; i < want; i++) {
        if (i == len) return (utf8_char){UTF8_CUT, i, 0};
        if (s[i] < low || s[i] > high) return (utf8_char){UTF8_WRONG, i, 0};
        code = code << 6 | (s[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    return (utf8_char){UTF8_WHOLE, want, code};
}

size_t utf8_invalid_at(const char *text, size_t len) {
    size_t at = 0;
    while (at < len) {
        uint64_t word;
        if (len - at >= sizeof word) { /* most text is ASCII: eight characters at once */
            memcpy(&word, text + at, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                at += sizeof word;
                continue;
            }
        }
        utf8_char c = utf8_next(text + at, len - at);
        if (c.kind != UTF8_WHOLE) return at;
        at += c.len;
    }
    return len;
}
