/* baton-coordinator - the process in front: reads the config and the model's texts, opens its three sockets,
 * and turns.
 *
 *   control socket --ctl--> core <--submit-- streams <--jobs-- http, native
 *                     one loop, one thread; the text thread reads large bodies
 *
 * It starts before, between or after its workers: they join when they can. The first moment in which a
 * request could be served is told on stdout in one line ("ready: ...").
 *
 *   SIGINT, SIGTERM: running requests end, new ones are refused (at most drain_ms) -> EXIT to every worker ->
 * the end, last of all. A second signal ends it at once.
 *   SIGHUP: API keys and the certificate are read again. */
#include "base/clock.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/mem.h"
#include "checkpoint/arch_keys.h"
#include "config/args.h"
#include "coordinator/defaults.h"
#include "coordinator/event_log.h"
#include "coordinator/http_door.h"
#include "coordinator/native.h"
#include "coordinator/throughput.h"
#include "net/bus.h"
#include "net/strangers.h"
#include "text/chat.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PROGRAM           "baton-coordinator"
#define FILES_WANTED      ((rlim_t)65536)
#define CONTROL_BYTES_MAX ((size_t)64 << 20) /* of a message from a worker */
#define UPLOADS_SHARE     16 /* of limits.max_uploads_mb: what a ZeroMQ socket's unfinished messages may be */
#define LARGE_BLOCK       (1024 * 1024)
/* From so many streams on, turns that come thick gather what comes within so much time: that saves a third of
 * the CPU time. Fewer streams are never held up. */
#define CROWD         16u
#define GATHER_NS     (400 * NS_PER_US)
#define LAST_WORDS_NS (100 * NS_PER_MS) /* so that the last answers leave before the process does */
#define UNREAD_NS     (5 * NS_PER_S)    /* and those that a client does not read hold it up no longer */

typedef struct app {
    config *cfg;
    checkpoint *ckpt;
    tokenizer *tok;
    char *served_name;
    uint32_t max_context;
    chat_template chat;
    sampling defaults; /* of requests over HTTP */
    text_env env;
    loop *loop;
    bus *control;
    strangers strangers; /* who sent it what is no control message */
    core *core;
    meter *meter;
    trace *trace;
    event_log *events; /* NULL: none is wanted */
    streams *streams;
    text_thread *text;
    http *http;
    http_door door;
    health_facts facts;
    native *native;
    throughput throughput;
    char *http_url;
    buf scratch;      /* one control message's bytes */
    uint64_t took_ns; /* when the control message at hand was taken */
    bool told_ready;
    enum { RUNNING, DRAINING, LEAVING } stage;
    uint64_t stage_ns; /* when it began */
} app;

/* ---- the core's sink and the control socket ---- */

static void sink_send(void *ctx, uint64_t conn, const ctl_msg *m) {
    app *a = ctx;
    buf_reset(&a->scratch);
    ctl_pack(m, &a->scratch);
    log_trace("control", "send", "peer=%" PRIu64 " kind=%s req=%" PRIu64, conn, ctl_kind_name(m->kind),
              m->req);
    (void)bus_send(a->control, conn, a->scratch.data, a->scratch.len); /* ST_PEER: control_lost follows */
    core_times t;
    bool first = m->kind == CTL_PREFILL && m->attempt == 1;
    if (first && core_request_times(a->core, m->req, clock_now_ns(), &t))
        streams_routed(a->streams, m->req, t.total_ns);
}

static void sink_hang_up(void *ctx, uint64_t conn) {
    app *a = ctx;
    bus_drop(a->control, conn);
}

static void sink_token(void *ctx, uint64_t req, const core_token *t) {
    app *a = ctx;
    streams_token(a->streams, req, t, a->took_ns); /* tokens come by messages only */
}

static void sink_prompt(void *ctx, uint64_t req, const core_prompt *p) {
    app *a = ctx;
    streams_prompt(a->streams, req, p);
}

