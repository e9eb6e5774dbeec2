#include "kernels/cpu/store.h"

#include "base/log.h"
#include "base/mem.h"
#include "kernels/cpu/weight_file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE  ((size_t)2 << 20)
#define FILE_PAGE  ((size_t)4096)
#define PIECE_EDGE ((size_t)64)

/* A piece that did not fit into the block. */
typedef struct extra {
    struct extra *next;
    void *bytes;
} extra;

struct store {
    char *dir, *key; /* of the file; NULL: none is wanted */
    uint64_t wanted_room, wait_ns;
    bool for_one;   /* store_options.alone */
    bool open;      /* the first piece was taken: block and file are decided */
    uint8_t *block; /* at a multiple of 2 MiB; NULL: none */
    size_t room;    /* of the block: of the file when filled */
    size_t used;
    void *reserved; /* what the block lies in; NULL: none, or the file's */
    size_t reserved_bytes;
    extra *extras; /* the newest first */
    size_t extra_bytes;
    bool wants_file; /* file may yet be written */
    bool filled, last_filled, sealed;
    weight_file file; /* zeroed: none */
    errbuf alone;
};

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

store *store_new(void) {
    return store_open(&(store_options){0});
}

static void stay_alone(store *s) {
    s->wants_file = false;
    log_warn("weights", "repacked weights are private to this worker: their file cannot be used",
             "file=%s why=\"%s\" remedy=\"set model.weight_cache to a directory that it can write\"",
             s->file.path, s->alone.text);
}

/* Address space only; its pages come as they are written. Weights are read from end to end: misses of the TLB
 * in small pages cost a tenth. */
static void reserve(store *s, uint64_t room) {
    /* Pieces are rounded up; what is not used costs nothing. */
    size_t bytes = round_up(room + room / 8 + HUGE_PAGE, HUGE_PAGE);
    void *p = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return; /* store_take tries piece by piece */
    s->reserved = p;
    s->reserved_bytes = bytes + HUGE_PAGE;
    s->block = (uint8_t *)round_up((uintptr_t)p, HUGE_PAGE);
    s->room = bytes;
    (void)madvise(s->block, bytes, MADV_HUGEPAGE);
}

store *store_open(const store_options *opt) {
    PRE(opt);
    PRE(!opt->dir || opt->key);
    store *s = xcalloc(1, sizeof *s);
    s->wanted_room = opt->room;
    s->wait_ns = opt->wait_ns;
    s->for_one = opt->alone;
    if (!opt->dir) return s;
    s->dir = xstrdup(opt->dir);
    s->key = xstrdup(opt->key);
    return s;
}

static void find_file(store *s) {
    status st = weight_file_init(&s->file, s->dir, s->key, &s->alone);
    if (st == ST_OK) st = weight_file_find(&s->file, s->wait_ns, &s->alone);
    s->filled = st == ST_OK;
    s->wants_file = st == ST_AGAIN;
    if (st != ST_OK && st != ST_AGAIN) stay_alone(s);
}

/* Private memory with what the file holds, in place of its mapping. */
static void copy_file(store *s) {
    reserve(s, s->file.bytes);
    if (!s->block) return;
    memcpy(s->block, s->file.mapped, s->file.bytes);
    s->room = s->file.bytes;
    weight_file_unmap(&s->file);
}

/* With the first piece: a model of which nothing is repacked asks for no file. */
static void open_block(store *s) {
    s->open = true;
    if (s->dir) find_file(s);
    if (s->filled && s->for_one && !s->file.huge) copy_file(s);
    if (s->filled && !s->block) {
        s->block = (uint8_t *)(uintptr_t)s->file.mapped; /* the caller writes nothing into it */
        s->room = s->file.bytes;
    } else if (!s->filled && s->wanted_room) {
        reserve(s, s->wanted_room);
    }
}

void store_close(store *s) {
    if (!s) return;
    for (extra *e = s->extras, *next; e; e = next) {
        next = e->next;
        free(e->bytes);
        free(e);
    }
    if (s->reserved) munmap(s->reserved, s->reserved_bytes);
    weight_file_done(&s->file);
    free(s->dir);
    free(s->key);
    free(s);
}

static void *take_extra(store *s, size_t bytes) {
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : PIECE_EDGE, whole = round_up(bytes, align);
    if (whole < bytes) return NULL;
    void *p = aligned_alloc(align, whole);
    if (!p) return NULL;
    if (align == HUGE_PAGE) (void)madvise(p, whole, MADV_HUGEPAGE);
    extra *e = xcalloc(1, sizeof *e);
    *e = (extra){.next = s->extras, .bytes = p};
    s->extras = e;
    s->extra_bytes += whole;
    return p;
}

void *store_take(store *s, size_t bytes) {
    PRE(s);
    PRE(bytes > 0);
    if (!s->open) open_block(s);
    size_t whole = round_up(bytes, PIECE_EDGE);
    bool fits = !s->sealed && whole >= bytes && whole <= s->room - s->used;
    s->last_filled = fits && s->filled;
    if (!fits) return take_extra(s, bytes);
    void *p = s->block + s->used;
    s->used += whole;
    return p;
}

bool store_filled(const store *s) {
    PRE(s);
    return s->last_filled;
}

static void write_file(store *s) {
    status st = s->extras ? errf(&s->alone, ST_NOMEM, "no address space for one block of all weights")
                          : weight_file_write(&s->file, s->block, round_up(s->used, FILE_PAGE), !s->for_one,
                                              &s->alone);
    if (st == ST_OK)
        weight_file_prune(&s->file);
    else
        stay_alone(s);
}

void store_seal(store *s) {
    PRE(s);
    if (s->sealed) return;
    s->sealed = true;
    if (s->wants_file) write_file(s);
    if (s->reserved && s->used) (void)mprotect(s->block, round_up(s->used, FILE_PAGE), PROT_READ);
}

store_state store_state_of(const store *s) {
    PRE(s);
    return (store_state){.bytes = s->used + s->extra_bytes,
                         .filled = s->filled,
                         .file = s->file.bytes ? s->file.path : NULL,
                         .huge = s->file.huge,
                         .alone = s->alone.text[0] ? s->alone.text : NULL};
}
