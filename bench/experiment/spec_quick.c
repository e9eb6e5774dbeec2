#include "bench/experiment/spec_quick.h"

#include "base/mem.h"
#include "bench/experiment/spec_keys.h"

#include <stdlib.h>
#include <string.h>

/* Moves *from to *to where it is given. */
static void take_text(char **to, char **from) {
    if (!*from) return;
    free(*to);
    *to = *from;
    *from = NULL;
}

static void take_texts(spec_texts *to, spec_texts *from) {
    if (!from->count) return;
    spec_texts old = *to;
    *to = *from;
    *from = old;
}

static void take_numbers(spec_numbers *to, spec_numbers *from) {
    if (!from->count) return;
    spec_numbers old = *to;
    *to = *from;
    *from = old;
}

static void override_workload(spec_workload *w, spec_workload *by) {
    bool rates = by->rates.count || by->rates_per_device.count;
    for (uint32_t i = 0; i < spec_workload_table.count; i++) {
        const spec_key *k = &spec_workload_table.keys[i];
        void *to = (char *)w + k->offset, *from = (char *)by + k->offset;
        if (k->type == SPEC_TEXT || k->type == SPEC_NUMBER_TEXT) take_text(to, from);
        if (k->type == SPEC_TEXTS) take_texts(to, from);
        if (k->type != SPEC_NUMBERS) continue;
        if (rates) ((spec_numbers *)to)->count = 0; /* one kind of rates replaces the other */
        take_numbers(to, from);
    }
    if (by->tune_rate > 0) w->tune_rate = by->tune_rate;
}

static bool is_wanted(const spec *s, const char *name) {
    const spec_texts *want = &s->quick.placements;
    for (uint32_t i = 0; i < want->count; i++)
        if (strcmp(want->items[i], name) == 0) return true;
    return !want->count;
}

static status pick_placements(spec *s, errbuf *eb) {
    const spec_texts *want = &s->quick.placements;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < want->count; i++) {
        uint32_t at = 0;
        while (at < s->placement_count && strcmp(s->placements[at].name, want->items[i]) != 0) at++;
        if (at == s->placement_count)
            return errf(eb, ST_INVALID, "quick.placements: there is no placement \"%s\"", want->items[i]);
    }
    for (uint32_t at = 0; at < s->placement_count; at++) {
        if (is_wanted(s, s->placements[at].name))
            s->placements[kept++] = s->placements[at];
        else
            spec_map_done(&spec_placement_table, &s->placements[at]);
    }
    s->placement_count = kept;
    return ST_OK;
}

static status pick_workloads(spec *s, errbuf *eb) {
    for (uint32_t i = 0; i < s->quick.workload_count; i++) {
        spec_workload *by = &s->quick.workloads[i];
        uint32_t at = i;
        while (at < s->workload_count && strcmp(s->workloads[at].name, by->name) != 0) at++;
        if (at == s->workload_count)
            return errf(eb, ST_INVALID, "quick.workloads: there is no workload \"%s\", or it stands twice",
                        by->name);
        spec_workload w = s->workloads[i];
        s->workloads[i] = s->workloads[at];
        s->workloads[at] = w;
        override_workload(&s->workloads[i], by);
    }
    if (!s->quick.workload_count) return ST_OK;
    while (s->workload_count > s->quick.workload_count)
        spec_map_done(&spec_workload_table, &s->workloads[--s->workload_count]);
    return ST_OK;
}

status spec_make_quick(spec *s, errbuf *eb) {
    PRE(s);
    if (!s->quick.given)
        return errf(eb, ST_INVALID, "%s has no quick: section, which says what --quick runs", s->name);
    status st = pick_placements(s, eb);
    if (st == ST_OK) st = pick_workloads(s, eb);
    if (st != ST_OK) return st;
    if (!s->quick.aa || !is_wanted(s, s->aa)) s->aa[0] = 0;
    take_numbers(&s->seeds, &s->quick.seeds);
    if (s->quick.warmup_s > 0) s->warmup_s = s->quick.warmup_s;
    if (s->quick.window_s > 0) s->window_s = s->quick.window_s;
    return ST_OK;
}
