/* Streams: text, stop strings and usage are the same wherever tokens end; siblings and late tokens do no
 * harm. */
#include "coordinator/stream.h"

#include "coordinator/event_log.h"
#include "front_fakes.h"
#include "tests/test.h"

#include <stdio.h>
#include <unistd.h>

/* ---- one choice ---- */

typedef struct run {
    choice_rules rules;
    api_stop stops[4];
    choice c;
    char shown[1024]; /* parts joined by '|' */
} run;

static void run_init(run *r, const char *const *stops) {
    *r = (run){.rules = {.tok = &fake_tokenizer, .stops = r->stops}};
    for (; stops && *stops; stops++)
        r->stops[r->rules.stop_count++] = (api_stop){(char *)*stops, strlen(*stops)};
    choice_init(&r->c, &r->rules);
}

static void show(run *r, const choice_part *p) {
    snprintf(r->shown + strlen(r->shown), sizeof r->shown - strlen(r->shown), "%.*s|",
             (int)(p->text_end - p->text_begin), r->c.text.data + p->text_begin);
}

static void add(run *r, int32_t id, finish fin) {
    choice_part p;
    if (choice_add(&r->c, &(token_out){.id = id, .fin = fin}, &p)) show(r, &p);
}

static void add_text(run *r, const char *text) {
    for (; *text; text++) add(r, (unsigned char)*text, FINISH_NONE);
}

static void end(run *r) {
    choice_part p;
    if (choice_end(&r->c, &p)) show(r, &p);
}

static void each_token_is_a_part_of_its_own(void **state) {
    (void)state;
    run r;
    run_init(&r, NULL);
    add(&r, FAKE_HELLO, FINISH_NONE);
    add(&r, FAKE_WORLD, FINISH_LENGTH);
    end(&r);
    assert_string_equal(r.shown, "hello| world|");
    choice_done(&r.c);
}

static void a_possible_stop_string_is_held_back_until_the_doubt_is_gone(void **state) {
    (void)state;
    run r;
    run_init(&r, (const char *[]){"abc", NULL});
    add_text(&r, "xab");
    assert_string_equal(r.shown, "x|");
    add_text(&r, "dab");
    assert_string_equal(r.shown, "x|abd|");
    end(&r);
    assert_string_equal(r.shown, "x|abd|ab|");
    choice_done(&r.c);
}

static void a_stop_string_over_token_borders_cuts_the_text(void **state) {
    (void)state;
    run r;
    run_init(&r, (const char *[]){"lo wo", NULL});
    add(&r, FAKE_HELLO, FINISH_NONE);
    assert_string_equal(r.shown, "hel|");
    add(&r, FAKE_WORLD, FINISH_NONE);
    assert_int_equal(r.c.matched, 0);
    add_text(&r, "more");
    end(&r);
    assert_string_equal(r.c.text.data, "hel");
    assert_int_equal(r.c.count, 2); /* later tokens are not counted */
    choice_done(&r.c);
}

static void prefixes_that_overlap_themselves_are_found(void **state) {
    (void)state;
    run r;
    run_init(&r, (const char *[]){"aab", "ababc", NULL});
    add_text(&r, "xaaab");
    assert_int_equal(r.c.matched, 0);
    assert_string_equal(r.c.text.data, "xa");
    choice_done(&r.c);
    run_init(&r, (const char *[]){"ababc", NULL});
    add_text(&r, "abababc");
    assert_int_equal(r.c.matched, 0);
    assert_string_equal(r.c.text.data, "ab");
    choice_done(&r.c);
}

static void the_match_that_ends_first_wins_and_of_those_the_longest(void **state) {
    (void)state;
    run r;
    run_init(&r, (const char *[]){"world", "o", NULL});
    add(&r, FAKE_WORLD, FINISH_NONE);
    assert_int_equal(r.c.matched, 1);
    assert_string_equal(r.c.text.data, " w");
    choice_done(&r.c);
    run_init(&r, (const char *[]){"lo", "llo", NULL});
    add(&r, FAKE_HELLO, FINISH_NONE);
    assert_int_equal(r.c.matched, 1);
    assert_string_equal(r.c.text.data, "he");
    choice_done(&r.c);
}

