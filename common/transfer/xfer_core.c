#include "transfer/xfer_core.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kv/handoff.h"

#include <stdlib.h>

#define JUDGE_NS (50 * NS_PER_MS)

/* ---- events ---- */

void xfer_flush_events(xfer *x) {
    PRE(x);
    while (x->late_events) {
        event_node *n = x->late_events;
        if (ring_push(x->events, &n->event)) return;
        x->late_events = n->next;
        free(n);
    }
    x->late_tail = &x->late_events;
}

void xfer_emit(xfer *x, const xfer_event *e) {
    PRE(x);
    PRE(e);
    if (!x->late_events && ring_push(x->events, e) == ST_OK) return;
    /* The loop is busy, perhaps in xfer_post: waiting for it here could be a deadlock. Their number is
     * bounded by its commands, and by pairs that open and end, of which each costs a connection. */
    event_node *n = xcalloc(1, sizeof *n);
    n->event = *e;
    *x->late_tail = n;
    x->late_tail = &n->next;
}

void xfer_device_failed(xfer *x, errbuf *eb) {
    x->device_failed = true;
    x->opt.kv.ops->device_error(x->opt.kv.dev, eb);
    err_prefix(eb, ST_DEVICE, "copying KV");
}

uint64_t *xfer_page_hashes(const int32_t *ids, uint32_t count) {
    PRE(ids);
    PRE(count > 0);
    uint32_t pages = kv_pages_for(count);
    uint64_t *hashes = xcalloc((size_t)pages + 1, sizeof *hashes);
    hashes[0] = KV_IDS_HASH_START;
    for (uint32_t i = 0; i < pages; i++) {
        uint32_t begin = i * KV_PAGE_TOKENS;
        hashes[i + 1] = kv_ids_hash(hashes[i], ids + begin, MIN(KV_PAGE_TOKENS, count - begin));
    }
    return hashes;
}

/* ---- pairs ---- */

void xfer_add_pair(xfer *x, pair *p) {
    PRE(x->pair_count < XFER_PAIRS_MAX);
    p->next = x->pairs;
    x->pairs = p;
    x->pair_count++;
}

void xfer_end_pair(xfer *x, pair *p, const char *why) {
    PRE(why);
    if (p->ended) return;
    p->ended = true;
    log_info("kv.xfer", "pair ended", "peer=%" PRIx64 " why=\"%s\"", x->role->peer_inc(&p->id), why);
    x->role->pair_ended(x, p, why);
}

void xfer_open_pair(xfer *x, pair *p) {
    PRE(x);
    PRE(p);
    errbuf eb = {0};
    if (p->open || p->ended) return;
    status st = pair_open(p, &eb);
    if (st == ST_OK)
        xfer_count(&x->pairs_opened, 1);
    else if (st != ST_AGAIN)
        xfer_end_pair(x, p, eb.text);
}

void xfer_judge_pairs(xfer *x) {
    PRE(x);
    if (x->awake_ns - x->judged_ns < JUDGE_NS) return;
    x->judged_ns = x->awake_ns;
    for (pair *p = x->pairs; p; p = p->next) {
        errbuf eb = {0};
        if (!p->ended && pair_judge(p, x->opt.pair_timeout_ns, x->awake_ns, &eb))
            xfer_end_pair(x, p, eb.text);
    }
}

void xfer_reap_pairs(xfer *x) {
    PRE(x);
    pair **at = &x->pairs;
    while (*at) {
        pair *p = *at;
        if (!p->ended) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        x->pair_count--;
        pair_free(p);
    }
}

/* ---- commands ---- */

void xfer_command_free(xfer_cmd *c) {
    free((void *)c->ids);
    free((void *)c->pages);
    free((void *)c->endpoint);
    free(c);
}

static void new_epoch(xfer *x, const xfer_cmd *c) {
    x->role->drop_all(x);
    for (pair *p = x->pairs; p; p = p->next) xfer_end_pair(x, p, "a new session began");
    x->own = x->role->own(&c->id);
}

static void peer_gone(xfer *x, uint64_t peer_inc) {
    for (pair *p = x->pairs; p; p = p->next)
        if (x->role->peer_inc(&p->id) == peer_inc) xfer_end_pair(x, p, "the peer left the cluster");
    x->role->peer_gone(x, peer_inc);
}

static void obey(xfer *x, const xfer_cmd *c) {
    switch (c->kind) {
    case X_EPOCH:
        new_epoch(x, c);
        return;
    case X_OFFER:
    case X_DEST:
    case X_SEAL:
    case X_EXPECT:
    case X_PEER:
        x->role->command(x, c);
        return;
    case X_DROP:
        x->role->drop(x, c->id.req);
        xfer_emit(x, &(xfer_event){.kind = X_DROPPED, .id = c->id});
        return;
    case X_PEER_GONE:
        peer_gone(x, c->peer_inc);
        return;
    case X_CMD_COUNT:
        break;
    }
    CHECK(!"a command kind");
}

void xfer_drain_commands(xfer *x) {
    PRE(x);
    xfer_cmd *c = NULL;
    /* What comes meanwhile is for the next turn, so that a busy loop thread cannot keep this one from its
     * sockets. */
    for (uint32_t n = ring_count(x->commands); n > 0 && ring_pop(x->commands, &c) == ST_OK; n--) {
        if (!c) {
            x->stopping = true;
            return;
        }
        obey(x, c);
        xfer_command_free(c);
    }
}
