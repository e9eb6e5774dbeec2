/* The router alone: members in, a choice out. */
#include "base/mem.h"
#include "coordinator/router.h"
#include "kv/kv_layout.h"
#include "tests/test.h"

#define SOME_WORKERS 6u

typedef struct cast {
    member *items[SOME_WORKERS];
    uint32_t count;
} cast;

static member *add(cast *c, worker_role role, uint32_t pages) {
    ctl_join j = {.role = role,
                  .page_count = pages,
                  .page_tokens = KV_PAGE_TOKENS,
                  .max_seqs = 4,
                  .max_rows = 64,
                  .max_context = 1024,
                  .kv_token_bytes = 64};
    member *m = member_new(&j, "w", c->count + 1, c->count + 1, 1);
    member_heard(m, pages, &(ctl_heartbeat){0}, 1, 1);
    return c->items[c->count++] = m;
}

static void done(cast *c) {
    for (uint32_t i = 0; i < c->count; i++) member_free(c->items[i]);
}

static member_list list(const cast *c) {
    return (member_list){.items = c->items, .count = c->count};
}

static const route_ask ask20 = {.rows = 20, .tokens_max = 40};

static void the_least_loaded_pair_wins_and_ties_go_to_the_first(void **state) {
    (void)state;
    cast c = {0};
    member *p0 = add(&c, ROLE_PREFILL, 50), *p1 = add(&c, ROLE_PREFILL, 50);
    member *d0 = add(&c, ROLE_DECODE, 50), *d1 = add(&c, ROLE_DECODE, 50);
    route r;
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p0 && r.decode == d0);
    holds_add(&p0->holds, 1, 1, 2, 20);
    holds_add(&d0->holds, 1, 1, 2, 0);
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p1 && r.decode == d1);
    done(&c);
}

/* Each P must get the D of its own kind, though they come in turns. */
static void a_pair_agrees_on_the_bytes_of_a_token(void **state) {
    (void)state;
    cast c = {0};
    member *p0 = add(&c, ROLE_PREFILL, 50), *p1 = add(&c, ROLE_PREFILL, 50), *p2 = add(&c, ROLE_PREFILL, 50);
    member *d0 = add(&c, ROLE_DECODE, 50), *d1 = add(&c, ROLE_DECODE, 50);
    p1->kv_token_bytes = d0->kv_token_bytes = 128;
    route r;
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p0 && r.decode == d1);
    holds_add(&p0->holds, 1, 1, 2, 20);
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p1 && r.decode == d0);
    holds_add(&p1->holds, 2, 1, 2, 20);
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p2 && r.decode == d1);
    p2->kv_token_bytes = 256; /* nobody takes its KV */
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p0 && r.decode == d1);
    done(&c);
}

static void a_colocated_worker_competes_with_pairs_by_load(void **state) {
    (void)state;
    cast c = {0};
    member *p = add(&c, ROLE_PREFILL, 50);
    add(&c, ROLE_DECODE, 50);
    member *w = add(&c, ROLE_COLOCATED, 50);
    route r;
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p);
    holds_add(&p->holds, 1, 1, 2, 20);
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == w && !r.decode);
    holds_add(&w->holds, 2, 1, 2, 60);
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p);
    done(&c);
}

static void without_d_room_the_kv_parks_unless_a_colocated_worker_has_room(void **state) {
    (void)state;
    cast c = {0};
    member *p = add(&c, ROLE_PREFILL, 50), *d = add(&c, ROLE_DECODE, 50);
    d->free_pages = 2; /* 21 rows: 2 pages, and the headroom of 1 */
    route r;
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.prefill == p && !r.decode);
    d->free_pages = 3;
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_true(r.decode == d);
    route_ask blocked = ask20;
    blocked.decode_blocked = true; /* an older request waits for D pages */
    assert_true(router_pick(list(&c), &blocked, &r));
    assert_true(r.prefill == p && !r.decode);
    member *w = add(&c, ROLE_COLOCATED, 50);
    assert_true(router_pick(list(&c), &blocked, &r));
    assert_true(r.prefill == w);
    done(&c);
}