static void the_stop_string_stays_when_asked_for(void **state) {
    (void)state;
    run r;
    run_init(&r, (const char *[]){"wor", NULL});
    r.rules.include_stop = true;
    add(&r, FAKE_HELLO, FINISH_NONE);
    add(&r, FAKE_WORLD, FINISH_NONE);
    end(&r);
    assert_string_equal(r.shown, "hello| wor|");
    choice_done(&r.c);
}

static void stop_strings_in_the_first_min_tokens_do_not_count(void **state) {
    (void)state;
    run r;
    run_init(&r, (const char *[]){"ab", NULL});
    r.rules.min_tokens = 3;
    add_text(&r, "abab");
    assert_int_equal(r.c.matched, -1); /* its a is the third token */
    add_text(&r, "ab");
    assert_int_equal(r.c.matched, 0);
    assert_string_equal(r.c.text.data, "abab");
    choice_done(&r.c);
}

static void a_character_split_over_tokens_comes_whole(void **state) {
    (void)state;
    run r;
    run_init(&r, NULL);
    add(&r, 'a', FINISH_NONE);
    add(&r, FAKE_EMOJI_A, FINISH_NONE);
    assert_string_equal(r.shown, "a|");
    add(&r, FAKE_EMOJI_B, FINISH_NONE);
    assert_string_equal(r.shown, "a|\xf0\x9f\x99\x82|");
    add(&r, FAKE_EMOJI_A, FINISH_LENGTH);
    end(&r);
    assert_string_equal(r.shown, "a|\xf0\x9f\x99\x82|\xef\xbf\xbd|");
    assert_int_equal(r.c.shown.token_end, 4);
    choice_done(&r.c);
}

static void special_tokens_have_no_text_unless_kept(void **state) {
    (void)state;
    run r;
    run_init(&r, NULL);
    add(&r, FAKE_START, FINISH_NONE);
    add(&r, 'a', FINISH_NONE);
    add(&r, FAKE_END, FINISH_EOS);
    end(&r);
    assert_string_equal(r.shown, "|a||");
    choice_done(&r.c);
    run_init(&r, NULL);
    r.rules.keep_special = true;
    add(&r, FAKE_START, FINISH_NONE);
    add(&r, 'z', FINISH_STOP_ID); /* the token that ends is not text either way */
    end(&r);
    assert_string_equal(r.c.text.data, "<|im_start|>");
    choice_done(&r.c);
}

/* Random texts over a small alphabet, in tokens of random lengths: the result equals that of single bytes,
 * and what was shown is a prefix of it. */
static void the_text_does_not_depend_on_where_tokens_end(void **state) {
    (void)state;
    uint64_t x = 88172645463325252ull;
    for (uint32_t round = 0; round < 3000; round++) {
        char text[24], stops[2][5];
        for (size_t i = 0; i < sizeof text; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            text[i] = "helo "[x % 5];
        }
        for (int k = 0; k < 2; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            size_t len = 1 + x % 4, from = (x >> 8) % (sizeof text - 4);
            memcpy(stops[k], text + from, len);
            stops[k][len] = 0;
        }
        const char *list[] = {stops[0], stops[1], NULL};
        run bytes, words;
        run_init(&bytes, list);
        run_init(&words, list);
        for (size_t i = 0; i < sizeof text;) {
            size_t n = sizeof text - i >= 5 && memcmp(text + i, "hello", 5) == 0 ? 5 : 1;
            for (size_t k = 0; k < n; k++) add(&bytes, (unsigned char)text[i + k], FINISH_NONE);
            if (n == 5)
                add(&words, FAKE_HELLO, FINISH_NONE);
            else
                add(&words, (unsigned char)text[i], FINISH_NONE);
            i += n;
        }
        end(&bytes);
        end(&words);
        assert_int_equal(bytes.c.matched, words.c.matched);
        assert_string_equal(bytes.c.text.data, words.c.text.data);
        assert_true(bytes.c.matched >= 0 && strstr(bytes.c.text.data, stops[bytes.c.matched]) == NULL);
        choice_done(&bytes.c);
        choice_done(&words.c);
    }
}

