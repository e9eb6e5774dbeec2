/* The lists, indices and counts of a worker's requests, without a role around them. */
#include "tests/test.h"

#include "base/mem.h"
#include "worker_core/wstep.h"

#include <stdlib.h>

#define LOG 64u

typedef struct world {
    wtable t;
    xfer_cmd cmds[LOG];
    uint32_t cmd_count;
    ctl_msg sent[LOG];
    uint32_t sent_count;
    uint32_t jobs;
} world;

static void on_send(void *ctx, const ctl_msg *m) {
    world *w = ctx;
    assert_true(w->sent_count < LOG);
    w->sent[w->sent_count++] = *m;
}

static void on_xfer(void *ctx, const xfer_cmd *c) {
    world *w = ctx;
    assert_true(w->cmd_count < LOG);
    w->cmds[w->cmd_count++] = *c;
}

static void on_step(void *ctx, const dev_job *j) {
    world *w = ctx;
    (void)j;
    w->jobs++;
}

static world *start(worker_role role) {
    world *w = xcalloc(1, sizeof *w);
    wcore_options opt = {
        .page_count = 100, .max_seqs = 8, .max_rows = 64, .chunk_tokens = 32, .max_context = 512};
    wcore_sink sink = {.ctx = w, .send = on_send, .xfer = on_xfer, .step = on_step};
    wtable_init(&w->t, role, &opt, &sink, 16);
    return w;
}

static void finish_world(world *w) {
    assert_true(wtable_check(&w->t));
    wtable_done(&w->t);
    free(w);
}

static wseq *admit(world *w, uint64_t req, uint32_t attempt, wseq_phase phase) {
    static const int32_t ids[16] = {0};
    ctl_msg m = {.req = req,
                 .attempt = attempt,
                 .work = {.prompt = ids, .prompt_count = 16, .params = sampling_default()}};
    wseq *s = wtable_admit(&w->t, &m, &(wtable_need){.rows = 17, .slot = true, .phase = phase});
    assert_non_null(s);
    assert_true(wtable_check(&w->t));
    return s;
}

static void expect_phase(const world *w, wseq_phase phase, const char *reqs) {
    char found[32] = "";
    uint32_t n = 0;
    for (const wseq *s = wtable_first(&w->t, phase); s; s = wtable_next(&w->t, s))
        found[n++] = (char)('0' + s->req);
    assert_string_equal(found, reqs);
    assert_int_equal(wtable_count(&w->t, phase), n);
}

static void what_decodes_stands_in_order_of_age_however_its_kv_came(void **state) {
    (void)state;
    world *w = start(ROLE_DECODE);
    for (uint64_t req = 1; req <= 5; req++) admit(w, req, 1, WSEQ_EXPECTED);
    const uint64_t order[] = {3, 5, 1, 2};
    for (uint32_t i = 0; i < ARRAY_LEN(order); i++) {
        wtable_move(&w->t, wtable_find(&w->t, order[i]), WSEQ_DECODE);
        assert_true(wtable_check(&w->t));
    }
    expect_phase(w, WSEQ_DECODE, "1235");
    expect_phase(w, WSEQ_EXPECTED, "4");
    wtable_close(&w->t, wtable_find(&w->t, 2), false);
    expect_phase(w, WSEQ_DECODE, "135");
    wtable_move(&w->t, wtable_find(&w->t, 4), WSEQ_DECODE);
    expect_phase(w, WSEQ_DECODE, "1345");
    char found[8] = "";
    uint32_t n = 0;
    for (const wseq *s = wtable_oldest(&w->t); s; s = wtable_younger(&w->t, s))
        found[n++] = (char)('0' + s->req);
    assert_string_equal(found, "1345");
    finish_world(w);
}

static void what_is_told_follows_each_change(void **state) {
    (void)state;
    world *w = start(ROLE_PREFILL);
    wseq *s = admit(w, 1, 1, WSEQ_PROMPT);
    assert_int_equal(wtable_stats(&w->t).running, 1);
    wtable_leave_slot(&w->t, s);
    assert_int_equal(wtable_stats(&w->t).running, 0);
    assert_int_equal(wtable_stats(&w->t).waiting, 1);
    wtable_set_dest(&w->t, s, true);
    assert_int_equal(wtable_stats(&w->t).sends_pending, 1);
    wtable_move(&w->t, s, WSEQ_PINNED);
    assert_int_equal(wtable_stats(&w->t).waiting, 0);
    assert_int_equal(wtable_stats(&w->t).parked, 0);
    wtable_set_dest(&w->t, s, false);
    assert_int_equal(wtable_stats(&w->t).sends_pending, 0);
    assert_int_equal(wtable_stats(&w->t).parked, 1);
    assert_int_equal(wtable_stats(&w->t).pages_used, 2);
    assert_true(wtable_check(&w->t));
    wtable_close(&w->t, s, false);
    assert_int_equal(wtable_stats(&w->t).parked, 0);
    assert_int_equal(wtable_stats(&w->t).pages_used, 0);
    assert_true(wtable_idle(&w->t));
    finish_world(w);
}

