#include "bench/cpu/foreign.h"

#include "base/clock.h"
#include "base/status.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

cpu_use cpu_use_now(void) {
    cpu_use u = {.wall_s = (double)clock_now_ns() / 1e9};
    FILE *in = fopen("/proc/stat", "r");
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    if (in && fscanf(in, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait,
                     &irq, &softirq, &steal) == 8)
        u.busy_s = (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
    if (in) fclose(in);
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    u.own_s = seconds(own.ru_utime) + seconds(own.ru_stime);
    return u;
}

double cpu_use_foreign(const cpu_use *begin) {
    PRE(begin);
    cpu_use now = cpu_use_now();
    double others_s = (now.busy_s - begin->busy_s) - (now.own_s - begin->own_s);
    double wall_s = now.wall_s - begin->wall_s;
    return others_s > 0 && wall_s > 0 ? 100 * others_s / wall_s : 0;
}