static void two_batches_are_the_limit_and_a_longer_prompt_gets_an_idle_worker(void **state) {
    (void)state;
    cast c = {0};
    member *p = add(&c, ROLE_PREFILL, 90);
    add(&c, ROLE_DECODE, 90);
    route r;
    assert_true(router_pick(list(&c), &(route_ask){.rows = 500, .tokens_max = 600}, &r));
    holds_add(&p->holds, 1, 1, 7, 108);
    assert_true(router_pick(list(&c), &ask20, &r));
    holds_add(&p->holds, 2, 1, 1, 1);
    assert_false(router_pick(list(&c), &ask20, &r));
    done(&c);
}

static void headroom_grows_with_the_sequences_that_run(void **state) {
    (void)state;
    cast c = {0};
    member *d = add(&c, ROLE_DECODE, 100);
    assert_int_equal(member_headroom(d), 2); /* 2 % of the pool */
    for (uint64_t i = 1; i <= 3; i++) holds_add(&d->holds, i, 1, 1, 0);
    for (uint64_t i = 1; i <= 3; i++) holds_answered(&d->holds, holds_current(&d->holds, i));
    assert_int_equal(member_headroom(d), 3); /* one page for each */
    d->free_pages = 4;
    assert_null(router_pick_decode(list(&c), &ask20, 64));
    d->free_pages = 5;
    assert_true(router_pick_decode(list(&c), &ask20, 64) == d);
    holds_add(&d->holds, 4, 1, 1, 0); /* all four slots are taken */
    holds_answered(&d->holds, holds_current(&d->holds, 4));
    d->free_pages = 90;
    assert_null(router_pick_decode(list(&c), &ask20, 64));
    done(&c);
}

static void promises_count_until_the_worker_answered(void **state) {
    (void)state;
    cast c = {0};
    member *d = add(&c, ROLE_DECODE, 20), *p = add(&c, ROLE_PREFILL, 20);
    holds_add(&d->holds, 1, 1, 12, 0);
    assert_int_equal(d->holds.promised, 12);
    assert_int_equal(member_available(d), 8);
    holds_answered(&d->holds, holds_current(&d->holds, 1));
    d->free_pages = 8;
    assert_int_equal(member_available(d), 8);
    holds_add(&p->holds, 1, 1, 12, 180);
    p->free_pages = 8; /* a heartbeat after P took them, before its answer: not counted twice */
    assert_int_equal(member_available(p), 8);
    holds_closed(&p->holds, 1, 1);
    assert_int_equal(member_available(p), 20);
    done(&c);
}

static void the_d_that_failed_is_the_last_choice(void **state) {
    (void)state;
    cast c = {0};
    member *d0 = add(&c, ROLE_DECODE, 50), *d1 = add(&c, ROLE_DECODE, 50);
    holds_add(&d1->holds, 1, 1, 2, 0);
    route_ask ask = ask20;
    ask.avoid = d0->incarnation;
    assert_true(router_pick_decode(list(&c), &ask, 64) == d1);
    d1->full = true;
    assert_true(router_pick_decode(list(&c), &ask, 64) == d0);
    assert_null(router_pick_decode(list(&c), &ask, 128)); /* another KV layout */
    done(&c);
}

static void suspect_and_draining_workers_get_nothing_new(void **state) {
    (void)state;
    cast c = {0};
    member *w = add(&c, ROLE_COLOCATED, 50);
    core_options o = {.suspect_ns = 10, .gone_ns = 100, .step_age_min_ns = 1000};
    route r;
    assert_true(router_pick(list(&c), &ask20, &r));
    assert_false(member_judge(w, &o, 12, NULL));
    assert_int_equal(member_state_of(w), MEMBER_SUSPECT);
    assert_false(router_pick(list(&c), &ask20, &r));
    assert_true(router_could_fit(list(&c), &ask20)); /* it may come back */
    member_heard(w, 50, NULL, 1000, 13);
    assert_true(router_pick(list(&c), &ask20, &r));
    w->draining = true;
    assert_false(router_pick(list(&c), &ask20, &r));
    assert_false(router_could_fit(list(&c), &ask20));
    done(&c);
}

