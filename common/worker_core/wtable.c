#include "worker_core/wtable.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void wseq_free(wseq *s) {
    if (!s) return;
    free(s->ids);
    free(s->pages);
    sampling_done(&s->params);
    free(s);
}

void wtable_init(wtable *t, worker_role role, const wcore_options *opt, const wcore_sink *sink,
                 uint32_t capacity) {
    PRE(t);
    PRE(opt);
    PRE(sink);
    PRE(opt->page_count > 0);
    PRE(opt->max_seqs > 0);
    PRE(opt->max_rows > 0);
    PRE(opt->max_context > 0);
    PRE(capacity >= opt->max_seqs);
    uint32_t seqs = opt->max_seqs;
    *t = (wtable){.role = role, .opt = *opt, .sink = *sink, .capacity = capacity};
    errbuf eb = {0};
    CHECK(kv_pool_new(&t->pool, opt->page_count, &eb) == ST_OK);
    t->live = xcalloc(capacity, sizeof(wseq *));
    t->closing = xcalloc(capacity, sizeof(wseq *));
    t->free_slots = xcalloc(seqs, sizeof *t->free_slots);
    t->slot_open = xcalloc(seqs, sizeof *t->slot_open);
    t->closes = xcalloc(seqs, sizeof *t->closes);
    t->opens = xcalloc(seqs, sizeof *t->opens);
    t->items = xcalloc(seqs, sizeof *t->items);
    t->step_seqs = xcalloc(seqs, sizeof(wseq *));
    t->tokens = xcalloc(2 * (size_t)seqs, sizeof *t->tokens);
    for (uint32_t i = 0; i < seqs; i++) t->free_slots[t->free_slot_count++] = seqs - 1 - i;
    POST(wtable_check(t));
}

void wtable_done(wtable *t) {
    if (!t) return;
    for (uint32_t i = 0; i < t->live_count; i++) wseq_free(t->live[i]);
    for (uint32_t i = 0; i < t->closing_count; i++) wseq_free(t->closing[i]);
    kv_pool_free(t->pool);
    free(t->live);
    free(t->closing);
    free(t->free_slots);
    free(t->slot_open);
    free(t->closes);
    free(t->opens);
    free(t->items);
    free(t->step_seqs);
    free(t->tokens);
}

wseq *wtable_find(const wtable *t, uint64_t req) {
    for (uint32_t i = 0; i < t->live_count; i++)
        if (t->live[i]->req == req) return t->live[i];
    return NULL;
}

void wtable_send(wtable *t, const ctl_msg *m) {
    t->sink.send(t->sink.ctx, m);
}

void wtable_no_room(wtable *t, const ctl_msg *m, const char *why) {
    ctl_msg answer = {.kind = CTL_NO_ROOM, .req = m->req, .attempt = m->attempt, .failed = {.why = why}};
    wtable_send(t, &answer);
}

static void send_plain(wtable *t, ctl_kind kind, uint64_t req, uint32_t attempt) {
    ctl_msg m = {.kind = kind, .req = req, .attempt = attempt};
    wtable_send(t, &m);
}

static uint32_t remove_from(wseq **list, uint32_t count, const wseq *s) {
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] != s) continue;
        memmove(&list[i], &list[i + 1], (count - i - 1) * sizeof(wseq *));
        return count - 1;
    }
    CHECK(!"the request is in its list");
    return count;
}

/* Copies what the message only lends. */
static wseq *wseq_new(const ctl_msg *m, uint32_t page_count) {
    const ctl_work *w = &m->work;
    wseq *s = xcalloc(1, sizeof *s);
    s->req = m->req;
    s->attempt = m->attempt;
    s->prompt_count = w->prompt_count;
    s->output_count = w->output_count;
    s->ids = xcalloc((size_t)w->prompt_count + w->output_count + 1, sizeof *s->ids);
    memcpy(s->ids, w->prompt, w->prompt_count * sizeof *s->ids);
    if (w->output_count) memcpy(s->ids + w->prompt_count, w->output, w->output_count * sizeof *s->ids);
    sampling_copy(&s->params, &w->params);
    s->pages = xcalloc(page_count, sizeof *s->pages);
    s->page_capacity = page_count;
    s->slot = WSEQ_NO_SLOT;
    return s;
}

