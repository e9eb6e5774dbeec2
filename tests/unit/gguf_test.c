/* The GGUF reader: what it finds in good files, and that no bad file gets through. */
#include "tests/test.h"

#include "gguf_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* One of each kind, and two tensors; the file ends with the last tensor's last byte. */
static buf small_file(void) {
    gguf_build b = {0};
    build_string(&b, "general.name", "tiny");
    build_u32(&b, "a.u32", 7);
    build_key(&b, "a.i8", GGUF_I8);
    buf_add(&b.kvs, "\xFE", 1);
    build_key(&b, "a.i64", GGUF_I64);
    put_u64(&b.kvs, (uint64_t)-5);
    build_key(&b, "a.u64", GGUF_U64);
    put_u64(&b.kvs, UINT64_MAX);
    build_f32(&b, "a.f32", 0.5f);
    build_key(&b, "a.f64", GGUF_F64);
    buf_add(&b.kvs, &(double){0.25}, sizeof(double));
    build_bool(&b, "a.bool", true);
    build_strings(&b, "a.strings", (const char *[]){"one", "", "three"}, 3);
    build_i32s(&b, "a.ints", (int32_t[]){1, -2, 3}, 3);
    build_tensor(&b, "t.f32", DT_F32, 2, 3, 1);
    build_tensor(&b, "t.q4_1", DT_Q4_1, 2, 64, 2);
    return build_file(&b);
}

/* Parses a copy that ends where its allocation ends, so that a sanitizer sees every byte read too many. */
static status parse(const buf *file, size_t len, gguf **out, errbuf *eb) {
    *out = NULL;
    char *copy = malloc(len ? len : 1);
    memcpy(copy, file->data, len);
    status st = gguf_parse(out, copy, len, eb);
    if (st != ST_OK) {
        assert_null(*out);
        assert_int_not_equal(eb->text[0], 0);
    }
    gguf_close(*out);
    free(copy);
    return st;
}

static void refuse(gguf_build *b, status want, const char *text) {
    buf file = build_file(b);
    gguf *g;
    errbuf eb = {0};
    assert_int_equal(parse(&file, file.len, &g, &eb), want);
    assert_non_null(strstr(eb.text, text));
    buf_done(&file);
}

static void every_kind_of_value_is_found(void **s) {
    (void)s;
    buf file = small_file();
    gguf *g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, NULL), ST_OK);
    uint64_t u;
    double f;
    bool yes = false;
    checkpoint_text str;
    assert_true(gguf_u64(g, "a.u32", &u));
    assert_int_equal(u, 7);
    assert_true(gguf_u64(g, "a.u64", &u));
    assert_true(u == UINT64_MAX);
    assert_true(gguf_f64(g, "a.f32", &f));
    assert_true(f == 0.5);
    assert_true(gguf_f64(g, "a.f64", &f));
    assert_true(f == 0.25);
    assert_true(gguf_bool(g, "a.bool", &yes));
    assert_true(yes);
    assert_true(gguf_string(g, "general.name", &str));
    assert_int_equal(str.len, 4);
    assert_memory_equal(str.data, "tiny", 4);
    gguf_close(g);
    buf_done(&file);
}

static void a_value_of_another_kind_is_not_found(void **s) {
    (void)s;
    buf file = small_file();
    gguf *g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, NULL), ST_OK);
    uint64_t u = 99;
    double f;
    bool yes;
    checkpoint_text str;
    assert_false(gguf_u64(g, "absent", &u));
    assert_false(gguf_u64(g, "a.f32", &u));
    assert_false(gguf_u64(g, "a.i8", &u)); /* -2 does not fit */
    assert_false(gguf_u64(g, "a.i64", &u));
    assert_false(gguf_u64(g, "a.ints", &u));
    assert_int_equal(u, 99);
    assert_false(gguf_f64(g, "a.u32", &f));
    assert_false(gguf_bool(g, "a.u32", &yes));
    assert_false(gguf_string(g, "a.strings", &str));
    gguf_close(g);
    buf_done(&file);
}

