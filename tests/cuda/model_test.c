/* model_test - a whole tiny model (BATON_TINY_MODEL) through the engine: `cuda` against `cpu`, and in
 * deterministic mode against itself, whatever the steps look like. */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "kernels/cuda/step.h"
#include "tests/cuda/rig.h"
#include "tests/model_file.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 90, OUT = 12, CONTEXT = 256, PAGES = 64, ROWS = 160, SEQS = 6 };

typedef struct fixture {
    model_file file;
    const model *m; /* the file's */
    int32_t prompt[PROMPT];
} fixture;

static int setup(void **state) {
    log_setup(LOG_WARN, "model_test");
    const char *path = getenv("BATON_TINY_MODEL");
    if (!path) fail_msg("set BATON_TINY_MODEL to a file made by make-tiny-model (ctest does)");
    fixture *f = xcalloc(1, sizeof *f);
    f->file = model_file_open(path);
    f->m = f->file.m;
    for (uint32_t i = 0; i < PROMPT; i++)
        f->prompt[i] = (int32_t)(3 + (i * i * 31 + i * 7) % (f->m->vocab - 3));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    model_file_close(&f->file);
    free(f);
    return 0;
}

static engine *engine_with(const fixture *f, const char *backend, dtype act, bool deterministic, bool warm) {
    const engine_options opt = {.backend = backend,
                                .device = {.threads = 1,
                                           .isa = "auto",
                                           .act_type = act,
                                           .deterministic = rig_deterministic(deterministic),
                                           .own_products = rig_own_products()},
                                .kv_type = act,
                                .page_count = PAGES,
                                .max_rows = ROWS,
                                .max_seqs = SEQS,
                                .max_context = CONTEXT,
                                .warm_decode = warm,
                                .warm_prompts = warm};
    engine *e = NULL;
    errbuf eb = {0};
    if (engine_new(&e, f->m, &opt, &eb) != ST_OK) fail_msg("%s", eb.text);
    return e;
}

static engine *engine_of(const fixture *f, const char *backend, dtype act, bool deterministic) {
    return engine_with(f, backend, act, deterministic, false);
}

static sampling greedy(void) {
    sampling p = sampling_default();
    p.temperature = 0;
    return p;
}

static sampling seeded(uint32_t seed) {
    sampling p = sampling_default();
    p.temperature = 0.9f;
    p.top_p = 0.95f;
    p.seed = seed;
    return p;
}

/* Opens a slot with a page table of its own; `output` are tokens that are already there. */
static void open_slot(engine *e, uint32_t slot, const int32_t *prompt, uint32_t count, const int32_t *output,
                      uint32_t output_count, const sampling *p) {
    uint32_t pages[PAGES / SEQS];
    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++) pages[i] = i * SEQS + slot;
    const seq_start init = {.prompt = prompt,
                            .prompt_count = count,
                            .output = output,
                            .output_count = output_count,
                            .params = p,
                            .pages = pages,
                            .page_count = ARRAY_LEN(pages)};
    errbuf eb = {0};
    if (engine_seq_open(e, slot, &init, &eb) != ST_OK) fail_msg("%s", eb.text);
}

static void run(engine *e, const step_item *items, uint32_t count, step_result *results) {
    errbuf eb = {0};
    if (engine_step(e, items, count, NULL, results, &eb) != ST_OK) fail_msg("%s", eb.text);
}

/* Rows [0, count) of a slot in chunks; the token that follows. */
static token_out feed(engine *e, uint32_t slot, uint32_t count, uint32_t chunk) {
    step_result r = {0};
    for (uint32_t begin = 0; begin < count; begin += chunk) {
        uint32_t rows = MIN(chunk, count - begin);
        run(e, &(step_item){.slot = slot, .begin = begin, .count = rows, .sample = begin + rows == count}, 1,
            &r);
    }
    assert_true(r.sampled);
    return r.token;
}

