/* backend_test - the operations of the contract on `cuda`, one by one, against `ref`, in all three types of
 * activations; hand-offs against the wire's definition; memory's bound. */
#include "tests/cuda/rig.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What rounding to the type costs, as the squared relative error of one number; sums of products stay near
 * it. */
typedef struct kind {
    dtype act;
    double bound;
} kind;
static const kind kinds[] = {{DT_F32, 1e-11}, {DT_F16, 2e-6}, {DT_BF16, 1e-4}};

typedef struct pair {
    rig cuda, ref;
} pair;

static pair pair_open(const kind *k, bool deterministic) {
    const device_options cuda = rig_options(k->act, deterministic), ref = rig_options(DT_F32, deterministic);
    return (pair){.cuda = rig_open("cuda", &cuda), .ref = rig_open("ref", &ref)};
}

static void pair_attention(pair *p, dtype act, uint32_t layers, uint32_t heads, uint32_t kv_heads,
                           uint32_t head_dim, uint32_t rope_dim) {
    const kv_layout cuda = {.type = act, .layers = layers, .kv_heads = kv_heads, .head_dim = head_dim};
    kv_layout ref = cuda;
    ref.type = DT_F32;
    rig_attention(&p->cuda, &cuda, heads, rope_dim);
    rig_attention(&p->ref, &ref, heads, rope_dim);
}

static void pair_close(pair *p) {
    rig_close(&p->cuda);
    rig_close(&p->ref);
}

static step_pass begin(const rig *r, const op_step *s) {
    errbuf eb = {0};
    step_pass pass = {0};
    if (r->ops->step_begin(r->d, s, &pass, &eb) != ST_OK) fail_msg("%s: %s", r->ops->name, eb.text);
    return pass;
}

static void end(const rig *r) {
    errbuf eb = {0};
    if (r->ops->step_end(r->d, &eb) != ST_OK) fail_msg("%s: %s", r->ops->name, eb.text);
}

static const uint32_t first_pages[RIG_SEQ_PAGES] = {3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 7};

static step_seq prompt_of(uint32_t rows) {
    return (step_seq){
        .pages = first_pages, .page_count = kv_pages_for(rows), .row_count = rows, .prompt_count = rows};
}

/* --- rows --- */

enum { DIM = 192, VOCAB = 50, SOME_ROWS = 6 };

typedef struct rows_out {
    float *x, *normed, *plain, *head; /* [SOME_ROWS, DIM], the last [3, DIM] */
} rows_out;

static rows_out run_rows(const rig *r, const kind *k) {
    tensor table = random_tensor(DT_BF16, VOCAB, DIM, 1), scale = random_tensor(DT_F32, 1, DIM, 2);
    weight *embed = rig_weight(r, WEIGHT_PLAIN, &(const tensor *){&table});
    weight *norm = rig_weight(r, WEIGHT_PLAIN, &(const tensor *){&scale});
    const int32_t ids[SOME_ROWS] = {0, 49, 7, 7, 12, 3};
    const uint32_t heads[] = {1, 2, 5};
    size_t count = SOME_ROWS * DIM;
    float *delta = numbers(3, count, k->act);
    float *x = rig_floats(r, NULL, count);
    void *d = rig_acts(r, delta, count), *out = rig_acts(r, NULL, count);
    step_seq seq = prompt_of(SOME_ROWS);
    op_step s = plain_step(&seq, ids, SOME_ROWS);
    s.head = heads;
    s.head_count = 3;
    rows_out o;
    begin(r, &s);
    rig_check(r, r->ops->embed(r->d, &(op_embed){.table = embed, .rows = SOME_ROWS, .x = x}), "embed");
    op_norm a = {.x = x, .weight = norm, .rows = SOME_ROWS, .dim = DIM, .eps = 1e-5f, .out = out};
    rig_check(r, r->ops->norm(r->d, &a), "norm");
    o.plain = rig_read_acts(r, out, count);
    a.delta = d;
    rig_check(r, r->ops->norm(r->d, &a), "norm");
    o.normed = rig_read_acts(r, out, count);
    op_head_norm h = {
        .x = x, .delta = d, .weight = norm, .begin = 1, .count = 2, .dim = DIM, .eps = 1e-5f, .out = out};
    rig_check(r, r->ops->head_norm(r->d, &h), "head_norm");
    o.head = rig_read_acts(r, out, 2 * DIM);
    o.x = rig_read_floats(r, x, count);
    end(r);
    rig_free(r, x, count * sizeof(float));
    rig_free(r, d, rig_act_bytes(r, count));
    rig_free(r, out, rig_act_bytes(r, count));
    r->ops->weight_free(r->d, embed);
    r->ops->weight_free(r->d, norm);
    free(delta);
    free((void *)table.data);
    free((void *)scale.data);
    return o;
}

