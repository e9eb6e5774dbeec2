/* isa - what the files of this folder share. Each is compiled once per instruction set, with CPU_ISA (the
 * suffix of its symbols), CPU_PATH and SIMD_KIND (simd.h) defined by CMake. */
#ifndef BATON_KERNELS_CPU_ISA_ISA_H
#define BATON_KERNELS_CPU_ISA_ISA_H

#include "base/mem.h"
#include "kernels/cpu/attend.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/simd.h"

#define ISA_PASTE_(name, isa) name##_##isa
#define ISA_PASTE(name, isa)  ISA_PASTE_(name, isa)
#define ISA(name)             ISA_PASTE(name, CPU_ISA)

/* act(x); `act` is a constant or the same for many calls. */
INLINE vf vf_act(act_kind act, vf x) {
    switch (act) {
    case ACT_SILU:
        return vf_silu(x);
    case ACT_GELU:
        return vf_gelu(x);
    case ACT_RELU:
        return vf_max(vf_zero(), x);
    }
    return x;
}

status ISA(cpu_embed)(device *d, const host_embed *a);
status ISA(cpu_rmsnorm)(device *d, const host_rmsnorm *a);
status ISA(cpu_linear)(device *d, const host_linear *a);
status ISA(cpu_kv_write)(device *d, const host_kv_write *a);
status ISA(cpu_attention)(device *d, const host_attention *a);
extern const struct sample_loops ISA(cpu_sample_loops);
status ISA(cpu_attend_rows)(device *d, const cpu_attention *a);
status ISA(cpu_act_mul)(device *d, const host_act_mul *a);
status ISA(cpu_add)(device *d, const host_add *a);
status ISA(cpu_norm_rows)(device *d, const cpu_norm_rows *a);
status ISA(cpu_product)(device *d, const cpu_product *a);
void ISA(cpu_quantise)(const quant_rows *to, uint32_t row, uint32_t begin, const float *x, uint32_t count);
uint64_t ISA(cpu_copy_words)(void *to, const void *from, size_t words, uint64_t begin);

#endif
