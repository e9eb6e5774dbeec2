/* http_options - what the HTTP front is given, for http.h and the clients behind it. */
#ifndef BATON_COORDINATOR_HTTP_OPTIONS_H
#define BATON_COORDINATOR_HTTP_OPTIONS_H

#include "coordinator/health.h"
#include "coordinator/http_access.h"
#include "coordinator/http_request.h"
#include "coordinator/meter.h"
#include "coordinator/stream.h"
#include "coordinator/text.h"
#include "coordinator/trace.h"

#define HTTP_OUT_MAX ((size_t)64 * 1024)

typedef struct http http;

typedef struct http_options {
    loop *loop;
    core *core;
    streams *streams;
    text_thread *text;
    const text_env *env;
    meter *meter;
    trace *trace;
    struct event_log *events; /* NULL: none is kept */
    health_facts facts;
    http_access access;
    http_limits limits;
    const http_tls *tls; /* NULL: plain HTTP */
} http_options;

#endif
