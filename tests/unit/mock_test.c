/* The mock backend: tokens are a function of the ids whatever the step looked like, KV is read back, and a
 * step takes the time of the model. */
#include "tests/test.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "kernels/mock/mock_kv.h"
#include "kernels/mock/mock_sample.h"
#include "tests/model_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 100, OUTPUT = 24, PAGES = 64, SEQS = 8, EOG = 511 };

typedef struct fixture {
    model_file file;
    int32_t prompt[PROMPT];
} fixture;

static int setup(void **state) {
    log_setup(LOG_ERROR, "mock");
    fixture *f = xcalloc(1, sizeof *f);
    f->file = model_file_open("random:mock");
    for (uint32_t i = 0; i < PROMPT; i++) f->prompt[i] = (int32_t)((i * i * 31 + i * 7) % 500);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    model_file_close(&f->file);
    free(f);
    return 0;
}

static engine *engine_of(const fixture *f, const latency_model *latency) {
    const engine_options opt = {.backend = "mock",
                                .device = {.threads = 1, .isa = "auto", .latency = latency},
                                .kv_type = DT_F16,
                                .page_count = PAGES,
                                .max_rows = 256,
                                .max_seqs = SEQS,
                                .max_context = 512};
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, f->file.m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return e;
}

static sampling greedy(void) {
    sampling p = sampling_default();
    p.temperature = 0;
    p.ignore_eos = true;
    return p;
}

/* A sequence of the first `count` prompt ids with pages first, first + 2, ... for its output, too. */
static void open_at(engine *e, uint32_t slot, const fixture *f, uint32_t count, uint32_t first) {
    uint32_t pages[PAGES], page_count = kv_pages_for(count + OUTPUT + 1);
    for (uint32_t i = 0; i < page_count; i++) pages[i] = first + 2 * i;
    const sampling p = greedy();
    const seq_start init = {
        .prompt = f->prompt, .prompt_count = count, .params = &p, .pages = pages, .page_count = page_count};
    assert_int_equal(engine_seq_open(e, slot, &init, NULL), ST_OK);
}

static int32_t step(engine *e, uint32_t slot, uint32_t begin, uint32_t count, bool sample) {
    const step_item it = {.slot = slot, .begin = begin, .count = count, .sample = sample};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    assert_int_equal(r.sampled, sample);
    return r.token.id;
}

static int32_t prefill(engine *e, uint32_t slot, uint32_t count, uint32_t chunk) {
    int32_t id = -1;
    for (uint32_t begin = 0; begin < count; begin += chunk) {
        uint32_t rows = MIN(chunk, count - begin);
        id = step(e, slot, begin, rows, begin + rows == count);
    }
    return id;
}

/* The first token is given; the others are decoded one by one. */
static void decode(engine *e, uint32_t slot, uint32_t prompt_count, int32_t first, int32_t out[OUTPUT]) {
    out[0] = first;
    for (uint32_t i = 1; i < OUTPUT; i++) out[i] = step(e, slot, prompt_count + i - 1, 1, true);
}

static void alone(const fixture *f, uint32_t count, int32_t out[OUTPUT]) {
    engine *e = engine_of(f, NULL);
    open_at(e, 0, f, count, 0);
    decode(e, 0, count, prefill(e, 0, count, count), out);
    engine_free(e);
}

static void tokens_are_letters_and_follow_from_the_ids(void **state) {
    fixture *f = *state;
    int32_t a[OUTPUT], b[OUTPUT];
    alone(f, PROMPT, a);
    alone(f, PROMPT, b);
    assert_memory_equal(a, b, sizeof a);
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < OUTPUT; i++) {
        assert_in_range(a[i], 'a', 'z');
        bool seen = false;
        for (uint32_t k = 0; k < i; k++) seen = seen || a[k] == a[i];
        distinct += !seen;
    }
    assert_true(distinct >= 8);
    f->prompt[3]++;
    alone(f, PROMPT, b);
    f->prompt[3]--;
    assert_memory_not_equal(a, b, sizeof a);
}

