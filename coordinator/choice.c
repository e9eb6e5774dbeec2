#include "coordinator/choice.h"

#include <stdlib.h>
#include <string.h>

void choice_init(choice *c, const choice_rules *rules) {
    PRE(c);
    PRE(rules);
    PRE(rules->tok);
    *c = (choice){.rules = rules, .matched = -1};
    buf_adds(&c->text, "");
}

void choice_done(choice *c) {
    if (!c) return;
    buf_done(&c->text);
    free(c->ids);
    free(c->probs);
    free(c->tops);
    *c = (choice){.matched = -1};
}

/* Characters that begin in a token's text: a piece in the middle of a character has none. */
static uint32_t token_chars(const tokenizer *tok, int32_t id) {
    char bytes[CHOICE_TOKEN_BYTES];
    size_t len = tokenizer_bytes(tok, id, bytes, sizeof bytes);
    uint32_t chars = 0;
    for (size_t i = 0; i < MIN(len, sizeof bytes); i++) chars += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return chars;
}

uint32_t choice_prompt_chars(const tokenizer *tok, const api_prompt *prompt, uint32_t at) {
    PRE(prompt);
    PRE(at < prompt->ids.count);
    int32_t id = prompt->ids.ids[at];
    if (at == 0 && prompt->text && tokenizer_is_special(tok, id)) {
        char bytes[CHOICE_TOKEN_BYTES];
        size_t len = MIN(tokenizer_bytes(tok, id, bytes, sizeof bytes), sizeof bytes);
        if (len > prompt->len || memcmp(prompt->text, bytes, len) != 0) return 0;
    }
    return token_chars(tok, id);
}

void choice_behind(choice *c, const api_prompt *prompt) {
    PRE(c);
    PRE(prompt);
    PRE(c->count == 0);
    if (!c->rules->logprobs) return;
    for (uint32_t i = 0; i < prompt->ids.count; i++)
        c->chars += choice_prompt_chars(c->rules->tok, prompt, i);
}

static void keep_token(choice *c, const token_out *t) {
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 32;
        c->ids = xrealloc(c->ids, c->capacity, sizeof *c->ids);
        if (c->rules->logprobs) c->probs = xrealloc(c->probs, c->capacity, sizeof *c->probs);
    }
    if (c->rules->logprobs) {
        uint32_t n = MIN(t->top_count, (uint32_t)SAMPLING_LOGPROBS_MAX);
        if (c->top_count + n > c->top_capacity) {
            c->top_capacity = MAX(c->top_capacity * 2, c->top_count + 64);
            c->tops = xrealloc(c->tops, c->top_capacity, sizeof *c->tops);
        }
        for (uint32_t i = 0; i < n; i++) c->tops[c->top_count + i] = t->top[i];
        c->probs[c->count] = (choice_logprob){
            .logprob = t->logprob, .top_begin = c->top_count, .top_count = n, .text_offset = c->chars};
        c->chars += token_chars(c->rules->tok, t->id);
        c->top_count += n;
    }
    c->ids[c->count++] = t->id;
}

/* Looks for the stop string whose match ends first among those that end after byte `old`; the longest of
 * several. */
static bool find_stop(const choice *c, size_t old, int32_t *which, size_t *begin, size_t *end) {
    bool found = false;
    for (uint32_t i = 0; i < c->rules->stop_count; i++) {
        const api_stop *s = &c->rules->stops[i];
        size_t from = old + 1 > s->len ? old + 1 - s->len : 0;
        if (from < c->floor) from = c->floor;
        if (from + s->len > c->text.len) continue;
        const char *at = memmem(c->text.data + from, c->text.len - from, s->text, s->len);
        if (!at) continue;
        size_t b = (size_t)(at - c->text.data);
        if (found && (b + s->len > *end || (b + s->len == *end && b >= *begin))) continue;
        found = true;
        *which = (int32_t)i;
        *begin = b;
        *end = b + s->len;
    }
    return found;
}

/* Bytes at the end of the text that are a proper prefix of a stop string: the longest such. */
static size_t held_bytes(const choice *c) {
    size_t held = 0;
    size_t room = c->text.len > c->floor ? c->text.len - c->floor : 0;
    for (uint32_t i = 0; i < c->rules->stop_count; i++) {
        const api_stop *s = &c->rules->stops[i];
        for (size_t k = MIN(s->len - 1, room); k > held; k--) {
            if (memcmp(c->text.data + c->text.len - k, s->text, k) == 0) held = k;
        }
    }
    return held;
}

static void take_part(choice *c, size_t text_end, choice_part *part) {
    *part = (choice_part){.text_begin = c->shown.text_end,
                          .text_end = text_end,
                          .token_begin = c->shown.token_end,
                          .token_end = c->count};
    c->shown.text_end = text_end;
    c->shown.token_end = c->count;
    POST(part->text_begin <= part->text_end);
    POST(part->text_end <= c->text.len);
}

bool choice_add(choice *c, const token_out *t, choice_part *part) {
    PRE(c);
    PRE(t);
    PRE(part);
    if (c->matched >= 0) return false;
    const choice_rules *r = c->rules;
    size_t old = c->text.len;
    keep_token(c, t);
    /* The token that ends a choice is not part of its text, unless asked for. */
    bool ends = t->fin == FINISH_EOS || t->fin == FINISH_STOP_ID;
    bool silent = !r->keep_special && tokenizer_is_special(r->tok, t->id);
    if (!ends || r->include_stop) detok_add(&c->pending, r->tok, t->id, r->keep_special, &c->text);
    if (c->count <= r->min_tokens) c->floor = c->text.len;

    size_t visible = c->text.len, begin = 0, end = 0;
    int32_t which = -1;
    if (c->text.len > old && find_stop(c, old, &which, &begin, &end)) {
        visible = r->include_stop ? end : begin;
        c->matched = which;
        c->text.len = visible;
        c->text.data[visible] = 0;
    } else if (!r->include_stop) {
        visible -= held_bytes(c);
    }
    CHECK(visible >= c->shown.text_end);
    /* A special token in the middle has no text, but it is a token of the answer: it makes a part of its own.
     */
    bool empty_part = silent && t->fin == FINISH_NONE && visible == c->text.len;
    if (visible == c->shown.text_end && !empty_part) return false;
    take_part(c, visible, part);
    return true;
}

bool choice_end(choice *c, choice_part *part) {
    PRE(c);
    PRE(part);
    if (c->matched < 0) detok_end(&c->pending, &c->text);
    if (c->shown.text_end == c->text.len && c->shown.token_end == c->count) return false;
    take_part(c, c->text.len, part);
    return true;
}
