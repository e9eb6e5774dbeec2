/* Blocks of quants.bin (make_quants.py) are, bit by bit, the numbers that gguf's own Python makes of them:
 * read by ref, by the fp32 kernels of this CPU, and from packed weights. */
#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *read_all(size_t *size) {
    FILE *f = fopen(GOLDEN_DIR "/quants.bin", "rb");
    assert_non_null(f);
    enum { MOST = 1 << 20 };
    uint8_t *bytes = xmalloc(MOST);
    *size = fread(bytes, 1, MOST, f);
    assert_true(*size > 0 && *size < MOST);
    fclose(f);
    return bytes;
}

/* plain_zeros: a zero may have lost its sign */
static void same(const char *who, const tensor *t, const float *got, const float *want, bool plain_zeros) {
    for (uint32_t k = 0; k < t->cols; k++) {
        if (memcmp(got + k, want + k, sizeof *got) == 0) continue;
        if (plain_zeros && got[k] == 0 && want[k] == 0) continue;
        fail_msg("%s: %s: weight %u is %a, want %a", who, dtype_name(t->type), k, (double)got[k],
                 (double)want[k]);
    }
}

static void check_kernels(const tensor *t, const float *want, float *got) {
    device *d = NULL;
    const device_options opt = {.threads = 1, .isa = "auto", .act_bits = 32};
    assert_int_equal(cpu_backend.open(&d, &opt, NULL), ST_OK);
    const host_embed e = {.table = t, .ids = (const int32_t[]){0}, .rows = 1, .out = got};
    assert_int_equal(d->kernels->host.embed(d, &e), ST_OK);
    same("the fp32 kernels", t, got, want, true);
    cpu_backend.close(d);
}

static void check_packed(const tensor *t, const float *want, float *got) {
    uint8_t *data = aligned_alloc(PACK_ALIGN, pack_bytes(t));
    assert_non_null(data);
    pack_panel(t, 0, data);
    const packed p = {.type = t->type, .rows = 1, .cols = t->cols, .data = data};
    pack_row(&p, 0, got);
    same("packed", t, got, want, false);
    free(data);
}

static void all_types_have_the_numbers_of_the_python_package(void **state) {
    (void)state;
    size_t size = 0;
    uint8_t *all = read_all(&size);
    uint32_t types = 0;
    for (size_t at = 0; at < size; types++) {
        uint32_t head[3];
        memcpy(head, all + at, sizeof head);
        at += sizeof head;
        tensor t = {.type = (dtype)head[0], .rows = 1, .cols = head[2], .data = all + at};
        assert_true(dtype_known(head[0]));
        assert_int_equal(dtype_row_bytes(t.type, t.cols), head[1]);
        float *want = xmemdup(all + at + head[1], head[2] * sizeof *want);
        float *got = xcalloc(t.cols, sizeof *got);
        at += head[1] + head[2] * sizeof *want;
        ref_weight_row(&t, 0, got);
        same("ref", &t, got, want, false);
        check_kernels(&t, want, got);
        check_packed(&t, want, got);
        free(want);
        free(got);
    }
    assert_int_equal(types, 11);
    free(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_types_have_the_numbers_of_the_python_package)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
