/* Random placements, profiles and traces, tiny pools among them: the fleet is sound at any time, ends idle
 * with all pages back, and many steps at once are the same as one by one.
 *
 *   FLEET_SEED=N fleet_walk_test     that walk alone */
#include "base/mix.h"
#include "tests/planner/fleet_scene.h"

#include <stdlib.h>

static uint64_t draw(uint64_t *seed, uint64_t below) {
    return mix64(*seed += MIX64_STEP) % below;
}

static uint64_t draw_of(uint64_t *seed, const uint64_t *of, uint32_t count) {
    return of[draw(seed, count)];
}
#define ONE_OF(seed, ...)                                                                                    \
    draw_of(seed, (const uint64_t[]){__VA_ARGS__}, sizeof(uint64_t[]){__VA_ARGS__} / sizeof(uint64_t))

static void random_role(scene *s, worker_role role, uint32_t count, uint64_t *seed) {
    s->at.roles[role] = (fleet_role){.count = count,
                                     .tp = 1,
                                     .pp = (uint32_t)s->engine.pp,
                                     .devices = 1,
                                     .kv_pages = (uint32_t)ONE_OF(seed, 10, 14, 20, 40, 500),
                                     .max_seqs = (uint32_t)ONE_OF(seed, 1, 2, 5, 8, 20),
                                     .max_rows = (uint32_t)ONE_OF(seed, 17, 20, 40, 100, 600),
                                     .chunk_tokens = (uint32_t)ONE_OF(seed, 16, 32, 64, 512)};
}

/* Round times, so that many things happen at once. */
static void random_scene(scene *s, uint64_t *seed) {
    scene_init(s, (double)draw(seed, 3), (double)draw(seed, 3) / 2, (double)draw(seed, 4));
    s->decode[0].slope_ns = s->decode[1].slope_ns = (double)ONE_OF(seed, 0, 0, 100, 12345);
    s->decode[1].base_ns += (double)ONE_OF(seed, 0, 1000, 500000);
    s->engine.pp = (uint32_t)ONE_OF(seed, 1, 1, 1, 1, 2, 3);
    s->engine.gap_ns = (double)ONE_OF(seed, 0, 0, 1000, 1000000);
    s->engine.decode_cv = s->engine.prefill_cv = (double)ONE_OF(seed, 0, 0, 0, 1) / 10;
    s->p.link.layers = (uint32_t)ONE_OF(seed, 0, 1, 2, 5);
    s->p.link.bytes_per_s = (double)ONE_OF(seed, 1000, 16000, 1000000);
    s->p.link.fabric_bytes_per_s = (double)ONE_OF(seed, 0, 0, 16000);
    s->p.link.latency_ns = (double)ONE_OF(seed, 0, 1000, 1000000);
    uint64_t ms = ONE_OF(seed, 0, 0, 1000000);
    s->p.overheads =
        (profile_overheads){(double)ms, (double)(ms / 2), (double)ms, (double)(ms * draw(seed, 3))};
    uint32_t shape = (uint32_t)draw(seed, 5);
    if (shape < 4) random_role(s, ROLE_PREFILL, 1 + (uint32_t)draw(seed, 3), seed);
    if (shape < 4) random_role(s, ROLE_DECODE, 1 + (uint32_t)draw(seed, 3), seed);
    if (shape > 2) random_role(s, ROLE_COLOCATED, 1 + (uint32_t)draw(seed, 3), seed);
    s->at.prefill_first = draw(seed, 2);
}

#define WALK 150u

static void random_trace(fleet_request *in, uint64_t *seed) {
    uint64_t at = 0, apart = ONE_OF(seed, 1, 4, 10);
    for (uint32_t i = 0; i < WALK; i++) {
        at += draw(seed, 3) ? draw(seed, apart) * MS : 0;
        in[i] = (fleet_request){.at_ns = at,
                                .prompt_tokens = 1 + (uint32_t)draw(seed, ONE_OF(seed, 2, 40, 100)),
                                .output_tokens = 1 + (uint32_t)draw(seed, ONE_OF(seed, 1, 4, 60))};
    }
}

