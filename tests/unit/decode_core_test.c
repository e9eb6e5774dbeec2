#include "tests/unit/wcore_fake.h"

static fake *start(const wcore_options *opt) {
    fake *f = fake_new(&decode_core_ops, opt);
    const xfer_cmd *c = fake_expect_cmd(f, X_EPOCH);
    assert_int_equal(c->id.epoch, FAKE_EPOCH);
    assert_int_equal(c->id.d_inc, FAKE_INC);
    return f;
}

static kv_identity id_of(uint64_t req, uint32_t attempt) {
    return (kv_identity){
        .epoch = FAKE_EPOCH, .p_inc = FAKE_P_INC, .d_inc = FAKE_INC, .req = req, .attempt = attempt};
}

static void dropped(fake *f, uint64_t req, uint32_t attempt) {
    fake_event(f, (xfer_event){.kind = X_DROPPED, .id = id_of(req, attempt)});
}

static void verified(fake *f, uint64_t req, uint32_t attempt, int32_t first) {
    fake_event(f, (xfer_event){.kind = X_VERIFIED,
                               .id = id_of(req, attempt),
                               .bytes = 1000,
                               .segments = 5,
                               .first = {.id = first},
                               .first_ns = 10,
                               .last_ns = 30});
}

/* ---- the prefix cache ---- */

static uint32_t reserve_cached(fake *f, uint64_t req, uint32_t prompt, uint32_t output) {
    fake_give(
        f, CTL_RESERVE,
        (fake_work){
            .req = req, .attempt = 1, .prompt = prompt, .output = output, .max_tokens = 200, .cache = true});
    f->cmd_read = f->cmd_count - 1;
    const xfer_cmd *c = fake_expect_cmd(f, X_EXPECT);
    const ctl_msg *m = fake_expect(f, CTL_RESERVED);
    assert_int_equal(c->token_begin, m->reserved.d_have);
    return m->reserved.d_have;
}

static void verify(fake *f, uint64_t req) {
    verified(f, req, 1, (int32_t)(100 + 40)); /* as the ids of fake_give go on behind 40 */
    fake_expect(f, CTL_VERIFIED);
}

static void only_rows_that_are_not_here_are_expected(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    assert_int_equal(reserve_cached(f, 1, 48, 0), 0);
    assert_int_equal(reserve_cached(f, 2, 60, 0), 0); /* it is here when it was verified, not before */
    verify(f, 1);
    assert_int_equal(reserve_cached(f, 3, 60, 0), 48);
    assert_int_equal(reserve_cached(f, 4, 48, 0), 32); /* a hand-off has a row at least */
    assert_int_equal(fake_used(f), 4 + 4 + 1 + 2);
    wcore_stats st = f->ops->stats(f->core);
    assert_int_equal(st.cache_queries, 48 + 60 + 60 + 48);
    assert_int_equal(st.cache_hits, 48 + 32);
    fake_free(f);
}

static void what_came_twice_is_kept_once(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    reserve_cached(f, 1, 48, 0);
    reserve_cached(f, 2, 48, 0);
    assert_int_equal(fake_used(f), 8);
    verify(f, 1);
    verify(f, 2);
    assert_int_equal(fake_used(f), 5);
    fake_turn(f);
    assert_int_equal(f->job->opens[0].init.pages[2], f->job->opens[1].init.pages[2]);
    assert_int_not_equal(f->job->opens[0].init.pages[3], f->job->opens[1].init.pages[3]);
    fake_stepped(f, 9);
    fake_free(f);
}

/* The next turn of a chat begins with the answer, too. */
static void rows_that_were_generated_here_are_found_page_by_page(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    reserve_cached(f, 1, 40, 0);
    verify(f, 1);
    for (int32_t i = 1; i < 9; i++) { /* ids 140 (from SEAL) to 148: rows 40 to 47 are written */
        assert_int_equal(reserve_cached(f, 1000 + (uint64_t)i, 60, 0), 32);
        fake_tell(f, CTL_DROP, 1000 + (uint64_t)i, 1);
        dropped(f, 1000 + (uint64_t)i, 1);
        fake_expect(f, CTL_CLOSED);
        fake_turn(f);
        fake_stepped(f, 140 + i);
        fake_expect(f, CTL_TOKENS);
    }
    assert_int_equal(reserve_cached(f, 2, 60, 0), 48);
    fake_tell(f, CTL_CANCEL, 1, 1);
    fake_expect(f, CTL_CLOSED);
    assert_int_equal(reserve_cached(f, 3, 60, 0), 48);
    fake_free(f);
}

