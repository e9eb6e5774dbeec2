/* Prompts whose log-probabilities are wanted, and requests of no token, in the two roles that compute
 * prompts.
 */
#include "tests/unit/wcore_fake.h"

#include "ctl/ctl_limits.h"

static const wcore_ops *const roles[] = {&prefill_core_ops, &colocated_core_ops};

/* Of token i of a prompt: logprob -i, rank i. */
static token_out scores[4 * CTL_PROMPT_MAX];

static fake *start(const wcore_ops *ops, uint32_t rows) {
    for (uint32_t i = 0; i < ARRAY_LEN(scores); i++)
        scores[i] = (token_out){.logprob = -(float)i, .rank = i, .id = (int32_t)i};
    wcore_options opt = fake_options();
    opt.page_count = 400;
    opt.max_rows = opt.chunk_tokens = rows;
    opt.max_context = 4096;
    return fake_new(ops, &opt);
}

static void give(fake *f, uint64_t req, uint32_t prompt, uint32_t max_tokens) {
    static int32_t ids[4096];
    ctl_msg m = {.kind = CTL_PREFILL, .epoch = FAKE_EPOCH, .incarnation = FAKE_INC, .req = req, .attempt = 1};
    m.work = (ctl_work){.prompt = ids,
                        .prompt_count = prompt,
                        .params = sampling_default(),
                        .then_decode = f->ops->role == ROLE_COLOCATED,
                        .cache = true};
    m.work.params.max_tokens = max_tokens;
    m.work.params.prompt_logprobs = 0;
    for (uint32_t i = 0; i < prompt; i++) ids[i] = (int32_t)(100 + i);
    f->ops->ctl(f->core, &m, f->now_ns);
}

/* Ends the running step of one item, of a prompt of so many tokens. */
static void stepped(fake *f, uint32_t prompt_count) {
    assert_non_null(f->job);
    const step_item *it = f->job->items;
    uint32_t end = MIN(it->begin + it->count, prompt_count - 1);
    step_result r = {.tag = it->tag,
                     .sampled = it->sample,
                     .token = {.id = 7},
                     .prompt = scores + it->begin + 1,
                     .prompt_count = end > it->begin ? end - it->begin : 0};
    f->job = NULL;
    f->ops->stepped(f->core, &r, 1, f->now_ns);
    assert_true(f->ops->check(f->core));
}

static void expect_prompt(fake *f, uint32_t begin, uint32_t count, bool done) {
    const ctl_msg *m = fake_expect(f, CTL_PROMPT);
    assert_int_equal(m->req, 1);
    assert_int_equal(m->attempt, 1);
    assert_int_equal(m->prompt.begin, begin);
    assert_int_equal(m->prompt.count, count);
    assert_int_equal(m->prompt.done, done);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(m->prompt.rows[i].rank, begin + i);
}

static void a_chunk_is_told_when_its_step_ends_and_before_the_token(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        fake *f = start(roles[i], 32);
        give(f, 1, 40, 8);
        fake_turn(f);
        stepped(f, 40);
        expect_prompt(f, 1, 32, false);
        fake_expect_quiet(f);
        fake_turn(f);
        assert_true(f->job->items[0].sample);
        stepped(f, 40);
        expect_prompt(f, 33, 7, false);
        assert_int_equal(fake_expect(f, CTL_TOKENS)->tokens.count, 1);
        fake_expect_quiet(f);
        fake_free(f);
    }
}

static void a_step_of_more_than_a_message_holds_is_told_in_several(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        for (uint32_t more = 0; more < 3; more++) { /* 2047, 2048, 2049 tokens that have logprobs */
            fake *f = start(roles[i], 4096);
            give(f, 1, 2 * CTL_PROMPT_MAX + more, 0);
            fake_turn(f);
            assert_false(f->job->items[0].sample);
            stepped(f, 2 * CTL_PROMPT_MAX + more);
            expect_prompt(f, 1, CTL_PROMPT_MAX, false);
            expect_prompt(f, 1 + CTL_PROMPT_MAX, CTL_PROMPT_MAX - (more == 0), more < 2);
            if (more == 2) expect_prompt(f, 1 + 2 * CTL_PROMPT_MAX, 1, true);
            fake_expect_quiet(f);
            fake_free(f);
        }
    }
}

static void a_request_of_no_token_ends_with_its_last_row_and_waits_for_release(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        fake *f = start(roles[i], 32);
        give(f, 1, 33, 0);
        fake_turn(f);
        stepped(f, 33);
        expect_prompt(f, 1, 32, false);
        fake_turn(f);
        assert_int_equal(f->job->items[0].count, 1);
        assert_false(f->job->items[0].sample);
        stepped(f, 33);
        expect_prompt(f, 33, 0, true); /* no token of the prompt comes behind the last row */
        fake_expect_quiet(f);
        fake_turn(f);
        assert_null(f->job); /* its slot is free, nothing is computed */
        fake_tell(f, CTL_RELEASE, 1, 1);
        if (roles[i]->role == ROLE_PREFILL)
            fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1, .attempt = 1}});
        assert_int_equal(fake_expect(f, CTL_CLOSED)->free_pages, 400);
        assert_true(f->ops->idle(f->core));
        fake_free(f);
    }
}

static void a_prompt_of_one_token_has_nothing_to_tell(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        fake *f = start(roles[i], 32);
        give(f, 1, 1, 0);
        fake_turn(f);
        stepped(f, 1);
        expect_prompt(f, 1, 0, true);
        fake_expect_quiet(f);
        fake_free(f);
    }
}

static void what_a_closed_request_computed_is_not_told(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        fake *f = start(roles[i], 32);
        give(f, 1, 40, 0);
        fake_turn(f);
        fake_tell(f, CTL_CANCEL, 1, 1);
        stepped(f, 40);
        if (roles[i]->role == ROLE_PREFILL)
            fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1, .attempt = 1}});
        fake_expect(f, CTL_CLOSED);
        fake_expect_quiet(f);
        assert_int_equal(fake_used(f), 0);
        fake_free(f);
    }
}

/* Computed anew, and found by those that come after it. */
static void the_prefix_cache_is_fed_and_not_read(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        fake *f = start(roles[i], 64);
        for (uint64_t req = 1; req < 3; req++) {
            give(f, req, 40, 0);
            fake_turn(f);
            assert_int_equal(f->job->items[0].begin, 0);
            assert_int_equal(f->job->items[0].count, 40);
            stepped(f, 40);
            fake_tell(f, CTL_RELEASE, req, 1);
            if (roles[i]->role == ROLE_PREFILL)
                fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = req, .attempt = 1}});
        }
        fake_give(f, CTL_PREFILL,
                  (fake_work){.req = 3, .attempt = 1, .prompt = 40, .max_tokens = 8, .cache = true});
        fake_turn(f);
        assert_int_equal(f->job->items[0].begin, 32);
        fake_stepped(f, 7);
        fake_free(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_told_when_its_step_ends_and_before_the_token),
        cmocka_unit_test(a_step_of_more_than_a_message_holds_is_told_in_several),
        cmocka_unit_test(a_request_of_no_token_ends_with_its_last_row_and_waits_for_release),
        cmocka_unit_test(a_prompt_of_one_token_has_nothing_to_tell),
        cmocka_unit_test(what_a_closed_request_computed_is_not_told),
        cmocka_unit_test(the_prefix_cache_is_fed_and_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
