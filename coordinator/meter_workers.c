#include "coordinator/meter_workers.h"

#include "coordinator/pairs.h"
#include "kv/kv_layout.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

/* What a worker counts by itself, from its last heartbeat. */
static const struct {
    const char *name, *help;
    size_t at; /* of the uint64_t in a ctl_heartbeat */
} worker_totals[] = {
    {"baton_steps_total", "Steps begun.", offsetof(ctl_heartbeat, step)},
    {"baton_decode_rows_total", "Sum of decode batch sizes over steps.",
     offsetof(ctl_heartbeat, decode_rows)},
    {"baton_decode_steps_total", "Steps with decode rows.", offsetof(ctl_heartbeat, decode_steps)},
    {"baton_prefill_tokens_total", "Prompt tokens processed.", offsetof(ctl_heartbeat, prefill_rows)},
    {"baton_worker_stale_total", "Messages that the worker dropped as stale.",
     offsetof(ctl_heartbeat, stale)},
    {"baton_xfer_segments_total", "Segments sent or verified.", offsetof(ctl_heartbeat, xfer_segments)},
    {"baton_xfer_bytes_total", "Payload bytes sent or verified.", offsetof(ctl_heartbeat, xfer_bytes)},
    {"baton_xfer_failures_total", "Transfers that failed.", offsetof(ctl_heartbeat, xfer_failures)},
    {"baton_prefix_cache_queries_total", "Tokens that the worker looked for in its prefix cache.",
     offsetof(ctl_heartbeat, cache_queries)},
    {"baton_prefix_cache_hits_total", "Tokens that it found there.", offsetof(ctl_heartbeat, cache_hits)},
    {"baton_prefix_cache_evictions_total", "Pages that its prefix cache gave up.",
     offsetof(ctl_heartbeat, cache_evictions)},
};

/* What the pages of a pool are for. */
enum { PAGES_FREE, PAGES_CACHED, PAGES_SEQUENCES, PAGES_RESERVED, PAGES_PINNED, PAGES_COUNT };
static const char *const pages_names[PAGES_COUNT] = {
    "free",      /* and empty */
    "cached",    /* nothing but the prefix cache holds them: they are given up when room is needed */
    "sequences", /* of prompts in process and of sequences that decode */
    "reserved",  /* for KV that is awaited, or not verified */
    "pinned"};   /* of computed prompts, until a decode worker has verified them */

/* The series of a worker that was seen once. Its gauges are zero when it is not there any more, so that no
 * page is counted for the dead. */
typedef struct known_worker {
    char *labels;            /* role="...",worker="..." */
    metric *up[MEMBER_GONE]; /* by state */
    metric *pages[PAGES_COUNT];
    metric *pages_used, *pages_total, *pages_cached, *running, *step_age, *standing, *token_age;
    metric *totals[ARRAY_LEN(worker_totals)];
    metric *busy[BUSY_KIND_COUNT];
    metric *steps_left_out;
    bool here;         /* at the last look, or it came since */
    UT_hash_handle hh; /* by labels, in the order of coming */
} known_worker;

/* Workers and pairs that are gone are remembered so far, so that what looks once in a while sees their last
 * numbers; those that went first are forgotten first. A worker that starts again and again has another name
 * each time. */
enum { GONE_WORKERS = 64, GONE_PAIRS = 256 };

/* The series of a pair that was seen once; zero when it is not there. */
typedef struct known_pair {
    char *labels; /* decode="...",prefill="...",transport="..." */
    metric *up, *latency, *speed;
    bool here;
    UT_hash_handle hh;
} known_pair;

struct meter_workers {
    metrics *all;         /* borrowed */
    const char *label;    /* of the model; borrowed */
    metric *cache_config; /* of the pages that are there now; NULL before */
    known_worker *known;
    known_pair *pairs;
};

static metric *counter(meter_workers *m, const char *name, const char *help, const char *labels) {
    return metrics_get(m->all, METRIC_COUNTER, name, help, labels, NULL, 0);
}

static metric *gauge(meter_workers *m, const char *name, const char *help, const char *labels) {
    return metrics_get(m->all, METRIC_GAUGE, name, help, labels, NULL, 0);
}

