#include "planner/replay/simulated_run.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static json_t *text_or_null(const char *text) {
    json_t *out = text ? json_string(text) : json_null();
    return out ? out : json_string("?"); /* no UTF-8 */
}

void simulated_target(target *t, const profile *p, uint64_t seed, const char *simulator) {
    PRE(t);
    PRE(p);
    PRE(simulator);
    *t = (target){.backend = SERVE_NATIVE, .baton = true};
    t->shown = xasprintf("simulated: %s", p->name ? p->name : p->hash);
    t->model = p->model ? xstrdup(p->model) : NULL;
    t->version =
        json_pack("{s:s, s:s, s:o, s:s, s:I}", "version", BATON_VERSION, "simulator", simulator, "profile",
                  text_or_null(p->name), "profile_hash", p->hash, "noise_seed", (json_int_t)seed);
    CHECK(t->version);
}

void simulated_measurement(measurement *m, validity *v, simulation *s, const schedule *plan) {
    PRE(m);
    PRE(v);
    PRE(s);
    PRE(plan);
    *m = (measurement){.rows = s->rows,
                       .how = RUNNER_ENDED,
                       .duration_s = s->duration_s,
                       .wall_s = s->duration_s,
                       .cpu_share = NAN,
                       .cached_share = NAN,
                       .server = s->server};
    s->rows = (row_list){0};
    run_info_init(&s->server);
    validity_facts f = {.open_loop = true, .ignore_eos = true, .cpu_share = NAN, .cached_share = NAN};
    validity_judge(v, &m->rows, plan, &f);
}

void simulated_notes(buf *out, const fleet_totals *t) {
    PRE(out);
    PRE(t);
    if (t->steps_outside)
        buf_addf(out,
                 "Outside of the profile's grid: %" PRIu64 " of %" PRIu64
                 " steps (--extrapolate): their times are a guess\n",
                 t->steps_outside, t->steps);
}
