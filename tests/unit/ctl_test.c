/* Every kind of control message survives the wire, and no bytes whatever hurt the reader. */
#include "tests/test.h"

#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/ctl_limits.h"
#include "proto/control.pb-c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int32_t prompt[] = {1, 2, 49151, 0, INT32_MAX};
static const int32_t output[] = {7, 300};
static const int32_t stop_ids[] = {2, 5};
static const sampling_bias bias[] = {{.id = 9, .bias = -100.0f}, {.id = 10, .bias = 1.5f}};
static const ctl_numeric numerics[] = {{"path", "cpu/avx2"}, {"kv_dtype", "f16"}};
static const ctl_token tokens[] = {
    {.req = 5,
     .attempt = 2,
     .index = 0,
     .token = {.id = 17, .fin = FINISH_NONE, .logprob = -0.5f},
     .cached = 48},
    {.req = 1ull << 40,
     .attempt = 1,
     .index = 9,
     .token =
         {.id = 2, .fin = FINISH_EOS, .logprob = -1.5f, .top_count = 2, .top = {{2, -1.5f}, {8, -2.5f}}}},
};

static const ctl_step steps[] = {
    {500, 400, {.tokens = 300, .chunks = 2, .squares = 1ull << 40}},
    {90, 80, {.batch = 70, .context = 1ull << 33}},
    {UINT32_MAX, UINT32_MAX, {.tokens = 1, .batch = 2, .chunks = 3, .squares = 4, .context = 5}}};

static ctl_work sample_work(void) {
    return (ctl_work){
        .prompt = prompt,
        .prompt_count = ARRAY_LEN(prompt),
        .output = output,
        .output_count = ARRAY_LEN(output),
        .params = {.temperature = 0.7f,
                   .top_p = 0.9f,
                   .min_p = 0.05f,
                   .top_k = -1,
                   .repetition_penalty = 1.1f,
                   .presence_penalty = -0.5f,
                   .frequency_penalty = 0.25f,
                   .seed = UINT64_MAX,
                   .choice = 3,
                   .max_tokens = 128,
                   .min_tokens = 4,
                   .ignore_eos = true,
                   .logprobs = -1,
                   .prompt_logprobs = 7,
                   .stop_id_count = ARRAY_LEN(stop_ids),
                   .bias_count = ARRAY_LEN(bias),
                   .stop_ids = stop_ids,
                   .bias = bias,
                   .spec = "{\"regex\": \"a\"}",
                   .spec_len = 14},
        .then_decode = true,
        .p_inc = 0xfedcba9876543210u,
        .ids_hash = 0x123456789abcdef0u,
        .cache = true,
        .salt = {UINT64_MAX, 5},
    };
}

static const token_out prompt_rows[] = {
    {.logprob = -0.5f, .rank = 1, .top_count = 2, .top = {{7, -0.5f}, {8, -1.5f}}},
    {.logprob = -9, .rank = 70000, .top_count = 2, .top = {{1, -0.25f}, {0, -2}}},
};