static void chunks_pages_and_neighbours_change_nothing(void **state) {
    const fixture *f = *state;
    int32_t want[2][OUTPUT], got[OUTPUT];
    alone(f, PROMPT, want[0]);
    alone(f, 37, want[1]);
    static const uint32_t chunks[] = {1, 16, 33, 64};
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        engine *e = engine_of(f, NULL);
        open_at(e, 5, f, PROMPT, 1);
        decode(e, 5, PROMPT, prefill(e, 5, PROMPT, chunks[i]), got);
        assert_memory_equal(want[0], got, sizeof got);
        engine_free(e);
    }
    /* One decodes while the other's prompt comes in two chunks, then both decode. */
    engine *e = engine_of(f, NULL);
    open_at(e, 0, f, PROMPT, 0);
    open_at(e, 1, f, 37, 1);
    assert_int_equal(prefill(e, 0, PROMPT, PROMPT), want[0][0]);
    for (uint32_t i = 1; i < 20; i++) {
        uint32_t begin = i == 1 ? 0 : i == 2 ? 16 : 37 + i - 3, rows = i == 1 ? 16 : i == 2 ? 21 : 1;
        const step_item both[] = {{.slot = 0, .begin = PROMPT + i - 1, .count = 1, .sample = true},
                                  {.slot = 1, .begin = begin, .count = rows, .sample = i > 1}};
        step_result r[2];
        assert_int_equal(engine_step(e, both, 2, NULL, r, NULL), ST_OK);
        assert_int_equal(r[0].token.id, want[0][i]);
        if (i > 1) assert_int_equal(r[1].token.id, want[1][i - 2]);
    }
    engine_free(e);
}

static void a_replay_of_prompt_and_output_goes_on_alike(void **state) {
    const fixture *f = *state;
    int32_t want[OUTPUT];
    alone(f, PROMPT, want);
    engine *e = engine_of(f, NULL);
    uint32_t pages[8];
    for (uint32_t i = 0; i < 8; i++) pages[i] = 40 + i;
    const sampling p = greedy();
    const seq_start init = {.prompt = f->prompt,
                            .prompt_count = PROMPT,
                            .output = want,
                            .output_count = 10,
                            .params = &p,
                            .pages = pages,
                            .page_count = 8};
    assert_int_equal(engine_seq_open(e, 0, &init, NULL), ST_OK);
    assert_int_equal(prefill(e, 0, PROMPT + 10, 64), want[10]);
    engine_free(e);
}

/* Copies the prompt's KV from the pages of slot 0 at one engine into other pages of another. */
static void hand_over(engine *from, engine *to, uint32_t count, uint32_t flip_byte) {
    engine_kv p = engine_kv_of(from), d = engine_kv_of(to);
    uint32_t p_pages[PAGES], d_pages[PAGES];
    for (uint32_t i = 0; i < PAGES / 2; i++) {
        p_pages[i] = 2 * i;
        d_pages[i] = 2 * i + 1;
    }
    uint64_t sent = 0, came = 1;
    op_kv_copy copy = {.layout = &p.layout,
                       .kv = p.base,
                       .pages = p_pages,
                       .piece = kv_piece_of(&p.layout, 0, count, 0, p.layout.layers),
                       .seed = 7,
                       .checksum = &sent};
    size_t bytes = kv_piece_bytes(&p.layout, &copy.piece);
    uint8_t *wire = xcalloc(1, bytes);
    copy.wire = wire;
    assert_int_equal(p.ops->kv_gather(p.dev, &copy), ST_OK);
    if (flip_byte < bytes) wire[flip_byte] ^= 0x10;
    copy.kv = d.base;
    copy.pages = d_pages;
    copy.checksum = &came;
    assert_int_equal(d.ops->kv_scatter(d.dev, &copy), ST_OK);
    assert_int_equal(sent == came, flip_byte >= bytes);
    free(wire);
}

/* What a decode worker says that was given the KV of a prompt, and its first token. */
static void handed_over(const fixture *f, uint32_t count, uint32_t flip_byte, int32_t out[OUTPUT]) {
    engine *p = engine_of(f, NULL), *d = engine_of(f, NULL);
    open_at(p, 0, f, count, 0);
    int32_t first = prefill(p, 0, count, count);
    hand_over(p, d, count, flip_byte);
    uint32_t pages[PAGES / 2];
    for (uint32_t i = 0; i < PAGES / 2; i++) pages[i] = 2 * i + 1;
    const sampling params = greedy();
    const seq_start init = {.prompt = f->prompt,
                            .prompt_count = count,
                            .output = &first,
                            .output_count = 1,
                            .params = &params,
                            .pages = pages,
                            .page_count = kv_pages_for(count + OUTPUT + 1)};
    assert_int_equal(engine_seq_open(d, 3, &init, NULL), ST_OK);
    decode(d, 3, count, first, out);
    engine_free(p);
    engine_free(d);
}