static void sink_end(void *ctx, uint64_t req, const core_end *e, const core_times *t) {
    app *a = ctx;
    streams_end(a->streams, req, e, t);
}

static void sink_record(void *ctx, const core_record *r) {
    app *a = ctx;
    trace_record(a->trace, r);
}

static void sink_steps(void *ctx, const core_steps *s) {
    app *a = ctx;
    trace_add_steps(a->trace, s);
    meter_steps(a->meter, s);
}

static void sink_event(void *ctx, const core_event *e) {
    app *a = ctx;
    meter_event(a->meter, e);
    event_log_add(a->events, e, e->req ? streams_name(a->streams, e->req) : NULL, clock_now_ns());
}

static void control_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    app *a = ctx;
    ctl_msg m;
    errbuf eb = {0};
    if (ctl_unpack(bytes, count, &m, &eb) != ST_OK) {
        strangers_note(&a->strangers, bus_endpoint(a->control), NULL, eb.text);
        bus_drop(a->control, conn);
        core_conn_lost(a->core, conn, "it sent bytes that are no control message", clock_now_ns());
        return;
    }
    log_trace("control", "take", "peer=%" PRIu64 " kind=%s req=%" PRIu64, conn, ctl_kind_name(m.kind), m.req);
    if (m.kind == CTL_JOIN) meter_joined(a->meter, &m.join);
    a->took_ns = clock_now_ns();
    core_message(a->core, conn, &m, a->took_ns);
    ctl_done(&m);
}

static void control_lost(void *ctx, uint64_t conn, const char *why) {
    app *a = ctx;
    core_conn_lost(a->core, conn, why, clock_now_ns());
}

/* ---- the turn ---- */

static void tell_ready(app *a, uint64_t now_ns) {
    uint32_t joined[ROLE_COUNT] = {0};
    core_worker_info w;
    for (uint32_t i = 0; core_worker(a->core, i, now_ns, &w); i++) joined[w.role] += w.state == MEMBER_READY;
    printf("ready: %s model=%s workers=", a->http_url, a->served_name);
    const char *comma = "";
    for (uint32_t i = 0; i < ROLE_COUNT; i++) {
        if (!joined[i]) continue;
        printf("%s%s:%u", comma, worker_role_name((worker_role)i), joined[i]);
        comma = ",";
    }
    printf("\n");
    fflush(stdout);
    a->told_ready = true;
}

static bool workers_left(const app *a, uint64_t now_ns) {
    core_worker_info w;
    for (uint32_t i = 0; core_worker(a->core, i, now_ns, &w); i++)
        if (w.state != MEMBER_GONE) return false;
    return true;
}

/* No client waits any more (why is NULL), or none will be served: the workers are told to end. */
static void leave(app *a, const char *why, uint64_t now_ns) {
    char text[128] = "the coordinator is stopping";
    if (why) {
        snprintf(text, sizeof text, "the coordinator stopped before this answer was whole: %s", why);
        log_warn("coordinator", "requests are ended", "requests=%u why=\"%s\"", streams_alive(a->streams),
                 why);
    }
    a->stage = LEAVING;
    a->stage_ns = now_ns;
    http_stop(a->http, text);
    if (a->native) native_stop(a->native, text);
    (void)streams_turn(a->streams, now_ns);
    core_exit_all(a->core, now_ns);
}

