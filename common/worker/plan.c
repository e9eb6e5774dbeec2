#include "worker/plan.h"

#include "base/mem.h"
#include "kv/kv_pool.h"

#include <stdlib.h>
#include <string.h>

const config_role *plan_settings(const config *c, worker_role role) {
    PRE(c);
    switch (role) {
    case ROLE_PREFILL:
        return &c->prefill;
    case ROLE_DECODE:
        return &c->decode;
    case ROLE_COLOCATED:
        return &c->colocated;
    case ROLE_COUNT:
        break;
    }
    CHECK(!"a worker's role");
    return NULL;
}

static status pick_kv_type(plan *p, const char *wanted, errbuf *eb) {
    if (strcmp(wanted, "auto") == 0)
        p->layout.type = p->backend->kv_default();
    else if (strcmp(wanted, "f16") == 0)
        p->layout.type = DT_F16;
    else if (strcmp(wanted, "f32") == 0)
        p->layout.type = DT_F32;
    else
        return errf(eb, ST_INVALID, "model.kv_dtype '%s': want auto, f16 or f32", wanted);
    return ST_OK;
}

static status count_pages(plan *p, errbuf *eb) {
    const char *role = worker_role_name(p->role);
    const config_role *s = p->settings;
    uint64_t page_bytes = kv_page_bytes(&p->layout);
    uint64_t pages = s->kv_pages ? s->kv_pages : ((uint64_t)s->kv_memory_mb << 20) / page_bytes;
    if (pages == 0)
        return errf(eb, ST_INVALID, "%s.kv_memory_mb is %u, but one page of this model's KV has %llu bytes: raise it",
                    role, s->kv_memory_mb, (unsigned long long)page_bytes);
    if (pages > KV_POOL_PAGES_MAX)
        return errf(eb, ST_INVALID, "%s: %llu KV pages are more than %u: lower kv_pages or kv_memory_mb", role,
                    (unsigned long long)pages, KV_POOL_PAGES_MAX);
    p->page_count = (uint32_t)pages;
    return ST_OK;
}

/* A worker that computes prompts needs room for a chunk that ends on a page edge, a colocated one for a decode row
 * besides. */
static status check_budget(const plan *p, errbuf *eb) {
    const char *role = worker_role_name(p->role);
    uint32_t least = p->role == ROLE_PREFILL ? KV_PAGE_TOKENS : p->role == ROLE_COLOCATED ? KV_PAGE_TOKENS + 1 : 1;
    if (p->max_rows < least)
        return errf(eb, ST_INVALID, "%s.token_budget is %u: want at least %u", role, p->max_rows, least);
    if (p->max_seqs == 0) return errf(eb, ST_INVALID, "%s.max_seqs is 0: want at least 1", role);
    if (p->chunk_tokens == 0 || p->chunk_tokens % KV_PAGE_TOKENS)
        return errf(eb, ST_INVALID, "%s.chunk_tokens is %u: want a multiple of %u", role, p->chunk_tokens,
                    KV_PAGE_TOKENS);
    return ST_OK;
}

status plan_make(plan *out, const config *c, worker_role role, const model *m, errbuf *eb) {
    PRE(out && c && m);
    const config_role *s = plan_settings(c, role);
    plan p = {.role = role, .settings = s, .backend = backend_find(c->model.backend)};
    if (!p.backend)
        return errf(eb, ST_INVALID, "model.backend '%s': this program has %s", c->model.backend, backend_names());
    p.layout = (kv_layout){.layers = m->layers, .kv_heads = m->kv_heads, .head_dim = m->head_dim};
    p.max_context = c->model.max_context ? MIN(c->model.max_context, m->context) : m->context;
    p.max_seqs = s->max_seqs;
    p.max_rows = role == ROLE_DECODE ? MIN(s->token_budget, s->max_seqs) : s->token_budget;
    p.chunk_tokens = s->chunk_tokens;
    status st = pick_kv_type(&p, c->model.kv_dtype, eb);
    if (st == ST_OK) st = count_pages(&p, eb);
    if (st == ST_OK) st = check_budget(&p, eb);
    if (st == ST_OK) *out = p;
    return st;
}

void plan_numerics(const plan *p, const model *m, const char *path, ctl_numeric out[PLAN_NUMERICS]) {
    PRE(p && m && path && out);
    const kv_layout *l = &p->layout;
    const ctl_numeric all[PLAN_NUMERICS] = {
        {"weights", xasprintf("%016llx", (unsigned long long)m->weights_hash)},
        {"kv_dtype", xstrdup(dtype_name(l->type))},
        {"kv_layout", xasprintf("%ux%ux%ux%u", KV_PAGE_TOKENS, l->layers, l->kv_heads, l->head_dim)},
        {"backend", xstrdup(p->backend->name)},
        {"isa", xstrdup(path)},
        {"tp", xasprintf("%u", p->settings->tp)},
        {"kernels", xstrdup(BATON_VERSION)},
        {"deterministic", xstrdup("true")}, /* of every backend that there is so far */
    };
    memcpy(out, all, sizeof all);
}

void plan_numerics_done(ctl_numeric numerics[PLAN_NUMERICS]) {
    for (uint32_t i = 0; i < PLAN_NUMERICS; i++) free((char *)numerics[i].value);
}