static void free_rows(rows_out *o) {
    free(o->x);
    free(o->normed);
    free(o->plain);
    free(o->head);
}

static void embedding_and_norms_are_those_of_ref(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        pair p = pair_open(&kinds[i], false);
        pair_attention(&p, kinds[i].act, 1, 2, 1, 64, 64);
        rows_out a = run_rows(&p.cuda, &kinds[i]), b = run_rows(&p.ref, &kinds[i]);
        assert_near("plain norm", a.plain, b.plain, SOME_ROWS * DIM, kinds[i].bound);
        assert_near("residual", a.x, b.x, SOME_ROWS * DIM, kinds[i].bound);
        assert_near("norm", a.normed, b.normed, SOME_ROWS * DIM, kinds[i].bound);
        assert_near("head norm", a.head, b.head, 2 * DIM, kinds[i].bound);
        free_rows(&a);
        free_rows(&b);
        pair_close(&p);
    }
}

/* --- products --- */

enum { IN = 256, OUT = 96 };

static float *run_linear(const rig *r, dtype act, dtype file, uint32_t rows, bool logits) {
    tensor t = random_tensor(file, OUT, IN, 11);
    weight *w = rig_weight(r, WEIGHT_PLAIN, &(const tensor *){&t});
    float *x = numbers(12, (size_t)rows * IN, act);
    void *in = rig_acts(r, x, (size_t)rows * IN), *out = rig_floats(r, NULL, (size_t)rows * OUT);
    int32_t *ids = xcalloc(rows, sizeof *ids);
    step_seq seq = prompt_of(rows);
    op_step s = plain_step(&seq, ids, rows);
    begin(r, &s);
    rig_check(r,
              r->ops->linear(r->d, &(op_linear){.x = in, .w = w, .rows = rows, .out = out, .logits = logits}),
              "linear");
    end(r);
    float *values =
        logits ? rig_read_floats(r, out, (size_t)rows * OUT) : rig_read_acts(r, out, (size_t)rows * OUT);
    rig_free(r, in, rig_act_bytes(r, (size_t)rows * IN));
    rig_free(r, out, (size_t)rows * OUT * sizeof(float));
    r->ops->weight_free(r->d, w);
    free(x);
    free(ids);
    free((void *)t.data);
    return values;
}

static void products_of_weights_of_every_type_are_those_of_ref(void **state) {
    (void)state;
    static const dtype files[] = {DT_F32,  DT_F16,    DT_BF16, DT_Q4_0, DT_Q4_1, DT_Q8_0, DT_Q5_0,
                                  DT_Q5_1, DT_IQ4_NL, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        pair p = pair_open(&kinds[i], true);
        pair_attention(&p, kinds[i].act, 1, 2, 1, 64, 64);
        for (size_t f = 0; f < ARRAY_LEN(files); f++) {
            bool logits = f % 2;
            float *a = run_linear(&p.cuda, kinds[i].act, files[f], 5, logits);
            float *b = run_linear(&p.ref, kinds[i].act, files[f], 5, logits);
            assert_near(dtype_name(files[f]), a, b, 5 * OUT, kinds[i].bound);
            free(a);
            free(b);
        }
        pair_close(&p);
    }
}

