/* A worker process: the real agent and role core, a fake device, and the loop that joins them. */
#include "sim/sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t eog[] = {SIM_EOS};
static const ctl_numeric numerics[] = {{"model", "sim"}, {"kv_dtype", "f32"}};

/* ---- device ---- */

static void seq_clear(fake_seq *q) {
    free(q->ids);
    free(q->prefix);
    free(q->pages);
    *q = (fake_seq){0};
}

static void seq_append(fake_seq *q, int32_t id) {
    if (q->ids) {
        uint64_t h = q->id_count ? q->prefix[q->id_count - 1] : KV_IDS_HASH_START;
        q->ids[q->id_count] = id;
        q->prefix[q->id_count] = kv_ids_hash(h, &id, 1);
    }
    q->id_count++;
}

static void seq_open(sim_proc *p, const dev_open *o) {
    fake_seq *q = &p->seqs[o->slot];
    const seq_start *init = &o->init;
    if (q->open) sim_failf(p->sim, "%s: slot %u is opened twice", p->name, o->slot);
    seq_clear(q);
    *q = (fake_seq){.open = true,
                    .prompt_count = init->prompt_count,
                    .score = init->params->prompt_logprobs >= 0,
                    .seed = init->params->seed};
    if (!p->sim->opt.check_kv) {
        q->id_count = init->prompt_count + init->output_count;
        return;
    }
    uint64_t most = (uint64_t)init->prompt_count + MAX(init->params->max_tokens, init->output_count);
    uint32_t capacity = (uint32_t)MIN(most, p->sim->opt.core.max_context) + 2, pages = kv_pages_for(capacity);
    q->ids = xcalloc(capacity, sizeof *q->ids);
    q->prefix = xcalloc(capacity, sizeof *q->prefix);
    q->pages = xcalloc(MAX(pages, init->page_count) + 1, sizeof *q->pages);
    for (uint32_t i = 0; i < init->prompt_count; i++) seq_append(q, init->prompt[i]);
    q->prompt_hash = q->prefix[q->id_count - 1];
    for (uint32_t i = 0; i < init->output_count; i++) {
        seq_append(q, init->output[i]);
        if (init->output[i] != sim_token(q->prompt_hash, q->seed, i))
            sim_failf(p->sim, "%s was given a wrong output id %u", p->name, i);
    }
    memcpy(q->pages, init->pages, init->page_count * sizeof *q->pages);
    q->page_count = init->page_count;
}

/* The rows before it are read, its own are written. */
static void touch_rows(sim_proc *p, const step_item *it, uint32_t layer) {
    const fake_seq *q = &p->seqs[it->slot];
    for (uint32_t pos = 0; pos < it->begin; pos++)
        if (sim_proc_kv_row(p, q->pages, pos)[layer] != sim_kv_word(q->prefix[pos], layer)) {
            sim_failf(p->sim, "%s: req %llu reads KV that is not its own at row %u", p->name,
                      (unsigned long long)it->tag, pos);
            return;
        }
    for (uint32_t pos = it->begin; pos < it->begin + it->count; pos++)
        sim_proc_kv_row(p, q->pages, pos)[layer] = sim_kv_word(q->prefix[pos], layer);
}

static void run_layer(sim_proc *p, uint32_t layer) {
    if (!p->sim->opt.check_kv && p->role != ROLE_PREFILL) return;
    for (uint32_t i = 0; i < p->job.item_count && !p->sim->failure[0]; i++) {
        const step_item *it = &p->job.items[i];
        if (p->sim->opt.check_kv) touch_rows(p, it, layer);
        if (p->role == ROLE_PREFILL) sim_xfer_layer(p, it->tag, it->begin, it->count, layer);
    }
}

/* As the mock backend counts: a single generated row decodes, all else is a chunk. */
static latency_step sums_of(const sim_proc *p) {
    latency_step sum = {0};
    for (uint32_t i = 0; i < p->job.item_count; i++) {
        const step_item *it = &p->job.items[i];
        if (it->count == 1 && it->begin >= p->seqs[it->slot].prompt_count)
            latency_add_decode(&sum, it->begin + 1);
        else
            latency_add_chunk(&sum, it->begin, it->count);
    }
    return sum;
}

static uint64_t step_span_ns(sim_proc *p, uint32_t rows) {
    const sim_options *o = &p->sim->opt;
    latency_step sum = {0};
    if (o->watch.step_ns || o->latency) sum = sums_of(p);
    if (o->watch.step_ns) return o->watch.step_ns(o->watch.ctx, p->index, &sum);
    return sim_delay(p->sim, o->latency ? latency_ns(o->latency, &sum) : o->step_ns + rows * o->row_ns);
}

