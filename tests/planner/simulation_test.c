/* A schedule through a simulated cluster: its rows are what the fleet says, and what a client that is never
 * late would have seen; the placement that a config describes; the schedule of rows. */
#include "planner/replay/simulation.h"

#include "base/mem.h"
#include "coordinator/trace_json.h"
#include "planner/replay/config_placement.h"
#include "planner/replay/replay_cell.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull

/* Steps of the latency model, one P and one D, and a link of 1 ms per hand-off. */
typedef struct scene {
    latency_model steps;
    profile_engine engine;
    profile p;
    fleet_placement at;
    simulation_options o;
    schedule plan;
    schedule_window window;
} scene;

static fleet_role role_of(uint32_t count) {
    return (fleet_role){.count = count,
                        .tp = 1,
                        .pp = 1,
                        .devices = 1,
                        .kv_pages = 1000,
                        .max_seqs = 64,
                        .max_rows = 512,
                        .chunk_tokens = 512};
}

static void scene_init(scene *s, planned *items, uint32_t count) {
    *s = (scene){0};
    s->steps = (latency_model){.prefill = {.alpha_ns = 10e6, .beta_ns = 0.1e6}, .decode = {.alpha_ns = 5e6}};
    s->engine = profile_engine_modelled(&s->steps, 1, 1);
    s->p = (profile){.engines = &s->engine, .engine_count = 1};
    s->p.link = (profile_link){
        .known = true, .bytes_per_s = 1e12, .latency_ns = 1e6, .kv_token_bytes = 1, .layers = 1};
    profile_seal(&s->p);
    s->at.roles[ROLE_PREFILL] = role_of(1);
    s->at.roles[ROLE_DECODE] = role_of(1);
    s->plan = (schedule){.items = items, .count = count, .windows = &s->window, .window_count = 1};
    s->plan.end_ns = items[count - 1].at_ns;
    s->window = (schedule_window){.seed = 7, .begin_ns = 0, .end_ns = ROW_NEVER};
    for (uint32_t i = 0; i < count; i++) s->window.count += items[i].phase == ROW_WINDOW;
    s->o = (simulation_options){.fleet = {.profile = &s->p, .placement = &s->at, .seed = 1},
                                .plan = &s->plan,
                                .request_timeout_ns = 600000 * MS};
}

static void scene_done(scene *s) {
    profile_engine_done(&s->engine);
}

static planned item(uint64_t at_ms, uint32_t prompt, uint32_t output, row_phase phase) {
    static uint32_t index;
    return (planned){.seed = 7,
                     .at_ns = at_ms * MS,
                     .index = index++,
                     .prompt_tokens = prompt,
                     .output_tokens = output,
                     .phase = phase};
}

static void run(simulation *out, const scene *s) {
    errbuf eb = {0};
    assert_int_equal(simulation_run(out, &s->o, &eb), ST_OK);
}

/* The row of an item. */
static const row *row_of(const simulation *s, const planned *p) {
    for (size_t i = 0; i < s->rows.count; i++)
        if (s->rows.rows[i].index == p->index) return &s->rows.rows[i];
    return NULL;
}

/* ---- rows ---- */

/* Prompt of 100: 20 ms. Its KV is there 1 ms later; steps of 5 ms. */
static void a_lone_request_has_the_times_of_its_steps(void **state) {
    (void)state;
    scene s;
    planned items[] = {item(3, 100, 4, ROW_WINDOW)};
    simulation out;
    scene_init(&s, items, 1);
    run(&out, &s);
    const row *r = row_of(&out, &items[0]);
    assert_int_equal(r->outcome, ROW_OK);
    assert_string_equal(r->finish, "length");
    assert_int_equal(r->scheduled_ns, 3 * MS);
    assert_int_equal(r->sent_ns, 3 * MS);
    assert_int_equal(r->first_ns, 23 * MS);
    assert_int_equal(r->event_count, 4);
    assert_int_equal(r->prompt_tokens, 100);
    assert_int_equal(r->output_tokens, 4);
    assert_true(fabs(r->stages.queue_ms) < 1e-9);
    assert_true(fabs(r->stages.prefill_ms - 20) < 1e-9);
    assert_true(fabs(r->stages.handoff_ms - 1) < 1e-3);
    assert_true(fabs(r->stages.decode_wait_ms - 5) < 1e-9);
    assert_int_equal(r->events[2].at_ns - r->events[1].at_ns, 5 * MS);
    assert_int_equal(r->events[3].at_ns - r->events[2].at_ns, 5 * MS);
    assert_int_equal(r->end_ns, r->last_ns);
    assert_true(out.duration_s == (double)r->last_ns / 1e9);
    simulation_done(&out);
    scene_done(&s);
}

