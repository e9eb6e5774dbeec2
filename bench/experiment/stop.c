#include "bench/experiment/stop.h"

#include "base/clock.h"
#include "base/status.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t asked;
static sigset_t before; /* the mask of the process that started us */
static bool watching;

static void on_signal(int signo) {
    (void)signo;
    asked = asked + 1;
}

void stop_watch(void) {
    PRE(!watching);
    sigset_t held;
    sigemptyset(&held);
    const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction act = {.sa_handler = on_signal};
        CHECK(sigaction(signals[i], &act, NULL) == 0);
        sigaddset(&held, signals[i]);
    }
    CHECK(sigprocmask(SIG_BLOCK, &held, &before) == 0);
    watching = true;
}

uint32_t stop_asked(void) {
    (void)stop_poll(NULL, 0, 0);
    return (uint32_t)asked;
}

int stop_poll(struct pollfd *fds, uint32_t count, uint64_t deadline_ns) {
    uint64_t now_ns = clock_now_ns(), left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    const struct timespec left = {.tv_sec = (time_t)(left_ns / NS_PER_S),
                                  .tv_nsec = (long)(left_ns % NS_PER_S)};
    int n = ppoll(fds, count, &left, watching ? &before : NULL);
    CHECK((n >= 0 || errno == EINTR));
    return n > 0 ? n : 0;
}

void stop_unwatch(void) {
    if (!watching) return;
    const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], SIG_DFL);
    CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
}
