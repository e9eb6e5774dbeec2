/* step - what a step tells the kernels, and steps that are recorded and played back.
 *
 * All tables of a step lie in one block of device memory with one pinned twin on the host, so that a step
 * costs one copy (two when it is recorded). Where a table begins depends on how many rows, heads, tiles and
 * items there is room for. A step that is not recorded gets exactly what it needs; recorded ones get the
 * room of their bucket, whatever they need, so that the addresses in a recording stay right:
 *
 *   header | ids | pos | row_pages | head | samples | tiles | items ... | pages ...
 *
 * Recording (CUDA graphs): a pure decode step is rounded up to a bucket of rows. The first step of a bucket
 * runs as it is, since libraries choose their algorithms then; the second is recorded while its ops are
 * issued and launched by step_end; later ones are one launch, and the host does nothing but fill tables.
 * Rows that only fill the bucket up are token 0 at position 0, appear in no decode item and no header, and
 * nobody reads what comes out of them.
 *
 * The twin is written by step_begin and read by the copy; step_end waits for everything, so they never meet.
 */
#include "kernels/cuda/step.h"

#include "base/log.h"
#include "base/mem.h"
#include "kernels/cuda/samples.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_ALIGN 64u

/* Bucket sizes; after the last one every BUCKET_STEP. */
static const uint32_t small_buckets[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128};
#define BUCKET_STEP      64u
#define WARM_REPLAY_MAX  256u
#define LIBRARY_ROWS_MIN (2 * LINEAR_FEW_ROWS) /* the first power of two above it */

typedef enum record_state { RECORD_NONE, RECORD_WARM, RECORD_READY } record_state;
typedef struct record {
    record_state state; /* WARM: the bucket ran once */
    cudaGraphExec_t exec;
    size_t nodes;
} record;

/* How much of everything a step has room for. */
typedef struct room {
    uint32_t rows, heads, tiles, items;
} room;
/* Offsets in the block. */
typedef struct places {
    size_t ids, pos, row_pages, head, samples, tiles, items, pages;
} places;
/* What a step's rows are. */
typedef struct tally {
    uint32_t prompt_rows, generated_rows, tiles, items, split;
    uint64_t keys; /* that the generated rows see */
    bool fused;
} tally;

struct step {
    step_view view;
    char *dev, *host; /* [bytes] the block and its twin */
    size_t bytes;
    sample_token *tokens_dev, *tokens_host; /* [max_rows] */
    step_run *runs;                         /* [2 * max_seqs] */
    uint32_t items_max;                     /* of any step */
    uint32_t bucket_cap;                    /* rows of the largest bucket */
    record *records;                        /* [record_count] by bucket */
    uint32_t record_count;
    record *recording; /* the running step's, while it is recorded */
};

/* --- buckets --- */

static uint32_t bucket_rows(uint32_t i) {
    uint32_t small = ARRAY_LEN(small_buckets);
    return i < small ? small_buckets[i] : small_buckets[small - 1] + (i - small + 1) * BUCKET_STEP;
}

static uint32_t bucket_of(uint32_t rows) {
    uint32_t i = 0;
    while (bucket_rows(i) < rows) i++;
    return i;
}

/* --- life --- */

