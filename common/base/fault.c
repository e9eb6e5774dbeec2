#include "base/fault.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAULTS_MAX  16u
#define HOLD_MAX_S  600 /* whoever armed this has forgotten it */
#define HOLD_NAP_MS 1

typedef enum fault_action {
    FAULT_KILL,
    FAULT_STOP,
    FAULT_HOLD,
    FAULT_SPOIL,
    FAULT_ACTION_COUNT
} fault_action;

typedef struct fault {
    fault_point point;
    unsigned long times;
    fault_action action;
} fault;

static const char *const point_names[FAULT_POINT_COUNT] = {
    [FAULT_NONE] = "none",
    [FAULT_P_PREFILL] = "p.prefill",
    [FAULT_P_FIRST_TOKEN] = "p.first_token",
    [FAULT_P_SEGMENT] = "p.segment",
    [FAULT_P_SEALED] = "p.sealed",
    [FAULT_P_FLIP] = "p.flip",
    [FAULT_P_LOSE] = "p.lose",
    [FAULT_D_RESERVED] = "d.reserved",
    [FAULT_D_SEGMENT] = "d.segment",
    [FAULT_D_SEALED] = "d.sealed",
    [FAULT_D_VERIFIED] = "d.verified",
    [FAULT_D_DECODE] = "d.decode",
};

static const char *const action_names[FAULT_ACTION_COUNT] = {
    [FAULT_KILL] = "kill", [FAULT_STOP] = "stop", [FAULT_HOLD] = "hold", [FAULT_SPOIL] = "spoil"};

/* Written before threads start; `at` and `seen` by the one thread that passes the armed point. */
static fault faults[FAULTS_MAX];
static unsigned fault_count;
static _Atomic unsigned fault_index;
static _Atomic unsigned long fault_seen; /* times at the armed point */
static volatile sig_atomic_t continued;  /* SIGCONT came */

_Atomic int fault_armed = FAULT_NONE;

static void on_continue(int signo) {
    (void)signo;
    continued = 1;
}

static int find_name(const char *const *names, int count, const char *text, size_t len) {
    for (int i = 0; i < count; i++)
        if (strlen(names[i]) == len && strncmp(names[i], text, len) == 0) return i;
    return -1;
}

static bool is_spoiling(fault_point p) {
    return p == FAULT_P_FLIP || p == FAULT_P_LOSE;
}

/* One POINT:N:ACTION of len bytes. */
static status parse(const char *text, size_t len, fault *out, errbuf *eb) {
    const char *colon = memchr(text, ':', len);
    const char *second = colon ? memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)) : NULL;
    if (!second) return errf(eb, ST_INVALID, "\"%.*s\": want POINT:N:ACTION", (int)len, text);
    int point = find_name(point_names, FAULT_POINT_COUNT, text, (size_t)(colon - text));
    if (point <= FAULT_NONE)
        return errf(eb, ST_INVALID, "\"%.*s\": want a point of base/fault.h", (int)(colon - text), text);
    char *end;
    errno = 0;
    unsigned long times = strtoul(colon + 1, &end, 10);
    if (errno || end != second || times == 0 || colon[1] < '0' || colon[1] > '9')
        return errf(eb, ST_INVALID, "\"%.*s\": want a count from 1 on", (int)(second - colon - 1), colon + 1);
    size_t left = len - (size_t)(second + 1 - text);
    int action = find_name(action_names, FAULT_ACTION_COUNT, second + 1, left);
    if (action < 0)
        return errf(eb, ST_INVALID, "\"%.*s\": want kill, stop, hold or spoil", (int)left, second + 1);
    if ((action == FAULT_SPOIL) != is_spoiling((fault_point)point))
        return errf(eb, ST_INVALID, "%s does not %s: only p.flip and p.lose spoil, and do nothing else",
                    point_names[point], action_names[action]);
    *out = (fault){.point = (fault_point)point, .times = times, .action = (fault_action)action};
    return ST_OK;
}

static void arm(unsigned index) {
    atomic_store(&fault_index, index);
    atomic_store(&fault_seen, 0);
    atomic_store(&fault_armed, index < fault_count ? (int)faults[index].point : FAULT_NONE);
}

status fault_setup(const char *text, errbuf *eb) {
    fault_count = 0;
    while (text && *text) {
        size_t len = strcspn(text, ",");
        if (fault_count == FAULTS_MAX) return errf(eb, ST_INVALID, "BATON_FAULT: more than %u", FAULTS_MAX);
        status st = parse(text, len, &faults[fault_count], eb);
        if (st != ST_OK) return err_prefix(eb, st, "BATON_FAULT");
        fault_count++;
        text += len + (text[len] == ',');
    }
    if (fault_count > 0) {
        struct sigaction sa = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
        CHECK(sigaction(SIGCONT, &sa, NULL) == 0);
        log_warn("fault", "this process will suffer faults: BATON_FAULT is set", "count=%u", fault_count);
    }
    arm(0);
    return ST_OK;
}

static void hold(void) {
    const struct timespec nap = {.tv_nsec = HOLD_NAP_MS * 1000000L};
    for (int i = 0; i < HOLD_MAX_S * 1000 / HOLD_NAP_MS && !continued; i++) (void)nanosleep(&nap, NULL);
}

bool fault_hit(void) {
    unsigned index = atomic_load(&fault_index);
    if (index >= fault_count) return false; /* another thread was at the last one */
    const fault *f = &faults[index];
    if (atomic_fetch_add(&fault_seen, 1) + 1 != f->times) return false;
    continued = 0;
    log_warn("fault", "fault point", "point=%s times=%lu action=%s", point_names[f->point], f->times,
             action_names[f->action]);
    if (f->action == FAULT_KILL) (void)raise(SIGKILL);
    if (f->action == FAULT_STOP) (void)raise(SIGSTOP);
    if (f->action == FAULT_STOP || f->action == FAULT_HOLD) hold(); /* the SIGCONT is seen before the next */
    arm(atomic_load(&fault_index) + 1);
    return f->action == FAULT_SPOIL;
}