/* 70 rows of a prompt go to the library in both modes, their logits in fast mode only. */
static void many_rows_are_multiplied_right_in_both_modes(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(kinds); i++) {
        const kind *k = &kinds[i / 2];
        pair p = pair_open(k, i % 2);
        pair_attention(&p, k->act, 1, 2, 1, 64, 64);
        for (int logits = 0; logits < 2; logits++) {
            float *a = run_linear(&p.cuda, k->act, DT_BF16, 70, logits);
            float *b = run_linear(&p.ref, k->act, DT_BF16, 70, logits);
            assert_near("70 rows", a, b, 70 * OUT, k->bound);
            free(a);
            free(b);
        }
        pair_close(&p);
    }
}

static float *run_gate_up(const rig *r, dtype act, uint32_t rows) {
    enum { FFN = 40 };
    tensor gate = random_tensor(DT_Q8_0, FFN, IN, 21), up = random_tensor(DT_Q8_0, FFN, IN, 22);
    weight *w = rig_weight(r, WEIGHT_GATE_UP, (const tensor *[]){&gate, &up});
    float *x = numbers(23, (size_t)rows * IN, act);
    void *in = rig_acts(r, x, (size_t)rows * IN), *scratch = rig_acts(r, NULL, (size_t)rows * 2 * FFN);
    void *out = rig_acts(r, NULL, (size_t)rows * FFN);
    int32_t *ids = xcalloc(rows, sizeof *ids);
    step_seq seq = prompt_of(rows);
    op_step s = plain_step(&seq, ids, rows);
    begin(r, &s);
    rig_check(
        r,
        r->ops->gate_up(r->d, &(op_gate_up){.x = in, .w = w, .rows = rows, .scratch = scratch, .out = out}),
        "gate_up");
    end(r);
    float *values = rig_read_acts(r, out, (size_t)rows * FFN);
    rig_free(r, in, rig_act_bytes(r, (size_t)rows * IN));
    rig_free(r, scratch, rig_act_bytes(r, (size_t)rows * 2 * FFN));
    rig_free(r, out, rig_act_bytes(r, (size_t)rows * FFN));
    r->ops->weight_free(r->d, w);
    free(x);
    free(ids);
    free((void *)gate.data);
    free((void *)up.data);
    return values;
}

static void gate_and_up_are_multiplied_as_ref_does(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        pair p = pair_open(&kinds[i], false);
        pair_attention(&p, kinds[i].act, 1, 2, 1, 64, 64);
        for (uint32_t rows = 3; rows <= 70; rows += 67) {
            float *a = run_gate_up(&p.cuda, kinds[i].act, rows), *b = run_gate_up(&p.ref, kinds[i].act, rows);
            assert_near("gate_up", a, b, (size_t)rows * 40, 4 * kinds[i].bound);
            free(a);
            free(b);
        }
        pair_close(&p);
    }
}

/* --- attention --- */

enum { SEQS = 3, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 64, QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM };

/* One step: seqs, then x -> q, k, v -> attention of layer 1 of 2. */
static float *run_attend(const rig *r, const weight *w, dtype act, const step_seq *seqs, uint32_t seq_count,
                         uint64_t seed) {
    uint32_t rows = seqs[seq_count - 1].row_begin + seqs[seq_count - 1].row_count;
    float *x = numbers(seed, (size_t)rows * IN, act);
    int32_t *ids = xcalloc(rows, sizeof *ids);
    void *in = rig_acts(r, x, (size_t)rows * IN), *qkv = rig_acts(r, NULL, (size_t)rows * QKV);
    void *out = rig_acts(r, NULL, (size_t)rows * HEADS * HEAD_DIM);
    const op_step s = {.ids = ids, .rows = rows, .seqs = seqs, .seq_count = seq_count};
    begin(r, &s);
    rig_check(r, r->ops->linear(r->d, &(op_linear){.x = in, .w = w, .rows = rows, .out = qkv}), "linear");
    rig_check(r, r->ops->attend(r->d, &(op_attend){.layer = 1, .rows = rows, .qkv = qkv, .out = out}),
              "attend");
    rig_check(r, r->ops->layer_mark(r->d, 1), "layer_mark");
    end(r);
    float *values = rig_read_acts(r, out, (size_t)rows * HEADS * HEAD_DIM);
    rig_free(r, in, rig_act_bytes(r, (size_t)rows * IN));
    rig_free(r, qkv, rig_act_bytes(r, (size_t)rows * QKV));
    rig_free(r, out, rig_act_bytes(r, (size_t)rows * HEADS * HEAD_DIM));
    free(x);
    free(ids);
    return values;
}

