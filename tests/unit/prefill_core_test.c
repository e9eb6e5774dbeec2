#include "tests/unit/wcore_fake.h"

static void dest(fake *f, uint64_t req, uint32_t attempt, uint32_t new_attempt, uint64_t d_inc) {
    ctl_msg m = {.kind = CTL_DEST, .req = req, .attempt = attempt};
    m.dest = (ctl_dest){.d_inc = d_inc, .endpoint = "tcp://127.0.0.1:1", .new_attempt = new_attempt};
    m.dest.token_begin = 16 * (new_attempt - 1); /* the first D lacks all rows */
    f->ops->ctl(f->core, &m, f->now_ns);
    assert_true(f->ops->check(f->core));
}

static fake *start(void) {
    wcore_options opt = fake_options();
    fake *f = fake_new(&prefill_core_ops, &opt);
    const xfer_cmd *c = fake_expect_cmd(f, X_EPOCH);
    assert_int_equal(c->id.epoch, FAKE_EPOCH);
    assert_int_equal(c->id.p_inc, FAKE_INC);
    return f;
}

static void a_prompt_is_offered_computed_in_chunks_and_its_first_token_told_at_once(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 40, .max_tokens = 8});
    assert_int_equal(fake_used(f), 3);
    fake_expect_no_cmd(f);
    fake_turn(f);
    const xfer_cmd *offer = fake_expect_cmd(f, X_OFFER);
    assert_int_equal(offer->id_count, 40);
    assert_int_equal(offer->page_count, 3);
    assert_int_equal(offer->rows_here, 0);
    assert_int_equal(offer->id.p_inc, FAKE_INC);
    assert_int_equal(f->job->open_count, 1);
    assert_int_equal(f->job->opens[0].init.prompt_count, 40);
    assert_int_equal(f->job->items[0].count, 32);
    assert_false(f->job->items[0].sample);
    fake_stepped(f, 7);
    fake_expect_quiet(f);
    fake_turn(f);
    assert_int_equal(f->job->open_count, 0);
    assert_int_equal(f->job->items[0].begin, 32);
    assert_int_equal(f->job->items[0].count, 8);
    assert_true(f->job->items[0].sample);
    fake_stepped(f, 7);
    const ctl_msg *m = fake_expect(f, CTL_TOKENS);
    assert_int_equal(m->tokens.count, 1);
    fake_expect_token(m, 0, 1, 1, 0, 7, FINISH_NONE);
    const xfer_cmd *seal = fake_expect_cmd(f, X_SEAL);
    assert_int_equal(seal->first.id, 7);
    assert_false(seal->finished);
    assert_int_equal(f->ops->stats(f->core).parked, 1);
    assert_int_equal(f->ops->stats(f->core).prefill_rows, 40);
    assert_int_equal(fake_used(f), 3);
    fake_turn(f);
    assert_null(f->job);
    fake_free(f);
}

static void a_prompt_without_usable_logits_is_told_as_failed_and_dropped(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_turn(f);
    fake_expect_cmd(f, X_OFFER);
    fake_stepped_broken(f, 0, 7);
    fake_expect_cmd(f, X_DROP); /* and no SEAL */
    fake_expect_no_cmd(f);
    assert_int_equal(fake_expect(f, CTL_FAILED)->req, 1);
    fake_expect_quiet(f);
    assert_int_equal(fake_used(f), 1); /* the transfer thread may still read it */
    fake_tell(f, CTL_RELEASE, 1, 1);
    fake_expect_quiet(f);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1, .attempt = 1}});
    assert_int_equal(fake_expect(f, CTL_CLOSED)->free_pages, 100);
    fake_free(f);
}