/* ---- a request of several choices ---- */

typedef struct world {
    core core;
    meter *meter;
    streams *streams;
    stream *s;
    api_request r;
    uint32_t wakes;
    event_log *events;
    void (*before_leaving)(struct world *w);
} world;

static void on_wake(void *ctx) {
    ((world *)ctx)->wakes++;
}

static status open_world(world *w, const char *prompts, uint32_t n, const char *stop, api_error *e) {
    if (!w->meter) {
        w->meter = meter_new("tiny");
        w->streams = w->core.streams = streams_new(&w->core, &fake_tokenizer, w->meter);
    }
    api_request_init(&w->r, API_COMPLETION);
    w->r.choices = n;
    for (; *prompts; prompts++) token_list_add(&api_add_prompt(&w->r)->ids, *prompts);
    if (stop) w->r.stops[w->r.stop_count++] = (api_stop){xstrdup(stop), strlen(stop)};
    stream_listener l = {.ctx = w, .wake = on_wake};
    return stream_open(&w->s, w->streams, &w->r, &l, 1, e);
}

static void close_world(world *w) {
    stream_close(w->s, 1);
    (void)streams_turn(w->streams, 1);
    streams_free(w->streams);
    meter_free(w->meter);
    api_request_done(&w->r);
}

static void prompts_times_n_are_choices_and_usage_counts_each_prompt_once(void **state) {
    (void)state;
    world w = {0};
    api_error e = {0};
    assert_int_equal(open_world(&w, "ab", 2, NULL, &e), ST_OK);
    assert_int_equal(w.core.last, 4);
    assert_int_equal(w.core.requests[3].prompt[0], 'b');
    /* Each draws numbers of its own from the one seed. */
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(w.core.requests[1 + i].params.choice, i);
    for (uint64_t i = 1; i <= 4; i++) {
        assert_false(stream_ended(w.s));
        w.core.cached = i == 1; /* of a prompt with several choices the first one counts */
        fake_text(&w.core, i, "xy");
        fake_token(&w.core, i, (token_out){.id = 'z', .fin = FINISH_LENGTH});
    }
    assert_true(stream_ended(w.s));
    assert_int_equal(stream_prompt_tokens(w.s), 2);
    assert_int_equal(stream_cached_tokens(w.s), 1);
    assert_int_equal(stream_completion_tokens(w.s, false), 12);
    assert_int_equal(stream_completion_tokens(w.s, true), 0);
    stream_step step;
    uint32_t parts = 0, last = 0;
    while (stream_next(w.s, true, &step)) {
        parts += step.kind == STEP_PART;
        last += step.last;
        assert_int_not_equal(step.kind, STEP_END); /* merged */
    }
    assert_int_equal(parts, 12);
    assert_int_equal(last, 4);
    assert_int_equal(stream_completion_tokens(w.s, true), 12);
    close_world(&w);
}

static void a_stop_string_finishes_in_the_core_at_the_next_turn_and_drops_later_tokens(void **state) {
    (void)state;
    world w = {0};
    api_error e = {0};
    assert_int_equal(open_world(&w, "a", 1, "st", &e), ST_OK);
    fake_text(&w.core, 1, "xst");
    assert_false(w.core.requests[1].finished); /* the core is not called back from inside */
    fake_text(&w.core, 1, "late");
    assert_true(streams_turn(w.streams, 2));
    assert_true(w.core.requests[1].finished);
    assert_true(stream_ended(w.s));
    stream_finish f = stream_finish_of(w.s, 0);
    assert_string_equal(f.reason, "stop");
    assert_string_equal(f.stop->text, "st");
    assert_int_equal(stream_completion_tokens(w.s, false), 3);
    assert_string_equal(stream_choice(w.s, 0)->text.data, "x");
    assert_false(streams_turn(w.streams, 3));
    close_world(&w);
}

