#include "bench/experiment/proc.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bench/experiment/stop.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS (50 * NS_PER_MS)
#define KILL_NS (5 * NS_PER_S)

/* In the child: does not return. failure: where the errno of a failed exec goes. */
static void become(char *const *argv, char *const *env, int log, int failure, pid_t parent) {
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(126); /* died before the line above */
    stop_unwatch();
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0) (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    for (; env && *env; env++) (void)putenv(*env);
    execvp(argv[0], argv);
    int code = errno;
    ssize_t n = write(failure, &code, sizeof code);
    _exit(n == (ssize_t)sizeof code ? 127 : 126);
}

status proc_start(proc *out, char *const *argv, char *const *env, const char *log, errbuf *eb) {
    PRE(out);
    PRE(argv);
    PRE(argv[0]);
    PRE(log);
    int file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) return errf(eb, ST_IO, "%s: %s", log, strerror(errno));
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        status st = errf(eb, ST_IO, "%s: no pipe: %s: see ulimit -n", argv[0], strerror(errno));
        close(file);
        return st;
    }
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        status st = errf(eb, ST_IO, "%s: cannot be started: %s: see ulimit -u and the memory that is left",
                         argv[0], strerror(errno));
        close(file);
        close(ends[0]);
        close(ends[1]);
        return st;
    }
    if (pid == 0) become(argv, env, file, ends[1], parent);
    (void)setpgid(pid, pid); /* whoever comes first */
    close(file);
    close(ends[1]);
    int code = 0;
    ssize_t n = read(ends[0], &code, sizeof code); /* 0 bytes: exec closed it */
    close(ends[0]);
    *out = (proc){.pid = pid, .pidfd = pidfd_open(pid, 0)};
    if (n == 0 && out->pidfd >= 0) return ST_OK;
    if (n <= 0) code = errno;
    proc_done(out);
    return errf(eb, ST_IO, "%s: cannot be started: %s", argv[0], strerror(code));
}

bool proc_ended(proc *p) {
    PRE(p);
    PRE(p->pid > 0);
    int state;
    if (!p->ended && waitpid(p->pid, &state, WNOHANG) == p->pid) {
        p->ended = true;
        p->code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    }
    return p->ended;
}

status proc_wait(proc *p, uint64_t deadline_ns, uint32_t stops) {
    PRE(p);
    for (;;) {
        if (proc_ended(p)) return ST_OK;
        if (stop_asked() > stops) return ST_CANCELED;
        if (clock_now_ns() >= deadline_ns) return ST_TIMEOUT;
        struct pollfd fd = {.fd = p->pidfd, .events = POLLIN};
        (void)stop_poll(&fd, 1, deadline_ns);
    }
}

void proc_signal(const proc *p, int signo) {
    PRE(p);
    if (p->pid > 0 && !p->ended) (void)kill(p->pid, signo);
}

void proc_done(proc *p) {
    PRE(p);
    if (p->pid <= 0) return;
    /* While it is not collected its number is its own; the group may outlive it by helpers that it left. */
    if (!p->ended) {
        (void)kill(-p->pid, SIGKILL);
        (void)kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    if (p->pidfd >= 0) close(p->pidfd);
    *p = (proc){0};
}

/* ---- strays ---- */

static bool is_ours(const char *program) {
    const char *slash = strrchr(program, '/');
    const char *name = slash ? slash + 1 : program;
    return strncmp(name, "baton-", 6) == 0 || strcmp(name, "mpirun") == 0 || strcmp(name, "orterun") == 0 ||
           strcmp(name, "prterun") == 0 || strcmp(name, "up.sh") == 0;
}

/* Whether the process is of a cluster of ours: a script's name is its second word. */
static bool is_stray(const char *pid, const char *prefix) {
    char path[64], words[8192];
    snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, words, sizeof words - 1);
    close(fd);
    if (n <= 0) return false;
    words[n] = 0;
    const char *end = words + n, *second = words + strlen(words) + 1;
    if (!is_ours(words) && !(second < end && is_ours(second))) return false;
    for (const char *w = words; w < end; w += strlen(w) + 1)
        if (strncmp(w, prefix, strlen(prefix)) == 0) return true;
    return false;
}

static uint32_t look_for_strays(const char *prefix, bool end_them) {
    uint32_t found = 0;
    DIR *all = opendir("/proc");
    if (!all) return 0;
    for (const struct dirent *e; (e = readdir(all));) {
        if (!isdigit((unsigned char)e->d_name[0]) || !is_stray(e->d_name, prefix)) continue;
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (pid == getpid()) continue;
        found++;
        if (end_them) (void)kill(pid, SIGKILL);
    }
    closedir(all);
    return found;
}

void proc_end_strays(const char *prefix, uint64_t deadline_ns) {
    PRE(prefix);
    PRE(prefix[0] == '/');
    while (look_for_strays(prefix, false)) {
        if (clock_now_ns() >= deadline_ns) {
            if (clock_now_ns() >= deadline_ns + KILL_NS) return; /* not ours to end */
            (void)look_for_strays(prefix, true);
        }
        struct timespec nap = {.tv_nsec = (long)LOOK_NS};
        nanosleep(&nap, NULL);
    }
}