static void pages_stay_pinned_until_release_and_the_transfer_thread_has_let_go(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_turn(f);
    fake_stepped(f, 7);
    dest(f, 1, 1, 1, FAKE_D_INC);
    fake_event(f, (xfer_event){.kind = X_SENT, .id = {.req = 1, .attempt = 1}});
    assert_int_equal(fake_used(f), 1);
    assert_int_equal(f->ops->stats(f->core).sends_pending, 1);
    fake_expect(f, CTL_TOKENS);
    fake_tell(f, CTL_RELEASE, 1, 1);
    fake_expect_quiet(f);
    assert_int_equal(fake_used(f), 1);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1, .attempt = 1}});
    const ctl_msg *m = fake_expect(f, CTL_CLOSED);
    assert_int_equal(m->req, 1);
    assert_int_equal(m->attempt, 1);
    assert_int_equal(m->free_pages, 100);
    assert_true(f->ops->idle(f->core));
    fake_free(f);
}

static void no_pages_means_no_room_and_nothing_is_held(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 4;
    fake *f = fake_new(&prefill_core_ops, &opt);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 48, .max_tokens = 8});
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 4, .prompt = 17, .max_tokens = 8});
    const ctl_msg *m = fake_expect(f, CTL_NO_ROOM);
    assert_int_equal(m->req, 2);
    assert_int_equal(m->attempt, 4);
    assert_int_equal(m->free_pages, 1);
    assert_int_equal(fake_used(f), 3);
    fake_free(f);
}

static void the_offer_to_another_d_carries_its_incarnation_and_the_new_attempt(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_turn(f);
    fake_expect_cmd(f, X_OFFER);
    dest(f, 1, 1, 1, FAKE_D_INC);
    const xfer_cmd *c = fake_expect_cmd(f, X_DEST);
    assert_int_equal(c->id.epoch, FAKE_EPOCH);
    assert_int_equal(c->id.p_inc, FAKE_INC);
    assert_int_equal(c->id.d_inc, FAKE_D_INC);
    assert_int_equal(c->id.attempt, 1);
    assert_int_equal(c->token_begin, 0);
    assert_string_equal(c->endpoint, "tcp://127.0.0.1:1");
    fake_event(f,
               (xfer_event){.kind = X_FAILED, .id = {.req = 1, .attempt = 1}, .segment = 3, .why = "lost"});
    const ctl_msg *m = fake_expect(f, CTL_HANDOFF_FAILED);
    assert_int_equal(m->attempt, 1);
    assert_int_equal(m->failed.segment, 3);
    assert_int_equal(fake_used(f), 1);
    dest(f, 1, 1, 2, 88);
    c = fake_expect_cmd(f, X_DEST);
    assert_int_equal(c->id.d_inc, 88);
    assert_int_equal(c->id.attempt, 2);
    assert_int_equal(c->token_begin, 16);
    fake_stepped(f, 7);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 2, 0, 7, FINISH_NONE);
    fake_event(
        f, (xfer_event){.kind = X_FAILED, .id = {.req = 1, .attempt = 1}}); /* of the one that was replaced */
    fake_expect_quiet(f);
    dest(f, 1, 1, 1, FAKE_D_INC);
    fake_expect_cmd(f, X_SEAL);
    fake_expect_no_cmd(f);
    assert_int_equal(f->ops->stats(f->core).stale, 1);
    fake_free(f);
}

static void a_prompt_that_ends_with_its_first_token_is_sealed_as_finished(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 5, .max_tokens = 1});
    fake_turn(f);
    fake_expect_cmd(f, X_OFFER);
    fake_stepped(f, 7);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 1, 0, 7, FINISH_LENGTH);
    assert_true(fake_expect_cmd(f, X_SEAL)->finished);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 5, .max_tokens = 9});
    fake_turn(f);
    fake_expect_cmd(f, X_OFFER);
    assert_int_equal(f->job->close_count, 1);
    fake_stepped(f, FAKE_EOS);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 2, 1, 0, FAKE_EOS, FINISH_EOS);
    assert_true(fake_expect_cmd(f, X_SEAL)->finished);
    assert_int_equal(fake_used(f), 2);
    fake_free(f);
}

