/* Queues whose answers are known, as fleets: the profile and the placement say what a server is, the fleet
 * itself is the queue.
 *
 *   service       one prefill step: constant, or in proportion to a drawn prompt length
 *   one server    a colocated worker with one slot, requests of one output token: the coordinator's queue
 *                 is the queue, first come first served, and a free worker takes the next at once
 *
 * Each known value must lie in an interval of batch means (bench/stats/steady.h), at 99.9 % rather than
 * 95 % since there are dozens, and the interval must be narrow. Percentiles are tested as the share of waits
 * up to the known one, which has no bias. */
#include "base/mem.h"
#include "base/mix.h"
#include "bench/stats/steady.h"
#include "planner/fleet/fleet.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define WIDER 1.86 /* 99.9 % over 95 %, 19 degrees of freedom */
#define WARM  4000u

typedef struct scene {
    profile p;
    profile_engine engine;
    step_cost_knot prefill[2], decode[1];
    fleet_placement at;
    fleet_options opt;
    /* What comes */
    double rate, shape; /* of the gaps: Gamma of that shape, 1 = Poisson */
    uint32_t (*prompt)(struct scene *s);
    uint32_t (*output)(struct scene *s);
    uint32_t count, given;
    double at_s;
    uint64_t state;
    /* What came of it */
    double *x; /* [count] by index */
    double (*value)(const struct scene *s, const fleet_outcome *o);
    fleet *f;
} scene;

static double uniform(scene *s) {
    return ((double)(mix64(s->state += MIX64_STEP) >> 11) + 0.5) * 0x1p-53;
}

static double exponential(scene *s) {
    return -log(uniform(s));
}

/* Gamma of mean 1; shapes 1/4, 1, 2 and 4. 1/4: Johnk's, as a beta times an exponential. */
static double gamma_gap(scene *s) {
    if (s->shape >= 1) {
        double sum = 0;
        for (int i = 0; i < (int)s->shape; i++) sum += exponential(s);
        return sum / s->shape;
    }
    for (;;) {
        double a = pow(uniform(s), 1 / s->shape), b = pow(uniform(s), 1 / (1 - s->shape));
        if (a + b <= 1) return a / (a + b) * exponential(s) / s->shape;
    }
}

static uint32_t page_of_two(scene *s) {
    (void)s;
    return 32;
}

static uint32_t one(scene *s) {
    (void)s;
    return 1;
}

static uint32_t two(scene *s) {
    (void)s;
    return 2;
}

static bool next_request(void *ctx, fleet_request *out) {
    scene *s = ctx;
    if (s->given == s->count) return false;
    s->given++;
    s->at_s += gamma_gap(s) / s->rate;
    *out = (fleet_request){
        .at_ns = (uint64_t)(s->at_s * 1e9), .prompt_tokens = s->prompt(s), .output_tokens = s->output(s)};
    return true;
}

static void note_end(void *ctx, const fleet_outcome *o) {
    scene *s = ctx;
    s->x[o->index] = s->value(s, o);
}

static double seconds(uint64_t from_ns, uint64_t to_ns) {
    return (double)(to_ns - from_ns) / 1e9;
}

/* Until it is routed: with one slot that is when it begins. */
static double wait_of(const scene *s, const fleet_outcome *o) {
    (void)s;
    return seconds(o->at_ns, o->routed_ns);
}

/* Before its own step, at a worker that computes one at a time. */
static double wait_behind(const scene *s, const fleet_outcome *o) {
    double span = s->prefill[0].base_ns + (s->prefill[1].base_ns - s->prefill[0].base_ns) * o->prompt_tokens;
    return seconds(o->at_ns, o->first_ns) - span / 1e9;
}

static double refused(const scene *s, const fleet_outcome *o) {
    (void)s;
    return o->end == FLEET_REFUSED;
}

