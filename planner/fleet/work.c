/* The workers' part: what prefill_core.c, decode_core.c and colocated_core.c do with messages and steps, over
 * counts. Without a prefix cache. */
#include "planner/fleet/state.h"

#include "base/mem.h"
#include "base/mix.h"
#include "decode_worker/decode_policy.h"
#include "kv/kv_layout.h"
#include "prefill_worker/prefill_policy.h"

#include <math.h>
#include <stdlib.h>

void work_decide(fleet *f, fleet_decision_kind kind, uint32_t slot, uint32_t worker, uint32_t other,
                 uint32_t begin, uint32_t count) {
    if (!f->sink.decision) return;
    fleet_decision d = {.kind = kind,
                        .at_ns = f->now_ns,
                        .req = slot == SLOT_NONE ? UINT64_MAX : f->slab[slot].out.index,
                        .worker = worker,
                        .other = other,
                        .begin = begin,
                        .count = count};
    f->sink.decision(f->sink.ctx, &d);
}

static uint32_t number_of(const fleet *f, const fworker *w) {
    return (uint32_t)(w - f->workers);
}

static void say(fleet *f, const fworker *w, const fmail *what) {
    FLEET_GROW(f->mail, f->mail_count, f->mail_capacity, 16);
    fmail *l = &f->mail[f->mail_count++];
    *l = *what;
    l->worker = number_of(f, w);
    l->free_pages = w->free_pages;
}

static void add_token(fleet *f, uint32_t slot, bool first, bool last) {
    FLEET_GROW(f->tokens, f->token_count, f->token_capacity, 64);
    f->tokens[f->token_count++] = (ftoken){.slot = slot, .first = first, .last = last};
}

void work_take_pages(fworker *w, uint32_t pages) {
    CHECK(pages <= w->free_pages);
    w->free_pages -= pages;
    w->pages_most = MAX(w->pages_most, w->pages - w->free_pages);
}

static void put_pages(fworker *w, uint32_t pages) {
    w->free_pages += pages;
    CHECK(w->free_pages <= w->pages);
}

static uint32_t decoding(const fworker *w) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->lane_count; i++) n += w->lanes[i].running.count;
    return n;
}

/* The one with the fewest. */
static uint32_t lane_for(const fworker *w) {
    uint32_t best = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < w->lane_count; i++) {
        uint32_t n = w->lanes[i].running.count + w->lanes[i].prompts.count;
        if (n < least) best = i, least = n;
    }
    return best;
}

/* ---- who loses its place ---- */

static void preempt_running(fleet *f, fworker *w, lane *l, uint32_t slot) {
    uint32_t pages = lane_pages(l, &f->slab[slot]);
    lane_leave(f, l, slot);
    put_pages(w, pages);
    say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
}

static void preempt_prompt(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    chain_take(f, &w->lanes[r->lane].prompts, BY_PROMPT, slot);
    put_pages(w, r->p_pages);
    say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
}

/* The transfer lets go of the pages first, unless the KV is there. */
static void preempt_expected(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    chain_take(f, &w->expected, BY_DECODE, slot);
    r->expected = false;
    r->awaited = 0;
    if (r->arrived) {
        r->arrived = false;
        put_pages(w, r->d_pages);
        say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
        return;
    }
    w->coming_pages += r->d_pages;
    r->awaited = fleet_post(
        f, &(fevent){.at_ns = f->now_ns, .kind = FEV_DROPPED, .worker = number_of(f, w), .slot = slot});
}

static void preempt(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    work_decide(f, FLEET_PREEMPT, slot, number_of(f, w), SLOT_NONE, 0, 0);
    if (w->role == ROLE_COLOCATED && !r->end_place)
        preempt_prompt(f, w, slot);
    else if (!r->end_place)
        preempt_expected(f, w, slot);
    else
        preempt_running(f, w, &w->lanes[r->lane], slot);
}

/* ---- decode rows of a step ---- */

