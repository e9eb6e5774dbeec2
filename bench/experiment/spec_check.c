#include "bench/experiment/spec_check.h"

#include "base/mem.h"
#include "bench/experiment/cluster_config.h"
#include "checkpoint/arch_keys.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-"

spec_machine spec_machine_here(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    spec_machine m = {.cores = cores > 0 ? (uint32_t)cores : 1};
    DIR *dev = opendir("/dev");
    if (!dev) return m;
    for (const struct dirent *e; (e = readdir(dev));)
        m.gpus += strncmp(e->d_name, "nvidia", 6) == 0 && isdigit((unsigned char)e->d_name[6]);
    closedir(dev);
    return m;
}

/* ---- names ---- */

/* Names become names of folders, and parts of them. */
static void check_name(const char *what, const char *name, spec_texts *to) {
    if (strspn(name, NAME_CHARS) != strlen(name) || name[0] == '.' || strlen(name) > 80)
        spec_texts_addf(to, "%s \"%s\": want a name of at most 80 letters, digits and . _ + - only", what,
                        name);
}

/* Names stand at the same offset of each item. */
static void check_names(const char *what, const void *items, uint32_t count, size_t size, size_t offset,
                        spec_texts *to) {
    for (uint32_t i = 0; i < count; i++) {
        const char *name = *(char *const *)((const char *)items + i * size + offset);
        check_name(what, name, to);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(name, *(char *const *)((const char *)items + k * size + offset)) == 0)
                spec_texts_addf(to, "%s \"%s\" stands twice", what, name);
    }
}

/* ---- workloads, SLOs, seeds ---- */

static void check_rates(const spec_workload *w, const char *key, const spec_numbers *rates, spec_texts *to) {
    for (uint32_t i = 1; i < rates->count; i++)
        if (rates->items[i] <= rates->items[i - 1])
            spec_texts_addf(to, "workload %s: %s must ascend: %g does not follow %g", w->name, key,
                            rates->items[i], rates->items[i - 1]);
}

static void check_workload(const spec_workload *w, spec_texts *to) {
    if (!w->kind && !(w->input_len && w->output_len))
        spec_texts_addf(to, "workload %s: give input_len and output_len, or `workload: NAME or FILE`",
                        w->name);
    if (w->kind && strchr(w->kind, '/') && access(w->kind, R_OK) != 0)
        spec_texts_addf(
            to, "workload %s: cannot read %s: paths are from the directory in which baton-bench is started",
            w->name, w->kind);
    if (!w->rates.count && !w->rates_per_device.count)
        spec_texts_addf(to, "workload %s: give rates or rates_per_device", w->name);
    if (w->rates.count && w->rates_per_device.count)
        spec_texts_addf(to, "workload %s: give rates or rates_per_device, not both", w->name);
    check_rates(w, "rates", &w->rates, to);
    check_rates(w, "rates_per_device", &w->rates_per_device, to);
}

static const spec_slo *find_slo(const spec *s, const char *name) {
    for (uint32_t i = 0; i < s->slo_count; i++)
        if (strcmp(s->slos[i].name, name) == 0) return &s->slos[i];
    return NULL;
}