static void kv_that_was_handed_over_goes_on_alike(void **state) {
    const fixture *f = *state;
    int32_t want[OUTPUT], got[OUTPUT];
    alone(f, PROMPT, want);
    handed_over(f, PROMPT, UINT32_MAX, got);
    assert_memory_equal(want, got, sizeof got);
}

/* Of the last row, which the next one is made of: every byte counts, in any layer. */
static void a_flipped_byte_of_the_last_row_changes_what_follows(void **state) {
    const fixture *f = *state;
    int32_t want[OUTPUT], got[OUTPUT];
    alone(f, 1, want);
    for (uint32_t at = 0; at < 256; at += 5) {
        handed_over(f, 1, at, got);
        assert_int_equal(got[0], want[0]); /* that came with the hand-off */
        assert_memory_not_equal(want + 1, got + 1, sizeof got - sizeof got[0]);
    }
}

/* An earlier row is read by some later one of a long answer. */
static void rows_long_past_are_read_too(void **state) {
    const fixture *f = *state;
    int32_t want[OUTPUT], got[OUTPUT];
    uint32_t noticed = 0;
    alone(f, 16, want);
    for (uint32_t row = 0; row < 15; row++) {
        handed_over(f, 16, row * 32, got); /* K of layer 0 */
        noticed += memcmp(want, got, sizeof got) != 0;
    }
    assert_true(noticed >= 8); /* 23 rows that follow, and rows 0 to 7 are the first in turn */
}

static void earlier_rows_go_round_so_that_none_is_left_unread(void **state) {
    (void)state;
    enum { ROWS = 16384, PAGE = KV_PAGE_TOKENS };
    uint32_t *page_read = xcalloc(ROWS / PAGE, sizeof *page_read); /* when: or since when it is whole */
    uint32_t *row_read = xcalloc(ROWS, sizeof *row_read);          /* when at first */
    for (uint32_t pos = 1; pos < ROWS; pos++) {
        uint32_t at = mock_kv_earlier(pos);
        assert_true(at < pos);
        if (pos % PAGE == 0) page_read[pos / PAGE - 1] = pos;
        if (!row_read[at]) row_read[at] = pos;
        page_read[at / PAGE] = pos;
        for (uint32_t i = 0; i < pos / PAGE; i++) assert_true(pos - page_read[i] <= pos / 8);
    }
    for (uint32_t row = 0; row < ROWS / 8; row++) {
        uint32_t whole = (row / PAGE + 1) * PAGE;
        assert_true(row_read[row] > 0 && row_read[row] < 8 * whole);
    }
    free(page_read);
    free(row_read);
}

/* --- time --- */

static void a_step_ends_no_earlier_than_the_model_says(void **state) {
    const fixture *f = *state;
    const latency_model m = {.prefill = {10e6, 100e3, 0}, .decode = {5e6, 1e6, 10e3}};
    engine *e = engine_of(f, &m);
    open_at(e, 0, f, PROMPT, 0);
    uint64_t begin_ns = clock_now_ns();
    prefill(e, 0, PROMPT, PROMPT);
    uint64_t then_ns = clock_now_ns();
    assert_true(then_ns - begin_ns >= 20 * NS_PER_MS);
    step(e, 0, PROMPT, 1, true);
    assert_true(clock_now_ns() - then_ns >= 6 * NS_PER_MS + 101 * 10000);
    engine_free(e);
}

typedef struct marks {
    uint64_t begin_ns;
    uint64_t end_ns[4];
} marks;

static void layer_end(void *ctx, uint64_t number, uint32_t layer, const step_item *items, uint32_t count) {
    marks *m = ctx;
    (void)number, (void)items, (void)count;
    m->end_ns[layer] = clock_now_ns();
}

