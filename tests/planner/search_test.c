/* Which placements a search looks at, why it leaves some out, what it says of those whose answer is known,
 * and that it says the same again. */
#include "planner/search/plan_text.h"
#include "planner/search/winner_config.h"

#include "base/mem.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Engines of tp 1 and tp 2: a prompt takes 100 ms however long it is, a decode step 10 ms. */
typedef struct scene {
    profile p;
    profile_engine engines[2];
    step_cost_knot prefill, decode;
    arrivals_options arrivals;
    workload_options ask;
    workload *load;
    demand demand;
    plan_input in;
} scene;

static void scene_init(scene *s, uint32_t engines, double prompt, double output) {
    *s = (scene){.prefill = {.base_ns = 100e6},
                 .decode = {.base_ns = 10e6},
                 .arrivals = {.kind = ARRIVALS_GAMMA, .burstiness = 1},
                 .ask = {.kind = WORKLOAD_FIXED, .prompt_mean = prompt, .output_mean = output}};
    for (uint32_t i = 0; i < 2; i++)
        s->engines[i] =
            (profile_engine){.roles = {true, true, true},
                             .tp = i + 1,
                             .pp = 1,
                             .devices = i + 1,
                             .prefill = {.knots = &s->prefill, .count = 1, .x_max = 1e9, .y_max = 1e18},
                             .decode = {.knots = &s->decode, .count = 1, .x_max = 1e9, .y_max = 1e18},
                             .shared = 1,
                             .kv_pages = 50000,
                             .max_seqs = 256};
    s->p = (profile){.engines = s->engines, .engine_count = engines};
    s->p.link = (profile_link){.known = true, .bytes_per_s = 1e15, .kv_token_bytes = 1, .layers = 1};
    profile_seal(&s->p);
    errbuf eb = {0};
    if (workload_new(&s->load, &s->ask, &eb) != ST_OK) fail_msg("%s", eb.text);
    s->demand = demand_of(s->load, 1);
    s->in = (plan_input){.profile = &s->p,
                         .load = s->load,
                         .ask = &s->ask,
                         .arrivals = &s->arrivals,
                         .limits = slo_none(),
                         .target = 0.9,
                         .seed = 1,
                         .threads = 1,
                         .quick = true};
}

static void scene_done(scene *s) {
    demand_done(&s->demand);
    workload_free(s->load);
}

static candidate_list list_of(scene *s, uint32_t devices, uint32_t most) {
    candidate_options o = {
        .profile = &s->p, .demand = &s->demand, .devices = devices, .devices_per_instance_max = most};
    candidate_list l;
    errbuf eb = {0};
    if (candidates_list(&l, &o, &eb) != ST_OK) fail_msg("%s", eb.text);
    return l;
}

static uint32_t count_of(scene *s, uint32_t devices, uint32_t most) {
    candidate_list l = list_of(s, devices, most);
    uint32_t n = l.count;
    candidates_done(&l);
    return n;
}

/* Two budgets of P; prefill first and chunks of 64, 128, 256, 512, 1024. */
static void all_placements_of_few_devices_are_listed_once(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    assert_int_equal(count_of(&s, 1, 0), 6);
    assert_int_equal(count_of(&s, 2, 0), 2 * 1 + 2 * 6);
    assert_int_equal(count_of(&s, 3, 0), 2 * 3 + 3 * 6);
    assert_int_equal(count_of(&s, 4, 0), 2 * 6 + 4 * 6);
    scene_done(&s);
    scene_init(&s, 2, 1024, 128);
    assert_int_equal(count_of(&s, 4, 0), 2 * (6 + 2 + 2 + 1) + (4 + 2) * 6);
    assert_int_equal(count_of(&s, 4, 1), 2 * 6 + 4 * 6);
    scene_done(&s);
}

static void of_many_devices_ratios_without_a_common_divisor_are_listed(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    assert_int_equal(count_of(&s, 32, 0), 2 * 79 + 6); /* 79 coprime pairs with a sum of at most 16 */
    assert_int_equal(count_of(&s, 10000, 0), 2 * 79 + 6);
    scene_done(&s);
}

static void candidates_stand_in_canonical_order(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 2, 1024, 128);
    candidate_list l = list_of(&s, 6, 0);
    for (uint32_t i = 1; i < l.count; i++)
        assert_true(fleet_placement_compare(&l.items[i - 1].placement, &l.items[i].placement) < 0);
    candidates_done(&l);
    scene_done(&s);
}

