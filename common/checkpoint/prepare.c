/* checkpoint_prepare - tensors that are not as in their file, made row by row into one mapping:
 *
 *   row of the file -> f32 -> (turned, moved, shifted) -> the type that is wanted
 *
 * One tensor after the other, its rows shared out to threads; the file's pages are given back after each.
 * Tensors that stay as they are point into the file as before. */
#include "base/mem.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/checkpoint_format.h"
#include "checkpoint/quantize.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS_MAX  32u
#define ALIGNMENT    64u
#define ROWS_AT_ONCE 16u        /* rows that a thread takes */
#define TEAM_WEIGHTS (1u << 18) /* with fewer, one thread does it */
#define AS_IT_IS     UINT32_MAX

/* One tensor on its way. */
typedef struct job {
    tensor_source from;
    checkpoint_tensor *to;
    void *out; /* its bytes */
    uint32_t rows, cols;
    atomic_uint next;   /* the first row that nobody took */
    atomic_bool failed; /* a number does not fit */
} job;

/* --- rows --- */

static const void *source_row(const job *j, uint64_t row, uint32_t cols) {
    return (const uint8_t *)j->from.data + row * cols * dtype_block_bytes((dtype)j->from.type);
}

/* Where row r stands in the file: row i of a head's halves t = 0, 1 becomes 2i + t. */
static uint64_t rotated_row(const job *j, uint64_t r) {
    uint64_t rows = j->from.head_rows, head = r / rows, in = r % rows;
    return head * rows + in % 2 * (rows / 2) + in / 2;
}

/* Rows r .. r + n - 1 of the transposed matrix, to x [n, cols]: a piece of each row of the file. */
static void read_columns(const job *j, uint64_t r, uint32_t n, float *x) {
    float piece[ROWS_AT_ONCE];
    uint32_t width = dtype_block_bytes((dtype)j->from.type);
    for (uint32_t c = 0; c < j->cols; c++) {
        const uint8_t *row = source_row(j, c, j->rows);
        dequantize_row((dtype)j->from.type, row + r * width, n, piece);
        for (uint32_t i = 0; i < n; i++) x[(size_t)i * j->cols + c] = piece[i];
    }
}

static void read_rows(const job *j, uint64_t r, uint32_t n, float *x) {
    if (j->from.change == CHANGE_TRANSPOSE) {
        read_columns(j, r, n, x);
        return;
    }
    for (uint32_t i = 0; i < n; i++, x += j->cols) {
        uint64_t row = j->from.change == CHANGE_ROTATION ? rotated_row(j, r + i) : r + i;
        dequantize_row((dtype)j->from.type, source_row(j, row, j->cols), j->cols, x);
        for (uint32_t c = 0; j->from.change == CHANGE_PLUS_ONE && c < j->cols; c++) x[c] += 1.0f;
    }
}

static void *work(void *arg) {
    job *j = arg;
    size_t row_bytes = dtype_row_bytes((dtype)j->to->type, j->cols);
    float *x = xmalloc((size_t)ROWS_AT_ONCE * j->cols * sizeof *x);
    for (uint32_t r; (r = atomic_fetch_add(&j->next, ROWS_AT_ONCE)) < j->rows;) {
        uint32_t n = MIN(ROWS_AT_ONCE, j->rows - r);
        read_rows(j, r, n, x);
        for (uint32_t i = 0; i < n; i++)
            if (!quantize_row((dtype)j->to->type, x + (size_t)i * j->cols, j->cols,
                              (uint8_t *)j->out + (r + i) * row_bytes))
                atomic_store(&j->failed, true);
    }
    free(x);
    return NULL;
}

static uint32_t cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return MIN((uint32_t)MAX(n, 1), THREADS_MAX);
}

/* A thread that cannot be started is done without. */
static void run(job *j) {
    pthread_t team[THREADS_MAX];
    uint32_t started = 0, wanted = (uint64_t)j->rows * j->cols < TEAM_WEIGHTS ? 1 : cores();
    while (started + 1 < wanted && pthread_create(&team[started], NULL, work, j) == 0) started++;
    (void)work(j);
    for (uint32_t i = 0; i < started; i++) pthread_join(team[i], NULL);
}

/* --- types --- */

static bool is(const checkpoint_tensor *t, const char *name) {
    return t->name.len == strlen(name) && memcmp(t->name.data, name, t->name.len) == 0;
}

static bool is_real(uint32_t type) {
    return type == DT_F32 || type == DT_F16 || type == DT_BF16;
}

/* What a tensor becomes. wanted: AS_IT_IS or a dtype */
static uint32_t type_of(const checkpoint_tensor *t, uint32_t wanted) {
    bool vector = t->dims[1] == 1 && t->dims[2] == 1 && t->dims[3] == 1;
    if (!is_real(t->type)) return t->type;
    if (vector) return DT_F32;
    if (wanted == AS_IT_IS) return t->type;
    if (is(t, "position_embd.weight")) return DT_F32;
    bool table = is(t, "token_embd.weight") || is(t, "output.weight");
    return wanted == DT_Q4_0 && table ? DT_Q8_0 : wanted;
}

