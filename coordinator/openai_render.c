#include "coordinator/openai.h"

#include "text/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_utf8(const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        utf8_char c = utf8_next(text + i, len - i);
        if (c.kind != UTF8_WHOLE) return false;
        i += c.len;
    }
    return true;
}

static void add_escaped(buf *out, unsigned char c) {
    switch (c) {
    case '"':
        buf_adds(out, "\\\"");
        break;
    case '\\':
        buf_adds(out, "\\\\");
        break;
    case '\n':
        buf_adds(out, "\\n");
        break;
    case '\r':
        buf_adds(out, "\\r");
        break;
    case '\t':
        buf_adds(out, "\\t");
        break;
    default:
        buf_addf(out, "\\u%04x", c);
        break;
    }
}

void openai_string(buf *out, const char *text, size_t len) {
    PRE(out);
    PRE((text || len == 0));
    buf_adds(out, "\"");
    size_t from = 0; /* bytes from here to i need no change and are not copied yet */
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        utf8_char u = utf8_next(text + i, len - i);
        bool plain = u.kind == UTF8_WHOLE && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
        if (!plain) {
            buf_add(out, text + from, i - from);
            if (u.kind == UTF8_WHOLE)
                add_escaped(out, c);
            else
                buf_adds(out, "\xef\xbf\xbd");
            from = i + u.len;
        }
        i += u.len;
    }
    if (len > from) buf_add(out, text + from, len - from);
    buf_adds(out, "\"");
}

void openai_error(buf *out, const api_error *e) {
    PRE(out);
    PRE(e);
    PRE(e->http);
    buf_adds(out, "{\"error\":{\"message\":");
    openai_string(out, e->text.text, strlen(e->text.text));
    buf_addf(out, ",\"type\":\"%s\",\"param\":", api_error_type(e->http));
    if (e->param[0])
        openai_string(out, e->param, strlen(e->param));
    else
        buf_adds(out, "null");
    if (e->code)
        buf_addf(out, ",\"code\":\"%s\"}}", e->code);
    else
        buf_addf(out, ",\"code\":%u}}", e->http);
}

/* JSON has no infinity; vLLM writes this instead. */
static double json_logprob(float lp) {
    return isfinite(lp) && lp > -9999.0f ? (double)lp : -9999.0;
}

/* The text of one token. Tokens that are a piece of a character are written as OpenAI does, "bytes:\xe2\x80",
 * which also keeps the keys of top_logprobs apart. */
static void token_string(buf *out, const stream *s, int32_t id) {
    char bytes[CHOICE_TOKEN_BYTES];
    size_t len = tokenizer_bytes(stream_tokenizer(s), id, bytes, sizeof bytes);
    len = MIN(len, sizeof bytes);
    if (is_utf8(bytes, len)) {
        openai_string(out, bytes, len);
        return;
    }
    buf_adds(out, "\"bytes:");
    for (size_t i = 0; i < len; i++) buf_addf(out, "\\\\x%02x", (unsigned char)bytes[i]);
    buf_adds(out, "\"");
}

static void add_int_list(buf *out, const int32_t *ids, uint32_t count) {
    buf_adds(out, "[");
    for (uint32_t i = 0; i < count; i++) buf_addf(out, "%s%d", i ? "," : "", ids[i]);
    buf_adds(out, "]");
}

/* A token of the prompt or of the answer, as logprobs show it. */
typedef struct scored_token {
    int32_t id;
    bool known; /* false: the first token of a prompt, of which nothing is */
    float logprob;
    const token_logprob *tops; /* [top_count] */
    uint32_t top_count;
} scored_token;

/* Token `at` of prompt ++ answer; the first `before` are the prompt's. */
static scored_token shown_at(const stream *s, uint32_t i, uint32_t before, uint32_t at) {
    if (at >= before) {
        const choice *c = stream_choice(s, i);
        const choice_logprob *p = &c->probs[at - before];
        return (scored_token){c->ids[at - before], true, p->logprob, c->tops + p->top_begin, p->top_count};
    }
    scored_token t = {.id = stream_prompt(s, i)->ids.ids[at]};
    const prompt_scores *p = stream_scores(s, i);
    if (at == 0 || at >= p->count) return t;
    t.known = true;
    t.logprob = p->items[at].logprob;
    t.tops = p->tops + (size_t)at * p->top;
    t.top_count = MIN(p->top, (uint32_t)stream_request(s)->params.logprobs);
    return t;
}

