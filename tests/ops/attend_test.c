/* attend_test - the attend op of the cpu backend, from q, k and v on: its bytes are those of the small
 * operations one after another, and do not depend on chunks, companions or threads. */
#include "tests/ops/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 48, SEQS = 3 };

/* Tokens of some sequences; what a model would have made of them is random. */
typedef struct scene {
    attend_setup setup;
    uint32_t window;
    bool rope_local;
    tensor q_norm, k_norm; /* data NULL: none */
    uint32_t tables[SEQS][PAGES];
    uint32_t lengths[SEQS];
    uint32_t row;     /* floats of q, k and v of a token */
    float *qkv[SEQS]; /* [length, q then k then v] */
    uint8_t *kv;      /* what the pages hold before */
    size_t kv_bytes;
} scene;

static scene scene_new(dtype type, uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
                       const uint32_t lengths[SEQS]) {
    scene s = {.setup = {.layout = {.type = type, .layers = 2, .kv_heads = kv_heads, .head_dim = head_dim},
                         .heads = heads,
                         .scale = 1.0f / sqrtf((float)head_dim),
                         .rope_dim = head_dim,
                         .rope_base = 1e4f},
               .row = (heads + 2 * kv_heads) * head_dim};
    for (uint32_t i = 0; i < SEQS * PAGES; i++) s.tables[i / PAGES][i % PAGES] = i * 7 % (SEQS * PAGES);
    for (uint32_t q = 0; q < SEQS; q++) {
        s.lengths[q] = lengths[q];
        s.qkv[q] = random_floats(20 + q, (size_t)lengths[q] * s.row);
        for (size_t i = 0; i < (size_t)lengths[q] * s.row; i++) s.qkv[q][i] *= 3.0f;
    }
    s.kv_bytes = SEQS * PAGES * kv_page_bytes(&s.setup.layout);
    s.kv = xmalloc(s.kv_bytes);
    memset(s.kv, 0xff, s.kv_bytes); /* NaN: what was never written must not matter */
    return s;
}

static void scene_done(scene *s) {
    for (uint32_t q = 0; q < SEQS; q++) free(s->qkv[q]);
    free_weight(&s->q_norm);
    free_weight(&s->k_norm);
    free(s->kv);
}

/* What a run leaves behind. */
typedef struct trace {
    float *out[SEQS]; /* [length, heads * head_dim] */
    uint8_t *kv;
} trace;

static trace trace_new(const scene *s) {
    trace t = {.kv = xmemdup(s->kv, s->kv_bytes)};
    for (uint32_t q = 0; q < SEQS; q++)
        t.out[q] = xcalloc((size_t)s->lengths[q] * s->setup.heads * s->setup.layout.head_dim, sizeof(float));
    return t;
}

static void trace_done(trace *t) {
    for (uint32_t q = 0; q < SEQS; q++) free(t->out[q]);
    free(t->kv);
}

static weight *load_norm(const backend_ops *ops, device *d, const tensor *t) {
    weight *w = NULL;
    const weight_parts parts = {.form = WEIGHT_PLAIN, .part = {*t}};
    if (t->data) assert_int_equal(ops->weight_load(d, &parts, &w, NULL), ST_OK);
    return w;
}

typedef struct runner {
    const backend_ops *ops;
    device *dev;
    weight *q_norm, *k_norm;
} runner;

static runner runner_new(const backend_ops *ops, device *d, const scene *s, const trace *t) {
    runner r = {.ops = ops, .dev = d};
    attend_setup setup = s->setup;
    setup.kv = t->kv;
    assert_int_equal(ops->attend_setup(d, &setup, NULL), ST_OK);
    r.q_norm = load_norm(ops, d, &s->q_norm);
    r.k_norm = load_norm(ops, d, &s->k_norm);
    return r;
}

static void runner_done(runner *r) {
    r->ops->weight_free(r->dev, r->q_norm);
    r->ops->weight_free(r->dev, r->k_norm);
    r->ops->close(r->dev);
}

