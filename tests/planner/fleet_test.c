/* The fleet: stories with exact times, and what cannot be simulated. */
#include "tests/planner/fleet_scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- what one listens to ---- */

typedef struct tokens {
    scene s; /* first: the fleet's ctx */
    uint64_t first_ns[8], last_ns[8];
    uint32_t count[8];
    uint32_t steps, prompts, rows;
} tokens;

static void note_token(void *ctx, uint64_t index, uint64_t at_ns) {
    tokens *t = ctx;
    assert_true(at_ns >= t->last_ns[index]);
    if (!t->count[index]++) t->first_ns[index] = at_ns;
    t->last_ns[index] = at_ns;
}

static void note_step(void *ctx, uint32_t worker, uint64_t begin_ns, uint64_t end_ns, const latency_step *s) {
    tokens *t = ctx;
    assert_true(worker < 2);
    assert_true(end_ns > begin_ns);
    t->steps++;
    t->prompts += (uint32_t)s->tokens;
    t->rows += s->batch;
}

static void each_token_and_each_step_is_told(void **state) {
    (void)state;
    tokens t = {0};
    scene *s = &t.s;
    scene_init(s, 30, 1, 7);
    scene_role(s, ROLE_PREFILL, 1);
    scene_role(s, ROLE_DECODE, 1);
    s->at.roles[ROLE_DECODE].max_rows = 3; /* they take turns */
    s->p.overheads.emit_ns = 2e6;
    fleet_request in[8];
    fleet_outcome out[8];
    for (uint32_t i = 0; i < 8; i++)
        in[i] = (fleet_request){.at_ns = i * MS, .prompt_tokens = 10 + i, .output_tokens = 1 + 3 * i};
    s->in = in;
    s->count = 8;
    s->out = out;
    fleet_options opt = {.profile = &s->p, .placement = &s->at, .want_gaps = true};
    fleet_sink sink = {
        .ctx = &t, .next = next_request, .ended = note_end, .token = note_token, .step = note_step};
    fleet *f;
    errbuf eb = {0};
    assert_int_equal(fleet_new(&f, &opt, &sink, &eb), ST_OK);
    run_all(f);
    uint32_t rows = 0, prompts = 0;
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(t.count[i], in[i].output_tokens);
        assert_int_equal(t.first_ns[i], out[i].first_ns);
        assert_int_equal(t.last_ns[i], out[i].last_ns);
        rows += in[i].output_tokens - 1;
        prompts += in[i].prompt_tokens;
    }
    assert_int_equal(t.rows, rows);
    assert_int_equal(t.prompts, prompts);
    assert_int_equal(t.steps, fleet_totals_of(f).steps);
    fleet_free(f);
}

/* ---- links ---- */

/* Piece by piece: layer l of a chunk is ready at begin + (l + 1) / layers of its step, and the link sends one
 * at a time. */
static double last_piece_ns(double begin_ns, double span_ns, uint32_t layers, double piece_ns) {
    double free_ns = 0;
    for (uint32_t l = 1; l <= layers; l++) free_ns = MAX(free_ns, begin_ns + span_ns * l / layers) + piece_ns;
    return free_ns;
}

static void layers_leave_while_later_ones_are_computed(void **state) {
    (void)state;
    static const double bytes_per_s[] = {100, 320, 800, 3200, 1e6};
    for (size_t i = 0; i < ARRAY_LEN(bytes_per_s); i++) {
        scene s;
        scene_init(&s, 100, 0, 20);
        scene_role(&s, ROLE_PREFILL, 1);
        scene_role(&s, ROLE_DECODE, 1);
        s.p.link.layers = 8;
        s.p.link.bytes_per_s = bytes_per_s[i]; /* 32 tokens of 1 byte, 8 pieces of 4 */
        fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 32, .output_tokens = 2}};
        fleet_outcome out[1];
        fleet *f = scene_new(&s, in, 1, out);
        run_all(f);
        double want = last_piece_ns(0, 100e6, 8, 4 / bytes_per_s[i] * 1e9);
        assert_float_equal((double)out[0].verified_ns, want, 1.5);
        fleet_free(f);
    }
}

