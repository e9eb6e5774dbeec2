/* The fake transfer thread: the contract of transfer/xfer.h with messages instead of memory. It reads and
 * writes pages at the moment it would in life: a sender gathers when it sends, a receiver scatters when a
 * segment comes. */
#include "sim/sim_world.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void work(sim_proc *p);
static void begin_copy(sim_proc *p, fake_handoff *h, sim_pair *pr, frame *f);

static fake_handoff *find(const sim_proc *p, uint64_t req) {
    for (uint32_t i = 0; i < p->handoff_count; i++)
        if (p->handoffs[i]->req == req) return p->handoffs[i];
    return NULL;
}

static void handoff_clear(fake_handoff *h) {
    if (!h) return;
    free(h->prefix);
    free(h->pages);
    free(h->chunks);
    handoff_recv_free(h->recv);
    free(h);
}

static void forget(sim_proc *p, const fake_handoff *h) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->handoff_count; i++) {
        if (p->handoffs[i] == h)
            handoff_clear(p->handoffs[i]);
        else
            p->handoffs[kept++] = p->handoffs[i];
    }
    p->handoff_count = kept;
}

static void tell(sim_proc *p, const xfer_event *e) {
    sim_event *ev = sim_post(p->sim, sim_fifo(p->sim, &p->event_ns, p->sim->opt.post_ns), EV_XFER_EVENT, p);
    ev->data = xmemdup(e, sizeof *e);
}

static void tell_failed(sim_proc *p, fake_handoff *h, const char *why) {
    if (h->failed) return;
    h->failed = true;
    p->xfer.failures++;
    xfer_event e = {.kind = X_FAILED, .id = h->id, .segment = h->segments};
    snprintf(e.why, sizeof e.why, "%s", why);
    tell(p, &e);
}

/* ---- pair channels ---- */

static void on_pair_lost(sim_proc *p, const sim_pair *pr) {
    for (uint32_t i = 0; i < p->handoff_count; i++) {
        fake_handoff *h = p->handoffs[i];
        bool mine = p->role == ROLE_PREFILL ? h->pair == pr : h->id.p_inc == pr->p_inc && h->segments > 0;
        if (mine) tell_failed(p, h, "the pair channel ended");
    }
}

static void send_abort(sim_proc *p, const fake_handoff *h, sim_pair *pr) {
    if (!pr || !pr->open) return;
    frame *f = sim_frame_new(FRAME_ABORT, h, 0);
    f->to_p = p->role == ROLE_DECODE;
    sim_frame_send(p->sim, pr, f);
}

/* ---- sender ---- */

static uint32_t words_of(const kv_piece *piece) {
    return piece->token_count * (piece->layer_end - piece->layer_begin);
}

/* The slot is taken now, the rows are read when the copy ends. */
static void begin_segment(sim_proc *p, fake_handoff *h, const kv_piece *piece) {
    sim_pair *pr = h->pair;
    frame *f = sim_frame_new(FRAME_SEGMENT, h, p->sim->opt.check_kv ? words_of(piece) : 0);
    f->segment = h->segments++;
    f->piece = *piece;
    if (pr->credits == p->sim->opt.pair_slots)
        pr->credit_ns = p->sim->now_ns; /* the wait for a credit begins */
    pr->credits--;
    if (!pr->check_due) {
        pr->check_due = true;
        sim_post(p->sim, p->sim->now_ns + p->sim->opt.pair_timeout_ns, EV_PAIR_CHECK, p)->pair = pr;
    }
    begin_copy(p, h, pr, f);
}

static void gather(sim_proc *p, const fake_handoff *h, frame *f) {
    const kv_piece *piece = &f->piece;
    uint32_t n = 0;
    for (uint32_t pos = piece->token_begin; pos < piece->token_begin + piece->token_count; pos++)
        for (uint32_t l = piece->layer_begin; l < piece->layer_end; l++) {
            uint64_t word = sim_proc_kv_row(p, h->pages, pos)[l];
            if (word != sim_kv_word(h->prefix[pos], l))
                sim_failf(p->sim, "%s: req %llu sends KV that is not its own, row %u", p->name,
                          (unsigned long long)h->req, pos);
            f->words[n++] = word;
        }
    f->ids_hash = h->prefix[piece->token_begin + piece->token_count - 1];
    uint64_t seed = kv_segment_seed(&h->id, f->segment, piece, f->ids_hash);
    f->checksum = kv_checksum(seed, f->words, n * sizeof *f->words);
}