static void a_replay_goes_on_at_its_index_even_past_max_tokens(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 2, .prompt = 5, .output = 3, .max_tokens = 3});
    fake_turn(f);
    assert_int_equal(f->job->opens[0].init.output_count, 3);
    assert_int_equal(f->job->items[0].count, 8);
    fake_stepped(f, 7);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 2, 3, 7, FINISH_LENGTH);
    fake_free(f);
}

static void a_request_canceled_while_its_step_runs_is_closed_after_the_step_and_says_nothing(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_turn(f);
    fake_tell(f, CTL_CANCEL, 1, 1);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1, .attempt = 1}});
    assert_int_equal(fake_used(f), 1);
    fake_expect_quiet(f);
    fake_tell(f, CTL_DROP, 1, 1); /* again, while it is leaving: still one answer */
    fake_stepped(f, 7);
    fake_expect(f, CTL_CLOSED);
    fake_expect_quiet(f);
    assert_int_equal(fake_used(f), 0);
    fake_free(f);
}

static void release_cancel_and_drop_of_an_unknown_request_are_answered_closed(void **state) {
    (void)state;
    fake *f = start();
    const ctl_kind kinds[] = {CTL_RELEASE, CTL_CANCEL, CTL_DROP};
    for (uint32_t i = 0; i < 3; i++) {
        fake_tell(f, kinds[i], 40 + i, 3);
        const ctl_msg *m = fake_expect(f, CTL_CLOSED);
        assert_int_equal(m->req, 40 + i);
        assert_int_equal(m->attempt, 3);
    }
    fake_free(f);
}

static void a_cancel_of_an_older_attempt_leaves_the_newer_one_alone(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 3, .prompt = 16, .max_tokens = 8});
    fake_tell(f, CTL_CANCEL, 1, 2);
    assert_int_equal(fake_expect(f, CTL_CLOSED)->attempt, 2);
    assert_int_equal(fake_used(f), 1);
    fake_free(f);
}

static void a_request_comes_back_only_after_the_running_step_of_its_last_attempt(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_turn(f);
    fake_tell(f, CTL_DROP, 1, 1);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 2, .prompt = 16, .max_tokens = 8});
    assert_int_equal(fake_expect(f, CTL_NO_ROOM)->attempt, 2);
    fake_stepped(f, 7); /* of attempt 1: ignored */
    fake_expect_quiet(f);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 3, .prompt = 16, .max_tokens = 8});
    assert_int_equal(fake_used(f), 2);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1, .attempt = 1}});
    assert_int_equal(fake_expect(f, CTL_CLOSED)->attempt, 1);
    fake_turn(f);
    fake_stepped(f, 8);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 3, 0, 8, FINISH_NONE);
    assert_int_equal(fake_used(f), 1);
    fake_free(f);
}

static void a_new_session_forgets_everything_and_says_nothing_about_it(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_turn(f);
    fake_tell(f, CTL_CANCEL, 2, 1);
    f->cmd_read = f->cmd_count;
    f->ops->session(f->core, FAKE_EPOCH, FAKE_INC + 1, 0);
    assert_int_equal(fake_expect_cmd(f, X_EPOCH)->id.p_inc, FAKE_INC + 1);
    assert_int_equal(fake_expect_cmd(f, X_DROP)->id.req, 1);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 2}});
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1}});
    assert_int_equal(fake_used(f), 2);
    fake_stepped(f, 7);
    assert_int_equal(fake_used(f), 0);
    fake_expect_quiet(f);
    fake_free(f);
}

