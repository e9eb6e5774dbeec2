/* take - a fuzzer's bytes as a script: what happens next, and with which numbers. After the end all is 0. */
#ifndef BATON_TESTS_FUZZ_TAKE_H
#define BATON_TESTS_FUZZ_TAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct script {
    const uint8_t *at, *end;
} script;

static inline bool script_over(const script *s) {
    return s->at == s->end;
}

static inline uint8_t take_byte(script *s) {
    return script_over(s) ? 0 : *s->at++;
}

/* 0..n-1 */
static inline uint32_t take_below(script *s, uint32_t n) {
    return take_byte(s) % n;
}

/* Small ones mostly, and the edges of what fits. */
static inline uint32_t take_number(script *s) {
    uint8_t b = take_byte(s);
    if (b < 0xf0) return b;
    uint32_t few = b & 3u;
    if (b < 0xf4) return UINT32_MAX - few;
    if (b < 0xf8) return (uint32_t)INT32_MAX + few;
    return (uint32_t)take_byte(s) << 8 | take_byte(s);
}

#endif
