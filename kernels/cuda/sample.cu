/* sample - from rows of logits to tokens, the same ids as the host's sampler (host/sampler.c) chooses from
 * them:
 *
 *   raw logits -> bias -> penalties -> bans -> (greedy: max) | temperature -> min-p -> top-k -> top-p -> race
 *
 *   logits [count, vocab] f32, edited in place;  seen [count, vocab] of penalties, zeros between launches
 *
 * A block serves one row; the row stays in L2 between the passes. A greedy row is read once, one with plain
 * temperature twice; filters cost three to five passes each (sample_select.cuh) and tell the set by its last
 * member, its cut, so that nothing is collected or moved.
 *
 * Race: Gumbel-max picks arg max of z + g with g = -log(-log(u)), which is the arg min of -log(u) / exp(z):
 * a race of exponential clocks. u is word id % 4 of Philox(seed; id / 4, position, choice, 0), which neither
 * filters nor the order of threads move. Since -log(u) >= 1 - u, most tokens are dismissed in fp32 and
 * without a logarithm by the best time that the warp has seen; the margin is far above the rounding errors,
 * so the shortcut never decides. The smallest time wins, of equals the lowest id, whatever the number of
 * threads. */
#include "kernels/cuda/sample_select.cuh"

#define SEEN_PROMPT 0x80000000u

struct sample_args {
    float *logits;
    uint32_t vocab;
    bool wide;
    const sample_row *rows;
    uint32_t *seen;
    sample_token *tokens;
};

/* --- edits --- */

static __device__ __forceinline__ bool known(const token_row *row, int32_t id) {
    return id >= 0 && (uint32_t)id < row->vocab;
}

/* Entries of one id are added in the order of the list, by the thread that has the first of them. */
static __device__ void add_biases(const token_row *row, const sample_row *r) {
    for (uint32_t i = threadIdx.x; i < r->bias_count; i += blockDim.x) {
        int32_t id = r->bias_ids[i];
        uint32_t first = 0;
        while (r->bias_ids[first] != id) first++;
        if (first != i || !known(row, id)) continue;
        float logit = row->logits[id];
        for (uint32_t j = i; j < r->bias_count; j++)
            if (r->bias_ids[j] == id) logit = add_exact(logit, r->biases[j]);
        row->logits[id] = logit;
    }
}

/* A penalised logit stays finite, or a tiny repetition penalty would make several tokens equally infinite. */
static __device__ float penalised(float logit, uint32_t seen, const sample_row *r) {
    if (r->repetition != 1.0f)
        logit = logit > 0 ? div_exact(logit, r->repetition) : mul_exact(logit, r->repetition);
    uint32_t times = seen & ~SEEN_PROMPT;
    if (times > 0) logit = add_exact(logit, -add_exact(mul_exact(r->frequency, (float)times), r->presence));
    return logit > FLOAT_MAX ? FLOAT_MAX : logit;
}

/* Each id once: whoever takes its marks away serves it, which also leaves them clean. Presence and frequency
 * are about the output only. */
static __device__ void apply_penalties(const token_row *row, const sample_row *r, uint32_t *seen) {
    uint32_t end = r->prompt_count + r->output_count;
    for (uint32_t i = threadIdx.x; i < r->prompt_count; i += blockDim.x)
        if (known(row, r->ids[i])) seen[r->ids[i]] = SEEN_PROMPT;
    block_sync();
    for (uint32_t i = r->prompt_count + threadIdx.x; i < end; i += blockDim.x)
        if (known(row, r->ids[i])) atomic_add(&seen[r->ids[i]], 1u);
    block_sync();
    for (uint32_t i = threadIdx.x; i < end; i += blockDim.x) {
        int32_t id = r->ids[i];
        uint32_t marks = known(row, id) ? atomic_swap(&seen[id], 0u) : 0;
        if (marks) row->logits[id] = penalised(row->logits[id], marks, r);
    }
}

static __device__ __forceinline__ bool penalises(const sample_row *r) {
    return r->repetition != 1.0f || r->presence != 0 || r->frequency != 0;
}
static __device__ __forceinline__ bool edits(const sample_row *r) {
    return r->bias_count > 0 || r->ban_count > 0 || penalises(r);
}

static __device__ void edit_logits(const token_row *row, const sample_row *r, uint32_t *seen) {
    block_sync(); /* the raw logits have been read */
    add_biases(row, r);
    block_sync();
    if (penalises(r)) apply_penalties(row, r, seen);
    block_sync();
    for (uint32_t i = threadIdx.x; i < r->ban_count; i += blockDim.x)
        if (known(row, r->bans[i])) row->logits[r->bans[i]] = MINUS_INFINITE;
    block_sync();
}

/* --- choosing --- */

struct peak {
    float value;
    uint32_t id; /* the lowest with this value */
    bool usable; /* no logit is NaN or +infinity, and not all are -infinity */
};

static __device__ __forceinline__ bool higher(float value, uint32_t id, const peak *p) {
    return value > p->value || (value == p->value && id < p->id);
}