static void more_prompts_than_slots_wait_and_are_served_in_order(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.max_seqs = 2;
    fake *f = fake_new(&prefill_core_ops, &opt);
    for (uint64_t r = 1; r <= 5; r++)
        fake_give(f, CTL_PREFILL, (fake_work){.req = r, .attempt = 1, .prompt = 10, .max_tokens = 8});
    for (uint64_t r = 1; r <= 5; r += 2) {
        fake_turn(f);
        assert_int_equal(f->job->items[0].tag, r);
        fake_stepped(f, 7);
        const ctl_msg *m = fake_expect(f, CTL_TOKENS);
        assert_int_equal(m->tokens.count, r < 5 ? 2 : 1);
    }
    assert_int_equal(f->ops->stats(f->core).parked, 5);
    fake_free(f);
}

/* As when RESERVED is faster than the prompts before it. */
static void a_dest_that_comes_before_the_first_chunk_waits_for_it(void **state) {
    (void)state;
    fake *f = start();
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 40, .max_tokens = 8});
    dest(f, 1, 1, 1, FAKE_D_INC);
    dest(f, 1, 1, 2, 88); /* in its place */
    fake_expect_no_cmd(f);
    assert_int_equal(f->ops->stats(f->core).sends_pending, 1);
    fake_turn(f);
    fake_expect_cmd(f, X_OFFER);
    const xfer_cmd *c = fake_expect_cmd(f, X_DEST);
    assert_int_equal(c->id.d_inc, 88);
    assert_int_equal(c->id.attempt, 2);
    assert_int_equal(c->token_begin, 16);
    fake_stepped(f, 7);
    fake_turn(f);
    fake_expect_no_cmd(f);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 2, .attempt = 1, .prompt = 16, .max_tokens = 8});
    dest(f, 2, 1, 1, FAKE_D_INC);
    fake_tell(f, CTL_CANCEL, 2, 1); /* nobody else knows of it */
    fake_expect_no_cmd(f);
    assert_int_equal(fake_expect(f, CTL_CLOSED)->req, 2);
    fake_free(f);
}

/* ---- the prefix cache ---- */

static void finish_prompt(fake *f, uint64_t req, uint32_t prompt, uint64_t salt) {
    fake_give(f, CTL_PREFILL,
              (fake_work){
                  .req = req, .attempt = 1, .prompt = prompt, .max_tokens = 8, .cache = true, .salt = salt});
    do {
        fake_turn(f);
        fake_stepped(f, 7);
    } while (f->ops->stats(f->core).waiting + f->ops->stats(f->core).running);
    fake_expect(f, CTL_TOKENS);
}

static void release(fake *f, uint64_t req) {
    fake_tell(f, CTL_RELEASE, req, 1);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = req, .attempt = 1}});
    fake_expect(f, CTL_CLOSED);
}

static void rows_that_another_prompt_began_with_are_not_computed_again(void **state) {
    (void)state;
    fake *f = start();
    finish_prompt(f, 1, 48, 0);
    f->cmd_read = f->cmd_count;
    assert_int_equal(f->tokens[0].cached, 0);
    fake_give(f, CTL_PREFILL,
              (fake_work){.req = 2, .attempt = 1, .prompt = 60, .max_tokens = 8, .cache = true});
    assert_int_equal(fake_used(f), 4); /* three of them are used twice */
    fake_turn(f);
    const xfer_cmd *offer = fake_expect_cmd(f, X_OFFER);
    assert_int_equal(offer->rows_here, 48);
    assert_int_equal(offer->page_count, 4);
    assert_int_equal(f->job->items[0].begin, 48);
    assert_int_equal(f->job->items[0].count, 12);
    assert_int_equal(f->job->opens[0].init.prompt_count, 60);
    fake_stepped(f, 7);
    assert_int_equal(fake_expect(f, CTL_TOKENS)->tokens.tokens[0].cached, 48);
    wcore_stats st = f->ops->stats(f->core);
    assert_int_equal(st.cache_queries, 108);
    assert_int_equal(st.cache_hits, 48);
    assert_int_equal(st.prefill_rows, 60);
    fake_free(f);
}

