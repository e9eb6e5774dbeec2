/* metrics - a registry of counters, gauges and histograms, and its Prometheus text. Thread: the coordinator's
 * loop. */
#ifndef BATON_OBS_METRICS_H
#define BATON_OBS_METRICS_H

#include "base/mem.h"

#include <stdint.h>

typedef struct metrics metrics;
typedef struct metric metric; /* one series: a name with its labels; lives until metrics_forget or _free */

typedef enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM } metric_kind;

metrics *metrics_new(void);
void metrics_free(metrics *m);

/* Finds or makes the series. labels: "role=\"decode\",worker=\"decode-0\"" or "". bounds: ascending,
 * [bound_count], histograms only (copied; of the first series of a name). help is of the first. Names and
 * labels are the caller's constants or checked names. */
metric *metrics_get(metrics *m, metric_kind kind, const char *name, const char *help, const char *labels,
                    const double *bounds, uint32_t bound_count);
/* Appends name="value" to a text of labels, after a comma when there is one already; quotes, backslashes and
 * newlines are escaped. */
void metrics_label(buf *out, const char *name, const char *value);
/* Likewise, in lower case: for the names of states and kinds, of at most 31 bytes. */
void metrics_label_lower(buf *out, const char *name, const char *value);
/* Forgets every series whose labels are these, or begin with these and have more: who holds one of them must
 * not use it again. */
void metrics_forget(metrics *m, const char *labels);
/* Counter, gauge */
void metric_add(metric *s, double delta);
/* Gauge; counters that mirror a monotonic source */
void metric_set(metric *s, double value);
/* Histogram */
void metric_observe(metric *s, double value);
double metric_value(const metric *s);
/* Appends the exposition format: # HELP, # TYPE, series in order of creation grouped by name. */
void metrics_print(const metrics *m, buf *out);

#endif
