/* plan-trace - a trace through one of the planner's simulators, every decision as the log of a real cluster
 * has it (ctl/decision.h).
 *
 *   plan-trace sim|sim-fast|fleet TRACE
 *
 * prints "MS ACTOR DECISION..." a line, in the order of time; of a step " span=MS", too; at last the ends.
 * TRACE, a line each:
 *
 *   role prefill COUNT PAGES MAX_SEQS MAX_ROWS CHUNK_TOKENS      (prefill, decode, colocated)
 *   policy chunked|prefill_first
 *   latency PREFILL_ALPHA_MS BETA GAMMA DECODE_ALPHA_MS BETA GAMMA
 *   context TOKENS
 *   message MS
 *   late MS SEED          (each step takes up to so much longer)
 *   request AT_MS PROMPT OUTPUT */
#include "tests/planner/twin.h"

static bool read_role(twin_case *c, const char *line) {
    char name[16];
    fleet_role r = {.tp = 1, .pp = 1, .devices = 1};
    if (sscanf(line, "role %15s %u %u %u %u %u", name, &r.count, &r.kv_pages, &r.max_seqs, &r.max_rows,
               &r.chunk_tokens) != 6)
        return false;
    for (uint32_t i = 0; i < ROLE_COUNT; i++)
        if (strcmp(name, worker_role_name((worker_role)i)) == 0) {
            c->place.roles[i] = r;
            return true;
        }
    return false;
}

static bool read_line(twin_case *c, const char *line) {
    double at_ms, ms[6];
    twin_request r;
    char word[16];
    if (line[0] == '\n' || line[0] == '#') return true;
    if (strncmp(line, "role ", 5) == 0) return read_role(c, line);
    if (sscanf(line, "policy %15s", word) == 1) {
        c->place.prefill_first = strcmp(word, "prefill_first") == 0;
        return true;
    }
    if (sscanf(line, "latency %lf %lf %lf %lf %lf %lf", &ms[0], &ms[1], &ms[2], &ms[3], &ms[4], &ms[5]) ==
        6) {
        c->latency = (latency_model){.prefill = {ms[0] * 1e6, ms[1] * 1e6, ms[2] * 1e6},
                                     .decode = {ms[3] * 1e6, ms[4] * 1e6, ms[5] * 1e6}};
        return true;
    }
    if (sscanf(line, "context %u", &c->max_context) == 1) return true;
    if (sscanf(line, "late %lf %" SCNu64, &at_ms, &c->late_seed) == 2) {
        c->late_ns = (uint64_t)(at_ms * 1e6);
        return true;
    }
    if (sscanf(line, "message %lf", &at_ms) == 1) {
        c->ctl_ns = c->link_ns = (uint64_t)(at_ms * 1e6);
        return true;
    }
    if (sscanf(line, "request %lf %u %u", &at_ms, &r.prompt, &r.output) != 3) return false;
    r.at_ns = (uint64_t)(at_ms * 1e6);
    c->requests = xrealloc(c->requests, c->count + 1u, sizeof *c->requests);
    c->requests[c->count++] = r;
    return true;
}

static bool read_case(twin_case *c, const char *path) {
    *c = (twin_case){.max_requests = 4096, .max_queue = 4096, .max_context = 4096};
    FILE *f = fopen(path, "r");
    if (!f) {
        fprintf(stderr, "plan-trace: %s: %m\n", path);
        return false;
    }
    char line[512];
    bool fine = true;
    while (fine && fgets(line, sizeof line, f))
        if (!(fine = read_line(c, line))) fprintf(stderr, "plan-trace: %s: what is this: %s", path, line);
    fclose(f);
    return fine;
}

int main(int argc, char **argv) {
    twin_case c;
    if (argc != 3) {
        fprintf(stderr, "usage: plan-trace sim|sim-fast|fleet TRACE\n");
        return 2;
    }
    if (!read_case(&c, argv[2])) return 2;
    log_setup(LOG_ERROR, "plan-trace");
    twin_log l;
    if (strcmp(argv[1], "fleet") == 0)
        twin_run_fleet(&c, true, &l);
    else
        twin_run_sim(&c, strcmp(argv[1], "sim") == 0, &l);
    char text[65536];
    for (uint32_t i = 0; i < l.count; i++) {
        printf("%.6f %s", (double)l.items[i].at_ns / 1e6, twin_text(&c, &l, &l.items[i], text, sizeof text));
        if (l.items[i].kind == TWIN_STEP) printf(" span=%.6f", (double)l.items[i].span_ns / 1e6);
        printf("\n");
    }
    for (uint32_t i = 0; i < c.count; i++)
        printf("%.6f client done req=%u\n", (double)l.stamps[i].last_ns / 1e6, i + 1);
    if (l.failure[0]) fprintf(stderr, "plan-trace: %s\n", l.failure);
    bool failed = l.failure[0];
    twin_log_done(&l);
    free(c.requests);
    return failed;
}
