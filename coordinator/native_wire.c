#include "coordinator/native_wire.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static char *copy_bytes(const ProtobufCBinaryData *b) {
    char *text = xmalloc(b->len + 1);
    if (b->len) memcpy(text, b->data, b->len);
    text[b->len] = 0;
    return text;
}

static status fill_chat(const Baton__ClientChat *chat, api_request *r, api_error *e) {
    if (chat->n_turns > API_MESSAGES_MAX) {
        return api_fail(e, 400, "chat", "chat: %zu turns, want at most %u", chat->n_turns, API_MESSAGES_MAX);
    }
    r->chat.messages = json_array();
    r->add_special = false; /* the template writes what stands in front */
    for (size_t i = 0; i < chat->n_turns; i++) {
        const Baton__ClientChatTurn *t = chat->turns[i];
        const char *role = api_role(t->role, strlen(t->role));
        if (!role)
            return api_fail(e, 400, "chat",
                            "chat: turn %zu: '%.60s' is no role, want system, user or assistant", i, t->role);
        json_t *text = json_stringn(t->content.len ? (const char *)t->content.data : "", t->content.len);
        if (!text) return api_fail(e, 400, "chat", "chat: turn %zu: the content is not valid UTF-8", i);
        r->chat.bytes += t->content.len;
        json_array_append_new(r->chat.messages, json_pack("{s:s,s:o}", "role", role, "content", text));
    }
    return ST_OK;
}

static status fill_prompt(const Baton__ClientRequest *m, api_request *r, api_error *e) {
    switch (m->prompt_case) {
    case BATON__CLIENT_REQUEST__PROMPT_TEXT: {
        api_prompt *p = api_add_prompt(r);
        p->text = copy_bytes(&m->text);
        p->len = m->text.len;
        return ST_OK;
    }
    case BATON__CLIENT_REQUEST__PROMPT_TOKENS: {
        api_prompt *p = api_add_prompt(r);
        for (size_t i = 0; i < m->tokens->n_ids; i++) token_list_add(&p->ids, m->tokens->ids[i]);
        return ST_OK;
    }
    case BATON__CLIENT_REQUEST__PROMPT_CHAT:
        return fill_chat(m->chat, r, e);
    case BATON__CLIENT_REQUEST__PROMPT__NOT_SET:
    case _BATON__CLIENT_REQUEST__PROMPT__CASE_IS_INT_SIZE:
        break;
    }
    return api_fail(e, 400, "prompt", "prompt: the field is missing, want text, tokens or chat");
}

static status fill_arrays(const Baton__ClientRequest *m, api_request *r, api_error *e) {
    if (m->n_stop > API_STOPS_MAX) {
        return api_fail(e, 400, "stop", "stop: %zu strings, want at most %u", m->n_stop, API_STOPS_MAX);
    }
    if (m->n_stop_ids > SAMPLING_STOP_IDS_MAX) {
        return api_fail(e, 400, "stop_ids", "stop_ids: %zu ids, want at most %u", m->n_stop_ids,
                        SAMPLING_STOP_IDS_MAX);
    }
    if (m->n_logit_bias > SAMPLING_BIAS_MAX) {
        return api_fail(e, 400, "logit_bias", "logit_bias: %zu entries, want at most %u", m->n_logit_bias,
                        SAMPLING_BIAS_MAX);
    }
    for (size_t i = 0; i < m->n_stop; i++)
        r->stops[r->stop_count++] = (api_stop){copy_bytes(&m->stop[i]), m->stop[i].len};
    if (m->n_stop_ids) r->stop_ids = xmemdup(m->stop_ids, m->n_stop_ids * sizeof *m->stop_ids);
    r->params.stop_id_count = (uint32_t)m->n_stop_ids;
    if (m->n_logit_bias) r->bias = xcalloc(m->n_logit_bias, sizeof *r->bias);
    for (size_t i = 0; i < m->n_logit_bias; i++) {
        r->bias[r->params.bias_count++] = (sampling_bias){m->logit_bias[i]->id, m->logit_bias[i]->bias};
    }
    return ST_OK;
}