static void no_devices_and_too_many_are_refused(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    candidate_list l;
    errbuf eb = {0};
    candidate_options o = {.profile = &s.p, .demand = &s.demand};
    assert_int_equal(candidates_list(&l, &o, &eb), ST_INVALID);
    assert_string_equal(eb.text, "0 devices: want at least 1");
    o.devices = 10001;
    assert_int_equal(candidates_list(&l, &o, &eb), ST_INVALID);
    assert_string_equal(eb.text, "10001 devices: want at most 10000");
    scene_done(&s);
}

static void a_placement_is_repeated_as_often_as_it_fits(void **state) {
    (void)state;
    fleet_placement p = {
        .roles = {[ROLE_PREFILL] = {.count = 1, .devices = 2}, [ROLE_DECODE] = {.count = 2, .devices = 1}}};
    fleet_placement many = candidates_scale(&p, 10000);
    assert_int_equal(many.roles[ROLE_PREFILL].count, 2500);
    assert_int_equal(many.roles[ROLE_DECODE].count, 5000);
}

/* ---- rejected ---- */

/* The first disaggregated or colocated candidate of `devices` after the bounds. */
static candidate judged(scene *s, bool colocated, uint32_t devices, uint32_t heads) {
    candidate_list l = list_of(s, devices, 0);
    const bounds_input in = {.profile = &s->p,
                             .demand = &s->demand,
                             .limits = s->in.limits,
                             .target = s->in.target,
                             .heads = heads};
    bounds_judge(&l, &in);
    candidate out = {.reason = REJECT_REASONS};
    for (uint32_t i = 0; i < l.count && out.reason == REJECT_REASONS; i++)
        if (l.items[i].colocated == colocated && l.items[i].devices == devices) out = l.items[i];
    candidates_done(&l);
    return out;
}

static void rejected_for(scene *s, bool colocated, uint32_t heads, reject_reason reason, const char *why) {
    candidate c = judged(s, colocated, 2, heads);
    assert_int_equal(c.reason, reason);
    assert_string_equal(c.why, why);
}

static void a_pool_that_holds_no_request_is_a_reason(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    s.engines[0].kv_pages = 71;
    rejected_for(&s, true, 0, REJECT_MEMORY,
                 "a request of 1152 tokens (P99) takes 72 pages, a colocated worker has 71");
    rejected_for(&s, false, 0, REJECT_MEMORY,
                 "a request of 1152 tokens (P99) takes 72 pages, a decode worker has 71");
    s.engines[0].kv_pages = 0;
    rejected_for(&s, true, 0, REJECT_MEMORY,
                 "the profile does not say how many KV pages a colocated worker has: give --kv-pages");
    s.engines[0].kv_pages = 72;
    assert_int_equal(judged(&s, true, 2, 0).reason, REJECT_NOT);
    s.p.max_context = 1151;
    rejected_for(&s, true, 0, REJECT_MEMORY, "a request has 1152 tokens (P99), the context is 1151");
    scene_done(&s);
}

static void a_pool_that_holds_as_many_requests_as_the_target_asks_is_none(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1000, 16);
    scene_done(&s);
    s.ask.kind = WORKLOAD_LOGNORMAL;
    s.ask.prompt_cv = 0.9;
    errbuf eb = {0};
    assert_int_equal(workload_new(&s.load, &s.ask, &eb), ST_OK);
    s.demand = demand_of(s.load, 1);
    s.in.load = s.load;
    s.engines[0].kv_pages = 200; /* 3,200 tokens: 97 of a hundred prompts */
    assert_true(s.demand.tokens_p99 > 3200);
    assert_int_equal(judged(&s, true, 2, 0).reason, REJECT_NOT);
    s.engines[0].kv_pages = 60;
    assert_int_equal(judged(&s, true, 2, 0).reason, REJECT_MEMORY);
    scene_done(&s);
}

static void a_role_that_was_not_measured_is_a_reason(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    s.engines[0].roles[ROLE_DECODE] = false;
    rejected_for(&s, false, 0, REJECT_PROFILE, "no profile of a decode engine with tp 1, pp 1");
    s.engines[0].decode.count = 0;
    rejected_for(&s, true, 0, REJECT_PROFILE, "no profile of decode steps with tp 1, pp 1");
    scene_done(&s);
}