/* Somebody needs the logits behind it. */
static void the_last_row_of_a_prompt_is_always_computed(void **state) {
    (void)state;
    fake *f = start();
    finish_prompt(f, 1, 48, 0);
    finish_prompt(f, 2, 48, 0);
    assert_int_equal(f->tokens[1].cached, 32);
    finish_prompt(f, 3, 49, 0);
    assert_int_equal(f->tokens[2].cached, 48);
    finish_prompt(f, 4, 16, 0);
    assert_int_equal(f->tokens[3].cached, 0);
    fake_free(f);
}

static void another_salt_and_a_request_that_wants_no_cache_find_nothing(void **state) {
    (void)state;
    fake *f = start();
    finish_prompt(f, 1, 48, 5);
    finish_prompt(f, 2, 48, 6);
    assert_int_equal(f->tokens[1].cached, 0);
    finish_prompt(f, 3, 48, 5);
    assert_int_equal(f->tokens[2].cached, 32);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 4, .attempt = 1, .prompt = 48, .max_tokens = 8, .salt = 5});
    fake_turn(f);
    assert_int_equal(f->job->items[0].begin, 0);
    fake_stepped(f, 7);
    assert_int_equal(f->ops->stats(f->core).cache_queries, 3 * 48);
    fake_free(f);
}

static void without_the_cache_pages_go_back_with_their_request(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.prefix_cache = false;
    fake *f = fake_new(&prefill_core_ops, &opt);
    finish_prompt(f, 1, 48, 0);
    finish_prompt(f, 2, 48, 0);
    assert_int_equal(f->tokens[1].cached, 0);
    assert_int_equal(fake_used(f), 6);
    assert_int_equal(f->ops->stats(f->core).cache_queries, 0);
    release(f, 1);
    assert_int_equal(f->ops->stats(f->core).cache_pages, 0);
    fake_free(f);
}

/* Eight choices of one prompt come as eight requests. */
static void prompts_that_wait_behind_their_like_find_what_it_computes(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.max_rows = opt.chunk_tokens = 64;
    fake *f = fake_new(&prefill_core_ops, &opt);
    for (uint64_t r = 1; r <= 3; r++)
        fake_give(f, CTL_PREFILL,
                  (fake_work){.req = r, .attempt = 1, .prompt = 64, .max_tokens = 8, .cache = true});
    assert_int_equal(fake_used(f), 12);
    fake_turn(f);
    assert_int_equal(f->job->item_count, 1);
    fake_stepped(f, 7);
    fake_expect(f, CTL_TOKENS);
    fake_turn(f);
    assert_int_equal(f->job->item_count, 2);
    assert_int_equal(f->job->items[0].begin, 48);
    assert_int_equal(f->job->items[1].begin, 48);
    assert_int_equal(fake_used(f), 6); /* the pages that they had for it are back */
    fake_stepped(f, 7);
    const ctl_msg *m = fake_expect(f, CTL_TOKENS);
    assert_int_equal(m->tokens.tokens[0].cached, 48);
    assert_int_equal(m->tokens.tokens[1].cached, 48);
    assert_int_equal(f->ops->stats(f->core).cache_hits, 96);
    fake_free(f);
}

static void pages_that_only_the_cache_has_are_free_and_are_given_up_when_needed(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 8;
    fake *f = fake_new(&prefill_core_ops, &opt);
    finish_prompt(f, 1, 96, 1);
    release(f, 1);
    wcore_stats st = f->ops->stats(f->core);
    assert_int_equal(st.pages_used, 0);
    assert_int_equal(st.pages_free, 8);
    assert_int_equal(st.cache_pages, 6);
    assert_true(f->ops->idle(f->core));
    finish_prompt(f, 2, 80, 2); /* three of six go: the last ones */
    assert_int_equal(f->ops->stats(f->core).cache_evictions, 3);
    assert_int_equal(f->ops->stats(f->core).pages_free, 3);
    /* What is found is not free any more: five are wanted, and three are there. */
    fake_give(f, CTL_PREFILL,
              (fake_work){.req = 3, .attempt = 1, .prompt = 80, .max_tokens = 8, .cache = true, .salt = 1});
    assert_int_equal(fake_expect(f, CTL_NO_ROOM)->free_pages, 3);
    finish_prompt(f, 4, 48, 1);
    assert_int_equal(f->tokens[2].cached, 32);
    assert_int_equal(f->ops->stats(f->core).pages_free, 0);
    fake_free(f);
}