static void without_cached_outputs_only_pages_of_prompts_are_kept(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.cache_outputs = false;
    fake *f = start(&opt);
    reserve_cached(f, 1, 40, 8); /* a replay: 8 rows of its third page were generated */
    verify(f, 1);
    for (int32_t i = 1; i < 40; i++) {
        fake_turn(f);
        fake_stepped(f, 140 + i);
        fake_expect(f, CTL_TOKENS);
    }
    assert_int_equal(reserve_cached(f, 2, 60, 0), 32);
    assert_int_equal(reserve_cached(f, 3, 20, 40), 16);
    fake_free(f);
}

static void pages_of_a_hand_off_that_failed_are_not_kept(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    reserve_cached(f, 1, 48, 0);
    fake_event(f, (xfer_event){.kind = X_FAILED, .id = id_of(1, 1), .why = "checksum"});
    fake_expect(f, CTL_HANDOFF_FAILED);
    dropped(f, 1, 1);
    assert_int_equal(f->ops->stats(f->core).cache_pages, 0);
    assert_int_equal(reserve_cached(f, 2, 48, 0), 0);
    fake_free(f);
}

static void decode_rows(fake *f, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        fake_turn(f);
        fake_stepped(f, 9);
        fake_expect(f, CTL_TOKENS);
    }
}

/* Two need a page, and the reservation that goes first has one of its own: four are theirs, too. */
static void pages_that_others_use_do_not_come_back_by_preemption(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 9;
    fake *f = start(&opt);
    reserve_cached(f, 1, 64, 0);
    verify(f, 1);
    decode_rows(f, 1);
    assert_int_equal(reserve_cached(f, 2, 65, 0), 64);
    verify(f, 2);
    assert_int_equal(reserve_cached(f, 3, 65, 0), 64);
    decode_rows(f, 15 + 16); /* 1 and 2 have rows up to 95 now, each with a second page of its own */
    assert_int_equal(f->ops->stats(f->core).pages_free, 0);
    fake_turn(f);
    assert_null(f->job);
    assert_int_equal(fake_expect(f, CTL_PREEMPTED)->req, 2);
    assert_int_equal(f->ops->stats(f->core).pages_free, 2);
    dropped(f, 3, 1);
    assert_int_equal(fake_expect(f, CTL_PREEMPTED)->free_pages, 3);
    decode_rows(f, 48);
    fake_turn(f);
    assert_null(f->job); /* the oldest has all of them, and waits */
    fake_expect_quiet(f);
    fake_free(f);
}

/* Reserves and verifies: a running sequence. */
static void run_one(fake *f, uint64_t req, uint32_t prompt, uint32_t max_tokens) {
    fake_give(f, CTL_RESERVE,
              (fake_work){.req = req, .attempt = 1, .prompt = prompt, .max_tokens = max_tokens});
    fake_expect(f, CTL_RESERVED);
    verified(f, req, 1, 50);
    fake_expect(f, CTL_VERIFIED);
}

static void a_reservation_takes_pages_for_the_prompt_and_the_next_row(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE,
              (fake_work){.req = 1, .attempt = 2, .prompt = 30, .output = 2, .max_tokens = 8});
    assert_int_equal(fake_used(f), 3);
    const xfer_cmd *c = fake_expect_cmd(f, X_EXPECT);
    assert_int_equal(c->id_count, 32);
    assert_int_equal(c->page_count, 3);
    assert_int_equal(c->id.p_inc, FAKE_P_INC);
    assert_int_equal(c->id.d_inc, FAKE_INC);
    assert_int_equal(c->id.attempt, 2);
    const ctl_msg *m = fake_expect(f, CTL_RESERVED);
    assert_int_equal(m->attempt, 2);
    assert_int_equal(m->reserved.d_have, 0);
    assert_int_equal(m->free_pages, 97);
    fake_turn(f);
    assert_null(f->job); /* no step on a control message alone */
    fake_free(f);
}

