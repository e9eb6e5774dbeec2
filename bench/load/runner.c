#include "bench/load/runner.h"

#include "base/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { AHEAD = 64, AHEAD_PER_TURN = 4 };
#define LEAD_NS  (20 * NS_PER_MS) /* from the start to the run's time 0 */
#define SPARE_NS (2 * NS_PER_MS)  /* nothing is prepared when the next send is nearer */

typedef struct flight {
    row row;
    bool begun, ended;
} flight;

struct runner {
    loop *loop;
    client *client;
    runner_options opt;
    runner_handler handler;
    struct event *timer;
    int timer_fd;
    uint64_t armed_ns;
    runner_state state;
    uint64_t start_ns; /* the run's time 0 */
    flight **flights;  /* [plan count]; NULL: not sent, or over */
    buf wires[AHEAD];  /* of items next .. prepared - 1, at item % AHEAD */
    uint32_t next, prepared;
    uint32_t oldest;       /* none before it runs */
    uint32_t members_left; /* of the windows, not over */
    uint32_t windows_begun, windows_ended;
    runner_counts counts;
    uint64_t good_ns;      /* something succeeded last: a token, or an end as asked */
    uint32_t failed_since; /* since then */
    uint32_t before_left;
};

static void on_timer(evutil_socket_t fd, short what, void *ctx) {
    (void)what, (void)ctx; /* the turn after it sends */
    uint64_t n;
    while (read(fd, &n, sizeof n) == sizeof n) {
    }
}

status runner_new(runner **out, loop *l, const runner_options *opt, const runner_handler *h, errbuf *eb) {
    PRE(out);
    PRE(l);
    PRE(opt);
    PRE(opt->plan);
    PRE(opt->plan->count > 0);
    PRE(h);
    PRE(h->ask);
    PRE(h->row);
    PRE(h->window);
    PRE(h->over);
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0)
        return errf(eb, ST_IO, "a timer: %s: raise the limit of open files (ulimit -n)", strerror(errno));
    runner *r = xcalloc(1, sizeof *r);
    r->loop = l;
    r->opt = *opt;
    r->handler = *h;
    r->timer_fd = fd;
    r->timer = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, on_timer, NULL);
    CHECK(r->timer);
    event_priority_set(r->timer, 0);
    CHECK(event_add(r->timer, NULL) == 0);
    r->flights = xcalloc(opt->plan->count, sizeof(flight *));
    for (uint32_t i = 0; i < opt->plan->window_count; i++) r->members_left += opt->plan->windows[i].count;
    *out = r;
    return ST_OK;
}

void runner_free(runner *r) {
    if (!r) return;
    for (uint32_t i = 0; i < r->opt.plan->count; i++) {
        if (!r->flights[i]) continue;
        row_done(&r->flights[i]->row);
        free(r->flights[i]);
    }
    for (uint32_t i = 0; i < AHEAD; i++) buf_done(&r->wires[i]);
    event_free(r->timer);
    close(r->timer_fd);
    free(r->flights);
    free(r);
}

static const planned *item(const runner *r, uint32_t i) {
    return &r->opt.plan->items[i];
}

/* ---- rows ---- */

static flight *flight_new(const planned *p) {
    flight *f = xcalloc(1, sizeof *f);
    row_init(&f->row);
    f->row.seed = p->seed;
    f->row.index = p->index;
    f->row.phase = p->phase;
    f->row.scheduled_ns = p->at_ns;
    f->row.prompt_asked = p->prompt_tokens;
    f->row.output_asked = p->output_tokens;
    return f;
}

/* Since time 0; warm-ups before it are at 0 */
static uint64_t since_start(const runner *r, uint64_t at_ns) {
    return at_ns > r->start_ns ? at_ns - r->start_ns : 0;
}

static void flight_over(runner *r, uint32_t i) {
    flight *f = r->flights[i];
    r->flights[i] = NULL;
    if (item(r, i)->phase == ROW_WINDOW) r->members_left--;
    r->handler.row(r->handler.ctx, &f->row);
    row_done(&f->row);
    free(f);
}

static void flight_end(runner *r, uint32_t i, row_outcome outcome, const char *error, uint64_t now_ns) {
    flight *f = r->flights[i];
    f->row.outcome = outcome;
    f->row.end_ns = since_start(r, now_ns);
    free(f->row.error);
    f->row.error = error && *error ? xstrdup(error) : NULL;
    r->counts.in_flight--;
    if (outcome == ROW_OK) {
        r->counts.done++;
    } else if (outcome != ROW_UNFINISHED) {
        r->counts.failed++;
        r->failed_since++;
    }
    if (i < r->opt.plan->before_count) r->before_left--;
    flight_over(r, i);
}

