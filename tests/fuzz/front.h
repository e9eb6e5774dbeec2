/* front - what the fuzzers of the coordinator's fronts have behind them: the core of the unit tests, its
 * streams, a loop, and a clock that the script moves. Include once per program, which is linked with
 * LINKER:--wrap=clock_now_ns. */
#ifndef BATON_TESTS_FUZZ_FRONT_H
#define BATON_TESTS_FUZZ_FRONT_H

#include "base/log.h"
#include "coordinator/trace.h"
#include "take.h"
#include "tests/unit/front_fakes.h"

enum { SUBMITTED_MOST = 400 };
#define FRONT_START_NS (1000 * NS_PER_S)

static struct {
    core core;
    meter *meter; /* these two count on from one input to the next */
    trace *trace;
    streams *streams;
    loop *loop;
    text_thread *text;
    uint64_t now_ns;
} front = {.now_ns = FRONT_START_NS};

typeof(clock_now_ns) __wrap_clock_now_ns;
uint64_t __wrap_clock_now_ns(void) {
    return front.now_ns;
}

static uint64_t no_turn(void *ctx, uint64_t now_ns) {
    (void)ctx, (void)now_ns;
    return UINT64_MAX;
}

static void front_begin(void) {
    errbuf eb = {0};
    log_setup(LOG_ERROR, "fuzz");
    front.now_ns = FRONT_START_NS;
    if (!front.meter) {
        front.meter = meter_new("tiny");
        front.trace = trace_new();
    }
    front.core = (core){.ready = true,
                        .refuse = ST_AGAIN,
                        .refuse_why = "the queue is full",
                        .refuse_after = SUBMITTED_MOST,
                        .lost = "it was silent"};
    front.streams = front.core.streams = streams_new(&front.core, &fake_tokenizer, front.meter);
    CHECK(loop_new(&front.loop, no_turn, NULL, &eb) == ST_OK);
    CHECK(text_new(&front.text, front.loop, &fake_env, &eb) == ST_OK);
}

/* After the fronts. */
static void front_end(void) {
    text_free(front.text);
    (void)streams_turn(front.streams, front.now_ns);
    CHECK(streams_alive(front.streams) == 0);
    streams_free(front.streams);
    loop_free(front.loop);
}

/* Beyond what a core may promise: any token, and any end. */
static void front_token(script *in) {
    uint64_t req = 1 + take_below(in, SUBMITTED_MOST);
    uint32_t what = take_byte(in);
    if (req > front.core.last || !front.core.requests[req].alive) return;
    token_out t = {.id = (int32_t)(what & 1u ? take_below(in, FAKE_VOCAB) : 'a' + what % 26u),
                   .fin = what < 200 ? FINISH_NONE : (finish)(what % 4u),
                   .logprob = -0.5f,
                   .top_count = 1,
                   .top = {{'a', -0.5f}}};
    if (what == 255)
        fake_end(&front.core, req, (core_end){.state = REQ_FAILED, .st = ST_IO, .why = "it failed"});
    else
        fake_token(&front.core, req, t);
}

/* Mostly short, so that bounds are come near to from below. */
static void front_later(script *in) {
    static const uint64_t steps[] = {NS_PER_MS, 250 * NS_PER_MS, NS_PER_S, 6 * NS_PER_S, 40 * NS_PER_S};
    front.now_ns += steps[take_below(in, ARRAY_LEN(steps))];
}

#endif
