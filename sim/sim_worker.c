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
    uint64_t h = q->id_count ? q->prefix[q->id_count - 1] : KV_IDS_HASH_START;
    q->ids[q->id_count] = id;
    q->prefix[q->id_count++] = kv_ids_hash(h, &id, 1);
}

static void seq_open(sim_proc *p, const dev_open *o) {
    fake_seq *q = &p->seqs[o->slot];
    if (q->open) sim_failf(p->sim, "%s: slot %u is opened twice", p->name, o->slot);
    seq_clear(q);
    uint32_t capacity = p->sim->opt.core.max_context + 2, pages = kv_pages_for(capacity);
    *q = (fake_seq){.open = true,
                    .ids = xcalloc(capacity, sizeof *q->ids),
                    .prefix = xcalloc(capacity, sizeof *q->prefix),
                    .pages = xcalloc(pages, sizeof *q->pages),
                    .prompt_count = o->init.prompt_count,
                    .seed = o->init.params->seed};
    for (uint32_t i = 0; i < o->init.prompt_count; i++) seq_append(q, o->init.prompt[i]);
    q->prompt_hash = q->prefix[q->id_count - 1];
    for (uint32_t i = 0; i < o->init.output_count; i++) {
        seq_append(q, o->init.output[i]);
        if (o->init.output[i] != sim_token(q->prompt_hash, q->seed, i))
            sim_failf(p->sim, "%s was given a wrong output id %u", p->name, i);
    }
    memcpy(q->pages, o->init.pages, o->init.page_count * sizeof *q->pages);
    q->page_count = o->init.page_count;
}

static void run_layer(sim_proc *p, uint32_t layer) {
    for (uint32_t i = 0; i < p->job.item_count; i++) {
        const step_item *it = &p->job.items[i];
        const fake_seq *q = &p->seqs[it->slot];
        for (uint32_t pos = 0; pos < it->begin; pos++)
            if (sim_proc_kv_row(p, q->pages, pos)[layer] != sim_kv_word(q->prefix[pos], layer)) {
                sim_failf(p->sim, "%s: req %llu reads KV that is not its own at row %u", p->name,
                          (unsigned long long)it->tag, pos);
                return;
            }
        for (uint32_t pos = it->begin; pos < it->begin + it->count; pos++)
            sim_proc_kv_row(p, q->pages, pos)[layer] = sim_kv_word(q->prefix[pos], layer);
        if (p->role == ROLE_PREFILL) sim_xfer_layer(p, it->tag, it->begin, it->count, layer);
    }
}

/* As the mock backend counts: a single generated row decodes, all else is a chunk. */
static uint64_t model_span(const sim_proc *p, const latency_model *m) {
    latency_step sum = {0};
    for (uint32_t i = 0; i < p->job.item_count; i++) {
        const step_item *it = &p->job.items[i];
        if (it->count == 1 && it->begin >= p->seqs[it->slot].prompt_count)
            latency_add_decode(&sum, it->begin + 1);
        else
            latency_add_chunk(&sum, it->begin, it->count);
    }
    return latency_ns(m, &sum);
}

static void start_step(void *ctx, const dev_job *j) {
    sim_proc *p = ctx;
    sim *s = p->sim;
    if (p->busy) sim_failf(s, "%s: a second step", p->name);
    p->busy = true;
    p->job = *j;
    p->step++;
    p->step_begin_ns = s->now_ns;
    s->seen.steps++;
    for (uint32_t i = 0; i < j->close_count; i++) seq_clear(&p->seqs[j->closes[i]]);
    for (uint32_t i = 0; i < j->open_count; i++) seq_open(p, &j->opens[i]);
    uint32_t rows = 0;
    for (uint32_t i = 0; i < j->item_count; i++) {
        const step_item *it = &j->items[i];
        fake_seq *q = &p->seqs[it->slot];
        memcpy(q->pages + q->page_count, it->new_pages, it->new_page_count * sizeof *q->pages);
        q->page_count += it->new_page_count;
        rows += it->count;
        if (!q->open || it->begin + it->count > q->id_count ||
            kv_pages_for(it->begin + it->count) > q->page_count)
            sim_failf(s, "%s: a step item out of bounds", p->name);
    }
    if (rows > s->opt.max_rows) sim_failf(s, "%s: a step of %u rows", p->name, rows);
    uint64_t span =
        sim_delay(s, s->opt.latency ? model_span(p, s->opt.latency) : s->opt.step_ns + rows * s->opt.row_ns);
    sim_post(s, s->now_ns + span / 2, EV_STEP_HALF, p);
    sim_post(s, s->now_ns + span, EV_STEP_END, p);
}

