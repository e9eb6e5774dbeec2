#include "latency/latency.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

#define MS          1e6
#define LONGEST_NS  3600e9
#define PRESET_LIST "a100-opt-13b, h200-8b, instant"

typedef struct preset {
    const char *name;
    latency_model model;
} preset;

static const preset presets[] = {
    /* OPT-13B on one A100 80 GB: fitted to measurements by the authors of DistServe (Zhong et al., OSDI
     * 2024), as published with their simulator (simdistserve, profiler-a100-80g.distserve.json: tensor
     * parallel 1; decoding_smallbs, for batches below 95; milliseconds). Their order is a, b, c with a + b *
     * context + c * batch for decoding. */
    {"a100-opt-13b",
     {.prefill = {18.10254647486372 * MS, 0.1019122572698738 * MS, 7.122264314252114e-06 * MS},
      .decode = {19.934702624895458 * MS, 0.03850697740828398 * MS, 0.0006269356524350583 * MS}}},
    /* An 8B model of Llama 3's shape in bf16 on one H200. Derived from the data sheet, not measured:
     *   alpha        8.03e9 weights * 2 B / 4.8 TB/s = 3.35 ms to read the weights, + 0.5 ms of launches
     *   beta         2 * 8.03e9 FLOP per row. Prompts: at half of the dense 990 TFLOP/s = 32.4 us. Decoding:
     * at all of them, since reading the weights overlaps with computing = 16.2 us gamma        prompts: 2
     * products * 2 FLOP * half of the square (causal) * 4096 * 32 layers = 262144 FLOP per token^2 at 495
     * TFLOP/s = 0.53 ns. Decoding: 128 KiB of KV per token of context (8 heads * 128 * 2 * 2 B * 32 layers)
     * / 4.8 TB/s = 27.3 ns */
    {"h200-8b", {.prefill = {3.85 * MS, 32440, 0.53}, .decode = {3.85 * MS, 16220, 27.3}}},
    {"instant", {.prefill = {0}, .decode = {0}}},
};

uint64_t latency_ns(const latency_model *m, const latency_step *s) {
    PRE(m);
    PRE(s);
    double alpha = 0, rest = 0;
    if (s->chunks) {
        alpha = m->prefill.alpha_ns;
        rest += m->prefill.beta_ns * (double)s->tokens + m->prefill.gamma_ns * (double)s->squares;
    }
    if (s->batch) {
        alpha = MAX(alpha, m->decode.alpha_ns);
        rest += m->decode.beta_ns * s->batch + m->decode.gamma_ns * (double)s->context;
    }
    return (uint64_t)(MIN(alpha + rest, LONGEST_NS) + 0.5);
}

static status check_terms(const latency_terms *t, const char *phase, errbuf *eb) {
    const double values[] = {t->alpha_ns, t->beta_ns, t->gamma_ns};
    static const char *const names[] = {"alpha_ms", "beta_ms", "gamma_ms"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (!isfinite(values[i]) || values[i] < 0)
            return errf(eb, ST_INVALID, "%s.%s is %g: want a number of milliseconds that is not negative",
                        phase, names[i], values[i] / MS);
    return ST_OK;
}

status latency_check(const latency_model *m, errbuf *eb) {
    PRE(m);
    status st = check_terms(&m->prefill, "prefill", eb);
    return st == ST_OK ? check_terms(&m->decode, "decode", eb) : st;
}

const latency_model *latency_preset(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(presets); i++)
        if (strcmp(presets[i].name, name) == 0) return &presets[i].model;
    return NULL;
}

const char *latency_preset_names(void) {
    return PRESET_LIST;
}