status native_wire_request(const Baton__ClientRequest *m, const char *model, uint64_t now_ns, api_request *r,
                           api_error *e) {
    PRE(m);
    PRE(model);
    PRE(r);
    PRE(e);
    api_request_init(r, m->prompt_case == BATON__CLIENT_REQUEST__PROMPT_CHAT ? API_CHAT : API_COMPLETION);
    if (m->model && m->model[0] && strcmp(m->model, model) != 0) {
        return api_fail(e, 404, "model", "the model '%.100s' does not exist; this server serves '%s'",
                        m->model, model);
    }
    /* Absent fields have the defaults of client.proto, which are those of sampling_default. */
    sampling *s = &r->params;
    s->temperature = m->temperature;
    s->top_p = m->top_p;
    s->top_k = m->top_k;
    s->min_p = m->min_p;
    s->repetition_penalty = m->repetition_penalty;
    s->presence_penalty = m->presence_penalty;
    s->frequency_penalty = m->frequency_penalty;
    s->min_tokens = m->min_tokens;
    s->ignore_eos = m->ignore_eos;
    s->logprobs = m->logprobs;
    s->seed = m->seed;
    r->seed_given = m->has_seed;
    r->choices = m->n;
    r->stream = true;
    r->max_tokens_given = m->has_max_tokens;
    if (m->has_max_tokens) s->max_tokens = m->max_tokens;
    if (m->has_client && (m->client.len == 0 || m->client.len > API_ID_MAX))
        return api_fail(e, 400, "client", "client: %zu bytes, want 1 to %u", m->client.len, API_ID_MAX);
    if (m->has_client) r->client = MAX(XXH3_64bits(m->client.data, m->client.len), 1u);
    if (m->has_ttft_ms && m->ttft_ms > API_TTFT_MS_MAX)
        return api_fail(e, 400, "ttft_ms", "ttft_ms: %u, want 0 (any time) to %u", m->ttft_ms,
                        API_TTFT_MS_MAX);
    if (m->has_ttft_ms) r->first_by_ns = m->ttft_ms ? now_ns + m->ttft_ms * NS_PER_MS : UINT64_MAX;
    status st = ST_OK;
    if (m->has_cache_salt) st = api_salt(r, m->cache_salt.data, m->cache_salt.len, e);
    if (st == ST_OK) st = fill_arrays(m, r, e);
    return st == ST_OK ? fill_prompt(m, r, e) : st;
}

/* What stands before an entry of `more`: field 10, so many bytes. Written by hand, since entries are added
 * one by one to a message that is packed already. */
static void add_more_head(buf *out, size_t bytes) {
    uint8_t head[12] = {10 << 3 | 2};
    size_t n = 1;
    for (; bytes >= 0x80; bytes >>= 7) head[n++] = (uint8_t)(bytes | 0x80);
    head[n++] = (uint8_t)bytes;
    buf_add(out, head, n);
}

void native_wire_add(buf *out, const Baton__ServerEvent *ev) {
    PRE(out);
    PRE(ev);
    uint8_t small[512]; /* a token, and nearly everything else */
    size_t bytes = baton__server_event__get_packed_size(ev);
    uint8_t *p = bytes <= sizeof small ? small : xmalloc(bytes);
    baton__server_event__pack(ev, p);
    if (out->len) add_more_head(out, bytes);
    buf_add(out, p, bytes);
    if (p != small) free(p);
}

Baton__ServerEvent native_wire_event(const uint64_t *id) {
    Baton__ServerEvent ev = BATON__SERVER_EVENT__INIT;
    ev.has_id = id != NULL;
    if (id) ev.id = *id;
    return ev;
}

