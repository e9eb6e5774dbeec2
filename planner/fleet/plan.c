/* Several decode steps at once. Nothing but a message can change the batch of a lane until its first sequence
 * ends or pages are short, so the ends of its next steps are computed ahead and only the last one is an
 * event. Whoever looks at the lane before that first catches up: the steps that have ended by then are told,
 * one by one. A message that changes the batch cuts the plan behind the step that runs.
 *
 * At equal times ends of steps come before events, and among themselves by lane; see events.c. */
#include "planner/fleet/state.h"

#include "base/mem.h"

#define PLAN_LEAST 4u
#define PLAN_MOST  256u

/* After a change of the plan. */
static void set_due(const fleet *f, const lane *l) {
    f->due_ns[l->number] = l->plan_done + 1 < l->plan_count ? l->planned[l->plan_done] : FLEET_NEVER;
}

void plan_make(fleet *f, lane *l) {
    fworker *w = &f->workers[l->worker];
    l->plan_count = l->plan_done = l->plan_pages = 0;
    if (!f->plans || f->again || w->lane_count > 1 || !l->decodes || l->part_count || l->prompts.count ||
        l->skip_count)
        return;
    if (l->end_ns == f->now_ns) return; /* it ends behind what happens now, which may look at the lane */
    uint64_t left = lane_next_end(l) - l->counter;
    uint32_t most = (uint32_t)MIN(left, MAX(l->plan_length, PLAN_LEAST)), free_pages = w->free_pages;
    if (most < 2) return;
    FLEET_GROW(l->planned, most, l->plan_capacity, PLAN_MOST + 1);
    l->planned[l->plan_count++] = l->end_ns;
    latency_step s = l->sums;
    for (uint32_t i = 1; i < most; i++) {
        uint32_t pages = lane_need(l, i);
        if (pages > free_pages || l->planned[i - 1] >= (uint64_t)FLEET_HORIZON_NS) break;
        s.context += s.batch;
        bool covered = true;
        uint64_t span = form_span_ns(f, w, &s, w->begun - 1 + i, &covered);
        if (!covered) break;
        free_pages -= pages;
        l->plan_pages += pages;
        l->planned[i] = l->planned[i - 1] + w->gap_ns + span;
        l->plan_count++;
    }
    l->end_ns = l->planned[l->plan_count - 1];
    l->plan_length = MIN(2 * MAX(l->plan_length, PLAN_LEAST), PLAN_MOST);
    set_due(f, l);
}

/* The running step ends and the next one begins, as work_step_end and its turn would do it. */
static void next_step(fleet *f, lane *l) {
    fworker *w = &f->workers[l->worker];
    uint64_t end_ns = l->planned[l->plan_done++];
    work_count_step(f, l, end_ns);
    gaps_step(f, l, end_ns);
    l->counter++;
    desk_told(f, l->worker, w->free_pages);
    uint32_t pages = lane_need(l, 0);
    work_take_pages(w, pages);
    l->plan_pages -= pages;
    l->sums.context += l->sums.batch;
    l->begin_ns = end_ns + w->gap_ns;
    w->begun++;
    set_due(f, l);
}

static bool has_ended(const fleet *f, uint32_t number) {
    uint64_t end_ns = f->due_ns[number];
    return end_ns < f->now_ns || (end_ns == f->now_ns && number < f->at_lane);
}

void plan_catch_up(fleet *f, lane *l) {
    while (has_ended(f, l->number)) next_step(f, l);
}

void plan_catch_up_all(fleet *f) {
    if (!f->plans) return;
    for (uint32_t i = 0; i < f->lane_count; i++)
        while (has_ended(f, i)) next_step(f, f->lanes[i]);
}

void plan_finish(fleet *f, lane *l) {
    while (l->plan_done + 1 < l->plan_count) next_step(f, l);
    l->plan_count = l->plan_done = 0;
}

void plan_cut(fleet *f, lane *l) {
    if (l->plan_done + 1 >= l->plan_count) return;
    l->plan_length = MAX(2 * (l->plan_done + 1), PLAN_LEAST);
    l->plan_count = l->plan_done + 1;
    l->plan_pages = 0;
    l->end_ns = l->planned[l->plan_done];
    set_due(f, l);
    fleet_step_put(f, l);
}
