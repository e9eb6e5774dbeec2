#include "planner/distserve/dist_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const way_names[DIST_WAYS] = {"DistServe", "its simulator, steady",
                                                 "our policies, steady"};
static const char *const way_keys[DIST_WAYS] = {"distserve", "steady", "fleet"};

static const search_result *result_of(const dist_row *r, dist_way way) {
    return way == DIST_STEADY ? &r->steady : &r->fleet;
}

double dist_row_worth(const dist_row *r, dist_way way) {
    PRE(r);
    PRE(way < DIST_WAYS);
    if (r->why[0]) return 0;
    if (way == DIST_OWN) return r->own;
    if (way == DIST_FLEET && r->fleet_infeasible) return 0;
    const search_result *s = result_of(r, way);
    double rate = isinf(s->crossing) ? s->highest : s->crossing;
    return rate > 0 ? rate / dist_config_gpus(&r->config) : 0;
}

uint32_t dist_table_best(const dist_table *t, dist_way way) {
    PRE(t);
    uint32_t best = DIST_NOBODY;
    for (uint32_t i = 0; i < t->count; i++) {
        double worth = dist_row_worth(&t->rows[i], way);
        if (!(worth > 0)) continue;
        double least = best == DIST_NOBODY ? 0 : dist_row_worth(&t->rows[best], way);
        bool fewer = best != DIST_NOBODY && worth == least &&
                     dist_config_gpus(&t->rows[i].config) < dist_config_gpus(&t->rows[best].config);
        if (worth > least || fewer) best = i;
    }
    return best;
}

/* ---- text ---- */

/* Nothing that it tries is too high. */
static bool at_ceiling(const dist_case *c, const dist_row *r) {
    return r->own + c->rate_step >= c->rate_max;
}

static void add_cell(buf *b, const dist_table *t, const dist_row *r, dist_way way) {
    char text[64];
    if (way == DIST_OWN)
        snprintf(text, sizeof text, "%.3f%s", r->own, at_ceiling(t->asked, r) ? " or more" : "");
    else if (!(dist_row_worth(r, way) > 0))
        snprintf(text, sizeof text, "none");
    else {
        double gpus = dist_config_gpus(&r->config);
        const search_result *s = result_of(r, way);
        snprintf(text, sizeof text, "%.3f (%.3f .. %.3f)", dist_row_worth(r, way), s->low / gpus,
                 s->high / gpus);
    }
    buf_addf(b, " %s |", text);
}

static void add_rows(const dist_table *t, buf *b) {
    char name[64];
    buf_adds(b, "| placement | GPUs |");
    for (size_t w = 0; w < DIST_WAYS; w++)
        if (t->ways[w]) buf_addf(b, " %s |", way_names[w]);
    buf_adds(b, t->ways[DIST_FLEET] ? " limit of our policies |\n|---|---|" : "\n|---|---|");
    for (size_t w = 0; w < DIST_WAYS + 1u; w++)
        if (t->ways[MIN(w, DIST_FLEET)]) buf_adds(b, "---|");
    buf_adds(b, "\n");
    for (uint32_t i = 0; i < t->count; i++) {
        const dist_row *r = &t->rows[i];
        if (r->why[0]) continue;
        buf_addf(b, "| %s | %u |", dist_config_text(&r->config, name, sizeof name),
                 dist_config_gpus(&r->config));
        for (size_t w = 0; w < DIST_WAYS; w++)
            if (t->ways[w]) add_cell(b, t, r, (dist_way)w);
        if (t->ways[DIST_FLEET]) buf_addf(b, " %s |", r->limit);
        buf_adds(b, "\n");
    }
}

/* Many have one reason. */
static void add_rejected(const dist_table *t, buf *b) {
    for (uint32_t i = 0; i < t->count; i++) {
        const char *why = t->rows[i].why;
        uint32_t same = 0, first = 0;
        if (!why[0]) continue;
        while (strcmp(t->rows[first].why, why) != 0) first++;
        if (first < i) continue;
        for (uint32_t k = i; k < t->count; k++) same += strcmp(t->rows[k].why, why) == 0;
        buf_addf(b, "rejected: %u (%s)\n", same, why);
    }
}

static void add_verdict(const dist_table *t, buf *b) {
    char name[64];
    for (size_t w = 0; w < DIST_WAYS; w++) {
        if (!t->ways[w]) continue;
        uint32_t best = dist_table_best(t, (dist_way)w);
        if (best == DIST_NOBODY) {
            buf_addf(b, "best of %s: none keeps the limits at any rate\n", way_names[w]);
            continue;
        }
        buf_addf(b, "best of %s: %s, %.3f requests/s/GPU", way_names[w],
                 dist_config_text(&t->rows[best].config, name, sizeof name),
                 dist_row_worth(&t->rows[best], (dist_way)w));
        for (size_t v = 0; v < DIST_WAYS; v++)
            if (v != w && t->ways[v])
                buf_addf(b, "; %s %.3f", way_names[v], dist_row_worth(&t->rows[best], (dist_way)v));
        buf_adds(b, "\n");
    }
}