static size_t aligned(size_t bytes) {
    return (bytes + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
}

static places place(const room *r) {
    places p;
    p.ids = aligned(sizeof(step_header));
    p.pos = p.ids + aligned(r->rows * sizeof(int32_t));
    p.row_pages = p.pos + aligned(r->rows * sizeof(uint32_t));
    p.head = p.row_pages + aligned(r->rows * sizeof(uint32_t));
    p.samples = p.head + aligned(r->heads * sizeof(uint32_t));
    p.tiles = p.samples + aligned(r->heads * sizeof(sample_row));
    p.items = p.tiles + aligned(r->tiles * sizeof(prefill_tile));
    p.pages = p.items + aligned(r->items * sizeof(decode_item));
    return p;
}

static uint32_t max_context(const device *d) {
    return d->opt.max_seq_pages * KV_PAGE_TOKENS;
}

status step_new(device *d, errbuf *eb) {
    PRE(d);
    PRE(!d->step);
    step *s = d->step = xcalloc(1, sizeof *s);
    const device_options *o = &d->opt;
    s->runs = xcalloc((size_t)2 * o->max_seqs, sizeof *s->runs);
    s->bucket_cap = MIN(o->max_rows, o->max_seqs);
    s->record_count = bucket_of(s->bucket_cap) + 1;
    s->records = xcalloc(s->record_count, sizeof *s->records);
    /* A row of a replay may belong to the same sequence as the row before it, so the pool's size bounds
     * nothing. */
    s->items_max = d->plan.deterministic
                       ? o->max_rows * decode_plan_row_items(max_context(d), d->plan.split_tokens)
                       : o->max_rows + d->plan.fill;
    s->items_max = MAX(s->items_max, d->partial_items);
    /* Each sequence has at most one tile that is not full. */
    const room most = {.rows = o->max_rows,
                       .heads = o->max_rows,
                       .tiles = o->max_rows / PREFILL_TILE_ROWS + o->max_seqs,
                       .items = s->items_max};
    s->bytes = place(&most).pages + (size_t)o->max_seqs * o->max_seq_pages * sizeof(uint32_t);
    s->dev = gpu_take(d, s->bytes);
    s->tokens_dev = gpu_take(d, o->max_rows * sizeof *s->tokens_dev);
    if (!s->dev || !s->tokens_dev)
        return errf(eb, ST_NOMEM, "cuda: no GPU memory for %zu KiB of step tables", s->bytes >> 10);
    s->host = gpu_pinned_take(s->bytes);
    s->tokens_host = gpu_pinned_take(o->max_rows * sizeof *s->tokens_host);
    if (s->host && s->tokens_host) return ST_OK;
    return errf(eb, ST_NOMEM, "cuda: no pinned host memory for %zu KiB of step tables", s->bytes >> 10);
}

static void stop_recording(device *d) {
    step *s = d->step;
    if (!s->view.recording) return;
    cudaGraph_t graph = NULL;
    (void)cudaStreamEndCapture(d->stream, &graph);
    (void)cudaGetLastError(); /* of a recording that nobody wants */
    if (graph) (void)cudaGraphDestroy(graph);
    s->view.recording = false;
    s->recording = NULL;
}

void step_free(device *d) {
    PRE(d);
    step *s = d->step;
    if (!s) return;
    stop_recording(d);
    for (uint32_t i = 0; i < s->record_count; i++)
        if (s->records[i].exec) (void)cudaGraphExecDestroy(s->records[i].exec);
    free(s->records);
    free(s->runs);
    gpu_pinned_give(d, s->host);
    gpu_pinned_give(d, s->tokens_host);
    gpu_give(d, s->dev, s->bytes);
    gpu_give(d, s->tokens_dev, d->opt.max_rows * sizeof *s->tokens_dev);
    free(s);
    d->step = NULL;
}

/* Sizes at which each of our own products for many rows is launched: a kernel for each size of its tiles,
 * which is loaded when it is first launched (linear.cu, linear_wide.cu). Rows of prompts, or, where the
 * library multiplies those, of replays, whose first row is the prompt's; few of them, since each costs what
 * a decode step does. */
static bool warm_own(const device *d, uint32_t i, warm_kind kind, warm_step *out) {
    static const uint32_t tile_rows[] = {8, 16, 32, 64, UINT32_MAX};
    const uint32_t most = kind == WARM_REPLAY ? MIN(d->opt.max_rows, WARM_REPLAY_MAX) : d->opt.max_rows;
    const uint32_t more = kind == WARM_REPLAY;
    if (i >= ARRAY_LEN(tile_rows) || (i > 0 && tile_rows[i - 1] + more >= most)) return false;
    *out = (warm_step){.kind = kind, .rows = tile_rows[i] < most ? tile_rows[i] + more : most, .times = 1};
    return true;
}

/* A library that chooses by time does so for each power of two that the rows are rounded up to. */
static bool warm_timed(const device *d, uint32_t i, warm_step *out) {
    uint64_t rows = (uint64_t)LIBRARY_ROWS_MIN << i;
    if (rows / 2 >= d->opt.max_rows) return false;
    *out = (warm_step){.kind = WARM_PROMPT, .rows = (uint32_t)MIN(rows, d->opt.max_rows), .times = 1};
    return true;
}

/* Fixed algorithms are chosen by the first prompt there is, the longest where prompts come; which they are is
 * in the path, so that a worker that computes no prompts chooses too. */
static bool warm_fixed(const device *d, uint32_t i, warm_step *out) {
    if (i == 0)
        *out = (warm_step){.kind = WARM_PROMPT, .rows = d->opt.max_rows, .times = 1};
    else if (i == 1)
        *out = (warm_step){.kind = WARM_PATH, .rows = 1, .times = 1};
    else
        return warm_own(d, i - 2, WARM_REPLAY, out);
    return true;
}

/* Each bucket runs once and is recorded once. Then prompts. */
bool cuda_warm(const device *d, uint32_t i, warm_step *out) {
    PRE(d);
    PRE(d->step);
    PRE(out);
    const step *s = d->step;
    const bool fixed = d->gemm && d->opt.deterministic;
    if (d->opt.check_ops) return fixed && i == 0 && warm_fixed(d, 1, out); /* slow, and nothing is recorded */
    if (i < s->record_count) {
        *out = (warm_step){.kind = WARM_DECODE, .rows = MIN(bucket_rows(i), s->bucket_cap), .times = 2};
        return true;
    }
    i -= s->record_count;
    if (d->type == NUM_F32) return false; /* one kernel, and slow */
    if (!d->gemm) return warm_own(d, i, WARM_PROMPT, out);
    return fixed ? warm_fixed(d, i, out) : warm_timed(d, i, out);
}

size_t step_nodes(const device *d, uint32_t rows) {
    PRE(d->step);
    PRE(rows <= d->step->bucket_cap);
    return d->step->records[bucket_of(rows)].nodes;
}

/* --- tables --- */

static uint32_t prompt_rows(const step_seq *q) {
    if (q->pos >= q->prompt_count) return 0;
    return MIN(q->row_count, q->prompt_count - q->pos);
}

static tally count_rows(const device *d, const op_step *s) {
    tally t = {.fused = true};
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const step_seq *q = &s->seqs[i];
        PRE(q->row_count > 0);
        PRE(q->row_begin == t.prompt_rows + t.generated_rows);
        uint32_t prompt = prompt_rows(q), generated = q->row_count - prompt;
        PRE(kv_pages_for(q->pos + q->row_count) <= MIN(q->page_count, d->opt.max_seq_pages));
        t.tiles += (prompt + PREFILL_TILE_ROWS - 1) / PREFILL_TILE_ROWS;
        t.prompt_rows += prompt;
        t.generated_rows += generated;
        uint64_t first = (uint64_t)q->pos + prompt + 1; /* keys of the first generated row */
        t.keys += generated * first;
        if (generated > 1) t.keys += (uint64_t)generated * (generated - 1) / 2;
        if (q->row_count > 1 || prompt > 0) t.fused = false;
    }
    PRE(t.prompt_rows + t.generated_rows == s->rows);
    if (t.generated_rows == 0) return t;
    t.split = decode_plan_split(&d->plan, t.keys);
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const step_seq *q = &s->seqs[i];
        for (uint32_t r = prompt_rows(q); r < q->row_count; r++)
            t.items += decode_plan_row_items(q->pos + r + 1, t.split);
    }
    return t;
}