/* What the step adds to a sequence; whether that is possible. */
static void take_item(sim_proc *p, const step_item *it) {
    fake_seq *q = &p->seqs[it->slot];
    bool sound = q->open && it->begin + it->count <= q->id_count;
    if (p->sim->opt.check_kv) {
        memcpy(q->pages + q->page_count, it->new_pages, it->new_page_count * sizeof *q->pages);
        q->page_count += it->new_page_count;
        sound = sound && kv_pages_for(it->begin + it->count) <= q->page_count;
    }
    if (!sound) sim_failf(p->sim, "%s: a step item out of bounds", p->name);
}

static void start_step(void *ctx, const dev_job *j) {
    sim_proc *p = ctx;
    sim *s = p->sim;
    if (p->busy) sim_failf(s, "%s: a second step", p->name);
    p->busy = true;
    p->job = *j;
    p->step++;
    p->step_begin_ns = s->now_ns;
    p->bound_ns = step_pace_bound(&p->pace, &j->sums);
    s->seen.steps++;
    for (uint32_t i = 0; i < j->close_count; i++) seq_clear(&p->seqs[j->closes[i]]);
    for (uint32_t i = 0; i < j->open_count; i++) seq_open(p, &j->opens[i]);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < j->item_count; i++) {
        take_item(p, &j->items[i]);
        rows += j->items[i].count;
    }
    if (rows > p->own.max_rows) sim_failf(s, "%s: a step of %u rows", p->name, rows);
    uint64_t span = step_span_ns(p, rows);
    if (s->opt.check_kv || p->role == ROLE_PREFILL) sim_post(s, s->now_ns + span / 2, EV_STEP_HALF, p);
    sim_post(s, s->now_ns + span, EV_STEP_END, p);
}

static void sample(sim_proc *p, const step_item *it, step_result *r) {
    fake_seq *q = &p->seqs[it->slot];
    if (it->begin + it->count != q->id_count) sim_failf(p->sim, "%s samples before its last row", p->name);
    if (it->tag == p->sim->broken_req) {
        r->broken = true;
        snprintf(r->why, sizeof r->why, "a logit is no number");
        return;
    }
    r->sampled = true;
    r->token.id = SIM_ANY_ID;
    if (q->ids) r->token.id = sim_token(q->prompt_hash, q->seed, q->id_count - q->prompt_count);
    seq_append(q, r->token.id);
}

/* The rows before a token of the prompt; those of a step lie one after another in `scores`, from `at` on. */
static uint32_t score(sim_proc *p, const step_item *it, uint32_t at, step_result *r) {
    const fake_seq *q = &p->seqs[it->slot];
    uint32_t end = MIN(it->begin + it->count, q->prompt_count - 1);
    r->prompt_count = q->score && end > it->begin ? end - it->begin : 0;
    if (!r->prompt_count) return 0;
    if (!p->scores) p->scores = xcalloc(p->own.max_rows, sizeof *p->scores);
    for (uint32_t i = 0; i < r->prompt_count; i++)
        sim_score(q->prefix[it->begin + i], q->ids[it->begin + i + 1], &p->scores[at + i]);
    r->prompt = p->scores + at;
    return r->prompt_count;
}

static void end_step(sim_proc *p) {
    if (p->broken) { /* the runtime never tells the core of a step that failed */
        agent_leave(p->agent, "attend: illegal address", p->sim->now_ns);
        return;
    }
    run_layer(p, 1);
    uint32_t count = p->job.item_count, scored = 0;
    for (uint32_t i = 0; i < count; i++) {
        const step_item *it = &p->job.items[i];
        step_result *r = &p->results[i];
        r->tag = it->tag;
        r->sampled = r->broken = false; /* the token's other fields stay 0 */
        scored += score(p, it, scored, r);
        if (it->sample) sample(p, it, r);
    }
    p->busy = false;
    step_span span = {.begin_ns = p->step_begin_ns, .duration_ns = p->sim->now_ns - p->step_begin_ns};
    step_pace_learn(&p->pace, &p->job.sums, span.duration_ns);
    agent_stepped(p->agent, p->results, count, &span, p->sim->now_ns);
}

/* ---- the agent's world ---- */

static void send_up(void *ctx, const ctl_msg *m) {
    sim_proc *p = ctx;
    sim *s = p->sim;
    sim_conn *c = s->conns[p->conn - 1];
    if (!c->worker_open) return;
    s->seen.sent_by_worker[m->kind]++;
    sim_msg_send(s, c, true, m);
}