static void it_decodes_after_x_verified_and_repeats_token_k_in_the_first_message(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE,
              (fake_work){.req = 1, .attempt = 2, .prompt = 14, .output = 2, .max_tokens = 5});
    fake_expect(f, CTL_RESERVED);
    verified(f, 1, 2, 50);
    const ctl_msg *m = fake_expect(f, CTL_VERIFIED);
    assert_int_equal(m->attempt, 2);
    assert_int_equal(m->verified.bytes, 1000);
    assert_int_equal(m->verified.segments, 5);
    assert_int_equal(m->verified.exposed_ns, 20);
    fake_turn(f);
    const seq_start *init = &f->job->opens[0].init;
    assert_int_equal(init->prompt_count, 14);
    assert_int_equal(init->output_count, 3);
    assert_int_equal(init->output[2], 50);
    assert_int_equal(init->page_count, 2);
    assert_int_equal(f->job->items[0].begin, 16);
    assert_int_equal(f->job->items[0].count, 1);
    fake_stepped(f, 60);
    m = fake_expect(f, CTL_TOKENS);
    assert_int_equal(m->tokens.count, 2);
    fake_expect_token(m, 0, 1, 2, 2, 50, FINISH_NONE);
    fake_expect_token(m, 1, 1, 2, 3, 60, FINISH_NONE);
    fake_turn(f);
    assert_int_equal(f->job->open_count, 0);
    assert_int_equal(f->job->items[0].begin, 17);
    fake_stepped(f, 61);
    m = fake_expect(f, CTL_TOKENS);
    assert_int_equal(m->tokens.count, 1);
    fake_expect_token(m, 0, 1, 2, 4, 61, FINISH_LENGTH);
    assert_int_equal(m->free_pages, 100);
    assert_true(f->ops->idle(f->core));
    assert_int_equal(f->ops->stats(f->core).decode_rows, 2);
    assert_int_equal(f->ops->stats(f->core).decode_steps, 2);
    fake_free(f);
}

static void a_seal_that_says_finished_frees_and_still_tells_verified_and_the_token(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 1, .prompt = 14, .max_tokens = 1});
    fake_expect(f, CTL_RESERVED);
    fake_event(f, (xfer_event){.kind = X_VERIFIED,
                               .id = id_of(1, 1),
                               .first = {.id = 50, .fin = FINISH_LENGTH},
                               .finished = true});
    fake_expect(f, CTL_VERIFIED);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 0, 1, 1, 0, 50, FINISH_LENGTH);
    assert_int_equal(fake_used(f), 0);
    fake_expect_quiet(f);
    fake_turn(f);
    assert_null(f->job);
    fake_free(f);
}

static void ids_that_do_not_match_their_hash_are_refused(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    int32_t ids[] = {1, 2, 3};
    ctl_msg m = {.kind = CTL_RESERVE, .req = 1, .attempt = 1};
    m.work = (ctl_work){.prompt = ids, .prompt_count = 3, .params = sampling_default(), .ids_hash = 1};
    f->ops->ctl(f->core, &m, 0);
    fake_expect(f, CTL_NO_ROOM);
    assert_int_equal(fake_used(f), 0);
    fake_free(f);
}

static void admission_leaves_a_page_per_running_sequence_free(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 6;
    fake *f = start(&opt);
    run_one(f, 1, 16, 100); /* 2 pages */
    run_one(f, 2, 10, 100); /* 1 page; one is running, so 4 - 1 >= 1 */
    fake_give(f, CTL_RESERVE, (fake_work){.req = 3, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_expect(f, CTL_NO_ROOM); /* 3 - 2 < 2 */
    fake_give(f, CTL_RESERVE, (fake_work){.req = 3, .attempt = 1, .prompt = 15, .max_tokens = 8});
    fake_expect(f, CTL_RESERVED); /* 3 - 1 >= 2: the same attempt may be offered again */
    fake_free(f);
}

static void a_context_that_is_full_has_no_row_for_the_first_token(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.max_context = 32;
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 1, .prompt = 32, .max_tokens = 8});
    fake_expect(f, CTL_NO_ROOM);
    run_one(f, 2, 31, 8);
    fake_free(f);
}

