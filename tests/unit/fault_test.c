#include "tests/test.h"

#include "base/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing_happens_unless_it_is_asked_for(void **state) {
    (void)state;
    errbuf eb = {0};
    assert_int_equal(fault_setup(NULL, &eb), ST_OK);
    for (int i = 0; i < 100; i++) assert_false(fault_at(FAULT_P_FLIP));
    assert_int_equal(fault_setup("", &eb), ST_OK);
    assert_false(fault_at(FAULT_P_FLIP));
}

static void what_cannot_be_read_is_refused_by_name(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"d.segment", "BATON_FAULT: \"d.segment\": want POINT:N:ACTION"},
        {"d.sigment:1:kill", "BATON_FAULT: \"d.sigment\": want a point of base/fault.h"},
        {"none:1:kill", "BATON_FAULT: \"none\": want a point of base/fault.h"},
        {"d.segment:0:kill", "BATON_FAULT: \"0\": want a count from 1 on"},
        {"d.segment:-1:kill", "BATON_FAULT: \"-1\": want a count from 1 on"},
        {"d.segment:1x:kill", "BATON_FAULT: \"1x\": want a count from 1 on"},
        {"p.flip:1:spoil,d.segment:1:die", "BATON_FAULT: \"die\": want kill, stop, hold or spoil"},
        {"d.segment:1:spoil", "BATON_FAULT: d.segment does not spoil: only p.flip and p.lose spoil, and do "
                              "nothing else"},
        {"p.lose:1:kill", "BATON_FAULT: p.lose does not kill: only p.flip and p.lose spoil, and do nothing "
                          "else"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        errbuf eb = {0};
        assert_int_equal(fault_setup(texts[i][0], &eb), ST_INVALID);
        assert_string_equal(eb.text, texts[i][1]);
    }
}

static void faults_happen_one_after_the_other_each_at_its_time(void **state) {
    (void)state;
    errbuf eb = {0};
    assert_int_equal(fault_setup("p.flip:3:spoil,p.lose:1:spoil,p.flip:2:spoil", &eb), ST_OK);
    bool flips[8];
    for (int i = 0; i < 4; i++) flips[i] = fault_at(FAULT_P_FLIP);
    assert_false(flips[0] || flips[1] || flips[3]);
    assert_true(flips[2]);
    assert_true(fault_at(FAULT_P_LOSE));
    assert_false(fault_at(FAULT_P_LOSE));
    assert_false(fault_at(FAULT_P_FLIP));
    assert_true(fault_at(FAULT_P_FLIP));
    assert_false(fault_at(FAULT_P_FLIP));
}

/* How the child that suffers `text` twice at d.segment fares: its state as waitpid tells it. */
static int fate(const char *text, pid_t *pid, int options) {
    errbuf eb = {0};
    *pid = fork();
    if (*pid == 0) {
        if (fault_setup(text, &eb) != ST_OK) _exit(2);
        (void)fault_at(FAULT_D_SEGMENT);
        (void)fault_at(FAULT_D_SEGMENT);
        _exit(7);
    }
    int st;
    assert_int_equal(waitpid(*pid, &st, options), *pid);
    return st;
}

static void a_kill_is_one_and_a_stop_goes_on_at_sigcont(void **state) {
    (void)state;
    pid_t pid;
    int st = fate("d.segment:2:kill", &pid, 0);
    assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    st = fate("d.segment:3:kill", &pid, 0);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 7);
    st = fate("d.segment:2:stop", &pid, WUNTRACED);
    assert_true(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happens_unless_it_is_asked_for),
        cmocka_unit_test(what_cannot_be_read_is_refused_by_name),
        cmocka_unit_test(faults_happen_one_after_the_other_each_at_its_time),
        cmocka_unit_test(a_kill_is_one_and_a_stop_goes_on_at_sigcont),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
