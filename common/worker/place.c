#include "worker/place.h"

#include "base/hostport.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool cpus_are_ours(const place *p) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return false;
    for (uint32_t i = 0; i < p->cpu_count; i++)
        if (!CPU_ISSET(p->cpus[i], &set)) return false;
    return true;
}

static void take_cores(place *p, const config_rank *ranks, uint32_t count, const config_rank *own,
                       uint32_t local_cores) {
    uint32_t asked = 0;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(ranks[i].host, own->host) == 0) asked += ranks[i].core_count;
    if (asked > local_cores || own->core_count > PLACE_CPUS_MAX) return;
    p->cpu_count = own->core_count;
    for (uint32_t i = 0; i < p->cpu_count; i++) p->cpus[i] = own->core_begin + i;
    if (cpus_are_ours(p)) return;
    log_warn("worker", "not pinned: this process may not use its cores", "first=%u count=%u", own->core_begin,
             own->core_count);
    p->cpu_count = 0;
}

static bool is_alone(const config_rank *ranks, uint32_t count, const config_rank *own) {
    uint32_t workers = 0;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(ranks[i].host, own->host) == 0) workers += ranks[i].worker_count;
    return workers == 1;
}

/* Of a task that srun started, its number among those of its step on this node; NULL for others. */
static const char *slurm_local_id(void) {
    if (getenv("OMPI_COMM_WORLD_RANK") || !getenv("PMIX_RANK")) return NULL;
    return getenv("SLURM_LOCALID");
}

const char *place_launch_rank(void) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    return rank ? rank : getenv("PMIX_RANK");
}

static status find_by_rank(place *p, const config *c, worker_role role, const char *rank, errbuf *eb) {
    char *end;
    errno = 0;
    unsigned long number = strtoul(rank, &end, 10);
    if (errno || end == rank || *end) return errf(eb, ST_INVALID, "launch rank '%s' is no number", rank);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t local_cores = cores > 0 ? (uint32_t)cores : 1;
    config_rank *ranks = NULL;
    uint32_t count = 0;
    status st = config_ranks(c, local_cores, &ranks, &count, eb);
    if (st != ST_OK) return st;
    const char *wanted = worker_role_name(role);
    const config_rank *own = number < count ? &ranks[number] : NULL;
    if (!own) {
        st = errf(eb, ST_INVALID,
                  "launch rank %lu: the config has %u ranks; start the cluster with deploy/up.sh", number,
                  count);
    } else if (strcmp(own->role, wanted) != 0) {
        st = errf(eb, ST_INVALID,
                  "launch rank %lu is of role %s in the config, but this program is a %s worker", number,
                  own->role, wanted);
    } else {
        snprintf(p->name, sizeof p->name, "%s-%u", wanted, own->index);
        p->index = own->index;
        p->worker_count = own->worker_count;
        const char *local = slurm_local_id();
        if (local) { /* Slurm decided what is whose */
            p->gpu = (uint32_t)strtoul(local, NULL, 10);
        } else {
            take_cores(p, ranks, count, own, local_cores);
            /* Only the map decides, so that a worker that is started again under its rank gets the GPU that
             * it had. */
            p->gpu = own->gpu;
            p->alone = is_alone(ranks, count, own);
            snprintf(p->rank, sizeof p->rank, "%u", own->rank);
        }
    }
    free(ranks);
    return st;
}

status place_find(place *out, const config *c, worker_role role, const char *rank, errbuf *eb) {
    PRE(out);
    PRE(c);
    place p = {.worker_count = MAX(c->mock.workers_per_process, 1u)};
    if (gethostname(p.host, sizeof p.host - 1) != 0) snprintf(p.host, sizeof p.host, "localhost");
    snprintf(p.name, sizeof p.name, "%s-%s-%ld", worker_role_name(role), p.host, (long)getpid());
    status st = rank ? find_by_rank(&p, c, role, rank, eb) : ST_OK;
    if (st == ST_OK) *out = p;
    return st;
}

place place_member(const place *first, worker_role role, uint32_t i) {
    PRE(first);
    PRE(i < first->worker_count);
    place p = *first;
    char by_rank[sizeof p.name];
    snprintf(by_rank, sizeof by_rank, "%s-%u", worker_role_name(role), first->index);
    if (strcmp(first->name, by_rank) == 0)
        snprintf(p.name, sizeof p.name, "%s-%u", worker_role_name(role), first->index + i);
    else
        snprintf(p.name, sizeof p.name, "%.80s-%u", first->name, i);
    return p;
}

/* A connected datagram socket sends nothing, but has the address that the kernel would send from. */
static status local_address(const struct addrinfo *to, char out[64]) {
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return ST_IO;
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    bool ok = connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
              getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
              getnameinfo((struct sockaddr *)&own, len, out, 64, NULL, 0, NI_NUMERICHOST) == 0;
    close(fd);
    return ok ? ST_OK : ST_IO;
}

status place_address_towards(const char *endpoint, char out[64], errbuf *eb) {
    PRE(endpoint);
    PRE(out);
    hostport to;
    if (!hostport_parse(&to, endpoint, true))
        return errf(eb, ST_INVALID, "'%s' is no endpoint: want tcp://HOST:PORT", endpoint);
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *list = NULL;
    int rc = getaddrinfo(to.host, to.port, &hints, &list);
    if (rc) return errf(eb, ST_IO, "the host of %s: %s: check cluster.control", endpoint, gai_strerror(rc));
    status st = list ? local_address(list, out) : ST_IO;
    if (list) freeaddrinfo(list);
    if (st != ST_OK)
        return errf(eb, ST_IO, "no local address leads to %s: %s: check cluster.control", endpoint,
                    strerror(errno));
    return ST_OK;
}

status place_check_gpu(const place *p, const config *c, uint32_t gpus, errbuf *eb) {
    PRE(p);
    PRE(c);
    PRE(gpus > 0);
    config_rank *ranks = NULL;
    uint32_t count = 0;
    if (!p->rank[0]) return ST_OK;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    status st = config_ranks(c, cores > 0 ? (uint32_t)cores : 1, &ranks, &count, eb);
    if (st != ST_OK) return st;
    double share = config_gpu_share(c, ranks, count, &ranks[strtoul(p->rank, NULL, 10)], gpus);
    free(ranks);
    if (share <= 1.0 + 1e-9) return ST_OK;
    return errf(
        eb, ST_INVALID,
        "GPU %u of %u on %s would be shared by workers whose memory_fraction sums to %.2f: start fewer "
        "workers per host, or make the fractions sum to at most 1, as in cuda-one-gpu.yaml",
        p->gpu % gpus, gpus, p->host, share);
}
