/* Each check fails with the key that the user most likely wants to change; config.c puts the place in front.
 */
#include "config/config_check.h"

#include "base/hostport.h"
#include "base/mem.h"
#include "config/config_backend.h"
#include "config/latency_file.h"

#include <stdlib.h>
#include <string.h>

typedef struct blame {
    const char **section, **key;
    errbuf *eb;
} blame;

static status at(const blame *b, const char *section, const char *key) {
    *b->section = section;
    *b->key = key;
    return ST_INVALID;
}

static bool is_address(const char *text, bool tcp) {
    hostport parts;
    return hostport_parse(&parts, text, tcp);
}

/* Who reaches an address beyond this machine must prove who he is, or the config says that nobody need. The
 * data sockets of workers are on the address that leads to cluster.control, under the same key. HTTP's keys
 * may also be in the coordinator's environment: http_door_check. */
static status check_doors(const config *c, const blame *b) {
    if (c->cluster.client_key_file[0] && !c->cluster.key_file[0]) {
        errf(b->eb, ST_INVALID, "needs cluster.key_file too: baton-ctl keygen makes both");
        return at(b, "cluster", "client_key_file");
    }
    const struct {
        const char *key, *address, *who, *remedy;
        bool guarded;
    } doors[] = {
        {"control", c->cluster.control, "join", "cluster.key_file (see baton-ctl keygen)",
         c->cluster.key_file[0]},
        {"client", c->cluster.client, "use and drain", "cluster.client_key_file (see baton-ctl keygen)",
         c->cluster.client_key_file[0]},
    };
    for (size_t i = 0; i < ARRAY_LEN(doors) && !c->cluster.insecure; i++) {
        const char *address = doors[i].address;
        hostport near;
        if (!address[0] || doors[i].guarded) continue;
        if (hostport_parse(&near, address, true) && hostport_is_loopback(&near)) continue;
        errf(b->eb, ST_INVALID,
             "%.64s is beyond this machine, and who reaches it could %s the cluster: set %s, or "
             "cluster.insecure: true",
             address, doors[i].who, doors[i].remedy);
        return at(b, "cluster", doors[i].key);
    }
    return ST_OK;
}

static status check_cluster(const config *c, const blame *b) {
    if (!is_address(c->cluster.http, false)) {
        errf(b->eb, ST_INVALID, "\"%s\" is no address: want HOST:PORT, such as 127.0.0.1:8000",
             c->cluster.http);
        return at(b, "cluster", "http");
    }
    if (!is_address(c->cluster.control, true)) {
        errf(b->eb, ST_INVALID, "\"%s\" is no endpoint: want tcp://HOST:PORT", c->cluster.control);
        return at(b, "cluster", "control");
    }
    if (c->cluster.client[0] && !is_address(c->cluster.client, true)) {
        errf(b->eb, ST_INVALID, "\"%s\" is no endpoint: want tcp://HOST:PORT, or \"\" for none",
             c->cluster.client);
        return at(b, "cluster", "client");
    }
    status st = check_doors(c, b);
    if (st != ST_OK) return st;
    if (!c->model.path[0]) {
        errf(b->eb, ST_INVALID, "is missing: set it to a .gguf file, or to random:NAME");
        return at(b, "model", "path");
    }
    return ST_OK;
}

/* The key takes no other names. */
static const config_backend *backend_of(const config *c) {
    const config_backend *b = config_backend_find(c->model.backend);
    CHECK(b);
    return b;
}

/* Types: the host backends compute in f32 and keep KV in f16 or f32; on cuda everything has the type of the
 * activations. */