/* The end of an orderly stop, a step further. */
static void turn_to_the_end(app *a, uint64_t now_ns) {
    bool late = now_ns >= a->stage_ns + (uint64_t)a->cfg->limits.drain_ms * NS_PER_MS;
    if (a->stage == DRAINING) {
        char limit[48];
        snprintf(limit, sizeof limit, "limits.drain_ms is %u", a->cfg->limits.drain_ms);
        if (!http_asked(a->http) && !http_owed(a->http) && (!a->native || !native_asked(a->native)))
            leave(a, NULL, now_ns);
        else if (workers_left(a, now_ns))
            leave(a, "no worker is left", now_ns);
        else if (late)
            leave(a, limit, now_ns);
        return;
    }
    /* However short drain_ms is, what was said to clients leaves first. */
    bool spoken = now_ns >= a->stage_ns + (http_owed(a->http) ? UNREAD_NS : LAST_WORDS_NS);
    if (spoken && (late || workers_left(a, now_ns))) loop_stop(a->loop);
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    app *a = ctx;
    /* Silence is judged only after everything that was said has been heard (protocol rule 14). */
    bus_drain(a->control);
    now_ns = clock_now_ns();
    (void)streams_turn(a->streams, now_ns);
    uint64_t next = core_turn(a->core, now_ns);
    meter_events_dropped(a->meter, event_log_dropped(a->events));
    http_turn(a->http, now_ns);
    if (a->native) native_turn(a->native, now_ns);
    buf_reset(&a->scratch);
    if (throughput_line(&a->throughput, a->core, now_ns, &a->scratch))
        LOG_(LOG_INFO, "throughput", a->scratch.data, " ");
    if (streams_turn(a->streams, now_ns)) next = now_ns;
    if (!a->told_ready && a->stage == RUNNING && core_ready(a->core)) tell_ready(a, now_ns);
    loop_gather(a->loop, streams_alive(a->streams) >= CROWD ? GATHER_NS : 0);
    if (a->stage == RUNNING) return next;
    turn_to_the_end(a, now_ns);
    return MIN(next, now_ns + LAST_WORDS_NS / 4);
}

static void on_signal(void *ctx, int signo) {
    app *a = ctx;
    bool again = a->stage != RUNNING;
    log_info("coordinator", again ? "stopping at once" : "stopping when what runs has ended",
             "signal=%s requests=%u drain_ms=%u", strsignal(signo), streams_alive(a->streams),
             a->cfg->limits.drain_ms);
    if (again) {
        loop_stop(a->loop);
        return;
    }
    a->stage = DRAINING;
    a->stage_ns = clock_now_ns();
    http_drain(a->http);
    if (a->native) native_drain(a->native, "the coordinator is stopping");
}

static void on_hangup(void *ctx) {
    app *a = ctx;
    http_door_reload(&a->door, a->cfg, a->http);
}

/* ---- start and end ---- */

static status open_texts(app *a, uint32_t *context, errbuf *eb) {
    const char *path = a->cfg->model.path;
    status st = checkpoint_open(&a->ckpt, path, eb);
    if (st != ST_OK) return st;
    st = tokenizer_new(&a->tok, a->ckpt, eb);
    if (st == ST_OK) st = arch_context(a->ckpt, context, eb);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%s", path);
}

/* The model's chat template, or the one of the config's file. One that cannot be run costs chat only. */
static status open_template(app *a, errbuf *eb) {
    const char *path = a->cfg->model.chat_template;
    buf text = {0};
    if (path && path[0]) {
        FILE *file = fopen(path, "rb");
        if (!file) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
        buf_adds(&text, "");
        for (size_t got = 1; got > 0 && text.len <= JINJA_TEXT_MAX;) {
            char piece[4096];
            got = fread(piece, 1, sizeof piece, file);
            buf_add(&text, piece, got);
        }
        fclose(file);
    }
    status st = chat_template_init(&a->chat, a->ckpt, text.data, text.len);
    buf_done(&text);
    if (st == ST_OK && !a->chat.program) {
        log_warn("model", "the chat template cannot be used: /v1/chat/completions will be refused",
                 "path=%s why=\"%s\"", path && path[0] ? path : a->cfg->model.path, a->chat.why.text);
    }
    return st;
}

