/* The whole cluster under random faults: any seed, any step, the same promises.
 *
 *   cluster_test [--seeds A..B] [--steps N]      200 seeds of 2,500 steps by default
 *
 * A step is one event; between events the scheduler submits, cancels, kills, restarts, freezes, thaws, cuts
 * and breaks devices. Then faults end, everything is healed, and within bounded virtual time every request
 * must have ended, a probe must succeed, and every page everywhere must be free. A failure prints the seed
 * and the step, and the command that replays it. */
#include "sim/sim.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct totals {
    uint64_t events, submitted, done, stopped, failed, canceled, replays, preemptions, handoffs, kills,
        segments, cache_queries, cache_hits, cache_evictions;
} totals;

static bool is_calm(uint64_t seed) {
    return seed % 5 == 0;
}

/* Small limits, so that a run of few seconds of virtual time meets all of them. */
static sim_options random_cluster(uint64_t seed) {
    sim_options o = sim_defaults();
    o.seed = seed;
    o.jitter = true;
    uint64_t r = seed * 0x9e3779b97f4a7c15ull >> 11;
    uint32_t mixed = r % 4 == 0;
    o.workers[ROLE_PREFILL] = r % 7 == 0 ? 0 : 1 + (r >> 8) % 3;
    o.workers[ROLE_DECODE] = r % 7 == 0 ? 0 : 1 + (r >> 12) % 3;
    o.workers[ROLE_COLOCATED] = r % 7 == 0 ? 1 + (r >> 16) % 3 : mixed;
    o.pages[ROLE_PREFILL] = 12 + (uint32_t)(r >> 20) % 24;
    o.pages[ROLE_DECODE] = 11 + (uint32_t)(r >> 26) % 16;
    o.pages[ROLE_COLOCATED] = 11 + (uint32_t)(r >> 32) % 24;
    o.max_seqs = 2 + (uint32_t)(r >> 38) % 6;
    o.max_rows = 32u << (r >> 42) % 2;
    o.chunk_tokens = 16u << (r >> 44) % 2;
    /* A transfer thread that copies for long answers late: pages are given up but still touched. */
    static const uint64_t slow_ns[] = {10 * NS_PER_US, NS_PER_MS, 8 * NS_PER_MS};
    o.post_ns = slow_ns[(r >> 46) % 2];
    o.copy_ns = slow_ns[(r >> 48) % 3];
    o.prefix_cache = (r >> 50) % 4 > 0;
    o.cache_outputs = (r >> 51) % 2;
    o.ctl_ns = 2 * NS_PER_MS;
    o.step_ns = 20 * NS_PER_MS;
    o.row_ns = NS_PER_MS / 4;
    o.pair_timeout_ns = 400 * NS_PER_MS;
    o.join_retry_ns = 100 * NS_PER_MS;
    o.core.heartbeat_ns = 50 * NS_PER_MS;
    o.core.suspect_ns = 200 * NS_PER_MS;
    o.core.gone_ns = 600 * NS_PER_MS;
    o.core.step_age_min_ns = 2 * NS_PER_S;
    o.core.lease_ns = NS_PER_S;
    o.core.wait_prefill_ns = 8 * NS_PER_S;
    o.core.prefill_ns = 6 * NS_PER_S;
    o.core.wait_kv_ns = 6 * NS_PER_S;
    o.core.decode_token_ns = 3 * NS_PER_S;
    if (is_calm(seed)) o.core.wait_prefill_ns = o.core.prefill_ns = o.core.wait_kv_ns = 600 * NS_PER_S;
    o.core.max_requests = 24;
    o.core.max_queue = 12;
    o.core.max_context = 120;
    return o;
}

static void submit_one(sim *s) {
    sim_ask ask = {.prompt_count = 1 + sim_below(s, 40), .max_tokens = 1 + sim_below(s, 70), .stop_at = -1};
    if (sim_below(s, 12) == 0) ask.prompt_count = 1 + sim_below(s, 140);
    if (sim_below(s, 4) == 0) ask.stop_at = (int32_t)sim_below(s, 20);
    ask.ignore_eos = sim_below(s, 2) == 0;
    ask.max_tokens_absent = false;
    /* Few stories, so that they meet while they are computed, and while their pages are given up. */
    if (sim_below(s, 3)) ask.story = 1 + sim_below(s, 4);
    ask.salt = sim_below(s, 8) == 0;
    ask.score = sim_below(s, 6) == 0;
    if (sim_below(s, 10) == 0) ask.max_tokens = 0;
    if (s->client_count && sim_below(s, 4) == 0) {
        ask.after = s->clients[s->client_count - 1 - sim_below(s, MIN(s->client_count, 8u))];
        ask.prompt_count = 1 + sim_below(s, 20);
    }
    errbuf eb = {0};
    status st = sim_submit(s, &ask, NULL, &eb);
    if (st != ST_OK && st != ST_AGAIN && st != ST_INVALID) sim_failf(s, "submit: %s", eb.text);
    uint32_t before = ask.after ? ask.after->prompt_count + ask.after->got : 0;
    if (st == ST_INVALID && before + ask.prompt_count + ask.max_tokens <= 110)
        sim_failf(s, "refused: %s", eb.text);
}

