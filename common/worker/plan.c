#include "worker/plan.h"

#include "base/mem.h"
#include "engine/activations.h"
#include "engine/weights.h"
#include "kv/kv_pool.h"

#include <stdlib.h>
#include <string.h>

#define RESERVE_BYTES (384u << 20) /* 64 MiB of them the workspace of the matrix library */
/* What NCCL takes for a pair besides its slots: of each block's channel the buffers of its three protocols
 * (4 + 4.7 + 0.5 MiB in 2.28), which older ones have for a ring of the two ranks as well; and its kernels. An
 * upper estimate by its sources. */
#define NCCL_PAIR_BYTES    (32u << 20)
#define NCCL_CHANNEL_BYTES (20u << 20)
#define NCCL_CHANNELS      8u /* where handoff.nccl_ctas is 0, as NCCL likes: it gives a peer two or a few */
#define RING_GRANULE       (2u << 20) /* that memory which GPUs share comes in */
#define GIB(bytes)         ((double)(bytes) / 0x1p30)

static status pick_type(const char *key, const char *wanted, dtype fallback, dtype *out, errbuf *eb) {
    static const dtype types[] = {DT_F16, DT_BF16, DT_F32};
    *out = fallback;
    if (strcmp(wanted, "auto") == 0) return ST_OK;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(wanted, dtype_name(types[i])) != 0) continue;
        *out = types[i];
        return ST_OK;
    }
    return errf(eb, ST_INVALID, "model.%s '%s': want auto, f16, bf16 or f32", key, wanted);
}

static status pick_types(plan *p, const config *c, errbuf *eb) {
    status st = pick_type("act_dtype", c->model.act_dtype, DT_BF16, &p->act_type, eb);
    if (st != ST_OK) return st;
    return pick_type("kv_dtype", c->model.kv_dtype, p->backend->kv_default(p->act_type), &p->layout.type, eb);
}

/* ---- memory of the device ---- */

static uint64_t table_bytes(const plan *p, const model *m) {
    const uint32_t tables = m->rope_local_base != 0 ? 2 : 1;
    uint64_t rotations = (uint64_t)p->max_context * m->rope_dim * tables * sizeof(float);
    uint64_t seen = (uint64_t)MIN(p->max_rows, HEAD_ROWS_MAX) * m->vocab * sizeof(uint32_t);
    return rotations + seen;
}

static uint32_t peers_of(worker_role role, const config *c) {
    return role == ROLE_PREFILL ? c->decode.count : role == ROLE_DECODE ? c->prefill.count : 0;
}

static bool transport_is(const config *c, const char *name) {
    return strcmp(c->handoff.transport, name) == 0;
}

/* Whether workers may be on several hosts, those that are started by hand included: they listen on the
 * address that leads to the coordinator, and behind a loopback one nobody reaches them. */
static bool may_span_hosts(const config *c) {
    static const char *const own[] = {"tcp://127.", "tcp://localhost:", "tcp://[::1]:"};
    if (c->cluster.hosts_count > 1 || c->prefill.hosts_count || c->decode.hosts_count) return true;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (strncmp(c->cluster.control, own[i], strlen(own[i])) == 0) return false;
    return true;
}

static bool may_take_nccl(const config *c) {
    return transport_is(c, "nccl") || (transport_is(c, "auto") && may_span_hosts(c));
}

/* Pairs over nccl that have memory at a time: one more than there are, as what NCCL holds for a pair that has
 * ended comes back in the background. */
static uint64_t nccl_pairs(const plan *p, const config *c) {
    return p->peers && may_take_nccl(c) ? (uint64_t)p->peers + 1 : 0;
}

/* NCCL's own */
static uint64_t nccl_bytes(const plan *p, const config *c) {
    uint64_t channels = c->handoff.nccl_ctas ? c->handoff.nccl_ctas : NCCL_CHANNELS;
    return nccl_pairs(p, c) * (NCCL_PAIR_BYTES + channels * NCCL_CHANNEL_BYTES);
}

/* By nccl both ends of a pair have a ring in their GPU's memory, by ipc the receiver, whose the sender maps;
 * by the others none. */
static uint64_t ring_bytes(const plan *p, const config *c) {
    bool may_take_ipc = transport_is(c, "ipc") || transport_is(c, "auto");
    uint64_t ipc_rings = may_take_ipc && p->role == ROLE_DECODE ? p->peers : 0;
    uint64_t ring = ((uint64_t)c->handoff.ring_slots * c->handoff.slot_kb) << 10;
    return MAX(ipc_rings, nccl_pairs(p, c)) * ((ring + RING_GRANULE - 1) / RING_GRANULE * RING_GRANULE);
}

static void weigh(plan *p, const config *c, const model *m, const device_memory *has) {
    double share = p->settings->memory_fraction * (double)has->total;
    p->memory =
        (plan_memory){.budget = MIN((uint64_t)share, has->free),
                      .weights = weights_bytes(m, p->backend, p->act_type),
                      .activations = activations_of(m, dtype_block_bytes(p->act_type), p->max_rows).bytes,
                      .tables = table_bytes(p, m),
                      .rings = ring_bytes(p, c),
                      .reserve = RESERVE_BYTES + nccl_bytes(p, c)};
}