static status load_model(app *a, errbuf *eb) {
    const config *cfg = a->cfg;
    uint32_t context = 0;
    status st = open_texts(a, &context, eb);
    if (st != ST_OK) return err_prefix(eb, st, "loading model");
    if (cfg->model.max_context > context) {
        return errf(eb, ST_INVALID, "model.max_context: %u is more than the %u tokens that %s was made for",
                    cfg->model.max_context, context, cfg->model.path);
    }
    a->max_context = cfg->model.max_context ? cfg->model.max_context : context;
    const char *name = cfg->model.served_model_name;
    a->served_name = name && name[0] ? xstrdup(name) : checkpoint_stem(cfg->model.path);
    st = open_template(a, eb);
    if (st != ST_OK) return err_prefix(eb, st, "model.chat_template");
    a->env = (text_env){.tok = a->tok,
                        .chat = &a->chat,
                        .model = {.name = a->served_name,
                                  .max_context = a->max_context,
                                  .max_prompt = cfg->limits.max_prompt_tokens,
                                  .json_depth = cfg->limits.json_depth,
                                  .vocab = tokenizer_vocab(a->tok),
                                  .defaults = &a->defaults,
                                  .masks = strcmp(cfg->model.backend, "cuda") != 0}};
    a->defaults = sampling_default();
    if (!cfg->model.generation_config) return ST_OK;
    st = defaults_read(&a->defaults, a->ckpt, eb);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "%s", cfg->model.path);
}

static core_options core_options_of(const app *a) {
    const config *c = a->cfg;
    return (core_options){
        .epoch = clock_random64(),
        .max_requests = c->limits.max_requests,
        .max_queue = c->limits.max_queue,
        .max_queue_tokens = c->limits.max_queue_tokens,
        .ttft_goal_ns = c->limits.ttft_goal_ms * NS_PER_MS,
        .max_workers = c->limits.max_workers,
        .heartbeat_ns = c->limits.heartbeat_ms * NS_PER_MS,
        .suspect_ns = c->limits.suspect_ms * NS_PER_MS,
        .gone_ns = c->limits.gone_ms * NS_PER_MS,
        .step_age_min_ns = c->limits.step_age_ms * NS_PER_MS,
        .lease_ns = c->limits.lease_ms * NS_PER_MS,
        .wait_prefill_ns = c->limits.wait_prefill_ms * NS_PER_MS,
        .prefill_ns = c->limits.prefill_ms * NS_PER_MS,
        .wait_kv_ns = c->limits.wait_kv_ms * NS_PER_MS,
        .decode_token_ns = c->limits.decode_token_ms * NS_PER_MS,
        .max_attempts = c->limits.max_attempts,
        .max_context = a->max_context,
        .mixed_numerics = c->cluster.mixed_numerics,
        .prefix_cache = c->model.prefix_cache,
        .try_pairs = c->handoff.self_test,
        .role_wanted = {[ROLE_PREFILL] = c->prefill.count,
                        [ROLE_DECODE] = c->decode.count,
                        [ROLE_COLOCATED] = c->colocated.count},
    };
}

static void print_limits(const app *a) {
    const config *c = a->cfg;
    log_info("coordinator", "limits",
             "max_requests=%u max_queue=%u max_queue_tokens=%u max_workers=%u max_attempts=%u max_body_kb=%u "
             "context_tokens=%u",
             c->limits.max_requests, c->limits.max_queue, c->limits.max_queue_tokens, c->limits.max_workers,
             c->limits.max_attempts, c->limits.max_body_kb, a->max_context);
    log_info("coordinator", "time limits",
             "ttft_goal_ms=%u wait_prefill_ms=%u prefill_ms=%u wait_kv_ms=%u decode_token_ms=%u "
             "slow_client_ms=%u drain_ms=%u "
             "suspect_ms=%u gone_ms=%u step_age_ms=%u lease_ms=%u",
             c->limits.ttft_goal_ms, c->limits.wait_prefill_ms, c->limits.prefill_ms, c->limits.wait_kv_ms,
             c->limits.decode_token_ms, c->limits.slow_client_ms, c->limits.drain_ms, c->limits.suspect_ms,
             c->limits.gone_ms, c->limits.step_age_ms, c->limits.lease_ms);
}

