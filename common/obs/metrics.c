/* metrics - families (a name) in order of creation, each a list of series (labels) in order of creation.
 *
 * Looking a series up is a search over the families, of which there are some dozens, and one by hash in the
 * family, which has a series for each worker. Callers keep the pointer, so it happens at start and when a
 * worker joins. A histogram's counts are kept per bucket and summed only while printing. */
#include "obs/metrics.h"

#include "base/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

typedef struct family {
    char *name;
    char *help;
    metric_kind kind;
    double *bounds; /* [bound_count], ascending; histograms */
    uint32_t bound_count;
    metric *series; /* first */
    metric *last;
    metric *by_labels; /* the same series */
    struct family *next;
} family;

struct metric {
    const family *family;
    char *labels;     /* "a=\"b\"" or "" */
    double value;     /* counter, gauge; histogram: sum */
    uint64_t *counts; /* [bound_count + 1], not cumulative; the last is +Inf */
    metric *next;
    UT_hash_handle hh; /* in by_labels */
};

struct metrics {
    family *families; /* first */
    family *last;
};

metrics *metrics_new(void) {
    return xcalloc(1, sizeof(metrics));
}

static void series_free(metric *s) {
    free(s->labels);
    free(s->counts);
    free(s);
}

void metrics_free(metrics *m) {
    if (!m) return;
    for (family *f = m->families, *next; f; f = next) {
        next = f->next;
        HASH_CLEAR(hh, f->by_labels);
        for (metric *s = f->series, *after; s; s = after) {
            after = s->next;
            series_free(s);
        }
        free(f->name);
        free(f->help);
        free(f->bounds);
        free(f);
    }
    free(m);
}

static family *family_new(metrics *m, metric_kind kind, const char *name, const char *help,
                          const double *bounds, uint32_t bound_count) {
    for (uint32_t i = 1; i < bound_count; i++) PRE(bounds[i - 1] < bounds[i]);
    family *f = xcalloc(1, sizeof *f);
    f->name = xstrdup(name);
    f->help = xstrdup(help);
    f->kind = kind;
    if (kind == METRIC_HISTOGRAM) {
        f->bounds = xmemdup(bounds, bound_count * sizeof *bounds);
        f->bound_count = bound_count;
    }
    *(m->last ? &m->last->next : &m->families) = f;
    m->last = f;
    return f;
}

/* NOLINTBEGIN(readability-function-size, clang-analyzer-core.NullDereference): uthash is macros, and large
 * ones. */
static metric *find_series(const family *f, const char *labels) {
    metric *s = NULL;
    HASH_FIND_STR(f->by_labels, labels, s);
    return s;
}

static void index_series(family *f, metric *s) {
    HASH_ADD_KEYPTR(hh, f->by_labels, s->labels, strlen(s->labels), s);
}
/* NOLINTEND(readability-function-size, clang-analyzer-core.NullDereference) */

metric *metrics_get(metrics *m, metric_kind kind, const char *name, const char *help, const char *labels,
                    const double *bounds, uint32_t bound_count) {
    PRE(m);
    PRE(name);
    PRE(help);
    PRE(labels);
    PRE(kind != METRIC_HISTOGRAM || bounds);
    PRE(kind != METRIC_HISTOGRAM || bound_count > 0);
    family *f = m->families;
    while (f && strcmp(f->name, name) != 0) f = f->next;
    if (!f) f = family_new(m, kind, name, help, bounds, bound_count);
    PRE(f->kind == kind);
    metric *s = find_series(f, labels);
    if (s) return s;

    s = xcalloc(1, sizeof *s);
    s->family = f;
    s->labels = xstrdup(labels);
    if (kind == METRIC_HISTOGRAM) s->counts = xcalloc(f->bound_count + 1, sizeof *s->counts);
    *(f->last ? &f->last->next : &f->series) = s;
    f->last = s;
    index_series(f, s);
    return s;
}

/* NOLINTBEGIN(readability-function-size, clang-analyzer-core.NullDereference): likewise */
void metrics_forget(metrics *m, const char *labels) {
    PRE(m);
    PRE(labels);
    size_t len = strlen(labels);
    for (family *f = m->families; f; f = f->next) {
        f->last = NULL;
        for (metric **at = &f->series; *at;) {
            metric *s = *at;
            bool meant = strncmp(s->labels, labels, len) == 0 && (!s->labels[len] || s->labels[len] == ',');
            if (!meant) {
                f->last = s;
                at = &s->next;
                continue;
            }
            *at = s->next;
            HASH_DEL(f->by_labels, s);
            series_free(s);
        }
    }
}
/* NOLINTEND(readability-function-size, clang-analyzer-core.NullDereference) */

