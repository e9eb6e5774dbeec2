/* engine_test - the same bytes whatever the step looked like: chunks, threads, neighbours, page tables, replays.
 *
 * Runs on the generated checkpoint (BATON_TINY_MODEL), which has matrices of all six weight types. */
#include "tests/test.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 300, CONTEXT = 512, PAGES = 256, ROWS = 320, SEQS = 80 };

typedef struct fixture {
    model *m;
    int32_t prompt[PROMPT];
} fixture;

static int setup(void **state) {
    log_setup(LOG_WARN, "engine_test");
    const char *path = getenv("BATON_TINY_MODEL");
    if (!path) fail_msg("set BATON_TINY_MODEL to a file made by make-tiny-model (ctest does)");
    fixture *f = xcalloc(1, sizeof *f);
    errbuf eb = {0};
    if (model_load(&f->m, path, MODEL_ALL, &eb) != ST_OK) fail_msg("%s", eb.text);
    for (uint32_t i = 0; i < PROMPT; i++) f->prompt[i] = (int32_t)(3 + (i * i * 31 + i * 7) % (f->m->vocab - 3));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    model_free(f->m);
    free(f);
    return 0;
}

static engine_options options_of(const char *backend, uint32_t threads, dtype kv) {
    return (engine_options){.backend = backend,
                            .device = {.threads = threads, .isa = "auto"},
                            .kv_type = kv,
                            .page_count = PAGES,
                            .max_rows = ROWS,
                            .max_seqs = SEQS,
                            .max_context = CONTEXT};
}

static engine *engine_of(const fixture *f, const char *backend, uint32_t threads, dtype kv) {
    const engine_options opt = options_of(backend, threads, kv);
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, f->m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return e;
}

static sampling greedy(void) {
    sampling p = sampling_default();
    p.temperature = 0;
    p.logprobs = SAMPLING_LOGPROBS_MAX; /* so that results show the bytes of the logits */
    return p;
}

/* Opens `slot` with a page table of `page_count` pages first, first + stride, ... */
static void open_at(engine *e, uint32_t slot, const int32_t *prompt, uint32_t count, const sampling *p, uint32_t first,
                    uint32_t stride, uint32_t page_count) {
    uint32_t pages[PAGES];
    for (uint32_t i = 0; i < page_count; i++) pages[i] = first + i * stride;
    const engine_seq_init init = {
        .prompt = prompt, .prompt_count = count, .params = p, .pages = pages, .page_count = page_count};
    assert_int_equal(engine_seq_open(e, slot, &init, NULL), ST_OK);
}

static step_result step_one(engine *e, uint32_t slot, uint32_t begin, uint32_t count, bool sample) {
    const step_item it = {.slot = slot, .begin = begin, .count = count, .sample = sample, .tag = slot + 100};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    assert_int_equal(r.tag, slot + 100);
    assert_int_equal(r.sampled, sample);
    return r;
}

/* The whole prompt in chunks; the token that follows it. */
static token_out prefill(engine *e, uint32_t slot, uint32_t count, uint32_t chunk) {
    step_result r = {0};
    for (uint32_t begin = 0; begin < count; begin += chunk) {
        uint32_t rows = MIN(chunk, count - begin);
        r = step_one(e, slot, begin, rows, begin + rows == count);
    }
    return r.token;
}

static void *copy_pages(const engine *e, size_t *bytes) {
    engine_kv kv = engine_kv_of(e);
    *bytes = kv_page_bytes(&kv.layout) * kv.page_count;
    return xmemdup(kv.base, *bytes);
}

/* --- the same bytes --- */

static void kv_is_the_same_by_any_chunks(const fixture *f, const char *backend, dtype kv, const uint32_t *chunks,
                                         uint32_t chunk_count, uint32_t threads_max) {
    const sampling p = greedy();
    void *want = NULL;
    token_out first = {0};
    size_t bytes = 0;
    for (uint32_t threads = 1; threads <= threads_max; threads++) {
        for (uint32_t c = 0; c < chunk_count; c++) {
            engine *e = engine_of(f, backend, threads, kv);
            open_at(e, 0, f->prompt, PROMPT, &p, 7, 3, kv_pages_for(PROMPT));
            token_out token = prefill(e, 0, PROMPT, chunks[c]);
            void *got = copy_pages(e, &bytes);
            if (!want) {
                want = got;
                first = token;
            } else {
                assert_memory_equal(want, got, bytes);
                assert_memory_equal(&first, &token, sizeof token);
                free(got);
            }
            engine_free(e);
        }
    }
    free(want);
}

