#include "bench/rows/row.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/status.h"

#include <math.h>
#include <stdlib.h>

static const char *const PHASES[] = {"warmup", "window", "tail"};
static const char *const OUTCOMES[] = {"ok", "refused", "failed", "timed_out", "unfinished", "unsent"};

const char *row_phase_name(row_phase p) {
    PRE((size_t)p < ARRAY_LEN(PHASES));
    return PHASES[p];
}

const char *row_outcome_name(row_outcome o) {
    PRE((size_t)o < ARRAY_LEN(OUTCOMES));
    return OUTCOMES[o];
}

row_stages row_stages_none(void) {
    return (row_stages){.queue_ms = NAN,
                        .prefill_ms = NAN,
                        .handoff_ms = NAN,
                        .decode_wait_ms = NAN,
                        .decode_ms = NAN,
                        .first_token_ms = NAN,
                        .total_ms = NAN};
}

void row_init(row *r) {
    PRE(r);
    *r = (row){.scheduled_ns = ROW_NEVER,
               .sent_ns = ROW_NEVER,
               .first_ns = ROW_NEVER,
               .last_ns = ROW_NEVER,
               .end_ns = ROW_NEVER,
               .stages = row_stages_none()};
}

void row_done(row *r) {
    if (!r) return;
    free(r->error);
    free(r->events);
    row_init(r);
}

void row_add_event(row *r, uint64_t at_ns, uint32_t tokens) {
    PRE(r);
    PRE(at_ns != ROW_NEVER);
    uint32_t n = r->event_count;
    if (!(n & (n - 1))) r->events = xrealloc(r->events, n ? (size_t)n * 2 : 1, sizeof *r->events);
    r->events[n] = (row_event){at_ns, tokens};
    r->event_count = n + 1;
    if (!tokens) return;
    if (r->first_ns == ROW_NEVER) r->first_ns = at_ns;
    r->last_ns = at_ns;
}

uint32_t row_tokens(const row *r) {
    PRE(r);
    if (r->output_tokens) return r->output_tokens;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < r->event_count; i++) sum += r->events[i].tokens;
    return sum;
}

/* b - a, which may be negative: ns times are unsigned. */
static double ms_between(uint64_t a_ns, uint64_t b_ns) {
    if (a_ns == ROW_NEVER || b_ns == ROW_NEVER) return NAN;
    return (double)(int64_t)(b_ns - a_ns) / NS_PER_MS;
}

double row_ttft_ms(const row *r) {
    PRE(r);
    return ms_between(r->scheduled_ns, r->first_ns);
}

double row_tpot_ms(const row *r) {
    PRE(r);
    uint32_t tokens = row_tokens(r);
    if (r->first_ns == ROW_NEVER || !tokens) return NAN;
    return tokens == 1 ? 0 : ms_between(r->first_ns, r->last_ns) / (tokens - 1);
}

double row_e2e_ms(const row *r) {
    PRE(r);
    return ms_between(r->scheduled_ns, r->last_ns);
}

uint32_t row_itls_ms(const row *r, double *out, uint32_t max) {
    PRE(r);
    PRE(out || !max);
    uint32_t with_content = 0, n = 0;
    for (uint32_t i = 0; i < r->event_count; i++) with_content += r->events[i].tokens > 0;
    if (!with_content) return 0;
    uint32_t gaps = with_content - 1, tokens = row_tokens(r);
    uint32_t zeros = tokens > with_content ? tokens - with_content : 0;
    uint64_t before = ROW_NEVER;
    for (uint32_t i = 0; i < r->event_count; i++) {
        const row_event *e = &r->events[i];
        if (!e->tokens) continue;
        if (before != ROW_NEVER) {
            if (n < max) out[n] = ms_between(before, e->at_ns);
            n++;
        }
        before = e->at_ns;
        for (uint32_t k = 1; k < e->tokens && zeros; k++, zeros--, n++)
            if (n < max) out[n] = 0;
    }
    for (; zeros; zeros--, n++) /* the server did not say with which events they came */
        if (n < max) out[n] = 0;
    POST(n >= gaps);
    return n;
}

double row_vllm_ttft_ms(const row *r) {
    PRE(r);
    return r->event_count ? ms_between(r->sent_ns, r->events[0].at_ns) : NAN;
}

double row_vllm_tpot_ms(const row *r) {
    PRE(r);
    uint32_t tokens = row_tokens(r);
    if (!r->event_count || !tokens) return NAN;
    return tokens == 1 ? 0 : (row_vllm_e2e_ms(r) - row_vllm_ttft_ms(r)) / (tokens - 1);
}

double row_vllm_e2e_ms(const row *r) {
    PRE(r);
    return r->event_count ? ms_between(r->sent_ns, r->events[r->event_count - 1].at_ns) : NAN;
}

uint32_t row_vllm_itls_ms(const row *r, double *out, uint32_t max) {
    PRE(r);
    PRE(out || !max);
    if (r->event_count < 2) return 0;
    for (uint32_t i = 1; i < r->event_count && i <= max; i++)
        out[i - 1] = ms_between(r->events[i - 1].at_ns, r->events[i].at_ns);
    return r->event_count - 1;
}
