/* key_store - metadata by key and lists by key, held in memory: what a format keeps that has to translate its
 * files into the vocabulary of checkpoint.h.
 *
 * Private to this folder. Filled once, then read-only (any thread may read). A key is set once; setting it
 * again replaces it. Everything is copied in; what is handed out is borrowed until key_store_free. */
#ifndef BATON_CHECKPOINT_KEY_STORE_H
#define BATON_CHECKPOINT_KEY_STORE_H

#include "checkpoint/checkpoint_data.h"

#include <stddef.h>

typedef struct key_store key_store;

key_store *key_store_new(void);
void key_store_free(key_store *s);

void key_store_u64(key_store *s, const char *key, uint64_t value);
void key_store_f64(key_store *s, const char *key, double value);
void key_store_bool(key_store *s, const char *key, bool value);
void key_store_text(key_store *s, const char *key, const char *text, size_t len);
/* An empty list of `count` elements of that kind (integers, reals or texts), which the functions below fill:
 * texts start empty, numbers at 0. */
void key_store_list(key_store *s, const char *key, checkpoint_kind kind, uint64_t count);
/* Element i, below the list's count. */
void key_store_list_text(key_store *s, const char *key, uint64_t i, const char *text, size_t len);
void key_store_list_i64(key_store *s, const char *key, uint64_t i, int64_t value);
void key_store_list_f64(key_store *s, const char *key, uint64_t i, double value);

/* As checkpoint.h's: false when the key is absent or of another kind. */
bool key_store_get_u64(const key_store *s, const char *key, uint64_t *out);
bool key_store_get_f64(const key_store *s, const char *key, double *out);
bool key_store_get_bool(const key_store *s, const char *key, bool *out);
bool key_store_get_text(const key_store *s, const char *key, checkpoint_text *out);
bool key_store_get_list(const key_store *s, const char *key, checkpoint_kind *kind, uint64_t *count);
bool key_store_get_list_text(const key_store *s, const char *key, uint64_t i, checkpoint_text *out);
bool key_store_get_list_i64(const key_store *s, const char *key, uint64_t i, int64_t *out);
bool key_store_get_list_f64(const key_store *s, const char *key, uint64_t i, double *out);

#endif
