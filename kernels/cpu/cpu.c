#include "kernels/cpu/cpu.h"

#include "base/mem.h"
#include "kernels/cpu/cpuid.h"

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
    {"avx512", &cpu_kernels_avx512, cpuid_avx512, "AVX-512 F, BW, VL and DQ"},
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
            return errf(eb, ST_UNSUPPORTED, "isa %s: this cpu or its operating system lacks %s; use isa: auto", isa,
                        isas[i].needs);
    }
    if (strcmp(isa, "avx512") == 0 || strcmp(isa, "avx2") == 0)
        return errf(eb, ST_UNSUPPORTED, "isa %s: this build is not for x86-64; use isa: auto", isa);
    return errf(eb, ST_INVALID, "isa '%s': want auto, avx512, avx2 or portable", isa);
}

static void cpu_close(device *d) {
    if (!d) return;
    team_free(d->team);
    for (size_t i = 0; i < ARRAY_LEN(d->scratch); i++) free(d->scratch[i]);
    free(d);
}

status cpu_open_kernels(device **out, const cpu_kernels *k, const device_options *opt, errbuf *eb) {
    PRE(out);
    PRE(k);
    PRE(opt);
    device *d = xcalloc(1, sizeof *d);
    d->kernels = k;
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

static const char *cpu_path(const device *d) {
    PRE(d);
    return d->kernels->path;
}

static dtype cpu_kv_default(void) {
    return DT_F16;
}

static void *aligned_zeroed(size_t bytes) {
    size_t whole = (bytes + 63) / 64 * 64;
    if (whole < bytes) return NULL;
    void *p = aligned_alloc(64, whole ? whole : 64);
    if (p) memset(p, 0, whole);
    return p;
}

static void *cpu_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    return aligned_zeroed(bytes);
}

static void cpu_mem_free(device *d, void *p, size_t bytes) {
    PRE(d);
    (void)bytes;
    free(p);
}

static bool grow(device *d, size_t i, size_t bytes) {
    if (d->scratch_bytes[i] >= bytes) return true;
    void *p = aligned_zeroed(bytes);
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

static status cpu_sync(device *d, errbuf *eb) {
    PRE(d);
    (void)eb; /* every op is done when it returns */
    return ST_OK;
}

static status cpu_embed(device *d, const op_embed *a) {
    return d->kernels->embed(d, a);
}

static status cpu_rmsnorm(device *d, const op_rmsnorm *a) {
    return d->kernels->rmsnorm(d, a);
}

static status cpu_linear(device *d, const op_linear *a) {
    return d->kernels->linear(d, a);
}

static status cpu_kv_write(device *d, const op_kv_write *a) {
    return d->kernels->kv_write(d, a);
}

static status cpu_attention(device *d, const op_attention *a) {
    return d->kernels->attention(d, a);
}

static status cpu_silu_mul(device *d, const op_silu_mul *a) {
    return d->kernels->silu_mul(d, a);
}

static status cpu_add(device *d, const op_add *a) {
    return d->kernels->add(d, a);
}

const backend_ops cpu_backend = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .path = cpu_path,
    .kv_default = cpu_kv_default,
    .mem_alloc = cpu_mem_alloc,
    .mem_free = cpu_mem_free,
    .sync = cpu_sync,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .linear = cpu_linear,
    .rope = cpu_rope,
    .kv_write = cpu_kv_write,
    .attention = cpu_attention,
    .silu_mul = cpu_silu_mul,
    .add = cpu_add,
    .kv_gather = cpu_kv_gather,
    .kv_scatter = cpu_kv_scatter,
};
