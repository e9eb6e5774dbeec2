/* host_test - the contract's operations are the small ones in the right order, byte for byte, on ref and cpu.
 */
#include "tests/ops/fixture.h"

#include "kernels/cpu/cpu.h"
#include "kernels/half.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 32, HEADS = 4, KV_HEADS = 2, HEAD = 8, FFN = 96, VOCAB = 37, ROWS = 7, LAYER = 1, PAGES = 4 };
enum { Q = HEADS * HEAD, KV = KV_HEADS * HEAD };

/* A model of one layer, and a step of two sequences: rows 0..3 at positions 14.., rows 4..6 at positions 0...
 */
typedef struct scene {
    const backend_ops *ops;
    device *dev;
    kv_layout layout;
    tensor embed, norm, wq, wk, wv, wo, gate, up, down;
    uint8_t *kv;
    size_t kv_bytes;
    float factors[HEAD / 2];
    int32_t ids[ROWS];
    uint32_t pages[2][2], head[3];
    step_seq seqs[2];
    op_step step;
} scene;

static void fill_kv(scene *s) {
    for (size_t i = 0; i < s->kv_bytes / 4; i++) ((float *)s->kv)[i] = random_float(40, i);
}

static scene *scene_new(const backend_ops *ops) {
    scene *s = xcalloc(1, sizeof *s);
    s->ops = ops;
    /* Room for one row: a larger step must find its own. */
    assert_int_equal(ops->open(&s->dev, &(device_options){.threads = 2, .isa = "auto", .max_rows = 1}, NULL),
                     ST_OK);
    s->layout = (kv_layout){.type = DT_F32, .layers = 2, .kv_heads = KV_HEADS, .head_dim = HEAD};
    s->embed = random_matrix(DT_Q8_0, VOCAB, DIM, 1);
    s->norm = random_matrix(DT_F32, 1, DIM, 2);
    s->wq = random_matrix(DT_Q4_1, Q, DIM, 3);
    s->wk = random_matrix(DT_F16, KV, DIM, 4);
    s->wv = random_matrix(DT_BF16, KV, DIM, 5);
    s->wo = random_matrix(DT_Q4_0, DIM, Q, 6);
    s->gate = random_matrix(DT_Q8_0, FFN, DIM, 7);
    s->up = random_matrix(DT_Q4_1, FFN, DIM, 8);
    s->down = random_matrix(DT_F32, DIM, FFN, 9);
    s->kv_bytes = PAGES * kv_page_bytes(&s->layout);
    s->kv = xmalloc(s->kv_bytes);
    fill_kv(s);
    for (int i = 0; i < HEAD / 2; i++) s->factors[i] = 1.0f + (float)i;
    for (int32_t i = 0; i < ROWS; i++) s->ids[i] = i * 5;
    s->pages[0][0] = 3;
    s->pages[0][1] = 1;
    s->pages[1][0] = 2;
    s->seqs[0] =
        (step_seq){.pages = s->pages[0], .page_count = 2, .row_count = 4, .pos = 14, .prompt_count = 20};
    s->seqs[1] =
        (step_seq){.pages = s->pages[1], .page_count = 1, .row_begin = 4, .row_count = 3, .prompt_count = 3};
    s->head[0] = 1;
    s->head[1] = 3;
    s->head[2] = 6;
    s->step = (op_step){.ids = s->ids,
                        .rows = ROWS,
                        .seqs = s->seqs,
                        .seq_count = 2,
                        .head = s->head,
                        .head_count = ARRAY_LEN(s->head)};
    return s;
}

static void scene_free(scene *s) {
    tensor *all[] = {&s->embed, &s->norm, &s->wq, &s->wk, &s->wv, &s->wo, &s->gate, &s->up, &s->down};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) free_weight(all[i]);
    s->ops->close(s->dev);
    free(s->kv);
    free(s);
}