static void heads_that_tp_does_not_divide_are_a_reason(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 2, 1024, 128);
    candidate_list l = list_of(&s, 2, 0);
    const bounds_input in = {
        .profile = &s.p, .demand = &s.demand, .limits = slo_none(), .target = 0.9, .heads = 9};
    bounds_judge(&l, &in);
    for (uint32_t i = 0; i < l.count; i++) {
        bool two = l.items[i].placement.roles[ROLE_COLOCATED].tp == 2;
        assert_int_equal(l.items[i].reason, two ? REJECT_HEADS : REJECT_NOT);
        if (two) assert_string_equal(l.items[i].why, "tp 2 does not divide 9 heads");
    }
    candidates_done(&l);
    scene_done(&s);
}

static void a_lone_request_that_misses_is_a_reason(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    s.in.limits.ttft_ms = 99;
    rejected_for(&s, false, 0, REJECT_SLO,
                 "TTFT: 0 % of lone requests are within the limits, their TTFT is 100 ms at P50, 100 at P90");
    s.in.limits.ttft_ms = 100;
    assert_int_equal(judged(&s, false, 2, 0).reason, REJECT_NOT);
    s.in.limits.tpot_ms = 9.9;
    rejected_for(&s, false, 0, REJECT_SLO,
                 "TPOT: 0 % of lone requests are within the limits, their TPOT is 10 ms at P50, 10 at P90");
    scene_done(&s);
}

static void a_link_that_is_unknown_or_moves_nothing_is_a_reason(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    s.p.link.bytes_per_s = 0;
    rejected_for(&s, false, 0, REJECT_LINK, "the link moves 0 bytes/s: no hand-off ends");
    s.p.link.known = false;
    rejected_for(&s, false, 0, REJECT_LINK, "the profile knows no link: give --link BYTES/S,KV_BYTES");
    assert_int_equal(judged(&s, true, 2, 0).reason, REJECT_NOT);
    scene_done(&s);
}

/* One prompt of 1024 fills a step of P: 10 a second. A decode step of 256 takes 10 ms: 25600 tokens a second,
 * of which a request has 127. */
static void the_bound_is_the_work_of_the_busier_role(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 128);
    candidate c = judged(&s, false, 2, 0);
    assert_int_equal(c.placement.roles[ROLE_PREFILL].max_rows, 1024);
    assert_true(fabs(c.bound - 1.02 * 10 / 2) < 1e-9);
    s.prefill.base_ns = 1e6;
    c = judged(&s, false, 2, 0);
    assert_true(fabs(c.bound - 1.02 * 25600.0 / 127 / 2) < 1e-9);
    scene_done(&s);
}

static void each_role_has_the_pool_and_the_slots_of_its_own_engine(void **state) {
    (void)state;
    for (uint32_t order = 0; order < 2; order++) {
        scene s;
        scene_init(&s, 2, 100, 10);
        for (uint32_t i = 0; i < 2; i++) {
            bool prompts = i == order;
            s.engines[i].tp = s.engines[i].devices = 1;
            memset(s.engines[i].roles, 0, sizeof s.engines[i].roles);
            s.engines[i].roles[prompts ? ROLE_PREFILL : ROLE_DECODE] = true;
            s.engines[i].kv_pages = prompts ? 1000 : 2000;
            s.engines[i].max_seqs = prompts ? 4 : 64;
        }
        candidate_list l = list_of(&s, 2, 0);
        uint32_t pairs = 0;
        for (uint32_t i = 0; i < l.count; i++) {
            const fleet_placement *p = &l.items[i].placement;
            if (l.items[i].colocated) continue;
            pairs++;
            assert_int_equal(p->roles[ROLE_PREFILL].kv_pages, 1000);
            assert_int_equal(p->roles[ROLE_PREFILL].max_seqs, 4);
            assert_int_equal(p->roles[ROLE_DECODE].kv_pages, 2000);
            assert_int_equal(p->roles[ROLE_DECODE].max_rows, 64);
        }
        assert_true(pairs > 0);
        candidates_done(&l);
        scene_done(&s);
    }
}

/* ---- answers that are known ---- */

