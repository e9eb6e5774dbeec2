/* How a worker forms its next step: what the policies of the roles say, over counts; and how long it takes.
 *
 * While each sequence gets its row and pages are not short, the policies' answer is known without asking, and
 * a step costs the same however large the batch is. Else they are asked, as the role cores do. */
#include "planner/fleet/state.h"

#include "base/mem.h"
#include "base/mix.h"
#include "decode_worker/decode_policy.h"
#include "kv/kv_layout.h"
#include "prefill_worker/prefill_policy.h"

#include <math.h>
#include <stdlib.h>

/* ---- decode rows of a step ---- */

void form_scratch(fleet *f, uint32_t count) {
    if (count <= f->scratch) return;
    f->scratch = MAX(2 * f->scratch, count);
    f->slots = xrealloc(f->slots, f->scratch, sizeof *f->slots);
    f->rows = xrealloc(f->rows, f->scratch, sizeof *f->rows);
    f->verdicts = xrealloc(f->verdicts, f->scratch, sizeof *f->verdicts);
    f->prompts = xrealloc(f->prompts, f->scratch, sizeof *f->prompts);
    f->chunks = xrealloc(f->chunks, f->scratch, sizeof *f->chunks);
}

static uint32_t needs_page(const lane *l, const freq *r) {
    return kv_pages_for(lane_rows(l, r)) > lane_pages(l, r);
}

/* The age that counts among those that may lose their place. */
static uint64_t age_of(const freq *r) {
    return r->key[r->end_place ? BY_DECODE : BY_PROMPT];
}

int form_older(const void *a, const void *b, void *fl) {
    const fleet *f = fl;
    uint64_t x = age_of(&f->slab[*(const uint32_t *)a]), y = age_of(&f->slab[*(const uint32_t *)b]);
    return (x > y) - (x < y);
}

static void add_slots(const fleet *f, const chain *c, chain_kind by, uint32_t *count) {
    for (uint32_t s = c->first; s != SLOT_NONE; s = f->slab[s].next[by]) f->slots[(*count)++] = s;
}

/* Whoever could give pages back: all of the lanes that are not in a step, oldest first, then a D's
 * reservations. */
static uint32_t add_all(fleet *f, const fworker *w) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->lane_count; i++) {
        if (w->lanes[i].busy) continue;
        add_slots(f, &w->lanes[i].running, BY_DECODE, &count);
        add_slots(f, &w->lanes[i].prompts, BY_PROMPT, &count);
    }
    qsort_r(f->slots, count, sizeof *f->slots, form_older, f);
    add_slots(f, &w->expected, BY_DECODE, &count);
    return count;
}

static batch_row row_of(const fworker *w, const lane *l, const freq *r) {
    const lane *of = &w->lanes[r->lane];
    if (r->end_place)
        return (batch_row){.wants_row = of == l,
                           .needs_page = of == l && needs_page(l, r),
                           .pages = lane_pages(of, r),
                           .frees_now = true};
    if (w->role == ROLE_DECODE) return (batch_row){.pages = r->d_pages, .frees_now = r->arrived};
    return (batch_row){.pages = r->p_pages, .frees_now = true};
}

/* The sequences of the lane, oldest first; where they need more pages than are free, with all others that
 * could give some back. */
static uint32_t gather(fleet *f, fworker *w, lane *l) {
    uint32_t count = 0;
    form_scratch(f, w->max_seqs);
    if (lane_need(l, 0) > w->free_pages)
        count = add_all(f, w);
    else
        add_slots(f, &l->running, BY_DECODE, &count);
    for (uint32_t i = 0; i < count; i++) f->rows[i] = row_of(w, l, &f->slab[f->slots[i]]);
    return count;
}

static void skip(lane *l, uint32_t slot) {
    FLEET_GROW(l->skipped, l->skip_count, l->skip_capacity, 16);
    l->skipped[l->skip_count++] = slot;
}

static void add_row(fleet *f, fworker *w, lane *l, uint32_t slot) {
    const freq *r = &f->slab[slot];
    uint32_t rows = lane_rows(l, r);
    if (needs_page(l, r)) work_take_pages(w, 1);
    latency_add_decode(&l->sums, rows);
    work_decide(f, FLEET_ROWS, slot, work_number(f, w), SLOT_NONE, rows - 1, 1);
}

