#include "planner/replay/replay_steps.h"

#include "base/mem.h"
#include "bench/experiment/files.h"
#include "planner/measure/seen.h"

#include <math.h>
#include <stdlib.h>

typedef struct sum {
    double measured_ns, profile_ns;
} sum;

static double share(const sum *s) {
    return s->profile_ns > 0 ? s->measured_ns / s->profile_ns : NAN;
}

static replay_steps of_seen(const seen *s, const profile *p) {
    sum prefill = {0}, decode = {0};
    for (uint32_t i = 0; i < s->step_count; i++) {
        const seen_step *t = &s->steps[i];
        worker_role role = seen_role(s, t);
        if (role >= ROLE_COUNT || !t->sum.chunks == !t->sum.batch) continue;
        const profile_engine *e = profile_find(p, role, 1, 1); /* the only shape that a cluster has */
        if (!e || !(t->sum.chunks ? e->prefill : e->decode).count) continue;
        sum *to = t->sum.chunks ? &prefill : &decode;
        to->measured_ns += (double)t->duration_ns;
        to->profile_ns += profile_step_ns(e, &t->sum, NULL);
    }
    return (replay_steps){.prefill = share(&prefill), .decode = share(&decode)};
}

replay_steps replay_steps_of(const char *folder, const profile *p) {
    PRE(folder);
    PRE(p);
    replay_steps out = {.prefill = NAN, .decode = NAN};
    char *path = xasprintf("%s/trace.json", folder), *text = NULL;
    errbuf ignored = {0};
    seen s;
    if (files_exist(path) && files_read(&text, path, &ignored) == ST_OK &&
        seen_read(&s, text, &ignored) == ST_OK) {
        out = of_seen(&s, p);
        seen_done(&s);
    }
    free(text);
    free(path);
    return out;
}

static step_cost scaled(const step_cost *c, double by) {
    step_cost out = step_cost_copy(c);
    if (isnan(by)) return out;
    out.rise_ns *= by;
    for (uint32_t i = 0; i < out.count; i++) {
        out.knots[i].base_ns *= by;
        out.knots[i].slope_ns *= by;
    }
    return out;
}

profile replay_steps_applied(const profile *p, const replay_steps *s) {
    PRE(p);
    PRE(s);
    profile out = *p;
    out.engines = xmemdup(p->engines, p->engine_count * sizeof *p->engines);
    for (uint32_t i = 0; i < out.engine_count; i++) {
        profile_engine *e = &out.engines[i];
        e->prefill = scaled(&e->prefill, s->prefill);
        e->decode = scaled(&e->decode, s->decode);
        e->slowed_by_prefill = e->slowed_by_decode = 0;
        e->decode_slowed_by_prefill = e->decode_slowed_by_decode = 0;
    }
    return out;
}

void replay_steps_done(profile *applied) {
    PRE(applied);
    for (uint32_t i = 0; i < applied->engine_count; i++) {
        step_cost_done(&applied->engines[i].prefill);
        step_cost_done(&applied->engines[i].decode);
    }
    free(applied->engines);
    *applied = (profile){0};
}
