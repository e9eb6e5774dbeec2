#include "coordinator/openai_fields.h"

#include "base/mem.h"

#include <string.h>

#define GUIDED "guided_" /* _json, _regex, ...: openai_form.c */


/* Fields of the API, and of servers like this one, that are not implemented and would change the answer. */
typedef enum refuse_when {
    REFUSE_SET,      /* any value */
    REFUSE_FULL,     /* anything but false and empty ones */
    REFUSE_CHOICE,   /* anything but "none" and "auto" */
    REFUSE_NOT_ZERO, /* any number but the one that changes nothing */
    REFUSE_NOT_ONE,
    REFUSE_POSITIVE, /* any number but those below or equal to zero: they say "off" */
    REFUSE_NOT_TRUE
} refuse_when;

static const struct {
    const char *name;
    refuse_when when;
} refused[] = {
    {"tools", REFUSE_FULL}, /* read and rendered; answers are not parsed for calls */
    {"tool_choice", REFUSE_CHOICE},
    {"functions", REFUSE_FULL},
    {"function_call", REFUSE_CHOICE},
    {"web_search_options", REFUSE_SET},
    {"reasoning_effort", REFUSE_CHOICE},
    {"thinking", REFUSE_FULL},
    {"verbosity", REFUSE_SET},
    {"json_schema", REFUSE_FULL},
    {"grammar", REFUSE_FULL},
    {"regex", REFUSE_FULL},
    {"ebnf", REFUSE_FULL},
    {"prompt_embeds", REFUSE_SET},
    {"input_embeds", REFUSE_SET},
    {"allowed_token_ids", REFUSE_SET},
    {"bad_words", REFUSE_FULL},
    {"logits_processors", REFUSE_FULL},
    {"suffix", REFUSE_FULL},
    {"use_beam_search", REFUSE_FULL},
    {"length_penalty", REFUSE_NOT_ONE},
    {"typical_p", REFUSE_NOT_ONE},
    {"tfs_z", REFUSE_NOT_ONE},
    {"top_a", REFUSE_NOT_ZERO},
    {"mirostat", REFUSE_NOT_ZERO},
    {"dry_multiplier", REFUSE_NOT_ZERO},
    {"xtc_probability", REFUSE_NOT_ZERO},
    {"audio", REFUSE_FULL},
    {"lora_path", REFUSE_FULL},
    {"kv_transfer_params", REFUSE_FULL},
    /* of other servers */
    {"do_sample", REFUSE_NOT_TRUE},
    {"detokenize", REFUSE_NOT_TRUE},
    {"num_beams", REFUSE_NOT_ONE},
    {"num_beam_groups", REFUSE_NOT_ONE},
    {"beam_width", REFUSE_NOT_ONE},
    {"diversity_penalty", REFUSE_NOT_ZERO},
    {"penalty_alpha", REFUSE_NOT_ZERO},
    {"no_repeat_ngram_size", REFUSE_NOT_ZERO},
    {"encoder_repetition_penalty", REFUSE_NOT_ONE},
    {"typical", REFUSE_NOT_ONE},
    {"tfs", REFUSE_NOT_ONE},
    {"top_n_sigma", REFUSE_POSITIVE},
    {"top_n_tokens", REFUSE_NOT_ZERO},
    {"n_probs", REFUSE_NOT_ZERO},
    {"min_keep", REFUSE_NOT_ZERO},
    {"n_indent", REFUSE_NOT_ZERO},
    {"epsilon_cutoff", REFUSE_NOT_ZERO},
    {"eta_cutoff", REFUSE_NOT_ZERO},
    {"mirostat_mode", REFUSE_NOT_ZERO},
    {"dynatemp_range", REFUSE_NOT_ZERO},
    {"smoothing_factor", REFUSE_NOT_ZERO},
    {"repeat_last_n", REFUSE_POSITIVE},
    {"repetition_penalty_range", REFUSE_NOT_ZERO},
    {"t_max_predict_ms", REFUSE_POSITIVE},
    {"max_time", REFUSE_NOT_ZERO},
    {"max_length", REFUSE_SET},
    {"min_length", REFUSE_NOT_ZERO},
    {"exponential_decay_length_penalty", REFUSE_FULL},
    {"suppress_tokens", REFUSE_FULL},
    {"begin_suppress_tokens", REFUSE_FULL},
    {"forced_bos_token_id", REFUSE_SET},
    {"forced_eos_token_id", REFUSE_SET},
    {"banned_tokens", REFUSE_FULL},
    {"banned_strings", REFUSE_FULL},
    {"samplers", REFUSE_FULL},
    {"sampler_seed", REFUSE_SET},
    {"sampling_params", REFUSE_FULL},
    {"parameters", REFUSE_FULL},
    {"options", REFUSE_FULL},
    {"inputs", REFUSE_SET},
    {"input_ids", REFUSE_SET},
    {"text", REFUSE_FULL},
    {"system", REFUSE_FULL},
    {"images", REFUSE_FULL},
    {"format", REFUSE_FULL},
    {"custom_logit_processor", REFUSE_FULL},
    {"custom_params", REFUSE_FULL},
    {"vllm_xargs", REFUSE_FULL},
    {"mm_processor_kwargs", REFUSE_FULL},
    {"lora", REFUSE_FULL},
    {"lora_request", REFUSE_FULL},
    {"adapter_id", REFUSE_FULL},
    {"return_hidden_states", REFUSE_FULL},
    {"return_tokens_as_token_ids", REFUSE_FULL},
    {"return_full_text", REFUSE_FULL},
    {"reasoning", REFUSE_FULL},
    {"thinking_token_budget", REFUSE_SET},
};

