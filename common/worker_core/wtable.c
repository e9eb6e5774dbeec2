#include "worker_core/wtable.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static wseq *of_age(list_link *l) {
    return l ? LIST_ITEM(l, wseq, by_age) : NULL;
}

static wseq *of_phase(list_link *l) {
    return l ? LIST_ITEM(l, wseq, by_phase) : NULL;
}

/* Adds what a live request is to what is told; times = -1 takes it away again. Whatever a count depends on
 * changes between the two. */
static void count_in(const wtable *t, wcore_stats *st, const wseq *s, int times) {
    uint32_t one = (uint32_t)times;
    if (s->phase == WSEQ_DECODE || (s->phase == WSEQ_PROMPT && s->slot != WSEQ_NO_SLOT))
        st->running += one;
    else if (s->phase == WSEQ_PROMPT || s->phase == WSEQ_EXPECTED)
        st->waiting += one;
    if (s->phase == WSEQ_PINNED && !s->has_dest) st->parked += one;
    if (t->role == ROLE_PREFILL && s->has_dest) st->sends_pending += one;
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
    wpages_init(&t->pages, opt->page_count, opt->prefix_cache, opt->cache_outputs);
    list_init(&t->live);
    list_init(&t->closing);
    for (uint32_t i = 0; i < ARRAY_LEN(t->phases); i++) list_init(&t->phases[i]);
    u64_map_init(&t->live_of, capacity);
    u64_map_init(&t->closing_of, capacity);
    t->free_slots = xcalloc(seqs, sizeof *t->free_slots);
    t->left_slots = xcalloc(seqs, sizeof *t->left_slots);
    t->closes = xcalloc(seqs, sizeof *t->closes);
    t->opens = xcalloc(seqs, sizeof *t->opens);
    t->items = xcalloc(seqs, sizeof *t->items);
    t->step_seqs = xcalloc(seqs, sizeof(wseq *));
    t->tokens = xcalloc(2 * (size_t)seqs, sizeof *t->tokens);
    for (uint32_t i = 0; i < seqs; i++) t->free_slots[t->free_slot_count++] = seqs - 1 - i;
    POST(wtable_check(t));
}

static void free_all(list *l) {
    while (l->count) {
        wseq *s = of_age(list_first(l));
        list_remove(l, &s->by_age);
        wseq_free(s);
    }
}

void wtable_done(wtable *t) {
    if (!t) return;
    free_all(&t->live);
    free_all(&t->closing);
    u64_map_done(&t->live_of);
    u64_map_done(&t->closing_of);
    wpages_done(&t->pages);
    free(t->free_slots);
    free(t->left_slots);
    free(t->closes);
    free(t->opens);
    free(t->items);
    free(t->step_seqs);
    free(t->tokens);
}

wseq *wtable_find(const wtable *t, uint64_t req) {
    return u64_map_get(&t->live_of, req);
}

wseq *wtable_closing(const wtable *t, uint64_t req) {
    return u64_map_get(&t->closing_of, req);
}

wseq *wtable_first(const wtable *t, wseq_phase phase) {
    PRE(phase != WSEQ_CLOSING);
    return of_phase(list_first(&t->phases[phase]));
}

wseq *wtable_next(const wtable *t, const wseq *s) {
    PRE(s->phase != WSEQ_CLOSING);
    return of_phase(list_next(&t->phases[s->phase], &s->by_phase));
}

uint32_t wtable_count(const wtable *t, wseq_phase phase) {
    PRE(phase != WSEQ_CLOSING);
    return t->phases[phase].count;
}

wseq *wtable_oldest(const wtable *t) {
    return of_age(list_first(&t->live));
}

wseq *wtable_younger(const wtable *t, const wseq *s) {
    PRE(s->phase != WSEQ_CLOSING);
    return of_age(list_next(&t->live, &s->by_age));
}

void wtable_send(wtable *t, const ctl_msg *m) {
    t->sink.send(t->sink.ctx, m);
}

