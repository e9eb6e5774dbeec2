/* asker - requests of a chosen size to a cluster's native socket, one by one or many at once, and when their
 * tokens came. Waits end by a deadline, at a failed request, and when a stop is asked for. */
#ifndef BATON_PLANNER_ASKER_H
#define BATON_PLANNER_ASKER_H

#include "base/status.h"
#include "bench/rows/row.h"

#include <stdbool.h>
#include <stdint.h>

#define ASKER_TIMES_MAX 16u

typedef struct asked {
    uint32_t prompt_tokens, output_tokens;
    uint64_t sent_ns;
    uint64_t token_ns[ASKER_TIMES_MAX]; /* of the first ones */
    uint32_t tokens;                    /* that came */
    bool ended, canceled;
    row_stages stages;
} asked;

typedef struct asker asker;

/* native: "tcp://127.0.0.1:8002"; url: "http://127.0.0.1:8000". Waits for the cluster's first answer. Caller
 * frees. */
status asker_new(asker **out, const char *native, const char *url, errbuf *eb);
void asker_free(asker *a);

/* Whether who answers is well; a status that is none of ST_OK ends the wait, with its text. */
typedef status (*asker_check)(void *ctx, errbuf *eb);
/* Called about once a second while it waits, and when a request failed, whose reason it may know better. */
void asker_watch(asker *a, asker_check check, void *ctx);

/* A prompt that no other one begins like. Returns its number, from 0. */
uint32_t asker_send(asker *a, uint32_t prompt_tokens, uint32_t output_tokens);
/* Borrowed until the next asker_send. */
const asked *asker_at(const asker *a, uint32_t number);
/* Until each of [first, first + count) has so many tokens (UINT32_MAX: all), or has ended. ST_TIMEOUT,
 * ST_CANCELED; ST_PEER: one failed, and why, or what the check says. */
status asker_wait(asker *a, uint32_t first, uint32_t count, uint32_t tokens, uint64_t deadline_ns,
                  errbuf *eb);
/* Lets so much time pass. ST_CANCELED, ST_PEER. */
status asker_rest(asker *a, uint64_t until_ns, errbuf *eb);
/* Nothing to do for one that has ended. */
void asker_cancel(asker *a, uint32_t number);

#endif