/* Prefill steps of `alpha` s and `beta` s per token. */
static void scene_init(scene *s, double alpha, double beta) {
    *s = (scene){.shape = 1, .prompt = page_of_two, .output = one, .value = wait_of, .state = 7919};
    s->prefill[0] = (step_cost_knot){.x = 0, .base_ns = alpha * 1e9};
    s->prefill[1] = (step_cost_knot){.x = 1, .base_ns = (alpha + beta) * 1e9};
    s->engine = (profile_engine){.roles = {true, true, true},
                                 .tp = 1,
                                 .pp = 1,
                                 .devices = 1,
                                 .prefill = {.knots = s->prefill, .count = 2},
                                 .decode = {.knots = s->decode, .count = 1},
                                 .shared = 1};
    s->p = (profile){.engines = &s->engine, .engine_count = 1};
}

static void scene_role(scene *s, worker_role role, uint32_t count, uint32_t seqs, uint32_t rows) {
    s->at.roles[role] = (fleet_role){.count = count,
                                     .tp = 1,
                                     .pp = 1,
                                     .devices = 1,
                                     .kv_pages = 1u << 18,
                                     .max_seqs = seqs,
                                     .max_rows = rows,
                                     .chunk_tokens = rows / 16 * 16};
}

#define WHOLE (1u << 20) /* rows: more than any prompt */

static void servers(scene *s, uint32_t count) {
    scene_role(s, ROLE_COLOCATED, count, 1, WHOLE);
}

static void scene_new(scene *s, uint32_t count, const fleet_sink *more) {
    s->count = count;
    s->x = xcalloc(count, sizeof *s->x);
    s->opt.profile = &s->p;
    s->opt.placement = &s->at;
    s->opt.extrapolate = true;
    fleet_sink sink = more ? *more : (fleet_sink){0};
    sink.ctx = s;
    sink.next = next_request;
    sink.ended = note_end;
    errbuf eb = {0};
    if (fleet_new(&s->f, &s->opt, &sink, &eb) != ST_OK) fail_msg("%s", eb.text);
}