meter_workers *meter_workers_new(metrics *all, const char *label) {
    PRE(all);
    PRE(label);
    meter_workers *m = xcalloc(1, sizeof *m);
    m->all = all;
    m->label = label;
    return m;
}

/* NOLINTBEGIN(readability-function-size, clang-analyzer-unix.Malloc): uthash's macros */
void meter_workers_free(meter_workers *m) {
    if (!m) return;
    known_worker *k, *next;
    HASH_ITER(hh, m->known, k, next) {
        HASH_DEL(m->known, k);
        free(k->labels);
        free(k);
    }
    known_pair *p, *after;
    HASH_ITER(hh, m->pairs, p, after) {
        HASH_DEL(m->pairs, p);
        free(p->labels);
        free(p);
    }
    free(m);
}
/* NOLINTEND(readability-function-size, clang-analyzer-unix.Malloc) */

static known_worker *know(meter_workers *m, const char *labels) {
    known_worker *k = xcalloc(1, sizeof *k);
    k->labels = xstrdup(labels);
    k->here = true;
    k->pages_used =
        gauge(m, "baton_kv_pages_used", "Pages in use, as the worker's pool counts them.", labels);
    for (uint32_t i = 0; i < ARRAY_LEN(k->up); i++) {
        buf l = {0};
        buf_adds(&l, labels);
        metrics_label_lower(&l, "state", member_sm.states[i].name);
        k->up[i] = gauge(m, "baton_worker_up", "1 for the state that the worker is in.", l.data);
        buf_done(&l);
    }
    k->pages_total = gauge(m, "baton_kv_pages_total", "Pages of the pool.", labels);
    for (uint32_t i = 0; i < PAGES_COUNT; i++) {
        buf l = {0};
        buf_adds(&l, labels);
        metrics_label(&l, "state", pages_names[i]);
        k->pages[i] = gauge(m, "baton_kv_pages",
                            "Pages of the pool by what they are for, by the last heartbeat and the "
                            "coordinator's count.",
                            l.data);
        buf_done(&l);
    }
    k->standing = gauge(m, "baton_worker_standing_seconds",
                        "For how long a worker with work was not seen to get on.", labels);
    k->token_age =
        gauge(m, "baton_worker_last_token_seconds", "Since its last token; 0: none has come.", labels);
    k->pages_cached =
        gauge(m, "baton_prefix_cache_pages", "Pages that nothing but the prefix cache holds.", labels);
    k->running = gauge(m, "baton_worker_running", "Sequences in the batch, or prompts in process.", labels);
    k->step_age = gauge(m, "baton_worker_step_age_seconds", "Age of the running step; 0 = idle.", labels);
    for (size_t i = 0; i < ARRAY_LEN(worker_totals); i++)
        k->totals[i] = counter(m, worker_totals[i].name, worker_totals[i].help, labels);
    k->steps_left_out = counter(m, "baton_worker_steps_left_out_total",
                                "Steps that a heartbeat had no room for: /trace lacks them.", labels);
    for (uint32_t i = 0; i < BUSY_KIND_COUNT; i++) {
        buf l = {0};
        buf_adds(&l, labels);
        metrics_label(&l, "phase", busy_kind_name((busy_kind)i));
        k->busy[i] = counter(m, "baton_worker_busy_seconds_total",
                             "Time in steps, by the rows they had: of prompts, of decodes, of both.", l.data);
        buf_done(&l);
    }
    return k;
}

/* NOLINTBEGIN(readability-function-size, clang-analyzer-core.NullDereference): uthash is macros, and large
 * ones. */
static known_worker *known_of(meter_workers *m, const char *labels) {
    known_worker *k = NULL;
    HASH_FIND_STR(m->known, labels, k);
    if (k) return k;
    k = know(m, labels);
    HASH_ADD_KEYPTR(hh, m->known, k->labels, strlen(k->labels), k);
    return k;
}
/* NOLINTEND(readability-function-size, clang-analyzer-core.NullDereference) */

