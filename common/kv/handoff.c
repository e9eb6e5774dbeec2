/* The receiver's coverage is a bitmap of pages x layers: rows of a segment begin on page edges and end on
 * them or at the prompt's end, so a bit per page and layer is exact, whatever the order of chunks and groups.
 * 128 Ki tokens of 128 layers are 128 KiB. A list of rectangles would be smaller for orderly senders, but not
 * bounded for the others. */
#include "kv/handoff.h"

#include "base/mem.h"

#include <stdlib.h>

/* clang-format off */
static const sm_state states[] = {
    [HANDOFF_OFFERED]  = {"OFFERED", SM_TO(HANDOFF_RESERVED) | SM_TO(HANDOFF_ABORTED), false},
    [HANDOFF_RESERVED] = {"RESERVED", SM_TO(HANDOFF_COPYING) | SM_TO(HANDOFF_ABORTED), false},
    [HANDOFF_COPYING]  = {"COPYING", SM_TO(HANDOFF_VERIFIED) | SM_TO(HANDOFF_ABORTED), false},
    [HANDOFF_VERIFIED] = {"VERIFIED", SM_TO(HANDOFF_RELEASED) | SM_TO(HANDOFF_ABORTED), false},
    [HANDOFF_RELEASED] = {"RELEASED", 0, true},
    [HANDOFF_ABORTED]  = {"ABORTED", 0, true},
};
/* clang-format on */

const sm_def handoff_sm = {.name = "hand-off", .states = states, .state_count = ARRAY_LEN(states)};

/* One step of a 64-bit hash: a bijection of h for each x, so that equal prefixes with different ends never
 * meet again by the step itself. */
static uint64_t hash_step(uint64_t h, uint64_t x) {
    h ^= x;
    h *= 0x9fb21c651e98df25ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return h ^ h >> 29;
}

uint64_t kv_ids_hash(uint64_t start, const int32_t *ids, uint32_t count) {
    PRE(ids || count == 0);
    uint64_t h = start;
    for (uint32_t i = 0; i < count; i++) h = hash_step(h, (uint32_t)ids[i] + 1ull);
    return h;
}

uint64_t kv_segment_seed(const kv_identity *id, uint32_t segment, const kv_piece *piece, uint64_t ids_hash) {
    PRE(id);
    PRE(piece);
    const uint64_t words[] = {
        id->epoch,
        id->p_inc,
        id->d_inc,
        id->req,
        id->attempt,
        (uint64_t)segment << 32 | piece->token_begin,
        piece->token_count,
        (uint64_t)piece->layer_begin << 32 | piece->layer_end,
        (uint64_t)piece->head_begin << 32 | piece->head_end,
        ids_hash,
    };
    uint64_t h = KV_IDS_HASH_START;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) h = hash_step(h, words[i]);
    return h;
}

bool kv_identity_same(const kv_identity *a, const kv_identity *b) {
    PRE(a);
    PRE(b);
    return a->epoch == b->epoch && a->p_inc == b->p_inc && a->d_inc == b->d_inc && a->req == b->req &&
           a->attempt == b->attempt;
}

/* Chooses the layers of the next group; false when too few are computed. */
static bool open_group(handoff_cut *cut, const kv_layout *layout, size_t target_bytes, size_t slot_bytes) {
    uint32_t left = cut->layers_done - cut->layer_sent;
    if (left == 0) return false;
    size_t layer_bytes = kv_segment_bytes(layout, cut->count, 1);
    size_t want = (target_bytes + layer_bytes - 1) / layer_bytes;
    size_t fit = slot_bytes / layer_bytes;
    want = MIN(want, fit);
    want = MAX(want, 1); /* a layer larger than a slot goes alone, its rows split */
    if (want > left) {
        if (cut->layers_done < layout->layers) return false;
        want = left;
    }
    cut->group_end = cut->layer_sent + (uint32_t)want;
    cut->row_sent = 0;
    return true;
}

bool handoff_cut_next(handoff_cut *cut, const kv_layout *layout, size_t target_bytes, size_t slot_bytes,
                      kv_piece *out) {
    PRE(cut);
    PRE(layout);
    PRE(out);
    PRE(cut->count > 0);
    PRE(cut->begin % KV_PAGE_TOKENS == 0);
    PRE(cut->layer_sent <= cut->layers_done);
    PRE(cut->layers_done <= layout->layers);
    PRE(slot_bytes >= kv_segment_bytes(layout, KV_PAGE_TOKENS, 1));
    if (!cut->group_end && !open_group(cut, layout, target_bytes, slot_bytes)) return false;

    uint32_t layers = cut->group_end - cut->layer_sent;
    uint32_t rows = cut->count - cut->row_sent;
    size_t rows_fit = slot_bytes / kv_segment_bytes(layout, 1, layers);
    if (rows > rows_fit) rows = (uint32_t)(rows_fit / KV_PAGE_TOKENS * KV_PAGE_TOKENS);
    *out = kv_piece_of(layout, cut->begin + cut->row_sent, rows, cut->layer_sent, cut->group_end);
    cut->row_sent += rows;
    if (cut->row_sent == cut->count) {
        cut->layer_sent = cut->group_end;
        cut->row_sent = 0;
        cut->group_end = 0;
    }
    POST(rows > 0);
    return true;
}

struct handoff_recv {
    uint32_t layers, heads;
    uint32_t token_begin, token_end;
    uint32_t page_begin, page_count; /* of those rows */
    uint32_t words;                  /* of 64 layers per page */
    uint32_t segments;               /* came so far */
    uint64_t *have;                  /* [page_count, words] a bit per layer */
};