static void end_segment(sim_proc *p, fake_handoff *h, frame *f) {
    if (p->sim->opt.check_kv) gather(p, h, f);
    uint64_t bytes = words_of(&f->piece) * sizeof *f->words;
    h->bytes += bytes;
    p->xfer.segments++;
    p->xfer.bytes += bytes;
}

static void send_seal(sim_proc *p, fake_handoff *h) {
    frame *f = sim_frame_new(FRAME_SEAL, h, 0);
    f->segment = h->segments;
    f->piece = kv_piece_of(&sim_layout, h->token_begin, h->id_count - h->token_begin, 0, SIM_LAYERS);
    if (h->prefix) f->ids_hash = h->prefix[h->id_count - 1];
    f->first = h->first;
    f->finished = h->finished;
    sim_frame_send(p->sim, h->pair, f);
    h->seal_sent = true;
    tell(p, &(xfer_event){.kind = X_SENT, .id = h->id, .bytes = h->bytes, .segments = h->segments});
}

/* Sends what of h may leave now: computed, a slot free. True: a copy began, the rest comes behind it. */
static bool send_next(sim_proc *p, fake_handoff *h) {
    if (!h->has_dest || h->failed || h->seal_sent || !h->pair->open) return false;
    uint32_t rows = 0;
    for (uint32_t i = 0; i < h->chunk_count; i++) {
        fake_chunk *chunk = &h->chunks[i];
        handoff_cut *cut = &chunk->cut;
        kv_piece piece;
        rows += chunk->count;
        if (cut->count == 0) continue;
        if (h->pair->credits > 0 &&
            handoff_cut_next(cut, &sim_layout, p->sim->opt.segment_bytes, p->sim->opt.slot_bytes, &piece)) {
            begin_segment(p, h, &piece);
            return true;
        }
        if (cut->layer_sent < SIM_LAYERS) return false; /* in order: the rest later */
    }
    if (h->sealed && rows == h->id_count) send_seal(p, h);
    return false;
}

void sim_xfer_layer(sim_proc *p, uint64_t req, uint32_t begin, uint32_t count, uint32_t layer) {
    PRE(p);
    SIM_GROW(p->reports, p->report_count, p->report_capacity);
    p->reports[p->report_count++] =
        (fake_report){.req = req, .begin = begin, .count = count, .layer = layer, .stamp = p->stamp};
    work(p);
}

/* Nothing of it is sent yet. */
static void start_cut(const fake_handoff *h, fake_chunk *chunk) {
    uint32_t end = chunk->begin + chunk->count, begin = MAX(chunk->begin, h->token_begin);
    chunk->cut = (handoff_cut){
        .begin = begin, .count = begin < end ? end - begin : 0, .layers_done = chunk->cut.layers_done};
}

static void run_next_report(sim_proc *p) {
    fake_report r = p->reports[0];
    memmove(p->reports, p->reports + 1, --p->report_count * sizeof r);
    fake_handoff *h = find(p, r.req);
    if (!h || h->stamp > r.stamp) return; /* dropped, or offered anew, meanwhile */
    if (r.layer == 0) {
        SIM_GROW(h->chunks, h->chunk_count, h->chunk_capacity);
        h->chunks[h->chunk_count++] = (fake_chunk){.begin = r.begin, .count = r.count, .cut.layers_done = 1};
        start_cut(h, &h->chunks[h->chunk_count - 1]);
    } else if (h->chunk_count && h->chunks[h->chunk_count - 1].begin == r.begin) {
        h->chunks[h->chunk_count - 1].cut.layers_done = r.layer + 1;
    }
}

static void on_dest(sim_proc *p, const xfer_cmd *c) {
    fake_handoff *h = find(p, c->id.req);
    if (!h) return;
    if (h->has_dest && memcmp(&h->id, &c->id, sizeof h->id) == 0) return;
    if (h->has_dest && !h->failed) send_abort(p, h, h->pair);
    h->id = c->id;
    h->failed = h->seal_sent = false;
    h->segments = 0;
    h->bytes = 0;
    h->has_dest = true;
    h->token_begin = c->token_begin;
    for (uint32_t i = 0; i < h->chunk_count; i++) start_cut(h, &h->chunks[i]);
    h->pair = sim_pair_open(p, &c->id, c->endpoint);
    if (!h->pair) {
        h->has_dest = false;
        tell_failed(p, h, "the decode worker cannot be reached");
    }
}

