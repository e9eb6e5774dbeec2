#include "kv/kv_layout.h"

#include "base/mix.h"
#include "base/status.h"

#include <string.h>

/* A multiplier that depends on the word's index only, so that any part of a segment can be summed alone, by
 * any thread, without a table and without the words before it. Odd, so that a flip of one bit never vanishes.
 */
uint64_t kv_mix(uint64_t i) {
    return mix64(i) | 1;
}

uint64_t kv_checksum_part(uint64_t sum, uint64_t word_begin, const void *bytes, size_t count) {
    PRE(bytes || count == 0);
    const uint8_t *p = bytes;
    size_t words = count / 8;
    uint64_t sums[4] = {0}; /* four chains: the multiplications overlap */
    size_t i = 0;
    for (; i + 4 <= words; i += 4) {
        uint64_t w[4];
        memcpy(w, p + i * 8, sizeof w);
        for (uint32_t j = 0; j < 4; j++) sums[j] += w[j] * mix_weight(word_begin + i + j);
    }
    for (; i < words; i++) {
        uint64_t w;
        memcpy(&w, p + i * 8, sizeof w);
        sums[0] += w * mix_weight(word_begin + i);
    }
    if (count % 8) {
        uint64_t w = 0;
        memcpy(&w, p + words * 8, count % 8);
        sums[0] += w * mix_weight(word_begin + words);
    }
    return sum + sums[0] + sums[1] + sums[2] + sums[3];
}

uint64_t kv_checksum(uint64_t seed, const void *bytes, size_t count) {
    return kv_checksum_part(seed, 0, bytes, count);
}
