/* byte_chars - how a byte-level vocabulary writes bytes: GPT-2's table, in which every byte is one printable
 * character ("Ġ" is a space). Tokens and merges of a checkpoint are written with it. */
#ifndef BATON_CHECKPOINT_BYTE_CHARS_H
#define BATON_CHECKPOINT_BYTE_CHARS_H

#include <stddef.h>
#include <stdint.h>

#define BYTE_CHARS_END 324u /* code points that write bytes are below this */

typedef struct byte_chars {
    uint16_t code_of_byte[256];           /* byte -> code point that writes it */
    int16_t byte_of_code[BYTE_CHARS_END]; /* and back; -1 = writes no byte */
} byte_chars;

void byte_chars_init(byte_chars *t);
/* Writes raw bytes as UTF-8; out has room for 2 * len. Returns the length. */
size_t byte_chars_write(const byte_chars *t, const char *bytes, size_t len, char *out);

#endif
