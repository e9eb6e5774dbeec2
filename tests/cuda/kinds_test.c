/* kinds_test - what operations do beside what Llama asks of them, on `cuda` against `ref`, in all three types
 * of activations: kinds of norms, activations, rotations and embeddings, biases, windows. */
#include "tests/cuda/rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What rounding to the type costs, as the squared relative error of one number; sums of products stay near
 * it. */
typedef struct type_bound {
    dtype act;
    double bound;
} type_bound;
static const type_bound types[] = {{DT_F32, 1e-11}, {DT_F16, 2e-6}, {DT_BF16, 1e-4}};

enum { DIM = 192, VOCAB = 50, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 32, ROWS_MAX = 70 };
enum { QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM, FFN = 40 };

/* --- a case: operations of one step on one backend --- */

typedef struct step_case {
    const rig *r;
    uint32_t rows;
    int32_t ids[ROWS_MAX];
    uint32_t head[2];
    step_seq seq;
    op_step step;
} step_case;

static const uint32_t pages[RIG_SEQ_PAGES] = {3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 7};

/* `rows` rows of one sequence from position `pos` on, of a prompt or generated. */
static void case_begin(step_case *c, const rig *r, uint32_t rows, uint32_t pos, bool prompt) {
    *c = (step_case){.r = r, .rows = rows};
    for (uint32_t i = 0; i < rows; i++) c->ids[i] = (int32_t)(i * 7 % VOCAB);
    c->head[0] = 0;
    c->head[1] = rows - 1;
    c->seq = (step_seq){.pages = pages,
                        .page_count = kv_pages_for(pos + rows),
                        .row_count = rows,
                        .pos = pos,
                        .prompt_count = prompt ? pos + rows : pos};
    c->step = plain_step(&c->seq, c->ids, rows);
    c->step.head = c->head;
    c->step.head_count = rows > 1 ? 2 : 1;
    errbuf eb = {0};
    step_pass pass = {0};
    if (r->ops->step_begin(r->d, &c->step, &pass, &eb) != ST_OK) fail_msg("%s: %s", r->ops->name, eb.text);
}

static void case_end(const step_case *c) {
    errbuf eb = {0};
    if (c->r->ops->step_end(c->r->d, &eb) != ST_OK) fail_msg("%s: %s", c->r->ops->name, eb.text);
}

typedef float *run_case(const rig *r, dtype act, const void *what, size_t *count);

/* Runs the same on both backends, for each type of activations. */
static void compare(run_case *run, const attend_setup *setup, const void *what, const char *name,
                    double factor) {
    for (size_t i = 0; i < 2 * ARRAY_LEN(types); i++) {
        const type_bound *t = &types[i / 2];
        float *out[2];
        size_t count = 0;
        for (int on_ref = 0; on_ref < 2; on_ref++) {
            const device_options opt = rig_options(on_ref ? DT_F32 : t->act, i % 2);
            rig r = rig_open(on_ref ? "ref" : "cuda", &opt);
            attend_setup s = *setup;
            s.layout.type = on_ref ? DT_F32 : t->act;
            rig_setup(&r, &s);
            out[on_ref] = run(&r, t->act, what, &count);
            rig_close(&r);
        }
        assert_near(name, out[0], out[1], count, factor * t->bound);
        free(out[0]);
        free(out[1]);
    }
}

static attend_setup usual_setup(void) {
    return (attend_setup){.layout = {.layers = 1, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM},
                          .heads = HEADS,
                          .scale = 0.2f,
                          .rope_dim = HEAD_DIM,
                          .rope_base = 10000};
}

static weight *vector_with_bias(const rig *r, uint64_t seed, tensor keep[2]) {
    keep[0] = random_tensor(DT_F32, 1, DIM, seed);
    keep[1] = random_tensor(DT_F32, 1, DIM, seed + 1);
    return rig_weight_of(r, &(weight_parts){.part = {keep[0]}, .bias = {keep[1]}});
}

static void free_tensors(tensor *t, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) free((void *)t[i].data);
}

/* --- rows --- */

