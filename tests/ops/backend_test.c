#include "kernels/backends.h"
#include "tests/ops/fixture.h"

#include "kernels/cpu/cpuid.h"

#include <string.h>

static void backends_are_found_by_name(void **state) {
    (void)state;
    assert_string_equal(backend_find("cpu")->name, "cpu");
    assert_string_equal(backend_find("ref")->name, "ref");
    assert_string_equal(backend_find("mock")->name, "mock");
    assert_null(backend_find(""));
    assert_null(backend_find("CPU"));
    /* cuda is there where the program was built with the toolkit. */
    const backend_ops *cuda = backend_find("cuda");
    assert_string_equal(backend_names(), cuda ? "cpu, ref, mock, cuda" : "cpu, ref, mock");
    if (cuda) assert_string_equal(cuda->name, "cuda");
}

static void every_backend_fills_every_slot(void **state) {
    (void)state;
    assert_true(backend_complete(cpu_ops()));
    assert_true(backend_complete(ref_ops()));
    assert_true(backend_complete(backend_find("mock")));
    if (backend_find("cuda")) assert_true(backend_complete(backend_find("cuda")));
}

static void a_backend_with_an_empty_slot_is_not_complete(void **state) {
    (void)state;
    /* Every slot but masks and features, which share one's room, is a pointer: empty each in turn, up to
     * those that may be. */
    for (size_t at = 0; at < offsetof(backend_ops, share); at += sizeof(void *)) {
        if (at == offsetof(backend_ops, masks)) continue;
        backend_ops b = *ref_ops();
        memset((char *)&b + at, 0, sizeof(void *));
        assert_false(backend_complete(&b));
    }
    assert_null(ref_ops()->share);
    assert_null(ref_ops()->link);
}

static status open_isa(const char *isa, uint32_t threads, device **out, errbuf *eb) {
    return cpu_ops()->open(out, &(device_options){.threads = threads, .isa = isa}, eb);
}

static void auto_picks_the_best_that_the_cpu_has(void **state) {
    (void)state;
    device *d = NULL;
    assert_int_equal(open_isa("auto", 1, &d, NULL), ST_OK);
    const char *want = cpuid_avx512() ? "cpu/avx512/act32"
                       : cpuid_avx2() ? "cpu/avx2/act32"
                                      : "cpu/portable/act32";
    assert_string_equal(cpu_ops()->path(d), want);
    cpu_ops()->close(d);
}

static void an_instruction_set_that_the_cpu_lacks_is_refused_by_name(void **state) {
    (void)state;
    device *d = NULL;
    errbuf eb = {0};
    status st = open_isa("avx512", 1, &d, &eb);
    if (cpuid_avx512()) {
        assert_int_equal(st, ST_OK);
        cpu_ops()->close(d);
        skip();
    }
    assert_int_equal(st, ST_UNSUPPORTED);
    assert_non_null(strstr(eb.text, "avx512"));
    assert_null(d);
}

static void the_portable_path_is_everywhere(void **state) {
    (void)state;
    device *d = NULL;
    assert_int_equal(open_isa("portable", 1, &d, NULL), ST_OK);
    assert_string_equal(cpu_ops()->path(d), "cpu/portable/act32");
    cpu_ops()->close(d);
}

static void bits_of_activations_are_part_of_the_path_and_others_are_refused(void **state) {
    (void)state;
    device *d = NULL;
    errbuf eb = {0};
    const device_options sixteen = {.threads = 1, .isa = "portable", .act_bits = 16};
    assert_int_equal(cpu_ops()->open(&d, &sixteen, NULL), ST_OK);
    assert_string_equal(cpu_ops()->path(d), "cpu/portable/act16");
    cpu_ops()->close(d);
    const device_options four = {.threads = 1, .isa = "portable", .act_bits = 4};
    assert_int_equal(cpu_ops()->open(&d, &four, &eb), ST_INVALID);
    assert_string_equal(eb.text, "cpu backend: act_bits 4: want 16, 8 or 32");
}

static void an_unknown_instruction_set_is_invalid_and_the_choices_are_named(void **state) {
    (void)state;
    device *d = NULL;
    errbuf eb = {0};
    assert_int_equal(open_isa("sse9", 1, &d, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "sse9"));
    assert_non_null(strstr(eb.text, "portable"));
}

static void a_team_has_1_to_64_threads(void **state) {
    (void)state;
    device *d = NULL;
    errbuf eb = {0};
    assert_int_equal(open_isa("portable", 0, &d, &eb), ST_INVALID);
    assert_int_equal(open_isa("portable", 65, &d, &eb), ST_INVALID);
    assert_non_null(strstr(eb.text, "1..64"));
    assert_int_equal(open_isa("portable", 64, &d, &eb), ST_OK);
    cpu_ops()->close(d);
}

static void memory_is_zeroed_and_aligned(void **state) {
    (void)state;
    const backend_ops *all[] = {cpu_ops(), ref_ops(), backend_find("mock")};
    for (size_t b = 0; b < ARRAY_LEN(all); b++) {
        device *d = NULL;
        assert_int_equal(all[b]->open(&d, &(device_options){.threads = 1, .isa = "auto"}, NULL), ST_OK);
        uint8_t *p = all[b]->mem_alloc(d, 1001);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < 1001; i++) assert_int_equal(p[i], 0);
        all[b]->mem_free(d, p, 1001);
        assert_null(all[b]->mem_alloc(d, SIZE_MAX - 7));
        assert_int_equal(all[b]->sync(d, NULL), ST_OK);
        all[b]->close(d);
    }
}

static void closing_nothing_is_allowed(void **state) {
    (void)state;
    cpu_ops()->close(NULL);
    ref_ops()->close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backends_are_found_by_name),
        cmocka_unit_test(every_backend_fills_every_slot),
        cmocka_unit_test(a_backend_with_an_empty_slot_is_not_complete),
        cmocka_unit_test(auto_picks_the_best_that_the_cpu_has),
        cmocka_unit_test(an_instruction_set_that_the_cpu_lacks_is_refused_by_name),
        cmocka_unit_test(the_portable_path_is_everywhere),
        cmocka_unit_test(bits_of_activations_are_part_of_the_path_and_others_are_refused),
        cmocka_unit_test(an_unknown_instruction_set_is_invalid_and_the_choices_are_named),
        cmocka_unit_test(a_team_has_1_to_64_threads),
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(closing_nothing_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
