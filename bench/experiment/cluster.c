#include "bench/experiment/cluster.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/mem.h"
#include "bench/experiment/files.h"
#include "bench/experiment/http_get.h"
#include "bench/experiment/stop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_NS     (100 * NS_PER_MS)
#define ANSWER_NS   (2 * NS_PER_S)
#define TRACE_NS    (15 * NS_PER_S)
#define TRACE_LAST  "500"  /* requests */
#define PORTS_BEGIN 12000u /* as the tests do: nobody is handed one of these by the system */
#define PORTS_END   32000u

static status look_at_port(bool *is_free, uint16_t port, errbuf *eb) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errf(eb, ST_IO, "no socket: %s: see ulimit -n", strerror(errno));
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)}; /* on any address */
    *is_free = bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    close(fd);
    return ST_OK;
}

status cluster_free_ports(cluster_ports *out, errbuf *eb) {
    PRE(out);
    uint16_t found[3];
    uint32_t count = 0;
    for (uint32_t tries = 0; tries < 1000 && count < 3; tries++) {
        uint16_t port = (uint16_t)(PORTS_BEGIN + clock_random64() % (PORTS_END - PORTS_BEGIN));
        bool is_free = false;
        status st = look_at_port(&is_free, port, eb);
        if (st != ST_OK) return st;
        bool taken = !is_free;
        for (uint32_t i = 0; i < count; i++) taken = taken || found[i] == port;
        if (!taken) found[count++] = port;
    }
    if (count < 3) return errf(eb, ST_IO, "no three free ports between %u and %u", PORTS_BEGIN, PORTS_END);
    *out = (cluster_ports){found[0], found[1], found[2]};
    return ST_OK;
}

/* Where a client on this machine reaches the address. */
static char *reachable(const char *address) {
    hostport at;
    CHECK(hostport_parse(&at, address, false)); /* config_load took it */
    const char *host = strcmp(at.host, "0.0.0.0") == 0 || strcmp(at.host, "*") == 0 ? "127.0.0.1" : at.host;
    return xasprintf(at.bracketed ? "[%s]:%s" : "%s:%s", host, at.port);
}

status cluster_start(cluster *out, const cluster_tools *t, const spec *s, const spec_placement *p,
                     const spec_variant *v, bool quick, const char *dir, errbuf *eb) {
    PRE(out);
    PRE(t);
    PRE(dir);
    PRE(dir[0] == '/');
    cluster_ports ports;
    config *cfg = NULL;
    *out = (cluster){0};
    status st = cluster_free_ports(&ports, eb);
    if (st == ST_OK) st = cluster_config(&cfg, s, p, v, quick, &ports, eb);
    if (st != ST_OK) return st;
    out->config = xasprintf("%s/cluster.yaml", dir);
    out->log = xasprintf("%s/cluster.log", dir);
    out->http = reachable(cfg->cluster.http);
    out->url = xasprintf("http://%s", out->http);
    char *client = reachable(cfg->cluster.client + strlen("tcp://"));
    out->native = xasprintf("tcp://%s", client);
    free(client);
    char *text = config_text(cfg);
    config_free(cfg);
    st = files_write(out->config, text, strlen(text), eb);
    free(text);
    char *bin = xasprintf("BATON_BIN=%s", t->bin), *run = xasprintf("BATON_RUN=%s", dir);
    char *const argv[] = {(char *)t->up, out->config, NULL}, *const env[] = {bin, run, NULL};
    if (st == ST_OK) st = proc_start(&out->up, argv, env, out->log, eb);
    free(bin);
    free(run);
    if (st != ST_OK) (void)cluster_stop(out, 0, 0, NULL);
    return st;
}

static status ended(const cluster *c, errbuf *eb) {
    char words[200];
    files_last_words(words, sizeof words, c->log, 3);
    return errf(eb, ST_PEER, "the cluster ended by itself with status %d: %s", c->up.code, words);
}

/* The page as JSON, or NULL. */
static json_t *health(const cluster *c) {
    char *body = NULL;
    int code;
    if (http_get(&body, &code, c->http, "/health", clock_now_ns() + ANSWER_NS, NULL) != ST_OK) return NULL;
    json_t *j = json_loads(body, 0, NULL);
    free(body);
    return j;
}

static bool is_ok(const json_t *page) {
    const char *word = json_string_value(json_object_get(page, "status"));
    return word && strcmp(word, "ok") == 0; /* "degraded" while a worker is missing */
}

status cluster_wait_ready(cluster *c, uint64_t deadline_ns, errbuf *eb) {
    PRE(c);
    PRE(c->up.pid > 0);
    for (;;) {
        if (proc_ended(&c->up)) return ended(c, eb);
        json_t *page = health(c);
        bool ready = is_ok(page);
        json_decref(page);
        if (ready) return ST_OK;
        if (stop_asked() > 0) return errf(eb, ST_CANCELED, "a stop was asked for");
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns) {
            char words[180];
            files_last_words(words, sizeof words, c->log, 3);
            return errf(eb, ST_TIMEOUT, "not ready in time: %s", words);
        }
        struct pollfd fd = {.fd = c->up.pidfd, .events = POLLIN};
        (void)stop_poll(&fd, 1, MIN(deadline_ns, now_ns + LOOK_NS));
    }
}

status cluster_check(cluster *c, errbuf *eb) {
    PRE(c);
    if (proc_ended(&c->up)) return ended(c, eb);
    json_t *page = health(c);
    json_int_t lost = json_integer_value(json_object_get(page, "workers_lost"));
    const json_t *last = json_object_get(page, "last_lost");
    const char *who = json_string_value(json_object_get(last, "worker"));
    const char *why = json_string_value(json_object_get(last, "why"));
    status st = ST_OK;
    if (!page)
        st = errf(eb, ST_PEER, "the coordinator does not answer any more");
    else if (lost > 0)
        st = errf(eb, ST_PEER, "%d worker%s lost while it was measured: %s: %s", (int)lost,
                  lost > 1 ? "s were" : " was", who ? who : "unknown", why ? why : "see cluster.log");
    json_decref(page);
    return st;
}

bool cluster_keep_trace(const cluster *c, const char *dir) {
    PRE(c);
    PRE(dir);
    char *body = NULL, *path = xasprintf("%s/trace.json", dir);
    int code = 0;
    bool ok = http_get(&body, &code, c->http, "/trace?last=" TRACE_LAST, clock_now_ns() + TRACE_NS, NULL) ==
                  ST_OK &&
              code == 200 && files_write(path, body, strlen(body), NULL) == ST_OK;
    free(body);
    free(path);
    return ok;
}

status cluster_stop(cluster *c, uint64_t deadline_ns, uint32_t stops, errbuf *eb) {
    PRE(c);
    status st = ST_OK;
    if (c->up.pid > 0) {
        proc_signal(&c->up, SIGTERM);
        st = proc_wait(&c->up, deadline_ns, stops);
        if (st != ST_OK)
            st = errf(eb, ST_TIMEOUT, "the cluster did not stop in time and was killed");
        else if (c->up.code != 0)
            st = errf(eb, ST_PEER, "the cluster's stop was not in order (status %d)", c->up.code);
        proc_done(&c->up);
        proc_end_strays(c->config, clock_now_ns()); /* mpirun is in a session of its own */
    }
    free(c->config);
    free(c->log);
    free(c->http);
    free(c->url);
    free(c->native);
    *c = (cluster){0};
    return st;
}
