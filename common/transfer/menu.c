#include "transfer/menu.h"

#include "base/mem.h"
#include "kv/handoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The best first. */
static const xport_ops *const all[] = {&xport_ipc, &xport_shm, &xport_nccl, &xport_zmq};

const xport_ops *xport_find(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (!strcmp(all[i]->name, name)) return all[i];
    return NULL;
}

void menu_names(uint32_t can, char out[64]) {
    PRE(out);
    size_t used = 0;
    snprintf(out, 64, "%s", can & KV_BY_TEST ? "slow" : "");
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (can & all[i]->bit)
            used += (size_t)snprintf(out + used, 64 - used, "%s%s", used ? ", " : "", all[i]->name);
}

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count) {
    const unsigned char *b = bytes;
    for (size_t i = 0; i < count; i++) {
        int32_t word = b[i];
        hash = kv_ids_hash(hash, &word, 1);
    }
    return hash;
}

static uint64_t host_id(void) {
    const char *given = getenv("BATON_HOST_ID");
    if (given && *given) return hash_bytes(KV_IDS_HASH_START, given, strlen(given));
    char boot[64] = {0};
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f) {
        if (!fgets(boot, sizeof boot, f)) boot[0] = 0;
        fclose(f);
    }
    struct stat ns = {0};
    if (stat("/proc/self/ns/pid", &ns)) ns.st_ino = 0;
    uint64_t hash = hash_bytes(KV_IDS_HASH_START, boot, strlen(boot));
    return hash_bytes(hash, &ns.st_ino, sizeof ns.st_ino);
}

status menu_make(xport_menu *out, const char *wanted, const backend_ops *ops, device *dev,
                 const xport_ops *test, errbuf *eb) {
    PRE(out);
    PRE(wanted);
    PRE(ops);
    xport_menu m = {.ops = ops, .dev = dev, .test = test, .own = {.host = host_id()}};
    if (ops->share) ops->share->uuid(dev, m.own.gpu);
    if (test) {
        m.own.can = test->bit;
        m.own.asked = 1;
    } else if (!strcmp(wanted, "auto")) {
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
            if (all[i]->check(ops, dev, NULL) == ST_OK) m.own.can |= all[i]->bit;
    } else {
        const xport_ops *one = xport_find(wanted);
        if (!one) return errf(eb, ST_INVALID, "transport '%s': want auto, shm, zmq, ipc or nccl", wanted);
        status st = one->check(ops, dev, eb);
        if (st != ST_OK) return err_prefix(eb, st, "handoff.transport");
        m.own.can = one->bit;
        m.own.asked = 1;
    }
    *out = m;
    return ST_OK;
}

const xport_ops *menu_find(const xport_menu *m, const char *name) {
    PRE(m);
    PRE(name);
    if (m->test) return strcmp(m->test->name, name) ? NULL : m->test;
    const xport_ops *x = xport_find(name);
    return x && (m->own.can & x->bit) ? x : NULL;
}

static bool on_gpu(const kv_hello *h) {
    static const unsigned char none[sizeof h->gpu];
    return memcmp(h->gpu, none, sizeof none) != 0;
}

/* Whether a transport is of use where the two are: by itself each says only that it can be used at all. */
static bool fits(const xport_menu *m, const kv_hello *peer, uint32_t bit) {
    bool one_host = m->own.host == peer->host;
    if (bit == KV_BY_SHM) return one_host;
    if (bit == KV_BY_NCCL) return !one_host && on_gpu(&m->own) && on_gpu(peer);
    if (bit == KV_BY_IPC)
        return one_host && on_gpu(peer) && m->ops->share &&
               m->ops->share->reach(m->dev, peer->gpu, NULL) == ST_OK;
    return true;
}

const xport_ops *menu_pick(const xport_menu *m, const kv_hello *peer, errbuf *eb) {
    PRE(m);
    PRE(peer);
    uint32_t both = m->own.can & peer->can;
    if (m->test && (both & m->test->bit)) return m->test;
    /* One that somebody asked for is taken: if it cannot work there, opening its ring says why. */
    bool asked = m->own.asked || peer->asked;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if ((both & all[i]->bit) && (asked || fits(m, peer, all[i]->bit))) return all[i];
    char mine[64], theirs[64];
    menu_names(m->own.can, mine);
    menu_names(peer->can, theirs);
    if (m->own.asked && peer->asked)
        errf(eb, ST_INVALID, "the receiver's transport is %s, not %s", mine, theirs);
    else
        errf(eb, ST_INVALID, "no transport is left that both can use: the sender %s, the receiver %s",
             theirs[0] ? theirs : "none", mine);
    return NULL;
}
