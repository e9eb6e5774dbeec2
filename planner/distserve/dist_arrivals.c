#include "planner/distserve/dist_arrivals.h"

#include <math.h>

/* MT19937: M. Matsumoto, T. Nishimura, ACM TOMACS 8 (1998), seeded as in their version of 2002. */
#define WORDS  624u
#define MIDDLE 397u

typedef struct twister {
    uint32_t words[WORDS], used;
} twister;

static void seed_with(twister *t, uint32_t seed) {
    t->words[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++)
        t->words[i] = 1812433253u * (t->words[i - 1] ^ (t->words[i - 1] >> 30)) + i;
    t->used = WORDS;
}

static void refill(twister *t) {
    for (uint32_t i = 0; i < WORDS; i++) {
        uint32_t y = (t->words[i] & 0x80000000u) | (t->words[(i + 1) % WORDS] & 0x7fffffffu);
        t->words[i] = t->words[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    t->used = 0;
}

static uint32_t word(twister *t) {
    if (t->used == WORDS) refill(t);
    uint32_t y = t->words[t->used++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* [0, 1) of 53 bits */
static double uniform(twister *t) {
    uint32_t a = word(t) >> 5, b = word(t) >> 6;
    return (a * 67108864.0 + b) / 9007199254740992.0;
}

void dist_arrivals_poisson(dist_request *requests, uint32_t count, double rate, uint32_t seed) {
    PRE(rate > 0);
    twister t;
    seed_with(&t, seed);
    double scale = 1 / rate, at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) at += scale * -log(1 - uniform(&t)) * 1000;
        requests[i].at_ms = at;
    }
}
