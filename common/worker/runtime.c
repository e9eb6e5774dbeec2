#include "worker/runtime.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config_backend.h"
#include "config/latency_file.h"
#include "kernels/backends.h"
#include "net/bus.h"
#include "text/token_ends.h"
#include "transfer/xfer.h"
#include "worker/device_thread.h"
#include "worker/plan.h"
#include "worker/weight_cache.h"
#include "worker_core/agent.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COORDINATOR   1u /* the bus's number of a client's only connection */
#define JOIN_RETRY_NS NS_PER_S
#define RECONNECT_MIN_NS                                                                                     \
    (200 * NS_PER_MS) /* between two connections, so that a refusing port is not hammered */
#define WARN_AFTER_NS NS_PER_S
#define WARN_EVERY_NS (10 * NS_PER_S)
#define STOP_WAIT_NS  (3 * NS_PER_S)
#define LAYERS_RING   4096u
/* So often in a row a coordinator that wants a key hangs up on ours: it has another one. */
#define HUNG_UP_MAX 20u

typedef struct runtime {
    const config *config;
    const wcore_ops *role;
    const place *place;
    int signal_fd;
    plan plan;
    checkpoint *checkpoint;
    model *model;
    token_ends ends;
    device_thread *dev;
    xfer *xfer; /* NULL in a colocated worker */
    loop *loop;
    bus *bus;
    curve_keys keys;  /* of the cluster, when the config has a key_file */
    uint32_t hung_up; /* handshakes in a row, see HUNG_UP_MAX */
    agent *agent;
    ctl_numeric numerics[PLAN_NUMERICS];
    buf out;          /* scratch: the message being sent */
    bool connect_due; /* the bus has no session; one is opened at connect_ns */
    uint64_t connect_ns;
    uint64_t alone_ns; /* since when no session; 0 = member */
    uint64_t warned_ns;
    status failed; /* this worker's device failed, why in end_text: it leaves */
    bool ended;
    status end; /* why the loop ended */
    errbuf end_text;
} runtime;

static void end(runtime *r, status st, const char *why) {
    if (r->ended) return;
    r->ended = true;
    r->end = r->failed ? r->failed : st;
    if (st != ST_OK && !r->failed) errf(&r->end_text, st, "%s", why);
    loop_stop(r->loop);
}

/* The coordinator is told why before this process ends (agent_leave; quit follows). */
static void fail(runtime *r, status st, const char *why) {
    if (r->failed || r->ended) return;
    log_error("worker", "this worker cannot go on and leaves", "status=%s why=\"%s\"", status_name(st), why);
    r->failed = st;
    errf(&r->end_text, st, "%s", why);
    agent_leave(r->agent, why, clock_now_ns());
}

/* ---- what the agent asks for ---- */

static void do_send(void *ctx, const ctl_msg *m) {
    runtime *r = ctx;
    buf_reset(&r->out);
    ctl_pack(m, &r->out);
    if (m->kind == CTL_TOKENS && r->plan.role == ROLE_PREFILL) (void)fault_at(FAULT_P_SEALED);
    /* A session that is over is reported by the bus; until then what is sent into it is lost anyway. */
    (void)bus_send(r->bus, COORDINATOR, r->out.data, r->out.len);
    if (m->kind == CTL_VERIFIED) (void)fault_at(FAULT_D_VERIFIED);
}

static void do_xfer(void *ctx, const xfer_cmd *c) {
    runtime *r = ctx;
    CHECK(r->xfer);
    xfer_post(r->xfer, c);
}

static void do_step(void *ctx, const dev_job *j) {
    runtime *r = ctx;
    device_thread_post(r->dev, j);
}

/* Done by the next turn: it may be asked for from inside the bus. */
static void do_reconnect(void *ctx) {
    runtime *r = ctx;
    r->connect_due = true;
    r->connect_ns += RECONNECT_MIN_NS;
}