bool openai_is_empty(const json_t *v) {
    if (json_is_null(v) || json_is_false(v)) return true;
    if (json_is_string(v)) return json_string_length(v) == 0;
    if (json_is_array(v)) return json_array_size(v) == 0;
    return json_is_object(v) && json_object_size(v) == 0;
}

static bool is_none_or_auto(const json_t *v) {
    return jf_is(v, "none") || jf_is(v, "auto");
}

bool openai_is_refused(const char *name) {
    PRE(name);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (strcmp(name, refused[i].name) == 0) return true;
    return strncmp(name, GUIDED, strlen(GUIDED)) == 0;
}

static void refuse(jfields *f, const char *name) {
    jf_fail(f, name, "%s: this server does not support it, and leaving it out would change the answer", name);
}

void openai_refuse(jfields *f) {
    PRE(f);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const json_t *v = jf_get(f, refused[i].name);
        if (!v) continue;
        bool bad = true;
        switch (refused[i].when) {
        case REFUSE_SET:
            break;
        case REFUSE_FULL:
            bad = !openai_is_empty(v);
            break;
        case REFUSE_CHOICE:
            bad = !is_none_or_auto(v);
            break;
        case REFUSE_NOT_ZERO:
            bad = !json_is_number(v) || json_number_value(v) != 0;
            break;
        case REFUSE_POSITIVE:
            bad = !json_is_number(v) || json_number_value(v) > 0;
            break;
        case REFUSE_NOT_TRUE:
            bad = !json_is_true(v);
            break;
        case REFUSE_NOT_ONE:
            bad = !json_is_number(v) || json_number_value(v) != 1;
            break;
        }
        if (bad) refuse(f, refused[i].name);
    }
    static const char *const of_chat[] = {"documents", "chat_template", "chat_template_kwargs",
                                          "continue_final_message"};
    for (size_t i = 0; i < ARRAY_LEN(of_chat) && !jf_get(f, "messages"); i++) {
        const json_t *v = jf_get(f, of_chat[i]);
        if (v && !openai_is_empty(v)) jf_fail(f, of_chat[i], "%s: only chat has it", of_chat[i]);
    }
    const json_t *modes = jf_get(f, "modalities");
    if (modes && !(json_array_size(modes) == 1 && jf_is(json_array_get(modes, 0), "text"))) {
        jf_fail(f, "modalities", "modalities: only [\"text\"] is supported");
    }
}
