#include "net/curve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define CLUSTER_WORD "baton-cluster-key"
#define CLIENT_WORD  "baton-client-key"
#define LINE_MAX_    256 /* bytes of a key file */

/* Debian's libzmq has CURVE; one that was built without libsodium has not. */
static status has_curve(errbuf *eb) {
    if (zmq_has("curve")) return ST_OK;
    return errf(eb, ST_INVALID,
                "this libzmq was built without CURVE: install one with it (Debian's libzmq5 has)");
}

/* ---- writing ---- */

static status write_new(const char *path, const char *text, errbuf *eb) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return errf(eb, ST_INVALID,
                    "%s is there already, and may be in use: remove it first, or name another DIR", path);
    if (fd < 0) return errf(eb, ST_IO, "%s: %s", path, strerror(errno));
    ssize_t count = (ssize_t)strlen(text);
    bool good = write(fd, text, (size_t)count) == count && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0) good = false;
    if (good) return ST_OK;
    unlink(path);
    return errf(eb, ST_IO, "%s: %s", path, strerror(why));
}

status curve_keygen(const char *dir, errbuf *eb) {
    PRE(dir);
    status st = has_curve(eb);
    if (st != ST_OK) return st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return errf(eb, ST_IO, "%s: %s", dir, strerror(errno));
    char paths[2][4096], text[LINE_MAX_];
    snprintf(paths[0], sizeof paths[0], "%s/cluster.key", dir);
    snprintf(paths[1], sizeof paths[1], "%s/client.key", dir);
    if (access(paths[1], F_OK) == 0)
        return errf(eb, ST_INVALID,
                    "%s is there already, and may be in use: remove it first, or name another DIR", paths[1]);
    curve_keys cluster, client;
    if (zmq_curve_keypair(cluster.own, cluster.secret) || zmq_curve_keypair(client.own, client.secret))
        return errf(eb, ST_IO, "making keys: %s", zmq_strerror(errno));
    snprintf(text, sizeof text, CLUSTER_WORD " %s\n", cluster.secret);
    st = write_new(paths[0], text, eb);
    snprintf(text, sizeof text, CLIENT_WORD " %s %s\n", client.secret, cluster.own);
    if (st == ST_OK && (st = write_new(paths[1], text, eb)) != ST_OK) unlink(paths[0]);
    explicit_bzero(text, sizeof text);
    curve_wipe(&cluster);
    curve_wipe(&client);
    return st;
}

/* ---- reading ---- */

static status read_text(const char *path, char text[LINE_MAX_], errbuf *eb) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errf(eb, ST_INVALID, "%s: %s: make keys with baton-ctl keygen, or copy its file here", path,
                    strerror(errno));
    struct stat is;
    status st = ST_OK;
    if (fstat(fd, &is) != 0 || !S_ISREG(is.st_mode))
        st = errf(eb, ST_INVALID, "%s is no file: want one of baton-ctl keygen", path);
    else if (is.st_mode & (S_IRWXO | S_IWGRP))
        st = errf(eb, ST_INVALID, "%s: others can read or change this key (mode %03o): chmod 600 %s", path,
                  (unsigned)is.st_mode & 0777, path);
    ssize_t count = st == ST_OK ? read(fd, text, LINE_MAX_ - 1) : 0;
    if (count < 0) st = errf(eb, ST_INVALID, "%s: %s", path, strerror(errno));
    close(fd);
    text[count > 0 ? count : 0] = 0;
    return st;
}

static bool is_key(const char *text) {
    uint8_t bytes[32];
    bool good = strlen(text) == CURVE_TEXT - 1 && zmq_z85_decode(bytes, text);
    explicit_bzero(bytes, sizeof bytes);
    return good;
}