static void without_a_free_slot_there_is_no_room(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.max_seqs = 1;
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_expect(f, CTL_RESERVED);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 2, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_expect(f, CTL_NO_ROOM);
    fake_free(f);
}

static void a_page_edge_takes_one_more_page_for_the_step(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    run_one(f, 1, 14, 100);
    for (int i = 0; i < 2; i++) { /* rows 14 and 15 */
        fake_turn(f);
        assert_int_equal(f->job->items[0].new_page_count, 0);
        fake_stepped(f, 60);
    }
    assert_int_equal(fake_used(f), 1);
    fake_turn(f);
    assert_int_equal(f->job->items[0].begin, 16);
    assert_int_equal(f->job->items[0].new_page_count, 1);
    assert_int_equal(fake_used(f), 2);
    fake_stepped(f, 60);
    fake_free(f);
}

static void the_youngest_is_preempted_and_keeps_nothing(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 3;
    fake *f = start(&opt);
    run_one(f, 1, 15, 100);
    run_one(f, 2, 15, 100);
    fake_turn(f);
    fake_stepped(f, 60); /* row 15 of both */
    fake_expect(f, CTL_TOKENS);
    fake_turn(f); /* both need a page, one is free: the oldest takes it, the youngest preempts itself */
    const ctl_msg *m = fake_expect(f, CTL_PREEMPTED);
    assert_int_equal(m->req, 2);
    assert_int_equal(m->attempt, 1);
    assert_int_equal(f->job->item_count, 1);
    assert_int_equal(f->job->items[0].tag, 1);
    assert_int_equal(f->job->close_count, 1);
    assert_int_equal(fake_used(f), 2);
    fake_stepped(f, 61);
    fake_free(f);
}

static void a_reservation_is_preempted_before_anything_that_runs_and_told_when_its_pages_are_back(
    void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 4;
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 1, .prompt = 15, .max_tokens = 9});
    fake_expect(f, CTL_RESERVED);
    run_one(f, 2, 14, 100);
    run_one(f, 3, 14, 100);
    for (int i = 0; i < 2; i++) { /* rows 14 and 15 */
        fake_turn(f);
        fake_stepped(f, 60);
        fake_expect(f, CTL_TOKENS);
    }
    fake_turn(f); /* one page is free: request 2 takes it; request 1, which only waits for its KV, goes for
                     request 3 */
    assert_int_equal(f->job->item_count, 1);
    assert_int_equal(f->job->items[0].tag, 2);
    fake_expect_quiet(f);
    dropped(f, 1, 1);
    assert_int_equal(fake_expect(f, CTL_PREEMPTED)->req, 1);
    fake_stepped(f, 61);
    fake_turn(f);
    assert_int_equal(f->job->item_count, 2);
    fake_stepped(f, 61);
    fake_free(f);
}

static void the_oldest_waits_when_the_pool_is_full_and_is_never_preempted(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 3; /* two for the prompt and the next row, one that admission leaves free */
    fake *f = start(&opt);
    run_one(f, 1, 16, 100);
    for (int row = 16; row < 48; row++) {
        fake_turn(f);
        fake_stepped(f, 60);
        fake_expect(f, CTL_TOKENS);
    }
    fake_turn(f);
    assert_null(f->job);
    fake_expect_quiet(f);
    fake_free(f);
}

static void a_failed_hand_off_is_told_and_its_pages_come_back(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_expect(f, CTL_RESERVED);
    fake_event(f, (xfer_event){.kind = X_FAILED, .id = id_of(1, 1), .segment = 2, .why = "checksum"});
    const ctl_msg *m = fake_expect(f, CTL_HANDOFF_FAILED);
    assert_int_equal(m->failed.segment, 2);
    assert_int_equal(fake_used(f), 2);
    /* The same worker may be offered the next attempt before the transfer thread has let go of the last one.
     */
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 2, .prompt = 16, .max_tokens = 8});
    fake_expect(f, CTL_RESERVED);
    assert_int_equal(fake_used(f), 4);
    dropped(f, 1, 1);
    assert_int_equal(fake_used(f), 2);
    verified(f, 1, 1, 50); /* of the failed attempt: ignored */
    fake_expect_quiet(f);
    verified(f, 1, 2, 50);
    fake_expect(f, CTL_VERIFIED);
    fake_free(f);
}

