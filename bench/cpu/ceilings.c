#include "bench/cpu/ceilings.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/cpu/cpuid.h"

#include <string.h>
#include <sys/mman.h>

enum { RUNS = 5, CHAINS = 12, STEPS = 4000000, LINE = 64 };
#define READ_BYTES ((size_t)512 << 20)

ceiling_isa ceiling_isa_of(const char *path) {
    PRE(path);
#if defined(__x86_64__)
    if (strstr(path, "avx512") && cpuid_avx512())
        return __builtin_cpu_supports("avx512vnni") ? CEILING_VNNI : CEILING_AVX512;
    if (strstr(path, "avx") && cpuid_avx2()) return CEILING_AVX2;
#endif
    return CEILING_PORTABLE;
}

/* --- loops: each returns the operations that it did --- */

#if defined(__x86_64__)
typedef float v8 __attribute__((vector_size(32)));
typedef float v16 __attribute__((vector_size(64)));

#define CHAINED(type, constraint, text)                                                                      \
    type acc[CHAINS] = {0}, a = {0}, b = {0};                                                                \
    for (int i = 0; i < STEPS; i++) {                                                                        \
        _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) __asm__ volatile(                          \
            text : "+" constraint(acc[c]) : constraint(a), constraint(b));                                   \
    }

__attribute__((target("avx2,fma"))) static double fp32_avx2(void) {
    CHAINED(v8, "x", "vfmadd231ps %1, %2, %0")
    return 2.0 * 8 * CHAINS * STEPS;
}

__attribute__((target("avx512f"))) static double fp32_avx512(void) {
    CHAINED(v16, "v", "vfmadd231ps %1, %2, %0")
    return 2.0 * 16 * CHAINS * STEPS;
}

/* The product goes through a register of its own, as it must. */
#define MADDUBS(wide)                                                                                        \
    "vpmaddubsw %1, %2, %%" wide "15\n\tvpmaddwd %2, %%" wide "15, %%" wide "15\n\tvpaddd %%" wide           \
    "15, %0, %0"

__attribute__((target("avx2"))) static double int8_avx2(void) {
    v8 acc[CHAINS] = {0}, a = {0}, b = {0};
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            __asm__ volatile(MADDUBS("ymm") : "+x"(acc[c]) : "x"(a), "x"(b) : "xmm15");
    }
    return 2.0 * 32 * CHAINS * STEPS;
}

__attribute__((target("avx512bw"))) static double int8_avx512(void) {
    v16 acc[CHAINS] = {0}, a = {0}, b = {0};
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            __asm__ volatile(MADDUBS("zmm") : "+v"(acc[c]) : "v"(a), "v"(b) : "xmm15");
    }
    return 2.0 * 64 * CHAINS * STEPS;
}

__attribute__((target("avx512f,avx512vnni"))) static double int8_vnni(void) {
    CHAINED(v16, "v", "vpdpbusd %1, %2, %0")
    return 2.0 * 64 * CHAINS * STEPS;
}

/* Four lines a step, with a prefetch one page ahead, which the hardware alone does not make. */
#define READ_LOOP(type, constraint)                                                                          \
    type acc[4] = {0};                                                                                       \
    for (size_t i = 0; i < count; i += 4 * LINE) {                                                           \
        _Pragma("GCC unroll 4") for (int l = 0; l < 4; l++) {                                                \
            __builtin_prefetch(p + i + l * LINE + 4096, 0, 3);                                               \
            for (int h = 0; h < LINE / (int)sizeof(type); h++)                                               \
                __asm__ volatile("vpaddd %1, %0, %0"                                                         \
                                 : "+" constraint(acc[l])                                                    \
                                 : "m"(*(const type *)(p + i + l * LINE + h * (int)sizeof(type))));          \
        }                                                                                                    \
    }

__attribute__((target("avx2"))) static void read_avx2(const uint8_t *p, size_t count) {
    READ_LOOP(v8, "x")
}

__attribute__((target("avx512f"))) static void read_avx512(const uint8_t *p, size_t count) {
    READ_LOOP(v16, "v")
}
#endif

typedef float v4 __attribute__((vector_size(16)));

