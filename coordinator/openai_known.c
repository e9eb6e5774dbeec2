/* Every name that a body may have at its top, so that none is overlooked: those that are read and those that
 * change nothing stand here, those that are refused in openai_refused.c, and any other is told in `warnings`.
 */
#include "coordinator/openai.h"
#include "coordinator/openai_fields.h"

#include <string.h>

enum { WARNINGS_MAX = 8, NAME_SHOWN_MAX = 64 };
#define ANY        0xfu
#define OF(kind)   (1u << (kind))
#define CHAT       (OF(API_CHAT) | OF(API_TOKENIZE)) /* messages can be counted, too */
#define COMPLETION (OF(API_COMPLETION) | OF(API_TOKENIZE))

/* Names of other servers for the same thing */
static const struct {
    const char *name, *ours;
} aliases[] = {
    {"max_new_tokens", "max_tokens"},
    {"n_predict", "max_tokens"},
    {"num_predict", "max_tokens"},
    {"max_output_tokens", "max_tokens"},
    {"min_new_tokens", "min_tokens"},
    {"repeat_penalty", "repetition_penalty"},
    {"stop_sequences", "stop"},
    {"num_return_sequences", "n"},
    {"no_stop_trim", "include_stop_str_in_output"},
};

static const struct {
    const char *name;
    uint32_t kinds; /* where it means something */
} known[] = {
    /* read */
    {"model", ANY},
    {"prompt", COMPLETION},
    {"messages", CHAT},
    {"tokens", OF(API_DETOKENIZE)},
    {"return_token_strs", OF(API_TOKENIZE)},
    {"max_tokens", ANY},
    {"max_completion_tokens", ANY},
    {"min_tokens", ANY},
    {"n", ANY},
    {"best_of", ANY},
    {"seed", ANY},
    {"temperature", ANY},
    {"top_p", ANY},
    {"top_k", ANY},
    {"min_p", ANY},
    {"repetition_penalty", ANY},
    {"presence_penalty", ANY},
    {"frequency_penalty", ANY},
    {"logit_bias", ANY},
    {"stop", ANY},
    {"stop_token_ids", ANY},
    {"include_stop_str_in_output", ANY},
    {"ignore_eos", ANY},
    {"skip_special_tokens", ANY},
    {"add_special_tokens", ANY},
    {"logprobs", ANY},
    {"top_logprobs", OF(API_CHAT)},
    {"prompt_logprobs", ANY},
    {"echo", ANY},
    {"stream", ANY},
    {"stream_options", ANY},
    {"return_token_ids", ANY},
    {"truncate_prompt_tokens", ANY},
    {"priority", ANY},
    {"cache_salt", ANY},
    {"timings", ANY},
    {"response_format", ANY},
    {"structured_outputs", ANY},
    {"modalities", ANY},
    {"tools", CHAT},
    {"tool_choice", CHAT},
    {"add_generation_prompt", CHAT},
    {"continue_final_message", CHAT},
    {"chat_template", CHAT},
    {"chat_template_kwargs", CHAT},
    {"chat_template_content_format", CHAT},
    {"documents", CHAT},
    {"reasoning_effort", CHAT},
    /* change nothing in an answer of this server */
    {"user", ANY},
    {"metadata", ANY},
    {"store", ANY},
    {"service_tier", ANY},
    {"safety_identifier", ANY},
    {"prompt_cache_key", ANY},
    {"prompt_cache_retention", ANY},
    {"parallel_tool_calls", ANY},
    {"prediction", ANY}, /* a hint to be faster */
    {"request_id", ANY},
    {"include_reasoning", ANY},
    {"separate_reasoning", ANY},
    {"stream_reasoning", ANY},
    {"spaces_between_special_tokens", ANY},
    {"cache_prompt", ANY}, /* prefixes are kept anyway */
    {"id_slot", ANY},
    {"slot_id", ANY},
    {"n_keep", ANY},
    {"keep_alive", ANY},
    {"early_stopping", ANY}, /* of beams, which are refused */
    {"mirostat_tau", ANY},   /* of methods that are refused, as are those that follow */
    {"mirostat_eta", ANY},
    {"xtc_threshold", ANY},
    {"dry_base", ANY},
    {"dry_allowed_length", ANY},
    {"dry_penalty_last_n", ANY},
    {"dry_sequence_breakers", ANY},
    {"dynatemp_exponent", ANY},
    {"smoothing_curve", ANY},
};

void openai_rename(jfields *f) {
    PRE(f);
    for (size_t i = 0; i < ARRAY_LEN(aliases) && jf_ok(f); i++) {
        json_t *v = json_object_get(f->object, aliases[i].name);
        if (!v || json_is_null(v)) continue;
        if (jf_get(f, aliases[i].ours))
            jf_fail(f, aliases[i].name, "%s: is another name of %s, and both are given: leave one out",
                    aliases[i].name, aliases[i].ours);
        else
            json_object_set((json_t *)f->object, aliases[i].ours, v);
    }
}

static bool is_known(const char *name, api_kind kind) {
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++)
        if (strcmp(name, aliases[i].name) == 0) return true;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i].name) == 0) return known[i].kinds >> kind & 1;
    return openai_is_refused(name);
}

void openai_warn(jfields *f, api_request *r) {
    PRE(f);
    PRE(r);
    if (!jf_ok(f)) return;
    buf out = {0};
    uint32_t count = 0;
    const char *key = NULL;
    json_t *v = NULL;
    json_object_foreach((json_t *)f->object, key, v) {
        if (json_is_null(v) || is_known(key, r->kind)) continue;
        if (++count > WARNINGS_MAX) continue;
        char text[NAME_SHOWN_MAX + 80];
        snprintf(text, sizeof text, "%.*s: this endpoint has no such field; it was ignored", NAME_SHOWN_MAX,
                 key);
        buf_adds(&out, out.len ? "," : "[");
        openai_string(&out, text, strlen(text));
    }
    if (count > WARNINGS_MAX) buf_addf(&out, ",\"and %u more\"", count - WARNINGS_MAX);
    if (!count) return;
    buf_adds(&out, "]");
    r->warnings = out.data;
}
