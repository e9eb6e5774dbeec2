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

#define TILE(kind, suffix, min, planes, rows)                                                                \
    __attribute__((noinline)) static void packed_tile_##kind##suffix##_##planes##_##rows(                    \
        const tile_weights *w, const tile_rows *x, float *out) {                                             \
        tile_##kind(rows, planes, min, w, x, out);                                                           \
    }
#define TILES_SMALL(kind, suffix, min, planes)                                                               \
    TILE(kind, suffix, min, planes, 1)                                                                       \
    TILE(kind, suffix, min, planes, 2)                                                                       \
    TILE(kind, suffix, min, planes, 3)                                                                       \
    TILE(kind, suffix, min, planes, 4)
#define TILES(kind, suffix, min, planes)                                                                     \
    TILES_SMALL(kind, suffix, min, planes)                                                                   \
    TILE(kind, suffix, min, planes, 5)                                                                       \
    TILE(kind, suffix, min, planes, 6)
#define NAMES_SMALL(kind, suffix, planes)                                                                    \
    packed_tile_##kind##suffix##_##planes##_1, packed_tile_##kind##suffix##_##planes##_2,                    \
        packed_tile_##kind##suffix##_##planes##_3, packed_tile_##kind##suffix##_##planes##_4
#define NAMES(kind, suffix, planes)                                                                          \
    NAMES_SMALL(kind, suffix, planes), packed_tile_##kind##suffix##_##planes##_5,                            \
        packed_tile_##kind##suffix##_##planes##_6

TILES(bytes, , false, 1)
TILES(bytes, , false, 2)
TILES(bytes, _min, true, 1)
TILES(bytes, _min, true, 2)
TILES_SMALL(nibbles, , false, 1)
TILES_SMALL(nibbles, , false, 2)
TILES_SMALL(nibbles, _min, true, 1)
TILES_SMALL(nibbles, _min, true, 2)

packed_tile *const ISA(packed_bytes)[2][PACKED_TILE_MAX] = {{NAMES(bytes, , 1)}, {NAMES(bytes, , 2)}};
packed_tile *const ISA(packed_bytes_min)[2][PACKED_TILE_MAX] = {{NAMES(bytes, _min, 1)},
                                                                {NAMES(bytes, _min, 2)}};
packed_tile *const ISA(packed_nibbles)[2][PACKED_SMALL_MAX] = {{NAMES_SMALL(nibbles, , 1)},
                                                               {NAMES_SMALL(nibbles, , 2)}};
packed_tile *const ISA(packed_nibbles_min)[2][PACKED_SMALL_MAX] = {{NAMES_SMALL(nibbles, _min, 1)},
                                                                   {NAMES_SMALL(nibbles, _min, 2)}};