static void end_step(sim_proc *p) {
    if (p->broken) { /* the runtime never tells the core of a step that failed */
        agent_leave(p->agent, "attend: illegal address", p->sim->now_ns);
        return;
    }
    run_layer(p, 1);
    uint32_t count = p->job.item_count;
    step_result *results = xcalloc(MAX(count, 1u), sizeof *results);
    for (uint32_t i = 0; i < count; i++) {
        const step_item *it = &p->job.items[i];
        fake_seq *q = &p->seqs[it->slot];
        results[i].tag = it->tag;
        if (!it->sample) continue;
        if (it->begin + it->count != q->id_count)
            sim_failf(p->sim, "%s samples before its last row", p->name);
        if (it->tag == p->sim->broken_req) {
            results[i].broken = true;
            snprintf(results[i].why, sizeof results[i].why, "a logit is no number");
            continue;
        }
        results[i].sampled = true;
        results[i].token.id = sim_token(q->prompt_hash, q->seed, q->id_count - q->prompt_count);
        seq_append(q, results[i].token.id);
    }
    p->busy = false;
    step_span span = {.begin_ns = p->step_begin_ns, .duration_ns = p->sim->now_ns - p->step_begin_ns};
    agent_stepped(p->agent, results, count, &span, p->sim->now_ns);
    free(results);
}

/* ---- the agent's world ---- */

static void send_up(void *ctx, const ctl_msg *m) {
    sim_proc *p = ctx;
    sim *s = p->sim;
    sim_conn *c = s->conns[p->conn - 1];
    if (!c->worker_open) return;
    s->seen.sent_by_worker[m->kind]++;
    buf b = {0};
    ctl_pack(m, &b);
    sim_event *e = sim_post(s, sim_fifo(s, &c->to_core_ns, s->opt.ctl_ns), EV_CORE_MSG, NULL);
    e->conn = p->conn;
    e->data = b.data;
    e->len = b.len;
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

/* One turn of the worker's loop after an event. */
static void loop_turn(sim_proc *p) {
    sim *s = p->sim;
    for (int i = 0; p->reconnect && i < 4; i++) {
        p->reconnect = false;
        open_conn(p);
        agent_connected(p->agent, s->now_ns);
    }
    agent_progress progress = {.step = p->step,
                               .step_age_ns = p->busy ? s->now_ns - p->step_begin_ns : 0,
                               .step_median_ns = s->opt.step_ns};
    progress.xfer = p->xfer;
    uint64_t next = agent_turn(p->agent, &progress, s->now_ns);
    if (!agent_check(p->agent)) sim_failf(s, "agent_check of %s", p->name);
    if (p->quit) {
        sim_proc_stop(p);
        return;
    }
    if (p->reconnect) next = s->now_ns;
    if (next == UINT64_MAX || next == p->wake_ns) return;
    p->wake_ns = next;
    sim_post(s, next, EV_WAKE, p);
}

/* ---- life ---- */

sim_proc *sim_proc_new(sim *s, uint32_t index, worker_role role) {
    PRE(role < ROLE_COUNT);
    sim_proc *p = xcalloc(1, sizeof *p);
    p->sim = s;
    p->index = index;
    p->role = role;
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
    p->wake_ns = p->step = 0;
    p->wake_xfer_ns = p->event_ns = 0;
    p->copy = (fake_copy){0};
    p->epoch = p->inc = 0;
    p->xfer = (xfer_stats){0};
    snprintf(p->endpoint, sizeof p->endpoint, "sim://%u/%u", p->index, p->life);
    p->kv = xcalloc((size_t)o->pages[p->role] * KV_PAGE_TOKENS * SIM_LAYERS, sizeof *p->kv);
    p->seqs = xcalloc(o->max_seqs, sizeof *p->seqs);
    agent_options ao = {
        .role = roles[p->role],
        .core = {.page_count = o->pages[p->role],
                 .max_seqs = o->max_seqs,
                 .max_rows = o->max_rows,
                 .chunk_tokens = o->chunk_tokens,
                 .max_context = o->core.max_context,
                 .policy = p->index % 2 ? "chunked" : "prefill_first",
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
                 .max_seqs = o->max_seqs,
                 .max_rows = o->max_rows,
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
    for (uint32_t i = 0; i < p->stash_count; i++) sim_event_free(p->stash[i]);
    p->stash_count = 0;
    for (uint32_t i = 0; i < p->sim->opt.max_seqs; i++) seq_clear(&p->seqs[i]);
    free(p->seqs);
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
    errbuf eb = {0};
    if (e->conn != p->conn || !s->conns[e->conn - 1]->worker_open) return;
    if (ctl_unpack(e->data, e->len, &m, &eb) != ST_OK) {
        sim_failf(s, "unpack: %s", eb.text);
        return;
    }
    s->seen.to_worker[m.kind]++;
    sim_trace(s, p->name, &m);
    agent_ctl(p->agent, &m, s->now_ns);
    ctl_done(&m);
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
        if (e->at_ns != p->wake_ns) return; /* another one counts */
        break;
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
