#include "transfer/probe.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/mix.h"
#include "kv/handoff.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGES_MAX 64u /* of one probe: segments of one size say enough */

/* Of one page and layer, or of as many layers, then pages, as a slot holds. */
static kv_piece piece_of(const xfer *x, const pair *p, bool small) {
    const kv_layout *l = &x->opt.kv.layout;
    size_t layer_bytes = kv_segment_bytes(l, KV_PAGE_TOKENS, 1);
    if (small) return kv_piece_of(l, 0, KV_PAGE_TOKENS, 0, 1);
    size_t layers = MIN(p->slot_bytes / layer_bytes, l->layers);
    size_t pages = layers < l->layers ? 1 : p->slot_bytes / (layer_bytes * l->layers);
    pages = MIN(pages, MIN(PAGES_MAX, x->opt.kv.seq_pages_max));
    return kv_piece_of(l, 0, (uint32_t)pages * KV_PAGE_TOKENS, 0, (uint32_t)layers);
}

static op_kv_copy copy_of(const xfer *x, const kv_frame *f, xport_place wire, uint32_t pages[PAGES_MAX]) {
    for (uint32_t i = 0; i < PAGES_MAX; i++) pages[i] = x->opt.kv.spare_page;
    return (op_kv_copy){.layout = &x->opt.kv.layout,
                        .kv = x->opt.kv.base,
                        .pages = pages,
                        .piece = f->piece,
                        .wire = wire.at,
                        .wire_in = wire.in,
                        .seed = kv_segment_seed(&f->id, f->segment, &f->piece, f->ids_hash)};
}

/* ---- P ---- */

/* Other bytes than any probe before had, so that what an earlier one left on the way cannot pass for them: in
 * all of the spare page, or in what the smallest probe takes of it. */
static status fill_spare(xfer *x, bool small) {
    kv_frame f = {
        .piece = kv_piece_of(&x->opt.kv.layout, 0, KV_PAGE_TOKENS, 0, small ? 1 : x->opt.kv.layout.layers)};
    size_t words = kv_piece_bytes(&x->opt.kv.layout, &f.piece) / 8;
    uint64_t *noise = xmalloc(words * 8), sum;
    uint32_t pages[PAGES_MAX];
    for (size_t i = 0; i < words; i++) noise[i] = mix64(x->noise += MIX64_STEP);
    op_kv_copy copy = copy_of(x, &f, (xport_place){.at = noise, .in = MEMORY_HOST}, pages);
    copy.checksum = &sum;
    status st = x->opt.kv.ops->kv_scatter(x->opt.kv.dev, &copy);
    free(noise);
    return st;
}

/* Nothing else can be computed here any more: told also where no hand-off fails. */
static void device_failed(xfer *x, pair *p) {
    errbuf eb = {0};
    xfer_device_failed(x, &eb);
    xfer_event e = {.kind = X_PAIR, .id = p->id, .device = true, .pair.transport = ""};
    snprintf(e.why, sizeof e.why, "%s", eb.text);
    xfer_emit(x, &e);
    xfer_end_pair(x, p, eb.text);
}

static bool handoffs_wait(const xfer *x) {
    for (const pair *p = x->pairs; p; p = p->next)
        if (p->open && !p->ended && p->due.count > 0) return true;
    return false;
}

static void send_one(xfer *x, pair *p, bool small) {
    errbuf eb = {0};
    probe *t = &p->probe;
    uint32_t slot, pages[PAGES_MAX];
    /* Full ones are filled once, which would else be a part of what is measured. */
    if ((small || t->bytes == 0) && fill_spare(x, small)) {
        device_failed(x, p);
        return;
    }
    CHECK(pair_take_slot(p, &slot, x->awake_ns) == ST_OK);
    kv_frame f = {.kind = KV_PROBE, .id = p->id, .slot = slot, .piece = piece_of(x, p, small)};
    f.bytes = kv_piece_bytes(&x->opt.kv.layout, &f.piece);
    op_kv_copy copy = copy_of(x, &f, p->xport->stage(p->ring, slot), pages);
    copy.checksum = &f.checksum;
    t->sent_ns = clock_now_ns();
    if (x->opt.kv.ops->kv_gather(x->opt.kv.dev, &copy)) {
        device_failed(x, p);
        return;
    }
    if (pair_push(p, &f, &eb)) {
        xfer_end_pair(x, p, eb.text);
        return;
    }
    t->slots[slot] = true;
    t->out++;
    t->bytes += f.bytes;
}