static void cpu_kv_does_not_depend_on_chunks_or_threads(void **state) {
    const uint32_t chunks[] = {PROMPT, 256, 64, 16, 1};
    kv_is_the_same_by_any_chunks(*state, "cpu", DT_F16, chunks, ARRAY_LEN(chunks), 2);
    kv_is_the_same_by_any_chunks(*state, "cpu", DT_F32, chunks, ARRAY_LEN(chunks), 2);
}

static void ref_kv_does_not_depend_on_chunks(void **state) {
    const uint32_t chunks[] = {PROMPT, 16};
    kv_is_the_same_by_any_chunks(*state, "ref", DT_F32, chunks, ARRAY_LEN(chunks), 1);
}

static void every_isa_keeps_kv_the_same_by_any_chunks(void **state) {
    fixture *f = *state;
    const char *isas[] = {"portable", "avx2", "avx512"};
    const sampling p = greedy();
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        void *want = NULL;
        size_t bytes;
        for (uint32_t chunk = 1; chunk <= 64; chunk += 63) {
            engine_options opt = options_of("cpu", 1, DT_F16);
            opt.device.isa = isas[i];
            engine *e;
            status st = engine_new(&e, f->m, &opt, NULL);
            if (st == ST_UNSUPPORTED) break; /* not this machine's */
            assert_int_equal(st, ST_OK);
            open_at(e, 0, f->prompt, 100, &p, 0, 1, kv_pages_for(100));
            prefill(e, 0, 100, chunk);
            void *got = copy_pages(e, &bytes);
            if (want) assert_memory_equal(want, got, bytes);
            free(want);
            want = got;
            engine_free(e);
        }
        free(want);
    }
}

static void logits_of_a_row_do_not_depend_on_its_chunk(void **state) {
    fixture *f = *state;
    engine *e = engine_of(f, "cpu", 2, DT_F16);
    const sampling p = greedy();
    enum { N = 150 };
    size_t row = f->m->vocab;
    float *whole = xcalloc(N * row, sizeof *whole), *single = xcalloc(row, sizeof *single);
    open_at(e, 0, f->prompt, N, &p, 0, 1, kv_pages_for(N));
    open_at(e, 1, f->prompt, N, &p, 100, 1, kv_pages_for(N));
    assert_int_equal(engine_logits(e, &(step_item){.slot = 0, .count = N}, whole, NULL), ST_OK);
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(engine_logits(e, &(step_item){.slot = 1, .begin = i, .count = 1}, single, NULL), ST_OK);
        assert_memory_equal(whole + i * row, single, row * sizeof *single);
    }
    free(whole);
    free(single);
    engine_free(e);
}

/* More sampling rows than the head takes at once, prompts and decode rows mixed: each as if it were alone. */
static void a_result_does_not_depend_on_its_neighbours(void **state) {
    fixture *f = *state;
    enum { N = 70 };
    assert_true(N > FORWARD_HEAD_ROWS);
    token_out alone[N][2], together[N][2];
    sampling p = greedy();
    for (int mixed = 0; mixed < 2; mixed++) {
        engine *e = engine_of(f, "cpu", 2, DT_F16);
        step_item items[2 * N];
        step_result results[2 * N];
        for (uint32_t s = 0; s < N; s++) {
            p.temperature = s % 2 ? 1.0f : 0.0f;
            p.seed = s;
            open_at(e, s, f->prompt + s, 3 + s % 3, &p, s * 2, 1, 1);
            items[s] = (step_item){.slot = s, .count = 3 + s % 3, .sample = true, .tag = s};
        }
        token_out(*out)[2] = mixed ? together : alone;
        for (int round = 0; round < 2; round++) {
            if (mixed) assert_int_equal(engine_step(e, items, N, NULL, results, NULL), ST_OK);
            for (uint32_t s = 0; s < N; s++) {
                if (!mixed) assert_int_equal(engine_step(e, &items[s], 1, NULL, &results[s], NULL), ST_OK);
                assert_int_equal(results[s].tag, s);
                assert_true(results[s].sampled);
                out[s][round] = results[s].token;
                items[s].begin = 3 + s % 3;
                items[s].count = 1;
            }
        }
        engine_free(e);
    }
    assert_memory_equal(alone, together, sizeof alone);
}

