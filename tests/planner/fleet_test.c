/* The fleet: stories with exact times, random walks, and that many steps at once are the same as one by one.
 */
#include "planner/fleet/fleet.h"

#include "base/mem.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

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

static void scene_init(scene *s, double prefill_ms, double token_ms, double decode_ms) {
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

static void scene_role(scene *s, worker_role role, uint32_t count) {
    s->at.roles[role] = (fleet_role){.count = count,
                                     .tp = 1,
                                     .pp = 1,
                                     .devices = 1,
                                     .kv_pages = 1000,
                                     .max_seqs = 64,
                                     .max_rows = 512,
                                     .chunk_tokens = 512};
}

static bool next_request(void *ctx, fleet_request *out) {
    scene *s = ctx;
    if (s->given == s->count) return false;
    *out = s->in[s->given++];
    return true;
}

static void note_end(void *ctx, const fleet_outcome *o) {
    scene *s = ctx;
    s->out[o->index] = *o;
    s->ended++;
}

static fleet *scene_new(scene *s, fleet_request *in, uint32_t count, fleet_outcome *out) {
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

static void run_all(fleet *f) {
    errbuf eb = {0};
    assert_int_equal(fleet_run(f, FLEET_NEVER, &eb), ST_OK);
    assert_true(fleet_idle(f));
    assert_true(fleet_check(f));
    for (uint32_t i = 0; i < fleet_worker_count(f); i++) assert_int_equal(fleet_worker(f, i).pages_used, 0);
}

static void a_request_alone_is_computed_handed_over_and_decoded(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 100, 0, 20);
    scene_role(&s, ROLE_PREFILL, 1);
    scene_role(&s, ROLE_DECODE, 1);
    s.p.link.bytes_per_s = 100e3; /* 32 tokens of 100 bytes: 32 ms */
    s.p.link.kv_token_bytes = 100;
    s.p.link.latency_ns = 1e6;
    s.p.overheads =
        (profile_overheads){.arrive_ns = 2e6, .dispatch_ns = 3e6, .emit_ns = 4e6, .handoff_ns = 5e6};
    fleet_request in[] = {{.at_ns = 10 * MS, .prompt_tokens = 32, .output_tokens = 4}};
    fleet_outcome out[1];
    fleet *f = scene_new(&s, in, 1, out);
    run_all(f);
    assert_int_equal(out[0].end, FLEET_DONE);
    assert_int_equal(out[0].routed_ns, 12 * MS);
    assert_int_equal(out[0].computed_ns, 115 * MS);
    assert_int_equal(out[0].first_ns, 119 * MS);
    assert_int_equal(out[0].verified_ns, 148 * MS);
    assert_int_equal(out[0].last_ns, (153 + 60 + 4) * MS);
    assert_float_equal(out[0].itl_max_ms, 58, 1e-9);
    fleet_free(f);
}

static void a_colocated_worker_does_both(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 100, 0, 20);
    scene_role(&s, ROLE_COLOCATED, 1);
    s.at.prefill_first = true;
    fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 32, .output_tokens = 4},
                          {.at_ns = 110 * MS, .prompt_tokens = 32, .output_tokens = 1}};
    fleet_outcome out[2];
    fleet *f = scene_new(&s, in, 2, out);
    run_all(f);
    assert_int_equal(out[0].first_ns, 100 * MS);
    assert_int_equal(out[1].first_ns, 220 * MS); /* behind the running decode step */
    assert_int_equal(out[1].last_ns, 220 * MS);
    assert_int_equal(out[0].last_ns, 260 * MS);
    assert_float_equal(out[0].itl_max_ms, 120, 1e-9);
    fleet_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_alone_is_computed_handed_over_and_decoded),
        cmocka_unit_test(a_colocated_worker_does_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
