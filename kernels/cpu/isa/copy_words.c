/* copy_words - hand-offs: a run of words and its part of the checksum, in one pass over memory.
 *
 * Written for the compiler's vectoriser: 8 independent sums, and weights whose products come by addition. A
 * second pass over the copy, which lies in the cache, costs a third of the speed. */
#include "base/mix.h"
#include "kernels/cpu/isa/isa.h"

#include <string.h>

#define LANES 8u

uint64_t ISA(cpu_copy_words)(void *to, const void *from, size_t words, uint64_t begin) {
    const char *in = from;
    char *out = to;
    uint64_t sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= words; i += LANES) {
        uint64_t w[LANES];
        memcpy(w, in + i * 8, sizeof w);
        memcpy(out + i * 8, w, sizeof w);
        for (uint32_t k = 0; k < LANES; k++) sums[k] += w[k] * mix_weight(begin + i + k);
    }
    for (; i < words; i++) {
        uint64_t w;
        memcpy(&w, in + i * 8, sizeof w);
        memcpy(out + i * 8, &w, sizeof w);
        sum += w * mix_weight(begin + i);
    }
    for (uint32_t k = 0; k < LANES; k++) sum += sums[k];
    return sum;
}
