#include "tests/test.h"

#include "base/list.h"
#include "base/mem.h"

typedef struct thing {
    char name;
    list_link link; /* not the first member: LIST_ITEM has something to do */
} thing;

/* The names, from the first to the last by the links forward, and the same backward. */
static void expect(const list *l, const char *names) {
    char forward[16] = "", backward[16] = "";
    uint32_t n = 0;
    for (list_link *i = list_first(l); i; i = list_next(l, i)) forward[n++] = LIST_ITEM(i, thing, link)->name;
    assert_string_equal(forward, names);
    assert_int_equal(l->count, n);
    for (list_link *i = list_last(l); i; i = list_prev(l, i)) backward[--n] = LIST_ITEM(i, thing, link)->name;
    assert_int_equal(n, 0);
    assert_string_equal(backward, names);
}

static void items_keep_their_order_and_leave_from_anywhere(void **state) {
    (void)state;
    thing a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'};
    list l;
    list_init(&l);
    expect(&l, "");
    list_add_last(&l, &b.link);
    list_add_last(&l, &d.link);
    list_add_after(&l, NULL, &a.link);
    list_add_after(&l, &b.link, &c.link);
    expect(&l, "abcd");
    list_remove(&l, &b.link);
    expect(&l, "acd");
    list_remove(&l, &d.link);
    expect(&l, "ac");
    list_remove(&l, &a.link);
    expect(&l, "c");
    list_remove(&l, &c.link);
    expect(&l, "");
    list_add_last(&l, &b.link); /* what was removed may come again */
    expect(&l, "b");
}

static void an_item_may_leave_while_the_list_is_walked(void **state) {
    (void)state;
    thing things[6];
    list l;
    list_init(&l);
    for (uint32_t i = 0; i < ARRAY_LEN(things); i++) {
        things[i] = (thing){.name = (char)('a' + i)};
        list_add_last(&l, &things[i].link);
    }
    for (list_link *i = list_first(&l), *next; i; i = next) {
        next = list_next(&l, i);
        if (LIST_ITEM(i, thing, link)->name % 2) list_remove(&l, i); /* a, c and e */
    }
    expect(&l, "bdf");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_keep_their_order_and_leave_from_anywhere),
        cmocka_unit_test(an_item_may_leave_while_the_list_is_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
