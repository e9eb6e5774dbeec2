/* token_list - a growing list of token ids. Start it zeroed. */
#ifndef BATON_TEXT_TOKEN_LIST_H
#define BATON_TEXT_TOKEN_LIST_H

#include <stdint.h>

typedef struct token_list {
    int32_t *ids; /* [count]; owned */
    uint32_t count, capacity;
} token_list;

void token_list_add(token_list *l, int32_t id);
/* Frees the ids and makes the list an empty one. */
void token_list_done(token_list *l);

#endif
