#include "planner/search/plan_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is shown ---- */

const judge_point *plan_point_at_goodput(const candidate *c) {
    PRE(c);
    PRE(c->found);
    const judge_point *best = NULL;
    double most = isnan(c->found->result.pass) ? c->found->result.crossing : c->found->result.pass;
    for (uint32_t i = 0; i < c->found->count; i++)
        if (c->found->points[i].rate <= most * (1 + 1e-9)) best = &c->found->points[i];
    return best;
}

typedef struct ranked {
    uint32_t index;
    double value;
    const fleet_placement *placement;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (fabs(x->value - y->value) > 1e-9 * fmax(x->value, y->value)) return x->value > y->value ? -1 : 1;
    return fleet_placement_compare(x->placement, y->placement);
}

uint32_t plan_ranking(const plan_outcome *o, uint32_t *out) {
    PRE(o);
    PRE(out);
    ranked *all = xcalloc(o->list.count + 1, sizeof *all);
    uint32_t n = 0;
    for (uint32_t i = 0; i < o->list.count; i++) {
        const candidate *c = &o->list.items[i];
        if (c->reason != REJECT_NOT || !c->found || isnan(plan_goodput(c).mean)) continue;
        all[n++] = (ranked){i, plan_goodput(c).mean, &c->placement};
    }
    qsort(all, n, sizeof *all, by_value);
    for (uint32_t i = 0; i < n; i++) out[i] = all[i].index;
    free(all);
    return n;
}

/* Rows of a step: what the name of a placement does not tell. */
static uint32_t rows_of(const candidate *c) {
    return c->placement.roles[c->colocated ? ROLE_COLOCATED : ROLE_PREFILL].max_rows;
}

static const char *short_why(const candidate *c) {
    return c->found->why[0] ? c->found->why : "-";
}

/* ---- text ---- */

static void add_row(buf *out, const candidate *c) {
    interval v = plan_goodput(c);
    const judge_point *p = plan_point_at_goodput(c);
    char value[64], text[64];
    buf_addf(out, "%-34.34s %7u %7u %9.4g  %-18s", fleet_placement_text(&c->placement, text, sizeof text),
             rows_of(c), c->devices, v.mean * c->devices, plan_value_text(v, value, sizeof value));
    if (p)
        buf_addf(out, " %8.4g %8.4g %7.4g %7.4g", p->ttft_ms[0], p->ttft_ms[2], p->tpot_ms[0], p->tpot_ms[2]);
    else
        buf_addf(out, " %8s %8s %7s %7s", "-", "-", "-", "-");
    buf_addf(out, "  %s\n", short_why(c));
}

static void add_best(const plan_report *r, buf *out) {
    uint32_t *order = xcalloc(r->found->list.count + 1, sizeof *order), n = plan_ranking(r->found, order);
    if (n) {
        buf_addf(out, "%-34s %7s %7s %9s  %-18s %8s %8s %7s %7s  %s\n", "placement", "rows", "devices",
                 "goodput", "per device", "TTFT P50", "P99", "TPOT P50", "P99", "limited by");
        for (uint32_t i = 0; i < n; i++) {
            const candidate *c = &r->found->list.items[order[i]];
            bool named = order[i] == r->found->best_of[0] || order[i] == r->found->best_of[1];
            if (i < PLAN_TABLE_ROWS || named) add_row(out, c);
        }
        if (n > PLAN_TABLE_ROWS) buf_addf(out, "... %u simulated in all: table.csv (-o DIR) has them\n", n);
        buf_adds(out, "goodput: requests/s; times: ms, at the highest rate that passed\n");
    }
    free(order);
}

/* Each reason with an example; the same text is said once. */
static void add_rejected(const plan_report *r, buf *out) {
    for (reject_reason why = REJECT_NOT + 1; why < REJECT_REASONS; why++) {
        uint32_t n = plan_rejected(r->found, why), said = 0;
        if (!n) continue;
        buf_addf(out, "rejected, %s: %u\n", reject_name(why), n);
        const char *last = "";
        for (uint32_t i = 0; i < r->found->list.count && said < 3; i++) {
            const candidate *c = &r->found->list.items[i];
            if (c->reason != why || strcmp(c->why, last) == 0) continue;
            char text[64];
            buf_addf(out, "  %s: %s\n", fleet_placement_text(&c->placement, text, sizeof text), c->why);
            last = c->why;
            said++;
        }
    }
}

static void add_pair(buf *out, const char *what, const double v[2], double times) {
    buf_addf(out, "  %-24s", what);
    for (int k = 1; k >= 0; k--) {
        if (v[k] > 0)
            buf_addf(out, " %13.4g", v[k] * times);
        else
            buf_addf(out, " %13s", "-");
    }
    if (!(v[0] > 0) && !(v[1] > 0))
        buf_adds(out, "\n");
    else
        buf_addf(out, "  %s\n", v[1] >= v[0] || isnan(v[0]) ? "colocated" : "disaggregate");
}

