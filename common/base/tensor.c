#include "base/tensor.h"

#include "base/mem.h"
#include "base/status.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

typedef struct dtype_info {
    const char *name;       /* NULL: no type of GGUF has this number */
    uint32_t block_weights; /* weights in one block; 0 = a type that is no dtype */
    uint32_t block_bytes;
} dtype_info;

/* By the numbers of GGUF; those without a dtype are there for their names. */
static const dtype_info infos[] = {
    [DT_F32] = {"f32", 1, 4},
    [DT_F16] = {"f16", 1, 2},
    [DT_Q4_0] = {"q4_0", 32, 18},
    [DT_Q4_1] = {"q4_1", 32, 20},
    [4] = {"q4_2", 0, 0},
    [5] = {"q4_3", 0, 0},
    [DT_Q5_0] = {"q5_0", 32, 22},
    [DT_Q5_1] = {"q5_1", 32, 24},
    [DT_Q8_0] = {"q8_0", 32, 34},
    [9] = {"q8_1", 0, 0},
    [DT_Q2_K] = {"q2_k", 256, 84},
    [DT_Q3_K] = {"q3_k", 256, 110},
    [DT_Q4_K] = {"q4_k", 256, 144},
    [DT_Q5_K] = {"q5_k", 256, 176},
    [DT_Q6_K] = {"q6_k", 256, 210},
    [15] = {"q8_k", 0, 0},
    [16] = {"iq2_xxs", 0, 0},
    [17] = {"iq2_xs", 0, 0},
    [18] = {"iq3_xxs", 0, 0},
    [19] = {"iq1_s", 0, 0},
    [DT_IQ4_NL] = {"iq4_nl", 32, 18},
    [21] = {"iq3_s", 0, 0},
    [22] = {"iq2_s", 0, 0},
    [23] = {"iq4_xs", 0, 0},
    [24] = {"i8", 0, 0},
    [25] = {"i16", 0, 0},
    [26] = {"i32", 0, 0},
    [27] = {"i64", 0, 0},
    [28] = {"f64", 0, 0},
    [29] = {"iq1_m", 0, 0},
    [DT_BF16] = {"bf16", 1, 2},
    [31] = {"q4_0_4_4", 0, 0},
    [32] = {"q4_0_4_8", 0, 0},
    [33] = {"q4_0_8_8", 0, 0},
    [34] = {"tq1_0", 0, 0},
    [35] = {"tq2_0", 0, 0},
    [36] = {"iq4_nl_4_4", 0, 0},
    [37] = {"iq4_nl_4_8", 0, 0},
    [38] = {"iq4_nl_8_8", 0, 0},
    [39] = {"mxfp4", 0, 0},
    [40] = {"nvfp4", 0, 0},
    [41] = {"q1_0", 0, 0},
};

bool dtype_known(uint32_t type) {
    return type < ARRAY_LEN(infos) && infos[type].block_weights != 0;
}

const char *dtype_name(uint32_t type) {
    return dtype_known(type) ? infos[type].name : NULL;
}

/* Appends, in capitals. */
static void say(dtype_text *to, const char *text) {
    size_t at = strlen(to->text);
    for (; *text && at + 1 < sizeof to->text; text++) to->text[at++] = (char)toupper((unsigned char)*text);
    to->text[at] = 0;
}

dtype_text dtype_said(uint32_t type) {
    dtype_text out = {{0}};
    if (type < ARRAY_LEN(infos) && infos[type].name)
        say(&out, infos[type].name);
    else
        snprintf(out.text, sizeof out.text, "%u", type);
    return out;
}

dtype_text dtype_all(void) {
    dtype_text out = {{0}};
    for (uint32_t type = 0; type < ARRAY_LEN(infos); type++) {
        if (!dtype_known(type)) continue;
        if (type > 0) say(&out, ", ");
        say(&out, infos[type].name);
    }
    return out;
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
