/* foreign - how much of the machine others used while something was timed. */
#ifndef BATON_BENCH_CPU_FOREIGN_H
#define BATON_BENCH_CPU_FOREIGN_H

/* Seconds so far: of the clock, of all CPUs but idle ones (/proc/stat), of this process. */
typedef struct cpu_use {
    double wall_s, busy_s, own_s;
} cpu_use;

cpu_use cpu_use_now(void);
/* Percent of one CPU that others used since `begin`; /proc/stat counts in hundredths of a second. */
double cpu_use_foreign(const cpu_use *begin);

#endif