/* WORD KEY [KEY]; the second key when `second` is given. */
static status read_keys(const char *path, const char *want, char first[CURVE_TEXT], char *second,
                        errbuf *eb) {
    char text[LINE_MAX_], word[32] = "", more[2] = "", unused[CURVE_TEXT] = "";
    status st = has_curve(eb);
    if (st == ST_OK) st = read_text(path, text, eb);
    if (st != ST_OK) return st;
    first[0] = 0;
    char *last = second ? second : unused;
    int count = sscanf(text, "%31s %40s %40s %1s", word, first, last, more);
    explicit_bzero(text, sizeof text);
    bool other = !strcmp(word, CLUSTER_WORD) || !strcmp(word, CLIENT_WORD);
    if (strcmp(word, want) == 0 && count == (second ? 3 : 2) && is_key(first) && (!second || is_key(second)))
        return ST_OK;
    if (other && strcmp(word, want) != 0)
        return errf(eb, ST_INVALID, "%s is a %s: want the file of the %s (baton-ctl keygen makes both)", path,
                    word, want);
    return errf(eb, ST_INVALID, "%s is no %s: want a file that baton-ctl keygen made, unchanged", path, want);
}

static status own_of(curve_keys *k, const char *path, errbuf *eb) {
    if (zmq_curve_public(k->own, k->secret) == 0) return ST_OK;
    return errf(eb, ST_INVALID, "%s: %s", path, zmq_strerror(errno));
}

status curve_read_cluster(curve_keys *out, const char *key_file, errbuf *eb) {
    PRE(out);
    PRE(key_file);
    curve_keys k;
    status st = read_keys(key_file, CLUSTER_WORD, k.secret, NULL, eb);
    if (st == ST_OK) st = own_of(&k, key_file, eb);
    if (st != ST_OK) return st;
    memcpy(k.peer, k.own, sizeof k.peer);
    *out = k;
    curve_wipe(&k);
    return ST_OK;
}

status curve_read_client(curve_keys *out, const char *client_key_file, errbuf *eb) {
    PRE(out);
    PRE(client_key_file);
    curve_keys k;
    status st = read_keys(client_key_file, CLIENT_WORD, k.secret, k.peer, eb);
    if (st == ST_OK) st = own_of(&k, client_key_file, eb);
    if (st != ST_OK) return st;
    *out = k;
    curve_wipe(&k);
    return ST_OK;
}

status curve_read_native(curve_keys *out, const char *key_file, const char *client_key_file, errbuf *eb) {
    PRE(out);
    curve_keys cluster, client;
    status st = curve_read_cluster(&cluster, key_file, eb);
    if (st == ST_OK) st = curve_read_client(&client, client_key_file, eb);
    if (st == ST_OK && strcmp(client.peer, cluster.own) != 0)
        st =
            errf(eb, ST_INVALID, "%s belongs to another cluster than %s: take both from one baton-ctl keygen",
                 client_key_file, key_file);
    if (st != ST_OK) return st;
    memcpy(cluster.peer, client.own, sizeof cluster.peer);
    *out = cluster;
    curve_wipe(&cluster);
    curve_wipe(&client);
    return ST_OK;
}

void curve_wipe(curve_keys *k) {
    PRE(k);
    explicit_bzero(k, sizeof *k);
}

/* ---- sockets ---- */

static bool set_text(void *socket, int option, const char *text) {
    return zmq_setsockopt(socket, option, text, strlen(text) + 1) == 0;
}

bool curve_listens(void *socket, const curve_keys *k) {
    PRE(socket);
    PRE(k);
    int yes = 1;
    return zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "baton", 5) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) == 0 &&
           set_text(socket, ZMQ_CURVE_SECRETKEY, k->secret);
}

bool curve_connects(void *socket, const curve_keys *k) {
    PRE(socket);
    PRE(k);
    return set_text(socket, ZMQ_CURVE_SERVERKEY, k->peer) && set_text(socket, ZMQ_CURVE_PUBLICKEY, k->own) &&
           set_text(socket, ZMQ_CURVE_SECRETKEY, k->secret);
}

bool curve_same(const void *a, const void *b, size_t count) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;
    for (size_t i = 0; i < count; i++) differ |= x[i] ^ y[i];
    return differ == 0;
}
