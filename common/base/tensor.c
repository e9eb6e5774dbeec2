#include "base/tensor.h"

#include "base/mem.h"
#include "base/status.h"

typedef struct dtype_info {
    const char *name;
    uint32_t block_weights; /* weights in one block; 0 = not a dtype */
    uint32_t block_bytes;
} dtype_info;

static const dtype_info infos[] = {
    [DT_F32] = {"f32", 1, 4},     [DT_F16] = {"f16", 1, 2},     [DT_Q4_0] = {"q4_0", 32, 18},
    [DT_Q4_1] = {"q4_1", 32, 20}, [DT_Q8_0] = {"q8_0", 32, 34}, [DT_BF16] = {"bf16", 1, 2},
};

bool dtype_known(uint32_t type) {
    return type < ARRAY_LEN(infos) && infos[type].block_weights != 0;
}

const char *dtype_name(uint32_t type) {
    return dtype_known(type) ? infos[type].name : NULL;
}

uint32_t dtype_block_weights(dtype type) {
    PRE(dtype_known(type));
    return infos[type].block_weights;
}

uint32_t dtype_block_bytes(dtype type) {
    PRE(dtype_known(type));
    return infos[type].block_bytes;
}

size_t dtype_row_bytes(dtype type, uint32_t weight_count) {
    PRE(dtype_known(type));
    PRE(weight_count % infos[type].block_weights == 0);
    return (size_t)(weight_count / infos[type].block_weights) * infos[type].block_bytes;
}
