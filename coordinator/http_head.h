/* http_head - the head of an HTTP/1.1 request and the framing of its body, judged as RFC 9110 and 9112 say.
 *
 * Strict where two readers of the same bytes could see two different requests (lengths, line ends inside a
 * chunked body, spaces around names), lenient where they could not (a lone LF ends a line of the head, empty
 * lines may stand before it). Pure: bytes in, facts out; no descriptor, no clock. */
#ifndef BATON_COORDINATOR_HTTP_HEAD_H
#define BATON_COORDINATOR_HTTP_HEAD_H

#include "coordinator/api.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdint.h>
#include <sys/queue.h>

#define HTTP_TARGET_MAX  ((size_t)8 * 1024)
#define HTTP_TRAILER_MAX ((size_t)64 * 1024)
#define HTTP_FIELDS_MAX  100u

typedef enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_PATCH,
    HTTP_OPTIONS,
    HTTP_TRACE,
    HTTP_QUERY,
    HTTP_CONNECT,
    HTTP_METHOD_COUNT
} http_method;
/* "GET" ... Borrowed: static. */
const char *http_method_name(http_method m);

typedef struct http_head {
    http_method method;
    char *path;              /* decoded, see http_path_tidy; "*" of OPTIONS; NULL when there was none */
    char *query;             /* as it came, without "?"; NULL = none */
    struct evkeyvalq fields; /* evhttp_find_header */
    bool keep;               /* the connection may go on after the answer */
    bool http10;
    bool expects_continue;
    bool chunked;
    size_t length; /* of the body; 0 when chunked */
} http_head;

void http_head_init(http_head *h);
void http_head_done(http_head *h);
/* Bytes of the head in [bytes, len), its blank line and empty lines before it included; 0: it does not end
 * here. from: so many bytes were looked at before without an end. *e (400, 414, 431) is set when more bytes
 * would not help: max is how many a head may have, and len is at most that. */
size_t http_head_end(const char *bytes, size_t len, size_t from, size_t max, api_error *e);
/* Reads a whole head into an init'ed *h. On ST_INVALID *e has the status (400, 405, 414, 417, 431, 501, 505)
 * and *h what was read before, so that the refusal can answer to it. */
status http_head_parse(http_head *h, const char *bytes, size_t len, api_error *e);
/* Runs of slashes become one, and the last slash goes, but for "/" itself. In place. */
void http_path_tidy(char *path);

/* A chunked body as it is read. Start it zeroed. */
typedef struct http_chunks {
    enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE } at;
    size_t left;    /* of the chunk */
    size_t trailer; /* bytes of the trailer, which is read and forgotten */
} http_chunks;

/* Moves data from in to body. ST_OK: the body has ended; ST_AGAIN: wants more; ST_INVALID: *e has 400, 413
 * (body would be over body_max) or 431. Chunk extensions are ignored. */
status http_chunks_read(http_chunks *c, struct evbuffer *in, struct evbuffer *body, size_t body_max,
                        api_error *e);
/* "the body has N bytes, want at most M (limits.max_body_kb)", 413. over: N is only the least. */
status http_body_too_long(size_t bytes, bool over, size_t body_max, api_error *e);

#endif
