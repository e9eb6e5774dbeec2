/* sample_select - the shortest run of best tokens that has k members, or a given share of the mass, without
 * sorting.
 *
 * Tokens are ordered by descending z, of equal z by ascending id; a run is therefore told by its last member,
 * its `cut`: a key (sample_math.cuh: ascending for descending z) and an id. The key of the last member is
 * found by histograms (radix selection; Alabi et al.: Fast k-selection algorithms for graphics processing
 * units, 2012): each pass sums the weights - 1 by count, the mass by mass - of the tokens in a range of keys
 * into BINS bins, and goes on in the bin in which the sum reaches what is needed, until the range is one key.
 * Then, only when some but not all tokens of that key belong to the run, one more pass counts them in order
 * of id.
 *
 * The bins of the first pass have equal width in z, since floats' own bits would put most of a vocabulary
 * into a few bins and make their atomics wait for each other; 1/64 wide, they leave a range that one or two
 * passes on bits resolve. Weights are whole numbers, so that neither the order of the atomics nor that of the
 * threads shows in the result. 64-bit sums are pairs of 32-bit words, for which shared memory has atomics;
 * whoever overflows the low one carries.
 *
 * The block's threads take tokens in fours, as 16 bytes and as they share their random words. */
#ifndef BATON_KERNELS_CUDA_SAMPLE_SELECT_CUH
#define BATON_KERNELS_CUDA_SAMPLE_SELECT_CUH

#include "kernels/cuda/sample_math.cuh"

#define SAMPLE_THREADS_MAX 1024u
#define BINS               2048u
#define BINS_PER_Z         64.0f /* of the first pass; the last bin takes all z below -32 too */

/* One block's row. */
struct token_row {
    float *logits; /* [vocab] */
    uint32_t vocab, fours;
    bool wide; /* a four can be loaded at once */
};

struct found_bin {
    uint32_t bin;
    unsigned long long before, weight; /* of the bins before it, and its own */
};

struct sample_shared {
    uint32_t low[BINS], high[BINS];
    unsigned long long warps[SAMPLE_THREADS_MAX / 32]; /* what the warps tell each other */
    uint32_t warp_ids[SAMPLE_THREADS_MAX / 32];
    found_bin found;
    uint32_t found_id;
};
static __device__ __forceinline__ sample_shared *shared_of_block() {
    return reinterpret_cast<sample_shared *>(shared_memory());
}

/* Beyond the vocabulary there are logits that never come. */
static __device__ __forceinline__ void load_four(const token_row *row, uint32_t four, float x[4]) {
    if (row->wide) {
        vec16 v = load16(row->logits + (size_t)four * 4);
#pragma unroll
        for (int i = 0; i < 4; i++) x[i] = float_of_bits(v.w[i]);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = four * 4 + i < row->vocab ? row->logits[four * 4 + i] : MINUS_INFINITE;
}

struct cut {
    uint32_t key, id; /* the last member; UINT32_MAX, UINT32_MAX: all tokens */
};
static __device__ __forceinline__ bool within(cut c, uint32_t key, uint32_t id) {
    return key < c.key || (key == c.key && id <= c.id);
}

/* What fills a run. */
struct goal {
    bool by_mass;
    uint32_t count; /* members, when not by mass */
    float share;    /* of the mass */
};
static __device__ __forceinline__ uint64_t weight_of(const goal *g, const softmax *s, uint32_t key) {
    float p = chance_of(s, key);
    if (!(p > 0)) return 0;
    return g->by_mass ? mass_of(p) : 1;
}

/* ceil(share of total), at least 1 and at most total. */
static __device__ __forceinline__ uint64_t needed(const goal *g, uint64_t total) {
    uint64_t need = g->count;
    if (g->by_mass) {
        double part = mul_exact((double)g->share, (double)total);
        need = (uint64_t)part;
        if ((double)need < part) need++;
    }
    need = need > 0 ? need : 1;
    return need < total ? need : total;
}

/* The sum of `own` over the threads before this one; *total is that of all. Safe to call again at once. */
static __device__ __forceinline__ uint64_t block_scan(uint64_t own, uint64_t *total) {
    unsigned long long *warps = shared_of_block()->warps;
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned long long sum = own;
    for (uint32_t delta = 1; delta < 32; delta *= 2) {
        unsigned long long below = warp_get_up(sum, (int)delta);
        if (lane >= delta) sum += below;
    }
    block_sync();
    if (lane == 31) warps[warp] = sum;
    block_sync();
    uint64_t before = sum - own, all = 0;
    for (uint32_t w = 0; w < blockDim.x / 32; w++) {
        if (w < warp) before += warps[w];
        all += warps[w];
    }
    *total = all;
    return before;
}

/* --- histograms --- */

struct key_span {
    uint32_t first, last; /* keys, both within */
    bool first_pass;
    uint32_t shift; /* 2^shift keys in a bin, after the first pass */
};

static __device__ __forceinline__ uint32_t bin_of(const key_span *s, uint32_t key) {
    if (!s->first_pass) return (key - s->first) >> s->shift;
    float at = mul_exact(float_of_bits(key), BINS_PER_Z);
    return at < (float)(BINS - 1) ? (uint32_t)at : BINS - 1;
}
static __device__ __forceinline__ uint32_t key_of_bin(uint32_t bin) {
    return bits_of(div_exact((float)bin, BINS_PER_Z));
}
static __device__ __forceinline__ key_span span_of_bin(const key_span *s, uint32_t bin) {
    key_span n = {0, 0, false, 0};
    if (s->first_pass) {
        n.first = key_of_bin(bin);
        n.last = bin < BINS - 1 ? key_of_bin(bin + 1) - 1 : EXP_LOWEST_KEY;
    } else {
        n.first = s->first + (bin << s->shift);
        n.last = n.first + (1u << s->shift) - 1;
    }
    while ((n.last - n.first) >> n.shift >= BINS) n.shift++;
    return n;
}

static __device__ __forceinline__ void add_weight(uint32_t bin, uint64_t weight) {
    sample_shared *sh = shared_of_block();
    uint32_t low = (uint32_t)weight, high = (uint32_t)(weight >> 32);
    if (low && atomic_add(&sh->low[bin], low) > UINT32_MAX - low) high++;
    if (high) atomic_add(&sh->high[bin], high);
}

/* The weights of the tokens in the limit whose keys are in the span. */
static __device__ __forceinline__ void fill_bins(const token_row *row, const softmax *s, cut limit,
                                                 const goal *g, const key_span *span) {
    for (uint32_t four = threadIdx.x; four < row->fours; four += blockDim.x) {
        float x[4];
        load_four(row, four, x);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t key = key_of(s, x[i]);
            if (key < span->first || key > span->last || !within(limit, key, four * 4 + i)) continue;
            add_weight(bin_of(span, key), weight_of(g, s, key));
        }
    }
}

