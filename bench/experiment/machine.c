#include "bench/experiment/machine.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/stats/stats.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define BURSTS     9u
#define ROUNDS     20000u
#define READ_BYTES (128u << 20) /* per core */
#define READ_NS    (400 * NS_PER_MS)
#define GIVE_UP_NS (1500 * NS_PER_MS)
#define CORES_MAX  64u

static bool pin(uint32_t core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    return core < CPU_SETSIZE && pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

/* ---- latency between cores ---- */

typedef struct pair {
    _Alignas(128) atomic_uint turn; /* even: A's, odd: B's */
    _Alignas(128) uint32_t core_b;
    atomic_bool pinned, stop;
} pair;

static void *answer(void *arg) {
    pair *p = arg;
    atomic_store(&p->pinned, pin(p->core_b));
    if (!atomic_load(&p->pinned)) atomic_store(&p->stop, true);
    while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
        uint32_t t = atomic_load_explicit(&p->turn, memory_order_acquire);
        if (t & 1) atomic_store_explicit(&p->turn, t + 1, memory_order_release);
    }
    return NULL;
}

/* In a thread of its own, since it is pinned. */
typedef struct latency {
    uint32_t core_a, core_b;
    double ns;
} latency;

static void *ping(void *arg) {
    latency *l = arg;
    l->ns = NAN;
    pair *p = aligned_alloc(128, sizeof *p);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    p->core_b = l->core_b;
    pthread_t other;
    if (pthread_create(&other, NULL, answer, p) != 0) { /* no more threads are allowed: not measured */
        free(p);
        return NULL;
    }
    double bursts[BURSTS];
    uint32_t done = 0, t = 0;
    uint64_t give_up_ns = clock_now_ns() + GIVE_UP_NS;
    bool ok = pin(l->core_a);
    while (ok && done < BURSTS && !atomic_load(&p->stop)) {
        uint64_t begin_ns = clock_now_ns();
        for (uint32_t i = 0; i < ROUNDS && !atomic_load_explicit(&p->stop, memory_order_relaxed); i++) {
            atomic_store_explicit(&p->turn, ++t, memory_order_release);
            for (uint32_t spins = 1; atomic_load_explicit(&p->turn, memory_order_acquire) == t; spins++)
                if (spins % 100000 == 0 && clock_now_ns() >= give_up_ns)
                    atomic_store(&p->stop, true);
                else if (atomic_load_explicit(&p->stop, memory_order_relaxed))
                    break;
            t++;
        }
        bursts[done++] = (double)(clock_now_ns() - begin_ns) / ROUNDS / 2;
        ok = clock_now_ns() < give_up_ns;
    }
    bool whole = !atomic_load(&p->stop) && done > 0;
    atomic_store(&p->stop, true);
    pthread_join(other, NULL);
    free(p);
    if (!whole) return NULL;
    stats_sort(bursts, done);
    l->ns = bursts[done / 2];
    return NULL;
}

double machine_core_latency_ns(uint32_t core_a, uint32_t core_b) {
    PRE(core_a != core_b);
    latency l = {.core_a = core_a, .core_b = core_b, .ns = NAN};
    pthread_t thread;
    if (pthread_create(&thread, NULL, ping, &l) == 0) pthread_join(thread, NULL);
    return l.ns;
}

/* ---- memory bandwidth ---- */

typedef struct reader {
    sem_t *ready, *go; /* all begin together */
    uint32_t core;
    double gb_s;  /* 0: no memory */
    uint64_t sum; /* so that the reads are not left out */
} reader;

static uint64_t sum_of(const uint64_t *p, size_t words) {
    uint64_t s[8] = {0};
    for (size_t i = 0; i < words; i += 8)
        for (size_t k = 0; k < 8; k++) s[k] += p[i + k];
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static void wait_on(sem_t *s) {
    while (sem_wait(s) != 0) continue; /* a signal came */
}

static void *read_stream(void *arg) {
    reader *r = arg;
    (void)pin(r->core);
    void *memory = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) memset(memory, 1, READ_BYTES); /* pages of its own, not the zero page */
    sem_post(r->ready);
    wait_on(r->go);
    if (memory == MAP_FAILED) return NULL;
    uint64_t begin_ns = clock_now_ns(), now_ns = begin_ns, bytes = 0;
    while (now_ns < begin_ns + READ_NS) {
        r->sum += sum_of(memory, READ_BYTES / sizeof(uint64_t));
        bytes += READ_BYTES;
        now_ns = clock_now_ns();
    }
    r->gb_s = (double)bytes / (double)(now_ns - begin_ns);
    munmap(memory, READ_BYTES);
    return NULL;
}