/* More keys first: the longest tile must not be the last one to start. */
static int by_keys(const void *a, const void *b, void *ctx) {
    const prefill_tile *x = a, *y = b;
    const uint32_t *pos = ctx;
    uint32_t x_keys = pos[x->row] + x->count, y_keys = pos[y->row] + y->count;
    if (x_keys != y_keys) return x_keys > y_keys ? -1 : 1;
    return x->row < y->row ? -1 : 1; /* a whole order, so that launches do not depend on the C library */
}

/* Writes the pages of all sequences from host + p->pages on and returns how many. */
static uint32_t fill_rows(step *st, const op_step *s, const places *p, uint32_t rows) {
    int32_t *ids = (int32_t *)(st->host + p->ids);
    uint32_t *pos = (uint32_t *)(st->host + p->pos);
    uint32_t *row_pages = (uint32_t *)(st->host + p->row_pages);
    uint32_t *pages = (uint32_t *)(st->host + p->pages);
    uint32_t page_count = 0;
    memcpy(ids, s->ids, s->rows * sizeof *ids);
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const step_seq *q = &s->seqs[i];
        for (uint32_t r = 0; r < q->row_count; r++) {
            pos[q->row_begin + r] = q->pos + r;
            row_pages[q->row_begin + r] = page_count;
        }
        uint32_t used = kv_pages_for(q->pos + q->row_count);
        memcpy(pages + page_count, q->pages, used * sizeof *pages);
        page_count += used;
    }
    for (uint32_t r = s->rows; r < rows; r++) {
        ids[r] = 0;
        pos[r] = 0;
        row_pages[r] = 0;
    }
    return page_count;
}

