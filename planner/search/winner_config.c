#include "planner/search/winner_config.h"

#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETS_MAX          64u
#define REQUESTS_MOST     1000000u
#define MOCKS_PER_PROCESS 16u

typedef struct sets {
    char *items[SETS_MAX]; /* [count]; owned */
    uint32_t count;
} sets;

static void set(sets *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void set(sets *s, const char *fmt, ...) {
    CHECK(s->count < SETS_MAX);
    va_list args;
    va_start(args, fmt);
    char text[1024];
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->items[s->count++] = xstrdup(text);
}

static void sets_done(sets *s) {
    for (uint32_t i = 0; i < s->count; i++) free(s->items[i]);
}

static status load(config **out, const char *path, const sets *s, errbuf *eb) {
    return config_load(out, path, (const char *const *)s->items, s->count, eb);
}

/* A file of the text, which is gone when it has been read. */
static status load_text(config **out, const char *text, const sets *s, errbuf *eb) {
    char path[] = "/tmp/baton-plan-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return errf(eb, ST_IO, "%s: %m", path);
    size_t len = strlen(text);
    status st = write(fd, text, len) == (ssize_t)len ? ST_OK : errf(eb, ST_IO, "%s: %m", path);
    close(fd);
    if (st == ST_OK) st = load(out, path, s, eb);
    unlink(path);
    return st;
}

static const char mock_base[] = "cluster: {name: planned, oversubscribe: true}\n"
                                "model: {path: 'random:mock', served_model_name: planned, backend: mock}\n"
                                "handoff: {ring_slots: 8, slot_kb: 256, segment_kb: 64}\n";

static void set_role(sets *s, const config *base, const fleet_placement *p, worker_role role) {
    const char *name = worker_role_name(role);
    const fleet_role *r = &p->roles[role];
    set(s, "%s.count=%u", name, r->count);
    if (!r->count) return;
    bool cores = strcmp(base->model.backend, "cuda") != 0 && strcmp(base->model.backend, "mock") != 0;
    if (cores) set(s, "%s.cores=%u", name, r->devices);
    set(s, "%s.kv_pages=%u", name, r->kv_pages);
    set(s, "%s.max_seqs=%u", name, r->max_seqs);
    set(s, "%s.token_budget=%u", name, r->max_rows);
    if (role == ROLE_DECODE) return;
    set(s, "%s.chunk_tokens=%u", name, r->chunk_tokens);
    if (role == ROLE_COLOCATED) set(s, "colocated.policy=%s", p->prefill_first ? "prefill_first" : "chunked");
}

/* Room for all that the workers may hold, twice: a search sees no bound on the queue. */
static void set_limits(sets *s, const config *base, const fleet_placement *p, uint32_t workers) {
    uint64_t held = 0;
    uint32_t most = 1;
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        held += (uint64_t)p->roles[role].count * p->roles[role].max_seqs;
        most = MAX(most, p->roles[role].count);
    }
    uint32_t requests = (uint32_t)MIN(2 * held, REQUESTS_MOST);
    set(s, "limits.max_requests=%u", MAX(base->limits.max_requests, requests));
    set(s, "limits.max_queue=%u", MAX(base->limits.max_queue, requests / 2));
    set(s, "limits.max_workers=%u", MAX(base->limits.max_workers, workers));
    if (strcmp(base->model.backend, "mock") == 0 && base->mock.workers_per_process <= 1)
        set(s, "mock.workers_per_process=%u", MIN(most, MOCKS_PER_PROCESS));
}

/* What Baton cannot start yet; "" if nothing. */
static void take_note(char *note, size_t size, const fleet_placement *p, uint32_t workers) {
    note[0] = 0;
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        const fleet_role *r = &p->roles[role];
        if (r->count && (r->tp > 1 || r->pp > 1))
            snprintf(note, size,
                     "Baton does not have tensor and pipeline parallel workers yet: it refuses this file");
    }
    if (workers > WORKERS_MAX)
        snprintf(note, size, "a cluster has at most %u workers: run several with a share of these each",
                 WORKERS_MAX);
}

