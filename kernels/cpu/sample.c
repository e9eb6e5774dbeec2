/* sample - each head row of a step is a task; a thread has a sampler of its own. */
#include "base/mem.h"
#include "kernels/cpu/cpu.h"

void cpu_samplers_free(device *d) {
    PRE(d);
    for (size_t i = 0; i < ARRAY_LEN(d->samplers); i++) {
        sampler_free(d->samplers[i]);
        d->samplers[i] = NULL;
    }
}

typedef struct sample_job {
    device *dev;
    const op_sample *op;
} sample_job;

static void sample_row(void *ctx, uint32_t row, uint32_t thread) {
    const sample_job *j = ctx;
    sampler **own = &j->dev->samplers[thread];
    const op_step *s = j->dev->host.step;
    if (!*own) {
        *own = sampler_new(j->op->vocab);
        if (j->dev->kernels->sample) sampler_use(*own, j->dev->kernels->sample);
    }
    uint32_t at = j->op->begin + row;
    sampler_next(*own, j->op->logits + (size_t)row * j->op->vocab, &s->samples[at], &s->results[at]);
}

status cpu_sample(device *d, const op_sample *a) {
    PRE(d);
    PRE(a);
    const op_step *s = d->host.step;
    PRE(s);
    PRE(s->samples);
    PRE(s->results);
    PRE(a->begin + a->count <= s->head_count);
    if (d->vocab != a->vocab) cpu_samplers_free(d);
    d->vocab = a->vocab;
    sample_job job = {.dev = d, .op = a};
    team_run(d->team, a->count, sample_row, &job);
    return ST_OK;
}