/* The best, and the token itself. */
static void add_best(buf *out, const stream *s, const scored_token *t) {
    if (!t->known) {
        buf_adds(out, "null");
        return;
    }
    buf_adds(out, "{");
    bool there = false;
    for (uint32_t k = 0; k < t->top_count; k++) {
        there = there || t->tops[k].id == t->id;
        if (k) buf_adds(out, ",");
        token_string(out, s, t->tops[k].id);
        buf_addf(out, ":%.7g", json_logprob(t->tops[k].logprob));
    }
    if (!there) {
        if (t->top_count) buf_adds(out, ",");
        token_string(out, s, t->id);
        buf_addf(out, ":%.7g", json_logprob(t->logprob));
    }
    buf_adds(out, "}");
}

/* {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of tokens begin..end of a choice, behind all of
 * its prompt's when there is a `before`. */
static void completion_logprobs(buf *out, const stream *s, uint32_t i, uint32_t before, uint32_t begin,
                                uint32_t end) {
    const choice *c = stream_choice(s, i);
    uint32_t first = before ? 0 : begin, chars = 0;
    end += before;
    buf_adds(out, "{\"tokens\":[");
    for (uint32_t k = first; k < end; k++) {
        if (k > first) buf_adds(out, ",");
        token_string(out, s, shown_at(s, i, before, k).id);
    }
    buf_adds(out, "],\"token_logprobs\":[");
    for (uint32_t k = first; k < end; k++) {
        scored_token t = shown_at(s, i, before, k);
        if (k > first) buf_adds(out, ",");
        if (t.known)
            buf_addf(out, "%.7g", json_logprob(t.logprob));
        else
            buf_adds(out, "null");
    }
    buf_adds(out, "],\"top_logprobs\":[");
    for (uint32_t k = first; k < end; k++) {
        scored_token t = shown_at(s, i, before, k);
        if (k > first) buf_adds(out, ",");
        add_best(out, s, &t);
    }
    buf_adds(out, "],\"text_offset\":[");
    for (uint32_t k = first; k < end; k++) {
        buf_addf(out, "%s%u", k > first ? "," : "", k < before ? chars : c->probs[k - before].text_offset);
        if (k < before) chars += choice_prompt_chars(stream_tokenizer(s), stream_prompt(s, i), k);
    }
    buf_adds(out, "]}");
}

/* vLLM's {"ID": {"logprob", "rank", "decoded_token"}}. */
static void add_prompt_logprob(buf *out, const stream *s, int32_t id, float lp, uint32_t rank) {
    char bytes[CHOICE_TOKEN_BYTES];
    size_t len = tokenizer_bytes(stream_tokenizer(s), id, bytes, sizeof bytes);
    buf_addf(out, "\"%d\":{\"logprob\":%.7g,\"rank\":%u,\"decoded_token\":", id, json_logprob(lp), rank);
    openai_string(out, bytes, MIN(len, sizeof bytes));
    buf_adds(out, "}");
}

/* Nothing when it was not asked for. The token itself comes first, then the others of the best. */
static void add_prompt_logprobs(buf *out, const stream *s, uint32_t i) {
    int32_t wanted = stream_request(s)->prompt_logprobs;
    if (wanted < 0) return;
    const api_prompt *prompt = stream_prompt(s, i);
    const prompt_scores *p = stream_scores(s, i);
    buf_adds(out, ",\"prompt_logprobs\":[null");
    for (uint32_t k = 1; k < p->count; k++) {
        buf_adds(out, ",{");
        add_prompt_logprob(out, s, prompt->ids.ids[k], p->items[k].logprob, p->items[k].rank);
        const token_logprob *tops = p->tops + (size_t)k * p->top;
        for (uint32_t n = 0; n < MIN(p->top, (uint32_t)wanted); n++) {
            if (tops[n].id == prompt->ids.ids[k]) continue;
            buf_adds(out, ",");
            add_prompt_logprob(out, s, tops[n].id, tops[n].logprob, n + 1);
        }
        buf_adds(out, "}");
    }
    buf_adds(out, "]");
}

