/* throughput - the line that tells every 10 s how much was done, in vLLM's words, for eyes and scripts that
 * know them. Silent while nothing happens, but for one line after it has stopped. */
#ifndef BATON_COORDINATOR_THROUGHPUT_H
#define BATON_COORDINATOR_THROUGHPUT_H

#include "base/mem.h"
#include "coordinator/core.h"

#include <stdbool.h>

/* Start it zeroed. */
typedef struct throughput {
    uint64_t told_ns; /* the end of the last interval; 0: none has begun */
    uint64_t prompt_tokens, output_tokens;
    bool busy; /* something happened in the last interval */
} throughput;

/* Once per turn. Appends the line and returns true when it is due. */
bool throughput_line(throughput *t, const core *c, uint64_t now_ns, buf *out);

#endif