/* Prompts; then a chunk of a prompt, one generated row, and a replay of five, in one step; then a row each.
 */
static void attention_of_prompts_replays_and_single_rows_is_that_of_ref(void **state) {
    (void)state;
    static const uint32_t pages[SEQS][8] = {{5, 9, 2, 11, 60, 61}, {7, 0}, {30, 29, 28, 27, 26}};
    static const step_seq steps[3][SEQS] = {
        {{.pages = pages[0], .page_count = 3, .row_begin = 0, .row_count = 37, .prompt_count = 60},
         {.pages = pages[1], .page_count = 1, .row_begin = 37, .row_count = 16, .prompt_count = 16},
         {.pages = pages[2], .page_count = 5, .row_begin = 53, .row_count = 66, .prompt_count = 66}},
        {{.pages = pages[0], .page_count = 4, .row_begin = 0, .row_count = 23, .pos = 37, .prompt_count = 60},
         {.pages = pages[1], .page_count = 2, .row_begin = 23, .row_count = 1, .pos = 16, .prompt_count = 16},
         {.pages = pages[2],
          .page_count = 5,
          .row_begin = 24,
          .row_count = 5,
          .pos = 66,
          .prompt_count = 66}},
        {{.pages = pages[0], .page_count = 4, .row_begin = 0, .row_count = 1, .pos = 60, .prompt_count = 60},
         {.pages = pages[1], .page_count = 2, .row_begin = 1, .row_count = 1, .pos = 17, .prompt_count = 16},
         {.pages = pages[2], .page_count = 5, .row_begin = 2, .row_count = 1, .pos = 71, .prompt_count = 66}},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(kinds); i++) {
        const kind *k = &kinds[i / 2];
        pair p = pair_open(k, i % 2);
        pair_attention(&p, k->act, 2, HEADS, KV_HEADS, HEAD_DIM, 48);
        tensor q = random_tensor(DT_F32, HEADS * HEAD_DIM, IN, 31),
               kt = random_tensor(DT_F32, KV_HEADS * HEAD_DIM, IN, 32),
               v = random_tensor(DT_F32, KV_HEADS * HEAD_DIM, IN, 33);
        const tensor *const parts[] = {&q, &kt, &v};
        weight *a = rig_weight(&p.cuda, WEIGHT_QKV, parts), *b = rig_weight(&p.ref, WEIGHT_QKV, parts);
        for (uint32_t step = 0; step < ARRAY_LEN(steps); step++) {
            const step_seq *last = &steps[step][SEQS - 1];
            float *x = run_attend(&p.cuda, a, k->act, steps[step], SEQS, 40 + step);
            float *y = run_attend(&p.ref, b, k->act, steps[step], SEQS, 40 + step);
            assert_near("attention", x, y, (size_t)(last->row_begin + last->row_count) * HEADS * HEAD_DIM,
                        10 * k->bound);
            free(x);
            free(y);
        }
        p.cuda.ops->weight_free(p.cuda.d, a);
        p.ref.ops->weight_free(p.ref.d, b);
        free((void *)q.data);
        free((void *)kt.data);
        free((void *)v.data);
        pair_close(&p);
    }
}

/* --- hand-off --- */

typedef struct segment {
    uint32_t token_begin, token_count, layer_begin, layer_end;
} segment;

static op_kv_copy copy_of(const rig *r, const segment *s, void *wire, uint64_t *sum) {
    return (op_kv_copy){
        .layout = &r->layout,
        .kv = r->kv,
        .pages = first_pages,
        .piece = kv_piece_of(&r->layout, s->token_begin, s->token_count, s->layer_begin, s->layer_end),
        .wire = wire,
        .seed = 77,
        .checksum = sum};
}