typedef struct direct {
    const planned *items;
    uint32_t given, count, ended;
    fleet_outcome *out;
} direct;

static bool direct_next(void *ctx, fleet_request *out) {
    direct *d = ctx;
    if (d->given == d->count) return false;
    const planned *p = &d->items[d->given++];
    *out = (fleet_request){
        .at_ns = p->at_ns, .prompt_tokens = p->prompt_tokens, .output_tokens = p->output_tokens};
    return true;
}

static void direct_ended(void *ctx, const fleet_outcome *o) {
    direct *d = ctx;
    d->out[o->index] = *o;
    d->ended++;
}

/* With steps taken together there, and one by one here. */
static void rows_are_what_the_fleet_says(void **state) {
    (void)state;
    enum { COUNT = 300 };
    planned items[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        items[i] = item(i * 23, 20 + i * 37 % 300, 1 + i * 13 % 40, ROW_WINDOW);
    scene s;
    simulation out;
    scene_init(&s, items, COUNT);
    run(&out, &s);
    fleet_outcome outcomes[COUNT];
    direct d = {.items = items, .count = COUNT, .out = outcomes};
    fleet_sink sink = {.ctx = &d, .next = direct_next, .ended = direct_ended};
    fleet *f;
    errbuf eb = {0};
    assert_int_equal(fleet_new(&f, &s.o.fleet, &sink, &eb), ST_OK);
    assert_int_equal(fleet_run(f, UINT64_MAX - 1, &eb), ST_OK);
    assert_int_equal(d.ended, COUNT);
    assert_int_equal(out.rows.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        const row *r = row_of(&out, &items[i]);
        assert_int_equal(r->outcome, ROW_OK);
        assert_int_equal(r->first_ns, outcomes[i].first_ns);
        assert_int_equal(r->last_ns, outcomes[i].last_ns);
        assert_int_equal(r->event_count, items[i].output_tokens);
    }
    for (size_t i = 1; i < out.rows.count; i++)
        assert_true(out.rows.rows[i - 1].end_ns <= out.rows.rows[i].end_ns);
    assert_int_equal(out.totals.done, COUNT);
    fleet_free(f);
    simulation_done(&out);
    scene_done(&s);
}

static void the_run_is_over_when_the_last_member_has_ended(void **state) {
    (void)state;
    planned items[] = {item(0, 10, 1000, ROW_WARMUP), item(1, 100, 1, ROW_WINDOW), item(2, 10, 5, ROW_TAIL),
                       item(500, 10, 5, ROW_TAIL)};
    scene s;
    simulation out;
    scene_init(&s, items, ARRAY_LEN(items));
    s.window.first = 1;
    run(&out, &s);
    const row *member = row_of(&out, &items[1]), *warm = row_of(&out, &items[0]);
    assert_int_equal(member->outcome, ROW_OK);
    assert_int_equal(warm->outcome, ROW_UNFINISHED);
    assert_int_equal(warm->end_ns, member->end_ns);
    assert_string_equal(warm->error, "the last member of the windows had ended");
    assert_true(warm->event_count > 0);
    assert_true(warm->events[warm->event_count - 1].at_ns <= member->end_ns);
    assert_int_equal(row_of(&out, &items[2])->outcome, ROW_UNFINISHED);
    assert_null(row_of(&out, &items[3])); /* it was not sent any more */
    simulation_done(&out);
    scene_done(&s);
}

static void a_client_gives_up_at_its_deadline(void **state) {
    (void)state;
    planned items[] = {item(0, 100, 2, ROW_WINDOW), item(1, 100, 100, ROW_WINDOW)};
    scene s;
    simulation out;
    scene_init(&s, items, 2);
    s.o.request_timeout_ns = 200 * MS;
    run(&out, &s);
    assert_int_equal(row_of(&out, &items[0])->outcome, ROW_OK);
    const row *r = row_of(&out, &items[1]);
    assert_int_equal(r->outcome, ROW_TIMED_OUT);
    assert_int_equal(r->end_ns, 201 * MS);
    assert_true(r->events[r->event_count - 1].at_ns <= 201 * MS);
    assert_int_equal(r->output_tokens, 0); /* no usage came */
    simulation_done(&out);
    scene_done(&s);
}

static void what_finds_no_place_in_the_queue_is_refused(void **state) {
    (void)state;
    planned items[20];
    for (uint32_t i = 0; i < 20; i++) items[i] = item(0, 100, 50, ROW_WINDOW);
    scene s;
    simulation out;
    scene_init(&s, items, 20);
    s.o.fleet.max_requests = 5;
    run(&out, &s);
    uint32_t ok = 0, refused = 0;
    for (size_t i = 0; i < out.rows.count; i++) {
        ok += out.rows.rows[i].outcome == ROW_OK;
        refused += out.rows.rows[i].outcome == ROW_REFUSED;
    }
    assert_int_equal(ok, 5);
    assert_int_equal(refused, 15);
    simulation_done(&out);
    scene_done(&s);
}

static void workers_are_told_with_their_busy_share(void **state) {
    (void)state;
    planned items[] = {item(0, 100, 1, ROW_WINDOW), item(40, 100, 1, ROW_WINDOW)};
    scene s;
    simulation out;
    scene_init(&s, items, 2);
    s.window.end_ns = 80 * MS; /* two prompts of 20 ms */
    run(&out, &s);
    assert_int_equal(out.server.worker_count, 2);
    assert_string_equal(out.server.workers[0].name, "prefill-0");
    assert_string_equal(out.server.workers[1].name, "decode-0");
    assert_string_equal(out.server.workers[1].role, "decode");
    assert_true(fabs(out.server.workers[0].prefill_share - 0.5) < 1e-9);
    assert_true(out.server.workers[0].pages_total == 1000);
    simulation_done(&out);
    scene_done(&s);
}

static void a_trace_has_the_steps_and_the_stages(void **state) {
    (void)state;
    planned items[] = {item(3, 100, 4, ROW_WINDOW)};
    scene s;
    simulation out;
    scene_init(&s, items, 1);
    trace *t = trace_new();
    s.o.trace = t;
    run(&out, &s);
    trace_json *j = trace_json_new(t, 10, NULL, 0);
    buf text = {0};
    while (trace_json_next(j, &text)) {
    }
    const char *wanted[] = {
        "{\"name\":\"prefill-0\"}",
        "\"ts\":3000.000,\"dur\":20000.000,\"name\":\"prefill\",\"cat\":\"step\",\"args\":"
        "{\"prefill_rows\":100,\"decode_rows\":0",
        "\"name\":\"hand-off\"", "\"name\":\"decode wait\"",
        "\"prompt_tokens\":100,\"output_tokens\":4,\"attempts\":1,\"replays\":0,"
        "\"preemptions\":0,\"end\":\"done\",\"prefill\":\"prefill-0\",\"decode\":\"decode-0\""};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr(text.data, wanted[i])) fail_msg("no %s in %s", wanted[i], text.data);
    buf_done(&text);
    trace_json_free(j);
    trace_free(t);
    simulation_done(&out);
    scene_done(&s);
}