void metric_add(metric *s, double delta) {
    PRE(s);
    PRE(s->family->kind != METRIC_HISTOGRAM);
    PRE(s->family->kind == METRIC_GAUGE || delta >= 0);
    s->value += delta;
}

void metric_set(metric *s, double value) {
    PRE(s);
    PRE(s->family->kind != METRIC_HISTOGRAM);
    s->value = value;
}

void metric_observe(metric *s, double value) {
    PRE(s);
    PRE(s->family->kind == METRIC_HISTOGRAM);
    PRE(!isnan(value));
    uint32_t i = 0;
    while (i < s->family->bound_count && value > s->family->bounds[i]) i++;
    s->counts[i]++;
    s->value += value;
}

double metric_value(const metric *s) {
    PRE(s);
    return s->value;
}

void metrics_label(buf *out, const char *name, const char *value) {
    PRE(out);
    PRE(name);
    PRE(value);
    buf_addf(out, "%s%s=\"", out->len ? "," : "", name);
    for (const char *c = value; *c; c++) {
        if (*c == '\n')
            buf_adds(out, "\\n");
        else if (*c == '\\' || *c == '"')
            buf_addf(out, "\\%c", *c);
        else
            buf_add(out, c, 1);
    }
    buf_adds(out, "\"");
}

void metrics_label_lower(buf *out, const char *name, const char *value) {
    PRE(value);
    char text[32];
    snprintf(text, sizeof text, "%s", value);
    for (char *p = text; *p; p++) *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    metrics_label(out, name, text);
}

static void print_help(const char *help, buf *out) {
    for (const char *c = help; *c; c++) {
        if (*c == '\n')
            buf_adds(out, "\\n");
        else if (*c == '\\')
            buf_adds(out, "\\\\");
        else
            buf_add(out, c, 1);
    }
}

/* Integers exactly, others with as many digits as it takes to read them back. */
static void print_number(double v, buf *out) {
    if (isnan(v))
        buf_adds(out, "NaN");
    else if (isinf(v))
        buf_adds(out, v > 0 ? "+Inf" : "-Inf");
    else if (fabs(v) < 1e15 && v == (double)(int64_t)v)
        buf_addf(out, "%" PRId64, (int64_t)v);
    else {
        char text[32];
        for (int digits = 6; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, v);
            if (strtod(text, NULL) == v) break;
        }
        buf_adds(out, text);
    }
}

/* name_suffix{labels,le="bound"} */
static void print_head(const metric *s, const char *suffix, const double *le, buf *out) {
    buf_addf(out, "%s%s", s->family->name, suffix);
    if (s->labels[0] || le) {
        buf_addf(out, "{%s", s->labels);
        if (le) {
            buf_addf(out, "%sle=\"", s->labels[0] ? "," : "");
            print_number(*le, out);
            buf_adds(out, "\"");
        }
        buf_adds(out, "}");
    }
    buf_adds(out, " ");
}

static void print_histogram(const metric *s, buf *out) {
    const family *f = s->family;
    uint64_t sum = 0;
    for (uint32_t i = 0; i <= f->bound_count; i++) {
        double le = i < f->bound_count ? f->bounds[i] : INFINITY;
        sum += s->counts[i];
        print_head(s, "_bucket", &le, out);
        buf_addf(out, "%" PRIu64 "\n", sum);
    }
    print_head(s, "_sum", NULL, out);
    print_number(s->value, out);
    buf_adds(out, "\n");
    print_head(s, "_count", NULL, out);
    buf_addf(out, "%" PRIu64 "\n", sum);
}

void metrics_print(const metrics *m, buf *out) {
    PRE(m);
    PRE(out);
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (const family *f = m->families; f; f = f->next) {
        buf_addf(out, "# HELP %s ", f->name);
        print_help(f->help, out);
        buf_addf(out, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
        for (const metric *s = f->series; s; s = s->next) {
            if (f->kind == METRIC_HISTOGRAM) {
                print_histogram(s, out);
                continue;
            }
            print_head(s, "", NULL, out);
            print_number(s->value, out);
            buf_adds(out, "\n");
        }
    }
}