static void do_quit(void *ctx, const char *why, bool orderly) {
    runtime *r = ctx;
    if (orderly) {
        log_info("worker", "leaves", "why=\"%s\"", why);
        end(r, ST_OK, why);
        return;
    }
    char *text = xasprintf("coordinator at %s: %s", r->config->cluster.control, why);
    end(r, ST_PEER, text);
    free(text);
}

/* ---- what happens ---- */

static void on_message(void *ctx, uint64_t conn, const void *bytes, size_t count) {
    runtime *r = ctx;
    errbuf eb = {0};
    ctl_msg m;
    (void)conn;
    if (ctl_unpack(bytes, count, &m, &eb) != ST_OK) {
        log_warn("worker", "message of the coordinator cannot be read", "bytes=%zu why=\"%s\"", count,
                 eb.text);
        agent_lost(r->agent, clock_now_ns());
        return;
    }
    agent_ctl(r->agent, &m, clock_now_ns());
    ctl_done(&m);
}

static void on_lost(void *ctx, uint64_t conn, const char *why) {
    runtime *r = ctx;
    (void)conn;
    log_warn("worker", "connection to the coordinator ended", "control=%s why=\"%s\"",
             r->config->cluster.control, why);
    refusal no = bus_refused(r->bus);
    r->hung_up = no ? r->hung_up + 1 : 0;
    if (no == REFUSED_SILENTLY && (r->hung_up < HUNG_UP_MAX || !r->config->cluster.key_file[0]))
        no = NOT_REFUSED;
    if (no) {
        char *text =
            xasprintf("the coordinator at %s lets this worker not in: %s: cluster.key_file must be a copy "
                      "of the one that the coordinator has",
                      r->config->cluster.control, refusal_text(no));
        end(r, ST_PEER, text);
        free(text);
        return;
    }
    agent_lost(r->agent, clock_now_ns());
}

static void on_stepped(void *ctx) {
    runtime *r = ctx;
    const step_result *results;
    uint32_t count;
    step_span span;
    errbuf eb = {0};
    status st = device_thread_next(r->dev, &results, &count, &span, &eb);
    if (st == ST_AGAIN) return;
    if (st == ST_OK) {
        agent_stepped(r->agent, results, count, &span, clock_now_ns());
        return;
    }
    fail(r, st, eb.text);
}

static void on_xfer(void *ctx) {
    runtime *r = ctx;
    xfer_event e;
    while (xfer_next(r->xfer, &e) == ST_OK) {
        agent_xfer(r->agent, &e, clock_now_ns());
        if (e.device) fail(r, ST_DEVICE, e.why);
    }
}

/* SIGTERM drains, a second one and SIGINT end it at once: others take over what it had. */
static void on_signal(void *ctx, int signo) {
    runtime *r = ctx;
    if (signo == SIGTERM) {
        log_info("worker", "was asked to stop and finishes what it has", "limit_ms=%u",
                 r->config->limits.drain_ms);
        agent_drain(r->agent, r->config->limits.drain_ms * NS_PER_MS, clock_now_ns());
        return;
    }
    log_info("worker", "leaves", "why=\"SIGINT\"");
    end(r, ST_OK, "");
}

static void on_signal_fd(void *ctx) {
    runtime *r = ctx;
    unsigned char signo;
    while (read(r->signal_fd, &signo, 1) == 1) on_signal(r, signo);
}

/* With the transfer's "segment sent" lines the trace shows what left while later layers were being computed.
 */
static void layer_begin(void *ctx, uint32_t layer, const step_item *items, uint32_t count) {
    (void)ctx;
    if (!log_on(LOG_TRACE)) return;
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < count; i++)
        log_trace("worker", "layer begins", "req=%" PRIu64 " rows=%u+%u layer=%u clock_ns=%" PRIu64,
                  items[i].tag, items[i].begin, items[i].count, layer, now_ns);
}

