/* text - from a body to token ids, and of /tokenize and /detokenize to the answer: at once for small bodies,
 * on a thread of its own for large ones.
 *
 * A long JSON body or a prompt of 100k tokens takes tens of milliseconds; on the coordinator's loop that
 * would leave heartbeats unread and make healthy workers look dead. So bodies above TEXT_INLINE_BYTES travel
 * to the text thread and back over two bounded SPSC rings. A client may vanish while its job is away: it
 * clears job->owner, and the job is freed when it comes home.
 *
 * A JSON tree takes some 30 times the bytes of its text. What the text thread freed of one it gives back to
 * the system, so that one large body does not make the process large for ever.
 *
 * Threads: text_prepare any; all other functions the loop's. text_env is read-only. */
#ifndef BATON_COORDINATOR_TEXT_H
#define BATON_COORDINATOR_TEXT_H

#include "base/mem.h"
#include "coordinator/api.h"
#include "net/loop.h"
#include "text/chat.h"

#define TEXT_INLINE_BYTES ((size_t)64 * 1024)

typedef struct text_env {
    const tokenizer *tok;
    const chat_template *chat;
    api_model model;
} text_env;

typedef struct text_job {
    void *owner; /* loop only: whose job it is; NULL = nobody waits any more */
    /* Loop: takes the job back and frees it with text_job_free */
    void (*done)(void *owner, struct text_job *job);
    api_kind kind;
    char *body; /* JSON, body_len bytes; NULL: `request` was filled by the caller (native socket) */
    size_t body_len;
    size_t away_bytes;   /* what it brought to the text thread */
    api_request request; /* result when err.http is 0 */
    buf answer;          /* tokenize, detokenize: the whole of it */
    api_error err;
} text_job;

text_job *text_job_new(api_kind kind, void *owner, void (*done)(void *, text_job *));
/* With what is left in it */
void text_job_free(text_job *job);
/* Parses and encodes job in place, and makes the answer of those that have no other. */
void text_prepare(const text_env *env, text_job *job);
/* Appends the ids of one text; the error names `param`. */
status text_encode(const text_env *env, const char *text, size_t len, const encode_options *opt,
                   const char *param, token_list *out, api_error *e);

typedef struct text_thread text_thread;
/* Env is borrowed. Caller frees with text_free, which waits for the job at hand. */
status text_new(text_thread **out, loop *l, const text_env *env, errbuf *eb);
void text_free(text_thread *t);
/* Runs a small job now (done is called before it returns), a large one on the thread. ST_AGAIN: the thread
 * has enough to do, and the job stays the caller's. after_large: the caller has a large job under way and
 * wants the order kept. */
status text_run(text_thread *t, text_job *job, bool after_large, bool *away);
/* Bytes of texts that are at the thread. */
size_t text_bytes_away(const text_thread *t);

#endif