/* A long prompt's chunk that samples nothing sits between rows that do. */
static void a_chunk_that_does_not_sample_disturbs_nobody(void **state) {
    fixture *f = *state;
    const sampling p = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 0, f->prompt, 20, &p, 0, 1, 2);
    open_at(e, 1, f->prompt, 200, &p, 10, 1, 13);
    open_at(e, 2, f->prompt, 20, &p, 40, 1, 2);
    const step_item items[] = {{.slot = 0, .count = 20, .sample = true, .tag = 5},
                               {.slot = 1, .count = 160, .tag = 6},
                               {.slot = 2, .count = 20, .sample = true, .tag = 7}};
    step_result r[3];
    assert_int_equal(engine_step(e, items, 3, NULL, r, NULL), ST_OK);
    assert_int_equal(r[1].tag, 6);
    assert_false(r[1].sampled);
    assert_int_equal(r[1].token.id, 0);
    assert_memory_equal(&r[0].token, &r[2].token, sizeof r[0].token);
    engine_free(e);
}

static void a_replay_continues_with_the_same_tokens(void **state) {
    fixture *f = *state;
    enum { OUT = 40, CUT = 17 };
    sampling p = greedy();
    p.temperature = 0.8f;
    p.seed = 99;
    p.repetition_penalty = 1.1f;
    p.frequency_penalty = 0.2f;
    p.min_tokens = OUT;
    token_out token[OUT];
    int32_t ids[OUT];
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 0, f->prompt, 50, &p, 0, 1, kv_pages_for(50 + OUT));
    token[0] = prefill(e, 0, 50, 50);
    for (uint32_t i = 1; i < OUT; i++) token[i] = step_one(e, 0, 50 + i - 1, 1, true).token;
    for (uint32_t i = 0; i < OUT; i++) ids[i] = token[i].id;

    uint32_t pages[] = {200, 150, 120, 99, 98, 97};
    const engine_seq_init init = {.prompt = f->prompt,
                                  .prompt_count = 50,
                                  .output = ids,
                                  .output_count = CUT,
                                  .params = &p,
                                  .pages = pages,
                                  .page_count = 6};
    assert_int_equal(engine_seq_open(e, 1, &init, NULL), ST_OK);
    token_out again = prefill(e, 1, 50 + CUT, 32);
    for (uint32_t i = CUT;; i++) {
        assert_memory_equal(&again, &token[i], sizeof again);
        if (i + 1 == OUT) break;
        again = step_one(e, 1, 50 + i, 1, true).token;
    }
    engine_free(e);
}

/* What a hand-off does: gather from one engine, scatter into another, go on there. */
static void kv_that_moved_to_another_engine_decodes_the_same(void **state) {
    fixture *f = *state;
    enum { N = 61, OUT = 12 };
    const sampling p = greedy();
    engine *from = engine_of(f, "cpu", 1, DT_F16), *to = engine_of(f, "cpu", 2, DT_F16);
    open_at(from, 0, f->prompt, N, &p, 30, 2, kv_pages_for(N + OUT));
    token_out first = prefill(from, 0, N, 48);

    engine_kv a = engine_kv_of(from), b = engine_kv_of(to);
    size_t bytes = kv_segment_bytes(&a.layout, N, a.layout.layers);
    void *wire = xcalloc(1, bytes);
    const uint32_t from_pages[] = {30, 32, 34, 36}, to_pages[] = {9, 3, 77, 4, 200};
    uint64_t sent, got;
    op_kv_copy copy = {.layout = &a.layout,
                       .kv = a.base,
                       .pages = from_pages,
                       .token_count = N,
                       .layer_end = a.layout.layers,
                       .wire = wire,
                       .seed = 5,
                       .checksum = &sent};
    assert_int_equal(a.ops->kv_gather(a.dev, &copy), ST_OK);
    copy.kv = b.base;
    copy.pages = to_pages;
    copy.checksum = &got;
    assert_int_equal(b.ops->kv_scatter(b.dev, &copy), ST_OK);
    assert_true(sent == got);

    const engine_seq_init init = {.prompt = f->prompt,
                                  .prompt_count = N,
                                  .output = &first.id,
                                  .output_count = 1,
                                  .params = &p,
                                  .pages = to_pages,
                                  .page_count = 5};
    assert_int_equal(engine_seq_open(to, 0, &init, NULL), ST_OK);
    for (uint32_t i = 0; i < OUT; i++) {
        step_result here = step_one(from, 0, N + i, 1, true), there = step_one(to, 0, N + i, 1, true);
        assert_memory_equal(&here.token, &there.token, sizeof here.token);
    }
    free(wire);
    engine_free(from);
    engine_free(to);
}

