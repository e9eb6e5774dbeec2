/* transfer_cost - what the transfer thread of a sender pays for a layer report and a command while so many
 * offers are parked.
 *
 *   transfer_cost OFFERS REPORTS      under callgrind: instructions(reports) - instructions(0 reports)
 *
 * bench/transfer_cost.sh does that sum. Each report is followed by a command whose answer is waited for, so
 * each is a turn of its own. Copies are none: this is the bookkeeping alone. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "transfer/xfer.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 64, PAGES = TOKENS / KV_PAGE_TOKENS, LAYERS = 2, REPORTS_PER_OFFER = PAGES * LAYERS };
#define NOBODY 0xffffffffffull /* a request that was never offered */

static memory_kind pin_nothing(device *d, void *memory, size_t bytes) {
    (void)d, (void)memory, (void)bytes;
    return MEMORY_HOST;
}

static const backend_ops ops = {.name = "none", .host_pin = pin_nothing};

static xfer *open_sender(void) {
    static unsigned char memory[64];
    xfer *x = NULL;
    errbuf eb = {0};
    xfer_options o = {
        .kv = {.ops = &ops,
               .layout = {.type = DT_F16, .layers = LAYERS, .kv_heads = 1, .head_dim = 8},
               .base = memory,
               .page_count = PAGES},
        .transport = "zmq",
        .slots = 4,
        .slot_bytes = 4096,
        .segment_bytes = 4096,
        .layers_ring = 256,
        .pair_timeout_ns = NS_PER_S,
        .overlap = true,
        .checksums = true,
        .test_flip_segment = -1,
    };
    if (xfer_new(&x, &o, &eb)) {
        fprintf(stderr, "transfer_cost: %s\n", eb.text);
        exit(1);
    }
    return x;
}

/* A command and its answer: the thread has made a turn. */
static void turn(xfer *x) {
    xfer_event e;
    xfer_post(x, &(xfer_cmd){.kind = X_DROP, .id = {.req = NOBODY}});
    while (xfer_next(x, &e)) {
        struct pollfd p = {.fd = xfer_fd(x), .events = POLLIN};
        poll(&p, 1, -1);
    }
    CHECK(e.kind == X_DROPPED);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: transfer_cost OFFERS REPORTS\n");
        return 2;
    }
    uint64_t offers = strtoull(argv[1], NULL, 10), reports = strtoull(argv[2], NULL, 10);
    if (reports > offers * REPORTS_PER_OFFER) {
        fprintf(stderr, "transfer_cost: at most %d reports per offer\n", REPORTS_PER_OFFER);
        return 2;
    }
    log_setup(LOG_ERROR, "bench");
    static const int32_t ids[TOKENS];
    const uint32_t pages[PAGES] = {0, 1, 2, 3};
    xfer *x = open_sender();
    for (uint64_t req = 1; req <= offers; req++)
        xfer_post(x, &(xfer_cmd){.kind = X_OFFER,
                                 .id = {.req = req},
                                 .ids = ids,
                                 .id_count = TOKENS,
                                 .pages = pages,
                                 .page_count = PAGES});
    turn(x);
    for (uint64_t i = 0; i < reports; i++) { /* the newest offers first */
        uint32_t chunk = (uint32_t)(i % REPORTS_PER_OFFER / LAYERS), layer = (uint32_t)(i % LAYERS);
        xfer_layer_done(
            x, 0,
            &(layer_rows){offers - i / REPORTS_PER_OFFER, chunk * KV_PAGE_TOKENS, KV_PAGE_TOKENS, layer});
        turn(x);
    }
    xfer_free(x);
    return 0;
}
