#include "ctl/ctl_tokens.h"

#include "base/mem.h"
#include "ctl/ctl_limits.h"

#include <stdlib.h>
#include <string.h>

/* Protobuf's wire types. */
enum { WIRE_VARINT = 0, WIRE_EIGHT = 1, WIRE_BYTES = 2, WIRE_FOUR = 5 };
/* Fields of control.proto. */
enum {
    FIELD_KIND = 1,
    FIELD_EPOCH = 2,
    FIELD_INCARNATION = 3,
    FIELD_REQ = 4,
    FIELD_ATTEMPT = 5,
    FIELD_FREE_PAGES = 6,
    FIELD_TOKENS = 17
};
enum { TOKENS_TOKEN = 1 };
enum {
    TOKEN_REQ = 1,
    TOKEN_ATTEMPT = 2,
    TOKEN_INDEX = 3,
    TOKEN_ID = 4,
    TOKEN_FIN = 5,
    TOKEN_LOGPROB = 6,
    TOKEN_CACHED = 9
};

typedef struct span {
    const uint8_t *at, *end;
} span;

/* One field of a message: a number, or bytes. */
typedef struct field {
    uint32_t number, wire;
    uint64_t value;
    span bytes;
} field;

static inline bool read_varint(span *s, uint64_t *out) {
    if (s->at < s->end && *s->at < 0x80) { /* nearly always */
        *out = *s->at++;
        return true;
    }
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 63; shift += 7) { /* nine bytes; the tenth is left to protobuf-c */
        if (s->at == s->end) return false;
        uint8_t byte = *s->at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    if (s->at == s->end || *s->at > 1) return false;
    *out = value | (uint64_t)*s->at++ << 63;
    return true;
}

static inline bool read_field(span *s, field *f) {
    uint64_t tag;
    if (!read_varint(s, &tag) || tag > UINT32_MAX) return false;
    f->number = (uint32_t)tag >> 3;
    f->wire = tag & 7;
    if (f->wire == WIRE_VARINT) return read_varint(s, &f->value);
    uint64_t bytes = f->wire == WIRE_EIGHT ? sizeof(uint64_t) : sizeof(uint32_t);
    if (f->wire == WIRE_BYTES && !read_varint(s, &bytes)) return false;
    if (f->wire != WIRE_BYTES && f->wire != WIRE_FOUR && f->wire != WIRE_EIGHT) return false;
    if (bytes > (uint64_t)(s->end - s->at)) return false;
    f->bytes = (span){s->at, s->at + bytes};
    s->at += bytes;
    return true;
}

/* Leaves the alternatives unwritten: there are none, and they are most of the struct. */
static bool read_token(span s, ctl_token *t) {
    t->req = 0;
    t->attempt = t->index = t->cached = 0;
    t->token.id = 0;
    t->token.fin = FINISH_NONE;
    t->token.logprob = 0;
    t->token.top_count = 0;
    while (s.at < s.end) {
        field f;
        if (!read_field(&s, &f)) return false;
        if (f.number == TOKEN_LOGPROB) {
            if (f.wire != WIRE_FOUR) return false;
            memcpy(&t->token.logprob, f.bytes.at, sizeof t->token.logprob);
            continue;
        }
        if (f.wire != WIRE_VARINT) return false;
        if (f.number != TOKEN_REQ && f.value > INT32_MAX) return false;
        switch (f.number) {
        case TOKEN_REQ:
            t->req = f.value;
            break;
        case TOKEN_ATTEMPT:
            t->attempt = (uint32_t)f.value;
            break;
        case TOKEN_INDEX:
            t->index = (uint32_t)f.value;
            break;
        case TOKEN_ID:
            t->token.id = (int32_t)f.value;
            break;
        case TOKEN_FIN:
            if (f.value > FINISH_LENGTH) return false;
            t->token.fin = (finish)f.value;
            break;
        case TOKEN_CACHED:
            t->cached = (uint32_t)f.value;
            break;
        default:
            return false;
        }
    }
    return true;
}

/* How many tokens there are, or -1. */
static int64_t count_tokens(span s) {
    int64_t count = 0;
    while (s.at < s.end) {
        field f;
        if (!read_field(&s, &f) || f.number != TOKENS_TOKEN || f.wire != WIRE_BYTES) return -1;
        if (++count > (int64_t)CTL_TOKENS_MAX) return -1;
    }
    return count;
}

static bool read_tokens(span s, ctl_msg *m) {
    int64_t count = count_tokens(s);
    if (count <= 0) return false;
    ctl_token *tokens = xmalloc((size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < count; i++) {
        field f;
        CHECK(read_field(&s, &f)); /* as it was counted */
        if (!read_token(f.bytes, &tokens[i])) {
            free(tokens);
            return false;
        }
    }
    m->owned = tokens;
    m->tokens = (ctl_tokens){.tokens = tokens, .count = (uint32_t)count};
    return true;
}

/* The head's numbers into *m. */
static bool read_head(const field *f, ctl_msg *m) {
    bool wide = f->number == FIELD_EPOCH || f->number == FIELD_INCARNATION;
    if (f->wire != (wide ? WIRE_EIGHT : WIRE_VARINT)) return false;
    if (!wide && f->number != FIELD_REQ && f->value > UINT32_MAX) return false;
    switch (f->number) {
    case FIELD_KIND:
        m->kind = (ctl_kind)f->value;
        return f->value == CTL_TOKENS;
    case FIELD_EPOCH:
        memcpy(&m->epoch, f->bytes.at, sizeof m->epoch);
        return true;
    case FIELD_INCARNATION:
        memcpy(&m->incarnation, f->bytes.at, sizeof m->incarnation);
        return true;
    case FIELD_REQ:
        m->req = f->value;
        return true;
    case FIELD_ATTEMPT:
        m->attempt = (uint32_t)f->value;
        return true;
    case FIELD_FREE_PAGES:
        m->free_pages = (uint32_t)f->value;
        return true;
    default:
        return false;
    }
}

bool ctl_tokens_unpack(const void *bytes, size_t count, ctl_msg *out) {
    PRE(out);
    PRE(bytes || count == 0);
    span s = {bytes, (const uint8_t *)bytes + count}, body = {0};
    ctl_msg m = {0};
    while (s.at < s.end) {
        field f;
        if (!read_field(&s, &f)) return false;
        if (f.number == FIELD_TOKENS) {
            if (f.wire != WIRE_BYTES || body.at) return false;
            body = f.bytes;
        } else if (!read_head(&f, &m)) {
            return false;
        }
    }
    if (m.kind != CTL_TOKENS || !body.at || !read_tokens(body, &m)) return false;
    *out = m;
    return true;
}
