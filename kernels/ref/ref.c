#include "kernels/ref/ref.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct device {
    int unused; /* ref keeps nothing, but a device is an object that must be closed */
};

static status ref_open(device **out, const device_options *opt, errbuf *eb) {
    PRE(out);
    PRE(opt);
    (void)eb;
    *out = xcalloc(1, sizeof **out);
    return ST_OK;
}

static void ref_close(device *d) {
    free(d);
}

static const char *ref_path(const device *d) {
    PRE(d);
    return "ref";
}

static dtype ref_kv_default(void) {
    return DT_F32;
}

static void *ref_mem_alloc(device *d, size_t bytes) {
    PRE(d);
    size_t whole = (bytes + 63) / 64 * 64;
    if (whole < bytes) return NULL;
    void *p = aligned_alloc(64, whole ? whole : 64);
    if (p) memset(p, 0, whole);
    return p;
}

static void ref_mem_free(device *d, void *p, size_t bytes) {
    PRE(d);
    (void)bytes;
    free(p);
}

static status ref_sync(device *d, errbuf *eb) {
    PRE(d);
    (void)eb;
    return ST_OK;
}

const backend_ops ref_backend = {
    .name = "ref",
    .open = ref_open,
    .close = ref_close,
    .path = ref_path,
    .kv_default = ref_kv_default,
    .mem_alloc = ref_mem_alloc,
    .mem_free = ref_mem_free,
    .sync = ref_sync,
    .embed = ref_embed,
    .rmsnorm = ref_rmsnorm,
    .linear = ref_linear,
    .rope = ref_rope,
    .kv_write = ref_kv_write,
    .attention = ref_attention,
    .silu_mul = ref_silu_mul,
    .add = ref_add,
    .kv_gather = ref_kv_gather,
    .kv_scatter = ref_kv_scatter,
};