static void a_drop_of_a_reservation_is_closed_after_the_transfer_thread_let_go(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    fake_give(f, CTL_RESERVE, (fake_work){.req = 1, .attempt = 1, .prompt = 16, .max_tokens = 8});
    fake_expect(f, CTL_RESERVED);
    fake_expect_cmd(f, X_EXPECT);
    fake_tell(f, CTL_DROP, 1, 1);
    fake_expect_cmd(f, X_DROP);
    verified(f, 1, 1, 50); /* was on its way */
    fake_expect_quiet(f);
    assert_int_equal(fake_used(f), 2);
    dropped(f, 1, 1);
    assert_int_equal(fake_expect(f, CTL_CLOSED)->free_pages, 100);
    fake_free(f);
}

static void one_message_carries_the_tokens_of_all_sequences_of_a_step(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    for (uint64_t r = 1; r <= 3; r++) run_one(f, r, 10, 100);
    fake_turn(f);
    fake_stepped(f, 60);
    assert_int_equal(fake_expect(f, CTL_TOKENS)->tokens.count, 6);
    fake_turn(f);
    fake_stepped(f, 61);
    assert_int_equal(fake_expect(f, CTL_TOKENS)->tokens.count, 3);
    fake_expect_quiet(f);
    fake_free(f);
}

static void a_sequence_without_usable_logits_is_told_as_failed_and_the_others_go_on(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    for (uint64_t r = 1; r <= 3; r++) run_one(f, r, 10, 100);
    fake_turn(f);
    fake_stepped_broken(f, 1, 60);
    const ctl_msg *m = fake_expect(f, CTL_FAILED);
    assert_int_equal(m->req, 2);
    assert_int_equal(m->attempt, 1);
    assert_int_equal(m->free_pages, 98);
    m = fake_expect(f, CTL_TOKENS);
    assert_int_equal(m->tokens.count, 4);
    fake_expect_token(m, 1, 1, 1, 1, 60, FINISH_NONE);
    fake_expect_token(m, 3, 3, 1, 1, 60, FINISH_NONE);
    fake_turn(f);
    assert_int_equal(f->job->close_count, 1);
    assert_int_equal(f->job->item_count, 2);
    fake_stepped(f, 61);
    fake_expect(f, CTL_TOKENS);
    fake_tell(f, CTL_RELEASE, 2, 1);
    fake_expect(f, CTL_CLOSED);
    fake_free(f);
}

static void a_sequence_ends_when_the_context_is_full(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.max_context = 20;
    fake *f = start(&opt);
    run_one(f, 1, 18, 100);
    fake_turn(f);
    fake_stepped(f, 60);
    fake_expect_token(fake_expect(f, CTL_TOKENS), 1, 1, 1, 1, 60, FINISH_LENGTH);
    assert_true(f->ops->idle(f->core));
    fake_free(f);
}

static void a_sequence_released_while_its_step_runs_loses_the_token(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    fake *f = start(&opt);
    run_one(f, 1, 10, 100);
    run_one(f, 2, 10, 100);
    fake_turn(f);
    fake_tell(f, CTL_RELEASE, 1, 1);
    fake_expect_quiet(f);
    fake_stepped(f, 60);
    fake_expect(f, CTL_CLOSED);
    const ctl_msg *m = fake_expect(f, CTL_TOKENS);
    assert_int_equal(m->tokens.count, 2);
    fake_expect_token(m, 1, 2, 1, 1, 60, FINISH_NONE);
    assert_int_equal(fake_used(f), 1);
    fake_free(f);
}

/* The transfer thread's part: answers the commands that have come so far, but not those that the answers
 * cause. */
static void answer_commands(fake *f, bool verify) {
    xfer_cmd cmds[FAKE_LOG];
    uint32_t count = f->cmd_count;
    memcpy(cmds, f->cmds, count * sizeof *cmds);
    f->cmd_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (cmds[i].kind == X_DROP) dropped(f, cmds[i].id.req, cmds[i].id.attempt);
        if (cmds[i].kind != X_EXPECT) continue;
        if (verify)
            verified(f, cmds[i].id.req, cmds[i].id.attempt, 50);
        else
            fake_event(f, (xfer_event){.kind = X_FAILED, .id = cmds[i].id, .why = "peer lost"});
    }
}