double machine_read_gb_s(uint32_t cores) {
    PRE(cores > 0);
    cores = MIN(cores, CORES_MAX);
    sem_t ready, go;
    CHECK(sem_init(&ready, 0, 0) == 0);
    CHECK(sem_init(&go, 0, 0) == 0);
    reader readers[CORES_MAX] = {0};
    pthread_t threads[CORES_MAX];
    uint32_t count = 0;
    for (; count < cores; count++) {
        readers[count] = (reader){.ready = &ready, .go = &go, .core = count};
        if (pthread_create(&threads[count], NULL, read_stream, &readers[count]) != 0) break;
    }
    for (uint32_t i = 0; i < count; i++) wait_on(&ready);
    for (uint32_t i = 0; i < count; i++) sem_post(&go);
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum += readers[i].gb_s;
    }
    sem_destroy(&ready);
    sem_destroy(&go);
    return count == cores ? sum : NAN;
}

/* ---- what it is ---- */

/* The first value of a key of /proc/cpuinfo or /proc/meminfo; "" = not there. */
static void proc_value(char *out, size_t size, const char *path, const char *key) {
    out[0] = 0;
    FILE *f = fopen(path, "re");
    if (!f) return;
    char *line = NULL;
    size_t capacity = 0;
    while (!out[0] && getline(&line, &capacity, f) > 0) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *colon = strchr(line, ':');
        if (!colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
    }
    free(line);
    fclose(f);
}

void machine_cpu(char *out, size_t size) {
    PRE(out);
    proc_value(out, size, "/proc/cpuinfo", "model name");
}

static json_t *isa_flags(void) {
    static const char *const matter[] = {"avx",      "avx2",     "fma",         "f16c",        "avx512f",
                                         "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni",
                                         "amx_tile", "amx_int8", "amx_bf16"};
    char all[8192];
    proc_value(all, sizeof all, "/proc/cpuinfo", "flags");
    json_t *list = json_array();
    char *save = NULL;
    for (char *w = strtok_r(all, " ", &save); w; w = strtok_r(NULL, " ", &save))
        for (size_t i = 0; i < ARRAY_LEN(matter); i++)
            if (strcmp(w, matter[i]) == 0) json_array_append_new(list, json_string(w));
    return list;
}

void machine_git(char *out, size_t size, const char *root) {
    PRE(out);
    PRE(size > 0);
    out[0] = 0;
    if (!root || strpbrk(root, "'\"\\$`")) return;
    char *command = xasprintf("timeout 5 git -C '%s' describe --always --dirty --tags 2>/dev/null", root);
    FILE *f = popen(command, "re");
    free(command);
    char line[128] = "";
    if (f) {
        if (!fgets(line, sizeof line, f)) line[0] = 0;
        pclose(f);
    }
    snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static json_t *number(double v) {
    return isfinite(v) ? json_real(round(v * 10) / 10) : json_null();
}

static json_t *measured(uint32_t cores) {
    json_t *j = json_object();
    double ns = cores > 1 ? machine_core_latency_ns(0, 1) : NAN;
    json_object_set_new(j, "core_one_way_ns", number(ns));
    json_object_set_new(j, "core_round_trip_ns", number(2 * ns));
    json_object_set_new(j, "read_gb_s_one_core", number(machine_read_gb_s(1)));
    json_object_set_new(j, "read_gb_s_all_cores", number(cores > 1 ? machine_read_gb_s(cores) : NAN));
    json_object_set_new(j, "read_cores", json_integer(MIN(cores, CORES_MAX)));
    return j;
}

json_t *machine_json(const char *root) {
    char model[128], memory[64], date[32], git[128];
    double load[3] = {NAN, NAN, NAN};
    (void)getloadavg(load, 3); /* first: what follows is load */
    machine_cpu(model, sizeof model);
    proc_value(memory, sizeof memory, "/proc/meminfo", "MemTotal");
    struct utsname u;
    CHECK(uname(&u) == 0);
    time_t now = (time_t)clock_wall_s();
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    json_t *j = json_object();
    json_object_set_new(j, "date", json_string(date));
    json_object_set_new(j, "version", json_string(BATON_VERSION));
    machine_git(git, sizeof git, root);
    json_object_set_new(j, "git", git[0] ? json_string(git) : json_null());
    json_object_set_new(j, "compiler", json_string(__VERSION__));
#ifdef BATON_BUILD_FLAGS
    json_object_set_new(j, "compiler_flags", json_string(BATON_BUILD_FLAGS));
#endif
    json_object_set_new(j, "cpu", json_string(model));
    json_object_set_new(j, "cores", json_integer(cores));
    json_object_set_new(j, "isa", isa_flags());
    json_object_set_new(j, "memory_gib", number(strtod(memory, NULL) / (1 << 20)));
    char *kernel = xasprintf("%s %s %s", u.sysname, u.release, u.machine);
    json_object_set_new(j, "kernel", json_string(kernel));
    free(kernel);
    json_object_set_new(j, "load_before",
                        json_pack("[o, o, o]", number(load[0]), number(load[1]), number(load[2])));
    json_object_set_new(j, "measured", measured(cores > 0 ? (uint32_t)cores : 1));
    return j;
}
