/* smollm2_test - a real model's logits, greedy text, log-probabilities and perplexity of a prompt against
 * stored answers of transformers in fp32 (smollm2.txt), at each number of bits that activations may have.
 *
 * Skips where the model file (BATON_MODEL) is absent: deploy/fetch-model.sh smollm2. */
#include "tests/test.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "tests/model_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS_MAX = 128, TOPS_MAX = 64, TOP = 8, TEXTS_MAX = 16, LONG_MAX = 640 };

typedef struct answers {
    int32_t ids[TOKENS_MAX];
    uint32_t count;
    struct {
        uint32_t position;
        int32_t id[TOP];
        float logit[TOP];
    } top[TOPS_MAX];
    uint32_t top_count;
    struct {
        uint32_t prompt_count, count;
        int32_t ids[TOKENS_MAX]; /* prompt, then answer */
    } text[TEXTS_MAX];
    uint32_t text_count;
    int32_t long_ids[LONG_MAX];
    uint32_t long_count;
    double perplexity; /* of long_ids after the first */
    struct {
        float logprob;
        uint32_t rank, near; /* `near` others are so close that the rank is as uncertain */
    } score[LONG_MAX];       /* [score_count] of long_ids after the first */
    uint32_t score_count;
} answers;

typedef struct fixture {
    model_file file;
    const model *m; /* NULL: the file is not there */
    answers a;
} fixture;

static void read_ids(FILE *in, int32_t *ids, uint32_t count) {
    assert_in_range(count, 1, LONG_MAX);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(fscanf(in, "%d", &ids[i]), 1);
}

static void read_answers(answers *a) {
    FILE *in = fopen(GOLDEN_DIR "/smollm2.txt", "r");
    assert_non_null(in);
    char what[16];
    while (fscanf(in, "%15s", what) == 1) {
        if (strcmp(what, "ids") == 0) {
            assert_int_equal(fscanf(in, "%u", &a->count), 1);
            assert_in_range(a->count, 1, TOKENS_MAX);
            read_ids(in, a->ids, a->count);
        } else if (strcmp(what, "top") == 0) {
            uint32_t n = a->top_count++;
            assert_true(n < TOPS_MAX);
            assert_int_equal(fscanf(in, "%u", &a->top[n].position), 1);
            for (int i = 0; i < TOP; i++)
                assert_int_equal(fscanf(in, "%d:%f", &a->top[n].id[i], &a->top[n].logit[i]), 2);
        } else if (strcmp(what, "text") == 0) {
            assert_int_equal(fscanf(in, "%u %lf", &a->long_count, &a->perplexity), 2);
            read_ids(in, a->long_ids, a->long_count);
        } else if (strcmp(what, "scores") == 0) {
            assert_int_equal(fscanf(in, "%u", &a->score_count), 1);
            assert_in_range(a->score_count, 1, LONG_MAX);
            for (uint32_t i = 0; i < a->score_count; i++)
                assert_int_equal(
                    fscanf(in, "%f:%u:%u", &a->score[i].logprob, &a->score[i].rank, &a->score[i].near), 3);
        } else {
            assert_string_equal(what, "greedy");
            uint32_t n = a->text_count++;
            assert_true(n < TEXTS_MAX);
            assert_int_equal(fscanf(in, "%u %u", &a->text[n].prompt_count, &a->text[n].count), 2);
            uint32_t count = a->text[n].prompt_count + a->text[n].count;
            assert_in_range(count, 1, TOKENS_MAX);
            read_ids(in, a->text[n].ids, count);
        }
    }
    fclose(in);
    assert_true(a->count > 0 && a->top_count >= 20 && a->text_count >= 4);
    assert_true(a->long_count >= 600);
    assert_int_equal(a->score_count, a->long_count - 1);
}

static int setup(void **state) {
    log_setup(LOG_WARN, "smollm2_test");
    fixture *f = xcalloc(1, sizeof *f);
    read_answers(&f->a);
    const char *path = getenv("BATON_MODEL");
    if (path && access(path, R_OK) == 0) f->file = model_file_open(path);
    f->m = f->file.m;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    model_file_close(&f->file);
    free(f);
    return 0;
}

