/* sample_loops - the sampler's passes with the instructions of this set. */
#include "kernels/host/sample_loops.h"

#include "kernels/cpu/isa/isa.h"

const sample_loops ISA(cpu_sample_loops) = SAMPLE_LOOPS;
