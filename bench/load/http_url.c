#include "bench/load/http_url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

status http_url_parse(http_url *out, const char *text, errbuf *eb) {
    PRE(out);
    PRE(text);
    http_url u = {.secure = strncasecmp(text, "https://", 8) == 0};
    if (!u.secure && strncasecmp(text, "http://", 7) != 0)
        return errf(eb, ST_INVALID, "'%s' is no address: write http://HOST:PORT, or https://", text);
    const char *host = text + (u.secure ? 8 : 7);
    size_t len = strcspn(host, "/?#"), prefix = strlen(host + len);
    while (prefix > 0 && host[len + prefix - 1] == '/') prefix--;
    if (len == 0 || len >= sizeof u.header - 5 || prefix >= sizeof u.prefix)
        return errf(eb, ST_INVALID, "'%s' is no address: write http://HOST:PORT", text);
    memcpy(u.header, host, len);
    memcpy(u.prefix, host + len, prefix);
    char with_port[sizeof u.header];
    snprintf(with_port, sizeof with_port, "%s", u.header);
    const char *colon = strrchr(with_port, ':'), *bracket = strrchr(with_port, ']');
    if (!colon || (bracket && bracket > colon))
        memcpy(with_port + len, u.secure ? ":443" : ":80", u.secure ? 5 : 4);
    if (!hostport_parse(&u.at, with_port, false))
        return errf(eb, ST_INVALID, "'%s' is no address: write http://HOST:PORT", text);
    *out = u;
    return ST_OK;
}
