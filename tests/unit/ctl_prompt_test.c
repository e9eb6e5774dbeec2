/* PROMPT: what a worker may tell of a prompt, and what is refused before it is believed. */
#include "tests/test.h"

#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/ctl_limits.h"
#include "proto/control.pb-c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static status read_raw(const Baton__ControlMessage *pb, errbuf *eb) {
    size_t len = baton__control_message__get_packed_size(pb);
    uint8_t *bytes = xcalloc(len, 1);
    baton__control_message__pack(pb, bytes);
    ctl_msg m;
    status st = ctl_unpack(bytes, len, &m, eb);
    if (st == ST_OK) ctl_done(&m);
    free(bytes);
    return st;
}

static void assert_refused(const Baton__Prompt *prompt, const char *why) {
    Baton__ControlMessage pb = BATON__CONTROL_MESSAGE__INIT;
    errbuf eb = {0};
    pb.kind = BATON__KIND__PROMPT;
    pb.body_case = BATON__CONTROL_MESSAGE__BODY_PROMPT;
    pb.prompt = (Baton__Prompt *)prompt;
    assert_int_equal(read_raw(&pb, &eb), why ? ST_CORRUPT : ST_OK);
    if (why && !strstr(eb.text, why)) fail_msg("\"%s\" does not say \"%s\"", eb.text, why);
}

typedef struct arrays {
    float logprobs[CTL_PROMPT_MAX + 1], top_logprobs[(CTL_PROMPT_MAX + 1) * (SAMPLING_LOGPROBS_MAX + 1)];
    uint32_t ranks[CTL_PROMPT_MAX + 1];
    int32_t top_ids[(CTL_PROMPT_MAX + 1) * (SAMPLING_LOGPROBS_MAX + 1)];
} arrays;

static Baton__Prompt prompt_of(arrays *a, size_t rows, size_t top) {
    Baton__Prompt p = BATON__PROMPT__INIT;
    p.begin = 1;
    p.n_logprobs = p.n_ranks = rows;
    p.n_top_ids = p.n_top_logprobs = rows * top;
    p.logprobs = a->logprobs;
    p.ranks = a->ranks;
    p.top_ids = a->top_ids;
    p.top_logprobs = a->top_logprobs;
    return p;
}

static void counts_are_bounded_and_must_agree(void **state) {
    (void)state;
    arrays *a = xcalloc(1, sizeof *a);
    Baton__Prompt p = prompt_of(a, CTL_PROMPT_MAX, SAMPLING_LOGPROBS_MAX);
    assert_refused(&p, NULL);
    p = prompt_of(a, 0, 0);
    p.done = true;
    assert_refused(&p, NULL);
    p = prompt_of(a, CTL_PROMPT_MAX + 1, 0);
    assert_refused(&p, "PROMPT: logprobs: 1025 entries, at most 1024");
    p = prompt_of(a, 3, SAMPLING_LOGPROBS_MAX + 1);
    assert_refused(&p, "top_ids: 21 entries, at most 20");
    p = prompt_of(a, 3, 2);
    p.n_ranks = 2;
    assert_refused(&p, "ranks: 2 for 3 logprobs");
    p = prompt_of(a, 3, 2);
    p.n_top_ids = 5;
    assert_refused(&p, "top_logprobs: 6 for 5 ids of 3 tokens");
    p = prompt_of(a, 3, 2);
    p.n_top_ids = p.n_top_logprobs = 7; /* not equally many of each */
    assert_refused(&p, "top_logprobs: 7 for 7 ids of 3 tokens");
    p = prompt_of(a, 3, 2);
    p.n_top_logprobs = 0;
    assert_refused(&p, "top_logprobs: 0 for 6 ids of 3 tokens");
    p = prompt_of(a, 0, 0);
    p.n_top_ids = p.n_top_logprobs = 20; /* of no token */
    assert_refused(&p, "top_logprobs: 20 for 20 ids of 0 tokens");
    p = prompt_of(a, 0, 0);
    p.n_ranks = 1;
    assert_refused(&p, "ranks: 1 for 0 logprobs");
    free(a);
}

static void values_are_numbers_and_ids(void **state) {
    (void)state;
    arrays *a = xcalloc(1, sizeof *a);
    Baton__Prompt p = prompt_of(a, 3, 2);
    p.begin = 0;
    assert_refused(&p, "begin: the first token of a prompt has no logprob");
    p.begin = UINT32_MAX; /* the coordinator holds it against the prompt */
    assert_refused(&p, NULL);
    a->logprobs[2] = NAN;
    assert_refused(&p, "logprobs: not a number");
    a->logprobs[2] = -INFINITY; /* of an impossible token */
    assert_refused(&p, NULL);
    a->top_ids[5] = -1;
    assert_refused(&p, "top_ids: -1 is no token id");
    a->top_ids[5] = INT32_MAX;
    assert_refused(&p, NULL);
    a->top_logprobs[0] = NAN;
    assert_refused(&p, "top_logprobs: not a number");
    free(a);
}

/* Every bit changed and every length: read or refused, and never beyond the bytes. */
static void changed_and_cut_bytes_are_read_or_refused(void **state) {
    (void)state;
    token_out rows[3] = {{.logprob = -1, .rank = 300, .top_count = 2, .top = {{7, -2}, {8, -3}}},
                         {.logprob = -2, .rank = 1, .top_count = 2},
                         {.logprob = -3, .rank = UINT32_MAX, .top_count = 2}};
    const ctl_msg sent = {
        .kind = CTL_PROMPT, .req = 5, .attempt = 1, .prompt = {.begin = 900, .rows = rows, .count = 3}};
    buf wire = {0};
    ctl_pack(&sent, &wire);
    uint32_t taken = 0, refused = 0;
    for (size_t bit = 0; bit < wire.len * 8; bit++) {
        char *own = xmemdup(wire.data, wire.len);
        own[bit / 8] ^= (char)(1 << bit % 8);
        ctl_msg m;
        bool ok = ctl_unpack(own, wire.len, &m, NULL) == ST_OK;
        if (ok) ctl_done(&m);
        *(ok ? &taken : &refused) += 1;
        free(own);
        char *cut = xmemdup(wire.data, bit / 8 + 1);
        if (ctl_unpack(cut, bit / 8, &m, NULL) == ST_OK) ctl_done(&m);
        free(cut);
    }
    assert_true(taken > 0 && refused > 0);
    buf_done(&wire);
}

/* Two bytes of input make one token of some 90: memory is bounded before the count is known. */
static void a_flood_of_empty_entries_is_refused(void **state) {
    (void)state;
    size_t pairs = 4u << 20, body = pairs * 2;
    unsigned char head[] = {8, CTL_TOKENS, 0x8a, 0x01, 0, 0, 0, 0};
    for (size_t i = 0, left = body; i < 4; i++, left >>= 7)
        head[4 + i] = (unsigned char)((left & 127) | (i < 3 ? 128 : 0));
    unsigned char *bytes = xcalloc(1, sizeof head + body);
    memcpy(bytes, head, sizeof head);
    for (size_t i = 0; i < pairs; i++) bytes[sizeof head + 2 * i] = 10;
    ctl_msg got;
    assert_int_equal(ctl_unpack(bytes, sizeof head + body, &got, NULL), ST_CORRUPT);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_bounded_and_must_agree),
        cmocka_unit_test(values_are_numbers_and_ids),
        cmocka_unit_test(changed_and_cut_bytes_are_read_or_refused),
        cmocka_unit_test(a_flood_of_empty_entries_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
