#include "bench/workload/trace_chats.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

/* The next byte that is no blank; EOF at the end. Counts lines. */
static int next_byte(lines *l) {
    int c;
    while ((c = getc_unlocked(l->file)) != EOF && isspace(c))
        if (c == '\n') l->number++;
    return c;
}

/* The text of one object, whose "{" was just read, into l->text. Strings may hold brackets. */
static status cut_object(lines *l, errbuf *eb) {
    buf_reset(&l->text);
    buf_adds(&l->text, "{");
    uint32_t depth = 1;
    bool quoted = false, escaped = false;
    while (depth) {
        int c = getc_unlocked(l->file);
        if (c == EOF) return lines_bad(l, eb, "the file ends within a conversation");
        if (c == 0) return lines_bad(l, eb, "a NUL byte: want text");
        if (l->text.len == TRACE_CHAT_BYTES_MAX)
            return lines_bad(l, eb, "a conversation of more than %u bytes", TRACE_CHAT_BYTES_MAX);
        char byte = (char)c;
        buf_add(&l->text, &byte, 1);
        if (c == '\n') l->number++;
        if (quoted) {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"')
            quoted = true;
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
    }
    return ST_OK;
}

/* Characters, not bytes: continuation bytes of UTF-8 do not count. */
static size_t characters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static int64_t estimate(const char *text, double chars_per_token) {
    size_t n = characters(text);
    return n ? (int64_t)fmax(1, round((double)n / chars_per_token)) : 0;
}

static status add_chat(trace *t, const lines *l, double chars_per_token, errbuf *eb) {
    json_error_t je;
    json_t *chat = json_loadb(l->text.data, l->text.len, JSON_ALLOW_NUL, &je);
    if (!chat) return lines_bad(l, eb, "no JSON: %.100s", je.text);
    const json_t *turns = json_object_get(chat, "conversations");
    if (!turns) turns = json_object_get(chat, "conversation");
    const char *prompt = json_string_value(json_object_get(json_array_get(turns, 0), "value"));
    const char *answer = json_string_value(json_object_get(json_array_get(turns, 1), "value"));
    status st;
    if (!json_is_array(turns))
        st = lines_bad(l, eb, "no array \"conversations\", which a file of ShareGPT has");
    else if (json_array_size(turns) >= 2 && (!prompt || !answer))
        st = lines_bad(l, eb, "one of the first two turns has no text \"value\"");
    else
        st = trace_add(t, l, NAN, estimate(prompt ? prompt : "", chars_per_token),
                       estimate(answer ? answer : "", chars_per_token), eb);
    json_decref(chat);
    return st;
}

status trace_chats_read(trace *t, lines *l, double chars_per_token, errbuf *eb) {
    PRE(t);
    PRE(l);
    PRE(chars_per_token > 0);
    t->format = TRACE_SHAREGPT;
    l->number++; /* from lines that are done to the one that is read */
    int c = next_byte(l);
    PRE(c == '[');
    c = next_byte(l);
    if (c == ']') return ST_OK;
    for (;; c = next_byte(l)) {
        if (c != '{') return lines_bad(l, eb, "want an array of conversations");
        status st = cut_object(l, eb);
        if (st == ST_OK) st = add_chat(t, l, chars_per_token, eb);
        if (st != ST_OK) return st;
        c = next_byte(l);
        if (c == ']') break;
        if (c != ',') return lines_bad(l, eb, "want a comma or the array's end after a conversation");
    }
    c = next_byte(l);
    if (c != EOF) return lines_bad(l, eb, "text after the array's end");
    if (ferror(l->file)) return errf(eb, ST_IO, "%s: %s", l->name, strerror(errno));
    return ST_OK;
}