/* --- against cpu --- */

typedef struct logits {
    float *at; /* [PROMPT, vocab] */
    size_t vocab;
} logits;

static logits logits_of(const fixture *f, const char *backend, dtype act) {
    logits l = {.vocab = f->m->vocab};
    l.at = xcalloc(PROMPT * l.vocab, sizeof *l.at);
    const sampling p = greedy();
    engine *e = engine_of(f, backend, act, false);
    open_slot(e, 0, f->prompt, PROMPT, NULL, 0, &p);
    errbuf eb = {0};
    for (uint32_t begin = 0; begin < PROMPT;
         begin += 50) { /* two chunks: the second one sees the first one's pages */
        const step_item it = {.slot = 0, .begin = begin, .count = MIN(50, PROMPT - begin)};
        if (engine_logits(e, &it, l.at + begin * l.vocab, &eb) != ST_OK) fail_msg("%s", eb.text);
    }
    engine_free(e);
    return l;
}

/* sqrt of the mean squared error over that of the right logits. */
static double relative_error(const logits *got, const logits *want) {
    double off = 0, all = 0;
    for (size_t i = 0; i < PROMPT * want->vocab; i++) {
        off += ((double)got->at[i] - want->at[i]) * ((double)got->at[i] - want->at[i]);
        all += (double)want->at[i] * want->at[i];
    }
    return sqrt(off / all);
}

/* In every row the best token is the right one, unless the second is closer to it than twice the row's
 * largest error.
 */
static void check_best(const logits *got, const logits *want) {
    uint32_t decided = 0;
    for (uint32_t r = 0; r < PROMPT; r++) {
        const float *g = got->at + r * want->vocab, *w = want->at + r * want->vocab;
        size_t best = 0, mine = 0;
        float second = -INFINITY, error = 0;
        for (size_t i = 0; i < want->vocab; i++) {
            if (w[i] > w[best]) best = i;
            if (g[i] > g[mine]) mine = i;
            error = fmaxf(error, fabsf(g[i] - w[i]));
        }
        for (size_t i = 0; i < want->vocab; i++)
            if (i != best && w[i] > second) second = w[i];
        if (w[best] - second <= 2 * error) continue;
        decided++;
        assert_int_equal(mine, best);
    }
    if (decided < PROMPT / 4) fail_msg("only %u rows of %u have a best token beyond doubt", decided, PROMPT);
}

typedef struct bound {
    dtype act;
    double most;
} bound;

static void check_logits(const fixture *f, const bound *bounds, uint32_t count) {
    logits want = logits_of(f, "cpu", DT_F32);
    for (uint32_t i = 0; i < count; i++) {
        logits got = logits_of(f, "cuda", bounds[i].act);
        double error = relative_error(&got, &want);
        if (!(error < bounds[i].most)) fail_msg("%s: relative error %g", dtype_name(bounds[i].act), error);
        check_best(&got, &want);
        free(got.at);
    }
    free(want.at);
}

static void logits_are_those_of_cpu(void **state) {
    (void)state;
    static const bound bounds[] = {{DT_F32, 1e-5}, {DT_F16, 3e-3}, {DT_BF16, 2e-2}};
    fixture plain = {.file = model_file_open("random:tiny")};
    plain.m = plain.file.m;
    for (uint32_t i = 0; i < PROMPT; i++) plain.prompt[i] = (int32_t)((i * i * 31 + i * 7) % plain.m->vocab);
    check_logits(&plain, bounds, ARRAY_LEN(bounds));
    model_file_close(&plain.file);
}

/* Queries and keys of the generated checkpoint are so large that attention picks single positions: a rounding
 * of a score then counts several times over. Its matrices are of every storage type. */
static void logits_of_a_file_are_those_of_cpu(void **state) {
    static const bound bounds[] = {{DT_F32, 1e-4}, {DT_F16, 8e-3}, {DT_BF16, 6e-2}};
    check_logits(*state, bounds, ARRAY_LEN(bounds));
}

