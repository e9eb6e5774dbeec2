/* settings - what a cluster file says, as plain data. Read and filled by config.h; every key is documented in
 * deploy/config/local.yaml. */
#ifndef BATON_CONFIG_SETTINGS_H
#define BATON_CONFIG_SETTINGS_H

#include "base/role.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct config_role {
    uint32_t count;    /* workers of this role */
    uint32_t cores;    /* cores per worker: size of its thread team */
    uint32_t tp, pp;   /* ranks per instance; more than 1 is refused by name so far */
    uint32_t kv_pages; /* pages of 16 tokens in the pool; 0 = from kv_memory_mb */
    /* Pool size when kv_pages is 0; 0 (cuda only) = what memory_fraction leaves for it */
    uint32_t kv_memory_mb;
    double memory_fraction; /* cuda: share of the GPU's memory that a worker may take */
    uint32_t max_seqs;      /* requests held at once (decode: largest batch) */
    /* Rows of one step; decode: 0 in the file = max_seqs, which config_load fills in */
    uint32_t token_budget;
    uint32_t chunk_tokens; /* longest prefill chunk of one prompt in one step, a multiple of 16; no key, and
                              16, for decode */
    char *policy;          /* colocated: chunked | prefill_first; "" and no key for the others */
    char **hosts;          /* host names for the workers, in order, cycled; empty = cluster hosts */
    uint32_t hosts_count;
} config_role;

typedef struct config {
    struct {
        char *name;
        char *http;    /* "127.0.0.1:8000" */
        char *control; /* "tcp://127.0.0.1:8001": where workers join */
        char *client;  /* "tcp://127.0.0.1:8002": native socket; "" = off */
        /* Who may speak there (net/curve.h); "" = whoever reaches the address */
        char *key_file;        /* control, and data between workers */
        char *client_key_file; /* native socket */
        bool insecure;         /* addresses beyond this machine without keys are not refused */
        char **hosts;          /* "nodeA:8" = 8 cores there; empty = this machine with its cores */
        uint32_t hosts_count;
        uint32_t gpus_per_host; /* 0: not known before the workers start */
        bool oversubscribe;     /* allow more cores than the hosts have */
        bool mixed_numerics;
        char *log_level;
        char *event_log; /* the file of the coordinator's events; "" = none */
    } cluster;
    struct {
        char *cors_origins;    /* separated by commas; "*": any; "": none */
        bool cors_credentials; /* pages may send what the browser holds for this host */
        char **api_keys;       /* one of them opens /v1/...; empty: open */
        uint32_t api_keys_count;
        char *api_key_file;       /* further keys; "" = none */
        char *tls_cert, *tls_key; /* PEM files; "" = plain HTTP */
    } http;
    struct {
        /* .gguf or a Hugging Face folder, relative to the directory baton is started in; or
         * random:NAME[:SEED] */
        char *path;
        char *served_model_name; /* "" = the file's stem */
        char *chat_template;     /* file of a Jinja template; "" = the model's own */
        uint32_t max_context;    /* 0 = the model's */
        char *backend;           /* cpu | ref | cuda | mock */
        char *weight_dtype;      /* auto | f32 | f16 | bf16 | q8_0 | q4_0: what weights become at load */
        bool generation_config;  /* defaults of requests are those of generation_config.json */
        char *isa;               /* cpu: auto | avx512 | avx2 | portable */
        char *act_bits; /* cpu, weights of 4 and 8 bits: 16 | 8 | 32 bits of what they are multiplied with */
        char *weight_cache; /* cpu: auto | off | the directory of the file of repacked weights */
        char *act_dtype;    /* cuda: auto (= bf16) | bf16 | f16 | f32; auto on the others */
        char *kv_dtype;     /* auto | f16 | f32; cuda: auto, or what act_dtype is */
        bool deterministic; /* cuda: no result depends on batch or chunking, as is always so on cpu and ref */
        bool prefix_cache;  /* KV of whole pages is kept for prompts that begin alike */
        bool check_ops;     /* cuda: wait after each operation, so that an error names it */
    } model;
    struct {
        char *latency;                /* a preset of latency/latency.h, or a file (latency_file.h) */
        uint32_t workers_per_process; /* of one role; 0, in a config made by hand, is taken as 1 */
    } mock;
    config_role prefill, decode, colocated;
    struct {
        char *transport;     /* auto | shm | zmq | ipc | nccl */
        uint32_t ring_slots; /* per pair */
        uint32_t slot_kb;
        uint32_t nccl_ctas;  /* blocks of the GPU for each pair's copies; 0: as NCCL likes */
        uint32_t segment_kb; /* layers are grouped to at least this much */
        bool overlap;        /* false: send only after the whole prompt (to measure what overlap gains) */
        bool self_test;      /* pairs are opened and tried when workers join */
        bool checksums;      /* false is a test hook */
        int32_t test_flip_segment; /* test hook; -1 = never */
    } handoff;
    struct {
        uint32_t max_requests, max_queue, max_queue_tokens, max_workers;
        uint32_t max_body_kb, max_header_kb;                  /* of one HTTP request */
        uint32_t max_uploads_mb;                              /* of all HTTP requests that are being read */
        uint32_t max_connections, max_connections_per_client; /* 0: no bound per client */
        uint32_t max_prompt_tokens;                           /* 0: the context's */
        uint32_t json_depth;
        uint32_t min_upload_kbs, min_download_kbs; /* KiB per second; 0: no bound */
        uint32_t idle_ms, header_ms, body_ms;
        uint32_t heartbeat_ms, suspect_ms, gone_ms, step_age_ms, lease_ms, rejoin_ms;
        uint32_t ttft_goal_ms; /* 0: none */
        uint32_t wait_prefill_ms, prefill_ms, wait_kv_ms, decode_token_ms, slow_client_ms, drain_ms;
        uint32_t stuck_ms; /* without motion in spite of work: /health says "stuck" */
        uint32_t max_attempts;
    } limits;
} config;

/* The settings of a role. Borrowed: valid while the config is. */
const config_role *config_role_of(const config *c, worker_role role);

#endif