static void decided(void *ctx, const decision *d) {
    sim_proc *p = ctx;
    const sim_watch *w = &p->sim->opt.watch;
    w->decision(w->ctx, p->sim->now_ns, (int32_t)p->index, d);
}

static void post_xfer(void *ctx, const xfer_cmd *c) {
    sim_xfer_post(ctx, c);
}

static void want_reconnect(void *ctx) {
    ((sim_proc *)ctx)->reconnect = true;
}

static void want_quit(void *ctx, const char *why, bool orderly) {
    (void)why;
    (void)orderly;
    ((sim_proc *)ctx)->quit = true;
}

static void close_conn(sim_proc *p) {
    sim *s = p->sim;
    if (!p->conn) return;
    sim_conn *c = s->conns[p->conn - 1];
    if (!c->worker_open) return;
    c->worker_open = false;
    /* The monitor tells the coordinator behind what was sent before. */
    sim_event *e = sim_post(s, sim_fifo(s, &c->to_core_ns, s->opt.ctl_ns), EV_CORE_LOST, NULL);
    e->conn = c->id;
}

static void open_conn(sim_proc *p) {
    sim *s = p->sim;
    close_conn(p);
    sim_conn *c = xcalloc(1, sizeof *c);
    *c = (sim_conn){
        .id = s->conn_count + 1, .worker = p->index, .life = p->life, .core_open = true, .worker_open = true};
    SIM_GROW(s->conns, s->conn_count, s->conn_capacity);
    s->conns[s->conn_count++] = c;
    p->conn = c->id;
    s->seen.reconnects++;
}

void sim_proc_arm(sim_proc *p, uint64_t at_ns) {
    PRE(p->alive);
    p->wake_ns = at_ns;
    if (p->armed_ns && p->armed_ns <= at_ns) return; /* that one looks again */
    p->armed_ns = at_ns;
    sim_post(p->sim, at_ns, EV_WAKE, p);
}

static uint64_t step_age_ns(const sim_proc *p) {
    uint64_t age = p->sim->now_ns - p->step_begin_ns, every = p->sim->opt.mark_ns;
    return every ? age % every : age;
}

/* One turn of the worker's loop after an event. */
static void loop_turn(sim_proc *p) {
    sim *s = p->sim;
    for (int i = 0; p->reconnect && i < 4; i++) {
        p->reconnect = false;
        open_conn(p);
        agent_connected(p->agent, s->now_ns);
    }
    agent_progress progress = {.step = p->step,
                               .step_age_ns = p->busy ? step_age_ns(p) : 0,
                               .step_bound_ns = p->busy ? p->bound_ns : 0};
    progress.xfer = p->xfer;
    uint64_t next = agent_turn(p->agent, &progress, s->now_ns);
    if (s->opt.check_kv && !agent_check(p->agent)) sim_failf(s, "agent_check of %s", p->name);
    if (p->quit) {
        sim_proc_stop(p);
        return;
    }
    if (p->reconnect) next = s->now_ns;
    if (next != UINT64_MAX) sim_proc_arm(p, next);
}

/* ---- life ---- */

sim_proc *sim_proc_new(sim *s, uint32_t index, worker_role role) {
    PRE(role < ROLE_COUNT);
    sim_proc *p = xcalloc(1, sizeof *p);
    p->sim = s;
    p->index = index;
    p->role = role;
    p->own = sim_role_of(&s->opt, role);
    if (!p->own.policy) p->own.policy = index % 2 ? "chunked" : "prefill_first";
    snprintf(p->name, sizeof p->name, "%s-%u", worker_role_name(role), index - sim_first(s, role));
    return p;
}

