/* fault_test - a kernel faults: the call that notices answers ST_DEVICE, the text names the operation,
 * everything after it answers at once, and the device can still be closed. The same for a GPU that hangs,
 * whose clock runs fast here. Only the emulation can be made to do either. */
#include "base/clock.h"
#include "kernels/backends.h"
#include "tests/cuda/mini.h"
#include "tests/cuda_host/emulation.h"

#include <stdio.h>
#include <string.h>

static const uint32_t pages[1] = {0};
static const int32_t ids[3] = {1, 2, 3};

/* A GPU that never ends its work, and a clock on which waiting takes no time: the linker puts these in
 * between. */
static bool hangs;
cudaError_t __real_cudaEventQuery(cudaEvent_t event);
cudaError_t __wrap_cudaEventQuery(cudaEvent_t event);
uint64_t __real_clock_now_ns(void);
uint64_t __wrap_clock_now_ns(void);

cudaError_t __wrap_cudaEventQuery(cudaEvent_t event) {
    return hangs ? cudaErrorNotReady : __real_cudaEventQuery(event);
}

/* What waits for the GPU without a deadline would never return. */
#define NEVER_RETURNS(name, type, arg)                                                                       \
    cudaError_t __real_##name(type arg);                                                                     \
    cudaError_t __wrap_##name(type arg);                                                                     \
    cudaError_t __wrap_##name(type arg) {                                                                    \
        if (hangs) fail_msg("%s of a GPU that hangs", #name);                                                \
        return __real_##name(arg);                                                                           \
    }
NEVER_RETURNS(cudaFree, void *, p)
NEVER_RETURNS(cudaFreeHost, void *, p)
NEVER_RETURNS(cudaStreamSynchronize, cudaStream_t, stream)
NEVER_RETURNS(cudaEventSynchronize, cudaEvent_t, event)

/* Pageable memory: such a copy waits for the stream. */
static const void *pageable;
cudaError_t __real_cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t s);
cudaError_t __wrap_cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t s);
cudaError_t __wrap_cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                                   cudaStream_t s) {
    if (hangs && pageable && (to == pageable || from == pageable))
        fail_msg("a copy that waits for a GPU that hangs");
    return __real_cudaMemcpyAsync(to, from, bytes, kind, s);
}

uint64_t __wrap_clock_now_ns(void) {
    static uint64_t now_ns;
    if (!hangs) return __real_clock_now_ns();
    return now_ns += 7000000000u;
}

static int heal(void **state) {
    (void)state;
    hangs = false;
    pageable = NULL;
    emulation_fault_after(0);
    return 0;
}

/* A prompt of three tokens, of which the last is sampled. */
static op_step prompt_step(void) {
    static const step_seq seq = {.pages = pages, .page_count = 1, .row_count = 3, .prompt_count = 3};
    static const uint32_t head = 2;
    op_step s = plain_step(&seq, ids, 3);
    s.head = &head;
    s.head_count = 1;
    return s;
}

/* Kernel `number` of a step faults. The text that step_begin, an op or step_end left. */
static errbuf fault_at(uint64_t number, bool check_ops) {
    device_options opt = rig_options(DT_BF16, true);
    opt.check_ops = check_ops;
    mini m = mini_open("cuda", &opt);
    op_step s = prompt_step();
    step_pass pass;
    errbuf eb = {0}, later = {0}, text = {0};
    emulation_fault_after(number);
    assert_int_equal(mini_step(&m, &s, &pass, &eb), ST_DEVICE);
    m.r.ops->device_error(m.r.d, &text);
    assert_non_null(strstr(text.text, "cudaErrorIllegalAddress"));
    assert_int_equal(m.r.ops->norm(m.r.d, &(op_norm){0}), ST_DEVICE);
    assert_int_equal(m.r.ops->sync(m.r.d, &later), ST_DEVICE);
    assert_string_equal(later.text, text.text);
    memset(&later, 0, sizeof later);
    assert_int_equal(m.r.ops->step_begin(m.r.d, &s, &pass, &later), ST_DEVICE);
    assert_string_equal(later.text, text.text);
    assert_int_equal(m.r.ops->mem_read(m.r.d, &later, m.h, 1), ST_DEVICE);
    assert_null(m.r.ops->mem_alloc(m.r.d, 64));
    mini_close(&m);
    return text;
}

