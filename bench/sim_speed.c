/* sim_speed - how fast the whole cluster runs in virtual time: every production core, every message, nothing
 * checked (sim.h, check_kv).
 *
 *   sim_speed P D [SECONDS [PRESET [PROMPT OUTPUT [LOAD]]]]
 *   sim_speed 4 4 2000 a100-opt-13b 512 64 0.6
 *
 * Poisson arrivals of requests of one size, at LOAD of what the P prefill workers can compute. Prints virtual
 * seconds per second, and requests, steps, tokens and events per second of one core. */
#include "sim/sim.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct load {
    sim *sim;
    uint64_t rng, at_ns, end_ns;
    double gap_ns; /* in the mean */
    sim_ask ask;
    uint64_t done, refused, tokens;
} load;

static uint64_t draw(load *l) {
    l->rng ^= l->rng << 13;
    l->rng ^= l->rng >> 7;
    l->rng ^= l->rng << 17;
    return l->rng;
}

static bool next_arrival(void *ctx, sim_arrival *out) {
    load *l = ctx;
    double u = ((double)(draw(l) >> 11) + 0.5) / 9007199254740992.0;
    l->at_ns += (uint64_t)(-log(u) * l->gap_ns);
    *out = (sim_arrival){.at_ns = l->at_ns, .ask = l->ask};
    return l->at_ns < l->end_ns;
}

static void ended(void *ctx, const sim_client *c) {
    load *l = ctx;
    if (c->refused != ST_OK)
        l->refused++;
    else
        l->done++;
    l->tokens += c->got;
}

static sim_options options_of(load *l, const latency_model *m, uint32_t p, uint32_t d) {
    sim_options o = sim_defaults();
    o.check_kv = false;
    o.forget_clients = true;
    o.latency = m;
    o.workers[ROLE_PREFILL] = p;
    o.workers[ROLE_DECODE] = d;
    o.pages[ROLE_PREFILL] = o.pages[ROLE_DECODE] = 50000;
    o.max_seqs = 256;
    o.max_rows = o.chunk_tokens = 8192;
    o.ctl_ns = 50 * NS_PER_US;
    o.frame_ns = 100 * NS_PER_US;
    o.pair_slots = 8;
    o.segment_bytes = 64u << 10;
    o.slot_bytes = 256u << 10;
    o.core.max_requests = 4096;
    o.core.max_queue = 4096;
    o.core.max_context = 32768;
    o.watch = (sim_watch){.ctx = l, .next = next_arrival, .ended = ended};
    return o;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: sim_speed P D [SECONDS [PRESET [PROMPT OUTPUT [LOAD]]]]\n");
        return 2;
    }
    uint32_t p = (uint32_t)atoi(argv[1]), d = (uint32_t)atoi(argv[2]);
    double seconds = argc > 3 ? atof(argv[3]) : 1000, share = argc > 7 ? atof(argv[7]) : 0.6;
    const latency_model *m = latency_preset(argc > 4 ? argv[4] : "a100-opt-13b");
    uint32_t prompt = argc > 6 ? (uint32_t)atoi(argv[5]) : 512,
             output = argc > 6 ? (uint32_t)atoi(argv[6]) : 64;
    if (!m || !p || !d || seconds <= 0 || !prompt || !output || share <= 0) {
        fprintf(stderr, "sim_speed: presets are %s; all numbers are above 0\n", latency_preset_names());
        return 2;
    }
    log_setup(LOG_ERROR, "sim_speed");
    latency_step one = {0};
    latency_add_chunk(&one, 0, prompt);
    load l = {.rng = 88172645463325252ull,
              .at_ns = 2 * NS_PER_S,
              .end_ns = 2 * NS_PER_S + (uint64_t)(seconds * (double)NS_PER_S),
              .gap_ns = (double)latency_ns(m, &one) / share / p,
              .ask = {.prompt_count = prompt, .max_tokens = output, .stop_at = -1, .ignore_eos = true}};
    sim_options o = options_of(&l, m, p, d);
    uint64_t begin_ns = clock_now_ns();
    sim *s = sim_new(&o);
    l.sim = s;
    while (!sim_served(s) && sim_run_for(s, NS_PER_S / 4)) {
    }
    double took = (double)(clock_now_ns() - begin_ns) / (double)NS_PER_S;
    double ran = (double)(s->now_ns - NS_PER_S) / (double)NS_PER_S;
    if (s->failure[0]) fprintf(stderr, "sim_speed: %s\n", s->failure);
    printf("%uP%uD %.0f s of virtual time in %.3f s: %.0f x real time; per second %.0f requests, %.0f steps, "
           "%.0f tokens, %.0f events; %" PRIu64 " done, %" PRIu64 " refused\n",
           p, d, ran, took, ran / took, (double)l.done / took, (double)s->seen.steps / took,
           (double)l.tokens / took, (double)s->event_number / took, l.done, l.refused);
    bool failed = s->failure[0];
    sim_free(s);
    return failed;
}
