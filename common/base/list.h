/* list - a doubly linked list through a member of its items: order without memory of its own, removal without
 * a search.
 *
 * The links stand in the item, so an item is in at most one list per link. A list knows how many it has.
 *
 *   typedef struct job { list_link by_age; } job;
 *   for (list_link *l = list_first(&jobs); l; l = list_next(&jobs, l)) use(LIST_ITEM(l, job, by_age));
 *
 * An item may be removed inside the loop once its list_next was taken. Everything is O(1); nothing owns the
 * items. A list must not be moved: its items point to it. */
#ifndef BATON_BASE_LIST_H
#define BATON_BASE_LIST_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct list_link {
    struct list_link *prev, *next; /* a ring with the list's head in it; NULL: in no list */
} list_link;

typedef struct list {
    list_link head; /* before the first and behind the last */
    uint32_t count; /* items */
} list;

/* The item of a link. */
#define LIST_ITEM(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(list *l) {
    *l = (list){.head = {.prev = &l->head, .next = &l->head}};
}

/* First, last, and the neighbours of an item; NULL where there is none. */
static inline list_link *list_first(const list *l) {
    return l->head.next == &l->head ? NULL : l->head.next;
}

static inline list_link *list_last(const list *l) {
    return l->head.prev == &l->head ? NULL : l->head.prev;
}

static inline list_link *list_next(const list *l, const list_link *item) {
    return item->next == &l->head ? NULL : item->next;
}

static inline list_link *list_prev(const list *l, const list_link *item) {
    return item->prev == &l->head ? NULL : item->prev;
}

/* The item is in no list by this link. `after` is in the list, or NULL: the item becomes the first. */
static inline void list_add_after(list *l, list_link *after, list_link *item) {
    PRE(!item->next);
    list_link *before = after ? after : &l->head;
    item->prev = before;
    item->next = before->next;
    before->next->prev = item;
    before->next = item;
    l->count++;
}

static inline void list_add_last(list *l, list_link *item) {
    list_add_after(l, l->head.prev, item);
}

/* The item is in this list. */
static inline void list_remove(list *l, list_link *item) {
    PRE(item->next);
    PRE(l->count > 0);
    item->prev->next = item->next;
    item->next->prev = item->prev;
    *item = (list_link){0};
    l->count--;
}

#endif