static engine *engine_of(const fixture *f, const char *backend, uint32_t act_bits, dtype kv,
                         uint32_t tokens) {
    const engine_options opt = {.backend = backend,
                                .device = {.threads = 2, .isa = "auto", .act_bits = act_bits},
                                .kv_type = kv,
                                .page_count = kv_pages_for(tokens),
                                .max_rows = TOKENS_MAX,
                                .max_seqs = 1,
                                .max_context = tokens};
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, f->m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return e;
}

static void open_ids(engine *e, const int32_t *ids, uint32_t count, uint32_t tokens) {
    uint32_t pages[LONG_MAX / KV_PAGE_TOKENS];
    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++) pages[i] = i;
    sampling greedy = sampling_default();
    greedy.temperature = 0;
    greedy.prompt_logprobs = 1;
    const seq_start init = {.prompt = ids,
                            .prompt_count = count,
                            .params = &greedy,
                            .pages = pages,
                            .page_count = kv_pages_for(tokens)};
    assert_int_equal(engine_seq_open(e, 0, &init, NULL), ST_OK);
}

/* The eight best logits after the stored positions below `rows`: the values, and that no other token is above
 * the eighth. */
static void expect_top(const fixture *f, const char *backend, uint32_t act_bits, dtype kv, uint32_t rows,
                       float tolerance) {
    const answers *a = &f->a;
    engine *e = engine_of(f, backend, act_bits, kv, TOKENS_MAX);
    open_ids(e, a->ids, a->count, TOKENS_MAX);
    size_t vocab = f->m->vocab;
    float *logits = xcalloc(rows * vocab, sizeof *logits);
    assert_int_equal(engine_logits(e, &(step_item){.count = rows}, logits, NULL), ST_OK);
    uint32_t checked = 0;
    for (uint32_t n = 0; n < a->top_count && a->top[n].position < rows; n++, checked++) {
        const float *row = logits + a->top[n].position * vocab;
        for (int i = 0; i < TOP; i++) {
            if (fabsf(row[a->top[n].id[i]] - a->top[n].logit[i]) < tolerance) continue;
            fail_msg("%s, position %u, token %d: logit %f, transformers has %f", backend, a->top[n].position,
                     a->top[n].id[i], (double)row[a->top[n].id[i]], (double)a->top[n].logit[i]);
        }
        uint32_t above = 0;
        for (size_t i = 0; i < vocab; i++) above += row[i] > a->top[n].logit[TOP - 1] + tolerance;
        assert_in_range(above, 0, TOP - 1);
    }
    assert_true(checked >= rows / 2);
    free(logits);
    engine_free(e);
}

static void cpu_logits_are_those_of_transformers(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    expect_top(f, "cpu", 32, DT_F32, f->a.count, 1e-3f);
}

static void cpu_logits_with_half_precision_kv_are_close(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    expect_top(f, "cpu", 32, DT_F16, f->a.count, 5e-2f);
}

static void cpu_logits_with_16_bits_are_as_close(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    expect_top(f, "cpu", 16, DT_F32, f->a.count, 2e-2f);
    expect_top(f, "cpu", 16, DT_F16, f->a.count, 5e-2f);
}

static void cpu_logits_with_8_bits_are_near(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    expect_top(f, "cpu", 8, DT_F16, f->a.count, 1.5f);
}

static void ref_logits_are_those_of_transformers(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    expect_top(f, "ref", 32, DT_F32, 12, 1e-3f); /* few: ref is made to be read */
}

/* How many of the stored texts come out. */
static uint32_t equal_texts(const fixture *f, uint32_t act_bits) {
    engine *e = engine_of(f, "cpu", act_bits, DT_F16, TOKENS_MAX);
    uint32_t equal = 0;
    for (uint32_t n = 0; n < f->a.text_count; n++) {
        const int32_t *want = f->a.text[n].ids;
        uint32_t begin = f->a.text[n].prompt_count, i = 0;
        open_ids(e, want, begin, TOKENS_MAX);
        step_item it = {.count = begin, .sample = true};
        for (; i < f->a.text[n].count; i++) {
            step_result r;
            assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
            if (r.token.id != want[begin + i]) break;
            it = (step_item){.begin = begin + i, .count = 1, .sample = true};
        }
        equal += i == f->a.text[n].count;
        engine_seq_close(e, 0);
    }
    engine_free(e);
    return equal;
}

