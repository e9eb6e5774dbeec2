/* http_response - one HTTP/1.1 response, read piece by piece: status, the headers that matter, and the body,
 * by length, in chunks, or to the end of the connection. Pure.
 *
 * Interim responses (1xx) are skipped. What stands after the response is left to the caller (keep-alive). */
#ifndef BATON_LOAD_HTTP_RESPONSE_H
#define BATON_LOAD_HTTP_RESPONSE_H

#include "base/mem.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_LINE_MAX    8192u  /* bytes of a status or header line */
#define HTTP_HEADERS_MAX 65536u /* of all of them */

typedef enum http_part {
    HTTP_STATUS,
    HTTP_HEADERS,
    HTTP_BODY,       /* by content-length */
    HTTP_CHUNK_SIZE, /* transfer-encoding: chunked */
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_END,
    HTTP_TRAILERS,
    HTTP_TO_CLOSE, /* neither length nor chunks */
    HTTP_ENDED
} http_part;

typedef struct http_response {
    http_part part;
    int status;        /* 0 until its line is read */
    bool keep_alive;   /* the connection may be used again after HTTP_ENDED */
    bool event_stream; /* content-type: text/event-stream */
    bool chunked, has_length;
    uint64_t left;       /* bytes of the body, or of this chunk */
    buf line;            /* a line that is not whole yet */
    uint32_t head_bytes; /* of lines so far */
} http_response;

/* bytes: borrowed for the call. */
typedef void (*http_body_fn)(void *ctx, const char *bytes, size_t count);

void http_response_begin(http_response *r);
void http_response_done(http_response *r);
/* Takes bytes up to the end of the response and tells how many in *used. ST_CORRUPT: this is no HTTP/1.x
 * response, or a line is beyond its bound. */
status http_response_feed(http_response *r, const char *bytes, size_t count, size_t *used, http_body_fn body,
                          void *ctx, errbuf *eb);
/* The connection ended. ST_PEER: in the middle of the response. */
status http_response_close(http_response *r, errbuf *eb);

#endif
