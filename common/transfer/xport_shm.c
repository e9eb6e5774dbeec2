/* shm - the receive ring is an anonymous memory file (memfd) of the receiver, which the sender maps.
 *
 *   [ head: magic, nonce | pad to 4096 ][ slot 0 ][ slot 1 ] ...
 *
 * The sender opens /proc/<pid>/fd/<fd>: the file has no name that could leak, and kill -9 of both sides
 * frees it. It is filled by fallocate and sealed against shrinking, so a write never meets a missing page
 * (SIGBUS), not even after the receiver is gone: the sender's mapping keeps the memory alive. On another
 * host, or after pid and fd were reused, the path may lead to some other file; the seal, the size and the
 * nonce from the RING frame tell.
 *
 * Both sides run on one host, so the order of the payload and the frame that names it is kept by the socket
 * calls. */
#include "transfer/xport.h"

#include "base/clock.h"
#include "base/mem.h"

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
    uint64_t nonce; /* also in RING.checksum: this very ring */
} shm_head;

struct xport_ring {
    int fd;              /* D: keeps /proc/<pid>/fd/<fd> open for P; P: -1 */
    unsigned char *base; /* the mapping: head, then slots */
    size_t total_bytes;  /* of the mapping */
    uint32_t slots;
    size_t slot_bytes;
};

static void shm_close(xport_ring *r) {
    if (!r) return;
    if (r->base) munmap(r->base, r->total_bytes);
    if (r->fd >= 0) close(r->fd);
    free(r);
}

static xport_ring *ring_alloc(uint32_t slots, size_t slot_bytes) {
    xport_ring *r = xcalloc(1, sizeof *r);
    r->fd = -1;
    r->slots = slots;
    r->slot_bytes = slot_bytes;
    r->total_bytes = SHM_HEAD_BYTES + (size_t)slots * slot_bytes;
    return r;
}

static status ring_map(xport_ring *r, int fd) {
    void *base = mmap(NULL, r->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED) return ST_NOMEM;
    r->base = base;
    return ST_OK;
}

static status shm_create(xport_ring **out, uint32_t slots, size_t slot_bytes, kv_frame *frame, errbuf *eb) {
    PRE(out);
    PRE(frame);
    PRE(slots > 0);
    PRE(slots <= XPORT_SLOTS_MAX);
    PRE(slot_bytes > 0);
    PRE(slot_bytes <= XPORT_SLOT_BYTES_MAX);
    PRE(slot_bytes % 64 == 0);
    const char *call = "memfd_create";
    xport_ring *r = ring_alloc(slots, slot_bytes);
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
    frame->kind = KV_RING;
    frame->slot = slots;
    frame->bytes = slot_bytes;
    frame->pid = (uint32_t)getpid();
    frame->fd = r->fd;
    frame->checksum = head->nonce;
    *out = r;
    return ST_OK;

fail:;
    int cause = errno;
    size_t bytes = r->total_bytes;
    shm_close(r);
    return errf(eb, ST_NOMEM, "shm ring of %zu bytes: %s: %s; lower handoff.ring_slots or slot_kb", bytes,
                call, strerror(cause));
}

/* Opens the file and proves that it is the ring that the frame describes. */
static status shm_attach(xport_ring *r, const kv_frame *frame, errbuf *eb) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/fd/%d", frame->pid, frame->fd);
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
    if (head->magic != SHM_MAGIC || head->nonce != frame->checksum) {
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

static status shm_open_peer(xport_ring **out, const kv_frame *frame, errbuf *eb) {
    PRE(out);
    PRE(frame);
    PRE(frame->slot > 0);
    PRE(frame->slot <= XPORT_SLOTS_MAX);
    PRE(frame->bytes <= XPORT_SLOT_BYTES_MAX);
    xport_ring *r = ring_alloc(frame->slot, frame->bytes);
    status st = shm_attach(r, frame, eb);
    if (st) {
        shm_close(r);
        return st;
    }
    *out = r;
    return ST_OK;
}

static unsigned char *slot_at(const xport_ring *r, uint32_t slot) {
    PRE(r);
    PRE(slot < r->slots);
    return r->base + SHM_HEAD_BYTES + (size_t)slot * r->slot_bytes;
}

static void *shm_stage(xport_ring *r, uint32_t slot) {
    return slot_at(r, slot);
}

static const void *shm_payload(xport_ring *r, uint32_t slot, size_t bytes, const void *part,
                               size_t part_bytes) {
    if (slot >= r->slots || bytes > r->slot_bytes || part || part_bytes) return NULL;
    return slot_at(r, slot);
}

const xport_ops xport_shm = {
    .name = "shm",
    .create = shm_create,
    .open = shm_open_peer,
    .close = shm_close,
    .stage = shm_stage,
    .part = NULL,
    .payload = shm_payload,
};