static void a_new_session_keeps_what_was_computed_in_the_last_one(void **state) {
    (void)state;
    fake *f = start();
    finish_prompt(f, 1, 48, 0);
    f->ops->session(f->core, FAKE_EPOCH, FAKE_INC + 1, 0);
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = {.req = 1}});
    assert_int_equal(fake_used(f), 0);
    finish_prompt(f, 1, 48, 0);
    assert_int_equal(f->tokens[1].cached, 32);
    fake_free(f);
}

static void of_a_replay_what_is_found_counts_as_prompt_only_as_far_as_that_goes(void **state) {
    (void)state;
    fake *f = start();
    finish_prompt(f, 1, 64, 0);
    fake_give(
        f, CTL_PREFILL,
        (fake_work){.req = 2, .attempt = 2, .prompt = 20, .output = 44, .max_tokens = 80, .cache = true});
    fake_turn(f);
    assert_int_equal(f->job->items[0].begin, 48);
    fake_stepped(f, 7);
    const ctl_msg *m = fake_expect(f, CTL_TOKENS);
    fake_expect_token(m, 0, 2, 2, 44, 7, FINISH_NONE);
    assert_int_equal(m->tokens.tokens[0].cached, 20);
    fake_free(f);
}

/* Where generated rows have other bytes than those of prompts. */
static void without_cached_outputs_pages_with_generated_rows_are_neither_kept_nor_found(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.cache_outputs = false;
    fake *f = fake_new(&prefill_core_ops, &opt);
    finish_prompt(f, 1, 64, 0);
    fake_work replay = {.req = 2, .attempt = 2, .prompt = 40, .output = 40, .max_tokens = 80, .cache = true};
    fake_give(f, CTL_PREFILL, replay);
    fake_turn(f);
    assert_int_equal(f->job->items[0].begin, 32); /* the third page has generated rows here */
    fake_stepped(f, 7);
    fake_turn(f);
    fake_stepped(f, 7);
    fake_expect(f, CTL_TOKENS);
    finish_prompt(f, 3, 81, 0);
    assert_int_equal(f->tokens[2].cached, 64);
    fake_free(f);
}

static void give_replay(fake *f, uint64_t req, uint32_t prompt) {
    fake_give(f, CTL_PREFILL,
              (fake_work){.req = req, .attempt = 2, .prompt = prompt, .output = 6, .max_tokens = 20});
}

static void expect_items(const fake *f, uint32_t count, uint32_t rows, uint32_t more_rows) {
    assert_non_null(f->job);
    assert_int_equal(f->job->item_count, count);
    assert_int_equal(f->job->items[0].count, rows);
    if (count > 1) assert_int_equal(f->job->items[1].count, more_rows);
}