static void generate(engine *e, uint32_t slot, uint32_t count, int32_t *out) {
    out[0] = feed(e, slot, count, count).id;
    for (uint32_t i = 1; i < OUT; i++) {
        step_result r;
        run(e, &(step_item){.slot = slot, .begin = count + i - 1, .count = 1, .sample = true}, 1, &r);
        out[i] = r.token.id;
    }
}

static void greedy_and_seeded_text_in_f32_is_that_of_cpu(void **state) {
    fixture *f = *state;
    for (int drawn = 0; drawn < 2; drawn++) {
        const sampling p = drawn ? seeded(7) : greedy();
        int32_t out[2][OUT];
        for (int i = 0; i < 2; i++) {
            engine *e = engine_of(f, i ? "cuda" : "cpu", DT_F32, false);
            open_slot(e, 0, f->prompt, 40, NULL, 0, &p);
            generate(e, 0, 40, out[i]);
            engine_free(e);
        }
        assert_memory_equal(out[0], out[1], sizeof out[0]);
    }
}

/* --- deterministic: against itself --- */

static void *copy_pages(const engine *e, size_t *bytes) {
    engine_kv kv = engine_kv_of(e);
    *bytes = kv_page_bytes(&kv.layout) * kv.page_count;
    void *copy = xmalloc(*bytes);
    assert_int_equal(kv.ops->mem_read(kv.dev, copy, kv.base, *bytes), ST_OK);
    return copy;
}

/* Text of slot 0 and the pages behind it: a prompt fed in chunks, then a decode step a token. And the scores
 * of the prompt's tokens. */
typedef struct text {
    int32_t ids[OUT];
    token_out scores[PROMPT];
    void *pages;
    size_t bytes;
} text;

static text text_of(const fixture *f, dtype act, uint32_t chunk, const sampling *p) {
    text t = {0};
    engine *e = engine_of(f, "cuda", act, true);
    open_slot(e, 0, f->prompt, PROMPT, NULL, 0, p);
    for (uint32_t begin = 0, rows; begin < PROMPT; begin += rows) {
        step_result r;
        rows = MIN(chunk, PROMPT - begin);
        run(e, &(step_item){.begin = begin, .count = rows, .sample = begin + rows == PROMPT}, 1, &r);
        assert_int_equal(r.prompt_count, p->prompt_logprobs < 0 ? 0 : MIN(rows, PROMPT - 1 - begin));
        if (r.prompt_count) memcpy(t.scores + begin + 1, r.prompt, r.prompt_count * sizeof *t.scores);
        t.ids[0] = r.token.id;
    }
    for (uint32_t i = 1; i < OUT; i++) {
        step_result r;
        run(e, &(step_item){.slot = 0, .begin = PROMPT + i - 1, .count = 1, .sample = true}, 1, &r);
        t.ids[i] = r.token.id;
    }
    t.pages = copy_pages(e, &t.bytes);
    engine_free(e);
    return t;
}

static void chunks_change_no_bit(void **state) {
    fixture *f = *state;
    static const uint32_t chunks[] = {16, 73, PROMPT - 1}; /* the last one leaves a single row */
    sampling p = seeded(3);
    p.prompt_logprobs = 2;
    for (dtype act = DT_F16; act <= DT_BF16; act += DT_BF16 - DT_F16) {
        text whole = text_of(f, act, PROMPT, &p);
        for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
            text cut = text_of(f, act, chunks[i], &p);
            assert_memory_equal(whole.ids, cut.ids, sizeof whole.ids);
            assert_memory_equal(whole.scores, cut.scores, sizeof whole.scores);
            assert_memory_equal(whole.pages, cut.pages, whole.bytes);
            free(cut.pages);
        }
        free(whole.pages);
    }
}

