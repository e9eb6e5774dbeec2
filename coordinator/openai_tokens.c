#include "coordinator/openai.h"

static void add_ids(buf *out, const token_list *l) {
    buf_adds(out, "[");
    for (uint32_t i = 0; i < l->count; i++) buf_addf(out, "%s%d", i ? "," : "", l->ids[i]);
    buf_adds(out, "]");
}

static void add_strs(buf *out, const tokenizer *tok, const token_list *l) {
    buf_adds(out, "[");
    for (uint32_t i = 0; i < l->count; i++) {
        char bytes[CHOICE_TOKEN_BYTES];
        size_t len = tokenizer_bytes(tok, l->ids[i], bytes, sizeof bytes);
        if (i) buf_adds(out, ",");
        openai_string(out, bytes, MIN(len, sizeof bytes));
    }
    buf_adds(out, "]");
}

static void add_count(buf *out, const tokenizer *tok, const token_list *l) {
    (void)tok;
    buf_addf(out, "%u", l->count);
}

static void add_tokens(buf *out, const tokenizer *tok, const token_list *l) {
    (void)tok;
    add_ids(out, l);
}

/* What `one` writes of each prompt: as it is, or in a list when a list of prompts came. */
static void add_each(buf *out, const api_request *r, const tokenizer *tok,
                     void (*one)(buf *out, const tokenizer *tok, const token_list *l)) {
    static const token_list none = {0};
    if (!r->want_lists) {
        one(out, tok, r->prompt_count ? &r->prompts[0].ids : &none);
        return;
    }
    buf_adds(out, "[");
    for (uint32_t i = 0; i < r->prompt_count; i++) {
        if (i) buf_adds(out, ",");
        one(out, tok, &r->prompts[i].ids);
    }
    buf_adds(out, "]");
}

void openai_tokens(buf *out, const api_request *r, const tokenizer *tok, const api_model *m) {
    PRE(out);
    PRE(r);
    PRE(tok);
    PRE(m);
    if (r->kind == API_DETOKENIZE) {
        buf text = {0};
        detok d = {0};
        const token_list *l = &r->prompts[0].ids;
        for (uint32_t i = 0; i < l->count; i++) detok_add(&d, tok, l->ids[i], true, &text);
        detok_end(&d, &text);
        buf_adds(out, "{\"prompt\":");
        openai_string(out, text.data, text.len);
        buf_done(&text);
    } else {
        buf_adds(out, "{\"count\":");
        add_each(out, r, tok, add_count);
        buf_addf(out, ",\"max_model_len\":%u,\"tokens\":", m->max_context);
        add_each(out, r, tok, add_tokens);
        buf_adds(out, ",\"token_strs\":");
        if (r->want_token_strs)
            add_each(out, r, tok, add_strs);
        else
            buf_adds(out, "null");
    }
    if (r->warnings) buf_addf(out, ",\"warnings\":%s", r->warnings);
    buf_adds(out, "}");
}
