/* What ZeroMQ tells of a socket's connections. */
#include "tests/test.h"

#include "net/zmq_monitor.h"

#include <errno.h>
#include <zmq.h>

/* The next event; waits for it. */
static zmq_monitor_event next_event(void *monitor) {
    zmq_monitor_event e;
    zmq_pollitem_t item = {.socket = monitor, .events = ZMQ_POLLIN};
    while (zmq_monitor_next(monitor, &e)) assert_int_equal(zmq_poll(&item, 1, 60000), 1);
    return e;
}

static void a_connection_is_told_when_it_comes_and_when_it_goes(void **state) {
    (void)state;
    char endpoint[64];
    size_t size = sizeof endpoint;
    void *zmq = zmq_ctx_new(), *server = zmq_socket(zmq, ZMQ_ROUTER);
    void *monitor = zmq_monitor_open(zmq, server, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED);
    zmq_monitor_event e;
    assert_non_null(monitor);
    assert_int_equal(zmq_bind(server, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(server, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    assert_int_equal(zmq_monitor_next(monitor, &e), ST_AGAIN);
    for (int i = 0; i < 2; i++) {
        void *client = zmq_socket(zmq, ZMQ_DEALER);
        assert_int_equal(zmq_connect(client, endpoint), 0);
        zmq_monitor_event came = next_event(monitor);
        assert_int_equal(came.kind, ZMQ_EVENT_ACCEPTED);
        assert_true(came.fd > 2);
        assert_int_equal(zmq_monitor_next(monitor, &e), ST_AGAIN);
        zmq_close(client);
        zmq_monitor_event gone = next_event(monitor);
        assert_int_equal(gone.kind, ZMQ_EVENT_DISCONNECTED);
        assert_int_equal(gone.fd, came.fd);
        assert_int_equal(zmq_monitor_next(monitor, &e), ST_AGAIN);
    }
    zmq_monitor_close(monitor, server);
    zmq_close(server);
    zmq_ctx_term(zmq);
}

static void two_sockets_of_one_context_are_told_apart(void **state) {
    (void)state;
    char endpoint[64];
    size_t size = sizeof endpoint;
    void *zmq = zmq_ctx_new(), *server = zmq_socket(zmq, ZMQ_ROUTER), *other = zmq_socket(zmq, ZMQ_ROUTER);
    void *monitor = zmq_monitor_open(zmq, server, ZMQ_EVENT_ACCEPTED);
    void *idle = zmq_monitor_open(zmq, other, ZMQ_EVENT_ACCEPTED);
    zmq_monitor_event e;
    assert_int_equal(zmq_bind(server, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(server, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    void *client = zmq_socket(zmq, ZMQ_DEALER);
    assert_int_equal(zmq_connect(client, endpoint), 0);
    assert_int_equal(next_event(monitor).kind, ZMQ_EVENT_ACCEPTED);
    assert_int_equal(zmq_monitor_next(idle, &e), ST_AGAIN);
    zmq_close(client);
    zmq_monitor_close(monitor, server);
    zmq_monitor_close(idle, other);
    zmq_close(server);
    zmq_close(other);
    zmq_ctx_term(zmq);
}

static void what_cannot_be_monitored_gives_nothing(void **state) {
    (void)state;
    void *zmq = zmq_ctx_new();
    assert_int_equal(zmq_ctx_set(zmq, ZMQ_MAX_SOCKETS, 1), 0);
    void *socket = zmq_socket(zmq, ZMQ_DEALER);
    assert_non_null(socket);
    assert_null(zmq_monitor_open(zmq, socket, ZMQ_EVENT_ACCEPTED)); /* no second socket is allowed */
    assert_int_equal(zmq_errno(), EMFILE);
    zmq_monitor_close(NULL, socket);
    zmq_close(socket);
    zmq_ctx_term(zmq);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_told_when_it_comes_and_when_it_goes),
        cmocka_unit_test(two_sockets_of_one_context_are_told_apart),
        cmocka_unit_test(what_cannot_be_monitored_gives_nothing),
    };
    return cmocka_run_group_tests_name("zmq_monitor", tests, NULL, NULL);
}
