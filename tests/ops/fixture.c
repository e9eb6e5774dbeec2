#include "tests/ops/fixture.h"
#include "kernels/backends.h"

#include "kernels/cpu/attend.h"
#include "kernels/cpu/cpu.h"
#include "kernels/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const cpu_kernels cpu_kernels_wide16;

struct op_path {
    const char *isa;
    const cpu_kernels *kernels; /* NULL: opened by name */
};

static const op_path paths[] = {
    {"avx512", NULL},
    {"avx2", NULL},
    {"portable", NULL},
    {"wide16", &cpu_kernels_wide16},
};

int run_on_paths(const struct CMUnitTest *tests, size_t count) {
    int failures = 0;
    for (size_t p = 0; p < ARRAY_LEN(paths); p++) {
        struct CMUnitTest *mine = xmemdup(tests, count * sizeof *tests);
        for (size_t i = 0; i < count; i++) {
            mine[i].name = xasprintf("%s: %s", paths[p].isa, tests[i].name);
            mine[i].initial_state = (void *)&paths[p];
        }
        failures += _cmocka_run_group_tests(paths[p].isa, mine, count, NULL, NULL);
        for (size_t i = 0; i < count; i++) free((char *)mine[i].name);
        free(mine);
    }
    return failures;
}

static status try_open(const op_path *p, uint32_t threads, uint32_t act_bits, device **out, errbuf *eb) {
    device_options opt = {.threads = threads, .isa = p->isa, .act_bits = act_bits};
    return p->kernels ? cpu_open_kernels(out, p->kernels, &opt, eb) : cpu_ops()->open(out, &opt, eb);
}

void need_path(const op_path *p) {
    device *d = NULL;
    errbuf eb = {0};
    if (try_open(p, 1, 32, &d, &eb) == ST_UNSUPPORTED) {
        print_message("%s\n", eb.text);
        skip();
    }
    cpu_ops()->close(d);
}

device *open_path(const op_path *p, uint32_t threads) {
    return open_path_bits(p, threads, 32);
}

device *open_path_bits(const op_path *p, uint32_t threads, uint32_t act_bits) {
    device *d = NULL;
    errbuf eb = {0};
    if (try_open(p, threads, act_bits, &d, &eb) != ST_OK) fail_msg("%s", eb.text);
    return d;
}

device *open_ref(void) {
    device *d = NULL;
    assert_int_equal(ref_ops()->open(&d, &(device_options){.threads = 1}, NULL), ST_OK);
    return d;
}

const backend_ops *cpu_ops(void) {
    return backend_find("cpu");
}

const backend_ops *ref_ops(void) {
    return backend_find("ref");
}

const host_kernels *kernels_of(const device *d) {
    return ((const host_device *)d)->kernels; /* a host device begins with one */
}

static uint8_t *turn_pages(const kv_layout *l, const uint8_t *kv, uint32_t page_count, bool to_cpu) {
    uint8_t *out = xmemdup(kv, page_count * kv_page_bytes(l));
    size_t elem = kv_elem_bytes(l);
    for (uint32_t tile = 0; tile < page_count * l->layers * l->kv_heads; tile++) {
        uint32_t head = tile % l->kv_heads, layer = tile / l->kv_heads % l->layers;
        size_t at = kv_tile_offset(l, tile / l->kv_heads / l->layers, layer, 0, head);
        for (uint32_t i = 0; i < KV_PAGE_TOKENS * l->head_dim; i++) {
            uint32_t slot = i / l->head_dim, dim = i % l->head_dim;
            size_t plain = i * elem, turned = cpu_key_at(slot, dim) * elem;
            memcpy(out + at + (to_cpu ? turned : plain), kv + at + (to_cpu ? plain : turned), elem);
        }
    }
    return out;
}

uint8_t *cpu_pages(const kv_layout *l, const uint8_t *kv, uint32_t page_count) {
    return turn_pages(l, kv, page_count, true);
}

uint8_t *plain_pages(const kv_layout *l, const uint8_t *kv, uint32_t page_count) {
    return turn_pages(l, kv, page_count, false);
}

uint64_t random_at(uint64_t seed, uint64_t i) {
    return kv_mix(kv_mix(seed * 0x9e3779b97f4a7c15ull + 1) + i * 0xd1342543de82ef95ull);
}

float random_float(uint64_t seed, uint64_t i) {
    return (float)(int64_t)random_at(seed, i) * 0x1p-63f;
}

float *random_floats(uint64_t seed, size_t count) {
    float *p = xcalloc(count, sizeof *p);
    for (size_t i = 0; i < count; i++) p[i] = random_float(seed, i);
    return p;
}

static void put_half(uint8_t *p, float x) {
    uint16_t h = half_of_f32(x);
    memcpy(p, &h, sizeof h);
}

const dtype weight_types[WEIGHT_TYPES] = {DT_F32,  DT_F16,    DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q5_0,
                                          DT_Q5_1, DT_IQ4_NL, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};

uint32_t whole_blocks(dtype type, uint32_t cols) {
    uint32_t block = dtype_block_weights(type);
    return (cols + block - 1) / block * block;
}

/* Blocks of any bits with finite scales, of both signs. */
tensor random_matrix(dtype type, uint32_t rows, uint32_t cols, uint64_t seed) {
    size_t bytes = rows * dtype_row_bytes(type, cols), step = dtype_block_bytes(type);
    uint8_t *data = xmalloc(bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)(random_at(seed, i) >> 32);
    for (size_t b = 0; b < bytes / step; b++) {
        uint8_t *p = data + b * step;
        float x = random_float(seed + 1, b), y = random_float(seed + 2, b);
        uint32_t bits = f32_bits(x);
        switch (type) {
        case DT_F32:
            memcpy(p, &x, sizeof x);
            break;
        case DT_BF16:
            memcpy(p, (uint8_t *)&bits + 2, 2);
            break;
        case DT_Q4_1:
        case DT_Q5_1:
        case DT_Q4_K:
        case DT_Q5_K:
            put_half(p + 2, y);
            put_half(p, x);
            break;
        case DT_F16:
        case DT_Q4_0:
        case DT_Q5_0:
        case DT_Q8_0:
        case DT_IQ4_NL:
            put_half(p, x);
            break;
        case DT_Q2_K:
            put_half(p + 82, y);
            put_half(p + 80, x);
            break;
        case DT_Q3_K:
            put_half(p + 108, x);
            break;
        case DT_Q6_K:
            put_half(p + 208, x);
            break;
        }
    }
    return (tensor){.type = type, .rows = rows, .cols = cols, .data = data};
}

void free_weight(tensor *t) {
    free((void *)t->data);
    t->data = NULL;
}

double nmse(const float *a, const float *b, size_t count) {
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        power += (double)b[i] * b[i];
    }
    return power > 0 ? error / power : error;
}

void assert_close(const char *what, const float *a, const float *b, size_t count, double bound) {
    double found = nmse(a, b, count);
    if (!(found <= bound))
        fail_msg("%s: nmse %g, want at most %g", what, found, bound); /* fails for NaN too */
}

void assert_same(const char *what, const void *a, const void *b, size_t bytes) {
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++)
        if (x[i] != y[i]) fail_msg("%s: byte %zu of %zu is %02x, want %02x", what, i, bytes, x[i], y[i]);
}