static void chat_logprob(buf *out, const stream *s, int32_t id, float lp) {
    char bytes[CHOICE_TOKEN_BYTES];
    size_t len = tokenizer_bytes(stream_tokenizer(s), id, bytes, sizeof bytes);
    len = MIN(len, sizeof bytes);
    buf_adds(out, "{\"token\":");
    openai_string(out, bytes, len);
    buf_addf(out, ",\"logprob\":%.7g,\"bytes\":[", json_logprob(lp));
    for (size_t i = 0; i < len; i++) buf_addf(out, "%s%u", i ? "," : "", (unsigned char)bytes[i]);
    buf_adds(out, "]");
}

static void chat_logprobs(buf *out, const stream *s, const choice *c, uint32_t begin, uint32_t end) {
    buf_adds(out, "{\"content\":[");
    for (uint32_t i = begin; i < end; i++) {
        const choice_logprob *p = &c->probs[i];
        if (i > begin) buf_adds(out, ",");
        chat_logprob(out, s, c->ids[i], p->logprob);
        buf_adds(out, ",\"top_logprobs\":[");
        for (uint32_t k = 0; k < p->top_count; k++) {
            const token_logprob *t = &c->tops[p->top_begin + k];
            if (k) buf_adds(out, ",");
            chat_logprob(out, s, t->id, t->logprob);
            buf_adds(out, "}");
        }
        buf_adds(out, "]}");
    }
    buf_adds(out, "]}");
}

/* prompt: of its tokens too, which are shown */
static void add_logprobs(buf *out, const stream *s, uint32_t i, bool prompt, uint32_t begin, uint32_t end) {
    const api_request *r = stream_request(s);
    uint32_t before = prompt ? stream_prompt(s, i)->ids.count : 0;
    buf_adds(out, ",\"logprobs\":");
    if (r->params.logprobs < 0 || begin == end + before)
        buf_adds(out, "null");
    else if (r->kind == API_CHAT)
        chat_logprobs(out, s, stream_choice(s, i), begin, end);
    else
        completion_logprobs(out, s, i, before, begin, end);
}

/* Chat tells a stop_reason only at the end, completions in every event. */
static void add_finish(buf *out, const stream_finish *f, bool chat) {
    if (!f->reason) {
        buf_adds(out, chat ? ",\"finish_reason\":null" : ",\"finish_reason\":null,\"stop_reason\":null");
        return;
    }
    buf_addf(out, ",\"finish_reason\":\"%s\",\"stop_reason\":", f->reason);
    if (f->stop)
        openai_string(out, f->stop->text, f->stop->len);
    else if (f->stop_id >= 0)
        buf_addf(out, "%d", f->stop_id);
    else
        buf_adds(out, "null");
}

static void add_head(buf *out, const stream *s, const char *object, const char *model) {
    const api_request *r = stream_request(s);
    buf_adds(out, "{\"id\":");
    openai_string(out, r->id, strlen(r->id));
    buf_addf(out, ",\"object\":\"%s\",\"created\":%" PRId64 ",\"model\":", object, r->created);
    openai_string(out, model, strlen(model));
    buf_adds(out, ",\"choices\":[");
}

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static void add_usage(buf *out, const stream *s, bool shown) {
    uint32_t prompt = stream_prompt_tokens(s), completion = stream_completion_tokens(s, shown);
    buf_addf(out, "{\"prompt_tokens\":%u,\"total_tokens\":%u,\"completion_tokens\":%u", prompt,
             prompt + completion, completion);
    if (stream_ended(s)) /* known at the end only */
        buf_addf(out, ",\"prompt_tokens_details\":{\"cached_tokens\":%u}", stream_cached_tokens(s));
    core_times t;
    if (stream_request(s)->timings && stream_times(s, stream_last_ended(s), &t)) {
        double rate = t.total_ns ? completion * 1e9 / (double)t.total_ns : 0;
        buf_addf(out, ",\"timings\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"handoff_ms\":%.3f,",
                 ms(t.queue_ns), ms(t.prefill_ns), ms(t.handoff_ns));
        if (t.decode_wait_ns) buf_addf(out, "\"decode_wait_ms\":%.3f,", ms(t.decode_wait_ns));
        buf_addf(
            out,
            "\"first_token_ms\":%.3f,"
            "\"decode_ms\":%.3f,\"total_ms\":%.3f,\"tokens_per_second\":%.3f,\"attempts\":%u,\"replays\":%u,"
            "\"preemptions\":%u}",
            ms(t.first_token_ns), ms(t.decode_ns), ms(t.total_ns), rate, t.attempts, t.replays,
            t.preemptions);
    }
    buf_adds(out, "}");
}

