#include "net/bus_conn.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

void conn_table_init(conn_table *t) {
    PRE(t);
    *t = (conn_table){0};
    list_init(&t->waiting);
}

/* NOLINTBEGIN(readability-function-size): uthash is macros, and large ones. */
conn *conn_new(conn_table *t, const void *id, size_t id_len, uint64_t number) {
    PRE(id_len <= CONN_ID_MAX);
    PRE(!conn_by_number(t, number));
    conn *c = xcalloc(1, sizeof *c);
    c->number = number;
    HASH_ADD(by_number, t->numbers_head, number, sizeof c->number, c);
    if (id_len) {
        memcpy(c->id, id, id_len);
        c->id_len = (uint8_t)id_len;
        c->filed = true;
        HASH_ADD(by_id, t->ids_head, id, id_len, c);
    }
    return c;
}

void conn_unfile(conn_table *t, conn *c) {
    if (c->filed) HASH_DELETE(by_id, t->ids_head, c);
    c->filed = false;
}

void conn_free(conn_table *t, conn *c) {
    PRE(t);
    if (!c) return;
    conn_unfile(t, c);
    HASH_DELETE(by_number, t->numbers_head, c);
    if (c->dying) t->dying_count--;
    while (c->out) conn_out_pop(t, c);
    free(c);
}

void conn_table_done(conn_table *t) {
    for (conn *c = conn_first(t), *next; c; c = next) {
        next = conn_next(c);
        conn_free(t, c);
    }
    while (t->lives) {
        life *l = t->lives;
        t->lives = l->older;
        free(l);
    }
    uint64_t numbers = t->numbers;
    conn_table_init(t);
    t->numbers = numbers;
}

conn *conn_by_number(const conn_table *t, uint64_t number) {
    conn *c;
    HASH_FIND(by_number, t->numbers_head, &number, sizeof number, c);
    return c;
}

conn *conn_by_id(const conn_table *t, const void *id, size_t id_len) {
    conn *c;
    HASH_FIND(by_id, t->ids_head, id, id_len, c);
    return c;
}

/* NOLINTEND(readability-function-size) */

conn *conn_first(const conn_table *t) {
    return t->numbers_head;
}

conn *conn_next(const conn *c) {
    return c->by_number.next;
}

conn *conn_first_dying(const conn_table *t) {
    if (!t->dying_count) return NULL;
    conn *c = conn_first(t);
    while (c && !c->dying) c = conn_next(c);
    POST(c);
    return c;
}

static conn *conn_of_waiting(list_link *at) {
    return at ? LIST_ITEM(at, conn, waiting) : NULL;
}

conn *conn_first_waiting(const conn_table *t) {
    return conn_of_waiting(list_first(&t->waiting));
}

conn *conn_next_waiting(const conn_table *t, const conn *c) {
    return conn_of_waiting(list_next(&t->waiting, &c->waiting));
}

life *life_begin(conn_table *t, int fd) {
    PRE(t);
    life *l = xcalloc(1, sizeof *l);
    l->fd = fd;
    l->older = t->lives;
    t->lives = l;
    return l;
}

uint64_t life_end(conn_table *t, int fd) {
    PRE(t);
    for (life *l = t->lives; l; l = l->older) {
        if (l->fd != fd || l->dead) continue;
        l->dead = true;
        t->dead++;
        return l->number;
    }
    return 0;
}

bool life_join(conn_table *t, int fd, uint64_t number) {
    PRE(t);
    life *newest = NULL, *oldest_free = NULL;
    for (life *l = t->lives; l; l = l->older) {
        if (l->fd != fd) continue;
        if (!newest) newest = l;
        if (!l->number) oldest_free = l;
    }
    life *l =
        oldest_free ? oldest_free : newest; /* none is free: another session on the same TCP connection */
    if (!l) return true;
    l->number = number;
    return !l->dead;
}

void life_bury(conn_table *t) {
    PRE(t);
    for (life **at = &t->lives; t->dead && *at;) {
        life *l = *at;
        if (!l->dead) {
            at = &l->older;
            continue;
        }
        *at = l->older;
        free(l);
        t->dead--;
    }
}

bool conn_out_push(conn_table *t, conn *c, uint64_t number, zmq_msg_t *payload, uint64_t now_ns) {
    PRE(payload);
    size_t bytes = zmq_msg_size(payload) + CONN_MESSAGE_BYTES;
    if (c->out_count >= CONN_QUEUE_MESSAGES) return false;
    if (c->out && c->out_bytes + bytes > CONN_QUEUE_BYTES) return false;
    out_msg *o = xcalloc(1, sizeof *o);
    zmq_msg_init(&o->payload);
    CHECK(zmq_msg_move(&o->payload, payload) == 0);
    o->bytes = bytes;
    o->number = number;
    if (!c->out) {
        list_add_last(&t->waiting, &c->waiting);
        c->moved_ns = now_ns;
    }
    *(c->out_last ? &c->out_last->next : &c->out) = o;
    c->out_last = o;
    c->out_bytes += bytes;
    c->out_count++;
    return true;
}

void conn_out_pop(conn_table *t, conn *c) {
    out_msg *o = c->out;
    c->out = o->next;
    if (!c->out) {
        c->out_last = NULL;
        list_remove(&t->waiting, &c->waiting);
    }
    c->out_count--;
    c->out_bytes -= o->bytes;
    zmq_msg_close(&o->payload);
    free(o);
}
