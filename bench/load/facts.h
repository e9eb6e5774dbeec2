/* facts - what the server says of itself while it is measured: how busy its workers were between two moments,
 * pages in use, preemptions, replays, hits of its prefix cache, the coordinator's CPU time.
 *
 * Asked over a connection of its own: GET /health once per second, both /health and /metrics at the two
 * moments. What a server does not tell is NAN; one without /health has no workers here. */
#ifndef BATON_LOAD_FACTS_H
#define BATON_LOAD_FACTS_H

#include "bench/load/http_url.h"
#include "bench/rows/run_file.h"
#include "net/loop.h"

typedef struct facts facts;

/* url: borrowed for its life. */
status facts_new(facts **out, loop *l, const http_url *url, errbuf *eb);
void facts_free(facts *f);
void facts_begin(facts *f);
void facts_end(facts *f);
/* In each turn; returns when it must be called again at the latest. */
uint64_t facts_turn(facts *f, uint64_t now_ns);
/* Nothing is being asked */
bool facts_idle(const facts *f);
/* Sets workers (by name), preemptions, replays and the coordinator's share. */
void facts_fill(facts *f, run_info *info);

/* Of the prompt tokens that the server looked up in its prefix cache between the two moments, those that were
 * there, 0..1, as vLLM counts them; NAN: it does not say, or looked up none. */
double facts_cached_share(const facts *f);

/* Pure parts, for tests */
enum { FACTS_WORKERS_MAX = 1024 };
typedef struct facts_worker {
    char name[64], role[16];
    double busy_s[3]; /* prefill, decode, mixed; NAN */
    double pages_used, pages_total;
} facts_worker;
/* Of the answer to /health; their number. */
uint32_t facts_read_health(const char *json, size_t len, facts_worker *out, uint32_t max);
/* Sum over the series of that name; NAN: there is none. */
double facts_read_metric(const char *text, const char *name);
/* vLLM's vllm:prefix_cache_WHAT_total, or what it was called before; "queries" or "hits". */
double facts_read_cache(const char *text, const char *what);

#endif