static void on_event(void *ctx, uint64_t number, uint64_t at_ns, uint32_t tokens) {
    runner *r = ctx;
    flight *f = r->flights[number - 1];
    CHECK(f);
    row_add_event(&f->row, since_start(r, at_ns), tokens);
    if (tokens == 0) return;
    r->counts.tokens += tokens;
    r->good_ns = at_ns;
    r->failed_since = 0;
}

static void on_end(void *ctx, uint64_t number, const client_end *e) {
    runner *r = ctx;
    uint32_t i = (uint32_t)(number - 1);
    flight *f = r->flights[i];
    CHECK(f);
    f->row.http = e->http;
    memcpy(f->row.finish, e->finish, sizeof f->row.finish);
    f->row.prompt_tokens = e->prompt_tokens;
    f->row.output_tokens = e->output_tokens;
    f->row.cached_tokens = e->cached_tokens;
    f->row.stages = e->stages;
    flight_end(r, i, e->outcome, e->error, e->at_ns);
}

client_handler runner_client_handler(runner *r) {
    PRE(r);
    return (client_handler){.ctx = r, .event = on_event, .end = on_end};
}

/* ---- sending ---- */

static void prepare_next(runner *r) {
    client_request q = {.number = (uint64_t)r->prepared + 1};
    r->handler.ask(r->handler.ctx, item(r, r->prepared), &q);
    r->client->ops->prepare(r->client, &q, &r->wires[r->prepared % AHEAD]);
    r->prepared++;
}

static void prepare_ahead(runner *r, uint32_t count) {
    while (count-- > 0 && r->prepared < r->opt.plan->count && r->prepared < r->next + AHEAD) prepare_next(r);
}

static void send_next(runner *r) {
    uint32_t i = r->next;
    if (r->prepared == i) prepare_next(r);
    flight *f = r->flights[i] = flight_new(item(r, i));
    r->next++;
    r->counts.sent++;
    r->counts.in_flight++;
    uint64_t now = clock_now_ns();
    if (r->good_ns == 0) r->good_ns = now;
    f->row.sent_ns = since_start(r, now);
    if (r->opt.closed) f->row.scheduled_ns = f->row.sent_ns;
    r->client->ops->start(r->client, &r->wires[i % AHEAD], (uint64_t)i + 1);
}

static bool has_place(const runner *r) {
    return r->opt.max_concurrency == 0 || r->counts.in_flight < r->opt.max_concurrency;
}

static void start_clock(runner *r, uint64_t now_ns) {
    r->state = RUNNER_RUNS;
    r->start_ns = now_ns + LEAD_NS;
}

void runner_start(runner *r, client *c) {
    PRE(r);
    PRE(c);
    PRE(!r->client);
    r->client = c;
    prepare_ahead(r, AHEAD);
    r->before_left = r->opt.plan->before_count;
    r->start_ns = clock_now_ns(); /* what comes before the clock starts has times of its own */
    if (r->before_left == 0) start_clock(r, clock_now_ns());
    loop_wake(r->loop);
}

static uint64_t due_ns(const runner *r, uint32_t i) {
    return i < r->opt.plan->before_count ? 0 : r->start_ns + item(r, i)->at_ns;
}

static bool is_due(const runner *r, uint64_t now_ns) {
    if (r->next >= r->opt.plan->count) return false;
    if (r->state == RUNNER_BEFORE && r->next >= r->opt.plan->before_count) return false;
    return due_ns(r, r->next) <= now_ns;
}

/* ---- the end ---- */

static void over(runner *r, runner_state how) {
    r->state = how;
    r->handler.over(r->handler.ctx, how);
}

static void cancel_running(runner *r, const char *error, uint64_t now_ns) {
    for (uint32_t i = r->oldest; i < r->next; i++) {
        if (!r->flights[i]) continue;
        r->client->ops->cancel(r->client, (uint64_t)i + 1);
        flight_end(r, i, ROW_UNFINISHED, error, now_ns);
    }
}

/* Members that were not sent are misses, and have rows. */
static void tell_unsent(runner *r, const char *error) {
    for (uint32_t i = r->next; i < r->opt.plan->count; i++) {
        if (item(r, i)->phase == ROW_TAIL) continue;
        flight *f = r->flights[i] = flight_new(item(r, i));
        f->row.outcome = ROW_UNSENT;
        f->row.error = error ? xstrdup(error) : NULL;
        flight_over(r, i);
    }
    r->next = r->opt.plan->count;
}

