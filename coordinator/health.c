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

/* What it does, and whether it gets on with it. */
static void add_progress(buf *out, const health_facts *f, const core_worker_info *w, const core_holding *h) {
    const ctl_heartbeat *b = &w->beat;
    buf_addf(out,
             ",\"step\":%" PRIu64 ",\"step_age_ms\":%.1f,\"step_bound_ms\":%.1f,\"step_layers\":[%u,%u],"
             "\"silence_ms\":%.1f,\"standing_ms\":%.1f,\"stuck\":%s,\"last_token_ms\":",
             b->step, (double)b->step_age_ns / 1e6, (double)b->step_bound_ns / 1e6, b->step_layers_done,
             b->step_layers, (double)w->silence_ns / 1e6, (double)w->standing_ns / 1e6,
             health_stuck(f, w) ? "true" : "false");
    if (w->token_age_ns == UINT64_MAX)
        buf_adds(out, "null");
    else
        buf_addf(out, "%.1f", (double)w->token_age_ns / 1e6);
    buf_addf(out,
             ",\"running\":%u,\"waiting\":%u,\"parked\":%u,\"sends_pending\":%u,\"assigned\":%u,\"holds\":{"
             "\"computing\":%u,\"parked\":%u,\"sending\":%u,\"reserved\":%u,\"decoding\":%u,\"closing\":%u}",
             b->running, b->waiting, b->parked, b->sends_pending, w->assigned, h->computing, h->parked,
             h->sending, h->reserved, h->decoding, h->closing);
}

static void add_worker(buf *out, const health_facts *f, const core_worker_info *w, const core_holding *h) {
    const ctl_heartbeat *b = &w->beat;
    char id[CORE_WORKER_ID_MAX];
    core_worker_id(w->incarnation, id);
    buf_adds(out, "{");
    add_name(out, "name", w->name);
    buf_adds(out, ",");
    add_name(out, "host", w->host);
    buf_addf(out, ",\"role\":\"%s\",\"state\":\"", worker_role_name(w->role));
    lower(out, member_sm.states[w->state].name);
    buf_adds(out, "\"");
    add_progress(out, f, w, h);
    buf_addf(out,
             ",\"id\":\"%s\",\"pages\":{\"total\":%u,\"used\":%u,\"free\":%u,\"cached\":%u,\"pinned\":%u,"
             "\"reserved\":%u,"
             "\"promised\":%u},\"busy_s\":{",
             id, w->page_count, b->pages_used, w->free_pages, b->cache_pages, h->pages_pinned,
             h->pages_reserved, w->pages_promised);
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

bool health_stuck(const health_facts *f, const core_worker_info *w) {
    PRE(f);
    PRE(w);
    return f->stuck_ns && w->standing_ns >= f->stuck_ns;
}

/* How the service is, before it is put in a word. */
typedef struct outlook {
    bool stopping, route, missing;
    bool stuck[ROLE_COUNT]; /* a worker of it is, and no other of it is ready */
} outlook;

static bool any_stuck(const outlook *o) {
    bool any = false;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) any = any || o->stuck[i];
    return any;
}

static outlook look(const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    outlook o = {.stopping = stopping};
    core_worker_info w;
    uint32_t ready[ROLE_COUNT] = {0}, sound[ROLE_COUNT] = {0}, stuck[ROLE_COUNT] = {0};
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) {
        bool stands = health_stuck(f, &w);
        ready[w.role] += w.state == MEMBER_READY;
        sound[w.role] += w.state == MEMBER_READY && !stands;
        stuck[w.role] += stands;
    }
    o.route = ready[ROLE_COLOCATED] > 0 || (ready[ROLE_PREFILL] > 0 && ready[ROLE_DECODE] > 0);
    for (uint32_t i = 0; i < ROLE_COUNT; i++) {
        o.missing = o.missing || ready[i] < f->role_wanted[i];
        o.stuck[i] = stuck[i] > 0 && !sound[i];
    }
    return o;
}

static const char *word_of(const outlook *o) {
    return o->stopping    ? "stopping"
           : !o->route    ? "unavailable"
           : any_stuck(o) ? "stuck"
           : o->missing   ? "degraded"
                          : "ok";
}

static uint32_t code_of(const outlook *o) {
    return o->route && !o->stopping && !any_stuck(o) ? 200 : 503;
}

const char *health_word(const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    PRE(c);
    PRE(f);
    outlook o = look(c, f, stopping, now_ns);
    return word_of(&o);
}

uint32_t health_ready(buf *out, const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    PRE(out);
    PRE(c);
    PRE(f);
    outlook o = look(c, f, stopping, now_ns);
    buf_addf(out, "%s\n", word_of(&o));
    return code_of(&o);
}

static void add_roles(buf *out, const outlook *o) {
    const char *comma = "";
    buf_adds(out, "[");
    for (uint32_t i = 0; i < ROLE_COUNT; i++) {
        if (!o->stuck[i]) continue;
        buf_addf(out, "%s\"%s\"", comma, worker_role_name((worker_role)i));
        comma = ",";
    }
    buf_adds(out, "]");
}

uint32_t health_page(buf *out, const core *c, const health_facts *f, bool stopping, uint64_t now_ns) {
    PRE(out);
    PRE(c);
    PRE(f);
    core_worker_info w;
    outlook o = look(c, f, stopping, now_ns);
    core_counters n;
    core_counters_of(c, &n);
    buf_addf(out, "{\"status\":\"%s\",\"ready\":%s,\"stuck\":", word_of(&o),
             core_ready(c) ? "true" : "false");
    add_roles(out, &o);
    buf_adds(out, ",");
    add_name(out, "model", f->model);
    buf_addf(
        out,
        ",\"requests\":{\"queued\":%u,\"prefill\":%u,\"wait_kv\":%u,\"decode\":%u},\"handoffs_pending\":%u,"
        "\"parked\":{\"count\":%u,\"bytes\":%" PRIu64 ",\"oldest_ms\":%.1f},\"workers\":[",
        n.requests[REQ_WAIT_PREFILL], n.requests[REQ_PREFILL], n.requests[REQ_WAIT_KV],
        n.requests[REQ_DECODE], n.handoffs_pending, n.parked, n.parked_bytes,
        n.parked_since_ns && now_ns > n.parked_since_ns ? (double)(now_ns - n.parked_since_ns) / 1e6 : 0);
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) {
        if (i) buf_adds(out, ",");
        core_holding h;
        core_holding_of(c, i, &h);
        add_worker(out, f, &w, &h);
    }
    buf_adds(out, "],\"pairs\":[");
    add_pairs(out, c);
    buf_addf(out,
             "],\"workers_joined\":%" PRIu64 ",\"workers_left\":%" PRIu64 ",\"workers_lost\":%" PRIu64
             ",\"last_lost\":",
             n.workers_joined, n.workers_left, n.workers_lost);
    add_lost(out, c, now_ns);
    buf_adds(out, "}\n");
    return code_of(&o);
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