static void tell(const wtable *t, decision_kind kind, uint64_t req, uint32_t attempt, const char *why) {
    if (!t->sink.decision) return;
    decision d = {.kind = kind, .req = req, .attempt = attempt, .why = why};
    t->sink.decision(t->sink.ctx, &d);
}

void wtable_no_room(wtable *t, const ctl_msg *m, const char *why) {
    tell(t, DECISION_NO_ROOM, m->req, m->attempt, why);
    ctl_msg answer = {.kind = CTL_NO_ROOM, .req = m->req, .attempt = m->attempt, .failed = {.why = why}};
    wtable_send(t, &answer);
}

static void send_plain(wtable *t, ctl_kind kind, uint64_t req, uint32_t attempt) {
    ctl_msg m = {.kind = kind, .req = req, .attempt = attempt};
    wtable_send(t, &m);
}

/* ---- lists ---- */

/* Behind the last replay, or NULL: to the front. */
static list_link *behind_replays(list *l) {
    list_link *before = NULL, *next = list_first(l);
    while (next && wseq_is_replay(of_phase(next))) {
        before = next;
        next = list_next(l, next);
    }
    return before;
}

/* Into the list of its phase. Only a sequence that begins to decode may be older than what is there: KV
 * arrives in any order. A prefill worker's replays go before its other prompts. */
static void enter_phase(wtable *t, wseq *s, wseq_phase phase) {
    list *l = &t->phases[phase];
    list_link *before = list_last(l);
    s->phase = phase;
    if (phase == WSEQ_DECODE)
        while (before && of_phase(before)->age > s->age) before = list_prev(l, before);
    if (t->role == ROLE_PREFILL && wseq_is_replay(s)) before = behind_replays(l);
    list_add_after(l, before, &s->by_phase);
}

static void add_live(wtable *t, wseq *s, wseq_phase phase) {
    s->age = t->next_age++;
    list_add_last(&t->live, &s->by_age);
    enter_phase(t, s, phase);
    u64_map_put(&t->live_of, s->req, s);
    count_in(t, &t->stats, s, 1);
}

static void remove_live(wtable *t, wseq *s) {
    count_in(t, &t->stats, s, -1);
    list_remove(&t->live, &s->by_age);
    list_remove(&t->phases[s->phase], &s->by_phase);
    CHECK(u64_map_take(&t->live_of, s->req) == s);
}

void wtable_move(wtable *t, wseq *s, wseq_phase phase) {
    PRE(s->phase != WSEQ_CLOSING);
    PRE(phase != WSEQ_CLOSING);
    count_in(t, &t->stats, s, -1);
    list_remove(&t->phases[s->phase], &s->by_phase);
    enter_phase(t, s, phase);
    count_in(t, &t->stats, s, 1);
}

void wtable_set_dest(wtable *t, wseq *s, bool has_dest) {
    PRE(s->phase != WSEQ_CLOSING);
    count_in(t, &t->stats, s, -1);
    s->has_dest = has_dest;
    count_in(t, &t->stats, s, 1);
}

static void add_closing(wtable *t, wseq *s) {
    s->phase = WSEQ_CLOSING;
    list_add_last(&t->closing, &s->by_age);
    s->closing_before = u64_map_take(&t->closing_of, s->req);
    u64_map_put(&t->closing_of, s->req, s);
    s->coming_pages = wpages_own(&t->pages, s);
    t->coming_pages += s->coming_pages;
}

/* The attempts of one request that close at the same time are few. */
static void remove_closing(wtable *t, wseq *s) {
    t->coming_pages -= s->coming_pages;
    list_remove(&t->closing, &s->by_age);
    wseq *after = wtable_closing(t, s->req);
    if (after == s) {
        u64_map_take(&t->closing_of, s->req);
        if (s->closing_before) u64_map_put(&t->closing_of, s->req, s->closing_before);
        return;
    }
    while (after->closing_before != s) after = after->closing_before;
    after->closing_before = s->closing_before;
}

