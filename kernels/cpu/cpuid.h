/* cpuid - which of the instruction sets this CPU and its operating system can run. */
#ifndef BATON_KERNELS_CPU_CPUID_H
#define BATON_KERNELS_CPU_CPUID_H

#include <stdbool.h>

bool cpuid_avx2(void);   /* AVX2, FMA, F16C */
bool cpuid_avx512(void); /* those, and AVX-512 F, BW, VL, DQ */

#endif
