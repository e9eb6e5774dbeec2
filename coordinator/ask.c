/* baton-ask - asks a running cluster over the native socket and writes the answer to stdout as it comes.
 *
 * It is also the example of a client of proto/client.proto: one request, pings every second, a cancel on
 * Ctrl-C, and an error when nothing was heard for --timeout seconds (the coordinator answers pings and sends
 * keep-alives, so silence means that it is away). Choice 0 streams; further choices are kept and written
 * after it. Exit status: 0 answered, 1 error, 2 usage, 130 Ctrl-C. */
#include "base/clock.h"
#include "base/mem.h"
#include "net/bus.h"
#include "proto/client.pb-c.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "baton-ask " BATON_VERSION;
error_t argp_err_exit_status = 2;

#define TIMEOUT_MAX_S 86400.0
enum { CHOICES_MAX = 128, STOPS_MAX = 16, ASK_ID = 1, CONN = 1, INPUT_MAX = 16 << 20 };
enum {
    OPT_TEMPERATURE = 1000,
    OPT_TOP_P,
    OPT_TOP_K,
    OPT_MIN_P,
    OPT_SEED,
    OPT_MAX_TOKENS,
    OPT_STOP,
    OPT_IGNORE_EOS,
    OPT_IDS,
    OPT_LOGPROBS,
    OPT_TIMINGS,
    OPT_TIMEOUT,
    OPT_MODEL,
    OPT_SHOW_IDS
};

typedef struct ask {
    const char *endpoint, *system;
    bool chat, timings, show_ids;
    double timeout_s;
    buf prompt;
    int32_t *ids;
    size_t id_count;
    ProtobufCBinaryData stops[STOPS_MAX];
    Baton__ClientRequest request;

    loop *loop;
    bus *bus;
    uint64_t heard_ns, pinged_ns;
    buf text[CHOICES_MAX]; /* of the choices after the first */
    uint32_t ended;
    bool newline; /* the last byte written was one */
    bool canceled;
    int code;
} ask;

/* ---- the command line ---- */

static double number(struct argp_state *state, const char *name, const char *arg) {
    char *end = NULL;
    double v = strtod(arg, &end);
    if (end == arg || *end) argp_error(state, "--%s: '%s' is no number", name, arg);
    return v;
}

static int64_t whole(struct argp_state *state, const char *name, const char *arg, int64_t min, int64_t max) {
    char *end = NULL;
    errno = 0;
    long long v = strtoll(arg, &end, 10);
    if (end == arg || *end || errno || v < min || v > max)
        argp_error(state, "--%s: '%s' is no whole number of %" PRId64 " to %" PRId64, name, arg, min, max);
    return v;
}

static void parse_ids(ask *a, struct argp_state *state, const char *arg) {
    while (*arg) {
        char *end = NULL;
        long id = strtol(arg, &end, 10);
        if (end == arg || id < 0 || id > INT32_MAX || (*end && *end != ','))
            argp_error(state, "--ids: '%s' is no list of token ids like 1,2,3", arg);
        a->ids = xrealloc(a->ids, a->id_count + 1, sizeof *a->ids);
        a->ids[a->id_count++] = (int32_t)id;
        arg = *end ? end + 1 : end;
    }
}

