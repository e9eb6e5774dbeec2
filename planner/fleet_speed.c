/* fleet_speed - how fast the fleet simulates: requests, steps and events per second of one core, and how much
 * faster than life.
 *
 *   fleet_speed [SECONDS]     each case runs for so long (default 2)
 *
 * The steps are those of the preset a100-opt-13b, arrivals Poisson at 70 % of what the first role that is
 * full can do; (a) few steps per request, (b) prompts of 200 tokens and answers of 100. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/mix.h"
#include "planner/fleet/fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct speed_case {
    const char *name;
    uint32_t prefill, decode, colocated;
    uint32_t prompt, output;
    double rate; /* per second, of all */
    bool gaps;
} speed_case;

typedef struct source {
    const speed_case *c;
    double at_ns;
    uint64_t count, limit, state, ended;
} source;

static bool next_request(void *ctx, fleet_request *out) {
    source *s = ctx;
    if (s->count == s->limit) return false;
    s->count++;
    double u = ((double)(mix64(s->state += MIX64_STEP) >> 11) + 0.5) * 0x1p-53;
    s->at_ns += -log(u) / s->c->rate * 1e9;
    *out = (fleet_request){
        .at_ns = (uint64_t)s->at_ns, .prompt_tokens = s->c->prompt, .output_tokens = s->c->output};
    return true;
}

static void count_end(void *ctx, const fleet_outcome *o) {
    source *s = ctx;
    (void)o;
    s->ended++;
}

static fleet_role role_of(uint32_t count) {
    return (fleet_role){.count = count,
                        .tp = 1,
                        .pp = 1,
                        .devices = 1,
                        .kv_pages = 4096,
                        .max_seqs = 256,
                        .max_rows = 2048,
                        .chunk_tokens = 2048};
}

static void run(const speed_case *c, const profile *p, double seconds) {
    fleet_placement at = {
        .roles = {[ROLE_PREFILL] = role_of(c->prefill),
                  [ROLE_DECODE] = role_of(c->decode),
                  [ROLE_COLOCATED] = role_of(c->colocated)},
    };
    source s = {.c = c, .limit = UINT64_MAX};
    fleet_options opt = {.profile = p, .placement = &at, .extrapolate = true, .want_gaps = c->gaps};
    fleet_sink sink = {.ctx = &s, .next = next_request, .ended = count_end};
    fleet *f;
    errbuf eb = {0};
    if (fleet_new(&f, &opt, &sink, &eb) != ST_OK) {
        fprintf(stderr, "fleet_speed: %s: %s\n", c->name, eb.text);
        exit(1);
    }
    uint64_t begin = clock_now_ns(), at_ns = 0, now;
    do {
        at_ns += 1000000000;
        if (fleet_run(f, at_ns, &eb) != ST_OK) exit(1);
        now = clock_now_ns();
    } while ((double)(now - begin) < seconds * 1e9);
    double real = (double)(now - begin) / 1e9;
    fleet_totals t = fleet_totals_of(f);
    printf("| %s | %.2f M | %.2f M | %.2f M | %.0f | %u |\n", c->name, (double)s.ended / real / 1e6,
           (double)t.steps / real / 1e6, (double)t.events / real / 1e6, (double)at_ns / 1e9 / real,
           t.in_flight);
    fleet_free(f);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    profile_engine e = profile_engine_modelled(latency_preset("a100-opt-13b"), 1, 1);
    profile p = {.engines = &e, .engine_count = 1};
    p.link = (profile_link){
        .known = true, .bytes_per_s = 25e9, .latency_ns = 2e5, .kv_token_bytes = 819200, .layers = 40};
    static const speed_case cases[] = {
        {"1 colocated, 200 + 1", 0, 0, 1, 200, 1, 20, false},
        {"1 prefill, 1 decode, 200 + 2", 1, 1, 0, 200, 2, 20, false},
        {"1 prefill, 1 decode, 200 + 100", 1, 1, 0, 200, 100, 18, false},
        {"the same, with gaps", 1, 1, 0, 200, 100, 18, true},
        {"4 prefill, 4 decode, 200 + 100", 4, 4, 0, 200, 100, 72, false},
        {"32 prefill, 32 decode, 200 + 100", 32, 32, 0, 200, 100, 576, false},
        {"8 colocated, 200 + 100", 0, 0, 8, 200, 100, 50, false},
        {"64 colocated, 200 + 100", 0, 0, 64, 200, 100, 400, false},
    };
    printf(
        "| case | requests/s | steps/s | events/s | x real time | in flight |\n|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) run(&cases[i], &p, seconds);
    profile_engine_done(&e);
    return 0;
}
