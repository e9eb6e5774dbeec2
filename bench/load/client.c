#include "bench/load/client.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

client_end client_end_empty(void) {
    return (client_end){.stages = row_stages_none()};
}

void client_end_check(client_end *e) {
    PRE(e);
    uint32_t most = MAX(MAX(e->prompt_tokens, e->output_tokens), e->cached_tokens);
    if (most <= ROW_MOST_TOKENS) return;
    if (e->outcome == ROW_OK)
        snprintf(e->error, sizeof e->error, "the server counts %u tokens in one %s: more than %u", most,
                 e->output_tokens == most ? "answer" : "prompt", ROW_MOST_TOKENS);
    if (e->outcome == ROW_OK) e->outcome = ROW_FAILED;
    e->prompt_tokens = e->output_tokens = e->cached_tokens = 0;
}