static void add_word(ask *a, const char *word) {
    if (a->prompt.len) buf_adds(&a->prompt, " ");
    buf_adds(&a->prompt, word);
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    ask *a = state->input;
    Baton__ClientRequest *r = &a->request;
    switch (key) {
    case 'e':
        a->endpoint = arg;
        return 0;
    case 'c':
        a->chat = true;
        return 0;
    case 's':
        a->system = arg;
        a->chat = true;
        return 0;
    case 'n':
        r->has_n = true;
        r->n = (uint32_t)whole(state, "choices", arg, 1, CHOICES_MAX);
        return 0;
    case OPT_MODEL:
        r->model = arg;
        return 0;
    case OPT_TEMPERATURE:
        r->has_temperature = true;
        r->temperature = (float)number(state, "temperature", arg);
        return 0;
    case OPT_TOP_P:
        r->has_top_p = true;
        r->top_p = (float)number(state, "top-p", arg);
        return 0;
    case OPT_TOP_K:
        r->has_top_k = true;
        r->top_k = (int32_t)whole(state, "top-k", arg, -1, INT32_MAX);
        return 0;
    case OPT_MIN_P:
        r->has_min_p = true;
        r->min_p = (float)number(state, "min-p", arg);
        return 0;
    case OPT_SEED:
        r->has_seed = true;
        r->seed = (uint64_t)whole(state, "seed", arg, INT64_MIN, INT64_MAX);
        return 0;
    case OPT_MAX_TOKENS:
        r->has_max_tokens = true;
        r->max_tokens = (uint32_t)whole(state, "max-tokens", arg, 1, UINT32_MAX);
        return 0;
    case OPT_LOGPROBS:
        r->has_logprobs = true;
        r->logprobs = (int32_t)whole(state, "logprobs", arg, 0, INT32_MAX);
        return 0;
    case OPT_IGNORE_EOS:
        r->has_ignore_eos = true;
        r->ignore_eos = true;
        return 0;
    case OPT_STOP:
        if (r->n_stop == STOPS_MAX) argp_error(state, "more than %d --stop", STOPS_MAX);
        a->stops[r->n_stop++] = (ProtobufCBinaryData){.len = strlen(arg), .data = (uint8_t *)arg};
        return 0;
    case OPT_IDS:
        parse_ids(a, state, arg);
        return 0;
    case OPT_SHOW_IDS:
        a->show_ids = true;
        return 0;
    case OPT_TIMINGS:
        a->timings = true;
        return 0;
    case OPT_TIMEOUT:
        a->timeout_s = number(state, "timeout", arg);
        return 0;
    case ARGP_KEY_ARG:
        add_word(a, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"endpoint", 'e', "ENDPOINT", 0, "cluster.client of the config (default tcp://127.0.0.1:8002)", 0},
    {"chat", 'c', NULL, 0, "PROMPT is a user's message for the chat template", 0},
    {"system", 's', "TEXT", 0, "A system message before it (implies --chat)", 0},
    {"choices", 'n', "N", 0, "Choices to generate", 0},
    {"model", OPT_MODEL, "NAME", 0, "Fail unless this model is served", 0},
    {"temperature", OPT_TEMPERATURE, "T", 0, "0 = always the most likely token", 0},
    {"top-p", OPT_TOP_P, "P", 0, NULL, 0},
    {"top-k", OPT_TOP_K, "K", 0, NULL, 0},
    {"min-p", OPT_MIN_P, "P", 0, NULL, 0},
    {"seed", OPT_SEED, "SEED", 0, "The same seed gives the same answer", 0},
    {"max-tokens", OPT_MAX_TOKENS, "N", 0, NULL, 0},
    {"stop", OPT_STOP, "TEXT", 0, "End before this text; may be repeated", 0},
    {"ignore-eos", OPT_IGNORE_EOS, NULL, 0, "Go on to max-tokens", 0},
    {"ids", OPT_IDS, "1,2,3", 0, "Token ids instead of PROMPT", 0},
    {"logprobs", OPT_LOGPROBS, "N", 0, "Write each token's log-probability and the N best to stderr", 0},
    {"show-ids", OPT_SHOW_IDS, NULL, 0, "Write token ids to stdout instead of text", 0},
    {"timings", OPT_TIMINGS, NULL, 0, "Write the stage times to stderr", 0},
    {"timeout", OPT_TIMEOUT, "SECONDS", 0,
     "Give up after so long without a sign of the coordinator (default 10)", 0},
    {0}};

/* No PROMPT and no ids: the prompt is what comes on standard input. */
static bool read_prompt(ask *a) {
    if (a->prompt.len || a->id_count) return true;
    char bytes[65536];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0 && a->prompt.len < INPUT_MAX)
        buf_add(&a->prompt, bytes, n);
    if (a->prompt.len) return true;
    fprintf(stderr, "baton-ask: no prompt: give it as an argument, on standard input, or as --ids\n");
    return false;
}

/* ---- sending ---- */

static void send_message(ask *a, const Baton__ClientMessage *m) {
    size_t bytes = baton__client_message__get_packed_size(m);
    uint8_t *p = xmalloc(bytes + 1);
    baton__client_message__pack(m, p);
    (void)bus_send(a->bus, CONN, p, bytes); /* a lost session is told by on_lost */
    free(p);
}

