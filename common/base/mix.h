/* mix - the finaliser of splitmix64: a bijection of 64 bits in which each bit of the input turns about half
 * of the output's.
 *
 * Whatever in Baton needs bits that look random but are a function of a number takes them from here: weights
 * of random models, words of a checksum, places in a table. It is no source of secrets. (Steele, Lea, Flood:
 * Fast splittable pseudorandom number generators, OOPSLA 2014.) */
#ifndef BATON_BASE_MIX_H
#define BATON_BASE_MIX_H

#include "base/host_device.h"

#include <stdint.h>

/* Between two states of the generator: 2^64 divided by the golden ratio, odd. */
#define MIX64_STEP 0x9E3779B97F4A7C15ull

/* Pure. 0 is mapped to itself, so that a counter starts with a step. */
HOST_DEVICE uint64_t mix64(uint64_t x) {
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return x ^ x >> 31;
}

/* Weight of word i of a checksum: odd, looks random, and costs one multiplication. Pure. */
HOST_DEVICE uint64_t mix_weight(uint64_t i) {
    uint64_t x = i * MIX64_STEP;
    return (x ^ x >> 32) | 1;
}

#endif