/* Random bytes go into the pages of both backends and come out again: the same bytes, the same sums, and
 * untouched rows beside them. */
static void check_segment(const rig *cuda, const rig *ref, const segment *s) {
    size_t bytes = kv_segment_bytes(&cuda->layout, s->token_count, s->layer_end - s->layer_begin);
    uint8_t *wire = xmalloc(bytes), *back = xcalloc(1, bytes), *pages[2];
    for (size_t i = 0; i < bytes; i++) wire[i] = (uint8_t)(number_at(5, i) * 100);
    const rig *rigs[] = {cuda, ref};
    for (int i = 0; i < 2; i++) {
        uint64_t sum = 0, sum_back = 0;
        op_kv_copy in = copy_of(rigs[i], s, wire, &sum), out = copy_of(rigs[i], s, back, &sum_back);
        rig_check(rigs[i], rigs[i]->ops->kv_scatter(rigs[i]->d, &in), "kv_scatter");
        assert_true(sum == kv_checksum(77, wire, bytes));
        memset(back, 0, bytes);
        rig_check(rigs[i], rigs[i]->ops->kv_gather(rigs[i]->d, &out), "kv_gather");
        assert_true(sum_back == sum);
        assert_memory_equal(back, wire, bytes);
        pages[i] = xmalloc(rigs[i]->kv_bytes);
        rig_check(rigs[i], rigs[i]->ops->mem_read(rigs[i]->d, pages[i], rigs[i]->kv, rigs[i]->kv_bytes),
                  "mem_read");
    }
    assert_memory_equal(pages[0], pages[1], cuda->kv_bytes);
    free(pages[0]);
    free(pages[1]);
    free(wire);
    free(back);
}

static void segments_pass_through_with_the_checksum_of_the_wire(void **state) {
    (void)state;
    static const segment segments[] = {
        {0, 1, 0, 1}, {0, 16, 0, 3}, {16, 21, 1, 3}, {48, 100, 2, 3}, {0, 130, 0, 3}};
    static const dtype types[] = {DT_F32, DT_F16};
    for (size_t t = 0; t < ARRAY_LEN(types); t++) {
        const kv_layout layout = {.type = types[t], .layers = 3, .kv_heads = 2, .head_dim = 32};
        for (size_t i = 0; i < ARRAY_LEN(segments); i++) {
            const device_options opt = rig_options(types[t], false);
            rig cuda = rig_open("cuda", &opt), ref = rig_open("ref", &opt);
            rig_attention(&cuda, &layout, 4, 32);
            rig_attention(&ref, &layout, 4, 32);
            check_segment(&cuda, &ref, &segments[i]);
            rig_close(&cuda);
            rig_close(&ref);
        }
    }
}

/* More than two pieces of the staging, so that both halves are used again. */
static void a_segment_longer_than_the_staging_goes_in_pieces(void **state) {
    (void)state;
    const kv_layout layout = {.type = DT_F32, .layers = 8, .kv_heads = 4, .head_dim = 128};
    const segment s = {.token_begin = 0, .token_count = 410, .layer_begin = 0, .layer_end = 8};
    assert_true(kv_segment_bytes(&layout, s.token_count, 8) > (size_t)12 << 20);
    device_options opt = rig_options(DT_F32, false);
    rig cuda = rig_open("cuda", &opt), ref = rig_open("ref", &opt);
    rig_attention(&cuda, &layout, 4, 128);
    rig_attention(&ref, &layout, 4, 128);
    uint32_t pages[26];
    for (uint32_t i = 0; i < ARRAY_LEN(pages); i++) pages[i] = (i * 7 + 3) % RIG_PAGES;
    size_t bytes = kv_segment_bytes(&layout, s.token_count, 8);
    uint64_t *wire = xmalloc(bytes), *back = xcalloc(1, bytes), sum = 0, sum_back = 0;
    for (size_t i = 0; i < bytes / 8; i++) wire[i] = i * 0x9E3779B97F4A7C15ull;
    op_kv_copy in = copy_of(&cuda, &s, wire, &sum), out = copy_of(&cuda, &s, back, &sum_back);
    in.pages = out.pages = pages;
    rig_check(&cuda, cuda.ops->kv_scatter(cuda.d, &in), "kv_scatter");
    assert_true(sum == kv_checksum(77, wire, bytes));
    rig_check(&cuda, cuda.ops->kv_gather(cuda.d, &out), "kv_gather");
    assert_true(sum_back == sum);
    assert_memory_equal(back, wire, bytes);
    free(wire);
    free(back);
    rig_close(&cuda);
    rig_close(&ref);
}

