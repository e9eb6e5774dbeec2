/* engine_test - the same bytes whatever the step looked like: chunks, threads, neighbours, page tables,
 * replays. */
#include "tests/unit/engine_scene.h"

#include "engine/forward.h"
#include "text/tokenizer.h"

static void *copy_pages(const engine *e, size_t *bytes) {
    engine_kv kv = engine_kv_of(e);
    *bytes = kv_page_bytes(&kv.layout) * kv.page_count;
    return xmemdup(kv.base, *bytes);
}

/* --- the same bytes --- */

static void kv_is_the_same_by_any_chunks(const fixture *f, const char *backend, dtype kv,
                                         const uint32_t *chunks, uint32_t chunk_count, uint32_t threads_max) {
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
    const uint32_t chunks[] = {PROMPT, 64, 256, 16, 1};
    uint32_t count = test_small() ? 2 : ARRAY_LEN(chunks);
    kv_is_the_same_by_any_chunks(*state, "cpu", DT_F16, chunks, count, 2);
    kv_is_the_same_by_any_chunks(*state, "cpu", DT_F32, chunks, count, 2);
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
        assert_int_equal(engine_logits(e, &(step_item){.slot = 1, .begin = i, .count = 1}, single, NULL),
                         ST_OK);
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
    assert_true(N > HEAD_ROWS_MAX);
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
    const seq_start init = {.prompt = f->prompt,
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
                       .piece = kv_piece_of(&a.layout, 0, N, 0, a.layout.layers),
                       .wire = wire,
                       .seed = 5,
                       .checksum = &sent};
    assert_int_equal(a.ops->kv_gather(a.dev, &copy), ST_OK);
    copy.kv = b.base;
    copy.pages = to_pages;
    copy.checksum = &got;
    assert_int_equal(b.ops->kv_scatter(b.dev, &copy), ST_OK);
    assert_true(sent == got);

    const seq_start init = {.prompt = f->prompt,
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

static double relative_error(const float *got, const float *want, size_t count) {
    double error = 0, power = 0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        power += (double)want[i] * (double)want[i];
    }
    return sqrt(error / power);
}

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
    /* fp32 activations on both sides: only the order and precision of sums differ. */
    assert_true(relative_error(got, want, count) < 1e-4);
    free(want);
    free(got);
    engine_free(ref);
    engine_free(cpu);
}

/* bf16 keeps 8 bits of a key: 2^-9 of relative rounding, which the layers hardly grow. */
static void ref_with_kv_in_bf16_is_close_to_ref(void **state) {
    fixture *f = *state;
    enum { N = 40 };
    const sampling p = greedy();
    size_t count = (size_t)N * f->m->vocab;
    float *want = xcalloc(count, sizeof *want), *got = xcalloc(count, sizeof *got);
    engine *exact = engine_of(f, "ref", 1, DT_F32), *rounded = engine_of(f, "ref", 1, DT_BF16);
    open_at(exact, 0, f->prompt, N, &p, 0, 1, kv_pages_for(N));
    open_at(rounded, 0, f->prompt, N, &p, 0, 1, kv_pages_for(N));
    const step_item it = {.count = N};
    assert_int_equal(engine_logits(exact, &it, want, NULL), ST_OK);
    assert_int_equal(engine_logits(rounded, &it, got, NULL), ST_OK);
    double error = relative_error(got, want, count);
    assert_true(error > 1e-5); /* it did round */
    assert_true(error < 2e-2);
    free(want);
    free(got);
    engine_free(exact);
    engine_free(rounded);
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
    tokenizer *tok = NULL;
    assert_int_equal(tokenizer_new(&tok, f->file.ckpt, NULL), ST_OK);
    for (size_t i = 0; i < ARRAY_LEN(prompts); i++) {
        token_list ids = {0};
        const encode_options opt = {.max_tokens = 100};
        assert_int_equal(tokenizer_encode(tok, prompts[i], strlen(prompts[i]), &opt, &ids, NULL), ST_OK);
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
    tokenizer_free(tok);
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
        cmocka_unit_test(ref_with_kv_in_bf16_is_close_to_ref),
        cmocka_unit_test(greedy_text_of_the_tiny_model_wanders),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