static void layer_end(void *ctx, uint64_t step, uint32_t layer, const step_item *items, uint32_t count) {
    xfer *x = ctx;
    for (uint32_t i = 0; i < count; i++)
        xfer_layer_done(x, step, &(layer_rows){items[i].tag, items[i].begin, items[i].count, layer});
}

/* ---- the turn ---- */

static void connect_again(runtime *r, uint64_t now_ns) {
    errbuf eb = {0};
    if (!r->connect_due || now_ns < r->connect_ns) return;
    r->connect_ns = now_ns;
    if (bus_reconnect(r->bus, &eb) != ST_OK) {
        r->connect_ns += RECONNECT_MIN_NS;
        log_warn("worker", "cannot connect", "why=\"%s\"", eb.text);
        return;
    }
    r->connect_due = false;
    agent_connected(r->agent, now_ns);
}

static void watch_membership(runtime *r, uint64_t now_ns) {
    if (agent_is_member(r->agent)) {
        if (r->alone_ns)
            log_info("worker", "joined", "control=%s incarnation=%" PRIx64, r->config->cluster.control,
                     agent_incarnation(r->agent));
        r->alone_ns = 0;
        return;
    }
    if (!r->alone_ns) {
        r->alone_ns = r->warned_ns = now_ns;
        r->warned_ns -= WARN_EVERY_NS - WARN_AFTER_NS;
    }
    if (now_ns - r->warned_ns < WARN_EVERY_NS) return;
    r->warned_ns = now_ns;
    log_warn("worker", "the coordinator does not answer; trying on", "control=%s gives_up_after_ms=%u",
             r->config->cluster.control, r->config->limits.rejoin_ms);
}

static uint64_t turn(void *ctx, uint64_t now_ns) {
    runtime *r = ctx;
    if (r->ended) return UINT64_MAX;
    connect_again(r, now_ns);
    bus_drain(r->bus); /* before silence is judged */
    agent_progress p = {0};
    now_ns = clock_now_ns();
    device_thread_progress(r->dev, now_ns, &p);
    if (r->xfer) p.xfer = xfer_stats_of(r->xfer);
    uint64_t next = agent_turn(r->agent, &p, now_ns);
    watch_membership(r, now_ns);
    return r->connect_due ? MIN(next, r->connect_ns) : next;
}

/* ---- start and end ---- */

/* The backend, and what it tells of this worker's device. */
static status find_device(const runtime *r, plan_device *out, errbuf *eb) {
    const char *name = r->config->model.backend;
    plan_device d = {.ops = backend_find(name)};
    if (!d.ops)
        return errf(eb, ST_INVALID,
                    "model.backend %s: this program was built with %s: build it where the %s is", name,
                    backend_names(), config_backend_find(name)->built_with);
    status st = d.ops->memory(r->place->gpu, &d.memory, eb);
    if (st == ST_OK && !d.memory.host) st = place_check_gpu(r->place, r->config, d.memory.gpus, eb);
    if (st == ST_OK) *out = d;
    return st;
}

/* Two roles may share a GPU, but their shares must then sum to at most 1, and no config can tell how many
 * GPUs there are: a worker that goes round to a GPU of another one says so, and what is missing of its share
 * shows it. */
static void log_device(const runtime *r, const device_memory *has) {
    const plan *p = &r->plan;
    if (!p->own_memory) return;
    log_info("worker", "takes a GPU",
             "gpu=%u total_mib=%.0f free_mib=%.0f may_take_mib=%.0f act_dtype=%s deterministic=%s", has->gpu,
             (double)has->total / 0x1p20, (double)has->free / 0x1p20, (double)p->memory.budget / 0x1p20,
             dtype_name(p->act_type), p->deterministic ? "true" : "false");
    if (r->place->gpu >= has->gpus)
        log_warn("worker",
                 "may share its GPU: then each worker there needs a memory_fraction, as in cuda-one-gpu.yaml",
                 "gpu=%u gpus=%u workers_of_this_host_before=%u", has->gpu, has->gpus, r->place->gpu);
    if ((double)has->free < p->settings->memory_fraction * (double)has->total)
        log_warn("worker", "less of the GPU is free than this worker's share: somebody else is on it",
                 "gpu=%u %s.memory_fraction=%g free_mib=%.0f", has->gpu, worker_role_name(p->role),
                 p->settings->memory_fraction, (double)has->free / 0x1p20);
}