/* NOLINTBEGIN(readability-function-size, clang-analyzer-core.NullDereference): likewise */
/* Keeps those that are here, and of the others the last ones, so that they are `most` in all. */
static void forget_workers(meter_workers *m, uint32_t most) {
    known_worker *k, *next;
    for (uint32_t round = 0; round < 2; round++) /* at last whoever it is: nobody has looked for long */
        HASH_ITER(hh, m->known, k, next) {
            if (HASH_COUNT(m->known) <= most) return;
            if (k->here && !round) continue;
            metrics_forget(m->all, k->labels);
            HASH_DEL(m->known, k);
            free(k->labels);
            free(k);
        }
}

static void forget_pairs(meter_workers *m, uint32_t most) {
    known_pair *k, *next;
    HASH_ITER(hh, m->pairs, k, next) {
        if (HASH_COUNT(m->pairs) <= most) return;
        if (k->here) continue;
        metrics_forget(m->all, k->labels);
        HASH_DEL(m->pairs, k);
        free(k->labels);
        free(k);
    }
}
/* NOLINTEND(readability-function-size, clang-analyzer-core.NullDereference) */

void meter_workers_joined(meter_workers *m, const char *role, const char *worker) {
    PRE(m);
    PRE(role);
    PRE(worker);
    buf l = {0};
    metrics_label(&l, "role", role);
    metrics_label(&l, "worker", worker);
    (void)known_of(m, l.data); /* to be forgotten with it */
    forget_workers(m, WORKERS_MAX + GONE_WORKERS);
    metric_add(
        counter(m, "baton_worker_incarnations_total", "Sessions that a worker of this name began.", l.data),
        1);
    buf_done(&l);
}

/* NOLINTBEGIN(readability-function-size, clang-analyzer-core.NullDereference): likewise */
static known_pair *pair_of(meter_workers *m, const char *labels) {
    known_pair *k = NULL;
    HASH_FIND_STR(m->pairs, labels, k);
    if (k) return k;
    k = xcalloc(1, sizeof *k);
    k->labels = xstrdup(labels);
    k->up = gauge(m, "baton_pair_up", "1: the pair of a prefill and a decode worker is open.", labels);
    k->latency = gauge(
        m, "baton_pair_latency_seconds",
        "Smallest segment, from its gather to its credit, when the pair was tried; 0: not measured.", labels);
    k->speed = gauge(m, "baton_pair_bytes_per_second",
                     "Full segments when the pair was tried; 0: not measured.", labels);
    HASH_ADD_KEYPTR(hh, m->pairs, k->labels, strlen(k->labels), k);
    return k;
}
/* NOLINTEND(readability-function-size, clang-analyzer-core.NullDereference) */

static void copy_pairs(meter_workers *m, const core *c) {
    uint32_t here = 0;
    for (known_pair *k = m->pairs; k; k = k->hh.next) {
        k->here = false;
        metric *all[] = {k->up, k->latency, k->speed};
        for (size_t i = 0; i < ARRAY_LEN(all); i++) metric_set(all[i], 0);
    }
    core_pair_info p;
    for (uint32_t i = 0; core_pair(c, i, &p); i++) {
        if (!p.prefill || !p.decode) continue;
        buf l = {0};
        metrics_label(&l, "decode", p.decode);
        metrics_label(&l, "prefill", p.prefill);
        metrics_label(&l, "transport", p.fact->transport);
        known_pair *k = pair_of(m, l.data);
        buf_done(&l);
        here += !k->here;
        k->here = true;
        metric_set(k->up, p.fact->open);
        metric_set(k->latency, (double)p.fact->latency_ns / 1e9);
        metric_set(k->speed, (double)p.fact->bytes_per_s);
    }
    forget_pairs(m, here + GONE_PAIRS);
}

/* So that they add up to the pool: what a worker's pool has in use and nobody knows better is of sequences.
 */
