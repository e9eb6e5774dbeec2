/* TOKENS read without protobuf's objects: what is taken is what protobuf-c would have read, whatever the
 * bytes. */
#include "tests/test.h"

#include "base/mem.h"
#include "ctl/ctl_tokens.h"
#include "proto/control.pb-c.h"

#include <stdlib.h>
#include <string.h>

static uint64_t state_of_random = 88172645463325252u;

static uint64_t draw(void) {
    uint64_t x = state_of_random;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return state_of_random = x;
}

/* Of every size, small ones as often as large ones. */
static uint64_t draw_bits(uint32_t most) {
    return draw() >> (64 - most + draw() % most);
}

static buf random_message(uint32_t count) {
    ctl_token *tokens = xcalloc(count, sizeof *tokens);
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = (ctl_token){.req = draw_bits(64),
                                .attempt = (uint32_t)draw_bits(31),
                                .index = (uint32_t)draw_bits(31),
                                .token = {.id = (int32_t)draw_bits(31),
                                          .fin = (finish)(draw() % (FINISH_LENGTH + 1)),
                                          .logprob = (float)draw_bits(20) / -1000},
                                .cached = (uint32_t)draw_bits(31)};
    ctl_msg m = {.kind = CTL_TOKENS,
                 .epoch = draw_bits(64),
                 .incarnation = draw_bits(64),
                 .req = draw_bits(64),
                 .attempt = (uint32_t)draw_bits(32),
                 .free_pages = (uint32_t)draw_bits(32),
                 .tokens = {.tokens = tokens, .count = count}};
    buf wire = {0};
    ctl_pack(&m, &wire);
    free(tokens);
    return wire;
}

static void assert_same(const ctl_msg *m, const Baton__ControlMessage *pb) {
    assert_int_equal(pb->kind, BATON__KIND__TOKENS);
    assert_int_equal(pb->body_case, BATON__CONTROL_MESSAGE__BODY_TOKENS);
    assert_true(m->epoch == pb->epoch && m->incarnation == pb->incarnation && m->req == pb->req);
    assert_true(m->attempt == pb->attempt && m->free_pages == pb->free_pages);
    assert_int_equal(m->tokens.count, pb->tokens->n_tokens);
    for (uint32_t i = 0; i < m->tokens.count; i++) {
        const ctl_token *a = &m->tokens.tokens[i];
        const Baton__Token *b = pb->tokens->tokens[i];
        assert_true(a->req == b->req && a->attempt == b->attempt && a->index == b->index);
        assert_true(a->token.id == b->id && a->cached == b->cached);
        assert_int_equal(a->token.fin, b->fin);
        assert_memory_equal(&a->token.logprob, &b->logprob, sizeof b->logprob); /* NaN, too */
        assert_int_equal(a->token.top_count, 0);
        assert_int_equal(b->n_top_ids + b->n_top_logprobs, 0);
    }
}

/* Reads them both ways. True: the quick one took them. */
static bool read_both(const char *bytes, size_t count) {
    char *own = xmemdup(bytes, count); /* so that a read past its end is seen */
    ctl_msg m = {0};
    bool taken = ctl_tokens_unpack(own, count, &m);
    if (taken) {
        Baton__ControlMessage *pb = baton__control_message__unpack(NULL, count, (const uint8_t *)own);
        assert_non_null(pb);
        assert_same(&m, pb);
        baton__control_message__free_unpacked(pb, NULL);
        ctl_done(&m);
    }
    free(own);
    return taken;
}

static void plain_tokens_are_read_as_protobuf_reads_them(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 2000; round++) {
        buf wire = random_message(1 + (uint32_t)(draw() % 6));
        assert_true(read_both(wire.data, wire.len));
        buf_done(&wire);
    }
}

static void changed_and_cut_bytes_are_read_alike_or_left_alone(void **state) {
    (void)state;
    uint32_t taken = 0, left = 0;
    for (uint32_t round = 0; round < 200; round++) {
        buf wire = random_message(1 + (uint32_t)(draw() % 3));
        for (size_t len = 0; len < wire.len; len++) (void)read_both(wire.data, len);
        for (size_t bit = 0; bit < wire.len * 8; bit++) {
            wire.data[bit / 8] ^= (char)(1 << bit % 8);
            *(read_both(wire.data, wire.len) ? &taken : &left) += 1;
            wire.data[bit / 8] ^= (char)(1 << bit % 8);
        }
        buf_done(&wire);
    }
    assert_true(taken > 1000);
    assert_true(left > 1000);
}

static void what_is_not_plain_is_left_to_protobuf(void **state) {
    (void)state;
    ctl_token with_top = {.req = 1, .attempt = 1, .token = {.id = 3, .top_count = 1, .top = {{3, -1}}}};
    ctl_msg sent[] = {
        {.kind = CTL_TOKENS, .tokens = {.tokens = &with_top, .count = 1}},
        {.kind = CTL_TOKENS}, /* no token at all */
        {.kind = CTL_CLOSED, .req = 4, .attempt = 1},
        {.kind = CTL_VERIFIED, .req = 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
        buf wire = {0};
        ctl_msg got;
        ctl_pack(&sent[i], &wire);
        assert_false(read_both(wire.data, wire.len));
        assert_int_equal(ctl_unpack(wire.data, wire.len, &got, NULL), ST_OK);
        assert_int_equal(got.kind, sent[i].kind);
        ctl_done(&got);
        buf_done(&wire);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_tokens_are_read_as_protobuf_reads_them),
        cmocka_unit_test(changed_and_cut_bytes_are_read_alike_or_left_alone),
        cmocka_unit_test(what_is_not_plain_is_left_to_protobuf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
