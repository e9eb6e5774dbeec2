#include "net/handshake.h"

static bool unlike(const zmq_monitor_event *e) {
    return e->kind == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
           e->fd == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH;
}

refusal handshake_refusal(const zmq_monitor_event *e, bool keyed) {
    PRE(e);
    if (e->kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return REFUSED_KEY;
    if (!unlike(e)) return REFUSED_SILENTLY;
    return keyed ? REFUSED_KEY_UNKNOWN : REFUSED_KEY_WANTED;
}

const char *refusal_text(refusal why) {
    switch (why) {
    case NOT_REFUSED:
        return "it is not refused";
    case REFUSED_KEY_WANTED:
        return "it wants a key, and none is given here";
    case REFUSED_KEY_UNKNOWN:
        return "a key is given here, and it works without";
    case REFUSED_KEY:
        return "it refuses the key that is given here";
    case REFUSED_SILENTLY:
        return "it hung up before it said who it is: it wants a key, or another one, or is about to end";
    }
    return NULL;
}

const char *handshake_stranger(const zmq_monitor_event *e, bool keyed) {
    PRE(e);
    if (e->kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) return NULL;
    if (unlike(e)) return keyed ? "it has no key" : "it has a key, and none is wanted here";
    if (e->kind == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        return "it left, or was silent, before it had said who it is";
    return keyed ? "it does not speak ZeroMQ, or has a key of another cluster" : "it does not speak ZeroMQ";
}