static plan_outcome search(scene *s, uint32_t devices) {
    s->in.devices = devices;
    plan_outcome o;
    errbuf eb = {0};
    if (plan_search(&o, &s->in, &eb) != ST_OK) fail_msg("%s", eb.text);
    return o;
}

/* M/D/1 with a service of .1 s: 90 % wait at most .2 s at 5.869762 a second. */
static void the_goodput_of_one_worker_is_that_of_its_queue(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 1);
    s.in.limits.ttft_ms = 300;
    plan_outcome o = search(&s, 1);
    assert_int_not_equal(o.best, PLAN_NOBODY);
    const candidate *c = &o.list.items[o.best];
    interval v = plan_goodput(c);
    assert_true(c->narrow);
    assert_true(c->colocated);
    assert_true(v.low <= 5.869762);
    assert_true(v.high >= 5.869762);
    plan_done(&o);
    scene_done(&s);
}

/* A prompt beside it costs a request of 49 gaps 2 ms of TPOT, and P can do ten a second. */
static void prompts_that_stall_answers_are_a_reason_to_disaggregate(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 50);
    s.in.limits.ttft_ms = 1000;
    s.in.limits.tpot_ms = 12;
    plan_outcome o = search(&s, 2);
    const ratio none = {NAN, NAN, NAN, 0};
    plan_verdict v = plan_verdict_of(&o, &s.in, none, "");
    assert_int_equal(v.answer, ANSWER_DISAGGREGATE);
    assert_int_equal(o.list.items[o.best].placement.roles[ROLE_PREFILL].count, 1);
    assert_int_equal(o.list.items[o.best].placement.roles[ROLE_DECODE].count, 1);
    assert_true(plan_goodput(&o.list.items[o.best_of[0]]).low >
                4 * plan_goodput(&o.list.items[o.best_of[1]]).high);
    plan_done(&o);
    scene_done(&s);
}

static void a_workload_that_nothing_can_serve_is_infeasible(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 1024, 50);
    s.in.limits.ttft_ms = 50;
    plan_outcome o = search(&s, 2);
    const ratio none = {NAN, NAN, NAN, 0};
    plan_verdict v = plan_verdict_of(&o, &s.in, none, "");
    assert_int_equal(v.answer, ANSWER_INFEASIBLE);
    assert_non_null(strstr(v.text, "infeasible: no placement on up to 2 devices can serve it: "));
    assert_non_null(strstr(v.text, "SLO (TTFT: 0 % of lone requests"));
    plan_done(&o);
    scene_done(&s);
}

/* ---- the config ---- */

static config *loaded(const char *text) {
    char path[] = "/tmp/search_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    config *c = NULL;
    errbuf eb = {0};
    if (config_load(&c, path, NULL, 0, &eb) != ST_OK) fail_msg("%s", eb.text);
    unlink(path);
    return c;
}

static fleet_role role_of(uint32_t count, uint32_t rows, uint32_t chunk) {
    return (fleet_role){.count = count,
                        .tp = 1,
                        .pp = 1,
                        .devices = 1,
                        .kv_pages = 5000,
                        .max_seqs = 100,
                        .max_rows = rows,
                        .chunk_tokens = chunk};
}