/* The prompt's text in front of an answer with echo. */
static void echo_text(buf *text, const stream *s, uint32_t i) {
    const api_prompt *p = stream_prompt(s, i);
    if (p->text) {
        buf_add(text, p->text, p->len);
        return;
    }
    detok d = {0};
    for (uint32_t k = 0; k < p->ids.count; k++) detok_add(&d, stream_tokenizer(s), p->ids.ids[k], true, text);
    detok_end(&d, text);
}

static void add_choice(buf *out, const stream *s, uint32_t i) {
    const api_request *r = stream_request(s);
    const choice *c = stream_choice(s, i);
    buf_addf(out, "{\"index\":%u,", i);
    if (r->kind == API_CHAT) {
        buf_adds(out, "\"message\":{\"role\":\"assistant\",\"content\":");
        openai_string(out, c->text.data, c->text.len);
        buf_adds(out, "}");
    } else {
        buf text = {0};
        if (r->echo) echo_text(&text, s, i);
        buf_add(&text, c->text.data, c->text.len);
        buf_adds(out, "\"text\":");
        openai_string(out, text.data, text.len);
        buf_done(&text);
    }
    add_logprobs(out, s, i, r->echo, 0, c->count);
    stream_finish f = stream_finish_of(s, i);
    add_finish(out, &f, r->kind == API_CHAT);
    if (r->kind != API_CHAT) add_prompt_logprobs(out, s, i);
    if (r->return_token_ids) {
        const api_prompt *p = stream_prompt(s, i);
        buf_adds(out, ",\"prompt_token_ids\":");
        add_int_list(out, p->ids.ids, p->ids.count);
        buf_adds(out, ",\"token_ids\":");
        add_int_list(out, c->ids, c->count);
    }
    buf_adds(out, "}");
}

static void add_warnings(buf *out, const api_request *r) {
    if (r->warnings) buf_addf(out, ",\"warnings\":%s", r->warnings);
}

void openai_body(buf *out, const stream *s, const char *model) {
    PRE(out);
    PRE(s);
    PRE(stream_ended(s));
    PRE(model);
    add_head(out, s, stream_request(s)->kind == API_CHAT ? "chat.completion" : "text_completion", model);
    for (uint32_t i = 0; i < stream_choice_count(s); i++) {
        if (i) buf_adds(out, ",");
        add_choice(out, s, i);
    }
    buf_adds(out, "],\"usage\":");
    add_usage(out, s, false);
    if (stream_request(s)->kind == API_CHAT) add_prompt_logprobs(out, s, 0);
    add_warnings(out, stream_request(s));
    buf_adds(out, "}");
}

static void begin_event(buf *out, const stream *s, uint32_t i, const char *model) {
    buf_adds(out, "data: ");
    add_head(out, s, stream_request(s)->kind == API_CHAT ? "chat.completion.chunk" : "text_completion",
             model);
    buf_addf(out, "{\"index\":%u,", i);
}

/* first: of its choice; it carries the warnings */
static void finish_event(buf *out, const stream *s, bool first) {
    const api_request *r = stream_request(s);
    buf_adds(out, "}]");
    if (r->continuous_usage) {
        buf_adds(out, ",\"usage\":");
        add_usage(out, s, true);
    } else if (r->include_usage || r->timings) {
        buf_adds(out, ",\"usage\":null");
    }
    if (first) add_warnings(out, r);
    buf_adds(out, "}\n\n");
}

