#include "nccl_host.h"

#include "emulation.h"
#include "kernels/cuda/nccl.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#undef dlopen
#undef dlsym
#undef dlclose

/* --- what goes wrong --- */

static struct wrong {
    pthread_mutex_t lock;
    char words[128];
    bool set;        /* not by the environment */
    uint64_t copies; /* since it was set */
} wrong = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Atomic uint64_t copies;
static _Atomic uint32_t comms, newest_ctas;

void nccl_host_set(const char *words) {
    pthread_mutex_lock(&wrong.lock);
    snprintf(wrong.words, sizeof wrong.words, "%s", words ? words : "");
    wrong.set = true;
    wrong.copies = 0;
    pthread_mutex_unlock(&wrong.lock);
}

/* N of word=N; 1 of the word alone; 0: it is not said. */
static uint64_t said(const char *word) {
    pthread_mutex_lock(&wrong.lock);
    const char *all = wrong.set ? wrong.words : getenv("BATON_EMU_NCCL");
    size_t length = strlen(word);
    uint64_t n = 0;
    for (const char *at = all; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, word, length) != 0) continue;
        if (at[length] == '=') n = strtoull(at + length + 1, NULL, 10);
        if (at[length] == ',' || at[length] == '\0') n = 1;
    }
    pthread_mutex_unlock(&wrong.lock);
    return n;
}

static uint64_t next_copy(void) {
    pthread_mutex_lock(&wrong.lock);
    uint64_t n = ++wrong.copies;
    pthread_mutex_unlock(&wrong.lock);
    return n;
}

uint32_t nccl_host_comms(void) {
    return atomic_load(&comms);
}

uint64_t nccl_host_copies(void) {
    return atomic_load(&copies);
}

uint32_t nccl_host_ctas(void) {
    return atomic_load(&newest_ctas);
}

/* --- ids: a socket that listens under a random name, from when an id is drawn --- */

typedef struct listener {
    struct listener *next;
    nccl_id id;
    int fd;
} listener;

static pthread_mutex_t listeners_lock = PTHREAD_MUTEX_INITIALIZER;
static listener *listeners;

static socklen_t address_of(const nccl_id *id, struct sockaddr_un *a) {
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%.60s", id->bytes);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(id->bytes));
}

static nccl_result get_unique_id(nccl_id *id) {
    if (said("draw_fails")) return NCCL_SYSTEM_ERROR;
    uint64_t r[2];
    if (getrandom(r, sizeof r, 0) != sizeof r) return NCCL_SYSTEM_ERROR;
    listener *l = calloc(1, sizeof *l);
    if (!l) return NCCL_SYSTEM_ERROR;
    snprintf(l->id.bytes, sizeof l->id.bytes, "baton-emulated-nccl-%016llx%016llx", (unsigned long long)r[0],
             (unsigned long long)r[1]);
    struct sockaddr_un a;
    socklen_t length = address_of(&l->id, &a);
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&a, length) || listen(l->fd, 1)) {
        if (l->fd >= 0) close(l->fd);
        free(l);
        return NCCL_SYSTEM_ERROR;
    }
    *id = l->id;
    pthread_mutex_lock(&listeners_lock);
    l->next = listeners;
    listeners = l;
    pthread_mutex_unlock(&listeners_lock);
    return NCCL_SUCCESS;
}

/* -1: this process has drawn no such id. */
static int take_listener(const nccl_id *id) {
    int fd = -1;
    pthread_mutex_lock(&listeners_lock);
    for (listener **at = &listeners; *at; at = &(*at)->next) {
        listener *l = *at;
        if (memcmp(l->id.bytes, id->bytes, sizeof id->bytes) != 0) continue;
        fd = l->fd;
        *at = l->next;
        free(l);
        break;
    }
    pthread_mutex_unlock(&listeners_lock);
    return fd;
}

/* --- communicators --- */

typedef enum stage { STAGE_CONNECTING, STAGE_HELLO, STAGE_UP } stage;

typedef struct copy {
    nccl_comm *comm;
    bool sends, hangs;
    char *at;
    uint64_t bytes, head; /* head: goes ahead of the bytes */
    size_t head_done, done;
    cudaStream_t stream;
} copy;

struct ncclComm {
    pthread_mutex_t lock;
    unsigned refs; /* of the owner, and of copies in streams */
    int rank;
    nccl_id id;
    int listen, fd; /* -1: none */
    stage stage;
    unsigned asks;     /* how often it has been asked since something is in progress */
    copy *launching;   /* in progress; NULL: none */
    bool first_told;   /* of our first copy the peer knows */
    bool first_heard;  /* of the peer's */
    bool breaks;       /* with the copy that is launched */
    nccl_result error; /* stays */
    bool aborted;
};

