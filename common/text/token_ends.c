#include "text/token_ends.h"

#include "base/mem.h"
#include "text/vocab.h"

#include <stdlib.h>

status token_ends_init(token_ends *out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    vocab *v = xcalloc(1, sizeof *v);
    status st = vocab_init(v, ckpt, eb);
    if (st != ST_OK) {
        free(v);
        return st;
    }
    *out = (token_ends){
        .words = v, .ids = xmemdup(v->eog, v->eog_count * sizeof *v->eog), .count = v->eog_count};
    return ST_OK;
}

void token_ends_done(token_ends *e) {
    PRE(e);
    if (e->words) vocab_done(e->words);
    free(e->words);
    free(e->ids);
    *e = (token_ends){0};
}

size_t token_ends_bytes(void *e, int32_t id, char *out, size_t cap) {
    PRE(e);
    const token_ends *ends = e;
    for (uint32_t i = 0; i < ends->count; i++)
        if (ends->ids[i] == id) return 0;
    return vocab_is_control(ends->words, id) ? 0 : vocab_bytes(ends->words, id, out, cap);
}
