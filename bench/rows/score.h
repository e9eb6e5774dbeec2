/* score - rows against limits: attainment, goodput of a run, percentiles.
 *
 * A member is good when it ended as asked and TTFT <= and TPOT <= (and, where given, its P99 or largest ITL,
 * its E2E <=). Attainment = good / all scheduled members: errors, refusals, timeouts and unfinished ones are
 * misses. One-token answers: TPOT 0, good, and left out of TPOT percentiles. */
#ifndef BATON_ROWS_SCORE_H
#define BATON_ROWS_SCORE_H

#include "bench/rows/row_file.h"
#include "bench/stats/stats.h"

typedef struct slo {
    char name[32];           /* "" = none; for tables */
    double ttft_ms, tpot_ms; /* INFINITY = no limit */
    double itl_p99_ms, itl_max_ms, e2e_ms;
} slo;

/* No limits at all */
slo slo_none(void);
/* "ttft:200", "tpot:50", "itl_p99:..", "itl_max:..", "e2e:.." (vLLM's "e2el" too), ms; one per call or
 * several with commas. ST_INVALID names the word. */
status slo_parse(slo *s, const char *text, errbuf *eb);
/* "ttft 200 ms, tpot 50 ms"; "none" without a limit. Returns out. */
const char *slo_text(const slo *s, char *out, size_t size);
bool slo_good(const slo *s, const row *r);

/* Of one answer, ms; an answer of one token has TPOT and ITLs of 0. NAN, where nothing came, keeps no limit.
 */
typedef struct slo_latencies {
    double ttft_ms, tpot_ms, itl_p99_ms, itl_max_ms, e2e_ms;
} slo_latencies;
bool slo_kept(const slo *s, const slo_latencies *l);

typedef struct score {
    uint32_t members, good, ok;    /* of the window; ok: ended as asked */
    uint32_t ttft_good, tpot_good; /* each limit alone, of all members */
    double attainment;             /* good / members; NAN without members */
    double attainment_ttft, attainment_tpot;
    double attainment_ok; /* among those that ended as asked */
    double window_s;      /* sum over the segments */
    double good_per_s;    /* good / window_s */
} score;

/* Rows of phase ROW_WINDOW of one seed, or of all: seed = SCORE_ALL. */
#define SCORE_ALL UINT64_MAX
score score_of(const row_list *l, const slo *s, uint64_t seed, double window_s);
/* Attainment with its 95 % interval: the seeds as replications, or, of one seed, 20 batch means in the order
 * of schedule (none with fewer than 20 members). Where they are all alike, Wilson's of all members together
 * (stats_seeds). Seeds without members are left out; n says how many replications or batches there were. */
interval score_interval(const row_list *l, const slo *s, const uint64_t *seeds, size_t count);

#endif
