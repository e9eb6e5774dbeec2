#include "bench/report/cell.h"

#include "bench/rows/row_file.h"
#include "bench/rows/settled.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TAIL_POINTS 160u
#define TOKENS_MAX  (1u << 27) /* of a cell: their gaps are sorted together, in 1 GiB */

const char *cell_state_text(cell_state s) {
    static const char *const text[] = {"done", "void", "failed", "unfinished", "missing"};
    PRE((size_t)s < ARRAY_LEN(text));
    return text[s];
}

const char *stage_text(stage s) {
    static const char *const text[] = {"queue", "prefill", "hand-off", "decode queue", "decode"};
    PRE((size_t)s < ARRAY_LEN(text));
    return text[s];
}

/* ---- limits ---- */

const char *limit_text(limit l) {
    static const char *const text[] = {"TTFT", "TPOT", "ITL", "E2E"};
    PRE((size_t)l < ARRAY_LEN(text));
    return text[l];
}

bool limit_is_set(const slo *s, limit l) {
    PRE(s);
    const bool set[] = {isfinite(s->ttft_ms), isfinite(s->tpot_ms),
                        isfinite(s->itl_p99_ms) || isfinite(s->itl_max_ms), isfinite(s->e2e_ms)};
    PRE((size_t)l < ARRAY_LEN(set));
    return set[l];
}

bool cell_row_keeps(const slo *s, const cell_row *r, limit l) {
    PRE(s);
    PRE(r);
    /* NAN, where no token came, keeps neither TTFT nor TPOT, whatever they are */
    const bool kept[] = {r->ttft_ms <= s->ttft_ms, r->tpot_ms <= s->tpot_ms,
                         r->itl_p99_ms <= s->itl_p99_ms && r->itl_max_ms <= s->itl_max_ms,
                         isinf(s->e2e_ms) || r->e2e_ms <= s->e2e_ms};
    PRE((size_t)l < ARRAY_LEN(kept));
    return r->ok && kept[l];
}

bool cell_row_good(const slo *s, const cell_row *r) {
    bool good = true;
    for (int l = 0; l < LIMITS; l++) good &= cell_row_keeps(s, r, (limit)l);
    return good;
}

/* ---- tails ---- */

void tail_init(tail *t, double *values, size_t n) {
    PRE(t);
    PRE(values || n == 0);
    *t = (tail){.n = n, .p50 = NAN, .p99 = NAN, .mean = NAN, .p99_low = NAN, .p99_high = NAN};
    if (n == 0) return;
    stats_sort(values, n);
    t->mean = stats_mean(values, n);
    t->p50 = stats_percentile(values, n, 50);
    t->p99 = stats_percentile(values, n, 99);
    double low, high;
    if (stats_percentile_interval(values, n, 99, &low, &high)) t->p99_low = low, t->p99_high = high;
    t->at = xcalloc(TAIL_POINTS, sizeof *t->at);
    t->above = xcalloc(TAIL_POINTS, sizeof *t->above);
    size_t last = SIZE_MAX;
    for (uint32_t i = 0; i < TAIL_POINTS; i++) { /* from all of them above down to one */
        double share = pow((double)n, -(double)i / (TAIL_POINTS - 1));
        size_t above = (size_t)MAX(1.0, round(share * (double)n));
        if (above == last) continue;
        last = above;
        t->at[t->points] = values[n - above];
        t->above[t->points++] = (double)above / (double)n;
    }
}

void tail_done(tail *t) {
    PRE(t);
    free(t->at);
    free(t->above);
    *t = (tail){0};
}

/* ---- rows ---- */

typedef struct numbers {
    double *v;
    size_t count, capacity;
} numbers;

static double *numbers_room(numbers *n, size_t more) {
    if (n->count + more > n->capacity) {
        n->capacity = MAX(n->count + more, 2 * n->capacity);
        n->v = xrealloc(n->v, n->capacity, sizeof *n->v);
    }
    return n->v + n->count;
}

static void numbers_add(numbers *n, double value) {
    if (isnan(value)) return;
    *numbers_room(n, 1) = value;
    n->count++;
}

