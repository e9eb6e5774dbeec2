#include "coordinator/member.h"

#include "base/clock.h"
#include "kv/kv_layout.h"

#include <stdlib.h>
#include <string.h>

static const sm_state member_states[] = {
    [MEMBER_JOINING] = {"JOINING", SM_TO(MEMBER_READY) | SM_TO(MEMBER_GONE), false},
    [MEMBER_READY] = {"READY", SM_TO(MEMBER_SUSPECT) | SM_TO(MEMBER_DRAINING) | SM_TO(MEMBER_GONE), false},
    [MEMBER_SUSPECT] = {"SUSPECT", SM_TO(MEMBER_READY) | SM_TO(MEMBER_DRAINING) | SM_TO(MEMBER_GONE), false},
    [MEMBER_DRAINING] = {"DRAINING", SM_TO(MEMBER_READY) | SM_TO(MEMBER_SUSPECT) | SM_TO(MEMBER_GONE), false},
    [MEMBER_GONE] = {"GONE", 0, true},
};

const sm_def member_sm = {"worker", member_states, ARRAY_LEN(member_states)};

member *member_new(const ctl_join *join, const char *name, uint64_t conn, uint64_t incarnation,
                   uint64_t now_ns) {
    PRE(join);
    PRE(name);
    PRE(conn);
    PRE(incarnation);
    member *m = xcalloc(1, sizeof *m);
    sm_init(&m->sm, &member_sm, now_ns);
    m->conn = conn;
    m->incarnation = incarnation;
    m->role = join->role;
    m->name = xstrdup(name);
    m->host = xstrdup(join->host ? join->host : "");
    m->endpoint = xstrdup(join->endpoint ? join->endpoint : "");
    m->pid = join->pid;
    m->page_count = join->page_count;
    m->max_seqs = join->max_seqs;
    m->max_rows = join->max_rows;
    m->max_context = join->max_context;
    m->kv_token_bytes = join->kv_token_bytes;
    uint32_t headroom = m->role == ROLE_PREFILL ? 0 : kv_pool_headroom(m->page_count, 1);
    uint32_t pages = m->page_count > headroom ? m->page_count - headroom : 0;
    m->tokens_max = (uint32_t)MIN((uint64_t)m->max_context, (uint64_t)pages * KV_PAGE_TOKENS);
    m->heard_ns = m->moved_ns = now_ns;
    holds_init(&m->holds);
    return m;
}

void member_free(member *m) {
    if (!m) return;
    free(m->name);
    free(m->host);
    free(m->endpoint);
    free(m->lost);
    holds_done(&m->holds);
    free(m);
}

/* A bound on a whole step is one on each of its operations. It was learned while the machine may have been
 * less busy, hence the factor; what nothing is known of gets the longest time. */
enum { BOUND_FACTOR = 10, LONGEST_FACTOR = 12 };

static uint64_t step_limit(const ctl_heartbeat *b, uint64_t step_age_min_ns) {
    uint64_t longest = LONGEST_FACTOR * step_age_min_ns;
    if (!b->step_bound_ns || b->step_bound_ns >= longest / BOUND_FACTOR) return longest;
    return MAX(step_age_min_ns, BOUND_FACTOR * b->step_bound_ns);
}

static bool step_too_old(const ctl_heartbeat *b, uint64_t step_age_min_ns) {
    return b->step_age_ns > step_limit(b, step_age_min_ns);
}

bool member_step_too_old(const member *m, uint64_t step_age_min_ns) {
    PRE(m);
    return step_too_old(&m->beat, step_age_min_ns);
}

bool member_has_work(const member *m) {
    PRE(m);
    return m->beat.running > 0 || m->beat.step_age_ns > 0 || m->holds.computing > 0;
}

uint64_t member_standing(const member *m, uint64_t now_ns) {
    PRE(m);
    return member_has_work(m) && now_ns > m->moved_ns ? now_ns - m->moved_ns : 0;
}

uint64_t member_patience(const member *m, const core_options *opt) {
    PRE(m);
    PRE(opt);
    return m->beat.step_bound_ns ? step_limit(&m->beat, opt->step_age_min_ns) : 0;
}

/* Before the heartbeat replaces the one before. */
static void note_motion(member *m, const ctl_heartbeat *beat, uint64_t now_ns) {
    const ctl_heartbeat *was = &m->beat;
    bool idle = !beat->running && !beat->step_age_ns && !m->holds.computing;
    bool moved = beat->step != was->step || beat->decode_rows != was->decode_rows ||
                 beat->prefill_rows != was->prefill_rows || beat->xfer_bytes != was->xfer_bytes;
    if (beat->xfer_bytes != was->xfer_bytes) m->xfer_ns = now_ns;
    if (idle || !member_has_work(m)) /* had none until now: what it was given since, it begins now */
        m->moved_ns = now_ns;
    else if (beat->step_age_ns || moved) /* a running step last ended an operation then, or began */
        m->moved_ns = MAX(m->moved_ns, now_ns - MIN(beat->step_age_ns, now_ns));
}

