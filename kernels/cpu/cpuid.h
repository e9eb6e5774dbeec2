/* cpuid - which of the instruction sets this CPU and its operating system can run. */
#ifndef BATON_KERNELS_CPU_CPUID_H
#define BATON_KERNELS_CPU_CPUID_H

#include <stdbool.h>

/* AVX2, FMA, F16C */
bool cpuid_avx2(void);
/* Those, and AVX-512 F, BW, VL, DQ */
bool cpuid_avx512(void);

#endif
