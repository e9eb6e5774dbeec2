#include "bench/experiment/cluster_config.h"

#include "base/hostport.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define SETS_MAX 512

typedef struct sets {
    char *items[SETS_MAX]; /* owned */
    uint32_t count;
} sets;

static void add(sets *s, char *text) {
    CHECK(s->count < SETS_MAX);
    s->items[s->count++] = text;
}

static status add_all(sets *s, const spec_texts *texts, errbuf *eb) {
    if (texts->count > SETS_MAX / 2 || s->count + texts->count > SETS_MAX - 32)
        return errf(eb, ST_INVALID, "more than %d settings are too many", SETS_MAX - 32);
    for (uint32_t i = 0; i < texts->count; i++) add(s, xstrdup(texts->items[i]));
    return ST_OK;
}

static void add_role(sets *s, worker_role role, const spec_role *r) {
    const char *name = worker_role_name(role);
    add(s, xasprintf("%s.count=%u", name, r->count));
    if (r->cores) add(s, xasprintf("%s.cores=%u", name, r->cores));
    if (r->tp) add(s, xasprintf("%s.tp=%u", name, r->tp));
    if (r->pp) add(s, xasprintf("%s.pp=%u", name, r->pp));
}

/* The address with another port; hosts stay, since workers elsewhere must reach them. */
static char *with_port(const char *key, const char *address, bool tcp, uint16_t port) {
    hostport at;
    if (!hostport_parse(&at, address, tcp)) return xasprintf("%s=%s", key, address); /* refused by name */
    return xasprintf(at.bracketed ? "%s=%s[%s]:%u" : "%s=%s%s:%u", key, tcp ? "tcp://" : "", at.host, port);
}

static status add_ports(sets *s, const spec *sp, const cluster_ports *ports, errbuf *eb) {
    config *base = NULL;
    status st = config_load(&base, sp->base, NULL, 0, eb);
    if (st != ST_OK) return st;
    add(s, with_port("cluster.http", base->cluster.http, false, ports->http));
    add(s, with_port("cluster.control", base->cluster.control, true, ports->control));
    add(s, with_port("cluster.client", base->cluster.client[0] ? base->cluster.client : "tcp://127.0.0.1:0",
                     true, ports->client));
    config_free(base);
    return ST_OK;
}

status cluster_config(config **out, const spec *s, const spec_placement *p, const spec_variant *v, bool quick,
                      const cluster_ports *ports, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(p);
    sets all = {0};
    status st = ports ? add_ports(&all, s, ports, eb) : ST_OK;
    if (st == ST_OK) st = add_all(&all, &s->sets, eb);
    if (st == ST_OK) {
        add_role(&all, ROLE_PREFILL, &p->prefill);
        add_role(&all, ROLE_DECODE, &p->decode);
        add_role(&all, ROLE_COLOCATED, &p->colocated);
        st = add_all(&all, &p->sets, eb);
    }
    if (st == ST_OK && v) st = add_all(&all, &v->sets, eb);
    if (st == ST_OK && quick) st = add_all(&all, &s->quick.sets, eb);
    if (st == ST_OK) st = config_load(out, s->base, (const char *const *)all.items, all.count, eb);
    for (uint32_t i = 0; i < all.count; i++) free(all.items[i]);
    return st;
}

uint32_t cluster_devices(const config *c) {
    PRE(c);
    bool whole = strcmp(c->model.backend, "cuda") == 0 || strcmp(c->model.backend, "mock") == 0;
    uint32_t sum = 0;
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        const config_role *r = config_role_of(c, role);
        sum += r->count * r->tp * r->pp * (whole ? 1 : r->cores);
    }
    return sum;
}

uint32_t cluster_workers(const config *c) {
    PRE(c);
    return c->prefill.count + c->decode.count + c->colocated.count;
}

char *cluster_words(const config *c) {
    PRE(c);
    buf out = {0};
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        const config_role *r = config_role_of(c, role);
        if (!r->count) continue;
        buf_addf(&out, "%s%u %s", out.len ? " + " : "", r->count, worker_role_name(role));
        if (role == ROLE_COLOCATED) buf_addf(&out, " (%s)", r->policy);
        if (r->cores > 1) buf_addf(&out, " x %u cores", r->cores);
        if (r->tp > 1 || r->pp > 1) buf_addf(&out, " x tp %u x pp %u", r->tp, r->pp);
    }
    return out.data ? out.data : xstrdup("nothing");
}