bool member_heard(member *m, uint32_t free_pages, const ctl_heartbeat *beat, uint64_t step_age_min_ns,
                  uint64_t now_ns) {
    PRE(m);
    if (member_state_of(m) == MEMBER_GONE) return false;
    m->heard_ns = MAX(m->heard_ns, now_ns);
    if (free_pages > m->free_pages || (beat && m->full)) {
        m->full = false;
        m->holds.eased = true;
    }
    m->free_pages = MIN(free_pages, m->page_count);
    if (beat) {
        note_motion(m, beat, now_ns);
        m->beat = *beat;
        m->beat.steps = NULL; /* the message's */
        m->beat.step_count = 0;
    }
    switch (member_state_of(m)) {
    case MEMBER_JOINING:
        if (!beat || step_too_old(beat, step_age_min_ns)) return false;
        sm_move(&m->sm, MEMBER_READY, now_ns);
        return true;
    case MEMBER_SUSPECT:
        sm_move(&m->sm, m->draining ? MEMBER_DRAINING : MEMBER_READY, now_ns);
        return true;
    case MEMBER_READY:
    case MEMBER_DRAINING:
    case MEMBER_GONE:
        return false;
    }
    return false;
}

bool member_judge(member *m, const core_options *opt, uint64_t now_ns, errbuf *why) {
    PRE(m);
    PRE(opt);
    member_state s = member_state_of(m);
    if (s == MEMBER_GONE) return false;
    uint64_t silence = now_ns > m->heard_ns ? now_ns - m->heard_ns : 0;
    if (silence >= opt->gone_ns) {
        errf(why, ST_PEER, "silent for %llu ms", silence / NS_PER_MS);
        return true;
    }
    if (s != MEMBER_JOINING && step_too_old(&m->beat, opt->step_age_min_ns)) {
        errf(why, ST_PEER,
             "a step stands still for %llu ms, at layer %u of %u; at most %llu ms were expected",
             m->beat.step_age_ns / NS_PER_MS, m->beat.step_layers_done, m->beat.step_layers,
             step_limit(&m->beat, opt->step_age_min_ns) / NS_PER_MS);
        return true;
    }
    if (silence >= opt->suspect_ns && (s == MEMBER_READY || s == MEMBER_DRAINING))
        sm_move(&m->sm, MEMBER_SUSPECT, now_ns);
    return false;
}

uint64_t member_judge_next(const member *m, const core_options *opt) {
    PRE(m);
    PRE(opt);
    switch (member_state_of(m)) {
    case MEMBER_READY:
    case MEMBER_DRAINING:
        return m->heard_ns + opt->suspect_ns;
    case MEMBER_JOINING:
    case MEMBER_SUSPECT:
        return m->heard_ns + opt->gone_ns;
    case MEMBER_GONE:
        break;
    }
    return UINT64_MAX;
}

void member_lose(member *m, const char *why) {
    PRE(m);
    PRE(why);
    if (!m->lost) m->lost = xstrdup(why);
}

bool member_check(const member *m) {
    PRE(m);
    if (member_state_of(m) == MEMBER_GONE) return true;
    return m->free_pages <= m->page_count && holds_check(&m->holds);
}

/* ---- numerics ---- */

void numerics_set(numerics *n, const ctl_join *join, const char *from) {
    PRE(n);
    PRE(join);
    PRE(from);
    numerics_done(n);
    n->from = xstrdup(from);
    n->count = join->numeric_count;
    n->names = xcalloc(MAX(n->count, 1u), sizeof *n->names);
    n->values = xcalloc(MAX(n->count, 1u), sizeof *n->values);
    for (uint32_t i = 0; i < n->count; i++) {
        n->names[i] = xstrdup(join->numerics[i].name);
        n->values[i] = xstrdup(join->numerics[i].value);
    }
}

void numerics_done(numerics *n) {
    PRE(n);
    for (uint32_t i = 0; i < n->count; i++) {
        free(n->names[i]);
        free(n->values[i]);
    }
    free(n->names);
    free(n->values);
    free(n->from);
    *n = (numerics){0};
}

static const char *joined_value(const ctl_join *join, const char *name) {
    for (uint32_t i = 0; i < join->numeric_count; i++)
        if (strcmp(join->numerics[i].name, name) == 0) return join->numerics[i].value;
    return NULL;
}

const char *numerics_get(const numerics *n, const char *name) {
    PRE(n);
    PRE(name);
    for (uint32_t i = 0; i < n->count; i++)
        if (strcmp(n->names[i], name) == 0) return n->values[i];
    return NULL;
}

const char *numerics_differ(const numerics *n, const ctl_join *join, errbuf *why) {
    PRE(n);
    PRE(join);
    if (!n->from) return NULL;
    for (uint32_t i = 0; i < n->count; i++) {
        const char *value = joined_value(join, n->names[i]);
        if (value && strcmp(value, n->values[i]) == 0) continue;
        errf(why, ST_INVALID, "%s here and %s on %s: start it with the same, or set cluster.mixed_numerics",
             value ? value : "absent", n->values[i], n->from);
        return n->names[i];
    }
    for (uint32_t i = 0; i < join->numeric_count; i++) {
        if (numerics_get(n, join->numerics[i].name)) continue;
        errf(why, ST_INVALID, "%s here and absent on %s: start the same version", join->numerics[i].value,
             n->from);
        return join->numerics[i].name;
    }
    return NULL;
}
