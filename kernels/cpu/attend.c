#include "kernels/cpu/attend.h"

#include "kernels/cpu/cpu.h"
#include "kernels/host/host_weight.h"

status cpu_attend_setup(device *d, const attend_setup *s, errbuf *eb) {
    PRE(d);
    PRE(s);
    if (s->layout.type != DT_F16 && s->layout.type != DT_F32)
        return errf(eb, ST_UNSUPPORTED, "cpu backend: no KV of type %s: set kv_dtype to f16 or f32",
                    dtype_name(s->layout.type));
    cpu_turns_done(d); /* they are of another base */
    return host_attend_setup(d, s, eb);
}

static status failed(device *d, const char *name, status st) {
    d->host.failed = name;
    return st;
}

static status norm_heads(device *d, const op_attend *a, const weight *w, float *x, uint32_t heads) {
    if (!w) return ST_OK;
    const host_rmsnorm n = {.x = x,
                            .weight = &w->parts.part[0],
                            .rows = a->rows * heads,
                            .dim = d->host.attention.layout.head_dim,
                            .eps = a->norm_eps,
                            .out = x};
    status st = d->host.kernels->rmsnorm(d, &n);
    return st == ST_OK ? ST_OK : failed(d, "rmsnorm", st);
}

status cpu_attend(device *d, const op_attend *a) {
    PRE(d);
    PRE(a);
    const host_device *h = &d->host;
    const attend_setup *s = &h->attention;
    if (!d->kernels->attend) return host_attend(d, a);
    PRE(s->kv);
    PRE(h->step);
    PRE(a->rows == h->step->rows);
    PRE(!a->q_norm == !a->k_norm);
    size_t kv_block = (size_t)a->rows * s->layout.kv_heads * s->layout.head_dim;
    float *q = a->qkv, *k = q + (size_t)a->rows * s->heads * s->layout.head_dim;
    status st = norm_heads(d, a, a->q_norm, q, s->heads);
    if (st == ST_OK) st = norm_heads(d, a, a->k_norm, k, s->layout.kv_heads);
    if (st != ST_OK) return st;
    const float *turns = s->rope_dim ? cpu_turns(d, a->rows, a->rope_local) : NULL;
    if (s->rope_dim && !turns) return failed(d, "rope", ST_DEVICE);
    const cpu_attention job = {.layout = &s->layout,
                               .kv = s->kv,
                               .layer = a->layer,
                               .refs = h->refs,
                               .rows = a->rows,
                               .heads = s->heads,
                               .scale = s->scale,
                               .window = a->window,
                               .q = q,
                               .k = k,
                               .v = k + kv_block,
                               .turns = turns,
                               .rope_dim = s->rope_dim,
                               .rope = s->rope,
                               .out = a->out};
    st = d->kernels->attend(d, &job);
    return st == ST_OK ? ST_OK : failed(d, "attend", st);
}