static status check_types(const config *c, const blame *b) {
    const char *backend = c->model.backend, *kv = c->model.kv_dtype, *act = c->model.act_dtype;
    if (!backend_of(c)->act_types) {
        if (strcmp(act, "auto") != 0) {
            errf(b->eb, ST_INVALID, "%s is for model.backend cuda; %s computes in f32: set it to auto", act,
                 backend);
            return at(b, "model", "act_dtype");
        }
        if (strcmp(kv, "bf16") == 0) {
            errf(b->eb, ST_INVALID, "bf16 is for model.backend cuda: want auto, f16 or f32 on %s", backend);
            return at(b, "model", "kv_dtype");
        }
        return ST_OK;
    }
    if (strcmp(act, "auto") == 0) act = "bf16";
    if (strcmp(kv, "auto") == 0 || strcmp(kv, act) == 0) return ST_OK;
    errf(b->eb, ST_INVALID,
         "%s, but on cuda the KV cache has the type of the activations, %s: set it to auto, or set "
         "model.act_dtype to %s",
         kv, act, kv);
    return at(b, "model", "kv_dtype");
}

static status check_mock(const config *c, const blame *b) {
    const config_backend *backend = backend_of(c);
    if (c->mock.workers_per_process > 1 && !backend->modelled) {
        errf(b->eb, ST_INVALID, "%u is for model.backend mock; a process of %s is one worker: set it to 1",
             c->mock.workers_per_process, backend->name);
        return at(b, "mock", "workers_per_process");
    }
    latency_model unused;
    if (backend->modelled && latency_file_find(c->mock.latency, &unused, b->eb) != ST_OK)
        return at(b, "mock", "latency");
    return ST_OK;
}

static status check_role(const config *c, worker_role role, const blame *b) {
    const config_role *r = config_role_of(c, role);
    const char *name = worker_role_name(role);
    if (r->tp > 1) {
        errf(b->eb, ST_INVALID, "%u: tensor parallelism is not built yet: set it to 1", r->tp);
        return at(b, name, "tp");
    }
    if (r->pp > 1) {
        errf(b->eb, ST_INVALID, "%u: pipeline parallelism is not built yet: set it to 1", r->pp);
        return at(b, name, "pp");
    }
    if (!r->kv_pages && !r->kv_memory_mb && !backend_of(c)->own_memory) {
        errf(b->eb, ST_INVALID,
             "0 means all that the device has left, which is for model.backend cuda: set it, or %s.kv_pages",
             name);
        return at(b, name, "kv_memory_mb");
    }
    if (r->chunk_tokens % 16 != 0) {
        errf(b->eb, ST_INVALID, "%u is no multiple of 16, the tokens of a page: try %u", r->chunk_tokens,
             (r->chunk_tokens + 15) / 16 * 16);
        return at(b, name, "chunk_tokens");
    }
    return ST_OK;
}

/* Steps that decode hold one row per sequence at least. */
static status check_budget(const config *c, worker_role role, const blame *b) {
    const config_role *r = config_role_of(c, role);
    if (r->token_budget >= r->max_seqs) return ST_OK;
    errf(b->eb, ST_INVALID, "%u rows per step are fewer than %s.max_seqs %u: raise it, or lower max_seqs",
         r->token_budget, worker_role_name(role), r->max_seqs);
    return at(b, worker_role_name(role), "token_budget");
}

static status check_roles(const config *c, const blame *b) {
    status st = ST_OK;
    for (worker_role role = 0; st == ST_OK && role < ROLE_COUNT; role++) st = check_role(c, role, b);
    if (st == ST_OK) st = check_budget(c, ROLE_DECODE, b);
    if (st == ST_OK) st = check_budget(c, ROLE_COLOCATED, b);
    if (st != ST_OK) return st;

    uint32_t p = c->prefill.count, d = c->decode.count, w = c->colocated.count;
    if (!(p && d) && !w) {
        errf(b->eb, ST_INVALID,
             "%u prefill, %u decode and no colocated workers could serve no request: set prefill.count and "
             "decode.count, or colocated.count",
             p, d);
        return at(b,
                  worker_role_name(p && !d   ? ROLE_DECODE
                                   : d && !p ? ROLE_PREFILL
                                             : ROLE_COLOCATED),
                  "count");
    }
    if (p + d + w > c->limits.max_workers) {
        errf(b->eb, ST_INVALID, "%u, but the roles ask for %u workers: raise it", c->limits.max_workers,
             p + d + w);
        return at(b, "limits", "max_workers");
    }
    return ST_OK;
}

