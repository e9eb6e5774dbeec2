/* facts - what a run's run.json says besides its rows: the run's validity, its steady state, its workers.
 *
 * Every key may be absent: a run that is still going on has no run.json at all, other tools' runs have no
 * workers. Numbers that are not there are NAN. */
#ifndef BATON_REPORT_FACTS_H
#define BATON_REPORT_FACTS_H

#include "base/mem.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Shares of the window in which it ran a step of that kind, 0..1 */
typedef struct worker_facts {
    char name[64], role[16];
    double prefill_share, decode_share, mixed_share;
    double pages_used_max, pages_total;
} worker_facts;

typedef struct segment {
    uint64_t seed;
    double begin_s, end_s;
} segment;

typedef struct facts {
    bool present; /* there is a run.json */
    char date[32], version[32], model[96], url[96];
    double rate, warmup_s, duration_s;
    segment *segments; /* [segment_count]; owned */
    uint32_t segment_count;
    double client_cpu_share, lateness_p50_ms, lateness_p99_ms, achieved_rate, largest_rate, added_latency_ms;
    bool valid;
    buf reasons; /* joined by "; "; owned */
    bool steady_reached, unstable, drift;
    double warmup_needed_s, g, g_limit;
    worker_facts *workers; /* [worker_count]; owned */
    uint32_t worker_count;
    double preemptions, replays, coordinator_cpu_share;
    bool interrupted;
} facts;

/* A file without rows of its own: ST_IO when it is not there (facts->present stays false), ST_INVALID with
 * file, line and what is wrong. facts_done in any case. */
status facts_read(facts *f, const char *path, errbuf *eb);
void facts_done(facts *f);
/* Busy share of all kinds of steps, 0..1; NAN when it is not known */
double worker_busy_share(const worker_facts *w);

/* Order of workers' names: prefill, decode, others, each by name and number; as strcmp */
int worker_name_order(const char *a, const char *b);

/* JSON with defaults: of an object that may be NULL. */
double json_num(const json_t *o, const char *key, double otherwise);
bool json_flag(const json_t *o, const char *key, bool otherwise);
/* Copies, cut to size; "" when it is not there or no text. */
void json_text(const json_t *o, const char *key, char *out, size_t size);
/* ST_IO, ST_INVALID as above. Caller frees with json_decref. */
status json_file(json_t **out, const char *path, errbuf *eb);

#endif
