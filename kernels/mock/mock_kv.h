/* mock_kv - the keys and values of the mock backend: rows of bytes that know what came before them. Pure. */
#ifndef BATON_KERNELS_MOCK_MOCK_KV_H
#define BATON_KERNELS_MOCK_MOCK_KV_H

#include "kernels/host/host_ops.h"

/* Page memory of a layout. */
typedef struct mock_kv {
    const kv_layout *layout;
    void *kv;
} mock_kv;

/* The earlier position whose row a row is made of, besides the one before it: pos > 0. It goes round, so that
 * nothing is left unread for long: every whole page is read again while the sequence grows by an eighth,
 * every row of it before the sequence is eight times as long as when the page was full. */
uint32_t mock_kv_earlier(uint32_t pos);
/* Writes the row of (layer, at->pos), for this id: a function of the id, the position, the layer, and the
 * rows of the layer at the position before and at mock_kv_earlier, which are read from the sequence's pages.
 */
void mock_kv_write(const mock_kv *m, uint32_t layer, const kv_ref *at, int32_t id);
/* A number made of every byte of the rows of all layers at a position. */
uint64_t mock_kv_read(const mock_kv *m, const kv_ref *at);

#endif
