/* The rank map: coordinator, prefill, decode, colocated workers, in this order, each on the next of its
 * role's hosts.
 *
 * A process may host several workers of its role (mock.workers_per_process); then places and cores are those
 * of processes. Cores are given out from 0 upwards on each host, first come first served in rank order, so
 * the map depends on nothing but the file and, for this machine, its number of cores. With
 * cluster.oversubscribe a worker that does not fit starts at core 0 again. */
#include "config/config_ranks.h"

#include "base/mem.h"
#include "config/config_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL "localhost"

typedef struct host {
    char name[64];
    uint32_t cores;
    uint32_t used;
    uint32_t workers;           /* placed so far */
    uint32_t asked[ROLE_COUNT]; /* by role, for the text of a refusal */
} host;

typedef struct placing {
    const config *config;
    host *hosts;
    uint32_t host_count;
    uint32_t cluster_hosts; /* the first ones: of cluster.hosts, or this machine */
} placing;

static host *host_find(placing *p, const char *name, size_t len) {
    for (uint32_t i = 0; i < p->host_count; i++)
        if (strlen(p->hosts[i].name) == len && memcmp(p->hosts[i].name, name, len) == 0) return &p->hosts[i];
    return NULL;
}

/* "name:cores" or a name that is known, or this machine. key: of the list, for the text. */
static status host_get(placing *p, const char *key, const char *text, uint32_t local_cores, host **out,
                       errbuf *eb) {
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    uint32_t cores = 0;
    if (colon) {
        char *rest;
        unsigned long n = strtoul(colon + 1, &rest, 10);
        if (*rest || colon[1] < '0' || colon[1] > '9' || n < 1 || n > 4096)
            return errf(eb, ST_INVALID, "%s: \"%s\": want NAME:CORES with 1..4096 cores", key, text);
        cores = (uint32_t)n;
    }
    if (!len || len >= sizeof p->hosts->name)
        return errf(eb, ST_INVALID, "%s: \"%s\": want a host name of 1..63 bytes", key, text);
    bool local = len == strlen(LOCAL) && memcmp(text, LOCAL, len) == 0;
    host *h = host_find(p, text, len);
    if (h && cores && h->cores != cores)
        return errf(eb, ST_INVALID, "%s: \"%s\": %s has %u cores elsewhere: say it once", key, text, h->name,
                    h->cores);
    if (!h && !cores && !local)
        return errf(eb, ST_INVALID,
                    "%s: the cores of %s are not known: write %s:CORES, here or in cluster.hosts", key, text,
                    text);
    if (!h) {
        h = &p->hosts[p->host_count++];
        *h = (host){.cores = cores ? cores : local_cores};
        memcpy(h->name, text, len);
    }
    *out = h;
    return ST_OK;
}

/* What of `asked` is on the host, as "prefill and decode". */
static void asking_roles(const host *h, char *text, size_t size) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) left += h->asked[i] > 0;
    text[0] = 0;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) {
        if (!h->asked[i]) continue;
        left--;
        size_t len = strlen(text);
        snprintf(text + len, size - len, "%s%s", worker_role_name((worker_role)i),
                 left > 1 ? ", "
                 : left   ? " and "
                          : "");
    }
}

static uint32_t cores_asked(const host *h) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < ROLE_COUNT; i++) sum += h->asked[i];
    return sum;
}

static status refuse(const host *h, errbuf *eb) {
    char roles[64], where[80];
    asking_roles(h, roles, sizeof roles);
    uint32_t asked = cores_asked(h);
    bool several = strchr(roles, ' ') != NULL;
    if (strcmp(h->name, LOCAL) == 0)
        snprintf(where, sizeof where, "this machine");
    else
        snprintf(where, sizeof where, "%s", h->name);
    return errf(eb, ST_INVALID,
                "%s ask%s for %u cores on %s, which has %u: lower count or cores, add hosts, or set "
                "cluster.oversubscribe: true",
                roles, several ? "" : "s", asked, where, h->cores);
}

static uint32_t per_process(const config *c) {
    return MAX(c->mock.workers_per_process, 1u);
}

static uint32_t processes(const config *c, worker_role role) {
    uint32_t n = per_process(c);
    return (config_role_of(c, role)->count + n - 1) / n;
}

/* The host of process `index` of a role. */
static status worker_host(placing *p, worker_role role, uint32_t index, uint32_t local_cores, host **out,
                          errbuf *eb) {
    const config_role *r = config_role_of(p->config, role);
    PRE(p->cluster_hosts > 0);
    if (!r->hosts_count) {
        *out = &p->hosts[index % p->cluster_hosts];
        return ST_OK;
    }
    char key[32];
    snprintf(key, sizeof key, "%s.hosts", worker_role_name(role));
    return host_get(p, key, r->hosts[index % r->hosts_count], local_cores, out, eb);
}

/* The cores of a worker on its host. */
static void take_cores(host *h, uint32_t cores, config_rank *rank) {
    rank->core_count = MIN(cores, h->cores);
    if (h->used + rank->core_count > h->cores) h->used = 0;
    rank->core_begin = h->used;
    h->used += rank->core_count;
}