/* --- cpu against ref --- */

static void cpu_logits_are_close_to_ref(void **state) {
    fixture *f = *state;
    enum { N = 100 };
    const sampling p = greedy();
    size_t count = (size_t)N * f->m->vocab;
    float *want = xcalloc(count, sizeof *want), *got = xcalloc(count, sizeof *got);
    engine *ref = engine_of(f, "ref", 1, DT_F32), *cpu = engine_of(f, "cpu", 1, DT_F32);
    open_at(ref, 0, f->prompt, N, &p, 0, 1, kv_pages_for(N));
    open_at(cpu, 0, f->prompt, N, &p, 0, 1, kv_pages_for(N));
    const step_item it = {.count = N};
    assert_int_equal(engine_logits(ref, &it, want, NULL), ST_OK);
    assert_int_equal(engine_logits(cpu, &it, got, NULL), ST_OK);
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        power += (double)want[i] * (double)want[i];
    }
    /* fp32 activations on both sides: only the order and precision of sums differ. */
    assert_true(sqrt(error / power) < 1e-4);
    free(want);
    free(got);
    engine_free(ref);
    engine_free(cpu);
}

/* --- the checkpoint is fit for tests --- */

static void greedy_text_of_the_tiny_model_wanders(void **state) {
    fixture *f = *state;
    static const char *const prompts[] = {"Once upon a time",
                                          "Hello",
                                          "The capital of France is",
                                          "a",
                                          "1 2 3 4",
                                          "What is the page?",
                                          "\n\n",
                                          "日本語 text",
                                          "model model model model"};
    sampling p = greedy();
    p.logprobs = -1;
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    for (size_t i = 0; i < ARRAY_LEN(prompts); i++) {
        token_list ids = {0};
        const encode_options opt = {.max_tokens = 100};
        assert_int_equal(tokenizer_encode(f->m->tok, prompts[i], strlen(prompts[i]), &opt, &ids, NULL), ST_OK);
        open_at(e, 0, ids.ids, ids.count, &p, 0, 1, kv_pages_for(ids.count + 64));
        bool *seen = xcalloc(f->m->vocab, sizeof *seen);
        uint32_t distinct = 0;
        int32_t id = prefill(e, 0, ids.count, ROWS).id;
        for (uint32_t n = 0; n < 64; n++) {
            assert_true(id > 2); /* no special token, so no early end */
            distinct += !seen[id];
            seen[id] = true;
            id = step_one(e, 0, ids.count + n, 1, true).token.id;
        }
        assert_true(distinct >= 20);
        free(seen);
        token_list_done(&ids);
        engine_seq_close(e, 0);
    }
    engine_free(e);
}

/* --- sequences --- */

static void broken_logits_end_one_sequence_and_leave_its_neighbour(void **state) {
    fixture *f = *state;
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    const sampling good = greedy();
    sampling bad = good;
    const sampling_bias beyond[] = {{7, 3e38f}, {7, 3e38f}}; /* together they are infinite */
    bad.bias = beyond;
    bad.bias_count = 2;
    open_at(e, 0, f->prompt, 20, &bad, 0, 2, 2);
    open_at(e, 1, f->prompt, 20, &good, 2, 2, 2);
    const step_item items[] = {{.slot = 0, .count = 20, .sample = true, .tag = 5},
                               {.slot = 1, .count = 20, .sample = true, .tag = 6}};
    step_result r[2];
    assert_int_equal(engine_step(e, items, 2, NULL, r, NULL), ST_OK);
    assert_true(r[0].broken && !r[0].sampled);
    assert_non_null(strstr(r[0].why, "position 20"));
    assert_int_equal(r[0].tag, 5);
    assert_true(r[1].sampled && !r[1].broken);
    engine_seq_close(e, 0);
    open_at(e, 0, f->prompt, 20, &good, 0, 2, 2);
    assert_int_equal(step_one(e, 0, 0, 20, true).token.id, r[1].token.id);
    engine_free(e);
}

