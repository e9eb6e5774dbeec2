#include "text/bpe.h"

#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NONE       UINT32_MAX
#define MERGES_MAX (1u << 24)
#define MERGES     "tokenizer.ggml.merges"
#define SCORES     "tokenizer.ggml.scores"
#define PIECE_MAX  (UINT32_MAX / 4)
#define GONE       (-2) /* a symbol that was merged away */

typedef struct merge {
    int32_t left, right, merged;
} merge;

struct bpe {
    const vocab *vocab;
    merge *merges; /* [count], by rank; NULL when scores are what counts */
    uint32_t count;
    uint32_t *slots; /* open addressing (left, right) -> rank + 1; at most half full */
    uint32_t mask;
    uint32_t *rank_of; /* [vocab->count] rank of the token's score; NULL without scores */
};

/* --- merges --- */

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

/* Merge `rank` of a list of ids. */
static bool ids_of_merge(const vocab *v, const checkpoint *ckpt, uint32_t rank, merge *out) {
    int64_t ids[3];
    for (uint32_t i = 0; i < 3; i++) {
        bool there = checkpoint_list_i64(ckpt, MERGES, (uint64_t)rank * 3 + i, &ids[i]);
        if (!there || ids[i] < 0 || ids[i] >= v->count) return false;
    }
    *out = (merge){(int32_t)ids[0], (int32_t)ids[1], (int32_t)ids[2]};
    return true;
}

static status read_merges(bpe *b, const checkpoint *ckpt, checkpoint_kind kind, errbuf *eb) {
    const vocab *v = b->vocab;
    b->merges = xcalloc(MAX(b->count, 1u), sizeof *b->merges);
    uint32_t slots = 8;
    while (slots < (uint64_t)b->count * 2) slots *= 2;
    b->slots = xcalloc(slots, sizeof *b->slots);
    b->mask = slots - 1;

    size_t longest = (size_t)v->longest * 2 + 1; /* of a merge whose parts are tokens */
    char *joined = xmalloc(longest);
    for (uint32_t rank = 0; rank < b->count; rank++) {
        merge *m = &b->merges[rank];
        checkpoint_text text;
        bool good = kind == CHECKPOINT_INTEGERS ? ids_of_merge(v, ckpt, rank, m)
                                                : checkpoint_list_text(ckpt, MERGES, rank, &text) &&
                                                      text.len <= longest && parse_merge(v, text, joined, m);
        if (!good) {
            free(joined);
            return errf(eb, ST_CORRUPT, "tokenizer: merge %u is not two tokens that make a third", rank);
        }
        if (vocab_is_control(v, m->merged)) continue; /* no text spells the model's own signs */
        uint32_t *slot = pair_slot(b, m->left, m->right);
        /* Of equal merges the first counts in one world, the last in the other. */
        if (!*slot || kind == CHECKPOINT_INTEGERS) *slot = rank + 1;
    }
    free(joined);
    return ST_OK;
}

/* --- scores --- */

typedef struct scored {
    double score;
    uint32_t id;
} scored;