/* Reservations, ends, preemptions and cancels in any order: pages in use are always those of what is held
 * (checked after each event by the fake), and in the end everything comes back. */
static void random_lives_never_lose_a_page(void **state) {
    (void)state;
    wcore_options opt = fake_options();
    opt.page_count = 12;
    fake *f = start(&opt);
    uint64_t x = 12345, req = 0;
    uint32_t preempted = 0, ended = 0;
    for (int i = 0; i < 20000; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t dice = (uint32_t)(x >> 33);
        f->sent_count = f->sent_read = f->token_count = 0;
        switch (dice / 8 % 8) {
        case 0:
            fake_give(f, CTL_RESERVE,
                      (fake_work){
                          .req = ++req, .attempt = 1, .prompt = 1 + dice % 60, .max_tokens = 1 + dice % 90});
            break;
        case 1:
            if (dice % 10 == 0) fake_tell(f, CTL_CANCEL, req > 3 ? req - dice % 4 : req, 1);
            break;
        case 2:
            answer_commands(f, dice % 5 != 0);
            break;
        case 3:
        case 4:
        case 5:
            if (f->job) fake_stepped(f, dice % 50 ? 60 : FAKE_EOS);
            break;
        default:
            fake_turn(f);
        }
        for (uint32_t m = 0; m < f->sent_count; m++) preempted += f->sent[m].kind == CTL_PREEMPTED;
        for (uint32_t t = 0; t < f->token_count; t++) ended += f->tokens[t].token.fin != FINISH_NONE;
    }
    assert_true(preempted > 10);
    assert_true(ended > 100);
    if (f->job) fake_stepped(f, 60);
    f->ops->session(f->core, FAKE_EPOCH, FAKE_INC + 1, 0);
    answer_commands(f, false);
    assert_int_equal(fake_used(f), 0);
    fake_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reservation_takes_pages_for_the_prompt_and_the_next_row),
        cmocka_unit_test(it_decodes_after_x_verified_and_repeats_token_k_in_the_first_message),
        cmocka_unit_test(a_seal_that_says_finished_frees_and_still_tells_verified_and_the_token),
        cmocka_unit_test(ids_that_do_not_match_their_hash_are_refused),
        cmocka_unit_test(admission_leaves_a_page_per_running_sequence_free),
        cmocka_unit_test(a_context_that_is_full_has_no_row_for_the_first_token),
        cmocka_unit_test(without_a_free_slot_there_is_no_room),
        cmocka_unit_test(a_page_edge_takes_one_more_page_for_the_step),
        cmocka_unit_test(the_youngest_is_preempted_and_keeps_nothing),
        cmocka_unit_test(
            a_reservation_is_preempted_before_anything_that_runs_and_told_when_its_pages_are_back),
        cmocka_unit_test(only_rows_that_are_not_here_are_expected),
        cmocka_unit_test(what_came_twice_is_kept_once),
        cmocka_unit_test(rows_that_were_generated_here_are_found_page_by_page),
        cmocka_unit_test(without_cached_outputs_only_pages_of_prompts_are_kept),
        cmocka_unit_test(pages_of_a_hand_off_that_failed_are_not_kept),
        cmocka_unit_test(pages_that_others_use_do_not_come_back_by_preemption),
        cmocka_unit_test(the_oldest_waits_when_the_pool_is_full_and_is_never_preempted),
        cmocka_unit_test(a_failed_hand_off_is_told_and_its_pages_come_back),
        cmocka_unit_test(a_drop_of_a_reservation_is_closed_after_the_transfer_thread_let_go),
        cmocka_unit_test(one_message_carries_the_tokens_of_all_sequences_of_a_step),
        cmocka_unit_test(a_sequence_without_usable_logits_is_told_as_failed_and_the_others_go_on),
        cmocka_unit_test(a_sequence_ends_when_the_context_is_full),
        cmocka_unit_test(a_sequence_released_while_its_step_runs_loses_the_token),
        cmocka_unit_test(random_lives_never_lose_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