static void fill_work(step *st, const op_step *s, const places *p, const tally *t) {
    prefill_tile *tiles = (prefill_tile *)(st->host + p->tiles);
    decode_item *items = (decode_item *)(st->host + p->items);
    uint32_t tile_count = 0, item_count = 0;
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const step_seq *q = &s->seqs[i];
        uint32_t prompt = prompt_rows(q);
        for (uint32_t r = 0; r < prompt; r += PREFILL_TILE_ROWS)
            tiles[tile_count++] =
                (prefill_tile){.row = q->row_begin + r, .count = MIN(prompt - r, PREFILL_TILE_ROWS)};
        for (uint32_t r = prompt; r < q->row_count; r++)
            item_count += decode_plan_row(q->row_begin + r, q->pos + r + 1, t->split, items + item_count);
    }
    CHECK(tile_count == t->tiles);
    CHECK(item_count == t->items);
    if (tile_count > 1) qsort_r(tiles, tile_count, sizeof *tiles, by_keys, st->host + p->pos);
    *(step_header *)st->host = (step_header){.rows = s->rows, .items = item_count};
}

static uint32_t add_run(step_run *runs, uint32_t count, uint32_t rows, bool prompt) {
    if (rows == 0) return count;
    step_run *last = count > 0 ? &runs[count - 1] : NULL;
    if (last && last->prompt == prompt) {
        last->count += rows;
        return count;
    }
    runs[count] = (step_run){.begin = last ? last->begin + last->count : 0, .count = rows, .prompt = prompt};
    return count + 1;
}

/* Returns how many. */
static uint32_t fill_runs(step_run *runs, const op_step *s) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const uint32_t prompt = prompt_rows(&s->seqs[i]);
        count = add_run(runs, count, prompt, true);
        count = add_run(runs, count, s->seqs[i].row_count - prompt, false);
    }
    return count;
}

static void point_view(step *st, const op_step *s, const places *p, const tally *t) {
    char *dev = st->dev;
    st->view = (step_view){.op = s,
                           .runs = st->runs,
                           .prompt_rows = t->prompt_rows,
                           .run_count = fill_runs(st->runs, s),
                           .items = (const decode_item *)(st->host + p->items),
                           .tile_count = t->tiles,
                           .item_count = t->items,
                           .fused = t->fused};
    st->view.tables = (step_tables){.header = (const step_header *)dev,
                                    .ids = (const int32_t *)(dev + p->ids),
                                    .pos = (const uint32_t *)(dev + p->pos),
                                    .row_pages = (const uint32_t *)(dev + p->row_pages),
                                    .pages = (const uint32_t *)(dev + p->pages),
                                    .head = (const uint32_t *)(dev + p->head),
                                    .tiles = (const prefill_tile *)(dev + p->tiles),
                                    .items = (const decode_item *)(dev + p->items),
                                    .samples = (const sample_row *)(dev + p->samples),
                                    .tokens = st->tokens_dev};
    st->view.tokens_host = st->tokens_host;
}

static status upload(device *d, size_t begin, size_t end) {
    step *st = d->step;
    cudaError_t e =
        cudaMemcpyAsync(st->dev + begin, st->host + begin, end - begin, cudaMemcpyHostToDevice, d->stream);
    return gpu_ok(d, e, "step tables") ? ST_OK : ST_DEVICE;
}

/* Fills the block for a step with the given room and puts its copy into the stream. */
static status send_tables(device *d, const op_step *s, const room *r, const tally *t) {
    step *st = d->step;
    places p = place(r);
    uint32_t page_count = fill_rows(st, s, &p, r->rows);
    fill_work(st, s, &p, t);
    uint32_t *head = (uint32_t *)(st->host + p.head);
    for (uint32_t i = 0; i < r->heads; i++) head[i] = i < s->head_count ? s->head[i] : 0;
    point_view(st, s, &p, t);
    if (s->samples) {
        status result = samples_begin(d, s, r->heads, (sample_row *)(st->host + p.samples));
        if (result != ST_OK) return result;
    }
    size_t items_end = p.items + aligned(t->items * sizeof(decode_item));
    size_t pages_end = p.pages + page_count * sizeof(uint32_t);
    if (items_end == p.pages) return upload(d, 0, pages_end);
    status result = upload(d, 0, items_end);
    return result == ST_OK ? upload(d, p.pages, pages_end) : result;
}

/* --- a step --- */

static bool may_record(const device *d, const op_step *s, const tally *t) {
    if (!s->repeatable || !t->fused || d->opt.check_ops) return false;
    if (s->rows > d->step->bucket_cap || t->items > d->partial_items) return false;
    PRE(s->head_count == s->rows);
    for (uint32_t i = 0; s->samples && i < s->head_count; i++)
        if (s->samples[i].params->logprobs >= 0) return false; /* the host reads those rows of logits */
    return s->samples != NULL;
}

