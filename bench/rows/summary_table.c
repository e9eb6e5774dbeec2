#include "bench/rows/summary.h"

#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 50u

static const char *const SHORT[] = {
    "TTFT", "TPOT", "ITL", "E2EL", "Client Queue Time", "E2EL incl. Client Queue"};
static const char *const HEADS[] = {"Time to First Token",  "Time per Output Token (excl. 1st token)",
                                    "Inter-token Latency",  "End-to-end Latency",
                                    "Client-side Queueing", "Queue-inclusive End-to-end Latency"};

/* The words in the middle of a line of `fill`; of an odd rest the greater half follows. */
static void add_head(buf *b, const char *words, char fill) {
    size_t len = strlen(words), rest = len < WIDTH ? WIDTH - len : 0;
    for (size_t i = 0; i < rest / 2; i++) buf_add(b, &fill, 1);
    buf_adds(b, words);
    for (size_t i = rest / 2; i < rest; i++) buf_add(b, &fill, 1);
    buf_adds(b, "\n");
}

static void add_count(buf *b, const char *label, uint64_t n) {
    buf_addf(b, "%-40s %-10llu\n", label, (unsigned long long)n);
}

static void add_number(buf *b, const char *label, double x) {
    buf_addf(b, "%-40s %-10.2f\n", label, x);
}

static void add_percent(buf *b, const char *label, double part) {
    if (isnan(part))
        buf_addf(b, "%-40s %-10s\n", label, "unknown");
    else
        add_number(b, label, 100 * part);
}

static void add_metric(buf *b, summary_metric m, const summary_values *v, const summary_options *o) {
    char label[64];
    add_head(b, HEADS[m], '-');
    snprintf(label, sizeof label, "Mean %s (ms):", SHORT[m]);
    add_number(b, label, v->mean);
    snprintf(label, sizeof label, "Median %s (ms):", SHORT[m]);
    add_number(b, label, v->median);
    for (uint32_t i = 0; i < MAX(o->percentile_count, 1u); i++) {
        snprintf(label, sizeof label, "P%.15g %s (ms):", o->percentile_count ? o->percentiles[i] : 99,
                 SHORT[m]);
        add_number(b, label, v->percentiles[i]);
    }
}

static void add_limits(buf *b, const summary_limits *l) {
    char words[160], line[64];
    snprintf(line, sizeof line, "Latency Limits%s%.31s", l->limits.name[0] ? ": " : "", l->limits.name);
    add_head(b, line, '-');
    buf_addf(b, "%-40s %s\n", "Limits:", slo_text(&l->limits, words, sizeof words));
    buf_addf(b, "%-40s %u of %u\n", "Good requests:", l->result.good, l->result.members);
    add_percent(b, "Attainment (%):", l->result.attainment);
    if (isnan(l->attainment.low))
        buf_addf(b, "%-40s %s\n", "95 % interval (%):", "unknown: one seed and few requests");
    else
        buf_addf(b, "%-40s %.2f to %.2f\n", "95 % interval (%):", 100 * fmax(0, l->attainment.low),
                 100 * fmin(1, l->attainment.high));
    if (isfinite(l->limits.ttft_ms)) add_percent(b, "Attainment of TTFT (%):", l->result.attainment_ttft);
    if (isfinite(l->limits.tpot_ms)) add_percent(b, "Attainment of TPOT (%):", l->result.attainment_tpot);
    add_percent(b, "Attainment among successes (%):", l->result.attainment_ok);
    if (!isnan(l->result.good_per_s)) add_number(b, "Goodput (req/s):", l->result.good_per_s);
}

void summary_table(buf *out, const row_list *l, const summary_options *o, const summary_limits *limits,
                   uint32_t count) {
    PRE(out);
    PRE(l);
    PRE(o);
    PRE(limits || !count);
    summary s = summary_of(l, o);
    add_head(out, " Serving Benchmark Result ", '=');
    add_count(out, "Successful requests:", s.completed);
    add_count(out, "Failed requests:", s.failed);
    if (o->max_concurrency) add_count(out, "Maximum request concurrency:", o->max_concurrency);
    if (isfinite(o->request_rate)) add_number(out, "Request rate configured (RPS):", o->request_rate);
    add_number(out, "Benchmark duration (s):", o->duration_s);
    add_count(out, "Total input tokens:", s.input_tokens);
    add_count(out, "Total generated tokens:", s.output_tokens);
    add_number(out, "Request throughput (req/s):", s.request_per_s);
    if (o->goodput) add_number(out, "Request goodput (req/s):", s.good_per_s);
    add_number(out, "Output token throughput (tok/s):", s.output_per_s);
    add_number(out, "Peak output token throughput (tok/s):", s.peak_output_per_s);
    add_number(out, "Peak concurrent requests:", s.peak_concurrent);
    add_number(out, "Total token throughput (tok/s):", s.total_per_s);
    uint32_t shown = o->shown
                         ? o->shown
                         : 1u << SUMMARY_TTFT | 1u << SUMMARY_TPOT | 1u << SUMMARY_ITL | 1u << SUMMARY_E2EL;
    for (summary_metric m = 0; m < SUMMARY_METRICS; m++)
        if (shown & 1u << m) add_metric(out, m, &s.values[m], o);
    for (uint32_t i = 0; i < count; i++) add_limits(out, &limits[i]);
    add_head(out, "", '=');
}
