/* baton-ctl - who works for a cluster and how it is, who is to leave it, and what is to end: over the native
 * socket (proto/client.proto).
 *
 *   baton-ctl status         one screen: requests, workers with what they do, the last one that was lost
 *   baton-ctl workers        a table, one line for each worker that is here
 *   baton-ctl drain ID       no new work for this worker; it ends by itself when its requests have
 *   baton-ctl undrain ID     takes that back, as long as the worker is here
 *   baton-ctl cancel REQ     ends a request, whose ever it is: its client gets 499
 *   baton-ctl keygen DIR     makes the keys of a cluster: DIR/cluster.key, DIR/client.key (net/curve.h)
 *
 * ID is a worker's name or its id. REQ is the x-request-id of a request, the id of its answer, or req=N as
 * the coordinator's log has it. --json prints what a program reads. One question, one answer, one
 * thread. Exit status: 0 when the answer is what was asked for, 1 when the coordinator refuses or does not
 * answer, 2 for a command line that is wrong.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "coordinator/ctl_print.h"
#include "net/bus.h"
#include "proto/client.pb-c.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "baton-ctl " BATON_VERSION;
error_t argp_err_exit_status = 2;

enum { CONN = 1, ASK_ID = 1 };
#define ANSWER_WITHIN_NS (10 * NS_PER_S)

typedef enum command {
    CMD_NONE,
    CMD_STATUS,
    CMD_WORKERS,
    CMD_DRAIN,
    CMD_UNDRAIN,
    CMD_CANCEL,
    CMD_KEYGEN,
    CMD_COUNT
} command;

typedef struct app {
    const char *endpoint, *key_file; /* key_file: NULL = none */
    command command;
    char *target; /* of all that take one: borrowed from argv */
    bool json;
    loop *loop;
    bus *bus;
    uint64_t deadline_ns;
    int code;
} app;

/* ---- the command line ---- */

#define COMMANDS "want status, workers, drain, undrain, cancel or keygen"

static command command_of(const char *word) {
    static const char *const words[CMD_COUNT] = {"",        "status", "workers", "drain",
                                                 "undrain", "cancel", "keygen"};
    for (int i = CMD_STATUS; i < CMD_COUNT; i++)
        if (strcmp(word, words[i]) == 0) return (command)i;
    return CMD_NONE;
}

static bool takes_target(command c) {
    return c == CMD_DRAIN || c == CMD_UNDRAIN || c == CMD_CANCEL || c == CMD_KEYGEN;
}