static void layers_are_reported_over_the_step(void **state) {
    const fixture *f = *state;
    const latency_model m = {.prefill = {20e6, 0, 0}};
    engine *e = engine_of(f, &m);
    open_at(e, 0, f, PROMPT, 0);
    marks k = {.begin_ns = clock_now_ns()};
    const engine_hook hook = {.ctx = &k, .layer_end = layer_end};
    const step_item it = {.slot = 0, .count = PROMPT, .sample = true};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, &hook, &r, NULL), ST_OK);
    for (uint32_t i = 0; i < 4; i++) assert_true(k.end_ns[i] - k.begin_ns >= (i + 1) * 5 * NS_PER_MS);
    engine_free(e);
}

static void a_latency_that_is_no_number_is_refused(void **state) {
    const fixture *f = *state;
    const latency_model m = {.prefill = {NAN, 0, 0}};
    const engine_options opt = {.backend = "mock",
                                .device = {.threads = 1, .latency = &m},
                                .kv_type = DT_F16,
                                .page_count = 1,
                                .max_rows = 16,
                                .max_seqs = 1,
                                .max_context = 16};
    engine *e = NULL;
    errbuf eb = {0};
    assert_int_equal(engine_new(&e, f->file.m, &opt, &eb), ST_INVALID);
    assert_string_equal(eb.text,
                        "mock backend: prefill.alpha_ms is nan: want a number of milliseconds that is "
                        "not negative");
}

/* --- the choice of a token --- */

static sample_result choose(uint64_t x, const sampling *p, uint32_t output_count) {
    static const int32_t eog[] = {EOG};
    const sample_input in = {.params = p, .output_count = output_count, .eog = eog, .eog_count = 1};
    sample_result r;
    mock_sample(x, 512, &in, &r);
    return r;
}

static void an_end_comes_once_in_a_thousand_unless_it_is_banned(void **state) {
    (void)state;
    sampling p = sampling_default();
    assert_int_equal(choose(0, &p, 0).token.id, EOG); /* its upper half is a multiple of 1024 */
    assert_int_equal(choose(1ull << 32, &p, 0).token.id, 'a');
    assert_int_equal(choose(1024ull << 32, &p, 0).token.id, EOG);
    p.min_tokens = 3;
    assert_int_equal(choose(0, &p, 2).token.id, 'a');
    assert_int_equal(choose(0, &p, 3).token.id, EOG);
    p.ignore_eos = true;
    assert_int_equal(choose(0, &p, 3).token.id, 'a');
}

static void banned_ids_are_passed_over(void **state) {
    (void)state;
    const uint64_t x = 1ull << 32 | 25; /* 'z' */
    int32_t stops[] = {'z', 'a'};
    const sampling_bias bias[] = {{'b', -100}, {'c', -99}};
    sampling p = sampling_default();
    assert_int_equal(choose(x, &p, 0).token.id, 'z');
    p.stop_ids = stops;
    p.stop_id_count = 2;
    assert_int_equal(choose(x, &p, 0).token.id, 'z');
    p.min_tokens = 1;
    p.bias = bias;
    p.bias_count = 2;
    assert_int_equal(choose(x, &p, 0).token.id, 'c');
    assert_int_equal(choose(x, &p, 1).token.id, 'z');
}

static void a_request_that_bans_everything_gets_no_token(void **state) {
    (void)state;
    sampling_bias bias[26];
    for (int i = 0; i < 26; i++) bias[i] = (sampling_bias){'a' + i, -100};
    sampling p = sampling_default();
    p.bias = bias;
    p.bias_count = 26;
    sample_result r = choose(1ull << 32, &p, 0);
    assert_true(r.broken);
    assert_true(r.banned);
}

static void logprobs_are_those_of_an_even_choice(void **state) {
    (void)state;
    sampling p = sampling_default();
    p.logprobs = 3;
    sample_result r = choose(1ull << 32 | 1, &p, 0);
    assert_int_equal(r.token.id, 'b');
    assert_true(r.token.logprob == -logf(26));
    assert_int_equal(r.token.top_count, 3);
    assert_int_equal(r.token.top[0].id, 'b');
    assert_int_equal(r.token.top[1].id, 'a');
    assert_int_equal(r.token.top[2].id, 'c');
    p.logprobs = 0;
    assert_int_equal(choose(1ull << 32, &p, 0).token.top_count, 0);
}

