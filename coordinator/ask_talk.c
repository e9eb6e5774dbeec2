/* ask_talk - the turns of a conversation, as baton-ask remembers them. */
#include "coordinator/ask_talk.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void ask_talk_add(ask_talk *t, const char *role, const void *content, size_t len) {
    PRE(t);
    PRE(role);
    t->turns = xrealloc(t->turns, t->count + 1, sizeof *t->turns);
    ask_turn *turn = &t->turns[t->count++];
    *turn = (ask_turn){.role = role};
    buf_add(&turn->content, content, len);
}

void ask_talk_drop(ask_talk *t) {
    PRE(t);
    PRE(t->count > 0);
    buf_done(&t->turns[--t->count].content);
}

void ask_talk_reset(ask_talk *t, const char *system) {
    PRE(t);
    char *text = system && *system ? xstrdup(system) : NULL; /* it may be the one that is forgotten */
    while (t->count) ask_talk_drop(t);
    if (text) ask_talk_add(t, "system", text, strlen(text));
    free(text);
}

const char *ask_talk_system(const ask_talk *t) {
    PRE(t);
    return t->count && strcmp(t->turns[0].role, "system") == 0 ? t->turns[0].content.data : NULL;
}

status ask_talk_save(const ask_talk *t, const char *path, errbuf *eb) {
    PRE(t);
    PRE(path);
    json_t *messages = json_array();
    for (size_t i = 0; i < t->count; i++) {
        const buf *text = &t->turns[i].content;
        json_t *content = json_stringn(text->len ? text->data : "", text->len);
        json_array_append_new(messages,
                              json_pack("{s:s, s:o}", "role", t->turns[i].role, "content", content));
    }
    json_t *all = json_pack("{s:o}", "messages", messages);
    int failed = json_dump_file(all, path, JSON_INDENT(2));
    int why = errno;
    json_decref(all);
    return failed ? errf(eb, ST_IO, "%s: %s", path, strerror(why)) : ST_OK;
}

void ask_talk_done(ask_talk *t) {
    PRE(t);
    ask_talk_reset(t, NULL);
    free(t->turns);
    *t = (ask_talk){0};
}