static void a_replay_waits_for_other_replays_and_a_running_step_only(void **state) {
    (void)state;
    cast c = {0};
    member *p0 = add(&c, ROLE_PREFILL, 50), *p1 = add(&c, ROLE_PREFILL, 50);
    add(&c, ROLE_DECODE, 50);
    holds_add(&p0->holds, 1, 1, 8, 120); /* two batches are 128 */
    holds_add(&p1->holds, 2, 1, 8, 128);
    route r;
    assert_false(router_pick(list(&c), &ask20, &r));
    route_ask replay = ask20;
    replay.replay = true;
    assert_true(router_pick(list(&c), &replay, &r));
    assert_true(r.prefill == p0); /* a step is 64: both are alike */
    holds_add(&p0->holds, 3, 1, 2, 120);
    holds_replay(&p0->holds, 3);
    assert_true(router_pick(list(&c), &replay, &r));
    assert_true(r.prefill == p1);
    holds_add(&p1->holds, 4, 1, 2, 120);
    holds_replay(&p1->holds, 4);
    assert_false(router_pick(list(&c), &replay, &r)); /* two batches of replays */
    holds_computed(&p1->holds, holds_current(&p1->holds, 4));
    assert_true(router_pick(list(&c), &replay, &r));
    assert_true(r.prefill == p1);
    assert_true(holds_check(&p0->holds) && holds_check(&p1->holds));
    done(&c);
}

static void only_a_stream_that_stands_still_is_computed_while_there_is_no_d(void **state) {
    (void)state;
    cast c = {0};
    member *p = add(&c, ROLE_PREFILL, 50);
    route_ask replay = ask20;
    replay.replay = true;
    route r;
    assert_false(router_pick(list(&c), &ask20, &r));
    assert_false(router_could_fit(list(&c), &ask20));
    assert_true(router_pick(list(&c), &replay, &r));
    assert_true(r.prefill == p && !r.decode);
    assert_true(router_could_fit(list(&c), &replay));
    member *w = add(&c, ROLE_COLOCATED, 50);
    w->full = true; /* it will have room, and there may never be a D */
    assert_false(router_pick(list(&c), &replay, &r));
    assert_true(router_could_fit(list(&c), &replay));
    done(&c);
}

/* ---- prefixes ---- */

/* Hints of two kinds, as the core has them. */
typedef struct hinted {
    prefix_hints computing, decoding;
} hinted;

static hinted *hinted_new(cast *c) {
    static hinted h;
    prefix_hints_init(&h.computing, 1000);
    prefix_hints_init(&h.decoding, 1000);
    for (uint32_t i = 0; i < c->count; i++) {
        member *m = c->items[i];
        prefix_hints_join(m->role == ROLE_DECODE ? &h.decoding : &h.computing, &m->prefixes, m->page_count);
    }
    return &h;
}

static void hinted_done(hinted *h) {
    prefix_hints_done(&h->computing);
    prefix_hints_done(&h->decoding);
}

static const uint64_t keys[] = {11, 12, 13, 14, 15, 16, 17, 18};

/* A prompt of 128 rows and the 8 pages above, of which the last is computed whatever is held. */
static route_ask ask128(hinted *h) {
    route_ask ask = {.rows = 128, .tokens_max = 200};
    ask.computing = prefix_hints_find(&h->computing, keys, 7);
    ask.decoding = prefix_hints_find(&h->decoding, keys, 7);
    return ask;
}

static void a_worker_that_holds_the_prefix_wins_until_it_is_busier_than_the_hit_saves(void **state) {
    (void)state;
    cast c = {0};
    add(&c, ROLE_PREFILL, 50);
    member *p1 = add(&c, ROLE_PREFILL, 50);
    add(&c, ROLE_DECODE, 50);
    hinted *h = hinted_new(&c);
    prefix_hints_add(&h->computing, &p1->prefixes, keys, 3); /* 48 of 128 rows */
    route r;
    route_ask ask = ask128(h);
    assert_true(router_pick(list(&c), &ask, &r));
    assert_true(r.prefill == p1);
    holds_add(&p1->holds, 1, 1, 2, 47);
    ask = ask128(h);
    assert_true(router_pick(list(&c), &ask, &r));
    assert_true(r.prefill == p1); /* 47 rows and the 80 that are missing here; 128 there */
    holds_add(&p1->holds, 2, 1, 2, 1);
    assert_true(router_pick(list(&c), &ask, &r));
    assert_true(r.prefill == c.items[0]); /* as much: the first to join */
    hinted_done(h);
    done(&c);
}