static void comm_put(nccl_comm *c) { /* holds the lock, which it gives away */
    bool last = --c->refs == 0;
    pthread_mutex_unlock(&c->lock);
    if (!last) return;
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void comm_close(nccl_comm *c) {
    if (c->listen >= 0) close(c->listen);
    if (c->fd >= 0) close(c->fd);
    c->listen = c->fd = -1;
}

/* Moves what it can: bytes moved, 0 when it would block, -1 when the peer is gone. */
static ssize_t move(nccl_comm *c, bool sends, void *at, size_t bytes) {
    ssize_t n = sends ? send(c->fd, at, bytes, MSG_NOSIGNAL) : recv(c->fd, at, bytes, 0);
    if (n > 0) return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (!said("deaf")) c->error = NCCL_REMOTE_ERROR;
    return -1;
}

static bool tell(nccl_comm *c, char byte) {
    return move(c, true, &byte, 1) == 1;
}

static bool hear(nccl_comm *c, char byte) {
    char x = 0;
    if (move(c, false, &x, 1) != 1) return false;
    if (x != byte) c->error = NCCL_INTERNAL_ERROR;
    return x == byte;
}

/* Opening, a step further. */
static void comm_connect(nccl_comm *c) {
    if (said("open_fails")) c->error = NCCL_SYSTEM_ERROR;
    if (c->error || said("open_hangs")) return;
    if (c->stage == STAGE_CONNECTING && c->rank == 0) {
        c->fd = accept4(c->listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } else if (c->stage == STAGE_CONNECTING) {
        struct sockaddr_un a;
        socklen_t length = address_of(&c->id, &a);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) return;
        if (connect(fd, (struct sockaddr *)&a, length) == 0) {
            c->fd = fd;
        } else {
            if (errno == ECONNREFUSED && !said("deaf")) c->error = NCCL_REMOTE_ERROR;
            close(fd);
        }
    }
    if (c->stage == STAGE_CONNECTING && c->fd >= 0 && tell(c, 'h')) c->stage = STAGE_HELLO;
    if (c->stage == STAGE_HELLO && hear(c, 'h')) c->stage = STAGE_UP;
}

static nccl_result init_rank(nccl_comm **out, int ranks, nccl_id id, int rank, nccl_config *config) {
    if (ranks != 2 || rank < 0 || rank > 1 || config->magic != NCCL_CONFIG_MAGIC ||
        config->size != sizeof *config || config->blocking != 0 || config->min_ctas > config->max_ctas)
        return NCCL_INVALID_ARGUMENT;
    nccl_comm *c = calloc(1, sizeof *c);
    if (!c) return NCCL_SYSTEM_ERROR;
    *c = (nccl_comm){.refs = 1, .rank = rank, .id = id, .listen = -1, .fd = -1};
    c->id.bytes[sizeof c->id.bytes - 1] = '\0';
    if (rank == 0) c->listen = take_listener(&id);
    if (rank == 0 && c->listen < 0) c->error = NCCL_INVALID_USAGE;
    pthread_mutex_init(&c->lock, NULL);
    atomic_fetch_add(&comms, 1);
    atomic_store(&newest_ctas, config->max_ctas == NCCL_DEFAULT ? 0 : (uint32_t)config->max_ctas);
    *out = c;
    return NCCL_IN_PROGRESS;
}

/* --- copies --- */

static bool copy_end(copy *p) { /* holds the lock of its communicator, which it gives away */
    comm_put(p->comm);
    free(p);
    return true;
}

/* Once both heads have crossed, the bytes follow. */
static bool copy_poll(void *args) {
    copy *p = *(copy **)args;
    nccl_comm *c = p->comm;
    pthread_mutex_lock(&c->lock);
    if (c->aborted) return copy_end(p);
    bool goes = !p->hangs && !c->error;
    ssize_t n = 1;
    while (goes && n > 0 && p->head_done < sizeof p->head) {
        n = move(c, p->sends, (char *)&p->head + p->head_done, sizeof p->head - p->head_done);
        if (n > 0) p->head_done += (size_t)n;
    }
    if (goes && p->head_done == sizeof p->head && p->head != p->bytes) {
        fprintf(stderr, "emulated NCCL: %llu bytes were sent where %llu are awaited\n",
                (unsigned long long)p->head, (unsigned long long)p->bytes);
        c->error = NCCL_INTERNAL_ERROR;
        goes = false;
    }
    while (goes && n > 0 && p->done < p->bytes) {
        n = move(c, p->sends, p->at + p->done, p->bytes - p->done);
        if (n > 0) p->done += (size_t)n;
    }
    if (goes && p->done == p->bytes && p->head_done == sizeof p->head) return copy_end(p);
    pthread_mutex_unlock(&c->lock);
    return false; /* after an error as well: a kernel spins until the communicator is given up */
}

/* What is in progress, a step further: the first copy of each end waits for the other's. */
static bool launched(nccl_comm *c) {
    if (!c->first_told) c->first_told = tell(c, 'f');
    if (c->first_told && !c->first_heard) c->first_heard = hear(c, 'f');
    return c->first_heard;
}

static nccl_result start_copy(void *at, size_t bytes, nccl_type type, int peer, nccl_comm *c, cudaStream_t s,
                              bool sends) {
    atomic_fetch_add(&copies, 1);
    uint64_t number = next_copy();
    if (type != NCCL_BYTE || !at || peer != 1 - c->rank || number == said("fails"))
        return NCCL_INVALID_ARGUMENT;
    pthread_mutex_lock(&c->lock);
    nccl_result r = c->error;
    if (!r && (c->launching || c->stage != STAGE_UP)) r = NCCL_INVALID_ARGUMENT; /* it is in progress */
    if (!r) {
        copy *p = calloc(1, sizeof *p);
        if (!p) abort();
        *p = (copy){.comm = c, .sends = sends, .at = at, .bytes = bytes, .stream = s};
        p->head = sends ? bytes : 0;
        p->hangs = number == said("hangs");
        c->breaks = number == said("breaks");
        c->launching = p;
        c->asks = 0;
    }
    pthread_mutex_unlock(&c->lock);
    return r ? r : NCCL_IN_PROGRESS;
}

static nccl_result nccl_send(const void *from, size_t bytes, nccl_type type, int peer, nccl_comm *c,
                             cudaStream_t s) {
    return start_copy((void *)from, bytes, type, peer, c, s, true);
}

static nccl_result nccl_recv(void *to, size_t bytes, nccl_type type, int peer, nccl_comm *c, cudaStream_t s) {
    return start_copy(to, bytes, type, peer, c, s, false);
}

static nccl_result get_async_error(nccl_comm *c, nccl_result *result) {
    copy *ready = NULL;
    pthread_mutex_lock(&c->lock);
    bool slow = said("slow") && c->asks++ < NCCL_HOST_SLOW_ASKS;
    if (!slow && c->stage != STAGE_UP) comm_connect(c);
    if (!slow && !c->error && c->launching && launched(c)) {
        ready = c->launching;
        c->launching = NULL;
        c->refs++;
        if (c->breaks) c->error = NCCL_SYSTEM_ERROR;
    }
    *result = c->error ? c->error : c->stage != STAGE_UP || c->launching ? NCCL_IN_PROGRESS : NCCL_SUCCESS;
    if (c->stage == STAGE_UP && !c->launching && !c->error) c->asks = 0;
    pthread_mutex_unlock(&c->lock);
    if (ready && emulation_enqueue_poll(ready->stream, copy_poll, &ready, sizeof ready) != cudaSuccess) {
        *result = NCCL_CUDA_ERROR;
        pthread_mutex_lock(&c->lock);
        copy_end(ready);
    }
    return NCCL_SUCCESS;
}

static nccl_result comm_abort(nccl_comm *c) {
    while (said("abort_hangs")) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(&c->lock);
    c->aborted = true;
    free(c->launching);
    c->launching = NULL;
    comm_close(c);
    comm_put(c);
    atomic_fetch_sub(&comms, 1);
    return NCCL_SUCCESS;
}

/* --- the library --- */

static nccl_result get_version(int *version) {
    *version = said("old") ? 21701 : said("newer") ? 23001 : 22809;
    return NCCL_SUCCESS;
}

static const char *get_error_string(nccl_result r) {
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return (unsigned)r < sizeof texts / sizeof texts[0] ? texts[r] : "unknown result code";
}

static const char *get_last_error(nccl_comm *c) {
    return c ? "emulated" : "";
}

void *nccl_host_dlopen(const char *file, int how) {
    (void)how;
    return strstr(file, "libnccl.so.2") && !said("absent") ? &wrong : NULL;
}

void *nccl_host_dlsym(void *library, const char *name) {
    const struct {
        const char *name;
        void *function;
    } all[] = {{"ncclGetVersion", (void *)get_version},
               {"ncclGetErrorString", (void *)get_error_string},
               {"ncclGetLastError", (void *)get_last_error},
               {"ncclGetUniqueId", (void *)get_unique_id},
               {"ncclCommInitRankConfig", (void *)init_rank},
               {"ncclCommGetAsyncError", (void *)get_async_error},
               {"ncclCommAbort", (void *)comm_abort},
               {"ncclSend", (void *)nccl_send},
               {"ncclRecv", (void *)nccl_recv}};
    if (library != &wrong || (said("missing") && !strcmp(name, "ncclSend"))) return NULL;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!strcmp(all[i].name, name)) return all[i].function;
    return NULL;
}

int nccl_host_dlclose(void *library) {
    return library == &wrong ? 0 : -1;
}