/* Embedding with positions and scale -> layer norm -> norm of the result alone, in place -> the head's. */
static float *run_rows(const rig *r, dtype act, const void *what, size_t *count) {
    enum { ROWS = 6, BEGIN = 3 };
    const norm_kind kind = *(const norm_kind *)what;
    tensor table = random_tensor(DT_BF16, VOCAB, DIM, 1), places = random_tensor(DT_BF16, 16, DIM, 2),
           keep[4];
    weight *embed = rig_weight(r, WEIGHT_PLAIN, &(const tensor *){&table});
    weight *positions = rig_weight(r, WEIGHT_PLAIN, &(const tensor *){&places});
    weight *norm = vector_with_bias(r, 3, keep), *post = vector_with_bias(r, 5, keep + 2);
    const size_t all = (size_t)ROWS * DIM;
    float *x = rig_floats(r, NULL, all), *delta = numbers(7, all, act);
    void *d = rig_acts(r, delta, all), *out = rig_acts(r, NULL, all);
    step_case c;
    case_begin(&c, r, ROWS, BEGIN, true);
    const op_embed e = {.table = embed, .positions = positions, .scale = 13.9f, .rows = ROWS, .x = x};
    rig_check(r, r->ops->embed(r->d, &e), "embed");
    op_norm p = {.delta = d, .weight = post, .kind = kind, .rows = ROWS, .dim = DIM, .eps = 1e-5f, .out = d};
    rig_check(r, r->ops->norm(r->d, &p), "norm of delta");
    op_norm n = p;
    n.x = x;
    n.weight = norm;
    n.out = out;
    rig_check(r, r->ops->norm(r->d, &n), "norm");
    *count = 3 * all + 2 * DIM;
    float *got = xcalloc(*count, sizeof *got), *parts[4];
    parts[0] = rig_read_acts(r, out, all);
    const op_head_norm h = {
        .x = x, .delta = d, .weight = norm, .kind = kind, .count = 2, .dim = DIM, .eps = 1e-5f, .out = out};
    rig_check(r, r->ops->head_norm(r->d, &h), "head_norm");
    parts[1] = rig_read_floats(r, x, all);
    parts[2] = rig_read_acts(r, d, all);
    parts[3] = rig_read_acts(r, out, 2 * DIM);
    case_end(&c);
    /* Each counts alike, whatever its size: x has large numbers. */
    for (uint32_t i = 0; i < 4; i++) {
        const size_t some = i < 3 ? all : 2 * DIM;
        for (size_t k = 0; k < some; k++) got[i * all + k] = parts[i][k] / (i == 1 ? 13.9f : 1.0f);
        free(parts[i]);
    }
    rig_free(r, x, all * sizeof *x);
    rig_free(r, d, rig_act_bytes(r, all));
    rig_free(r, out, rig_act_bytes(r, all));
    weight *const used[] = {embed, positions, norm, post};
    for (size_t i = 0; i < ARRAY_LEN(used); i++) r->ops->weight_free(r->d, used[i]);
    free_tensors(&table, 1);
    free_tensors(&places, 1);
    free_tensors(keep, 4);
    free(delta);
    return got;
}

static void embeddings_and_norms_of_every_kind_are_those_of_ref(void **state) {
    (void)state;
    const attend_setup s = usual_setup();
    for (norm_kind kind = NORM_RMS; kind <= NORM_LAYER; kind++) compare(run_rows, &s, &kind, "rows", 4);
}

/* --- products --- */

typedef struct product_case {
    weight_form form;
    bool feed_forward;
    act_kind act;
    uint32_t rows;
} product_case;

/* The second part has no bias. */
static float *run_product(const rig *r, dtype act, const void *what, size_t *count) {
    const product_case *p = what;
    static const uint32_t of_qkv[] = {HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM};
    weight_parts from = {.form = p->form};
    const uint32_t parts = weight_form_parts(p->form);
    uint32_t n = 0;
    for (uint32_t i = 0; i < parts; i++) {
        const uint32_t rows = p->form == WEIGHT_QKV ? of_qkv[i] : FFN;
        from.part[i] = random_tensor(DT_BF16, rows, DIM, 11 + i);
        if (i != 1) from.bias[i] = random_tensor(DT_F32, 1, rows, 21 + i);
        n += rows;
    }
    weight *w = rig_weight_of(r, &from);
    const uint32_t width = p->form == WEIGHT_GATE_UP ? FFN : n;
    float *x = numbers(31, (size_t)p->rows * DIM, act);
    void *in = rig_acts(r, x, (size_t)p->rows * DIM), *scratch = rig_acts(r, NULL, (size_t)p->rows * n);
    void *out = rig_acts(r, NULL, (size_t)p->rows * width);
    step_case c;
    case_begin(&c, r, p->rows, 0, true);
    if (p->feed_forward)
        rig_check(r,
                  r->ops->gate_up(
                      r->d,
                      &(op_gate_up){
                          .x = in, .w = w, .act = p->act, .rows = p->rows, .scratch = scratch, .out = out}),
                  "gate_up");
    else
        rig_check(r, r->ops->linear(r->d, &(op_linear){.x = in, .w = w, .rows = p->rows, .out = out}),
                  "linear");
    case_end(&c);
    *count = (size_t)p->rows * width;
    float *got = rig_read_acts(r, out, *count);
    rig_free(r, in, rig_act_bytes(r, (size_t)p->rows * DIM));
    rig_free(r, scratch, rig_act_bytes(r, (size_t)p->rows * n));
    rig_free(r, out, rig_act_bytes(r, *count));
    r->ops->weight_free(r->d, w);
    free(x);
    free_tensors(from.part, parts);
    free_tensors(from.bias, WEIGHT_PARTS_MAX);
    return got;
}

/* 70 rows of a prompt go to the library in both modes, 5 in one of them. */
static void products_with_biases_and_activations_are_those_of_ref(void **state) {
    (void)state;
    const attend_setup s = usual_setup();
    static const uint32_t rows[] = {5, 70};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        compare(run_product, &s, &(product_case){WEIGHT_PLAIN, false, ACT_SILU, rows[i]}, "plain", 1);
        for (act_kind act = ACT_SILU; act <= ACT_RELU; act++) {
            compare(run_product, &s, &(product_case){WEIGHT_GATE_UP, true, act, rows[i]}, "gated", 4);
            compare(run_product, &s, &(product_case){WEIGHT_PLAIN, true, act, rows[i]}, "ungated", 4);
        }
    }
}

