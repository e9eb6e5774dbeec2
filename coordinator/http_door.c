#include "coordinator/http_door.h"

#include "base/clock.h"
#include "base/hostport.h"
#include "base/log.h"

#include <stdlib.h>

http_limits http_limits_of(const config *c) {
    PRE(c);
    return (http_limits){.head_max = (size_t)c->limits.max_header_kb * 1024,
                         .body_max = (size_t)c->limits.max_body_kb * 1024,
                         .held_max = (size_t)c->limits.max_uploads_mb * 1024 * 1024,
                         .conns_max = c->limits.max_connections,
                         .conns_per_client_max = c->limits.max_connections_per_client,
                         .idle_ns = c->limits.idle_ms * NS_PER_MS,
                         .head_ns = c->limits.header_ms * NS_PER_MS,
                         .body_ns = c->limits.body_ms * NS_PER_MS,
                         .body_rate = (uint64_t)c->limits.min_upload_kbs * 1024,
                         .slow_client_ns = c->limits.slow_client_ms * NS_PER_MS,
                         .reader_rate = (uint64_t)c->limits.min_download_kbs * 1024};
}

/* Of the environment; NULL: none. */
static const char *key_around(void) {
    const char *key = getenv("BATON_API_KEY");
    return key && key[0] ? key : NULL;
}

status http_door_check(const config *c, errbuf *eb) {
    PRE(c);
    hostport at;
    CHECK(hostport_parse(&at, c->cluster.http, false)); /* config_load took it */
    bool keyed = c->http.api_keys_count > 0 || c->http.api_key_file[0] || key_around();
    if (keyed || c->cluster.insecure || hostport_is_loopback(&at)) return ST_OK;
    return errf(eb, ST_INVALID,
                "cluster.http: %.64s is beyond this machine, and who reaches it could use the cluster: set "
                "http.api_key_file or BATON_API_KEY, or cluster.insecure: true",
                c->cluster.http);
}

/* NULL when none is named anywhere. */
static status read_keys(http_keys **out, const config *c, errbuf *eb) {
    http_keys *k = http_keys_new();
    status st = ST_OK;
    for (uint32_t i = 0; i < c->http.api_keys_count && st == ST_OK; i++) {
        st = http_keys_add(k, NULL, c->http.api_keys[i], eb);
        if (st != ST_OK) err_prefix(eb, st, "http.api_keys: entry %u", i + 1);
    }
    const char *from_environment = key_around();
    if (st == ST_OK && from_environment && !http_keys_client(k, from_environment)) {
        st = http_keys_add(k, NULL, from_environment, eb);
        if (st != ST_OK) err_prefix(eb, st, "BATON_API_KEY");
    }
    if (st == ST_OK && c->http.api_key_file[0]) {
        st = http_keys_read(k, c->http.api_key_file, eb);
        if (st != ST_OK) err_prefix(eb, st, "http.api_key_file");
    }
    if (st != ST_OK || !http_keys_count(k)) {
        http_keys_free(k);
        k = NULL;
    }
    if (st == ST_OK) *out = k;
    return st;
}

static status read_tls(http_tls **out, const config *c, errbuf *eb) {
    *out = NULL;
    return c->http.tls_cert[0] ? http_tls_new(out, c->http.tls_cert, c->http.tls_key, eb) : ST_OK;
}

status http_door_open(http_door *d, const config *c, errbuf *eb) {
    PRE(d);
    PRE(c);
    *d = (http_door){0};
    status st = read_keys(&d->keys, c, eb);
    if (st == ST_OK) st = read_tls(&d->tls, c, eb);
    if (st != ST_OK) http_door_done(d);
    return st;
}

void http_door_done(http_door *d) {
    PRE(d);
    http_keys_free(d->keys);
    http_tls_free(d->tls);
    *d = (http_door){0};
}

static void reload_keys(http_door *d, const config *c, http *h) {
    http_keys *new = NULL;
    errbuf eb = {0};
    if (read_keys(&new, c, &eb) != ST_OK) {
        log_error("http", "the keys stay as they were", "why=\"%s\"", eb.text);
        return;
    }
    http_set_keys(h, new);
    http_keys_free(d->keys);
    d->keys = new;
    log_info("http", "keys were read again", "keys=%u", new ? http_keys_count(new) : 0);
}

static void reload_tls(http_door *d, const config *c, http *h) {
    http_tls *new = NULL;
    errbuf eb = {0};
    if (read_tls(&new, c, &eb) != ST_OK) {
        log_error("http", "the certificate stays as it was", "why=\"%s\"", eb.text);
        return;
    }
    http_set_tls(h, new);
    http_tls_free(d->tls);
    d->tls = new;
    log_info("http", "the certificate was read again", "expires=\"%s\"", http_tls_expires(new));
}

void http_door_reload(http_door *d, const config *c, http *h) {
    PRE(d);
    PRE(c);
    PRE(h);
    if (c->http.api_key_file[0]) reload_keys(d, c, h);
    if (c->http.tls_cert[0]) reload_tls(d, c, h);
    if (!c->http.api_key_file[0] && !c->http.tls_cert[0])
        log_info("http", "nothing to read again: neither http.api_key_file nor http.tls_cert is set");
}