static ctl_msg sample(ctl_kind kind) {
    ctl_msg m = {
        .kind = kind, .epoch = 1ull << 63, .incarnation = 77, .req = 42, .attempt = 3, .free_pages = 1000};
    switch (kind) {
    case CTL_JOIN:
        m.join = (ctl_join){.role = ROLE_DECODE,
                            .name = "decode-0",
                            .host = "a",
                            .pid = 99,
                            .endpoint = "tcp://10.0.0.2:41231",
                            .transport = "shm",
                            .page_count = 512,
                            .page_tokens = 16,
                            .max_seqs = 64,
                            .max_rows = 65,
                            .max_context = 2048,
                            .kv_token_bytes = 23040,
                            .last_incarnation = UINT64_MAX - 1,
                            .numerics = numerics,
                            .numeric_count = ARRAY_LEN(numerics)};
        break;
    case CTL_HEARTBEAT:
        m.heartbeat = (ctl_heartbeat){.step = 1,
                                      .step_age_ns = 2,
                                      .step_bound_ns = 3,
                                      .step_layers_done = 31,
                                      .step_layers = 32,
                                      .running = 4,
                                      .waiting = 5,
                                      .parked = 6,
                                      .sends_pending = 7,
                                      .decode_rows = 8,
                                      .decode_steps = 9,
                                      .prefill_rows = 10,
                                      .xfer_segments = 11,
                                      .xfer_bytes = 12,
                                      .xfer_failures = 13,
                                      .stale = 14,
                                      .pages_used = 15,
                                      .drain = true,
                                      .busy_ns = {16, 17, 18},
                                      .steps = steps,
                                      .step_count = ARRAY_LEN(steps),
                                      .steps_left_out = 19,
                                      .cache_queries = 20,
                                      .cache_hits = 21,
                                      .cache_pages = 22,
                                      .cache_evictions = 23};
        break;
    case CTL_NO_ROOM:
    case CTL_HANDOFF_FAILED:
    case CTL_FAILED:
    case CTL_LEAVING:
        m.failed = (ctl_failed){.segment = 4, .why = "checksum"};
        break;
    case CTL_RESERVED:
        m.reserved = (ctl_reserved){.d_have = 16};
        break;
    case CTL_TOKENS:
        m.tokens = (ctl_tokens){.tokens = tokens, .count = ARRAY_LEN(tokens)};
        break;
    case CTL_VERIFIED:
        m.verified = (ctl_verified){.bytes = 1ull << 33, .segments = 12, .exposed_ns = 5};
        break;
    case CTL_WELCOME:
        m.welcome = (ctl_welcome){.lease_ns = 10000000000u, .heartbeat_ns = 250000000u, .name = "decode-0"};
        break;
    case CTL_REFUSED:
        m.refused.field = "path";
        m.refused.why = "avx512 is not avx2";
        break;
    case CTL_PREFILL:
    case CTL_RESERVE:
        m.work = sample_work();
        break;
    case CTL_PROMPT:
        m.prompt =
            (ctl_prompt){.begin = 17, .rows = prompt_rows, .count = ARRAY_LEN(prompt_rows), .done = true};
        break;
    case CTL_PAIR:
        m.pair = (ctl_pair){.d_inc = UINT64_MAX,
                            .transport = "nccl",
                            .open = true,
                            .latency_ns = 123456,
                            .bytes_per_s = 1ull << 38,
                            .why = "the connection is lost"};
        break;
    case CTL_DEST:
    case CTL_PEER:
    case CTL_PEER_GONE:
        m.dest = (ctl_dest){
            .d_inc = UINT64_MAX, .endpoint = "tcp://10.0.0.2:41231", .new_attempt = 4, .token_begin = 48};
        break;
    case CTL_PREEMPTED:
    case CTL_CLOSED:
    case CTL_DRAINED:
    case CTL_ACK:
    case CTL_RELEASE:
    case CTL_CANCEL:
    case CTL_DROP:
    case CTL_DRAIN:
    case CTL_EXIT:
    case CTL_NONE:
    case CTL_KIND_COUNT:
        break;
    }
    return m;
}

static void assert_work_equal(const ctl_work *a, const ctl_work *b) {
    assert_int_equal(a->prompt_count, b->prompt_count);
    assert_memory_equal(a->prompt, b->prompt, a->prompt_count * sizeof *a->prompt);
    assert_int_equal(a->output_count, b->output_count);
    assert_memory_equal(a->output, b->output, a->output_count * sizeof *a->output);
    assert_int_equal(a->then_decode, b->then_decode);
    assert_true(a->p_inc == b->p_inc && a->ids_hash == b->ids_hash);
    const sampling *p = &a->params, *q = &b->params;
    assert_true(p->temperature == q->temperature && p->top_p == q->top_p && p->min_p == q->min_p);
    assert_true(p->top_k == q->top_k && p->repetition_penalty == q->repetition_penalty);
    assert_true(p->presence_penalty == q->presence_penalty && p->frequency_penalty == q->frequency_penalty);
    assert_true(p->seed == q->seed && p->choice == q->choice && p->max_tokens == q->max_tokens);
    assert_true(p->min_tokens == q->min_tokens && p->ignore_eos == q->ignore_eos &&
                p->logprobs == q->logprobs && p->prompt_logprobs == q->prompt_logprobs);
    assert_int_equal(p->stop_id_count, q->stop_id_count);
    assert_memory_equal(p->stop_ids, q->stop_ids, p->stop_id_count * sizeof *p->stop_ids);
    assert_int_equal(p->bias_count, q->bias_count);
    assert_memory_equal(p->bias, q->bias, p->bias_count * sizeof *p->bias);
    assert_int_equal(p->spec_len, q->spec_len);
    assert_memory_equal(p->spec, q->spec, p->spec_len);
}