/* Launches what was recorded, or starts to record, or lets the ops run. */
static status begin_bucket(device *d, record *rec, step_pass *out) {
    step *st = d->step;
    switch (rec->state) {
    case RECORD_NONE:
        rec->state = RECORD_WARM;
        return ST_OK;
    case RECORD_WARM:
        if (!gpu_ok(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal),
                    "recording a step"))
            return ST_DEVICE;
        st->view.recording = true;
        st->recording = rec;
        return ST_OK;
    case RECORD_READY:
        out->replayed = true;
        return gpu_ok(d, cudaGraphLaunch(rec->exec, d->stream), "recorded step") ? ST_OK : ST_DEVICE;
    }
    return ST_DEVICE;
}

status cuda_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb) {
    PRE(d);
    PRE(s);
    PRE(out);
    PRE(d->step);
    PRE(s->rows > 0);
    PRE(s->rows <= d->opt.max_rows);
    PRE(s->seq_count > 0);
    PRE(s->seq_count <= d->opt.max_seqs);
    PRE(s->head_count <= s->rows);
    if (gpu_faulted(d)) return gpu_fault_text(d, eb);
    PRE(!d->view);

    step *st = d->step;
    tally t = count_rows(d, s);
    CHECK(t.items <= st->items_max);
    bool record_it = may_record(d, s, &t);
    room r = {.rows = s->rows, .heads = s->head_count, .tiles = t.tiles, .items = t.items};
    uint32_t bucket = record_it ? bucket_of(s->rows) : 0;
    if (record_it) {
        uint32_t rows = MIN(bucket_rows(bucket), st->bucket_cap);
        r = (room){.rows = rows, .heads = rows, .tiles = 0, .items = d->partial_items};
    }
    step_pass pass = {.rows = r.rows, .head_count = r.heads, .step = ++d->step_number};
    d->view = &st->view;
    status result = send_tables(d, s, &r, &t);
    st->view.grid = MIN(d->partial_items, r.rows + d->plan.fill);
    if (result == ST_OK && record_it) result = begin_bucket(d, &st->records[bucket], &pass);
    if (result != ST_OK) {
        d->view = NULL;
        return gpu_fault_text(d, eb);
    }
    *out = pass;
    return ST_OK;
}

/* Ends the recording of this step and launches it. */
static status finish_recording(device *d) {
    step *st = d->step;
    record *rec = st->recording;
    cudaGraph_t graph = NULL;
    cudaError_t e = cudaStreamEndCapture(d->stream, &graph);
    st->view.recording = false;
    st->recording = NULL;
    if (e == cudaSuccess) e = cudaGraphGetNodes(graph, NULL, &rec->nodes);
    if (e == cudaSuccess) e = cudaGraphInstantiate(&rec->exec, graph, 0);
    if (graph) (void)cudaGraphDestroy(graph);
    if (!gpu_ok(d, e, "recording a step")) return ST_DEVICE;
    rec->state = RECORD_READY;
    log_debug("cuda", "step recorded", "rows=%u nodes=%zu", st->view.op->rows, rec->nodes);
    return gpu_ok(d, cudaGraphLaunch(rec->exec, d->stream), "recorded step") ? ST_OK : ST_DEVICE;
}

status cuda_step_end(device *d, errbuf *eb) {
    PRE(d);
    PRE(d->step);
    PRE(d->view);
    step *st = d->step;
    const op_step *s = st->view.op;
    status result = gpu_faulted(d) ? ST_DEVICE : ST_OK;
    if (result == ST_OK && st->view.recording) result = finish_recording(d);
    if (result == ST_OK && s->samples && s->head_count > 0) {
        cudaError_t e =
            cudaMemcpyAsync(st->tokens_host, st->tokens_dev, s->head_count * sizeof *st->tokens_host,
                            cudaMemcpyDeviceToHost, d->stream);
        if (!gpu_ok(d, e, "reading tokens")) result = ST_DEVICE;
    }
    if (result == ST_OK) result = gpu_wait(d, d->stream, d->done, "step");
    if (result == ST_OK) atomic_store_explicit(&d->step_ended, d->step_number, memory_order_release);
    stop_recording(d);
    d->view = NULL;
    if (result != ST_OK) return gpu_fault_text(d, eb);
    if (s->samples) samples_end(s, st->tokens_host);
    return ST_OK;
}