/* ---- receiver ---- */

/* Checked when it comes, written when the copy ends; then the slot is free again. False: not to be copied. */
static bool begin_scatter(sim_proc *p, fake_handoff *h, const frame *f) {
    errbuf eb = {0};
    const kv_piece *piece = &f->piece;
    if (handoff_recv_add(h->recv, f->segment, piece, &eb) != ST_OK) {
        sim_failf(p->sim, "%s: req %llu of %u rows: a right sender's segment was refused: %s", p->name,
                  (unsigned long long)h->req, h->id_count, eb.text);
        return false;
    }
    if (!p->sim->opt.check_kv) return true;
    uint64_t ids_hash = h->prefix[piece->token_begin + piece->token_count - 1];
    uint64_t seed = kv_segment_seed(&h->id, f->segment, piece, ids_hash);
    if (kv_checksum(seed, f->words, f->word_count * sizeof *f->words) != f->checksum) {
        sim_failf(p->sim, "%s: checksum of req %llu", p->name, (unsigned long long)h->req);
        return false;
    }
    return true;
}

static void end_scatter(sim_proc *p, fake_handoff *h, const frame *f) {
    const kv_piece *piece = &f->piece;
    uint32_t n = 0, end = p->sim->opt.check_kv ? piece->token_begin + piece->token_count : 0;
    for (uint32_t pos = piece->token_begin; pos < end; pos++)
        for (uint32_t l = piece->layer_begin; l < piece->layer_end; l++)
            sim_proc_kv_row(p, h->pages, pos)[l] = f->words[n++];
    h->segments++;
    uint64_t bytes = words_of(piece) * sizeof *f->words;
    h->bytes += bytes;
    p->xfer.segments++;
    p->xfer.bytes += bytes;
    p->sim->seen.segments++;
    if (piece->layer_begin == 0) p->sim->seen.rows += piece->token_count;
}

static void give_credit(sim_proc *p, sim_pair *pr) {
    frame *credit = sim_frame_new(FRAME_CREDIT, NULL, 0);
    credit->to_p = true;
    sim_frame_send(p->sim, pr, credit);
}

static void on_seal(sim_proc *p, fake_handoff *h, const frame *f) {
    errbuf eb = {0};
    if (handoff_recv_seal(h->recv, f->segment, &f->piece, &eb) != ST_OK) {
        sim_failf(p->sim, "%s: seal: %s", p->name, eb.text);
        return;
    }
    xfer_event e = {.kind = X_VERIFIED,
                    .id = h->id,
                    .bytes = h->bytes,
                    .segments = h->segments,
                    .first = f->first,
                    .finished = f->finished};
    p->sim->seen.seals++;
    forget(p, h);
    tell(p, &e);
}

/* Takes f. */
static void on_frame(sim_proc *p, sim_pair *pr, frame *f) {
    fake_handoff *h = find(p, f->id.req);
    bool current = h && !h->failed && memcmp(&h->id, &f->id, sizeof f->id) == 0;
    log_trace("sim", "frame", "at=%.6f who=%s kind=%d req=%" PRIu64 " attempt=%u segment=%u current=%d",
              (double)p->sim->now_ns / 1e9, p->name, f->kind, f->id.req, f->id.attempt, f->segment, current);
    switch (f->kind) {
    case FRAME_CREDIT:
        pr->credits++;
        pr->credit_ns = p->sim->now_ns;
        break;
    case FRAME_SEGMENT:
        if (current && begin_scatter(p, h, f)) {
            begin_copy(p, h, pr, f);
            return;
        }
        p->sim->seen.strays += !current;
        give_credit(p, pr);
        break;
    case FRAME_SEAL:
        if (current) on_seal(p, h, f);
        break;
    case FRAME_ABORT:
        if (current) tell_failed(p, h, "the other side gave it up");
        break;
    }
    free(f);
}

/* ---- commands ---- */

