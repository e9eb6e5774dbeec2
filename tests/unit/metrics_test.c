/* The exposition text, byte for byte. */
#include "tests/test.h"

#include "obs/metrics.h"

#include <math.h>
#include <string.h>

static void assert_prints(const metrics *m, const char *want) {
    buf out = {0};
    metrics_print(m, &out);
    assert_string_equal(out.data ? out.data : "", want);
    buf_done(&out);
}

static void an_empty_registry_prints_nothing(void **state) {
    (void)state;
    metrics *m = metrics_new();
    assert_prints(m, "");
    metrics_free(m);
    metrics_free(NULL);
}

static void series_are_grouped_by_name_in_order_of_creation(void **state) {
    (void)state;
    metrics *m = metrics_new();
    metric *a = metrics_get(m, METRIC_COUNTER, "b_total", "Things.", "role=\"decode\"", NULL, 0);
    metric *g = metrics_get(m, METRIC_GAUGE, "a_now", "Level.\nTwo \\ lines.", "", NULL, 0);
    metric *b = metrics_get(m, METRIC_COUNTER, "b_total", "ignored", "role=\"prefill\"", NULL, 0);
    metric_add(a, 2);
    metric_add(a, 1);
    metric_add(b, 0.25);
    metric_set(g, -1.5);
    assert_ptr_equal(metrics_get(m, METRIC_COUNTER, "b_total", "", "role=\"decode\"", NULL, 0), a);
    assert_true(metric_value(a) == 3);
    assert_prints(m, "# HELP b_total Things.\n"
                     "# TYPE b_total counter\n"
                     "b_total{role=\"decode\"} 3\n"
                     "b_total{role=\"prefill\"} 0.25\n"
                     "# HELP a_now Level.\\nTwo \\\\ lines.\n"
                     "# TYPE a_now gauge\n"
                     "a_now -1.5\n");
    metrics_free(m);
}

static void buckets_are_cumulative_and_end_with_inf(void **state) {
    (void)state;
    static const double bounds[] = {0.1, 1, 10};
    metrics *m = metrics_new();
    metric *h = metrics_get(m, METRIC_HISTOGRAM, "t_seconds", "Time.", "k=\"v\"", bounds, 3);
    metric_observe(h, 0.1); /* a bound belongs to its bucket */
    metric_observe(h, 0.5);
    metric_observe(h, 0.5);
    metric_observe(h, 100);
    assert_prints(m, "# HELP t_seconds Time.\n"
                     "# TYPE t_seconds histogram\n"
                     "t_seconds_bucket{k=\"v\",le=\"0.1\"} 1\n"
                     "t_seconds_bucket{k=\"v\",le=\"1\"} 3\n"
                     "t_seconds_bucket{k=\"v\",le=\"10\"} 3\n"
                     "t_seconds_bucket{k=\"v\",le=\"+Inf\"} 4\n"
                     "t_seconds_sum{k=\"v\"} 101.1\n"
                     "t_seconds_count{k=\"v\"} 4\n");
    metrics_free(m);
}

static void a_histogram_without_labels_has_only_le(void **state) {
    (void)state;
    static const double bounds[] = {1};
    metrics *m = metrics_new();
    metrics_get(m, METRIC_HISTOGRAM, "h", "H.", "", bounds, 1);
    assert_prints(m, "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 0\nh_bucket{le=\"+Inf\"} 0\nh_sum "
                     "0\nh_count 0\n");
    metrics_free(m);
}

static void numbers_are_read_back_exactly(void **state) {
    (void)state;
    metrics *m = metrics_new();
    metric *g = metrics_get(m, METRIC_GAUGE, "g", "G.", "", NULL, 0);
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "g 0\n"},
        {123456789012, "g 123456789012\n"},
        {0.1, "g 0.1\n"},
        {1.0 / 3, "g 0.3333333333333333\n"},
        {1e300, "g 1e+300\n"},
        {INFINITY, "g +Inf\n"},
        {-INFINITY, "g -Inf\n"},
        {NAN, "g NaN\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        metric_set(g, cases[i].value);
        buf out = {0};
        metrics_print(m, &out);
        assert_string_equal(strstr(out.data, "gauge\n") + 6, cases[i].text);
        buf_done(&out);
    }
    metrics_free(m);
}

static void label_values_are_escaped(void **state) {
    (void)state;
    buf labels = {0};
    metrics_label(&labels, "worker", "a\"b\\c\nd");
    metrics_label(&labels, "role", "decode");
    assert_string_equal(labels.data, "worker=\"a\\\"b\\\\c\\nd\",role=\"decode\"");
    buf_done(&labels);
}

static void series_are_forgotten_by_their_labels(void **state) {
    (void)state;
    metrics *m = metrics_new();
    metric_set(metrics_get(m, METRIC_GAUGE, "g", "h", "worker=\"a\"", NULL, 0), 1);
    metric_set(metrics_get(m, METRIC_GAUGE, "g", "h", "worker=\"a\",state=\"x\"", NULL, 0), 2);
    metric_set(metrics_get(m, METRIC_GAUGE, "g", "h", "worker=\"ab\"", NULL, 0), 3);
    metric_set(metrics_get(m, METRIC_COUNTER, "c_total", "h", "worker=\"a\"", NULL, 0), 4);
    metrics_forget(m, "worker=\"a\"");
    metric_set(metrics_get(m, METRIC_GAUGE, "g", "h", "worker=\"d\"", NULL, 0), 5);
    buf out = {0};
    metrics_print(m, &out);
    assert_non_null(strstr(out.data, "g{worker=\"ab\"} 3\ng{worker=\"d\"} 5\n"));
    assert_null(strstr(out.data, "worker=\"a\""));
    assert_true(metric_value(metrics_get(m, METRIC_COUNTER, "c_total", "h", "worker=\"a\"", NULL, 0)) == 0);
    buf_done(&out);
    metrics_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_registry_prints_nothing),
        cmocka_unit_test(series_are_grouped_by_name_in_order_of_creation),
        cmocka_unit_test(buckets_are_cumulative_and_end_with_inf),
        cmocka_unit_test(a_histogram_without_labels_has_only_le),
        cmocka_unit_test(numbers_are_read_back_exactly),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(series_are_forgotten_by_their_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