static void the_fabric_bounds_all_hand_offs_together(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 100, 0, 20);
    scene_role(&s, ROLE_PREFILL, 2);
    scene_role(&s, ROLE_DECODE, 2);
    s.p.link.bytes_per_s = 320;
    s.p.link.fabric_bytes_per_s = 400; /* 32 tokens of 1 byte: 100 ms alone, 80 ms of the fabric */
    fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 32, .output_tokens = 2},
                          {.at_ns = 0, .prompt_tokens = 32, .output_tokens = 2}};
    fleet_outcome out[2];
    fleet *f = scene_new(&s, in, 2, out);
    run_all(f);
    assert_int_equal(out[0].verified_ns, 200 * MS);
    assert_int_equal(out[1].verified_ns, 260 * MS);
    fleet_free(f);
}

/* ---- shapes and hosts ---- */

static void a_pipeline_takes_the_next_prompt_when_its_first_stage_is_free(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 100, 0, 20);
    s.engine.pp = 2; /* of one stage */
    scene_role(&s, ROLE_COLOCATED, 1);
    s.at.roles[ROLE_COLOCATED].pp = 2;
    s.at.roles[ROLE_COLOCATED].max_rows = s.at.roles[ROLE_COLOCATED].chunk_tokens = 32;
    fleet_request in[3];
    for (uint32_t i = 0; i < 3; i++)
        in[i] = (fleet_request){.at_ns = 0, .prompt_tokens = 32, .output_tokens = 1};
    fleet_outcome out[3];
    fleet *f = scene_new(&s, in, 3, out);
    run_all(f);
    assert_int_equal(out[0].first_ns, 200 * MS);
    assert_int_equal(out[1].first_ns, 300 * MS);
    assert_int_equal(out[2].first_ns, 400 * MS);
    fleet_free(f);
}

static void busy_workers_slow_each_other_down_on_one_host(void **state) {
    (void)state;
    for (int one_host = 0; one_host < 2; one_host++) {
        scene s;
        scene_init(&s, 100, 0, 20);
        scene_role(&s, ROLE_COLOCATED, 2);
        s.engine.slowed_by_prefill = .5;
        fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 32, .output_tokens = 1},
                              {.at_ns = 10 * MS, .prompt_tokens = 32, .output_tokens = 1}};
        fleet_outcome out[2];
        s.in = in;
        s.count = 2;
        s.out = out;
        fleet_options opt = {.profile = &s.p, .placement = &s.at, .one_host = one_host};
        fleet_sink sink = {.ctx = &s, .next = next_request, .ended = note_end};
        fleet *f;
        errbuf eb = {0};
        assert_int_equal(fleet_new(&f, &opt, &sink, &eb), ST_OK);
        run_all(f);
        assert_int_equal(out[0].first_ns, 100 * MS);
        assert_int_equal(out[1].first_ns, one_host ? 160 * MS : 110 * MS);
        fleet_free(f);
    }
}

static void noise_keeps_the_mean_and_has_the_deviation(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    scene s;
    scene_init(&s, 1, 0, 1);
    s.engine.prefill_cv = .2;
    scene_role(&s, ROLE_COLOCATED, 1);
    fleet_request *in = xcalloc(COUNT, sizeof *in);
    fleet_outcome *out = xcalloc(COUNT, sizeof *out);
    for (uint32_t i = 0; i < COUNT; i++)
        in[i] = (fleet_request){.at_ns = i * 10 * MS, .prompt_tokens = 32, .output_tokens = 1};
    fleet *f = scene_new(&s, in, COUNT, out);
    run_all(f);
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        double ms = (double)(out[i].first_ns - out[i].at_ns) / 1e6;
        sum += ms;
        squares += ms * ms;
    }
    double mean = sum / COUNT;
    assert_float_equal(mean, 1, .006);
    assert_float_equal(sqrt(squares / COUNT - mean * mean), .2, .006);
    fleet_free(f);
    free(in);
    free(out);
}

/* ---- ends ---- */

