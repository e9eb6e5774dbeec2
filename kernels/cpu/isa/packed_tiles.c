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
#define TILES_4(kind, suffix, min, planes)                                                                   \
    TILE(kind, suffix, min, planes, 1)                                                                       \
    TILE(kind, suffix, min, planes, 2)                                                                       \
    TILE(kind, suffix, min, planes, 3)                                                                       \
    TILE(kind, suffix, min, planes, 4)
#define TILES(kind, suffix, min)                                                                             \
    TILES_4(kind, suffix, min, 1)                                                                            \
    TILE(kind, suffix, min, 1, 5)                                                                            \
    TILE(kind, suffix, min, 1, 6)                                                                            \
    TILES_4(kind, suffix, min, 2)
#define NAME(kind, suffix, planes, rows) packed_tile_##kind##suffix##_##planes##_##rows
#define NAMES_4(kind, suffix, planes)                                                                        \
    NAME(kind, suffix, planes, 1), NAME(kind, suffix, planes, 2), NAME(kind, suffix, planes, 3),             \
        NAME(kind, suffix, planes, 4)
#define NAMES(kind, suffix)                                                                                  \
    {                                                                                                        \
        {NAMES_4(kind, suffix, 1), NAME(kind, suffix, 1, 5), NAME(kind, suffix, 1, 6)}, {                    \
            NAMES_4(kind, suffix, 2)                                                                         \
        }                                                                                                    \
    }

TILES(bytes, , false)
TILES(nibbles, , false)
TILES(nibbles, _min, true)

packed_tile *const ISA(packed_bytes)[2][PACKED_TILE_MAX] = NAMES(bytes, );
packed_tile *const ISA(packed_nibbles)[2][PACKED_TILE_MAX] = NAMES(nibbles, );
packed_tile *const ISA(packed_nibbles_min)[2][PACKED_TILE_MAX] = NAMES(nibbles, _min);
