/* Control messages on their way: packed and unpacked as between processes; or, where nobody wants that
 * proven, as they are, with their own copies of what they borrow. */
#include "sim/sim_world.h"

#include <stdlib.h>
#include <string.h>

/* The kinds that make up a request's life, but for the rare ones that carry texts. */
static bool is_common(ctl_kind kind) {
    static const bool common[CTL_KIND_COUNT] = {
        [CTL_HEARTBEAT] = true, [CTL_RESERVED] = true, [CTL_TOKENS] = true,  [CTL_VERIFIED] = true,
        [CTL_PREEMPTED] = true, [CTL_CLOSED] = true,   [CTL_ACK] = true,     [CTL_PREFILL] = true,
        [CTL_RESERVE] = true,   [CTL_DEST] = true,     [CTL_RELEASE] = true, [CTL_CANCEL] = true,
        [CTL_DROP] = true};
    return common[kind];
}

/* One block: the message, and behind it the array or text that it has. Ids are found again by sim_msg_read.
 */
static ctl_msg *copy_of(const ctl_msg *m) {
    const void *tail = NULL;
    size_t bytes = 0;
    if (m->kind == CTL_TOKENS)
        tail = m->tokens.tokens, bytes = m->tokens.count * sizeof *m->tokens.tokens;
    else if (m->kind == CTL_HEARTBEAT)
        tail = m->heartbeat.steps, bytes = m->heartbeat.step_count * sizeof *m->heartbeat.steps;
    else if (m->kind == CTL_DEST)
        tail = m->dest.endpoint, bytes = strlen(m->dest.endpoint) + 1;
    ctl_msg *copy = xmalloc(sizeof *copy + bytes);
    *copy = *m;
    if (bytes) memcpy(copy + 1, tail, bytes);
    return copy;
}

void sim_msg_send(sim *s, sim_conn *c, bool to_core, const ctl_msg *m) {
    PRE(m);
    sim_event *e;
    if (to_core) {
        e = sim_post(s, sim_fifo(s, &c->to_core_ns, s->opt.ctl_ns), EV_CORE_MSG, NULL);
    } else {
        e = sim_post(s, sim_fifo(s, &c->to_worker_ns, s->opt.ctl_ns), EV_MSG, s->procs[c->worker]);
        e->life = c->life;
    }
    e->conn = c->id;
    if (!s->opt.check_kv && is_common(m->kind)) {
        e->data = copy_of(m);
        return;
    }
    buf b = {0};
    ctl_pack(m, &b);
    e->data = b.data;
    e->len = b.len;
}

bool sim_msg_read(sim *s, const sim_event *e, ctl_msg *out) {
    PRE(e->data);
    if (e->len) {
        errbuf eb = {0};
        if (ctl_unpack(e->data, e->len, out, &eb) == ST_OK) return true;
        sim_failf(s, "unpack: %s", eb.text);
        return false;
    }
    const void *tail = (const ctl_msg *)e->data + 1;
    *out = *(const ctl_msg *)e->data;
    if (out->kind == CTL_TOKENS) out->tokens.tokens = tail;
    if (out->kind == CTL_HEARTBEAT) out->heartbeat.steps = tail;
    if (out->kind == CTL_DEST) out->dest.endpoint = tail;
    if (out->kind == CTL_PREFILL || out->kind == CTL_RESERVE) out->work.prompt = out->work.output = s->ids;
    return true;
}

void sim_msg_done(const sim_event *e, ctl_msg *m) {
    PRE(m);
    if (e->len) ctl_done(m);
}
