#include "coordinator/text.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/ring.h"
#include "coordinator/openai.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* From bodies of this size on what a job freed is given back; smaller ones leave less than 32 MiB. */
#define TRIM_BYTES ((size_t)1024 * 1024)
enum { TEXT_JOBS_MAX = 256 }; /* away at once; each holds a body of at most limits.max_body_kb */

struct text_thread {
    const text_env *env;
    ring *in;  /* text_job *: loop > thread; NULL tells it to leave */
    ring *out; /* text_job *: thread > loop; never full, as no more than TEXT_JOBS_MAX are away */
    uint32_t away;
    size_t away_bytes; /* of their texts */
    bool running;
    pthread_t thread;
};

text_job *text_job_new(api_kind kind, void *owner, void (*done)(void *, text_job *)) {
    PRE(owner);
    PRE(done);
    text_job *job = xcalloc(1, sizeof *job);
    job->kind = kind;
    job->owner = owner;
    job->done = done;
    return job;
}

void text_job_free(text_job *job) {
    if (!job) return;
    free(job->body);
    api_request_done(&job->request);
    buf_done(&job->answer);
    free(job);
}

status text_encode(const text_env *env, const char *text, size_t len, const encode_options *opt,
                   const char *param, token_list *out, api_error *e) {
    PRE(env);
    PRE(text);
    PRE(opt);
    PRE(out);
    PRE(e);
    errbuf eb = {0};
    status st = tokenizer_encode(env->tok, text, len, opt, out, &eb);
    if (st == ST_OK) return ST_OK;
    const api_model *m = &env->model;
    if (st == ST_NOMEM && opt->max_tokens == m->max_prompt)
        return api_prompt_too_long(e, param, m, opt->max_tokens, true);
    if (st == ST_NOMEM) return api_too_long(e, param, m, opt->max_tokens, true, 0);
    return api_fail(e, st == ST_INVALID ? 400 : 500, param, "%s: %s", param, eb.text);
}

/* The messages as one prompt by the model's template, in which no content can forge a turn. */
static status encode_chat(const text_env *env, api_request *r, encode_options *opt, api_error *e) {
    chat_input in = {.messages = r->chat.messages,
                     .tools = r->chat.tools,
                     .documents = r->chat.documents,
                     .kwargs = r->chat.kwargs,
                     .add_generation_prompt = r->chat.add_generation_prompt,
                     .continue_final_message = r->chat.continue_final_message};
    time_t now = time(NULL);
    localtime_r(&now, &in.now);
    if (in.tools && env->chat->program && !chat_template_reads(env->chat, "tools"))
        return api_fail(e, 400, "tools", "tools: the chat template of this model has no place for them");
    text_span *spans = NULL;
    buf prompt = {0};
    errbuf eb = {0};
    status st = chat_render(env->chat, &in, &prompt, &spans, &opt->plain_count, &eb);
    if (st != ST_OK) {
        st = api_fail(e, 400, "messages", "messages: %s", eb.text);
    } else {
        opt->plain = spans;
        st = text_encode(env, prompt.len ? prompt.data : "", prompt.len, opt, "messages",
                         &api_add_prompt(r)->ids, e);
    }
    buf_done(&prompt);
    free(spans);
    return st;
}

/* The last tokens are kept, and a text that is not all there is not echoed either. */
static void truncate_prompts(const api_model *m, api_request *r) {
    uint32_t answer = MIN(MAX(r->params.max_tokens, 1), m->max_context - 1);
    if (r->kind == API_CHAT && !r->max_tokens_given) answer = 1;
    uint32_t keep = r->truncate > 0 ? (uint32_t)r->truncate : m->max_context - answer;
    for (uint32_t i = 0; i < r->prompt_count; i++) {
        api_prompt *p = &r->prompts[i];
        if (p->ids.count <= keep) continue;
        memmove(p->ids.ids, p->ids.ids + (p->ids.count - keep), keep * sizeof *p->ids.ids);
        p->ids.count = keep;
        free(p->text);
        p->text = NULL;
        p->len = 0;
    }
}

