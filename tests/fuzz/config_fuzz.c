/* A configuration and a file of latencies, both YAML, by the way of a file in memory. After a NUL in it come
 * lines as of --set. A config that is understood is one that its own text describes. */
#include "base/mem.h"
#include "config/config.h"
#include "config/latency_file.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SETS_MAX = 4 };

/* A descriptor of a file with these bytes. */
static int file_of(const void *bytes, size_t count, char path[static 32]) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(write(fd, bytes, count) == (ssize_t)count);
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

/* Borrowed: valid as long as `text`, which is cut into lines. */
static uint32_t sets_of(char *text, const char *sets[SETS_MAX]) {
    uint32_t count = 0;
    for (char *rest = text, *line; count < SETS_MAX && (line = strsep(&rest, "\n"));) sets[count++] = line;
    return count;
}

static void use(config *c) {
    errbuf eb = {0};
    char *text = config_text(c), *check = NULL;
    char path[32];
    if (config_check_text(c, 4, &check, &eb) == ST_OK)
        CHECK(check[0]);
    else
        CHECK(eb.text[0]);
    config *again = NULL;
    int fd = file_of(text, strlen(text), path);
    if (config_load(&again, path, NULL, 0, &eb) != ST_OK) {
        fprintf(stderr, "%s\n%s", eb.text, text);
        CHECK(!"a config's own text");
    }
    config_free(again);
    close(fd);
    free(text);
    free(check);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t count = nul ? (size_t)(nul - data) : size;
    char path[32], *rest = xcalloc(size - count + 1, 1);
    const char *sets[SETS_MAX];
    if (nul) memcpy(rest, nul + 1, size - count - 1);
    uint32_t set_count = nul ? sets_of(rest, sets) : 0;
    int fd = file_of(data, count, path);
    config *c = NULL;
    latency_model model;
    errbuf eb = {0};
    if (config_load(&c, path, sets, set_count, &eb) == ST_OK)
        use(c);
    else
        CHECK(eb.text[0]);
    config_free(c);
    eb.text[0] = 0;
    if (latency_file_find(path, &model, &eb) != ST_OK) CHECK(eb.text[0]);
    free(rest);
    close(fd);
    return 0;
}
