#include "coordinator/ctl_print.h"

#include "base/mem.h"
#include "base/status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- as JSON ---- */

static void print_json(json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    puts(text ? text : "{}");
    free(text);
    json_decref(j);
}

/* Milliseconds to a tenth, as /health has them. */
static json_t *ms(double value) {
    return json_real((double)(int64_t)(value * 10 + 0.5) / 10);
}

static json_t *json_of_worker(const Baton__ServerWorker *w) {
    json_t *holds = json_pack("{s:i,s:i,s:i,s:i,s:i,s:i}", "computing", (int)w->computing, "parked",
                              (int)w->parked, "sending", (int)w->sending, "reserved", (int)w->reserved,
                              "decoding", (int)w->decoding, "closing", (int)w->closing);
    json_t *pages =
        json_pack("{s:i,s:i,s:i,s:i,s:i}", "total", (int)w->pages_total, "used", (int)w->pages_used, "cached",
                  (int)w->pages_cached, "pinned", (int)w->pages_pinned, "reserved", (int)w->pages_reserved);
    json_t *layers = json_pack("[i,i]", (int)w->step_layers_done, (int)w->step_layers);
    json_t *last_token = w->has_last_token_ms ? ms(w->last_token_ms) : json_null();
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:I,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:o,s:o}", "id", w->id, "name",
                     w->name, "host", w->host, "role", w->role, "state", w->state, "requests",
                     (int)w->requests, "step", (json_int_t)w->step, "step_age_ms", ms(w->step_age_ms),
                     "step_bound_ms", ms(w->step_bound_ms), "step_layers", layers, "silence_ms",
                     ms(w->silence_ms), "standing_ms", ms(w->standing_ms), "stuck", w->stuck, "last_token_ms",
                     last_token, "holds", holds, "pages", pages);
}

static json_t *json_of_workers(Baton__ServerWorker *const *all, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, json_of_worker(all[i]));
    return list;
}

static json_t *json_of_lost(const Baton__ServerLost *l) {
    return l ? json_pack("{s:s,s:s,s:o}", "worker", l->worker, "why", l->why, "age_ms", ms(l->age_ms))
             : json_null();
}

static json_t *json_of_status(const Baton__ServerStatus *s) {
    json_t *requests = json_pack("{s:i,s:i,s:i,s:i}", "queued", (int)s->queued, "prefill", (int)s->prefill,
                                 "wait_kv", (int)s->wait_kv, "decode", (int)s->decode);
    json_t *parked = json_pack("{s:i,s:I,s:o}", "count", (int)s->parked, "bytes", (json_int_t)s->parked_bytes,
                               "oldest_ms", ms(s->parked_oldest_ms));
    json_t *j = json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "version", s->version, "model", s->model, "status",
                          s->status, "uptime_s", ms(s->uptime_s), "requests", requests, "parked", parked,
                          "workers", json_of_workers(s->workers, s->n_workers));
    const struct {
        const char *name;
        uint64_t value;
    } totals[] = {{"workers_joined", s->workers_joined}, {"workers_left", s->workers_left},
                  {"workers_lost", s->workers_lost},     {"replays", s->replays},
                  {"preemptions", s->preemptions},       {"failed", s->failed},
                  {"stale_messages", s->stale_messages}, {"events_dropped", s->events_dropped}};
    for (size_t i = 0; i < ARRAY_LEN(totals); i++)
        json_object_set_new(j, totals[i].name, json_integer((json_int_t)totals[i].value));
    json_object_set_new(j, "last_lost", json_of_lost(s->last_lost));
    return j;
}

/* ---- for people ---- */

/* How wide the longest of a column is. */
static int width(Baton__ServerWorker *const *all, size_t count, bool of_host) {
    int most = 4; /* "name", "host" */
    for (size_t i = 0; i < count; i++) most = MAX(most, (int)strlen(of_host ? all[i]->host : all[i]->name));
    return most;
}

static void table(const Baton__ServerWorkers *all) {
    int name = width(all->workers, all->n_workers, false), host = width(all->workers, all->n_workers, true);
    printf("%-16s  %-*s  %-9s  %-8s  %-*s  %8s  %s\n", "id", name, "name", "role", "state", host, "host",
           "requests", "pages");
    for (size_t i = 0; i < all->n_workers; i++) {
        const Baton__ServerWorker *w = all->workers[i];
        printf("%-16s  %-*s  %-9s  %-8s  %-*s  %8u  %u/%u\n", w->id, name, w->name, w->role, w->state, host,
               w->host, w->requests, w->pages_used, w->pages_total);
    }
}