void native_wire_accepted(buf *out, uint64_t id, uint64_t seed, uint32_t prompt_tokens) {
    PRE(out);
    Baton__ServerAccepted a = BATON__SERVER_ACCEPTED__INIT;
    a.seed = seed;
    a.prompt_tokens = prompt_tokens;
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.body_case = BATON__SERVER_EVENT__BODY_ACCEPTED;
    ev.accepted = &a;
    native_wire_add(out, &ev);
}

void native_wire_error(buf *out, const uint64_t *id, const api_error *e) {
    PRE(e);
    PRE(e->http);
    Baton__ServerError err = BATON__SERVER_ERROR__INIT;
    char text[sizeof e->text.text];
    memcpy(text, e->text.text, sizeof text);
    err.http = e->http;
    err.message = text;
    err.has_retry_after_s = e->retry_s > 0;
    err.retry_after_s = e->retry_s;
    Baton__ServerEvent ev = native_wire_event(id);
    ev.body_case = BATON__SERVER_EVENT__BODY_ERROR;
    ev.error = &err;
    native_wire_add(out, &ev);
}

void native_wire_pong(buf *out, const uint64_t *id) {
    PRE(out);
    Baton__ServerPong p = BATON__SERVER_PONG__INIT;
    p.has_id = id != NULL;
    if (id) p.id = *id;
    Baton__ServerEvent ev = native_wire_event(NULL);
    ev.body_case = BATON__SERVER_EVENT__BODY_PONG;
    ev.pong = &p;
    native_wire_add(out, &ev);
}

void native_wire_keepalive(buf *out, uint64_t id) {
    PRE(out);
    Baton__ServerKeepalive k = BATON__SERVER_KEEPALIVE__INIT;
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.body_case = BATON__SERVER_EVENT__BODY_KEEPALIVE;
    ev.keepalive = &k;
    native_wire_add(out, &ev);
}

static size_t varint_bytes(uint64_t value) {
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7) bytes++;
    return bytes;
}