/* A product and a sum, as the portable kernels compute them. */
static double fp32_portable(void) {
    v4 acc[8] = {0}, a = {0}, b = {0};
    for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 8
        for (int c = 0; c < 8; c++) {
            acc[c] = acc[c] + a * b;
            __asm__ volatile("" : "+x"(acc[c]), "+x"(a));
        }
    }
    return 2.0 * 4 * 8 * STEPS;
}

static void read_portable(const uint8_t *p, size_t count) {
    uint64_t sum = 0, word;
    for (size_t i = 0; i < count; i += sizeof word) {
        memcpy(&word, p + i, sizeof word);
        sum += word;
    }
    __asm__ volatile("" : : "r"(sum));
}

/* --- on all threads --- */

typedef struct peak_job {
    double (*loop)(void);
    double done[TEAM_THREADS_MAX];
} peak_job;

static void peak_task(void *ctx, uint32_t task, uint32_t thread) {
    peak_job *j = ctx;
    (void)thread;
    j->done[task] = j->loop();
}

static double peak(team *t, double (*loop)(void)) {
    peak_job job = {.loop = loop};
    uint32_t threads = team_threads(t);
    double best = 0;
    for (int i = 0; i < RUNS; i++) {
        uint64_t begin_ns = clock_now_ns();
        team_run(t, threads, peak_task, &job);
        double done = 0;
        for (uint32_t n = 0; n < threads; n++) done += job.done[n];
        best = MAX(best, done / (double)(clock_now_ns() - begin_ns));
    }
    return best;
}

double ceiling_fp32(team *t, ceiling_isa isa) {
    PRE(t);
#if defined(__x86_64__)
    if (isa == CEILING_AVX2) return peak(t, fp32_avx2);
    if (isa != CEILING_PORTABLE) return peak(t, fp32_avx512);
#endif
    (void)isa;
    return peak(t, fp32_portable);
}

double ceiling_int8(team *t, ceiling_isa isa) {
    PRE(t);
#if defined(__x86_64__)
    if (isa == CEILING_AVX2) return peak(t, int8_avx2);
    if (isa == CEILING_AVX512) return peak(t, int8_avx512);
    if (isa == CEILING_VNNI) return peak(t, int8_vnni);
#endif
    (void)isa;
    return 0;
}

/* --- memory --- */

typedef struct read_job {
    void (*loop)(const uint8_t *p, size_t count);
    uint8_t *bytes;
    size_t each;
} read_job;

static void touch_task(void *ctx, uint32_t task, uint32_t thread) {
    const read_job *j = ctx;
    (void)thread;
    memset(j->bytes + task * j->each, 1, j->each);
}

static void read_task(void *ctx, uint32_t task, uint32_t thread) {
    const read_job *j = ctx;
    (void)thread;
    j->loop(j->bytes + task * j->each, j->each);
}

static read_job read_job_of(team *t, const ceiling_buffer *b) {
    size_t each = b->count / team_threads(t) / 4096 * 4096;
    return (read_job){.bytes = b->bytes, .each = each, .loop = read_portable};
}

ceiling_buffer ceiling_buffer_new(team *t) {
    PRE(t);
    void *bytes = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(bytes != MAP_FAILED);
    madvise(bytes, READ_BYTES, MADV_HUGEPAGE); /* where there are none it reads a little slower */
    ceiling_buffer b = {.bytes = bytes, .count = READ_BYTES};
    read_job job = read_job_of(t, &b);
    team_run(t, team_threads(t), touch_task, &job);
    return b;
}

void ceiling_buffer_done(ceiling_buffer *b) {
    PRE(b);
    if (b->bytes) munmap(b->bytes, b->count);
    *b = (ceiling_buffer){0};
}

double ceiling_read(team *t, ceiling_isa isa, const ceiling_buffer *b) {
    PRE(t);
    PRE(b);
    read_job job = read_job_of(t, b);
#if defined(__x86_64__)
    if (isa == CEILING_AVX2) job.loop = read_avx2;
    if (isa == CEILING_AVX512 || isa == CEILING_VNNI) job.loop = read_avx512;
#endif
    (void)isa;
    double best = 0;
    for (int i = 0; i < RUNS; i++) {
        uint64_t begin_ns = clock_now_ns();
        team_run(t, team_threads(t), read_task, &job);
        best = MAX(best, (double)job.each * team_threads(t) / (double)(clock_now_ns() - begin_ns));
    }
    return best;
}
