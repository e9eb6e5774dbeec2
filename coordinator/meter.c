#include "coordinator/meter.h"

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/meter_workers.h"
#include "obs/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* vLLM's bounds, so that its dashboards read these series as they are. */
static const double ttft_bounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                     1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
static const double gap_bounds[] = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                                    .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
static const double stage_bounds[] = {.001, .0025, .005, .01, .025, .05, .1,  .2,   .3,  .5,
                                      .8,   1,     1.5,  2,   2.5,  5,   10,  15,   20,  30,
                                      40,   50,    60,   120, 240,  480, 960, 1920, 7680};
static const double count_bounds[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                      500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

static const double per_token_bounds[] = {.001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3,
                                          .4,   .5,    .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
static const double step_bounds[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
/* prometheus-fastapi-instrumentator's, which vLLM's dashboards know. */
static const double http_bounds[] = {.1, .5, 1};

/* Of what the coordinator itself takes. */
static const double own_bounds[] = {.00002, .00005, .0001, .00015, .0002, .00025, .0003, .0004, .0005,
                                    .0006,  .0008,  .001,  .002,   .005,  .01,    .02,   .1,    1};

struct meter {
    metrics *all;
    char *label; /* model_name="...",engine="0" */
    metric *ttft, *gap, *e2e, *queue, *prefill, *decode, *handoff, *decode_wait;
    metric *prompt_tokens, *output_tokens, *prompt_sizes, *output_sizes, *params_n;
    metric *kv_token_bytes;
    metric *computed_tokens, *found_tokens;
    metric *per_token, *inference, *longest, *params_max_tokens, *step_tokens;
    double started;          /* seconds since 1970 */
    uint64_t events_dropped; /* see meter_events_dropped */
    metric *routed, *answered, *added;
    meter_workers *workers;
};

static metric *histogram(meter *m, const char *name, const char *help, const char *labels,
                         const double *bounds, uint32_t count) {
    return metrics_get(m->all, METRIC_HISTOGRAM, name, help, labels, bounds, count);
}

static metric *counter(meter *m, const char *name, const char *help, const char *labels) {
    return metrics_get(m->all, METRIC_COUNTER, name, help, labels, NULL, 0);
}

static metric *gauge(meter *m, const char *name, const char *help, const char *labels) {
    return metrics_get(m->all, METRIC_GAUGE, name, help, labels, NULL, 0);
}

/* Adds the model's label in front of one more label. Borrowed: out. */
static const char *with_label(const meter *m, const char *name, const char *value, buf *out) {
    buf_reset(out);
    buf_adds(out, m->label);
    metrics_label(out, name, value);
    return out->data;
}

meter *meter_new(const char *model) {
    PRE(model);
    meter *m = xcalloc(1, sizeof *m);
    m->all = metrics_new();
    m->started = (double)clock_wall_s();
    buf label = {0};
    metrics_label(&label, "model_name", model);
    metrics_label(&label, "engine", "0");
    m->label = label.data;
    m->workers = meter_workers_new(m->all, m->label);
    const char *l = m->label;
#define STAGES stage_bounds, ARRAY_LEN(stage_bounds)
#define COUNTS count_bounds, ARRAY_LEN(count_bounds)
    m->ttft = histogram(m, "vllm:time_to_first_token_seconds", "Arrival to first token.", l, ttft_bounds,
                        ARRAY_LEN(ttft_bounds));
    m->gap = histogram(m, "vllm:inter_token_latency_seconds", "Between two tokens of a choice.", l,
                       gap_bounds, ARRAY_LEN(gap_bounds));
    m->e2e = histogram(m, "vllm:e2e_request_latency_seconds", "Arrival to the last token.", l, STAGES);
    m->queue = histogram(m, "vllm:request_queue_time_seconds", "Time in the coordinator's queue.", l, STAGES);
    m->prefill = histogram(m, "vllm:request_prefill_time_seconds", "Time in prefill.", l, STAGES);
    m->decode = histogram(m, "vllm:request_decode_time_seconds", "Time in decode.", l, STAGES);
    m->prompt_sizes = histogram(m, "vllm:request_prompt_tokens", "Prompt tokens per request.", l, COUNTS);
    m->output_sizes = histogram(m, "vllm:request_generation_tokens", "Output tokens per choice.", l, COUNTS);
    m->per_token = histogram(m, "vllm:request_time_per_output_token_seconds",
                             "Mean time per token of a choice, after its first.", l, per_token_bounds,
                             ARRAY_LEN(per_token_bounds));
    m->inference = histogram(m, "vllm:request_inference_time_seconds", "Time after the queue.", l, STAGES);
    m->longest = histogram(m, "vllm:request_max_num_generation_tokens",
                           "Output tokens of a request's longest choice.", l, COUNTS);
    m->params_max_tokens = histogram(m, "vllm:request_params_max_tokens",
                                     "Most output tokens of a choice, as asked for.", l, COUNTS);
    m->step_tokens = histogram(m, "vllm:iteration_tokens_total", "Tokens of a worker's step.", l, step_bounds,
                               ARRAY_LEN(step_bounds));
    m->params_n = histogram(m, "vllm:request_params_n", "Choices asked for.", l, COUNTS);
    m->prompt_tokens = counter(m, "vllm:prompt_tokens_total", "Prompt tokens of admitted requests.", l);
    m->output_tokens =
        counter(m, "vllm:generation_tokens_total", "Tokens that reached their client's stream.", l);
    m->handoff =
        histogram(m, "baton_handoff_seconds", "Wait for the hand-off that a request saw.", "", STAGES);
    m->decode_wait = histogram(m, "baton_decode_wait_seconds",
                               "Verified hand-off to the decode worker's first token.", "", STAGES);
    m->routed = histogram(m, "baton_route_seconds",
                          "A choice's prompt was ids until a worker's connection had its PREFILL.", "",
                          own_bounds, ARRAY_LEN(own_bounds));
    m->answered = histogram(m, "baton_answer_seconds",
                            "A choice's first token came until its client's connection had its text.", "",
                            own_bounds, ARRAY_LEN(own_bounds));
    m->added = histogram(m, "baton_added_seconds", "Both of the above of one choice.", "", own_bounds,
                         ARRAY_LEN(own_bounds));
    m->kv_token_bytes = gauge(m, "baton_kv_token_bytes", "KV bytes of one token, all layers.", "");
    /* KV that came by hand-off was computed, or found in its prefix cache, by a prefill worker. */
    buf source = {0};
    m->computed_tokens =
        counter(m, "vllm:prompt_tokens_by_source_total", "Prompt tokens by where their KV came from.",
                with_label(m, "source", "local_compute", &source));
    m->found_tokens =
        counter(m, "vllm:prompt_tokens_by_source_total", "Prompt tokens by where their KV came from.",
                with_label(m, "source", "local_cache_hit", &source));
    buf_done(&source);
#undef STAGES
#undef COUNTS
    return m;
}

void meter_free(meter *m) {
    if (!m) return;
    meter_workers_free(m->workers);
    metrics_free(m->all);
    free(m->label);
    free(m);
}

void meter_joined(meter *m, const ctl_join *join) {
    PRE(m);
    PRE(join);
    metric_set(m->kv_token_bytes, (double)join->kv_token_bytes);
}

void meter_event(meter *m, const core_event *e) {
    PRE(m);
    PRE(e);
    if (e->kind == EVENT_JOIN) meter_workers_joined(m->workers, e->role, e->worker);
}

void meter_events_dropped(meter *m, uint64_t count) {
    PRE(m);
    m->events_dropped = count;
}

void meter_admitted(meter *m, uint32_t prompt_tokens, uint32_t choices, uint32_t max_tokens) {
    PRE(m);
    metric_add(m->prompt_tokens, prompt_tokens);
    metric_observe(m->prompt_sizes, prompt_tokens);
    metric_observe(m->params_n, choices);
    metric_observe(m->params_max_tokens, max_tokens);
}

void meter_request(meter *m, uint32_t output_tokens) {
    PRE(m);
    metric_observe(m->longest, output_tokens);
}

void meter_steps(meter *m, const core_steps *s) {
    PRE(m);
    PRE(s);
    for (uint32_t i = 0; i < s->count; i++)
        metric_observe(m->step_tokens, (double)s->steps[i].sums.tokens + s->steps[i].sums.batch);
}

void meter_prompt(meter *m, uint32_t tokens, uint32_t cached) {
    PRE(m);
    PRE(cached <= tokens);
    metric_add(m->computed_tokens, tokens - cached);
    metric_add(m->found_tokens, cached);
}

void meter_token(meter *m, uint64_t gap_ns, bool first) {
    PRE(m);
    metric_add(m->output_tokens, 1);
    if (!first) metric_observe(m->gap, (double)gap_ns / 1e9);
}

void meter_routed(meter *m, uint64_t ns) {
    PRE(m);
    metric_observe(m->routed, (double)ns / 1e9);
}

void meter_answered(meter *m, uint64_t routed_ns, uint64_t ns) {
    PRE(m);
    metric_observe(m->answered, (double)ns / 1e9);
    metric_observe(m->added, (double)(routed_ns + ns) / 1e9);
}

void meter_finished(meter *m, const char *reason, const core_times *t, uint32_t output_tokens) {
    PRE(m);
    PRE(reason);
    PRE(t);
    buf l = {0};
    metric_add(counter(m, "vllm:request_success_total", "Ended choices, by how.",
                       with_label(m, "finished_reason", reason, &l)),
               1);
    buf_done(&l);
    metric_observe(m->output_sizes, output_tokens);
    if (t->first_token_ns) metric_observe(m->ttft, (double)t->first_token_ns / 1e9);
    if (t->total_ns) metric_observe(m->e2e, (double)t->total_ns / 1e9);
    if (t->total_ns) metric_observe(m->queue, (double)t->queue_ns / 1e9);
    if (t->total_ns)
        metric_observe(m->inference, (double)(t->total_ns - MIN(t->queue_ns, t->total_ns)) / 1e9);
    if (t->first_token_ns && output_tokens > 1 && t->total_ns >= t->first_token_ns)
        metric_observe(m->per_token,
                       (double)(t->total_ns - t->first_token_ns) / 1e9 / (double)(output_tokens - 1));
    if (t->prefill_ns) metric_observe(m->prefill, (double)t->prefill_ns / 1e9);
    if (t->decode_ns) metric_observe(m->decode, (double)t->decode_ns / 1e9);
    if (t->handoff_ns) metric_observe(m->handoff, (double)t->handoff_ns / 1e9);
    if (t->decode_wait_ns) metric_observe(m->decode_wait, (double)t->decode_wait_ns / 1e9);
}

void meter_http(meter *m, const char *handler, const char *method, uint32_t code) {
    PRE(m);
    PRE(handler);
    char text[16];
    snprintf(text, sizeof text, "%uxx", code / 100);
    buf l = {0};
    metrics_label(&l, "handler", handler);
    metrics_label(&l, "method", method);
    metrics_label(&l, "status", text);
    metric_add(counter(m, "http_requests_total", "Answered HTTP requests.", l.data), 1);
    buf_done(&l);
}

void meter_http_done(meter *m, const char *handler, const char *method, uint64_t ns) {
    PRE(m);
    PRE(handler);
    PRE(method);
    buf l = {0};
    metrics_label(&l, "handler", handler);
    metrics_label(&l, "method", method);
    metric_observe(histogram(m, "http_request_duration_seconds",
                             "From a request's last byte until the last of its answer is made.", l.data,
                             http_bounds, ARRAY_LEN(http_bounds)),
                   (double)ns / 1e9);
    buf_done(&l);
}

void meter_http_crowd(meter *m, uint32_t connections, size_t held) {
    PRE(m);
    metric_set(gauge(m, "baton_http_connections", "Connections of HTTP clients.", ""), connections);
    metric_set(gauge(m, "baton_http_upload_bytes", "Of requests over HTTP that are being read.", ""),
               (double)held);
}

static void copy_counter(meter *m, const char *name, const char *help, uint64_t value) {
    metric_set(counter(m, name, help, ""), (double)value);
}

static void copy_requests(meter *m, const core_counters *n) {
    uint32_t running = 0;
    for (uint32_t i = 0; i < request_sm.state_count; i++) {
        if (request_sm.states[i].end) continue;
        buf l = {0};
        metrics_label_lower(&l, "state", request_sm.states[i].name);
        metric_set(gauge(m, "baton_requests", "Choices alive, by state.", l.data), n->requests[i]);
        buf_done(&l);
        if (i == REQ_PREFILL || i == REQ_WAIT_KV || i == REQ_DECODE) running += n->requests[i];
    }
    metric_set(gauge(m, "vllm:num_requests_running", "Choices at a worker.", m->label), running);
    metric_set(gauge(m, "vllm:num_requests_waiting", "Choices in the queue.", m->label),
               n->requests[REQ_NEW] + n->requests[REQ_WAIT_PREFILL]);
    buf l = {0};
    metric_set(gauge(m, "vllm:num_requests_waiting_by_reason", "Choices in the queue, by why.",
                     with_label(m, "reason", "capacity", &l)),
               n->requests[REQ_NEW] + n->requests[REQ_WAIT_PREFILL]);
    buf_done(&l);
}

static void copy_queue(meter *m, const core_counters *n) {
    copy_counter(m, "baton_queue_expired_total",
                 "Choices that ended in the queue, since their first token could not come in time.",
                 n->expired);
    metric_set(gauge(m, "baton_queue_tokens", "Prompt tokens that wait for a worker.", ""),
               (double)n->queue_tokens);
    metric_set(gauge(m, "baton_queue_clients", "Clients that have new requests in the queue.", ""),
               n->queue_clients);
    metric_set(gauge(m, "baton_queue_tokens_per_second",
                     "Prompt tokens that leave the queue while somebody waits; 0: not known yet.", ""),
               n->queue_tokens_per_s);
    metric_set(gauge(m, "baton_queue_margin_seconds",
                     "What is added to the expected time to first token, so that few come later.", ""),
               (double)n->margin_ns / 1e9);
}

static void copy_totals(meter *m, const core_counters *n) {
    copy_counter(m, "baton_submitted_total", "Choices admitted.", n->submitted);
    copy_counter(m, "baton_rejected_full_total", "Refused because the queue was full.",
                 n->rejected_full + n->rejected_tokens + n->rejected_share);
    copy_counter(m, "baton_rejected_invalid_total", "Refused because they can never fit.",
                 n->rejected_invalid);
    copy_counter(m, "baton_failed_total", "Choices that failed.", n->failed);
    copy_counter(m, "baton_canceled_total", "Choices whose client left.", n->canceled);
    copy_counter(m, "baton_replays_total", "Requests replayed after a failure.", n->replays);
    copy_counter(m, "baton_preemptions_total", "Sequences preempted by a full decode pool.", n->preemptions);
    copy_counter(m, "baton_workers_joined_total", "Workers that joined.", n->workers_joined);
    copy_counter(m, "baton_workers_left_total", "Workers that were drained and told to end.",
                 n->workers_left);
    copy_counter(m, "baton_workers_lost_total", "Workers that were lost; /health tells the last and why.",
                 n->workers_lost);
    copy_counter(m, "baton_stale_messages_total", "Messages about what is over, answered with DROP.",
                 n->stale_messages);
    copy_counter(m, "baton_duplicate_tokens_total", "Tokens that came twice and were equal.",
                 n->duplicate_tokens);
    copy_counter(m, "baton_handoffs_started_total", "Hand-offs begun.", n->handoffs_started);
    copy_counter(m, "baton_handoffs_verified_total", "Hand-offs verified by the receiver.",
                 n->handoffs_verified);
    copy_counter(m, "baton_handoffs_failed_total", "Hand-offs that failed.", n->handoffs_failed);
    copy_counter(m, "baton_handoff_bytes_total", "KV payload of verified hand-offs.", n->handoff_bytes);
    metric_set(gauge(m, "baton_handoffs_pending", "Hand-offs begun and not verified.", ""),
               n->handoffs_pending);
    metric_set(gauge(m, "baton_kv_pages_pinned", "Pages of finished prompts that wait for a receiver.", ""),
               (double)n->pages_pinned);
    metric_set(counter(m, "vllm:prefix_cache_queries_total", "Prompt tokens looked for in a prefix cache.",
                       m->label),
               (double)n->cache_queries);
    metric_set(counter(m, "vllm:prefix_cache_hits_total", "Prompt tokens found in a prefix cache.", m->label),
               (double)n->cache_hits);
    buf l = {0};
    static const char rejections[] = "vllm:admission_rejections_total", *const help =
                                                                            "Refused requests, by why.";
    const struct {
        const char *reason;
        uint64_t count;
    } refused[] = {
        {"queue_full", n->rejected_full},    {"queue_tokens", n->rejected_tokens},
        {"client_share", n->rejected_share}, {"deadline", n->rejected_late},
        {"too_large", n->rejected_invalid},  {"no_worker", n->rejected_roles},
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        metric_set(counter(m, rejections, help, with_label(m, "reason", refused[i].reason, &l)),
                   (double)refused[i].count);
    buf_done(&l);
    copy_queue(m, n);
    metric_set(counter(m, "vllm:num_preemptions_total", "Sequences preempted.", m->label),
               (double)n->preemptions);
}

/* Of what stands still, starts again, or is not heard. */
static void copy_watch(meter *m, const core_counters *n, uint64_t now_ns) {
    bool any = n->parked_since_ns && now_ns > n->parked_since_ns;
    metric_set(gauge(m, "baton_kv_parked", "Computed prompts whose KV no decode worker takes yet.", ""),
               n->parked);
    metric_set(gauge(m, "baton_kv_parked_bytes", "KV of these, in whole pages.", ""),
               (double)n->parked_bytes);
    metric_set(gauge(m, "baton_kv_parked_oldest_seconds", "Since when the oldest of them waits.", ""),
               any ? (double)(now_ns - n->parked_since_ns) / 1e9 : 0);
    for (uint32_t i = 0; i < RETRY_COUNT; i++) {
        buf l = {0};
        metrics_label(&l, "reason", core_retry_name((core_retry)i));
        metric_set(
            counter(m, "baton_retries_total", "Requests and hand-offs that began again, by why.", l.data),
            (double)n->retries[i]);
        buf_done(&l);
    }
    for (uint32_t i = 0; i < CTL_KIND_COUNT; i++) {
        if (!n->stale_kinds[i]) continue;
        buf l = {0};
        metrics_label_lower(&l, "kind", ctl_kind_name((ctl_kind)i));
        metric_set(
            counter(m, "baton_stale_messages_by_kind_total", "Messages about what is over, by kind.", l.data),
            (double)n->stale_kinds[i]);
        buf_done(&l);
    }
    copy_counter(m, "baton_drops_sent_total", "DROPs that answered stale messages.", n->drops_sent);
    copy_counter(m, "baton_log_dropped_total",
                 "Lines of the coordinator's log that could not be written at once.", log_dropped());
    copy_counter(m, "baton_events_dropped_total", "Lines of cluster.event_log that could not be written.",
                 m->events_dropped);
}

static double seconds(const struct timeval *t) {
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static void copy_process(meter *m) {
    struct rusage used;
    CHECK(getrusage(RUSAGE_SELF, &used) == 0);
    metric_set(counter(m, "process_cpu_seconds_total", "CPU time of the coordinator, user and system.", ""),
               seconds(&used.ru_utime) + seconds(&used.ru_stime));
    metric_set(gauge(m, "process_start_time_seconds", "Start of the coordinator, in seconds since 1970.", ""),
               m->started);
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%*s %lu", &pages) == 1)
        metric_set(gauge(m, "process_resident_memory_bytes", "Memory of the coordinator.", ""),
                   (double)pages * (double)sysconf(_SC_PAGESIZE));
    if (f) (void)fclose(f);
    DIR *d = opendir("/proc/self/fd");
    double open = -3; /* ".", ".." and d itself */
    while (d && readdir(d)) open++;
    if (d) metric_set(gauge(m, "process_open_fds", "Open descriptors.", ""), open);
    if (d) (void)closedir(d);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        metric_set(gauge(m, "process_max_fds", "Most open descriptors.", ""), (double)files.rlim_cur);
}

void meter_print(meter *m, const core *c, uint64_t now_ns, buf *out) {
    PRE(m);
    PRE(c);
    PRE(out);
    core_counters n;
    core_counters_of(c, &n);
    copy_requests(m, &n);
    copy_totals(m, &n);
    copy_watch(m, &n, now_ns);
    meter_workers_copy(m->workers, c, now_ns);
    copy_process(m);
    metrics_print(m->all, out);
}