static int compare_scores(const void *a, const void *b) {
    const scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* The highest score is rank 0; equal scores share a rank, so that the leftmost of their pairs comes first. */
static status read_scores(bpe *b, const checkpoint *ckpt, errbuf *eb) {
    uint32_t count = b->vocab->count;
    scored *order = xcalloc(count, sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        order[i].id = i;
        if (checkpoint_list_f64(ckpt, SCORES, i, &order[i].score) && !isnan(order[i].score)) continue;
        free(order);
        return errf(eb, ST_CORRUPT, "tokenizer: the score of token %u is no number (%s)", i, SCORES);
    }
    qsort(order, count, sizeof *order, compare_scores);
    b->rank_of = xcalloc(count, sizeof *b->rank_of);
    for (uint32_t i = 1, rank = 0; i < count; i++) {
        if (order[i].score < order[i - 1].score) rank = i;
        b->rank_of[order[i].id] = rank;
    }
    free(order);
    return ST_OK;
}

/* --- the two --- */

status bpe_new(bpe **out, const vocab *v, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(v);
    PRE(ckpt);
    checkpoint_kind kind;
    uint64_t count;
    bpe *b = xcalloc(1, sizeof *b);
    b->vocab = v;
    status st;
    if (checkpoint_list(ckpt, MERGES, &kind, &count)) {
        bool ids = kind == CHECKPOINT_INTEGERS;
        uint64_t merges = ids ? count / 3 : count;
        b->count = (uint32_t)MIN(merges, MERGES_MAX);
        if (merges > MERGES_MAX || (ids && count % 3) || (!ids && kind != CHECKPOINT_TEXTS))
            st = errf(eb, ST_CORRUPT, "tokenizer: the list of merges is no list of pairs (%s)", MERGES);
        else
            st = read_merges(b, ckpt, kind, eb);
    } else if (v->byte_level) {
        st = errf(eb, ST_CORRUPT, "tokenizer: the file has no list of merges (%s)", MERGES);
    } else if (!checkpoint_list(ckpt, SCORES, &kind, &count) || count != v->count) {
        st = errf(eb, ST_CORRUPT,
                  "tokenizer: the file has neither merges (%s) nor a score for each token (%s)", MERGES,
                  SCORES);
    } else {
        st = read_scores(b, ckpt, eb);
    }
    if (st != ST_OK) {
        bpe_free(b);
        return st;
    }
    *out = b;
    return ST_OK;
}

void bpe_free(bpe *b) {
    if (!b) return;
    free(b->merges);
    free(b->slots);
    free(b->rank_of);
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

static status work_reserve(bpe_work *w, size_t symbols, errbuf *eb) {
    if (symbols <= w->capacity) return ST_OK;
    size_t capacity = MAX(symbols, 256u);
    bpe_work_done(w);
    w->id = malloc(capacity * sizeof *w->id);
    w->begin = malloc(capacity * sizeof *w->begin);
    w->prev = malloc(capacity * sizeof *w->prev);
    w->next = malloc(capacity * sizeof *w->next);
    /* n - 1 pairs at first, and at most two new ones for each of the n - 1 merges. */
    w->heap = malloc(3 * capacity * sizeof *w->heap);
    if (!w->id || !w->begin || !w->prev || !w->next || !w->heap) {
        bpe_work_done(w);
        return errf(eb, ST_NOMEM, "tokenizer: no memory for a word of %zu symbols", symbols);
    }
    w->capacity = capacity;
    return ST_OK;
}

void bpe_work_done(bpe_work *w) {
    free(w->id);
    free(w->begin);
    free(w->prev);
    free(w->next);
    free(w->heap);
    *w = (bpe_work){0};
}

/* Bytes of the character at s[0]; the text is valid. */
static uint32_t char_len(char lead) {
    unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

static size_t count_symbols(const vocab *v, const char *piece, size_t len) {
    if (v->byte_level) return len;
    size_t n = 0;
    for (size_t at = 0; at < len; at += char_len(piece[at])) n++;
    return n;
}

static void set_symbols(const vocab *v, bpe_work *w, const char *piece, uint32_t n) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bytes = v->byte_level ? 1 : char_len(piece[at]);
        w->id[i] =
            v->byte_level ? v->id_of_byte[(unsigned char)piece[at]] : vocab_find_plain(v, piece + at, bytes);
        w->begin[i] = at;
        w->prev[i] = i ? i - 1 : NONE;
        w->next[i] = i + 1 < n ? i + 1 : NONE;
        at += bytes;
    }
}

/* A piece on its way. */
typedef struct merging {
    const bpe *bpe;
    bpe_work *work;
    const char *piece;
    uint32_t len; /* bytes */
} merging;

static uint32_t symbol_end(const merging *m, uint32_t i) {
    return m->work->next[i] == NONE ? m->len : m->work->begin[m->work->next[i]];
}

/* The token that symbol `left` and the next one make, or -1; its rank. */
static int32_t find_pair(const merging *m, uint32_t left, uint32_t *rank) {
    const bpe *b = m->bpe;
    const bpe_work *w = m->work;
    uint32_t right = w->next[left];
    if (right == NONE) return -1;
    if (b->rank_of) {
        uint32_t begin = w->begin[left], end = symbol_end(m, right);
        if (end - begin > b->vocab->longest) return -1;
        int32_t id = vocab_find_plain(b->vocab, m->piece + begin, end - begin);
        if (id >= 0) *rank = b->rank_of[id];
        return id;
    }
    if (w->id[left] < 0 || w->id[right] < 0) return -1;
    uint32_t slot = *pair_slot(b, w->id[left], w->id[right]);
    if (!slot) return -1;
    *rank = slot - 1;
    return b->merges[slot - 1].merged;
}

static void push_pair(const merging *m, uint32_t left) {
    uint32_t rank;
    if (left != NONE && find_pair(m, left, &rank) >= 0) heap_push(m->work, (uint64_t)rank << 32 | left);
}

static void merge_all(const merging *m) {
    bpe_work *w = m->work;
    while (w->heap_count) {
        uint64_t key = heap_pop(w);
        uint32_t left = (uint32_t)key, rank;
        if (w->id[left] == GONE) continue;
        int32_t merged = find_pair(m, left, &rank);
        if (merged < 0 || rank != key >> 32) continue; /* stale */
        uint32_t right = w->next[left];
        w->id[left] = merged;
        w->id[right] = GONE;
        w->next[left] = w->next[right];
        if (w->next[left] != NONE) w->prev[w->next[left]] = left;
        push_pair(m, w->prev[left]);
        push_pair(m, left);
    }
}

/* A symbol without a token. Returns whether it became the unknown one. */
static bool add_unknown(const vocab *v, const char *bytes, uint32_t len, bool after_unknown,
                        token_list *out) {
    bool written = !v->byte_level;
    for (uint32_t i = 0; i < len; i++) written = written && v->id_of_byte[(unsigned char)bytes[i]] >= 0;
    if (written) {
        for (uint32_t i = 0; i < len; i++) token_list_add(out, v->id_of_byte[(unsigned char)bytes[i]]);
        return false;
    }
    if (v->unknown < 0) return false;
    if (!after_unknown || !v->fuse_unknown) token_list_add(out, v->unknown);
    return true;
}

status bpe_encode(const bpe *b, bpe_work *w, const char *piece, size_t len, token_list *out, errbuf *eb) {
    PRE(b);
    PRE(w);
    PRE(out);
    if (len == 0) return ST_OK;
    if (len > PIECE_MAX) return errf(eb, ST_NOMEM, "tokenizer: a word of %zu bytes is too long", len);
    uint32_t n = (uint32_t)count_symbols(b->vocab, piece, len);
    status st = work_reserve(w, n, eb);
    if (st != ST_OK) return st;

    merging m = {b, w, piece, (uint32_t)len};
    set_symbols(b->vocab, w, piece, n);
    w->heap_count = 0;
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(&m, i);
    merge_all(&m);

    bool unknown = false;
    for (uint32_t i = 0; i != NONE; i = w->next[i]) {
        bool known = w->id[i] >= 0;
        if (known) token_list_add(out, w->id[i]);
        unknown = !known &&
                  add_unknown(b->vocab, piece + w->begin[i], symbol_end(&m, i) - w->begin[i], unknown, out);
    }
    return ST_OK;
}