/* --- attention --- */

typedef struct attend_case {
    bool norm, local;
    uint32_t window;
} attend_case;

/* A prompt of 40 rows, then a chunk of 30, then a row that was generated: qkv with biases, and attention. ref
 * keeps q, k and v apart, so that linear makes them. */
static float *run_attend(const rig *r, dtype act, const void *what, size_t *count) {
    const attend_case *a = what;
    static const struct {
        uint32_t rows, pos;
        bool prompt;
    } steps[] = {{40, 0, true}, {30, 40, true}, {1, 70, false}};
    static const uint32_t of_qkv[] = {HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM};
    weight_parts from = {.form = WEIGHT_QKV};
    for (uint32_t i = 0; i < 3; i++) {
        from.part[i] = random_tensor(DT_F32, of_qkv[i], DIM, 41 + i);
        from.bias[i] = random_tensor(DT_F32, 1, of_qkv[i], 51 + i);
    }
    tensor norms[2] = {random_tensor(DT_F32, 1, HEAD_DIM, 61), random_tensor(DT_F32, 1, HEAD_DIM, 62)};
    for (uint32_t i = 0; i < HEAD_DIM; i++)
        for (int k = 0; k < 2; k++) ((float *)(uintptr_t)norms[k].data)[i] += 1.0f;
    weight *w = rig_weight_of(r, &from), *norm[2] = {NULL, NULL};
    for (int i = 0; a->norm && i < 2; i++)
        norm[i] = rig_weight(r, WEIGHT_PLAIN, &(const tensor *){&norms[i]});
    *count = (size_t)71 * HEADS * HEAD_DIM;
    float *got = xcalloc(*count, sizeof *got);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const uint32_t rows = steps[i].rows;
        const size_t width = (size_t)rows * HEADS * HEAD_DIM;
        float *x = numbers(71 + i, (size_t)rows * DIM, act);
        void *in = rig_acts(r, x, (size_t)rows * DIM), *qkv = rig_acts(r, NULL, (size_t)rows * QKV);
        void *out = rig_acts(r, NULL, width);
        step_case c;
        case_begin(&c, r, rows, steps[i].pos, steps[i].prompt);
        rig_check(r, r->ops->linear(r->d, &(op_linear){.x = in, .w = w, .rows = rows, .out = qkv}), "linear");
        const op_attend o = {.rows = rows,
                             .window = a->window,
                             .rope_local = a->local,
                             .q_norm = norm[0],
                             .k_norm = norm[1],
                             .norm_eps = 1e-5f,
                             .qkv = qkv,
                             .out = out};
        rig_check(r, r->ops->attend(r->d, &o), "attend");
        case_end(&c);
        float *some = rig_read_acts(r, out, width);
        memcpy(got + (size_t)steps[i].pos * HEADS * HEAD_DIM, some, width * sizeof *some);
        free(some);
        free(x);
        rig_free(r, in, rig_act_bytes(r, (size_t)rows * DIM));
        rig_free(r, qkv, rig_act_bytes(r, (size_t)rows * QKV));
        rig_free(r, out, rig_act_bytes(r, width));
    }
    r->ops->weight_free(r->d, w);
    for (int i = 0; i < 2; i++) r->ops->weight_free(r->d, norm[i]);
    free_tensors(from.part, 3);
    free_tensors(from.bias, 3);
    free_tensors(norms, 2);
    return got;
}

static void attention_of_every_kind_is_that_of_ref(void **state) {
    (void)state;
    static const float factors[HEAD_DIM / 2] = {1, 1, 1, 1, 1.5f, 2, 2, 3, 4, 4, 4, 4, 8, 8, 8, 8};
    attend_setup halves = usual_setup(), none = usual_setup(), scaled = usual_setup();
    halves.rope = ROPE_HALVES;
    halves.rope_dim = 24;
    halves.rope_local_base = 100;
    none.rope_dim = 0;
    none.rope_base = 0;
    scaled.rope_factors = factors;
    scaled.rope_magnitude = 1.2f;
    compare(run_attend, &halves, &(attend_case){false, false, 0}, "halves", 10);
    compare(run_attend, &halves, &(attend_case){true, false, 0}, "norms and halves", 10);
    compare(run_attend, &halves, &(attend_case){true, true, 12}, "window and a rotation of its own", 10);
    compare(run_attend, &none, &(attend_case){false, false, 0}, "no rotation", 10);
    compare(run_attend, &none, &(attend_case){true, false, 33}, "norms and window", 10);
    compare(run_attend, &scaled, &(attend_case){false, false, 5}, "factors, magnitude and window", 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings_and_norms_of_every_kind_are_those_of_ref),
        cmocka_unit_test(products_with_biases_and_activations_are_those_of_ref),
        cmocka_unit_test(attention_of_every_kind_is_that_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