static void assert_heartbeat_equal(const ctl_heartbeat *a, const ctl_heartbeat *b) {
    ctl_heartbeat x = *a, y = *b;
    assert_int_equal(x.step_count, y.step_count);
    for (uint32_t i = 0; i < x.step_count; i++) {
        const ctl_step *s = &x.steps[i], *t = &y.steps[i];
        assert_int_equal(s->age_us, t->age_us);
        assert_int_equal(s->duration_us, t->duration_us);
        assert_int_equal(s->sums.tokens, t->sums.tokens);
        assert_int_equal(s->sums.batch, t->sums.batch);
        assert_int_equal(s->sums.chunks, t->sums.chunks);
        assert_int_equal(s->sums.squares, t->sums.squares);
        assert_int_equal(s->sums.context, t->sums.context);
    }
    x.steps = y.steps = NULL;
    assert_memory_equal(&x, &y, sizeof x);
}

static void assert_join_equal(const ctl_join *a, const ctl_join *b) {
    assert_int_equal(a->role, b->role);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->host, b->host);
    assert_string_equal(a->endpoint, b->endpoint);
    assert_string_equal(a->transport, b->transport);
    assert_true(a->pid == b->pid && a->page_count == b->page_count && a->page_tokens == b->page_tokens);
    assert_true(a->max_seqs == b->max_seqs && a->max_rows == b->max_rows && a->max_context == b->max_context);
    assert_true(a->kv_token_bytes == b->kv_token_bytes && a->last_incarnation == b->last_incarnation);
    assert_int_equal(a->numeric_count, b->numeric_count);
    for (uint32_t i = 0; i < a->numeric_count; i++) {
        assert_string_equal(a->numerics[i].name, b->numerics[i].name);
        assert_string_equal(a->numerics[i].value, b->numerics[i].value);
    }
}

static void assert_tokens_equal(const ctl_tokens *a, const ctl_tokens *b) {
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        const ctl_token *s = &a->tokens[i], *t = &b->tokens[i];
        assert_true(s->req == t->req && s->attempt == t->attempt && s->index == t->index);
        assert_true(s->token.id == t->token.id && s->token.fin == t->token.fin);
        assert_true(s->token.logprob == t->token.logprob);
        assert_int_equal(s->token.top_count, t->token.top_count);
        assert_memory_equal(s->token.top, t->token.top, s->token.top_count * sizeof s->token.top[0]);
    }
}

