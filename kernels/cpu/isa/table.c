/* table - the kernels of this instruction set. */
#include "kernels/cpu/isa/isa.h"

const cpu_kernels ISA(cpu_kernels) = {
    .host = {.path = CPU_PATH,
             .embed = ISA(cpu_embed),
             .rmsnorm = ISA(cpu_rmsnorm),
             .linear = ISA(cpu_linear),
             .rope = cpu_rope,
             .kv_write = ISA(cpu_kv_write),
             .attention = ISA(cpu_attention),
             .act_mul = ISA(cpu_act_mul),
             .add = ISA(cpu_add),
             .copy_words = ISA(cpu_copy_words)},
    .pairs = SIMD_KIND == 2,
    .norm_rows = ISA(cpu_norm_rows),
    .attend = ISA(cpu_attend_rows),
    .sample = &ISA(cpu_sample_loops),
    .product = ISA(cpu_product),
    .quantise = ISA(cpu_quantise),
};