static void a_match_in_the_last_token_is_a_stop_not_a_length(void **state) {
    (void)state;
    world w = {0};
    api_error e = {0};
    assert_int_equal(open_world(&w, "a", 1, "st", &e), ST_OK);
    fake_text(&w.core, 1, "s");
    fake_token(&w.core, 1, (token_out){.id = 't', .fin = FINISH_LENGTH});
    assert_true(stream_ended(w.s));
    assert_non_null(stream_finish_of(w.s, 0).stop);
    close_world(&w);
}

static void a_stop_token_is_told_by_its_id(void **state) {
    (void)state;
    world w = {0};
    api_error e = {0};
    assert_int_equal(open_world(&w, "a", 1, NULL, &e), ST_OK);
    fake_token(&w.core, 1, (token_out){.id = 'q', .fin = FINISH_STOP_ID});
    stream_finish f = stream_finish_of(w.s, 0);
    assert_string_equal(f.reason, "stop");
    assert_int_equal(f.stop_id, 'q');
    assert_int_equal(stream_choice(w.s, 0)->text.len, 0);
    assert_int_equal(stream_completion_tokens(w.s, false), 1);
    close_world(&w);
}

static void one_failed_choice_fails_all_and_cancels_its_siblings(void **state) {
    (void)state;
    world w = {0};
    api_error e = {0};
    assert_int_equal(open_world(&w, "a", 3, NULL, &e), ST_OK);
    fake_text(&w.core, 1, "x");
    fake_end(&w.core, 2, (core_end){.state = REQ_FAILED, .st = ST_TIMEOUT, .why = "too slow"});
    assert_int_equal(stream_error(w.s)->http, 504);
    assert_string_equal(stream_error(w.s)->text.text, "too slow");
    (void)streams_turn(w.streams, 2);
    assert_true(w.core.requests[1].canceled && w.core.requests[3].canceled);
    assert_int_equal(stream_error(w.s)->http, 504); /* the cancellations are not its cause */
    assert_true(stream_has_step(w.s));              /* what came before is still there to be shown */
    close_world(&w);
}

static void each_status_of_the_core_has_one_http_number(void **state) {
    (void)state;
    assert_int_equal(api_http_of(ST_INVALID), 400);
    assert_int_equal(api_http_of(ST_AGAIN), 429);
    assert_int_equal(api_http_of(ST_CORRUPT), 500);
    assert_int_equal(api_http_of(ST_PEER), 503);
    assert_int_equal(api_http_of(ST_TIMEOUT), 504);
}

static void choices_are_taken_or_refused_together(void **state) {
    (void)state;
    world w = {.core = {.refuse = ST_AGAIN, .refuse_why = "queue full", .refuse_after = 2, .retry_s = 7}};
    api_error e = {0};
    assert_int_equal(open_world(&w, "a", 3, NULL, &e), ST_AGAIN);
    assert_int_equal(e.http, 429);
    assert_string_equal(e.text.text, "queue full");
    assert_int_equal(e.retry_s, 7);
    assert_int_equal(w.core.last, 0);
    assert_int_equal(streams_alive(w.streams), 0);
    close_world(&w);
}

static void closing_cancels_what_runs(void **state) {
    (void)state;
    world w = {0};
    api_error e = {0};
    assert_int_equal(open_world(&w, "a", 2, NULL, &e), ST_OK);
    fake_token(&w.core, 1, (token_out){.id = 'z', .fin = FINISH_LENGTH});
    stream_close(w.s, 1);
    w.s = NULL;
    uint32_t wakes = w.wakes;
    fake_text(&w.core, 2, "late");
    assert_true(streams_turn(w.streams, 2));
    assert_false(w.core.requests[1].canceled);
    assert_true(w.core.requests[2].canceled);
    assert_int_equal(w.wakes, wakes);
    close_world(&w);
}