static status start_device(runtime *r, errbuf *eb) {
    const plan *p = &r->plan;
    latency_model latency; /* copied by the backend that models one */
    bool models = config_backend_find(p->backend->name)->modelled;
    status st = models ? latency_file_find(r->config->mock.latency, &latency, eb) : ST_OK;
    if (st != ST_OK) return err_prefix(eb, st, "mock.latency");
    weight_cache cache = weight_cache_find(r->config, r->checkpoint, r->model);
    engine_options o = {.backend = p->backend->name,
                        .device = {.threads = p->settings->cores,
                                   .cpus = r->place->cpu_count ? r->place->cpus : NULL,
                                   .isa = r->config->model.isa,
                                   .act_bits = (uint32_t)atoi(r->config->model.act_bits),
                                   .weight_dir = cache.dir,
                                   .weight_key = cache.key,
                                   .weight_alone = r->place->alone,
                                   .latency = models ? &latency : NULL,
                                   .gpu = r->place->gpu,
                                   .act_type = p->act_type,
                                   .deterministic = p->deterministic,
                                   .memory_fraction = p->settings->memory_fraction,
                                   .check_ops = r->config->model.check_ops},
                        .kv_type = p->layout.type,
                        .page_count = p->page_count,
                        .max_rows = p->max_rows,
                        .max_seqs = p->max_seqs,
                        .max_context = p->max_context,
                        .eog = r->ends.ids,
                        .eog_count = r->ends.count,
                        .token_bytes = token_ends_bytes,
                        .token_ctx = &r->ends,
                        .warm_decode = p->role != ROLE_PREFILL,
                        .warm_prompts = p->role != ROLE_DECODE};
    st = device_thread_new(&r->dev, r->model, &o, eb);
    weight_cache_done(&cache);
    checkpoint_drop(r->checkpoint); /* most of it was read for the last time */
    return st;
}

static status start_xfer(runtime *r, const char *bind_host, errbuf *eb) {
    const config *c = r->config;
    xfer_options o = {.kv = engine_kv_of(device_thread_engine(r->dev)),
                      .receiver = r->plan.role == ROLE_DECODE,
                      .transport = c->handoff.transport,
                      .keys = c->cluster.key_file[0] ? &r->keys : NULL,
                      .bind_host = bind_host,
                      .slots = c->handoff.ring_slots,
                      .slot_bytes = (size_t)c->handoff.slot_kb << 10,
                      .link_ctas = c->handoff.nccl_ctas,
                      .segment_bytes = (size_t)c->handoff.segment_kb << 10,
                      .layers_ring = LAYERS_RING,
                      .pair_timeout_ns = c->limits.gone_ms * NS_PER_MS,
                      .overlap = c->handoff.overlap,
                      .checksums = c->handoff.checksums,
                      .test_flip_segment = c->handoff.test_flip_segment};
    status st = xfer_new(&r->xfer, &o, eb);
    if (st != ST_OK) return st;
    if (r->plan.role == ROLE_PREFILL)
        device_thread_hook(
            r->dev, &(engine_hook){.ctx = r->xfer, .layer_begin = layer_begin, .layer_end = layer_end});
    return ST_OK;
}

