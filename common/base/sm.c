#include "base/sm.h"

#include "base/status.h"

#include <string.h>

void sm_init(sm *m, const sm_def *def, uint64_t now_ns) {
    PRE(m);
    PRE(def);
    PRE(def->state_count > 0);
    PRE(def->state_count <= SM_STATES_MAX);
    memset(m, 0, sizeof *m);
    m->def = def;
    m->entered_ns[0] = m->first_ns[0] = now_ns;
}

bool sm_can(const sm *m, uint32_t next) {
    PRE(m);
    PRE(next < m->def->state_count);
    return (m->def->states[m->state].next >> next) & 1u;
}

void sm_move(sm *m, uint32_t next, uint64_t now_ns) {
    PRE(m);
    CHECK(sm_can(m, next));
    m->state = next;
    m->entered_ns[next] = now_ns;
    if (!m->first_ns[next]) m->first_ns[next] = now_ns;
}

bool sm_ended(const sm *m) {
    PRE(m);
    return m->def->states[m->state].end;
}

const char *sm_name(const sm *m) {
    PRE(m);
    return m->def->states[m->state].name;
}

void sm_print_mermaid(const sm_def *def, FILE *out) {
    PRE(def);
    PRE(out);
    fprintf(out, "stateDiagram-v2\n    [*] --> %s\n", def->states[0].name);
    for (uint32_t i = 0; i < def->state_count; i++) {
        for (uint32_t j = 0; j < def->state_count; j++)
            if (def->states[i].next >> j & 1u)
                fprintf(out, "    %s --> %s\n", def->states[i].name, def->states[j].name);
        if (def->states[i].end) fprintf(out, "    %s --> [*]\n", def->states[i].name);
    }
}