/* Rows [begin[q], end[q]) of each sequence are a step. */
static void step(const runner *r, const scene *s, trace *t, const uint32_t *begin, const uint32_t *end) {
    const uint32_t head_dim = s->setup.layout.head_dim, q_dim = s->setup.heads * head_dim,
                   kv_dim = s->setup.layout.kv_heads * head_dim;
    step_seq seqs[SEQS];
    op_step st = {.seqs = seqs};
    for (uint32_t q = 0; q < SEQS; q++) {
        if (begin[q] == end[q]) continue;
        seqs[st.seq_count++] = (step_seq){.pages = s->tables[q],
                                          .page_count = PAGES,
                                          .row_begin = st.rows,
                                          .row_count = end[q] - begin[q],
                                          .pos = begin[q]};
        st.rows += end[q] - begin[q];
    }
    if (st.rows == 0) return;
    int32_t *ids = xcalloc(st.rows, sizeof *ids);
    float *qkv = xcalloc((size_t)st.rows * s->row, sizeof *qkv);
    float *out = xcalloc((size_t)st.rows * q_dim, sizeof *out);
    st.ids = ids;
    float *k = qkv + (size_t)st.rows * q_dim, *v = k + (size_t)st.rows * kv_dim;
    uint32_t row = 0;
    for (uint32_t q = 0; q < SEQS; q++) {
        for (uint32_t i = begin[q]; i < end[q]; i++, row++) {
            const float *from = s->qkv[q] + (size_t)i * s->row;
            memcpy(qkv + (size_t)row * q_dim, from, q_dim * sizeof *qkv);
            memcpy(k + (size_t)row * kv_dim, from + q_dim, kv_dim * sizeof *qkv);
            memcpy(v + (size_t)row * kv_dim, from + q_dim + kv_dim, kv_dim * sizeof *qkv);
        }
    }
    step_pass pass;
    assert_int_equal(r->ops->step_begin(r->dev, &st, &pass, NULL), ST_OK);
    const op_attend a = {.layer = 1,
                         .rows = st.rows,
                         .window = s->window,
                         .rope_local = s->rope_local,
                         .q_norm = r->q_norm,
                         .k_norm = r->k_norm,
                         .norm_eps = 1e-5f,
                         .qkv = qkv,
                         .out = out};
    assert_int_equal(r->ops->attend(r->dev, &a), ST_OK);
    assert_int_equal(r->ops->step_end(r->dev, NULL), ST_OK);
    row = 0;
    for (uint32_t q = 0; q < SEQS; q++) {
        size_t count = end[q] - begin[q];
        memcpy(t->out[q] + (size_t)begin[q] * q_dim, out + (size_t)row * q_dim, count * q_dim * sizeof *out);
        row += end[q] - begin[q];
    }
    free(ids);
    free(qkv);
    free(out);
}

/* All tokens, in chunks of chunk[q] rows of each sequence per step: 1 is how they are generated. */
static trace run(const backend_ops *ops, device *d, const scene *s, const uint32_t chunk[SEQS]) {
    trace t = trace_new(s);
    runner r = runner_new(ops, d, s, &t);
    uint32_t begin[SEQS] = {0}, end[SEQS];
    for (bool more = true; more;) {
        more = false;
        for (uint32_t q = 0; q < SEQS; q++) {
            end[q] = MIN(begin[q] + chunk[q], s->lengths[q]);
            more |= end[q] < s->lengths[q];
        }
        step(&r, s, &t, begin, end);
        memcpy(begin, end, sizeof begin);
    }
    runner_done(&r);
    return t;
}

static void compare(const char *what, const scene *s, const trace *got, const trace *want) {
    size_t row = (size_t)s->setup.heads * s->setup.layout.head_dim * sizeof(float);
    assert_same(what, got->kv, want->kv, s->kv_bytes);
    for (uint32_t q = 0; q < SEQS; q++) assert_same(what, got->out[q], want->out[q], s->lengths[q] * row);
}

/* ref's pages hold fp32 or halves in kv_layout.h's order. */
static void compare_with_ref(const char *what, const scene *s, const trace *got) {
    static const uint32_t whole[SEQS] = {1000, 1000, 1000};
    trace want = run(ref_ops(), open_ref(), s, whole);
    size_t row = (size_t)s->setup.heads * s->setup.layout.head_dim;
    for (uint32_t q = 0; q < SEQS; q++)
        assert_close(what, got->out[q], want.out[q], s->lengths[q] * row,
                     s->setup.layout.type == DT_F16 ? 1e-8 : 1e-11);
    trace_done(&want);
}