static attend_setup setup_of(scene *s) {
    return (attend_setup){.layout = s->layout,
                          .kv = s->kv,
                          .heads = HEADS,
                          .scale = 0.25f,
                          .rope_dim = HEAD - 2,
                          .rope_base = 1e4f,
                          .rope_factors = s->factors};
}

static weight *load(const scene *s, weight_form form, const tensor *a, const tensor *b, const tensor *c) {
    weight_parts parts = {.form = form, .part = {*a}};
    if (b) parts.part[1] = *b;
    if (c) parts.part[2] = *c;
    weight *w = NULL;
    assert_int_equal(s->ops->weight_load(s->dev, &parts, &w, NULL), ST_OK);
    return w;
}

static void begin(scene *s) {
    step_pass pass = {.replayed = true};
    assert_int_equal(s->ops->step_begin(s->dev, &s->step, &pass, NULL), ST_OK);
    assert_false(pass.replayed);
    assert_int_equal(pass.rows, ROWS);
    assert_int_equal(pass.head_count, s->step.head_count);
}

/* What a pass leaves behind; [rows, ...]. */
typedef struct trace {
    float x[ROWS * DIM], qkv[ROWS * (Q + 2 * KV)], att[ROWS * Q], delta[ROWS * DIM], gated[ROWS * FFN];
    float last[3 * DIM], logits[3 * VOCAB];
    uint8_t *kv;
} trace;

static void run_contract(scene *s, trace *t) {
    const backend_ops *o = s->ops;
    device *d = s->dev;
    const attend_setup setup = setup_of(s);
    float normed[ROWS * DIM], scratch[ROWS * 2 * FFN];
    weight *embed = load(s, WEIGHT_PLAIN, &s->embed, NULL, NULL),
           *norm = load(s, WEIGHT_PLAIN, &s->norm, NULL, NULL);
    weight *qkv = load(s, WEIGHT_QKV, &s->wq, &s->wk, &s->wv),
           *wo = load(s, WEIGHT_PLAIN, &s->wo, NULL, NULL);
    weight *gate_up = load(s, WEIGHT_GATE_UP, &s->gate, &s->up, NULL);
    weight *down = load(s, WEIGHT_PLAIN, &s->down, NULL, NULL);
    assert_int_equal(o->attend_setup(d, &setup, NULL), ST_OK);
    begin(s);
    op_norm n = {.x = t->x, .weight = norm, .rows = ROWS, .dim = DIM, .eps = 1e-5f, .out = normed};
    op_embed e = {.table = embed, .rows = ROWS, .x = t->x};
    op_linear to_qkv = {.x = normed, .w = qkv, .rows = ROWS, .out = t->qkv};
    op_attend a = {.layer = LAYER, .rows = ROWS, .qkv = t->qkv, .out = t->att};
    op_linear from_att = {.x = t->att, .w = wo, .rows = ROWS, .out = t->delta};
    op_gate_up g = {.x = normed, .w = gate_up, .rows = ROWS, .scratch = scratch, .out = t->gated};
    op_linear from_gated = {.x = t->gated, .w = down, .rows = ROWS, .out = t->delta};
    assert_int_equal(o->embed(d, &e), ST_OK);
    assert_int_equal(o->norm(d, &n), ST_OK);
    assert_int_equal(o->linear(d, &to_qkv), ST_OK);
    assert_int_equal(o->attend(d, &a), ST_OK);
    assert_int_equal(o->linear(d, &from_att), ST_OK);
    n.delta = t->delta;
    assert_int_equal(o->norm(d, &n), ST_OK);
    assert_int_equal(o->gate_up(d, &g), ST_OK);
    assert_int_equal(o->linear(d, &from_gated), ST_OK);
    assert_int_equal(o->layer_mark(d, LAYER), ST_OK);
    for (uint32_t at = 0; at < 3; at += 2) { /* two pieces: rows 0 and 1 of the head, then row 2 */
        uint32_t count = at == 0 ? 2 : 1;
        op_head_norm h = {
            .x = t->x, .delta = t->delta, .weight = norm, .begin = at, .count = count, .dim = DIM};
        h.eps = 1e-5f;
        h.out = t->last + at * DIM;
        op_linear l = {.x = h.out, .w = embed, .rows = count, .out = t->logits + at * VOCAB, .logits = true};
        assert_int_equal(o->head_norm(d, &h), ST_OK);
        assert_int_equal(o->linear(d, &l), ST_OK);
    }
    assert_int_equal(o->sync(d, NULL), ST_OK);
    assert_int_equal(o->step_end(d, NULL), ST_OK);
    t->kv = xmemdup(s->kv, s->kv_bytes);
    weight *all[] = {embed, norm, qkv, wo, gate_up, down};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) o->weight_free(d, all[i]);
}