/* What the log of events says of this one once its client has left, without the times; "" = nothing. */
static void assert_left(world *w, const char *want) {
    char path[] = "/tmp/baton-left-XXXXXX", text[1024] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    errbuf eb = {0};
    if (event_log_open(&w->events, path, EVENT_LOG_BYTES_MAX, &eb) != ST_OK) fail_msg("%s", eb.text);
    api_error e = {0};
    assert_int_equal(open_world(w, "a", 2, NULL, &e), ST_OK);
    if (w->before_leaving) w->before_leaving(w);
    event_log_left(w->events, w->s, "closed", "its connection was closed", 1);
    event_log_free(w->events);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    const char *event = strstr(text, "\"event\"");
    assert_string_equal(event ? event : "", want);
    close(fd);
    unlink(path);
    close_world(w);
}

static void one_ends(world *w) {
    fake_token(&w->core, 1, (token_out){.id = 'z', .fin = FINISH_LENGTH});
}

static void both_end(world *w) {
    one_ends(w);
    fake_token(&w->core, 2, (token_out){.id = 'z', .fin = FINISH_LENGTH});
}

static void both_end_and_are_read(world *w) {
    both_end(w);
    for (stream_step step; stream_next(w->s, false, &step);) continue;
}

static void canceled_by_hand(world *w) {
    stream_fail(w->s, 499, "the request was canceled by who looks after the cluster");
}

#define LEFT(REQ)                                                                                            \
    "\"event\":\"client_left\",\"worker\":null,\"role\":null,\"incarnation\":null,\"req\":" REQ              \
    ",\"id\":null,\"attempt\":null,\"cause\":\"closed\",\"reason\":\"its connection was closed\"}\n"

static void a_client_that_leaves_is_an_event_while_it_is_owed_an_answer(void **state) {
    (void)state;
    assert_left(&(world){0}, LEFT("1"));
    assert_left(&(world){.before_leaving = one_ends}, LEFT("2"));
    assert_left(&(world){.before_leaving = both_end}, LEFT("2"));
    assert_left(&(world){.before_leaving = both_end_and_are_read}, "");
    assert_left(&(world){.before_leaving = canceled_by_hand}, ""); /* which is an event of its own */
    event_log_left(NULL, NULL, "closed", "its connection was closed",
                   1); /* before it had asked for anything */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_token_is_a_part_of_its_own),
        cmocka_unit_test(a_possible_stop_string_is_held_back_until_the_doubt_is_gone),
        cmocka_unit_test(a_stop_string_over_token_borders_cuts_the_text),
        cmocka_unit_test(prefixes_that_overlap_themselves_are_found),
        cmocka_unit_test(the_match_that_ends_first_wins_and_of_those_the_longest),
        cmocka_unit_test(the_stop_string_stays_when_asked_for),
        cmocka_unit_test(stop_strings_in_the_first_min_tokens_do_not_count),
        cmocka_unit_test(a_character_split_over_tokens_comes_whole),
        cmocka_unit_test(special_tokens_have_no_text_unless_kept),
        cmocka_unit_test(the_text_does_not_depend_on_where_tokens_end),
        cmocka_unit_test(prompts_times_n_are_choices_and_usage_counts_each_prompt_once),
        cmocka_unit_test(a_stop_string_finishes_in_the_core_at_the_next_turn_and_drops_later_tokens),
        cmocka_unit_test(a_match_in_the_last_token_is_a_stop_not_a_length),
        cmocka_unit_test(a_stop_token_is_told_by_its_id),
        cmocka_unit_test(one_failed_choice_fails_all_and_cancels_its_siblings),
        cmocka_unit_test(each_status_of_the_core_has_one_http_number),
        cmocka_unit_test(choices_are_taken_or_refused_together),
        cmocka_unit_test(closing_cancels_what_runs),
        cmocka_unit_test(a_client_that_leaves_is_an_event_while_it_is_owed_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
