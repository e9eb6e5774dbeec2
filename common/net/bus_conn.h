/* bus_conn - the connections of one bus: found by number and by ZeroMQ identity, each with its queue of
 * unsent messages.
 *
 * A life is one TCP connection of a server, as the socket's monitor tells it: it begins and ends with a
 * descriptor, which is reused at once. The first message of a connection names only the descriptor, and may
 * be read after that one closed and even after its next owner came. So the lives of a descriptor form a
 * queue, and each new connection belongs to the oldest life that has none yet.
 *
 * A queue takes up to CONN_QUEUE_MESSAGES messages, and up to CONN_QUEUE_BYTES of memory for them, whichever
 * is reached first; ZeroMQ and TCP hold what went before. How long a queue may stand still is its owner's to
 * judge (moved_ns).
 *
 * Private to bus.c. Plain tables: nothing here talks to ZeroMQ but for owning payloads. */
#ifndef BATON_NET_BUS_CONN_H
#define BATON_NET_BUS_CONN_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>
#include <zmq.h>

#define CONN_ID_MAX         255         /* of ZeroMQ */
#define CONN_QUEUE_BYTES    (64u << 20) /* of memory; a message with an empty queue before it always fits */
#define CONN_QUEUE_MESSAGES 100000u     /* of a busy client's tokens: some seconds */
/* Memory of a message beside its payload: the entry and ZeroMQ's, each with the allocator's share. */
#define CONN_MESSAGE_BYTES (sizeof(out_msg) + 64)

/* A message that ZeroMQ would not take yet. */
typedef struct out_msg {
    uint64_t number;
    zmq_msg_t payload; /* empty once ZeroMQ took it */
    size_t bytes;      /* of memory */
    struct out_msg *next;
} out_msg;

typedef struct conn {
    uint64_t number;   /* of the connection */
    uint64_t session;  /* drawn by the client */
    uint64_t received; /* number of the last message taken */
    uint64_t sent;     /* number of the last message queued or sent */
    out_msg *out;      /* oldest unsent */
    out_msg *out_last;
    size_t out_bytes; /* of memory */
    uint32_t out_count;
    uint64_t moved_ns; /* out: when the last one left it, or the first one came */
    list_link waiting; /* in the table's, while out has something */
    bool dying;        /* `lost` is due */
    bool over;         /* nothing more is delivered */
    const char *why;   /* of dying; static */
    uint8_t id_len;    /* 0 at a client */
    char id[CONN_ID_MAX];
    bool filed; /* in by_id */
    UT_hash_handle by_number, by_id;
} conn;

typedef struct life {
    int fd;
    bool dead;       /* it closed */
    uint64_t number; /* of its connection; 0 = none yet */
    /* For bus_crowd. */
    bool ended;        /* shut down here */
    uint64_t cookie;   /* of its socket; 0: not known */
    uint64_t address;  /* see peer_address */
    uint64_t quiet_ns; /* since when it has no session */
    uint64_t messages; /* of its session, at the last look at which there was a new one ... */
    uint64_t bytes;    /* ... and what it had brought then */
    struct life *older;
} life;

typedef struct conn_table {
    conn *numbers_head, *ids_head; /* uthash */
    uint64_t numbers;              /* given so far */
    uint32_t dying_count;
    list waiting;  /* connections that have unsent messages */
    uint32_t dead; /* of lives */
    life *lives;   /* newest first; one per open descriptor, and the dead ones of this turn */
} conn_table;

/* Not to be moved. conn_table_done empties it, for use again: numbers go on. */
void conn_table_init(conn_table *t);
void conn_table_done(conn_table *t);

conn *conn_new(conn_table *t, const void *id, size_t id_len, uint64_t number);
void conn_free(conn_table *t, conn *c);

conn *conn_by_number(const conn_table *t, uint64_t number);
conn *conn_by_id(const conn_table *t, const void *id, size_t id_len);
conn *conn_first(const conn_table *t);
conn *conn_next(const conn *c);
conn *conn_first_dying(const conn_table *t);
/* Of those that have unsent messages; NULL after the last. A connection whose queue empties leaves them, so
 * the next one is looked up before. */
conn *conn_first_waiting(const conn_table *t);
conn *conn_next_waiting(const conn_table *t, const conn *c);
/* Its identity belongs to another from now on */
void conn_unfile(conn_table *t, conn *c);

/* Borrowed: valid until life_bury after its end */
life *life_begin(conn_table *t, int fd);
/* The number of its connection; 0 = none yet */
uint64_t life_end(conn_table *t, int fd);
/* Files a new connection under its life. False: that one closed already. */
bool life_join(conn_table *t, int fd, uint64_t number);
/* Forgets the dead: nothing of theirs is waiting any more */
void life_bury(conn_table *t);

/* Takes the payload. False, and nothing is taken: a bound is reached. */
bool conn_out_push(conn_table *t, conn *c, uint64_t number, zmq_msg_t *payload, uint64_t now_ns);
/* The oldest was sent */
void conn_out_pop(conn_table *t, conn *c);

#endif
