#include "kernels/cpu/cpu.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu/cpuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE_WAIT_NS (60 * NS_PER_S) /* for another worker that repacks */

/* The choice of an instruction set by name; the best one first. */
typedef struct isa_choice {
    const char *name;
    const cpu_kernels *kernels;
    bool (*runs)(void); /* NULL: everywhere */
    const char *needs;
} isa_choice;

static const isa_choice isas[] = {
#if defined(__x86_64__)
    {"avx512", &cpu_kernels_avx512, cpuid_avx512, "AVX-512 F, BW, VL, DQ and VNNI"},
    {"avx2", &cpu_kernels_avx2, cpuid_avx2, "AVX2, FMA and F16C"},
#endif
    {"portable", &cpu_kernels_portable, NULL, "nothing"},
};

static status choose(const char *isa, const cpu_kernels **out, errbuf *eb) {
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        bool runs = !isas[i].runs || isas[i].runs();
        if (strcmp(isa, "auto") != 0 && strcmp(isa, isas[i].name) != 0) continue;
        if (runs) {
            *out = isas[i].kernels;
            return ST_OK;
        }
        if (strcmp(isa, "auto") != 0)
            return errf(eb, ST_UNSUPPORTED,
                        "isa %s: this cpu or its operating system lacks %s; use isa: auto", isa,
                        isas[i].needs);
    }
    if (strcmp(isa, "avx512") == 0 || strcmp(isa, "avx2") == 0)
        return errf(eb, ST_UNSUPPORTED, "isa %s: this build is not for x86-64; use isa: auto", isa);
    return errf(eb, ST_INVALID, "isa '%s': want auto, avx512, avx2 or portable", isa);
}

static void cpu_close(device *d) {
    if (!d) return;
    host_done(&d->host);
    team_free(d->team);
    cpu_turns_done(d);
    cpu_samplers_free(d);
    store_close(d->store);
    cpu_slots_free(d);
    for (size_t i = 0; i < ARRAY_LEN(d->scratch); i++) free(d->scratch[i]);
    free(d);
}

/* Files hold what repacking makes of one model's weights in one layout. */
static store *open_store(const device_options *opt) {
    char key[96];
    PRE(!opt->weight_dir || opt->weight_key);
    if (opt->weight_dir)
        snprintf(key, sizeof key, "%.64s-p%u-%jx", opt->weight_key, PACK_LAYOUT, (uintmax_t)opt->weight_room);
    /* Address space, where nobody said how much: benchmarks and tests open devices themselves. */
    const uint64_t room = opt->weight_room ? opt->weight_room : (uint64_t)1 << 30;
    return store_open(&(store_options){.room = room,
                                       .dir = opt->weight_dir,
                                       .key = opt->weight_dir ? key : NULL,
                                       .wait_ns = STORE_WAIT_NS,
                                       .alone = opt->weight_alone});
}

static status cpu_weights_ready(device *d, weight_home *out, errbuf *eb) {
    PRE(d);
    PRE(out);
    (void)eb;
    store_seal(d->store);
    store_state is = store_state_of(d->store);
    *out = (weight_home){.repacked = is.bytes, .file = is.file, .huge = is.huge, .found = is.filled};
    return ST_OK;
}

status cpu_open_kernels(device **out, const cpu_kernels *k, const device_options *opt, errbuf *eb) {
    PRE(out);
    PRE(k);
    PRE(opt);
    uint32_t bits = opt->act_bits ? opt->act_bits : 32;
    if (bits != 8 && bits != 16 && bits != 32)
        return errf(eb, ST_INVALID, "cpu backend: act_bits %u: want 16, 8 or 32", bits);
    device *d = xcalloc(1, sizeof *d);
    host_init(&d->host, &k->host, opt);
    d->kernels = k;
    d->act_bits = bits;
    snprintf(d->path, sizeof d->path, "%s/act%u", k->host.path, bits);
    d->store = open_store(opt);
    status st = team_new(&d->team, opt->threads, opt->cpus, eb);
    if (st != ST_OK) {
        cpu_close(d);
        return err_prefix(eb, st, "cpu backend");
    }
    *out = d;
    return ST_OK;
}

static status cpu_open(device **out, const device_options *opt, errbuf *eb) {
    PRE(opt);
    PRE(opt->isa);
    const cpu_kernels *kernels = NULL;
    status st = choose(opt->isa, &kernels, eb);
    if (st != ST_OK) return err_prefix(eb, st, "cpu backend");
    return cpu_open_kernels(out, kernels, opt, eb);
}

static dtype cpu_kv_default(dtype act_type) {
    (void)act_type;
    return DT_F16;
}

static bool grow(device *d, size_t i, size_t bytes) {
    if (d->scratch_bytes[i] >= bytes) return true;
    void *p = host_mem_alloc(d, bytes);
    if (!p) return false;
    free(d->scratch[i]);
    d->scratch[i] = p;
    d->scratch_bytes[i] = bytes;
    return true;
}

bool cpu_scratch_threads(device *d, size_t bytes) {
    for (uint32_t i = 0; i < team_threads(d->team); i++)
        if (!grow(d, i, bytes)) return false;
    return true;
}

void *cpu_scratch_shared(device *d, size_t bytes) {
    return grow(d, TEAM_THREADS_MAX, bytes) ? d->scratch[TEAM_THREADS_MAX] : NULL;
}

void *cpu_scratch_parts(device *d, size_t bytes) {
    return grow(d, TEAM_THREADS_MAX + 1, bytes) ? d->scratch[TEAM_THREADS_MAX + 1] : NULL;
}

static const char *cpu_path(const device *d) {
    PRE(d);
    return d->path;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
const backend_ops cpu_backend = {
    HOST_SLOTS,
    .name = "cpu",
    .path = cpu_path,
    .weight_bytes = cpu_weight_bytes,
    .weight_load = cpu_weight_load,
    .weight_free = cpu_weight_free,
    .step_begin = cpu_step_begin,
    .embed = cpu_embed_op,
    .norm = cpu_norm_op,
    .linear = cpu_linear_op,
    .gate_up = cpu_gate_up_op,
    .head_norm = cpu_head_norm_op,
    .masks = true,
    .features = FEATURE_ALL,
    .open = cpu_open,
    .close = cpu_close,
    .kv_default = cpu_kv_default,
    .weights_ready = cpu_weights_ready,
    .attend_setup = cpu_attend_setup,
    .attend = cpu_attend,
    .sample = cpu_sample,
    .kv_gather = cpu_kv_gather,
    .kv_scatter = cpu_kv_scatter,
};
#pragma GCC diagnostic pop
