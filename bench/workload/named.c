#include "bench/workload/named.h"

#include "bench/workload/workload.h"

#include "base/mem.h"

#include <string.h>

typedef struct named_workload {
    const char *name;
    workload_options options;
} named_workload;

static const named_workload workloads[] = {
    {"chatbot",
     {.kind = WORKLOAD_LOGNORMAL,
      .prompt_mean = 755.5,
      .output_mean = 200.3,
      .prompt_cv = 0.8,
      .output_cv = 0.8}},
    {"code",
     {.kind = WORKLOAD_LOGNORMAL,
      .prompt_mean = 171.3,
      .output_mean = 98.2,
      .prompt_cv = 0.5,
      .output_cv = 0.8}},
    {"summary",
     {.kind = WORKLOAD_LOGNORMAL,
      .prompt_mean = 1738.3,
      .output_mean = 90.7,
      .prompt_cv = 0.3,
      .output_cv = 0.8}},
    {"random", {.kind = WORKLOAD_UNIFORM, .prompt_mean = 1024, .output_mean = 128}},
};

static const workload_slo slos[] = {
    {"chatbot-opt-13b", "chatbot", 0.25, 0.1}, {"chatbot-opt-66b", "chatbot", 2.5, 0.15},
    {"chatbot-opt-175b", "chatbot", 4.0, 0.2}, {"code-opt-66b", "code", 0.125, 0.2},
    {"summary-opt-66b", "summary", 15, 0.15},
};

status workload_named(const char *name, workload_options *out, errbuf *eb) {
    PRE(name);
    PRE(out);
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++)
        if (strcmp(workloads[i].name, name) == 0) {
            *out = workloads[i].options;
            out->prompt_scale = out->output_scale = 1;
            return ST_OK;
        }
    return errf(eb, ST_INVALID, "workload '%s': want chatbot, code, summary, random or the path of a file",
                name);
}

const workload_slo *workload_slos(uint32_t *count) {
    PRE(count);
    *count = ARRAY_LEN(slos);
    return slos;
}

const workload_slo *workload_slo_named(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(slos); i++)
        if (strcmp(slos[i].name, name) == 0) return &slos[i];
    return NULL;
}
