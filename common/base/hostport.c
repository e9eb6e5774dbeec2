#include "base/hostport.h"

#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#define SCHEME "tcp://"

static bool is_port(const char *text, bool tcp) {
    if (tcp && strcmp(text, "*") == 0) return true;
    size_t len = strlen(text);
    return len > 0 && len <= 5 && strspn(text, "0123456789") == len && atoi(text) <= 65535;
}

bool hostport_parse(hostport *out, const char *text, bool tcp) {
    PRE(out);
    PRE(text);
    if (tcp && strncmp(text, SCHEME, strlen(SCHEME)) != 0) return false;
    const char *host = tcp ? text + strlen(SCHEME) : text, *colon = strrchr(host, ':');
    if (!colon || !is_port(colon + 1, tcp)) return false;
    size_t len = (size_t)(colon - host);
    hostport parts = {.bracketed = len > 0 && host[0] == '['};
    if (parts.bracketed) {
        if (len < 2 || host[len - 1] != ']') return false;
        host++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof parts.host || memchr(host, '/', len)) return false;
    memcpy(parts.host, host, len);
    memcpy(parts.port, colon + 1, strlen(colon + 1) + 1); /* it fits: see is_port */
    *out = parts;
    return true;
}

bool hostport_is_loopback(const hostport *at) {
    PRE(at);
    if (!strcmp(at->host, "localhost") || !strcmp(at->host, "::1")) return true;
    return !strncmp(at->host, "127.", 4) && strspn(at->host, "0123456789.") == strlen(at->host);
}