static void send_request(ask *a) {
    Baton__ClientRequest *r = &a->request;
    r->id = ASK_ID;
    r->stop = a->stops;
    Baton__ClientTokens tokens = BATON__CLIENT_TOKENS__INIT;
    Baton__ClientChat chat = BATON__CLIENT_CHAT__INIT;
    Baton__ClientChatTurn turns[2] = {BATON__CLIENT_CHAT_TURN__INIT, BATON__CLIENT_CHAT_TURN__INIT};
    Baton__ClientChatTurn *list[2];
    char system_role[] = "system", user_role[] = "user";
    if (a->id_count) {
        tokens.n_ids = a->id_count;
        tokens.ids = a->ids;
        r->prompt_case = BATON__CLIENT_REQUEST__PROMPT_TOKENS;
        r->tokens = &tokens;
    } else if (a->chat) {
        if (a->system) {
            turns[chat.n_turns].role = system_role;
            turns[chat.n_turns++].content = (ProtobufCBinaryData){strlen(a->system), (uint8_t *)a->system};
        }
        turns[chat.n_turns].role = user_role;
        turns[chat.n_turns++].content = (ProtobufCBinaryData){a->prompt.len, (uint8_t *)a->prompt.data};
        for (size_t i = 0; i < chat.n_turns; i++) list[i] = &turns[i];
        chat.turns = list;
        r->prompt_case = BATON__CLIENT_REQUEST__PROMPT_CHAT;
        r->chat = &chat;
    } else {
        r->prompt_case = BATON__CLIENT_REQUEST__PROMPT_TEXT;
        r->text = (ProtobufCBinaryData){a->prompt.len, (uint8_t *)a->prompt.data};
    }
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_REQUEST;
    m.request = r;
    send_message(a, &m);
}

static void send_ping(ask *a) {
    Baton__ClientPing ping = BATON__CLIENT_PING__INIT;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_PING;
    m.ping = &ping;
    send_message(a, &m);
}

static void finish(ask *a, int code) {
    a->code = code;
    loop_stop(a->loop);
}

/* ---- receiving ---- */

static void write_out(ask *a, const void *bytes, size_t len) {
    if (len == 0) return;
    fwrite(bytes, 1, len, stdout);
    fflush(stdout);
    a->newline = ((const char *)bytes)[len - 1] == '\n';
}

static void take_text(ask *a, uint32_t choice, const ProtobufCBinaryData *text) {
    if (choice == 0)
        write_out(a, text->data, text->len);
    else if (choice < CHOICES_MAX)
        buf_add(&a->text[choice], text->data, text->len);
}

static void take_token(ask *a, uint32_t choice, const Baton__ServerToken *t) {
    if (a->show_ids) {
        char id[24];
        int n = snprintf(id, sizeof id, "%d ", t->token_id);
        take_text(a, choice, &(ProtobufCBinaryData){(size_t)n, (uint8_t *)id});
    } else if (t->has_text) {
        take_text(a, choice, &t->text);
    }
    if (!t->has_logprob) return;
    fprintf(stderr, "choice %u token %u: id %d logprob %.6f", choice, t->index, t->token_id,
            (double)t->logprob);
    for (size_t i = 0; i < t->n_top; i++)
        fprintf(stderr, "%s%d %.6f", i ? ", " : "; best: ", t->top[i]->token_id, (double)t->top[i]->logprob);
    fprintf(stderr, "\n");
}

static void show_timings(uint32_t choice, const Baton__ServerEnd *e) {
    const Baton__ServerTimings *t = e->timings;
    fprintf(stderr, "choice %u: prompt %u tokens (%u cached), answer %u tokens\n", choice, e->prompt_tokens,
            e->cached_tokens, e->completion_tokens);
    if (!t) return;
    fprintf(stderr, "  queue %.2f ms, prefill %.2f ms, hand-off %.2f ms, ", t->queue_ms, t->prefill_ms,
            t->handoff_ms);
    if (t->has_decode_wait_ms) fprintf(stderr, "decode wait %.2f ms, ", t->decode_wait_ms);
    fprintf(stderr, "first token %.2f ms, decode %.2f ms, total %.2f ms\n", t->first_token_ms, t->decode_ms,
            t->total_ms);
}

static void take_end(ask *a, uint32_t choice, const Baton__ServerEnd *e) {
    if (e->has_text && !a->show_ids) take_text(a, choice, &e->text);
    if (a->timings) show_timings(choice, e);
    if (++a->ended < a->request.n) return;
    if (!a->newline) write_out(a, "\n", 1);
    for (uint32_t i = 1; i < a->request.n && i < CHOICES_MAX; i++) {
        printf("--- choice %u\n", i);
        write_out(a, a->text[i].data, a->text[i].len);
        if (!a->newline) write_out(a, "\n", 1);
    }
    finish(a, a->canceled ? 130 : 0);
}