/* Why the three columns are not equal. */
static void add_differences(const dist_table *t, buf *b) {
    uint32_t own = dist_table_best(t, DIST_OWN);
    if (!t->ways[DIST_STEADY] || own == DIST_NOBODY) return;
    double promised = t->rows[own].own, kept = dist_row_worth(&t->rows[own], DIST_STEADY);
    buf_addf(
        b,
        "What differs: DistServe's answer is that of %u requests from an empty cluster to the last one's "
        "end, once, each limit judged alone, to %.3g requests/s/GPU. At steady state, both limits kept by "
        "one request, its choice has %.3g %% of what it says. ",
        t->asked->requests, t->asked->rate_step, 100 * kept / promised);
    if (at_ceiling(t->asked, &t->rows[own]))
        buf_addf(b, "It tries no more than %.3g requests/s/GPU. ", t->asked->rate_max);
    buf_addf(
        b,
        "Its decode steps have up to %u tokens of context, whether the memory holds fewer or more, and KV "
        "waits for no room; our policies hold and reserve KV pages on both sides, wait for them, and "
        "compute prompts in chunks; the overhead of its first stage is spread over the stages. ",
        DIST_CONTEXT_MAX);
    if (t->rows[own].config.colocated)
        buf_adds(b, "No KV moves.\n");
    else if (isfinite(t->link_bytes_per_s))
        buf_addf(b, "Their hand-offs cross a link of %.4g GB/s; its take no time.\n",
                 t->link_bytes_per_s / 1e9);
    else
        buf_adds(b, "Hand-offs take no time in all three.\n");
}

void dist_table_text(const dist_table *t, buf *out) {
    PRE(t);
    PRE(out);
    char limits[128];
    buf_addf(out, "baton-plan distserve %s: %s, %s on at most %u GPUs, workload %s, %s for %.4g %%\n",
             BATON_VERSION, t->title, t->asked->model->name, t->gpus, t->workload,
             slo_text(&t->asked->limits, limits, sizeof limits), 100 * t->asked->target);
    buf_addf(out, "profile %s, seed %u; goodput in requests/s/GPU, with its interval\n\n", t->profile_hash,
             t->asked->seed);
    add_rows(t, out);
    buf_adds(out, "\n");
    add_rejected(t, out);
    add_verdict(t, out);
    add_differences(t, out);
}

/* ---- CSV, JSON ---- */

static void add_csv(buf *b, double v) {
    if (isfinite(v)) buf_addf(b, "%.9g", v);
}

void dist_table_csv(const dist_table *t, buf *out) {
    PRE(t);
    PRE(out);
    buf_adds(out, "segments,prefill_tp,prefill_pp,decode_tp,decode_pp,gpus,distserve,steady,steady_low,"
                  "steady_high,fleet,fleet_low,fleet_high,why,model,profile,seed,version\n");
    for (uint32_t i = 0; i < t->count; i++) {
        const dist_row *r = &t->rows[i];
        const dist_config *c = &r->config;
        double gpus = dist_config_gpus(c);
        buf_addf(out, "%u,%u,%u,%u,%u,%.0f", c->cross, c->prefill_tp, c->prefill_pp, c->decode_tp,
                 c->decode_pp, gpus);
        for (size_t w = 0; w < DIST_WAYS; w++) {
            bool there = t->ways[w] && !r->why[0];
            buf_adds(out, ",");
            if (there) add_csv(out, dist_row_worth(r, (dist_way)w));
            if (w == DIST_OWN) continue;
            buf_adds(out, ",");
            if (there) add_csv(out, result_of(r, (dist_way)w)->low / gpus);
            buf_adds(out, ",");
            if (there) add_csv(out, result_of(r, (dist_way)w)->high / gpus);
        }
        buf_addf(out, ",\"%s\",%s,%s,%u,%s\n", r->why, t->asked->model->name, t->profile_hash, t->asked->seed,
                 BATON_VERSION);
    }
}

static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *row_json(const dist_table *t, const dist_row *r) {
    const dist_config *c = &r->config;
    char name[64];
    json_t *j = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "placement", dist_config_text(c, name, sizeof name),
        "segments", (int)c->cross, "prefill_tp", (int)c->prefill_tp, "prefill_pp", (int)c->prefill_pp,
        "decode_tp", (int)c->decode_tp, "decode_pp", (int)c->decode_pp, "gpus", (int)dist_config_gpus(c));
    if (r->why[0]) {
        json_object_set_new(j, "rejected", json_string(r->why));
        return j;
    }
    double gpus = dist_config_gpus(c);
    for (size_t w = 0; w < DIST_WAYS; w++) {
        if (!t->ways[w]) continue;
        json_t *v = json_pack("{s:f}", "per_gpu", dist_row_worth(r, (dist_way)w));
        if (w != DIST_OWN) {
            json_object_set_new(v, "low", number(result_of(r, (dist_way)w)->low / gpus));
            json_object_set_new(v, "high", number(result_of(r, (dist_way)w)->high / gpus));
        }
        if (w == DIST_FLEET) json_object_set_new(v, "limit", json_string(r->limit));
        json_object_set_new(j, way_keys[w], v);
    }
    return j;
}

json_t *dist_table_json(const dist_table *t) {
    PRE(t);
    const dist_case *c = t->asked;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:i, s:f, s:f, s:f}", "format", "baton-distserve/1",
                          "version", BATON_VERSION, "algorithm", t->title, "profile_hash", t->profile_hash,
                          "seed", (json_int_t)c->seed, "model", c->model->name, "gpus", (int)t->gpus,
                          "ttft_ms", c->limits.ttft_ms, "tpot_ms", c->limits.tpot_ms, "target", c->target);
    json_object_set_new(j, "workload", json_string(t->workload));
    json_object_set_new(j, "link_bytes_per_s", number(t->link_bytes_per_s));
    json_t *best = json_object(), *rows = json_array();
    for (size_t w = 0; w < DIST_WAYS; w++) {
        uint32_t i = t->ways[w] ? dist_table_best(t, (dist_way)w) : DIST_NOBODY;
        if (i != DIST_NOBODY) json_object_set_new(best, way_keys[w], row_json(t, &t->rows[i]));
    }
    for (uint32_t i = 0; i < t->count; i++) json_array_append_new(rows, row_json(t, &t->rows[i]));
    json_object_set_new(j, "best", best);
    json_object_set_new(j, "placements", rows);
    return j;
}
