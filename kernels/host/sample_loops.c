#include "kernels/host/sample_loops.h"

const sample_loops sample_loops_plain = SAMPLE_LOOPS;
