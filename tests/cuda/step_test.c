/* step_test - steps on `cuda`: recorded and played back, tokens as ref chooses them, the bound of memory,
 * several launches of decode attention. */
#include "kernels/backends.h"
#include "kernels/cuda/step.h"
#include "kernels/cuda/weights.h"
#include "tests/cuda/mini.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- decode steps, recorded and not --- */

enum { SEQS = 3, STEPS = 40 };

typedef struct talk {
    int32_t ids[SEQS][64]; /* a prompt of 5 tokens, then what was generated */
    uint32_t count[SEQS];
    uint32_t pages[SEQS][4];
    sampling params;
    step_pass passes[STEPS + 1];
} talk;

static talk *talk_new(float temperature) {
    talk *t = xcalloc(1, sizeof *t);
    for (uint32_t q = 0; q < SEQS; q++) {
        t->count[q] = 5;
        for (uint32_t i = 0; i < 5; i++) t->ids[q][i] = (int32_t)(3 + 31 * q + 7 * i);
        for (uint32_t i = 0; i < 4; i++) t->pages[q][i] = 10 * i + 3 * q;
    }
    t->params = sampling_default();
    t->params.temperature = temperature;
    t->params.seed = 99;
    return t;
}

/* The next token of the first `seqs` sequences; the first step computes the prompts too. */
static void talk_step(talk *t, mini *m, uint32_t number, uint32_t seqs, bool repeatable) {
    step_seq q[SEQS];
    sample_input in[SEQS];
    sample_result out[SEQS];
    uint32_t head[SEQS], rows = 0;
    int32_t ids[5 * SEQS];
    for (uint32_t i = 0; i < seqs; i++) {
        uint32_t count = number == 0 ? t->count[i] : 1, pos = t->count[i] - count;
        memcpy(ids + rows, t->ids[i] + pos, count * sizeof *ids);
        q[i] = (step_seq){.pages = t->pages[i],
                          .page_count = 4,
                          .row_begin = rows,
                          .row_count = count,
                          .pos = pos,
                          .prompt_count = 5};
        in[i] = (sample_input){.params = &t->params,
                               .prompt = t->ids[i],
                               .prompt_count = 5,
                               .output = t->ids[i] + 5,
                               .output_count = t->count[i] - 5};
        rows += count;
        head[i] = rows - 1;
    }
    const op_step s = {.ids = ids,
                       .rows = rows,
                       .seqs = q,
                       .seq_count = seqs,
                       .head = head,
                       .head_count = seqs,
                       .samples = in,
                       .results = out,
                       .repeatable = repeatable && number > 0};
    errbuf eb = {0};
    if (mini_step(m, &s, &t->passes[number], &eb) != ST_OK) rig_check(&m->r, ST_DEVICE, eb.text);
    for (uint32_t i = 0; i < seqs; i++) {
        assert_false(out[i].broken);
        t->ids[i][t->count[i]++] = out[i].token.id;
    }
}

/* Three sequences for 20 steps, then one of them ends. Their text crosses pages at token 16 and 32. */
static talk *talk_all(dtype act, bool deterministic, float temperature, bool repeatable, size_t nodes[2]) {
    const device_options opt = rig_options(act, deterministic);
    mini m = mini_open("cuda", &opt);
    talk *t = talk_new(temperature);
    for (uint32_t i = 0; i <= STEPS; i++) talk_step(t, &m, i, i <= 20 ? 3 : 2, repeatable);
    nodes[0] = step_nodes(m.r.d, 3);
    nodes[1] = step_nodes(m.r.d, 2);
    mini_close(&m);
    return t;
}