/* --- the same by small operations --- */

#define SMALL(name, ...) assert_int_equal(k->name(d, &(host_##name){__VA_ARGS__}), ST_OK)

static void run_small(scene *s, trace *t) {
    const host_kernels *k = kernels_of(s->dev);
    device *d = s->dev;
    float h[ROWS * DIM], gate[ROWS * FFN], up[ROWS * FFN];
    float *q = t->qkv, *key = q + ROWS * Q, *value = key + ROWS * KV;
    uint32_t pos[ROWS];
    kv_ref refs[ROWS];
    for (uint32_t r = 0; r < ROWS; r++) {
        pos[r] = r < 4 ? 14 + r : r - 4;
        refs[r] = (kv_ref){.pages = s->pages[r < 4 ? 0 : 1], .pos = pos[r]};
    }
    host_rope rope = {.pos = pos, .rows = ROWS, .head_dim = HEAD, .rope_dim = HEAD - 2, .base = 1e4f};
    rope.factors = s->factors;
    SMALL(embed, .table = &s->embed, .ids = s->ids, .rows = ROWS, .out = t->x);
    SMALL(rmsnorm, .x = t->x, .weight = &s->norm, .rows = ROWS, .dim = DIM, .eps = 1e-5f, .out = h);
    SMALL(linear, .x = h, .weight = &s->wq, .rows = ROWS, .out = q);
    SMALL(linear, .x = h, .weight = &s->wk, .rows = ROWS, .out = key);
    SMALL(linear, .x = h, .weight = &s->wv, .rows = ROWS, .out = value);
    rope.x = q;
    rope.heads = HEADS;
    assert_int_equal(k->rope(d, &rope), ST_OK);
    rope.x = key;
    rope.heads = KV_HEADS;
    assert_int_equal(k->rope(d, &rope), ST_OK);
    SMALL(kv_write, .layout = &s->layout, .kv = s->kv, .layer = LAYER, .k = key, .v = value, .refs = refs,
          .rows = ROWS);
    SMALL(attention, .layout = &s->layout, .kv = s->kv, .layer = LAYER, .q = q, .refs = refs, .rows = ROWS,
          .heads = HEADS, .scale = 0.25f, .out = t->att);
    SMALL(linear, .x = t->att, .weight = &s->wo, .rows = ROWS, .out = t->delta);
    SMALL(add, .x = t->x, .y = t->delta, .rows = ROWS, .dim = DIM);
    SMALL(rmsnorm, .x = t->x, .weight = &s->norm, .rows = ROWS, .dim = DIM, .eps = 1e-5f, .out = h);
    SMALL(linear, .x = h, .weight = &s->gate, .rows = ROWS, .out = gate);
    SMALL(linear, .x = h, .weight = &s->up, .rows = ROWS, .out = up);
    SMALL(act_mul, .gate = gate, .up = up, .rows = ROWS, .dim = FFN, .out = t->gated);
    SMALL(linear, .x = t->gated, .weight = &s->down, .rows = ROWS, .out = t->delta);
    for (uint32_t i = 0; i < 3; i++) {
        float *row = t->last + i * DIM;
        for (uint32_t c = 0; c < DIM; c++)
            row[c] = t->x[s->head[i] * DIM + c] + t->delta[s->head[i] * DIM + c];
        SMALL(rmsnorm, .x = row, .weight = &s->norm, .rows = 1, .dim = DIM, .eps = 1e-5f, .out = row);
        SMALL(linear, .x = row, .weight = &s->embed, .rows = 1, .out = t->logits + i * VOCAB);
    }
    t->kv = xmemdup(s->kv, s->kv_bytes);
}

