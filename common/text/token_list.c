#include "text/token_list.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>

void token_list_add(token_list *l, int32_t id) {
    PRE(l);
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 64;
        l->ids = xrealloc(l->ids, l->capacity, sizeof *l->ids);
    }
    l->ids[l->count++] = id;
}

void token_list_done(token_list *l) {
    PRE(l);
    free(l->ids);
    *l = (token_list){0};
}