static void same_outcome(const fleet_outcome *a, const fleet_outcome *b) {
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->routed_ns, b->routed_ns);
    assert_int_equal(a->computed_ns, b->computed_ns);
    assert_int_equal(a->verified_ns, b->verified_ns);
    assert_int_equal(a->first_ns, b->first_ns);
    assert_int_equal(a->last_ns, b->last_ns);
    assert_int_equal(a->preemptions, b->preemptions);
    assert_int_equal(a->prefill_worker, b->prefill_worker);
    assert_int_equal(a->decode_worker, b->decode_worker);
    assert_memory_equal(&a->itl_max_ms, &b->itl_max_ms, sizeof(double));
    assert_memory_equal(&a->itl_p99_ms, &b->itl_p99_ms, sizeof(double));
}

static void same_totals(const fleet *a, const fleet *b) {
    fleet_totals x = fleet_totals_of(a), y = fleet_totals_of(b);
    x.events = y.events;
    assert_memory_equal(&x, &y, sizeof x);
    for (uint32_t i = 0; i < fleet_worker_count(a); i++) {
        fleet_worker_totals u = fleet_worker(a, i), v = fleet_worker(b, i);
        assert_memory_equal(&u, &v, sizeof u);
    }
}

static fleet *walk_new(scene *s, const fleet_sink *sink, bool step_by_step, uint64_t seed) {
    fleet_options opt = {.profile = &s->p,
                         .placement = &s->at,
                         .want_gaps = true,
                         .extrapolate = true,
                         .seed = seed,
                         .max_queue = seed % 3 ? 0 : 20,
                         .step_by_step = step_by_step};
    fleet *f;
    errbuf eb = {0};
    if (fleet_new(&f, &opt, sink, &eb) != ST_OK) fail_msg("%s", eb.text);
    return f;
}

/* Returns how many were preempted. */
static uint64_t walk(uint64_t seed) {
    scene a, b;
    fleet_request in[WALK];
    fleet_outcome out_a[WALK], out_b[WALK];
    uint64_t draws = seed;
    random_scene(&a, &draws);
    draws = seed;
    random_scene(&b, &draws);
    random_trace(in, &draws);
    a.in = b.in = in;
    a.count = b.count = WALK;
    a.out = out_a;
    b.out = out_b;
    fleet *many =
        walk_new(&a, &(fleet_sink){.ctx = &a, .next = next_request, .ended = note_end}, false, seed);
    fleet *one = walk_new(&b, &(fleet_sink){.ctx = &b, .next = next_request, .ended = note_end}, true, seed);
    errbuf eb = {0};
    for (uint64_t at = 0; !fleet_idle(many) || !fleet_idle(one);) {
        at += 1 + draw(&draws, 20 * MS);
        if (!fleet_idle(many)) assert_int_equal(fleet_run(many, at, &eb), ST_OK);
        if (!fleet_idle(one)) assert_int_equal(fleet_run(one, at, &eb), ST_OK);
        assert_true(fleet_check(many));
        assert_true(fleet_check(one));
        same_totals(many, one);
        assert_true(at < 3600000 * MS);
    }
    assert_int_equal(a.ended, WALK);
    assert_int_equal(b.ended, WALK);
    for (uint32_t i = 0; i < WALK; i++) same_outcome(&out_a[i], &out_b[i]);
    for (uint32_t i = 0; i < fleet_worker_count(many); i++)
        assert_int_equal(fleet_worker(many, i).pages_used, 0);
    uint64_t preemptions = fleet_totals_of(many).preemptions;
    fleet_free(many);
    fleet_free(one);
    return preemptions;
}

static void many_steps_at_once_are_the_same_as_one_by_one(void **state) {
    (void)state;
    const char *only = getenv("FLEET_SEED");
    uint64_t preemptions = 0;
    for (uint64_t seed = only ? strtoull(only, NULL, 10) : 1; seed <= 1000; seed++) {
        preemptions += walk(seed);
        if (only) break;
    }
    assert_true(only || preemptions > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_steps_at_once_are_the_same_as_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