/* ev: NULL when the bytes were none. */
static void take_event(ask *a, const Baton__ServerEvent *ev) {
    switch (ev ? ev->body_case : BATON__SERVER_EVENT__BODY__NOT_SET) {
    case BATON__SERVER_EVENT__BODY_TOKEN:
        take_token(a, ev->choice, ev->token);
        break;
    case BATON__SERVER_EVENT__BODY_END:
        take_end(a, ev->choice, ev->end);
        break;
    case BATON__SERVER_EVENT__BODY_ERROR:
        if (!a->newline) write_out(a, "\n", 1);
        if (!a->canceled) fprintf(stderr, "baton-ask: %u: %s\n", ev->error->http, ev->error->message);
        finish(a, a->canceled ? 130 : 1);
        break;
    case BATON__SERVER_EVENT__BODY_ACCEPTED:
        if (a->timings)
            fprintf(stderr, "accepted: prompt %u tokens, seed %" PRIu64 "\n", ev->accepted->prompt_tokens,
                    ev->accepted->seed);
        break;
    case BATON__SERVER_EVENT__BODY_PONG:
    case BATON__SERVER_EVENT__BODY_KEEPALIVE:
    case BATON__SERVER_EVENT__BODY_WORKERS: /* nobody asked */
        break;
    case BATON__SERVER_EVENT__BODY__NOT_SET:
    case _BATON__SERVER_EVENT__BODY__CASE_IS_INT_SIZE:
        fprintf(stderr, "baton-ask: %s answers with bytes that are no ServerEvent of client.proto\n",
                a->endpoint);
        finish(a, 1);
        break;
    }
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)conn;
    ask *a = ctx;
    a->heard_ns = clock_now_ns();
    Baton__ServerEvent *ev = baton__server_event__unpack(NULL, count, bytes);
    take_event(a, ev);
    for (size_t i = 0; ev && i < ev->n_more; i++) take_event(a, ev->more[i]);
    if (ev) baton__server_event__free_unpacked(ev, NULL);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn;
    ask *a = ctx;
    if (!a->newline) write_out(a, "\n", 1);
    fprintf(stderr, "baton-ask: the connection to %s is lost: %s\n", a->endpoint, why);
    finish(a, 1);
}

/* The first Ctrl-C cancels and waits for the coordinator's word; the second leaves. */
static void on_signal(void *ctx, int signo) {
    (void)signo;
    ask *a = ctx;
    if (a->canceled) {
        finish(a, 130);
        return;
    }
    a->canceled = true;
    Baton__ClientCancel cancel = BATON__CLIENT_CANCEL__INIT;
    cancel.id = ASK_ID;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    m.body_case = BATON__CLIENT_MESSAGE__BODY_CANCEL;
    m.cancel = &cancel;
    send_message(a, &m);
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    ask *a = ctx;
    uint64_t deadline = a->heard_ns + (uint64_t)(a->timeout_s * 1e9);
    if (now_ns >= deadline) {
        if (!a->newline) write_out(a, "\n", 1);
        fprintf(stderr,
                "baton-ask: nothing heard from %s for %g s: is the coordinator running? (cluster.client of "
                "its config "
                "is its address; -e sets it here)\n",
                a->endpoint, a->timeout_s);
        finish(a, 1);
    }
    if (now_ns >= a->pinged_ns + NS_PER_S) {
        a->pinged_ns = now_ns;
        send_ping(a);
    }
    return MIN(deadline, a->pinged_ns + NS_PER_S);
}

int main(int argc, char **argv) {
    static const struct argp argp = {
        options, parse_option, "[PROMPT...]", "Asks a Baton cluster over its native socket.", 0, 0, 0};
    ask *a = xcalloc(1, sizeof *a);
    a->endpoint = "tcp://127.0.0.1:8002";
    a->timeout_s = 10;
    a->newline = true;
    a->code = 1;
    baton__client_request__init(&a->request);
    argp_parse(&argp, argc, argv, 0, NULL, a);
    if (!(a->timeout_s > 0 && a->timeout_s <= TIMEOUT_MAX_S)) {
        fprintf(stderr, "baton-ask: want a timeout of more than 0 and at most %.0f s\n", TIMEOUT_MAX_S);
        return 2;
    }
    if (!read_prompt(a)) return 2;

    errbuf eb = {0};
    bus_handler h = {.ctx = a, .message = on_message, .lost = on_lost};
    status st = loop_new(&a->loop, turn, a, &eb);
    if (st == ST_OK) st = bus_connect(&a->bus, a->loop, a->endpoint, &h, &eb);
    if (st == ST_OK) {
        loop_signals(a->loop, on_signal, a);
        a->heard_ns = a->pinged_ns = clock_now_ns();
        send_request(a);
        loop_run(a->loop);
    } else {
        fprintf(stderr, "baton-ask: %s\n", eb.text);
    }
    int code = a->code;
    bus_free(a->bus);
    loop_free(a->loop);
    for (uint32_t i = 0; i < CHOICES_MAX; i++) buf_done(&a->text[i]);
    buf_done(&a->prompt);
    free(a->ids);
    free(a);
    return code;
}