static void same_bytes(const op_path *p, const scene *s, const char *what) {
    /* All at once; as they would be generated; chunks beside rows alone. */
    static const uint32_t chunks[][SEQS] = {{1000, 1000, 1000}, {1, 1, 1}, {1, 37, 1}, {70, 1, 16}};
    trace want = run(cpu_ops(), open_path(p, 1), s, chunks[0]);
    compare_with_ref(what, s, &want);
    for (uint32_t i = 0; i < ARRAY_LEN(chunks); i++) {
        for (uint32_t threads = 1; threads <= 3; threads++) {
            char name[96];
            snprintf(name, sizeof name, "%s: chunks %u, %u threads", what, i, threads);
            trace got = run(cpu_ops(), open_path(p, threads), s, chunks[i]);
            compare(name, s, &got, &want);
            trace_done(&got);
        }
    }
    trace_done(&want);
}

static void a_row_has_the_same_bytes_generated_and_in_a_prompt(void **state) {
    need_path(*state);
    static const uint32_t shapes[][3] = {{6, 2, 64}, {4, 4, 24}, {2, 1, 128}, {7, 1, 16}};
    static const uint32_t lengths[SEQS] = {290, 70, 17};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        scene s = scene_new(i % 2 ? DT_F32 : DT_F16, shapes[i][0], shapes[i][1], shapes[i][2], lengths);
        same_bytes(*state, &s, "plain");
        scene_done(&s);
    }
}

static void rotations_norms_and_windows_keep_it_too(void **state) {
    need_path(*state);
    static const uint32_t lengths[SEQS] = {277, 33, 5};
    for (uint32_t i = 0; i < 6; i++) {
        scene s = scene_new(i % 2 ? DT_F16 : DT_F32, 4, 2, 32, lengths);
        float factors[16];
        for (uint32_t k = 0; k < ARRAY_LEN(factors); k++) factors[k] = 1.0f + (float)k * 0.25f;
        s.setup.rope = i & 1 ? ROPE_HALVES : ROPE_PAIRS;
        s.setup.rope_dim = i == 2 ? 0 : i == 3 ? 20 : 32;
        s.setup.rope_factors = i == 1 || i >= 4 ? factors : NULL;
        s.setup.rope_magnitude = i >= 4 ? 1.25f : 0;
        s.setup.rope_local_base = i >= 4 ? 100.0f : 0;
        s.rope_local = i == 5;
        s.window = i == 0 ? 21 : i == 3 ? 270 : 0;
        if (i >= 1) {
            s.q_norm = random_matrix(DT_F32, 1, 32, 7);
            s.k_norm = random_matrix(DT_F32, 1, 32, 8);
        }
        same_bytes(*state, &s, "odd kinds");
        scene_done(&s);
    }
}

/* Few rows, many keys, more than one thread: parts of a row are tasks of their own. */
static void long_rows_are_spread_over_threads_without_a_trace(void **state) {
    need_path(*state);
    static const uint32_t lengths[SEQS] = {700, 520, 256}, prompt[SEQS] = {699, 519, 255}, none[SEQS] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        scene s = scene_new(i ? DT_F32 : DT_F16, 3, 1, 64, lengths);
        s.window = i ? 600 : 0;
        trace want = {0};
        for (uint32_t threads = 1; threads <= 4; threads++) {
            trace got = trace_new(&s);
            runner r = runner_new(cpu_ops(), open_path(*state, threads), &s, &got);
            step(&r, &s, &got, none, prompt);
            step(&r, &s, &got, prompt, lengths);
            runner_done(&r);
            if (threads == 1) {
                want = got;
                compare_with_ref("long rows", &s, &want);
                continue;
            }
            compare("long rows", &s, &got, &want);
            trace_done(&got);
        }
        trace_done(&want);
        scene_done(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST_ON_PATH(a_row_has_the_same_bytes_generated_and_in_a_prompt),
        TEST_ON_PATH(rotations_norms_and_windows_keep_it_too),
        TEST_ON_PATH(long_rows_are_spread_over_threads_without_a_trace),
    };
    return run_on_paths(tests, ARRAY_LEN(tests));
}