/* As many pages as fit, but not more than all requests together could ever use. */
static status pages_that_fit(const plan *p, const device_memory *has, uint64_t *pages, errbuf *eb) {
    const plan_memory *n = &p->memory;
    const char *role = worker_role_name(p->role);
    uint64_t taken = n->weights + n->activations + n->tables + n->rings + n->reserve;
    uint64_t page_bytes = kv_page_bytes(&p->layout);
    taken += page_bytes; /* the spare page */
    if (n->budget < taken + page_bytes)
        return errf(
            eb, ST_NOMEM,
            "%s: no GPU memory for KV: %.2f of %.2f GiB = %.2f (%.2f free) for weights %.2f, "
            "activations %.2f, tables %.2f, rings %.2f, reserve %.2f: raise %s.memory_fraction, lower "
            "token_budget, max_seqs or handoff.ring_slots, or take a smaller model",
            role, p->settings->memory_fraction, GIB(has->total), GIB(n->budget), GIB(has->free),
            GIB(n->weights), GIB(n->activations), GIB(n->tables), GIB(n->rings), GIB(n->reserve), role);
    uint64_t most = (uint64_t)p->max_seqs * (kv_pages_for(p->max_context) + 1);
    *pages = MIN((n->budget - taken) / page_bytes, MIN(most, KV_POOL_PAGES_MAX));
    return ST_OK;
}

static status count_pages(plan *p, const device_memory *has, errbuf *eb) {
    const char *role = worker_role_name(p->role);
    const config_role *s = p->settings;
    uint64_t page_bytes = kv_page_bytes(&p->layout);
    uint64_t pages = s->kv_pages ? s->kv_pages : ((uint64_t)s->kv_memory_mb << 20) / page_bytes;
    if (!s->kv_pages && !s->kv_memory_mb && p->own_memory) {
        status st = pages_that_fit(p, has, &pages, eb);
        if (st != ST_OK) return st;
    }
    if (pages == 0)
        return errf(eb, ST_INVALID,
                    "%s.kv_memory_mb is %u, but one page of this model's KV has %llu bytes: raise it", role,
                    s->kv_memory_mb, (unsigned long long)page_bytes);
    if (pages > KV_POOL_PAGES_MAX)
        return errf(eb, ST_INVALID, "%s: %llu KV pages are more than %u: lower kv_pages or kv_memory_mb",
                    role, (unsigned long long)pages, KV_POOL_PAGES_MAX);
    p->page_count = (uint32_t)pages;
    if (p->own_memory) p->memory.kv = (pages + 1) * page_bytes;
    return ST_OK;
}

/* A worker that computes prompts needs room for a chunk that ends on a page edge, a colocated one for a
 * decode row besides. */
static status check_budget(const plan *p, errbuf *eb) {
    const char *role = worker_role_name(p->role);
    uint32_t least = p->role == ROLE_PREFILL     ? KV_PAGE_TOKENS
                     : p->role == ROLE_COLOCATED ? KV_PAGE_TOKENS + 1
                                                 : 1;
    if (p->max_rows < least)
        return errf(eb, ST_INVALID, "%s.token_budget is %u: want at least %u", role, p->max_rows, least);
    if (p->max_seqs == 0) return errf(eb, ST_INVALID, "%s.max_seqs is 0: want at least 1", role);
    if (p->chunk_tokens == 0 || p->chunk_tokens % KV_PAGE_TOKENS)
        return errf(eb, ST_INVALID, "%s.chunk_tokens is %u: want a multiple of %u", role, p->chunk_tokens,
                    KV_PAGE_TOKENS);
    return ST_OK;
}

status plan_make(plan *out, const config *c, worker_role role, const model *m, const plan_device *dev,
                 errbuf *eb) {
    PRE(out);
    PRE(c);
    PRE(m);
    PRE(dev);
    PRE(dev->ops);
    const config_role *s = config_role_of(c, role);
    plan p = {.role = role, .settings = s, .backend = dev->ops, .peers = peers_of(role, c)};
    p.own_memory = !dev->memory.host;
    p.deterministic =
        c->model.deterministic || !p.own_memory; /* batch invariance costs the host backends nothing */
    p.outputs_as_prompts = !p.own_memory; /* a GPU computes rows of prompts and of decodes by two kernels */
    p.layout = (kv_layout){.layers = m->layers, .kv_heads = m->kv_heads, .head_dim = m->head_dim};
    p.max_context = c->model.max_context ? MIN(c->model.max_context, m->context) : m->context;
    p.max_seqs = s->max_seqs;
    p.max_rows = role == ROLE_DECODE ? MIN(s->token_budget, s->max_seqs) : s->token_budget;
    p.chunk_tokens = s->chunk_tokens;
    status st = check_budget(&p, eb);
    if (st == ST_OK) st = pick_types(&p, c, eb);
    if (st != ST_OK) return st;
    if (p.own_memory) weigh(&p, c, m, &dev->memory);
    st = count_pages(&p, &dev->memory, eb);
    if (st == ST_OK) *out = p;
    return st;
}

void plan_numerics(const plan *p, const model *m, const char *path, ctl_numeric out[PLAN_NUMERICS]) {
    PRE(p);
    PRE(m);
    PRE(path);
    PRE(out);
    const kv_layout *l = &p->layout;
    /* Causes before what follows from them: the first that differs is the one that a refusal names. */
    const ctl_numeric all[PLAN_NUMERICS] = {
        {"kernels", xstrdup(BATON_VERSION)},
        {"weights", xasprintf("%016llx", (unsigned long long)m->weights_hash)},
        {"backend", xstrdup(p->backend->name)},
        {"deterministic", xstrdup(p->deterministic ? "true" : "false")},
        {"kv_dtype", xstrdup(dtype_name(l->type))},
        {"path", xstrdup(path)},
        {"kv_layout", xasprintf("%ux%ux%ux%u", KV_PAGE_TOKENS, l->layers, l->kv_heads, l->head_dim)},
        {"tp", xasprintf("%u", p->settings->tp)},
    };
    memcpy(out, all, sizeof all);
}

void plan_numerics_done(ctl_numeric numerics[PLAN_NUMERICS]) {
    for (uint32_t i = 0; i < PLAN_NUMERICS; i++) free((char *)numerics[i].value);
}