static status encode_prompts(const text_env *env, api_request *r, api_error *e) {
    const api_model *m = &env->model;
    encode_options opt = {.add_special = r->add_special,
                          .parse_special = true,
                          .max_tokens = MIN(m->max_prompt ? m->max_prompt : UINT32_MAX, m->max_context)};
    /* What is only counted, or cut afterwards, may be of any length: the body's bounds it. */
    if (r->kind == API_TOKENIZE || r->truncate) opt.max_tokens = UINT32_MAX;
    if (json_array_size(r->chat.messages) > 0) return encode_chat(env, r, &opt, e);
    for (uint32_t i = 0; i < r->prompt_count; i++) {
        api_prompt *p = &r->prompts[i];
        if (!p->text) continue;
        status st = text_encode(env, p->text, p->len, &opt, "prompt", &p->ids, e);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

/* Nothing of the texts is needed once they are ids. */
static void drop_texts(api_request *r) {
    api_chat_done(&r->chat);
    for (uint32_t i = 0; i < r->prompt_count && !r->echo; i++) {
        free(r->prompts[i].text);
        r->prompts[i].text = NULL;
        r->prompts[i].len = 0;
    }
}

void text_prepare(const text_env *env, text_job *job) {
    PRE(env);
    PRE(job);
    status st = ST_OK;
    api_request *r = &job->request;
    if (job->body)
        st = openai_parse(r, job->kind, job->body, job->body_len, &env->model, &job->err);
    else
        st = api_check(r, &env->model, &job->err);
    free(job->body);
    job->body = NULL;
    if (st == ST_OK) st = encode_prompts(env, r, &job->err);
    if (st == ST_OK) drop_texts(r);
    if (st == ST_OK && r->truncate) truncate_prompts(&env->model, r);
    if (st == ST_OK && (r->kind == API_COMPLETION || r->kind == API_CHAT)) {
        st = api_check_context(r, &env->model, &job->err);
    }
    if (st == ST_OK && (r->kind == API_TOKENIZE || r->kind == API_DETOKENIZE))
        openai_tokens(&job->answer, r, env->tok, &env->model);
    POST((st == ST_OK) == (job->err.http == 0));
}

static void *thread_main(void *arg) {
    text_thread *t = arg;
    for (;;) {
        (void)ring_wait(t->in, NS_PER_S);
        ring_ack(t->in);
        text_job *job = NULL;
        while (ring_pop(t->in, &job) == ST_OK) {
            if (!job) return NULL;
            size_t bytes = job->body_len;
            text_prepare(t->env, job);
            if (bytes >= TRIM_BYTES) (void)malloc_trim(0);
            status st = ring_push(t->out, &job);
            CHECK(st == ST_OK);
        }
    }
}

static void come_home(void *ctx) {
    text_thread *t = ctx;
    ring_ack(t->out);
    text_job *job = NULL;
    while (ring_pop(t->out, &job) == ST_OK) {
        t->away--;
        t->away_bytes -= job->away_bytes;
        if (job->owner)
            job->done(job->owner, job);
        else
            text_job_free(job);
    }
}

status text_new(text_thread **out, loop *l, const text_env *env, errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(env);
    PRE(env->tok);
    PRE(env->chat);
    PRE(env->model.name);
    text_thread *t = xcalloc(1, sizeof *t);
    t->env = env;
    status st = ring_new(&t->in, TEXT_JOBS_MAX + 1, sizeof(text_job *), eb);
    if (st == ST_OK) st = ring_new(&t->out, TEXT_JOBS_MAX + 1, sizeof(text_job *), eb);
    if (st != ST_OK) goto fail;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
    int rc = pthread_create(&t->thread, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        st = errf(eb, ST_IO, "text thread: %s", strerror(rc));
        goto fail;
    }
    t->running = true;
    loop_watch(l, ring_fd(t->out), come_home, t);
    *out = t;
    return ST_OK;

fail:
    text_free(t);
    return st;
}

void text_free(text_thread *t) {
    if (!t) return;
    if (t->running) {
        text_job *leave = NULL;
        status st = ring_push(t->in, &leave); /* has room: the ring is larger than what may be away */
        CHECK(st == ST_OK);
        pthread_join(t->thread, NULL);
        text_job *job = NULL;
        while (ring_pop(t->out, &job) == ST_OK) text_job_free(job);
    }
    ring_free(t->in);
    ring_free(t->out);
    free(t);
}

static size_t job_bytes(const text_job *job) {
    size_t sum = job->body_len;
    for (uint32_t i = 0; i < job->request.prompt_count; i++) sum += job->request.prompts[i].len;
    return sum + job->request.chat.bytes;
}

status text_run(text_thread *t, text_job *job, bool after_large, bool *away) {
    PRE(t);
    PRE(job);
    PRE(job->owner);
    PRE(away);
    *away = false;
    if (job_bytes(job) <= TEXT_INLINE_BYTES && !after_large) {
        text_prepare(t->env, job);
        job->done(job->owner, job);
        return ST_OK;
    }
    if (t->away == TEXT_JOBS_MAX) return ST_AGAIN;
    job->away_bytes = job_bytes(job);
    status st = ring_push(t->in, &job);
    CHECK(st == ST_OK);
    t->away++;
    t->away_bytes += job->away_bytes;
    *away = true;
    return ST_OK;
}

size_t text_bytes_away(const text_thread *t) {
    PRE(t);
    return t->away_bytes;
}
