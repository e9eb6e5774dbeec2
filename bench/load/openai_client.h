/* openai_client - the client of an OpenAI-compatible server: completions with prompts of token ids, or chat
 * with texts, streamed. */
#ifndef BATON_LOAD_OPENAI_CLIENT_H
#define BATON_LOAD_OPENAI_CLIENT_H

#include "bench/load/client.h"
#include "bench/load/http_pool.h"

typedef struct openai_options {
    const char *host; /* of the header; with port */
    const char *path; /* "/v1/completions" */
    const char *model;
    const char *headers; /* more header lines, each with CR LF; or NULL */
    bool chat;
    bool ignore_eos;
    bool baton;         /* the server knows "timings" and "return_token_ids" */
    double temperature; /* NAN: not sent */
} openai_options;

/* pool: borrowed, must outlive it. Options: borrowed, likewise. */
client *openai_client_new(http_pool *pool, const openai_options *opt, const client_handler *h);

#endif