static double seconds(uint64_t ns) {
    return ns == ROW_NEVER ? NAN : (double)ns / 1e9;
}

static void take_stages(cell_row *out, const row_stages *s) {
    double handoff = isnan(s->handoff_ms) ? 0 : s->handoff_ms;
    double wait = isnan(s->decode_wait_ms) ? 0 : s->decode_wait_ms;
    out->stage_ms[STAGE_QUEUE] = s->queue_ms;
    out->stage_ms[STAGE_PREFILL] = s->prefill_ms;
    out->stage_ms[STAGE_HANDOFF] = s->handoff_ms;
    out->stage_ms[STAGE_DECODE_WAIT] = s->decode_wait_ms;
    out->stage_ms[STAGE_DECODE] = isnan(s->decode_ms) ? NAN : MAX(0, s->decode_ms - handoff - wait);
}

static cell_row take_row(const row *r, numbers *itls) {
    cell_row out = {.seed = r->seed,
                    .phase = r->phase,
                    .ok = r->outcome == ROW_OK,
                    .output_tokens = row_tokens(r),
                    .scheduled_s = seconds(r->scheduled_ns),
                    .end_s = seconds(r->end_ns),
                    .ttft_ms = row_ttft_ms(r),
                    .tpot_ms = row_tpot_ms(r),
                    .e2e_ms = row_e2e_ms(r)};
    out.late_ms = (seconds(r->sent_ns) - out.scheduled_s) * 1e3;
    take_stages(&out, &r->stages);
    uint32_t max = MAX(r->event_count, out.output_tokens) + 1;
    double *v = numbers_room(itls, max);
    uint32_t n = MIN(row_itls_ms(r, v, max), max);
    bool pooled = out.ok && out.phase == ROW_WINDOW;
    double *own = xmemdup(v, MAX(n, 1) * sizeof *v);
    stats_sort(own, n);
    out.itl_p99_ms = n ? stats_percentile(own, n, 99) : 0;
    out.itl_max_ms = n ? own[n - 1] : 0;
    free(own);
    if (pooled) itls->count += n;
    return out;
}

static int by_schedule(const void *a, const void *b) {
    const cell_row *x = a, *y = b;
    return (x->scheduled_s > y->scheduled_s) - (x->scheduled_s < y->scheduled_s);
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The seeds of the windows, as the run and its rows say. */
static void take_seeds(cell *c) {
    size_t most = c->facts.segment_count + c->row_count;
    c->seeds = xcalloc(most + 1, sizeof *c->seeds);
    uint32_t n = 0;
    c->window_s = 0;
    for (uint32_t i = 0; i < c->facts.segment_count; i++) {
        c->seeds[n++] = c->facts.segments[i].seed;
        c->window_s += c->facts.segments[i].end_s - c->facts.segments[i].begin_s;
    }
    if (n == 0) c->window_s = NAN;
    for (size_t i = 0; i < c->row_count; i++) {
        if (c->rows[i].phase == ROW_WINDOW) c->seeds[n++] = c->rows[i].seed;
    }
    qsort(c->seeds, n, sizeof *c->seeds, by_number);
    for (uint32_t i = 0; i < n; i++) {
        if (i == 0 || c->seeds[i] != c->seeds[c->seed_count - 1]) c->seeds[c->seed_count++] = c->seeds[i];
    }
}

static void take_members(cell *c, numbers *itls) {
    numbers ttft = {0}, tpot = {0}, e2e = {0}, stages[STAGES] = {{0}};
    double tokens = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        const cell_row *r = &c->rows[i];
        if (r->phase != ROW_WINDOW) continue;
        c->member_count++;
        if (!r->ok) continue;
        tokens += r->output_tokens;
        numbers_add(&ttft, r->ttft_ms);
        numbers_add(&e2e, r->e2e_ms);
        if (r->output_tokens != 1) numbers_add(&tpot, r->tpot_ms);
        for (int s = 0; s < STAGES; s++) numbers_add(&stages[s], r->stage_ms[s]);
    }
    tail_init(&c->ttft, ttft.v, ttft.count);
    tail_init(&c->tpot, tpot.v, tpot.count);
    tail_init(&c->e2e, e2e.v, e2e.count);
    tail_init(&c->itl, itls->v, itls->count);
    for (int s = 0; s < STAGES; s++) {
        c->stage_mean_ms[s] = stages[s].count ? stats_mean(stages[s].v, stages[s].count) : NAN;
        free(stages[s].v);
    }
    c->output_tokens_per_s = tokens / c->window_s;
    free(ttft.v);
    free(tpot.v);
    free(e2e.v);
}