static void array_elements_are_found_and_bounded(void **s) {
    (void)s;
    buf file = small_file();
    gguf *g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, NULL), ST_OK);
    gguf_type type;
    uint64_t count;
    checkpoint_text str;
    int64_t v;
    assert_true(gguf_array(g, "a.strings", &type, &count));
    assert_int_equal(type, GGUF_STRING);
    assert_int_equal(count, 3);
    assert_true(gguf_array_string(g, "a.strings", 2, &str));
    assert_int_equal(str.len, 5);
    assert_memory_equal(str.data, "three", 5);
    assert_true(gguf_array_string(g, "a.strings", 1, &str));
    assert_int_equal(str.len, 0);
    assert_false(gguf_array_string(g, "a.strings", 3, &str));
    assert_true(gguf_array_i64(g, "a.ints", 1, &v));
    assert_int_equal(v, -2);
    assert_false(gguf_array_i64(g, "a.ints", 3, &v));
    assert_false(gguf_array_i64(g, "a.strings", 0, &v));
    assert_false(gguf_array(g, "a.u32", &type, &count));
    gguf_close(g);
    buf_done(&file);
}

static void tensors_are_found_by_name_with_their_bytes(void **s) {
    (void)s;
    buf file = small_file();
    gguf *g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, NULL), ST_OK);
    assert_int_equal(gguf_tensor_count(g), 2);
    const checkpoint_tensor *t = gguf_tensor_find(g, "t.q4_1");
    assert_ptr_equal(t, gguf_tensor_at(g, 1));
    assert_int_equal(t->type, DT_Q4_1);
    assert_int_equal(t->dim_count, 2);
    assert_int_equal(t->dims[0], 64);
    assert_int_equal(t->dims[1], 2);
    assert_int_equal(t->bytes, 80);
    assert_ptr_equal((const char *)t->data + t->bytes, file.data + file.len);
    assert_int_equal(*(const char *)t->data, 2);
    assert_int_equal(gguf_tensor_find(g, "t.f32")->bytes, 24);
    assert_null(gguf_tensor_find(g, "t"));
    gguf_close(g);
    buf_done(&file);
}

static void a_file_cut_at_any_byte_is_refused(void **s) {
    (void)s;
    buf file = small_file();
    gguf *g;
    for (size_t len = 0; len < file.len; len++) {
        errbuf eb = {0};
        assert_int_equal(parse(&file, len, &g, &eb), ST_CORRUPT);
    }
    assert_int_equal(parse(&file, file.len, &g, NULL), ST_OK);
    buf_done(&file);
}

/* Whatever one wrong byte does, the reader ends with a status and stays inside the file (a sanitizer
 * watches). */
static void a_file_with_any_byte_changed_never_leads_outside(void **s) {
    (void)s;
    buf file = small_file();
    static const unsigned char values[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    for (size_t at = 0; at < file.len; at++) {
        char kept = file.data[at];
        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            file.data[at] = (char)values[v];
            gguf *g;
            errbuf eb = {0};
            status st = gguf_parse(&g, file.data, file.len, &eb);
            if (st != ST_OK) {
                assert_true(st == ST_CORRUPT || st == ST_UNSUPPORTED);
                continue;
            }
            for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
                const checkpoint_tensor *t = gguf_tensor_at(g, i);
                assert_true((const char *)t->data >= file.data);
                assert_true((const char *)t->data + t->bytes <= file.data + file.len);
            }
            gguf_close(g);
        }
        file.data[at] = kept;
    }
    buf_done(&file);
}

