/* openai_form - the form that an answer must have: OpenAI's response_format, vLLM's structured_outputs and
 * its older guided_* fields, as a spec of grammar/grammar.h. */
#include "base/mem.h"
#include "coordinator/openai_fields.h"
#include "grammar/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUIDED "guided_"

/* The spec is checked here, where an error can name the field. */
static void set_spec(jfields *f, api_request *r, const api_model *m, const char *field, json_t *spec) {
    if (!jf_ok(f)) {
        json_decref(spec);
        return;
    }
    if (r->spec) {
        jf_fail(f, field, "%s: the form of the answer is told twice", field);
    } else if (!m->masks) {
        jf_fail(f, field, "%s: the backend of this server cannot keep an answer to a form", field);
    } else {
        errbuf eb = {0};
        char *text = json_dumps(spec, JSON_COMPACT);
        size_t len = text ? strlen(text) : 0;
        if (!text)
            jf_fail(f, field, "%s: it cannot be written as JSON", field);
        else if (grammar_check(text, len, &eb) != ST_OK)
            jf_fail(f, field, "%s: %s", field, eb.text);
        if (jf_ok(f)) {
            r->spec = text;
            r->params.spec_len = (uint32_t)len;
        } else {
            free(text);
        }
    }
    json_decref(spec);
}

static json_t *spec_of(const char *kind, json_t *value) {
    return json_pack("{s:O}", kind, value);
}

static void parse_format(jfields *f, api_request *r, const api_model *m) {
    static const char name[] = "response_format";
    const json_t *format = jf_get(f, name);
    if (!format) return;
    const json_t *type = json_object_get(format, "type");
    json_t *schema = json_object_get(json_object_get(format, "json_schema"), "schema");
    if (jf_is(type, "text")) return;
    if (jf_is(type, "json_object"))
        set_spec(f, r, m, name, spec_of("json_object", json_true()));
    else if (!jf_is(type, "json_schema"))
        jf_fail(f, name, "response_format.type: want text, json_object or json_schema");
    else if (!schema)
        jf_fail(f, name, "response_format.json_schema.schema: the field is missing");
    else
        set_spec(f, r, m, "response_format.json_schema.schema", spec_of("json_schema", schema));
}

/* vLLM takes a schema as an object, or as its text. */
static void set_schema(jfields *f, api_request *r, const api_model *m, const char *field, json_t *v) {
    if (json_is_string(v) && !openai_json_depth(f, field, v)) return;
    json_error_t je;
    json_t *schema =
        json_is_string(v) ? json_loadb(json_string_value(v), json_string_length(v), 0, &je) : json_incref(v);
    if (!json_is_object(schema) && !json_is_boolean(schema))
        jf_fail(f, field, "%s: want a JSON schema", field);
    else
        set_spec(f, r, m, field, spec_of("json_schema", schema));
    json_decref(schema);
}

/* One of vLLM's: json, json_object, regex, choice. */
static void set_kind(jfields *f, api_request *r, const api_model *m, const char *field, const char *kind,
                     json_t *v) {
    if (json_is_null(v) || (strcmp(kind, "json_object") == 0 && json_is_false(v))) return;
    if (strcmp(kind, "json") == 0)
        set_schema(f, r, m, field, v);
    else if (strcmp(kind, "json_object") == 0 || strcmp(kind, "regex") == 0 || strcmp(kind, "choice") == 0)
        set_spec(f, r, m, field, spec_of(kind, v));
    else
        jf_fail(f, field, "%s: this server supports json, json_object, regex and choice", field);
}

void openai_form(jfields *f, api_request *r, const api_model *m) {
    PRE(f);
    PRE(r);
    PRE(m);
    parse_format(f, r, m);
    const char *key = NULL;
    json_t *v = NULL;
    char field[80];
    const json_t *outputs = jf_get(f, "structured_outputs");
    if (outputs && !json_is_object(outputs)) jf_wrong(f, "structured_outputs", "an object", outputs);
    json_object_foreach((json_t *)outputs, key, v) {
        snprintf(field, sizeof field, "structured_outputs.%.50s", key);
        set_kind(f, r, m, field, key, v);
    }
    json_object_foreach((json_t *)f->object, key, v) {
        if (strncmp(key, GUIDED, strlen(GUIDED)) != 0 || strcmp(key, "guided_decoding_backend") == 0)
            continue;
        snprintf(field, sizeof field, "%.60s", key);
        set_kind(f, r, m, field, key + strlen(GUIDED), v);
    }
}
