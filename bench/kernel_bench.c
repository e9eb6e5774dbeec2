/* kernel_bench - speed of the backend cpu's ops at the shapes of two models, next to what this machine can do
 * at most.
 *
 *   kernel_bench [--shape smollm2|1b] [--types q4_1,q8_0] [--rows 1,8,512] [--act-bits 16,8,32] [--threads
 * 1,2]
 *                [--isa auto] [--only products|others]
 *
 * A line per op: its best time of five runs, operations and bytes per second, and its share of the nearer
 * ceiling, measured in the same run (bench/cpu/ceilings.h): reading memory, dot products of int8,
 * multiply-adds in fp32. GB/s counts weights, keys and values once, as the file or the pages have them. */
#include "base/log.h"
#include "base/mem.h"
#include "bench/cpu/op_bench.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 16, ROWS_MAX = 4096 };

static const op_shape shapes[] = {
    {"smollm2", 576, 9, 3, 64, 1536, 49152},
    {"1b", 2048, 32, 8, 64, 8192, 128256},
};

typedef struct list {
    uint32_t value[LIST_MAX], count;
} list;

typedef struct run_options {
    const op_shape *shape; /* NULL: all */
    const char *isa, *only;
    list types, rows, act_bits, threads;
} run_options;

static void bench_others(op_bench *b) {
    static const op_rows rows[] = {{512, 0, false}, {256, 1280, false}, {1, 512, true},
                                   {1, 4000, true}, {8, 512, true},     {16, 512, true}};
    op_bench_norm(b, 1);
    op_bench_norm(b, 512);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) op_bench_attend(b, &rows[i]);
    op_bench_sample(b, 1);
    op_bench_sample(b, 16);
    op_bench_copies(b);
}

static status bench(const run_options *o, const op_shape *shape, uint32_t threads, errbuf *eb) {
    for (uint32_t a = 0; a < o->act_bits.count; a++) {
        const device_options opt = {
            .threads = threads, .isa = o->isa, .act_bits = o->act_bits.value[a], .max_rows = ROWS_MAX};
        op_bench b;
        status st = op_bench_open(&b, &opt, shape, eb);
        if (st == ST_OK) {
            printf("%s, %u threads: read %.1f GB/s, int8 %.0f GOP/s, fp32 %.0f GFLOP/s\n", b.ops->path(b.dev),
                   threads, b.read, b.int8, b.fp32);
            for (uint32_t t = 0; t < o->types.count && strcmp(o->only, "others") != 0; t++)
                for (uint32_t r = 0; r < o->rows.count; r++)
                    op_bench_products(&b, (dtype)o->types.value[t], o->rows.value[r]);
            if (a == 0 && strcmp(o->only, "products") != 0) bench_others(&b);
        }
        op_bench_close(&b);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

enum { OPT_SHAPE = 256, OPT_TYPES, OPT_ROWS, OPT_ACT_BITS, OPT_THREADS, OPT_ISA, OPT_ONLY };

static const struct argp_option options[] = {
    {"shape", OPT_SHAPE, "NAME", 0, "smollm2 or 1b (both)", 0},
    {"types", OPT_TYPES, "LIST", 0, "of weights (q4_1,q4_0,q8_0)", 0},
    {"rows", OPT_ROWS, "LIST", 0, "of products (1,2,4,8,16,64,512)", 0},
    {"act-bits", OPT_ACT_BITS, "LIST", 0, "16, 8, 32 (all)", 0},
    {"threads", OPT_THREADS, "LIST", 0, "sizes of the team (1,2)", 0},
    {"isa", OPT_ISA, "NAME", 0, "auto, avx512, avx2 or portable (auto)", 0},
    {"only", OPT_ONLY, "KIND", 0, "products or others (all)", 0},
    {0},
};

static uint32_t type_named(const char *text, size_t length, struct argp_state *state) {
    for (uint32_t type = 0; type <= DT_BF16; type++)
        if (dtype_known(type) && strlen(dtype_name(type)) == length &&
            strncmp(dtype_name(type), text, length) == 0)
            return type;
    argp_error(state, "'%.*s': want one of %s, in small letters", (int)length, text, dtype_all().text);
    return DT_F32;
}

static void read_list(list *out, const char *text, uint32_t most, struct argp_state *state) {
    *out = (list){0};
    for (; *text; text += *text == ',') {
        size_t length = strcspn(text, ",");
        if (out->count == LIST_MAX) argp_error(state, "more than %d in a list", LIST_MAX);
        unsigned long value = most ? strtoul(text, NULL, 10) : type_named(text, length, state);
        if (most && (value == 0 || value > most)) argp_error(state, "'%s': want 1..%u", text, most);
        out->value[out->count++] = (uint32_t)value;
        text += length;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    run_options *o = state->input;
    switch (key) {
    case OPT_SHAPE:
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
            if (strcmp(shapes[i].name, arg) == 0) o->shape = &shapes[i];
        if (!o->shape) argp_error(state, "--shape '%s': want smollm2 or 1b", arg);
        return 0;
    case OPT_TYPES:
        read_list(&o->types, arg, 0, state);
        return 0;
    case OPT_ROWS:
        read_list(&o->rows, arg, ROWS_MAX, state);
        return 0;
    case OPT_ACT_BITS:
        read_list(&o->act_bits, arg, 32, state);
        return 0;
    case OPT_THREADS:
        read_list(&o->threads, arg, TEAM_THREADS_MAX, state);
        return 0;
    case OPT_ISA:
        o->isa = arg;
        return 0;
    case OPT_ONLY:
        if (strcmp(arg, "products") != 0 && strcmp(arg, "others") != 0)
            argp_error(state, "--only '%s': want products or others", arg);
        o->only = arg;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv) {
    run_options o = {.isa = "auto",
                     .only = "",
                     .types = {{DT_Q4_1, DT_Q4_0, DT_Q8_0}, 3},
                     .rows = {{1, 2, 4, 8, 16, 64, 512}, 7},
                     .act_bits = {{16, 8, 32}, 3},
                     .threads = {{1, 2}, 2}};
    const struct argp parser = {options, parse, NULL, "Speed of the backend cpu's operations.",
                                NULL,    NULL,  NULL};
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    log_setup(LOG_WARN, "kernel_bench");
    errbuf eb = {0};
    status st = ST_OK;
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (uint32_t t = 0; t < o.threads.count && st == ST_OK; t++)
            if (!o.shape || o.shape == &shapes[s]) st = bench(&o, &shapes[s], o.threads.value[t], &eb);
    if (st == ST_OK) return 0;
    fprintf(stderr, "kernel_bench: %s: %s\n", status_name(st), eb.text);
    return 1;
}
