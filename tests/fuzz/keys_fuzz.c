/* Files with secrets, as operators write them: keys of the API, and the two of CURVE. The first byte says
 * which. What is understood opens what it says, and no error repeats a key. */
#include "base/mem.h"
#include "coordinator/http_keys.h"
#include "fuzz.h"
#include "net/curve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHORTEST_SECRET = 24 }; /* shorter ones may stand in a path or in an error's own words */

static bool has_secret(const char *text, const char *secret) {
    return strlen(secret) >= SHORTEST_SECRET && strstr(text, secret);
}

/* The last word of the last line that has one, which of all kinds is a key. */
static char *last_word(const uint8_t *data, size_t size) {
    static const char blanks[] = " \t\r\n";
    while (size && strchr(blanks, data[size - 1])) size--;
    size_t begin = size;
    while (begin && !strchr(blanks, data[begin - 1])) begin--;
    char *word = xcalloc(size - begin + 1, 1);
    if (size > begin) memcpy(word, data + begin, size - begin);
    return word;
}

static void use_api_keys(const char *path, const char *word) {
    http_keys *k = http_keys_new();
    errbuf eb = {0};
    if (http_keys_read(k, path, &eb) == ST_OK) {
        CHECK(http_keys_count(k) > 0);
        CHECK(http_keys_count(k) <= HTTP_KEYS_MAX);
        uint64_t client = http_keys_client(k, word);
        CHECK(strlen(http_keys_name(k, client)) <= HTTP_KEY_NAME_MAX);
    } else {
        CHECK(eb.text[0]);
        CHECK(!has_secret(eb.text, word));
    }
    CHECK(http_keys_client(k, "not a key: it has spaces") == 0);
    http_keys_free(k);
}

static void use_curve(const char *path, const char *word, bool cluster) {
    curve_keys k = {0};
    errbuf eb = {0};
    status st = cluster ? curve_read_cluster(&k, path, &eb) : curve_read_client(&k, path, &eb);
    if (st == ST_OK) {
        CHECK(strlen(k.secret) == CURVE_TEXT - 1);
        CHECK(strlen(k.own) == CURVE_TEXT - 1);
        CHECK(strlen(k.peer) == CURVE_TEXT - 1);
        CHECK(!cluster || strcmp(k.own, k.peer) == 0);
    } else {
        CHECK(eb.text[0]);
        CHECK(!k.secret[0]);
        CHECK(!has_secret(eb.text, word));
    }
    curve_wipe(&k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    char path[32], *word = last_word(data + 1, size - 1);
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(fchmod(fd, 0600) == 0);
    CHECK(write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (data[0] % 4u < 2)
        use_api_keys(path, word);
    else
        use_curve(path, word, data[0] % 4u == 2);
    close(fd);
    free(word);
    return 0;
}