static health_facts facts_of(const app *a) {
    const config *c = a->cfg;
    return (health_facts){.model = a->served_name,
                          .model_root = c->model.path,
                          .backend = c->model.backend,
                          .max_context = a->max_context,
                          .mixed_numerics = c->cluster.mixed_numerics,
                          .started = clock_wall_s(),
                          .started_ns = clock_now_ns(),
                          .stuck_ns = c->limits.stuck_ms * NS_PER_MS,
                          .role_wanted = {[ROLE_PREFILL] = c->prefill.count,
                                          [ROLE_DECODE] = c->decode.count,
                                          [ROLE_COLOCATED] = c->colocated.count}};
}

/* A ZeroMQ socket's: HTTP's, as far as there are descriptors beside HTTP's (http_server.c). */
static bus_limits bus_limits_of(const config *c, size_t message_max) {
    enum { SHARE = 10 };
    struct rlimit files;
    bool bounded = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY;
    return (bus_limits){
        .message_max = message_max,
        .unfinished_max = MAX((size_t)c->limits.max_uploads_mb * (1024 * 1024 / UPLOADS_SHARE),
                              message_max + BUS_KERNEL_BYTES),
        .conns_max =
            (uint32_t)MIN(c->limits.max_connections, bounded ? MAX(files.rlim_cur / SHARE, 1) : UINT32_MAX),
        .conns_per_client_max = c->limits.max_connections_per_client,
        .idle_ns = c->limits.idle_ms * NS_PER_MS};
}

static status open_fronts(app *a, errbuf *eb) {
    const config *c = a->cfg;
    size_t body_max = (size_t)c->limits.max_body_kb * 1024;
    a->facts = facts_of(a);
    status st = http_door_open(&a->door, c, eb);
    if (st != ST_OK) return st;
    http_options ho = {.loop = a->loop,
                       .core = a->core,
                       .streams = a->streams,
                       .text = a->text,
                       .env = &a->env,
                       .meter = a->meter,
                       .trace = a->trace,
                       .events = a->events,
                       .facts = a->facts,
                       .access = {.origins = c->http.cors_origins,
                                  .credentials = c->http.cors_credentials,
                                  .keys = a->door.keys},
                       .limits = http_limits_of(c),
                       .tls = a->door.tls};
    st = http_open(&a->http, c->cluster.http, &ho, eb);
    if (st != ST_OK) return st;
    hostport at;
    CHECK(hostport_parse(&at, c->cluster.http, false)); /* http_open took it */
    a->http_url = xasprintf(at.bracketed ? "http%s://[%s]:%u" : "http%s://%s:%u", a->door.tls ? "s" : "",
                            at.host, http_port(a->http));
    if (!c->cluster.client[0]) return ST_OK;
    native_options no = {.loop = a->loop,
                         .core = a->core,
                         .streams = a->streams,
                         .text = a->text,
                         .env = &a->env,
                         .facts = &a->facts,
                         .events = a->events,
                         .body_max = body_max,
                         .limits = bus_limits_of(c, 2 * body_max),
                         .slow_client_ns = c->limits.slow_client_ms * NS_PER_MS};
    if (!c->cluster.client_key_file[0]) return native_open(&a->native, c->cluster.client, &no, eb);
    curve_keys keys;
    st = curve_read_native(&keys, c->cluster.key_file, c->cluster.client_key_file, eb);
    if (st != ST_OK) return err_prefix(eb, st, "cluster.client_key_file");
    no.keys = &keys;
    st = native_open(&a->native, c->cluster.client, &no, eb);
    curve_wipe(&keys);
    return st;
}

static status open_control(app *a, errbuf *eb) {
    const config *c = a->cfg;
    curve_keys keys;
    bool keyed = c->cluster.key_file[0];
    if (keyed) {
        status st = curve_read_cluster(&keys, c->cluster.key_file, eb);
        if (st != ST_OK) return err_prefix(eb, st, "cluster.key_file");
    }
    bus_handler h = {.ctx = a, .message = control_message, .lost = control_lost};
    bus_limits limits = bus_limits_of(c, CONTROL_BYTES_MAX);
    limits.conns_per_client_max = 0; /* a host may have many workers */
    status st = bus_listen(&a->control, a->loop, c->cluster.control, keyed ? &keys : NULL, &limits, &h, eb);
    curve_wipe(&keys);
    return st == ST_OK ? ST_OK : err_prefix(eb, st, "cluster.control");
}