static void judge_again(facts *f, const row_list *rows) {
    if (!f->segment_count) return;
    run_steady s = settled_of(rows, f->segments[0].begin_s, f->segments[f->segment_count - 1].end_s);
    f->steady_reached = s.reached;
    f->unstable = s.unstable;
    f->drift = s.drift;
    f->warmup_needed_s = s.warmup_needed_s;
    f->g = s.g;
    f->g_limit = s.g_limit;
}

static status check_tokens(const row_list *l, const char *path, errbuf *eb) {
    uint64_t sum = 0;
    for (size_t i = 0; i < l->count; i++) sum += MAX(l->rows[i].event_count, row_tokens(&l->rows[i]));
    if (sum <= TOKENS_MAX) return ST_OK;
    return errf(eb, ST_INVALID,
                "%s: %llu output tokens, and at most %u of a run can be reported: is its "
                "server's usage right?",
                path, (unsigned long long)sum, TOKENS_MAX);
}

static status read_rows(cell *c, bool rejudge, errbuf *eb) {
    row_list list = {0};
    numbers itls = {0};
    char *path = xasprintf("%s/rows.jsonl", c->folder);
    status st = row_file_read(&list, path, &c->cut, eb);
    if (st == ST_OK) st = check_tokens(&list, path, eb);
    free(path);
    if (st == ST_OK && rejudge) judge_again(&c->facts, &list);
    if (st == ST_OK) {
        c->rows = xcalloc(list.count + 1, sizeof *c->rows);
        for (size_t i = 0; i < list.count; i++) c->rows[c->row_count++] = take_row(&list.rows[i], &itls);
        qsort(c->rows, c->row_count, sizeof *c->rows, by_schedule);
    }
    row_list_done(&list);
    take_seeds(c);
    take_members(c, &itls);
    free(itls.v);
    return st;
}

/* ---- the cell ---- */

/* PLACEMENT@WORKLOAD@RATE, PLACEMENT~VARIANT@... while tuning, PLACEMENT-again@... for an A/A pair; a
 * state.json says the same with more right. */
static void take_name(cell *c) {
    const char *first = strchr(c->id, '@'), *last = strrchr(c->id, '@');
    c->devices = 1;
    c->rate = NAN;
    if (!first || first == last) {
        c->placement = xstrdup(c->id);
        c->workload = xstrdup("");
        return;
    }
    c->placement = xstrndup(c->id, (size_t)(first - c->id));
    c->workload = xstrndup(first + 1, (size_t)(last - first - 1));
    c->rate = strtod(last + 1, NULL);
    c->tuning = strchr(c->placement, '~') != NULL;
    static const char again[] = "-again";
    size_t n = strlen(c->placement);
    if (n < sizeof again || strcmp(c->placement + n - strlen(again), again) != 0) return;
    free(c->again_of);
    c->again_of = xstrndup(c->placement, n - strlen(again));
}

static void replace(char **text, const char *with) {
    if (!with[0]) return;
    free(*text);
    *text = xstrdup(with);
}

static void take_state(cell *c, const json_t *o) {
    char text[256];
    json_text(o, "placement", text, sizeof text);
    replace(&c->placement, text);
    json_text(o, "workload", text, sizeof text);
    replace(&c->workload, text);
    c->rate = json_num(o, "rate", isnan(c->rate) ? INFINITY : c->rate);
    double devices = json_num(o, "devices", 1);
    c->devices = devices >= 1 && devices < 1e6 ? (uint32_t)devices : 1;
    c->baseline = json_flag(o, "baseline", false);
    json_text(o, "variant", text, sizeof text);
    replace(&c->variant, text);
    json_text(o, "again_of", text, sizeof text);
    replace(&c->again_of, text);
    c->tuning = json_flag(o, "tuning", c->tuning);
    char reason[1024];
    json_text(o, "reason", reason, sizeof reason);
    replace(&c->reason, reason);
    json_text(o, "state", text, sizeof text);
    for (int s = 0; s < CELL_RUNNING; s++) {
        if (strcmp(text, cell_state_text((cell_state)s)) == 0) c->state = (cell_state)s;
    }
}

