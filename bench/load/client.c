#include "bench/load/client.h"

#include <math.h>

client_end client_end_empty(void) {
    return (client_end){.stages = {.queue_ms = NAN,
                                   .prefill_ms = NAN,
                                   .handoff_ms = NAN,
                                   .decode_wait_ms = NAN,
                                   .decode_ms = NAN,
                                   .first_token_ms = NAN,
                                   .total_ms = NAN}};
}
