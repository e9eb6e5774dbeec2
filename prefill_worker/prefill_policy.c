#include "prefill_worker/prefill_policy.h"

#include "base/mem.h"
#include "base/status.h"
#include "kv/kv_layout.h"

uint32_t prefill_policy_form(const batch_prompt *prompts, uint32_t count, const prefill_limits *limits,
                             batch_chunk *out) {
    PRE(limits);
    PRE(limits->max_rows >= KV_PAGE_TOKENS);
    PRE(limits->max_seqs > 0);
    uint32_t replays = 0;
    while (replays < count && prompts[replays].replay) replays++;
    uint32_t served = MIN(replays ? replays : count, limits->max_seqs);
    uint32_t n = batch_chunks(prompts, served, limits->max_rows, limits->chunk_tokens, out);
    POST(n > 0 || count == 0);
    return n;
}
