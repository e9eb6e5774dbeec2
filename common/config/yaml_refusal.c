#include "config/yaml_refusal.h"

#include "base/status.h"

#include <stdio.h>
#include <string.h>

static void on_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
    (void)level;
    yaml_refusal *r = ctx;
    char text[256];
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = 0;
    const char *place = strstr(text, "(line: ");
    if (!place) {
        const char *cause = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
        if (!r->cause[0]) snprintf(r->cause, sizeof r->cause, "%.*s", (int)sizeof r->cause - 1, cause);
        return;
    }
    if (!r->line) sscanf(place, "(line: %u, column: %u)", &r->line, &r->column);
    if (r->steps == YAML_STEPS_MAX) return;
    if (sscanf(text, "  in mapping field '%63[^']'", r->keys[r->steps]) == 1 ||
        sscanf(text, "  in sequence entry '%u'", &r->index[r->steps]) == 1)
        r->steps++;
}

cyaml_config_t yaml_refusal_config(yaml_refusal *r) {
    PRE(r);
    return (cyaml_config_t){
        .log_fn = on_log, .log_ctx = r, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
}

const char *yaml_refusal_shape(const yaml_refusal *r, char *out, size_t size, const char *list,
                               const char *otherwise) {
    PRE(r);
    PRE(out);
    if (strncmp(r->cause, "Expecting STRING", 16) == 0) return "want one value here, not a list or a mapping";
    if (strncmp(r->cause, "Expecting MAPPING", 17) == 0) return "want keys with values here";
    if (strncmp(r->cause, "Expecting SEQUENCE", 18) != 0) return r->cause[0] ? r->cause : otherwise;
    snprintf(out, size, "want a list here, such as %s", list);
    return out;
}