static void add_sensitivity(const plan_report *r, buf *out) {
    const sensitivity *s = r->sensitivity;
    if (!s || !s->there) return;
    buf_addf(out, "\n  %-24s %13s %13s  better\n", "requests/s/device", "colocated", "disaggregated");
    for (uint32_t i = 0; i < s->row_count; i++) add_pair(out, s->rows[i].what, s->rows[i].per_device, 1);
    buf_adds(out, "  at requests/s/device: % within the limits\n");
    for (size_t i = 0; i < ARRAY_LEN(s->rates); i++) {
        char what[40];
        snprintf(what, sizeof what, "%.4g", s->rates[i].per_device);
        add_pair(out, what, s->rates[i].attainment, 100);
    }
    const ratio *p = &s->paired;
    if (!isnan(p->mean))
        buf_addf(out, "  winner / best of the other kind, same seeds: %.3f (%.3f to %.3f)\n", p->mean, p->low,
                 p->high);
}

/* The fewest devices of a kind that serve the rate which was asked. */
static void add_fewest(const plan_report *r, buf *out) {
    if (!(r->in->rate > 0)) return;
    uint32_t devices, at = plan_fewest(r->found, r->in->rate, &devices);
    char text[64];
    if (at == PLAN_NOBODY || devices > r->in->devices)
        buf_addf(out, "%g requests/s: more than %u devices are needed\n", r->in->rate, r->in->devices);
    else
        buf_addf(out, "%g requests/s: %u devices, %s\n", r->in->rate, devices,
                 fleet_placement_text(&r->found->list.items[at].placement, text, sizeof text));
}

void plan_table_text(const plan_report *r, buf *out) {
    PRE(r);
    PRE(out);
    char limits[128];
    const profile *p = r->in->profile;
    buf_addf(out, "baton-plan " BATON_VERSION ", profile %s (%s), seed %" PRIu64 "\n",
             p->name ? p->name : r->profile_path, p->hash, r->in->seed);
    buf_addf(out, "workload %s: %.4g tokens in, %.4g out; arrivals %s; %s; %g %% of all requests\n",
             r->workload, r->found->demand.prompt_mean, r->found->demand.output_mean, r->arrivals,
             slo_text(&r->in->limits, limits, sizeof limits), r->in->target * 100);
    if (r->found->ratios)
        buf_addf(out, "%u devices: ratios of up to %u devices were searched, the best simulated with %u%s\n",
                 r->in->devices, CANDIDATES_UNIT, r->found->check_devices,
                 r->in->devices > r->found->check_devices ? " and repeated" : "");
    buf_addf(out, "\n");
    add_best(r, out);
    add_rejected(r, out);
    add_sensitivity(r, out);
    buf_adds(out, "\n");
    add_fewest(r, out);
    buf_addf(out, "%s\n", r->verdict->text);
}

/* ---- CSV ---- */

static void add_number(buf *out, double v) {
    if (isfinite(v))
        buf_addf(out, ",%.9g", v);
    else
        buf_adds(out, ",");
}

/* A text as one field */
static void add_field(buf *out, const char *text) {
    buf_adds(out, "\"");
    for (; *text; text++) buf_addf(out, *text == '"' ? "\"%c" : "%c", *text);
    buf_adds(out, "\"");
}

static void add_csv(const plan_report *r, buf *out, const candidate *c) {
    char text[64];
    add_field(out, fleet_placement_text(&c->placement, text, sizeof text));
    buf_addf(out, ",%s,%u,%u,%u", c->colocated ? "colocated" : "disaggregated", c->devices, rows_of(c),
             c->placement.roles[c->colocated ? ROLE_COLOCATED : ROLE_PREFILL].chunk_tokens);
    bool simulated = c->found && c->reason == REJECT_NOT;
    interval v = simulated ? plan_goodput(c) : (interval){NAN, NAN, NAN, 0};
    const judge_point *p = simulated ? plan_point_at_goodput(c) : NULL;
    add_number(out, v.mean * c->devices);
    add_number(out, v.mean);
    add_number(out, v.low);
    add_number(out, v.high);
    add_number(out, c->bound);
    for (int i = 0; i < 3; i += 2) add_number(out, p ? p->ttft_ms[i] : NAN);
    for (int i = 0; i < 3; i += 2) add_number(out, p ? p->tpot_ms[i] : NAN);
    buf_addf(out, ",%s,", c->reason == REJECT_NOT ? "" : reject_name(c->reason));
    add_field(out, c->reason == REJECT_NOT ? simulated ? c->found->why : "" : c->why);
    buf_addf(out, ",%s,%" PRIu64 "," BATON_VERSION "\n", r->in->profile->hash, r->in->seed);
}

void plan_table_csv(const plan_report *r, buf *out) {
    PRE(r);
    PRE(out);
    buf_adds(out, "placement,kind,devices,rows,chunk_tokens,goodput,per_device,low,high,bound,ttft_p50_ms,"
                  "ttft_p99_ms,tpot_p50_ms,tpot_p99_ms,rejected,why,profile,seed,version\n");
    uint32_t *order = xcalloc(r->found->list.count + 1, sizeof *order), n = plan_ranking(r->found, order);
    for (uint32_t i = 0; i < n; i++) add_csv(r, out, &r->found->list.items[order[i]]);
    for (uint32_t i = 0; i < r->found->list.count; i++)
        if (r->found->list.items[i].reason != REJECT_NOT) add_csv(r, out, &r->found->list.items[i]);
    free(order);
}
