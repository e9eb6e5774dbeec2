/* key_checkpoint - a key_store as a checkpoint without tensors, for tests of what reads only keys. */
#ifndef BATON_TESTS_KEY_CHECKPOINT_H
#define BATON_TESTS_KEY_CHECKPOINT_H

#include "checkpoint/checkpoint_format.h"
#include "checkpoint/key_store.h"

static inline bool key_u64(const void *self, const char *key, uint64_t *out) {
    return key_store_get_u64(self, key, out);
}

static inline bool key_f64(const void *self, const char *key, double *out) {
    return key_store_get_f64(self, key, out);
}

static inline bool key_bool(const void *self, const char *key, bool *out) {
    return key_store_get_bool(self, key, out);
}

static inline bool key_text(const void *self, const char *key, checkpoint_text *out) {
    return key_store_get_text(self, key, out);
}

static inline bool key_list(const void *self, const char *key, checkpoint_kind *kind, uint64_t *count) {
    return key_store_get_list(self, key, kind, count);
}

static inline bool key_list_text(const void *self, const char *key, uint64_t i, checkpoint_text *out) {
    return key_store_get_list_text(self, key, i, out);
}

static inline bool key_list_i64(const void *self, const char *key, uint64_t i, int64_t *out) {
    return key_store_get_list_i64(self, key, i, out);
}

static inline bool key_list_f64(const void *self, const char *key, uint64_t i, double *out) {
    return key_store_get_list_f64(self, key, i, out);
}

static inline void key_close(void *self) {
    key_store_free(self);
}

/* Takes ownership. Caller frees with checkpoint_close. */
static inline checkpoint *key_checkpoint(key_store *keys) {
    static const checkpoint_format format = {
        .close = key_close,
        .u64 = key_u64,
        .f64 = key_f64,
        .boolean = key_bool,
        .string = key_text,
        .list = key_list,
        .list_text = key_list_text,
        .list_i64 = key_list_i64,
        .list_f64 = key_list_f64,
    };
    return checkpoint_of(&format, keys, "memory");
}

#endif