/* Of a backend that computes in the host's memory. */
static status check_transport(const config *c, const blame *b) {
    const char *transport = c->handoff.transport;
    bool between_gpus = !strcmp(transport, "ipc") || !strcmp(transport, "nccl");
    if (!between_gpus || backend_of(c)->own_memory) return ST_OK;
    errf(b->eb, ST_INVALID, "%s is between GPUs, and model.backend is %s: set it to auto, shm or zmq",
         transport, c->model.backend);
    return at(b, "handoff", "transport");
}

static status check_http(const config *c, const blame *b) {
    bool cert = c->http.tls_cert[0], key = c->http.tls_key[0];
    if (cert != key) {
        errf(b->eb, ST_INVALID, "is missing: TLS takes both http.tls_cert and http.tls_key");
        return at(b, "http", cert ? "tls_key" : "tls_cert");
    }
    uint64_t need_kb = (uint64_t)c->limits.max_body_kb + 2 * (uint64_t)c->limits.max_header_kb;
    if ((uint64_t)c->limits.max_uploads_mb * 1024 < need_kb) {
        errf(b->eb, ST_INVALID,
             "%u has no room for one request of limits.max_body_kb %u and twice max_header_kb %u: raise it",
             c->limits.max_uploads_mb, c->limits.max_body_kb, c->limits.max_header_kb);
        return at(b, "limits", "max_uploads_mb");
    }
    return ST_OK;
}

static status check_limits(const config *c, const blame *b) {
    if (c->handoff.segment_kb > c->handoff.slot_kb) {
        errf(b->eb, ST_INVALID, "%u is more than handoff.slot_kb %u: a segment must fit a slot of the ring",
             c->handoff.segment_kb, c->handoff.slot_kb);
        return at(b, "handoff", "segment_kb");
    }
    if (c->limits.max_queue > c->limits.max_requests) {
        errf(b->eb, ST_INVALID, "%u is more than limits.max_requests %u: the queue is a part of all requests",
             c->limits.max_queue, c->limits.max_requests);
        return at(b, "limits", "max_queue");
    }
    const struct {
        uint32_t low, high;
        const char *low_name, *high_key, *why;
    } pairs[] = {
        {c->limits.heartbeat_ms * 2, c->limits.suspect_ms, "twice limits.heartbeat_ms", "suspect_ms",
         "a worker may miss one heartbeat"},
        {c->limits.suspect_ms + 1, c->limits.gone_ms, "limits.suspect_ms and one more", "gone_ms",
         "a worker is suspect before it is gone"},
        {c->limits.heartbeat_ms * 4, c->limits.lease_ms, "four times limits.heartbeat_ms", "lease_ms",
         "a worker stops after half a lease without an answer"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (pairs[i].high >= pairs[i].low) continue;
        errf(b->eb, ST_INVALID, "%u must be at least %u, %s: %s", pairs[i].high, pairs[i].low,
             pairs[i].low_name, pairs[i].why);
        return at(b, "limits", pairs[i].high_key);
    }
    return ST_OK;
}

status config_check(const config *c, const char **section, const char **key, errbuf *eb) {
    PRE(c);
    PRE(section);
    PRE(key);
    blame b = {.section = section, .key = key, .eb = eb};
    status st = check_cluster(c, &b);
    if (st == ST_OK) st = check_types(c, &b);
    if (st == ST_OK) st = check_mock(c, &b);
    if (st == ST_OK) st = check_roles(c, &b);
    if (st == ST_OK) st = check_transport(c, &b);
    if (st == ST_OK) st = check_http(c, &b);
    if (st == ST_OK) st = check_limits(c, &b);
    return st;
}
