#include "coordinator/request_table.h"

#include "base/mem.h"
#include "coordinator/member.h"

#include <stddef.h>
#include <stdlib.h>

/* ---- the table ---- */

void request_table_init(request_table *t, const core_options *opt) {
    PRE(t);
    PRE(opt);
    PRE(opt->max_requests > 0);
    *t = (request_table){
        .opt = opt, .items = xcalloc(opt->max_requests, sizeof(request *)), .capacity = opt->max_requests};
    u64_map_init(&t->by_id, t->capacity);
    heap_init(&t->deadlines, t->capacity);
    for (uint32_t i = 0; i < LINE_COUNT; i++) {
        heap_init(&t->lines[i], 0);
        heap_init(&t->aside[i], 0);
    }
    fair_queue_init(&t->fair);
}

void request_table_done(request_table *t) {
    PRE(t);
    for (uint32_t i = 0; i < t->count; i++) request_free(t->items[i]);
    for (uint32_t i = 0; i < LINE_COUNT; i++) {
        heap_done(&t->lines[i]);
        heap_done(&t->aside[i]);
    }
    fair_queue_done(&t->fair);
    heap_done(&t->deadlines);
    u64_map_done(&t->by_id);
    free(t->items);
    *t = (request_table){0};
}

request *request_table_find(const request_table *t, uint64_t id) {
    PRE(t);
    return u64_map_get(&t->by_id, id);
}

void request_table_add(request_table *t, request *r) {
    PRE(t);
    PRE(r);
    PRE(t->count < t->capacity);
    u64_map_put(&t->by_id, r->id, r);
    r->slot = t->count;
    t->items[t->count++] = r;
    request_table_place(t, r);
}

/* ---- lines ---- */

static bool in_queue(request_line line) {
    return line == LINE_REPLAYS || line == LINE_NEW;
}

static uint64_t key_in(const request *r, request_line line) {
    return in_queue(line) ? request_queue_key(r) : r->id;
}

static void leave_line(request_table *t, request *r) {
    if (r->line == LINE_NONE) return;
    t->moved |= 1u << r->line;
    if (in_queue(r->line)) t->queued_tokens -= r->turn.cost;
    if (r->aside) heap_take(&t->aside[r->line], &r->turn.turn);
    if (r->line == LINE_NEW)
        fair_queue_take(&t->fair, &r->turn, request_state(r) == REQ_PREFILL);
    else if (!r->aside)
        heap_take(&t->lines[r->line], &r->turn.turn);
    r->line = LINE_NONE;
    r->aside = false;
}

static void enter_line(request_table *t, request *r, request_line line) {
    r->line = line;
    if (line == LINE_NONE) return;
    t->moved |= 1u << line;
    r->turn.cost = request_rows(r);
    if (in_queue(line)) t->queued_tokens += r->turn.cost;
    if (line == LINE_NEW)
        fair_queue_put(&t->fair, &r->turn, r->client, key_in(r, line), r->turn.cost);
    else
        heap_put(&t->lines[line], &r->turn.turn, key_in(r, line));
}

static request_line line_of(const request *r) {
    switch (request_state(r)) {
    case REQ_WAIT_PREFILL:
        return request_is_replay(r) ? LINE_REPLAYS : LINE_NEW;
    case REQ_PREFILL:
        if (r->decode || r->prefill->role != ROLE_PREFILL || request_ends_with_prefill(r) ||
            request_wants_prompt(r))
            return LINE_NONE;
        return LINE_COMPUTING;
    case REQ_WAIT_KV:
        return r->decode ? LINE_NONE : LINE_PARKED;
    case REQ_NEW:
    case REQ_DECODE:
    case REQ_DONE:
    case REQ_FAILED:
    case REQ_CANCELED:
        break;
    }
    return LINE_NONE;
}

static request *of_turn(heap_node *n) {
    return n ? (request *)((char *)n - offsetof(request, turn.turn)) : NULL;
}

request *request_table_first(const request_table *t, request_line line) {
    PRE(line < LINE_COUNT);
    if (line != LINE_NEW) return of_turn(heap_first(&t->lines[line]));
    fair_item *first = fair_queue_first(&t->fair);
    return first ? of_turn(&first->turn) : NULL;
}

void request_table_pass_over(request_table *t, request *r) {
    PRE(r->line != LINE_NONE);
    PRE(request_table_first(t, r->line) == r);
    if (r->line == LINE_NEW)
        fair_queue_hide(&t->fair, &r->turn);
    else
        heap_take(&t->lines[r->line], &r->turn.turn);
    r->aside = true;
    heap_put(&t->aside[r->line], &r->turn.turn, key_in(r, r->line));
}

void request_table_recall(request_table *t) {
    PRE(t);
    for (uint32_t i = 0; i < LINE_COUNT; i++) {
        for (request *r; (r = of_turn(heap_first(&t->aside[i])));) {
            heap_take(&t->aside[i], &r->turn.turn);
            t->moved |= 1u << i;
            r->aside = false;
            if (i == LINE_NEW)
                fair_queue_show(&t->fair, &r->turn, key_in(r, LINE_NEW));
            else
                heap_put(&t->lines[i], &r->turn.turn, key_in(r, (request_line)i));
        }
    }
}

