#include "bench/experiment/spec_keys.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

#define RATE_MAX    1e6
#define SECONDS_MAX 86400.0
#define SEED_MAX    4294967295.0

#define TEXT(s, field, def)                                                                                  \
    { .name = #field, .type = SPEC_TEXT, .offset = offsetof(s, field), .text = def }
#define NEED_TEXT(s, field)                                                                                  \
    { .name = #field, .type = SPEC_TEXT, .offset = offsetof(s, field), .required = true }
#define PICK(s, field, def, all)                                                                             \
    { .name = #field, .type = SPEC_TEXT, .offset = offsetof(s, field), .text = def, .choices = all }
#define NUMBER(s, field, def, lo, hi)                                                                        \
    { .name = #field, .type = SPEC_NUMBER, .offset = offsetof(s, field), .text = def, .min = lo, .max = hi }
#define LENGTH(field, lo, hi)                                                                                \
    {                                                                                                        \
        .name = #field, .type = SPEC_NUMBER_TEXT, .offset = offsetof(spec_workload, field), .min = lo,       \
        .max = hi                                                                                            \
    }
#define COUNT(s, field, hi)                                                                                  \
    { .name = #field, .type = SPEC_COUNT, .offset = offsetof(s, field), .max = hi }
#define BOOL(s, field, def)                                                                                  \
    { .name = #field, .type = SPEC_BOOL, .offset = offsetof(s, field), .text = def }
#define TEXTS(s, name_, field)                                                                               \
    { .name = name_, .type = SPEC_TEXTS, .offset = offsetof(s, field) }
#define NUMBERS(s, field, lo, hi, whole_)                                                                    \
    {                                                                                                        \
        .name = #field, .type = SPEC_NUMBERS, .offset = offsetof(s, field), .min = lo, .max = hi,            \
        .whole = whole_                                                                                      \
    }
#define MAP(s, field, table_)                                                                                \
    { .name = #field, .type = SPEC_MAP, .offset = offsetof(s, field), .table = &table_ }
#define MAPS(s, name_, field, count_, table_, need)                                                          \
    {                                                                                                        \
        .name = name_, .type = SPEC_MAPS, .offset = offsetof(s, field), .count_offset = offsetof(s, count_), \
        .table = &table_, .required = need                                                                   \
    }
#define TABLE(keys_, s, title_)                                                                              \
    { .keys = keys_, .count = ARRAY_LEN(keys_), .size = sizeof(s), .title = title_ }

static const spec_key role_keys[] = {
    COUNT(spec_role, count, WORKERS_MAX),
    COUNT(spec_role, cores, 4096),
    COUNT(spec_role, tp, 1024),
    COUNT(spec_role, pp, 1024),
};
static const spec_table role_table = TABLE(role_keys, spec_role, "a role");

static const spec_key variant_keys[] = {
    NEED_TEXT(spec_variant, name),
    TEXTS(spec_variant, "set", sets),
};
static const spec_table variant_table = TABLE(variant_keys, spec_variant, "a variant");

static const spec_key placement_keys[] = {
    NEED_TEXT(spec_placement, name),
    BOOL(spec_placement, baseline, "false"),
    MAP(spec_placement, prefill, role_table),
    MAP(spec_placement, decode, role_table),
    MAP(spec_placement, colocated, role_table),
    TEXTS(spec_placement, "set", sets),
    MAPS(spec_placement, "tune", variants, variant_count, variant_table, false),
};
const spec_table spec_placement_table = TABLE(placement_keys, spec_placement, "a placement");

static const spec_key workload_keys[] = {
    NEED_TEXT(spec_workload, name),
    {.name = "workload", .type = SPEC_TEXT, .offset = offsetof(spec_workload, kind)},
    LENGTH(input_len, 1, 1e7),
    LENGTH(output_len, 1, 1e7),
    LENGTH(range_ratio, 0, 1),
    LENGTH(input_cv, 0, 100),
    LENGTH(output_cv, 0, 100),
    LENGTH(input_scale, 1e-6, 1e6),
    LENGTH(output_scale, 1e-6, 1e6),
    LENGTH(input_min, 1, 1e7),
    LENGTH(input_max, 1, 1e7),
    LENGTH(output_min, 1, 1e7),
    LENGTH(output_max, 1, 1e7),
    LENGTH(spread, 0, SECONDS_MAX),
    {.name = "arrivals",
     .type = SPEC_TEXT,
     .offset = offsetof(spec_workload, arrivals),
     .choices = "gamma|constant|trace"},
    LENGTH(burstiness, 1e-3, 1e6),
    TEXTS(spec_workload, "args", args),
    NUMBERS(spec_workload, rates, 1e-6, RATE_MAX, false),
    NUMBERS(spec_workload, rates_per_device, 1e-6, RATE_MAX, false),
    NUMBER(spec_workload, tune_rate, NULL, 1e-6, RATE_MAX),
};
const spec_table spec_workload_table = TABLE(workload_keys, spec_workload, "a workload");

static const spec_key slo_keys[] = {
    NEED_TEXT(spec_slo, name),
    NUMBER(spec_slo, ttft, NULL, 1e-3, 1e9),
    NUMBER(spec_slo, tpot, NULL, 1e-3, 1e9),
    NUMBER(spec_slo, itl_p99, NULL, 1e-3, 1e9),
    NUMBER(spec_slo, itl_max, NULL, 1e-3, 1e9),
    NUMBER(spec_slo, e2e, NULL, 1e-3, 1e9),
};
static const spec_table slo_table = TABLE(slo_keys, spec_slo, "an SLO");

static const spec_key tune_keys[] = {
    NUMBER(spec_tune, warmup_s, "5", 0, SECONDS_MAX),
    NUMBER(spec_tune, window_s, "15", 0.1, SECONDS_MAX),
    NUMBERS(spec_tune, seeds, 0, SEED_MAX, true),
    TEXT(spec_tune, by, "median"),
};
static const spec_table tune_table = TABLE(tune_keys, spec_tune, "tuning");

static const spec_key quick_keys[] = {
    TEXTS(spec_quick, "set", sets),
    TEXTS(spec_quick, "placements", placements),
    MAPS(spec_quick, "workloads", workloads, workload_count, spec_workload_table, false),
    NUMBERS(spec_quick, seeds, 0, SEED_MAX, true),
    NUMBER(spec_quick, warmup_s, NULL, 0.1, SECONDS_MAX),
    NUMBER(spec_quick, window_s, NULL, 0.1, SECONDS_MAX),
    BOOL(spec_quick, tune, "false"),
    BOOL(spec_quick, aa, "false"),
};
static const spec_table quick_table = {.keys = quick_keys,
                                       .count = ARRAY_LEN(quick_keys),
                                       .size = sizeof(spec_quick),
                                       .given = offsetof(spec_quick, given),
                                       .title = "quick"};

static const spec_key root_keys[] = {
    NEED_TEXT(spec, name),
    TEXT(spec, title, ""),
    NEED_TEXT(spec, base),
    PICK(spec, backend, "baton", "baton|openai|openai-chat"),
    TEXTS(spec, "set", sets),
    MAPS(spec, "placements", placements, placement_count, spec_placement_table, true),
    MAPS(spec, "workloads", workloads, workload_count, spec_workload_table, true),
    MAPS(spec, "slos", slos, slo_count, slo_table, true),
    NUMBER(spec, target, "90", 1, 100),
    NUMBERS(spec, seeds, 0, SEED_MAX, true),
    NUMBER(spec, warmup_s, "30", 0, SECONDS_MAX),
    NUMBER(spec, window_s, "30", 0.1, SECONDS_MAX),
    NUMBER(spec, request_timeout_s, "300", 0.1, SECONDS_MAX),
    NUMBER(spec, start_timeout_s, "120", 1, SECONDS_MAX),
    NUMBER(spec, stop_timeout_s, "45", 1, SECONDS_MAX),
    NUMBER(spec, overhead_s, "10", 0, SECONDS_MAX),
    BOOL(spec, trace, "false"),
    PICK(spec, order, "interleaved", "interleaved|by_placement"),
    TEXT(spec, aa, ""),
    MAP(spec, tune, tune_table),
    MAP(spec, quick, quick_table),
};
const spec_table spec_root = TABLE(root_keys, spec, "an experiment");

static void texts_done(spec_texts *t) {
    for (uint32_t i = 0; i < t->count; i++) free(t->items[i]);
    free(t->items);
    *t = (spec_texts){0};
}

static void numbers_done(spec_numbers *n) {
    free(n->items);
    *n = (spec_numbers){0};
}

void spec_map_done(const spec_table *t, void *base) {
    PRE(t);
    PRE(base);
    for (uint32_t i = 0; i < t->count; i++) {
        const spec_key *k = &t->keys[i];
        void *at = (char *)base + k->offset;
        if (k->type == SPEC_TEXT || k->type == SPEC_NUMBER_TEXT) free(*(char **)at);
        if (k->type == SPEC_TEXTS) texts_done(at);
        if (k->type == SPEC_NUMBERS) numbers_done(at);
        if (k->type == SPEC_MAP) spec_map_done(k->table, at);
        if (k->type != SPEC_MAPS) continue;
        uint32_t count = *(uint32_t *)((char *)base + k->count_offset);
        char *maps = *(char **)at;
        for (uint32_t n = 0; n < count; n++) spec_map_done(k->table, maps + n * k->table->size);
        free(maps);
    }
}
