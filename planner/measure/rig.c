#include "planner/measure/rig.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/http_get.h"
#include "bench/experiment/stop.h"
#include "bench/load/facts.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define START_NS   (120 * NS_PER_S)
#define STOP_NS    (20 * NS_PER_S)
#define PAGE_NS    (10 * NS_PER_S)
#define BEATS_WAIT 4u /* heartbeats until all steps are told */

/* The body of a page as JSON, or NULL. */
static json_t *page(const rig *r, const char *path) {
    char *body = NULL;
    int code = 0;
    if (http_get(&body, &code, r->cluster.http, path, clock_now_ns() + PAGE_NS, NULL) != ST_OK) return NULL;
    json_t *j = json_loads(body, 0, NULL);
    free(body);
    return j;
}

static char *copy_of(const json_t *j, const char *key) {
    const char *text = json_string_value(json_object_get(j, key));
    return text ? xstrdup(text) : NULL;
}

static status take_facts(rig *r, errbuf *eb) {
    json_t *health = page(r, "/health"), *version = page(r, "/version"), *models = page(r, "/v1/models");
    const json_t *workers = json_object_get(health, "workers");
    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *w = json_array_get(workers, i);
        const char *name = json_string_value(json_object_get(w, "role"));
        for (worker_role role = 0; name && role < ROLE_COUNT; role++)
            if (strcmp(name, worker_role_name(role)) == 0)
                r->roles[role].pages =
                    (uint32_t)json_integer_value(json_object_get(json_object_get(w, "pages"), "total"));
    }
    const json_t *model = json_array_get(json_object_get(models, "data"), 0);
    r->max_context = (uint32_t)json_integer_value(json_object_get(model, "max_model_len"));
    r->model = copy_of(model, "id");
    r->path = copy_of(version, "path");
    r->version = copy_of(version, "version");
    bool good = json_array_size(workers) > 0 && r->max_context > 0;
    json_decref(health);
    json_decref(version);
    json_decref(models);
    return good ? ST_OK : errf(eb, ST_PEER, "the cluster does not tell its workers at /health");
}

static spec_role role_of(const rig_options *opt, worker_role role) {
    return (spec_role){.count = opt->count[role]};
}

static status look(void *ctx, errbuf *eb) {
    rig *r = ctx;
    return cluster_check(&r->cluster, eb);
}

status rig_start(rig *out, const tools *t, const rig_options *opt, errbuf *eb) {
    PRE(out);
    PRE(t);
    PRE(opt);
    *out = (rig){0};
    spec s = {.base = (char *)opt->config, .sets = *opt->sets};
    spec_placement p = {.name = (char *)"measured",
                        .prefill = role_of(opt, ROLE_PREFILL),
                        .decode = role_of(opt, ROLE_DECODE),
                        .colocated = role_of(opt, ROLE_COLOCATED),
                        .sets = opt->own};
    status st = cluster_start(&out->cluster, &t->cluster, &s, &p, NULL, false, opt->dir, eb);
    if (st == ST_OK) st = config_load(&out->cfg, out->cluster.config, NULL, 0, eb);
    if (st == ST_OK) st = cluster_wait_ready(&out->cluster, clock_now_ns() + START_NS, eb);
    if (st == ST_OK) st = asker_new(&out->ask, out->cluster.native, out->cluster.url, eb);
    if (st == ST_OK) st = take_facts(out, eb);
    if (st == ST_OK) asker_watch(out->ask, look, out);
    return st;
}

status rig_seen(rig *r, uint32_t requests, seen *out, errbuf *eb) {
    PRE(r);
    PRE(out);
    PRE(requests > 0);
    uint64_t told_ns = clock_now_ns() + BEATS_WAIT * r->cfg->limits.heartbeat_ms * NS_PER_MS;
    status st = asker_rest(r->ask, told_ns, eb);
    if (st == ST_OK) st = cluster_check(&r->cluster, eb);
    if (st != ST_OK) return st;
    char *path = xasprintf("/trace?last=%u", requests), *body = NULL;
    int code = 0;
    st = http_get(&body, &code, r->cluster.http, path, clock_now_ns() + PAGE_NS, eb);
    if (st == ST_OK && code != 200) st = errf(eb, ST_PEER, "%s answers %d", path, code);
    if (st == ST_OK) st = seen_read(out, body, eb);
    free(body);
    free(path);
    if (st != ST_OK) return st;
    uint64_t left_out = seen_left_out(out);
    if (left_out > r->left_out) {
        st = errf(eb, ST_INVALID,
                  "%llu steps were too short for a heartbeat to tell them all: there is nothing to plan with "
                  "steps of such a model (limits.heartbeat_ms is %u)",
                  (unsigned long long)(left_out - r->left_out), r->cfg->limits.heartbeat_ms);
        seen_done(out);
    }
    r->left_out = left_out;
    return st;
}

status rig_count(const rig *r, rig_counts *out, errbuf *eb) {
    PRE(r);
    PRE(out);
    status st = asker_rest(r->ask, clock_now_ns() + BEATS_WAIT * r->cfg->limits.heartbeat_ms * NS_PER_MS, eb);
    char *body = NULL;
    int code = 0;
    if (st == ST_OK) st = http_get(&body, &code, r->cluster.http, "/metrics", clock_now_ns() + PAGE_NS, eb);
    if (st != ST_OK) return st;
    *out = (rig_counts){.bytes = facts_read_metric(body, "baton_xfer_bytes_total"),
                        .segments = facts_read_metric(body, "baton_xfer_segments_total")};
    free(body);
    json_t *health = page(r, "/health");
    const json_t *pair = json_array_get(json_object_get(health, "pairs"), 0);
    double gb = json_number_value(json_object_get(pair, "gb_per_s"));
    out->pair_bytes_per_s = gb > 0 ? gb * 1e9 : NAN;
    json_decref(health);
    return isnan(out->bytes) ? errf(eb, ST_PEER, "/metrics does not tell the bytes of hand-offs") : ST_OK;
}

void rig_stop(rig *r) {
    PRE(r);
    asker_free(r->ask);
    (void)cluster_stop(&r->cluster, clock_now_ns() + STOP_NS, stop_asked() > 0 ? 1 : 0, NULL);
    config_free(r->cfg);
    free(r->model);
    free(r->path);
    free(r->version);
    *r = (rig){0};
}