static void of_two_holders_the_one_that_holds_more_wins(void **state) {
    (void)state;
    cast c = {0};
    member *w0 = add(&c, ROLE_COLOCATED, 50), *w1 = add(&c, ROLE_COLOCATED, 50);
    hinted *h = hinted_new(&c);
    prefix_hints_add(&h->computing, &w0->prefixes, keys, 2);
    prefix_hints_add(&h->computing, &w1->prefixes, keys, 3);
    route r;
    route_ask ask = ask128(h);
    assert_true(router_pick(list(&c), &ask, &r));
    assert_true(r.prefill == w1);
    w1->full = true;
    assert_true(router_pick(list(&c), &ask, &r));
    assert_true(r.prefill == w0);
    hinted_done(h);
    done(&c);
}

static void a_decode_worker_that_holds_the_prefix_wins_by_the_room_it_saves(void **state) {
    (void)state;
    cast c = {0};
    add(&c, ROLE_PREFILL, 50);
    member *d0 = add(&c, ROLE_DECODE, 50), *d1 = add(&c, ROLE_DECODE, 50);
    hinted *h = hinted_new(&c);
    prefix_hints_add(&h->decoding, &d1->prefixes, keys, 7);
    route r;
    route_ask ask = ask128(h);
    assert_true(router_pick(list(&c), &ask, &r));
    assert_true(r.decode == d1);
    assert_true(router_pick_decode(list(&c), &ask, 64) == d1);
    d0->max_seqs = d1->max_seqs = 8;
    holds_add(&d1->holds, 1, 1, 2, 0); /* 125 thousandths of its slots; 7 of 50 pages are 140 */
    assert_true(router_pick_decode(list(&c), &ask, 64) == d1);
    holds_add(&d1->holds, 2, 1, 2, 0);
    assert_true(router_pick_decode(list(&c), &ask, 64) == d0);
    d0->page_count = d1->page_count = 1u << 20; /* in a large pool it tells equals apart, and no more */
    d0->free_pages = d1->free_pages = 1u << 20;
    assert_true(router_pick_decode(list(&c), &ask, 64) == d0);
    holds_add(&d0->holds, 3, 1, 2, 0);
    holds_add(&d0->holds, 4, 1, 2, 0);
    assert_true(router_pick_decode(list(&c), &ask, 64) == d1);
    hinted_done(h);
    done(&c);
}

static void rule_6_counts_the_rows_that_are_not_held(void **state) {
    (void)state;
    cast c = {0};
    member *p = add(&c, ROLE_PREFILL, 90);
    add(&c, ROLE_DECODE, 90);
    hinted *h = hinted_new(&c);
    holds_add(&p->holds, 1, 1, 7, 100); /* two batches are 128 */
    route r;
    route_ask ask = ask128(h);
    assert_false(router_pick(list(&c), &ask, &r));
    prefix_hints_add(&h->computing, &p->prefixes, keys, 6);
    ask = ask128(h);
    assert_false(router_pick(list(&c), &ask, &r)); /* 32 are missing */
    prefix_hints_add(&h->computing, &p->prefixes, keys, 7);
    ask = ask128(h);
    assert_true(router_pick(list(&c), &ask, &r)); /* 16 */
    hinted_done(h);
    done(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_loaded_pair_wins_and_ties_go_to_the_first),
        cmocka_unit_test(a_pair_agrees_on_the_bytes_of_a_token),
        cmocka_unit_test(a_colocated_worker_competes_with_pairs_by_load),
        cmocka_unit_test(without_d_room_the_kv_parks_unless_a_colocated_worker_has_room),
        cmocka_unit_test(two_batches_are_the_limit_and_a_longer_prompt_gets_an_idle_worker),
        cmocka_unit_test(headroom_grows_with_the_sequences_that_run),
        cmocka_unit_test(promises_count_until_the_worker_answered),
        cmocka_unit_test(the_d_that_failed_is_the_last_choice),
        cmocka_unit_test(suspect_and_draining_workers_get_nothing_new),
        cmocka_unit_test(a_replay_waits_for_other_replays_and_a_running_step_only),
        cmocka_unit_test(only_a_stream_that_stands_still_is_computed_while_there_is_no_d),
        cmocka_unit_test(a_worker_that_holds_the_prefix_wins_until_it_is_busier_than_the_hit_saves),
        cmocka_unit_test(of_two_holders_the_one_that_holds_more_wins),
        cmocka_unit_test(a_decode_worker_that_holds_the_prefix_wins_by_the_room_it_saves),
        cmocka_unit_test(rule_6_counts_the_rows_that_are_not_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
