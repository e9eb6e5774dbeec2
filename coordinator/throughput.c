#include "coordinator/throughput.h"

#include "base/clock.h"

#define EVERY_NS (10 * NS_PER_S)

bool throughput_line(throughput *t, const core *c, uint64_t now_ns, buf *out) {
    PRE(t);
    PRE(c);
    PRE(out);
    if (!t->told_ns) t->told_ns = now_ns;
    uint64_t ns = now_ns - t->told_ns;
    if (now_ns < t->told_ns + EVERY_NS) return false;
    core_counters n;
    core_counters_of(c, &n);
    uint32_t running = n.requests[REQ_PREFILL] + n.requests[REQ_WAIT_KV] + n.requests[REQ_DECODE];
    uint32_t waiting = n.requests[REQ_NEW] + n.requests[REQ_WAIT_PREFILL];
    uint64_t prompt = n.prompt_tokens - t->prompt_tokens, output = n.output_tokens - t->output_tokens;
    bool busy = prompt || output || running || waiting, tell = busy || t->busy;
    *t = (throughput){now_ns, n.prompt_tokens, n.output_tokens, busy};
    if (!tell) return false;
    core_worker_info w;
    uint64_t used = 0, total = 0;
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) {
        if (w.role == ROLE_PREFILL) continue;
        used += w.beat.pages_used;
        total += w.page_count;
    }
    buf_addf(out,
             "Avg prompt throughput: %.1f tokens/s, Avg generation throughput: %.1f tokens/s, Running: %u "
             "reqs, Waiting: %u reqs, KV cache usage: %.1f%%, Prefix cache hit rate: %.1f%%",
             (double)prompt * 1e9 / (double)ns, (double)output * 1e9 / (double)ns, running, waiting,
             total ? 100 * (double)used / (double)total : 0,
             n.cache_queries ? 100 * (double)n.cache_hits / (double)n.cache_queries : 0);
    return true;
}