/* ---- configs ---- */

static config *config_of(const char *const *sets, uint32_t count) {
    config *c = NULL;
    errbuf eb = {0};
    if (config_load(&c, CONFIG_DIR "/mock.yaml", sets, count, &eb) != ST_OK) fail_msg("%s", eb.text);
    return c;
}

static void a_config_is_a_placement(void **state) {
    (void)state;
    scene s;
    planned one = item(0, 1, 1, ROW_WINDOW);
    scene_init(&s, &one, 1);
    s.p.max_context = 2048;
    const char *sets[] = {"decode.count=3", "limits.max_queue=77", "colocated.policy=prefill_first"};
    config *c = config_of(sets, 3);
    fleet_placement at;
    fleet_options o;
    errbuf eb = {0};
    assert_int_equal(config_placement(&at, &o, c, &s.p, &eb), ST_OK);
    char text[128];
    assert_string_equal(fleet_placement_text(&at, text, sizeof text), "4P 3D");
    assert_int_equal(at.roles[ROLE_PREFILL].kv_pages, 50000);
    assert_int_equal(at.roles[ROLE_PREFILL].max_rows, 8192);
    assert_int_equal(at.roles[ROLE_PREFILL].chunk_tokens, 8192);
    assert_int_equal(at.roles[ROLE_DECODE].max_rows, 256); /* 0 in the file: max_seqs */
    assert_int_equal(fleet_placement_devices(&at), 7);     /* a mock worker is one */
    assert_true(at.prefill_first);
    assert_int_equal(o.max_queue, 77);
    assert_int_equal(o.max_context, 2048); /* the profile's is below the config's 32768 */
    assert_true(o.one_host);
    config_free(c);
    scene_done(&s);
}

