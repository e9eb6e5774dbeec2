/* clang-format off */
/* handoff_bench - what a hand-off costs on this machine, beside what the machine gives.
 *
 *   handoff_bench [--transport shm|zmq] [--rounds N] [--tokens N] [--key-file FILE]
 *
 * Two transfer threads of this process are P and D; nothing is computed. All transports and ceilings take
 * turns in each round, so that they see the same machine; medians are printed.
 *
 *   memcpy, socket    ceilings: the bytes copied once; the same through a TCP connection on loopback, written
 *                     in slots by one thread and read by another
 *   gather, scatter   the two copies of a hand-off alone, with their checksums
 *   shm, zmq          throughput: a finished prompt (--tokens) from X_DEST to X_VERIFIED over an open pair
 *                     (gather, checksum, ring, scatter, checksum), and its share of each ceiling;
 *                     latency: the smallest hand-off, one page and one segment, from X_SEAL to X_VERIFIED
 *   ... with keys     the same with cluster.key_file FILE (baton-ctl keygen): CURVE on the pair's channel
 *
 * The layout is SmolLM2-135M's, KV in f16: 22.5 KiB per token. */
/* clang-format on */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/backends.h"
#include "kv/handoff.h"
#include "transfer/xfer.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EPOCH       7u
#define SLOT_BYTES  ((size_t)1 << 20)
#define DEADLINE_NS (60 * NS_PER_S)
#define ROUNDS_MAX  1001u
#define LATENCIES   20u /* of one round */

typedef struct side {
    xfer *x;
    engine_kv kv;
} side;

typedef struct series {
    double at[ROUNDS_MAX * LATENCIES];
    uint32_t count;
} series;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(series *s) {
    CHECK(s->count > 0);
    qsort(s->at, s->count, sizeof *s->at, by_value);
    return s->at[s->count / 2];
}

static double quantile(const series *sorted, double q) {
    return sorted->at[(uint32_t)(q * (sorted->count - 1))];
}

/* ---- the two ends ---- */

static bool side_open(side *s, const char *transport, const curve_keys *keys, bool receiver,
                      uint32_t tokens) {
    errbuf eb = {0};
    s->kv.ops = backend_find("cpu");
    s->kv.layout = (kv_layout){.type = DT_F16, .layers = 30, .kv_heads = 3, .head_dim = 64};
    s->kv.page_count = kv_pages_for(tokens + 1);
    s->kv.spare_page = s->kv.page_count;
    s->kv.seq_pages_max = s->kv.page_count;
    CHECK(s->kv.ops->open(&s->kv.dev, &(device_options){.threads = 1, .isa = "auto"}, &eb) == ST_OK);
    s->kv.base = s->kv.ops->mem_alloc(s->kv.dev, (s->kv.page_count + 1) * kv_page_bytes(&s->kv.layout));
    CHECK(s->kv.base);
    memset(s->kv.base, receiver ? 0x11 : 0x3c, s->kv.page_count * kv_page_bytes(&s->kv.layout));
    xfer_options o = {.kv = s->kv,
                      .receiver = receiver,
                      .transport = transport,
                      .keys = keys,
                      .bind_host = "127.0.0.1",
                      .slots = 8,
                      .slot_bytes = SLOT_BYTES,
                      .segment_bytes = (size_t)256 << 10,
                      .layers_ring = 4096,
                      .pair_timeout_ns = DEADLINE_NS,
                      .overlap = true,
                      .checksums = true,
                      .test_flip_segment = -1};
    if (xfer_new(&s->x, &o, &eb)) {
        fprintf(stderr, "handoff_bench: %s\n", eb.text);
        return false;
    }
    xfer_cmd epoch = {.kind = X_EPOCH, .id = {.epoch = EPOCH}};
    *(receiver ? &epoch.id.d_inc : &epoch.id.p_inc) = receiver ? 2 : 1;
    xfer_post(s->x, &epoch);
    return true;
}

static void side_close(side *s) {
    xfer_free(s->x);
    if (s->kv.base)
        s->kv.ops->mem_free(s->kv.dev, s->kv.base, (s->kv.page_count + 1) * kv_page_bytes(&s->kv.layout));
    if (s->kv.dev) s->kv.ops->close(s->kv.dev);
}

static void wait_for(side *s, xfer_event_kind kind) {
    uint64_t deadline_ns = clock_now_ns() + DEADLINE_NS;
    xfer_event e;
    for (;;) {
        while (xfer_next(s->x, &e) == ST_OK) {
            if (e.kind == X_FAILED) {
                fprintf(stderr, "handoff_bench: a hand-off failed: %s\n", e.why);
                exit(1);
            }
            if (e.kind == kind) return;
        }
        struct pollfd p = {.fd = xfer_fd(s->x), .events = POLLIN};
        poll(&p, 1, 1000);
        CHECK(clock_now_ns() < deadline_ns);
    }
}

