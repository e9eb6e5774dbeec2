/* traffic_test - what crosses from the GPU to the host in a step, how often the host waits for it, and what a
 * request's wishes may take there. */
#include "tests/cuda/mini.h"
#include "tests/cuda_host/emulation.h"

enum { SEQS = 3, PROMPT = 5, TOKEN_BYTES = 8 };

/* Whoever waits records an event first, and nothing else in these steps records one: the linker puts this in
 * between.
 */
static uint32_t waits;
cudaError_t __real_cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t __wrap_cudaEventRecord(cudaEvent_t event, cudaStream_t stream);

cudaError_t __wrap_cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    waits++;
    return __real_cudaEventRecord(event, stream);
}

/* One step of all prompts; returns the bytes that came to the host. */
static uint64_t bytes_of_step(mini *m, const sampling *params, uint32_t prompt_count) {
    static const uint32_t pages[SEQS][1] = {{3}, {0}, {7}};
    int32_t ids[SEQS * PROMPT];
    step_seq q[SEQS];
    sample_input in[SEQS];
    sample_result out[SEQS];
    uint32_t head[SEQS];
    for (uint32_t i = 0; i < SEQS * PROMPT; i++) ids[i] = (int32_t)(7 * i % MINI_VOCAB);
    for (uint32_t i = 0; i < SEQS; i++) {
        q[i] = (step_seq){.pages = pages[i],
                          .page_count = 1,
                          .row_begin = i * PROMPT,
                          .row_count = PROMPT,
                          .prompt_count = prompt_count};
        in[i] = (sample_input){.params = &params[i], .prompt = ids + i * PROMPT, .prompt_count = PROMPT};
        head[i] = (i + 1) * PROMPT - 1;
    }
    const op_step s = {.ids = ids,
                       .rows = SEQS * PROMPT,
                       .seqs = q,
                       .seq_count = SEQS,
                       .head = head,
                       .head_count = SEQS,
                       .samples = in,
                       .results = out};
    errbuf eb = {0};
    step_pass pass;
    uint64_t before = emulation_bytes_to_host();
    if (mini_step(m, &s, &pass, &eb) != ST_OK) fail_msg("%s", eb.text);
    return emulation_bytes_to_host() - before;
}

static void a_step_sends_eight_bytes_a_token_to_the_host(void **state) {
    (void)state;
    const device_options opt = rig_options(DT_BF16, true);
    mini m = mini_open("cuda", &opt);
    sampling p[SEQS] = {sampling_default(), sampling_default(), sampling_default()};
    p[1].temperature = 0;
    p[2].top_k = 5;
    p[2].repetition_penalty = 1.5f;
    assert_int_equal(bytes_of_step(&m, p, PROMPT), SEQS * TOKEN_BYTES);
    assert_int_equal(bytes_of_step(&m, p, 0), SEQS * TOKEN_BYTES);
    mini_close(&m);
}

/* Of the logits only those rows come to the host; the tokens of the op come once more, before the step's:
 * log-probabilities are told of the chosen one. */
static void rows_that_want_logprobs_share_one_copy_of_tokens_and_one_wait(void **state) {
    (void)state;
    const device_options opt = rig_options(DT_BF16, true);
    mini m = mini_open("cuda", &opt);
    sampling p[SEQS] = {sampling_default(), sampling_default(), sampling_default()};
    uint32_t waits_of_step = 0;
    for (uint32_t rows = 0; rows <= SEQS; rows++) {
        if (rows > 0) p[rows - 1].logprobs = 2;
        waits = 0;
        uint64_t again = rows > 0 ? SEQS * TOKEN_BYTES : 0;
        assert_int_equal(bytes_of_step(&m, p, PROMPT),
                         SEQS * TOKEN_BYTES + rows * MINI_VOCAB * sizeof(float) + again);
        if (rows == 0) waits_of_step = waits;
        assert_int_equal(waits, waits_of_step + (rows > 0));
    }
    assert_int_equal(waits_of_step, 1);
    mini_close(&m);
}

/* Lists as long as a request may make them: they must not find the GPU full in the middle of serving. */
static void no_wish_takes_memory_of_the_gpu_while_it_serves(void **state) {
    (void)state;
    const device_options opt = rig_options(DT_BF16, true);
    mini m = mini_open("cuda", &opt);
    sampling p[SEQS] = {sampling_default(), sampling_default(), sampling_default()};
    sampling_bias bias[SAMPLING_BIAS_MAX];
    int32_t stops[SAMPLING_STOP_IDS_MAX] = {0};
    for (uint32_t i = 0; i < SAMPLING_BIAS_MAX; i++)
        bias[i] = (sampling_bias){.id = (int32_t)(i % MINI_VOCAB)};
    for (uint32_t i = 0; i < SEQS; i++) {
        p[i].bias = bias;
        p[i].bias_count = SAMPLING_BIAS_MAX;
        p[i].stop_ids = stops;
        p[i].stop_id_count = SAMPLING_STOP_IDS_MAX;
        p[i].min_tokens = 4;
        p[i].repetition_penalty = 1.2f;
        p[i].logprobs = 20;
    }
    size_t before, after;
    size_t count = emulation_allocations(&before);
    bytes_of_step(&m, p, PROMPT);
    assert_int_equal(emulation_allocations(&after), count);
    assert_int_equal(after, before);
    mini_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_sends_eight_bytes_a_token_to_the_host),
        cmocka_unit_test(rows_that_want_logprobs_share_one_copy_of_tokens_and_one_wait),
        cmocka_unit_test(no_wish_takes_memory_of_the_gpu_while_it_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