static status open_app(app *a, errbuf *eb) {
    status st = load_model(a, eb);
    if (st == ST_OK) st = loop_new(&a->loop, turn, a, eb);
    if (st != ST_OK) return st;
    core_sink sink = {.ctx = a,
                      .send = sink_send,
                      .hang_up = sink_hang_up,
                      .token = sink_token,
                      .prompt = sink_prompt,
                      .end = sink_end,
                      .record = sink_record,
                      .steps = sink_steps,
                      .event = sink_event,
                      .decision = log_on(LOG_DEBUG) ? decision_log : NULL};
    const char *events = a->cfg->cluster.event_log;
    if (events[0]) st = event_log_open(&a->events, events, EVENT_LOG_BYTES_MAX, eb);
    if (st != ST_OK) return err_prefix(eb, st, "cluster.event_log");
    core_options opt = core_options_of(a);
    a->core = core_new(&opt, &sink, clock_now_ns());
    a->meter = meter_new(a->served_name);
    a->trace = trace_new();
    a->streams = streams_new(a->core, a->tok, a->meter);
    st = open_control(a, eb);
    if (st != ST_OK) return st;
    st = text_new(&a->text, a->loop, &a->env, eb);
    return st == ST_OK ? open_fronts(a, eb) : st;
}

static void close_app(app *a) {
    http_free(a->http);
    http_door_done(&a->door);
    native_free(a->native);
    text_free(a->text);
    streams_free(a->streams);
    bus_free(a->control);
    core_free(a->core);
    meter_free(a->meter);
    trace_free(a->trace);
    event_log_free(a->events);
    loop_free(a->loop);
    chat_template_done(&a->chat);
    tokenizer_free(a->tok); /* before the checkpoint that it points into */
    checkpoint_close(a->ckpt);
    config_free(a->cfg);
    free(a->served_name);
    free(a->http_url);
    buf_done(&a->scratch);
    free(a);
}

static void prepare_process(void) {
    log_outlives_stderr();
    /* Large blocks (bodies, long answers) go back to the system when they are freed. Left to itself the limit
     * would rise to the largest that was freed. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    struct rlimit files; /* one descriptor per client */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < FILES_WANTED) {
        files.rlim_cur = MIN(files.rlim_max, FILES_WANTED);
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Under mpirun its death must not leave an orphan behind. */
    if (getenv("OMPI_COMM_WORLD_RANK")) (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
}

int main(int argc, char **argv) {
    args given;
    args_parse(&given, argc, argv, "Routes, watches and answers: the front of a Baton cluster.");
    config *cfg = NULL;
    int code;
    bool goes_on = args_config(&given, PROGRAM, http_door_check, &cfg, &code);
    args_done(&given);
    if (!goes_on) return code;

    errbuf eb = {0};
    app *a = xcalloc(1, sizeof *a);
    a->cfg = cfg;
    log_level level = LOG_INFO;
    code = ARGS_REFUSED;
    status st = log_level_parse(a->cfg->cluster.log_level, &level, &eb);
    if (st != ST_OK) goto fail;
    log_setup(level, "coordinator");
    prepare_process();
    code = 1;
    st = open_app(a, &eb);
    if (st != ST_OK) goto fail;
    print_limits(a);
    log_info("coordinator", "listening", "http=%s control=%s client=%s model=%s", a->http_url,
             bus_endpoint(a->control), a->native ? native_endpoint(a->native) : "-", a->served_name);
    loop_signals(a->loop, on_signal, a);
    loop_on_hangup(a->loop, on_hangup, a);
    loop_run(a->loop);
    log_info("coordinator", "stopped");
    close_app(a);
    return 0;

fail:
    fprintf(stderr, PROGRAM ": %s\n", eb.text);
    close_app(a);
    return code;
}