static void a_pass_is_the_small_operations_in_order(void **state) {
    (void)state;
    const backend_ops *all[] = {cpu_ops(), ref_ops()};
    for (size_t b = 0; b < ARRAY_LEN(all); b++) {
        scene *s = scene_new(all[b]);
        trace got = {0}, want = {0};
        run_contract(s, &got);
        fill_kv(s);
        run_small(s, &want);
        assert_same("residual", got.x, want.x, sizeof got.x);
        /* They may be overwritten; cpu rotates keys on their way to the page. */
        if (all[b] == ref_ops()) assert_same("q, k, v", got.qkv, want.qkv, sizeof got.qkv);
        assert_same("pages", got.kv, want.kv, s->kv_bytes);
        assert_same("attention", got.att, want.att, sizeof got.att);
        assert_same("gated", got.gated, want.gated, sizeof got.gated);
        assert_same("delta", got.delta, want.delta, sizeof got.delta);
        assert_same("head rows", got.last, want.last, sizeof got.last);
        assert_same("logits", got.logits, want.logits, sizeof got.logits);
        free(got.kv);
        free(want.kv);
        scene_free(s);
    }
}

static double activated(act_kind act, double x) {
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); /* (1 + tanh y) / 2 */
    case ACT_RELU:
        return fmax(x, 0);
    }
    return NAN;
}

/* Each activation, with gate and without, over products with biases. */
static void a_feed_forward_is_its_formula(void **state) {
    (void)state;
    static const act_kind acts[] = {ACT_SILU, ACT_GELU, ACT_RELU};
    tensor gate = random_matrix(DT_F32, FFN, DIM, 31), up = random_matrix(DT_F32, FFN, DIM, 32);
    tensor bias[] = {random_matrix(DT_F32, 1, FFN, 33), random_matrix(DT_F32, 1, FFN, 34)};
    float *x = random_floats(35, ROWS * DIM), scratch[2 * ROWS * FFN], got[ROWS * FFN], want[ROWS * FFN];
    for (uint32_t run = 0; run < 2 * 2 * ARRAY_LEN(acts); run++) {
        const bool gated = run % 2;
        const act_kind act = acts[run / 4];
        scene *s = scene_new(run / 2 % 2 ? cpu_ops() : ref_ops());
        weight_parts parts = {gated ? WEIGHT_GATE_UP : WEIGHT_PLAIN, {gate, up}, {bias[0], bias[1]}};
        if (!gated) parts.part[1] = parts.bias[1] = (tensor){0};
        weight *w = NULL;
        assert_int_equal(s->ops->weight_load(s->dev, &parts, &w, NULL), ST_OK);
        const op_gate_up op = {.x = x, .w = w, .act = act, .rows = ROWS, .scratch = scratch, .out = got};
        assert_int_equal(s->ops->gate_up(s->dev, &op), ST_OK);
        for (uint32_t i = 0; i < ROWS * FFN; i++) {
            uint32_t r = i / FFN, n = i % FFN;
            double g = ((const float *)bias[0].data)[n], u = gated ? ((const float *)bias[1].data)[n] : 1;
            for (uint32_t k = 0; k < DIM; k++) {
                g += (double)((const float *)gate.data)[n * DIM + k] * (double)x[r * DIM + k];
                if (gated) u += (double)((const float *)up.data)[n * DIM + k] * (double)x[r * DIM + k];
            }
            want[i] = (float)(activated(act, g) * u);
        }
        assert_close("feed-forward", got, want, ARRAY_LEN(want), 1e-11);
        s->ops->weight_free(s->dev, w);
        scene_free(s);
    }
    tensor *all[] = {&gate, &up, &bias[0], &bias[1]};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) free_weight(all[i]);
    free(x);
}