/* Why the request cannot be held now, or NULL. */
static const char *refusal(const wtable *t, const ctl_work *w, const wtable_need *need, char *text,
                           size_t size) {
    uint64_t rows = (uint64_t)w->prompt_count + w->output_count;
    uint32_t pages = kv_pages_for(need->rows), available = kv_pool_available(t->pool);
    if (w->prompt_count == 0) return "the prompt is empty";
    if (rows > t->opt.max_context) {
        snprintf(text, size, "%llu tokens are more than the context of %u", (unsigned long long)rows,
                 t->opt.max_context);
        return text;
    }
    if (t->live_count + t->closing_count >= t->capacity) {
        snprintf(text, size, "%u requests are held, which is the most", t->capacity);
        return text;
    }
    if (need->slot && t->free_slot_count == 0) {
        snprintf(text, size, "all %u sequence slots are taken", t->opt.max_seqs);
        return text;
    }
    if (pages > available || available - pages < need->headroom) {
        snprintf(text, size, "%u pages wanted and %u to stay free, %u are free", pages, need->headroom,
                 available);
        return text;
    }
    return NULL;
}

wseq *wtable_admit(wtable *t, const ctl_msg *m, const wtable_need *need) {
    PRE(t);
    PRE(m);
    PRE(need);
    wseq *old = wtable_find(t, m->req);
    if (old && m->attempt <= old->attempt) {
        t->counters.stale++;
        return NULL;
    }
    if (old) wtable_close(t, old, false);

    char text[96];
    const char *why = refusal(t, &m->work, need, text, sizeof text);
    if (why) {
        wtable_no_room(t, m, why);
        return NULL;
    }
    uint32_t pages = kv_pages_for(need->rows);
    wseq *s = wseq_new(m, pages);
    CHECK(kv_pool_take(t->pool, pages, s->pages) == ST_OK);
    s->page_count = pages;
    s->phase = need->phase;
    if (need->slot) CHECK(wtable_take_slot(t, s));
    t->live[t->live_count++] = s;
    return s;
}

void wtable_settle(wtable *t, wseq *s) {
    PRE(s->phase == WSEQ_CLOSING);
    if (s->in_step || s->xfer_known) return;
    kv_pool_put(t->pool, s->pages, s->page_count);
    t->closing_count = remove_from(t->closing, t->closing_count, s);
    if (s->tell_preempted) send_plain(t, CTL_PREEMPTED, s->req, s->attempt);
    if (s->tell_closed) send_plain(t, CTL_CLOSED, s->req, s->attempt);
    wseq_free(s);
}

static void begin_close(wtable *t, wseq *s) {
    wtable_leave_slot(t, s);
    t->live_count = remove_from(t->live, t->live_count, s);
    t->closing[t->closing_count++] = s;
    s->phase = WSEQ_CLOSING;
    if (s->xfer_known && !s->drop_posted) wtable_post(t, s, X_DROP);
}

void wtable_close(wtable *t, wseq *s, bool preempted) {
    PRE(s->phase != WSEQ_CLOSING);
    s->tell_preempted = preempted;
    begin_close(t, s);
    wtable_settle(t, s);
}

void wtable_fail(wtable *t, wseq *s, const char *why) {
    ctl_msg m = {.kind = CTL_FAILED, .req = s->req, .attempt = s->attempt, .failed = {.why = why}};
    wtable_close(t, s, false);
    wtable_send(t, &m); /* now free_pages in its head counts what could be freed at once */
}

void wtable_release(wtable *t, const ctl_msg *m) {
    wseq *held = wtable_find(t, m->req);
    if (held && held->attempt <= m->attempt) {
        held->attempt = m->attempt;
        held->tell_closed = true;
        begin_close(t, held);
        wtable_settle(t, held);
        return;
    }
    if (held) t->counters.stale++;
    /* What is leaving already answers when it is gone; that it was preempted is of no interest any more. */
    for (uint32_t i = t->closing_count; i-- > 0;) {
        wseq *s = t->closing[i];
        if (s->req != m->req || s->attempt > m->attempt) continue;
        s->attempt = m->attempt;
        s->tell_preempted = false;
        s->tell_closed = true;
        return;
    }
    send_plain(t, CTL_CLOSED, m->req, m->attempt);
}

void wtable_session(wtable *t, uint64_t epoch, uint64_t incarnation) {
    t->epoch = epoch;
    t->incarnation = incarnation;
    if (t->role != ROLE_COLOCATED) {
        xfer_cmd c = {.kind = X_EPOCH, .id = {.epoch = epoch}};
        *(t->role == ROLE_PREFILL ? &c.id.p_inc : &c.id.d_inc) = incarnation;
        t->sink.xfer(t->sink.ctx, &c);
    }
    for (uint32_t i = 0; i < t->closing_count; i++)
        t->closing[i]->tell_closed = t->closing[i]->tell_preempted = false;
    while (t->live_count) wtable_close(t, t->live[t->live_count - 1], false);
}

