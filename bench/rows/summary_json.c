#include "bench/rows/summary.h"

#include "base/clock.h"
#include "base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static void put(json_t *o, const char *name, json_t *value) {
    CHECK(json_object_set_new(o, name, value) == 0);
}

static json_t *text(const char *s) {
    json_t *out = s ? json_string(s) : json_null();
    return out ? out : json_string("?"); /* no UTF-8 */
}

static void put_values(json_t *o, const summary_options *opt, summary_metric m, const summary_values *v) {
    static const char *const KINDS[] = {"mean", "median", "std"};
    const double values[] = {v->mean, v->median, v->std};
    char key[96];
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++) {
        snprintf(key, sizeof key, "%s_%s_ms", KINDS[i], summary_metric_name(m));
        put(o, key, number(values[i]));
    }
    for (uint32_t i = 0; i < MAX(opt->percentile_count, 1u); i++) {
        double p = opt->percentile_count ? opt->percentiles[i] : 99;
        snprintf(key, sizeof key, "p%.15g_%s_ms", p, summary_metric_name(m));
        put(o, key, number(v->percentiles[i]));
    }
}

static void put_numbers(json_t *o, const row_list *l, const summary_options *opt) {
    summary s = summary_of(l, opt);
    put(o, "duration", number(opt->duration_s));
    put(o, "completed", json_integer(s.completed));
    put(o, "failed", json_integer(s.failed));
    put(o, "total_input_tokens", json_integer((json_int_t)s.input_tokens));
    put(o, "total_output_tokens", json_integer((json_int_t)s.output_tokens));
    put(o, "request_throughput", number(s.request_per_s));
    put(o, "request_goodput", opt->goodput ? number(s.good_per_s) : json_null());
    put(o, "output_throughput", number(s.output_per_s));
    put(o, "total_token_throughput", number(s.total_per_s));
    put(o, "max_output_tokens_per_s", number(s.peak_output_per_s));
    put(o, "max_concurrent_requests", json_integer(s.peak_concurrent));
    put(o, "rtfx", json_real(0)); /* of speech, which is not measured here */
    for (summary_metric m = 0; m < SUMMARY_METRICS; m++)
        if (m <= SUMMARY_E2EL || opt->shown & 1u << m) put_values(o, opt, m, &s.values[m]);
}

json_t *summary_numbers_json(const row_list *l, const summary_options *o) {
    PRE(l);
    PRE(o);
    json_t *out = json_object();
    put_numbers(out, l, o);
    return out;
}

static int by_schedule(const void *a, const void *b) {
    const row *x = *(const row *const *)a, *y = *(const row *const *)b;
    if (x->scheduled_ns != y->scheduled_ns) return x->scheduled_ns < y->scheduled_ns ? -1 : 1;
    if (x->seed != y->seed) return x->seed < y->seed ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* s; 0 where there is none, as there. */
static json_t *seconds(double ms) {
    return json_real(isnan(ms) ? 0 : ms / 1000);
}

static json_t *itls_of(const row *r, bool vllm) {
    uint32_t n = vllm ? row_vllm_itls_ms(r, NULL, 0) : row_itls_ms(r, NULL, 0);
    double *itls = xmalloc((n + 1) * sizeof *itls);
    if (vllm)
        row_vllm_itls_ms(r, itls, n);
    else
        row_itls_ms(r, itls, n);
    json_t *out = json_array();
    for (uint32_t i = 0; i < n; i++) json_array_append_new(out, seconds(itls[i]));
    free(itls);
    return out;
}

/* The arrays of --save-detailed, in the order of schedule. Answers are not kept: their texts are empty. */
static void put_details(json_t *o, const row_list *l, bool vllm) {
    static const char *const NAMES[] = {"input_lens",  "output_lens", "ttfts",           "itls",  "latencies",
                                        "start_times", "queue_times", "generated_texts", "errors"};
    json_t *arrays[ARRAY_LEN(NAMES)];
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) arrays[i] = json_array();
    const row **rows = xmalloc((l->count + 1) * sizeof(row *));
    size_t n = 0;
    for (size_t i = 0; i < l->count; i++)
        if (l->rows[i].phase == ROW_WINDOW) rows[n++] = &l->rows[i];
    qsort(rows, n, sizeof(row *), by_schedule);
    for (size_t i = 0; i < n; i++) {
        const row *r = rows[i];
        uint32_t prompt = r->prompt_tokens ? r->prompt_tokens : r->prompt_asked;
        bool ok = summary_completed(r, vllm);
        json_t *values[ARRAY_LEN(NAMES)] = {
            json_integer(prompt),
            json_integer(ok ? row_tokens(r) : 0),
            seconds(summary_latency_ms(r, SUMMARY_TTFT, vllm)),
            itls_of(r, vllm),
            seconds(summary_latency_ms(r, SUMMARY_E2EL, vllm)),
            json_real(r->sent_ns == ROW_NEVER ? 0 : (double)r->sent_ns / NS_PER_S),
            seconds(summary_latency_ms(r, SUMMARY_QUEUE, vllm)),
            json_string(""),
            text(ok         ? ""
                 : r->error ? r->error
                            : row_outcome_name(r->outcome))};
        for (size_t k = 0; k < ARRAY_LEN(NAMES); k++) json_array_append_new(arrays[k], values[k]);
    }
    free(rows);
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) put(o, NAMES[i], arrays[i]);
}