static void check_seeds(const char *key, const spec_numbers *seeds, spec_texts *to) {
    if (!seeds->count) spec_texts_addf(to, "%s is empty: want whole numbers, such as [1, 2, 3, 4, 5]", key);
    for (uint32_t i = 0; i < seeds->count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (seeds->items[i] == seeds->items[k])
                spec_texts_addf(to, "%s: %.0f stands twice", key, seeds->items[i]);
}

static void check_lists(const spec *s, spec_texts *to) {
    check_name("the experiment's name", s->name, to);
    if (!s->placement_count) spec_texts_addf(to, "placements is empty");
    if (!s->workload_count) spec_texts_addf(to, "workloads is empty");
    if (!s->slo_count) spec_texts_addf(to, "slos is empty: rows are judged by an SLO at least");
    check_names("placement", s->placements, s->placement_count, sizeof *s->placements,
                offsetof(spec_placement, name), to);
    check_names("workload", s->workloads, s->workload_count, sizeof *s->workloads,
                offsetof(spec_workload, name), to);
    check_names("SLO", s->slos, s->slo_count, sizeof *s->slos, offsetof(spec_slo, name), to);
    for (uint32_t i = 0; i < s->workload_count; i++) check_workload(&s->workloads[i], to);
    for (uint32_t i = 0; i < s->slo_count; i++) {
        const spec_slo *o = &s->slos[i];
        if (!(o->ttft > 0) && !(o->tpot > 0) && !(o->itl_p99 > 0) && !(o->itl_max > 0) && !(o->e2e > 0))
            spec_texts_addf(to, "SLO %s has no limit: give ttft and tpot in ms", o->name);
    }
    check_seeds("seeds", &s->seeds, to);
    bool found = !s->aa[0];
    for (uint32_t i = 0; i < s->placement_count; i++) {
        const spec_placement *p = &s->placements[i];
        found = found || strcmp(p->name, s->aa) == 0;
        check_names("variant", p->variants, p->variant_count, sizeof *p->variants,
                    offsetof(spec_variant, name), to);
        if (p->variant_count) check_seeds("tune.seeds", &s->tune.seeds, to);
    }
    if (!found) spec_texts_addf(to, "aa: there is no placement \"%s\"", s->aa);
    if (strcmp(s->tune.by, "median") != 0 && !find_slo(s, s->tune.by))
        spec_texts_addf(to, "tune.by: \"%s\" is neither median nor the name of an SLO", s->tune.by);
}

/* ---- placements ---- */

/* Heads and heads of keys of the model; false: it cannot be said (start says why). */
static bool model_heads(const char *path, uint32_t *heads, uint32_t *kv_heads) {
    checkpoint *c = NULL;
    if (checkpoint_open(&c, path, NULL) != ST_OK) return false;
    const arch_number key = {"attention.head_count", 1, 65536, 0};
    bool ok = arch_number_get(c, key, heads, NULL) == ST_OK;
    const arch_number kv = {"attention.head_count_kv", 1, 65536, ok ? *heads : 1};
    ok = ok && arch_number_get(c, kv, kv_heads, NULL) == ST_OK;
    checkpoint_close(c);
    return ok;
}

/* Judged on a cluster without tp and pp, since the config refuses what is not built before anything else. */
static void check_heads(const spec *s, const spec_placement *p, const char *where, bool quick,
                        spec_texts *to) {
    spec_placement plain = *p;
    const struct {
        const char *name;
        spec_role *role;
    } roles[] = {{"prefill", &plain.prefill}, {"decode", &plain.decode}, {"colocated", &plain.colocated}};
    uint32_t tp[ARRAY_LEN(roles)], most = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(roles); i++) {
        tp[i] = roles[i].role->count ? roles[i].role->tp : 0;
        most = MAX(most, tp[i]);
        if (roles[i].role->tp) roles[i].role->tp = 1;
        if (roles[i].role->pp) roles[i].role->pp = 1;
    }
    config *c = NULL;
    uint32_t heads, kv_heads;
    if (most < 2 || cluster_config(&c, s, &plain, NULL, quick, NULL, NULL) != ST_OK) return;
    if (model_heads(c->model.path, &heads, &kv_heads)) {
        for (uint32_t i = 0; i < ARRAY_LEN(roles); i++)
            if (tp[i] > 1 && (heads % tp[i] || (kv_heads % tp[i] && tp[i] % kv_heads)))
                spec_texts_addf(to,
                                "%s: %s.tp %u does not divide the model's %u heads (%u of keys and values)",
                                where, roles[i].name, tp[i], heads, kv_heads);
    }
    config_free(c);
}

static void check_gpus(const config *c, const char *where, uint32_t gpus, spec_texts *to) {
    bool elsewhere =
        c->cluster.hosts_count || c->prefill.hosts_count || c->decode.hosts_count || c->colocated.hosts_count;
    if (strcmp(c->model.backend, "cuda") != 0 || c->cluster.oversubscribe || elsewhere) return;
    uint32_t asked = cluster_devices(c);
    if (asked > gpus)
        spec_texts_addf(to,
                        "%s: asks for %u GPUs on this machine, which has %u: lower count, add hosts, or set "
                        "cluster.oversubscribe=true",
                        where, asked, gpus);
}

static void check_cluster(const spec *s, const spec_placement *p, const spec_variant *v, bool quick,
                          spec_machine machine, spec_facts *facts, spec_texts *to) {
    char where[224];
    snprintf(where, sizeof where, v ? "placement %s, variant %s" : "placement %s", p->name, v ? v->name : "");
    if (!v || v == p->variants) check_heads(s, p, where, quick, to);
    config *c = NULL;
    char *text = NULL;
    errbuf eb = {0};
    status st = cluster_config(&c, s, p, v, quick, NULL, &eb);
    if (st == ST_OK) {
        *facts = (spec_facts){.devices = cluster_devices(c), .workers = cluster_workers(c)};
        check_gpus(c, where, machine.gpus, to);
        st = config_check_text(c, machine.cores, &text, &eb);
    }
    if (st != ST_OK) spec_texts_addf(to, "%s: %s", where, eb.text);
    free(text);
    config_free(c);
}

void spec_check(const spec *s, bool quick, spec_machine machine, spec_facts *facts, spec_texts *problems) {
    PRE(s);
    PRE((facts || !s->placement_count));
    PRE(problems);
    PRE(machine.cores > 0);
    check_lists(s, problems);
    for (uint32_t i = 0; i < s->placement_count; i++) {
        const spec_placement *p = &s->placements[i];
        facts[i] = (spec_facts){0};
        if (!p->variant_count) check_cluster(s, p, NULL, quick, machine, &facts[i], problems);
        for (uint32_t v = 0; v < p->variant_count; v++)
            check_cluster(s, p, &p->variants[v], quick, machine, &facts[i], problems);
    }
}