static void other_versions_and_byte_orders_are_refused_by_name(void **s) {
    (void)s;
    static const struct {
        uint32_t version;
        status want;
        const char *text;
    } cases[] = {
        {0, ST_UNSUPPORTED, "version 0"}, {1, ST_UNSUPPORTED, "version 1"},           {2, ST_OK, ""},
        {4, ST_UNSUPPORTED, "version 4"}, {0x03000000, ST_UNSUPPORTED, "big endian"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        gguf_build b = {0};
        build_u32(&b, "k", 1);
        buf file = build_file_as(&b, cases[i].version);
        gguf *g;
        errbuf eb = {0};
        assert_int_equal(parse(&file, file.len, &g, &eb), cases[i].want);
        assert_non_null(strstr(eb.text, cases[i].text));
        buf_done(&file);
    }
    gguf *g;
    assert_int_equal(gguf_parse(&g, "GGML\3\0\0\0", 8, NULL), ST_CORRUPT);
}

static void counts_beyond_the_file_are_refused(void **s) {
    (void)s;
    gguf_build b = {0};
    build_u32(&b, "k", 1);
    b.kv_count = UINT64_MAX;
    refuse(&b, ST_CORRUPT, "keys do not fit");
    build_u32(&b, "k", 1);
    b.tensor_count = 1ull << 60;
    refuse(&b, ST_CORRUPT, "tensors do not fit");

    build_key(&b, "k", GGUF_ARRAY);
    put_u32(&b.kvs, GGUF_U64);
    put_u64(&b.kvs, 1ull << 61); /* times 8 is 0 in 64 bits */
    refuse(&b, ST_CORRUPT, "elements do not fit");
    build_key(&b, "k", GGUF_ARRAY);
    put_u32(&b.kvs, GGUF_STRING);
    put_u64(&b.kvs, UINT64_MAX);
    refuse(&b, ST_CORRUPT, "elements do not fit");
}

static void string_lengths_beyond_the_file_are_refused(void **s) {
    (void)s;
    gguf_build b = {0};
    build_key(&b, "k", GGUF_STRING);
    put_u64(&b.kvs, UINT64_MAX - 7); /* place + length wraps around */
    put_u64(&b.kvs, 0);
    refuse(&b, ST_CORRUPT, "past the end");
    build_key(&b, "k", GGUF_ARRAY);
    put_u32(&b.kvs, GGUF_STRING);
    put_u64(&b.kvs, 1);
    put_u64(&b.kvs, 1);
    refuse(&b, ST_CORRUPT, "string 0");
}

static void values_that_make_no_sense_are_refused(void **s) {
    (void)s;
    gguf_build b = {0};
    build_key(&b, "k", 13);
    put_u64(&b.kvs, 0);
    refuse(&b, ST_CORRUPT, "unknown type 13");
    build_key(&b, "k", GGUF_ARRAY);
    put_u32(&b.kvs, 99);
    put_u64(&b.kvs, 0);
    refuse(&b, ST_CORRUPT, "element type 99");
    build_key(&b, "k", GGUF_ARRAY);
    put_u32(&b.kvs, GGUF_ARRAY);
    put_u64(&b.kvs, 0);
    refuse(&b, ST_UNSUPPORTED, "array of arrays");
    build_key(&b, "k", GGUF_BOOL);
    buf_add(&b.kvs, "\2", 1);
    refuse(&b, ST_CORRUPT, "bool");
    build_key(&b, "", GGUF_U64);
    put_u64(&b.kvs, 0);
    refuse(&b, ST_CORRUPT, "0 bytes");
}

static void names_that_come_twice_are_refused(void **s) {
    (void)s;
    gguf_build b = {0};
    build_u32(&b, "k", 1);
    build_u32(&b, "k", 2);
    refuse(&b, ST_CORRUPT, "'k' is there twice");
    build_tensor(&b, "t", DT_F32, 1, 1, 0);
    build_tensor(&b, "t", DT_F32, 1, 1, 0);
    refuse(&b, ST_CORRUPT, "'t' is there twice");
}

static void tensors_that_are_impossible_are_refused(void **s) {
    (void)s;
    static const struct {
        uint32_t type, dim_count;
        uint64_t dims[5], offset;
        const char *text;
    } cases[] = {
        {DT_F32, 0, {0}, 0, "0 dimensions"},
        {DT_F32, 5, {1, 1, 1, 1, 1}, 0, "5 dimensions"},
        {DT_F32, 2, {4, 0}, 0, "dimension 1 is 0"},
        {DT_F32, 2, {1ull << 40, 1ull << 40}, 0, "too large"},
        {DT_F32, 1, {1ull << 62}, 0, "overflows"},
        {DT_Q4_0, 1, {33}, 0, "blocks of 32"},
        {DT_Q4_K, 1, {576}, 0, "rows of 576 weights are no multiple of q4_k's blocks of 256"},
        {DT_F32, 1, {65}, 0, "do not fit"},
        {DT_F32, 1, {8}, 4, "not aligned"},
        {DT_F32, 1, {8}, 256, "do not fit"},
        {DT_F32, 1, {8}, UINT64_MAX - 31, "do not fit"}, /* offset + size wraps around */
        {77, 1, {8}, 256, "do not fit"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        gguf_build b = {0};
        build_entry(&b, "t", cases[i].type, cases[i].dim_count, cases[i].dims, cases[i].offset);
        for (int n = 0; n < 256; n++) buf_add(&b.data, "", 1);
        refuse(&b, ST_CORRUPT, cases[i].text);
    }
}

static void a_tensor_of_an_unknown_type_is_left_to_the_loader(void **s) {
    (void)s;
    gguf_build b = {0};
    build_entry(&b, "t", 17, 1, (uint64_t[]){256}, 0);
    buf_add(&b.data, "xyz", 3);
    buf file = build_file(&b);
    gguf *g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, NULL), ST_OK);
    assert_int_equal(gguf_tensor_find(g, "t")->bytes, 0);
    assert_int_equal(gguf_tensor_find(g, "t")->type, 17);
    gguf_close(g);
    buf_done(&file);
}