static void whoever_finds_the_queue_full_or_fits_nowhere_is_refused(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 100, 0, 20);
    scene_role(&s, ROLE_COLOCATED, 1);
    s.at.roles[ROLE_COLOCATED].max_seqs = 1;
    fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 16000, .output_tokens = 1},
                          {.at_ns = 0, .prompt_tokens = 32, .output_tokens = 2},
                          {.at_ns = 0, .prompt_tokens = 32, .output_tokens = 2},
                          {.at_ns = 0, .prompt_tokens = 32, .output_tokens = 2}};
    fleet_outcome out[4];
    s.in = in;
    s.count = 4;
    s.out = out;
    fleet_options opt = {.profile = &s.p, .placement = &s.at, .max_queue = 1};
    fleet_sink sink = {.ctx = &s, .next = next_request, .ended = note_end};
    fleet *f;
    errbuf eb = {0};
    assert_int_equal(fleet_new(&f, &opt, &sink, &eb), ST_OK);
    run_all(f);
    assert_int_equal(out[0].end, FLEET_REFUSED); /* 1000 pages less the headroom of 20 */
    assert_int_equal(out[1].end, FLEET_DONE);
    assert_int_equal(out[2].end, FLEET_DONE);
    assert_int_equal(out[3].end, FLEET_REFUSED);
    assert_int_equal(fleet_totals_of(f).refused, 2);
    fleet_free(f);
}

static void who_is_in_flight_when_it_is_given_up_is_unfinished(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 100, 0, 20);
    scene_role(&s, ROLE_COLOCATED, 1);
    fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 32, .output_tokens = 1},
                          {.at_ns = 10 * MS, .prompt_tokens = 32, .output_tokens = 5},
                          {.at_ns = 20 * MS, .prompt_tokens = 32, .output_tokens = 1}};
    fleet_outcome out[3];
    fleet *f = scene_new(&s, in, 3, out);
    errbuf eb = {0};
    assert_int_equal(fleet_run(f, 150 * MS, &eb), ST_OK);
    fleet_give_up(f);
    assert_int_equal(out[0].end, FLEET_DONE);
    assert_int_equal(out[1].end, FLEET_UNFINISHED);
    assert_int_equal(out[2].end, FLEET_UNFINISHED);
    assert_int_equal(fleet_run(f, 200 * MS, &eb), ST_CANCELED);
    fleet_free(f);
}

/* ---- what cannot be simulated ---- */

static void refuses(const scene *s, const char *why) {
    scene copy = *s;
    fleet_options opt = {.profile = &copy.p, .placement = &copy.at};
    copy.p.engines = &copy.engine;
    fleet_sink sink = {.ctx = &copy, .next = next_request, .ended = note_end};
    fleet *f = NULL;
    errbuf eb = {0};
    assert_int_equal(fleet_new(&f, &opt, &sink, &eb), ST_INVALID);
    assert_null(f);
    if (!strstr(eb.text, why)) fail_msg("\"%s\" has no \"%s\"", eb.text, why);
}

static void a_placement_that_can_serve_nothing_is_told_why(void **state) {
    (void)state;
    scene good, s;
    scene_init(&good, 100, 0, 20);
    scene_role(&good, ROLE_PREFILL, 1);
    scene_role(&good, ROLE_DECODE, 1);
    s = good;
    s.at.roles[ROLE_DECODE].count = 0;
    refuses(&s, "1 prefill, 0 decode and no colocated workers can serve nothing");
    s = good;
    s.at.roles[ROLE_PREFILL].tp = 4;
    refuses(&s, "no prefill engine of tp 4, pp 1");
    s = good;
    s.p.link.bytes_per_s = 0;
    refuses(&s, "the link moves 0 bytes/s");
    s = good;
    s.p.link.bytes_per_s = NAN;
    refuses(&s, "bytes/s");
    s = good;
    s.p.link.known = false;
    refuses(&s, "the profile has no link");
    s = good;
    s.p.link.bytes_per_s = 1; /* 1,000 pages of 16 tokens of 1 byte */
    refuses(&s, "a hand-off of 16000 tokens takes 4.44 hours at 1 bytes/s");
    s.p.link.bytes_per_s = 1e-300;
    refuses(&s, "hours at 1e-300 bytes/s");
    s = good;
    s.p.link.kv_token_bytes = 1e300;
    refuses(&s, "hours at 1e+12 bytes/s");
    s = good;
    s.p.link.fabric_bytes_per_s = 2;
    refuses(&s, "a hand-off of 16000 tokens takes 2.22 hours at 2 bytes/s");
    s = good;
    s.at.roles[ROLE_DECODE].kv_pages = 0;
    refuses(&s, "a decode worker with 0 KV pages");
    s = good;
    s.at.roles[ROLE_PREFILL].max_seqs = 0;
    refuses(&s, "max_seqs");
    s = good;
    s.at.roles[ROLE_PREFILL].max_rows = 15;
    refuses(&s, "steps of 15 rows: want 16");
    s = good;
    s.at.roles[ROLE_PREFILL].chunk_tokens = 100;
    refuses(&s, "chunks of 100 tokens: want a multiple of 16");
    s = good;
    s.engine.decode.count = 0;
    refuses(&s, "how long the decode steps");
}