static void scratch_for(fleet *f, uint32_t count) {
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

static int older(const void *a, const void *b, void *fl) {
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
    qsort_r(f->slots, count, sizeof *f->slots, older, f);
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
    scratch_for(f, w->max_seqs);
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
    work_decide(f, FLEET_ROWS, slot, number_of(f, w), SLOT_NONE, rows - 1, 1);
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
        if (f->verdicts[i] == BATCH_PREEMPT) preempt(f, w, f->slots[i]);
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
    scratch_for(f, MIN(queue->count, most));
    /* What is left of a budget below a page's rows may still serve short prompts, so many at most. */
    for (uint32_t s = queue->first; s != SLOT_NONE && count < most && more; s = f->slab[s].next[BY_PROMPT]) {
        const freq *r = &f->slab[s];
        if (r->in_step) continue;
        f->slots[count] = s;
        f->prompts[count++] = (batch_prompt){.done = r->rows_done, .total = freq_rows(r)};
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
        /* A last row behind the prompt is a generated one, for engines and for their models. */
        if (k->count == 1 && k->begin >= f->slab[slot].out.prompt_tokens)
            latency_add_decode(&l->sums, k->begin + 1);
        else
            latency_add_chunk(&l->sums, k->begin, k->count);
        work_decide(f, FLEET_ROWS, slot, number_of(f, w), SLOT_NONE, k->begin, k->count);
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
    uint64_t key = mix64(f->opt.seed * MIX64_STEP + number_of(f, w) + 1) + 2 * step * MIX64_STEP;
    double z = sqrt(-2 * log(uniform(key))) * cos(2 * M_PI * uniform(key + MIX64_STEP));
    return exp((prefill ? w->prefill_mu : w->decode_mu) + sigma * z);
}

static double slowdown(const fleet *f, const profile_engine *e, bool prefill) {
    if (!f->slows) return 1;
    if (prefill) return 1 + f->busy[0] * e->slowed_by_prefill + f->busy[1] * e->slowed_by_decode;
    return 1 + f->busy[0] * e->decode_slowed_by_prefill + f->busy[1] * e->decode_slowed_by_decode;
}

uint64_t work_span_ns(const fleet *f, const fworker *w, const latency_step *s, uint64_t step, bool *covered) {
    bool prefill = s->chunks > 0;
    double ns = profile_step_ns(w->engine, s, covered);
    ns *= slowdown(f, w->engine, prefill) * noise(f, w, prefill, step);
    return ns >= 1 ? (uint64_t)llround(MIN(ns, 1e18)) : 0;
}

static void outside(fleet *f, const fworker *w, const latency_step *s) {
    f->totals.steps_outside++;
    if (f->opt.extrapolate || f->failed != ST_OK) return;
    const step_cost *p = &w->engine->prefill, *d = &w->engine->decode;
    f->failed = errf(
        &f->why, ST_INVALID,
        "a step of %s with %llu prompt tokens (sum of squares %llu) and %u sequences of %llu "
        "tokens is outside of the profile's grid: prefill %g..%g (to %g), decode %g..%g (to %g); "
        "measure more, or allow extrapolation",
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
    uint64_t span = work_span_ns(f, w, &l->sums, w->begun++, &covered);
    if (!covered) outside(f, w, &l->sums);
    l->begin_ns = f->now_ns + (follows ? w->gap_ns : 0);
    l->end_ns = l->begin_ns + span;
    l->prefill_order = w->role == ROLE_PREFILL ? ++f->numbers : 0;
    if (w->lane_count > 1) {
        l->end_ns = pass_stages(w, l->begin_ns, span);
        fleet_post(f, &(fevent){.at_ns = MAX(w->stage_free_ns[0], f->now_ns),
                                .kind = FEV_STAGE,
                                .worker = number_of(f, w)});
    }
    l->busy = true;
    f->busy[l->sums.chunks == 0]++;
    work_decide(f, FLEET_STEP, SLOT_NONE, number_of(f, w), SLOT_NONE, 0, 0);
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
static void turn(fleet *f, fworker *w, bool follows) {
    for (uint32_t i = 0; i < w->lane_count; i++) {
        if (w->lane_count > 1 && w->stage_free_ns[0] > f->now_ns) return;
        if (!w->lanes[i].busy) form(f, w, &w->lanes[i], follows);
    }
}

/* ---- the end of a step ---- */

/* Each row gave a token: told one by one where somebody listens. */
static void tell_rows(fleet *f, const lane *l) {
    uint32_t skipped = 0;
    for (uint32_t s = l->running.first; s != SLOT_NONE; s = f->slab[s].next[BY_DECODE]) {
        const freq *r = &f->slab[s];
        if (skipped < l->skip_count && l->skipped[skipped] == s) {
            skipped++;
            continue;
        }
        if (lane_rows(l, r) == r->joined_rows) continue; /* it came during the step */
        if (r->last_at > l->counter)
            add_token(f, s, false, false);
        else
            add_token(f, s, false, true);
    }
}

static void end_rows(fleet *f, fworker *w, lane *l) {
    gaps_step(f, l, l->end_ns);
    l->counter++;
    for (uint32_t i = 0; i < l->skip_count; i++) lane_hold_back(f, l, l->skipped[i]);
    if (f->sink.token) tell_rows(f, l);
    uint32_t count = 0;
    for (uint32_t s; (s = lane_ended(l)) != SLOT_NONE; count++) {
        scratch_for(f, count + 1);
        f->slots[count] = s;
        uint32_t pages = lane_pages(l, &f->slab[s]);
        lane_leave(f, l, s);
        f->slab[s].key[BY_PROMPT] = f->slab[s].key[BY_DECODE]; /* older() asks for it */
        put_pages(w, pages);
    }
    if (count > 1) qsort_r(f->slots, count, sizeof *f->slots, older, f);
    for (uint32_t i = 0; i < count && !f->sink.token; i++) add_token(f, f->slots[i], false, true);
}

static void end_part(fleet *f, fworker *w, lane *l, const lane_part *part, double *together_ns) {
    freq *r = &f->slab[part->slot];
    bool last = r->emitted + 1 >= r->out.output_tokens;
    r->in_step = false;
    r->rows_done += part->count;
    r->computed = part->last;
    if (w->role == ROLE_PREFILL) link_computed(f, part->slot, part->count, l->begin_ns, together_ns);
    if (!part->last) return;
    r->emitted++;
    gaps_token(f, r, f->now_ns);
    chain_take(f, w->role == ROLE_PREFILL ? &w->prompts : &l->prompts, BY_PROMPT, part->slot);
    if (w->role == ROLE_COLOCATED && last) put_pages(w, r->p_pages);
    if (w->role == ROLE_COLOCATED && !last) {
        r->key[BY_DECODE] = r->key[BY_PROMPT];
        lane_join(f, l, part->slot, freq_rows(r) + 1);
    }
    add_token(f, part->slot, true, last);
}

void work_count_step(fleet *f, const lane *l, uint64_t end_ns) {
    fleet_worker_totals *t = &f->workers[l->worker].totals;
    uint64_t span = end_ns - l->begin_ns;
    t->steps++;
    t->busy_ns += span;
    *(l->sums.batch == 0 ? &t->prefill_ns : l->sums.chunks == 0 ? &t->decode_ns : &t->mixed_ns) += span;
    f->totals.steps++;
    if (f->sink.step) f->sink.step(f->sink.ctx, l->worker, l->begin_ns, end_ns, &l->sums);
}

void work_step_end(fleet *f, lane *l) {
    fworker *w = &f->workers[l->worker];
    bool told = l->decodes;
    double together_ns = 0;
    plan_finish(f, l);
    fleet_step_take(f, l);
    work_count_step(f, l, l->end_ns);
    f->busy[l->sums.chunks == 0]--;
    l->busy = false;
    if (l->decodes) end_rows(f, w, l);
    for (uint32_t i = 0; i < l->part_count; i++) end_part(f, w, l, &l->parts[i], &together_ns);
    if (f->token_count)
        say(f, w, &(fmail){.kind = FMAIL_TOKENS, .count = f->token_count});
    else if (told)
        desk_told(f, l->worker, w->free_pages);
    turn(f, w, true);
}

/* ---- messages ---- */

static void on_prefill(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->key[BY_PROMPT] = w->next_age++;
    if (w->role == ROLE_PREFILL) {
        work_take_pages(w, r->p_pages); /* the desk counts what P has exactly, so there is always room */
        chain_add(f, &w->prompts, BY_PROMPT, slot);
    } else {
        uint32_t headroom = kv_pool_headroom(w->pages, decoding(w));
        if ((uint64_t)r->p_pages + headroom > w->free_pages) {
            say(f, w, &(fmail){.kind = FMAIL_NO_ROOM, .slot = slot});
            return;
        }
        work_take_pages(w, r->p_pages);
        r->lane = lane_for(w);
        chain_add(f, &w->lanes[r->lane].prompts, BY_PROMPT, slot);
        plan_cut(f, &w->lanes[r->lane]);
    }
    turn(f, w, false);
}

static void on_reserve(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->d_pages = kv_pages_for(freq_rows(r) + 1);
    uint32_t headroom = kv_pool_headroom(w->pages, decoding(w));
    if ((uint64_t)r->d_pages + headroom > w->free_pages) {
        say(f, w, &(fmail){.kind = FMAIL_NO_ROOM, .slot = slot});
        return;
    }
    work_take_pages(w, r->d_pages);
    if (w->lanes[0].plan_pages > w->free_pages) plan_cut(f, &w->lanes[0]);
    r->key[BY_DECODE] = w->next_age++;
    r->expected = true;
    r->arrived = false;
    chain_add(f, &w->expected, BY_DECODE, slot);
    say(f, w, &(fmail){.kind = FMAIL_RESERVED, .slot = slot});
    link_dest(f, slot);
}

static void join(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    chain_take(f, &w->expected, BY_DECODE, slot);
    r->expected = r->arrived = false;
    r->awaited = 0;
    r->lane = lane_for(w);
    plan_cut(f, &w->lanes[r->lane]);
    lane_join(f, &w->lanes[r->lane], slot, freq_rows(r) + 1);
}

static void on_verified(fleet *f, fworker *w, const fevent *e) {
    freq *r = &f->slab[e->slot];
    r->arrived = true;
    say(f, w, &(fmail){.kind = FMAIL_VERIFIED, .slot = e->slot});
    if (!f->handoff_ns) {
        join(f, w, e->slot);
        return;
    }
    r->awaited = fleet_post(
        f, &(fevent){
               .at_ns = f->now_ns + f->handoff_ns, .kind = FEV_JOIN, .worker = e->worker, .slot = e->slot});
}

static void on_dropped(fleet *f, fworker *w, uint32_t slot) {
    freq *r = &f->slab[slot];
    r->awaited = 0;
    w->coming_pages -= r->d_pages;
    put_pages(w, r->d_pages);
    say(f, w, &(fmail){.kind = FMAIL_PREEMPTED, .slot = slot});
}

void work_event(fleet *f, const fevent *e) {
    fworker *w = &f->workers[e->worker];
    plan_catch_up(f, &w->lanes[0]);
    bool current = e->slot < f->slab_size && f->slab[e->slot].awaited == e->number;
    switch (e->kind) {
    case FEV_PREFILL:
        on_prefill(f, w, e->slot);
        return;
    case FEV_RESERVE:
        on_reserve(f, w, e->slot);
        break;
    case FEV_RELEASE:
        put_pages(w, e->slot);
        say(f, w, &(fmail){.kind = FMAIL_CLOSED, .req = e->req, .attempt = e->attempt});
        break;
    case FEV_VERIFIED:
        if (current) on_verified(f, w, e);
        break;
    case FEV_JOIN:
        if (current) join(f, w, e->slot);
        break;
    case FEV_DROPPED:
        if (current) on_dropped(f, w, e->slot);
        break;
    case FEV_DESTS:
        link_send(f, w);
        return;
    case FEV_STAGE:
        turn(f, w, true);
        return;
    }
    turn(f, w, false);
}
