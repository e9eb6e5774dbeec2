#include "coordinator/health.h"

#include "coordinator/openai.h"
#include "coordinator/pairs.h"

#include <inttypes.h>
#include <string.h>

static void lower(buf *out, const char *name) {
    for (const char *p = name; *p; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        buf_add(out, &c, 1);
    }
}

static void add_name(buf *out, const char *key, const char *value) {
    buf_addf(out, "\"%s\":", key);
    openai_string(out, value, strlen(value));
}

static void add_worker(buf *out, const core_worker_info *w) {
    const ctl_heartbeat *b = &w->beat;
    buf_adds(out, "{");
    add_name(out, "name", w->name);
    buf_adds(out, ",");
    add_name(out, "host", w->host);
    buf_addf(out, ",\"role\":\"%s\",\"state\":\"", worker_role_name(w->role));
    lower(out, member_sm.states[w->state].name);
    buf_addf(out,
             "\",\"step\":%" PRIu64 ",\"step_age_ms\":%.1f,\"silence_ms\":%.1f,\"running\":%u,\"waiting\":%u,"
             "\"parked\":%u,\"sends_pending\":%u,\"assigned\":%u,"
             "\"pages\":{\"total\":%u,\"used\":%u,\"free\":%u,\"promised\":%u},\"busy_s\":{",
             b->step, (double)b->step_age_ns / 1e6, (double)w->silence_ns / 1e6, b->running, b->waiting,
             b->parked, b->sends_pending, w->assigned, w->page_count, b->pages_used, w->free_pages,
             w->pages_promised);
    for (uint32_t i = 0; i < BUSY_KIND_COUNT; i++)
        buf_addf(out, "%s\"%s\":%.6f", i ? "," : "", busy_kind_name((busy_kind)i),
                 (double)b->busy_ns[i] / 1e9);
    buf_addf(out,
             "},\"prefix_cache\":{\"queries\":%" PRIu64 ",\"hits\":%" PRIu64
             ",\"hit_rate\":%.4f,\"pages\":%u,\"evictions\":%" PRIu64 "}}",
             b->cache_queries, b->cache_hits,
             b->cache_queries ? (double)b->cache_hits / (double)b->cache_queries : 0, b->cache_pages,
             b->cache_evictions);
}

static void add_pairs(buf *out, const core *c) {
    core_pair_info p;
    bool first = true;
    for (uint32_t i = 0; core_pair(c, i, &p); i++) {
        if (!p.prefill || !p.decode) continue;
        buf_adds(out, first ? "{" : ",{");
        first = false;
        add_name(out, "prefill", p.prefill);
        buf_adds(out, ",");
        add_name(out, "decode", p.decode);
        buf_adds(out, ",");
        add_name(out, "transport", p.fact->transport);
        buf_addf(out, ",\"open\":%s,\"latency_us\":%.1f,\"gb_per_s\":%.3f,", p.fact->open ? "true" : "false",
                 (double)p.fact->latency_ns / 1e3, (double)p.fact->bytes_per_s / 1e9);
        add_name(out, "why", p.fact->why);
        buf_adds(out, "}");
    }
}

static void add_lost(buf *out, const core *c, uint64_t now_ns) {
    core_lost lost;
    if (!core_last_lost(c, &lost, now_ns)) {
        buf_adds(out, "null");
        return;
    }
    buf_adds(out, "{");
    add_name(out, "worker", lost.worker);
    buf_adds(out, ",");
    add_name(out, "why", lost.why);
    buf_addf(out, ",\"age_ms\":%.1f}", (double)lost.age_ns / 1e6);
}

static const char *state_word(const core *c, const health_facts *f, bool stopping, uint64_t now_ns,
                              bool *route) {
    core_worker_info w;
    uint32_t ready[ROLE_COUNT] = {0};
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) ready[w.role] += w.state == MEMBER_READY;
    *route = ready[ROLE_COLOCATED] > 0 || (ready[ROLE_PREFILL] > 0 && ready[ROLE_DECODE] > 0);
    bool missing = false;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) missing = missing || ready[i] < f->role_wanted[i];
    return stopping ? "stopping" : !*route ? "unavailable" : missing ? "degraded" : "ok";
}

const char *health_word(const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    PRE(c);
    PRE(f);
    bool route;
    return state_word(c, f, stopping, now_ns, &route);
}