static void a_recorded_step_gives_the_tokens_of_one_that_is_not(void **state) {
    (void)state;
    static const struct {
        dtype act;
        bool deterministic;
        float temperature;
    } cases[] = {{DT_BF16, true, 0}, {DT_BF16, true, 1.5f}, {DT_F16, true, 1}, {DT_F32, true, 1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t nodes[2], none[2];
        talk *a = talk_all(cases[i].act, cases[i].deterministic, cases[i].temperature, true, nodes);
        talk *b = talk_all(cases[i].act, cases[i].deterministic, cases[i].temperature, false, none);
        assert_memory_equal(a->ids, b->ids, sizeof a->ids);
        for (uint32_t s = 1; s <= STEPS; s++) {
            assert_false(b->passes[s].replayed);
            assert_int_equal(b->passes[s].rows, s <= 20 ? 3 : 2);
            /* The first step of a bucket runs, the second is recorded, the others are played back. */
            assert_int_equal(a->passes[s].replayed, s != 1 && s != 2 && s != 21 && s != 22);
            assert_int_equal(a->passes[s].rows, s <= 20 ? 4 : 2);
        }
        /* embed, norm, q k v, attention (f32: with its own rotation), o, head norm, output, sample */
        assert_int_equal(nodes[0], cases[i].act == DT_F32 ? 9 : 8);
        assert_int_equal(nodes[1], nodes[0]);
        assert_int_equal(none[0], 0);
        free(a);
        free(b);
    }
}

static void what_was_generated_wanders(void **state) {
    (void)state;
    size_t nodes[2];
    talk *t = talk_all(DT_BF16, true, 1.5f, true, nodes);
    bool seen[MINI_VOCAB] = {false};
    uint32_t distinct = 0;
    for (uint32_t i = 5; i < t->count[0]; i++) {
        distinct += !seen[t->ids[0][i]];
        seen[t->ids[0][i]] = true;
    }
    assert_true(distinct > 10); /* or the test above compares little */
    free(t);
}

/* Default mode cuts keys by the batch; the tokens of both are those of the same logits within rounding, so
 * greedy text of a recorded and an eager run of the same batch is equal here too. */
static void fast_mode_records_too(void **state) {
    (void)state;
    size_t nodes[2], none[2];
    talk *a = talk_all(DT_BF16, false, 0, true, nodes), *b = talk_all(DT_BF16, false, 0, false, none);
    assert_memory_equal(a->ids, b->ids, sizeof a->ids);
    assert_int_equal(nodes[0], 8);
    free(a);
    free(b);
}

/* --- tokens --- */

typedef struct wish {
    const char *name;
    sampling p;
    bool score; /* what is thought of the token `given` */
    int32_t given;
} wish;

static wish wishes[16];
static const int32_t stop_ids[] = {5, 17, -1, 1000000};
static const sampling_bias biases[] = {{3, 4.5f}, {9, -100}, {3, 1}};

static uint32_t make_wishes(void) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(wishes); i++) {
        wishes[i] = (wish){.p = sampling_default()};
        wishes[i].p.seed = 0x123456789abcull + i;
        wishes[i].p.choice = i;
    }
    wishes[n].p.temperature = 0;
    wishes[n++].name = "greedy";
    wishes[n++].name = "temperature";
    wishes[n].p.top_k = 5;
    wishes[n++].name = "top-k";
    wishes[n].p.top_p = 0.6f;
    wishes[n++].name = "top-p";
    wishes[n].p.min_p = 0.2f;
    wishes[n++].name = "min-p";
    wishes[n].p.repetition_penalty = 1.7f;
    wishes[n++].name = "repetition penalty";
    wishes[n].p.presence_penalty = 1.5f;
    wishes[n].p.frequency_penalty = 0.5f;
    wishes[n].p.temperature = 0;
    wishes[n++].name = "presence and frequency penalty";
    wishes[n].p.stop_ids = stop_ids;
    wishes[n].p.stop_id_count = ARRAY_LEN(stop_ids);
    wishes[n].p.min_tokens = 50;
    wishes[n].p.temperature = 0;
    wishes[n++].name = "bans";
    wishes[n].p.bias = biases;
    wishes[n].p.bias_count = ARRAY_LEN(biases);
    wishes[n++].name = "biases";
    wishes[n].p.logprobs = 5;
    wishes[n++].name = "logprobs";
    wishes[n].p.logprobs = 0;
    wishes[n].p.temperature = 0;
    wishes[n].p.repetition_penalty = 2;
    wishes[n++].name = "logprob of the token";
    for (int32_t i = 0; i < 3; i++) { /* what is wished for of generated tokens has no say */
        wishes[n].score = true;
        wishes[n].given = i * 57;
        wishes[n].p.prompt_logprobs = i * SAMPLING_LOGPROBS_MAX / 2;
        wishes[n].p.repetition_penalty = 3;
        wishes[n].p.bias = biases;
        wishes[n].p.bias_count = ARRAY_LEN(biases);
        wishes[n++].name = "score of a given token";
    }
    wishes[n].p.repetition_penalty = 1.7f;
    wishes[n++].name = "repetition penalty behind scores";
    return n;
}