/* --- weights and memory --- */

static void a_random_weight_is_its_formula_in_bf16(void **state) {
    (void)state;
    const tensor t = {.type = DT_BF16, .rows = 5, .cols = 19, .random_seed = 77, .random_scale = 0x1p-7f};
    scene *s = scene_new(ref_ops());
    weight *w = load(s, WEIGHT_PLAIN, &t, NULL, NULL);
    for (uint32_t c = 0; c < 19; c++) {
        float x[19] = {0}, out[5];
        x[c] = 1.0f;
        assert_int_equal(s->ops->linear(s->dev, &(op_linear){.x = x, .w = w, .rows = 1, .out = out}), ST_OK);
        for (uint32_t r = 0; r < 5; r++)
            assert_true(out[r] == (float)random_weight(77, r * 19 + c) * 0x1p-7f);
    }
    s->ops->weight_free(s->dev, w);
    s->ops->weight_free(s->dev, NULL);
    scene_free(s);
}

static void device_memory_is_the_hosts_own(void **state) {
    (void)state;
    const backend_ops *all[] = {cpu_ops(), ref_ops()};
    for (size_t b = 0; b < ARRAY_LEN(all); b++) {
        device_memory memory = {0};
        assert_int_equal(all[b]->memory(3, &memory, NULL), ST_OK); /* there is nothing to open */
        assert_true(memory.host);
        scene *s = scene_new(all[b]);
        assert_int_equal(all[b]->act_type(s->dev), DT_F32);
        char text[12] = "", *mem = all[b]->mem_alloc(s->dev, 100);
        assert_int_equal(all[b]->mem_write(s->dev, mem + 7, "hello there", 12), ST_OK);
        assert_int_equal(all[b]->mem_read(s->dev, text, mem + 7, 12), ST_OK);
        assert_string_equal(text, "hello there");
        all[b]->mem_free(s->dev, mem, 100);
        scene_free(s);
    }
}

/* --- KV types --- */

static void pinning_host_memory_gains_nothing_on_the_host(void **state) {
    (void)state;
    const backend_ops *backends[] = {ref_ops(), cpu_ops()};
    static unsigned char memory[4096];
    for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
        device *d = NULL;
        assert_int_equal(backends[i]->open(&d, &(device_options){.threads = 1, .isa = "auto"}, NULL), ST_OK);
        assert_int_equal(backends[i]->host_pin(d, memory, sizeof memory), MEMORY_HOST);
        backends[i]->close(d);
    }
}

static void kv_of_a_type_that_cpu_lacks_is_refused_by_name(void **state) {
    (void)state;
    scene *s = scene_new(cpu_ops());
    errbuf eb = {0};
    s->layout.type = DT_BF16;
    attend_setup setup = setup_of(s);
    assert_int_equal(s->ops->attend_setup(s->dev, &setup, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "bf16"));
    scene_free(s);
}

static void ref_keeps_kv_in_bf16_too(void **state) {
    (void)state;
    scene *s = scene_new(ref_ops());
    s->layout.type = DT_BF16;
    const attend_setup setup = setup_of(s);
    assert_int_equal(s->ops->attend_setup(s->dev, &setup, NULL), ST_OK);
    float *qkv = random_floats(3, ROWS * (Q + 2 * KV)), out[ROWS * Q];
    const float *value = qkv + ROWS * (Q + KV);
    begin(s);
    op_attend a = {.layer = LAYER, .rows = ROWS, .qkv = qkv, .out = out};
    assert_int_equal(s->ops->attend(s->dev, &a), ST_OK);
    assert_int_equal(s->ops->step_end(s->dev, NULL), ST_OK);
    /* Row 4 is position 0 of page 2. It sees itself only, so what comes out is what went in, rounded. */
    const uint16_t *tile = (const void *)(s->kv + kv_tile_offset(&s->layout, 2, LAYER, 1, 1));
    for (uint32_t i = 0; i < HEAD; i++) {
        uint16_t want = bf16_of_f32(value[4 * KV + HEAD + i]);
        assert_int_equal(tile[i], want);
        assert_true(out[4 * Q + 2 * HEAD + i] ==
                    f32_of_bf16(want)); /* query head 2 is the first of KV head 1 */
    }
    free(qkv);
    scene_free(s);
}

