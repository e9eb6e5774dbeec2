#include "bench/rows/score.h"

#include "base/mem.h"
#include "base/status.h"
#include "bench/stats/steady.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

slo slo_none(void) {
    return (slo){"", INFINITY, INFINITY, INFINITY, INFINITY, INFINITY};
}

static double *limit_of(slo *s, const char *name, size_t len) {
    const struct {
        const char *name;
        double *limit;
    } limits[] = {{"ttft", &s->ttft_ms},       {"tpot", &s->tpot_ms}, {"itl_p99", &s->itl_p99_ms},
                  {"itl_max", &s->itl_max_ms}, {"e2e", &s->e2e_ms},   {"e2el", &s->e2e_ms}};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        if (strlen(limits[i].name) == len && strncmp(limits[i].name, name, len) == 0) return limits[i].limit;
    return NULL;
}

static status parse_word(slo *s, const char *word, size_t len, errbuf *eb) {
    const char *colon = memchr(word, ':', len);
    int shown = (int)MIN(len, 60u);
    if (!colon)
        return errf(eb, ST_INVALID, "limit '%.*s': want NAME:MILLISECONDS, as in ttft:200", shown, word);
    double *limit = limit_of(s, word, (size_t)(colon - word));
    if (!limit)
        return errf(eb, ST_INVALID, "limit '%.*s': want ttft, tpot, itl_p99, itl_max or e2e (e2el)", shown,
                    word);
    char *end;
    double ms = strtod(colon + 1, &end);
    bool number = end != colon + 1 && end == word + len && colon[1] >= '.' && colon[1] <= '9';
    if (!number || !isfinite(ms) || ms < 0)
        return errf(eb, ST_INVALID, "limit '%.*s': want a number of milliseconds after ':'", shown, word);
    *limit = ms;
    return ST_OK;
}

status slo_parse(slo *s, const char *text, errbuf *eb) {
    PRE(s);
    PRE(text);
    slo got = *s;
    for (const char *word = text;;) {
        size_t len = strcspn(word, ",");
        status st = parse_word(&got, word, len, eb);
        if (st != ST_OK) return st;
        if (!word[len]) break;
        word += len + 1;
    }
    *s = got;
    return ST_OK;
}

const char *slo_text(const slo *s, char *out, size_t size) {
    PRE(s);
    PRE(out);
    PRE(size > 0);
    const struct {
        const char *name;
        double limit;
    } limits[] = {{"ttft", s->ttft_ms},
                  {"tpot", s->tpot_ms},
                  {"itl_p99", s->itl_p99_ms},
                  {"itl_max", s->itl_max_ms},
                  {"e2e", s->e2e_ms}};
    size_t len = 0;
    out[0] = 0;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (!isfinite(limits[i].limit) || len >= size) continue;
        len += (size_t)snprintf(out + len, size - len, "%s%s %.6g ms", len ? ", " : "", limits[i].name,
                                limits[i].limit);
    }
    if (!len) snprintf(out, size, "none");
    return out;
}

/* Only where they are limited; an answer of one token has none and keeps what there is. */
static void take_itls(const slo *s, const row *r, slo_latencies *l) {
    if (isinf(s->itl_p99_ms) && isinf(s->itl_max_ms)) return;
    uint32_t n = row_itls_ms(r, NULL, 0);
    if (!n) return;
    double *itls = xmalloc(n * sizeof *itls);
    row_itls_ms(r, itls, n);
    stats_sort(itls, n);
    l->itl_p99_ms = stats_percentile(itls, n, 99);
    l->itl_max_ms = itls[n - 1];
    free(itls);
}

bool slo_kept(const slo *s, const slo_latencies *l) {
    PRE(s);
    PRE(l);
    return l->ttft_ms <= s->ttft_ms && l->tpot_ms <= s->tpot_ms && l->e2e_ms <= s->e2e_ms &&
           l->itl_p99_ms <= s->itl_p99_ms && l->itl_max_ms <= s->itl_max_ms;
}

bool slo_good(const slo *s, const row *r) {
    PRE(s);
    PRE(r);
    if (r->outcome != ROW_OK) return false;
    slo_latencies l = {.ttft_ms = row_ttft_ms(r), .tpot_ms = row_tpot_ms(r), .e2e_ms = row_e2e_ms(r)};
    take_itls(s, r, &l);
    return slo_kept(s, &l);
}

static double part(uint32_t some, uint32_t all) {
    return all ? (double)some / all : NAN;
}

score score_of(const row_list *l, const slo *s, uint64_t seed, double window_s) {
    PRE(l);
    PRE(s);
    score out = {.window_s = window_s};
    for (size_t i = 0; i < l->count; i++) {
        const row *r = &l->rows[i];
        if (r->phase != ROW_WINDOW || (seed != SCORE_ALL && r->seed != seed)) continue;
        bool ok = r->outcome == ROW_OK;
        out.members++;
        out.ok += ok;
        out.good += slo_good(s, r);
        out.ttft_good += ok && row_ttft_ms(r) <= s->ttft_ms;
        out.tpot_good += ok && row_tpot_ms(r) <= s->tpot_ms;
    }
    out.attainment = part(out.good, out.members);
    out.attainment_ttft = part(out.ttft_good, out.members);
    out.attainment_tpot = part(out.tpot_good, out.members);
    out.attainment_ok = part(out.good, out.ok);
    out.good_per_s = window_s > 0 ? out.good / window_s : NAN;
    return out;
}

typedef struct judged {
    uint64_t scheduled_ns;
    double good; /* 0 or 1 */
} judged;

static int by_schedule(const void *a, const void *b) {
    uint64_t x = ((const judged *)a)->scheduled_ns, y = ((const judged *)b)->scheduled_ns;
    return (x > y) - (x < y);
}

static interval batch_interval(const row_list *l, const slo *s, uint64_t seed) {
    judged *members = xmalloc((l->count + 1) * sizeof *members);
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++) {
        const row *r = &l->rows[i];
        if (r->phase == ROW_WINDOW && r->seed == seed)
            members[n++] = (judged){r->scheduled_ns, slo_good(s, r)};
    }
    qsort(members, n, sizeof *members, by_schedule);
    double *good = xmalloc((n + 1) * sizeof *good);
    for (size_t i = 0; i < n; i++) good[i] = members[i].good;
    interval out = steady_batches(good, n).mean;
    if (out.low == out.high) { /* the batches are alike, too: no width is no knowledge */
        interval pooled = stats_wilson((uint32_t)lround(out.mean * (double)n), (uint32_t)n);
        out.low = pooled.low;
        out.high = pooled.high;
    }
    free(good);
    free(members);
    return out;
}

interval score_interval(const row_list *l, const slo *s, const uint64_t *seeds, size_t count) {
    PRE(l);
    PRE(s);
    PRE(seeds || !count);
    double *x = xmalloc((count + 1) * sizeof *x);
    uint32_t n = 0, good = 0, members = 0;
    uint64_t last = 0;
    for (size_t i = 0; i < count; i++) {
        score one = score_of(l, s, seeds[i], 0);
        if (!one.members) continue;
        last = seeds[i];
        x[n++] = one.attainment;
        good += one.good;
        members += one.members;
    }
    interval out = n == 1 ? batch_interval(l, s, last) : stats_seeds(x, n, good, members);
    free(x);
    return out;
}
