/* The bounds of a connection's queue, exactly, and who waits. */
#include "tests/test.h"

#include "base/mem.h"
#include "base/status.h"
#include "net/bus_conn.h"

static bool push(conn_table *t, conn *c, size_t bytes, uint64_t now_ns) {
    zmq_msg_t m;
    assert_int_equal(zmq_msg_init_size(&m, bytes), 0);
    bool taken = conn_out_push(t, c, ++c->sent, &m, now_ns);
    assert_int_equal(zmq_msg_size(&m), taken ? 0 : bytes);
    zmq_msg_close(&m);
    return taken;
}

static void a_queue_takes_so_many_messages(void **state) {
    (void)state;
    conn_table t;
    conn_table_init(&t);
    conn *c = conn_new(&t, "a", 1, 1);
    uint32_t taken = 0;
    while (push(&t, c, 1, 1)) taken++;
    assert_int_equal(taken, CONN_QUEUE_MESSAGES);
    conn_out_pop(&t, c);
    assert_true(push(&t, c, 1, 1));
    assert_false(push(&t, c, 1, 1));
    conn_table_done(&t);
}

static void its_memory_counts_with_what_keeping_a_message_costs(void **state) {
    (void)state;
    conn_table t;
    conn_table_init(&t);
    conn *c = conn_new(&t, "a", 1, 1);
    uint32_t taken = 0;
    while (push(&t, c, 1 << 20, 1)) taken++;
    assert_int_equal(taken, 63);
    assert_int_equal(c->out_bytes, 63 * ((1 << 20) + CONN_MESSAGE_BYTES));
    while (c->out) conn_out_pop(&t, c);
    assert_int_equal(c->out_bytes, 0);
    conn_table_done(&t);
}

static void an_empty_queue_takes_the_largest_message_and_nothing_behind_it(void **state) {
    (void)state;
    conn_table t;
    conn_table_init(&t);
    conn *c = conn_new(&t, "a", 1, 1);
    assert_true(push(&t, c, CONN_QUEUE_BYTES, 1));
    assert_false(push(&t, c, 0, 1));
    conn_out_pop(&t, c);
    assert_true(push(&t, c, 0, 1));
    conn_table_done(&t);
}

static void those_wait_that_have_unsent_messages(void **state) {
    (void)state;
    conn_table t;
    conn_table_init(&t);
    conn *a = conn_new(&t, "a", 1, 1), *b = conn_new(&t, "b", 1, 2);
    assert_null(conn_first_waiting(&t));
    push(&t, b, 1, 10);
    push(&t, a, 1, 20);
    push(&t, b, 1, 30);
    assert_ptr_equal(conn_first_waiting(&t), b);
    assert_ptr_equal(conn_next_waiting(&t, b), a);
    assert_null(conn_next_waiting(&t, a));
    assert_int_equal(b->moved_ns, 10); /* only the first of a queue begins it */
    assert_int_equal(a->moved_ns, 20);
    conn_out_pop(&t, b);
    assert_ptr_equal(conn_first_waiting(&t), b);
    conn_out_pop(&t, b);
    assert_ptr_equal(conn_first_waiting(&t), a);
    conn_free(&t, a);
    assert_null(conn_first_waiting(&t));
    t.numbers = 7;
    push(&t, b, 1, 40);
    conn_table_done(&t);
    assert_null(conn_first_waiting(&t));
    assert_int_equal(t.numbers, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_takes_so_many_messages),
        cmocka_unit_test(its_memory_counts_with_what_keeping_a_message_costs),
        cmocka_unit_test(an_empty_queue_takes_the_largest_message_and_nothing_behind_it),
        cmocka_unit_test(those_wait_that_have_unsent_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
