#include "planner/distserve/dist_cost.h"

#include "base/status.h"

double dist_prefill_ms(const dist_cost *c, uint32_t pp, uint64_t tokens, uint64_t squares) {
    PRE(pp > 0);
    double whole = c->prefill[0] + c->prefill[1] * (double)tokens + c->prefill[2] * (double)squares;
    return whole * (1.0 / pp) + pp;
}

double dist_decode_ms(const dist_cost *c, uint32_t pp, uint32_t sequences, uint64_t context) {
    PRE(pp > 0);
    const double *k = sequences < c->threshold ? c->decode_small : c->decode_large;
    double whole = k[0] + k[1] * (double)context + k[2] * sequences;
    return whole * (1.0 / pp);
}

double dist_overhead_ms(uint64_t context) {
    return 2 + (double)context * 0.0001;
}
