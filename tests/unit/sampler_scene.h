/* sampler_scene - one call of the sampler as a test sees it. */
#ifndef BATON_TESTS_SAMPLER_SCENE_H
#define BATON_TESTS_SAMPLER_SCENE_H

#include "tests/test.h"

#include "base/mem.h"
#include "kernels/host/sampler.h"

#include <math.h>
#include <string.h>

/* One case: what sampler_next gets, with everything off. */
typedef struct scene {
    float logits[8];
    uint32_t vocab;
    sampling params;
    int32_t prompt[8], output[8], eog[2];
    uint32_t prompt_count, output_count, eog_count;
    uint32_t mask; /* 0: none */
} scene;

static inline scene scene_of(const float *logits, uint32_t vocab) {
    scene s = {.vocab = vocab, .params = sampling_default(), .prompt_count = 1};
    memcpy(s.logits, logits, vocab * sizeof *logits);
    return s;
}

static inline sample_result run(const scene *s) {
    sampler *p = sampler_new(s->vocab);
    const sample_input in = {
        .params = &s->params,
        .prompt = s->prompt,
        .prompt_count = s->prompt_count,
        .output = s->output,
        .output_count = s->output_count,
        .eog = s->eog,
        .eog_count = s->eog_count,
        .mask = s->mask ? &s->mask : NULL,
    };
    sample_result r;
    memset(&r, 0xee, sizeof r); /* all of it is written */
    sampler_next(p, s->logits, &in, &r);
    sampler_free(p);
    return r;
}

static inline token_out run_well(const scene *s) {
    sample_result r = run(s);
    assert_false(r.broken);
    assert_false(r.banned);
    assert_int_equal(r.token.fin, FINISH_NONE);
    return r.token;
}

static inline int32_t choose(const scene *s) {
    return run_well(s).id;
}

/* Probabilities 0.4 0.3 0.15 0.1 0.04 0.01 of ids 0 to 5. */
static inline scene six(void) {
    const float p[] = {0.4f, 0.3f, 0.15f, 0.1f, 0.04f, 0.01f};
    float logits[6];
    for (int i = 0; i < 6; i++) logits[i] = logf(p[i]) + 3.0f; /* a constant must not matter */
    return scene_of(logits, 6);
}

#endif