/* What the transfer thread does while a step runs. */
typedef struct gather {
    const rig *r;
    op_kv_copy copy;
    status st;
} gather;

static void *gather_main(void *ctx) {
    gather *g = ctx;
    g->st = g->r->ops->kv_gather(g->r->d, &g->copy);
    return NULL;
}

/* The emulation runs nothing before somebody waits for it here, so without the mark's event the rows would be
 * zeros. */
static void a_gather_in_another_thread_waits_for_the_mark_of_its_last_layer(void **state) {
    (void)state;
    enum { N = 20, LAYERS = 2 };
    setenv("BATON_EMU_STREAMS", "lazy", 1);
    const device_options opt = rig_options(DT_BF16, true);
    rig r = rig_open("cuda", &opt);
    const kv_layout layout = {.type = DT_BF16, .layers = LAYERS, .kv_heads = KV_HEADS, .head_dim = HEAD_DIM};
    rig_attention(&r, &layout, HEADS, HEAD_DIM);
    float *x = numbers(70, (size_t)N * QKV, DT_BF16);
    void *qkv = rig_acts(&r, x, (size_t)N * QKV), *out = rig_acts(&r, NULL, (size_t)N * HEADS * HEAD_DIM);
    const int32_t ids[N] = {0};
    step_seq seq = prompt_of(N);
    const op_step s = plain_step(&seq, ids, N);
    const segment whole = {.token_count = N, .layer_end = LAYERS};
    size_t bytes = kv_segment_bytes(&layout, N, LAYERS);
    uint8_t *early = xcalloc(1, bytes), *late = xcalloc(1, bytes);
    uint64_t sums[2] = {0};
    step_pass pass = begin(&r, &s);
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        rig_check(&r, r.ops->attend(r.d, &(op_attend){.layer = layer, .rows = N, .qkv = qkv, .out = out}),
                  "attend");
        rig_check(&r, r.ops->layer_mark(r.d, layer), "layer_mark");
    }
    gather g = {.r = &r, .copy = copy_of(&r, &whole, early, &sums[0])};
    g.copy.step = pass.step;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, gather_main, &g), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    rig_check(&r, g.st, "kv_gather");
    end(&r);
    const op_kv_copy again = copy_of(&r, &whole, late, &sums[1]);
    rig_check(&r, r.ops->kv_gather(r.d, &again), "kv_gather");
    assert_memory_equal(early, late, bytes);
    assert_true(sums[0] == sums[1]);
    assert_true(sums[0] == kv_checksum(77, late, bytes));
    bool any = false;
    for (size_t i = 0; i < bytes; i++) any |= late[i] != 0;
    assert_true(any);
    unsetenv("BATON_EMU_STREAMS");
    free(early);
    free(late);
    free(x);
    rig_free(&r, qkv, rig_act_bytes(&r, (size_t)N * QKV));
    rig_free(&r, out, rig_act_bytes(&r, (size_t)N * HEADS * HEAD_DIM));
    rig_close(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedding_and_norms_are_those_of_ref),
        cmocka_unit_test(products_of_weights_of_every_type_are_those_of_ref),
        cmocka_unit_test(many_rows_are_multiplied_right_in_both_modes),
        cmocka_unit_test(gate_and_up_are_multiplied_as_ref_does),
        cmocka_unit_test(attention_of_prompts_replays_and_single_rows_is_that_of_ref),
        cmocka_unit_test(segments_pass_through_with_the_checksum_of_the_wire),
        cmocka_unit_test(a_segment_longer_than_the_staging_goes_in_pieces),
        cmocka_unit_test(a_gather_in_another_thread_waits_for_the_mark_of_its_last_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