static status wanted_type(const checkpoint *c, const char *name, uint32_t *out, errbuf *eb) {
    static const dtype known[] = {DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_Q4_0};
    *out = AS_IT_IS;
    if (strcmp(name, "auto") == 0) return ST_OK;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, dtype_name(known[i])) == 0) *out = known[i];
    if (*out == AS_IT_IS)
        return errf(eb, ST_INVALID, "'%.32s' is no type of weights: want auto, f32, f16, bf16, q8_0 or q4_0",
                    name);
    if (c->format->made_of && *out != DT_BF16)
        return errf(eb, ST_INVALID, "%s makes its weights in bf16: weight_dtype is auto or bf16, not %s",
                    c->path, name);
    return ST_OK;
}

/* --- all of them --- */

/* The file's side of tensor i. */
static tensor_source source_of(const checkpoint *c, uint64_t i) {
    const checkpoint_tensor *t = c->format->tensor_at(c->self, i);
    const tensor_source *s = c->format->source ? c->format->source(c->self, i) : NULL;
    if (s && s->data) return *s;
    return (tensor_source){.change = CHANGE_TYPE, .type = t->type, .data = t->data};
}

/* Sets the new types; the memory that is to be made. */
static status plan(checkpoint *c, uint32_t wanted, checkpoint_prepared *out, errbuf *eb) {
    for (uint64_t i = 0; i < c->format->tensor_count(c->self); i++) {
        const checkpoint_tensor *from = c->format->tensor_at(c->self, i);
        checkpoint_tensor *t = &c->prepared[i];
        *t = *from;
        t->type = type_of(from, wanted);
        if (from->data && wanted != AS_IT_IS && !is_real(from->type)) out->kept += t->type != wanted;
        if (from->data && t->type == from->type) continue;
        if (t->dims[2] != 1 || t->dims[3] != 1 || t->dims[0] > INT32_MAX || t->dims[1] > INT32_MAX)
            return errf(eb, ST_UNSUPPORTED, "tensor '%.*s' is no matrix: it cannot be converted",
                        (int)MIN(t->name.len, 64u), t->name.data);
        if (t->dims[0] % dtype_block_weights((dtype)t->type) != 0)
            return errf(eb, ST_UNSUPPORTED,
                        "tensor '%.*s' has rows of %" PRIu64
                        " numbers, which make no blocks of 32: %s cannot "
                        "hold it",
                        (int)MIN(t->name.len, 64u), t->name.data, t->dims[0], dtype_name(t->type));
        out->converted += t->type != source_of(c, i).type;
        t->data = NULL;
        t->bytes = t->dims[1] * dtype_row_bytes((dtype)t->type, (uint32_t)t->dims[0]);
        out->bytes += (t->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return ST_OK;
}

static status make_all(checkpoint *c, errbuf *eb) {
    uint8_t *at = c->made;
    for (uint64_t i = 0; i < c->format->tensor_count(c->self); i++) {
        checkpoint_tensor *t = &c->prepared[i];
        if (t->data) continue;
        job j = {.from = source_of(c, i),
                 .to = t,
                 .out = at,
                 .rows = (uint32_t)t->dims[1],
                 .cols = (uint32_t)t->dims[0]};
        run(&j);
        if (atomic_load(&j.failed))
            return errf(eb, ST_CORRUPT, "tensor '%.*s' has a number that is not finite or too large for %s",
                        (int)MIN(t->name.len, 64u), t->name.data, dtype_name(t->type));
        t->data = at;
        at += (t->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        if (c->format->drop) c->format->drop(c->self);
    }
    return ST_OK;
}

status checkpoint_prepare(checkpoint *c, const char *weight_dtype, checkpoint_prepared *out, errbuf *eb) {
    PRE(c);
    PRE(weight_dtype);
    PRE(out);
    PRE(!c->prepared);
    uint32_t wanted;
    checkpoint_prepared done = {0};
    status st = wanted_type(c, weight_dtype, &wanted, eb);
    uint64_t count = c->format->tensor_count(c->self);
    if (st != ST_OK) return st;
    c->prepared = xcalloc(MAX(count, 1u), sizeof *c->prepared);
    st = plan(c, wanted, &done, eb);
    if (st == ST_OK && done.bytes > 0) {
        void *made = mmap(NULL, done.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED)
            st = errf(eb, ST_NOMEM, "no %" PRIu64 " MiB of memory for converted weights", done.bytes >> 20);
        else
            c->made = made;
        c->made_bytes = done.bytes;
        if (st == ST_OK) st = make_all(c, eb);
    }
    if (st != ST_OK) return err_prefix(eb, st, "%s", c->path);
    *out = done;
    return ST_OK;
}