enum { HISTORY = 40 };

/* The token for every wish, RIG_HEAD rows at a time, of the same logits. */
static void choose(const rig *r, uint32_t count, sample_result *out) {
    static const int32_t eog[] = {2};
    int32_t history[HISTORY], ids[ARRAY_LEN(wishes)] = {0};
    uint32_t heads[ARRAY_LEN(wishes)];
    sample_input in[ARRAY_LEN(wishes)];
    for (uint32_t i = 0; i < HISTORY; i++) history[i] = (int32_t)((i * i + 3) % MINI_VOCAB);
    for (uint32_t i = 0; i < count; i++) {
        heads[i] = i;
        in[i] = (sample_input){.score = wishes[i].score,
                               .given = wishes[i].given,
                               .params = &wishes[i].p,
                               .prompt = history,
                               .prompt_count = 25,
                               .output = history + 25,
                               .output_count = HISTORY - 25,
                               .eog = eog,
                               .eog_count = 1};
    }
    static const uint32_t pages[2] = {0, 1};
    const step_seq seq = {.pages = pages, .page_count = 2, .row_count = count, .prompt_count = 100};
    op_step s = plain_step(&seq, ids, count);
    s.head = heads;
    s.head_count = count;
    s.samples = in;
    s.results = out;
    float *logits = numbers(60, ARRAY_LEN(wishes) * MINI_VOCAB, DT_F32);
    for (uint32_t i = 0; i < ARRAY_LEN(wishes) * MINI_VOCAB; i++) logits[i] *= 4;
    errbuf eb = {0};
    step_pass pass;
    assert_int_equal(r->ops->step_begin(r->d, &s, &pass, &eb), ST_OK);
    float *batch = rig_floats(r, NULL, RIG_HEAD * MINI_VOCAB);
    for (uint32_t at = 0; at < count; at += RIG_HEAD) {
        uint32_t some = MIN(count - at, RIG_HEAD);
        rig_check(r,
                  r->ops->mem_write(r->d, batch, logits + at * MINI_VOCAB, some * MINI_VOCAB * sizeof(float)),
                  "mem_write");
        rig_check(r,
                  r->ops->sample(
                      r->d, &(op_sample){.logits = batch, .begin = at, .count = some, .vocab = MINI_VOCAB}),
                  "sample");
    }
    if (r->ops->step_end(r->d, &eb) != ST_OK) fail_msg("%s", eb.text);
    rig_free(r, batch, RIG_HEAD * MINI_VOCAB * sizeof(float));
    free(logits);
}

static void equal_logits_give_the_tokens_logprobs_and_ranks_of_ref(void **state) {
    (void)state;
    uint32_t count = make_wishes();
    const device_options opt = rig_options(DT_F32, true);
    mini cuda = mini_open("cuda", &opt), ref = mini_open("ref", &opt);
    sample_result a[ARRAY_LEN(wishes)] = {0}, b[ARRAY_LEN(wishes)] = {0};
    choose(&cuda.r, count, a);
    choose(&ref.r, count, b);
    for (uint32_t i = 0; i < count; i++) {
        if (a[i].broken || b[i].broken) fail_msg("%s: broken", wishes[i].name);
        if (a[i].token.id != b[i].token.id)
            fail_msg("%s: token %d, want %d", wishes[i].name, a[i].token.id, b[i].token.id);
        int32_t wanted = wishes[i].score ? wishes[i].p.prompt_logprobs : wishes[i].p.logprobs;
        if (wishes[i].score) assert_int_equal(a[i].token.id, wishes[i].given);
        assert_int_equal(a[i].token.rank, b[i].token.rank);
        assert_true((a[i].token.rank > 0) == wishes[i].score);
        if (wanted < 0) continue;
        assert_memory_equal(&a[i].token.logprob, &b[i].token.logprob, sizeof(float));
        assert_int_equal(a[i].token.top_count, wanted);
        assert_int_equal(b[i].token.top_count, wanted);
        for (uint32_t j = 0; j < a[i].token.top_count; j++) {
            assert_int_equal(a[i].token.top[j].id, b[i].token.top[j].id);
            assert_true(a[i].token.top[j].logprob == b[i].token.top[j].logprob);
        }
    }
    mini_close(&cuda);
    mini_close(&ref);
}