static void with_check_ops_the_op_itself_is_named(void **state) {
    (void)state;
    /* embed, norm, linear, attend (rotation, then prefill), linear, head norm, linear */
    static const char *const names[] = {"embed",  "norm",   "linear",    "attend",
                                        "attend", "linear", "head norm", "linear"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        errbuf text = fault_at(i + 1, true);
        char want[64];
        snprintf(want, sizeof want, ": %s: ", names[i]);
        if (!strstr(text.text, want))
            fail_msg("kernel %zu: '%s' does not name '%s'", i + 1, text.text, names[i]);
        emulation_fault_after(0);
    }
}

static void without_it_the_step_is_named_at_the_latest(void **state) {
    (void)state;
    errbuf text = fault_at(8, false);
    assert_true(strstr(text.text, "linear") || strstr(text.text, "step"));
}

static void a_hand_off_that_faults_is_named(void **state) {
    (void)state;
    device_options opt = rig_options(DT_BF16, true);
    mini m = mini_open("cuda", &opt);
    uint64_t wire[MINI_HEADS * MINI_HEAD_DIM], sum = 0;
    const op_kv_copy a = {.layout = &m.r.layout,
                          .kv = m.r.kv,
                          .pages = pages,
                          .piece = kv_piece_of(&m.r.layout, 0, 1, 0, 1),
                          .wire = wire,
                          .checksum = &sum};
    assert_int_equal(m.r.ops->kv_gather(m.r.d, &a), ST_OK);
    emulation_fault_after(1);
    errbuf text = {0};
    assert_int_equal(m.r.ops->kv_gather(m.r.d, &a), ST_DEVICE);
    m.r.ops->device_error(m.r.d, &text);
    assert_non_null(strstr(text.text, "kv_gather"));
    assert_int_equal(m.r.ops->kv_scatter(m.r.d, &a), ST_DEVICE);
    mini_close(&m);
}

static void a_gpu_that_hangs_is_noticed_and_can_be_left(void **state) {
    (void)state;
    static mini m; /* what a hung GPU may still use is not freed, and is no leak */
    device_options opt = rig_options(DT_BF16, true);
    m = mini_open("cuda", &opt);
    op_step s = prompt_step();
    step_pass pass;
    errbuf eb = {0};
    hangs = true;
    assert_int_equal(mini_step(&m, &s, &pass, &eb), ST_DEVICE);
    assert_non_null(strstr(eb.text, "step did not end within 60 s"));
    assert_int_equal(m.r.ops->mem_read(m.r.d, &eb, m.h, 1), ST_DEVICE);
    device *left = m.r.d;
    mini_close(&m);
    m.r.d = left;
}

/* Nothing was noticed while it worked: the first to wait is who frees. */
static void a_gpu_that_hangs_can_be_left_by_who_did_not_know(void **state) {
    (void)state;
    static mini m;
    device_options opt = rig_options(DT_BF16, true);
    m = mini_open("cuda", &opt);
    hangs = true;
    device *left = m.r.d;
    errbuf text = {0};
    mini_close(&m);
    m.r.d = left;
    m.r.ops = backend_find("cuda");
    m.r.ops->device_error(left, &text);
    assert_non_null(strstr(text.text, "work before freeing memory did not end within 60 s"));
}

static void a_read_and_a_write_of_memory_wait_with_a_deadline_too(void **state) {
    (void)state;
    static device *left[2];
    const device_options opt = rig_options(DT_BF16, true);
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        rig r = rig_open("cuda", &opt);
        char host[64] = {0}, *p = r.ops->mem_alloc(r.d, sizeof host);
        errbuf text = {0};
        left[i] = r.d;
        pageable = host;
        hangs = true;
        assert_int_equal(i == 0 ? r.ops->mem_read(r.d, host, p, sizeof host)
                                : r.ops->mem_write(r.d, p, host, sizeof host),
                         ST_DEVICE);
        r.ops->device_error(r.d, &text);
        assert_non_null(strstr(text.text, "memory did not end within 60 s"));
        rig_close(&r);
        hangs = false;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(with_check_ops_the_op_itself_is_named, heal),
        cmocka_unit_test_teardown(without_it_the_step_is_named_at_the_latest, heal),
        cmocka_unit_test_teardown(a_hand_off_that_faults_is_named, heal),
        cmocka_unit_test_teardown(a_gpu_that_hangs_is_noticed_and_can_be_left, heal),
        cmocka_unit_test_teardown(a_gpu_that_hangs_can_be_left_by_who_did_not_know, heal),
        cmocka_unit_test_teardown(a_read_and_a_write_of_memory_wait_with_a_deadline_too, heal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
