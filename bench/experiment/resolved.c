#include "bench/experiment/resolved.h"

#include "base/mem.h"
#include "base/status.h"
#include "bench/experiment/cluster_config.h"
#include "bench/experiment/spec_keys.h"

#include <stdlib.h>
#include <string.h>

static json_t *texts_json(const spec_texts *t) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < t->count; i++) json_array_append_new(list, json_string(t->items[i]));
    return list;
}

static json_t *numbers_json(const spec_numbers *n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n->count; i++) json_array_append_new(list, json_real(n->items[i]));
    return list;
}

static json_t *placement_json(const spec *s, const spec_placement *p, const spec_facts *f, bool quick,
                              bool again) {
    config *c = NULL;
    char *words = NULL;
    if (cluster_config(&c, s, p, p->variants, quick, NULL, NULL) == ST_OK) words = cluster_words(c);
    char *name = xasprintf("%s%s", p->name, again ? "-again" : "");
    json_t *j =
        json_pack("{s:s, s:b, s:i, s:i, s:s?, s:o, s:s?, s:b}", "name", name, "baseline", p->baseline,
                  "devices", (int)f->devices, "workers", (int)f->workers, "words", words, "set",
                  texts_json(&p->sets), "again_of", again ? p->name : NULL, "tuned", p->variant_count > 1);
    free(name);
    free(words);
    config_free(c);
    return j;
}

static json_t *workload_json(const spec_workload *w) {
    json_t *parameters = json_object();
    for (uint32_t i = 0; i < spec_workload_table.count; i++) {
        const spec_key *k = &spec_workload_table.keys[i];
        const char *text = k->type == SPEC_TEXT || k->type == SPEC_NUMBER_TEXT
                               ? *(char *const *)((const char *)w + k->offset)
                               : NULL;
        if (text && text != w->name) json_object_set_new(parameters, k->name, json_string(text));
    }
    bool per_device = w->rates_per_device.count > 0;
    return json_pack("{s:s, s:o, s:b, s:o}", "name", w->name, "rates",
                     numbers_json(per_device ? &w->rates_per_device : &w->rates), "per_device", per_device,
                     "parameters", parameters);
}

static json_t *limit(double ms) {
    return ms > 0 ? json_real(ms) : json_null();
}

static json_t *slo_json(const spec_slo *o) {
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "name", o->name, "ttft_ms", limit(o->ttft), "tpot_ms",
                     limit(o->tpot), "itl_p99_ms", limit(o->itl_p99), "itl_max_ms", limit(o->itl_max),
                     "e2e_ms", limit(o->e2e));
}

json_t *resolved_json(const spec *s, const spec_facts *facts, const plan *p, bool quick) {
    PRE(s);
    PRE(facts);
    PRE(p);
    json_t *placements = json_array(), *workloads = json_array(), *slos = json_array(), *cells = json_array();
    for (uint32_t i = 0; i < s->placement_count; i++) {
        const spec_placement *of = &s->placements[i];
        json_array_append_new(placements, placement_json(s, of, &facts[i], quick, false));
        if (s->aa[0] && strcmp(s->aa, of->name) == 0)
            json_array_append_new(placements, placement_json(s, of, &facts[i], quick, true));
    }
    for (uint32_t i = 0; i < s->workload_count; i++)
        json_array_append_new(workloads, workload_json(&s->workloads[i]));
    for (uint32_t i = 0; i < s->slo_count; i++) json_array_append_new(slos, slo_json(&s->slos[i]));
    for (uint32_t i = 0; i < p->count; i++) json_array_append_new(cells, json_string(p->cells[i].name));
    json_t *j = json_pack("{s:s, s:s, s:s, s:b, s:f, s:o, s:f, s:f, s:s, s:s, s:o, s:o, s:o, s:o}", "schema",
                          "baton-experiment/1", "name", s->name, "title", s->title, "quick", quick, "target",
                          s->target, "seeds", numbers_json(&s->seeds), "warmup_s", s->warmup_s, "window_s",
                          s->window_s, "order", s->order, "aa", s->aa, "placements", placements, "workloads",
                          workloads, "slos", slos, "cells", cells);
    CHECK(j);
    return j;
}
