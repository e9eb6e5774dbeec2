#include "text/token_ends.h"

#include "base/mem.h"
#include "text/vocab.h"

#include <stdlib.h>

status token_ends_init(token_ends *out, const checkpoint *ckpt, errbuf *eb) {
    PRE(out);
    PRE(ckpt);
    vocab v;
    status st = vocab_init(&v, ckpt, eb);
    if (st != ST_OK) return st;
    *out = (token_ends){.ids = xmemdup(v.eog, v.eog_count * sizeof *v.eog), .count = v.eog_count};
    vocab_done(&v);
    return ST_OK;
}

void token_ends_done(token_ends *e) {
    PRE(e);
    free(e->ids);
    *e = (token_ends){0};
}