static bool has_first_event(const api_request *r) {
    return r->kind == API_CHAT || r->echo || r->return_token_ids;
}

/* What a choice's first event carries besides its text. */
static void first_event(buf *out, const stream *s, uint32_t i, const char *model) {
    const api_request *r = stream_request(s);
    if (!has_first_event(r)) return;
    begin_event(out, s, i, model);
    if (r->kind == API_CHAT) {
        buf_adds(out, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
    } else {
        buf text = {0};
        buf_adds(&text, "");
        if (r->echo) echo_text(&text, s, i);
        buf_adds(out, "\"text\":");
        openai_string(out, text.data, text.len);
        buf_done(&text);
    }
    if (r->echo)
        add_logprobs(out, s, i, true, 0, 0);
    else
        buf_adds(out, ",\"logprobs\":null");
    add_finish(out, &(stream_finish){.stop_id = -1}, r->kind == API_CHAT);
    if (r->return_token_ids) {
        buf_adds(out, ",\"prompt_token_ids\":");
        add_int_list(out, stream_prompt(s, i)->ids.ids, stream_prompt(s, i)->ids.count);
    }
    finish_event(out, s, true);
}

/* An event with the text and tokens of a part; delta: chat's {} when the part only tells the end. */
static void part_event(buf *out, const stream *s, const stream_step *step, bool with_text, bool with_tokens,
                       bool with_finish, const char *model) {
    const api_request *r = stream_request(s);
    const choice *c = stream_choice(s, step->choice);
    const choice_part *p = &step->part;
    const char *text = c->text.data + p->text_begin;
    begin_event(out, s, step->choice, model);
    if (r->kind != API_CHAT)
        buf_adds(out, "\"text\":");
    else
        buf_adds(out, with_text ? "\"delta\":{\"content\":" : "\"delta\":{}");
    if (with_text || r->kind != API_CHAT) openai_string(out, text, p->text_end - p->text_begin);
    if (with_text && r->kind == API_CHAT) buf_adds(out, "}");
    uint32_t begin = with_tokens ? p->token_begin : p->token_end;
    add_logprobs(out, s, step->choice, false, begin, p->token_end);
    stream_finish f = {.stop_id = -1};
    if (with_finish) f = stream_finish_of(s, step->choice);
    add_finish(out, &f, r->kind == API_CHAT);
    if (r->return_token_ids) {
        buf_adds(out, ",\"token_ids\":");
        add_int_list(out, c->ids + begin, p->token_end - begin);
    }
    finish_event(out, s, !has_first_event(r) && begin == 0);
}

void openai_event(buf *out, const stream *s, const stream_step *step, const char *model) {
    PRE(out);
    PRE(s);
    PRE(step);
    PRE(model);
    bool chat = stream_request(s)->kind == API_CHAT;
    bool has_text = step->part.text_end > step->part.text_begin;
    switch (step->kind) {
    case STEP_BEGIN:
        first_event(out, s, step->choice, model);
        break;
    case STEP_PART:
        part_event(out, s, step, true, true, step->last, model);
        break;
    case STEP_END:
        /* Chat tells the end in an event of its own with an empty delta; completions with the last text. */
        if (chat && has_text) part_event(out, s, step, true, true, false, model);
        part_event(out, s, step, !chat, !chat || !has_text, true, model);
        break;
    }
}

void openai_tail(buf *out, const stream *s, const char *model) {
    PRE(out);
    PRE(s);
    PRE(model);
    const api_request *r = stream_request(s);
    const api_error *e = stream_error(s);
    if (e) {
        buf_adds(out, "data: ");
        openai_error(out, e);
        buf_adds(out, "\n\n");
    } else if (r->include_usage || r->timings) {
        buf_adds(out, "data: ");
        add_head(out, s, r->kind == API_CHAT ? "chat.completion.chunk" : "text_completion", model);
        buf_adds(out, "],\"usage\":");
        add_usage(out, s, false);
        buf_adds(out, "}\n\n");
    }
    buf_adds(out, "data: [DONE]\n\n");
}
