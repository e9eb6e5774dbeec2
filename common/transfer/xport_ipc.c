/* ipc - the receive ring is memory of the receiver's GPU, which the sender maps: from GPU to GPU on one host.
 *
 *   D  create: memory, a socket ---- address: socket's name ----> P  open: connects
 *      ready: accepts, sends the memory's descriptor -----------> ready: maps it
 *
 * On the same GPU the sender gathers into the slot; into that of another GPU a copy engine writes what was
 * gathered here (MEMORY_PEER). A gather is done when it returns, so a push has nothing to do.
 *
 * The descriptor goes through a Unix socket (SCM_RIGHTS) and not through pidfd_getfd, which takes the right
 * to trace the receiver: most distributions keep that from a process that is not its parent. The socket has
 * no name in the file system that could leak, and lives until its one sender has come; the name is drawn, so
 * it leads to this ring or nowhere.
 *
 * Both mappings hold the memory: a sender that wakes up late writes where nobody reads. */
#include "transfer/xport.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IPC_MAGIC   0x676e69722d637069ull
#define IPC_BACKLOG 16 /* callers that wait: strangers among them are dismissed one after the other */

typedef struct ipc_address {
    uint64_t magic;
    uint64_t nonce; /* names the socket, and is what it says: this very ring */
    uint64_t bytes; /* of the memory */
    unsigned char uuid[SHARE_UUID_BYTES];
} ipc_address;
static_assert(sizeof(ipc_address) == 40, "ipc_address crosses processes");
static_assert(sizeof(ipc_address) <= XPORT_ADDRESS_MAX, "an address has its bound");

struct xport_ring {
    xport_setup setup; /* slots, and whose device it is */
    ipc_address address;
    gpu_share *share; /* P: NULL until ready */
    int socket;       /* D: listens until P came; P: until the descriptor came; then -1 */
    bool called;      /* P: it is connected */
    int fd;           /* D: the memory's, until it was sent; else -1 */
};

static const share_ops *share_of(const xport_ring *r) {
    return r->setup.ops->share;
}

static void drop_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static status ipc_check(const backend_ops *ops, device *dev, errbuf *eb) {
    PRE(ops);
    if (ops->share) return ops->share->check(dev, eb);
    return xport_wants_gpu("ipc", ops, eb);
}

static void ipc_close(xport_ring *r) {
    if (!r) return;
    drop_fd(&r->socket);
    drop_fd(&r->fd);
    share_of(r)->close(r->setup.dev, r->share);
    free(r);
}

static xport_ring *ring_alloc(const xport_setup *s) {
    xport_check_setup(s);
    xport_ring *r = xcalloc(1, sizeof *r);
    r->setup = *s;
    r->socket = r->fd = -1;
    r->address.magic = IPC_MAGIC;
    r->address.bytes = (uint64_t)s->slots * s->slot_bytes;
    return r;
}

/* A socket, and the name in the abstract space that belongs to a nonce. */
static status socket_for(uint64_t nonce, int *fd, struct sockaddr_un *name, socklen_t *bytes, errbuf *eb) {
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "baton-kv-ring-%016llx",
                     (unsigned long long)nonce);
    *bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return *fd >= 0 ? ST_OK : errf(eb, ST_IO, "ipc ring: socket: %s", strerror(errno));
}

/* ---- D ---- */

static status ipc_create(xport_ring **out, const xport_setup *s, xport_address *address, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    status st = ipc_check(s->ops, s->dev, eb);
    if (st != ST_OK) return st;
    xport_ring *r = ring_alloc(s);
    errbuf why = {0};
    struct sockaddr_un name;
    socklen_t bytes;
    r->address.nonce = clock_random64();
    share_of(r)->uuid(s->dev, r->address.uuid);
    st = share_of(r)->create(s->dev, r->address.bytes, &r->share, &r->fd, &why);
    if (st == ST_NOMEM)
        errf(eb, st,
             "ipc ring: no GPU memory for %" PRIu64 " bytes: lower handoff.ring_slots or slot_kb (%s)",
             r->address.bytes, why.text);
    else if (st != ST_OK)
        errf(eb, st, "%s", why.text);
    if (st == ST_OK) st = socket_for(r->address.nonce, &r->socket, &name, &bytes, eb);
    if (st == ST_OK && (bind(r->socket, (struct sockaddr *)&name, bytes) || listen(r->socket, IPC_BACKLOG)))
        st = errf(eb, ST_IO, "ipc ring: a socket to hand it over: %s", strerror(errno));
    if (st != ST_OK) {
        ipc_close(r);
        return st;
    }
    memcpy(address->bytes, &r->address, sizeof r->address);
    address->count = sizeof r->address;
    *out = r;
    return ST_OK;
}

/* Who may map the ring: this user, and root. */
static bool may_have(int peer) {
    struct ucred who = {0};
    socklen_t bytes = sizeof who;
    if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &bytes)) return false;
    return who.uid == 0 || who.uid == geteuid();
}

/* One small message into an empty socket never waits. */
static bool send_fd(int peer, uint64_t nonce, int fd) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {.iov_base = &nonce, .iov_len = sizeof nonce};
    struct msghdr m = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg(peer, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof nonce;
}