static void assert_equal(const ctl_msg *a, const ctl_msg *b) {
    assert_int_equal(a->kind, b->kind);
    assert_true(a->epoch == b->epoch && a->incarnation == b->incarnation && a->req == b->req);
    assert_true(a->attempt == b->attempt && a->free_pages == b->free_pages);
    switch (a->kind) {
    case CTL_JOIN:
        assert_join_equal(&a->join, &b->join);
        break;
    case CTL_HEARTBEAT:
        assert_heartbeat_equal(&a->heartbeat, &b->heartbeat);
        break;
    case CTL_NO_ROOM:
    case CTL_HANDOFF_FAILED:
    case CTL_FAILED:
    case CTL_LEAVING:
        assert_int_equal(a->failed.segment, b->failed.segment);
        assert_string_equal(a->failed.why, b->failed.why);
        break;
    case CTL_RESERVED:
        assert_memory_equal(&a->reserved, &b->reserved, sizeof a->reserved);
        break;
    case CTL_TOKENS:
        assert_tokens_equal(&a->tokens, &b->tokens);
        break;
    case CTL_VERIFIED:
        assert_true(a->verified.bytes == b->verified.bytes && a->verified.segments == b->verified.segments);
        assert_true(a->verified.exposed_ns == b->verified.exposed_ns);
        break;
    case CTL_WELCOME:
        assert_true(a->welcome.lease_ns == b->welcome.lease_ns &&
                    a->welcome.heartbeat_ns == b->welcome.heartbeat_ns);
        assert_string_equal(a->welcome.name, b->welcome.name);
        break;
    case CTL_REFUSED:
        assert_string_equal(a->refused.field, b->refused.field);
        assert_string_equal(a->refused.why, b->refused.why);
        break;
    case CTL_PREFILL:
    case CTL_RESERVE:
        assert_work_equal(&a->work, &b->work);
        break;
    case CTL_PROMPT:
        assert_int_equal(a->prompt.begin, b->prompt.begin);
        assert_int_equal(a->prompt.done, b->prompt.done);
        assert_int_equal(a->prompt.count, b->prompt.count);
        assert_memory_equal(a->prompt.rows, b->prompt.rows, a->prompt.count * sizeof *a->prompt.rows);
        break;
    case CTL_PAIR:
        assert_true(a->pair.d_inc == b->pair.d_inc);
        assert_int_equal(a->pair.open, b->pair.open);
        assert_true(a->pair.latency_ns == b->pair.latency_ns);
        assert_true(a->pair.bytes_per_s == b->pair.bytes_per_s);
        assert_string_equal(a->pair.transport, b->pair.transport);
        assert_string_equal(a->pair.why, b->pair.why);
        break;
    case CTL_DEST:
    case CTL_PEER:
    case CTL_PEER_GONE:
        assert_true(a->dest.d_inc == b->dest.d_inc);
        assert_int_equal(a->dest.new_attempt, b->dest.new_attempt);
        assert_int_equal(a->dest.token_begin, b->dest.token_begin);
        assert_string_equal(a->dest.endpoint, b->dest.endpoint);
        break;
    case CTL_PREEMPTED:
    case CTL_CLOSED:
    case CTL_DRAINED:
    case CTL_ACK:
    case CTL_RELEASE:
    case CTL_CANCEL:
    case CTL_DROP:
    case CTL_DRAIN:
    case CTL_EXIT:
    case CTL_NONE:
    case CTL_KIND_COUNT:
        break;
    }
}

static void every_kind_comes_back_as_it_was_sent(void **state) {
    (void)state;
    for (ctl_kind kind = CTL_JOIN; kind < CTL_KIND_COUNT; kind++) {
        ctl_msg sent = sample(kind), got;
        buf wire = {0};
        errbuf eb = {0};
        ctl_pack(&sent, &wire);
        if (ctl_unpack(wire.data, wire.len, &got, &eb) != ST_OK)
            fail_msg("%s: %s", ctl_kind_name(kind), eb.text);
        buf_done(&wire); /* the message must not point into the wire's bytes */
        assert_equal(&sent, &got);
        ctl_done(&got);
        assert_null(got.owned);
    }
}

static void null_strings_travel_as_empty_ones(void **state) {
    (void)state;
    ctl_msg sent = {.kind = CTL_NO_ROOM, .req = 1}, got;
    buf wire = {0};
    ctl_pack(&sent, &wire);
    assert_int_equal(ctl_unpack(wire.data, wire.len, &got, NULL), ST_OK);
    assert_string_equal(got.failed.why, "");
    ctl_done(&got);
    buf_done(&wire);
}

/* Flipping each bit and cutting at each byte of every sample: the reader may accept or refuse, never crash or
 * leak. */
static void no_flipped_or_cut_byte_hurts(void **state) {
    (void)state;
    uint32_t refused = 0;
    for (ctl_kind kind = CTL_JOIN; kind < CTL_KIND_COUNT; kind++) {
        ctl_msg sent = sample(kind), got;
        buf wire = {0};
        ctl_pack(&sent, &wire);
        for (size_t len = 0; len < wire.len; len++) {
            char *cut = xmemdup(wire.data, len); /* its own block, so that a read past its end is seen */
            errbuf eb = {0};
            status st = ctl_unpack(cut, len, &got, &eb);
            if (st == ST_OK)
                ctl_done(&got);
            else
                refused += st == ST_CORRUPT && eb.text[0];
            free(cut);
        }
        for (size_t bit = 0; bit < wire.len * 8; bit++) {
            char *flipped = xmemdup(wire.data, wire.len);
            flipped[bit / 8] ^= (char)(1 << bit % 8);
            errbuf eb = {0};
            status st = ctl_unpack(flipped, wire.len, &got, &eb);
            if (st == ST_OK)
                ctl_done(&got);
            else
                refused += st == ST_CORRUPT && eb.text[0];
            free(flipped);
        }
        buf_done(&wire);
    }
    assert_true(refused > 500);
}