static void a_row_whose_tokens_are_all_banned_is_broken_alone(void **state) {
    (void)state;
    sampling_bias all[MINI_VOCAB];
    for (int32_t i = 0; i < MINI_VOCAB; i++) all[i] = (sampling_bias){.id = i, .bias = -INFINITY};
    make_wishes();
    wishes[1].p.bias = all;
    wishes[1].p.bias_count = MINI_VOCAB;
    const device_options opt = rig_options(DT_BF16, true);
    mini m = mini_open("cuda", &opt);
    sample_result out[3];
    choose(&m.r, 3, out);
    assert_false(out[0].broken);
    assert_true(out[1].broken);
    assert_true(out[1].banned);
    assert_false(out[2].broken);
    mini_close(&m);
}

/* --- attention in several launches --- */

/* A replay whose rows together have more splits than there is room for partial sums is the prompt's rows' own
 * bits. */
static float *replay(uint32_t page_count, uint32_t *room) {
    enum { PAST = 600, ROWS = 60 };
    device_options opt = rig_options(DT_BF16, true);
    opt.page_count = page_count;
    opt.max_seqs = 1;
    mini m = mini_open("cuda", &opt);
    uint32_t pages[RIG_SEQ_PAGES];
    int32_t ids[RIG_ROWS];
    for (uint32_t i = 0; i < RIG_SEQ_PAGES; i++) pages[i] = RIG_PAGES - 1 - i;
    for (uint32_t i = 0; i < RIG_ROWS; i++) ids[i] = (int32_t)(i * 37 % MINI_VOCAB);
    errbuf eb = {0};
    step_pass pass;
    step_seq seq = {.pages = pages, .page_count = RIG_SEQ_PAGES, .prompt_count = PAST};
    for (uint32_t at = 0; at < PAST + ROWS; at += seq.row_count) {
        seq.pos = at;
        seq.row_count = at < PAST ? MIN(PAST - at, RIG_ROWS) : ROWS;
        const op_step s = plain_step(&seq, ids, seq.row_count);
        if (mini_step(&m, &s, &pass, &eb) != ST_OK) fail_msg("%s", eb.text);
    }
    *room = m.r.d->partial_items;
    float *o = rig_read_acts(&m.r, m.wide, ROWS * MINI_DIM);
    mini_close(&m);
    return o;
}

static void decode_attention_in_several_launches_gives_the_same_bits(void **state) {
    (void)state;
    uint32_t few, many;
    float *a = replay(RIG_PAGES, &few), *b = replay(4096, &many);
    assert_true(few < 60 * 2); /* two splits a row */
    assert_true(many >= 60 * 2);
    assert_memory_equal(a, b, 60 * MINI_DIM * sizeof(float));
    free(a);
    free(b);
}

/* --- memory --- */

static void memory_beyond_the_fraction_is_refused(void **state) {
    (void)state;
    device_options opt = rig_options(DT_F32, true); /* no library that takes a share of it */
    rig all = rig_open("cuda", &opt);
    device_memory memory;
    assert_int_equal(all.ops->memory(0, &memory, NULL), ST_OK);
    assert_true(memory.free <= memory.total);
    rig_close(&all);
    opt.memory_fraction = 0.01;
    rig r = rig_open("cuda", &opt);
    size_t bound = (size_t)((double)memory.total * 0.01), half = bound / 2;
    void *first = r.ops->mem_alloc(r.d, half);
    assert_non_null(first);
    assert_null(r.ops->mem_alloc(r.d, bound - half + 4096));
    const tensor t = {
        .type = DT_F32, .rows = 4096, .cols = (uint32_t)(bound / 4096 / 8 * 8), .random_scale = 1};
    weight *w = NULL;
    errbuf eb = {0};
    assert_int_equal(r.ops->weight_load(r.d, &(weight_parts){.part = {t}}, &w, &eb), ST_NOMEM);
    assert_non_null(strstr(eb.text, "memory_fraction"));
    r.ops->mem_free(r.d, first, half);
    first = r.ops->mem_alloc(r.d, bound - 4096); /* what was refused took nothing */
    assert_non_null(first);
    r.ops->mem_free(r.d, first, bound - 4096);
    rig_close(&r);
}

