#include "planner/search/plan_text.h"

#include <math.h>
#include <stdlib.h>

static json_t *real(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *texts(const char *text) {
    return text ? json_string(text) : json_null();
}

static json_t *limit_json(const slo *s) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "ttft_ms", real(s->ttft_ms), "tpot_ms", real(s->tpot_ms),
                     "itl_p99_ms", real(s->itl_p99_ms), "itl_max_ms", real(s->itl_max_ms), "e2e_ms",
                     real(s->e2e_ms));
}

static json_t *percentiles(const double v[3]) {
    return json_pack("[o, o, o]", real(v[0]), real(v[1]), real(v[2]));
}

static json_t *roles_json(const fleet_placement *p) {
    json_t *all = json_object();
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        const fleet_role *r = &p->roles[role];
        if (!r->count) continue;
        json_object_set_new(all, worker_role_name(role),
                            json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "count", (int)r->count,
                                      "tp", (int)r->tp, "pp", (int)r->pp, "devices_each", (int)r->devices,
                                      "kv_pages", (int)r->kv_pages, "max_seqs", (int)r->max_seqs,
                                      "token_budget", (int)r->max_rows, "chunk_tokens",
                                      (int)r->chunk_tokens));
    }
    return all;
}

static json_t *points_json(const judge_goodput *g) {
    json_t *all = json_array();
    for (uint32_t i = 0; i < g->count; i++) {
        const judge_point *p = &g->points[i];
        json_array_append_new(
            all, json_pack("{s:f, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:i, s:I, s:I, s:o, s:o, s:o, s:f, s:f, "
                           "s:f}",
                           "rate", p->rate, "attainment", real(p->attainment.mean), "low",
                           real(p->attainment.low), "high", real(p->attainment.high), "attainment_ttft",
                           real(p->attainment_ttft), "attainment_tpot", real(p->attainment_tpot), "unstable",
                           p->unstable, "settled", p->settled, "seeds", (int)p->seeds, "requests",
                           (json_int_t)p->requests, "steps_outside", (json_int_t)p->steps_outside, "ttft_ms",
                           percentiles(p->ttft_ms), "tpot_ms", percentiles(p->tpot_ms), "itl_p99_ms",
                           percentiles(p->itl_ms), "prefill_busy", p->prefill_busy, "decode_busy",
                           p->decode_busy, "pages_most", p->pages_most));
    }
    return all;
}

static json_t *candidate_json(const candidate *c) {
    char text[64];
    json_t *j = json_pack("{s:s, s:s, s:i, s:o, s:o}", "placement",
                          fleet_placement_text(&c->placement, text, sizeof text), "kind",
                          c->colocated ? "colocated" : "disaggregated", "devices", (int)c->devices, "roles",
                          roles_json(&c->placement), "bound_per_device", real(c->bound));
    if (c->colocated)
        json_object_set_new(j, "policy",
                            json_string(c->placement.prefill_first ? "prefill_first" : "chunked"));
    if (c->reason != REJECT_NOT) {
        json_object_set_new(j, "rejected", json_string(reject_name(c->reason)));
        json_object_set_new(j, "why", json_string(c->why));
    }
    if (!c->found) return j;
    interval v = plan_goodput(c);
    json_object_update_new(j, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:o}", "goodput",
                                        real(v.mean * c->devices), "per_device", real(v.mean), "low",
                                        real(v.low), "high", real(v.high), "highest_pass",
                                        real(c->found->result.pass), "lowest_fail",
                                        real(c->found->result.fail), "limited_by", c->found->why, "interval",
                                        c->narrow ? "narrow" : "coarse", "simulated_requests",
                                        (json_int_t)c->found->simulated, "points", points_json(c->found)));
    return j;
}

static json_t *index_json(uint32_t i) {
    return i == PLAN_NOBODY ? json_null() : json_integer(i);
}

static json_t *ratio_json(ratio r) {
    return isnan(r.mean)
               ? json_null()
               : json_pack("{s:f, s:o, s:o}", "mean", r.mean, "low", real(r.low), "high", real(r.high));
}

static json_t *sensitivity_json(const sensitivity *s) {
    if (!s || !s->there) return json_null();
    json_t *rows = json_array(), *rates = json_array();
    for (uint32_t i = 0; i < s->row_count; i++)
        json_array_append_new(rows, json_pack("{s:s, s:o, s:o}", "what", s->rows[i].what, "disaggregated",
                                              real(s->rows[i].per_device[0]), "colocated",
                                              real(s->rows[i].per_device[1])));
    for (size_t i = 0; i < ARRAY_LEN(s->rates); i++)
        json_array_append_new(rates, json_pack("{s:o, s:o, s:o}", "per_device", real(s->rates[i].per_device),
                                               "disaggregated", real(s->rates[i].attainment[0]), "colocated",
                                               real(s->rates[i].attainment[1])));
    return json_pack("{s:o, s:o, s:s}", "goodput", rows, "attainment", rates, "flips", s->flips);
}

static json_t *fewest_json(const plan_report *r) {
    if (!(r->in->rate > 0)) return json_null();
    uint32_t devices, at = plan_fewest(r->found, r->in->rate, &devices);
    if (at == PLAN_NOBODY || devices > r->in->devices) return json_null();
    return json_pack("{s:f, s:i, s:o}", "rate", r->in->rate, "devices", (int)devices, "candidate",
                     index_json(at));
}

json_t *plan_json(const plan_report *r) {
    PRE(r);
    const plan_input *in = r->in;
    const plan_outcome *o = r->found;
    json_t *all = json_array(), *counts = json_object();
    for (uint32_t i = 0; i < o->list.count; i++)
        json_array_append_new(all, candidate_json(&o->list.items[i]));
    for (reject_reason why = REJECT_NOT + 1; why < REJECT_REASONS; why++)
        json_object_set_new(counts, reject_name(why), json_integer(plan_rejected(o, why)));
    json_t *j = json_pack("{s:s, s:s, s:{s:o, s:o, s:o, s:s, s:b}, s:I, s:i, s:f, s:o, s:f}", "schema",
                          "baton-plan-search/1", "version", BATON_VERSION, "profile", "path",
                          texts(r->profile_path), "name", texts(in->profile->name), "model",
                          texts(in->profile->model), "hash", in->profile->hash, "link_known",
                          in->profile->link.known, "seed", (json_int_t)in->seed, "devices", (int)in->devices,
                          "target", in->target, "limits", limit_json(&in->limits), "rate", in->rate);
    json_object_set_new(j, "workload",
                        json_pack("{s:s, s:s, s:f, s:f, s:i, s:i}", "name", r->workload, "arrivals",
                                  r->arrivals, "prompt_tokens", o->demand.prompt_mean, "output_tokens",
                                  o->demand.output_mean, "prompt_p99", (int)o->demand.prompt_p99,
                                  "tokens_p99", (int)o->demand.tokens_p99));
    json_object_set_new(j, "fewest_devices", fewest_json(r));
    json_object_set_new(j, "sensitivity", sensitivity_json(r->sensitivity));
    json_object_update_new(j, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:b, s:i, s:o, s:o}", "verdict",
                                        r->verdict->text, "answer", plan_answer_name(r->verdict->answer),
                                        "paired_ratio", ratio_json(r->verdict->paired), "winner",
                                        index_json(o->best), "best_disaggregated", index_json(o->best_of[0]),
                                        "best_colocated", index_json(o->best_of[1]), "simulated_requests",
                                        (json_int_t)o->simulated, "ratios", o->ratios, "devices_simulated",
                                        (int)o->check_devices, "rejected", counts, "candidates", all));
    return j;
}
