/* The pair channels: who is connected with whom, and the frames on their way. A lost one is noticed at both
 * ends. */
#include "sim/sim_world.h"

#include <stdio.h>

sim_pair *sim_pair_open(sim_proc *p, const kv_identity *id, const char *endpoint) {
    PRE(endpoint);
    sim *s = p->sim;
    unsigned d = 0, life = 0;
    if (sscanf(endpoint, "sim://%u/%u", &d, &life) != 2 || d >= s->proc_count) return NULL;
    if (!s->procs[d]->alive || s->procs[d]->life != life) return NULL;
    for (uint32_t i = 0; i < s->pair_count; i++) {
        sim_pair *q = s->pairs[i];
        if (q->open && q->p_inc == id->p_inc && q->d_inc == id->d_inc) return q;
    }
    sim_pair *q = xcalloc(1, sizeof *q);
    *q = (sim_pair){.p_worker = p->index,
                    .p_life = p->life,
                    .d_worker = d,
                    .d_life = life,
                    .p_inc = id->p_inc,
                    .d_inc = id->d_inc,
                    .open = true,
                    .credits = s->opt.pair_slots,
                    .credit_ns = s->now_ns};
    SIM_GROW(s->pairs, s->pair_count, s->pair_capacity);
    s->pairs[s->pair_count++] = q;
    p->xfer.pairs_opened++;
    return q;
}

void sim_pair_end(sim *s, sim_pair *pr) {
    PRE(pr);
    if (!pr->open) return;
    pr->open = false;
    sim_proc *ends[] = {s->procs[pr->p_worker], s->procs[pr->d_worker]};
    uint32_t lives[] = {pr->p_life, pr->d_life};
    for (int i = 0; i < 2; i++) {
        if (!ends[i]->alive || ends[i]->life != lives[i]) continue;
        sim_post(s, s->now_ns + sim_delay(s, s->opt.frame_ns), EV_PAIR_LOST, ends[i])->pair = pr;
    }
}

void sim_pair_check(sim_proc *p, sim_pair *pr) {
    PRE(pr->check_due);
    sim *s = p->sim;
    pr->check_due = false;
    if (!pr->open || pr->credits == s->opt.pair_slots) return;
    if (s->now_ns - pr->credit_ns >= s->opt.pair_timeout_ns) {
        sim_pair_end(s, pr);
        return;
    }
    pr->check_due = true;
    sim_post(s, pr->credit_ns + s->opt.pair_timeout_ns, EV_PAIR_CHECK, p)->pair = pr;
}

frame *sim_frame_new(frame_kind kind, const fake_handoff *h, uint32_t words) {
    frame *f = xcalloc(1, sizeof *f + words * sizeof *f->words);
    f->kind = kind;
    f->word_count = words;
    if (h) f->id = h->id;
    return f;
}

void sim_frame_send(sim *s, sim_pair *pr, frame *f) {
    PRE(pr);
    PRE(f);
    sim_proc *to = s->procs[f->to_p ? pr->p_worker : pr->d_worker];
    uint32_t life = f->to_p ? pr->p_life : pr->d_life;
    sim_event *e =
        sim_post(s, sim_fifo(s, f->to_p ? &pr->to_p_ns : &pr->to_d_ns, s->opt.frame_ns), EV_FRAME, to);
    e->life = life;
    e->pair = pr;
    e->data = f;
}