static void a_replay_overtakes_prompts_that_came_before_and_has_steps_of_its_own(void **state) {
    (void)state;
    fake *f = start();
    for (uint64_t req = 1; req <= 2; req++)
        fake_give(f, CTL_PREFILL, (fake_work){.req = req, .attempt = 1, .prompt = 48, .max_tokens = 8});
    fake_turn(f);
    expect_items(f, 2, 32, 32);
    give_replay(f, 3, 34); /* 40 rows: a chunk of 32 and one of 8, while the others have begun */
    give_replay(f, 4, 6);
    fake_stepped(f, 7);
    fake_turn(f);
    expect_items(f, 2, 32, 12);
    fake_stepped(f, 7);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 4, 2, 6, 7, FINISH_NONE);
    fake_turn(f);
    expect_items(f, 1, 8, 0);
    fake_stepped(f, 7);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 3, 2, 6, 7, FINISH_NONE);
    fake_turn(f);
    expect_items(f, 2, 16, 16);
    fake_stepped(f, 7);
    assert_int_equal(fake_expect(f, CTL_TOKENS)->tokens.count, 2);
    assert_true(f->ops->check(f->core));
    fake_free(f);
}

static void a_replay_waits_while_prompts_that_have_begun_take_every_slot(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.max_seqs = 1;
    fake *f = fake_new(&prefill_core_ops, &opt);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 1, .attempt = 1, .prompt = 48, .max_tokens = 8});
    fake_turn(f);
    give_replay(f, 2, 20);
    fake_give(f, CTL_PREFILL, (fake_work){.req = 3, .attempt = 1, .prompt = 16, .max_tokens = 8});
    for (uint64_t req = 1; req <= 3; req++) {
        if (req == 1) {
            fake_stepped(f, 7);
            fake_turn(f);
        }
        fake_stepped(f, 7);
        assert_int_equal(fake_expect(f, CTL_TOKENS)->tokens.tokens[0].req, req);
        fake_turn(f);
    }
    fake_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_offered_computed_in_chunks_and_its_first_token_told_at_once),
        cmocka_unit_test(a_prompt_without_usable_logits_is_told_as_failed_and_dropped),
        cmocka_unit_test(pages_stay_pinned_until_release_and_the_transfer_thread_has_let_go),
        cmocka_unit_test(no_pages_means_no_room_and_nothing_is_held),
        cmocka_unit_test(the_offer_to_another_d_carries_its_incarnation_and_the_new_attempt),
        cmocka_unit_test(a_prompt_that_ends_with_its_first_token_is_sealed_as_finished),
        cmocka_unit_test(a_replay_goes_on_at_its_index_even_past_max_tokens),
        cmocka_unit_test(a_request_canceled_while_its_step_runs_is_closed_after_the_step_and_says_nothing),
        cmocka_unit_test(release_cancel_and_drop_of_an_unknown_request_are_answered_closed),
        cmocka_unit_test(a_cancel_of_an_older_attempt_leaves_the_newer_one_alone),
        cmocka_unit_test(a_request_comes_back_only_after_the_running_step_of_its_last_attempt),
        cmocka_unit_test(a_new_session_forgets_everything_and_says_nothing_about_it),
        cmocka_unit_test(more_prompts_than_slots_wait_and_are_served_in_order),
        cmocka_unit_test(a_dest_that_comes_before_the_first_chunk_waits_for_it),
        cmocka_unit_test(rows_that_another_prompt_began_with_are_not_computed_again),
        cmocka_unit_test(the_last_row_of_a_prompt_is_always_computed),
        cmocka_unit_test(another_salt_and_a_request_that_wants_no_cache_find_nothing),
        cmocka_unit_test(without_the_cache_pages_go_back_with_their_request),
        cmocka_unit_test(prompts_that_wait_behind_their_like_find_what_it_computes),
        cmocka_unit_test(pages_that_only_the_cache_has_are_free_and_are_given_up_when_needed),
        cmocka_unit_test(a_new_session_keeps_what_was_computed_in_the_last_one),
        cmocka_unit_test(of_a_replay_what_is_found_counts_as_prompt_only_as_far_as_that_goes),
        cmocka_unit_test(without_cached_outputs_pages_with_generated_rows_are_neither_kept_nor_found),
        cmocka_unit_test(a_replay_overtakes_prompts_that_came_before_and_has_steps_of_its_own),
        cmocka_unit_test(a_replay_waits_while_prompts_that_have_begun_take_every_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