static void a_step_outside_of_the_grid_ends_the_run_unless_allowed(void **state) {
    (void)state;
    for (int allowed = 0; allowed < 2; allowed++) {
        scene s;
        scene_init(&s, 100, 0, 20);
        scene_role(&s, ROLE_COLOCATED, 1);
        s.engine.decode.y_max = 40;
        fleet_request in[] = {{.at_ns = 0, .prompt_tokens = 32, .output_tokens = 20}};
        fleet_outcome out[1];
        s.in = in;
        s.count = 1;
        s.out = out;
        fleet_options opt = {.profile = &s.p, .placement = &s.at, .extrapolate = allowed};
        fleet_sink sink = {.ctx = &s, .next = next_request, .ended = note_end};
        fleet *f;
        errbuf eb = {0};
        assert_int_equal(fleet_new(&f, &opt, &sink, &eb), ST_OK);
        assert_int_equal(fleet_run(f, FLEET_NEVER, &eb), allowed ? ST_OK : ST_INVALID);
        if (!allowed) assert_non_null(strstr(eb.text, "1 sequences of 41 tokens is outside"));
        /* 19 rows see 33 .. 51 tokens */
        assert_int_equal(fleet_totals_of(f).steps_outside, allowed ? 11 : 1);
        fleet_free(f);
    }
}

static void placements_are_told_and_ordered(void **state) {
    (void)state;
    scene a, b;
    char text[96];
    scene_init(&a, 1, 0, 1);
    scene_init(&b, 1, 0, 1);
    scene_role(&a, ROLE_PREFILL, 1);
    scene_role(&a, ROLE_DECODE, 2);
    a.at.roles[ROLE_DECODE].tp = a.at.roles[ROLE_DECODE].devices = 2;
    assert_string_equal(fleet_placement_text(&a.at, text, sizeof text), "1P 2D tp2");
    assert_int_equal(fleet_placement_devices(&a.at), 5);
    assert_int_equal(fleet_placement_workers(&a.at), 3);
    scene_role(&b, ROLE_COLOCATED, 5);
    b.at.roles[ROLE_COLOCATED].chunk_tokens = 256;
    assert_string_equal(fleet_placement_text(&b.at, text, sizeof text), "colocated 5 x tp1, chunks of 256");
    assert_true(fleet_placement_compare(&b.at, &a.at) < 0); /* the simpler one */
    assert_true(fleet_placement_compare(&a.at, &b.at) > 0);
    assert_int_equal(fleet_placement_compare(&a.at, &a.at), 0);
    scene_role(&b, ROLE_COLOCATED, 6);
    assert_true(fleet_placement_compare(&a.at, &b.at) < 0); /* fewer devices */
    b.at.prefill_first = true;
    assert_string_equal(fleet_placement_text(&b.at, text, sizeof text), "colocated 6 x tp1, prefill first");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_alone_is_computed_handed_over_and_decoded),
        cmocka_unit_test(a_colocated_worker_does_both),
        cmocka_unit_test(each_token_and_each_step_is_told),
        cmocka_unit_test(layers_leave_while_later_ones_are_computed),
        cmocka_unit_test(the_fabric_bounds_all_hand_offs_together),
        cmocka_unit_test(a_pipeline_takes_the_next_prompt_when_its_first_stage_is_free),
        cmocka_unit_test(busy_workers_slow_each_other_down_on_one_host),
        cmocka_unit_test(noise_keeps_the_mean_and_has_the_deviation),
        cmocka_unit_test(whoever_finds_the_queue_full_or_fits_nowhere_is_refused),
        cmocka_unit_test(who_is_in_flight_when_it_is_given_up_is_unfinished),
        cmocka_unit_test(a_placement_that_can_serve_nothing_is_told_why),
        cmocka_unit_test(a_step_outside_of_the_grid_ends_the_run_unless_allowed),
        cmocka_unit_test(placements_are_told_and_ordered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