uint32_t health_ready(buf *out, const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    PRE(out);
    PRE(c);
    PRE(f);
    bool route;
    buf_addf(out, "%s\n", state_word(c, f, stopping, now_ns, &route));
    return route && !stopping ? 200 : 503;
}

uint32_t health_page(buf *out, const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    PRE(out);
    PRE(c);
    PRE(f);
    core_worker_info w;
    bool route;
    const char *word = state_word(c, f, stopping, now_ns, &route);
    core_counters n;
    core_counters_of(c, &n);
    buf_addf(out, "{\"status\":\"%s\",\"ready\":%s,", word, core_ready(c) ? "true" : "false");
    add_name(out, "model", f->model);
    buf_addf(
        out,
        ",\"requests\":{\"queued\":%u,\"prefill\":%u,\"wait_kv\":%u,\"decode\":%u},\"handoffs_pending\":%u,"
        "\"workers\":[",
        n.requests[REQ_WAIT_PREFILL], n.requests[REQ_PREFILL], n.requests[REQ_WAIT_KV],
        n.requests[REQ_DECODE], n.handoffs_pending);
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) {
        if (i) buf_adds(out, ",");
        add_worker(out, &w);
    }
    buf_adds(out, "],\"pairs\":[");
    add_pairs(out, c);
    buf_addf(out,
             "],\"workers_joined\":%" PRIu64 ",\"workers_left\":%" PRIu64 ",\"workers_lost\":%" PRIu64
             ",\"last_lost\":",
             n.workers_joined, n.workers_left, n.workers_lost);
    add_lost(out, c, now_ns);
    buf_adds(out, "}\n");
    return route && !stopping ? 200 : 503;
}

void health_model(buf *out, const health_facts *f) {
    PRE(out);
    PRE(f);
    buf_adds(out, "{");
    add_name(out, "id", f->model);
    buf_addf(out, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"baton\",", f->started);
    add_name(out, "root", f->model_root);
    buf_addf(out, ",\"parent\":null,\"max_model_len\":%u,\"permission\":[]}", f->max_context);
}

void health_models(buf *out, const health_facts *f) {
    PRE(out);
    buf_adds(out, "{\"object\":\"list\",\"data\":[");
    health_model(out, f);
    buf_adds(out, "]}\n");
}

void health_load(buf *out, const core *c, uint32_t http_requests) {
    PRE(out);
    PRE(c);
    core_counters n;
    core_counters_of(c, &n);
    uint32_t waiting = n.requests[REQ_NEW] + n.requests[REQ_WAIT_PREFILL];
    buf_addf(out, "{\"server_load\":%u,\"running\":%u,\"waiting\":%u}\n", http_requests,
             n.requests[REQ_PREFILL] + n.requests[REQ_WAIT_KV] + n.requests[REQ_DECODE], waiting);
}

/* The promise, as the workers' backends keep it. */
static const char *promise(const health_facts *f, bool joined, bool deterministic) {
    if (f->mixed_numerics)
        return "workers with unlike numerics are admitted: the same request may give other bytes";
    if (!joined) return "no worker is here";
    if (!deterministic)
        return "results may depend on the batch and on how a prompt was cut: set model.deterministic for the "
               "same "
               "bytes";
    return "the same request and seed give the same bytes on any route, batch, and after a worker's death";
}

static void add_numeric(buf *out, const core *c, const char *name) {
    const char *value = core_numeric(c, name);
    if (value)
        add_name(out, name, value);
    else
        buf_addf(out, "\"%s\":null", name);
    buf_adds(out, ",");
}

void health_version(buf *out, const core *c, const health_facts *f) {
    PRE(out);
    PRE(c);
    PRE(f);
    const char *backend = core_numeric(c, "backend"), *told = core_numeric(c, "deterministic");
    bool deterministic = told && strcmp(told, "true") == 0 && !f->mixed_numerics;
    buf_adds(out, "{\"version\":\"" BATON_VERSION "\",");
    add_name(out, "backend", backend ? backend : f->backend);
    buf_adds(out, ",");
    add_numeric(out, c, "path");
    add_numeric(out, c, "kv_dtype");
    add_numeric(out, c, "weights");
    buf_addf(out, "\"deterministic\":%s,", !told ? "null" : deterministic ? "true" : "false");
    add_name(out, "numerics", promise(f, told, deterministic));
    buf_adds(out, "}\n");
}