/* --- tokens and faults --- */

static void each_head_row_is_sampled_with_its_own_wishes(void **state) {
    (void)state;
    scene *s = scene_new(cpu_ops());
    for (uint32_t vocab = VOCAB; vocab > VOCAB - 2;
         vocab--) { /* the second vocabulary needs another sampler */
        float *logits = random_floats(vocab, 3 * vocab);
        sampling params[3];
        sample_input in[3];
        sample_result got[3], want;
        for (uint32_t i = 0; i < 3; i++) {
            params[i] = sampling_default();
            params[i].seed = 5 + i;
            params[i].logprobs = (int32_t)i;
            params[i].temperature = i == 1 ? 0 : 2;
            in[i] = (sample_input){.params = &params[i], .prompt = s->ids, .prompt_count = 1 + i};
        }
        logits[2 * vocab + 3] = NAN;
        s->step.samples = in;
        s->step.results = got;
        begin(s);
        op_sample first = {.logits = logits, .count = 1, .vocab = vocab};
        op_sample others = {.logits = logits + vocab, .begin = 1, .count = 2, .vocab = vocab};
        assert_int_equal(s->ops->sample(s->dev, &first), ST_OK);
        assert_int_equal(s->ops->sample(s->dev, &others), ST_OK);
        assert_int_equal(s->ops->step_end(s->dev, NULL), ST_OK);
        sampler *own = sampler_new(vocab);
        for (uint32_t i = 0; i < 2; i++) {
            sampler_next(own, logits + i * vocab, &in[i], &want);
            assert_false(got[i].broken);
            assert_memory_equal(&got[i].token, &want.token, sizeof want.token);
        }
        assert_true(got[2].broken);
        sampler_free(own);
        free(logits);
    }
    scene_free(s);
}

static status fail_to_rotate(device *d, const host_rope *a) {
    (void)d;
    (void)a;
    return ST_DEVICE;
}

static void an_operation_that_fails_is_named(void **state) {
    (void)state;
    cpu_kernels broken = {.host = ref_kernels}; /* no attend: host's */
    broken.host.path = "cpu/broken";
    broken.host.rope = fail_to_rotate;
    scene *s = scene_new(cpu_ops());
    s->ops->close(s->dev);
    assert_int_equal(cpu_open_kernels(&s->dev, &broken, &(device_options){.threads = 1}, NULL), ST_OK);
    const attend_setup setup = setup_of(s);
    assert_int_equal(s->ops->attend_setup(s->dev, &setup, NULL), ST_OK);
    float qkv[ROWS * (Q + 2 * KV)] = {0}, out[ROWS * Q];
    begin(s);
    op_attend a = {.layer = LAYER, .rows = ROWS, .qkv = qkv, .out = out};
    assert_int_equal(s->ops->attend(s->dev, &a), ST_DEVICE);
    errbuf eb = {0};
    s->ops->device_error(s->dev, &eb);
    assert_non_null(strstr(eb.text, "cpu/broken: rope"));
    scene_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_is_the_small_operations_in_order),
        cmocka_unit_test(a_random_weight_is_its_formula_in_bf16),
        cmocka_unit_test(a_feed_forward_is_its_formula),
        cmocka_unit_test(device_memory_is_the_hosts_own),
        cmocka_unit_test(pinning_host_memory_gains_nothing_on_the_host),
        cmocka_unit_test(kv_of_a_type_that_cpu_lacks_is_refused_by_name),
        cmocka_unit_test(ref_keeps_kv_in_bf16_too),
        cmocka_unit_test(each_head_row_is_sampled_with_its_own_wishes),
        cmocka_unit_test(an_operation_that_fails_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
