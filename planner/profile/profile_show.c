#include "planner/profile/profile_show.h"

#include "base/mem.h"

#include <math.h>

static const char *or_unknown(const char *text) {
    return text ? text : "unknown";
}

static const char *bound(double v, char *out, size_t size) {
    if (isinf(v))
        snprintf(out, size, "no bound");
    else
        snprintf(out, size, "%.9g", v);
    return out;
}

static void show_error(FILE *out, const profile_error *e) {
    if (isnan(e->mean))
        fprintf(out, "error unknown");
    else
        fprintf(out, "error mean %.1f %%, P90 %.1f %%, most %.1f %% (%u points left out one by one)",
                100 * e->mean, 100 * e->p90, 100 * e->max, e->points);
}

static void show_curve(FILE *out, const char *phase, const char *x, const char *y, const step_cost *c,
                       const profile_error *e, double cv) {
    char x_max[32], y_max[32];
    if (!c->count) {
        fprintf(out, "  %-8s no profile\n", phase);
        return;
    }
    fprintf(out, "  %-8s %s %.9g to %s, %s up to %s; ", phase, x, c->x_min,
            bound(c->x_max, x_max, sizeof x_max), y, bound(c->y_max, y_max, sizeof y_max));
    show_error(out, e);
    fprintf(out, "; cv %.3f\n", cv);
    if (c->count == 1) {
        fprintf(out, "           %.6g ms + %.6g us per unit of %s + %.6g ns per unit of %s\n",
                step_cost_intercept_ns(c) / 1e6, c->rise_ns / 1e3, x, c->knots[0].slope_ns, y);
        return;
    }
    for (uint32_t i = 0; i < c->count; i++)
        fprintf(out, "           at %.9g: %.6g ms + %.6g ns per unit of %s\n", c->knots[i].x,
                c->knots[i].base_ns / 1e6, c->knots[i].slope_ns, y);
}

static void show_engine(FILE *out, const profile_engine *e) {
    for (worker_role r = 0; r < ROLE_COUNT; r++)
        if (e->roles[r]) fprintf(out, "%s ", worker_role_name(r));
    fprintf(out, "tp %u, pp %u, %u device%s: ", e->tp, e->pp, e->devices, e->devices > 1 ? "s" : "");
    if (e->kv_pages)
        fprintf(out, "%u KV pages", e->kv_pages);
    else
        fprintf(out, "KV pages unknown");
    if (e->max_seqs) fprintf(out, ", %u sequences", e->max_seqs);
    fprintf(out, "\n");
    show_curve(out, "prefill", "tokens", "squares", &e->prefill, &e->prefill_error, e->prefill_cv);
    show_curve(out, "decode", "sequences", "context", &e->decode, &e->decode_error, e->decode_cv);
    if (e->prefill.count && e->decode.count) {
        fprintf(out, "  mixed    %.3g %% of the smaller intercept is saved; ", 100 * e->shared);
        show_error(out, &e->mixed_error);
        fprintf(out, "\n");
    }
    fprintf(out, "  between steps %.4g us", e->gap_ns / 1e3);
    if (e->slowed_by_prefill || e->slowed_by_decode)
        fprintf(out, "; prefill slowed by a neighbour's prefill %.3g, decode %.3g", e->slowed_by_prefill,
                e->slowed_by_decode);
    if (e->decode_slowed_by_prefill || e->decode_slowed_by_decode)
        fprintf(out, "; decode slowed by a neighbour's prefill %.3g, decode %.3g",
                e->decode_slowed_by_prefill, e->decode_slowed_by_decode);
    fprintf(out, "\n");
}

void profile_show(FILE *out, const profile *p) {
    PRE(out);
    PRE(p);
    fprintf(out, "profile %s, hash %s: model %s, machine %s, from %s", or_unknown(p->name), p->hash,
            or_unknown(p->model), or_unknown(p->machine), or_unknown(p->source));
    if (p->date) fprintf(out, ", %s", p->date);
    fprintf(out, "\n");
    for (uint32_t i = 0; i < p->engine_count; i++) show_engine(out, &p->engines[i]);
    const profile_link *l = &p->link;
    if (!l->known) {
        fprintf(out, "link unknown\n");
    } else {
        fprintf(out, "link %.4g MB/s, latency %.4g us, KV %.6g bytes per token in %u layers",
                l->bytes_per_s / 1e6, l->latency_ns / 1e3, l->kv_token_bytes, l->layers);
        if (l->fabric_bytes_per_s > 0) fprintf(out, ", all together %.4g MB/s", l->fabric_bytes_per_s / 1e6);
        fprintf(out, "\n");
    }
    const profile_overheads *o = &p->overheads;
    fprintf(out, "a request besides: arrive %.4g us, dispatch %.4g us, emit %.4g us, hand-off %.4g us\n",
            o->arrive_ns / 1e3, o->dispatch_ns / 1e3, o->emit_ns / 1e3, o->handoff_ns / 1e3);
    if (p->max_context) fprintf(out, "context at most %u tokens\n", p->max_context);
}

int profile_exit_code(status st) {
    if (st == ST_OK) return 0;
    return st == ST_CORRUPT ? 4 : st == ST_INVALID ? 2 : 1;
}
