/* What the plan of a worker on a GPU counts with is what its engine takes, to the byte; and what has no
 * kernel.
 */
#include "engine/engine.h"
#include "kernels/backends.h"
#include "tests/test.h"

#include "base/log.h"
#include "base/mem.h"
#include "config/config_backend.h"
#include "engine/forward.h"
#include "engine/weights.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/weights.h"
#include "tests/cuda_host/emulation.h" /* where the free memory of a device is exact */
#include "tests/model_file.h"
#include "tests/unit/arch_scene.h"
#include "worker/plan.h"

#include <stdlib.h>

static const dtype acts[] = {DT_BF16, DT_F16, DT_F32};

static plan plan_of(const model *m, dtype act) {
    config c = {.cluster = {.control = (char *)"tcp://127.0.0.1:8001"},
                .model = {.backend = (char *)"cuda",
                          .act_dtype = (char *)dtype_name(act),
                          .kv_dtype = (char *)"auto"},
                .handoff = {.transport = (char *)"auto"},
                .decode = {.tp = 1, .pp = 1, .max_seqs = 70, .token_budget = 70, .chunk_tokens = 16}};
    c.decode.kv_pages = 9;
    c.decode.memory_fraction = 0.5;
    plan_device dev = {.ops = backend_find("cuda")};
    assert_int_equal(dev.ops->memory(0, &dev.memory, NULL), ST_OK);
    assert_false(dev.memory.host);
    plan p;
    errbuf eb = {0};
    if (plan_make(&p, &c, ROLE_DECODE, m, &dev, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_true(p.own_memory);
    assert_int_equal(p.max_rows, 70);
    return p;
}

static uint64_t free_bytes(void) {
    device_memory memory = {0};
    assert_int_equal(backend_find("cuda")->memory(0, &memory, NULL), ST_OK);
    return memory.free;
}

/* Of the handles. The device also makes room for tables as weights come. */
static uint64_t taken_by(const weights *w, uint32_t layers) {
    uint64_t bytes = w->embed->bytes + w->output_norm->bytes + (w->output == w->embed ? 0 : w->output->bytes);
    if (w->positions) bytes += w->positions->bytes;
    for (uint32_t i = 0; i < layers; i++)
        for (uint32_t r = 0; r < LAYER_ROLES; r++)
            if (w->layer[i].weights[r]) bytes += w->layer[i].weights[r]->bytes;
    return bytes;
}

static void check_model(const model *m) {
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        const plan p = plan_of(m, acts[i]);
        device *d = NULL;
        const device_options o = {.threads = 1, .act_type = acts[i], .deterministic = true, .max_rows = 70};
        assert_int_equal(p.backend->open(&d, &o, NULL), ST_OK);
        weights w;
        assert_int_equal(weights_load(&w, m, p.backend, d, NULL), ST_OK);
        assert_int_equal(taken_by(&w, m->layers), p.memory.weights);
        forward f;
        forward_init(&f, m, &w, p.backend, d, p.max_rows);
        uint64_t before = free_bytes();
        assert_int_equal(forward_alloc(&f, NULL), ST_OK);
        assert_int_equal(before - free_bytes(), p.memory.activations);
        forward_done(&f);
        assert_int_equal(free_bytes(), before);
        weights_done(&w);
        p.backend->close(d);
    }
}

static void a_plan_counts_with_what_is_taken(void **state) {
    (void)state;
    const char *tiny = getenv("BATON_TINY_MODEL");
    if (!tiny) fail_msg("set BATON_TINY_MODEL to a file made by make-tiny-model (ctest does)");
    const char *const files[] = {tiny, "random:tiny"};
    const arch *const unlike[] = {&gpt, &near};
    for (size_t i = 0; i < 2; i++) {
        model_file file = model_file_open(files[i]);
        check_model(file.m);
        model_file_close(&file);
        arch_scene s = arch_scene_open(unlike[i]); /* with biases, and positions */
        check_model(s.m);
        arch_scene_close(&s);
    }
}

static void the_config_knows_each_backend(void **state) {
    (void)state;
    static const char *const names[] = {"cpu", "ref", "mock", "cuda"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const config_backend *known = config_backend_find(names[i]);
        const backend_ops *ops = backend_find(names[i]);
        assert_non_null(known);
        device_memory memory = {0};
        assert_int_equal(ops->memory(0, &memory, NULL), ST_OK);
        assert_int_equal(known->own_memory, !memory.host);
        device *d = NULL;
        const device_options o = {.threads = 1, .isa = "auto", .act_type = DT_F16};
        assert_int_equal(ops->open(&d, &o, NULL), ST_OK);
        assert_int_equal(ops->act_type(d), known->act_types ? DT_F16 : DT_F32);
        assert_int_equal(ops->kv_default(DT_BF16) == DT_BF16, known->act_types);
        ops->close(d);
    }
    assert_null(config_backend_find("tpu"));
}

static void heads_of_a_size_without_a_kernel_are_refused_by_it(void **state) {
    (void)state;
    arch_scene s = arch_scene_open(&near);
    const engine_options opt = {.backend = "cuda",
                                .device = {.act_type = DT_BF16},
                                .kv_type = DT_BF16,
                                .page_count = 4,
                                .max_rows = 4,
                                .max_seqs = 1,
                                .max_context = CONTEXT};
    engine *e = NULL;
    errbuf eb = {0};
    assert_int_equal(engine_new(&e, s.m, &opt, &eb), ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "cuda: heads of 8 numbers: the kernels want 32, 64 or 128"));
    arch_scene_close(&s);
}

int main(void) {
    log_setup(LOG_WARN, "plan_test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_counts_with_what_is_taken),
        cmocka_unit_test(the_config_knows_each_backend),
        cmocka_unit_test(heads_of_a_size_without_a_kernel_are_refused_by_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
