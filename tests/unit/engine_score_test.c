/* engine_score_test - log-probabilities of a prompt's tokens: the same bytes whatever the steps looked like,
 * and those of the logits. */
#include "tests/unit/engine_scene.h"

#include "kernels/host/sampler.h"

enum { COUNT = 100 };

static sampling scoring(int32_t wanted) {
    sampling p = greedy();
    p.prompt_logprobs = wanted;
    return p;
}

/* What is told of the prompt when it is cut into such chunks, into out[1..COUNT). */
static void scores_of(engine *e, uint32_t chunk, token_out out[COUNT]) {
    for (uint32_t begin = 0; begin < COUNT; begin += chunk) {
        uint32_t rows = MIN(chunk, COUNT - begin);
        step_result r = step_one(e, 0, begin, rows, begin + rows == COUNT);
        assert_int_equal(r.prompt_count, MIN(rows, COUNT - 1 - begin));
        if (r.prompt_count) memcpy(out + begin + 1, r.prompt, r.prompt_count * sizeof *out);
    }
}

static void scores_do_not_depend_on_chunks(const fixture *f, const char *backend, uint32_t threads, dtype kv,
                                           const uint32_t *chunks, uint32_t chunk_count) {
    const sampling p = scoring(5);
    token_out want[COUNT] = {0}, got[COUNT] = {0};
    for (uint32_t i = 0; i < chunk_count; i++) {
        engine *e = engine_of(f, backend, threads, kv);
        open_at(e, 0, f->prompt, COUNT, &p, 2, 3, kv_pages_for(COUNT + 1));
        scores_of(e, chunks[i], i ? got : want);
        if (i) assert_memory_equal(got, want, sizeof want);
        engine_free(e);
    }
    for (uint32_t i = 1; i < COUNT; i++) {
        assert_int_equal(want[i].id, f->prompt[i]);
        assert_in_range(want[i].rank, 1, f->m->vocab);
        assert_int_equal(want[i].top_count, 5);
    }
}

static void cpu_scores_are_the_same_bytes_by_chunks_of_any_size(void **state) {
    uint32_t chunks[COUNT], count = 0;
    for (uint32_t i = 0; i < COUNT; i += test_small() ? 33 : 1) chunks[count++] = COUNT - i;
    scores_do_not_depend_on_chunks(*state, "cpu", 1, DT_F16, chunks, count);
    scores_do_not_depend_on_chunks(*state, "cpu", 2, DT_F32, (uint32_t[]){COUNT, 16, 7}, 3);
}

static void ref_scores_are_the_same_bytes_by_chunks(void **state) {
    scores_do_not_depend_on_chunks(*state, "ref", 1, DT_F32, (uint32_t[]){COUNT, 33}, 2);
}

static void scores_are_those_of_the_logits(void **state) {
    fixture *f = *state;
    const sampling p = scoring(SAMPLING_LOGPROBS_MAX);
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    size_t vocab = f->m->vocab;
    float *logits = xcalloc(COUNT * vocab, sizeof *logits);
    token_out got[COUNT] = {0};
    open_at(e, 0, f->prompt, COUNT, &p, 0, 1, kv_pages_for(COUNT + 1));
    open_at(e, 1, f->prompt, COUNT, &p, 100, 1, kv_pages_for(COUNT + 1));
    scores_of(e, 32, got);
    assert_int_equal(engine_logits(e, &(step_item){.slot = 1, .count = COUNT}, logits, NULL), ST_OK);
    sampler *s = sampler_new((uint32_t)vocab);
    for (uint32_t i = 1; i < COUNT; i++) {
        sample_result want;
        sampler_score(s, logits + (i - 1) * vocab, f->prompt[i], SAMPLING_LOGPROBS_MAX, &want);
        assert_memory_equal(&got[i], &want.token, sizeof want.token);
    }
    sampler_free(s);
    free(logits);
    engine_free(e);
}

/* More rows with a say than the head takes at once, in one step with those of others. */
static void scores_and_tokens_of_a_step_are_as_if_each_were_alone(void **state) {
    fixture *f = *state;
    const sampling asks = scoring(2), plain = greedy();
    step_result alone[3], together[3];
    token_out told[3][COUNT];
    step_item items[3];
    for (int mixed = 0; mixed < 2; mixed++) {
        engine *e = engine_of(f, "cpu", 2, DT_F16);
        for (uint32_t s = 0; s < 3; s++) {
            open_at(e, s, f->prompt + s, COUNT - s, s == 1 ? &plain : &asks, s * 10, 1, kv_pages_for(COUNT));
            items[s] = (step_item){.slot = s, .count = COUNT - s, .sample = s < 2, .tag = s};
        }
        if (mixed) assert_int_equal(engine_step(e, items, 3, NULL, together, NULL), ST_OK);
        for (uint32_t s = 0; s < 3; s++) {
            if (mixed) {
                assert_int_equal(together[s].prompt_count, alone[s].prompt_count);
                if (alone[s].prompt_count)
                    assert_memory_equal(together[s].prompt, told[s], alone[s].prompt_count * sizeof **told);
                assert_memory_equal(&together[s].token, &alone[s].token, sizeof alone[s].token);
                assert_int_equal(together[s].sampled, alone[s].sampled);
            } else {
                assert_int_equal(engine_step(e, &items[s], 1, NULL, &alone[s], NULL), ST_OK);
                if (alone[s].prompt_count)
                    memcpy(told[s], alone[s].prompt, alone[s].prompt_count * sizeof **told);
            }
        }
        engine_free(e);
    }
    assert_int_equal(alone[0].prompt_count, COUNT - 1);
    assert_int_equal(alone[1].prompt_count, 0);
    assert_int_equal(alone[2].prompt_count, COUNT - 3);
    assert_false(alone[2].sampled);
}

/* A replay gives output ids: these are not the prompt's. */
static void outputs_that_are_given_have_no_score(void **state) {
    fixture *f = *state;
    const sampling p = scoring(0);
    engine *e = engine_of(f, "cpu", 1, DT_F16);
    uint32_t pages[] = {0, 1, 2, 3};
    const seq_start init = {.prompt = f->prompt,
                            .prompt_count = 20,
                            .output = f->prompt + 20,
                            .output_count = 10,
                            .params = &p,
                            .pages = pages,
                            .page_count = 4};
    assert_int_equal(engine_seq_open(e, 0, &init, NULL), ST_OK);
    assert_int_equal(step_one(e, 0, 0, 18, false).prompt_count, 18);
    assert_int_equal(step_one(e, 0, 18, 2, false).prompt_count, 1);
    assert_int_equal(step_one(e, 0, 20, 10, true).prompt_count, 0);
    assert_int_equal(step_one(e, 0, 30, 1, true).prompt_count, 0);
    engine_free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_scores_are_the_same_bytes_by_chunks_of_any_size),
        cmocka_unit_test(ref_scores_are_the_same_bytes_by_chunks),
        cmocka_unit_test(scores_are_those_of_the_logits),
        cmocka_unit_test(scores_and_tokens_of_a_step_are_as_if_each_were_alone),
        cmocka_unit_test(outputs_that_are_given_have_no_score),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
