#include "kernels/mock/mock.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/host/host.h"
#include "kernels/mock/mock_kv.h"
#include "kernels/mock/mock_sample.h"
#include "kernels/ref/ref.h"
#include "latency/latency.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#define TIMER_SLACK_NS 1ul /* of the device thread; a thread's default adds 50 us to each sleep */

struct device {
    host_device host; /* of which the step's tables are used, no kernel */
    latency_model latency;
    uint64_t begin_ns, span_ns; /* of the running step */
};

struct weight {
    char nothing;
};

static weight no_weight; /* stands for all of them; nobody reads it */

static const host_kernels no_kernels = {.path = "mock"};

/* --- life --- */

static status mock_open(device **out, const device_options *opt, errbuf *eb) {
    PRE(out);
    PRE(opt);
    if (opt->latency) {
        status st = latency_check(opt->latency, eb);
        if (st != ST_OK) return err_prefix(eb, st, "mock backend");
    }
    device *d = xcalloc(1, sizeof *d);
    host_init(&d->host, &no_kernels, opt);
    if (opt->latency) d->latency = *opt->latency;
    (void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    *out = d;
    return ST_OK;
}

static void mock_close(device *d) {
    if (!d) return;
    host_done(&d->host);
    free(d);
}

static dtype mock_kv_default(dtype act_type) {
    (void)act_type;
    return DT_F16;
}

/* --- memory: address space, which costs nothing until it is written --- */

static void *mock_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    void *p = mmap(NULL, MAX(bytes, (size_t)1), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void mock_mem_free(device *d, void *p, size_t bytes) {
    PRE(d);
    if (p) CHECK(munmap(p, MAX(bytes, (size_t)1)) == 0);
}

static status mock_weight_load(device *d, const weight_parts *parts, weight **out, errbuf *eb) {
    PRE(d);
    PRE(parts);
    PRE(out);
    (void)eb;
    *out = &no_weight;
    return ST_OK;
}

static void mock_weight_free(device *d, weight *w) {
    PRE(d);
    PRE(!w || w == &no_weight);
}

static uint64_t mock_weight_bytes(dtype act_type, const weight_parts *parts) {
    PRE(parts);
    (void)act_type;
    return 0;
}

/* --- time --- */

static void sleep_until(uint64_t at_ns) {
    const struct timespec at = {.tv_sec = (time_t)(at_ns / NS_PER_S), .tv_nsec = (long)(at_ns % NS_PER_S)};
    if (clock_now_ns() >= at_ns) return;
    int rc;
    while ((rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL)) != 0) CHECK(rc == EINTR);
}

/* A single generated row decodes; whatever else is a chunk of a prompt, or of what is computed again. */
static uint64_t span_of(const device *d, const op_step *s) {
    latency_step sum = {0};
    for (uint32_t i = 0; i < s->seq_count; i++) {
        const step_seq *q = &s->seqs[i];
        if (q->row_count == 1 && q->pos >= q->prompt_count)
            latency_add_decode(&sum, q->pos + 1);
        else
            latency_add_chunk(&sum, q->pos, q->row_count);
    }
    return latency_ns(&d->latency, &sum);
}

static status mock_step_begin(device *d, const op_step *s, step_pass *out, errbuf *eb) {
    PRE(d);
    PRE(s);
    d->begin_ns = clock_now_ns();
    d->span_ns = span_of(d, s);
    return host_step_begin(d, s, out, eb);
}

static status mock_step_end(device *d, errbuf *eb) {
    PRE(d);
    sleep_until(d->begin_ns + d->span_ns);
    return host_step_end(d, eb);
}

/* A layer is done when its share of the step's time has passed: what waits for it overlaps with the others.
 */
static status mock_layer_mark(device *d, uint32_t layer) {
    PRE(d);
    uint32_t layers = d->host.attention.layout.layers;
    PRE(layer < layers);
    sleep_until(d->begin_ns + (uint64_t)((double)d->span_ns * (layer + 1) / layers));
    return ST_OK;
}

/* --- ops --- */

static status mock_embed(device *d, const op_embed *a) {
    PRE(d);
    PRE(a);
    return ST_OK;
}

static status mock_norm(device *d, const op_norm *a) {
    PRE(d);
    PRE(a);
    return ST_OK;
}

static status mock_linear(device *d, const op_linear *a) {
    PRE(d);
    PRE(a);
    return ST_OK;
}

static status mock_gate_up(device *d, const op_gate_up *a) {
    PRE(d);
    PRE(a);
    return ST_OK;
}

static status mock_head_norm(device *d, const op_head_norm *a) {
    PRE(d);
    PRE(a);
    return ST_OK;
}

static mock_kv kv_of(const device *d) {
    return (mock_kv){.layout = &d->host.attention.layout, .kv = d->host.attention.kv};
}

static status mock_attend(device *d, const op_attend *a) {
    PRE(d);
    PRE(a);
    const host_device *h = &d->host;
    PRE(h->step);
    PRE(a->rows == h->step->rows);
    const mock_kv m = kv_of(d);
    for (uint32_t r = 0; r < a->rows; r++) mock_kv_write(&m, a->layer, &h->refs[r], h->step->ids[r]);
    return ST_OK;
}

static status mock_sample_op(device *d, const op_sample *a) {
    PRE(d);
    PRE(a);
    const host_device *h = &d->host;
    const op_step *s = h->step;
    PRE(s);
    PRE(s->samples);
    PRE(s->results);
    PRE(a->begin + a->count <= s->head_count);
    const mock_kv m = kv_of(d);
    for (uint32_t i = a->begin; i < a->begin + a->count; i++)
        mock_sample(mock_kv_read(&m, &h->refs[s->head[i]]), a->vocab, &s->samples[i], &s->results[i]);
    return ST_OK;
}

const backend_ops mock_backend = {
    .name = "mock",
    .masks = true,
    .features = FEATURE_ALL,
    .open = mock_open,
    .close = mock_close,
    .path = host_path,
    .kv_default = mock_kv_default,
    .act_type = host_act_type,
    .memory = host_memory,
    .mem_alloc = mock_mem_alloc,
    .mem_free = mock_mem_free,
    .mem_read = host_mem_read,
    .mem_write = host_mem_write,
    .host_pin = host_pin_memory,
    .host_unpin = host_unpin_memory,
    .weight_load = mock_weight_load,
    .weight_free = mock_weight_free,
    .weight_bytes = mock_weight_bytes,
    .weights_ready = host_weights_ready,
    .attend_setup = host_attend_setup,
    .warm = host_warm,
    .step_begin = mock_step_begin,
    .embed = mock_embed,
    .norm = mock_norm,
    .linear = mock_linear,
    .attend = mock_attend,
    .gate_up = mock_gate_up,
    .layer_mark = mock_layer_mark,
    .head_norm = mock_head_norm,
    .sample = mock_sample_op,
    .step_end = mock_step_end,
    .sync = host_sync,
    .device_error = host_device_error,
    .kv_gather = ref_kv_gather,
    .kv_scatter = ref_kv_scatter,
};
