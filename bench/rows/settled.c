#include "bench/rows/settled.h"

#include "base/mem.h"
#include "bench/stats/steady.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct arrival {
    double at_s, end_s; /* end INFINITY: it never ended by itself */
    double ttft_ms, tpot_ms, e2e_ms;
    bool member;
} arrival;

static int by_time(const void *a, const void *b) {
    double x = ((const arrival *)a)->at_s, y = ((const arrival *)b)->at_s;
    return (x > y) - (x < y);
}

static arrival arrival_of(const row *r) {
    bool ended = r->end_ns != ROW_NEVER && r->outcome != ROW_UNFINISHED;
    return (arrival){.at_s = (double)r->scheduled_ns / 1e9,
                     .end_s = ended ? (double)r->end_ns / 1e9 : INFINITY,
                     .ttft_ms = row_ttft_ms(r),
                     .tpot_ms = row_tpot_ms(r),
                     .e2e_ms = row_e2e_ms(r),
                     .member = r->phase == ROW_WINDOW};
}

/* Time after which the series is settled, s since the run's start; NAN: it is not. x: of arrivals a[0..n) */
static double settled_s(const double *x, const arrival *a, size_t n) {
    size_t cut;
    if (n < STEADY_MSER_LEAST) return 0;
    if (!steady_mser5(x, n, &cut)) return NAN;
    return cut == 0 ? 0 : a[cut].at_s;
}

/* At each arrival, those that are there; an arrival that never ended counts to the end. */
static void in_flight(const arrival *a, size_t n, double *out) {
    double *ends = xcalloc(n + 1, sizeof *ends);
    for (size_t i = 0; i < n; i++) ends[i] = a[i].end_s;
    stats_sort(ends, n);
    size_t ended = 0;
    for (size_t i = 0; i < n; i++) {
        while (ended < n && ends[ended] <= a[i].at_s) ended++;
        out[i] = (double)(i + 1) - (double)ended;
    }
    free(ends);
}

static size_t pick(const arrival *a, size_t n, size_t offset, double *out) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, (const char *)&a[i] + offset, sizeof v);
        if (a[i].member && !isnan(v)) out[count++] = v;
    }
    return count;
}

static void take_warmup(run_steady *s, const arrival *a, size_t n, double begin_s, double *scratch) {
    in_flight(a, n, scratch);
    double flight_s = settled_s(scratch, a, n);
    size_t with_ttft = 0;
    arrival *answered = xcalloc(n + 1, sizeof *answered);
    for (size_t i = 0; i < n; i++)
        if (!isnan(a[i].ttft_ms)) answered[with_ttft++] = a[i];
    for (size_t i = 0; i < with_ttft; i++) scratch[i] = answered[i].ttft_ms;
    double ttft_s = settled_s(scratch, answered, with_ttft);
    free(answered);
    size_t count = pick(a, n, offsetof(arrival, e2e_ms), scratch);
    stats_sort(scratch, count);
    s->warmup_needed_s = steady_warmup_s(stats_percentile(scratch, count, 99) / 1000, flight_s, ttft_s);
    s->reached = !isnan(s->warmup_needed_s) && s->warmup_needed_s <= begin_s;
}

static void take_growth(run_steady *s, const arrival *a, size_t n, double begin_s, double end_s,
                        double *scratch) {
    double *ends = xcalloc(n + 1, sizeof *ends);
    for (size_t i = 0; i < n; i++) {
        scratch[i] = a[i].at_s;
        ends[i] = a[i].end_s;
    }
    growth g = steady_growth_of(scratch, ends, n, begin_s, end_s, 1);
    s->g = g.g;
    s->g_limit = g.limit;
    s->unstable = g.unstable;
    free(ends);
}

run_steady settled_of(const row_list *rows, double begin_s, double end_s) {
    PRE(rows);
    run_steady s = {
        .warmup_needed_s = NAN, .g = NAN, .g_limit = NAN, .drift_ttft_p = NAN, .drift_tpot_p = NAN};
    arrival *a = xcalloc(rows->count + 1, sizeof *a);
    double *scratch = xcalloc(rows->count + 1, sizeof *scratch);
    size_t n = 0;
    for (size_t i = 0; i < rows->count; i++)
        if (rows->rows[i].sent_ns != ROW_NEVER) a[n++] = arrival_of(&rows->rows[i]);
    qsort(a, n, sizeof *a, by_time);
    take_warmup(&s, a, n, begin_s, scratch);
    if (end_s > begin_s) take_growth(&s, a, n, begin_s, end_s, scratch);
    drift ttft = steady_drift(scratch, pick(a, n, offsetof(arrival, ttft_ms), scratch));
    drift tpot = steady_drift(scratch, pick(a, n, offsetof(arrival, tpot_ms), scratch));
    s.drift_ttft_p = ttft.p;
    s.drift_tpot_p = tpot.p;
    s.drift = ttft.drifts || tpot.drifts;
    free(scratch);
    free(a);
    return s;
}
