/* What the core tells its hints, and what it asks them.
 *
 * A prompt worker holds a prompt once it has computed it, whatever it held before: what it answers is
 * counted, and the hint is true again by then. A decode worker that answers RESERVED with less than was
 * hinted has lost the rest; when the KV has arrived and when the request ends it holds all of it, outputs too
 * (but the last one, which was never fed to the model). */
#include "coordinator/state.h"

#include "base/mem.h"
#include "kv/kv_layout.h"

static prefix_hints *hints_of(core *c, const member *m) {
    return m->role == ROLE_DECODE ? &c->decoding : &c->computing;
}

void prefixes_join(core *c, member *m) {
    PRE(c);
    PRE(m);
    if (c->opt.prefix_cache) prefix_hints_join(hints_of(c, m), &m->prefixes, m->page_count);
}

void prefixes_leave(core *c, member *m) {
    PRE(c);
    PRE(m);
    if (c->opt.prefix_cache) prefix_hints_leave(hints_of(c, m), &m->prefixes);
}

static prefix_found find(prefix_hints *h, prefix_memo *last, const request *r) {
    /* The last row is always computed, and travels: its logits, or P's seal of it, are wanted. */
    uint32_t pages = (request_rows(r) - 1) / KV_PAGE_TOKENS;
    bool same = last->req == r->id && last->pages == pages && last->changes == h->changes &&
                last->searches == h->searches;
    if (same) return last->found;
    prefix_found found = prefix_hints_find(h, r->chain, pages);
    *last = (prefix_memo){
        .req = r->id, .changes = h->changes, .searches = h->searches, .pages = pages, .found = found};
    return found;
}

void prefixes_ask(core *c, request *r, bool computing, bool decoding, route_ask *ask) {
    PRE(c);
    PRE(r);
    PRE(ask);
    if (!c->opt.prefix_cache) return;
    request_chain_to(r, request_rows(r));
    if (computing && !request_wants_prompt(r)) ask->computing = find(&c->computing, &c->asked_computing, r);
    if (decoding) ask->decoding = find(&c->decoding, &c->asked_decoding, r);
}

void prefixes_hold(core *c, request *r, member *m, uint32_t rows) {
    PRE(c);
    PRE(r);
    PRE(m);
    if (!c->opt.prefix_cache || m->lost) return;
    request_chain_to(r, rows);
    prefix_hints_add(hints_of(c, m), &m->prefixes, r->chain, rows / KV_PAGE_TOKENS);
    if (m->role != ROLE_DECODE) c->stirred_queue = true; /* a prompt may be shorter there now */
}

void prefixes_reserved(core *c, request *r, member *d, uint32_t rows) {
    PRE(c);
    PRE(r);
    PRE(d);
    uint32_t held = rows / KV_PAGE_TOKENS;
    if (!c->opt.prefix_cache || held >= r->hinted) return;
    prefix_hints_cut(hints_of(c, d), &d->prefixes, r->chain, r->chain_pages, held);
}

void prefixes_computed(core *c, member *m, const ctl_token *first) {
    PRE(c);
    PRE(m);
    PRE(first);
    request *r = request_table_find(&c->requests, first->req);
    if (!c->opt.prefix_cache || !r || first->index != r->given) return;
    uint32_t rows = request_rows(r);
    bool anew = r->params.prompt_logprobs >= 0 && r->given == 0; /* nobody looked */
    if (!anew) c->counts.cache_queries += rows;
    c->counts.cache_hits += MIN(first->cached, rows);
    if (first->index == 0) r->cached = MIN(first->cached, r->prompt_count);
    prefixes_hold(c, r, m, rows);
}

void prefixes_decoded(core *c, request *r) {
    PRE(c);
    PRE(r);
    if (r->decode && request_state(r) == REQ_DECODE && r->log.count > 0)
        prefixes_hold(c, r, r->decode, r->prompt_count + r->log.count - 1);
}
