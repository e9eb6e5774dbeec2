#include "kernels/cpu/cpuid.h"

#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

typedef struct features {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx;
    uint32_t state; /* XCR0: the registers that the operating system saves */
} features;

static features ask(void) {
    features f = {0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
    f.leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) f.leaf7_ebx = b, f.leaf7_ecx = c;
    if (f.leaf1_ecx & bit_OSXSAVE) {
        uint32_t high;
        __asm__ volatile("xgetbv" : "=a"(f.state), "=d"(high) : "c"(0));
    }
    return f;
}

static bool all(uint32_t have, uint32_t want) {
    return (have & want) == want;
}

bool cpuid_avx2(void) {
    features f = ask();
    return all(f.leaf1_ecx, bit_AVX | bit_FMA | bit_F16C) && all(f.leaf7_ebx, bit_AVX2) && all(f.state, 0x06);
}

bool cpuid_avx512(void) {
    features f = ask();
    return cpuid_avx2() && all(f.leaf7_ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ) &&
           all(f.leaf7_ecx, bit_AVX512VNNI) && all(f.state, 0xe6);
}

#else

bool cpuid_avx2(void) {
    return false;
}

bool cpuid_avx512(void) {
    return false;
}

#endif