static void start_agent(runtime *r, uint64_t now_ns) {
    const plan *p = &r->plan;
    agent_options o = {.role = r->role,
                       .core = {.page_count = p->page_count,
                                .max_seqs = p->max_seqs,
                                .max_rows = p->max_rows,
                                .chunk_tokens = p->chunk_tokens,
                                .max_context = p->max_context,
                                .policy = p->settings->policy,
                                .prefix_cache = r->config->model.prefix_cache,
                                .cache_outputs = p->outputs_as_prompts,
                                .eog = r->ends.ids,
                                .eog_count = r->ends.count},
                       .join = {.role = p->role,
                                .name = r->place->name,
                                .host = r->place->host,
                                .pid = (uint32_t)getpid(),
                                .endpoint = p->role == ROLE_DECODE ? xfer_endpoint(r->xfer) : "",
                                .transport = r->xfer ? r->config->handoff.transport : "",
                                .page_count = p->page_count,
                                .page_tokens = KV_PAGE_TOKENS,
                                .max_seqs = p->max_seqs,
                                .max_rows = p->max_rows,
                                .max_context = p->max_context,
                                .kv_token_bytes = kv_token_bytes(&p->layout),
                                .numerics = r->numerics,
                                .numeric_count = PLAN_NUMERICS},
                       .join_retry_ns = JOIN_RETRY_NS,
                       .rejoin_ns = r->config->limits.rejoin_ms * NS_PER_MS};
    agent_sink sink = {.ctx = r,
                       .send = do_send,
                       .xfer = do_xfer,
                       .step = do_step,
                       .decision = log_on(LOG_DEBUG) ? decision_log : NULL,
                       .reconnect = do_reconnect,
                       .quit = do_quit};
    r->agent = agent_new(&o, &sink, now_ns);
}

static status start_loop(runtime *r, errbuf *eb) {
    status st = loop_new(&r->loop, turn, r, eb);
    if (st != ST_OK) return st;
    bus_handler h = {.ctx = r, .message = on_message, .lost = on_lost};
    const curve_keys *keys = r->config->cluster.key_file[0] ? &r->keys : NULL;
    st = bus_connect(&r->bus, r->loop, r->config->cluster.control, keys, &h, eb);
    if (st != ST_OK) return st;
    loop_watch(r->loop, device_thread_fd(r->dev), on_stepped, r);
    if (r->xfer) loop_watch(r->loop, xfer_fd(r->xfer), on_xfer, r);
    if (r->signal_fd >= 0)
        loop_watch(r->loop, r->signal_fd, on_signal_fd, r);
    else
        loop_signals(r->loop, on_signal, r);
    return ST_OK;
}

/* The last lines of the table that the engine began. A ring lies where its receiver is; there may come more
 * senders than the config has. */
static void log_rings(const runtime *r) {
    const plan *p = &r->plan;
    uint64_t pair = r->xfer ? xfer_ring_bytes(r->xfer) : 0, rings = pair * p->peers;
    if (r->plan.role == ROLE_DECODE)
        log_info("worker", "memory",
                 "what=receive_rings mib=%.1f senders=%u mib_each=%.1f slots=%u slot_kib=%u gpu_mib=%.1f",
                 (double)rings / 0x1p20, p->peers, (double)pair / 0x1p20, r->config->handoff.ring_slots,
                 r->config->handoff.slot_kb, (double)p->memory.rings / 0x1p20);
    log_info("worker", "memory", "what=total mib=%.1f backend=%s seqs=%u max_context=%u",
             (double)(engine_memory(device_thread_engine(r->dev)) + rings + p->memory.rings) / 0x1p20,
             p->backend->name, p->max_seqs, p->max_context);
}

static status prepare_weights(runtime *r, errbuf *eb) {
    const char *wanted = r->config->model.weight_dtype;
    checkpoint_prepared done;
    uint64_t from_ns = clock_now_ns();
    status st = checkpoint_prepare(r->checkpoint, wanted, &done, eb);
    if (st != ST_OK) return err_prefix(eb, st, "model.weight_dtype: %s", wanted);
    if (done.bytes > 0)
        log_info("worker", "weights converted", "weight_dtype=%s tensors=%llu mib=%.1f seconds=%.2f", wanted,
                 (unsigned long long)done.converted, (double)done.bytes / 0x1p20,
                 (double)(clock_now_ns() - from_ns) / NS_PER_S);
    if (done.kept > 0)
        log_warn("worker", "weights that the file has quantised stay as they are",
                 "weight_dtype=%s tensors=%llu", wanted, (unsigned long long)done.kept);
    return ST_OK;
}

