#include "planner/search/demand.h"

#include "base/mem.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <stdlib.h>

static int by_output(const void *a, const void *b) {
    uint32_t x = ((const workload_item *)a)->output_tokens, y = ((const workload_item *)b)->output_tokens;
    return (x > y) - (x < y);
}

static uint32_t p99(double *values, uint32_t count) {
    stats_sort(values, count);
    return (uint32_t)ceil(stats_percentile(values, count, 99));
}

demand demand_of(const workload *w, uint64_t seed) {
    PRE(w);
    uint32_t n = MIN(workload_count(w), DEMAND_SAMPLE);
    demand d = {.items = xcalloc(n, sizeof *d.items), .count = n};
    double *prompts = xcalloc(n, sizeof *prompts), *tokens = xcalloc(n, sizeof *tokens);
    double steps = 0, context = 0;
    for (uint32_t i = 0; i < n; i++) {
        workload_item it = workload_at(w, seed, i);
        double p = it.prompt_tokens, s = it.output_tokens - 1.0;
        d.items[i] = it;
        prompts[i] = p;
        tokens[i] = p + it.output_tokens;
        d.prompt_mean += p / n;
        d.output_mean += (double)it.output_tokens / n;
        d.squares_mean += p * p / n;
        steps += s;
        context += s * p + s * (s + 1) / 2;
    }
    d.steps_mean = steps / n;
    d.context_mean = steps > 0 ? context / steps : 0;
    d.prompt_p99 = p99(prompts, n);
    d.tokens_p99 = p99(tokens, n);
    free(prompts);
    free(tokens);
    qsort(d.items, n, sizeof *d.items, by_output);
    return d;
}

void demand_done(demand *d) {
    PRE(d);
    free(d->items);
    *d = (demand){0};
}

double demand_steps_of_shortest(const demand *d, double share) {
    PRE(d);
    PRE(share >= 0 && share <= 1);
    double all = 0, some = 0, left = share * d->count;
    for (uint32_t i = 0; i < d->count; i++, left--) {
        double steps = d->items[i].output_tokens - 1.0;
        all += steps;
        some += steps * fmin(fmax(left, 0), 1);
    }
    return all > 0 ? some / all : share;
}
