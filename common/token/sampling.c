#include "token/sampling.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

sampling sampling_default(void) {
    return (sampling){
        .temperature = 1.0f,
        .top_p = 1.0f,
        .repetition_penalty = 1.0f,
        .max_tokens = 16,
        .logprobs = -1,
        .prompt_logprobs = -1,
    };
}

void sampling_copy(sampling *to, const sampling *from) {
    PRE(to);
    PRE(from);
    PRE(from->stop_ids || from->stop_id_count == 0);
    PRE(from->bias || from->bias_count == 0);
    PRE(from->spec || from->spec_len == 0);
    sampling copy = *from;
    copy.stop_ids = NULL;
    copy.bias = NULL;
    copy.spec = NULL;
    if (from->stop_id_count)
        copy.stop_ids = xmemdup(from->stop_ids, from->stop_id_count * sizeof *from->stop_ids);
    if (from->bias_count) copy.bias = xmemdup(from->bias, from->bias_count * sizeof *from->bias);
    if (from->spec_len) copy.spec = xmemdup(from->spec, from->spec_len);
    *to = copy;
}

void sampling_done(sampling *s) {
    if (!s) return;
    free((void *)s->stop_ids); /* const for those who read them */
    free((void *)s->bias);
    free((void *)s->spec);
    *s = (sampling){0};
}

static bool holds(const int32_t *ids, uint32_t count, int32_t id) {
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

finish sampling_finish(const sampling *s, const int32_t *eos, uint32_t eos_count, int32_t id,
                       uint32_t output_count) {
    PRE(s);
    PRE(output_count >= 1);
    PRE(eos || eos_count == 0);
    /* The sampler bans both kinds up to min_tokens. A token that was forced there (a replay) must not end it
     * either. */
    bool may_end = output_count > s->min_tokens || s->spec_len > 0;
    if (may_end && (!s->ignore_eos || s->spec_len > 0) && holds(eos, eos_count, id)) return FINISH_EOS;
    if (may_end && holds(s->stop_ids, s->stop_id_count, id)) return FINISH_STOP_ID;
    return output_count >= s->max_tokens ? FINISH_LENGTH : FINISH_NONE;
}