static void random_bytes_do_not_hurt(void **state) {
    (void)state;
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        unsigned char bytes[48];
        for (size_t i = 0; i < sizeof bytes; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            bytes[i] = (unsigned char)(x >> 24);
        }
        bytes[0] = 8; /* the kind's tag, so that the parser gets further */
        bytes[1] %= CTL_KIND_COUNT;
        ctl_msg got;
        if (ctl_unpack(bytes, 2 + x % 46, &got, NULL) == ST_OK) ctl_done(&got);
    }
}

/* Packs a generated struct as it is, so that a test can send what ctl_pack never would. */
static status unpack_raw(const Baton__ControlMessage *pb, errbuf *eb) {
    size_t count = baton__control_message__get_packed_size(pb);
    uint8_t *bytes = xmalloc(count);
    baton__control_message__pack(pb, bytes);
    ctl_msg got;
    status st = ctl_unpack(bytes, count, &got, eb);
    if (st == ST_OK) ctl_done(&got);
    free(bytes);
    return st;
}

static void a_kind_without_its_body_is_refused(void **state) {
    (void)state;
    Baton__ControlMessage pb = BATON__CONTROL_MESSAGE__INIT;
    errbuf eb = {0};
    for (int kind = 0; kind < CTL_KIND_COUNT + 3; kind++) {
        pb.kind = (Baton__Kind)kind;
        ctl_msg m = sample(kind < CTL_KIND_COUNT ? (ctl_kind)kind : CTL_NONE);
        buf wire = {0};
        if (m.kind != CTL_NONE) ctl_pack(&m, &wire);
        bool bare = m.kind != CTL_NONE && wire.len == baton__control_message__get_packed_size(&(
                                                          Baton__ControlMessage){.base = pb.base,
                                                                                 .kind = pb.kind,
                                                                                 .epoch = m.epoch,
                                                                                 .incarnation = m.incarnation,
                                                                                 .req = m.req,
                                                                                 .attempt = m.attempt,
                                                                                 .free_pages = m.free_pages});
        assert_int_equal(unpack_raw(&pb, &eb), bare ? ST_OK : ST_CORRUPT);
        buf_done(&wire);
    }
    assert_non_null(strstr(eb.text, "kind: 30 is unknown"));

    Baton__Failed failed = BATON__FAILED__INIT;
    pb.kind = BATON__KIND__EXIT;
    pb.failed = &failed;
    pb.body_case = BATON__CONTROL_MESSAGE__BODY_FAILED;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "EXIT: has body"));
}

static void the_steps_of_a_heartbeat_are_bounded_and_each_has_its_four_numbers(void **state) {
    (void)state;
    static uint32_t numbers[CTL_STEPS_MAX + 1];
    errbuf eb = {0};
    Baton__ControlMessage pb = BATON__CONTROL_MESSAGE__INIT;
    Baton__Heartbeat beat = BATON__HEARTBEAT__INIT;
    pb.kind = BATON__KIND__HEARTBEAT;
    pb.body_case = BATON__CONTROL_MESSAGE__BODY_HEARTBEAT;
    pb.heartbeat = &beat;
    beat.step_ages_us = beat.step_durations_us = beat.step_prefill_rows = beat.step_decode_rows = numbers;
    beat.n_step_ages_us = beat.n_step_durations_us = CTL_STEPS_MAX;
    beat.n_step_prefill_rows = beat.n_step_decode_rows = CTL_STEPS_MAX;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK); /* what else there is to tell of steps is optional */
    beat.step_chunks = numbers;
    beat.n_step_chunks = 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "control message: HEARTBEAT: step_chunks: 1 for 256 steps");
    beat.n_step_chunks = CTL_STEPS_MAX;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK);
    beat.n_step_decode_rows--;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "control message: HEARTBEAT: step_decode_rows: 255 for 256 steps");
    beat.n_step_ages_us = CTL_STEPS_MAX + 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_string_equal(eb.text,
                        "control message: HEARTBEAT: step_ages_us: 257 entries, at most 256 are legal");
}