static __device__ peak find_peak(const token_row *row) {
    peak p = {MINUS_INFINITE, UINT32_MAX, true};
    for (uint32_t four = threadIdx.x; four < row->fours; four += blockDim.x) {
        float x[4];
        load_four(row, four, x);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            p.usable = p.usable && x[i] <= FLOAT_MAX; /* NaN is not */
            if (higher(x[i], four * 4 + i, &p)) p = {x[i], four * 4 + i, p.usable};
        }
    }
    for (int m = 16; m > 0; m >>= 1) {
        float value = warp_get_xor(p.value, m);
        uint32_t id = warp_get_xor(p.id, m);
        if (higher(value, id, &p)) p = {value, id, p.usable};
    }
    p.usable = warp_ballot(!p.usable) == 0;

    sample_shared *sh = shared_of_block();
    uint32_t warp = threadIdx.x / 32;
    block_sync(); /* what the warps told each other before has been read */
    if (threadIdx.x % 32 == 0) {
        sh->warps[warp] = bits_of(p.value) | (uint64_t)p.usable << 32;
        sh->warp_ids[warp] = p.id;
    }
    block_sync();
    for (uint32_t w = 0; w < blockDim.x / 32; w++) {
        float value = float_of_bits((uint32_t)sh->warps[w]);
        p.usable = p.usable && sh->warps[w] >> 32;
        if (higher(value, sh->warp_ids[w], &p)) p = {value, sh->warp_ids[w], p.usable};
    }
    p.usable = p.usable && p.value != MINUS_INFINITE;
    return p;
}

struct lead {
    double time;
    uint32_t id;
};

static __device__ __forceinline__ bool sooner(double time, uint32_t id, const lead *l) {
    return time < l->time || (time == l->time && id < l->id);
}

/* The four tokens enter the race; a time above `bound` cannot win. True when one took the thread's lead. */
static __device__ __forceinline__ bool race_four(const token_row *row, const sample_row *r, const softmax *s,
                                                 cut limit, uint32_t four, float bound, lead *l) {
    float x[4];
    uint32_t words[4];
    bool took = false;
    load_four(row, four, x);
    random_words(r, four, words);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t key = key_of(s, x[i]), id = four * 4 + i;
        if (key > EXP_LOWEST_KEY || !within(limit, key, id)) continue;
        float p = chance_of(s, key),
              rest = mul_exact((float)~words[i], 0x1p-32f); /* rest: 1 - u, or half a step less */
        if (!(p > 0) || rest > mul_exact(mul_exact(bound, p), 1.00001f)) continue;
        double u = mul_exact(add_exact((double)words[i], 0.5), 0x1p-32);
        double time = div_exact(-exact_log(u), (double)p);
        if (!sooner(time, id, l)) continue;
        *l = {time, id};
        took = true;
    }
    return took;
}

static __device__ uint32_t race(const token_row *row, const sample_row *r, const softmax *s, cut limit) {
    lead l = {INFINITE_DOUBLE, UINT32_MAX};
    float bound = -MINUS_INFINITE; /* the best time of the warp */
    for (uint32_t base = 0; base < row->fours; base += blockDim.x) {
        uint32_t four = base + threadIdx.x;
        bool took = four < row->fours && race_four(row, r, s, limit, four, bound, &l);
        if (warp_ballot(took)) bound = -warp_max(-(float)l.time);
    }
    for (int m = 16; m > 0; m >>= 1) {
        double time = warp_get_xor(l.time, m);
        uint32_t id = warp_get_xor(l.id, m);
        if (sooner(time, id, &l)) l = {time, id};
    }

    sample_shared *sh = shared_of_block();
    uint32_t warp = threadIdx.x / 32;
    block_sync();
    if (threadIdx.x % 32 == 0) {
        sh->warps[warp] = bits_of(l.time);
        sh->warp_ids[warp] = l.id;
    }
    block_sync();
    for (uint32_t w = 0; w < blockDim.x / 32; w++) {
        double time = double_of_bits(sh->warps[w]);
        if (sooner(time, sh->warp_ids[w], &l)) l = {time, sh->warp_ids[w]};
    }
    return l.id;
}

static __device__ uint32_t draw(const token_row *row, const sample_row *r, float best) {
    const softmax s = {best, r->temperature, r->min_p};
    cut limit = {UINT32_MAX, UINT32_MAX};
    if (r->top_k > 0 && (uint32_t)r->top_k < row->vocab) {
        const goal g = {false, (uint32_t)r->top_k, 0};
        limit = select_run(row, &s, limit, &g);
    }
    if (r->top_p < 1.0f) {
        const goal g = {true, 0, r->top_p};
        limit = select_run(row, &s, limit, &g);
    }
    return race(row, r, &s, limit);
}

static __global__ void __launch_bounds__(SAMPLE_THREADS_MAX) sample_kernel(sample_args a) {
    pdl_begin();
    const sample_row *r = &a.rows[blockIdx.x];
    size_t begin = (size_t)blockIdx.x * a.vocab;
    const token_row row = {a.logits + begin, a.vocab, (a.vocab + 3) / 4, a.wide};

    sample_state state = SAMPLE_OK;
    peak best = find_peak(&row);
    if (!best.usable) state = SAMPLE_BROKEN;
    if (best.usable && edits(r)) {
        edit_logits(&row, r, a.seen + begin);
        best = find_peak(&row);
        if (!best.usable) state = SAMPLE_BANNED;
    }
    uint32_t id = best.id;
    if (best.usable && r->temperature > 0) id = draw(&row, r, best.value);
    if (threadIdx.x == 0) {
        a.tokens[blockIdx.x].id = best.usable ? (int32_t)id : -1;
        a.tokens[blockIdx.x].state = state;
    }
}

/* One block has a multiprocessor for itself at large vocabularies; at small ones most of its threads would
 * idle. */
cudaError_t launch_sample(float *logits, uint32_t count, uint32_t vocab, const sample_row *rows,
                          uint32_t *seen, sample_token *tokens, cudaStream_t stream) {
    if (vocab == 0 || vocab > INT32_MAX) return cudaErrorInvalidValue;
    if (count == 0) return cudaSuccess;
    const sample_args a = {logits, vocab, vocab % 4 == 0 && (uintptr_t)logits % 16 == 0, rows, seen, tokens};
    uint32_t threads = vocab > 8192 ? SAMPLE_THREADS_MAX : 128;
    return launch_linked(sample_kernel, dim3(count), threads, sizeof(sample_shared), stream, a);
}
