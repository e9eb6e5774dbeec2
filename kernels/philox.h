/* philox - Philox4x32-10 (Salmon et al.: Parallel random numbers: as easy as 1, 2, 3, SC 2011): random words
 * as a function of a counter and a key. One source for the sampler of the host and for that of the GPU, which
 * must draw the same. Pure. */
#ifndef BATON_KERNELS_PHILOX_H
#define BATON_KERNELS_PHILOX_H

#include "base/host_device.h"

#include <stdint.h>

HOST_DEVICE void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

#endif