/* Whatever the chunks are; and a row's are other ones when an earlier id is. */
static void a_prompt_has_scores_that_follow_from_all_ids_before(void **state) {
    fixture *f = *state;
    static token_out told[3][PROMPT];
    const uint32_t chunks[] = {PROMPT, 7, PROMPT};
    for (int run = 0; run < 3; run++) {
        engine *e = engine_of(f, NULL);
        uint32_t pages[] = {0, 1, 2, 3, 4, 5, 6};
        sampling p = greedy();
        p.prompt_logprobs = 4;
        if (run == 2) f->prompt[30]++;
        const seq_start init = {
            .prompt = f->prompt, .prompt_count = PROMPT, .params = &p, .pages = pages, .page_count = 7};
        assert_int_equal(engine_seq_open(e, 0, &init, NULL), ST_OK);
        for (uint32_t begin = 0; begin < PROMPT; begin += chunks[run]) {
            const step_item it = {.begin = begin, .count = MIN(chunks[run], PROMPT - begin)};
            step_result r;
            assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
            assert_false(r.sampled);
            assert_int_equal(r.prompt_count, MIN(it.count, PROMPT - 1 - begin));
            if (r.prompt_count) memcpy(told[run] + begin + 1, r.prompt, r.prompt_count * sizeof **told);
        }
        engine_free(e);
    }
    assert_memory_equal(told[0], told[1], sizeof told[0]);
    assert_memory_equal(told[0], told[2], 30 * sizeof **told);
    for (uint32_t i = 31; i < PROMPT; i++) assert_memory_not_equal(&told[0][i], &told[2][i], sizeof **told);
}

static void scores_are_in_range_whatever_is_asked(void **state) {
    (void)state;
    sampling p = sampling_default();
    for (uint64_t x = 0; x < 1000; x++) {
        p.prompt_logprobs = (int32_t)(x % (SAMPLING_LOGPROBS_MAX + 1));
        const sample_input in = {.score = true, .given = (int32_t)(x % 9), .params = &p};
        sample_result r;
        mock_sample(x * 0x9e3779b97f4a7c15u, 9, &in, &r);
        assert_false(r.broken);
        assert_int_equal(r.token.id, in.given);
        assert_in_range(r.token.rank, 1, 9);
        assert_true(r.token.logprob < 0 && r.token.logprob >= -17);
        assert_int_equal(r.token.top_count, MIN(p.prompt_logprobs, 9));
        for (uint32_t i = 0; i < r.token.top_count; i++) assert_in_range(r.token.top[i].id, 0, 8);
    }
}

static void a_small_vocabulary_is_used_as_a_whole(void **state) {
    (void)state;
    const sampling p = sampling_default();
    const sample_input in = {.params = &p};
    sample_result r;
    for (uint64_t x = 0; x < 40; x++) {
        mock_sample(x, 20, &in, &r);
        assert_int_equal(r.token.id, x % 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokens_are_letters_and_follow_from_the_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_pages_and_neighbours_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_replay_of_prompt_and_output_goes_on_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(kv_that_was_handed_over_goes_on_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_byte_of_the_last_row_changes_what_follows, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_long_past_are_read_too, setup, teardown),
        cmocka_unit_test(earlier_rows_go_round_so_that_none_is_left_unread),
        cmocka_unit_test_setup_teardown(a_step_ends_no_earlier_than_the_model_says, setup, teardown),
        cmocka_unit_test_setup_teardown(layers_are_reported_over_the_step, setup, teardown),
        cmocka_unit_test_setup_teardown(a_latency_that_is_no_number_is_refused, setup, teardown),
        cmocka_unit_test(an_end_comes_once_in_a_thousand_unless_it_is_banned),
        cmocka_unit_test(banned_ids_are_passed_over),
        cmocka_unit_test(a_request_that_bans_everything_gets_no_token),
        cmocka_unit_test(logprobs_are_those_of_an_even_choice),
        cmocka_unit_test_setup_teardown(a_prompt_has_scores_that_follow_from_all_ids_before, setup, teardown),
        cmocka_unit_test(scores_are_in_range_whatever_is_asked),
        cmocka_unit_test(a_small_vocabulary_is_used_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