static void stop_as(runner *r, const char *error, runner_state how) {
    if (r->state > RUNNER_RUNS) return;
    cancel_running(r, error, clock_now_ns());
    tell_unsent(r, error);
    over(r, how);
}

void runner_stop(runner *r, const char *error) {
    PRE(r);
    stop_as(r, error, RUNNER_STOPPED);
}

/* Requests are sent in the order of the list, so the first that runs is the first to be late. */
static void time_out(runner *r, uint64_t now_ns) {
    while (r->oldest < r->next) {
        flight *f = r->flights[r->oldest];
        if (f && since_start(r, now_ns) < f->row.sent_ns + r->opt.request_timeout_ns) return;
        if (f) {
            r->client->ops->cancel(r->client, (uint64_t)r->oldest + 1);
            flight_end(r, r->oldest, ROW_TIMED_OUT, "the client's --request-timeout passed", now_ns);
        }
        r->oldest++;
    }
}

static void tell_windows(runner *r, uint64_t now_ns) {
    const schedule *s = r->opt.plan;
    uint64_t at = since_start(r, now_ns);
    if (now_ns < r->start_ns) return;
    while (r->windows_begun < s->window_count && at >= s->windows[r->windows_begun].begin_ns)
        r->handler.window(r->handler.ctx, r->windows_begun++, false);
    while (r->windows_ended < r->windows_begun) {
        const schedule_window *w = &s->windows[r->windows_ended];
        bool ended = w->end_ns == ROW_NEVER ? r->next >= w->first + w->count : at >= w->end_ns;
        if (!ended) return;
        r->handler.window(r->handler.ctx, r->windows_ended++, true);
    }
}

/* ---- turns ---- */

static void arm(runner *r, uint64_t at_ns) {
    if (r->armed_ns == at_ns) return;
    r->armed_ns = at_ns;
    struct itimerspec t = {
        .it_value = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)}};
    CHECK(timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &t, NULL) == 0);
}

/* When something must be done that no answer brings about */
static uint64_t next_ns(const runner *r) {
    const schedule *s = r->opt.plan;
    uint64_t at = UINT64_MAX;
    if (r->next < s->count && r->state == RUNNER_RUNS && has_place(r)) at = due_ns(r, r->next);
    if (r->state == RUNNER_RUNS && r->windows_begun < s->window_count)
        at = MIN(at, r->start_ns + s->windows[r->windows_begun].begin_ns);
    if (r->windows_ended < r->windows_begun && s->windows[r->windows_ended].end_ns != ROW_NEVER)
        at = MIN(at, r->start_ns + s->windows[r->windows_ended].end_ns);
    return at;
}

uint64_t runner_turn(runner *r, uint64_t now_ns) {
    PRE(r);
    if (!r->client || r->state > RUNNER_RUNS) return UINT64_MAX;
    while (is_due(r, now_ns) && has_place(r)) send_next(r);
    time_out(r, now_ns);
    if (r->state == RUNNER_BEFORE && r->before_left == 0) start_clock(r, now_ns);
    if (r->state == RUNNER_RUNS) {
        tell_windows(r, now_ns);
        if (r->members_left == 0 && r->windows_ended == r->opt.plan->window_count) {
            cancel_running(r, "the last member of the windows had ended", now_ns);
            over(r, RUNNER_ENDED);
            return UINT64_MAX;
        }
    }
    if (r->failed_since > 0 && now_ns > r->good_ns + r->opt.stall_ns) {
        stop_as(r, "the run was given up: nothing succeeded any more", RUNNER_STALLED);
        return UINT64_MAX;
    }
    uint64_t next = next_ns(r);
    if (next != UINT64_MAX) arm(r, next);
    bool room = r->prepared < r->opt.plan->count && r->prepared < r->next + AHEAD;
    if (room && next > now_ns + SPARE_NS) {
        prepare_ahead(r, AHEAD_PER_TURN);
        return now_ns; /* and more in the next turn, after what has come meanwhile */
    }
    return UINT64_MAX;
}

runner_counts runner_counts_of(const runner *r) {
    PRE(r);
    return r->counts;
}

runner_state runner_state_of(const runner *r) {
    PRE(r);
    return r->state;
}

uint64_t runner_start_ns(const runner *r) {
    PRE(r);
    return r->start_ns;
}