/* ---- life ---- */

/* Why the request cannot be held now, or NULL. */
static const char *refusal(const wtable *t, const ctl_work *w, const wtable_need *need, char *text,
                           size_t size) {
    uint64_t rows = (uint64_t)w->prompt_count + w->output_count;
    if (w->prompt_count == 0) return "the prompt is empty";
    /* To a decode worker the first token comes from elsewhere, and is a row, too. */
    if (rows + (t->role == ROLE_DECODE) > t->opt.max_context) {
        snprintf(text, size, "%llu tokens are more than the context of %u has room for",
                 (unsigned long long)rows, t->opt.max_context);
        return text;
    }
    if (t->live.count + t->closing.count >= t->capacity) {
        snprintf(text, size, "%u requests are held, which is the most", t->capacity);
        return text;
    }
    if (need->slot && t->free_slot_count == 0) {
        snprintf(text, size, "all %u sequence slots are taken", t->opt.max_seqs);
        return text;
    }
    return NULL;
}

static void take_slot(wtable *t, wseq *s) {
    PRE(s->slot == WSEQ_NO_SLOT);
    PRE(t->free_slot_count > 0);
    s->slot = t->free_slots[--t->free_slot_count];
}

wseq *wtable_admit(wtable *t, const ctl_msg *m, const wtable_need *need) {
    PRE(t);
    PRE(m);
    PRE(need);
    wseq *old = wtable_find(t, m->req);
    if (old && m->attempt <= old->attempt) {
        t->stats.stale++;
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
    if (!wpages_take(&t->pages, s, need->rows, need->headroom)) {
        wseq_free(s);
        snprintf(text, sizeof text, "%u pages wanted and %u to stay free, %u are free", pages, need->headroom,
                 wpages_available(&t->pages));
        wtable_no_room(t, m, text);
        return NULL;
    }
    if (need->slot) take_slot(t, s);
    add_live(t, s, need->phase);
    return s;
}

void wtable_settle(wtable *t, wseq *s) {
    PRE(s->phase == WSEQ_CLOSING);
    if (s->in_step || s->xfer_known) return;
    wpages_put(&t->pages, s);
    remove_closing(t, s);
    if (s->tell_preempted) send_plain(t, CTL_PREEMPTED, s->req, s->attempt);
    if (s->tell_closed) send_plain(t, CTL_CLOSED, s->req, s->attempt);
    wseq_free(s);
}

static void begin_close(wtable *t, wseq *s) {
    wtable_leave_slot(t, s);
    remove_live(t, s);
    add_closing(t, s);
    if (s->xfer_known && !s->drop_posted) wtable_post(t, s, X_DROP);
}

void wtable_close(wtable *t, wseq *s, bool preempted) {
    PRE(s->phase != WSEQ_CLOSING);
    s->tell_preempted = preempted;
    if (preempted) tell(t, DECISION_PREEMPT, s->req, s->attempt, NULL);
    begin_close(t, s);
    wtable_settle(t, s);
}

void wtable_fail(wtable *t, wseq *s, const char *why) {
    ctl_msg m = {.kind = CTL_FAILED, .req = s->req, .attempt = s->attempt, .failed = {.why = why}};
    wtable_close(t, s, false);
    wtable_send(t, &m); /* now free_pages in its head counts what could be freed at once */
}

void wtable_release(wtable *t, const ctl_msg *m) {
    PRE(t);
    PRE(m);
    wseq *held = wtable_find(t, m->req);
    if (held && held->attempt <= m->attempt) {
        held->attempt = m->attempt;
        held->tell_closed = true;
        begin_close(t, held);
        wtable_settle(t, held);
        return;
    }
    if (held) t->stats.stale++;
    /* What is leaving already answers when it is gone; that it was preempted is of no interest any more. */
    for (wseq *s = wtable_closing(t, m->req); s; s = s->closing_before) {
        if (s->attempt > m->attempt) continue;
        s->attempt = m->attempt;
        s->tell_preempted = false;
        s->tell_closed = true;
        return;
    }
    send_plain(t, CTL_CLOSED, m->req, m->attempt);
}

void wtable_session(wtable *t, uint64_t epoch, uint64_t incarnation) {
    PRE(t);
    PRE((epoch == 0) == (incarnation == 0));
    t->epoch = epoch;
    t->incarnation = incarnation;
    if (t->role != ROLE_COLOCATED) {
        xfer_cmd c = {.kind = X_EPOCH, .id = {.epoch = epoch}};
        *(t->role == ROLE_PREFILL ? &c.id.p_inc : &c.id.d_inc) = incarnation;
        t->sink.xfer(t->sink.ctx, &c);
    }
    for (list_link *l = list_first(&t->closing); l; l = list_next(&t->closing, l))
        of_age(l)->tell_closed = of_age(l)->tell_preempted = false;
    while (t->live.count) wtable_close(t, of_age(list_last(&t->live)), false);
}

void wtable_post(wtable *t, wseq *s, xfer_cmd_kind kind) {
    PRE(s);
    PRE(kind != X_EPOCH);
    xfer_cmd c = {.kind = kind, .id = s->id};
    if (kind == X_OFFER || kind == X_EXPECT) {
        c.ids = s->ids;
        c.id_count = wseq_rows(s);
        c.pages = s->pages;
        c.page_count = s->page_count;
        s->xfer_known = true;
        *(kind == X_OFFER ? &c.rows_here : &c.token_begin) = s->hit_rows;
    }
    if (kind == X_SEAL) {
        c.first = s->first;
        c.finished = s->first.fin != FINISH_NONE;
    }
    if (kind == X_DROP) s->drop_posted = true;
    t->sink.xfer(t->sink.ctx, &c);
}

void wtable_dropped(wtable *t, uint64_t req) {
    PRE(t);
    /* Commands and events are in order, so the answer belongs to the oldest X_DROP of the request. */
    wseq *oldest = NULL;
    for (wseq *s = wtable_closing(t, req); s; s = s->closing_before)
        if (s->xfer_known) oldest = s;
    if (oldest) {
        oldest->xfer_known = false;
        wtable_settle(t, oldest);
        return;
    }
    wseq *s = wtable_find(t, req);
    if (!s || !s->drop_posted) return;
    s->xfer_known = s->drop_posted = false;
}

/* ---- slots and pages ---- */

bool wtable_take_slot(wtable *t, wseq *s) {
    PRE(s->phase != WSEQ_CLOSING);
    if (t->free_slot_count == 0) return false;
    count_in(t, &t->stats, s, -1);
    take_slot(t, s);
    count_in(t, &t->stats, s, 1);
    return true;
}

void wtable_leave_slot(wtable *t, wseq *s) {
    PRE(s->phase != WSEQ_CLOSING);
    if (s->slot == WSEQ_NO_SLOT) return;
    count_in(t, &t->stats, s, -1);
    if (s->open) {
        CHECK(t->left_slot_count <
              t->opt.max_seqs); /* each slot at most once: it opens in a job that closes it */
        t->left_slots[t->left_slot_count++] = s->slot;
    }
    t->free_slots[t->free_slot_count++] = s->slot;
    s->open = false;
    s->slot = WSEQ_NO_SLOT;
    count_in(t, &t->stats, s, 1);
}

bool wtable_grow(wtable *t, wseq *s, uint32_t rows) {
    PRE(!s->in_step);
    PRE(s->phase != WSEQ_CLOSING);
    return wpages_grow(&t->pages, s, rows);
}

void wtable_look_again(wtable *t, wseq *s) {
    PRE(s->phase == WSEQ_PROMPT);
    PRE(!s->open);
    PRE(!s->xfer_known);
    wpages_look_again(&t->pages, s);
}

void wtable_keep(wtable *t, wseq *s, uint32_t rows) {
    PRE(!s->in_step);
    PRE(s->phase != WSEQ_CLOSING);
    if (!s->open && !s->xfer_known) wpages_join(&t->pages, s, rows);
    wpages_keep(&t->pages, s, rows);
}

finish wtable_finish(const wtable *t, const wseq *s, int32_t id) {
    finish fin = sampling_finish(&s->params, t->opt.eog, t->opt.eog_count, id, s->output_count);
    if (fin == FINISH_NONE && wseq_rows(s) >= t->opt.max_context) fin = FINISH_LENGTH;
    return fin;
}

/* ---- what is told and checked ---- */

wcore_stats wtable_stats(const wtable *t) {
    PRE(t);
    wcore_stats st = t->stats;
    st.pages_used = wpages_used(&t->pages);
    st.pages_free = wpages_available(&t->pages);
    st.cache_queries = t->pages.queries;
    st.cache_hits = t->pages.hits;
    st.cache_pages = prefix_cache_idle(t->pages.cache);
    st.cache_evictions = prefix_cache_evictions(t->pages.cache);
    return st;
}

bool wtable_idle(const wtable *t) {
    return t->live.count == 0 && t->closing.count == 0;
}

static bool check_live(const wtable *t, uint32_t *users, uint32_t *slots) {
    wcore_stats st = {0};
    uint64_t age = 0;
    for (list_link *l = list_first(&t->live); l; l = list_next(&t->live, l)) {
        const wseq *s = of_age(l);
        if (s->phase == WSEQ_CLOSING || wtable_find(t, s->req) != s) return false;
        if (s->age < age) return false;
        age = s->age + 1;
        if (!wpages_count(&t->pages, s, users)) return false;
        *slots += s->slot != WSEQ_NO_SLOT;
        count_in(t, &st, s, 1);
    }
    return st.running == t->stats.running && st.waiting == t->stats.waiting && st.parked == t->stats.parked &&
           st.sends_pending == t->stats.sends_pending && u64_map_count(&t->live_of) == t->live.count;
}

static bool check_phases(const wtable *t) {
    uint32_t count = 0;
    for (wseq_phase phase = 0; phase < WSEQ_CLOSING; phase++) {
        uint64_t age = 0;
        bool replays = true;
        for (const wseq *s = wtable_first(t, phase); s; s = wtable_next(t, s)) {
            if (t->role == ROLE_PREFILL && replays && !wseq_is_replay(s)) age = 0; /* the others begin */
            replays = wseq_is_replay(s);
            if (s->phase != phase || (phase != WSEQ_PINNED && s->age < age)) return false;
            age = s->age + 1;
            count++;
        }
    }
    return count == t->live.count;
}

static bool check_closing(const wtable *t, uint32_t *users) {
    uint32_t coming = 0;
    for (list_link *l = list_first(&t->closing); l; l = list_next(&t->closing, l)) {
        const wseq *s = of_age(l), *found = wtable_closing(t, s->req);
        while (found && found != s) found = found->closing_before;
        if (s->phase != WSEQ_CLOSING || !found) return false;
        if (!s->in_step && !s->xfer_known) return false;
        if (!wpages_count(&t->pages, s, users)) return false;
        coming += s->coming_pages;
    }
    return coming == t->coming_pages && u64_map_count(&t->closing_of) <= t->closing.count;
}

bool wtable_check(const wtable *t) {
    PRE(t);
    uint32_t slots = 0;
    uint32_t *users = xcalloc(t->opt.page_count, sizeof *users);
    bool good = check_live(t, users, &slots) && check_phases(t) && check_closing(t, users) &&
                slots + t->free_slot_count == t->opt.max_seqs && wpages_check(&t->pages, users);
    free(users);
    return good;
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