static void cpu_greedy_text_is_that_of_transformers_with_32_and_16_bits(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    assert_int_equal(equal_texts(f, 32), f->a.text_count);
    assert_int_equal(equal_texts(f, 16), f->a.text_count);
}

/* What is told of the long text's tokens after the first, by a prompt of their ids. Caller frees. */
static token_out *scores_of(const fixture *f, uint32_t act_bits, dtype kv) {
    const answers *a = &f->a;
    engine *e = engine_of(f, "cpu", act_bits, kv, LONG_MAX);
    open_ids(e, a->long_ids, a->long_count, LONG_MAX);
    token_out *out = xcalloc(a->long_count, sizeof *out);
    for (uint32_t begin = 0; begin < a->long_count; begin += TOKENS_MAX) {
        const step_item it = {.begin = begin, .count = MIN((uint32_t)TOKENS_MAX, a->long_count - begin)};
        step_result r;
        assert_int_equal(engine_step(e, &it, 1, NULL, &r, NULL), ST_OK);
        assert_int_equal(r.prompt_count, MIN(it.count, a->long_count - 1 - begin));
        memcpy(out + begin, r.prompt, r.prompt_count * sizeof *out);
    }
    engine_free(e);
    return out;
}

/* The furthest of their logprobs from transformers'. */
static float furthest(const fixture *f, const token_out *got) {
    float most = 0;
    for (uint32_t i = 0; i < f->a.score_count; i++) {
        assert_int_equal(got[i].id, f->a.long_ids[i + 1]);
        assert_int_equal(got[i].top_count, 1);
        assert_true((got[i].rank == 1) == (got[i].top[0].id == got[i].id));
        assert_false(isnan(got[i].logprob));
        most = fmaxf(most, fabsf(got[i].logprob - f->a.score[i].logprob));
    }
    return most;
}

static void logprobs_of_a_prompt_are_those_of_transformers_and_ranks_exactly(void **state) {
    fixture *f = *state;
    if (!f->m) skip();
    token_out *got = scores_of(f, 32, DT_F32);
    assert_true(furthest(f, got) < 1e-3f);
    uint32_t certain = 0;
    for (uint32_t i = 0; i < f->a.score_count; i++) {
        uint32_t want = f->a.score[i].rank, near = f->a.score[i].near;
        assert_in_range(got[i].rank, want > near ? want - near : 1, want + near);
        certain += near == 0;
    }
    assert_true(certain > f->a.score_count * 3 / 4);
    free(got);
}

/* `share`: of the perplexity */
static void expect_text(void **state, uint32_t act_bits, float logprob_tolerance, double share) {
    fixture *f = *state;
    if (!f->m) skip();
    token_out *got = scores_of(f, act_bits, DT_F16);
    double loss = 0, want = f->a.perplexity;
    for (uint32_t i = 0; i < f->a.score_count; i++) loss -= (double)got[i].logprob;
    double perplexity = exp(loss / f->a.score_count);
    float most = furthest(f, got);
    free(got);
    print_message("perplexity with %u bits: %.4f, transformers %.4f; logprobs within %.4f\n", act_bits,
                  perplexity, want, (double)most);
    assert_true(fabs(perplexity / want - 1) <= share);
    assert_true(most < logprob_tolerance);
}

static void perplexity_with_16_bits_is_that_of_transformers_to_half_a_percent(void **state) {
    expect_text(state, 16, 2e-2f, 0.005);
}

static void perplexity_with_8_bits_is_that_of_transformers_to_two_percent(void **state) {
    expect_text(state, 8, 1.0f, 0.02);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_logits_are_those_of_transformers),
        cmocka_unit_test(cpu_logits_with_half_precision_kv_are_close),
        cmocka_unit_test(cpu_logits_with_16_bits_are_as_close),
        cmocka_unit_test(cpu_logits_with_8_bits_are_near),
        cmocka_unit_test(ref_logits_are_those_of_transformers),
        cmocka_unit_test(cpu_greedy_text_is_that_of_transformers_with_32_and_16_bits),
        cmocka_unit_test(logprobs_of_a_prompt_are_those_of_transformers_and_ranks_exactly),
        cmocka_unit_test(perplexity_with_16_bits_is_that_of_transformers_to_half_a_percent),
        cmocka_unit_test(perplexity_with_8_bits_is_that_of_transformers_to_two_percent),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
