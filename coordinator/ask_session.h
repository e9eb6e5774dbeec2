/* ask_session - one question over the native socket (proto/client.proto), from the request to its end: pings
 * every second, a cancel on Ctrl-C, and an error when nothing was heard for a time (the coordinator answers
 * pings and sends keep-alives, so silence means that it is away). Each question has a session of its own:
 * while a person thinks, none is held. */
#ifndef BATON_COORDINATOR_ASK_SESSION_H
#define BATON_COORDINATOR_ASK_SESSION_H

#include "base/status.h"
#include "coordinator/ask_options.h"
#include "coordinator/ask_talk.h"

/* How it went: also the exit status of the program. */
typedef enum ask_result {
    ASK_ANSWERED = 0,
    ASK_REFUSED = 1,    /* the coordinator's error, or our own */
    ASK_AWAY = 3,       /* no coordinator, or no longer */
    ASK_LATE = 4,       /* deadline_s has passed; what came so far is there */
    ASK_CANCELED = 130, /* Ctrl-C; what came so far is there */
} ask_result;

typedef struct ask_sink {
    void *ctx;
    void (*accepted)(void *ctx, const Baton__ServerAccepted *a);
    void (*token)(void *ctx, uint32_t choice, const Baton__ServerToken *t);
    void (*end)(void *ctx, uint32_t choice, const Baton__ServerEnd *e);
} ask_sink;

/* Asks for the conversation t, or for o's question when it is --raw or --ids. eb: why, unless ASK_ANSWERED or
 * ASK_CANCELED. */
ask_result ask_session_run(const ask_options *o, const ask_talk *t, const ask_sink *sink, errbuf *eb);

#endif
