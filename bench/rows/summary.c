#include "bench/rows/summary.h"

#include "base/clock.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const METRICS[] = {
    "ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue"};

const char *summary_metric_name(summary_metric m) {
    PRE((size_t)m < ARRAY_LEN(METRICS));
    return METRICS[m];
}

status summary_parse_percentiles(summary_options *o, const char *text, errbuf *eb) {
    PRE(o);
    PRE(text);
    double got[SUMMARY_PERCENTILES];
    uint32_t n = 0;
    for (const char *word = text;;) {
        size_t len = strcspn(word, ",");
        char *end;
        double p = strtod(word, &end);
        if (!len || end != word + len || !(p >= 0 && p <= 100))
            return errf(eb, ST_INVALID, "percentile '%.*s': want numbers from 0 to 100, as in 50,90,99",
                        (int)MIN(len, 60u), word);
        if (n == SUMMARY_PERCENTILES)
            return errf(eb, ST_INVALID, "'%.60s' has more than %u percentiles", text, SUMMARY_PERCENTILES);
        got[n++] = p;
        if (!word[len]) break;
        word += len + 1;
    }
    memcpy(o->percentiles, got, n * sizeof *got);
    o->percentile_count = n;
    return ST_OK;
}

status summary_parse_metrics(summary_options *o, const char *text, errbuf *eb) {
    PRE(o);
    PRE(text);
    uint32_t shown = 0;
    for (const char *word = text;;) {
        size_t len = strcspn(word, ",");
        uint32_t m = 0;
        while (m < SUMMARY_METRICS && !(strlen(METRICS[m]) == len && !strncmp(METRICS[m], word, len))) m++;
        if (m == SUMMARY_METRICS)
            return errf(eb, ST_INVALID,
                        "metric '%.*s': want ttft, tpot, itl, e2el, client_queue_time or "
                        "e2el_including_client_queue",
                        (int)MIN(len, 60u), word);
        shown |= 1u << m;
        if (!word[len]) break;
        word += len + 1;
    }
    o->shown = shown;
    return ST_OK;
}

/* Values of one metric */
typedef struct pile {
    double *x;
    size_t n, capacity;
} pile;

/* Room for `more` values, which the caller writes at x + n. */
static double *pile_room(pile *p, size_t more) {
    if (p->n + more > p->capacity) {
        p->capacity = MAX(2 * p->capacity, p->n + more + 64);
        p->x = xrealloc(p->x, p->capacity, sizeof *p->x);
    }
    return p->x + p->n;
}

static void pile_add(pile *p, double ms) {
    if (isnan(ms)) return;
    *pile_room(p, 1) = ms;
    p->n++;
}

static summary_values pile_values(pile *p, const double *percentiles, uint32_t count) {
    summary_values out = {.n = (uint32_t)p->n};
    if (!p->n) return out;
    stats_sort(p->x, p->n);
    out.mean = stats_mean(p->x, p->n);
    out.median = stats_percentile(p->x, p->n, 50);
    double squares = 0;
    for (size_t i = 0; i < p->n; i++) squares += (p->x[i] - out.mean) * (p->x[i] - out.mean);
    out.std = sqrt(squares / (double)p->n);
    for (uint32_t i = 0; i < count; i++) out.percentiles[i] = stats_percentile(p->x, p->n, percentiles[i]);
    return out;
}

bool summary_completed(const row *r, bool vllm) {
    PRE(r);
    return r->outcome == ROW_OK && (!vllm || r->event_count > 0);
}

double summary_latency_ms(const row *r, summary_metric m, bool vllm) {
    PRE(r);
    bool sent = r->scheduled_ns != ROW_NEVER && r->sent_ns != ROW_NEVER;
    double queue = sent ? (double)(int64_t)(r->sent_ns - r->scheduled_ns) / NS_PER_MS : NAN;
    switch (m) {
    case SUMMARY_TTFT:
        return vllm ? row_vllm_ttft_ms(r) : row_ttft_ms(r);
    case SUMMARY_TPOT: /* of one token it is none */
        return row_tokens(r) < 2 ? NAN : vllm ? row_vllm_tpot_ms(r) : row_tpot_ms(r);
    case SUMMARY_E2EL:
        return vllm ? row_vllm_e2e_ms(r) : row_e2e_ms(r);
    case SUMMARY_QUEUE:
        return queue;
    case SUMMARY_E2EL_QUEUE:
        return vllm ? row_vllm_e2e_ms(r) + queue : row_e2e_ms(r);
    case SUMMARY_ITL:
    case SUMMARY_METRICS:
        break;
    }
    CHECK(!"a metric with one value per request");
    return NAN;
}

static bool good(const summary_options *o, const row *r) {
    if (!o->vllm) return slo_good(o->goodput, r);
    return row_vllm_ttft_ms(r) <= o->goodput->ttft_ms && row_vllm_e2e_ms(r) <= o->goodput->e2e_ms &&
           (row_tokens(r) < 2 || row_vllm_tpot_ms(r) <= o->goodput->tpot_ms);
}