uint32_t request_table_queued(const request_table *t) {
    PRE(t);
    return t->lines[LINE_REPLAYS].count + t->aside[LINE_REPLAYS].count + t->fair.count;
}

/* ---- deadlines ---- */

static uint64_t deadline_of(const core_options *opt, const request *r) {
    switch (request_state(r)) {
    case REQ_WAIT_PREFILL:
        return MIN(r->queue_since_ns + opt->wait_prefill_ns, r->log.count ? UINT64_MAX : r->leave_by_ns);
    case REQ_PREFILL:
        return MAX(r->sm.entered_ns[REQ_PREFILL] + opt->prefill_ns, r->grace_ns);
    case REQ_WAIT_KV:
        return MAX(r->kv_since_ns + opt->wait_kv_ns, r->grace_ns);
    case REQ_DECODE:
        return MAX(r->token_ns + opt->decode_token_ns, r->grace_ns);
    case REQ_NEW:
    case REQ_DONE:
    case REQ_FAILED:
    case REQ_CANCELED:
        break;
    }
    return UINT64_MAX;
}

/* Most turns need to know no more: no key is later than its deadline. */
static bool none_before(const request_table *t, uint64_t ns) {
    const heap_node *first = heap_first(&t->deadlines);
    return !first || first->key > ns;
}

static request *of_due(heap_node *n) {
    return n ? (request *)((char *)n - offsetof(request, due)) : NULL;
}

/* The first one whose key is its deadline, or whose key is later than until_ns. */
static request *first_due(request_table *t, uint64_t until_ns) {
    for (;;) {
        request *r = of_due(heap_first(&t->deadlines));
        if (!r || r->due.key > until_ns) return r;
        uint64_t deadline = deadline_of(t->opt, r);
        CHECK(deadline >= r->due.key);
        if (deadline == r->due.key) return r;
        heap_move(&t->deadlines, &r->due, deadline);
    }
}

bool request_table_is_due(const request_table *t, const request *r, uint64_t now_ns) {
    return now_ns >= deadline_of(t->opt, r);
}

int request_id_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Those that are due leave the heap one by one, so that the next is seen, and come back as they were. */
uint32_t request_table_due(request_table *t, uint64_t now_ns, uint64_t *out) {
    PRE(out);
    if (none_before(t, now_ns)) return 0;
    uint32_t count = 0;
    for (request *r; (r = first_due(t, now_ns)) && r->due.key <= now_ns;) {
        heap_take(&t->deadlines, &r->due);
        out[count++] = r->id;
    }
    if (!count) return 0;
    qsort(out, count, sizeof *out, request_id_compare);
    for (uint32_t i = 0; i < count; i++) request_table_place(t, request_table_find(t, out[i]));
    return count;
}

uint64_t request_table_next_ns(request_table *t, uint64_t limit_ns) {
    PRE(t);
    if (none_before(t, limit_ns)) return limit_ns;
    const request *r = first_due(t, limit_ns);
    return r ? MIN(r->due.key, limit_ns) : limit_ns;
}

/* ---- changes ---- */

void request_table_place(request_table *t, request *r) {
    PRE(t);
    PRE(r);
    request_line line = line_of(r);
    if (line != r->line) {
        leave_line(t, r);
        enter_line(t, r, line);
    }
    bool handing_over = request_state(r) == REQ_WAIT_KV;
    t->handing_over += handing_over;
    t->handing_over -= r->handing_over;
    r->handing_over = handing_over;
    uint64_t deadline = deadline_of(t->opt, r);
    if (!heap_has(&r->due))
        heap_put(&t->deadlines, &r->due, deadline);
    else if (deadline != r->due.key)
        heap_move(&t->deadlines, &r->due, deadline);
}

void request_table_remove(request_table *t, request *r) {
    PRE(t);
    PRE(r);
    CHECK(u64_map_take(&t->by_id, r->id) == r);
    leave_line(t, r);
    t->handing_over -= r->handing_over;
    heap_take(&t->deadlines, &r->due);
    request *last = t->items[--t->count];
    t->items[r->slot] = last;
    last->slot = r->slot;
}

bool request_table_check(const request_table *t) {
    PRE(t);
    uint32_t in_line = 0, placed = t->fair.count - t->aside[LINE_NEW].count;
    uint32_t handing_over = 0;
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const request *r = t->items[i];
        if (r->slot != i || request_table_find(t, r->id) != r || r->line != line_of(r)) return false;
        if (!heap_has(&r->due) || r->due.key > deadline_of(t->opt, r)) return false;
        if (heap_has(&r->turn.turn) != (r->line != LINE_NONE)) return false;
        if ((r->turn.client != NULL) != (r->line == LINE_NEW)) return false;
        in_line += r->line != LINE_NONE;
        handing_over += request_state(r) == REQ_WAIT_KV;
        if (in_queue(r->line)) tokens += request_rows(r);
    }
    for (uint32_t i = 0; i < LINE_COUNT; i++) {
        placed += t->lines[i].count + t->aside[i].count;
        if (!heap_check(&t->lines[i]) || !heap_check(&t->aside[i])) return false;
    }
    if (handing_over != t->handing_over) return false;
    if (!fair_queue_check(&t->fair) || tokens != t->queued_tokens) return false;
    return in_line == placed && t->deadlines.count == t->count && heap_check(&t->deadlines);
}
