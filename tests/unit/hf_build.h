/* hf_build - makes small Hugging Face folders, for the tests of common/checkpoint.
 *
 *   hf_folder f;
 *   hf_folder_open(&f);                                       with a tokenizer.json of bytes
 *   hf_write(&f, "config.json", "{...}");
 *   st_build b = {0};
 *   st_add(&b, "model.norm.weight", "F32", 1, 32, 4, bytes);  shape [32] when rows is 1
 *   st_write(&f, "model.safetensors", &b);                    frees b
 *   hf_folder_done(&f);                                       removes it */
#ifndef BATON_TESTS_HF_BUILD_H
#define BATON_TESTS_HF_BUILD_H

#include "base/mem.h"
#include "checkpoint/byte_chars.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct hf_folder {
    char path[64];
} hf_folder;

typedef struct st_build {
    buf header, data;
} st_build;

static inline void hf_write_bytes(const hf_folder *f, const char *name, const void *bytes, size_t len) {
    char path[384];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static inline void hf_write(const hf_folder *f, const char *name, const char *text) {
    hf_write_bytes(f, name, text, strlen(text));
}

static inline void hf_remove(const hf_folder *f, const char *name) {
    char path[384];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    (void)unlink(path);
}

/* Byte-level BPE without merges: a token for each byte. */
static inline void hf_write_tokenizer(const hf_folder *f) {
    byte_chars table;
    byte_chars_init(&table);
    buf b = {0};
    buf_adds(&b, "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"post_processor\":null,"
                 "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
                 "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (uint32_t i = 0; i < 256; i++) {
        char text[2], byte = (char)i;
        size_t n = byte_chars_write(&table, &byte, 1, text);
        bool escaped = n == 1 && (text[0] == '"' || text[0] == '\\');
        buf_addf(&b, "%s\"%s%.*s\":%u", i ? "," : "", escaped ? "\\" : "", (int)n, text, i);
    }
    buf_adds(&b, "},\"merges\":[]}}");
    hf_write_bytes(f, "tokenizer.json", b.data, b.len);
    buf_done(&b);
}

static inline void hf_folder_open(hf_folder *f) {
    *f = (hf_folder){"/tmp/hf.test.XXXXXX"};
    assert_non_null(mkdtemp(f->path));
    hf_write_tokenizer(f);
}

static inline void hf_folder_done(hf_folder *f) {
    DIR *d = opendir(f->path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') hf_remove(f, e->d_name);
    closedir(d);
    assert_int_equal(rmdir(f->path), 0);
}

/* bytes: NULL for zeros. width: of a number */
static inline void st_add(st_build *b, const char *name, const char *type, uint32_t rows, uint32_t cols,
                          uint32_t width, const void *bytes) {
    size_t from = b->data.len, len = (size_t)rows * cols * width;
    char *at = buf_grow(&b->data, len);
    if (bytes)
        memcpy(at, bytes, len);
    else
        memset(at, 0, len);
    char shape[32];
    snprintf(shape, sizeof shape, rows == 1 ? "%u" : "%u,", rows == 1 ? cols : rows);
    if (rows != 1) snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%u", cols);
    buf_addf(&b->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             b->header.len ? "," : "", name, type, shape, from, b->data.len);
}

static inline void st_write(const hf_folder *f, const char *name, st_build *b) {
    buf out = {0};
    uint64_t len = b->header.len + 2;
    uint64_t padded = (len + 7) / 8 * 8;
    buf_add(&out, &padded, sizeof padded);
    buf_addf(&out, "{%s}%*s", b->header.len ? b->header.data : "", (int)(padded - len), "");
    if (b->data.len) buf_add(&out, b->data.data, b->data.len);
    hf_write_bytes(f, name, out.data, out.len);
    buf_done(&out);
    buf_done(&b->header);
    buf_done(&b->data);
}

#endif
