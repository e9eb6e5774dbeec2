#include "bench/experiment/build.h"

#include "base/mem.h"
#include "bench/experiment/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define PIECE (1u << 20)

static const char *const programs[] = {"baton-bench", "baton-coordinator", "baton-prefill", "baton-decode",
                                       "baton-colocated"};

/* Name and bytes of the program. */
static status add_program(XXH3_state_t *hash, const char *bin, const char *name, errbuf *eb) {
    char *path = xasprintf("%s/%s", bin, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool missing = fd < 0 && errno == ENOENT;
    ssize_t n = fd < 0 ? -1 : 1;
    if (fd >= 0) {
        (void)XXH3_64bits_update(hash, name, strlen(name) + 1);
        char *piece = xmalloc(PIECE);
        while ((n = read(fd, piece, PIECE)) > 0 || (n < 0 && errno == EINTR))
            if (n > 0) (void)XXH3_64bits_update(hash, piece, (size_t)n);
        free(piece);
    }
    status st = n < 0 && !missing ? errf(eb, ST_IO, "%s: cannot be read: %s", path, strerror(errno)) : ST_OK;
    if (fd >= 0) close(fd);
    free(path);
    return st;
}

status build_id_of(build_id *out, const char *bin, const char *root, errbuf *eb) {
    PRE(out);
    PRE(bin);
    XXH3_state_t *hash = XXH3_createState();
    CHECK(hash);
    (void)XXH3_64bits_reset(hash);
    status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < ARRAY_LEN(programs); i++)
        st = add_program(hash, bin, programs[i], eb);
    if (st == ST_OK) {
        *out = (build_id){.version = BATON_VERSION};
        snprintf(out->programs, sizeof out->programs, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(hash));
        machine_git(out->git, sizeof out->git, root);
    }
    (void)XXH3_freeState(hash);
    return st;
}

bool build_same(const build_id *a, const build_id *b) {
    PRE(a);
    PRE(b);
    return strcmp(a->version, b->version) == 0 && strcmp(a->programs, b->programs) == 0;
}

const char *build_text(const build_id *b, char *out, size_t size) {
    PRE(b);
    PRE(out);
    if (!b->programs[0])
        snprintf(out, size, "an unknown one");
    else
        snprintf(out, size, "%s%s%s, programs %s", b->version, b->git[0] ? ", git " : "", b->git,
                 b->programs);
    return out;
}
