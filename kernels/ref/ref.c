#include "kernels/ref/ref.h"

#include "base/mem.h"

#include <stdlib.h>

struct device {
    host_device host; /* ref keeps nothing else */
};

const host_kernels ref_kernels = {
    .path = "ref",
    .embed = ref_embed,
    .rmsnorm = ref_rmsnorm,
    .linear = ref_linear,
    .rope = ref_rope,
    .kv_write = ref_kv_write,
    .attention = ref_attention,
    .act_mul = ref_act_mul,
    .add = ref_add,
};

static status ref_open(device **out, const device_options *opt, errbuf *eb) {
    PRE(out);
    PRE(opt);
    (void)eb;
    device *d = xcalloc(1, sizeof *d);
    host_init(&d->host, &ref_kernels, opt);
    *out = d;
    return ST_OK;
}

static void ref_close(device *d) {
    if (!d) return;
    host_done(&d->host);
    free(d);
}

static dtype ref_kv_default(dtype act_type) {
    (void)act_type;
    return DT_F32;
}

const backend_ops ref_backend = {
    HOST_SLOTS,
    .name = "ref",
    .masks = true,
    .features = FEATURE_ALL,
    .open = ref_open,
    .close = ref_close,
    .kv_default = ref_kv_default,
    .weights_ready = host_weights_ready,
    .attend_setup = host_attend_setup,
    .kv_gather = ref_kv_gather,
    .kv_scatter = ref_kv_scatter,
};
