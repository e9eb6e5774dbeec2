/* shm - the receive ring is an anonymous memory file (memfd) of the receiver, which the sender maps.
 *
 *   [ head: magic, nonce | pad to 4096 ][ slot 0 ][ slot 1 ] ...
 *
 * The sender opens /proc/<pid>/fd/<fd>: the file has no name that could leak, and kill -9 of both sides
 * frees it. It is filled by fallocate and sealed against shrinking, so a write never meets a missing page
 * (SIGBUS), not even after the receiver is gone: the sender's mapping keeps the memory alive. On another
 * host, or after pid and fd were reused, the path may lead to some other file; the seal, the size and the
 * nonce in the address tell.
 *
 * Each side pins its mapping for its own device, when that gains from it.
 *
 * Both sides run on one host, so the order of the payload and the frame that names it is kept by the socket
 * calls. */
#include "transfer/xport.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHM_HEAD_BYTES ((size_t)4096)
#define SHM_MAGIC      0x676e69727665636bull

typedef struct shm_head {
    uint64_t magic;
    uint64_t nonce; /* also in the address: this very ring */
} shm_head;

typedef struct shm_address {
    uint64_t nonce;
    uint32_t pid; /* /proc/<pid>/fd/<fd> */
    int32_t fd;
} shm_address;
static_assert(sizeof(shm_address) == 16, "shm_address crosses processes");
static_assert(sizeof(shm_address) <= XPORT_ADDRESS_MAX, "an address has its bound");

struct xport_ring {
    int fd;              /* D: keeps /proc/<pid>/fd/<fd> open for P; P: -1 */
    unsigned char *base; /* the mapping: head, then slots */
    size_t total_bytes;  /* of the mapping */
    xport_setup setup;   /* slots, and whose device it is */
    memory_kind in;      /* the mapping, as this side's device sees it */
};

static void shm_close(xport_ring *r) {
    if (!r) return;
    if (r->in == MEMORY_PINNED) r->setup.ops->host_unpin(r->setup.dev, r->base);
    if (r->base) munmap(r->base, r->total_bytes);
    if (r->fd >= 0) close(r->fd);
    free(r);
}

uint64_t xport_shm_ring_bytes(uint32_t slots, size_t slot_bytes) {
    return SHM_HEAD_BYTES + (uint64_t)slots * slot_bytes;
}

static xport_ring *ring_alloc(const xport_setup *s) {
    xport_check_setup(s);
    xport_ring *r = xcalloc(1, sizeof *r);
    r->fd = -1;
    r->in = MEMORY_HOST;
    r->setup = *s;
    r->total_bytes = xport_shm_ring_bytes(s->slots, s->slot_bytes);
    return r;
}

static status ring_map(xport_ring *r, int fd) {
    void *base = mmap(NULL, r->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED) return ST_NOMEM;
    r->base = base;
    r->in = r->setup.ops->host_pin(r->setup.dev, r->base, r->total_bytes);
    return ST_OK;
}

static status shm_create(xport_ring **out, const xport_setup *s, xport_address *address, errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    const char *call = "memfd_create";
    xport_ring *r = ring_alloc(s);
    r->fd = memfd_create("baton-kv-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (r->fd < 0) goto fail;
    call = "fallocate";
    if (fallocate(r->fd, 0, 0, (off_t)r->total_bytes)) goto fail;
    call = "sealing";
    if (fcntl(r->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) goto fail;
    call = "mmap";
    if (ring_map(r, r->fd)) goto fail;

    shm_head *head = (shm_head *)r->base;
    head->magic = SHM_MAGIC;
    head->nonce = clock_random64();
    shm_address a = {.nonce = head->nonce, .pid = (uint32_t)getpid(), .fd = r->fd};
    memcpy(address->bytes, &a, sizeof a);
    address->count = sizeof a;
    *out = r;
    return ST_OK;

fail:;
    int cause = errno;
    size_t bytes = r->total_bytes;
    shm_close(r);
    return errf(eb, ST_NOMEM, "shm ring of %zu bytes: %s: %s; lower handoff.ring_slots or slot_kb", bytes,
                call, strerror(cause));
}

/* Opens the file and proves that it is the ring that the address means. */
static status shm_attach(xport_ring *r, const shm_address *address, errbuf *eb) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/fd/%d", address->pid, address->fd);
    status st = ST_PEER;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errf(
            eb, ST_PEER,
            "shm ring %s: %s; the workers must share host, pid namespace and user, or use transport zmq",
            path, strerror(errno));
    struct stat info;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &info) || seals < 0 || !(seals & F_SEAL_SHRINK) || (size_t)info.st_size != r->total_bytes) {
        errf(eb, ST_PEER,
             "shm ring %s is another file; the receiver is gone or on another host (use transport zmq)",
             path);
        goto done;
    }
    if (ring_map(r, fd)) {
        st = errf(eb, ST_NOMEM, "shm ring %s: cannot map %zu bytes: %s", path, r->total_bytes,
                  strerror(errno));
        goto done;
    }
    const shm_head *head = (const shm_head *)r->base;
    if (head->magic != SHM_MAGIC || head->nonce != address->nonce) {
        errf(eb, ST_PEER,
             "shm ring %s is another ring; the receiver is gone or on another host (use transport zmq)",
             path);
        goto done;
    }
    st = ST_OK;
done:
    close(fd); /* the mapping stays */
    return st;
}

static status shm_open_peer(xport_ring **out, const xport_setup *s, const xport_address *address,
                            errbuf *eb) {
    PRE(out);
    PRE(s);
    PRE(address);
    shm_address a;
    if (address->count != sizeof a)
        return errf(eb, ST_CORRUPT, "shm ring: an address of %zu bytes, want %zu", address->count, sizeof a);
    memcpy(&a, address->bytes, sizeof a);
    xport_ring *r = ring_alloc(s);
    status st = shm_attach(r, &a, eb);
    if (st != ST_OK) {
        shm_close(r);
        return st;
    }
    *out = r;
    return ST_OK;
}

static unsigned char *slot_at(const xport_ring *r, uint32_t slot) {
    PRE(r);
    PRE(slot < r->setup.slots);
    return r->base + SHM_HEAD_BYTES + (size_t)slot * r->setup.slot_bytes;
}

static xport_place shm_stage(xport_ring *r, uint32_t slot) {
    return (xport_place){.at = slot_at(r, slot), .in = r->in};
}

static xport_place shm_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                               size_t part_bytes) {
    if (part || part_bytes || !xport_in_ring(&r->setup, slot, bytes)) return (xport_place){0};
    return shm_stage(r, slot);
}

const xport_ops xport_shm = {
    .name = "shm",
    .bit = KV_BY_SHM,
    .check = xport_check_nothing,
    .create = shm_create,
    .open = shm_open_peer,
    .ready = xport_ready_at_once,
    .close = shm_close,
    .stage = shm_stage,
    .push = xport_move_at_once,
    .pushed = xport_moved_at_once,
    .part = xport_no_part,
    .pull = xport_move_at_once,
    .pulled = xport_moved_at_once,
    .payload = shm_payload,
};