/* Three attempts of one request leave at the same time. */
static void attempts_that_close_are_told_apart(void **state) {
    (void)state;
    world *w = start(ROLE_DECODE);
    wseq *attempts[3];
    for (uint32_t i = 0; i < 3; i++) {
        attempts[i] = admit(w, 7, i + 1, WSEQ_EXPECTED); /* the one before is closed by it */
        wtable_post(&w->t, attempts[i], X_EXPECT);
    }
    wtable_close(&w->t, attempts[2], false);
    assert_null(wtable_find(&w->t, 7));
    assert_ptr_equal(wtable_closing(&w->t, 7), attempts[2]);
    assert_ptr_equal(attempts[2]->closing_before, attempts[1]);
    assert_ptr_equal(attempts[1]->closing_before, attempts[0]);
    assert_int_equal(w->t.coming_pages, 6);
    ctl_msg release = {.kind = CTL_RELEASE, .req = 7, .attempt = 2};
    wtable_release(&w->t, &release); /* the newest that it covers answers */
    assert_int_equal(w->sent_count, 0);
    wtable_dropped(&w->t, 7); /* of the first */
    assert_int_equal(w->sent_count, 0);
    assert_null(attempts[1]->closing_before);
    assert_true(wtable_check(&w->t));
    wtable_dropped(&w->t, 7); /* of the second, which stands in the middle of nothing any more */
    assert_int_equal(w->sent_count, 1);
    assert_int_equal(w->sent[0].kind, CTL_CLOSED);
    assert_int_equal(w->sent[0].attempt, 2);
    assert_int_equal(w->t.coming_pages, 2);
    wtable_dropped(&w->t, 7);
    assert_null(wtable_closing(&w->t, 7));
    assert_true(wtable_idle(&w->t));
    assert_int_equal(w->sent_count, 1);
    finish_world(w);
}

static void the_middle_and_the_newest_attempt_may_go_first(void **state) {
    (void)state;
    world *w = start(ROLE_DECODE);
    wseq *attempts[3];
    for (uint32_t i = 0; i < 3; i++) {
        attempts[i] = admit(w, 7, i + 1, WSEQ_EXPECTED);
        attempts[i]->xfer_known = attempts[i]->drop_posted = true;
    }
    wtable_close(&w->t, attempts[2], false);
    attempts[1]->xfer_known = false;
    wtable_settle(&w->t, attempts[1]);
    assert_ptr_equal(attempts[2]->closing_before, attempts[0]);
    assert_true(wtable_check(&w->t));
    attempts[2]->xfer_known = false;
    wtable_settle(&w->t, attempts[2]);
    assert_ptr_equal(wtable_closing(&w->t, 7), attempts[0]);
    wtable_dropped(&w->t, 7);
    assert_true(wtable_idle(&w->t));
    finish_world(w);
}

/* A slot that is left is free at once; the engine hears of it in the next job. */
static void slots_that_were_left_open_are_closed_by_the_next_job_once(void **state) {
    (void)state;
    world *w = start(ROLE_COLOCATED);
    wseq *a = admit(w, 1, 1, WSEQ_PROMPT), *b = admit(w, 2, 1, WSEQ_PROMPT);
    uint32_t slot_a = a->slot, slot_b = b->slot;
    wstep_add(&w->t, a, 0, 16, false);
    wstep_add(&w->t, b, 0, 16, false);
    assert_true(wstep_go(&w->t));
    assert_int_equal(w->t.job.close_count, 0);
    assert_int_equal(w->t.job.open_count, 2);
    wtable_leave_slot(&w->t, b);
    wtable_leave_slot(&w->t, a);
    wseq *c = admit(w, 3, 1, WSEQ_PROMPT);
    assert_int_equal(c->slot, slot_a); /* the last that was left */
    wtable_leave_slot(&w->t, c);       /* never opened: nothing to close */
    assert_true(wtable_take_slot(&w->t, c));
    const step_result results[] = {{.tag = 1}, {.tag = 2}};
    wtable_close(&w->t, a, false);
    wtable_close(&w->t, b, false);
    wstep_end(&w->t, results, 2, NULL); /* neither is wanted any more */
    wstep_add(&w->t, c, 0, 16, false);
    assert_true(wstep_go(&w->t));
    assert_int_equal(w->t.job.close_count, 2);
    assert_int_equal(w->t.job.closes[0], slot_b);
    assert_int_equal(w->t.job.closes[1], slot_a);
    assert_int_equal(w->t.job.opens[0].slot, slot_a);
    assert_int_equal(w->t.left_slot_count, 0);
    wtable_close(&w->t, c, false);
    wstep_end(&w->t, &(step_result){.tag = 3}, 1, NULL);
    assert_int_equal(w->jobs, 2);
    assert_true(wtable_idle(&w->t));
    finish_world(w);
}

static void a_session_closes_the_youngest_first(void **state) {
    (void)state;
    world *w = start(ROLE_DECODE);
    for (uint64_t req = 1; req <= 3; req++) {
        wseq *s = admit(w, req, 1, WSEQ_EXPECTED);
        s->id.req = req;
        wtable_post(&w->t, s, X_EXPECT);
    }
    w->cmd_count = 0;
    wtable_session(&w->t, 4, 5);
    assert_int_equal(w->cmd_count, 4);
    assert_int_equal(w->cmds[0].kind, X_EPOCH);
    for (uint32_t i = 1; i < 4; i++) {
        assert_int_equal(w->cmds[i].kind, X_DROP);
        assert_int_equal(w->cmds[i].id.req, 4 - i);
    }
    finish_world(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_decodes_stands_in_order_of_age_however_its_kv_came),
        cmocka_unit_test(what_is_told_follows_each_change),
        cmocka_unit_test(attempts_that_close_are_told_apart),
        cmocka_unit_test(the_middle_and_the_newest_attempt_may_go_first),
        cmocka_unit_test(slots_that_were_left_open_are_closed_by_the_next_job_once),
        cmocka_unit_test(a_session_closes_the_youngest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