/* One hand-off of a prompt whose layers are all done when its receiver is named. Seconds to VERIFIED, from
 * X_DEST, or from X_SEAL. */
static double hand_off(side *p, side *d, uint64_t req, uint32_t tokens, bool from_seal) {
    uint32_t pages = kv_pages_for(tokens + 1);
    int32_t *ids = xcalloc(tokens, sizeof *ids);
    uint32_t *table = xcalloc(pages, sizeof *table);
    for (uint32_t i = 0; i < pages; i++) table[i] = pages - 1 - i;
    kv_identity id = {.epoch = EPOCH, .p_inc = 1, .d_inc = 2, .req = req, .attempt = 1};
    xfer_cmd c = {.id = id, .ids = ids, .id_count = tokens, .pages = table, .page_count = pages};
    c.kind = X_EXPECT;
    xfer_post(d->x, &c);
    c.kind = X_OFFER;
    xfer_post(p->x, &c);
    for (uint32_t layer = 0; layer < p->kv.layout.layers; layer++)
        xfer_layer_done(p->x, 0, &(layer_rows){req, 0, tokens, layer});
    uint64_t begin_ns = clock_now_ns();
    xfer_post(p->x, &(xfer_cmd){.kind = X_DEST, .id = id, .endpoint = xfer_endpoint(d->x)});
    if (from_seal) begin_ns = clock_now_ns();
    xfer_post(p->x, &(xfer_cmd){.kind = X_SEAL, .id = id});
    wait_for(d, X_VERIFIED);
    double seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
    xfer_post(p->x, &(xfer_cmd){.kind = X_DROP, .id = id});
    wait_for(p, X_DROPPED);
    free(ids);
    free(table);
    return seconds;
}

/* ---- ceilings ---- */

static double copy_seconds(char *to, const char *from, size_t bytes) {
    uint64_t begin_ns = clock_now_ns();
    memcpy(to, from, bytes);
    return (double)(clock_now_ns() - begin_ns) / 1e9;
}

/* All slots of a finished prompt, one after the other through one slot: gather alone, or scatter alone. */
static double kernel_seconds(side *s, void *slot, uint32_t tokens, bool to_wire) {
    const kv_layout *l = &s->kv.layout;
    uint32_t pages = kv_pages_for(tokens);
    uint32_t *table = xcalloc(pages, sizeof *table);
    for (uint32_t i = 0; i < pages; i++) table[i] = pages - 1 - i;
    uint64_t begin_ns = clock_now_ns(), sum;
    handoff_cut cut = {.count = tokens, .layers_done = l->layers};
    op_kv_copy copy = {.layout = l, .kv = s->kv.base, .pages = table, .wire = slot, .checksum = &sum};
    while (cut.layer_sent < l->layers && handoff_cut_next(&cut, l, SLOT_BYTES, SLOT_BYTES, &copy.piece))
        CHECK((to_wire ? s->kv.ops->kv_gather : s->kv.ops->kv_scatter)(s->kv.dev, &copy) == ST_OK);
    free(table);
    return (double)(clock_now_ns() - begin_ns) / 1e9;
}

typedef struct stream {
    int fd;
    char *bytes;
    size_t count;
} stream;

static void *read_all(void *ctx) {
    stream *s = ctx;
    for (size_t at = 0; at < s->count;) {
        ssize_t n = read(s->fd, s->bytes + at, MIN(SLOT_BYTES, s->count - at));
        CHECK(n > 0);
        at += (size_t)n;
    }
    return NULL;
}

static void connect_pair(int fds[2]) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(listener >= 0);
    CHECK(bind(listener, (struct sockaddr *)&a, size) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&a, &size) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(fds[0], (struct sockaddr *)&a, size) == 0);
    fds[1] = accept(listener, NULL, NULL);
    CHECK(fds[1] >= 0);
    close(listener);
}

static double socket_seconds(int fds[2], char *to, char *from, size_t bytes) {
    stream in = {.fd = fds[1], .bytes = to, .count = bytes};
    pthread_t reader;
    uint64_t begin_ns = clock_now_ns();
    CHECK(pthread_create(&reader, NULL, read_all, &in) == 0);
    for (size_t at = 0; at < bytes;) {
        ssize_t n = write(fds[0], from + at, MIN(SLOT_BYTES, bytes - at));
        CHECK(n > 0);
        at += (size_t)n;
    }
    pthread_join(reader, NULL);
    return (double)(clock_now_ns() - begin_ns) / 1e9;
}

/* ---- the program ---- */

typedef struct lane {
    const char *name;
    bool keyed;
    side p, d;
    uint64_t req;
    series seconds, latency;
} lane;

