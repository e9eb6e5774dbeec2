#include "kernels/mock/mock_kv.h"

#include "base/mix.h"

#include <assert.h>
#include <string.h>

#define FIRST_ROW 0x6d6f636b2d6b7630ull /* stands for the row before position 0 */
#define FOLD      0xD6E8FEB86659FD93ull /* odd */

/* Bytes of one head in one position, of K or of V. */
static uint8_t *head_row(const mock_kv *m, uint32_t layer, uint32_t is_v, uint32_t head, const kv_ref *at,
                         uint32_t pos) {
    const kv_layout *l = m->layout;
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    uint32_t page = at->pages[pos / KV_PAGE_TOKENS];
    return (uint8_t *)m->kv + kv_tile_offset(l, page, layer, is_v, head) + pos % KV_PAGE_TOKENS * row_bytes;
}

/* Each word goes through a bijection of the sum so far, so that a flipped bit anywhere changes the end. */
static uint64_t fold(uint64_t sum, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, count - i < sizeof word ? count - i : sizeof word);
        sum = (sum ^ word) * FOLD;
        sum ^= sum >> 29;
    }
    return sum;
}

static uint64_t read_layer(const mock_kv *m, uint32_t layer, const kv_ref *at, uint32_t pos) {
    const kv_layout *l = m->layout;
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    uint64_t sum = layer;
    for (uint32_t is_v = 0; is_v < 2; is_v++)
        for (uint32_t head = 0; head < l->kv_heads; head++)
            sum = fold(sum, head_row(m, layer, is_v, head, at, pos), row_bytes);
    return sum;
}

/* Between 8 n and 16 n rows, n a power of two, the pages come in turn, n of them, those that are not written
 * yet replaced by older ones; in each round another row of the page. That is half of the rows: 8 to 15, or 0
 * to 7 for every other n. */
uint32_t mock_kv_earlier(uint32_t pos) {
    PRE(pos > 0);
    static_assert(KV_PAGE_TOKENS == 16, "8 rounds for each of 2 halves");
    if (pos < KV_PAGE_TOKENS) return (uint32_t)(mix64(pos) % pos);
    uint32_t log_n = 0;
    while (pos >> log_n >= KV_PAGE_TOKENS) log_n++;
    uint32_t page = pos & ((1u << log_n) - 1);
    uint32_t row = ((pos >> log_n) + 8 * log_n) % KV_PAGE_TOKENS;
    uint32_t at = page * KV_PAGE_TOKENS + row;
    return at < pos ? at : at - ((KV_PAGE_TOKENS / 2) << log_n);
}

void mock_kv_write(const mock_kv *m, uint32_t layer, const kv_ref *at, int32_t id) {
    PRE(m);
    PRE(at);
    PRE(layer < m->layout->layers);
    const kv_layout *l = m->layout;
    uint32_t pos = at->pos;
    uint64_t before = FIRST_ROW, earlier = FIRST_ROW;
    if (pos > 0) {
        before = read_layer(m, layer, at, pos - 1);
        earlier = read_layer(m, layer, at, mock_kv_earlier(pos));
    }
    uint64_t state = mix64(before + mix64(earlier + MIX64_STEP * ((uint64_t)pos << 32 | (uint32_t)id)));
    size_t row_bytes = (size_t)l->head_dim * kv_elem_bytes(l);
    for (uint32_t is_v = 0; is_v < 2; is_v++) {
        for (uint32_t head = 0; head < l->kv_heads; head++) {
            uint8_t *row = head_row(m, layer, is_v, head, at, pos);
            for (size_t i = 0; i < row_bytes; i += sizeof state) {
                state += MIX64_STEP;
                uint64_t word = mix64(state);
                memcpy(row + i, &word, row_bytes - i < sizeof word ? row_bytes - i : sizeof word);
            }
        }
    }
}

uint64_t mock_kv_read(const mock_kv *m, const kv_ref *at) {
    PRE(m);
    PRE(at);
    uint64_t sum = FIRST_ROW;
    for (uint32_t layer = 0; layer < m->layout->layers; layer++)
        sum = mix64(sum + read_layer(m, layer, at, at->pos));
    return sum;
}
