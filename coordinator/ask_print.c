#include "coordinator/ask_print.h"

#include "base/clock.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct answer {
    buf text;
    json_t *tokens; /* of --json with --logprobs; NULL: none */
    bool ended;
    Baton__EndReason reason;
    uint32_t prompt_tokens, cached_tokens, output_tokens;
    Baton__ServerTimings stages; /* without pointers */
    uint64_t first_ns, last_ns;  /* of its tokens; 0: none came */
} answer;

struct ask_print {
    const ask_options *options;
    uint64_t asked_ns;
    uint64_t seed;
    answer *answers; /* [choices] */
    bool newline;    /* the last byte written was one */
};

ask_print *ask_print_new(const ask_options *o) {
    PRE(o);
    ask_print *p = xcalloc(1, sizeof *p);
    *p = (ask_print){.options = o, .asked_ns = clock_now_ns(), .newline = true};
    p->answers = xcalloc(o->request.n, sizeof *p->answers);
    return p;
}

void ask_print_free(ask_print *p) {
    if (!p) return;
    for (uint32_t i = 0; i < p->options->request.n; i++) {
        buf_done(&p->answers[i].text);
        json_decref(p->answers[i].tokens);
    }
    free(p->answers);
    free(p);
}

const buf *ask_print_text(const ask_print *p) {
    PRE(p);
    return &p->answers[0].text;
}

static void write_out(ask_print *p, const void *bytes, size_t len) {
    if (len == 0) return;
    fwrite(bytes, 1, len, stdout);
    fflush(stdout);
    p->newline = ((const char *)bytes)[len - 1] == '\n';
}

static void end_line(ask_print *p) {
    if (!p->newline) write_out(p, "\n", 1);
}

static answer *answer_of(ask_print *p, uint32_t choice) {
    return choice < p->options->request.n ? &p->answers[choice] : NULL;
}

static void add_text(ask_print *p, uint32_t choice, const void *bytes, size_t len) {
    buf_add(&p->answers[choice].text, bytes, len);
    if (choice == 0 && !p->options->json) write_out(p, bytes, len);
}

static json_t *text_of(const void *bytes, size_t len) {
    json_t *text = json_stringn(len ? bytes : "", len);
    return text ? text : json_string("\xef\xbf\xbd"); /* what is no UTF-8 */
}

static void tell_logprobs(ask_print *p, answer *a, uint32_t choice, const Baton__ServerToken *t) {
    if (!p->options->json) {
        fprintf(stderr, "choice %u token %u: id %d logprob %.6f", choice, t->index, t->token_id,
                (double)t->logprob);
        for (size_t i = 0; i < t->n_top; i++)
            fprintf(stderr, "%s%d %.6f", i ? ", " : "; best: ", t->top[i]->token_id,
                    (double)t->top[i]->logprob);
        fprintf(stderr, "\n");
        return;
    }
    if (!a->tokens) a->tokens = json_array();
    json_t *best = json_array();
    for (size_t i = 0; i < t->n_top; i++)
        json_array_append_new(
            best, json_pack("{s:i, s:f}", "id", t->top[i]->token_id, "logprob", (double)t->top[i]->logprob));
    json_array_append_new(a->tokens, json_pack("{s:i, s:f, s:o}", "id", t->token_id, "logprob",
                                               (double)t->logprob, "top", best));
}

static void on_accepted(void *ctx, const Baton__ServerAccepted *accepted) {
    ask_print *p = ctx;
    p->seed = accepted->seed;
}

static void on_token(void *ctx, uint32_t choice, const Baton__ServerToken *t) {
    ask_print *p = ctx;
    answer *a = answer_of(p, choice);
    if (!a) return;
    a->last_ns = clock_now_ns();
    if (!a->first_ns) a->first_ns = a->last_ns;
    if (p->options->show_ids) {
        char id[24];
        add_text(p, choice, id, (size_t)snprintf(id, sizeof id, "%d ", t->token_id));
    } else if (t->has_text) {
        add_text(p, choice, t->text.data, t->text.len);
    }
    if (t->has_logprob) tell_logprobs(p, a, choice, t);
}

static void on_end(void *ctx, uint32_t choice, const Baton__ServerEnd *e) {
    ask_print *p = ctx;
    answer *a = answer_of(p, choice);
    if (!a) return;
    if (e->has_text && !p->options->show_ids) add_text(p, choice, e->text.data, e->text.len);
    a->ended = true;
    a->reason = e->reason;
    a->prompt_tokens = e->prompt_tokens;
    a->cached_tokens = e->cached_tokens;
    a->output_tokens = e->completion_tokens;
    if (e->timings) a->stages = *e->timings;
}

