#include "kernels/cpu/cpu.h"

#include "base/mem.h"
#include "kernels/cpu/cpuid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    store_close(d->store);
    cpu_slots_free(d);
    for (size_t i = 0; i < ARRAY_LEN(d->scratch); i++) free(d->scratch[i]);
    free(d);
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
    d->store = store_open(&(store_options){.room = 1u << 30});
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

static status cpu_attend_setup(device *d, const attend_setup *s, errbuf *eb) {
    PRE(s);
    if (s->layout.type != DT_F16 && s->layout.type != DT_F32)
        return errf(eb, ST_UNSUPPORTED, "cpu backend: no KV of type %s: set kv_dtype to f16 or f32",
                    dtype_name(s->layout.type));
    return host_attend_setup(d, s, eb);
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
    .weight_load = cpu_weight_load,
    .weight_free = cpu_weight_free,
    .step_begin = cpu_step_begin,
    .embed = cpu_embed_op,
    .norm = cpu_norm_op,
    .linear = cpu_linear_op,
    .gate_up = cpu_gate_up_op,
    .head_norm = cpu_head_norm_op,
    .features = FEATURE_ALL,
    .open = cpu_open,
    .close = cpu_close,
    .kv_default = cpu_kv_default,
    .attend_setup = cpu_attend_setup,
    .kv_gather = cpu_kv_gather,
    .kv_scatter = cpu_kv_scatter,
};
#pragma GCC diagnostic pop