/* Somebody gets no row, or pages are short. */
static uint32_t add_rows_by_policy(fleet *f, fworker *w, lane *l, uint32_t max_rows) {
    uint32_t wanted = l->running.count, count = gather(f, w, l), used = 0;
    batch_limits limits = {.free_pages = w->free_pages,
                           .coming_pages = w->coming_pages,
                           .first = l->first,
                           .max_rows = max_rows};
    if (w->role == ROLE_DECODE) {
        l->first = decode_policy_form(f->rows, count, &limits, f->verdicts);
    } else {
        batch_rows(f->rows, count, &limits, f->verdicts);
        l->first = wanted > max_rows ? (l->first + max_rows) % wanted : 0;
    }
    for (uint32_t i = count; i-- > 0;)
        if (f->verdicts[i] == BATCH_PREEMPT) work_preempt(f, w, f->slots[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (f->verdicts[i] == BATCH_ROW) {
            add_row(f, w, l, f->slots[i]);
            used++;
        } else if (f->verdicts[i] == BATCH_WAIT && f->rows[i].wants_row) {
            skip(l, f->slots[i]);
        }
    }
    return used;
}

/* Returns how many rows there are. */
static uint32_t add_decodes(fleet *f, fworker *w, lane *l, uint32_t max_rows) {
    uint32_t count = l->running.count, pages = lane_need(l, 0), used = count;
    if (count > max_rows || pages > w->free_pages) {
        used = add_rows_by_policy(f, w, l, max_rows);
    } else if (f->sink.decision) {
        for (uint32_t s = l->running.first; s != SLOT_NONE; s = f->slab[s].next[BY_DECODE])
            add_row(f, w, l, s);
        l->first = 0;
    } else {
        work_take_pages(w, pages);
        l->sums.batch = count;
        l->sums.context = lane_context(l);
        l->first = 0;
    }
    if (!used) {
        l->skip_count = 0;
        return 0;
    }
    l->decodes = true;
    l->ahead = 0;
    return used;
}

/* ---- chunks of a step ---- */

static void add_chunks(fleet *f, fworker *w, lane *l, const chain *queue, uint32_t budget, uint32_t most) {
    uint32_t count = 0, more = 16;
    uint64_t rows = 0;
    uint32_t slots = w->role == ROLE_PREFILL ? w->max_seqs - w->slots : UINT32_MAX;
    form_scratch(f, MIN(queue->count, most));
    /* What is left of a budget below a page's rows may still serve short prompts, so many at most. */
    for (uint32_t s = queue->first; s != SLOT_NONE && count < most && more; s = f->slab[s].next[BY_PROMPT]) {
        const freq *r = &f->slab[s];
        if (r->in_step) continue;
        if (r->rows_done == 0) {
            if (slots == 0) continue; /* a replay before prompts that have them all */
            slots--;
        }
        f->slots[count] = s;
        f->prompts[count++] =
            (batch_prompt){.done = r->rows_done, .total = freq_rows(r), .replay = freq_is_replay(r)};
        more -= rows >= budget;
        rows += MIN(freq_rows(r) - r->rows_done, w->shape->chunk_tokens);
    }
    if (!count) return;
    uint32_t chunks;
    if (w->role == ROLE_PREFILL) {
        prefill_limits limits = {
            .max_rows = budget, .chunk_tokens = w->shape->chunk_tokens, .max_seqs = w->max_seqs};
        chunks = prefill_policy_form(f->prompts, count, &limits, f->chunks);
    } else {
        chunks = batch_chunks(f->prompts, count, budget, w->shape->chunk_tokens, f->chunks);
    }
    for (uint32_t i = 0; i < chunks; i++) {
        const batch_chunk *k = &f->chunks[i];
        uint32_t slot = f->slots[k->index];
        FLEET_GROW(l->parts, l->part_count, l->part_capacity, 4);
        l->parts[l->part_count++] =
            (lane_part){.slot = slot, .begin = k->begin, .count = k->count, .last = k->last};
        f->slab[slot].in_step = true;
        if (w->role == ROLE_PREFILL && k->begin == 0) {
            w->slots++;
            f->slab[slot].offer = w->offers++;
        }
        /* A last row behind the prompt is a generated one, for engines and for their models. */
        if (k->count == 1 && k->begin >= f->slab[slot].out.prompt_tokens)
            latency_add_decode(&l->sums, k->begin + 1);
        else
            latency_add_chunk(&l->sums, k->begin, k->count);
        work_decide(f, FLEET_ROWS, slot, work_number(f, w), SLOT_NONE, k->begin, k->count);
    }
}

/* ---- the step ---- */

static double uniform(uint64_t x) {
    return ((double)(mix64(x) >> 11) + 0.5) * 0x1p-53;
}

/* Of mean 1, drawn by (seed, worker, step): Box and Muller. */
static double noise(const fleet *f, const fworker *w, bool prefill, uint64_t step) {
    double sigma = prefill ? w->prefill_sigma : w->decode_sigma;
    if (sigma == 0) return 1;
    uint64_t key = mix64(f->opt.seed * MIX64_STEP + work_number(f, w) + 1) + 2 * step * MIX64_STEP;
    double z = sqrt(-2 * log(uniform(key))) * cos(2 * M_PI * uniform(key + MIX64_STEP));
    return exp((prefill ? w->prefill_mu : w->decode_mu) + sigma * z);
}

static double slowdown(const fleet *f, const profile_engine *e, bool prefill) {
    if (!f->slows) return 1;
    if (prefill) return 1 + f->busy[0] * e->slowed_by_prefill + f->busy[1] * e->slowed_by_decode;
    return 1 + f->busy[0] * e->decode_slowed_by_prefill + f->busy[1] * e->decode_slowed_by_decode;
}

uint64_t form_span_ns(const fleet *f, const fworker *w, const latency_step *s, uint64_t step, bool *covered) {
    bool prefill = s->chunks > 0;
    double ns = profile_step_ns(w->engine, s, covered);
    ns *= slowdown(f, w->engine, prefill) * noise(f, w, prefill, step);
    return ns >= 1 ? (uint64_t)llround(MIN(ns, FLEET_SPAN_NS)) : 0;
}

static void outside(fleet *f, const fworker *w, const latency_step *s) {
    f->totals.steps_outside++;
    if (f->opt.extrapolate || f->failed != ST_OK) return;
    const step_cost *p = &w->engine->prefill, *d = &w->engine->decode;
    f->failed = errf(
        &f->why, ST_INVALID,
        "a step of %s with %llu prompt tokens (sum of squares %llu) and %u sequences of %llu "
        "tokens is outside of the profile's grid: prefill %g..%g (to %g), decode %g..%g (to %g); "
        "measure more, or give --extrapolate",
        worker_role_name(w->role), (unsigned long long)s->tokens, (unsigned long long)s->squares, s->batch,
        (unsigned long long)s->context, p->x_min, p->x_max, p->y_max, d->x_min, d->x_max, d->y_max);
}

/* Through the stages, none of which has two steps at once; each takes span_ns, as the profile has it. Returns
 * the end. */
static uint64_t pass_stages(fworker *w, uint64_t begin_ns, uint64_t span_ns) {
    uint64_t at = begin_ns;
    for (uint32_t i = 0; i < w->lane_count; i++) {
        at = MAX(at, w->stage_free_ns[i]) + span_ns;
        w->stage_free_ns[i] = at;
    }
    return at;
}

static void begin(fleet *f, fworker *w, lane *l, bool follows) {
    bool covered = true;
    uint64_t span = form_span_ns(f, w, &l->sums, w->begun++, &covered);
    if (!covered) outside(f, w, &l->sums);
    l->begin_ns = f->now_ns + (follows ? w->gap_ns : 0);
    l->end_ns = l->begin_ns + span;
    l->prefill_order = w->role == ROLE_PREFILL ? ++f->numbers : 0;
    if (w->lane_count > 1) {
        l->end_ns = pass_stages(w, l->begin_ns, span);
        fleet_post(f, &(fevent){.at_ns = MAX(w->stage_free_ns[0], f->now_ns),
                                .kind = FEV_STAGE,
                                .worker = work_number(f, w)});
    }
    l->busy = true;
    f->busy[l->sums.chunks == 0]++;
    work_decide(f, FLEET_STEP, SLOT_NONE, work_number(f, w), SLOT_NONE, 0, 0);
    plan_make(f, l);
    fleet_step_put(f, l);
}

static void form(fleet *f, fworker *w, lane *l, bool follows) {
    l->sums = (latency_step){0};
    l->part_count = l->skip_count = 0;
    l->decodes = false;
    switch (w->role) {
    case ROLE_PREFILL:
        if (w->prompts.count) add_chunks(f, w, l, &w->prompts, w->shape->max_rows, w->max_seqs);
        break;
    case ROLE_DECODE:
        if (l->running.count) add_decodes(f, w, l, w->shape->max_rows);
        break;
    case ROLE_COLOCATED: {
        uint32_t running = l->running.count, waiting = l->prompts.count, rows = w->shape->max_rows, used = 0;
        if (!running && !waiting) return;
        colocated_policy policy =
            f->opt.placement->prefill_first ? COLOCATED_PREFILL_FIRST : COLOCATED_CHUNKED;
        colocated_split split = colocated_policy_divide(policy, running, waiting, rows);
        if (split.decode_rows) used = add_decodes(f, w, l, split.decode_rows);
        if (split.prompts && rows > used) add_chunks(f, w, l, &l->prompts, rows - used, rows - used);
        break;
    }
    case ROLE_COUNT:
        break;
    }
    if (l->decodes || l->part_count) begin(f, w, l, follows);
}

/* One turn of its loop. follows: behind a step, so that the loop's own time passes first. */
void form_steps(fleet *f, fworker *w, bool follows) {
    for (uint32_t i = 0; i < w->lane_count; i++) {
        if (w->lane_count > 1 && w->stage_free_ns[0] > f->now_ns) return;
        if (!w->lanes[i].busy) form(f, w, &w->lanes[i], follows);
    }
}
