/* sim_world - what the simulation's own files share: events, processes, connections, pair channels. Not for
 * tests. */
#ifndef BATON_SIM_WORLD_H
#define BATON_SIM_WORLD_H

#include "kv/handoff.h"
#include "sim/sim.h"
#include "worker_core/step_pace.h"

typedef enum event_kind {
    EV_CORE_WAKE,
    EV_CORE_MSG,  /* conn, bytes */
    EV_CORE_LOST, /* conn */
    EV_ARRIVAL,   /* sim.coming */
    EV_MSG,       /* to a worker: conn, bytes */
    EV_LOST,      /* to a worker: conn */
    EV_WAKE,      /* a worker's timer */
    EV_STEP_HALF,
    EV_STEP_END,
    EV_XFER_WAKE,  /* the transfer thread sees its ring of commands */
    EV_COPY_END,   /* it has copied a segment out of, or into, the pages */
    EV_XFER_EVENT, /* data: xfer_event */
    EV_FRAME,      /* data: frame, over pair */
    EV_PAIR_LOST,  /* pair */
    EV_PAIR_CHECK, /* pair: has the sender waited too long for a credit? */
} event_kind;

struct sim_event {
    uint64_t at_ns, number;
    event_kind kind;
    int32_t worker; /* -1: the coordinator */
    uint32_t life;  /* of the worker's process; an event for an earlier life is void */
    uint64_t conn;
    sim_pair *pair;
    void *data; /* owned */
    size_t len;
    sim_event *next; /* of the spare ones */
};

/* A control connection. The times are those of the last arrival in each direction, so that no message
 * overtakes another. */
struct sim_conn {
    uint64_t id;
    uint32_t worker, life;
    bool core_open, worker_open;
    uint64_t to_core_ns, to_worker_ns;
};

/* A pair channel P > D, with the D's ring as credits. */
struct sim_pair {
    uint32_t p_worker, p_life, d_worker, d_life;
    uint64_t p_inc, d_inc;
    bool open;
    uint32_t credits;
    uint64_t to_p_ns, to_d_ns;
    uint64_t credit_ns; /* last credit, or first use */
    bool check_due;
};

typedef enum frame_kind { FRAME_SEGMENT, FRAME_SEAL, FRAME_CREDIT, FRAME_ABORT } frame_kind;
typedef struct frame {
    frame_kind kind;
    bool to_p; /* direction */
    kv_identity id;
    uint32_t segment; /* SEAL: how many there were */
    kv_piece piece;
    uint64_t ids_hash, checksum;
    token_out first;
    bool finished;
    uint32_t word_count;
    uint64_t words[]; /* [rows][layers] of the piece */
} frame;

/* A command as it lies in the ring between loop and transfer thread: with its own copies. */
typedef struct xcmd {
    xfer_cmd cmd;
    int32_t *ids;
    uint32_t *pages;
    char endpoint[24];
    uint64_t stamp; /* X_OFFER: reports with an older one are of an earlier offer of the request */
} xcmd;

/* Rows of a prompt that have one more layer now. */
typedef struct fake_report {
    uint64_t req;
    uint32_t begin, count, layer;
    uint64_t stamp;
} fake_report;

/* What the transfer thread is copying; commands and frames wait meanwhile. */
typedef struct fake_copy {
    bool busy;
    struct fake_handoff *handoff;
    sim_pair *pair;
    frame *frame; /* sender: to be filled; receiver: what came. Owned */
} fake_copy;

typedef struct fake_seq {
    bool open;
    int32_t *ids;     /* [id_count]; NULL without check_kv, as prefix and pages */
    uint64_t *prefix; /* [id_count] hash of ids[0..i] */
    uint32_t id_count, prompt_count;
    bool score; /* its prompt's log-probabilities are wanted */
    uint32_t *pages;
    uint32_t page_count;
    uint64_t seed, prompt_hash;
} fake_seq;

/* A chunk of a prompt that was computed, and how far it was sent to the present receiver. */
typedef struct fake_chunk {
    uint32_t begin, count; /* rows */
    handoff_cut cut;       /* of the rows that the receiver does not hold; count 0: it holds all */
} fake_chunk;

/* One hand-off as a transfer thread knows it, on either side. */
typedef struct fake_handoff {
    uint64_t req, stamp;
    kv_identity id;
    bool has_dest; /* P */
    bool failed;
    bool sealed, seal_sent; /* P */
    sim_pair *pair;         /* P: where it goes */
    uint64_t *prefix;       /* [id_count]; NULL without check_kv, as words of frames */
    uint32_t id_count;
    uint32_t *pages;
    uint32_t page_count;
    uint32_t token_begin; /* D holds the rows before it; P: known with has_dest */
    fake_chunk *chunks;   /* P: in order */
    uint32_t chunk_count, chunk_capacity;
    uint32_t segments;
    handoff_recv *recv; /* D */
    token_out first;
    bool finished;
    uint64_t bytes;
} fake_handoff;

struct sim_proc {
    sim *sim;
    uint32_t index, life;
    worker_role role;
    sim_role own; /* its limits */
    bool alive, frozen;
    char name[24], endpoint[24];
    agent *agent;
    bool reconnect; /* the agent asked for a fresh connection */
    bool quit;
    bool broken; /* its device fails at the end of a step */
    uint64_t conn;
    uint64_t wake_ns;  /* when it wants to run again */
    uint64_t armed_ns; /* the wake event that counts, not later than that; 0 = none */
    sim_event **stash;
    uint32_t stash_count, stash_capacity;

