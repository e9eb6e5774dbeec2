#include "text/bpe.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NONE       UINT32_MAX
#define MERGES_MAX (1u << 24)
#define PIECE_MAX  (UINT32_MAX / 4)

typedef struct merge {
    int32_t left, right, merged;
} merge;

struct bpe {
    const vocab *vocab;
    merge *merges; /* [count], by rank */
    uint32_t count;
    uint32_t *slots; /* open addressing (left, right) -> rank + 1; at most half full */
    uint32_t mask;
};

/* --- the table --- */

static uint32_t pair_hash(int32_t left, int32_t right) {
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32);
}

static uint32_t *pair_slot(const bpe *b, int32_t left, int32_t right) {
    for (uint32_t i = pair_hash(left, right) & b->mask;; i = (i + 1) & b->mask) {
        if (b->slots[i] == 0) return &b->slots[i];
        const merge *m = &b->merges[b->slots[i] - 1];
        if (m->left == left && m->right == right) return &b->slots[i];
    }
}

/* "left right" to three ids. The space is looked for from the second byte on: the left part is never empty.
 */
static bool parse_merge(const vocab *v, checkpoint_text text, char *joined, merge *out) {
    const char *space = text.len > 2 ? memchr(text.data + 1, ' ', text.len - 1) : NULL;
    if (!space) return false;
    size_t left = (size_t)(space - text.data), right = text.len - left - 1;
    memcpy(joined, text.data, left);
    memcpy(joined + left, space + 1, right);
    out->left = vocab_find(v, text.data, left);
    out->right = vocab_find(v, space + 1, right);
    out->merged = vocab_find(v, joined, left + right);
    return out->left >= 0 && out->right >= 0 && out->merged >= 0;
}

status bpe_new(bpe **out, const vocab *v, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(v);
    PRE(ckpt);
    static const char key[] = "tokenizer.ggml.merges";
    checkpoint_kind kind;
    uint64_t count;
    if (!checkpoint_list(ckpt, key, &kind, &count) || kind != CHECKPOINT_TEXTS || count > MERGES_MAX)
        return errf(eb, ST_CORRUPT, "tokenizer: the file has no list of merges (%s)", key);

    bpe *b = xcalloc(1, sizeof *b);
    b->vocab = v;
    b->count = (uint32_t)count;
    b->merges = xcalloc(count, sizeof *b->merges);
    uint32_t slots = 8;
    while (slots < count * 2) slots *= 2;
    b->slots = xcalloc(slots, sizeof *b->slots);
    b->mask = slots - 1;

    size_t longest = (size_t)v->longest * 2 + 1; /* of a merge whose parts are tokens */
    char *joined = xmalloc(longest);
    for (uint32_t rank = 0; rank < b->count; rank++) {
        checkpoint_text text;
        CHECK(checkpoint_list_text(ckpt, key, rank, &text));
        if (text.len > longest || !parse_merge(v, text, joined, &b->merges[rank])) {
            free(joined);
            bpe_free(b);
            return errf(eb, ST_CORRUPT, "tokenizer: merge %u is not two tokens that make a third", rank);
        }
        uint32_t *slot = pair_slot(b, b->merges[rank].left, b->merges[rank].right);
        if (!*slot) *slot = rank + 1; /* of equal merges the first counts */
    }
    free(joined);
    *out = b;
    return ST_OK;
}

void bpe_free(bpe *b) {
    if (!b) return;
    free(b->merges);
    free(b->slots);
    free(b);
}

/* --- the heap: a binary min-heap of rank << 32 | place --- */

static void heap_push(bpe_work *w, uint64_t key) {
    DEBUG_ASSERT(w->heap_count < 3 * w->capacity);
    size_t i = w->heap_count++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
}

static uint64_t heap_pop(bpe_work *w) {
    uint64_t top = w->heap[0], last = w->heap[--w->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_count) break;
        if (child + 1 < w->heap_count && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= last) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* --- merging --- */

static status work_reserve(bpe_work *w, size_t len, errbuf *eb) {
    if (len <= w->capacity) return ST_OK;
    size_t capacity = MAX(len, 256u);
    bpe_work_done(w);
    w->id = malloc(capacity * sizeof *w->id);
    w->prev = malloc(capacity * sizeof *w->prev);
    w->next = malloc(capacity * sizeof *w->next);
    /* n - 1 pairs at first, and at most two new ones for each of the n - 1 merges. */
    w->heap = malloc(3 * capacity * sizeof *w->heap);
    if (!w->id || !w->prev || !w->next || !w->heap) {
        bpe_work_done(w);
        return errf(eb, ST_NOMEM, "tokenizer: no memory for a word of %zu bytes", len);
    }
    w->capacity = capacity;
    return ST_OK;
}

void bpe_work_done(bpe_work *w) {
    free(w->id);
    free(w->prev);
    free(w->next);
    free(w->heap);
    *w = (bpe_work){0};
}

static void push_pair(const bpe *b, bpe_work *w, uint32_t left) {
    if (left == NONE || w->next[left] == NONE) return;
    int32_t l = w->id[left], r = w->id[w->next[left]];
    if (l < 0 || r < 0) return;
    uint32_t slot = *pair_slot(b, l, r);
    if (slot) heap_push(w, (uint64_t)(slot - 1) << 32 | left);
}

status bpe_encode(const bpe *b, bpe_work *w, const char *piece, size_t len, token_list *out, errbuf *eb) {
    PRE(b);
    PRE(w);
    PRE(out);
    if (len == 0) return ST_OK;
    if (len > PIECE_MAX) return errf(eb, ST_NOMEM, "tokenizer: a word of %zu bytes is too long", len);
    status st = work_reserve(w, len, eb);
    if (st != ST_OK) return st;

    uint32_t n = (uint32_t)len;
    for (uint32_t i = 0; i < n; i++) {
        w->id[i] = b->vocab->id_of_byte[(unsigned char)piece[i]];
        w->prev[i] = i ? i - 1 : NONE;
        w->next[i] = i + 1 < n ? i + 1 : NONE;
    }
    w->heap_count = 0;
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(b, w, i);

    while (w->heap_count) {
        uint64_t key = heap_pop(w);
        const merge *m = &b->merges[key >> 32];
        uint32_t left = (uint32_t)key, right = w->next[left];
        if (w->id[left] != m->left || right == NONE || w->id[right] != m->right) continue; /* stale */
        w->id[left] = m->merged;
        w->id[right] = -1;
        w->next[left] = w->next[right];
        if (w->next[left] != NONE) w->prev[w->next[left]] = left;
        push_pair(b, w, w->prev[left]);
        push_pair(b, w, left);
    }
    for (uint32_t i = 0; i != NONE; i = w->next[i])
        if (w->id[i] >= 0) token_list_add(out, w->id[i]);
    return ST_OK;
}
