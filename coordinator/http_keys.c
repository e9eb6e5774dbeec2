#include "coordinator/http_keys.h"

#include "base/mem.h"
#include "base/secret_file.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

typedef struct key {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t client;
    char name[HTTP_KEY_NAME_MAX + 1];
} key;

struct http_keys {
    key *keys; /* [count] */
    uint32_t count, capacity;
};

http_keys *http_keys_new(void) {
    return xcalloc(1, sizeof(http_keys));
}

void http_keys_free(http_keys *k) {
    if (!k) return;
    free(k->keys);
    free(k);
}

static void digest_of(const char *text, unsigned char out[SHA256_DIGEST_LENGTH]) {
    CHECK(SHA256((const unsigned char *)text, strlen(text), out));
}

static uint64_t number_of(const unsigned char digest[SHA256_DIGEST_LENGTH]) {
    uint64_t n;
    memcpy(&n, digest, sizeof n);
    return n ? n : 1;
}

static bool is_word(const char *text) {
    for (const char *p = text; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f) return false;
    return text[0] != 0;
}

status http_keys_add(http_keys *k, const char *name, const char *text, errbuf *eb) {
    PRE(k);
    PRE(text);
    size_t len = strlen(text);
    if (!is_word(text) || len > HTTP_KEY_BYTES_MAX)
        return errf(eb, ST_INVALID, "a key must have 1 to %u visible ASCII characters, and no space",
                    HTTP_KEY_BYTES_MAX);
    if (name && strlen(name) > HTTP_KEY_NAME_MAX)
        return errf(eb, ST_INVALID, "the name of a key has %zu bytes, want at most %u", strlen(name),
                    HTTP_KEY_NAME_MAX);
    if (k->count == HTTP_KEYS_MAX) return errf(eb, ST_INVALID, "more than %u keys", HTTP_KEYS_MAX);
    key new = {.client = 0};
    digest_of(text, new.digest);
    for (uint32_t i = 0; i < k->count; i++)
        if (CRYPTO_memcmp(k->keys[i].digest, new.digest, sizeof new.digest) == 0)
            return errf(eb, ST_INVALID, "the key is there twice");
    unsigned char of_name[SHA256_DIGEST_LENGTH];
    if (name && name[0]) {
        strcpy(new.name, name);
        digest_of(name, of_name);
        new.client = number_of(of_name);
    } else {
        new.client = number_of(new.digest);
    }
    if (k->count == k->capacity) {
        k->capacity = MAX(k->capacity * 2, 8u);
        k->keys = xrealloc(k->keys, k->capacity, sizeof *k->keys);
    }
    k->keys[k->count++] = new;
    return ST_OK;
}

/* "KEY" or "NAME KEY", with blanks around; line is cut up. */
static status add_line(http_keys *k, char *line, errbuf *eb) {
    static const char blanks[] = " \t\r";
    char *rest = NULL, *words[3] = {0};
    size_t count = 0;
    for (char *w = strtok_r(line, blanks, &rest); w && count < 3; w = strtok_r(NULL, blanks, &rest))
        words[count++] = w;
    if (count == 0 || words[0][0] == '#') return ST_OK;
    if (count == 3) return errf(eb, ST_INVALID, "want KEY or NAME KEY, without more words");
    return http_keys_add(k, count == 2 ? words[0] : NULL, words[count - 1], eb);
}

status http_keys_read(http_keys *k, const char *path, errbuf *eb) {
    PRE(k);
    PRE(path);
    buf text = {0};
    uint32_t before = k->count, line = 0;
    status st = secret_file_read(&text, path, eb);
    for (char *at = text.data, *next; st == ST_OK && at; at = next) {
        char *end = strchr(at, '\n');
        if (end) *end = 0;
        next = end ? end + 1 : NULL;
        line++;
        st = add_line(k, at, eb);
        if (st != ST_OK) err_prefix(eb, st, "%s:%u", path, line);
    }
    secret_file_forget(&text);
    if (st == ST_OK && k->count == before)
        st = errf(eb, ST_INVALID, "%s has no key: want one per line, with or without a name in front of it",
                  path);
    return st;
}

uint32_t http_keys_count(const http_keys *k) {
    PRE(k);
    return k->count;
}

uint64_t http_keys_client(const http_keys *k, const char *given) {
    PRE(k);
    PRE(given);
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t client = 0;
    digest_of(given, digest);
    for (uint32_t i = 0; i < k->count; i++)
        if (CRYPTO_memcmp(k->keys[i].digest, digest, sizeof digest) == 0) client = k->keys[i].client;
    return client;
}

const char *http_keys_name(const http_keys *k, uint64_t client) {
    PRE(k);
    for (uint32_t i = 0; i < k->count; i++)
        if (k->keys[i].client == client) return k->keys[i].name;
    return "";
}