/* "12.3 s", or "-" where nothing is to be told. */
static const char *age(bool told, double milliseconds, char out[static 24]) {
    if (told)
        snprintf(out, 24, "%.1f s", milliseconds / 1e3);
    else
        snprintf(out, 24, "-");
    return out;
}

/* What it holds, by kind; "-" when nothing. */
static const char *holds(const Baton__ServerWorker *w, char out[static 128]) {
    const struct {
        const char *name;
        uint32_t count;
    } kinds[] = {{"computing", w->computing}, {"parked", w->parked},     {"sending", w->sending},
                 {"reserved", w->reserved},   {"decoding", w->decoding}, {"closing", w->closing}};
    snprintf(out, 128, "-");
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!kinds[i].count) continue;
        at += (size_t)snprintf(out + at, 128 - at, "%s%u %s", at ? ", " : "", kinds[i].count, kinds[i].name);
        if (at >= 128) break;
    }
    return out;
}

static void status_rows(const Baton__ServerStatus *s) {
    int name = width(s->workers, s->n_workers, false);
    printf("\n%-*s  %-9s  %-8s  %10s  %8s  %7s  %8s  %10s  %11s  %s\n", name, "name", "role", "state", "step",
           "step age", "layer", "standing", "last token", "pages", "holds");
    for (size_t i = 0; i < s->n_workers; i++) {
        const Baton__ServerWorker *w = s->workers[i];
        char step[24], standing[24], token[24], layer[24], pages[32], held[128];
        snprintf(layer, sizeof layer, "%u/%u", w->step_layers_done, w->step_layers);
        snprintf(pages, sizeof pages, "%u/%u", w->pages_used, w->pages_total);
        printf("%-*s  %-9s  %-8s  %10" PRIu64 "  %8s  %7s  %8s  %10s  %11s  %s%s\n", name, w->name, w->role,
               w->state, w->step, age(w->step_age_ms > 0, w->step_age_ms, step), w->step_layers ? layer : "-",
               age(w->standing_ms > 0, w->standing_ms, standing),
               age(w->has_last_token_ms, w->last_token_ms, token), pages, holds(w, held),
               w->stuck ? "  STUCK" : "");
    }
}

static void screen(const Baton__ServerStatus *s) {
    char ago[24];
    printf("%s  baton %s, %s, up %.0f s\n", s->status, s->version, s->model, s->uptime_s);
    printf("requests  %u queued, %u in prefill, %u wait for KV, %u decode\n", s->queued, s->prefill,
           s->wait_kv, s->decode);
    printf("parked KV %u prompts, %.1f MiB, oldest %s\n", s->parked, (double)s->parked_bytes / (1 << 20),
           age(s->parked > 0, s->parked_oldest_ms, ago));
    printf("so far    %" PRIu64 " failed, %" PRIu64 " replays, %" PRIu64 " preemptions, %" PRIu64
           " stale messages, %" PRIu64 " event lines lost\n",
           s->failed, s->replays, s->preemptions, s->stale_messages, s->events_dropped);
    printf("workers   %zu here, %" PRIu64 " joined, %" PRIu64 " left, %" PRIu64 " lost\n", s->n_workers,
           s->workers_joined, s->workers_left, s->workers_lost);
    if (s->last_lost)
        printf("last lost %s, %s ago: %s\n", s->last_lost->worker, age(true, s->last_lost->age_ms, ago),
               s->last_lost->why);
    status_rows(s);
}

void ctl_print_workers(const Baton__ServerWorkers *all, bool json) {
    PRE(all);
    if (json)
        print_json(json_pack("{s:o}", "workers", json_of_workers(all->workers, all->n_workers)));
    else
        table(all);
}

void ctl_print_status(const Baton__ServerStatus *s, bool json) {
    PRE(s);
    if (json)
        print_json(json_of_status(s));
    else
        screen(s);
}

void ctl_print_aborted(const Baton__ServerAborted *a, bool json) {
    PRE(a);
    if (json)
        print_json(json_pack("{s:i}", "choices", (int)a->choices));
    else
        printf("canceled: %u %s\n", a->choices, a->choices == 1 ? "choice" : "choices");
}