/* alpha + beta x + gamma y through the curve's origin and its far corner. */
static void add_terms(buf *b, const char *phase, const step_cost *c) {
    double x = c->x_max > 0 && c->x_max < 1e6 ? c->x_max : 1000;
    double y = c->y_max > 0 && c->y_max < 1e12 ? c->y_max : 1e6;
    double alpha = step_cost_intercept_ns(c), at_x = step_cost_ns(c, x, 0), at_y = step_cost_ns(c, x, y);
    buf_addf(b, "%s: {alpha_ms: %.9g, beta_ms: %.9g, gamma_ms: %.9g}\n", phase, alpha / 1e6,
             fmax(0, at_x - alpha) / x / 1e6, fmax(0, at_y - at_x) / y / 1e6);
}

char *winner_latency(const profile *p, const fleet_placement *at) {
    PRE(p);
    PRE(at);
    bool colocated = at->roles[ROLE_COLOCATED].count > 0;
    worker_role first = colocated ? ROLE_COLOCATED : ROLE_PREFILL,
                next = colocated ? ROLE_COLOCATED : ROLE_DECODE;
    const profile_engine *a = profile_find(p, first, at->roles[first].tp, at->roles[first].pp);
    const profile_engine *b = profile_find(p, next, at->roles[next].tp, at->roles[next].pp);
    buf text = {0};
    if (a && a->prefill.count) add_terms(&text, "prefill", &a->prefill);
    if (b && b->decode.count) add_terms(&text, "decode", &b->decode);
    return text.data;
}

status winner_config(char **out, const fleet_placement *p, const winner_base *base, char *note,
                     size_t note_size, errbuf *eb) {
    PRE(out);
    PRE(p);
    PRE(base);
    PRE(note);
    if (base->set_count > SETS_MAX / 2) return errf(eb, ST_INVALID, "--set: at most %u", SETS_MAX / 2);
    sets s = {0};
    if (!base->path && base->latency) set(&s, "mock.latency=%s", base->latency);
    for (uint32_t i = 0; i < base->set_count; i++) set(&s, "%s", base->sets[i]);
    config *from = NULL, *c = NULL;
    status st = base->path ? load(&from, base->path, &s, eb) : load_text(&from, mock_base, &s, eb);
    uint32_t workers = fleet_placement_workers(p);
    take_note(note, note_size, p, workers);
    if (st == ST_OK) {
        fleet_placement shown = *p;
        for (worker_role role = 0; role < ROLE_COUNT && workers > WORKERS_MAX; role++)
            shown.roles[role].count =
                MIN(shown.roles[role].count, WORKERS_MAX / 4); /* loads; put right below */
        for (worker_role role = 0; role < ROLE_COUNT; role++) set_role(&s, from, &shown, role);
        set_limits(&s, from, p, MIN(workers, WORKERS_MAX));
        st = base->path ? load(&c, base->path, &s, eb) : load_text(&c, mock_base, &s, eb);
    }
    if (st == ST_OK) {
        config_role *const roles[ROLE_COUNT] = {&c->prefill, &c->decode, &c->colocated};
        for (worker_role role = 0; role < ROLE_COUNT; role++) {
            const fleet_role *r = &p->roles[role];
            if (!r->count) continue;
            roles[role]->count = r->count;
            roles[role]->tp = r->tp;
            roles[role]->pp = r->pp;
        }
        char text[64], *all = config_text(c);
        *out = xasprintf("# %s: written by baton-plan search\n%s%s%s%s",
                         fleet_placement_text(p, text, sizeof text), note[0] ? "# " : "", note,
                         note[0] ? "\n" : "", all);
        free(all);
    }
    config_free(from);
    config_free(c);
    sets_done(&s);
    return st;
}
