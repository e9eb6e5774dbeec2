#include "base/arg_value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

double arg_number(struct argp_state *state, const char *name, const char *arg, double min, double max) {
    char *end = NULL;
    double v = strtod(arg, &end);
    if (end == arg || *end || !(v >= min && v <= max))
        argp_error(state, "--%s: '%s' is no number of %g to %g", name, arg, min, max);
    return v;
}

uint64_t arg_whole(struct argp_state *state, const char *name, const char *arg, uint64_t min, uint64_t max) {
    char *end = NULL;
    errno = 0;
    unsigned long long v = strtoull(arg, &end, 10);
    if (end == arg || *end || *arg == '-' || errno || v < min || v > max)
        argp_error(state, "--%s: '%s' is no whole number of %" PRIu64 " to %" PRIu64, name, arg, min, max);
    return v;
}