static void cancel_one(sim *s) {
    uint32_t window = MIN(s->client_count, 16u);
    if (!window) return;
    sim_client *c = s->clients[s->client_count - 1 - sim_below(s, window)];
    if (!c->ended) sim_cancel(s, c);
}

/* In some runs workers are asked to stop, by SIGTERM or over the coordinator, and sometimes it is taken back.
 */
static bool leaves_in_order(const sim *s) {
    return s->opt.seed % 20 == 7;
}

static void ask_to_leave(sim *s, uint32_t worker) {
    core_worker_info info;
    if (sim_below(s, 2)) {
        sim_term(s, worker, (1 + sim_below(s, 20)) * 100 * NS_PER_MS);
        return;
    }
    if (!core_worker(s->core, worker, s->now_ns, &info)) return;
    if (sim_below(s, 3))
        core_drain(s->core, worker, s->now_ns);
    else
        (void)core_undrain(s->core, worker, s->now_ns, NULL);
}

static void fault(sim *s) {
    uint32_t w = sim_below(s, s->proc_count);
    if (!sim_alive(s, w) && sim_below(s, 4)) {
        sim_restart(s, w);
        return;
    }
    if (sim_frozen(s, w) && sim_below(s, 4)) {
        sim_thaw(s, w);
        return;
    }
    if (leaves_in_order(s) && sim_below(s, 2)) {
        ask_to_leave(s, w);
        return;
    }
    switch (sim_below(s, 6)) {
    case 0:
        sim_kill(s, w);
        break;
    case 1:
        sim_freeze(s, w);
        break;
    case 2:
        sim_cut_conn(s, w);
        break;
    case 3:
        sim_cut_pair(s, w, sim_below(s, s->proc_count));
        break;
    case 4:
        if (sim_below(s, 4) == 0) sim_freeze_core(s);
        break;
    case 5:
        if (sim_below(s, 2) == 0) sim_break_device(s, w);
        break;
    }
}

/* No more faults. Every worker is there again, and nothing is asked for. */
static void heal(sim *s) {
    sim_thaw_core(s);
    for (uint32_t w = 0; w < s->proc_count; w++) {
        sim_thaw(s, w);
        sim_restart(s, w);
    }
}

static bool all_ended(const sim *s) {
    for (uint32_t i = 0; i < s->client_count; i++)
        if (!s->clients[i]->ended) return false;
    return true;
}

static void quiet_end(sim *s) {
    heal(s);
    uint64_t limit = s->now_ns + 120 * NS_PER_S;
    while (!all_ended(s) && s->now_ns < limit && sim_run_for(s, 100 * NS_PER_MS)) heal(s);
    if (!s->failure[0] && !all_ended(s)) sim_failf(s, "a request never ended");
    sim_run_for(s, 3 * NS_PER_S); /* rejoin, CLOSED, last heartbeats */
    heal(s);
    sim_run_for(s, 3 * NS_PER_S);
    if (s->failure[0]) return;
    if (!sim_idle_everywhere(s)) sim_failf(s, "pages or requests are left when nobody wants any");
    if (!core_ready(s->core)) sim_failf(s, "the healed cluster is not ready");
    if (s->failure[0]) return;
    uint32_t first = s->client_count;
    for (uint32_t i = 0; i < s->opt.core.max_queue && !s->failure[0]; i++) {
        errbuf eb = {0};
        sim_ask ask = {.prompt_count = 5 + 6 * i, .max_tokens = 20, .stop_at = -1};
        if (sim_submit(s, &ask, NULL, &eb) != ST_OK) sim_failf(s, "a probe was refused: %s", eb.text);
    }
    sim_run_for(s, 30 * NS_PER_S);
    for (uint32_t i = first; i < s->client_count && !s->failure[0]; i++)
        if (s->clients[i]->end.state != REQ_DONE) sim_failf(s, "a probe failed: %s", s->clients[i]->why);
    if (!s->failure[0] && !sim_idle_everywhere(s)) sim_failf(s, "the probes left something behind");
}

/* Somebody looks after the machines about once a second, so that most of the time there is a cluster to
 * break. */
