#include "bench/load/facts.h"

#include "base/clock.h"
#include "bench/load/http_fetch.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (4u << 20)
#define SAMPLE_NS  NS_PER_S

typedef struct moment {
    bool health, metrics;  /* told */
    uint64_t at_ns;        /* when it was asked */
    facts_worker *workers; /* [worker_count]; owned */
    uint32_t worker_count;
    double preemptions, replays, cpu_s, cache_queries, cache_hits;
} moment;

struct facts {
    loop *loop;
    http_pool *pool;
    const http_url *url;
    moment begin, end;
    http_fetch *health, *metrics, *sample; /* under way */
    moment *into;                          /* of health and metrics */
    bool between;                          /* begin was, end was not: samples are taken */
    bool end_due;                          /* while begin's answers were under way */
    uint64_t sampled_ns;
    facts_worker *seen; /* [seen_count]: with the most pages that were seen in use; owned */
    uint32_t seen_count;
};

/* ---- reading ---- */

static double number_of(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void copy_text(char *out, size_t size, const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(out, size, "%s", text ? text : "");
}

uint32_t facts_read_health(const char *json, size_t len, facts_worker *out, uint32_t max) {
    PRE(json || len == 0);
    PRE(out);
    json_t *root = json_loadb(json, len, 0, NULL);
    const json_t *list = json_object_get(root, "workers");
    uint32_t count = 0;
    for (size_t i = 0; i < json_array_size(list) && count < max; i++) {
        const json_t *w = json_array_get(list, i), *pages = json_object_get(w, "pages"),
                     *busy = json_object_get(w, "busy_s");
        facts_worker *f = &out[count++];
        copy_text(f->name, sizeof f->name, w, "name");
        copy_text(f->role, sizeof f->role, w, "role");
        f->busy_s[0] = number_of(busy, "prefill");
        f->busy_s[1] = number_of(busy, "decode");
        f->busy_s[2] = number_of(busy, "mixed");
        f->pages_used = number_of(pages, "used");
        f->pages_total = number_of(pages, "total");
    }
    json_decref(root);
    return count;
}

double facts_read_metric(const char *text, const char *name) {
    PRE(text);
    PRE(name);
    size_t len = strlen(name);
    double sum = NAN;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, len) != 0 || (line[len] != ' ' && line[len] != '{')) continue;
        size_t line_len = strcspn(line, "\n");
        const char *value = memchr(line + len, line[len] == '{' ? '}' : ' ', line_len - len);
        if (!value) continue;
        double v = strtod(value + 1, NULL);
        sum = isnan(sum) ? v : sum + v;
    }
    return sum;
}

double facts_read_cache(const char *text, const char *what) {
    PRE(text);
    PRE(what);
    static const char *const names[] = {"vllm:prefix_cache", "vllm:gpu_prefix_cache"};
    double v = NAN;
    for (size_t i = 0; i < ARRAY_LEN(names) && isnan(v); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s_total", names[i], what);
        v = facts_read_metric(text, name);
    }
    return v;
}

/* ---- asking ---- */

static facts_worker *find(facts_worker *list, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    return NULL;
}

/* Notes the most pages in use. */
static void see(facts *f, const facts_worker *workers, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        facts_worker *s = find(f->seen, f->seen_count, workers[i].name);
        if (!s) {
            if (f->seen_count == FACTS_WORKERS_MAX) return;
            f->seen = xrealloc(f->seen, f->seen_count + 1, sizeof *f->seen);
            f->seen[f->seen_count++] = workers[i];
        } else if (workers[i].pages_used > s->pages_used) {
            s->pages_used = workers[i].pages_used;
        }
    }
}

static facts_worker *read_workers(facts *f, const buf *body, uint32_t *count) {
    facts_worker *list = xcalloc(FACTS_WORKERS_MAX, sizeof *list);
    *count = facts_read_health(body->data, body->len, list, FACTS_WORKERS_MAX);
    see(f, list, *count);
    return list;
}

static void ask(facts *f, moment *m);

static void answered(facts *f) {
    if (f->health || f->metrics || !f->end_due) return;
    f->end_due = false;
    ask(f, &f->end);
}

static void on_health(void *ctx, int code, const buf *body, const char *error) {
    facts *f = ctx;
    f->health = NULL;
    if (!error && (code == 200 || code == 503)) {
        f->into->health = true;
        f->into->workers = read_workers(f, body, &f->into->worker_count);
    }
    answered(f);
}

