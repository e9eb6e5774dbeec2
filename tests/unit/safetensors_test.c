/* One safetensors file: what a whole one holds, and every way to be broken by its name. */
#include "tests/test.h"

#include "base/mem.h"
#include "checkpoint/safetensors.h"

#include <string.h>

/* u64 length, header, so many bytes of data */
static buf file_of(const char *header, size_t data) {
    buf b = {0};
    uint64_t len = strlen(header);
    buf_add(&b, &len, sizeof len);
    buf_adds(&b, header);
    char *at = buf_grow(&b, data);
    for (size_t i = 0; i < data; i++) at[i] = (char)i;
    return b;
}

static void refuses(const char *header, size_t data, status want, const char *text) {
    buf b = file_of(header, data);
    safetensors *s = NULL;
    errbuf eb = {0};
    status st = safetensors_parse(&s, b.data, b.len, &eb);
    if (st != want || !strstr(eb.text, text)) fail_msg("%s\ngave %s: %s", header, status_name(st), eb.text);
    assert_null(s);
    buf_done(&b);
}

static void tensors_are_in_the_order_of_their_bytes_with_the_last_dimension_first(void **state) {
    (void)state;
    buf b = file_of("{\"__metadata__\":{\"format\":\"pt\"},"
                    "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
                    "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                    "\"m\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[16,17]}}   ",
                    17);
    safetensors *s = NULL;
    errbuf eb = {0};
    if (safetensors_parse(&s, b.data, b.len, &eb) != ST_OK) fail_msg("%s", eb.text);
    assert_int_equal(safetensors_count(s), 3);
    assert_string_equal(safetensors_at(s, 0)->t.name.data, "a");
    const safetensor *t = safetensors_at(s, 1);
    assert_string_equal(t->t.name.data, "b");
    assert_int_equal(t->t.type, DT_BF16);
    assert_int_equal(t->t.dim_count, 2);
    assert_int_equal(t->t.dims[0], 3);
    assert_int_equal(t->t.dims[1], 2);
    assert_int_equal(t->t.bytes, 12);
    assert_int_equal(((const char *)t->t.data)[0], 4);
    assert_int_equal(safetensors_at(s, 2)->t.type, SAFETENSOR_OTHER);
    assert_string_equal(safetensors_at(s, 2)->dtype, "BOOL");
    safetensors_close(s);
    buf_done(&b);
}

static void a_header_that_is_not_one_is_refused(void **state) {
    (void)state;
    safetensors *s = NULL;
    errbuf eb = {0};
    assert_int_equal(safetensors_parse(&s, "abc", 3, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "too few"));
    const uint64_t lens[] = {1, 100u << 20, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        assert_int_equal(safetensors_parse(&s, &lens[i], sizeof lens[i], &eb), ST_CORRUPT);
        assert_non_null(strstr(eb.text, "cut off"));
    }
    refuses("[]", 0, ST_CORRUPT, "no JSON object");
    refuses("{\"a\":", 0, ST_CORRUPT, "no JSON");
    refuses("", 0, ST_CORRUPT, "no JSON");
    refuses("{\"a\":{},\"a\":{}}", 0, ST_CORRUPT, "duplicate");
}

static void an_entry_that_lies_is_refused_by_the_tensors_name(void **state) {
    (void)state;
#define F32(shape, from_to) "{\"w\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" from_to "}}"
    refuses("{\"w\":5}", 0, ST_CORRUPT, "'w' has no dtype");
    refuses("{\"w\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ST_UNSUPPORTED, "'Q9'");
    refuses(F32("[1,1,1,1,1]", "[0,4]"), 4, ST_UNSUPPORTED, "at most 4");
    refuses(F32("7", "[0,4]"), 4, ST_CORRUPT, "'w': shape");
    refuses(F32("[-1]", "[0,4]"), 4, ST_CORRUPT, "'w': a dimension");
    refuses(F32("[1.0]", "[0,4]"), 4, ST_CORRUPT, "'w': a dimension");
    refuses(F32("[4294967296,4294967296]", "[0,4]"), 4, ST_CORRUPT, "64 bits");
    refuses(F32("[4611686018427387905]", "[0,4]"), 4, ST_CORRUPT, "do not make");
    refuses(F32("[99999999999999999999]", "[0,4]"), 4, ST_CORRUPT, "no JSON");
    refuses(F32("[1]", "[0]"), 4, ST_CORRUPT, "data_offsets");
    refuses(F32("[1]", "[0,\"4\"]"), 4, ST_CORRUPT, "data_offsets");
    refuses(F32("[1]", "[4,0]"), 4, ST_CORRUPT, "outside");
    refuses(F32("[1]", "[-4,0]"), 4, ST_CORRUPT, "outside");
    refuses(F32("[2]", "[0,8]"), 4, ST_CORRUPT, "outside of the file's 4 (is it cut off?)");
    refuses(F32("[2]", "[0,4]"), 4, ST_CORRUPT, "2 numbers of F32 do not make 4 bytes");
}

static void tensors_neither_overlap_nor_leave_holes(void **state) {
    (void)state;
#define TWO(a, b)                                                                                            \
    "{\"v\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a                                             \
    "},\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
    refuses(TWO("[0,4]", "[2,6]"), 6, ST_CORRUPT, "'w' overlaps");
    refuses(TWO("[0,4]", "[0,4]"), 4, ST_CORRUPT, "overlaps");
    refuses(TWO("[0,4]", "[6,10]"), 10, ST_CORRUPT, "'w' does not begin where");
    refuses(TWO("[1,5]", "[5,9]"), 9, ST_CORRUPT, "'v' does not begin where");
    refuses(TWO("[0,4]", "[4,8]"), 11, ST_CORRUPT, "3 bytes after the last tensor");
}

static void a_file_that_is_not_there_is_named(void **state) {
    (void)state;
    safetensors *s = NULL;
    errbuf eb = {0};
    assert_int_equal(safetensors_open(&s, "/nowhere/x.safetensors", &eb), ST_IO);
    assert_non_null(strstr(eb.text, "/nowhere/x.safetensors"));
    assert_int_equal(safetensors_open(&s, "/dev/null", &eb), ST_IO);
    assert_non_null(strstr(eb.text, "not a regular file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_in_the_order_of_their_bytes_with_the_last_dimension_first),
        cmocka_unit_test(a_header_that_is_not_one_is_refused),
        cmocka_unit_test(an_entry_that_lies_is_refused_by_the_tensors_name),
        cmocka_unit_test(tensors_neither_overlap_nor_leave_holes),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
