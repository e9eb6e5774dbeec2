#include "tests/unit/wcore_fake.h"

static void a_request_is_prefilled_and_decoded_in_one_place(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = fake_new(&colocated_core_ops, &opt);
    fake_give(f, CTL_PREFILL,
              (fake_work){.req = 1, .attempt = 1, .prompt = 40, .output = 2, .max_tokens = 5});
    assert_int_equal(fake_used(f), 3);
    fake_turn(f);
    assert_int_equal(f->job->items[0].count, 32);
    fake_stepped(f, 7);
    fake_turn(f);
    assert_int_equal(f->job->items[0].begin, 32);
    assert_int_equal(f->job->items[0].count, 10);
    assert_true(f->job->items[0].sample);
    fake_stepped(f, 7);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 1, 2, 7, FINISH_NONE);
    fake_turn(f);
    assert_int_equal(f->job->items[0].begin, 42);
    assert_int_equal(f->job->items[0].count, 1);
    fake_stepped(f, 8);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 1, 3, 8, FINISH_NONE);
    fake_turn(f);
    fake_stepped(f, 9);
    const ctl_msg *m = fake_expect(f, CTL_TOKENS);
    fake_expect_token(m, 0, 1, 1, 4, 9, FINISH_LENGTH);
    assert_int_equal(m->free_pages, 100);
    assert_true(f->ops->idle(f->core));
    assert_int_equal(f->ops->stats(f->core).prefill_rows, 42);
    assert_int_equal(f->ops->stats(f->core).decode_rows, 2);
    assert_int_equal(f->ops->stats(f->core).decode_steps, 2);
    fake_expect_no_cmd(f); /* no transfer thread, so no command */
    fake_free(f);
}

static void chunked_mixes_decode_rows_and_chunks_in_one_step(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = fake_new(&colocated_core_ops, &opt);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 10, .max_tokens = 50});
    fake_turn(f);
    fake_stepped(f, 7);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 100, .max_tokens = 50});
    fake_turn(f);
    assert_int_equal(f->job->item_count, 2);
    assert_int_equal(f->job->items[0].tag, 1);
    assert_int_equal(f->job->items[0].count, 1);
    assert_int_equal(f->job->items[1].tag, 2);
    assert_int_equal(f->job->items[1].count, 32);
    assert_int_equal(f->job->sums.tokens, 32);
    assert_int_equal(f->job->sums.batch, 1);
    assert_int_equal(f->job->sums.chunks, 1);
    assert_int_equal(f->job->sums.squares, 32 * 32);
    assert_int_equal(f->job->sums.context, 11);
    fake_stepped(f, 7);
    fake_turn(f);
    assert_int_equal(f->job->sums.squares, 64 * 64 - 32 * 32);
    assert_int_equal(f->job->sums.context, 12);
    fake_free(f);
}

static void prefill_first_lets_decodes_stand_still_while_prompts_wait(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.policy = "prefill_first";
    fake *f = fake_new(&colocated_core_ops, &opt);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 10, .max_tokens = 50});
    fake_turn(f);
    fake_stepped(f, 7);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 40, .max_tokens = 50});
    for (int i = 0; i < 2; i++) {
        fake_turn(f);
        assert_int_equal(f->job->item_count, 1);
        assert_int_equal(f->job->items[0].tag, 2);
        fake_stepped(f, 7);
    }
    fake_turn(f);
    assert_int_equal(f->job->item_count, 2);
    assert_int_equal(f->job->items[0].count, 1);
    assert_int_equal(f->job->items[1].count, 1);
    fake_stepped(f, 7);
    fake_free(f);
}

static void admission_leaves_headroom_and_a_slot_is_needed(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 4;
    opt.max_seqs = 2;
    fake *f = fake_new(&colocated_core_ops, &opt);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 15, .max_tokens = 50});
    fake_turn(f);
    fake_stepped(f, 7);
    fake_expect(f, CTL_TOKENS);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 32, .max_tokens = 50});
    fake_expect(f, CTL_NO_ROOM); /* 3 - 3 < 1 */
    fake_give(f, CTL_PREFILL, (fake_work){.req = 3, .attempt = 1, .prompt = 4, .max_tokens = 50});
    fake_give(f, CTL_PREFILL, (fake_work){.req = 4, .attempt = 1, .prompt = 4, .max_tokens = 50});
    assert_int_equal(fake_expect(f, CTL_NO_ROOM)->req, 4); /* pages would do, slots do not */
    fake_expect_quiet(f);
    fake_free(f);
}

static void the_youngest_is_preempted_even_while_its_prompt_is_computed(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 8; /* all but the one that admission leaves free */
    fake *f = fake_new(&colocated_core_ops, &opt);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 15, .max_tokens = 50});
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 15, .max_tokens = 50});
    fake_give(f, CTL_PREFILL, (fake_work){.req = 3, .attempt = 3, .prompt = 79, .max_tokens = 50});
    assert_int_equal(fake_used(f), 7);
    fake_turn(f);
    fake_stepped(f, 7);
    fake_expect(f, CTL_TOKENS);
    fake_turn(f); /* row 15 of requests 1 and 2, the next chunk of request 3 */
    fake_stepped(f, 7);
    fake_expect(f, CTL_TOKENS);
    fake_turn(f); /* row 16 starts a page, and there is one for the oldest only */
    const ctl_msg *m = fake_expect(f, CTL_PREEMPTED);
    assert_int_equal(m->req, 3);
    assert_int_equal(m->attempt, 3);
    assert_int_equal(f->job->item_count, 2);
    assert_int_equal(f->job->close_count, 1);
    assert_int_equal(fake_used(f), 4);
    fake_stepped(f, 7);
    fake_free(f);
}

static void a_cancel_in_each_phase_is_closed_once_and_frees_everything(void **state) {
    (void)state;
    for (int phase = 0; phase < 4; phase++) {
        wcore_options opt = fake_options();
        fake *f = fake_new(&colocated_core_ops, &opt);
        fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 40, .max_tokens = 50});
        for (int i = 0; i < phase; i++) {
            fake_turn(f);
            if (i < phase - 1) fake_stepped(f, 7);
        }
        fake_tell(f, CTL_CANCEL, 1, 1);
        if (f->job) fake_stepped(f, 7);
        f->sent_read = f->sent_count - 1;
        fake_expect(f, CTL_CLOSED);
        assert_int_equal(fake_used(f), 0);
        assert_true(f->ops->idle(f->core));
        fake_free(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_prefilled_and_decoded_in_one_place),
        cmocka_unit_test(chunked_mixes_decode_rows_and_chunks_in_one_step),
        cmocka_unit_test(prefill_first_lets_decodes_stand_still_while_prompts_wait),
        cmocka_unit_test(admission_leaves_headroom_and_a_slot_is_needed),
        cmocka_unit_test(the_youngest_is_preempted_even_while_its_prompt_is_computed),
        cmocka_unit_test(a_cancel_in_each_phase_is_closed_once_and_frees_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