void wtable_post(wtable *t, wseq *s, xfer_cmd_kind kind) {
    xfer_cmd c = {.kind = kind, .id = s->id};
    if (kind == X_OFFER || kind == X_EXPECT) {
        c.ids = s->ids;
        c.id_count = wtable_rows(s);
        c.pages = s->pages;
        c.page_count = s->page_count;
        s->xfer_known = true;
    }
    if (kind == X_SEAL) {
        c.first = s->first;
        c.finished = s->first.fin != FINISH_NONE;
    }
    if (kind == X_DROP) s->drop_posted = true;
    t->sink.xfer(t->sink.ctx, &c);
}

void wtable_dropped(wtable *t, uint64_t req) {
    /* Commands and events are in order, so the answer belongs to the oldest X_DROP of the request. */
    for (uint32_t i = 0; i < t->closing_count; i++) {
        wseq *s = t->closing[i];
        if (s->req != req || !s->xfer_known) continue;
        s->xfer_known = false;
        wtable_settle(t, s);
        return;
    }
    wseq *s = wtable_find(t, req);
    if (!s || !s->drop_posted) return;
    s->xfer_known = s->drop_posted = false;
}

bool wtable_take_slot(wtable *t, wseq *s) {
    PRE(s->slot == WSEQ_NO_SLOT);
    if (t->free_slot_count == 0) return false;
    s->slot = t->free_slots[--t->free_slot_count];
    return true;
}

void wtable_leave_slot(wtable *t, wseq *s) {
    if (s->slot == WSEQ_NO_SLOT) return;
    if (s->open) t->slot_open[s->slot] = true;
    t->free_slots[t->free_slot_count++] = s->slot;
    s->open = false;
    s->slot = WSEQ_NO_SLOT;
}

bool wtable_grow(wtable *t, wseq *s, uint32_t rows) {
    PRE(!s->in_step);
    uint32_t want = kv_pages_for(rows);
    if (want <= s->page_count) return true;
    if (want > s->page_capacity) {
        s->page_capacity = MAX(want, 2 * s->page_capacity);
        s->pages = xrealloc(s->pages, s->page_capacity, sizeof *s->pages);
    }
    if (kv_pool_take(t->pool, want - s->page_count, s->pages + s->page_count) != ST_OK) return false;
    s->page_count = want;
    return true;
}

uint32_t wtable_coming_pages(const wtable *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->closing_count; i++) n += t->closing[i]->page_count;
    return n;
}

finish wtable_finish(const wtable *t, const wseq *s, int32_t id) {
    finish fin = sampling_finish(&s->params, t->opt.eog, t->opt.eog_count, id, s->output_count);
    if (fin == FINISH_NONE && wtable_rows(s) >= t->opt.max_context) fin = FINISH_LENGTH;
    return fin;
}

uint32_t wtable_rows(const wseq *s) {
    return s->prompt_count + s->output_count;
}

wcore_stats wtable_stats(const wtable *t) {
    wcore_stats st = t->counters;
    st.pages_used = kv_pool_used(t->pool);
    st.pages_free = kv_pool_available(t->pool);
    for (uint32_t i = 0; i < t->live_count; i++) {
        const wseq *s = t->live[i];
        if (s->phase == WSEQ_DECODE || (s->phase == WSEQ_PROMPT && s->slot != WSEQ_NO_SLOT))
            st.running++;
        else if (s->phase == WSEQ_PROMPT || s->phase == WSEQ_EXPECTED)
            st.waiting++;
        if (s->phase == WSEQ_PINNED && !s->has_dest) st.parked++;
        if (t->role == ROLE_PREFILL && s->has_dest) st.sends_pending++;
    }
    return st;
}

bool wtable_idle(const wtable *t) {
    return t->live_count == 0 && t->closing_count == 0;
}

bool wtable_check(const wtable *t) {
    uint32_t pages = 0, slots = 0;
    for (uint32_t i = 0; i < t->live_count; i++) {
        pages += t->live[i]->page_count;
        slots += t->live[i]->slot != WSEQ_NO_SLOT;
        if (t->live[i]->phase == WSEQ_CLOSING) return false;
        if (wtable_find(t, t->live[i]->req) != t->live[i]) return false;
    }
    for (uint32_t i = 0; i < t->closing_count; i++) {
        pages += t->closing[i]->page_count;
        if (t->closing[i]->phase != WSEQ_CLOSING) return false;
        if (!t->closing[i]->in_step && !t->closing[i]->xfer_known) return false;
    }
    if (slots + t->free_slot_count != t->opt.max_seqs) return false;
    return kv_pool_used(t->pool) == pages && kv_pool_check(t->pool);
}

wcore_stats wtable_core_stats(const void *core) {
    return wtable_stats(core);
}

bool wtable_core_idle(const void *core) {
    return wtable_idle(core);
}

bool wtable_core_check(const void *core) {
    return wtable_check(core);
}
