/* packed_tiles - one function per tile, so that each has its accumulators in registers and its loops
 * unrolled. They are not inlined: what the compiler makes of one must not depend on who calls it. */
#include "kernels/cpu/isa/packed.h"

#if SIMD_KIND == 512
#include "kernels/cpu/isa/packed_avx512.h"
#elif SIMD_KIND == 2
#include "kernels/cpu/isa/packed_avx2.h"
#else
#include "kernels/cpu/isa/packed_generic.h"
#endif

#define TILE(type, planes, rows)                                                                             \
    __attribute__((noinline)) static void packed_tile_##type##_##planes##_##rows(                            \
        const tile_weights *w, const tile_rows *x, float *out) {                                             \
        tile(DT_##type, rows, planes, w, x, out);                                                            \
    }
#define TILES_4(type, planes)                                                                                \
    TILE(type, planes, 1)                                                                                    \
    TILE(type, planes, 2)                                                                                    \
    TILE(type, planes, 3)                                                                                    \
    TILE(type, planes, 4)
#define TILES(type)                                                                                          \
    TILES_4(type, 1)                                                                                         \
    TILE(type, 1, 5)                                                                                         \
    TILE(type, 1, 6)                                                                                         \
    TILES_4(type, 2)
#define NAME(type, planes, rows) packed_tile_##type##_##planes##_##rows
#define NAMES_4(type, planes)                                                                                \
    NAME(type, planes, 1), NAME(type, planes, 2), NAME(type, planes, 3), NAME(type, planes, 4)
#define NAMES(type) [DT_##type] = {{NAMES_4(type, 1), NAME(type, 1, 5), NAME(type, 1, 6)}, {NAMES_4(type, 2)}}

TILES(Q8_0)
TILES(Q4_0)
TILES(Q4_1)
TILES(Q5_0)
TILES(Q5_1)
TILES(IQ4_NL)
TILES(Q2_K)
TILES(Q3_K)
TILES(Q4_K)
TILES(Q5_K)
TILES(Q6_K)

packed_tile *const ISA(packed_tiles)[DT_IQ4_NL + 1][2][PACKED_TILE_MAX] = {
    NAMES(Q8_0), NAMES(Q4_0), NAMES(Q4_1), NAMES(Q5_0), NAMES(Q5_1), NAMES(IQ4_NL),
    NAMES(Q2_K), NAMES(Q3_K), NAMES(Q4_K), NAMES(Q5_K), NAMES(Q6_K),
};
