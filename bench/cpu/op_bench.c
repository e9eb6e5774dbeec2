#include "bench/cpu/op_bench.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/backends.h"

#include <stdio.h>
#include <stdlib.h>

enum { RUNS = 5 };
#define RUN_NS (20 * NS_PER_MS)

status op_bench_open(op_bench *b, const device_options *opt, const op_shape *shape, errbuf *eb) {
    PRE(b);
    PRE(opt);
    *b = (op_bench){.ops = backend_find("cpu"), .opt = *opt, .shape = shape};
    status st = b->ops->open(&b->dev, opt, eb);
    if (st == ST_OK) st = team_new(&b->team, opt->threads, NULL, eb);
    if (st != ST_OK) return st;
    b->isa = ceiling_isa_of(b->ops->path(b->dev));
    ceiling_buffer memory = ceiling_buffer_new(b->team);
    b->read = ceiling_read(b->team, b->isa, &memory);
    ceiling_buffer_done(&memory);
    b->fp32 = ceiling_fp32(b->team, b->isa);
    b->int8 = ceiling_int8(b->team, b->isa);
    return ST_OK;
}

void op_bench_close(op_bench *b) {
    PRE(b);
    team_free(b->team);
    if (b->dev) b->ops->close(b->dev);
    *b = (op_bench){0};
}

/* Bytes 56..63 make halves, floats and scales near 1: no denormal slows the loops. */
void *op_bench_fill(const op_bench *b, size_t bytes) {
    uint8_t *p = b->ops->mem_alloc(b->dev, bytes);
    CHECK(p);
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)(56 + (i * 2654435761u >> 13) % 8);
    return p;
}

/* Best nanoseconds of one call. */
static double time_of(op_bench *b, const op_line *l) {
    double best = 0;
    uint32_t turn = 0;
    l->call(b, l->arg, turn++);
    for (int i = 0; i < RUNS; i++) {
        uint64_t begin_ns = clock_now_ns(), now_ns;
        uint32_t calls = 0;
        do {
            l->call(b, l->arg, turn++);
            calls++;
            now_ns = clock_now_ns();
        } while (now_ns - begin_ns < RUN_NS);
        double ns = (double)(now_ns - begin_ns) / calls;
        if (best == 0 || ns < best) best = ns;
    }
    return best;
}

void op_bench_line(op_bench *b, const op_line *l) {
    PRE(b);
    PRE(l);
    double ns = time_of(b, l), rate = l->ops / ns, gbs = l->bytes / ns;
    double peak = l->unit == OP_INT8 ? b->int8 : b->fp32;
    if (l->unit == OP_INT8 && b->opt.act_bits == 16) peak /= 2;
    double computing = l->unit != OP_NOTHING && peak > 0 ? rate / peak : 0, reading = gbs / b->read;
    const char *nearer = reading >= computing ? "read" : l->unit == OP_INT8 ? "int8" : "fp32";
    printf("%-8s %-40s threads %u %10.1f us %8.1f GOP/s %7.2f GB/s  %5.1f %% of %s\n", b->shape->name,
           l->what, b->opt.threads, ns / 1000, rate, gbs, 100 * MAX(computing, reading), nearer);
    fflush(stdout);
}

void op_bench_step(op_bench *b, const op_rows *r, op_body body, void *arg) {
    PRE(b);
    PRE(r);
    errbuf eb = {0};
    uint32_t count = r->decode ? r->rows : 1, last = r->pos + (r->decode ? 1 : r->rows);
    uint32_t each = kv_pages_for(last);
    int32_t *ids = xcalloc(r->rows, sizeof *ids);
    uint32_t *head = xcalloc(r->rows, sizeof *head), *pages = xcalloc(count * each, sizeof *pages);
    step_seq *seqs = xcalloc(count, sizeof *seqs);
    for (uint32_t i = 0; i < r->rows; i++) head[i] = i;
    for (uint32_t i = 0; i < count * each; i++) pages[i] = i;
    for (uint32_t i = 0; i < count; i++)
        seqs[i] = (step_seq){.pages = pages + (size_t)i * each,
                             .page_count = each,
                             .row_begin = i,
                             .row_count = r->decode ? 1 : r->rows,
                             .pos = r->pos,
                             .prompt_count = r->decode ? 1 : last};
    sampling greedy = sampling_default();
    greedy.temperature = 0;
    sample_input *samples = xcalloc(r->rows, sizeof *samples);
    sample_result *results = xcalloc(r->rows, sizeof *results);
    for (uint32_t i = 0; i < r->rows; i++)
        samples[i] = (sample_input){.params = &greedy, .prompt = ids, .prompt_count = 1};
    const op_step step = {.ids = ids,
                          .rows = r->rows,
                          .seqs = seqs,
                          .seq_count = count,
                          .head = head,
                          .head_count = r->rows,
                          .samples = samples,
                          .results = results};
    step_pass pass;
    CHECK(b->ops->step_begin(b->dev, &step, &pass, &eb) == ST_OK);
    body(b, arg);
    CHECK(b->ops->step_end(b->dev, &eb) == ST_OK);
    free(ids);
    free(head);
    free(pages);
    free(seqs);
    free(samples);
    free(results);
}