static void on_open(sim_proc *p, const xcmd *x) {
    fake_handoff *old = find(p, x->cmd.id.req);
    if (old) forget(p, old);
    fake_handoff *h = xcalloc(1, sizeof *h);
    h->req = x->cmd.id.req;
    h->stamp = x->stamp;
    h->id = x->cmd.id;
    h->id_count = x->cmd.id_count;
    if (p->sim->opt.check_kv) {
        h->prefix = sim_prefix_hashes(x->ids, x->cmd.id_count);
        h->pages = xmemdup(x->pages, x->cmd.page_count * sizeof *x->pages);
        h->page_count = x->cmd.page_count;
    }
    h->token_begin = x->cmd.token_begin;
    if (x->cmd.kind == X_EXPECT) h->recv = handoff_recv_new(&sim_layout, h->token_begin, h->id_count);
    if (x->cmd.rows_here) { /* as if they were a chunk that was computed */
        SIM_GROW(h->chunks, h->chunk_count, h->chunk_capacity);
        h->chunks[h->chunk_count++] = (fake_chunk){.count = x->cmd.rows_here, .cut.layers_done = SIM_LAYERS};
        start_cut(h, &h->chunks[0]);
    }
    SIM_GROW(p->handoffs, p->handoff_count, p->handoff_capacity);
    p->handoffs[p->handoff_count++] = h;
}

static void on_drop(sim_proc *p, const xfer_cmd *c) {
    fake_handoff *h = find(p, c->id.req);
    if (h) {
        bool begun = p->role == ROLE_PREFILL ? h->has_dest && !h->seal_sent : h->segments > 0;
        sim_pair *pr = h->pair;
        for (uint32_t i = 0; !pr && i < p->sim->pair_count; i++)
            if (p->sim->pairs[i]->open && p->sim->pairs[i]->p_inc == h->id.p_inc &&
                p->sim->pairs[i]->d_inc == h->id.d_inc)
                pr = p->sim->pairs[i];
        if (begun && !h->failed) send_abort(p, h, pr);
        forget(p, h);
    }
    tell(p, &(xfer_event){.kind = X_DROPPED, .id = c->id});
}

static void on_epoch(sim_proc *p, const xfer_cmd *c) {
    sim *s = p->sim;
    uint64_t old = p->inc;
    p->epoch = c->id.epoch;
    p->inc = p->role == ROLE_PREFILL ? c->id.p_inc : c->id.d_inc;
    while (p->handoff_count) forget(p, p->handoffs[p->handoff_count - 1]);
    for (uint32_t i = 0; i < s->pair_count; i++) {
        sim_pair *pr = s->pairs[i];
        if (pr->open && old && (pr->p_inc == old || pr->d_inc == old)) sim_pair_end(s, pr);
    }
}

static void on_peer_gone(sim_proc *p, uint64_t peer_inc) {
    sim *s = p->sim;
    for (uint32_t i = 0; i < s->pair_count; i++) {
        sim_pair *pr = s->pairs[i];
        bool own = pr->p_inc == p->inc || pr->d_inc == p->inc;
        if (pr->open && own && (pr->p_inc == peer_inc || pr->d_inc == peer_inc)) sim_pair_end(s, pr);
    }
    for (uint32_t i = 0; p->role == ROLE_DECODE && i < p->handoff_count; i++)
        if (p->handoffs[i]->id.p_inc == peer_inc)
            tell_failed(p, p->handoffs[i], "the sender left the cluster");
}

void sim_xfer_post(sim_proc *p, const xfer_cmd *c) {
    PRE(c);
    xcmd *x = xcalloc(1, sizeof *x);
    x->cmd = *c;
    x->stamp = c->kind == X_OFFER ? ++p->stamp : 0;
    bool check = p->sim->opt.check_kv;
    if (check && c->id_count) x->ids = xmemdup(c->ids, c->id_count * sizeof *c->ids);
    if (check && c->page_count) x->pages = xmemdup(c->pages, c->page_count * sizeof *c->pages);
    if (c->endpoint) snprintf(x->endpoint, sizeof x->endpoint, "%s", c->endpoint);
    SIM_GROW(p->cmds, p->cmd_count, p->cmd_capacity);
    p->cmds[p->cmd_count++] = x;
    sim_post(p->sim, sim_fifo(p->sim, &p->wake_xfer_ns, p->sim->opt.post_ns), EV_XFER_WAKE, p);
}

static void on_seal_cmd(sim_proc *p, const xfer_cmd *c) {
    fake_handoff *h = find(p, c->id.req);
    if (!h) return;
    h->sealed = true;
    h->first = c->first;
    h->finished = c->finished;
}

static void cmd_free(xcmd *x) {
    free(x->ids);
    free(x->pages);
    free(x);
}