static void finish(scene *s) {
    errbuf eb = {0};
    if (fleet_run(s->f, FLEET_NEVER, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_true(fleet_idle(s->f));
    assert_true(fleet_check(s->f));
    for (uint32_t i = 0; i < fleet_worker_count(s->f); i++)
        assert_int_equal(fleet_worker(s->f, i).pages_used, 0);
}

static void run(scene *s, uint32_t count) {
    scene_new(s, count, NULL);
    finish(s);
}

static void done(scene *s) {
    free(s->x);
    fleet_free(s->f);
}

/* What is known lies in the interval, which is no wider than `part` of it to each side. */
static void covers(const double *x, size_t n, double known, double part, const char *what) {
    interval got = steady_batches(x, n).mean;
    double half = (got.high - got.low) / 2 * WIDER;
    if (fabs(got.mean - known) > half || half > part * known)
        fail_msg("%s: %.6f +- %.6f, want %.6f within %.1f %%", what, got.mean, half, known, part * 100);
}

static void mean_covers(const scene *s, double unit, double known, double part) {
    double *x = xcalloc(s->count, sizeof *x);
    for (uint32_t i = WARM; i < s->count; i++) x[i - WARM] = s->x[i] / unit;
    covers(x, s->count - WARM, known, part, "mean");
    free(x);
}

/* The share of waits beyond `limit` units. */
static void share_covers(const scene *s, double unit, double limit, double known, double part) {
    double *x = xcalloc(s->count, sizeof *x);
    for (uint32_t i = WARM; i < s->count; i++) x[i - WARM] = s->x[i] / unit > limit;
    covers(x, s->count - WARM, known, part, "share");
    free(x);
}

/* ---- queues ---- */

static void md1_waits_are_known(void **state) {
    (void)state;
    static const struct {
        double load, mean, p90, p99;
        uint32_t count;
    } known[] = {{.3, .214286, .8377, 1.8909, 200000},
                 {.5, .5, 1.5157, 3.3363, 300000},
                 {.7, 1.166667, 3.0771, 6.4855, 500000},
                 {.8, 2, 5.0115, 10.3559, 1200000}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        scene_init(&s, .1, 0);
        servers(&s, 1);
        s.rate = known[i].load / .1;
        run(&s, known[i].count);
        mean_covers(&s, .1, known[i].mean, .06);
        share_covers(&s, .1, known[i].p90, .1, .1);
        share_covers(&s, .1, known[i].p99, .01, .4);
        done(&s);
    }
}

/* Exponential in whole tokens of 50 us, 2000 in the mean. */
static uint32_t drawn_prompt(scene *s) {
    return (uint32_t)ceil(exponential(s) * 2000);
}

static void mmc_init(scene *s, uint32_t workers, uint32_t slots, double load, double shape) {
    scene_init(s, 0, .1 / 2000.5);
    scene_role(s, ROLE_COLOCATED, workers, slots, WHOLE);
    s->prompt = drawn_prompt;
    s->rate = load * workers / .1;
    s->shape = shape;
}

static void workers_with_one_queue_are_mmc(void **state) {
    (void)state;
    static const struct {
        uint32_t workers;
        double load, mean;
    } known[] = {{2, .8, 1.777778}, {4, .8, .745541}, {8, .9, .876916}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        mmc_init(&s, known[i].workers, 1, known[i].load, 1);
        run(&s, 350000);
        mean_covers(&s, .1, known[i].mean, .2);
        done(&s);
    }
}

/* What each of two servers sees of a Poisson stream that is divided by chance, or in turn; and the router
 * itself, which lets a second one wait at each of two workers where the queue is shorter: worse than one
 * queue, better than taking turns. */
static void routing_costs_what_is_known(void **state) {
    (void)state;
    scene s;
    mmc_init(&s, 1, 1, .8, 1);
    run(&s, 250000);
    mean_covers(&s, .1, 4, .12);
    done(&s);
    mmc_init(&s, 1, 1, .8, 2);
    run(&s, 250000);
    mean_covers(&s, .1, 2.843980, .12);
    done(&s);
    scene alone;
    mmc_init(&alone, 2, 1, .8, 1);
    run(&alone, 250000);
    mmc_init(&s, 2, 2, .8, 1);
    s.value = wait_behind;
    run(&s, 250000);
    assert_true(steady_batches(s.x, s.count).mean.high / .1 < 2.843980);
    for (uint32_t i = 0; i < s.count; i++) s.x[i] -= alone.x[i]; /* of the same requests */
    assert_true(steady_batches(s.x, s.count).mean.low > 0);
    done(&alone);
    done(&s);
}

static void gamma_arrivals_wait_as_known(void **state) {
    (void)state;
    static const struct { double shape, mean; } known[] = {{4, 1.236694}, {1, 2.333333}, {.25, 6.761714}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        mmc_init(&s, 1, 1, .7, known[i].shape);
        run(&s, 250000);
        mean_covers(&s, .1, known[i].mean, .15);
        done(&s);
    }
}

static uint32_t three_lengths(scene *s) {
    double u = uniform(s);
    return u < .5 ? 256 : u < .9 ? 1024 : 4096;
}

static void pollaczek_khinchine_holds(void **state) {
    (void)state;
    static const struct {
        double rate, mean;
        uint32_t count;
    } known[] = {{6, .245329, 300000}, {8, 1.239689, 1200000}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        scene_init(&s, .020, .0001);
        servers(&s, 1);
        s.prompt = three_lengths;
        s.rate = known[i].rate;
        run(&s, known[i].count);
        mean_covers(&s, 1, known[i].mean, .15);
        done(&s);
    }
}

/* ---- hand-offs ---- */

static double until_computed(const scene *s, const fleet_outcome *o) {
    (void)s;
    return seconds(o->at_ns, o->computed_ns) - .1;
}

static double until_verified(const scene *s, const fleet_outcome *o) {
    (void)s;
    return seconds(o->at_ns, o->verified_ns);
}

static void link_init(scene *s, double link_s) {
    scene_init(s, .1, 0);
    scene_role(s, ROLE_PREFILL, 1, 1, WHOLE);
    scene_role(s, ROLE_DECODE, 1, 256, 512);
    s->output = two;
    s->rate = 5;
    s->opt.max_context = 1024; /* which a link so slow moves within an hour */
    s->p.link = (profile_link){.known = true, .bytes_per_s = 32 / link_s, .kv_token_bytes = 1, .layers = 1};
}

static void prompts_queue_for_prefill_and_then_for_the_link(void **state) {
    (void)state;
    static const struct { double link, verified; } known[] = {{.06, .21}, {.15, .475}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        link_init(&s, known[i].link);
        s.value = until_computed;
        run(&s, 100000);
        mean_covers(&s, 1, .05, .08);
        done(&s);
        link_init(&s, known[i].link);
        s.value = until_verified;
        run(&s, 100000);
        mean_covers(&s, 1, known[i].verified, .06);
        done(&s);
    }
}

/* ---- batches and slots ---- */

static void a_worker_that_takes_all_waits_as_known(void **state) {
    (void)state;
    static const struct { double step, mean; } known[] = {{.5, .112966}, {1, .365529}, {2, .936621}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        scene_init(&s, known[i].step, 0);
        scene_role(&s, ROLE_COLOCATED, 1, 1000, WHOLE);
        s.rate = 1;
        s.value = wait_behind;
        run(&s, 200000);
        mean_covers(&s, 1, known[i].mean, .05);
        done(&s);
    }
}

/* Steps of 5 ms whatever they do, so that a request of n tokens holds its slot for n steps and the wait for
 * the next step to begin, half a step in the mean: 4 s in all. */
static uint32_t four_seconds(scene *s) {
    return 799 + (uniform(s) < .5);
}

static uint32_t short_or_long(scene *s) {
    return uniform(s) < .5 ? 199 : 1400;
}

static void slots_init(scene *s, uint32_t (*output)(scene *s)) {
    scene_init(s, .005, 0);
    s->decode[0].base_ns = .005e9;
    scene_role(s, ROLE_COLOCATED, 1, 100, WHOLE);
    s->rate = 5;
    s->output = output;
}

/* Whoever comes sees what is there on the average. */
static bool next_and_alive(void *ctx, fleet_request *out) {
    scene *s = ctx;
    bool some = next_request(ctx, out);
    if (s->f && s->given >= 2) s->x[s->given - 2] = fleet_totals_of(s->f).in_flight - 1.0;
    return some;
}

static void nothing(void *ctx, const fleet_outcome *o) {
    (void)ctx;
    (void)o;
}

static void slots_without_a_limit_are_poisson(void **state) {
    (void)state;
    scene s;
    slots_init(&s, four_seconds);
    s.count = 200000;
    s.x = xcalloc(s.count, sizeof *s.x);
    s.opt = (fleet_options){.profile = &s.p, .placement = &s.at, .extrapolate = true};
    fleet_sink sink = {.ctx = &s, .next = next_and_alive, .ended = nothing};
    errbuf eb = {0};
    assert_int_equal(fleet_new(&s.f, &s.opt, &sink, &eb), ST_OK);
    finish(&s);
    share_covers(&s, 1, 30, .013475, .35);
    mean_covers(&s, 1, 20, .02);
    done(&s);
}

static void slots_with_a_limit_refuse_what_erlang_says(void **state) {
    (void)state;
    static const struct {
        uint32_t slots;
        uint32_t (*output)(scene *s);
        double refused, part;
    } known[] = {{30, four_seconds, .008457, .3},
                 {30, short_or_long, .008457, .3},
                 {24, four_seconds, .066097, .1},
                 {24, short_or_long, .066097, .1}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        scene s;
        slots_init(&s, known[i].output);
        s.opt.max_requests = known[i].slots;
        s.value = refused;
        run(&s, 120000);
        mean_covers(&s, 1, known[i].refused, known[i].part);
        done(&s);
    }
}

/* ---- stalls ---- */

typedef struct stall {
    scene s; /* first: the fleet's ctx */
    double *gaps;
    uint32_t gap_count;
    uint64_t last_ns;
} stall;

/* Of the first request, which decodes all the time; without the gap that holds its hand-off. */
static void note_gap(void *ctx, uint64_t index, uint64_t at_ns) {
    stall *t = ctx;
    if (index) return;
    if (t->last_ns) t->gaps[t->gap_count++] = seconds(t->last_ns, at_ns);
    t->last_ns = at_ns;
}

#define STALL_GAPS 200000u

static uint32_t endless_first(scene *s) {
    return s->given == 1 ? STALL_GAPS + 2 : 1;
}

static double zero(const scene *s, const fleet_outcome *o) {
    (void)s;
    (void)o;
    return 0;
}

static void stall_run(stall *t, bool apart) {
    scene *s = &t->s;
    *t = (stall){0};
    scene_init(s, .1, 0);
    s->decode[0].base_ns = .02e9;
    s->p.link = (profile_link){.known = true, .bytes_per_s = 1e12, .kv_token_bytes = 1, .layers = 1};
    s->rate = 5;
    s->output = endless_first;
    s->value = zero;
    s->at.prefill_first = true;
    if (apart) scene_role(s, ROLE_PREFILL, 1, 64, 32);
    scene_role(s, apart ? ROLE_DECODE : ROLE_COLOCATED, 1, 64, 32);
    t->gaps = xcalloc(STALL_GAPS + 2, sizeof *t->gaps);
    scene_new(s, apart ? 20000 : 45000, &(fleet_sink){.token = note_gap});
    finish(s);
    stats_sort(t->gaps + 1, t->gap_count - 1);
}

static void stall_done(stall *t) {
    free(t->gaps);
    done(&t->s);
}

static void prompts_stall_a_colocated_worker_as_known_and_no_decode_worker(void **state) {
    (void)state;
    stall t;
    stall_run(&t, false);
    uint32_t n = t.gap_count - 1;
    double *gaps = t.gaps + 1;
    assert_float_equal(stats_percentile(gaps, n, 90), .020, 1e-9);
    assert_float_equal(stats_percentile(gaps, n, 95), .120, 1e-9);
    assert_float_equal(stats_percentile(gaps, n, 99), .420, 1e-9);
    assert_float_equal(stats_mean(gaps, n), .040, .0008);
    stall_done(&t);
    stall_run(&t, true);
    for (uint32_t i = 1; i < t.gap_count; i++) assert_float_equal(t.gaps[i], .020, 1e-9);
    stall_done(&t);
}

/* ---- laws ---- */

/* Little: what is there at any time is rate x time in system; and a server is busy for what it was given. */
static void the_laws_hold_after_the_drain(void **state) {
    (void)state;
    scene s;
    scene_init(&s, .02, .0001);
    servers(&s, 2);
    s.prompt = three_lengths;
    s.rate = 12;
    s.value = wait_behind;
    uint32_t count = 60000;
    scene_new(&s, count, NULL);
    errbuf eb = {0};
    double sum = 0, samples = 0;
    uint64_t at_ns = 0;
    while (!fleet_idle(s.f)) {
        at_ns += 25000000;
        assert_int_equal(fleet_run(s.f, at_ns, &eb), ST_OK);
        assert_true(fleet_check(s.f)); /* with it: no idle server beside a queue */
        sum += fleet_totals_of(s.f).in_flight;
        samples++;
    }
    double busy_s = (double)(fleet_worker(s.f, 0).busy_ns + fleet_worker(s.f, 1).busy_ns) / 1e9;
    double waited_s = stats_mean(s.x, count) * count;
    double alive_s = sum * .025; /* integral of the number in the system */
    assert_float_equal((waited_s + busy_s) / alive_s, 1, .003);
    assert_float_equal(busy_s / count, .11472, .002);
    done(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(md1_waits_are_known),
        cmocka_unit_test(workers_with_one_queue_are_mmc),
        cmocka_unit_test(routing_costs_what_is_known),
        cmocka_unit_test(gamma_arrivals_wait_as_known),
        cmocka_unit_test(pollaczek_khinchine_holds),
        cmocka_unit_test(prompts_queue_for_prefill_and_then_for_the_link),
        cmocka_unit_test(a_worker_that_takes_all_waits_as_known),
        cmocka_unit_test(slots_without_a_limit_are_poisson),
        cmocka_unit_test(slots_with_a_limit_refuse_what_erlang_says),
        cmocka_unit_test(prompts_stall_a_colocated_worker_as_known_and_no_decode_worker),
        cmocka_unit_test(the_laws_hold_after_the_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