static void copy_pages(known_worker *k, const core_worker_info *w, const core_holding *h) {
    const ctl_heartbeat *b = &w->beat;
    uint32_t pinned = MIN(h->pages_pinned, b->pages_used);
    uint32_t reserved = MIN(h->pages_reserved, b->pages_used - pinned);
    uint32_t cached = MIN(b->cache_pages, w->page_count - MIN(b->pages_used, w->page_count));
    metric_set(k->pages[PAGES_PINNED], pinned);
    metric_set(k->pages[PAGES_RESERVED], reserved);
    metric_set(k->pages[PAGES_SEQUENCES], b->pages_used - pinned - reserved);
    metric_set(k->pages[PAGES_CACHED], cached);
    metric_set(k->pages[PAGES_FREE], w->page_count - MIN(b->pages_used, w->page_count) - cached);
}

static void copy_worker(meter_workers *m, const core_worker_info *w, const core_holding *h) {
    const ctl_heartbeat *b = &w->beat;
    buf l = {0};
    metrics_label(&l, "role", worker_role_name(w->role));
    metrics_label(&l, "worker", w->name);
    known_worker *k = known_of(m, l.data);
    buf_done(&l);
    CHECK(w->state < MEMBER_GONE);
    k->here = true;
    metric_set(k->up[w->state], 1);
    metric_set(k->pages_used, b->pages_used);
    metric_set(k->pages_total, w->page_count);
    metric_set(k->pages_cached, b->cache_pages);
    copy_pages(k, w, h);
    metric_set(k->running, b->running);
    metric_set(k->standing, (double)w->standing_ns / 1e9);
    metric_set(k->token_age, w->token_age_ns == UINT64_MAX ? 0 : (double)w->token_age_ns / 1e9);
    metric_set(k->step_age, (double)b->step_age_ns / 1e9);
    for (size_t i = 0; i < ARRAY_LEN(worker_totals); i++) {
        const uint64_t *total = (const uint64_t *)((const char *)b + worker_totals[i].at);
        metric_set(k->totals[i], (double)*total);
    }
    metric_set(k->steps_left_out, (double)w->steps_left_out);
    for (uint32_t i = 0; i < BUSY_KIND_COUNT; i++) metric_set(k->busy[i], (double)b->busy_ns[i] / 1e9);
}

/* What vLLM tells in labels changes here when workers come and go: the series of before becomes 0. */
static void copy_cache_config(meter_workers *m, uint64_t pages) {
    buf l = {0};
    char number[24];
    buf_adds(&l, m->label);
    snprintf(number, sizeof number, "%u", KV_PAGE_TOKENS);
    metrics_label(&l, "block_size", number);
    snprintf(number, sizeof number, "%" PRIu64, pages);
    metrics_label(&l, "num_gpu_blocks", number);
    if (m->cache_config) metric_set(m->cache_config, 0);
    m->cache_config =
        gauge(m, "vllm:cache_config_info", "1 for the pools that decode as they are now.", l.data);
    metric_set(m->cache_config, 1);
    buf_done(&l);
}

void meter_workers_copy(meter_workers *m, const core *c, uint64_t now_ns) {
    PRE(m);
    PRE(c);
    copy_pairs(m, c);
    for (known_worker *k = m->known; k; k = k->hh.next) {
        k->here = false;
        for (size_t i = 0; i < ARRAY_LEN(k->up); i++) metric_set(k->up[i], 0);
        for (size_t i = 0; i < ARRAY_LEN(k->pages); i++) metric_set(k->pages[i], 0);
        metric *all[] = {k->pages_used, k->pages_total, k->pages_cached, k->running,
                         k->step_age,   k->standing,    k->token_age};
        for (size_t i = 0; i < ARRAY_LEN(all); i++) metric_set(all[i], 0);
    }
    core_worker_info w;
    uint64_t used = 0, total = 0;
    uint32_t here = 0;
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) {
        here++;
        core_holding h;
        core_holding_of(c, i, &h);
        copy_worker(m, &w, &h);
        if (w.role == ROLE_PREFILL) continue;
        used += w.beat.pages_used;
        total += w.page_count;
    }
    forget_workers(m, here + GONE_WORKERS);
    metric_set(
        gauge(m, "vllm:kv_cache_usage_perc", "Pages in use of the pools that decode, 0 to 1.", m->label),
        total ? (double)used / (double)total : 0);
    copy_cache_config(m, total);
}