ask_sink ask_print_sink(ask_print *p) {
    PRE(p);
    return (ask_sink){.ctx = p, .accepted = on_accepted, .token = on_token, .end = on_end};
}

/* --- the end --- */

static const char *reason_of(const answer *a) {
    switch (a->ended ? a->reason : BATON__END_REASON__END_CANCELED) {
    case BATON__END_REASON__END_EOS:
    case BATON__END_REASON__END_STOP_ID:
    case BATON__END_REASON__END_STOP_STRING:
        return "stop";
    case BATON__END_REASON__END_LENGTH:
        return "length";
    default:
        return "canceled";
    }
}

/* As seen here: milliseconds to the first token, and between two. */
static double first_ms(const ask_print *p, const answer *a) {
    return a->first_ns ? (double)(a->first_ns - p->asked_ns) / 1e6 : 0;
}

static double between_ms(const answer *a) {
    return a->output_tokens > 1 ? (double)(a->last_ns - a->first_ns) / 1e6 / (a->output_tokens - 1) : 0;
}

static void tell_stats(const ask_print *p, uint32_t choice) {
    const answer *a = &p->answers[choice];
    const Baton__ServerTimings *t = &a->stages;
    fprintf(stderr, "choice %u: prompt %u tokens (%u cached), answer %u tokens, %s, seed %" PRIu64 "\n",
            choice, a->prompt_tokens, a->cached_tokens, a->output_tokens, reason_of(a), p->seed);
    fprintf(stderr, "  here: TTFT %.2f ms, TPOT %.2f ms", first_ms(p, a), between_ms(a));
    if (between_ms(a) > 0) fprintf(stderr, " (%.1f tokens/s)", 1e3 / between_ms(a));
    fprintf(stderr, "\n  there: queue %.2f ms, prefill %.2f ms, hand-off %.2f ms, ", t->queue_ms,
            t->prefill_ms, t->handoff_ms);
    if (t->has_decode_wait_ms) fprintf(stderr, "decode wait %.2f ms, ", t->decode_wait_ms);
    fprintf(stderr, "first token %.2f ms, decode %.2f ms, total %.2f ms\n", t->first_token_ms, t->decode_ms,
            t->total_ms);
}

static void print_json(const ask_print *p, uint32_t choice, ask_result result, const char *why) {
    const answer *a = &p->answers[choice];
    const Baton__ServerTimings *t = &a->stages;
    json_t *line = json_pack(
        "{s:i, s:o, s:s, s:I, s:i, s:i, s:i, s:f, s:f, s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f}}", "choice",
        (int)choice, "text", text_of(a->text.data, a->text.len), "finish_reason", reason_of(a), "seed",
        (json_int_t)p->seed, "prompt_tokens", (int)a->prompt_tokens, "cached_tokens", (int)a->cached_tokens,
        "completion_tokens", (int)a->output_tokens, "ttft_ms", first_ms(p, a), "tpot_ms", between_ms(a),
        "stages_ms", "queue", t->queue_ms, "prefill", t->prefill_ms, "handoff", t->handoff_ms, "decode_wait",
        t->decode_wait_ms, "first_token", t->first_token_ms, "decode", t->decode_ms, "total", t->total_ms);
    CHECK(line);
    if (a->tokens) json_object_set(line, "tokens", a->tokens);
    if (result != ASK_ANSWERED && why[0]) json_object_set_new(line, "error", text_of(why, strlen(why)));
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(line);
}

void ask_print_end(ask_print *p, ask_result result, const char *why) {
    PRE(p);
    PRE(why);
    end_line(p);
    for (uint32_t i = 0; i < p->options->request.n; i++) {
        if (p->options->json) {
            print_json(p, i, result, why);
        } else if (i > 0 && result == ASK_ANSWERED) {
            printf("--- choice %u\n", i);
            write_out(p, p->answers[i].text.data, p->answers[i].text.len);
            end_line(p);
        }
    }
    for (uint32_t i = 0; p->options->stats && i < p->options->request.n; i++)
        if (p->answers[i].ended) tell_stats(p, i);
    if (why[0]) fprintf(stderr, "baton-ask: %s\n", why);
}