static int by_value(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void pass(xfer *x, pair *p) {
    probe *t = &p->probe;
    xfer_event e = {.kind = X_PAIR, .id = p->id, .pair = {.transport = p->xport->name, .open = true}};
    qsort(t->rounds_ns, t->rounds, sizeof *t->rounds_ns, by_value);
    if (t->rounds) e.pair.latency_ns = t->rounds_ns[t->rounds / 2];
    if (t->state == PROBE_SPEED && t->back_ns > t->begin_ns)
        e.pair.bytes_per_s = (double)t->bytes * NS_PER_S / (double)(t->back_ns - t->begin_ns);
    t->state = PROBE_PASSED;
    log_info("kv.xfer", "pair ready", "peer=%" PRIx64 " transport=%s latency_us=%.0f gb_per_s=%.3f",
             p->id.d_inc, p->xport->name, (double)e.pair.latency_ns / 1e3, e.pair.bytes_per_s / 1e9);
    xfer_emit(x, &e);
}

static void measure_latency(xfer *x, pair *p) {
    probe *t = &p->probe;
    if (t->out > 0) return;
    if (t->rounds == PROBE_ROUNDS) {
        t->state = PROBE_SPEED;
        t->begin_ns = clock_now_ns();
        t->bytes = 0;
    } else if (handoffs_wait(x)) {
        pass(x, p);
    } else if (p->free_count > 0) {
        send_one(x, p, true);
    }
}

static void measure_speed(xfer *x, pair *p) {
    probe *t = &p->probe;
    bool goes_on = t->bytes == 0 || (t->bytes < PROBE_BYTES && clock_now_ns() - t->begin_ns < PROBE_NS);
    while (goes_on && !p->ended && !handoffs_wait(x) && p->free_count > 0) {
        send_one(x, p, false);
        goes_on = t->bytes < PROBE_BYTES && clock_now_ns() - t->begin_ns < PROBE_NS;
    }
    if (!p->ended && t->out == 0 && (!goes_on || handoffs_wait(x))) pass(x, p);
}

void probe_turn(xfer *x, pair *p) {
    PRE(x);
    PRE(p);
    probe *t = &p->probe;
    if (!p->open || p->ended) return;
    if (t->state == PROBE_DUE) {
        t->slots = xcalloc(p->slots, sizeof *t->slots);
        t->state = PROBE_LATENCY;
    }
    if (t->state == PROBE_LATENCY) measure_latency(x, p);
    if (t->state == PROBE_SPEED) measure_speed(x, p);
}

void probe_credit(pair *p, uint32_t slot) {
    PRE(p);
    probe *t = &p->probe;
    if (!t->slots || !t->slots[slot]) return;
    uint64_t now_ns = clock_now_ns();
    t->slots[slot] = false;
    t->out--;
    if (t->state == PROBE_LATENCY) t->rounds_ns[t->rounds++] = now_ns - t->sent_ns;
    t->back_ns = now_ns;
}

/* ---- D ---- */

void probe_take(xfer *x, pair *p, chan_msg *m) {
    PRE(x);
    PRE(p);
    PRE(m);
    const kv_frame *f = &m->frame;
    const kv_layout *l = &x->opt.kv.layout;
    const kv_piece *c = &f->piece;
    bool good = c->token_begin == 0 && c->token_count > 0 && c->token_count % KV_PAGE_TOKENS == 0 &&
                kv_piece_pages(c) <= MIN(PAGES_MAX, x->opt.kv.seq_pages_max) && c->layer_begin == 0 &&
                c->layer_end > 0 && c->layer_end <= l->layers && c->head_begin == 0 &&
                c->head_end == l->kv_heads && f->bytes == kv_piece_bytes(l, c);
    xport_place wire = {0};
    if (good)
        wire = p->xport->payload(p->ring, f->slot, f->bytes, m->has_part ? zmq_msg_data(&m->part) : NULL,
                                 zmq_msg_size(&m->part));
    if (!wire.at) {
        xfer_end_pair(x, p, "a probe that makes no sense");
        return;
    }
    uint32_t pages[PAGES_MAX];
    uint64_t checksum = 0;
    op_kv_copy copy = copy_of(x, f, wire, pages);
    copy.checksum = &checksum;
    if (x->opt.kv.ops->kv_scatter(x->opt.kv.dev, &copy)) {
        device_failed(x, p);
    } else if (checksum != f->checksum && x->opt.checksums) {
        xfer_count(&x->crc_errors, 1);
        xfer_end_pair(x, p, "the pair was tried, and other bytes arrived than were sent");
    }
}