static void set_state(cell *c, cell_state s, const char *reason) {
    c->state = s;
    replace(&c->reason, reason);
}

static void read_state(cell *c) {
    errbuf eb = {0};
    json_t *o = NULL;
    char *path = xasprintf("%s/state.json", c->folder);
    struct stat file;
    if (stat(path, &file) != 0) {
        set_state(c, CELL_RUNNING, "no state.json yet: it still runs, or was cut off");
    } else if (json_file(&o, path, &eb) != ST_OK) {
        set_state(c, CELL_FAILED, eb.text);
    } else {
        take_state(c, o);
        json_decref(o);
    }
    free(path);
}

static void begin(cell *c, const char *folder, const char *id) {
    *c = (cell){.id = xstrdup(id), .folder = xstrdup(folder), .reason = xstrdup(""), .state = CELL_RUNNING};
    c->variant = xstrdup("");
    c->again_of = xstrdup("");
    take_name(c);
}

void cell_missing(cell *c, const char *id) {
    PRE(c);
    PRE(id);
    begin(c, "", id);
    c->window_s = NAN;
    c->output_tokens_per_s = NAN;
    for (int s = 0; s < STAGES; s++) c->stage_mean_ms[s] = NAN;
    tail *all[] = {&c->ttft, &c->tpot, &c->itl, &c->e2e};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) tail_init(all[i], NULL, 0);
    set_state(c, CELL_MISSING, "not run yet");
}

void cell_read(cell *c, const char *folder, const char *id, bool rejudge) {
    PRE(c);
    PRE(folder);
    PRE(id);
    begin(c, folder, id);
    read_state(c);
    errbuf eb = {0};
    char *path = xasprintf("%s/run.json", folder);
    status st = facts_read(&c->facts, path, &eb);
    free(path);
    bool wanted = c->state == CELL_DONE || c->state == CELL_VOID;
    c->facts.valid |= st != ST_OK;
    if (st != ST_OK && (wanted || st != ST_IO)) set_state(c, CELL_FAILED, eb.text);
    eb = (errbuf){0};
    st = read_rows(c, rejudge, &eb);
    if (st != ST_OK && (wanted || st != ST_IO)) set_state(c, CELL_FAILED, eb.text);
    if (c->state == CELL_DONE && !c->facts.valid)
        set_state(c, CELL_VOID, c->facts.reasons.len ? c->facts.reasons.data : "its run.json says so");
    if (c->state == CELL_VOID && !c->reason[0])
        set_state(c, CELL_VOID, c->facts.reasons.len ? c->facts.reasons.data : "no reason given");
    if (c->state == CELL_DONE && c->member_count == 0)
        set_state(c, CELL_FAILED, "rows.jsonl has no request of the window");
}

void cell_done(cell *c) {
    PRE(c);
    free(c->id);
    free(c->folder);
    free(c->placement);
    free(c->workload);
    free(c->reason);
    free(c->variant);
    free(c->again_of);
    free(c->rows);
    free(c->seeds);
    facts_done(&c->facts);
    tail_done(&c->ttft);
    tail_done(&c->tpot);
    tail_done(&c->itl);
    tail_done(&c->e2e);
    *c = (cell){0};
}

double cell_rate_per_device(const cell *c) {
    PRE(c);
    return c->rate / c->devices;
}

bool cell_counts(const cell *c) {
    PRE(c);
    return c->state == CELL_DONE;
}

bool cell_settled(const cell *c) {
    PRE(c);
    return c->facts.steady_reached || !c->facts.present;
}

bool cell_hollow(const cell *c) {
    PRE(c);
    return !cell_counts(c) || (!cell_settled(c) && !c->facts.unstable);
}