/* The bin in which the sum reaches *need, which is set from the total when it is 0. A thread has neighbouring
 * bins. */
static __device__ __forceinline__ found_bin find_bin(const goal *g, uint64_t *need) {
    sample_shared *sh = shared_of_block();
    uint32_t bins = BINS / blockDim.x, begin = threadIdx.x * bins;
    uint64_t own = 0, total;
    for (uint32_t b = begin; b < begin + bins; b++) own += sh->low[b] + ((uint64_t)sh->high[b] << 32);
    uint64_t before = block_scan(own, &total);
    if (*need == 0) *need = needed(g, total);
    if (before < *need && *need <= before + own) {
        uint64_t weight = 0;
        uint32_t b = begin;
        for (;; b++) {
            weight = sh->low[b] + ((uint64_t)sh->high[b] << 32);
            if (*need <= before + weight) break;
            before += weight;
        }
        sh->found = {b, before, weight};
    }
    block_sync();
    return sh->found;
}

static __device__ __forceinline__ void clear_bins() {
    sample_shared *sh = shared_of_block();
    for (uint32_t b = threadIdx.x; b < BINS; b += blockDim.x) sh->low[b] = sh->high[b] = 0;
}

/* --- ties --- */

/* The id of the n-th token (from 1) with this key. */
static __device__ uint32_t nth_id(const token_row *row, const softmax *s, uint32_t key, uint64_t n) {
    sample_shared *sh = shared_of_block();
    uint64_t passed = 0;
    for (uint32_t base = 0; base < row->fours && passed < n; base += blockDim.x) {
        uint32_t four = base + threadIdx.x;
        uint32_t ties = 0; /* a bit for each of the four */
        if (four < row->fours) {
            float x[4];
            load_four(row, four, x);
            for (uint32_t i = 0; i < 4; i++) ties |= (uint32_t)(key_of(s, x[i]) == key) << i;
        }
        uint64_t own = (ties & 1) + (ties >> 1 & 1) + (ties >> 2 & 1) + (ties >> 3 & 1), total;
        uint64_t at = passed + block_scan(own, &total);
        for (uint32_t i = 0; i < 4; i++) {
            if (!(ties >> i & 1)) continue;
            if (++at == n) sh->found_id = four * 4 + i;
        }
        passed += total;
    }
    block_sync();
    return sh->found_id;
}

/* --- all of it --- */

/* Of the tokens within the limit, the shortest run that reaches the goal. All threads get it. */
static __device__ cut select_run(const token_row *row, const softmax *s, cut limit, const goal *g) {
    key_span span = {0, EXP_LOWEST_KEY, true, 0};
    uint64_t need = 0;
    found_bin found;
    do {
        block_sync(); /* everyone has read the bins, and what was found, of the pass before */
        clear_bins();
        block_sync();
        fill_bins(row, s, limit, g, &span);
        block_sync();
        found = find_bin(g, &need);
        need -= found.before;
        span = span_of_bin(&span, found.bin);
    } while (span.first != span.last);

    uint32_t key = span.first;
    uint64_t each = weight_of(g, s, key), ties = (need + each - 1) / each;
    cut c = {key, key == limit.key ? limit.id : UINT32_MAX};
    if (ties * each < found.weight) c.id = nth_id(row, s, key, ties);
    return c;
}

#endif