    /* device */
    uint64_t *kv; /* [page][row][layer] */
    fake_seq *seqs;
    bool busy;
    dev_job job; /* borrowed from the agent until stepped */
    uint64_t step, step_begin_ns;
    step_pace pace;
    uint64_t bound_ns;    /* of the running step */
    step_result *results; /* [max_seqs] of the step that ended */
    token_out *scores;    /* [max_rows] what they point to; NULL until somebody asks */

    /* transfer thread */
    uint64_t epoch, inc;
    fake_handoff **handoffs;
    uint32_t handoff_count, handoff_capacity;
    uint64_t stamp;                  /* of the last X_OFFER posted */
    uint64_t wake_xfer_ns, event_ns; /* arrival of the last one in each direction */
    xcmd **cmds;                     /* [cmd_count] ring of commands */
    uint32_t cmd_count, cmd_capacity;
    fake_report *reports; /* [report_count] ring from the device thread */
    uint32_t report_count, report_capacity;
    sim_event **inbox; /* [inbox_count] frames and lost pairs that wait for the thread */
    uint32_t inbox_count, inbox_capacity;
    fake_copy copy;
    xfer_stats xfer;
};

/* sim_run.c */
/* The coordinator decides. */
void sim_core_turn(sim *s);

/* sim_event.c */
sim_event *sim_post(sim *s, uint64_t at_ns, event_kind kind, const sim_proc *to);
uint64_t sim_delay(sim *s, uint64_t base_ns);
/* Arrival time behind the last one */
uint64_t sim_fifo(sim *s, uint64_t *last_ns, uint64_t base_ns);
void sim_event_free(sim *s, sim_event *e);
/* The next one, whose time it is from now on. There is one. Caller frees with sim_event_free */
sim_event *sim_next(sim *s);
#define SIM_GROW(items, count, capacity)                                                                     \
    ((count) == (capacity) ? (void)((capacity) = (capacity) ? 2 * (capacity) : 16,                           \
                                    (items) = xrealloc((items), (capacity), sizeof(__typeof__(*(items)))))   \
                           : (void)0)

/* sim_note.c */
/* For --debug */
void sim_trace(const sim *s, const char *who, const ctl_msg *m);

/* sim_msg.c */
/* On its way to a worker or, to_core, to the coordinator, in order of the connection. */
void sim_msg_send(sim *s, sim_conn *c, bool to_core, const ctl_msg *m);
/* What came; false: it cannot be read, and the run has failed. sim_msg_done frees */
bool sim_msg_read(sim *s, const sim_event *e, ctl_msg *out);
void sim_msg_done(const sim_event *e, ctl_msg *m);

/* sim_client.c */
/* What a client sees, and what it must. */
void sim_client_token(sim *s, uint64_t req, const core_token *t);
void sim_client_prompt(sim *s, uint64_t req, const core_prompt *p);
void sim_client_end(sim *s, uint64_t req, const core_end *e, const core_times *times);
/* EV_ARRIVAL */
void sim_client_arrives(sim *s);
/* Asks who comes next. */
void sim_client_await(sim *s);
void sim_clients_free(sim *s);

/* sim_kv.c */
extern const kv_layout sim_layout;
/* [SIM_LAYERS] */
uint64_t *sim_proc_kv_row(sim_proc *p, const uint32_t *pages, uint32_t pos);
/* What a right row holds */
uint64_t sim_kv_word(uint64_t prefix_hash, uint32_t layer);
/* What is thought of the token `id` behind rows of that hash */
void sim_score(uint64_t prefix_hash, int32_t id, token_out *out);
/* Owned by the caller */
uint64_t *sim_prefix_hashes(const int32_t *ids, uint32_t count);

/* sim_worker.c */
sim_proc *sim_proc_new(sim *s, uint32_t index, worker_role role);
void sim_proc_free(sim_proc *p);
void sim_proc_start(sim_proc *p);
/* The process ends, by kill or by itself */
void sim_proc_stop(sim_proc *p);
void sim_proc_event(sim_proc *p, sim_event *e);
/* Its loop is to turn then. */
void sim_proc_arm(sim_proc *p, uint64_t at_ns);
/* sim_pair.c */
/* The open one of the id, or a new one; NULL: nobody is at the endpoint. */
sim_pair *sim_pair_open(sim_proc *p, const kv_identity *id, const char *endpoint);
void sim_pair_end(sim *s, sim_pair *pr);
/* EV_PAIR_CHECK */
void sim_pair_check(sim_proc *p, sim_pair *pr);
/* h: whose identity it carries, or NULL */
frame *sim_frame_new(frame_kind kind, const fake_handoff *h, uint32_t words);
/* Takes ownership of f */
void sim_frame_send(sim *s, sim_pair *pr, frame *f);

/* sim_xfer.c */
/* From the loop thread */
void sim_xfer_post(sim_proc *p, const xfer_cmd *c);
/* EV_XFER_WAKE, EV_COPY_END, EV_FRAME, EV_PAIR_*; takes e->data */
void sim_xfer_event(sim_proc *p, sim_event *e);
void sim_xfer_layer(sim_proc *p, uint64_t req, uint32_t begin, uint32_t count, uint32_t layer);
/* The process is gone */
void sim_xfer_clear(sim_proc *p);

#endif