static void the_alignment_is_the_files(void **s) {
    (void)s;
    static const uint32_t bad[] = {0, 1, 4, 24, 1u << 21};
    gguf_build b = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        build_u32(&b, "general.alignment", bad[i]);
        refuse(&b, ST_CORRUPT, "general.alignment");
    }
    build_string(&b, "general.alignment", "32");
    refuse(&b, ST_CORRUPT, "no whole number");

    /* With "k" the header ends at byte 107: at 112 data aligned to 8 begins, and at 128 what is aligned
     * to 32. */
    build_u32(&b, "general.alignment", 8);
    build_u32(&b, "k", 1);
    build_entry(&b, "t", DT_F32, 1, (uint64_t[]){1}, 8);
    for (uint32_t i = 0; i < 8; i++) put_u32(&b.data, i);
    buf file = build_file(&b);
    gguf *g;
    assert_int_equal(gguf_parse(&g, file.data, file.len, NULL), ST_OK);
    const char *data = gguf_tensor_find(g, "t")->data;
    assert_int_equal(data - file.data, 120);
    gguf_close(g);
    buf_done(&file);
}

static void a_file_is_opened_from_disk_and_errors_name_it(void **s) {
    (void)s;
    char path[] = "/tmp/gguf_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    gguf *g = NULL;
    errbuf eb = {0};
    assert_int_equal(gguf_open(&g, path, &eb), ST_CORRUPT);
    assert_non_null(strstr(eb.text, "empty"));

    buf file = small_file();
    assert_int_equal(write(fd, file.data, file.len), file.len);
    assert_int_equal(gguf_open(&g, path, &eb), ST_OK);
    assert_int_equal(gguf_tensor_count(g), 2);
    gguf_close(g);

    assert_int_equal(ftruncate(fd, (off_t)file.len - 1), 0);
    g = NULL;
    assert_int_equal(gguf_open(&g, path, &eb), ST_CORRUPT);
    assert_null(g);
    assert_non_null(strstr(eb.text, path));
    close(fd);
    unlink(path);
    assert_int_equal(gguf_open(&g, path, &eb), ST_IO);
    assert_non_null(strstr(eb.text, path));
    assert_int_equal(gguf_open(&g, "/tmp", &eb), ST_IO);
    buf_done(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_found),
        cmocka_unit_test(a_value_of_another_kind_is_not_found),
        cmocka_unit_test(array_elements_are_found_and_bounded),
        cmocka_unit_test(tensors_are_found_by_name_with_their_bytes),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_file_with_any_byte_changed_never_leads_outside),
        cmocka_unit_test(other_versions_and_byte_orders_are_refused_by_name),
        cmocka_unit_test(counts_beyond_the_file_are_refused),
        cmocka_unit_test(string_lengths_beyond_the_file_are_refused),
        cmocka_unit_test(values_that_make_no_sense_are_refused),
        cmocka_unit_test(names_that_come_twice_are_refused),
        cmocka_unit_test(tensors_that_are_impossible_are_refused),
        cmocka_unit_test(a_tensor_of_an_unknown_type_is_left_to_the_loader),
        cmocka_unit_test(the_alignment_is_the_files),
        cmocka_unit_test(a_file_is_opened_from_disk_and_errors_name_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