static void pages_can_be_added_with_a_step(void **state) {
    fixture *f = *state;
    const sampling p = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 0, f->prompt, 40, &p, 0, 1, 3);
    open_at(e, 1, f->prompt, 40, &p, 100, 1, 0);
    token_out want = prefill(e, 0, 40, 40);
    step_item it = {.slot = 1, .count = 32, .new_page_count = 2, .new_pages = {77, 8}};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    it = (step_item){.slot = 1, .begin = 32, .count = 8, .sample = true, .new_page_count = 1, .new_pages = {55}};
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
    assert_memory_equal(&want, &r.token, sizeof want);
    engine_free(e);
}

static void a_closed_slot_opens_again_without_a_trace(void **state) {
    fixture *f = *state;
    const int32_t stop = 9;
    const sampling_bias bias = {5, 50};
    sampling biased = greedy();
    biased.stop_ids = &stop;
    biased.stop_id_count = 1;
    biased.bias = &bias;
    biased.bias_count = 1;
    const sampling plain = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 3, f->prompt, 30, &plain, 0, 1, 2);
    token_out want = prefill(e, 3, 30, 30);
    engine_seq_close(e, 3);
    open_at(e, 3, f->prompt + 9, 30, &biased, 0, 1, 2);
    assert_int_equal(prefill(e, 3, 30, 30).id, 5);
    engine_seq_close(e, 3);
    open_at(e, 3, f->prompt, 30, &plain, 0, 1, 2);
    token_out got = prefill(e, 3, 30, 30);
    assert_memory_equal(&want, &got, sizeof got);
    engine_free(e);
}

static void the_context_can_be_filled_to_the_last_token(void **state) {
    fixture *f = *state;
    engine_options opt = options_of("cpu", 1, DT_F16);
    opt.max_context = 33;
    engine *e;
    assert_int_equal(engine_new(&e, f->m, &opt, NULL), ST_OK);
    const sampling p = greedy();
    open_at(e, 0, f->prompt, 31, &p, 0, 1, 3);
    prefill(e, 0, 31, 31);
    step_one(e, 0, 31, 1, true);
    step_one(e, 0, 32, 1, true); /* computes the last position, and chooses what would follow it */
    engine_free(e);
}

static void nothing_out_of_range_is_opened(void **state) {
    fixture *f = *state;
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    const sampling good = greedy();
    const int32_t negative = -1, beyond = (int32_t)f->m->vocab;
    const uint32_t page = 0, bad_page = PAGES;
    const sampling_bias bad_bias = {(int32_t)f->m->vocab, 1}, nan_bias = {1, NAN};
    sampling bad[6];
    for (int i = 0; i < 6; i++) bad[i] = good;
    bad[0].temperature = NAN;
    bad[1].repetition_penalty = 0;
    bad[2].bias = &bad_bias;
    bad[2].bias_count = 1;
    bad[3].bias = &nan_bias;
    bad[3].bias_count = 1;
    bad[4].top_p = 0;
    bad[5].min_p = 2;
    const engine_seq_init ok = {
        .prompt = f->prompt, .prompt_count = 3, .params = &good, .pages = &page, .page_count = 1};
    engine_seq_init init[12];
    for (int i = 0; i < 12; i++) init[i] = ok;
    init[0].prompt_count = 0;
    init[1].prompt = &negative;
    init[1].prompt_count = 1;
    init[2].prompt = &beyond;
    init[2].prompt_count = 1;
    init[3].output = &beyond;
    init[3].output_count = 1;
    init[4].pages = &bad_page;
    init[5].output = f->prompt;
    init[5].prompt_count = PROMPT;
    init[5].output_count = PROMPT; /* 600 > 512 */
    for (int i = 0; i < 6; i++) init[6 + i].params = &bad[i];
    for (int i = 0; i < 12; i++) {
        errbuf eb = {0};
        assert_int_equal(engine_seq_open(e, 0, &init[i], &eb), ST_INVALID);
        assert_true(strncmp(eb.text, "sequence: ", 10) == 0);
    }
    assert_int_equal(engine_seq_open(e, 0, &ok, NULL), ST_OK); /* and the slot is still free */
    const step_item it = {.count = 3, .new_page_count = 1, .new_pages = {PAGES}};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_INVALID);
    engine_free(e);
}

