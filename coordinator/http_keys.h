/* http_keys - the keys that open the API, and whose each is.
 *
 * A file has one per line, with a name in front of it where logs shall have one; "#" begins a line that is
 * not read:
 *
 *   # who        key
 *   night-batch  sk-7c1f...
 *   sk-b2d0...
 *
 * Only SHA-256 digests are kept. A given key is hashed, and its digest compared with all of them, each to its
 * end: the time tells neither how long a key is nor how much of it was right. Not changed after it was made,
 * so any thread may look. */
#ifndef BATON_COORDINATOR_HTTP_KEYS_H
#define BATON_COORDINATOR_HTTP_KEYS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_KEYS_MAX      4096u
#define HTTP_KEY_BYTES_MAX 512u
#define HTTP_KEY_NAME_MAX  63u

typedef struct http_keys http_keys;

/* None yet. Caller frees with http_keys_free. */
http_keys *http_keys_new(void);
void http_keys_free(http_keys *k);
/* name: NULL or "" for none. ST_INVALID: the key cannot come in a header field, is there already, or is one
 * too many; the text does not repeat it. */
status http_keys_add(http_keys *k, const char *name, const char *key, errbuf *eb);
/* Adds those of a file, at least one. The error names the file and the line. */
status http_keys_read(http_keys *k, const char *path, errbuf *eb);
uint32_t http_keys_count(const http_keys *k);
/* Whose key this is: the same number for all keys of one name and, of a key without, for that key, in every
 * process and after each reload. 0: it is none of them. */
uint64_t http_keys_client(const http_keys *k, const char *given);
/* The name of a client, "" when it has none. Borrowed. */
const char *http_keys_name(const http_keys *k, uint64_t client);

#endif