static void bounds_of_work_are_checked_by_name(void **state) {
    (void)state;
    errbuf eb = {0};
    Baton__ControlMessage pb = BATON__CONTROL_MESSAGE__INIT;
    Baton__Work work = BATON__WORK__INIT;
    Baton__Sampling params = BATON__SAMPLING__INIT;
    pb.kind = BATON__KIND__PREFILL;
    pb.body_case = BATON__CONTROL_MESSAGE__BODY_WORK;
    pb.work = &work;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_string_equal(eb.text, "control message: PREFILL: params: missing");
    work.params = &params;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK);

    int32_t *ids = calloc(CTL_IDS_MAX + 1, sizeof *ids);
    assert_non_null(ids);
    work.prompt = ids;
    work.n_prompt = CTL_IDS_MAX;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK);
    work.n_prompt = CTL_IDS_MAX + 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "prompt: 1048577 entries, at most 1048576"));
    ids[1] = -1;
    work.n_prompt = 2;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "prompt: entry 1 is -1"));
    work.n_prompt = 0;

    params.top_p = NAN;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "top_p"));
    params.top_p = 0;
    params.logprobs = SAMPLING_LOGPROBS_MAX + 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    params.logprobs = SAMPLING_LOGPROBS_MAX;
    ids[1] = 0;
    params.stop_ids = ids;
    params.n_stop_ids = SAMPLING_STOP_IDS_MAX;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK);
    params.n_stop_ids++;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "stop_ids: 65 entries"));
    params.n_stop_ids = 0;
    params.bias_ids = ids;
    params.n_bias_ids = 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "biases: 0 for 1 ids"));
    params.n_bias_ids = SAMPLING_BIAS_MAX + 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "bias_ids: 1025 entries"));
    free(ids);
}

static void bounds_of_tokens_and_texts_are_checked(void **state) {
    (void)state;
    errbuf eb = {0};
    Baton__ControlMessage pb = BATON__CONTROL_MESSAGE__INIT;
    Baton__Tokens body = BATON__TOKENS__INIT;
    Baton__Token token = BATON__TOKEN__INIT, *list[1] = {&token};
    int32_t ids[SAMPLING_LOGPROBS_MAX + 1] = {0};
    float logprobs[SAMPLING_LOGPROBS_MAX + 1] = {0};
    body.n_tokens = 1;
    body.tokens = list;
    token.top_ids = ids;
    token.top_logprobs = logprobs;
    token.n_top_ids = token.n_top_logprobs = SAMPLING_LOGPROBS_MAX;
    pb.kind = BATON__KIND__TOKENS;
    pb.body_case = BATON__CONTROL_MESSAGE__BODY_TOKENS;
    pb.tokens = &body;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK);
    token.n_top_ids = token.n_top_logprobs = SAMPLING_LOGPROBS_MAX + 1;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "top_ids: 21 entries"));
    token.n_top_ids = token.n_top_logprobs = 1;
    logprobs[0] = NAN;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    logprobs[0] = 0;
    token.fin = (Baton__Finish)4;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "fin: 4 is unknown"));

    Baton__Failed failed = BATON__FAILED__INIT;
    char *why = xmalloc(CTL_STRING_MAX + 2);
    memset(why, 'x', CTL_STRING_MAX + 1);
    why[CTL_STRING_MAX + 1] = 0;
    failed.why = why;
    pb.kind = BATON__KIND__NO_ROOM;
    pb.body_case = BATON__CONTROL_MESSAGE__BODY_FAILED;
    pb.failed = &failed;
    assert_int_equal(unpack_raw(&pb, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "why: 4097 bytes"));
    why[CTL_STRING_MAX] = 0;
    assert_int_equal(unpack_raw(&pb, &eb), ST_OK);
    free(why);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back_as_it_was_sent),
        cmocka_unit_test(null_strings_travel_as_empty_ones),
        cmocka_unit_test(no_flipped_or_cut_byte_hurts),
        cmocka_unit_test(random_bytes_do_not_hurt),
        cmocka_unit_test(a_kind_without_its_body_is_refused),
        cmocka_unit_test(the_steps_of_a_heartbeat_are_bounded_and_each_has_its_four_numbers),
        cmocka_unit_test(bounds_of_work_are_checked_by_name),
        cmocka_unit_test(bounds_of_tokens_and_texts_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