/* More than three chunks of the staging, whose buffers are filled again while copies are under way. */
static void a_large_weight_arrives_whole_and_in_the_order_of_its_form(void **state) {
    (void)state;
    enum { HALF_ROWS = 1024, COLS = 4096 };
    setenv("BATON_EMU_STREAMS", "lazy", 1);
    const device_options opt = rig_options(DT_BF16, true);
    rig r = rig_open("cuda", &opt);
    size_t half = (size_t)HALF_ROWS * COLS, bytes = 2 * half * sizeof(uint16_t);
    uint16_t *file = xmalloc(bytes), *back = xmalloc(bytes);
    for (size_t i = 0; i < 2 * half; i++) file[i] = (uint16_t)(i * 0x9E3779B97F4A7C15u >> 40);
    const tensor gate = {.type = DT_BF16, .rows = HALF_ROWS, .cols = COLS, .data = file};
    tensor up = gate;
    up.data = file + half;
    weight *w = rig_weight(&r, WEIGHT_GATE_UP, (const tensor *[]){&gate, &up});
    assert_int_equal(w->bytes, bytes);
    rig_check(&r, r.ops->mem_read(r.d, back, w->data, bytes), "mem_read");
    for (uint32_t row = 0; row < 2 * HALF_ROWS; row++) {
        uint32_t from = row / 16 * 8 + row % 8 + (row / 8 % 2 ? HALF_ROWS : 0);
        assert_memory_equal(back + (size_t)row * COLS, file + (size_t)from * COLS, COLS * sizeof(uint16_t));
    }
    r.ops->weight_free(r.d, w);
    unsetenv("BATON_EMU_STREAMS");
    free(file);
    free(back);
    rig_close(&r);
}

static void what_the_kernels_cannot_do_is_refused_by_name(void **state) {
    (void)state;
    errbuf eb = {0};
    device_options opt = rig_options(DT_Q8_0, true);
    device *d = NULL;
    const backend_ops *ops = backend_find("cuda");
    assert_int_equal(ops->open(&d, &opt, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "q8_0"));
    opt.act_type = DT_BF16;
    rig r = rig_open("cuda", &opt);
    attend_setup s = {
        .layout = {.type = DT_F16, .layers = 1, .kv_heads = 1, .head_dim = 64}, .heads = 1, .rope_dim = 64};
    assert_int_equal(ops->attend_setup(r.d, &s, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "kv_dtype"));
    s.layout.type = DT_BF16;
    s.layout.head_dim = 80;
    assert_int_equal(ops->attend_setup(r.d, &s, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "80"));
    tensor gate = random_tensor(DT_F32, 12, 16, 1);
    weight *w = NULL;
    assert_int_equal(ops->weight_load(r.d, &(weight_parts){WEIGHT_GATE_UP, .part = {gate, gate}}, &w, &eb),
                     ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "12"));
    free((void *)gate.data);
    rig_close(&r);
}

static void the_path_names_architecture_type_and_mode(void **state) {
    (void)state;
    device_options opt = rig_options(DT_BF16, true);
    rig r = rig_open("cuda", &opt);
    assert_non_null(strstr(r.ops->path(r.d), "cuda/sm_"));
    assert_non_null(strstr(r.ops->path(r.d), "/bf16/det-"));
    assert_non_null(strstr(r.ops->path(r.d), "/split512"));
    rig_close(&r);
    opt.deterministic = false;
    opt.act_type = DT_F16;
    r = rig_open("cuda", &opt);
    assert_non_null(strstr(r.ops->path(r.d), "/f16/fast-timed"));
    rig_close(&r);
    opt.act_type = DT_F32; /* all products are our own */
    r = rig_open("cuda", &opt);
    assert_string_equal(strstr(r.ops->path(r.d), "/f32/"), "/f32/fast");
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_recorded_step_gives_the_tokens_of_one_that_is_not),
        cmocka_unit_test(what_was_generated_wanders),
        cmocka_unit_test(fast_mode_records_too),
        cmocka_unit_test(equal_logits_give_the_tokens_logprobs_and_ranks_of_ref),
        cmocka_unit_test(a_row_whose_tokens_are_all_banned_is_broken_alone),
        cmocka_unit_test(decode_attention_in_several_launches_gives_the_same_bits),
        cmocka_unit_test(memory_beyond_the_fraction_is_refused),
        cmocka_unit_test(a_large_weight_arrives_whole_and_in_the_order_of_its_form),
        cmocka_unit_test(what_the_kernels_cannot_do_is_refused_by_name),
        cmocka_unit_test(the_path_names_architecture_type_and_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