/* When the request ended: by vLLM with its last event. ROW_NEVER: it was not sent. */
static uint64_t end_of(const row *r, bool vllm) {
    if (r->sent_ns == ROW_NEVER) return ROW_NEVER;
    return vllm && r->event_count ? r->events[r->event_count - 1].at_ns : r->end_ns;
}

static int earlier(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The most requests between send and end at once; one that ends as another begins makes room for it. */
static uint32_t peak_concurrent(const uint64_t *begins, const uint64_t *ends, size_t n) {
    uint32_t now = 0, peak = 0;
    for (size_t b = 0, e = 0; b < n; b++) {
        while (e < n && ends[e] <= begins[b]) {
            e++;
            now--;
        }
        now++;
        peak = MAX(peak, now);
    }
    return peak;
}

/* Tokens in the fullest of the seconds that are counted from the first send. By vLLM an event is a token. */
static double peak_output(const row *const *rows, size_t n, bool vllm, uint64_t first_ns, uint64_t last_ns) {
    size_t seconds = (size_t)((last_ns - first_ns) / NS_PER_S) + 1;
    double *tokens = xcalloc(seconds, sizeof *tokens), peak = 0;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < rows[i]->event_count; k++) {
            const row_event *e = &rows[i]->events[k];
            size_t second = (size_t)((e->at_ns - first_ns) / NS_PER_S);
            if (e->at_ns >= first_ns && second < seconds) tokens[second] += vllm ? 1 : e->tokens;
        }
    }
    for (size_t i = 0; i < seconds; i++) peak = fmax(peak, tokens[i]);
    free(tokens);
    return peak;
}

/* Both peaks, over completed requests. */
static void find_peaks(summary *out, const row *const *rows, size_t n, bool vllm) {
    uint64_t *begins = xmalloc((2 * n + 1) * sizeof *begins), *ends = begins + n, last = 0;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t end = end_of(rows[i], vllm);
        if (end == ROW_NEVER || end < rows[i]->sent_ns || end > ROW_MOST_NS) continue;
        begins[m] = rows[i]->sent_ns;
        ends[m++] = end;
        last = MAX(last, end);
    }
    if (m) {
        qsort(begins, m, sizeof *begins, earlier);
        qsort(ends, m, sizeof *ends, earlier);
        out->peak_concurrent = peak_concurrent(begins, ends, m);
        out->peak_output_per_s = peak_output(rows, n, vllm, begins[0], last);
    }
    free(begins);
}

static void add_row(summary *out, pile *piles, const row *r, const summary_options *o, uint32_t *good_count) {
    out->completed++;
    out->input_tokens += r->prompt_tokens ? r->prompt_tokens : r->prompt_asked;
    out->output_tokens += row_tokens(r);
    for (uint32_t m = 0; m < SUMMARY_METRICS; m++)
        if (m != SUMMARY_ITL) pile_add(&piles[m], summary_latency_ms(r, m, o->vllm));
    pile *itls = &piles[SUMMARY_ITL];
    uint32_t n = o->vllm ? row_vllm_itls_ms(r, NULL, 0) : row_itls_ms(r, NULL, 0);
    double *room = pile_room(itls, n);
    itls->n += o->vllm ? row_vllm_itls_ms(r, room, n) : row_itls_ms(r, room, n);
    if (o->goodput) *good_count += good(o, r);
}

summary summary_of(const row_list *l, const summary_options *o) {
    PRE(l);
    PRE(o);
    PRE(o->percentile_count <= SUMMARY_PERCENTILES);
    summary out = {0};
    pile piles[SUMMARY_METRICS] = {0};
    const row **done = xmalloc((l->count + 1) * sizeof(row *));
    uint32_t good_count = 0;
    for (size_t i = 0; i < l->count; i++) {
        const row *r = &l->rows[i];
        if (r->phase != ROW_WINDOW) continue;
        if (!summary_completed(r, o->vllm)) {
            out.failed++;
            continue;
        }
        done[out.completed] = r;
        add_row(&out, piles, r, o, &good_count);
    }
    find_peaks(&out, done, out.completed, o->vllm);
    free(done);
    if (o->duration_s > 0) {
        out.request_per_s = out.completed / o->duration_s;
        out.good_per_s = good_count / o->duration_s;
        out.output_per_s = (double)out.output_tokens / o->duration_s;
        out.total_per_s = (double)(out.input_tokens + out.output_tokens) / o->duration_s;
    }
    const double p99 = 99;
    for (uint32_t m = 0; m < SUMMARY_METRICS; m++) {
        out.values[m] = o->percentile_count ? pile_values(&piles[m], o->percentiles, o->percentile_count)
                                            : pile_values(&piles[m], &p99, 1);
        free(piles[m].x);
    }
    return out;
}
