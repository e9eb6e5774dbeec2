/* fleet_scene - a fleet with round step times, and a list of requests. */
#ifndef BATON_TESTS_PLANNER_FLEET_SCENE_H
#define BATON_TESTS_PLANNER_FLEET_SCENE_H

#include "base/mem.h"
#include "planner/fleet/fleet.h"
#include "tests/test.h"

#define MS 1000000ull

/* Steps of constant coefficients: prefill alpha + beta tokens, decode alpha + beta batch + gamma context. */
typedef struct scene {
    profile p;
    profile_engine engine;
    step_cost_knot prefill[2], decode[2];
    fleet_placement at;
    fleet_request *in; /* [count] */
    uint32_t count, given;
    fleet_outcome *out; /* [count] by index */
    uint32_t ended;
} scene;

static inline void scene_init(scene *s, double prefill_ms, double token_ms, double decode_ms) {
    *s = (scene){0};
    s->prefill[0] = (step_cost_knot){.x = 0, .base_ns = prefill_ms * 1e6};
    s->prefill[1] = (step_cost_knot){.x = 1, .base_ns = (prefill_ms + token_ms) * 1e6};
    s->decode[0] = (step_cost_knot){.x = 0, .base_ns = decode_ms * 1e6};
    s->decode[1] = (step_cost_knot){.x = 1, .base_ns = decode_ms * 1e6};
    s->engine = (profile_engine){
        .roles = {true, true, true},
        .tp = 1,
        .pp = 1,
        .devices = 1,
        .prefill = {.knots = s->prefill, .count = 2, .x_max = 1e12, .y_max = 1e18},
        .decode = {.knots = s->decode, .count = 2, .x_max = 1e12, .y_max = 1e18},
        .shared = 1,
    };
    s->p = (profile){.engines = &s->engine, .engine_count = 1};
    s->p.link = (profile_link){.known = true, .bytes_per_s = 1e12, .kv_token_bytes = 1, .layers = 1};
}

static inline void scene_role(scene *s, worker_role role, uint32_t count) {
    s->at.roles[role] = (fleet_role){.count = count,
                                     .tp = 1,
                                     .pp = 1,
                                     .devices = 1,
                                     .kv_pages = 1000,
                                     .max_seqs = 64,
                                     .max_rows = 512,
                                     .chunk_tokens = 512};
}

static inline bool next_request(void *ctx, fleet_request *out) {
    scene *s = ctx;
    if (s->given == s->count) return false;
    *out = s->in[s->given++];
    return true;
}

static inline void note_end(void *ctx, const fleet_outcome *o) {
    scene *s = ctx;
    s->out[o->index] = *o;
    s->ended++;
}

static inline fleet *scene_new(scene *s, fleet_request *in, uint32_t count, fleet_outcome *out) {
    s->in = in;
    s->count = count;
    s->out = out;
    fleet_options opt = {.profile = &s->p, .placement = &s->at, .want_gaps = true, .extrapolate = true};
    fleet_sink sink = {.ctx = s, .next = next_request, .ended = note_end};
    fleet *f;
    errbuf eb = {0};
    assert_int_equal(fleet_new(&f, &opt, &sink, &eb), ST_OK);
    return f;
}

static inline void run_all(fleet *f) {
    errbuf eb = {0};
    assert_int_equal(fleet_run(f, FLEET_NEVER, &eb), ST_OK);
    assert_true(fleet_idle(f));
    assert_true(fleet_check(f));
    for (uint32_t i = 0; i < fleet_worker_count(f); i++) assert_int_equal(fleet_worker(f, i).pages_used, 0);
}

#endif