static void an_engine_that_cannot_be_is_refused_with_the_reason(void **state) {
    fixture *f = *state;
    engine *e = NULL;
    errbuf eb = {0};
    engine_options opt = options_of("abacus", 1, DT_F16);
    assert_int_equal(engine_new(&e, f->m, &opt, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "abacus"));
    assert_non_null(strstr(eb.text, "cpu"));
    opt = options_of("cpu", 1, DT_Q8_0);
    assert_int_equal(engine_new(&e, f->m, &opt, NULL), ST_INVALID);
    opt = options_of("cpu", 1, DT_F16);
    opt.max_rows = 0;
    assert_int_equal(engine_new(&e, f->m, &opt, NULL), ST_INVALID);
    opt = options_of("cpu", 1, DT_F16);
    opt.device.isa = "mmx";
    assert_int_not_equal(engine_new(&e, f->m, &opt, NULL), ST_OK);
    assert_null(e);
}

/* --- hooks --- */

typedef struct witness {
    engine *e;
    uint32_t begins, ends;
    uint32_t written; /* layers whose KV was there at layer_end and not yet at layer_begin */
} witness;

static bool row_written(engine *e, uint32_t layer) {
    engine_kv kv = engine_kv_of(e);
    const uint8_t *tile = (const uint8_t *)kv.base + kv_tile_offset(&kv.layout, 0, layer, 0, 0);
    for (size_t i = 0; i < kv.layout.head_dim * kv_elem_bytes(&kv.layout); i++)
        if (tile[i]) return true;
    return false;
}

static void on_begin(void *ctx, uint32_t layer, const step_item *items, uint32_t count) {
    witness *w = ctx;
    assert_int_equal(layer, w->begins++);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].tag, 31);
    assert_false(row_written(w->e, layer));
}

static void on_end(void *ctx, uint32_t layer, const step_item *items, uint32_t count) {
    witness *w = ctx;
    assert_int_equal(layer, w->ends++);
    assert_int_equal(w->begins, w->ends);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].tag, 31);
    w->written += row_written(w->e, layer);
}

static void hooks_see_each_layer_before_and_after_its_kv_is_written(void **state) {
    fixture *f = *state;
    const sampling p = greedy();
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    open_at(e, 0, f->prompt, 16, &p, 0, 1, 1);
    witness w = {.e = e};
    const engine_hook hook = {.ctx = &w, .layer_begin = on_begin, .layer_end = on_end};
    const step_item it = {.count = 16, .tag = 31};
    step_result r;
    assert_int_equal(engine_step(e, &it, 1, &hook, &r, NULL), ST_OK);
    assert_int_equal(w.begins, f->m->layers);
    assert_int_equal(w.ends, f->m->layers);
    assert_int_equal(w.written, f->m->layers);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_kv_does_not_depend_on_chunks_or_threads),
        cmocka_unit_test(ref_kv_does_not_depend_on_chunks),
        cmocka_unit_test(every_isa_keeps_kv_the_same_by_any_chunks),
        cmocka_unit_test(logits_of_a_row_do_not_depend_on_its_chunk),
        cmocka_unit_test(a_result_does_not_depend_on_its_neighbours),
        cmocka_unit_test(a_chunk_that_does_not_sample_disturbs_nobody),
        cmocka_unit_test(a_replay_continues_with_the_same_tokens),
        cmocka_unit_test(kv_that_moved_to_another_engine_decodes_the_same),
        cmocka_unit_test(cpu_logits_are_close_to_ref),
        cmocka_unit_test(greedy_text_of_the_tiny_model_wanders),
        cmocka_unit_test(broken_logits_end_one_sequence_and_leave_its_neighbour),
        cmocka_unit_test(pages_can_be_added_with_a_step),
        cmocka_unit_test(a_closed_slot_opens_again_without_a_trace),
        cmocka_unit_test(the_context_can_be_filled_to_the_last_token),
        cmocka_unit_test(nothing_out_of_range_is_opened),
        cmocka_unit_test(an_engine_that_cannot_be_is_refused_with_the_reason),
        cmocka_unit_test(hooks_see_each_layer_before_and_after_its_kv_is_written),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