static void nurse(sim *s, uint64_t *next_ns) {
    if (s->now_ns < *next_ns) return;
    *next_ns = s->now_ns + NS_PER_S;
    for (uint32_t w = 0; w < s->proc_count; w++) {
        if (sim_below(s, 2)) sim_restart(s, w);
        if (sim_below(s, 2)) sim_thaw(s, w);
    }
}

static void add_up(sim *s, totals *sum) {
    core_counters k;
    core_counters_of(s->core, &k);
    sum->events += s->event_number;
    sum->submitted += k.submitted;
    for (uint32_t f = FINISH_EOS; f <= FINISH_LENGTH; f++) sum->done += k.finished[f];
    sum->stopped += k.finished[FINISH_NONE];
    sum->failed += k.failed;
    sum->canceled += k.canceled;
    sum->replays += k.replays;
    sum->preemptions += k.preemptions;
    sum->handoffs += k.handoffs_verified;
    sum->kills += s->seen.kills;
    sum->segments += s->seen.segments;
    for (uint32_t w = 0; w < s->proc_count; w++) {
        wcore_stats st = sim_stats(s, w);
        sum->cache_queries += st.cache_queries;
        sum->cache_hits += st.cache_hits;
        sum->cache_evictions += st.cache_evictions;
    }
}

static void none_failed(sim *s) {
    for (uint32_t i = 0; i < s->client_count; i++)
        if (s->clients[i]->end.state == REQ_FAILED)
            sim_failf(s, "a request failed in calm: %s", s->clients[i]->why);
}

static bool run_seed(uint64_t seed, uint32_t steps, totals *sum) {
    sim_options o = random_cluster(seed);
    sim *s = sim_new(&o);
    uint64_t nurse_ns = 0;
    uint32_t fault_every = 40u << sim_below(s, 5), work_every = 8u << sim_below(s, 3), step = 0;
    for (; step < steps; step++) {
        if (sim_below(s, work_every) == 0) submit_one(s);
        if (sim_below(s, work_every * 20) == 0) cancel_one(s);
        if (!is_calm(seed) && sim_below(s, fault_every) == 0) fault(s);
        nurse(s, &nurse_ns);
        if (s->core_frozen && sim_below(s, 20) == 0) sim_thaw_core(s);
        if (!sim_step(s)) break;
    }
    if (!s->failure[0]) quiet_end(s);
    if (is_calm(seed)) none_failed(s);
    bool good = !s->failure[0];
    if (!good) {
        printf("FAILED seed %llu step %u at %.6f s: %s\n", (unsigned long long)seed, step,
               (double)s->now_ns / 1e9, s->failure);
        printf("replay: cluster_test --seeds %llu..%llu --steps %u\n", (unsigned long long)seed,
               (unsigned long long)seed, steps);
    }
    add_up(s, sum);
    sim_free(s);
    return good;
}

int main(int argc, char **argv) {
    unsigned long long first = 1, last = 200, steps = 2500;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc &&
            sscanf(argv[i + 1], "%llu..%llu", &first, &last) == 2)
            i++;
        else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc && sscanf(argv[i + 1], "%llu", &steps) == 1)
            i++;
        else if (strcmp(argv[i], "--debug") == 0)
            log_setup(LOG_TRACE, "sim");
        else {
            fprintf(stderr, "usage: cluster_test [--seeds A..B] [--steps N] [--debug]\n");
            return 2;
        }
    }
    bool debug = argc > 1 && strcmp(argv[argc - 1], "--debug") == 0;
    if (!debug) log_setup(LOG_ERROR, "sim");
    totals t = {0};
    uint32_t bad = 0;
    for (unsigned long long seed = first; seed <= last && bad < 5; seed++)
        bad += !run_seed(seed, (uint32_t)steps, &t);
    printf(
        "%llu seeds x %llu steps: %llu events, %llu requests: %llu done, %llu by stop string, %llu "
        "failed, %llu "
        "canceled; "
        "%llu replays, %llu preemptions, %llu hand-offs of %llu segments, %llu kills; prefix caches of the "
        "last lives: %llu of %llu rows found, %llu pages given up\n",
        last - first + 1, steps, (unsigned long long)t.events, (unsigned long long)t.submitted,
        (unsigned long long)t.done, (unsigned long long)t.stopped, (unsigned long long)t.failed,
        (unsigned long long)t.canceled, (unsigned long long)t.replays, (unsigned long long)t.preemptions,
        (unsigned long long)t.handoffs, (unsigned long long)t.segments, (unsigned long long)t.kills,
        (unsigned long long)t.cache_hits, (unsigned long long)t.cache_queries,
        (unsigned long long)t.cache_evictions);
    bool cached = last - first < 50 || (t.cache_hits > 0 && t.cache_evictions > 0);
    if (!cached) printf("FAILED: no prefix was ever found, or no page ever given up\n");
    return bad || !cached ? 1 : 0;
}
