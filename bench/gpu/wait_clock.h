/* wait_clock - how long a step only waited for the GPU.
 *
 * The backend waits by asking cudaEventQuery until it says yes. The linker sends those calls through here
 * (-Wl,--wrap=cudaEventQuery), so that the product needs no counters for the benchmark's sake. A step's
 * waiting is from its first question to its last answer; the rest of its time is host work. One thread. */
#ifndef BATON_BENCH_GPU_WAIT_CLOCK_H
#define BATON_BENCH_GPU_WAIT_CLOCK_H

#include <stdint.h>

/* Nanoseconds waited since the last call of this function. */
uint64_t wait_clock_take_ns(void);

#endif
