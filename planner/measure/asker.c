#include "planner/measure/asker.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/stop.h"
#include "bench/load/target.h"
#include "bench/workload/prompt.h"
#include "net/loop.h"

#include <stdlib.h>

#define FIRST_ANSWER_S 30
#define LOOK_NS        (20 * NS_PER_MS) /* whether a stop is asked for */
#define CHECK_NS       NS_PER_S

struct asker {
    target at;
    loop *loop;
    target_link link;
    asked *all; /* [count]; request number - 1 */
    uint32_t count, room;
    uint64_t seed;
    asker_check check; /* may be NULL */
    void *check_ctx;
    uint64_t check_ns; /* the next one */
    status failed;     /* of a request, with why */
    errbuf why;
    /* of the wait under way */
    uint32_t first, end, tokens;
    uint64_t until_ns;
    bool met, timed; /* all have their tokens; the time is over */
};

static bool is_met(const asker *a) {
    for (uint32_t i = a->first; i < a->end; i++)
        if (!a->all[i].ended && a->all[i].tokens < a->tokens) return false;
    return true;
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    asker *a = ctx;
    uint64_t next_ns = a->link.client ? target_link_turn(&a->link, now_ns) : UINT64_MAX;
    a->met = a->first < a->end && is_met(a);
    a->timed = now_ns >= a->until_ns;
    if (a->met || a->timed || a->failed != ST_OK || stop_asked() > 0 || now_ns >= a->check_ns)
        loop_stop(a->loop);
    return MIN(next_ns, MIN(a->until_ns, now_ns + LOOK_NS));
}

static void on_event(void *ctx, uint64_t number, uint64_t at_ns, uint32_t tokens) {
    asker *a = ctx;
    asked *q = &a->all[number - 1];
    for (uint32_t i = 0; i < tokens; i++, q->tokens++)
        if (q->tokens < ASKER_TIMES_MAX) q->token_ns[q->tokens] = at_ns;
}

static void on_end(void *ctx, uint64_t number, const client_end *e) {
    asker *a = ctx;
    asked *q = &a->all[number - 1];
    q->ended = true;
    q->stages = e->stages;
    if (e->outcome == ROW_OK || a->failed != ST_OK) return;
    a->failed = errf(&a->why, ST_PEER, "a request of %u tokens and %u more failed: %s", q->prompt_tokens,
                     q->output_tokens, e->error);
}

status asker_new(asker **out, const char *native, const char *url, errbuf *eb) {
    PRE(out);
    PRE(native);
    PRE(url);
    asker *a = xcalloc(1, sizeof *a);
    serve_options o = serve_options_default();
    o.backend = SERVE_NATIVE;
    o.base_url = native;
    o.metrics_url = url;
    o.ready_timeout_s = FIRST_ANSWER_S;
    o.ignore_eos = true;
    a->seed = clock_random64() >> 1;
    a->check_ns = UINT64_MAX;
    status st = target_find(&a->at, &o, eb);
    if (st == ST_OK) st = loop_new(&a->loop, turn, a, eb);
    const client_handler h = {.ctx = a, .event = on_event, .end = on_end};
    if (st == ST_OK) st = target_connect(&a->at, a->loop, &h, &a->link, eb);
    serve_options_done(&o);
    if (st != ST_OK) {
        asker_free(a);
        return st;
    }
    *out = a;
    return ST_OK;
}

void asker_free(asker *a) {
    if (!a) return;
    if (a->link.client) target_link_done(&a->link);
    if (a->loop) loop_free(a->loop);
    target_done(&a->at);
    free(a->all);
    free(a);
}

void asker_watch(asker *a, asker_check check, void *ctx) {
    PRE(a);
    PRE(check);
    a->check = check;
    a->check_ctx = ctx;
    a->check_ns = clock_now_ns() + CHECK_NS;
}

uint32_t asker_send(asker *a, uint32_t prompt_tokens, uint32_t output_tokens) {
    PRE(a);
    PRE(prompt_tokens > 0);
    PRE(output_tokens > 0);
    if (a->count == a->room) {
        a->room = MAX(64u, 2 * a->room);
        a->all = xrealloc(a->all, a->room, sizeof *a->all);
    }
    int32_t *ids = xcalloc(prompt_tokens, sizeof *ids);
    prompt_fill(ids, prompt_tokens, (prompt_range){a->at.id_min, a->at.id_max}, a->seed, a->count);
    client_request r = {
        .number = a->count + 1ull, .ids = ids, .id_count = prompt_tokens, .output_tokens = output_tokens};
    buf wire = {0};
    a->link.client->ops->prepare(a->link.client, &r, &wire);
    a->all[a->count] = (asked){.prompt_tokens = prompt_tokens,
                               .output_tokens = output_tokens,
                               .sent_ns = clock_now_ns(),
                               .stages = row_stages_none()};
    a->link.client->ops->start(a->link.client, &wire, r.number);
    buf_done(&wire);
    free(ids);
    return a->count++;
}

const asked *asker_at(const asker *a, uint32_t number) {
    PRE(a);
    PRE(number < a->count);
    return &a->all[number];
}

static status run(asker *a, errbuf *eb) {
    a->met = a->timed = false;
    do {
        loop_run(a->loop);
        if (stop_asked() > 0) return errf(eb, ST_CANCELED, "a stop was asked for");
        if (a->check && (a->failed != ST_OK || clock_now_ns() >= a->check_ns)) {
            status st = a->check(a->check_ctx, eb);
            if (st != ST_OK) return st;
            a->check_ns = clock_now_ns() + CHECK_NS;
        }
        if (a->failed != ST_OK) return errf(eb, a->failed, "%s", a->why.text);
    } while (!a->met && !a->timed);
    return ST_OK;
}

status asker_wait(asker *a, uint32_t first, uint32_t count, uint32_t tokens, uint64_t deadline_ns,
                  errbuf *eb) {
    PRE(a);
    PRE(count > 0);
    PRE(first + count <= a->count);
    a->first = first;
    a->end = first + count;
    a->tokens = tokens;
    a->until_ns = deadline_ns;
    status st = run(a, eb);
    if (st != ST_OK || a->met) return st;
    uint32_t done = 0;
    for (uint32_t i = a->first; i < a->end; i++) done += a->all[i].ended || a->all[i].tokens >= tokens;
    if (tokens == UINT32_MAX)
        return errf(eb, ST_TIMEOUT, "of %u requests of %u tokens only %u had ended in time", count,
                    a->all[first].prompt_tokens, done);
    return errf(eb, ST_TIMEOUT, "of %u requests of %u tokens only %u had %u more tokens in time", count,
                a->all[first].prompt_tokens, done, tokens);
}

status asker_rest(asker *a, uint64_t until_ns, errbuf *eb) {
    PRE(a);
    a->first = a->end = 0;
    a->until_ns = until_ns;
    return run(a, eb);
}

void asker_cancel(asker *a, uint32_t number) {
    PRE(a);
    PRE(number < a->count);
    asked *q = &a->all[number];
    if (q->ended) return;
    a->link.client->ops->cancel(a->link.client, number + 1ull);
    q->ended = q->canceled = true;
}
