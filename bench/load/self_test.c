#include "bench/load/self_test.h"

#include "base/clock.h"
#include "bench/load/echo.h"
#include "bench/load/measurement.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SINGLE = 40, TOKENS = 40000, REQUESTS_MIN = 20, REQUESTS_MAX = 400, AT_A_TIME = 16 };

/* The lengths of the plan's first requests, all due at once. */
static schedule plan_like(const schedule *plan, uint32_t count) {
    schedule s = {.items = xcalloc(count, sizeof *s.items), .count = count};
    for (uint32_t i = 0; i < count; i++) {
        s.items[i] = plan->items[i % plan->count];
        s.items[i].at_ns = 0;
        s.items[i].phase = ROW_WINDOW;
    }
    s.windows = xcalloc(1, sizeof *s.windows);
    s.windows[s.window_count++] = (schedule_window){.end_ns = ROW_NEVER, .count = count};
    return s;
}

static status measure(measurement *m, const target *t, const workload *w, const schedule *plan,
                      uint32_t at_a_time, errbuf *eb) {
    measurement_options o = {.target = t,
                             .work = w,
                             .plan = plan,
                             .max_concurrency = at_a_time,
                             .closed = true,
                             .request_timeout_s = 10,
                             .stall_s = 5,
                             .quiet = true};
    status st = measurement_run(m, &o, eb);
    if (st == ST_OK && m->failed) st = errf(eb, ST_IO, "%s", m->error.text);
    for (size_t i = 0; st == ST_OK && !m->interrupted && i < m->rows.count; i++)
        if (m->rows.rows[i].outcome != ROW_OK) st = errf(eb, ST_IO, "%s", m->rows.rows[i].error);
    return st;
}

static void take_latency(self_test *out, const measurement *m) {
    double *ttft = xcalloc(m->rows.count + 1, sizeof *ttft);
    size_t n = m->rows.count;
    for (size_t i = 0; i < n; i++) ttft[i] = row_ttft_ms(&m->rows.rows[i]);
    stats_sort(ttft, n);
    out->added_ms = stats_percentile(ttft, n, 50);
    free(ttft);
}

static void take_rate(self_test *out, const measurement *m) {
    double tokens = 0, span_s = m->duration_s;
    uint64_t first_ns = UINT64_MAX;
    for (size_t i = 0; i < m->rows.count; i++) {
        tokens += m->rows.rows[i].output_tokens;
        first_ns = MIN(first_ns, m->rows.rows[i].sent_ns);
    }
    span_s -= (double)first_ns / 1e9;
    out->requests_per_s = (double)m->rows.count / span_s;
    out->tokens_per_s = tokens / span_s;
    out->cpu_us_per_token = m->cpu_share * m->wall_s * 1e6 / tokens;
}

static uint32_t count_for(const schedule *plan) {
    double sum = 0;
    uint32_t n = MIN(plan->count, 1000u);
    for (uint32_t i = 0; i < n; i++) sum += plan->items[i].output_tokens;
    return (uint32_t)fmin(fmax(TOKENS / (sum / n), REQUESTS_MIN), REQUESTS_MAX);
}

status self_test_run(self_test *out, const workload *w, const schedule *plan, errbuf *eb) {
    PRE(out);
    PRE(w);
    PRE(plan);
    PRE(plan->count > 0);
    *out = (self_test){.requests_per_s = NAN, .tokens_per_s = NAN, .added_ms = NAN, .cpu_us_per_token = NAN};
    echo e = {0};
    status st = echo_start(&e, eb);
    if (st != ST_OK) return st;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%s", e.port);
    target t = {.backend = SERVE_OPENAI, .shown = url, .id_min = 1000, .id_max = 31999};
    st = http_url_parse(&t.http, url, eb);
    t.openai = (openai_options){.host = t.http.header,
                                .path = "/v1/completions",
                                .model = "echo",
                                .ignore_eos = true,
                                .baton = true,
                                .temperature = 0};
    schedule single = plan_like(plan, SINGLE), many = plan_like(plan, count_for(plan));
    measurement m;
    if (st == ST_OK) {
        st = measure(&m, &t, w, &single, 1, eb);
        if (st == ST_OK) take_latency(out, &m);
        out->interrupted = m.interrupted;
        measurement_done(&m);
    }
    if (st == ST_OK && !out->interrupted) {
        st = measure(&m, &t, w, &many, AT_A_TIME, eb);
        if (st == ST_OK) take_rate(out, &m);
        out->interrupted = m.interrupted;
        measurement_done(&m);
    }
    schedule_done(&single);
    schedule_done(&many);
    echo_stop(&e);
    return st == ST_OK ? st : err_prefix(eb, st, "the client's own test");
}
