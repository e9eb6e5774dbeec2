#include "checkpoint/byte_chars.h"

#include "base/status.h"

#include <stdbool.h>

void byte_chars_init(byte_chars *t) {
    PRE(t);
    for (uint32_t c = 0; c < BYTE_CHARS_END; c++) t->byte_of_code[c] = -1;
    uint16_t next = 256; /* bytes without a visible Latin-1 character take code points from here on */
    for (uint32_t b = 0; b < 256; b++) {
        bool visible = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        t->code_of_byte[b] = visible ? (uint16_t)b : next++;
        t->byte_of_code[t->code_of_byte[b]] = (int16_t)b;
    }
    POST(next == BYTE_CHARS_END);
}

size_t byte_chars_write(const byte_chars *t, const char *bytes, size_t len, char *out) {
    PRE(t);
    PRE(out);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t code = t->code_of_byte[(unsigned char)bytes[i]];
        if (code < 0x80) {
            out[n++] = (char)code;
        } else { /* all codes are below 0x800: two bytes */
            out[n++] = (char)(0xC0 | code >> 6);
            out[n++] = (char)(0x80 | (code & 0x3F));
        }
    }
    return n;
}