bool handoff_may_start(uint32_t token_begin, uint32_t token_end) {
    return token_begin % KV_PAGE_TOKENS == 0 && token_begin < token_end;
}

handoff_recv *handoff_recv_new(const kv_layout *layout, uint32_t token_begin, uint32_t token_end) {
    PRE(layout);
    PRE(layout->layers > 0);
    PRE(handoff_may_start(token_begin, token_end));
    handoff_recv *r = xcalloc(1, sizeof *r);
    r->layers = layout->layers;
    r->heads = layout->kv_heads;
    r->token_begin = token_begin;
    r->token_end = token_end;
    r->page_begin = token_begin / KV_PAGE_TOKENS;
    r->page_count = kv_pages_for(token_end) - r->page_begin;
    r->words = (layout->layers + 63) / 64;
    r->have = xcalloc((size_t)r->page_count * r->words, sizeof *r->have);
    return r;
}

void handoff_recv_free(handoff_recv *r) {
    if (!r) return;
    free(r->have);
    free(r);
}

/* The bits of layers [begin, end) that lie in word w. */
static uint64_t layer_mask(uint32_t begin, uint32_t end, uint32_t w) {
    uint32_t first = w * 64;
    uint32_t from = begin > first ? begin - first : 0;
    uint32_t to = end > first ? MIN(end - first, 64) : 0;
    if (from >= to) return 0;
    uint64_t below = to == 64 ? UINT64_MAX : (1ull << to) - 1;
    return below & ~((1ull << from) - 1);
}

static status check_shape(const handoff_recv *r, const kv_piece *p, errbuf *eb) {
    if (p->token_count == 0 || p->token_begin > r->token_end ||
        p->token_count > r->token_end - p->token_begin)
        return errf(eb, ST_CORRUPT, "rows %u+%u leave the prompt of %u", p->token_begin, p->token_count,
                    r->token_end);
    if (p->token_begin < r->token_begin)
        return errf(eb, ST_CORRUPT, "rows %u+%u: those before %u are here already", p->token_begin,
                    p->token_count, r->token_begin);
    uint32_t end = p->token_begin + p->token_count;
    if (p->token_begin % KV_PAGE_TOKENS || (end % KV_PAGE_TOKENS && end != r->token_end))
        return errf(eb, ST_CORRUPT, "rows %u+%u do not lie on page edges", p->token_begin, p->token_count);
    if (p->layer_begin >= p->layer_end || p->layer_end > r->layers)
        return errf(eb, ST_CORRUPT, "layers %u..%u of a model with %u", p->layer_begin, p->layer_end,
                    r->layers);
    if (p->head_begin != 0 || p->head_end != r->heads) /* coverage is counted in whole layers */
        return errf(eb, ST_CORRUPT, "heads %u..%u of a layer with %u: want all", p->head_begin, p->head_end,
                    r->heads);
    return ST_OK;
}

status handoff_recv_add(handoff_recv *r, uint32_t segment, const kv_piece *piece, errbuf *eb) {
    PRE(r);
    PRE(piece);
    if (segment != r->segments)
        return errf(eb, ST_CORRUPT, "segment %u where %u is the next", segment, r->segments);
    status st = check_shape(r, piece, eb);
    if (st != ST_OK) return st;

    uint32_t page_begin = piece->token_begin / KV_PAGE_TOKENS - r->page_begin;
    uint32_t page_end = kv_piece_pages(piece) - r->page_begin;
    for (uint32_t page = page_begin; page < page_end; page++)
        for (uint32_t w = 0; w < r->words; w++)
            if (r->have[(size_t)page * r->words + w] & layer_mask(piece->layer_begin, piece->layer_end, w))
                return errf(eb, ST_CORRUPT, "rows from %u, layers %u..%u came twice",
                            (r->page_begin + page) * KV_PAGE_TOKENS, piece->layer_begin, piece->layer_end);
    for (uint32_t page = page_begin; page < page_end; page++)
        for (uint32_t w = 0; w < r->words; w++)
            r->have[(size_t)page * r->words + w] |= layer_mask(piece->layer_begin, piece->layer_end, w);
    r->segments++;
    return ST_OK;
}

status handoff_recv_seal(const handoff_recv *r, uint32_t segment_count, const kv_piece *whole, errbuf *eb) {
    PRE(r);
    PRE(whole);
    uint32_t rows = r->token_end - r->token_begin;
    if (whole->token_begin != r->token_begin)
        return errf(eb, ST_CORRUPT, "sealed from row %u, want from %u", whole->token_begin, r->token_begin);
    if (whole->token_count != rows)
        return errf(eb, ST_CORRUPT, "sealed %u rows, want %u", whole->token_count, rows);
    if (segment_count != r->segments)
        return errf(eb, ST_CORRUPT, "sealed %u segments, %u came", segment_count, r->segments);
    for (uint32_t page = 0; page < r->page_count; page++) {
        for (uint32_t w = 0; w < r->words; w++) {
            uint64_t missing = layer_mask(0, r->layers, w) & ~r->have[(size_t)page * r->words + w];
            if (missing)
                return errf(eb, ST_CORRUPT, "rows from %u, layer %u are missing",
                            (r->page_begin + page) * KV_PAGE_TOKENS,
                            w * 64 + (uint32_t)__builtin_ctzll(missing));
        }
    }
    return ST_OK;
}