void sim_proc_start(sim_proc *p) {
    PRE(!p->alive);
    static const wcore_ops *const roles[] = {&prefill_core_ops, &decode_core_ops, &colocated_core_ops};
    sim *s = p->sim;
    const sim_options *o = &s->opt;
    p->life++;
    p->alive = true;
    p->frozen = p->quit = p->broken = p->reconnect = p->busy = false;
    p->wake_ns = p->armed_ns = p->step = 0;
    p->pace = (step_pace){0};
    p->wake_xfer_ns = p->event_ns = 0;
    p->copy = (fake_copy){0};
    p->epoch = p->inc = 0;
    p->xfer = (xfer_stats){0};
    snprintf(p->endpoint, sizeof p->endpoint, "sim://%u/%u", p->index, p->life);
    if (o->check_kv) p->kv = xcalloc((size_t)o->pages[p->role] * KV_PAGE_TOKENS * SIM_LAYERS, sizeof *p->kv);
    p->seqs = xcalloc(p->own.max_seqs, sizeof *p->seqs);
    p->results = xcalloc(p->own.max_seqs, sizeof *p->results);
    agent_options ao = {
        .role = roles[p->role],
        .core = {.page_count = o->pages[p->role],
                 .max_seqs = p->own.max_seqs,
                 .max_rows = p->own.max_rows,
                 .chunk_tokens = p->own.chunk_tokens,
                 .max_context = o->core.max_context,
                 .policy = p->own.policy,
                 .prefix_cache = o->prefix_cache,
                 .cache_outputs = o->cache_outputs,
                 .eog = eog,
                 .eog_count = 1},
        .join = {.role = p->role,
                 .name = p->name,
                 .host = "sim",
                 .pid = p->index * 100000 + p->life,
                 .endpoint = p->endpoint,
                 .transport = "shm",
                 .page_count = o->pages[p->role],
                 .page_tokens = KV_PAGE_TOKENS,
                 .max_seqs = p->own.max_seqs,
                 .max_rows = p->own.max_rows,
                 .max_context = o->core.max_context,
                 .kv_token_bytes = kv_token_bytes(&sim_layout),
                 .numerics = numerics,
                 .numeric_count = 2},
        .join_retry_ns = o->join_retry_ns,
        .rejoin_ns = o->rejoin_ns,
    };
    agent_sink sink = {.ctx = p,
                       .send = send_up,
                       .xfer = post_xfer,
                       .step = start_step,
                       .decision = o->watch.decision ? decided : NULL,
                       .reconnect = want_reconnect,
                       .quit = want_quit};
    p->agent = agent_new(&ao, &sink, s->now_ns);
    p->reconnect = true;
    loop_turn(p);
}

void sim_proc_stop(sim_proc *p) {
    PRE(p);
    if (!p->alive) return;
    p->alive = p->frozen = false;
    close_conn(p);
    p->conn = 0;
    sim_xfer_clear(p);
    for (uint32_t i = 0; i < p->stash_count; i++) sim_event_free(p->sim, p->stash[i]);
    p->stash_count = 0;
    for (uint32_t i = 0; i < p->own.max_seqs; i++) seq_clear(&p->seqs[i]);
    free(p->seqs);
    free(p->results);
    p->results = NULL;
    free(p->scores);
    p->scores = NULL;
    free(p->kv);
    p->seqs = NULL;
    p->kv = NULL;
    agent_free(p->agent);
    p->agent = NULL;
}

void sim_proc_free(sim_proc *p) {
    if (!p) return;
    sim_proc_stop(p);
    free(p->stash);
    free(p->handoffs);
    free(p->cmds);
    free(p->reports);
    free(p->inbox);
    free(p);
}

static void on_message(sim_proc *p, const sim_event *e) {
    sim *s = p->sim;
    ctl_msg m;
    if (e->conn != p->conn || !s->conns[e->conn - 1]->worker_open) return;
    if (!sim_msg_read(s, e, &m)) return;
    s->seen.to_worker[m.kind]++;
    sim_trace(s, p->name, &m);
    agent_ctl(p->agent, &m, s->now_ns);
    sim_msg_done(e, &m);
}

static void on_lost(sim_proc *p, const sim_event *e) {
    if (e->conn != p->conn || !p->sim->conns[e->conn - 1]->worker_open) return;
    p->sim->conns[e->conn - 1]->worker_open = false;
    agent_lost(p->agent, p->sim->now_ns);
}

void sim_proc_event(sim_proc *p, sim_event *e) {
    PRE(p->alive);
    switch (e->kind) {
    case EV_CORE_WAKE:
    case EV_CORE_MSG:
    case EV_CORE_LOST:
    case EV_ARRIVAL:
        return; /* the coordinator's */
    /* The device and the transfer thread do not wake the loop by themselves. */
    case EV_STEP_HALF:
        run_layer(p, 0);
        return;
    case EV_XFER_WAKE:
    case EV_COPY_END:
    case EV_FRAME:
    case EV_PAIR_LOST:
    case EV_PAIR_CHECK:
        sim_xfer_event(p, e);
        return;
    case EV_MSG:
        on_message(p, e);
        break;
    case EV_LOST:
        on_lost(p, e);
        break;
    case EV_WAKE:
        if (e->at_ns != p->armed_ns) return; /* another one counts */
        p->armed_ns = 0;
        if (p->wake_ns <= p->sim->now_ns) break;
        sim_proc_arm(p, p->wake_ns);
        return;
    case EV_STEP_END:
        end_step(p);
        break;
    case EV_XFER_EVENT:
        agent_xfer(p->agent, e->data, p->sim->now_ns);
        break;
    }
    if (p->sim->failure[0]) return;
    loop_turn(p);
}