static error_t parse_option(int key, char *arg, struct argp_state *state) {
    app *a = state->input;
    switch (key) {
    case 'e':
        a->endpoint = arg;
        return 0;
    case 'k':
        a->key_file = arg;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->command == CMD_NONE) {
            a->command = command_of(arg);
            if (a->command == CMD_NONE) argp_error(state, "'%s' is no command: " COMMANDS, arg);
            return 0;
        }
        if (!takes_target(a->command) || a->target) argp_error(state, "'%s' is too much", arg);
        a->target = arg;
        return 0;
    case ARGP_KEY_END:
        if (a->command == CMD_NONE) argp_error(state, "the command is missing: " COMMANDS);
        if (a->command == CMD_CANCEL && !a->target)
            argp_error(state,
                       "which request? its x-request-id, the id of its answer, or its number in the log");
        if (a->command == CMD_KEYGEN && !a->target) argp_error(state, "into which folder?");
        if (takes_target(a->command) && !a->target)
            argp_error(state, "which worker? baton-ctl workers lists their names and ids");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the conversation ---- */

static void finish(app *a, int code) {
    a->code = code;
    loop_stop(a->loop);
}

static void send_message(const app *a, const Baton__ClientMessage *m) {
    size_t bytes = baton__client_message__get_packed_size(m);
    uint8_t *p = xmalloc(bytes + 1);
    baton__client_message__pack(m, p);
    (void)bus_send(a->bus, CONN, p, bytes); /* a lost session is told by on_lost */
    free(p);
}

static void send_command(const app *a) {
    Baton__ClientWorkers workers = BATON__CLIENT_WORKERS__INIT;
    Baton__ClientStatus look = BATON__CLIENT_STATUS__INIT;
    Baton__ClientDrain drain = BATON__CLIENT_DRAIN__INIT;
    Baton__ClientAbort end = BATON__CLIENT_ABORT__INIT;
    Baton__ClientMessage m = BATON__CLIENT_MESSAGE__INIT;
    workers.id = look.id = drain.id = end.id = ASK_ID;
    switch (a->command) {
    case CMD_STATUS:
        m.body_case = BATON__CLIENT_MESSAGE__BODY_STATUS;
        m.status = &look;
        break;
    case CMD_WORKERS:
        m.body_case = BATON__CLIENT_MESSAGE__BODY_WORKERS;
        m.workers = &workers;
        break;
    case CMD_DRAIN:
    case CMD_UNDRAIN:
        drain.worker = a->target;
        drain.has_undo = drain.undo = a->command == CMD_UNDRAIN;
        m.body_case = BATON__CLIENT_MESSAGE__BODY_DRAIN;
        m.drain = &drain;
        break;
    case CMD_CANCEL:
        end.request = a->target;
        m.body_case = BATON__CLIENT_MESSAGE__BODY_ABORT;
        m.abort = &end;
        break;
    case CMD_NONE:
    case CMD_KEYGEN:
    case CMD_COUNT:
        CHECK(!"the command line was checked");
    }
    send_message(a, &m);
}

/* ev: NULL when the bytes were none. */
static void take_event(app *a, const Baton__ServerEvent *ev) {
    switch (ev ? ev->body_case : BATON__SERVER_EVENT__BODY__NOT_SET) {
    case BATON__SERVER_EVENT__BODY_WORKERS:
        ctl_print_workers(ev->workers, a->json);
        break;
    case BATON__SERVER_EVENT__BODY_STATUS:
        ctl_print_status(ev->status, a->json);
        break;
    case BATON__SERVER_EVENT__BODY_ABORTED:
        ctl_print_aborted(ev->aborted, a->json);
        break;
    case BATON__SERVER_EVENT__BODY_ERROR:
        fprintf(stderr, "baton-ctl: %s\n", ev->error->message);
        finish(a, 1);
        return;
    default:
        fprintf(stderr, "baton-ctl: %s answers with something else: is it cluster.client, of this version?\n",
                a->endpoint);
        finish(a, 1);
        return;
    }
    finish(a, 0);
}

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    (void)conn;
    app *a = ctx;
    Baton__ServerEvent *ev = baton__server_event__unpack(NULL, count, bytes);
    take_event(a, ev);
    for (size_t i = 0; ev && i < ev->n_more; i++) take_event(a, ev->more[i]);
    if (ev) baton__server_event__free_unpacked(ev, NULL);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    (void)conn;
    app *a = ctx;
    fprintf(stderr, "baton-ctl: the connection to %s is lost: %s\n", a->endpoint, why);
    finish(a, 1);
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    app *a = ctx;
    if (now_ns < a->deadline_ns) return a->deadline_ns;
    fprintf(stderr,
            "baton-ctl: nothing heard from %s for %llu s: is the coordinator running? (cluster.client of its "
            "config "
            "is its address; -e sets it here)\n",
            a->endpoint, ANSWER_WITHIN_NS / NS_PER_S);
    finish(a, 1);
    return UINT64_MAX;
}

static int make_keys(const char *dir) {
    errbuf eb = {0};
    if (curve_keygen(dir, &eb) != ST_OK) {
        fprintf(stderr, "baton-ctl: %s\n", eb.text);
        return 1;
    }
    printf("%s/cluster.key: for the coordinator and its workers (cluster.key_file), the same on each host\n"
           "%s/client.key: for the coordinator (cluster.client_key_file) and for programs (--key FILE)\n",
           dir, dir);
    return 0;
}

int main(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"endpoint", 'e', "ENDPOINT", 0, "cluster.client of the config (default tcp://127.0.0.1:8002)", 0},
        {"key", 'k', "FILE", 0, "client.key of the cluster, where its native socket wants one", 0},
        {"json", 'j', NULL, 0, "print one JSON object", 0},
        {0}};
    static const struct argp argp = {
        options,
        parse_option,
        "status\nworkers\ndrain ID\nundrain ID\ncancel REQ\nkeygen DIR",
        "Shows how a Baton cluster is, lets a worker leave in order, and ends a request.\v"
        "ID is a worker's name or id. REQ is a request's x-request-id, the id of its answer, or "
        "req=N as the coordinator's log has it; its client gets the status 499. keygen makes cluster.key, "
        "for "
        "the coordinator and its workers (cluster.key_file), and client.key, for the native socket "
        "(cluster.client_key_file, and --key of programs).",
        0,
        0,
        0};
    app a = {.endpoint = "tcp://127.0.0.1:8002", .code = 1};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.command == CMD_KEYGEN) return make_keys(a.target);
    errbuf eb = {0};
    curve_keys keys;
    bus_handler h = {.ctx = &a, .message = on_message, .lost = on_lost};
    status st = a.key_file ? curve_read_client(&keys, a.key_file, &eb) : ST_OK;
    if (st == ST_OK) st = loop_new(&a.loop, turn, &a, &eb);
    if (st == ST_OK) st = bus_connect(&a.bus, a.loop, a.endpoint, a.key_file ? &keys : NULL, &h, &eb);
    if (st == ST_OK) {
        a.deadline_ns = clock_now_ns() + ANSWER_WITHIN_NS;
        send_command(&a);
        loop_run(a.loop);
    } else {
        fprintf(stderr, "baton-ctl: %s\n", eb.text);
    }
    bus_free(a.bus);
    loop_free(a.loop);
    return a.code;
}