/* Four sequences in every step, prompts and decode rows mixed, as if each were alone; logprobs show the
 * logits' bits.
 */
static void neighbours_change_no_bit(void **state) {
    fixture *f = *state;
    enum { N = 4, STEPS = 5 };
    token_out alone[N][STEPS], together[N][STEPS];
    memset(alone, 0, sizeof alone);
    memset(together, 0, sizeof together);
    for (int mixed = 0; mixed < 2; mixed++) {
        engine *e = engine_of(f, "cuda", DT_BF16, true);
        step_item items[N];
        for (uint32_t s = 0; s < N; s++) {
            sampling p = s % 2 ? seeded(s) : greedy();
            p.logprobs = 3;
            open_slot(e, s, f->prompt + s, 20 + 9 * s, NULL, 0, &p);
            items[s] = (step_item){.slot = s, .count = 20 + 9 * s, .sample = true};
        }
        for (uint32_t i = 0; i < STEPS; i++) {
            step_result r[N];
            for (uint32_t s = 0; s < N; s += mixed ? N : 1) run(e, items + s, mixed ? N : 1, r + s);
            for (uint32_t s = 0; s < N; s++) {
                (mixed ? together : alone)[s][i] = r[s].token;
                items[s].begin += items[s].count;
                items[s].count = 1;
            }
        }
        engine_free(e);
    }
    assert_memory_equal(alone, together, sizeof alone);
}

/* As after the loss of a worker: prompt and the tokens so far are computed again, and the text goes on. */
static void a_replay_changes_no_bit(void **state) {
    fixture *f = *state;
    enum { CUT = 7 };
    const sampling p = seeded(11);
    text original = text_of(f, DT_BF16, PROMPT, &p);
    for (uint32_t chunk = 32; chunk <= PROMPT + CUT; chunk += PROMPT + CUT - 32) {
        engine *e = engine_of(f, "cuda", DT_BF16, true);
        open_slot(e, 0, f->prompt, PROMPT, original.ids, CUT, &p);
        int32_t id = feed(e, 0, PROMPT + CUT, chunk).id;
        for (uint32_t i = CUT;; i++) {
            assert_int_equal(id, original.ids[i]);
            if (i + 1 == OUT) break;
            step_result r;
            run(e, &(step_item){.slot = 0, .begin = PROMPT + i, .count = 1, .sample = true}, 1, &r);
            id = r.token.id;
        }
        size_t bytes;
        void *pages = copy_pages(e, &bytes);
        assert_memory_equal(pages, original.pages, bytes);
        free(pages);
        engine_free(e);
    }
    free(original.pages);
}

/* What a slot of a mixed step is: rows so far of `count` tokens of the prompt and `given` generated ones. */
typedef struct share {
    uint32_t count, given, done;
} share;

/* Replays side by side, each of rows of the prompt and generated ones, with a prompt before, a prompt between
 * and a decode row behind them: each writes the pages and chooses the token that it does alone. */