static status hand_over(xport_ring *r, errbuf *eb) {
    int peer = accept4(r->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0) {
        if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return ST_AGAIN;
        return errf(eb, ST_PEER, "ipc ring: accept: %s", strerror(errno));
    }
    bool welcome = may_have(peer);
    bool sent = welcome && send_fd(peer, r->address.nonce, r->fd);
    int cause = errno;
    close(peer); /* what was sent stays readable */
    if (!welcome) return ST_AGAIN;
    if (!sent) return errf(eb, ST_PEER, "ipc ring: handing it over: %s", strerror(cause));
    drop_fd(&r->socket);
    drop_fd(&r->fd);
    return ST_OK;
}

/* ---- P ---- */

/* ST_AGAIN: too many callers wait there already. */
static status call_owner(xport_ring *r, errbuf *eb) {
    struct sockaddr_un name;
    socklen_t bytes;
    drop_fd(&r->socket);
    status st = socket_for(r->address.nonce, &r->socket, &name, &bytes, eb);
    if (st != ST_OK) return st;
    r->called = connect(r->socket, (struct sockaddr *)&name, bytes) == 0;
    if (r->called) return ST_OK;
    if (errno == EAGAIN || errno == EINTR) return ST_AGAIN;
    return errf(eb, ST_PEER,
                "ipc ring: %s; the receiver is gone, or the workers do not share host and network "
                "namespace (use transport shm or zmq)",
                strerror(errno));
}

static status ipc_open_peer(xport_ring **out, const xport_setup *s, const xport_address *address,
                            errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    ipc_address a;
    if (address->count != sizeof a)
        return errf(eb, ST_CORRUPT, "ipc ring: an address of %zu bytes, want %zu", address->count, sizeof a);
    memcpy(&a, address->bytes, sizeof a);
    if (a.magic != IPC_MAGIC || a.bytes != (uint64_t)s->slots * s->slot_bytes)
        return errf(eb, ST_CORRUPT, "ipc ring: an address of something else");
    status st = ipc_check(s->ops, s->dev, eb);
    if (st != ST_OK) return st;
    errbuf why = {0};
    if (s->ops->share->reach(s->dev, a.uuid, &why) != ST_OK)
        return errf(eb, ST_PEER, "ipc ring: %s", why.text);
    xport_ring *r = ring_alloc(s);
    r->address = a;
    st = call_owner(r, eb);
    if (st != ST_OK && st != ST_AGAIN) {
        ipc_close(r);
        return st;
    }
    *out = r;
    return ST_OK;
}

/* ST_AGAIN: it has not come yet. Caller closes *fd. */
static status receive_fd(int socket, uint64_t *nonce, int *fd, errbuf *eb) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {.iov_base = nonce, .iov_len = sizeof *nonce};
    struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control};
    m.msg_controllen = CMSG_LEN(sizeof(int)); /* the padding behind it would take a second, and leak it */
    ssize_t n = recvmsg(socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return ST_AGAIN;
    if (n < 0 && errno != ECONNRESET) return errf(eb, ST_PEER, "ipc ring: %s", strerror(errno));
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof *fd))
        memcpy(fd, CMSG_DATA(c), sizeof *fd);
    if (n == (ssize_t)sizeof *nonce && *fd >= 0) return ST_OK;
    return errf(eb, ST_PEER, "ipc ring: the receiver went away, or runs as another user");
}

static status take_over(xport_ring *r, errbuf *eb) {
    uint64_t nonce = 0;
    int fd = -1;
    errbuf why = {0};
    status st = r->called ? ST_OK : call_owner(r, eb);
    if (st == ST_OK) st = receive_fd(r->socket, &nonce, &fd, eb);
    if (st == ST_OK && nonce != r->address.nonce)
        st = errf(eb, ST_PEER, "ipc ring: the receiver handed over another one");
    if (st == ST_OK) {
        st = share_of(r)->map(r->setup.dev, fd, r->address.bytes, r->address.uuid, &r->share, &why);
        if (st != ST_OK) errf(eb, st, "ipc ring: %s", why.text);
    }
    drop_fd(&fd);
    if (st == ST_OK) drop_fd(&r->socket);
    return st;
}

/* ---- both ---- */

static status ipc_ready(xport_ring *r, errbuf *eb) {
    PRE(r);
    if (r->socket < 0) return ST_OK;
    return r->share ? hand_over(r, eb) : take_over(r, eb);
}

static xport_place ipc_stage(xport_ring *r, uint32_t slot) {
    PRE(r);
    PRE(slot < r->setup.slots);
    return (xport_place){.at = (char *)share_of(r)->at(r->share) + slot * r->setup.slot_bytes,
                         .in = share_of(r)->in(r->share)};
}

static xport_place ipc_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                               size_t part_bytes) {
    if (part || part_bytes || !xport_in_ring(&r->setup, slot, bytes)) return (xport_place){0};
    return ipc_stage(r, slot);
}

const xport_ops xport_ipc = {
    .name = "ipc",
    .bit = KV_BY_IPC,
    .check = ipc_check,
    .create = ipc_create,
    .open = ipc_open_peer,
    .ready = ipc_ready,
    .close = ipc_close,
    .stage = ipc_stage,
    .push = xport_move_at_once,
    .pushed = xport_moved_at_once,
    .part = xport_no_part,
    .pull = xport_move_at_once,
    .pulled = xport_moved_at_once,
    .payload = ipc_payload,
};