static void what_the_profile_lacks_is_named(void **state) {
    (void)state;
    scene s;
    planned one = item(0, 1, 1, ROW_WINDOW);
    scene_init(&s, &one, 1);
    fleet_placement at;
    fleet_options o;
    errbuf eb = {0};
    s.engine.roles[ROLE_DECODE] = false;
    config *c = config_of(NULL, 0);
    assert_int_equal(config_placement(&at, &o, c, &s.p, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "the config has 4 decode workers of tp 1, pp 1, and the profile no engine of "
                        "that kind: measure one with `baton-plan profile`, or lower decode.count");
    config_free(c);
    s.engine.roles[ROLE_DECODE] = true;
    const char *sets[] = {"decode.kv_pages=0"};
    c = config_of(sets, 1);
    assert_int_equal(config_placement(&at, &o, c, &s.p, &eb), ST_INVALID);
    assert_string_equal(eb.text, "decode.kv_pages is 0 (what memory holds), and the profile does not say how "
                                 "many that is: give --set decode.kv_pages=N");
    s.engine.kv_pages = 123;
    assert_int_equal(config_placement(&at, &o, c, &s.p, &eb), ST_OK);
    assert_int_equal(at.roles[ROLE_DECODE].kv_pages, 123);
    config_free(c);
    scene_done(&s);
}

/* ---- rows as a schedule ---- */

static void add_row(row_list *l, uint64_t seed, uint32_t index, row_phase phase, uint64_t at_ms) {
    row r;
    row_init(&r);
    r.seed = seed;
    r.index = index;
    r.phase = phase;
    r.scheduled_ns = at_ms * MS;
    r.prompt_asked = 10 + index;
    r.output_asked = 5;
    row_list_add(l, &r);
}

static void rows_are_a_schedule_again(void **state) {
    (void)state;
    row_list rows = {0};
    add_row(&rows, 2, 0, ROW_WINDOW, 2100); /* files have them in the order of their ends */
    add_row(&rows, 9, 0, ROW_WARMUP, 100);
    add_row(&rows, 1, 1, ROW_WINDOW, 1800);
    add_row(&rows, 1, 0, ROW_WINDOW, 1200);
    add_row(&rows, 8, 0, ROW_TAIL, 3500);
    rows.rows[3].outcome = ROW_OK;
    rows.rows[3].prompt_tokens = 99; /* what it had counts */
    rows.rows[3].output_tokens = 4;
    run_segment segments[] = {{1, 1, 2}, {2, 2, 3}};
    run_info info;
    run_info_init(&info);
    info.window_s = 1;
    info.segments = segments;
    info.segment_count = 2;
    schedule plan;
    errbuf eb = {0};
    assert_int_equal(replay_schedule(&plan, &rows, &info, &eb), ST_OK);
    assert_int_equal(plan.count, 5);
    assert_int_equal(plan.items[0].phase, ROW_WARMUP);
    assert_int_equal(plan.items[1].at_ns, 1200 * MS);
    assert_int_equal(plan.items[1].prompt_tokens, 99);
    assert_int_equal(plan.items[1].output_tokens, 4);
    assert_int_equal(plan.items[2].prompt_tokens, 11);
    assert_int_equal(plan.window_count, 2);
    assert_int_equal(plan.windows[0].first, 1);
    assert_int_equal(plan.windows[0].count, 2);
    assert_int_equal(plan.windows[1].first, 3);
    assert_int_equal(plan.windows[1].begin_ns, 2000 * MS);
    assert_int_equal(plan.windows[1].end_ns, 3000 * MS);
    assert_int_equal(plan.end_ns, 3500 * MS);
    schedule_done(&plan);
    for (size_t i = 0; i < rows.count; i++) rows.rows[i].phase = ROW_TAIL;
    assert_int_equal(replay_schedule(&plan, &rows, &info, &eb), ST_INVALID);
    assert_string_equal(eb.text, "no row is a request of a window");
    info.segments = NULL;
    info.segment_count = 0;
    row_list_done(&rows);
    run_info_done(&info);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_request_has_the_times_of_its_steps),
        cmocka_unit_test(rows_are_what_the_fleet_says),
        cmocka_unit_test(the_run_is_over_when_the_last_member_has_ended),
        cmocka_unit_test(a_client_gives_up_at_its_deadline),
        cmocka_unit_test(what_finds_no_place_in_the_queue_is_refused),
        cmocka_unit_test(workers_are_told_with_their_busy_share),
        cmocka_unit_test(a_trace_has_the_steps_and_the_stages),
        cmocka_unit_test(a_config_is_a_placement),
        cmocka_unit_test(what_the_profile_lacks_is_named),
        cmocka_unit_test(rows_are_a_schedule_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
