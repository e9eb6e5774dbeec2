/* http_url - "http://HOST:PORT/PREFIX", or https, in parts. Pure. */
#ifndef BATON_LOAD_HTTP_URL_H
#define BATON_LOAD_HTTP_URL_H

#include "base/hostport.h"
#include "base/status.h"

typedef struct http_url {
    hostport at;
    bool secure;                    /* https */
    const struct tls_client *trust; /* NULL; secure: to be set by who connects. Borrowed */
    char header[300];               /* of the Host header: HOST:PORT as it was written */
    char prefix[256];               /* "" or "/v1", without a slash at its end */
} http_url;

/* Without a port: 80, or 443. ST_INVALID names what is wrong. */
status http_url_parse(http_url *out, const char *text, errbuf *eb);

#endif
