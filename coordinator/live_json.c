#include "coordinator/live_json.h"

#include "coordinator/openai.h"

#include <inttypes.h>
#include <string.h>

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static void add_string(buf *out, const char *text) {
    openai_string(out, text, strlen(text));
}

static void add_spans(buf *out, const trace *t, const core_record *r) {
    buf_adds(out, "[");
    for (uint32_t i = 0; i < r->span_count; i++) {
        const core_span *s = &r->spans[i];
        const trace_worker *w = trace_worker_of(t, s->worker);
        buf_addf(out, "%s[\"%s\",%.3f,", i ? "," : "", core_stage_name(s->stage),
                 ms(s->begin_ns - r->born_ns));
        if (w)
            add_string(out, w->name);
        else
            buf_adds(out, "null");
        buf_adds(out, "]");
    }
    buf_adds(out, "]");
}

static void add_row(buf *out, const trace *t, const core_record *r, bool spans) {
    static const char *const ends[] = {
        [REQ_DONE] = "done", [REQ_FAILED] = "failed", [REQ_CANCELED] = "canceled"};
    buf_addf(out, "[%" PRIu64 ",%.1f,\"%s\",%u,%u,", r->req, ms(r->end_ns), ends[r->state], r->prompt_tokens,
             r->output_tokens);
    if (r->first_token_ns)
        buf_addf(out, "%.3f,", ms(r->first_token_ns - r->born_ns));
    else
        buf_adds(out, "null,");
    if (r->state == REQ_DONE && r->output_tokens > 1)
        buf_addf(out, "%.3f,", ms(r->end_ns - r->first_token_ns) / (r->output_tokens - 1));
    else
        buf_adds(out, "null,");
    buf_addf(out, "%.3f,%u,", ms(r->end_ns - r->born_ns), r->attempts);
    if (spans)
        add_spans(out, t, r);
    else
        buf_adds(out, "null");
    buf_adds(out, "]");
}

/* "ended":[..] */
static void add_rows(buf *out, const trace *t, uint64_t begin, uint64_t end) {
    bool comma = false;
    buf_adds(out, "\"ended\":[");
    for (uint64_t i = MAX(begin, trace_requests_begin(t)); i < end; i++) {
        if (comma) buf_adds(out, ",");
        comma = true;
        add_row(out, t, trace_request_at(t, i), end - i <= LIVE_SPANS_MAX);
    }
    buf_adds(out, "]");
}

static void add_worker(buf *out, const core_worker_info *w) {
    const ctl_heartbeat *b = &w->beat;
    buf_adds(out, "{\"name\":");
    add_string(out, w->name);
    buf_adds(out, ",\"host\":");
    add_string(out, w->host);
    buf_addf(out,
             ",\"role\":\"%s\",\"state\":\"%s\",\"running\":%u,\"waiting\":%u,\"parked\":%u,\"assigned\":%u,"
             "\"pages\":[%u,%u],\"step_age_ms\":%.1f,\"busy_s\":[%.4f,%.4f,%.4f]}",
             worker_role_name(w->role), member_sm.states[w->state].name, b->running, b->waiting, b->parked,
             w->assigned, b->pages_used, w->page_count, ms(b->step_age_ns),
             (double)b->busy_ns[BUSY_PREFILL] / 1e9, (double)b->busy_ns[BUSY_DECODE] / 1e9,
             (double)b->busy_ns[BUSY_MIXED] / 1e9);
}

static void add_handoffs(buf *out, const core *c, uint64_t now_ns) {
    core_handoff list[LIVE_HANDOFFS_MAX];
    uint32_t count = core_handoffs(c, now_ns, list, ARRAY_LEN(list));
    buf_addf(out, "\"handoffs\":{\"count\":%u,\"oldest\":[", count);
    for (uint32_t i = 0; i < MIN(count, (uint32_t)ARRAY_LEN(list)); i++) {
        buf_addf(out, "%s[%" PRIu64 ",", i ? "," : "", list[i].req);
        add_string(out, list[i].prefill);
        buf_adds(out, ",");
        if (list[i].decode)
            add_string(out, list[i].decode);
        else
            buf_adds(out, "null");
        buf_addf(out, ",%.1f]", ms(list[i].age_ns));
    }
    buf_adds(out, "]}");
}

void live_json_state(buf *out, const core *c, const health_facts *f, bool stopping, const trace *t,
                     const live_range *range, uint64_t now_ns) {
    PRE(out);
    PRE(c);
    PRE(f);
    PRE(t);
    PRE(range);
    PRE(range->begin <= range->end);
    core_counters n;
    core_counters_of(c, &n);
    buf_addf(out, "{\"t_ms\":%.1f,\"status\":\"%s\",\"model\":", ms(now_ns),
             health_word(c, f, stopping, now_ns));
    add_string(out, f->model);
    buf_adds(out, ",\"backend\":");
    const char *backend = core_numeric(c, "backend");
    add_string(out, backend ? backend : f->backend);
    buf_addf(out,
             ",\"version\":\"" BATON_VERSION
             "\",\"requests\":{\"queued\":%u,\"prefill\":%u,\"wait_kv\":%u,\"decode\":%u},\"workers\":[",
             n.requests[REQ_WAIT_PREFILL], n.requests[REQ_PREFILL], n.requests[REQ_WAIT_KV],
             n.requests[REQ_DECODE]);
    core_worker_info w;
    for (uint32_t i = 0; core_worker(c, i, now_ns, &w); i++) {
        if (i) buf_adds(out, ",");
        add_worker(out, &w);
    }
    buf_adds(out, "],");
    add_handoffs(out, c, now_ns);
    uint64_t begin = range->end - range->begin > LIVE_ROWS_MAX ? range->end - LIVE_ROWS_MAX : range->begin;
    buf_adds(out, ",");
    add_rows(out, t, begin, range->end);
    buf_addf(out, ",\"left_out\":%" PRIu64 "}", begin - range->begin);
}

void live_json_history(buf *out, const trace *t, uint64_t end, uint64_t now_ns) {
    PRE(out);
    PRE(t);
    buf_addf(out, "{\"t_ms\":%.1f,\"left_out\":%" PRIu64 ",", ms(now_ns), MIN(trace_requests_begin(t), end));
    add_rows(out, t, 0, end);
    buf_adds(out, "}");
}
