/* api - a client's request as plain data, whichever front it came through, and the error a client sees.
 *
 * HTTP bodies (openai_parse) and native messages fill the same struct; api_check then judges every range
 * once, naming the field as the client knows it; text_prepare (text.h) turns texts into ids. After that
 * nothing of the original body is needed. Thread: whoever holds it; the text thread fills it, the loop owns
 * it afterwards. */
#ifndef BATON_COORDINATOR_API_H
#define BATON_COORDINATOR_API_H

#include "base/status.h"
#include "text/tokenizer.h"
#include "token/sampling.h"

#include <jansson.h>

#define API_STOPS_MAX      16u
#define API_STOP_BYTES_MAX 1024u
#define API_N_MAX          128
#define API_CHOICES_MAX    256u /* prompts x n of one request */
#define API_MESSAGES_MAX   4096u
#define API_ID_MAX         128u
#define API_SALT_BYTES_MAX 1024u
#define API_SCORES_MAX     (1u << 20) /* api_scores of one request: 8 MiB, and an answer of some 60 MB */
/* Queue keys hold 16 bits of it (request_table.h). */
#define API_PRIORITY_MIN (-32768)
#define API_PRIORITY_MAX 32767
#define API_TTFT_MS_MAX  86400000u /* that a request may give itself for its first token */

typedef enum api_kind { API_COMPLETION, API_CHAT, API_TOKENIZE, API_DETOKENIZE } api_kind;

/* What a client is told. http 0 = no error. */
typedef struct api_error {
    uint32_t http;
    char param[64];   /* the field at fault; "" = none */
    const char *code; /* what clients look for in its place: static; NULL = the HTTP status */
    uint32_t retry_s; /* of 429: when to try again; 0 = nothing is known */
    errbuf text;
} api_error;

/* "BadRequestError" and the like, as vLLM names them. Borrowed: static. */
const char *api_error_type(uint32_t http);
/* Sets *e and returns ST_INVALID, so that a failure is one line. param may be NULL. */
status api_fail(api_error *e, uint32_t http, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The HTTP status that a refusal of the core, or a failed end (core_end.st), stands for: the one place where
 * they are told apart for clients of both fronts. */
uint32_t api_http_of(status st);

typedef struct api_stop {
    char *text; /* len bytes of UTF-8; owned by the request */
    size_t len;
} api_stop;

typedef struct api_prompt {
    char *text; /* len bytes of UTF-8, or NULL when ids were given; kept after encoding only for echo */
    size_t len;
    token_list ids; /* filled by text_prepare when text was given */
} api_prompt;

/* What the prompt of a chat is rendered from (text/chat.h has the shapes). All owned, NULL = not given; freed
 * by text_prepare. */
typedef struct api_chat {
    json_t *messages; /* list of objects; roles as api_role has them */
    json_t *tools, *documents, *kwargs;
    size_t bytes; /* of the body that it came from: what rendering may cost */
    bool add_generation_prompt, continue_final_message;
} api_chat;

typedef struct api_request {
    api_kind kind;
    char id[API_ID_MAX + 16]; /* "cmpl-..." */
    int64_t created;          /* seconds since 1970 */
    api_prompt *prompts; /* [prompt_count]; chat has none until text_prepare renders the messages into one */
    uint32_t prompt_count;
    api_chat chat;
    uint32_t choices; /* per prompt: the n of the APIs */
    sampling params;  /* its arrays point to the two below; choice is set per choice */
    int32_t *stop_ids;
    char *spec; /* what the answer may be (grammar/grammar.h), params.spec_len bytes; NULL: anything */
    sampling_bias *bias;
    api_stop stops[API_STOPS_MAX];
    uint32_t stop_count;
    uint64_t salt[2];        /* of the prefix cache; both 0: none was given */
    int32_t prompt_logprobs; /* to be shown; -1 = none. params.prompt_logprobs is what is computed, for echo
                                too */
    bool max_tokens_given, seed_given;
    bool stream, include_usage, continuous_usage, timings;
    bool echo, include_stop, keep_special, return_token_ids;
    bool add_special;             /* the file's BOS in front of texts */
    bool want_token_strs;         /* tokenize: token_strs in the answer */
    bool want_lists;              /* tokenize: a list of prompts came, so lists of lists go */
    int32_t priority;             /* in the queue: lower ones first */
    uint64_t client, first_by_ns; /* see core_request; the front fills them in */
    int64_t
        truncate; /* keep the last so many tokens of each prompt; 0: all; -1: what the context has room for */
    char *warnings; /* of the answer: a JSON list of strings; NULL = none. Owned */
} api_request;

/* What a request is judged against: facts of the served model. Read-only, any thread. */
typedef struct api_model {
    const char *name; /* served_model_name */
    uint32_t max_context, vocab;
    uint32_t max_prompt;      /* limits.max_prompt_tokens; 0: the context's */
    uint32_t json_depth;      /* limits.json_depth; 0: no bound of ours */
    const sampling *defaults; /* of HTTP's requests; NULL: sampling_default(). Borrowed */
    bool masks;               /* the backend can keep an answer to a form */
} api_model;

void api_request_init(api_request *r, api_kind kind);
void api_request_done(api_request *r);
void api_chat_done(api_chat *c);
/* Adds a prompt and returns it. */
api_prompt *api_add_prompt(api_request *r);
/* A chat role of len bytes as text of ours, NULL when it is none: a role goes into the prompt as template
 * text, so it must not be free. */
const char *api_role(const char *text, size_t len);
/* Takes v for the sampling number that clients call `name` (one of temperature, top_p, min_p and the
 * penalties): v itself is judged, before it is narrowed, so that limits hold exactly; one that is too small
 * for a normal float counts as 0, and is judged as that, too. */
status api_number(api_request *r, const char *name, double v, api_error *e);
/* The error of a prompt that does not fit: in words and with a code that clients take for it. what: prompt or
 * messages; have: the tokens
 * of the prompt, or that there are more than so many; 0 for max_tokens: they do not matter. */
status api_too_long(api_error *e, const char *what, const api_model *m, uint32_t have, bool more,
                    uint32_t max_tokens);
/* The same, when it is limits.max_prompt_tokens that it does not fit. */
status api_prompt_too_long(api_error *e, const char *what, const api_model *m, uint32_t have, bool more);
/* Takes a cache_salt of len bytes: prefixes are shared with requests of the same one only. */
status api_salt(api_request *r, const void *text, size_t len, api_error *e);
/* Judges all ranges and combinations, and draws the seed when none was given. */
status api_check(api_request *r, const api_model *m, api_error *e);
/* Log-probabilities that have to be kept for it: prompt tokens of all choices x (1 + prompt_logprobs). */
uint64_t api_scores(const api_request *r);
/* After encoding: prompt and max_tokens against the context; a chat without max_tokens gets the rest of it.
 */
status api_check_context(api_request *r, const api_model *m, api_error *e);

#endif