static void run_next_cmd(sim_proc *p) {
    xcmd *x = p->cmds[0];
    memmove(p->cmds, p->cmds + 1, --p->cmd_count * sizeof(xcmd *));
    x->cmd.endpoint = x->endpoint;
    switch (x->cmd.kind) {
    case X_EPOCH:
        on_epoch(p, &x->cmd);
        break;
    case X_OFFER:
    case X_EXPECT:
        on_open(p, x);
        break;
    case X_DEST:
        on_dest(p, &x->cmd);
        break;
    case X_SEAL:
        on_seal_cmd(p, &x->cmd);
        break;
    case X_DROP:
        on_drop(p, &x->cmd);
        break;
    case X_PEER_GONE:
        on_peer_gone(p, x->cmd.peer_inc);
        break;
    case X_PEER:
    case X_CMD_COUNT:
        break;
    }
    cmd_free(x);
}

/* ---- the thread ---- */

static void run_next_event(sim_proc *p) {
    sim_event *e = p->inbox[0];
    memmove(p->inbox, p->inbox + 1, --p->inbox_count * sizeof(sim_event *));
    if (e->kind == EV_PAIR_LOST)
        on_pair_lost(p, e->pair);
    else if (e->pair->open)
        on_frame(p, e->pair, e->data);
    else
        free(e->data);
    free(e);
}

static bool send_any(sim_proc *p) {
    for (uint32_t i = 0; i < p->handoff_count; i++)
        if (send_next(p, p->handoffs[i])) return true;
    return false;
}

/* Until it copies or has nothing to do. */
static void work(sim_proc *p) {
    while (!p->copy.busy && !p->sim->failure[0]) {
        if (p->cmd_count)
            run_next_cmd(p); /* before reports: X_OFFER was posted before its prompt was computed */
        else if (p->report_count)
            run_next_report(p);
        else if (p->inbox_count)
            run_next_event(p);
        else if (p->role != ROLE_PREFILL || !send_any(p))
            return;
    }
}

static void end_copy(sim_proc *p) {
    fake_copy c = p->copy;
    p->copy = (fake_copy){0};
    if (p->role == ROLE_PREFILL) {
        end_segment(p, c.handoff, c.frame);
        if (c.pair->open)
            sim_frame_send(p->sim, c.pair, c.frame);
        else
            free(c.frame);
        return;
    }
    end_scatter(p, c.handoff, c.frame);
    if (c.pair->open) give_credit(p, c.pair);
    free(c.frame);
}

/* h stays: what could forget it waits for the copy. */
static void begin_copy(sim_proc *p, fake_handoff *h, sim_pair *pr, frame *f) {
    p->copy = (fake_copy){.busy = true, .handoff = h, .pair = pr, .frame = f};
    if (p->sim->opt.copy_ns)
        sim_post(p->sim, p->sim->now_ns + sim_delay(p->sim, p->sim->opt.copy_ns), EV_COPY_END, p);
    else
        end_copy(p);
}

void sim_xfer_event(sim_proc *p, sim_event *e) {
    PRE(e);
    if (e->kind == EV_COPY_END) end_copy(p);
    if (e->kind == EV_PAIR_CHECK) sim_pair_check(p, e->pair);
    if (e->kind == EV_FRAME || e->kind == EV_PAIR_LOST) {
        SIM_GROW(p->inbox, p->inbox_count, p->inbox_capacity);
        p->inbox[p->inbox_count++] = xmemdup(e, sizeof *e);
        e->data = NULL;
    }
    work(p);
}

void sim_xfer_clear(sim_proc *p) {
    PRE(p);
    free(p->copy.frame);
    p->copy = (fake_copy){0};
    for (uint32_t i = 0; i < p->cmd_count; i++) cmd_free(p->cmds[i]);
    for (uint32_t i = 0; i < p->inbox_count; i++) sim_event_free(p->sim, p->inbox[i]);
    p->cmd_count = p->report_count = p->inbox_count = 0;
    while (p->handoff_count) forget(p, p->handoffs[p->handoff_count - 1]);
    for (uint32_t i = 0; i < p->sim->pair_count; i++) {
        sim_pair *pr = p->sim->pairs[i];
        if ((pr->p_worker == p->index && pr->p_life == p->life) ||
            (pr->d_worker == p->index && pr->d_life == p->life))
            sim_pair_end(p->sim, pr);
    }
}