static status load_model(runtime *r, errbuf *eb) {
    status st = checkpoint_open(&r->checkpoint, r->config->model.path, eb);
    if (st != ST_OK) return st;
    st = token_ends_init(&r->ends, r->checkpoint, eb);
    if (st != ST_OK) return err_prefix(eb, st, "%s", r->config->model.path);
    st = prepare_weights(r, eb);
    return st == ST_OK ? model_load(&r->model, r->checkpoint, eb) : st;
}

static status start(runtime *r, errbuf *eb) {
    char bind_host[64];
    status st = place_address_towards(r->config->cluster.control, bind_host, eb);
    if (st != ST_OK) return st;
    if (r->config->cluster.key_file[0]) st = curve_read_cluster(&r->keys, r->config->cluster.key_file, eb);
    if (st != ST_OK) return err_prefix(eb, st, "cluster.key_file");
    plan_device has;
    st = find_device(r, &has, eb);
    if (st != ST_OK) return st;
    st = load_model(r, eb);
    if (st != ST_OK) return err_prefix(eb, st, "loading the model");
    st = plan_make(&r->plan, r->config, r->role->role, r->model, &has, eb);
    if (st != ST_OK) return st;
    log_device(r, &has.memory);
    st = start_device(r, eb);
    if (st != ST_OK) return st;
    bool hands_off = r->plan.role != ROLE_COLOCATED;
    st = hands_off ? start_xfer(r, bind_host, eb) : ST_OK;
    if (st != ST_OK) return st;
    const char *path = engine_path(device_thread_engine(r->dev));
    plan_numerics(&r->plan, r->model, path, r->numerics);
    log_rings(r);
    log_info("worker", "model is loaded", "model=%s path=%s threads=%u pinned=%s context=%u", r->model->name,
             path, r->plan.settings->cores, r->place->cpu_count && !r->plan.own_memory ? "yes" : "no",
             r->plan.max_context);
    st = start_loop(r, eb);
    if (st != ST_OK) return st;
    r->connect_ns = r->alone_ns = clock_now_ns();
    r->warned_ns = r->alone_ns + WARN_AFTER_NS - WARN_EVERY_NS;
    start_agent(r, r->alone_ns);
    agent_connected(r->agent, r->alone_ns);
    return ST_OK;
}

/* The connection first, so that the coordinator learns at once; then the thread whose hook uses the transfer
 * thread; then that, which may be copying pages; then the engine that has them. */
static bool stop(runtime *r) {
    bus_free(r->bus);
    loop_free(r->loop);
    if (r->dev && !device_thread_stop(r->dev, STOP_WAIT_NS)) return false;
    xfer_free(r->xfer);
    if (!device_thread_free(r->dev, STOP_WAIT_NS)) return false;
    agent_free(r->agent);
    plan_numerics_done(r->numerics);
    model_free(r->model);
    token_ends_done(&r->ends);
    checkpoint_close(r->checkpoint);
    buf_done(&r->out);
    curve_wipe(&r->keys);
    return true;
}

status runtime_run(const runtime_options *opt, bool *stuck, errbuf *eb) {
    PRE(opt);
    PRE(opt->config);
    PRE(opt->role);
    PRE(opt->place);
    PRE(stuck);
    runtime r = {.config = opt->config, .role = opt->role, .place = opt->place, .signal_fd = opt->signal_fd};
    status st = start(&r, eb);
    if (st == ST_OK) {
        loop_run(r.loop);
        st = r.end;
        if (st != ST_OK) errf(eb, st, "%s", r.end_text.text);
    }
    /* At the end of a process the device's libraries may wait for a device that no longer answers. */
    *stuck = !stop(&r) || st == ST_DEVICE;
    return st;
}
