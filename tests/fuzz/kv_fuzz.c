/* The segments of a hand-off as they come over the wire: two bytes for the rows that travel, then 28 for each
 * segment {number, piece}. What is accepted fits the rows and overlaps nothing; a seal wants all of it. */
#include "base/mem.h"
#include "fuzz.h"
#include "kv/handoff.h"

#include <string.h>

enum { LAYERS = 3, ROWS_MOST = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const kv_layout layout = {.type = DT_F16, .layers = LAYERS, .kv_heads = 2, .head_dim = 8};
    if (size < 2) return 0;
    uint32_t begin = data[0] % 4u * KV_PAGE_TOKENS, end = begin + 1 + data[1] % ROWS_MOST;
    if (!handoff_may_start(begin, end)) return 0;
    bool have[LAYERS][ROWS_MOST] = {0};
    uint64_t cells = 0;
    uint32_t segments = 0;
    handoff_recv *r = handoff_recv_new(&layout, begin, end);
    errbuf eb = {0};
    for (size_t at = 2; at + 4 + sizeof(kv_piece) <= size; at += 4 + sizeof(kv_piece)) {
        uint32_t number;
        kv_piece p;
        memcpy(&number, data + at, sizeof number);
        memcpy(&p, data + at + 4, sizeof p);
        if (handoff_recv_add(r, number, &p, &eb) != ST_OK) {
            CHECK(eb.text[0]);
            continue;
        }
        CHECK(p.token_begin >= begin);
        CHECK((uint64_t)p.token_begin + p.token_count <= end);
        CHECK(p.layer_end <= LAYERS);
        CHECK(p.head_end <= layout.kv_heads);
        for (uint32_t l = p.layer_begin; l < p.layer_end; l++)
            for (uint32_t t = p.token_begin; t < p.token_begin + p.token_count; t++) {
                CHECK(!have[l][t - begin]);
                have[l][t - begin] = true;
                cells++;
            }
        segments++;
    }
    kv_piece whole = kv_piece_of(&layout, begin, end - begin, 0, LAYERS);
    status st = handoff_recv_seal(r, segments, &whole, &eb);
    CHECK((st == ST_OK) == (cells == (uint64_t)LAYERS * (end - begin)));
    handoff_recv_free(r);
    return 0;
}