static void replays_beside_prompts_change_no_bit(void **state) {
    fixture *f = *state;
    enum { N = 5, FORCED = 9 };
    static const share turns[N] = {{40, 0, 0}, {20, FORCED, 0}, {33, 0, 16}, {17, FORCED, 16}, {25, 1, 25}};
    step_result alone[N], together[N];
    void *pages[2];
    size_t bytes = 0;
    memset(alone, 0, sizeof alone);
    memset(together, 0, sizeof together);
    for (int mixed = 0; mixed < 2; mixed++) {
        engine *e = engine_of(f, "cuda", DT_BF16, true);
        step_item items[N];
        for (uint32_t s = 0; s < N; s++) {
            const share *h = &turns[s];
            sampling p = seeded(s);
            p.logprobs = 3;
            open_slot(e, s, f->prompt + s, h->count, f->prompt + 50, h->given, &p);
            items[s] = (step_item){.slot = s, .count = h->done};
            step_result r;
            if (h->done > 0) run(e, &items[s], 1, &r);
            items[s] = (step_item){
                .slot = s, .begin = h->done, .count = h->count + h->given - h->done, .sample = true};
        }
        if (mixed) {
            run(e, items, N, together);
        } else {
            /* The same tokens in the steps in which they came first: a prompt, then one at a time. */
            for (uint32_t s = 0; s < N; s++) {
                const uint32_t prompt = turns[s].count - turns[s].done, end = items[s].begin + items[s].count;
                const bool last = prompt == items[s].count;
                if (prompt > 0)
                    run(e, &(step_item){.slot = s, .begin = items[s].begin, .count = prompt, .sample = last},
                        1, &alone[s]);
                for (uint32_t at = turns[s].count; at < end; at++)
                    run(e, &(step_item){.slot = s, .begin = at, .count = 1, .sample = at + 1 == end}, 1,
                        &alone[s]);
            }
        }
        pages[mixed] = copy_pages(e, &bytes);
        engine_free(e);
    }
    for (uint32_t s = 0; s < N; s++)
        assert_memory_equal(&alone[s].token, &together[s].token, sizeof alone[s].token);
    assert_memory_equal(pages[0], pages[1], bytes);
    free(pages[0]);
    free(pages[1]);
}

/* --- recorded steps --- */

static void a_decode_step_is_a_launch_for_each_step_of_a_layer(void **state) {
    fixture *f = *state;
    const sampling p = greedy();
    engine *e = engine_of(f, "cuda", DT_BF16, true);
    open_slot(e, 0, f->prompt, 20, NULL, 0, &p);
    int32_t out[OUT];
    generate(e, 0, 20, out);
    /* and the embedding, the last norm, the output head, the sampler */
    assert_int_equal(step_nodes(engine_kv_of(e).dev, 1), f->m->arch->step_count * f->m->layers + 4);
    engine_free(e);
}

/* --- before the first request --- */

static void warming_up_records_every_decode_step_and_changes_no_token(void **state) {
    const fixture *f = *state;
    for (int deterministic = 0; deterministic < 2; deterministic++) {
        engine *cold = engine_with(f, "cuda", DT_BF16, deterministic, false);
        engine *warm = engine_with(f, "cuda", DT_BF16, deterministic, true);
        const sampling p = seeded(5);
        for (uint32_t rows = 1; rows <= SEQS; rows++) {
            assert_int_equal(step_nodes(engine_kv_of(cold).dev, rows), 0);
            assert_true(step_nodes(engine_kv_of(warm).dev, rows) > 7 * f->m->layers);
        }
        engine *both[] = {cold, warm};
        int32_t tokens[2][4];
        for (int i = 0; i < 2; i++) {
            open_slot(both[i], 0, f->prompt, 20, NULL, 0, &p);
            tokens[i][0] = feed(both[i], 0, 20, 16).id;
            for (uint32_t k = 1; k < 4; k++) {
                step_result r = {0};
                run(both[i], &(step_item){.slot = 0, .begin = 19 + k, .count = 1, .sample = true}, 1, &r);
                tokens[i][k] = r.token.id;
            }
            engine_seq_close(both[i], 0);
            engine_free(both[i]);
        }
        assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_cpu),
        cmocka_unit_test(logits_of_a_file_are_those_of_cpu),
        cmocka_unit_test(greedy_and_seeded_text_in_f32_is_that_of_cpu),
        cmocka_unit_test(chunks_change_no_bit),
        cmocka_unit_test(neighbours_change_no_bit),
        cmocka_unit_test(a_replay_changes_no_bit),
        cmocka_unit_test(replays_beside_prompts_change_no_bit),
        cmocka_unit_test(a_decode_step_is_a_launch_for_each_step_of_a_layer),
        cmocka_unit_test(warming_up_records_every_decode_step_and_changes_no_token),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