static void report(lane *l, double bytes, double copy, double wire) {
    double rate = bytes / median(&l->seconds), us = median(&l->latency) * 1e6;
    printf("%s%-10s %7.2f GB/s   %5.1f %% of memcpy   %5.1f %% of the socket   one segment: median %6.0f us, "
           "p90 %6.0f us\n",
           l->name, l->keyed ? " with keys" : "", rate / 1e9, 100 * rate / copy, 100 * rate / wire, us,
           quantile(&l->latency, .9) * 1e6);
}

static int run(lane *lanes, uint32_t count, uint32_t rounds, uint32_t tokens) {
    static series copies, wires, gathers, scatters;
    const kv_layout *layout = &lanes[0].p.kv.layout;
    size_t bytes = tokens * (size_t)kv_token_bytes(layout);
    char *from = xmalloc(bytes), *to = xmalloc(bytes);
    void *slot = xmalloc(SLOT_BYTES);
    int fds[2];
    memset(from, 1, bytes);
    memset(to, 2, bytes);
    connect_pair(fds);
    for (uint32_t i = 0; i < count; i++) hand_off(&lanes[i].p, &lanes[i].d, ++lanes[i].req, tokens, false);
    for (uint32_t r = 0; r < rounds; r++) {
        copies.at[copies.count++] = copy_seconds(to, from, bytes);
        gathers.at[gathers.count++] = kernel_seconds(&lanes[0].p, slot, tokens, true);
        scatters.at[scatters.count++] = kernel_seconds(&lanes[0].d, slot, tokens, false);
        wires.at[wires.count++] = socket_seconds(fds, to, from, bytes);
        for (uint32_t i = 0; i < count; i++) {
            lane *l = &lanes[i];
            l->seconds.at[l->seconds.count++] = hand_off(&l->p, &l->d, ++l->req, tokens, false);
            for (uint32_t k = 0; k < LATENCIES; k++)
                l->latency.at[l->latency.count++] = hand_off(&l->p, &l->d, ++l->req, KV_PAGE_TOKENS, true);
        }
    }
    double copy = (double)bytes / median(&copies), wire = (double)bytes / median(&wires);
    printf("%u tokens, %.1f MB, %u rounds in turns\n", tokens, (double)bytes / 1e6, rounds);
    printf("memcpy  %7.2f GB/s\ngather  %7.2f GB/s\nscatter %7.2f GB/s\nsocket  %7.2f GB/s\n", copy / 1e9,
           (double)bytes / median(&gathers) / 1e9, (double)bytes / median(&scatters) / 1e9, wire / 1e9);
    for (uint32_t i = 0; i < count; i++) report(&lanes[i], (double)bytes, copy, wire);
    close(fds[0]);
    close(fds[1]);
    free(slot);
    free(from);
    free(to);
    return 0;
}

static uint32_t number(const char *text, uint32_t max) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*end || n == 0 || n > max) {
        fprintf(stderr, "handoff_bench: '%s': want 1..%u\n", text, max);
        exit(2);
    }
    return (uint32_t)n;
}

int main(int argc, char **argv) {
    static lane lanes[4];
    const char *only = NULL, *key_file = NULL;
    uint32_t rounds = 15, tokens = 2048, count = 0;
    for (int i = 1; i < argc; i += 2) {
        bool value = i + 1 < argc;
        if (value && !strcmp(argv[i], "--transport"))
            only = argv[i + 1];
        else if (value && !strcmp(argv[i], "--key-file"))
            key_file = argv[i + 1];
        else if (value && !strcmp(argv[i], "--rounds"))
            rounds = number(argv[i + 1], ROUNDS_MAX);
        else if (value && !strcmp(argv[i], "--tokens"))
            tokens = number(argv[i + 1], 65536);
        else {
            fprintf(stderr, "usage: handoff_bench [--transport shm|zmq] [--rounds N] [--tokens N] "
                            "[--key-file FILE]\n");
            return 2;
        }
    }
    log_setup(LOG_WARN, "handoff_bench");
    curve_keys keys;
    errbuf eb = {0};
    if (key_file && curve_read_cluster(&keys, key_file, &eb) != ST_OK) {
        fprintf(stderr, "handoff_bench: %s\n", eb.text);
        return 2;
    }
    const char *names[] = {"shm", "zmq"};
    for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
        const char *name = names[i / 2];
        bool keyed = i % 2;
        if ((only && strcmp(only, name)) || (keyed && !key_file)) continue;
        lane *l = &lanes[count++];
        l->name = name;
        l->keyed = keyed;
        const curve_keys *k = keyed ? &keys : NULL;
        if (!side_open(&l->d, name, k, true, tokens) || !side_open(&l->p, name, k, false, tokens)) return 1;
    }
    if (!count) {
        fprintf(stderr, "handoff_bench: '%s': want shm or zmq\n", only);
        return 2;
    }
    int rc = run(lanes, count, rounds, tokens);
    for (uint32_t i = 0; i < count; i++) {
        side_close(&lanes[i].p);
        side_close(&lanes[i].d);
    }
    return rc;
}