/* Field `number` of the wire type varint, or the tag and length of one of bytes. Returns where it ends. */
static uint8_t *put_field(uint8_t *at, uint32_t number, bool of_bytes, uint64_t value) {
    *at++ = (uint8_t)(number << 3 | (of_bytes ? 2 : 0));
    for (; value >= 0x80; value >>= 7) *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

/* The event of a token without logprobs, written by hand: there is one for each token of each client, and
 * protobuf-c takes ten times as long. Byte for byte the same. */
static void add_plain_token(buf *out, uint64_t id, uint32_t of_choice, uint32_t index,
                            const int32_t *token_id, const char *text, size_t text_len) {
    size_t token_bytes = 1 + varint_bytes(index);
    if (token_id) token_bytes += 1 + varint_bytes((uint32_t)*token_id);
    if (text) token_bytes += 1 + varint_bytes(text_len) + text_len;
    size_t bytes = 3 + varint_bytes(id) + varint_bytes(of_choice) + varint_bytes(token_bytes) + token_bytes;
    uint8_t head[80], *at = head; /* seven fields of at most 11 bytes */
    if (out->len) at = put_field(at, 10, true, bytes);
    at = put_field(at, 1, false, id);
    at = put_field(at, 2, false, of_choice);
    at = put_field(at, 4, true, token_bytes);
    at = put_field(at, 1, false, index);
    if (token_id) at = put_field(at, 2, false, (uint32_t)*token_id);
    if (text) at = put_field(at, 3, true, text_len);
    buf_add(out, head, (size_t)(at - head));
    if (text) buf_add(out, text, text_len);
}

void native_wire_token(buf *out, uint64_t id, const stream *s, uint32_t i, uint32_t token, bool send_id,
                       const char *text, size_t text_len) {
    const choice *c = stream_choice(s, i);
    PRE(token < c->count);
    if (!c->probs && c->ids[token] >= 0) { /* a negative id would take ten bytes */
        add_plain_token(out, id, i, token, send_id ? &c->ids[token] : NULL, text, text_len);
        return;
    }
    Baton__ServerToken t = BATON__SERVER_TOKEN__INIT;
    Baton__ServerTop tops[SAMPLING_LOGPROBS_MAX];
    Baton__ServerTop *list[SAMPLING_LOGPROBS_MAX];
    t.index = token;
    t.has_token_id = send_id;
    t.token_id = c->ids[token];
    t.has_text = text != NULL;
    t.text = (ProtobufCBinaryData){.len = text ? text_len : 0, .data = (uint8_t *)text};
    if (c->probs) {
        const choice_logprob *p = &c->probs[token];
        t.has_logprob = true;
        t.logprob = p->logprob;
        for (uint32_t k = 0; k < p->top_count; k++) {
            baton__server_top__init(&tops[k]);
            tops[k].token_id = c->tops[p->top_begin + k].id;
            tops[k].logprob = c->tops[p->top_begin + k].logprob;
            list[k] = &tops[k];
        }
        t.n_top = p->top_count;
        t.top = list;
    }
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.has_choice = true;
    ev.choice = i;
    ev.body_case = BATON__SERVER_EVENT__BODY_TOKEN;
    ev.token = &t;
    native_wire_add(out, &ev);
}

static Baton__EndReason end_reason(const stream *s, uint32_t i) {
    stream_finish f = stream_finish_of(s, i);
    if (!f.reason) return BATON__END_REASON__END_CANCELED;
    if (f.stop) return BATON__END_REASON__END_STOP_STRING;
    if (f.stop_id >= 0) return BATON__END_REASON__END_STOP_ID;
    return strcmp(f.reason, "length") == 0 ? BATON__END_REASON__END_LENGTH : BATON__END_REASON__END_EOS;
}

static void set_ms(protobuf_c_boolean *has, double *out, uint64_t ns) {
    *has = ns > 0;
    *out = (double)ns / 1e6;
}

void native_wire_end(buf *out, uint64_t id, const stream *s, uint32_t i, bool canceled, const char *text,
                     size_t text_len) {
    PRE(s);
    Baton__ServerEnd end = BATON__SERVER_END__INIT;
    Baton__ServerTimings t = BATON__SERVER_TIMINGS__INIT;
    core_times ct;
    end.reason = canceled ? BATON__END_REASON__END_CANCELED : end_reason(s, i);
    end.prompt_tokens = stream_prompt(s, i)->ids.count;
    end.completion_tokens = stream_choice(s, i)->count;
    end.has_cached_tokens = stream_times(s, i, &ct);
    end.cached_tokens = end.has_cached_tokens ? ct.cached_tokens : 0;
    end.has_text = text != NULL;
    end.text = (ProtobufCBinaryData){.len = text ? text_len : 0, .data = (uint8_t *)text};
    if (end.has_cached_tokens) {
        set_ms(&t.has_queue_ms, &t.queue_ms, ct.queue_ns);
        set_ms(&t.has_prefill_ms, &t.prefill_ms, ct.prefill_ns);
        set_ms(&t.has_handoff_ms, &t.handoff_ms, ct.handoff_ns);
        set_ms(&t.has_decode_wait_ms, &t.decode_wait_ms, ct.decode_wait_ns);
        set_ms(&t.has_first_token_ms, &t.first_token_ms, ct.first_token_ns);
        set_ms(&t.has_decode_ms, &t.decode_ms, ct.decode_ns);
        set_ms(&t.has_total_ms, &t.total_ms, ct.total_ns);
        t.has_attempts = t.has_replays = t.has_preemptions = true;
        t.attempts = ct.attempts;
        t.replays = ct.replays;
        t.preemptions = ct.preemptions;
        end.timings = &t;
    }
    Baton__ServerEvent ev = native_wire_event(&id);
    ev.has_choice = true;
    ev.choice = i;
    ev.body_case = BATON__SERVER_EVENT__BODY_END;
    ev.end = &end;
    native_wire_add(out, &ev);
}