static status put_worker(placing *p, uint32_t local_cores, config_rank *ranks, errbuf *eb) {
    config_rank *next = &ranks[1];
    for (worker_role role = 0; role < ROLE_COUNT; role++) {
        const config_role *r = config_role_of(p->config, role);
        for (uint32_t i = 0; i < processes(p->config, role); i++, next++) {
            host *h = NULL;
            status st = worker_host(p, role, i, local_cores, &h, eb);
            if (st != ST_OK) return st;
            CHECK(h);
            h->asked[role] += r->cores;
            uint32_t first = i * per_process(p->config);
            *next = (config_rank){.rank = (uint32_t)(next - ranks),
                                  .role = worker_role_name(role),
                                  .index = first,
                                  .worker_count = MIN(per_process(p->config), r->count - first)};
            memcpy(next->host, h->name, sizeof next->host);
            next->gpu = h->workers++;
            take_cores(h, r->cores, next);
        }
    }
    for (uint32_t i = 0; i < p->host_count && !p->config->cluster.oversubscribe; i++) {
        const host *h = &p->hosts[i];
        if (cores_asked(h) > h->cores) return refuse(h, eb);
    }
    return ST_OK;
}

static bool same_host(const config_rank *a, const config_rank *b) {
    return strcmp(a->host, b->host) == 0;
}

double config_gpu_share(const config *c, const config_rank *ranks, uint32_t count, const config_rank *own,
                        uint32_t gpus) {
    PRE(c);
    PRE(ranks);
    PRE(own);
    PRE(gpus > 0);
    double sum = 0;
    for (uint32_t i = 1; i < count; i++) /* rank 0 is the coordinator */
        for (worker_role role = 0; role < ROLE_COUNT; role++)
            if (!strcmp(ranks[i].role, worker_role_name(role)) && same_host(&ranks[i], own) &&
                ranks[i].gpu % gpus == own->gpu % gpus)
                sum += config_role_of(c, role)->memory_fraction;
    return sum;
}

static status check_gpus(const config *c, const config_rank *ranks, uint32_t count, errbuf *eb) {
    uint32_t gpus = c->cluster.gpus_per_host;
    const config_backend *backend = gpus ? config_backend_find(c->model.backend) : NULL;
    for (uint32_t i = 1; backend && backend->own_memory && i < count; i++) {
        double share = config_gpu_share(c, ranks, count, &ranks[i], gpus);
        if (share > 1.0 + 1e-9)
            return errf(eb, ST_INVALID,
                        "GPU %u of %s (cluster.gpus_per_host: %u) is shared by workers whose memory_fraction "
                        "sums to %.2f: lower counts, add hosts, or make the fractions sum to at most 1",
                        ranks[i].gpu % gpus, ranks[i].host, gpus, share);
    }
    return ST_OK;
}

/* Any prefill worker may hand over to any decode worker. */
static status check_transport(const config *c, const config_rank *ranks, uint32_t count, errbuf *eb) {
    const char *transport = c->handoff.transport;
    bool memory = !strcmp(transport, "shm") || !strcmp(transport, "ipc");
    const config_rank *first = NULL;
    for (uint32_t i = 1; memory && i < count; i++) {
        if (!strcmp(ranks[i].role, worker_role_name(ROLE_COLOCATED))) continue;
        if (!first) first = &ranks[i];
        if (same_host(first, &ranks[i])) continue;
        return errf(
            eb, ST_INVALID,
            "handoff.transport %s is for one host, but %s is on %s and %s on %s: set it to auto, or to %s",
            transport, first->role, first->host, ranks[i].role, ranks[i].host,
            strcmp(transport, "ipc") ? "zmq" : "nccl");
    }
    return ST_OK;
}

status config_ranks(const config *c, uint32_t local_cores, config_rank **out, uint32_t *count, errbuf *eb) {
    PRE(c);
    PRE(out);
    PRE(count);
    PRE(local_cores > 0);
    uint32_t rank_count = 1;
    for (worker_role role = 0; role < ROLE_COUNT; role++) rank_count += processes(c, role);
    uint32_t hosts_max = 1 + c->cluster.hosts_count + c->prefill.hosts_count + c->decode.hosts_count +
                         c->colocated.hosts_count;
    placing p = {.config = c, .hosts = xcalloc(hosts_max, sizeof *p.hosts)};
    config_rank *ranks = xcalloc(rank_count, sizeof *ranks);
    host *h = NULL;
    status st = ST_OK;
    if (!c->cluster.hosts_count) st = host_get(&p, "cluster.hosts", LOCAL, local_cores, &h, eb);
    for (uint32_t i = 0; st == ST_OK && i < c->cluster.hosts_count; i++)
        st = host_get(&p, "cluster.hosts", c->cluster.hosts[i], local_cores, &h, eb);
    p.cluster_hosts = p.host_count;
    if (st == ST_OK) {
        ranks[0].role = "coordinator";
        memcpy(ranks[0].host, p.hosts[0].name, sizeof ranks[0].host);
        st = put_worker(&p, local_cores, ranks, eb);
    }
    if (st == ST_OK) st = check_gpus(c, ranks, rank_count, eb);
    if (st == ST_OK) st = check_transport(c, ranks, rank_count, eb);
    free(p.hosts);
    if (st != ST_OK) {
        free(ranks);
        return st;
    }
    *out = ranks;
    *count = rank_count;
    return ST_OK;
}
