#include "net/zmq_monitor.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define EVENT_BYTES 6 /* number of 16 bits, value of 32; the next part is the address */

static bool set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

void *zmq_monitor_open(void *zmq, void *socket, int events) {
    PRE(zmq);
    PRE(socket);
    PRE(events);
    char address[64];
    snprintf(address, sizeof address, "inproc://monitor-%016" PRIx64, clock_random64());
    void *monitor = zmq_socket(zmq, ZMQ_PAIR);
    if (!monitor) return NULL;
    /* No bound on what waits, or ZeroMQ's I/O thread waits for us. */
    if (set_int(monitor, ZMQ_LINGER, 0) && set_int(monitor, ZMQ_RCVHWM, 0) &&
        zmq_socket_monitor(socket, address, events) == 0 && zmq_connect(monitor, address) == 0)
        return monitor;
    int cause = zmq_errno();
    zmq_monitor_close(monitor, socket);
    errno = cause;
    return NULL;
}

void zmq_monitor_close(void *monitor, void *socket) {
    PRE(socket);
    if (!monitor) return;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(monitor);
}

status zmq_monitor_next(void *monitor, zmq_monitor_event *out) {
    PRE(monitor);
    PRE(out);
    zmq_msg_t m;
    CHECK(zmq_msg_init(&m) == 0);
    if (zmq_msg_recv(&m, monitor, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&m);
        return ST_AGAIN;
    }
    uint16_t kind;
    int32_t fd;
    CHECK(zmq_msg_size(&m) == EVENT_BYTES);
    memcpy(&kind, zmq_msg_data(&m), sizeof kind);
    memcpy(&fd, (char *)zmq_msg_data(&m) + sizeof kind, sizeof fd);
    bool more = zmq_msg_more(&m);
    while (more && zmq_msg_recv(&m, monitor, 0) >= 0) more = zmq_msg_more(&m); /* parts come together */
    zmq_msg_close(&m);
    *out = (zmq_monitor_event){.kind = kind, .fd = fd};
    return ST_OK;
}
