#include "net/bus_address.h"

#include "base/hostport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

status bus_address_error(const char *endpoint, int code, errbuf *eb) {
    PRE(endpoint);
    hostport at = {.port = "?"};
    (void)hostport_parse(&at, endpoint, true);
    switch (code) {
    case EADDRINUSE:
        return errf(eb, ST_IO, "%s: port %s is in use: stop the program that has it, or set another port",
                    endpoint, at.port);
    case EACCES:
        return errf(eb, ST_IO, "%s: port %s is not allowed for this user: set one above 1023", endpoint,
                    at.port);
    case ENODEV:
    case EADDRNOTAVAIL:
        return errf(eb, ST_IO, "%s: this machine has no such address: use one of its own, or 0.0.0.0 for all",
                    endpoint);
    case EINVAL:
    case EPROTONOSUPPORT:
        return errf(eb, ST_IO, "%s: is no endpoint: write tcp://ADDRESS:PORT", endpoint);
    }
    return errf(eb, ST_IO, "%s: %s", endpoint, zmq_strerror(code));
}

status bus_address_resolve(const char *endpoint, char out[256], errbuf *eb) {
    PRE(endpoint);
    PRE(out);
    hostport at;
    struct in_addr number;
    snprintf(out, 256, "%s", endpoint);
    if (!hostport_parse(&at, endpoint, true) || at.bracketed || strchr(at.host, ':') ||
        !strcmp(at.host, "*") || inet_pton(AF_INET, at.host, &number) == 1)
        return ST_OK;
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(at.host, NULL, &hints, &found);
    if (rc) return errf(eb, ST_IO, "%s: the name %s: %s", endpoint, at.host, gai_strerror(rc));
    number = ((struct sockaddr_in *)found->ai_addr)->sin_addr;
    freeaddrinfo(found);
    char text[INET_ADDRSTRLEN];
    CHECK(inet_ntop(AF_INET, &number, text, sizeof text));
    if (ntohl(number.s_addr) >> 24 == 127 && strcmp(at.host, "localhost") != 0)
        return errf(
            eb, ST_IO,
            "%s: here %s is %s, which only this machine reaches: write an address that the others can "
            "reach, or correct /etc/hosts",
            endpoint, at.host, text);
    snprintf(out, 256, "tcp://%s:%s", text, at.port);
    return ST_OK;
}