static void on_metrics(void *ctx, int code, const buf *body, const char *error) {
    facts *f = ctx;
    f->metrics = NULL;
    if (!error && code == 200) {
        f->into->metrics = true;
        f->into->preemptions = facts_read_metric(body->data, "vllm:num_preemptions_total");
        f->into->replays = facts_read_metric(body->data, "baton_replays_total");
        f->into->cpu_s = facts_read_metric(body->data, "process_cpu_seconds_total");
        f->into->cache_queries = facts_read_cache(body->data, "queries");
        f->into->cache_hits = facts_read_cache(body->data, "hits");
    }
    answered(f);
}

static void on_sample(void *ctx, int code, const buf *body, const char *error) {
    facts *f = ctx;
    f->sample = NULL;
    if (error || code != 200) return;
    uint32_t count;
    free(read_workers(f, body, &count));
}

static void ask(facts *f, moment *m) {
    f->into = m;
    m->at_ns = clock_now_ns();
    f->health = http_fetch_start(f->pool, f->url, "/health", NULL, ANSWER_MAX, on_health, f);
    f->metrics = http_fetch_start(f->pool, f->url, "/metrics", NULL, ANSWER_MAX, on_metrics, f);
}

/* ---- life ---- */

status facts_new(facts **out, loop *l, const http_url *url, errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(url);
    facts *f = xcalloc(1, sizeof *f);
    f->loop = l;
    f->url = url;
    status st = http_pool_new(&f->pool, loop_base(l), url, eb);
    if (st != ST_OK) {
        free(f);
        return st;
    }
    *out = f;
    return ST_OK;
}

void facts_free(facts *f) {
    if (!f) return;
    http_fetch_cancel(f->health);
    http_fetch_cancel(f->metrics);
    http_fetch_cancel(f->sample);
    http_pool_free(f->pool);
    free(f->begin.workers);
    free(f->end.workers);
    free(f->seen);
    free(f);
}

void facts_begin(facts *f) {
    PRE(f);
    PRE(!f->between);
    f->between = true;
    f->sampled_ns = clock_now_ns();
    ask(f, &f->begin);
}

void facts_end(facts *f) {
    PRE(f);
    if (!f->between) return;
    f->between = false;
    f->end_due = true;
    answered(f);
}

uint64_t facts_turn(facts *f, uint64_t now_ns) {
    PRE(f);
    if (!f->between) return UINT64_MAX;
    if (now_ns >= f->sampled_ns + SAMPLE_NS && !f->sample) {
        f->sampled_ns = now_ns;
        f->sample = http_fetch_start(f->pool, f->url, "/health", NULL, ANSWER_MAX, on_sample, f);
    }
    return MAX(f->sampled_ns + SAMPLE_NS, now_ns + SAMPLE_NS / 10);
}

bool facts_idle(const facts *f) {
    PRE(f);
    return !f->health && !f->metrics && !f->sample && !f->end_due;
}

static int by_name(const void *a, const void *b) {
    return strverscmp(((const facts_worker *)a)->name, ((const facts_worker *)b)->name);
}

double facts_cached_share(const facts *f) {
    PRE(f);
    if (!f->begin.metrics || !f->end.metrics) return NAN;
    double queries = f->end.cache_queries - f->begin.cache_queries;
    return queries > 0 ? (f->end.cache_hits - f->begin.cache_hits) / queries : NAN;
}

void facts_fill(facts *f, run_info *info) {
    PRE(f);
    PRE(info);
    if (f->seen_count) qsort(f->seen, f->seen_count, sizeof *f->seen, by_name);
    double span_s = (double)(f->end.at_ns - f->begin.at_ns) / 1e9;
    bool both = f->begin.metrics && f->end.metrics && span_s > 0;
    info->preemptions = both ? f->end.preemptions - f->begin.preemptions : NAN;
    info->replays = both ? f->end.replays - f->begin.replays : NAN;
    info->coordinator_cpu_share = both ? (f->end.cpu_s - f->begin.cpu_s) / span_s : NAN;
    info->workers = xcalloc(f->seen_count + 1, sizeof *info->workers);
    for (uint32_t i = 0; i < f->seen_count; i++) {
        const facts_worker *s = &f->seen[i], *b = find(f->begin.workers, f->begin.worker_count, s->name),
                           *e = find(f->end.workers, f->end.worker_count, s->name);
        double share[3];
        for (int k = 0; k < 3; k++)
            share[k] = b && e && span_s > 0 ? (e->busy_s[k] - b->busy_s[k]) / span_s : NAN;
        info->workers[info->worker_count++] = (run_worker){.name = xstrdup(s->name),
                                                           .role = xstrdup(s->role),
                                                           .prefill_share = share[0],
                                                           .decode_share = share[1],
                                                           .mixed_share = share[2],
                                                           .pages_used_max = s->pages_used,
                                                           .pages_total = s->pages_total};
    }
}