static void the_config_loads_and_says_the_same_placement(void **state) {
    (void)state;
    fleet_placement p = {
        .roles = {[ROLE_PREFILL] = role_of(70, 4096, 1024), [ROLE_DECODE] = role_of(2, 100, 16)}};
    char *text = NULL, note[160];
    errbuf eb = {0};
    if (winner_config(&text, &p, &(winner_base){.latency = "a100-opt-13b"}, note, sizeof note, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    assert_string_equal(note, "");
    config *c = loaded(text);
    assert_string_equal(c->model.backend, "mock");
    assert_string_equal(c->mock.latency, "a100-opt-13b");
    assert_int_equal(c->colocated.count, 0);
    assert_int_equal(c->prefill.count, 70);
    assert_int_equal(c->prefill.token_budget, 4096);
    assert_int_equal(c->prefill.chunk_tokens, 1024);
    assert_int_equal(c->prefill.kv_pages, 5000);
    assert_int_equal(c->decode.count, 2);
    assert_int_equal(c->decode.max_seqs, 100);
    assert_int_equal(c->limits.max_workers, 72);
    config_free(c);
    free(text);
    p = (fleet_placement){.roles = {[ROLE_COLOCATED] = role_of(3, 256, 256)}, .prefill_first = true};
    if (winner_config(&text, &p, &(winner_base){.latency = "instant"}, note, sizeof note, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    c = loaded(text);
    assert_int_equal(c->prefill.count + c->decode.count, 0);
    assert_int_equal(c->colocated.count, 3);
    assert_string_equal(c->colocated.policy, "prefill_first");
    config_free(c);
    free(text);
}

static void a_config_of_parallel_workers_says_that_it_cannot_run_yet(void **state) {
    (void)state;
    fleet_placement p = {.roles = {[ROLE_COLOCATED] = role_of(3, 256, 256)}};
    p.roles[ROLE_COLOCATED].tp = 2;
    char *text = NULL, note[160];
    errbuf eb = {0};
    if (winner_config(&text, &p, &(winner_base){.latency = "instant"}, note, sizeof note, &eb) != ST_OK)
        fail_msg("%s", eb.text);
    assert_non_null(strstr(note, "Baton does not have tensor and pipeline parallel workers yet"));
    assert_non_null(strstr(text, note));
    assert_non_null(strstr(text, "\n  tp: 2\n"));
    free(text);
}

/* ---- the same again ---- */

static char *all_of(scene *s, uint32_t threads) {
    s->in.threads = threads;
    plan_outcome o = search(s, 2);
    sensitivity *hangs_on = NULL;
    errbuf eb = {0};
    if (sensitivity_of(&hangs_on, &s->in, &o, &eb) != ST_OK) fail_msg("%s", eb.text);
    plan_verdict v = plan_verdict_of(&o, &s->in, hangs_on->paired, hangs_on->flips);
    plan_report r = {.in = &s->in,
                     .found = &o,
                     .verdict = &v,
                     .sensitivity = hangs_on,
                     .workload = "test",
                     .arrivals = "gamma",
                     .profile_path = "none"};
    json_t *j = plan_json(&r);
    char *text = json_dumps(j, 0);
    json_decref(j);
    buf table = {0};
    plan_table_text(&r, &table);
    plan_table_csv(&r, &table);
    char *both = xasprintf("%s%s", text, table.data);
    buf_done(&table);
    free(text);
    plan_done(&o);
    free(hangs_on);
    return both;
}

static void the_same_bytes_come_out_for_any_number_of_threads(void **state) {
    (void)state;
    scene s;
    scene_init(&s, 1, 64, 8);
    s.in.limits.ttft_ms = 300;
    s.in.limits.tpot_ms = 40;
    char *one = all_of(&s, 1);
    static const uint32_t threads[] = {1, 2, 5};
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        char *again = all_of(&s, threads[i]);
        assert_string_equal(one, again);
        free(again);
    }
    free(one);
    scene_done(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_placements_of_few_devices_are_listed_once),
        cmocka_unit_test(of_many_devices_ratios_without_a_common_divisor_are_listed),
        cmocka_unit_test(candidates_stand_in_canonical_order),
        cmocka_unit_test(no_devices_and_too_many_are_refused),
        cmocka_unit_test(a_placement_is_repeated_as_often_as_it_fits),
        cmocka_unit_test(a_pool_that_holds_no_request_is_a_reason),
        cmocka_unit_test(a_pool_that_holds_as_many_requests_as_the_target_asks_is_none),
        cmocka_unit_test(a_role_that_was_not_measured_is_a_reason),
        cmocka_unit_test(heads_that_tp_does_not_divide_are_a_reason),
        cmocka_unit_test(a_lone_request_that_misses_is_a_reason),
        cmocka_unit_test(a_link_that_is_unknown_or_moves_nothing_is_a_reason),
        cmocka_unit_test(the_bound_is_the_work_of_the_busier_role),
        cmocka_unit_test(the_goodput_of_one_worker_is_that_of_its_queue),
        cmocka_unit_test(prompts_that_stall_answers_are_a_reason_to_disaggregate),
        cmocka_unit_test(a_workload_that_nothing_can_serve_is_infeasible),
        cmocka_unit_test(each_role_has_the_pool_and_the_slots_of_its_own_engine),
        cmocka_unit_test(the_config_loads_and_says_the_same_placement),
        cmocka_unit_test(a_config_of_parallel_workers_says_that_it_cannot_run_yet),
        cmocka_unit_test(the_same_bytes_come_out_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