/* Python's "%s" of a float: the shortest text that reads back, with a point. */
static const char *float_text(double x, char *out, size_t size) {
    if (isinf(x)) {
        snprintf(out, size, "inf");
        return out;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, x);
        if (strtod(out, NULL) == x) break;
    }
    size_t len = strlen(out);
    if (!strpbrk(out, ".e")) snprintf(out + len, size - len, ".0");
    return out;
}

static json_t *number_or_inf(double x) {
    return isinf(x) ? json_string("inf") : number(x);
}

static void put_metadata(json_t *o, const summary_setup *s) {
    for (uint32_t i = 0; i < s->metadata_count; i++) {
        const char *equals = strchr(s->metadata[i], '=');
        if (!equals) continue;
        char *key = xstrndup(s->metadata[i], (size_t)(equals - s->metadata[i]));
        json_t *value = text(equals + 1);
        if (!json_object_get(o, key)) json_object_set(o, key, value); /* fails if the key is no UTF-8 */
        json_decref(value);
        free(key);
    }
}

json_t *summary_json(const row_list *l, const summary_options *o, const summary_setup *s) {
    PRE(l);
    PRE(o);
    PRE(s);
    json_t *out = json_object();
    put(out, "date", text(s->date));
    put(out, "endpoint_type", text(s->backend));
    put(out, "backend", text(s->backend));
    put(out, "label", text(s->label));
    put(out, "model_id", text(s->model));
    put(out, "tokenizer_id", text(s->tokenizer));
    put(out, "num_prompts", json_integer(s->num_prompts));
    put_metadata(out, s);
    put(out, "request_rate", number_or_inf(o->request_rate));
    put(out, "burstiness", number_or_inf(s->burstiness));
    put(out, "max_concurrency", o->max_concurrency ? json_integer(o->max_concurrency) : json_null());
    if (s->ramp_strategy) {
        put(out, "ramp_up_strategy", text(s->ramp_strategy));
        put(out, "ramp_up_start_rps", number(s->ramp_from));
        put(out, "ramp_up_end_rps", number(s->ramp_to));
    }
    put_numbers(out, l, o);
    if (s->detailed) put_details(out, l, o->vllm);
    return out;
}

char *summary_file_name(const summary_options *o, const summary_setup *s) {
    PRE(o);
    PRE(s);
    PRE(s->date);
    const char *label = s->label && *s->label ? s->label : s->backend ? s->backend : "baton";
    const char *model = s->model ? s->model : "model", *slash = strrchr(model, '/');
    char rate[32], concurrency[32] = "";
    if (o->max_concurrency) snprintf(concurrency, sizeof concurrency, "-concurrency%u", o->max_concurrency);
    char *middle = s->ramp_strategy
                       ? xasprintf("ramp-up-%s-%gqps-%gqps", s->ramp_strategy, s->ramp_from, s->ramp_to)
                       : xasprintf("%sqps", float_text(o->request_rate, rate, sizeof rate));
    char *out =
        xasprintf("%s-%s%s-%s-%s.json", label, middle, concurrency, slash ? slash + 1 : model, s->date);
    free(middle);
    return out;
}
